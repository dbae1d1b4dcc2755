/* SPDX-License-Identifier: ISC */
/*
 * What became of a lease.
 *
 * Its recipients fall into groups, each a part of its own: done, staged, put
 * off, bounced.  Each group's fates are written down (fates.c) before anything
 * else happens to it.  Timetable thread.
 */
#include "queue/deliver/timetable_inside.h"

#include <stdlib.h>

#include "smtpd/base/crypt.h"

/* ---- the log ------------------------------------------------------------------------------------- */

static const char *event_of(const struct lease *l, const struct lease_rcpt *r, enum fate fate)
{
	if (fate == FATE_DELIVERED && (r->flags & RCPT_EXPANDED))
		return "delivery.expanded";
	if (fate == FATE_DELIVERED)
		return l->route.kind == ROUTE_HOST || l->route.kind == ROUTE_MX ? "delivery.sent" : "delivery.delivered";
	return fate == FATE_BOUNCED ? "delivery.bounced" : "delivery.deferred";
}

static void log_rcpt(const struct lease *l, const struct lease_rcpt *r, enum fate fate, int64_t next)
{
	char id[QUEUE_ID_TEXT], stamp[40];
	struct log log = { .id = queue_id_text(l->entry->id, id) };
	struct log_kv v[8];
	size_t n = 0;

	v[n++] = KV("to", r->address);
	if (l->host.n > 0)
		v[n++] = KV("host", l->host);
	v[n++] = KV("reply", r->said);
	v[n++] = KV_I("delay", clock_wall() - l->entry->arrived);
	if (l->tls.n > 0)
		v[n++] = KV("tls", l->tls);
	if (l->tls.n > 0 && l->verified != NULL)
		v[n++] = KV_C("verified", l->verified);
	if (fate == FATE_DEFERRED)
		v[n++] = KV("next", clock_stamp((uint64_t)next * 1000000, stamp));
	if (fate == FATE_BOUNCED && l->entry->sender.n == 0)
		v[n++] = KV_C("notice", bounce_is_double(l->entry) ? "to postmaster: it was a notice of ours"
		                                                   : "none: the sender is empty, so nobody is told");
	if (fate == FATE_BOUNCED && bounce_is_backscatter(l->setup->relay, l->entry))
		v[n++] = KV_C("notice", "none: the sender is most likely forged (relay { notify-forged })");
	log_write(&log, LOG_INFO, event_of(l, r, fate), v, n);
}

/* ---- groups ----------------------------------------------------------------------------------------- */

enum group { DONE, STAGED, PUT_OFF, STILL_STAGED, BOUNCED, HELD, GROUPS };

static struct backoff_conf schedule(const struct timetable *t)
{
	const struct relay_conf *r = relay(t);

	return (struct backoff_conf){
		.first_ms = r->retry_first_ms, .most_ms = r->retry_most_ms, .give_up_ms = r->give_up_ms,
		.give_up_bounce_ms = r->give_up_bounce_ms, .delay_notice_ms = r->delay_notice_ms,
	};
}

static bool is_expired(const struct timetable *t, const struct message *m)
{
	struct backoff_conf c = schedule(t);

	return backoff_expired(&c, m->from_null, m->since, clock_wall());
}

/* The last answer stands; that the time is up is what made it final. */
static void give_up(struct lease *l, struct lease_rcpt *r)
{
	r->fate = FATE_BOUNCED;
	if (r->status.n == 0 || r->status.p[0] != '5')
		r->status = STR("5.4.7");
	if (r->said.n == 0)
		r->said = arena_printf(&l->arena, "The message could not be delivered in time");
}

static enum group group_of(const struct timetable *t, struct lease *l, struct lease_rcpt *r)
{
	const struct part *p = l->part;
	const struct queue_entry *e = l->entry;

	if (r->fate == FATE_DEFERRED && is_expired(t, p->message) && !t->stopping)
		give_up(l, r);
	switch (r->fate) {
	case FATE_DELIVERED:
		return DONE;
	case FATE_STAGED:
		return STAGED;
	case FATE_HELD:
		return HELD;
	case FATE_BOUNCED:
		if (r->flags & RCPT_COPY) {
			r->kept = true;
			return HELD;
		}
		return bounce_wanted(relay(t), e, &e->rcpts[r->index], DSN_FAILED) ? BOUNCED : DONE;
	default:
		return r->staged ? STILL_STAGED : PUT_OFF;
	}
}

struct picked { struct lease_rcpt **v; size_t n; };

static void count_done(struct timetable *t, const struct lease_rcpt *r)
{
	if (r->fate == FATE_DELIVERED)
		atomic_fetch_add(&t->figures.delivered, 1);
	else
		atomic_fetch_add(&t->figures.bounced, 1);
}

