/* SPDX-License-Identifier: ISC */
/*
 * Mail that leaves late: held, undone in its grace time, or put off longer than
 * its signatures hold.
 *
 * Before a try that could outlast them, the disk desk reads the message's header
 * again and has new ones made (deliver_setup.sign_late) with the hashes that were
 * stored when it came; the body is not read.  They live in memory with the entry:
 * nothing is written, and after a crash they are made again.  Timetable thread,
 * but for late_sign.
 */
#include "queue/deliver/timetable_inside.h"

#define TRY_MOST_S 3600         /* all the waits of RFC 5321 4.5.3.2 that one try can add up to */

static bool runs_out(const struct queue_entry *e)
{
	return e->signing.until != 0 && e->signing.until < clock_wall() + TRY_MOST_S;
}

bool late_is(const struct timetable *t, const struct part *p)
{
	return !p->signed_now && !p->staged && runs_out(p->message->entry) && t->settings->setup->sign_late != NULL;
}

/* ---- on the disk desk ----------------------------------------------------------------------- */

static enum err read_header(struct queue *q, const struct queue_entry *e, struct arena *a, str *out)
{
	size_t n = (size_t)e->header_bytes, got = 0;
	char *p = arena_alloc(a, n + 1);

	*out = (str){ p, 0 };
	if (p == NULL)
		return ERR_MEMORY;
	while (out->n < n) {
		enum err err = queue_read(q, e->id, e->in_file, out->n, p + out->n, n - out->n, &got);

		if (err != OK)
			return err;
		if (got == 0)
			return ERR_BAD;
		out->n += got;
	}
	return OK;
}

void late_sign(struct queue *q, const struct deliver_setup *setup, const struct queue_entry *e, struct late *l)
{
	enum err err;

	if (setup->sign_late == NULL || e->damage != NULL || !runs_out(e))
		return;
	l->entry = e;
	l->now = clock_wall();
	err = read_header(q, e, l->arena, &l->header);
	if (err == OK)
		setup->sign_late(setup->sign_late_arg, l);
	else
		l->why = str_of(err_text(err));
}

/* ---- home again ------------------------------------------------------------------------------- */

/* That it came unsigned was said then. */
static void tell(struct message *m, const struct late *l, bool hold)
{
	char id[QUEUE_ID_TEXT];
	struct log log = { .id = queue_id_text(m->id, id) };

	if (l->head.p != NULL) {
		log_event(&log, LOG_INFO, "message.signed-anew", KV_I("late", l->now - m->arrived));
		return;
	}
	if (m->unsigned_told || (m->entry->flags & MESSAGE_UNSIGNED && !hold))
		return;
	m->unsigned_told = true;
	log_event(&log, LOG_WARN, "dkim.unsigned", KV("why", l->why),
	          KV_C("does", hold ? "it is held until it can be signed" : "it leaves with its old signatures, if any"));
}

bool late_came_home(struct message *m, const struct late *l)
{
	struct queue_entry *e = m->entry;
	bool hold = l->hold && !m->as_is;
	str head;

	if (l->entry == NULL)
		return false;
	tell(m, l, hold);
	if (l->head.p == NULL)
		return hold;
	head = str_keep(&e->arena, l->head);
	if (head.p != NULL) {
		e->fresh_head = head;
		e->signing.until = l->until;
	}
	return false;
}

void late_hold(struct timetable *t, struct part *p, str why)
{
	struct queue_fates *f = fates_for(p);

	for (size_t i = 0; i < p->n; i++)
		f->v[i] = (struct queue_fate){
			.rcpt = p->rcpts[i], .fate = FATE_HELD,
			.said = arena_printf(&f->arena, QUEUE_WAITS_FOR_KEY "%.*s", STR_ARG(why)),
		};
	part_fates(t, p, f, AFTER_HOLD);
}
