/* SPDX-License-Identifier: ISC */
/*
 * A part becomes a lease: each recipient's route is asked for afresh, because
 * directory and settings may have changed since it was put in this line; who
 * belongs elsewhere now goes there.  Timetable thread.
 */
#include "queue/deliver/timetable_inside.h"

#include <stdlib.h>

#include "smtpd/mail/srs.h"

#define LEASE_MEMORY ((size_t)16 << 20)

void lease_free(struct timetable *t, struct lease *l)
{
	settings_let_go(t, l->settings);
	arena_fini(&l->arena);
	free(l);
}

/* ---- making ------------------------------------------------------------------------------- */

struct lease *lease_blank(struct timetable *t, struct part *p)
{
	const struct queue_entry *e = p->message->entry;
	struct lease *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	arena_init(&l->arena, LEASE_MEMORY);
	l->v = ARENA_ARRAY(&l->arena, struct lease_rcpt, p->n);
	if (l->v == NULL) {
		free(l);
		return NULL;
	}
	l->n = p->n;
	l->part = p;
	l->entry = e;
	l->head = e->fresh_head;
	l->utf8_header = p->message->utf8_header;
	l->settings = settings_use(t);
	l->setup = t->settings->setup;
	for (size_t i = 0; i < l->n; i++) {
		const struct queue_rcpt *r = &e->rcpts[p->rcpts[i]];

		l->v[i] = (struct lease_rcpt){
			.index = p->rcpts[i], .flags = r->own != NULL ? r->flags : r->flags & ~(unsigned)RCPT_OWN_SENDER,
			.address = r->address, .orcpt = r->orcpt,
			.sender = r->own != NULL ? r->own->sender : STR_NONE, .head = r->own != NULL ? r->own->head : STR_NONE,
			.staged = r->state == RCPT_STAGED, .staged_as = r->place, .staged_at = r->staged_at,
		};
	}
	return l;
}

/* Where a Maildir recipient's file goes. */
static void find_mailbox(struct lease *l, struct lease_rcpt *r, const struct route *route)
{
	r->place = route->place;
	if (!place_maildir(&l->arena, route->place, route->account, &r->dir))
		lease_settle(l, r, FATE_DEFERRED, STR("4.3.5"),
		             arena_printf(&l->arena, "The mailbox of %.*s has no safe path: its name holds what no directory may",
		                          STR_ARG(route->account)));
	else if (r->flags & RCPT_QUARANTINE)
		r->dir = arena_printf(&l->arena, "%.*s/.Junk", STR_ARG(r->dir));
}

static void look_at_route(struct lease *l, struct lease_rcpt *r, const struct route *route)
{
	switch (route->kind) {
	case ROUTE_NOWHERE:
		lease_settle(l, r, FATE_BOUNCED, route->status, route->said);
		break;
	case ROUTE_UNCLEAR:
		lease_settle(l, r, FATE_DEFERRED, route->status, route->said);
		break;
	case ROUTE_MAILDIR:
		find_mailbox(l, r, route);
		break;
	case ROUTE_HELD:
		r->kept = true;
		lease_settle(l, r, FATE_HELD, route->status, route->said);
		break;
	case ROUTE_EXPANDED:
		lease_settle(l, r, FATE_DELIVERED, route->status, route->said);
		break;
	default:
		break;
	}
}

/* An alias to elsewhere that has appeared since: as the way in would have done it. */
static void leaves_again(struct lease *l, struct lease_rcpt *r, str via)
{
	const struct deliver_setup *s = l->setup;
	struct path from, made;

	if (s->srs_secret == NULL || (r->flags & RCPT_OWN_SENDER) || !path_of(&l->arena, l->entry->sender, &from) ||
	    directory_domain(s->directory, from.domain) != NULL ||
	    !srs_forward(&l->arena, s->srs_secret, &from, s->srs_domain.n > 0 ? s->srs_domain : via, clock_wall(), &made))
		return;
	r->flags |= RCPT_OWN_SENDER;
	r->sender = made.text;
}

/* Where recipient i goes now, when that is not this destination.  False: no memory. */
static bool elsewhere(struct timetable *t, struct part *p, struct lease *l, size_t i, struct destination **to)
{
	struct lease_rcpt *r = &l->v[i];
	struct route route;

	route_find(l->setup, &l->arena, lease_sender(l, r), r->address, route_flags(&l->entry->rcpts[r->index]), &route);
	policy_mark_route(&route, l->entry->flags, &l->arena);
	if (r->staged) {
		if (route.kind == ROUTE_MAILDIR)
			find_mailbox(l, r, &route);
		return true;
	}
	if (!str_eq(route.key, p->to->key)) {
		*to = destination_get(t, route.key);
		return *to != NULL;
	}
	look_at_route(l, r, &route);
	l->route = route;
	r->to = route.to;
	if (route.via.n > 0)
		leaves_again(l, r, route.via);
	return true;
}

