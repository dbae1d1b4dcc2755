/* SPDX-License-Identifier: ISC */
/* See memory.h. */
#include "smtpd/setup/doctor/memory.h"

#include <string.h>

#include "smtpd/base/json.h"

#define VERSION 1

/* ---- the file ----------------------------------------------------------------------------------- */

static bool get(const struct json *one, const char *key, struct arena *a, str *out)
{
	str text;

	if (!json_get_text(json_at(one, key), &text))
		return false;
	*out = str_keep(a, text);
	return true;
}

static bool read_verdict(str word, enum doctor_verdict *out)
{
	for (int v = DOCTOR_OK; v <= DOCTOR_FAULT; v++)
		if (str_is(word, doctor_word((enum doctor_verdict)v))) {
			*out = (enum doctor_verdict)v;
			return true;
		}
	return false;
}

static bool read_one(const struct json *one, struct arena *a, struct remembered *out)
{
	str verdict;

	return get(one, "check", a, &out->check) && get(one, "subject", a, &out->subject) && get(one, "about", a, &out->about) &&
	       get(one, "seen", a, &out->seen) && json_get_text(json_at(one, "verdict"), &verdict) && read_verdict(verdict, &out->verdict);
}

enum err memory_read(str text, struct arena *a, struct memory *out)
{
	struct json *root = json_read(text);
	const struct json *list = root != NULL ? json_at(root, "seen") : NULL;
	size_t n = list != NULL ? json_count(list) : 0;
	int64_t version = 0;
	bool good = root != NULL && json_get_whole(json_at(root, "version"), &version) && version == VERSION &&
	            json_get_whole(json_at(root, "when"), &out->when);

	out->n = 0;
	out->v = ARENA_ARRAY(a, struct remembered, n + 1);
	for (size_t i = 0; good && out->v != NULL && i < n; i++) {
		good = read_one(json_nth(list, i), a, &out->v[i]);
		out->n += good;
	}
	json_free(root);
	return good && out->v != NULL ? OK : ERR_BAD;
}

char *memory_text(const struct memory *m)
{
	struct json *root = json_new_object(), *list;

	json_set_num(root, "version", VERSION);
	json_set_num(root, "when", m->when);
	list = json_set_array(root, "seen");
	for (size_t i = 0; i < m->n; i++) {
		const struct remembered *r = &m->v[i];
		struct json *one = json_add_object(list);

		json_set(one, "check", r->check);
		json_set(one, "subject", r->subject);
		json_set(one, "about", r->about.n > 0 ? r->about : STR(""));
		json_set_c(one, "verdict", doctor_word(r->verdict));
		json_set(one, "seen", r->seen.n > 0 ? r->seen : STR(""));
	}
	return json_text(root);
}

/* ---- what was found -------------------------------------------------------------------------------- */

static bool is_of(const struct remembered *r, const struct exam *e)
{
	return str_is(r->check, e->check->name) && str_eq(r->subject, e->subject);
}

/* Nothing was seen of it this time. */
static bool is_hidden(const struct remembered *r, const struct exam *e)
{
	for (size_t i = 0; i < e->n; i++)
		if (e->v[i].unknown && (e->v[i].about.n == 0 || str_eq(e->v[i].about, r->about)))
			return true;
	return false;
}

static void add_exam(const struct exam *e, const struct memory *old, struct memory *out)
{
	for (size_t i = 0; i < e->n; i++) {
		const struct finding *f = &e->v[i];

		if (!f->unknown)
			out->v[out->n++] = (struct remembered){ str_of(e->check->name), e->subject, f->about, f->seen, f->todo, f->verdict };
	}
	for (size_t i = 0; old != NULL && i < old->n; i++)
		if (is_of(&old->v[i], e) && is_hidden(&old->v[i], e))
			out->v[out->n++] = old->v[i];
}

