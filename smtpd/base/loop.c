/* SPDX-License-Identifier: ISC */
/*
 * loop: libev with our names.
 *
 * A turn begins when the poll returns (ev_check, before all other handlers)
 * and ends just before the next poll (ev_prepare, after all others), which is
 * also when put-off calls run.  While such calls wait an idle watcher keeps the
 * poll from sleeping.  What the handlers of a turn sent, if the thread
 * gathers it, leaves at its end.
 */
#include "smtpd/base/loop.h"

#include <stdlib.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/err.h"
#include "smtpd/base/log.h"
#include "smtpd/base/mbox_gather.h"
#include "smtpd/base/stat.h"

#define LATE_MS 100

/* Ends the span of the handler before and begins one of `name`. */
void loop_doing(struct loop *l, const char *name)
{
	uint64_t now = clock_ms();

	if (l->doing != NULL && now - l->doing_since_ms >= l->slowest_ms) {
		l->slowest = l->doing;
		l->slowest_ms = now - l->doing_since_ms;
	}
	l->doing = name;
	l->doing_since_ms = now;
}

static void turn_began(struct loop *l)
{
	l->turn_began_ms = clock_ms();
	l->slowest = NULL;
	l->slowest_ms = 0;
}

static void turn_ended(struct loop *l)
{
	uint64_t took;

	loop_doing(l, NULL);
	took = l->doing_since_ms - l->turn_began_ms;
	if (took > l->longest_ms)
		__atomic_store_n(&l->longest_ms, took, __ATOMIC_RELAXED);
	if (took > LATE_MS)
		log_event(l->log, LOG_WARN, "loop.late", KV_N("loop", l->index),
		          KV_C("handler", l->slowest ? l->slowest : "unknown"),
		          KV_N("handler_ms", l->slowest_ms), KV_N("turn_ms", took));
}

static void put_off(struct loop *l, struct loop_call *c)
{
	c->loop = l;
	c->next = NULL;
	c->at = l->calls_tail;
	*l->calls_tail = c;
	l->calls_tail = &c->next;
}

void loop_defer(struct loop *l, struct loop_call *c, void (*run)(struct loop_call *))
{
	must(c->at == NULL);
	c->run = run;
	put_off(l, c);
	ev_idle_start(l->ev, &l->awake);
}

void loop_undefer(struct loop_call *c)
{
	if (c->at == NULL)
		return;
	*c->at = c->next;
	if (c->next != NULL)
		c->next->at = c->at;
	else
		c->loop->calls_tail = c->at;
	c->at = NULL;
	c->next = NULL;
}

/* Runs what waits now; what these calls put off waits for the next turn. */
static void run_calls(struct loop *l)
{
	struct loop_call end = { 0 };

	if (l->calls == NULL)
		return;
	loop_doing(l, "deferred");
	put_off(l, &end);
	while (l->calls != &end) {
		struct loop_call *c = l->calls;

		loop_undefer(c);
		c->run(c);
	}
	loop_undefer(&end);
}

static void before_poll(struct ev_loop *ev, ev_prepare *w, int events)
{
	struct loop *l = SUPER(w, struct loop, before);

	(void)events;
	run_calls(l);
	if (l->calls == NULL)
		ev_idle_stop(ev, &l->awake);
	mbox_hand_over();
	turn_ended(l);
}

static void after_poll(struct ev_loop *ev, ev_check *w, int events)
{
	(void)ev;
	(void)events;
	turn_began(SUPER(w, struct loop, after));
}

static void stay_awake(struct ev_loop *ev, ev_idle *w, int events)
{
	(void)ev;
	(void)w;
	(void)events;
}

static void receive(struct loop *l)
{
	for (struct baton *b = mbox_take_all(l->mbox), *next; b != NULL; b = next) {
		next = b->next;
		b->next = NULL;
		b->arrived(b);
	}
}

static void woken(struct ev_loop *ev, ev_async *w, int events)
{
	struct loop *l = SUPER(w, struct loop, wake);

	(void)ev;
	(void)events;
	loop_doing(l, "mailbox");
	receive(l);
}

/* Sender's thread: ev_async_send is the one call libev allows it. */
static void rouse(void *arg)
{
	struct loop *l = arg;

	ev_async_send(l->ev, &l->wake);
}

