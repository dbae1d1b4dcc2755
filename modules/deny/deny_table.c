/* SPDX-License-Identifier: ISC */
/*
 * deny_table: entries, found fast.  Addresses and whole names are looked up in
 * one sorted array, however many there are (a log watcher may add thousands);
 * networks and patterns with * or a leading dot are walked.  Immutable.
 */
#include <stdlib.h>
#include <string.h>

#include "modules/deny/deny.h"
#include "smtpd/base/err.h"

struct deny_table {
	struct arena              arena;
	struct deny_entry        *v;
	size_t                    n;
	const struct deny_entry **exact;             /* sorted by key */
	size_t                    nexact;
	const struct deny_entry **loose[DENY_KINDS];
	size_t                    nloose[DENY_KINDS], nkind[DENY_KINDS];
};

static const char *const kind_words[DENY_KINDS] = {
	[DENY_CLIENT] = "client",	[DENY_PTR] = "ptr",
	[DENY_HELO] = "helo",		[DENY_SENDER] = "sender",
	[DENY_RECIPIENT] = "recipient",
};

const char *deny_kind_word(enum deny_kind k)
{
	return kind_words[k];
}

bool deny_kind_read(str word, enum deny_kind *out)
{
	for (size_t i = 0; i < DENY_KINDS; i++)
		if (str_is_nocase(word, kind_words[i])) {
			*out = (enum deny_kind)i;
			return true;
		}
	return false;
}

/* ---- patterns -------------------------------------------------------------- */

