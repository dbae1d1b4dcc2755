/* SPDX-License-Identifier: ISC */
/*
 * A sender's wish to stop a message, on its way from a session to the timetable
 * and home again.
 *
 *   session ─▶ timetable ─▶ main ─▶ session
 *                            └ slow desk: what became of one that is not there?
 *
 * Begins on a loop's thread; all the rest is main's.
 */
#include <stdlib.h>

#include "smtpd/setup/serve.h"

static struct server *here;            /* whose timetable is asked */

struct cancelling {
	struct queue_wish wish;
	struct job        job;         /* looks at the records of what is gone */
	struct cancel    *asked;
};

static void answer(struct cancelling *c, enum cancel_says says)
{
	struct cancel *asked = c->asked;

	free(c);
	asked->says = says;
	mbox_send(asked->baton.home, &asked->baton);
}

/* Stopped before, by a reply or the operator, or sent? */
static void look(struct job *j)
{
	struct cancelling *c = SUPER(j, struct cancelling, job);
	struct queue_entry *e = NULL;
	int64_t at;

	c->asked->says = CANCEL_LEFT;
	if (queue_finished(here->queue, c->asked->id, &e, &at) != OK)
		return;
	c->asked->says = CANCEL_STOPPED_BEFORE;
	for (size_t i = 0; i < e->nrcpts; i++)
		if (e->rcpts[i].outcome != FATE_REMOVED)
			c->asked->says = CANCEL_LEFT;
	queue_entry_free(e);
}

static void looked(struct baton *b)
{
	struct cancelling *c = SUPER(SUPER(b, struct job, baton), struct cancelling, job);

	answer(c, c->asked->says);
}

static void wish_came_home(struct baton *b)
{
	struct cancelling *c = SUPER(SUPER(b, struct queue_wish, baton), struct cancelling, wish);

	switch (c->wish.result) {
	case OK:
		answer(c, CANCEL_STOPPED);
		break;
	case ERR_BUSY:
		answer(c, CANCEL_LEFT);
		break;
	case ERR_ABSENT:
		desk_submit_anyway(here->slow, &c->job);
		break;
	default:
		answer(c, CANCEL_LATER);
	}
}

static void cancel_asked(struct cancel *asked)
{
	struct cancelling *c = calloc(1, sizeof(*c));

	if (c == NULL) {
		asked->says = CANCEL_LATER;
		mbox_send(asked->baton.home, &asked->baton);
		return;
	}
	c->asked = asked;
	c->wish.what = WISH_CANCEL;
	c->wish.id = asked->id;
	c->wish.baton.home = here->main->mbox;
	c->wish.baton.arrived = wish_came_home;
	c->job.work = look;
	c->job.baton.home = here->main->mbox;
	c->job.baton.arrived = looked;
	timetable_wish(here->timetable, &c->wish);
}

void server_lends_cancel(struct server *s, struct session_setup *setup)
{
	here = s;
	setup->cancel = cancel_asked;
}