void loop_send(struct loop *l, struct baton *b)
{
	mbox_send(l->mbox, b);
}

static void watch_turns(struct loop *l)
{
	ev_async_init(&l->wake, woken);
	ev_async_start(l->ev, &l->wake);
	ev_prepare_init(&l->before, before_poll);
	ev_set_priority(&l->before, EV_MINPRI);
	ev_prepare_start(l->ev, &l->before);
	ev_check_init(&l->after, after_poll);
	ev_set_priority(&l->after, EV_MAXPRI);
	ev_check_start(l->ev, &l->after);
	ev_idle_init(&l->awake, stay_awake);
}

struct loop *loop_new(unsigned index, const struct log *log)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return NULL;
	l->index = index;
	l->log = log;
	l->calls_tail = &l->calls;
	l->ev = ev_loop_new(EVFLAG_AUTO);
	l->mbox = mbox_new(rouse, l);
	l->scratch = malloc(LOOP_SCRATCH);
	if (l->ev == NULL || l->mbox == NULL || l->scratch == NULL) {
		loop_free(l);
		return NULL;
	}
	watch_turns(l);
	turn_began(l);
	return l;
}

void loop_free(struct loop *l)
{
	if (l == NULL)
		return;
	/* What still came home is received, so that nothing lent is lost. */
	while (l->mbox != NULL && mbox_count(l->mbox) != 0)
		receive(l);
	if (l->ev != NULL)
		ev_loop_destroy(l->ev);
	mbox_free(l->mbox);
	free(l->scratch);
	free(l);
}

void loop_run(struct loop *l)
{
	stat_thread();
	ev_now_update(l->ev);
	turn_began(l);
	while (!l->stopping)
		ev_run(l->ev, 0);
}

void loop_stop(struct loop *l)
{
	l->stopping = true;
	ev_break(l->ev, EVBREAK_ALL);
}

uint64_t loop_longest(const struct loop *l)
{
	return __atomic_load_n(&l->longest_ms, __ATOMIC_RELAXED);
}

static void timer_fired(struct ev_loop *ev, ev_timer *w, int events)
{
	struct loop_timer *t = SUPER(w, struct loop_timer, w);

	(void)ev;
	(void)events;
	loop_doing(t->loop, t->name);
	t->fired(t);
}

void loop_timer_init(struct loop_timer *t, struct loop *l, const char *name,
                     void (*fired)(struct loop_timer *))
{
	*t = (struct loop_timer){ .loop = l, .name = name, .fired = fired };
	ev_timer_init(&t->w, timer_fired, 0., 0.);
}

void loop_timer_set(struct loop_timer *t, uint64_t in_ms)
{
	struct loop *l = t->loop;

	/* libev counts from when the poll returned; the turn may be older now. */
	in_ms += clock_ms() - l->turn_began_ms;
	ev_timer_stop(l->ev, &t->w);
	ev_timer_set(&t->w, (double)in_ms / 1000., 0.);
	ev_timer_start(l->ev, &t->w);
}

void loop_timer_stop(struct loop_timer *t)
{
	if (t->loop != NULL)
		ev_timer_stop(t->loop->ev, &t->w);
}

bool loop_timer_armed(const struct loop_timer *t)
{
	return ev_is_active(&t->w) || ev_is_pending(&t->w);
}

static void io_ready(struct ev_loop *ev, ev_io *w, int events)
{
	struct loop_io *io = SUPER(w, struct loop_io, w);

	(void)ev;
	loop_doing(io->loop, io->name);
	io->ready(io, events & (EV_READ | EV_WRITE));
}

void loop_io_init(struct loop_io *io, struct loop *l, const char *name, int fd,
                  void (*ready)(struct loop_io *, int events))
{
	*io = (struct loop_io){ .loop = l, .name = name, .ready = ready };
	ev_io_init(&io->w, io_ready, fd, 0);
}

void loop_io_want(struct loop_io *io, int events)
{
	int now;

	if (io->loop == NULL)
		return;
	now = ev_is_active(&io->w) ? io->w.events & (EV_READ | EV_WRITE) : 0;
	if (now == events)
		return;
	ev_io_stop(io->loop->ev, &io->w);
	if (events == 0)
		return;
	ev_io_set(&io->w, io->w.fd, events);
	ev_io_start(io->loop->ev, &io->w);
}
