/* SPDX-License-Identifier: ISC */
/*
 * Questions come by mailbox, wait at their domain's entry and go home with a
 * copy of what it holds.  The table is bounded: what was not used for longest
 * goes first, and is read from its note when it is asked for again.
 */
#include "queue/deliver/sts_inside.h"

#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/conn.h"

/* ---- the asker's side --------------------------------------------------------------------- */

static str keep_or_note(struct arena *a, str s, bool *spent)
{
	str copy = str_keep(a, s);

	*spent = *spent || (s.n > 0 && copy.p == NULL);
	return copy;
}

static struct strs keep_list(struct arena *a, const struct strs *list, bool *spent)
{
	struct strs copy = { ARENA_ARRAY(a, str, list->n), 0 };

	if (list->n > 0 && copy.v == NULL)
		*spent = true;
	for (size_t i = 0; i < list->n && !*spent; i++)
		copy.v[copy.n++] = keep_or_note(a, list->v[i], spent);
	return copy;
}

/* False: the arena is spent, and *to says nothing. */
static bool policy_copy(struct arena *a, const struct sts_policy *from, struct sts_policy *to)
{
	bool spent = false;

	*to = (struct sts_policy){ .mode = from->mode, .max_age_s = from->max_age_s };
	to->id = keep_or_note(a, from->id, &spent);
	to->mx = keep_list(a, &from->mx, &spent);
	to->lines = keep_list(a, &from->lines, &spent);
	if (spent)
		*to = (struct sts_policy){ 0 };
	return !spent;
}

static void request_free(struct sts_request *r)
{
	arena_fini(&r->arena);
	free(r);
}

/* Home again. */
static void answer_came(struct baton *b)
{
	struct sts_request *r = SUPER(b, struct sts_request, baton);
	struct sts_ask *ask = r->ask;
	struct sts_policy policy;

	if (ask != NULL) {
		bool spent = false;

		ask->request = NULL;
		ask->memory = !policy_copy(ask->arena, &r->policy, &policy) || r->memory;
		ask->fault = r->fault;         /* a constant */
		ask->why = keep_or_note(ask->arena, r->why, &spent);
	}
	request_free(r);
	if (ask != NULL)
		ask->answered(ask, &policy);
}

static void request_came(struct baton *);

static void without_memory(struct loop_call *c)
{
	struct sts_ask *ask = SUPER(c, struct sts_ask, later);
	const struct sts_policy none = { 0 };

	ask->memory = true;
	ask->answered(ask, &none);
}

void sts_find(struct sts *s, struct loop *loop, struct arena *a, str domain, struct sts_ask *ask,
              sts_answered *answered)
{
	struct sts_request *r = calloc(1, sizeof(*r));

	ask->answered = answered;
	ask->arena = a;
	ask->fault = ask->why = STR_NONE;
	ask->memory = false;
	ask->request = r;
	if (r == NULL) {
		loop_defer(loop, &ask->later, without_memory);
		return;
	}
	arena_init(&r->arena, ARENA_UNBOUNDED);
	r->sts = s;
	r->ask = ask;
	r->domain = str_keep_lower(&r->arena, str_head(domain, 256));
	r->baton.home = loop->mbox;
	r->baton.arrived = request_came;
	loop_send(s->loop, &r->baton);
}

void sts_stop(struct sts_ask *ask)
{
	loop_undefer(&ask->later);
	if (ask->request != NULL)
		ask->request->ask = NULL;
	ask->request = NULL;
}

/* ---- answering -------------------------------------------------------------------------------- */

static void send_home(struct sts_request *r)
{
	r->baton.arrived = answer_came;
	mbox_send(r->baton.home, &r->baton);
}

static struct sts_request *take_waiting(struct sts_entry *e)
{
	struct sts_request *r = e->waiting;

	e->waiting = NULL;
	return r;
}

void sts_answer_all(struct sts *s, struct sts_entry *e)
{
	const struct sts_policy *p = sts_entry_policy(e);

	(void)s;
	for (struct sts_request *r = take_waiting(e), *next; r != NULL; r = next) {
		next = r->next;
		if (p != NULL)
			r->memory = !policy_copy(&r->arena, p, &r->policy);
		r->fault = str_of(e->fault);
		r->why = str_keep(&r->arena, str_of(e->why));
		send_home(r);
	}
}

void sts_answer_memory(struct sts *s, struct sts_entry *e)
{
	(void)s;
	for (struct sts_request *r = take_waiting(e), *next; r != NULL; r = next) {
		next = r->next;
		r->memory = true;
		send_home(r);
	}
}

/* ---- entries -------------------------------------------------------------------------------------- */

const struct sts_policy *sts_entry_policy(const struct sts_entry *e)
{
	return e->kept != NULL && clock_wall() < sts_kept_until(e->kept) ? &e->kept->policy : NULL;
}

bool sts_entry_idle(const struct sts_entry *e)
{
	return e->look == NULL && e->waiting == NULL && !e->reading;
}

static void unlink_entry(struct sts *s, struct sts_entry *e)
{
	*(e->prev != NULL ? &e->prev->next : &s->first) = e->next;
	*(e->next != NULL ? &e->next->prev : &s->last) = e->prev;
}