static bool is_local(const struct lease *l)
{
	return l->route.kind == ROUTE_MAILDIR || l->route.kind == ROUTE_LMTP || l->route.target.n == 0;
}

/* Who wants to hear of success: of what lies in a mailbox here, and of what
 * went to a host that will not tell (RFC 3461 5.2.2). */
static struct bounce *good_news(const struct lease *l, const struct picked *g)
{
	struct bounce *b = NULL;

	for (size_t i = 0; i < g->n; i++) {
		const struct lease_rcpt *r = g->v[i];
		const struct queue_rcpt *q = &l->entry->rcpts[r->index];
		enum dsn_action action = r->flags & RCPT_EXPANDED ? DSN_EXPANDED : is_local(l) ? DSN_DELIVERED : DSN_RELAYED;

		if (r->fate != FATE_DELIVERED || (!is_local(l) && !r->relayed) || !bounce_wanted(l->setup->relay, l->entry, q, action))
			continue;
		if (b == NULL && (b = bounce_new(g->n)) == NULL)
			return NULL;
		bounce_add(b, r->index, q, action, STR("2.0.0"), r->said, l->host, 0);
	}
	return b;
}

static void group_done(struct timetable *t, struct part *p, struct lease *l, const struct picked *g)
{
	struct queue_fates *f = fates_for(p);
	struct bounce *b = good_news(l, g);

	for (size_t i = 0; i < g->n; i++) {
		count_done(t, g->v[i]);
		log_rcpt(l, g->v[i], g->v[i]->fate, 0);
		f->v[i] = (struct queue_fate){ .rcpt = g->v[i]->index, .fate = g->v[i]->fate,
		                               .tries = l->entry->rcpts[g->v[i]->index].tries + 1,
		                               .said = str_keep(&f->arena, g->v[i]->said),
		                               .host = str_keep(&f->arena, l->host) };
	}
	if (b != NULL)
		part_tell(t, p, b, f);
	else
		part_fates(t, p, f, AFTER_DROP);
}

static void group_staged(struct timetable *t, struct part *p, struct lease *l, const struct picked *g)
{
	struct queue_fates *f = fates_for(p);

	(void)l;
	for (size_t i = 0; i < g->n; i++)
		f->v[i] = (struct queue_fate){ .rcpt = g->v[i]->index, .fate = FATE_STAGED,
		                               .place = str_keep(&f->arena, g->v[i]->staged_as) };
	part_fates(t, p, f, AFTER_MOVE);
}

/* Greylisting is a date with the message; a provider that rests takes it along. */
static int64_t stated_try(const struct timetable *t, const struct lease *l)
{
	const struct destination *d = ((const struct part *)l->part)->to;
	struct backoff_conf c = schedule(t);
	int64_t now = clock_wall(), after = l->pace.after_s;

	if (l->pace.kind == PACE_SLOWED)
		return d->not_before > now ? d->not_before : 0;
	if (l->pace.kind != PACE_GREYLISTED)
		return 0;
	if (after == 0)
		return now + backoff_next(&c, 1, random_below(UINT64_MAX));
	return now + after + 1 + (int64_t)random_below((uint64_t)after / 20 + 5);
}

static int64_t next_try(const struct timetable *t, const struct lease *l, const struct picked *g)
{
	struct backoff_conf c = schedule(t);
	int64_t stated = stated_try(t, l);
	uint32_t tries = 0;

	if (stated > 0)
		return stated;
	for (size_t i = 0; i < g->n; i++)
		if (l->entry->rcpts[g->v[i]->index].tries > tries)
			tries = l->entry->rcpts[g->v[i]->index].tries;
	return clock_wall() + backoff_next(&c, tries + 1, random_below(UINT64_MAX));
}

static void group_put_off(struct timetable *t, struct part *p, struct lease *l, const struct picked *g)
{
	struct queue_fates *f = fates_for(p);
	bool cut_off = t->hurried && str_is(g->v[0]->status, STOPPED_STATUS);
	int64_t next = cut_off ? clock_wall() : next_try(t, l, g);

	for (size_t i = 0; i < g->n; i++) {
		const struct lease_rcpt *r = g->v[i];

		log_rcpt(l, r, FATE_DEFERRED, next);
		f->v[i] = (struct queue_fate){ .rcpt = r->index, .fate = FATE_DEFERRED, .next = next,
		                               .tries = l->entry->rcpts[r->index].tries + 1,
		                               .said = str_keep(&f->arena, r->said),
		                               .host = str_keep(&f->arena, l->host) };
	}
	atomic_fetch_add(&t->figures.deferred, g->n);
	p->next = next;
	part_fates(t, p, f, AFTER_WAIT);
}

/* Its row says where the file lies and must go on saying so. */
static void group_still_staged(struct timetable *t, struct part *p, struct lease *l, const struct picked *g)
{
	int64_t next = next_try(t, l, g);

	for (size_t i = 0; i < g->n; i++)
		log_rcpt(l, g->v[i], FATE_DEFERRED, next);
	part_wait(t, p, next);
}