/* The last * alone is ever tried again: what matched before it can stay. */
bool deny_glob(str pattern, str subject)
{
	size_t p = 0, s = 0, star = SIZE_MAX, mark = 0;

	while (s < subject.n) {
		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			mark = s;
		} else if (p < pattern.n && to_lower(pattern.p[p]) == to_lower(subject.p[s])) {
			p++;
			s++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			s = ++mark;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}

static bool is_loose(const struct deny_entry *e)
{
	if (e->kind == DENY_CLIENT)
		return e->net.bits < (e->net.v4 ? 32u : 128u);
	return str_holds(e->value, '*') || e->value.p[0] == '.';
}

/* A kind and what is looked for stand in one string, so one array serves all. */
static str key_of(struct arena *a, enum deny_kind kind, str bytes)
{
	char *p = arena_alloc(a, bytes.n + 1);

	if (p == NULL)
		return STR_NONE;
	p[0] = (char)kind;
	for (size_t i = 0; i < bytes.n; i++)
		p[i + 1] = kind == DENY_CLIENT ? bytes.p[i] : to_lower(bytes.p[i]);
	return (str){ p, bytes.n + 1 };
}

static str ip_bytes(const struct cidr *c)
{
	return (str){ (const char *)c->ip, c->v4 ? 4 : 16 };
}

/* ---- a value, read --------------------------------------------------------- */

static bool in_bounds(str value, str *why)
{
	*why = STR("must be 1 to 320 printable characters");
	if (value.n == 0 || value.n > 320)
		return false;
	for (size_t i = 0; i < value.n; i++)
		if ((unsigned char)value.p[i] <= ' ' || value.p[i] == 0x7f)
			return false;
	return true;
}

bool deny_value_check(enum deny_kind kind, str value, struct arena *a, str *why)
{
	struct cidr net;

	if (!in_bounds(value, why))
		return false;
	if (kind == DENY_CLIENT)
		return cidr_parse(value, &net, a, why);
	if (str_is(value, "*") || str_is(value, ".") || str_is(value, "@") ||
	    str_is(value, "*@*")) {
		*why = STR("must not be everybody: a server that takes no mail has no listener");
		return false;
	}
	if ((kind == DENY_PTR || kind == DENY_HELO) && str_holds(value, '@')) {
		*why = STR("must be a host name such as \"host.example.org\" or "
			   "\"*.dynamic.example.org\"");
		return false;
	}
	return true;
}

/* "550 5.7.1 text", "450 text" or only a text. */
static bool reply_split(str reply, int *code, str *esc, str *text)
{
	str rest = reply, word;
	uint32_t n;

	*code = 550;
	*esc = STR_NONE;
	*text = reply;
	if (!str_cut(&rest, ' ', &word) || word.n != 3 || !str_to_u32(word, &n))
		return true;
	if (n < 400 || n > 599)
		return false;
	*code = (int)n;
	*text = str_trim(rest);
	rest = *text;
	if (str_cut(&rest, ' ', &word) && word.n >= 5 && word.p[1] == '.' && is_digit(word.p[0])) {
		*esc = word;
		*text = str_trim(rest);
		return word.p[0] == reply.p[0];
	}
	return true;
}

bool deny_reply_check(str reply, struct arena *a, str *why)
{
	str esc, text;
	int code;

	(void)a;
	*why = STR("must be a text, or one behind a code, such as \"550 5.7.1 No mail from you, "
		   "thank you\"");
	return reply.n <= 400 && reply_split(reply, &code, &esc, &text);
}

/* Names come to us as A-labels. */
static str in_ascii(struct arena *a, str value)
{
	size_t at = str_rfind(value, '@') < value.n ? str_rfind(value, '@') + 1 : 0;
	str    ascii;

	for (size_t i = at; i < value.n; i++)
		if ((unsigned char)value.p[i] >= 0x80 &&
		    domain_to_ascii(a, str_skip(value, at), &ascii))
			return arena_printf(a, "%.*s%.*s", STR_ARG(str_head(value, at)),
					    STR_ARG(ascii));
	return value;
}

static void derive(struct deny_entry *e, struct arena *a)
{
	str esc, why;

	e->value = in_ascii(a, e->value);
	reply_split(e->reply, &e->code, &esc, &e->text);
	e->esc = esc.n > 0 ? str_cstr(a, esc) : e->code < 500 ? "4.7.1" : "5.7.1";
	if (e->kind == DENY_CLIENT && cidr_parse(e->value, &e->net, a, &why))
		e->value = cidr_text(a, &e->net);
	else if ((e->kind == DENY_SENDER || e->kind == DENY_RECIPIENT) &&
		 !str_holds(e->value, '@') && !str_is(e->value, "<>") && e->value.p[0] != '.')
		e->value = arena_printf(a, "@%.*s", STR_ARG(e->value));
	e->key = key_of(a, e->kind, e->kind == DENY_CLIENT ? ip_bytes(&e->net) : e->value);
}

/* ---- the table ------------------------------------------------------------- */

static int by_key(const void *x, const void *y)
{
	const struct deny_entry *a = *(const struct deny_entry *const *)x,
				*b = *(const struct deny_entry *const *)y;

	return str_cmp(a->key, b->key);
}

static void copy_entry(struct deny_table *t, const struct deny_entry *from)
{
	struct deny_entry *e = &t->v[t->n++];

	*e = *from;
	e->value = str_keep_lower(&t->arena, from->value);
	e->name = str_keep(&t->arena, from->name);
	e->reply = str_keep(&t->arena, from->reply);
	if (e->value.p != NULL)
		derive(e, &t->arena);
}

static void index_entries(struct deny_table *t)
{
	for (size_t i = 0; i < t->n; i++) {
		const struct deny_entry *e = &t->v[i];

		t->nkind[e->kind]++;
		if (is_loose(e))
			t->loose[e->kind][t->nloose[e->kind]++] = e;
		else
			t->exact[t->nexact++] = e;
	}
	if (t->nexact > 0)
		qsort(t->exact, t->nexact, sizeof(*t->exact), by_key);
}

struct deny_table *deny_table_new(const struct deny_entry *v, size_t n)
{
	struct deny_table *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	arena_init(&t->arena, ARENA_UNBOUNDED);
	t->v = ARENA_ARRAY(&t->arena, struct deny_entry, n + 1);
	t->exact = ARENA_ARRAY(&t->arena, const struct deny_entry *, n + 1);
	for (size_t k = 0; k < DENY_KINDS; k++)
		t->loose[k] = ARENA_ARRAY(&t->arena, const struct deny_entry *, n + 1);
	for (size_t i = 0; t->v != NULL && i < n; i++)
		copy_entry(t, &v[i]);
	if (t->arena.spent) {
		deny_table_free(t);
		return NULL;
	}
	index_entries(t);
	return t;
}

void deny_table_free(struct deny_table *t)
{
	if (t == NULL)
		return;
	arena_fini(&t->arena);
	free(t);
}

const struct deny_entry *deny_table_entries(const struct deny_table *t, size_t *n)
{
	*n = t != NULL ? t->n : 0;
	return t != NULL ? t->v : NULL;
}

bool deny_table_has(const struct deny_table *t, enum deny_kind kind)
{
	return t != NULL && t->nkind[kind] > 0;
}

/* ---- looking up ------------------------------------------------------------- */

static bool in_force(const struct deny_entry *e, int64_t now)
{
	return e->until == 0 || e->until > now;
}

static size_t lower_bound(const struct deny_table *t, str key)
{
	size_t low = 0, high = t->nexact;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (str_cmp(t->exact[middle]->key, key) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static const struct deny_entry *find_exact(const struct deny_table *t, enum deny_kind kind,
					   str bytes, int64_t now)
{
	char room[512];
	str  key = { room, bytes.n + 1 };

	if (bytes.n + 1 > sizeof(room))
		return NULL;
	room[0] = (char)kind;
	for (size_t i = 0; i < bytes.n; i++)
		room[i + 1] = kind == DENY_CLIENT ? bytes.p[i] : to_lower(bytes.p[i]);
	for (size_t i = lower_bound(t, key); i < t->nexact && str_eq(t->exact[i]->key, key); i++)
		if (in_force(t->exact[i], now))
			return t->exact[i];
	return NULL;
}

const struct deny_entry *deny_find_client(const struct deny_table *t, const struct sockaddr *sa,
					  int64_t now)
{
	const struct deny_entry *e;
	struct cidr one;

	if (t == NULL || t->nkind[DENY_CLIENT] == 0 || !cidr_of(sa, &one))
		return NULL;
	e = find_exact(t, DENY_CLIENT, ip_bytes(&one), now);
	for (size_t i = 0; e == NULL && i < t->nloose[DENY_CLIENT]; i++)
		if (in_force(t->loose[DENY_CLIENT][i], now) &&
		    cidr_holds(&t->loose[DENY_CLIENT][i]->net, sa))
			e = t->loose[DENY_CLIENT][i];
	return e;
}

static bool loose_fits(str pattern, str subject)
{
	if (pattern.p[0] != '.' || str_holds(pattern, '*'))
		return deny_glob(pattern, subject);
	/* ".example.org", for host names and for the domains of addresses. */
	return subject.n > pattern.n && str_ends_nocase(subject, pattern);
}

static const struct deny_entry *find_loose(const struct deny_table *t, enum deny_kind kind,
					   str subject, int64_t now)
{
	for (size_t i = 0; i < t->nloose[kind]; i++) {
		const struct deny_entry *e = t->loose[kind][i];

		if (in_force(e, now) && loose_fits(e->value, subject))
			return e;
	}
	return NULL;
}

const struct deny_entry *deny_find_name(const struct deny_table *t, enum deny_kind kind, str name,
					int64_t now)
{
	const struct deny_entry *e;

	if (t == NULL || t->nkind[kind] == 0 || name.n == 0)
		return NULL;
	if (name.n > 1 && name.p[name.n - 1] == '.')
		name.n--;
	e = find_exact(t, kind, name, now);
	return e != NULL ? e : find_loose(t, kind, name, now);
}

const struct deny_entry *deny_find_path(const struct deny_table *t, enum deny_kind kind,
					const struct path *p, int64_t now)
{
	const struct deny_entry *e;
	size_t at;

	if (t == NULL || t->nkind[kind] == 0)
		return NULL;
	if (p->is_null)
		return find_exact(t, kind, STR("<>"), now);
	at = str_rfind(p->text, '@');
	e = find_exact(t, kind, p->text, now);
	if (e == NULL && at < p->text.n)
		e = find_exact(t, kind, str_skip(p->text, at), now);
	return e != NULL ? e : find_loose(t, kind, p->text, now);
}
