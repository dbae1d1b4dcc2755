/* SPDX-License-Identifier: ISC */
/*
 * Messages and their parts.
 *
 * A message's entry stays in memory from its arrival to the end of its first
 * try; afterwards only this skeleton remains, and the entry is read again when
 * a part is served.  What is not in the heap, in a line, lent or held does not
 * exist.  Timetable thread.
 */
#include "queue/deliver/timetable_inside.h"

#include <stdlib.h>
#include <string.h>

#define SOON_S 300        /* in line, too old, but its destination works: look again */

/* ---- figures ----------------------------------------------------------------------------- */

static _Atomic uint64_t *gauge(struct timetable *t, enum part_state s)
{
	switch (s) {
	case PART_WAITING:
	case PART_IN_LINE:
	case PART_LOADING:
		return &t->figures.waiting;
	case PART_LEASED:
	case PART_SETTLING:
		return &t->figures.leased;
	case PART_HELD:
		return &t->figures.held;
	default:
		return NULL;
	}
}

static void count(struct timetable *t, const struct part *p, bool in)
{
	_Atomic uint64_t *g = gauge(t, p->state);

	if (g != NULL && in)
		atomic_fetch_add(g, p->n);
	else if (g != NULL)
		atomic_fetch_sub(g, p->n);
}

void messages_note(struct timetable *t)
{
	atomic_store(&t->figures.oldest, t->oldest != NULL ? (uint64_t)t->oldest->arrived : 0);
	atomic_store(&t->figures.messages, t->messages.n);
}

/* ---- parts --------------------------------------------------------------------------------- */

void part_set(struct timetable *t, struct part *p, enum part_state s)
{
	if (s == PART_WAITING || s == PART_HELD)
		part_alone_ends(t, p);
	count(t, p, false);
	p->state = s;
	count(t, p, true);
}

struct part *part_new(struct timetable *t, struct message *m, struct destination *to, const uint32_t *rcpts, size_t n)
{
	struct part *p = calloc(1, sizeof(*p) + n * sizeof(*rcpts));

	if (p == NULL || !due_reserve(&t->due, t->nparts + 1)) {
		free(p);
		return NULL;
	}
	t->nparts++;
	p->n = (uint32_t)n;
	memcpy(p->rcpts, rcpts, n * sizeof(*rcpts));
	p->message = m;
	p->to = to;
	to->parts++;
	p->sibling = m->parts;
	m->parts = p;
	return p;
}

void part_free(struct timetable *t, struct part *p)
{
	struct part **at = &p->message->parts;
	struct destination *to = p->to;

	must(p->state != PART_IN_LINE);
	part_alone_ends(t, p);
	count(t, p, false);
	due_remove(&t->due, &p->due);
	while (*at != p)
		at = &(*at)->sibling;
	*at = p->sibling;
	free(p);
	t->nparts--;
	to->parts--;
	destination_maybe_free(t, to);
}

/* Takes the indexes out of p, whose count is right again. */
static void leave_out(struct part *p, const uint32_t *rcpts, size_t n)
{
	uint32_t kept = 0;

	for (size_t i = 0; i < p->n; i++) {
		size_t k = 0;

		while (k < n && rcpts[k] != p->rcpts[i])
			k++;
		if (k == n)
			p->rcpts[kept++] = p->rcpts[i];
	}
	p->n = kept;
}

struct part *part_split(struct timetable *t, struct part *p, const uint32_t *rcpts, size_t n)
{
	struct part *new;

	if (n == p->n)
		return p;
	new = part_new(t, p->message, p->to, rcpts, n);
	if (new == NULL)
		return NULL;
	count(t, p, false);
	leave_out(p, rcpts, n);
	count(t, p, true);
	new->next = p->next;
	new->told = p->told;
	new->staged = p->staged;
	new->first = p->first;
	part_set(t, new, p->state == PART_IN_LINE ? PART_NEW : p->state);
	return new;
}

void part_move(struct timetable *t, struct part *p, struct destination *to)
{
	struct destination *from = p->to;

	p->to = to;
	to->parts++;
	from->parts--;
	destination_maybe_free(t, from);
}