/* What was not damaged is kept for the operator to decide: an archive that
 * refuses its copy must not lose it. */
static void log_kept(const struct lease *l, const struct lease_rcpt *r)
{
	char id[QUEUE_ID_TEXT];
	struct log log = { .id = queue_id_text(l->entry->id, id) };

	if (r->flags & RCPT_COPY)
		log_event(&log, LOG_ERROR, "copy.held", KV("to", r->address), KV("reply", r->said),
		          KV_C("next", "mend it, then `postern queue release`"));
	else
		log_event(&log, LOG_NOTICE, "delivery.held", KV("to", r->address), KV("reply", r->said));
}

/* For the operator to decide.  What is stored damaged is neither tried for ever
 * nor given up. */
static void group_held(struct timetable *t, struct part *p, struct lease *l, const struct picked *g)
{
	struct queue_fates *f = fates_for(p);
	bool damaged = false;

	for (size_t i = 0; i < g->n; i++) {
		damaged = damaged || !g->v[i]->kept;
		if (g->v[i]->kept)
			log_kept(l, g->v[i]);
		p->message->entry->rcpts[g->v[i]->index].changed = clock_wall();   /* see route_flags */
		f->v[i] = (struct queue_fate){ .rcpt = g->v[i]->index, .fate = FATE_HELD,
		                               .said = str_keep(&f->arena, g->v[i]->said) };
	}
	if (damaged)
		message_content_is_damaged(t, p->message);
	part_fates(t, p, f, AFTER_HOLD);
}

static void group_bounced(struct timetable *t, struct part *p, struct lease *l, const struct picked *g)
{
	struct bounce *b = bounce_new(g->n);

	if (b == NULL) {
		part_wait(t, p, clock_wall() + 60);
		return;
	}
	for (size_t i = 0; i < g->n; i++) {
		const struct lease_rcpt *r = g->v[i];
		bool theirs = r->said.n > 3 && is_digit(r->said.p[0]) && l->host.n > 0;

		log_rcpt(l, r, FATE_BOUNCED, 0);
		bounce_add(b, r->index, &l->entry->rcpts[r->index], DSN_FAILED, r->status, r->said,
		           theirs ? l->host : STR_NONE, 0);
	}
	part_bounce(t, p, b);
}

static void (*const group_to[GROUPS])(struct timetable *, struct part *, struct lease *, const struct picked *) = {
	[DONE] = group_done, [STAGED] = group_staged, [PUT_OFF] = group_put_off,
	[STILL_STAGED] = group_still_staged, [BOUNCED] = group_bounced, [HELD] = group_held,
};

static void finish_group(struct timetable *t, struct part *p, struct lease *l, enum group which, const struct picked *g)
{
	uint32_t *indexes = ARENA_ARRAY(&l->arena, uint32_t, g->n);
	struct part *q;

	must(indexes != NULL);
	for (size_t i = 0; i < g->n; i++)
		indexes[i] = g->v[i]->index;
	q = part_split(t, p, indexes, g->n);
	must(q != NULL);           /* half a part has no state to be in, and it has a fate already */
	group_to[which](t, q, l, g);
}

/* The message stays, whatever its parts do meanwhile. */
void lease_done(struct timetable *t, struct part *p, struct lease *l)
{
	struct message *m = p->message;
	struct picked g[GROUPS] = { 0 };

	part_alone_ends(t, p);
	p->first = false;
	message_lend(m);
	for (size_t k = 0; k < GROUPS; k++) {
		g[k].v = ARENA_ARRAY(&l->arena, struct lease_rcpt *, l->n);
		must(g[k].v != NULL);
	}
	for (size_t i = 0; i < l->n; i++) {
		enum group which = group_of(t, l, &l->v[i]);

		g[which].v[g[which].n++] = &l->v[i];
	}
	for (size_t k = 0; k < GROUPS; k++)
		if (g[k].n > 0)
			finish_group(t, p, l, k, &g[k]);
	lease_free(t, l);
	message_returned(t, m);
}

/* ---- without having been anywhere --------------------------------------------------------------------- */

static str last_word(const struct part *p, const struct queue_rcpt *r)
{
	if (r->said.n > 0)
		return r->said;
	return str_of(p->to->said);
}

void part_expire(struct timetable *t, struct part *p)
{
	struct lease *l = lease_blank(t, p);

	if (l == NULL) {
		part_wait(t, p, clock_wall() + 60);
		return;
	}
	for (size_t i = 0; i < l->n; i++)
		lease_settle(l, &l->v[i], FATE_DEFERRED, STR_NONE, last_word(p, &l->entry->rcpts[l->v[i].index]));
	part_set(t, p, PART_LEASED);
	lease_done(t, p, l);
}