static void link_first(struct sts *s, struct sts_entry *e)
{
	e->prev = NULL;
	e->next = s->first;
	*(s->first != NULL ? &s->first->prev : &s->last) = e;
	s->first = e;
}

static void entry_free(struct sts *s, struct sts_entry *e)
{
	unlink_entry(s, e);
	map_remove(&s->entries, str_of(e->domain));
	sts_entry_set(s, e, NULL);
	free(e->domain);
	free(e);
}

static void make_room(struct sts *s)
{
	struct sts_entry *e = s->last;

	while (e != NULL && (s->entries.n > STS_KEPT || s->bytes > STS_KEPT_BYTES)) {
		struct sts_entry *before = e->prev;

		if (sts_entry_idle(e))
			entry_free(s, e);
		e = before;
	}
}

void sts_entry_set(struct sts *s, struct sts_entry *e, struct sts_policy_kept *k)
{
	if (e->kept != NULL) {
		s->bytes -= e->kept->arena.used;
		sts_kept_free(e->kept);
	}
	e->kept = k;
	if (k != NULL)
		s->bytes += k->arena.used;
}

/* Letters, digits, hyphens, underscores: what may stand in a URL as it is. */
static bool is_domain(str s)
{
	if (s.n == 0 || s.n > 240)       /* "mta-sts." and "_mta-sts." go in front */
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
			return false;
	return s.p[0] != '.' && s.p[s.n - 1] != '.';
}

struct sts_entry *sts_entry_get(struct sts *s, str domain)
{
	struct sts_entry *e = map_get(&s->entries, domain);

	if (e != NULL)
		return e;
	e = calloc(1, sizeof(*e));
	if (e != NULL)
		e->domain = strndup(domain.p, domain.n);
	if (e == NULL || e->domain == NULL || !map_put(&s->entries, str_of(e->domain), e)) {
		if (e != NULL)
			free(e->domain);
		free(e);
		return NULL;
	}
	e->used = clock_wall();
	link_first(s, e);
	return e;
}

/* ---- the owner's side ---------------------------------------------------------------------------------- */

/* A policy that counts is not made to wait while a newer one is fetched to take
 * its place in good time; one that the domain has replaced is. */
static void look_for(struct sts *s, struct sts_entry *e)
{
	if (e->look != NULL && e->look->fetching && sts_entry_policy(e) != NULL &&
	    str_eq(e->look->id, e->kept->policy.id))
		sts_answer_all(s, e);
	else if (!e->read && !e->reading)
		sts_note_read(s, e);
	else if (e->look == NULL && !e->reading)
		sts_look_begin(s, e);
}

static void request_came(struct baton *b)
{
	struct sts_request *r = SUPER(b, struct sts_request, baton);
	struct sts *s = r->sts;
	struct sts_entry *e;

	if (s->ended) {                  /* nobody is there to hear it */
		request_free(r);
		return;
	}
	if (!is_domain(r->domain)) {
		r->memory = r->arena.spent;
		send_home(r);
		return;
	}
	e = sts_entry_get(s, r->domain);
	if (e == NULL) {
		r->memory = true;
		send_home(r);
		return;
	}
	e->used = clock_wall();
	unlink_entry(s, e);
	link_first(s, e);
	r->next = e->waiting;
	e->waiting = r;
	look_for(s, e);
	make_room(s);
}

/* ---- main's side ------------------------------------------------------------------------------------------- */

static void a_minute_passed(struct loop_timer *t)
{
	struct sts *s = SUPER(t, struct sts, minute);

	sts_refresh(s);
	make_room(s);
	loop_timer_set(t, 60000);
}

struct sts *sts_with(struct loop *owner, struct queue *q, struct desk *disk, struct fetcher *f,
                     const struct sts_conf *c)
{
	struct sts *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->loop = owner;
	s->queue = q;
	s->disk = disk;
	s->fetcher = f;
	s->port = c->port;
	map_init(&s->entries, false);
	loop_timer_init(&s->minute, owner, "sts", a_minute_passed);
	return s;
}

struct sts *sts_new(struct loop *owner, struct queue *q, struct desk *disk, struct desk *slow,
                    const struct sts_conf *c)
{
	struct fetcher *f = fetcher_new(owner, slow, c->ca);
	struct sts *s = f != NULL ? sts_with(owner, q, disk, f, c) : NULL;

	if (s == NULL && f != NULL)
		fetcher_free(f);
	return s;
}

void sts_begin(struct sts *s)
{
	loop_timer_set(&s->minute, 60000);
	sts_notes_load(s);
}

void sts_reconfigure(struct sts *s, const struct sts_conf *c)
{
	s->port = c->port;
	fetcher_trust(s->fetcher, c->ca);
}

void sts_end(struct sts *s)
{
	loop_timer_stop(&s->minute);
	for (struct sts_entry *e = s->first; e != NULL; e = e->next) {
		if (e->look != NULL)
			sts_look_drop(e->look);
		sts_answer_memory(s, e);
	}
	s->ended = true;
	fetcher_end(s->fetcher);
}

void sts_free(struct sts *s)
{
	if (s == NULL)
		return;
	while (s->first != NULL)
		entry_free(s, s->first);
	map_fini(&s->entries);
	fetcher_free(s->fetcher);
	free(s);
}