/* False: no memory; who has not gone yet is still in the part. */
static bool send_elsewhere(struct timetable *t, struct part *p, struct destination **to, size_t n, const uint32_t *all)
{
	uint32_t *some = calloc(n, sizeof(*some));
	bool enough = some != NULL;

	for (size_t i = 0; i < n && enough; i++) {
		struct destination *d = to[i];
		struct part *q;
		size_t k = 0;

		if (d == NULL)
			continue;
		for (size_t j = i; j < n; j++)
			if (to[j] == d) {
				some[k++] = all[j];
				to[j] = NULL;
			}
		q = part_split(t, p, some, k);
		enough = q != NULL;
		if (enough) {
			part_move(t, q, d);
			part_enter_line(t, q, true);
		} else {
			destination_maybe_free(t, d);
		}
	}
	free(some);
	return enough;
}

static struct lease *put_off(struct timetable *t, struct part *p, struct lease *l)
{
	if (l != NULL)
		lease_free(t, l);
	part_wait(t, p, clock_wall() + 60);
	return NULL;
}

/* NULL: all of it went elsewhere, or there was no memory. */
static struct lease *try_lease(struct timetable *t, struct part *p)
{
	struct lease *l = lease_blank(t, p);
	struct destination **to = l != NULL ? ARENA_ARRAY(&l->arena, struct destination *, l->n) : NULL;
	uint32_t *all = l != NULL ? ARENA_ARRAY(&l->arena, uint32_t, l->n) : NULL;
	size_t leaving = 0, n = l != NULL ? l->n : 0;

	if (to == NULL || all == NULL)
		return put_off(t, p, l);
	for (size_t i = 0; i < n; i++) {
		all[i] = l->v[i].index;
		if (!elsewhere(t, p, l, i, &to[i]))
			return put_off(t, p, l);
		leaving += to[i] != NULL;
	}
	if (leaving == 0)
		return l;
	if (!send_elsewhere(t, p, to, n, all))
		return put_off(t, p, l);
	lease_free(t, l);
	return leaving < n ? try_lease(t, p) : NULL;
}

static void say_clear_host(struct part *p, struct lease *l)
{
	const struct destination *d = p->to;

	if (d->clear_host != NULL && clock_wall() < d->clear_until)
		l->clear_host = str_keep(&l->arena, str_of(d->clear_host));
}

struct lease *lease_make(struct timetable *t, struct part *p)
{
	struct lease *l = try_lease(t, p);

	if (l == NULL)
		return NULL;
	say_clear_host(p, l);
	part_set(t, p, PART_LEASED);
	return l;
}

/* ---- lending ------------------------------------------------------------------------------------ */

void lease_lend(struct timetable *t, struct part *p, struct channel *c)
{
	struct lease *l = lease_make(t, p);

	if (l == NULL) {
		if (c != NULL)
			channel_home(t, c);
		return;
	}
	if (c == NULL) {                 /* nowhere: it is settled already */
		lease_done(t, p, l);
		return;
	}
	p->to->busy++;
	t->busy++;
	provider_lent(l, p->to);
	client_take(c->client, l);
}

static void remember_tls(struct destination *d, str host)
{
	if (host.n == 0)
		return;
	free(d->clear_host);
	d->clear_host = strndup(host.p, host.n);
	d->clear_until = clock_wall() + CLEAR_S;
}

static bool anything_final(const struct lease *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->v[i].fate == FATE_DELIVERED || l->v[i].fate == FATE_BOUNCED)
			return true;
	return false;
}

void lease_came_home(struct baton *b)
{
	struct timetable *t = timetable_here;
	struct lease *l = SUPER(b, struct lease, baton);
	struct part *p = l->part;
	struct destination *d = p->to;

	d->busy--;
	t->busy--;
	channel_home(t, client_user(l->channel));
	remember_tls(d, l->tls_failed);
	tls_report_add(t->report, l->results);
	provider_returned(t, d, l, anything_final(l));
	if (l->pace.kind == PACE_SLOWED && d->provider != NULL)
		;                        /* it rests with all of its provider */
	else if (l->unreachable && !t->stopping)
		destination_failed(t, d, l->v[0].said);
	else if (anything_final(l))
		destination_went_well(t, d);
	destination_ready(t, d);
	lease_done(t, p, l);
}