/* ---- messages ---------------------------------------------------------------------------------- */

struct message *message_find(struct timetable *t, uint64_t id)
{
	return known_find(&t->messages, id);
}

static void list_in(struct timetable *t, struct message *m)
{
	struct message *after = t->newest;

	while (after != NULL && after->id > m->id)
		after = after->older;
	m->older = after;
	m->newer = after != NULL ? after->newer : t->oldest;
	*(after != NULL ? &after->newer : &t->oldest) = m;
	*(m->newer != NULL ? &m->newer->older : &t->newest) = m;
}

static void list_out(struct timetable *t, struct message *m)
{
	*(m->older != NULL ? &m->older->newer : &t->oldest) = m->newer;
	*(m->newer != NULL ? &m->newer->older : &t->newest) = m->older;
}

void message_has(struct timetable *t, struct message *m, struct queue_entry *e)
{
	t->entries += (e != NULL) - (m->entry != NULL);
	queue_entry_free(m->entry);
	m->entry = e;
}

void message_free(struct timetable *t, struct message *m)
{
	while (m->parts != NULL) {
		struct part *p = m->parts;

		p->state = PART_NEW;
		m->parts = p->sibling;
		p->to->parts--;
		free(p);
		t->nparts--;
	}
	message_set_aside(t, m, false);
	known_remove(&t->messages, m);
	list_out(t, m);
	message_has(t, m, NULL);
	free(m);
	messages_note(t);
}

static void maybe_over(struct timetable *t, struct message *m)
{
	if (m->parts == NULL && m->lent == 0)
		message_free(t, m);
}

void message_lend(struct message *m)
{
	m->lent++;
}

void message_returned(struct timetable *t, struct message *m)
{
	m->lent--;
	if (m->parts == NULL)
		maybe_over(t, m);
	else
		message_rest(t, m);
}

static bool needs_entry(const struct part *p)
{
	return p->state == PART_LEASED || p->state == PART_SETTLING || p->state == PART_LOADING ||
	       (p->state == PART_IN_LINE && !destination_rests(p->to));
}

void message_rest(struct timetable *t, struct message *m)
{
	if (m->entry == NULL || m->lent > 0)
		return;
	for (const struct part *p = m->parts; p != NULL; p = p->sibling)
		if (needs_entry(p))
			return;
	message_has(t, m, NULL);
}

void part_settled(struct timetable *t, struct part *p)
{
	struct message *m = p->message;

	m->open -= p->n;
	part_free(t, p);
	maybe_over(t, m);
}

/* ---- times --------------------------------------------------------------------------------------- */

static int64_t expires(const struct timetable *t, const struct message *m)
{
	return m->since + (int64_t)((m->from_null ? relay(t)->give_up_bounce_ms : relay(t)->give_up_ms) / 1000);
}

static int64_t notice_due(const struct timetable *t, const struct part *p)
{
	if (p->told || relay(t)->delay_notice_ms == 0)
		return NEVER;
	return p->message->since + (int64_t)(relay(t)->delay_notice_ms / 1000);
}

static void set_clock(struct timetable *t, struct part *p, int64_t when)
{
	/* part_new made room for it */
	must(due_put(&t->due, &p->due, when));
}

void part_wait(struct timetable *t, struct part *p, int64_t next)
{
	int64_t notice = notice_due(t, p);

	p->next = next;
	p->read = p->judged = p->signed_now = false;
	part_set(t, p, PART_WAITING);
	set_clock(t, p, notice < next ? notice : next);
	message_rest(t, p->message);
}

/* ---- lines ------------------------------------------------------------------------------------------ */

static void link_at(struct part **first, struct part **last, struct part *p, bool at_front)
{
	p->before = at_front ? NULL : *last;
	p->behind = at_front ? *first : NULL;
	*(p->before != NULL ? &p->before->behind : first) = p;
	*(p->behind != NULL ? &p->behind->before : last) = p;
}

/* In line only age matters: whoever waits behind a destination that rests must
 * hear of it, and be given up at last. */
