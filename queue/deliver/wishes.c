/* SPDX-License-Identifier: ISC */
/*
 * What the operator wishes.  A part that is out is not called back: hold and
 * remove take hold of it when it comes home undelivered.  A wish goes home
 * when all that it changed is committed.  Timetable thread.
 */
#include "queue/deliver/timetable_inside.h"

#include <stdlib.h>

struct wish {
	struct baton       baton;        /* carries it here */
	struct queue_wish *asked;
	size_t             open;         /* parts whose commit it waits for, and one for itself */
};

void wish_step_done(struct timetable *t, struct wish *w)
{
	struct queue_wish *asked = w->asked;

	(void)t;
	if (--w->open > 0)
		return;
	free(w);
	mbox_send(asked->baton.home, &asked->baton);
}

static bool is_out(const struct part *p)
{
	return p->state == PART_LOADING || p->state == PART_LEASED || p->state == PART_SETTLING;
}

static void take_away(struct timetable *t, struct part *p)
{
	if (p->state == PART_IN_LINE)
		part_leave_line(t, p);
	due_remove(&t->due, &p->due);
}

static void write_down(struct timetable *t, struct part *p, struct wish *w, enum fate fate, str said, enum after after)
{
	take_away(t, p);
	p->wish = w;
	w->open++;
	part_fate(t, p, fate, p->message->since > clock_wall() ? p->message->since : clock_wall(), said, after);
}

/* Who asks for all does not mean what waits because its sender wants it to. */
static bool retry(struct timetable *t, struct part *p, struct wish *w)
{
	if (p->message->since > clock_wall() && !w->asked->early)
		return false;
	p->message->early = true;
	if (p->state == PART_SETTLING && p->after == AFTER_WAIT) {
		p->again = true;
		destination_wake(t, p->to);
		return true;
	}
	if (p->state != PART_WAITING && p->state != PART_IN_LINE)
		return false;
	destination_wake(t, p->to);
	if (p->state == PART_WAITING) {
		due_remove(&t->due, &p->due);
		p->next = clock_wall();
		part_enter_line(t, p, false);
	}
	return true;
}

static bool hold(struct timetable *t, struct part *p, struct wish *w)
{
	if (is_out(p))
		p->message->hold = true;
	else if (p->state != PART_HELD)
		write_down(t, p, w, FATE_HELD, STR_NONE, AFTER_HOLD);
	return true;
}

/* What is out is on its way: only should it come home it is held, and counted then. */
static bool break_off(struct timetable *t, struct part *p, struct wish *w)
{
	if (is_out(p)) {
		p->message->breaks = true;
		return false;
	}
	if (p->state == PART_HELD || p->staged)
		return false;
	take_away(t, p);
	p->wish = w;
	w->open++;
	part_break(t, p);
	return true;
}

static bool release(struct timetable *t, struct part *p, struct wish *w)
{
	p->message->hold = p->message->breaks = false;
	if (p->state != PART_HELD || p->message->damaged)
		return false;
	message_set_aside(t, p->message, false);
	p->message->as_is = p->message->as_is || w->asked->as_is;
	p->message->lives = 0;
	write_down(t, p, w, FATE_RELEASED, STR_NONE, AFTER_WAIT);
	return true;
}

static bool remove_it(struct timetable *t, struct part *p, struct wish *w)
{
	if (is_out(p))
		p->message->remove = true;
	else
		write_down(t, p, w, FATE_REMOVED, STR("removed by the operator"), AFTER_DROP);
	return true;
}

/* While it waits for its time, nobody has been asked, and nobody is being asked. */
static bool may_cancel(const struct message *m)
{
	if (m->since <= clock_wall() || m->early || m->damaged)
		return false;
	for (const struct part *p = m->parts; p != NULL; p = p->sibling)
		if (is_out(p))
			return false;
	return true;
}

/* Only after may_cancel. */
static bool cancel(struct timetable *t, struct part *p, struct wish *w)
{
	write_down(t, p, w, FATE_REMOVED, STR("stopped by its sender"), AFTER_DROP);
	return true;
}

static bool (*const kinds[])(struct timetable *, struct part *, struct wish *) = {
	[WISH_RETRY] = retry, [WISH_HOLD] = hold, [WISH_RELEASE] = release, [WISH_REMOVE] = remove_it, [WISH_CANCEL] = cancel,
	[WISH_BREAK] = break_off,
};

static void log_wish(const struct message *m, const struct queue_wish *w)
{
	static const char *const events[] = {
		[WISH_RETRY] = "message.retried", [WISH_HOLD] = "message.held",
		[WISH_RELEASE] = "message.released", [WISH_REMOVE] = "message.removed",
		[WISH_CANCEL] = "message.stopped",
	};
	char id[QUEUE_ID_TEXT];

	log_event(&(struct log){ .id = queue_id_text(m->id, id) }, LOG_NOTICE, events[w->what],
	          KV_C("by", w->by != NULL ? w->by : w->what == WISH_CANCEL ? "sender" : "operator"));
}

static void grant(struct timetable *t, struct message *m, struct wish *w)
{
	bool touched = false;

	for (struct part *p = m->parts; p != NULL; p = p->sibling)
		touched = kinds[w->asked->what](t, p, w) || touched;
	if (!touched)
		return;
	w->asked->touched++;
	if (w->asked->what != WISH_BREAK)
		log_wish(m, w->asked);
}

static void wish_came(struct baton *b)
{
	struct timetable *t = timetable_here;
	struct wish *w = SUPER(b, struct wish, baton);
	struct message *m = w->asked->id != 0 ? message_find(t, w->asked->id) : NULL;

	w->open = 1;
	w->asked->touched = 0;
	w->asked->result = t->stopping ? ERR_CLOSED : w->asked->id == 0 || m != NULL ? OK : ERR_ABSENT;
	if (w->asked->result == OK && w->asked->what == WISH_CANCEL && (m == NULL || !may_cancel(m)))
		w->asked->result = ERR_BUSY;
	if (w->asked->result == OK && m != NULL)
		grant(t, m, w);
	else if (w->asked->result == OK)
		for (m = t->oldest; m != NULL; m = m->newer)
			grant(t, m, w);
	wish_step_done(t, w);
}

void timetable_wish(struct timetable *t, struct queue_wish *asked)
{
	struct wish *w = calloc(1, sizeof(*w));

	if (w == NULL) {
		asked->touched = 0;
		asked->result = ERR_MEMORY;
		mbox_send(asked->baton.home, &asked->baton);
		return;
	}
	w->asked = asked;
	w->baton.arrived = wish_came;
	mbox_send(t->inbox, &w->baton);
}
