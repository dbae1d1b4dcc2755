/* SPDX-License-Identifier: ISC */
/*
 * The alias file.  Commands, files and includes ("|…", "/…", ":include:") are
 * refused by name: postern runs nothing and writes no files but mailboxes.
 * Main thread.
 */
#include "smtpd/base/buf.h"
#include "smtpd/setup/aliases.h"

struct reading {
	struct directory *directory;
	struct arena     *a;
	str               file, domain;
	unsigned          line;      /* where the entry began */
	struct conf_faults *faults;  /* NULL: the first one ends it */
	str              *why;
};

static enum err bad(struct reading *r, const char *what, str word)
{
	const struct conf_head at = { .file = str_cstr(r->a, r->file), .line = (int)r->line };

	if (r->faults != NULL) {
		conf_fault_add(r->faults, r->a, &at, NULL, "%s: \"%.*s\"", what, STR_ARG(word));
		return OK;
	}
	*r->why = arena_printf(r->a, "%.*s:%u: %s: \"%.*s\"", STR_ARG(r->file), r->line, what, STR_ARG(word));
	return ERR_BAD;
}

static str in_domain(struct reading *r, str name)
{
	return str_holds(name, '@') ? name : arena_printf(r->a, "%.*s@%.*s", STR_ARG(name), STR_ARG(r->domain));
}

static enum err take_target(struct reading *r, str word, struct strs *targets)
{
	struct path p;
	str target;

	if (word.p[0] == '|' || word.p[0] == '/' || word.p[0] == ':' || str_starts(word, "\"|"))
		return bad(r, "programs, files and includes are not supported here, name addresses", word);
	target = in_domain(r, word);
	if (!path_of(r->a, target, &p))
		return bad(r, "not a mail address, write user@example.org", word);
	targets->v[targets->n++] = p.text;
	return OK;
}

static enum err take_entry(struct reading *r, str entry)
{
	struct strs targets = { .v = ARENA_ARRAY(r->a, str, entry.n / 2 + 1) };
	size_t faults = r->faults != NULL ? r->faults->n : 0;
	struct path name;
	str rest = entry, word;
	enum err e = OK;

	if (targets.v == NULL)
		return ERR_MEMORY;
	if (!str_holds(entry, ':'))
		return bad(r, "an alias line is `name: target, target`, the colon is missing in", str_trim(entry));
	str_cut(&rest, ':', &word);
	if (!path_of(r->a, in_domain(r, str_trim(word)), &name))
		return bad(r, "not a name that can receive mail", str_trim(word));
	while (e == OK && str_cut(&rest, ',', &word))
		if (str_trim(word).n > 0)
			e = take_target(r, str_trim(word), &targets);
	if (e != OK || (r->faults != NULL && r->faults->n > faults))
		return e;
	if (targets.n == 0)
		return bad(r, "the alias leads nowhere, put an address behind the colon or take the line out", name.text);
	e = directory_add_alias(r->directory, name.text, &targets);
	return e == ERR_EXISTS ? bad(r, "this alias stands here twice, make one line of them", name.text)
	     : e == ERR_ABSENT ? bad(r, "not a domain of this server, add a domain section or take the line out", name.domain)
	                       : e;
}

enum err aliases_read(struct directory *d, struct arena *a, str text, str file, str domain,
                      struct conf_faults *faults, str *why)
{
	struct reading r = { .directory = d, .a = a, .file = file, .domain = domain, .faults = faults, .why = why };
	struct buf entry;
	str line;
	enum err e = OK;

	*why = STR("out of memory");
	buf_init(&entry, 1 << 20);
	for (unsigned at = 1; e == OK && str_cut(&text, '\n', &line); at++) {
		bool goes_on = line.n > 0 && is_wsp(line.p[0]);

		line = str_head(line, str_find(line, '#'));
		if (str_trim(line).n == 0)
			continue;
		if (!goes_on && buf_str(&entry).n > 0) {
			e = take_entry(&r, buf_str(&entry));
			buf_clear(&entry);
		}
		if (!goes_on)
			r.line = at;
		buf_add(&entry, str_trim(line));
		buf_add_char(&entry, ' ');
	}
	if (e == OK && buf_str(&entry).n > 0)
		e = take_entry(&r, buf_str(&entry));
	if (e == OK && entry.failed)
		e = bad(&r, "this entry is too long", STR_NONE);
	buf_fini(&entry);
	return e;
}