static void set_deadline(struct timetable *t, struct part *p)
{
	int64_t now = clock_wall(), notice = notice_due(t, p), at = expires(t, p->message);

	if (at <= now)
		at = destination_rests(p->to) ? now : now + SOON_S;
	set_clock(t, p, notice < at ? notice : at);
}

void part_enter_line(struct timetable *t, struct part *p, bool at_front)
{
	struct destination *d = p->to;

	part_set(t, p, PART_IN_LINE);
	link_at(&d->first, &d->last, p, at_front);
	set_deadline(t, p);
	destination_ready(t, d);
}

void part_leave_line(struct timetable *t, struct part *p)
{
	struct destination *d = p->to;

	*(p->before != NULL ? &p->before->behind : &d->first) = p->behind;
	*(p->behind != NULL ? &p->behind->before : &d->last) = p->before;
	p->before = p->behind = NULL;
	due_remove(&t->due, &p->due);
	part_set(t, p, PART_NEW);
}

/* ---- what is due ---------------------------------------------------------------------------------------- */

void part_break(struct timetable *t, struct part *p)
{
	char id[QUEUE_ID_TEXT];

	log_event(&(struct log){ .id = queue_id_text(p->message->id, id) }, LOG_INFO, "message.held", KV_C("by", "breaker"));
	part_fate(t, p, FATE_HELD, 0, STR(QUEUE_HELD_BY_BREAKER ": it has sent more than it may, and the operator decides"), AFTER_HOLD);
}

bool part_wish_takes(struct timetable *t, struct part *p)
{
	struct message *m = p->message;

	if (m->remove)
		part_fate(t, p, FATE_REMOVED, 0, STR("removed by the operator"), AFTER_DROP);
	else if (m->hold)
		part_fate(t, p, FATE_HELD, 0, STR_NONE, AFTER_HOLD);
	else if (m->breaks)
		part_break(t, p);
	return m->remove || m->hold || m->breaks;
}

static void go_on(struct timetable *t, struct part *p)
{
	if (p->next > clock_wall())
		part_wait(t, p, p->next);
	else
		part_enter_line(t, p, false);
}

/* Not in line, with its entry. */
void part_judge(struct timetable *t, struct part *p)
{
	int64_t now = clock_wall();

	p->judged = false;
	if (expires(t, p->message) <= now && destination_rests(p->to)) {
		part_expire(t, p);
		return;
	}
	if (notice_due(t, p) <= now)
		part_notice(t, p);
	go_on(t, p);
	message_rest(t, p->message);
}

void part_due(struct timetable *t, struct part *p)
{
	if (p->state == PART_WAITING && p->next <= clock_wall()) {
		part_enter_line(t, p, false);
		return;
	}
	if (p->state == PART_IN_LINE) {
		/* Its deadline, but the destination works: it only waits its turn. */
		if (!destination_rests(p->to) && notice_due(t, p) > clock_wall()) {
			set_deadline(t, p);
			return;
		}
		part_leave_line(t, p);
	}
	p->judged = true;
	if (p->message->entry != NULL)
		part_judge(t, p);
	else
		load(t, p);
}

/* ---- beginning and end ------------------------------------------------------------------------------- */

struct message *message_new(struct timetable *t, struct queue_entry *e)
{
	struct message *m = calloc(1, sizeof(*m));

	if (m == NULL)
		return NULL;
	m->id = e->id;
	m->arrived = e->damage == NULL ? e->arrived : (int64_t)(e->id / 1000000);   /* ids are times */
	m->since = e->not_before > e->arrived ? e->not_before : e->arrived;
	m->lives = e->lives < UINT8_MAX ? (unsigned char)e->lives : UINT8_MAX;
	m->from_null = e->sender.n == 0;
	if (!known_add(&t->messages, m)) {
		free(m);
		return NULL;
	}
	list_in(t, m);
	message_has(t, m, e);
	return m;
}

void messages_free(struct timetable *t)
{
	while (t->newest != NULL) {
		struct message *m = t->newest;

		for (struct part *p = m->parts; p != NULL; p = p->sibling)
			due_remove(&t->due, &p->due);
		message_free(t, m);
	}
}
