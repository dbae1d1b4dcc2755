/* SPDX-License-Identifier: ISC */
/*
 * The fates of a part's recipients, written down, and where the part goes then.
 *
 * A part waits for its commit before anything else happens to it, so what is in
 * memory is never ahead of what is on the disk.  Timetable thread.
 */
#include "queue/deliver/timetable_inside.h"

struct queue_fates *fates_for(const struct part *p)
{
	struct queue_fates *f = queue_fates_new(p->n);

	must(f != NULL);
	f->id = p->message->id;
	return f;
}

static void note_in_entry(struct queue_entry *e, const struct queue_fates *f)
{
	for (size_t i = 0; i < f->n; i++) {
		struct queue_rcpt *r = &e->rcpts[f->v[i].rcpt];

		if (f->v[i].fate == FATE_STAGED) {
			r->state = RCPT_STAGED;
			r->place = str_keep(&e->arena, f->v[i].place);
			r->staged_at = clock_wall();
			continue;
		}
		if (f->v[i].fate == FATE_DEFERRED) {
			r->tries = f->v[i].tries;
			r->place = STR_NONE;
		}
		r->state = r->place.n > 0 ? RCPT_STAGED : RCPT_WAITING;
		r->next = f->v[i].next;
		if (f->v[i].said.n > 0)
			r->said = str_keep(&e->arena, f->v[i].said);
	}
}

static void wait_or_stand(struct timetable *t, struct part *p)
{
	if (part_wish_takes(t, p))
		return;
	if (p->again)
		p->next = clock_wall();
	p->again = false;
	if (destination_rests(p->to) && p->next <= p->to->not_before) {
		part_enter_line(t, p, false);
		message_rest(t, p->message);
	} else {
		part_wait(t, p, p->next);
	}
}

static void go_on(struct timetable *t, struct part *p)
{
	switch ((enum after)p->after) {
	case AFTER_DROP:
		part_settled(t, p);
		break;
	case AFTER_WAIT:
		wait_or_stand(t, p);
		break;
	case AFTER_MOVE:
		p->staged = true;
		part_enter_line(t, p, true);
		break;
	case AFTER_HOLD:
		part_set(t, p, PART_HELD);
		message_rest(t, p->message);
		break;
	case AFTER_TRY:
		p->marked = true;
		if (!part_wish_takes(t, p))
			part_enter_line(t, p, true);
		break;
	}
}

/* The message is not in the store any more, or its row cannot be read.  What
 * was delivered is not delivered again in this life; the rest may be tried. */
static void not_written(struct part *p, enum err e)
{
	char id[QUEUE_ID_TEXT];

	log_event(&(struct log){ .id = queue_id_text(p->message->id, id) }, LOG_ERROR, "fate.unwritten",
	          KV_C("why", err_text(e)));
	if (e == ERR_ABSENT)
		p->after = AFTER_DROP;
	if (p->after == AFTER_MOVE || p->after == AFTER_TRY) {
		p->after = AFTER_WAIT;
		p->next = clock_wall() + 3600;
	}
}

static void fates_came_home(struct baton *b)
{
	struct timetable *t = timetable_here;
	struct queue_fates *f = SUPER(b, struct queue_fates, baton);
	struct part *p = f->user;
	struct wish *wish = p->wish;

	t->fates--;
	p->wish = NULL;
	if (f->result != OK)
		not_written(p, f->result);
	else if (p->message->entry != NULL && (p->after == AFTER_WAIT || p->after == AFTER_MOVE))
		note_in_entry(p->message->entry, f);
	go_on(t, p);
	if (wish != NULL)
		wish_step_done(t, wish);
	queue_fates_free(f);
}

void part_fates(struct timetable *t, struct part *p, struct queue_fates *f, enum after after)
{
	part_set(t, p, PART_SETTLING);
	p->after = after;
	f->user = p;
	f->baton.home = t->inbox;
	f->baton.arrived = fates_came_home;
	t->fates++;
	queue_settle(t->queue, f);
}

static void fired_came_home(struct baton *b)
{
	timetable_here->fates--;
	queue_fates_free(SUPER(b, struct queue_fates, baton));
}

void fates_fire(struct timetable *t, struct queue_fates *f)
{
	f->baton.home = t->inbox;
	f->baton.arrived = fired_came_home;
	t->fates++;
	queue_settle(t->queue, f);
}

void part_fate(struct timetable *t, struct part *p, enum fate fate, int64_t next, str said, enum after after)
{
	struct queue_fates *f = fates_for(p);

	for (size_t i = 0; i < p->n; i++)
		f->v[i] = (struct queue_fate){ .rcpt = p->rcpts[i], .fate = fate, .next = next,
		                               .said = str_keep(&f->arena, said) };
	p->next = next;
	part_fates(t, p, f, after);
}

void part_put_off_unasked(struct timetable *t, struct part *p)
{
	const struct queue_entry *e = p->message->entry;
	struct queue_fates *f = fates_for(p);
	int64_t next = p->to->not_before;

	for (size_t i = 0; i < p->n; i++)
		f->v[i] = (struct queue_fate){ .rcpt = p->rcpts[i], .fate = FATE_DEFERRED, .next = next,
		                               .tries = e->rcpts[p->rcpts[i]].tries,
		                               .said = str_keep(&f->arena, str_of(p->to->said)) };
	if (p->state == PART_IN_LINE)
		part_leave_line(t, p);
	p->next = next;
	part_fates(t, p, f, AFTER_WAIT);
}