void memory_of(const struct doctor *d, const struct memory *old, int64_t now, struct arena *a, struct memory *out)
{
	size_t room = old != NULL ? old->n * (d->n + 1) : 0;

	for (size_t i = 0; i < d->n; i++)
		room += d->v[i].n;
	*out = (struct memory){ .when = now, .v = ARENA_ARRAY(a, struct remembered, room + 1) };
	for (size_t i = 0; out->v != NULL && i < d->n; i++)
		add_exam(&d->v[i], old, out);
}

/* ---- what is different ------------------------------------------------------------------------------- */

static bool same_place(const struct remembered *a, const struct remembered *b)
{
	return str_eq(a->check, b->check) && str_eq(a->subject, b->subject) && str_eq(a->about, b->about);
}

static bool same(const struct remembered *a, const struct remembered *b)
{
	const struct check *c = doctor_check(a->check);

	return same_place(a, b) && a->verdict == b->verdict && ((c != NULL && c->wavers) || str_eq(a->seen, b->seen));
}

static bool holds(const struct memory *m, const struct remembered *r)
{
	for (size_t i = 0; i < m->n; i++)
		if (same(&m->v[i], r))
			return true;
	return false;
}

/* The first of `m` at the same place that is not in `other` either, and not taken yet. */
static const struct remembered *counterpart(const struct memory *m, const struct memory *other, const struct remembered *r, bool *taken)
{
	for (size_t i = 0; i < m->n; i++)
		if (!taken[i] && same_place(&m->v[i], r) && !holds(other, &m->v[i])) {
			taken[i] = true;
			return &m->v[i];
		}
	return NULL;
}

/* A check that this version does not know, or a domain that is gone, is no change. */
static bool is_looked_at(const struct memory *m, const struct remembered *r)
{
	for (size_t i = 0; i < m->n; i++)
		if (str_eq(m->v[i].check, r->check) && str_eq(m->v[i].subject, r->subject))
			return true;
	return false;
}

size_t memory_compare(const struct memory *old, const struct memory *now, struct arena *a, struct change **out)
{
	struct change *v = ARENA_ARRAY(a, struct change, old->n + now->n + 1);
	bool *taken = ARENA_ARRAY(a, bool, old->n + 1);
	size_t n = 0;

	*out = v;
	if (v == NULL || taken == NULL)
		return 0;
	for (size_t i = 0; i < now->n; i++)
		if (!holds(old, &now->v[i]) && is_looked_at(old, &now->v[i]))
			v[n++] = (struct change){ counterpart(old, now, &now->v[i], taken), &now->v[i] };
	for (size_t i = 0; i < old->n; i++)
		if (!taken[i] && !holds(now, &old->v[i]) && is_looked_at(now, &old->v[i]))
			v[n++] = (struct change){ &old->v[i], NULL };
	return n;
}

/* ---- words ---------------------------------------------------------------------------------------------- */

static str line(struct arena *a, const char *word, const struct remembered *r)
{
	if (r == NULL)
		return arena_printf(a, "    %s  nothing to say\r\n", word);
	return arena_printf(a, "    %s  %s: %.*s\r\n", word, doctor_word(r->verdict), STR_ARG(r->seen));
}

str changes_text(const struct change *v, size_t n, struct arena *a)
{
	str out = STR("");

	for (size_t i = 0; i < n; i++) {
		const struct remembered *r = v[i].is != NULL ? v[i].is : v[i].was;
		str was = line(a, "was", v[i].was), is = line(a, "is ", v[i].is);
		str todo = v[i].is != NULL && v[i].is->todo.n > 0 ? arena_printf(a, "    do   %.*s\r\n", STR_ARG(v[i].is->todo)) : STR("");

		out = arena_printf(a, "%.*s%.*s, %.*s%s%.*s\r\n%.*s%.*s%.*s\r\n", STR_ARG(out), STR_ARG(r->subject), STR_ARG(r->check),
		                   r->about.n > 0 ? ", " : "", STR_ARG(r->about), STR_ARG(was), STR_ARG(is), STR_ARG(todo));
	}
	return out;
}
