/* SPDX-License-Identifier: ISC */
/*
 * tags: tag=value lists.  One pass over the text; a repeated name is found by
 * hashing, so that five thousand tags cost no more than their length.  Views
 * into the text, which the caller keeps.  Any thread.
 */
#include "smtpd/mail/tags.h"

#include "smtpd/base/map.h"

#define FEW 12    /* up to here comparing all pairs is cheaper than a map */

/* ALPHA *(ALPHA / DIGIT / "_"), RFC 6376 3.2 */
static bool name_valid(str name)
{
	if (name.n == 0 || !is_alpha(name.p[0]))
		return false;
	for (size_t i = 1; i < name.n; i++)
		if (!is_alnum(name.p[i]) && name.p[i] != '_')
			return false;
	return true;
}

/* tval: printable without ';', FWS inside, and UTF-8 (RFC 8616 3). */
static bool value_valid(str value)
{
	for (size_t i = 0; i < value.n; i++) {
		unsigned char c = (unsigned char)value.p[i];

		if (c == 0x7f || (c < ' ' && c != '\t' && c != '\r' && c != '\n'))
			return false;
	}
	return true;
}

static bool item_read(str item, struct tag *out)
{
	size_t eq = str_find(item, '=');

	if (eq == item.n)
		return false;
	out->name = str_trim(str_head(item, eq));
	out->value = str_trim(str_skip(item, eq + 1));
	return name_valid(out->name) && value_valid(out->value);
}

static str repeated_of_few(const struct tags *t)
{
	for (size_t i = 1; i < t->n; i++)
		for (size_t j = 0; j < i; j++)
			if (str_eq(t->v[i].name, t->v[j].name))
				return t->v[i].name;
	return STR_NONE;
}

static str repeated(struct tags *t)
{
	struct map seen;
	str        twice = STR_NONE;

	if (t->n <= FEW)
		return repeated_of_few(t);
	map_init(&seen, false);
	for (size_t i = 0; i < t->n && twice.n == 0; i++) {
		if (map_get(&seen, t->v[i].name) != NULL)
			twice = t->v[i].name;
		else if (!map_put(&seen, t->v[i].name, &t->v[i]))
			t->malformed = true;    /* no memory: better refused than taken unseen */
	}
	map_fini(&seen);
	return twice;
}

static size_t items_in(str text)
{
	size_t n = 1;

	while (n < TAGS_MAX && text.n) {
		size_t at = str_find(text, ';');

		if (at == text.n)
			break;
		text = str_skip(text, at + 1);
		n++;
	}
	return n;
}

void tags_parse(struct arena *a, str text, struct tags *out)
{
	str item;

	*out = (struct tags){ 0 };
	if (text.p == NULL)
		return;
	out->v = ARENA_ARRAY(a, struct tag, items_in(text));
	if (out->v == NULL) {
		out->malformed = true;
		return;
	}
	for (size_t items = 0; str_cut(&text, ';', &item); items++) {
		item = str_trim(item);
		if (item.n == 0 && text.p == NULL)
			break;                  /* one ';' may end the list */
		if (items == TAGS_MAX) {
			out->malformed = true;
			break;
		}
		if (item_read(item, &out->v[out->n]))
			out->n++;
		else
			out->malformed = true;
	}
	out->duplicate = repeated(out);
}

bool tags_get(const struct tags *t, const char *name, str *value)
{
	str want = str_of(name);

	for (size_t i = 0; i < t->n; i++)
		if (str_eq(t->v[i].name, want)) {
			*value = t->v[i].value;
			return true;
		}
	return false;
}

bool tags_get_nocase(const struct tags *t, const char *name, str *value)
{
	str want = str_of(name);

	for (size_t i = 0; i < t->n; i++)
		if (str_eq_nocase(t->v[i].name, want)) {
			*value = t->v[i].value;
			return true;
		}
	return false;
}

static bool is_space(char c)
{
	return is_wsp(c) || c == '\r' || c == '\n';
}

str tags_squeeze(struct arena *a, str value)
{
	size_t n = 0;
	char  *p;

	while (n < value.n && !is_space(value.p[n]))
		n++;
	if (n == value.n)
		return value;
	p = arena_alloc(a, value.n);
	if (p == NULL)
		return STR_NONE;
	n = 0;
	for (size_t i = 0; i < value.n; i++)
		if (!is_space(value.p[i]))
			p[n++] = value.p[i];
	return (str){ p, n };
}
