/* SPDX-License-Identifier: ISC */
/*
 * Lines of "key value", # to the end of a line is a comment; values are fields
 * between colons, of which the last of a KeyTable may hold colons itself.
 */
#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/setup/keys/opendkim_tables.h"

enum { LINES_MAX = 100000 };

static size_t count_lines(str text)
{
	size_t n = 1;

	for (size_t i = 0; i < text.n && n < LINES_MAX; i++)
		n += text.p[i] == '\n';
	return n;
}

/* The first word and what follows it; false: nothing is on the line. */
static bool split_line(str line, str *first, str *rest)
{
	size_t at = 0;

	line = str_trim(str_head(line, str_find(line, '#')));
	while (at < line.n && !is_wsp(line.p[at]))
		at++;
	*first = str_head(line, at);
	*rest = str_trim(str_skip(line, at));
	return line.n > 0;
}

static void add_fault(struct opendkim_tables *t, unsigned line, const char *text)
{
	t->faults[t->nfaults++] = (struct opendkim_fault){ line, text };
}

/* Room for what a text may add at most. */
static void *grow(const void *old, size_t n, size_t more, size_t size, struct arena *a)
{
	void *p = arena_alloc_array(a, n + more, size);

	if (p != NULL && n > 0)
		memcpy(p, old, n * size);
	return p;
}

static bool make_room(struct opendkim_tables *t, str text, struct arena *a)
{
	size_t more = count_lines(text) + 1;

	t->keys = grow(t->keys, t->nkeys, more, sizeof(*t->keys), a);
	t->rules = grow(t->rules, t->nrules, more, sizeof(*t->rules), a);
	t->faults = grow(t->faults, t->nfaults, more, sizeof(*t->faults), a);
	return t->keys != NULL && t->rules != NULL && t->faults != NULL;
}

static bool is_path(str value)
{
	return str_starts(value, "/") || str_starts(value, "./") || str_starts(value, "../");
}

static const char *take_key(struct opendkim_key *k, str name, str value)
{
	size_t first = str_find(value, ':');
	str rest = str_skip(value, first + 1);
	size_t second = str_find(rest, ':');

	k->name = name;
	k->domain = str_trim(str_head(value, first));
	k->selector = str_trim(str_head(rest, second));
	k->value = str_trim(str_skip(rest, second + 1));
	k->is_file = is_path(k->value);
	if (first == value.n || second == rest.n)
		return "a line of the KeyTable is NAME DOMAIN:SELECTOR:FILE";
	if (k->domain.n == 0 || k->selector.n == 0 || k->value.n == 0)
		return "domain, selector or file is missing";
	return NULL;
}

bool opendkim_read_keys(struct opendkim_tables *t, str text, struct arena *a)
{
	str line, name, value;

	if (!make_room(t, text, a))
		return false;
	for (unsigned n = 1; n <= LINES_MAX && str_cut(&text, '\n', &line); n++) {
		struct opendkim_key k = { .line = n };
		const char *fault;

		if (!split_line(line, &name, &value))
			continue;
		fault = take_key(&k, name, value);
		if (fault != NULL)
			add_fault(t, n, fault);
		else
			t->keys[t->nkeys++] = k;
	}
	return true;
}

bool opendkim_read_rules(struct opendkim_tables *t, str text, struct arena *a)
{
	str line, pattern, value;

	if (!make_room(t, text, a))
		return false;
	for (unsigned n = 1; n <= LINES_MAX && str_cut(&text, '\n', &line); n++) {
		str key;

		if (!split_line(line, &pattern, &value))
			continue;
		key = str_trim(str_head(value, str_find(value, ':')));
		if (key.n == 0)
			add_fault(t, n, "a line of the SigningTable is PATTERN NAME, the name one of the KeyTable");
		else
			t->rules[t->nrules++] = (struct opendkim_rule){ n, pattern, key };
	}
	return true;
}

bool opendkim_table_path(str word, str *path, bool *regular)
{
	*regular = str_starts(word, "refile:");
	*path = *regular ? str_skip(word, 7) : str_starts(word, "file:") ? str_skip(word, 5) : word;
	return path->n > 0 && (!str_holds(*path, ':') || is_path(*path));
}

/* In a refile * stands for any text; in a file it is a local part's or a domain's
 * whole place, and a domain alone is all of its addresses. */
struct opendkim_author opendkim_author(const struct opendkim_rule *r, bool regular)
{
	size_t at = str_rfind(r->pattern, '@');
	bool has_at = at < r->pattern.n;
	str local = has_at ? str_head(r->pattern, at) : STR_NONE, domain = has_at ? str_skip(r->pattern, at + 1) : r->pattern;
	bool any_local = str_is(local, "*"), any_domain = str_is(domain, "*");

	if (str_is(r->pattern, "*") || (has_at && any_local && any_domain))
		return (struct opendkim_author){ OPENDKIM_EVERYBODY, STR_NONE, STR_NONE };
	if ((has_at && local.n == 0) || domain.n == 0 || (!has_at && regular) || domain.p[0] == '.' ||
	    (!any_domain && str_holds(domain, '*')) || (has_at && !any_local && str_holds(local, '*')))
		return (struct opendkim_author){ OPENDKIM_OTHER, STR_NONE, STR_NONE };
	if (!has_at || any_local)
		return (struct opendkim_author){ OPENDKIM_DOMAIN, STR_NONE, domain };
	return (struct opendkim_author){ OPENDKIM_ADDRESS, local, any_domain ? STR_NONE : domain };
}

str opendkim_expand(str text, str domain, struct arena *a)
{
	struct buf b;
	str out;

	if (!str_holds(text, '%'))
		return text;
	buf_init(&b, 1 << 20);
	for (size_t i = 0; i < text.n; i++)
		buf_add(&b, text.p[i] == '%' ? domain : (str){ text.p + i, 1 });
	out = b.failed ? STR_NONE : str_keep(a, buf_str(&b));
	buf_fini(&b);
	return out;
}
