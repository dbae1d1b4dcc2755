/* SPDX-License-Identifier: ISC */
/*
 * conf_sample: the tables written out as a configuration file.
 *
 * Every option stands there with its default under its help; one that has none
 * is commented out, with its example, unless it is required; so are a titled
 * section without an example title and one whose being there means something.  conf_read accepts the result.
 */
#include <string.h>

#include "smtpd/base/conf_inside.h"

#define COLUMNS 90

struct sample {
	struct buf *out;
	int depth;
	bool commented;
};

static void margin(const struct sample *s)
{
	if (s->commented)
		buf_add_char(s->out, '#');
	for (int i = 0; i < s->depth; i++)
		buf_add_char(s->out, '\t');
}

/* Words up to the column's end, each line behind a sharp sign. */
static void put_help(const struct sample *s, str text)
{
	size_t left = 0;
	str word;

	while (str_cut(&text, ' ', &word)) {
		if (word.n == 0)
			continue;
		if (left < word.n + 1) {
			if (left != 0)
				buf_add_char(s->out, '\n');
			margin(s);
			buf_add_char(s->out, '#');
			left = COLUMNS - 8 * (size_t)s->depth;
		}
		buf_add_char(s->out, ' ');
		buf_add(s->out, word);
		left -= word.n + 1 < left ? word.n + 1 : left - 1;
	}
	if (left != 0)
		buf_add_char(s->out, '\n');
}

static void put_words(const struct sample *s, const struct conf_option *o)
{
	struct buf text;

	if (o->type != CONF_WORD)
		return;
	buf_init(&text, 1024);
	buf_addf(&text, "One of ");
	for (size_t i = 0; o->words[i] != NULL; i++)
		buf_addf(&text, "%s%s", i == 0 ? "" : ", ", o->words[i]);
	buf_add_char(&text, '.');
	put_help(s, buf_str(&text));
	buf_fini(&text);
}

static void put_quoted(const struct sample *s, str value)
{
	buf_add_char(s->out, '"');
	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '"' || value.p[i] == '\\')
			buf_add_char(s->out, '\\');
		buf_add_char(s->out, value.p[i]);
		if (value.p[i] == '$' && i + 1 < value.n && value.p[i + 1] == '{')
			buf_add_char(s->out, '\\');
	}
	buf_add_char(s->out, '"');
}

static void put_list(const struct sample *s, str rest)
{
	bool first = true;
	str item;

	buf_add_char(s->out, '{');
	while (str_cut(&rest, ',', &item)) {
		if (str_trim(item).n == 0)
			continue;
		if (!first)
			buf_addf(s->out, ", ");
		put_quoted(s, str_trim(item));
		first = false;
	}
	buf_add_char(s->out, '}');
}

static void put_value(const struct sample *s, const struct conf_option *o, str value)
{
	switch (o->type) {
	case CONF_STRING:
		put_quoted(s, value);
		break;
	case CONF_LIST:
		put_list(s, value);
		break;
	default: /* numbers and words stand bare, unless with a blank */
		if (str_holds(value, ' ') || value.n == 0)
			put_quoted(s, value);
		else
			buf_add(s->out, value);
	}
}

static void put_option(struct sample s, const struct conf_option *o)
{
	const char *value = o->fallback != NULL ? o->fallback : o->example;

	put_help(&s, str_of(o->help));
	put_words(&s, o);
	s.commented = s.commented || (o->fallback == NULL && !o->required);
	margin(&s);
	buf_addf(s.out, "%s = ", o->name);
	put_value(&s, o, str_of(value));
	buf_add_char(s.out, '\n');
}

static void put_inside(struct sample s, const struct conf_section *section);

static void put_section(struct sample s, const struct conf_section *section)
{
	const char *title = section->example != NULL ? section->example : "NAME";

	put_help(&s, str_of(section->help));
	s.commented = s.commented || section->optional || (section->titled && section->example == NULL);
	margin(&s);
	buf_addf(s.out, "%s ", section->name);
	if (section->titled) {
		put_quoted(&s, str_of(title));
		buf_add_char(s.out, ' ');
	}
	buf_addf(s.out, "{\n");
	s.depth++;
	put_inside(s, section);
	s.depth--;
	margin(&s);
	buf_addf(s.out, "}\n");
}

static void put_inside(struct sample s, const struct conf_section *section)
{
	bool first = true;

	for (const struct conf_option *o = section->options; o != NULL && o->name != NULL; o++) {
		if (o->hidden)
			continue;
		if (!first)
			buf_add_char(s.out, '\n');
		put_option(s, o);
		first = false;
	}
	for (size_t i = 0; section->sections != NULL && section->sections[i] != NULL; i++) {
		if (!first)
			buf_add_char(s.out, '\n');
		put_section(s, section->sections[i]);
		first = false;
	}
}

void conf_sample(const struct conf_section *root, struct buf *out)
{
	struct sample s = {.out = out};

	if (root->help != NULL) {
		put_help(&s, str_of(root->help));
		buf_add_char(out, '\n');
	}
	put_inside(s, root);
}
