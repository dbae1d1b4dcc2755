/* SPDX-License-Identifier: ISC */
/*
 * A message arrives, as news of the committer or from the store at the start:
 * its open recipients fall into parts by route and state.  Timetable thread
 * (at the start main's, before that thread exists).
 */
#include "queue/deliver/timetable_inside.h"

#define SUSPECT_S 1        /* what was being tried when the last life ended lets the others go first */

struct group { struct destination *to; bool staged, held; uint32_t *rcpts; size_t n; };

static bool wants_notice(const struct relay_conf *relay, const struct queue_entry *e, const uint32_t *rcpts, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct queue_rcpt *r = &e->rcpts[rcpts[i]];

		if (!r->delay_told && bounce_wanted(relay, e, r, DSN_DELAYED))
			return true;
	}
	return false;
}

static bool start_part(struct timetable *t, struct message *m, const struct group *g, bool first)
{
	struct part *p = part_new(t, m, g->to, g->rcpts, g->n);
	int64_t next = 0;

	if (p == NULL)
		return false;
	for (size_t i = 0; i < g->n; i++)
		if (m->entry->rcpts[g->rcpts[i]].next > next)
			next = m->entry->rcpts[g->rcpts[i]].next;
	p->told = !wants_notice(relay(t), m->entry, g->rcpts, g->n);
	p->staged = g->staged;
	p->next = g->staged ? 0 : next;
	p->first = first && p->next <= clock_wall();
	if (p->first && m->lives > 0 && !g->held)
		p->next = clock_wall() + SUSPECT_S;
	if (g->held)
		part_set(t, p, PART_HELD);
	else if (p->next > clock_wall())
		part_wait(t, p, p->next);
	else
		part_enter_line(t, p, g->staged);
	return true;
}

static struct destination *where(struct timetable *t, struct arena *a, const struct queue_entry *e, const struct queue_rcpt *r)
{
	struct route route;

	if (r->place.n > 0)
		return t->maildir;
	route_find(t->settings->setup, a, route_sender(e, r), r->address, route_flags(r), &route);
	policy_mark_route(&route, e->flags, a);
	return destination_get(t, route.key);
}

/* O(recipients × destinations), and both are small but for lists. */
static size_t group(struct timetable *t, struct message *m, struct arena *a, struct group *g)
{
	const struct queue_entry *e = m->entry;
	size_t n = 0;

	for (uint32_t i = 0; i < e->nrcpts; i++) {
		const struct queue_rcpt *r = &e->rcpts[i];
		struct group key = { .staged = r->place.n > 0, .held = r->state == RCPT_HELD };
		size_t k = 0;

		m->early = m->early || r->state == RCPT_SETTLED || r->tries > 0;
		if (r->state == RCPT_SETTLED)
			continue;
		m->open++;
		key.to = where(t, a, e, r);
		while (k < n && (g[k].to != key.to || g[k].staged != key.staged || g[k].held != key.held))
			k++;
		if (k == n) {
			g[n] = key;
			g[n++].rcpts = ARENA_ARRAY(a, uint32_t, e->nrcpts - i);
		}
		if (g[k].to == NULL || g[k].rcpts == NULL)
			return 0;
		g[k].rcpts[g[k].n++] = i;
	}
	return n;
}

static bool start_parts(struct timetable *t, struct message *m, bool first)
{
	struct arena a;
	struct group *g;
	size_t n = 0;

	arena_init(&a, (size_t)256 << 20);
	g = ARENA_ARRAY(&a, struct group, m->entry->nrcpts + 1);
	if (g != NULL)
		n = group(t, m, &a, g);
	for (size_t i = 0; i < n; i++)
		if (!start_part(t, m, &g[i], first))
			n = 0;
	arena_fini(&a);
	return n > 0;
}

/* All that is left of it is its id; it waits, held, until it is removed. */
static bool start_remains(struct timetable *t, struct message *m)
{
	struct destination *nowhere = destination_get(t, STR("nowhere"));
	struct part *p = nowhere != NULL ? part_new(t, m, nowhere, &(uint32_t){ 0 }, 1) : NULL;

	if (p == NULL)
		return false;
	m->open = 1;
	part_set(t, p, PART_HELD);
	return true;
}

static bool header_is_utf8(const struct queue_entry *e)
{
	str header = str_head(e->content, (size_t)e->header_bytes);

	if (!(e->flags & MESSAGE_SMTPUTF8))
		return false;
	for (size_t i = 0; i < header.n; i++)
		if ((unsigned char)header.p[i] >= 0x80)
			return true;
	return false;
}

/* Nothing is lost: it is in the store, and the next start finds it. */
static void unplanned(struct timetable *t, struct message *m)
{
	char id[QUEUE_ID_TEXT];

	log_event(&(struct log){ .id = queue_id_text(m->id, id) }, LOG_ERROR, "message.unplanned",
	          KV_C("why", m->open == 0 ? "no recipient is open" : "out of memory: it waits for the next start"));
	for (struct part *p = m->parts; p != NULL; p = p->sibling) {
		if (p->state == PART_IN_LINE)
			part_leave_line(t, p);
		part_set(t, p, PART_NEW);
		due_remove(&t->due, &p->due);
	}
	message_free(t, m);
}

/* News of a destination that rests are written down as put off, so that who
 * asks hears why nothing happens. */
static void put_off_what_rests(struct timetable *t, struct message *m)
{
	for (struct part *p = m->parts, *next; p != NULL; p = next) {
		next = p->sibling;
		if (p->state == PART_IN_LINE && destination_rests(p->to))
			part_put_off_unasked(t, p);
	}
}

/* Whether the header needs SMTPUTF8 is seen in the content, or when it is read. */
static bool may_stay(const struct timetable *t, const struct queue_entry *e, bool stored_before)
{
	if (stored_before || t->entries > ENTRIES_MOST || queue_keeps_much(t->queue))
		return false;
	return e->content.p != NULL || !(e->flags & MESSAGE_SMTPUTF8);
}

void message_add(struct timetable *t, struct queue_entry *e, bool stored_before, bool first)
{
	struct message *m = message_new(t, e);
	bool stays;

	if (m == NULL) {
		queue_entry_free(e);
		return;
	}
	m->utf8_header = header_is_utf8(e);
	message_lend(m);                 /* a part that waits forgets the entry; the next one is made from it */
	if (stored_before)
		message_judge(t, m);
	if (m->damaged ? !start_remains(t, m) : !start_parts(t, m, first)) {
		unplanned(t, m);
		return;
	}
	messages_note(t);
	if (!stored_before)
		put_off_what_rests(t, m);
	stays = may_stay(t, e, stored_before);
	message_returned(t, m);
	if (!stays && m->lent == 0)
		message_has(t, m, NULL);
}
