/* SPDX-License-Identifier: ISC */
/*
 * front: one loop's way in: its doors, its sessions, its generations.
 *
 * An era is one generation as this loop uses it.  The front itself is one user
 * of the newest; each session and letter is one of the era it began in.  The
 * last user sends the swap home, by which main learns that this loop needs the
 * old generation no more.  Loop thread, but for what session.h says.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/session/internal.h"

#define SHED_IDLE_MS  1000   /* who was heard of that lately may be about to say something */
#define SHED_BEGUN_MS 30000  /* who has said MAIL gets longer for the rest */

/* Batons carry no word of where they arrive; a loop has one thread and a front. */
static _Thread_local struct front *here;

struct front *front_here(void)
{
	return here;
}

/* ---- eras ------------------------------------------------------------------------ */

static struct era *era_new(const struct session_setup *setup)
{
	struct era *e = calloc(1, sizeof(*e));

	must(e != NULL);
	e->setup = setup;
	e->users = 1;
	return e;
}

void era_leave(struct era *e)
{
	must(e->users > 0);
	if (--e->users > 0)
		return;
	if (e->retired != NULL)
		mbox_send(e->retired->baton.home, &e->retired->baton);
	free(e);
}

static void swap_arrived(struct baton *b)
{
	struct front_swap *w = SUPER(b, struct front_swap, baton);
	struct front *f = w->front;
	struct era   *old = f->era;

	here = f;
	w->baton.arrived = w->back;
	w->old = old != NULL ? old->setup : NULL;
	f->era = era_new(w->setup);
	doors_set(f, w);
	if (old == NULL) {
		mbox_send(w->baton.home, &w->baton);
		return;
	}
	old->retired = w;
	era_leave(old);
}

void front_swap(struct front_swap *w)
{
	w->back = w->baton.arrived;
	w->baton.arrived = swap_arrived;
	loop_send(w->front->loop, &w->baton);
}

/* ---- sessions ---------------------------------------------------------------------- */

void front_joined(struct front *f)
{
	atomic_fetch_add_explicit(&f->nsessions, 1, memory_order_relaxed);
	doors_level(f);
}

static void look_whether_over(struct front *f)
{
	struct front_stop *w = f->stop;

	if (w == NULL || front_sessions(f) > 0 || f->letters > 0)
		return;
	f->stop = NULL;
	loop_timer_stop(&f->stop_timer);
	w->baton.arrived = w->back;
	mbox_send(w->baton.home, &w->baton);
}

void front_left(struct front *f)
{
	atomic_fetch_sub_explicit(&f->nsessions, 1, memory_order_relaxed);
	doors_level(f);
	look_whether_over(f);
}

void front_letter_came(struct front *f)
{
	f->letters++;
}

void front_letter_gone(struct front *f)
{
	f->letters--;
	look_whether_over(f);
}

void front_look_at_logins(void)
{
	for (struct session *s = here != NULL ? here->sessions : NULL; s != NULL; s = s->next) {
		if (s->closing || s->peer.login.n == 0 || s->waiting || session_in_flight(s) ||
		    login_stands(s))
			continue;
		s->doing = NULL;
		session_close(s, NULL, session_revoked(s) == STEP_CLOSE);
	}
}

uint64_t front_sessions(const struct front *f)
{
	return atomic_load_explicit(&f->nsessions, memory_order_relaxed);
}

/* One that has said MAIL and then only NOOP holds its place no better. */
static bool is_useless(const struct session *s, uint64_t now)
{
	return now - s->useful_ms >= (s->txn != NULL ? SHED_BEGUN_MS : SHED_IDLE_MS) &&
	       !session_in_flight(s) && s->taken == 0 && s->peer.login.n == 0 && !s->waiting &&
	       !s->closing;
}

bool front_shed(struct front *f)
{
	uint64_t now = clock_ms();
	struct session *oldest = NULL;

	for (struct session *s = f->sessions; s != NULL; s = s->next)
		if (is_useless(s, now) && (oldest == NULL || s->useful_ms < oldest->useful_ms))
			oldest = s;
	if (oldest == NULL)
		return false;
	count(CONNECTIONS_SHED);
	if (oldest->greeted)
		farewell(oldest, 421, "4.3.2",
			 "Too many connections, and nothing came from you: try again later");
	session_close(oldest, "shed", oldest->greeted);
	return true;
}

/* ---- the end ------------------------------------------------------------------------- */

static void time_is_up(struct loop_timer *timer)
{
	struct front *f = SUPER(timer, struct front, stop_timer);

	for (struct session *s = f->sessions; s != NULL; s = s->next) {
		if (s->closing)
			continue;
		if (s->greeted) {
			farewell(s, 421, "4.3.2", "%.*s is stopping and cannot wait any longer",
				 STR_ARG(s->setup->hostname));
			conn_flush(s->conn);
		}
		session_close(s, "stopping", s->greeted);
	}
}

static void stop_arrived(struct baton *b)
{
	struct front_stop *w = SUPER(b, struct front_stop, baton);
	struct front *f = w->front;

	f->stopping = true;
	f->stop = w;
	doors_shut(f);
	for (struct session *s = f->sessions; s != NULL; s = s->next)
		session_lay_down(s);
	loop_timer_set(&f->stop_timer, w->within_ms);
	look_whether_over(f);
}

void front_stop(struct front_stop *w)
{
	w->back = w->baton.arrived;
	w->baton.arrived = stop_arrived;
	loop_send(w->front->loop, &w->baton);
}

/* ---- beginning and end ------------------------------------------------------------------ */

static void look_whether_level(struct loop_timer *timer)
{
	doors_level(SUPER(timer, struct front, level));
}

struct front *front_new(struct loop *loop, unsigned nloops)
{
	struct front *f = calloc(1, sizeof(*f));

	must(f != NULL);
	f->loop = loop;
	f->nloops = nloops;
	f->doors_lent = getenv("LISTEN_FDS") != NULL;       /* sd_listen_fds(3) */
	f->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	loop_timer_init(&f->level, loop, "front.level", look_whether_level);
	loop_timer_init(&f->stop_timer, loop, "front.stop", time_is_up);
	return f;
}

void front_free(struct front *f)
{
	if (f == NULL)
		return;
	must(f->sessions == NULL);
	loop_timer_stop(&f->level);
	loop_timer_stop(&f->stop_timer);
	doors_free(f);
	if (f->spare >= 0)
		close(f->spare);
	if (f->era != NULL)
		era_leave(f->era);
	if (here == f)
		here = NULL;
	free(f);
}
