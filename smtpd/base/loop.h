/* SPDX-License-Identifier: ISC */
/*
 * loop: one thread, one libev loop, one mailbox.
 *
 * Everything a loop owns is touched by its thread alone.  Other threads reach
 * it by loop_send.  A turn that takes over 100 ms is logged as loop.late with
 * the name of the handler that was running (loop_doing).
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include <ev.h>

#include "smtpd/base/mbox.h"
#include "smtpd/base/str.h"

struct dns;
struct log;
struct loop;

struct loop_call {                     /* something to run at the loop's next turn */
	struct loop_call *next, **at;  /* at != NULL: it is waiting */
	struct loop      *loop;
	void (*run)(struct loop_call *);
};

struct loop {
	struct ev_loop   *ev;
	struct mbox      *mbox;
	struct dns       *dns;         /* this loop's resolver */
	const struct log *log;
	unsigned          index;       /* 0 .. loops-1 */
	struct loop_call *calls, **calls_tail;
	const char       *doing;       /* handler now running, for loop.late */
	uint64_t          doing_since_ms;
	const char       *slowest;     /* handler of this turn that took longest */
	uint64_t          slowest_ms;
	uint64_t          turn_began_ms, longest_ms;
	char             *scratch;     /* LOOP_SCRATCH bytes that any handler may use within one call */
	void             *house;       /* what the owner of the loop hangs on it */
	ev_async          wake;
	ev_prepare        before;
	ev_check          after;
	ev_idle           awake;       /* active while calls wait: the poll does not sleep */
	bool              stopping;
};

#define LOOP_SCRATCH ((size_t)64 << 10)

struct loop *loop_new(unsigned index, const struct log *);
void         loop_free(struct loop *);
void         loop_run(struct loop *);                    /* returns after loop_stop */
void         loop_stop(struct loop *);                   /* from its own thread */
void         loop_send(struct loop *, struct baton *);   /* from any thread; arrived() runs on the loop */

/* Timers and io say their names themselves; what else has a handler on the
 * loop's libev says its own at its beginning. */
void         loop_doing(struct loop *, const char *name);
uint64_t     loop_longest(const struct loop *);          /* longest turn in ms; any thread */

/* A callback never fires inside the call that armed it: what is ready at once
 * is put off with loop_defer to the next turn. */
void loop_defer(struct loop *, struct loop_call *, void (*run)(struct loop_call *));
void loop_undefer(struct loop_call *);                   /* harmless when it is not waiting */

struct loop_timer {
	ev_timer     w;
	struct loop *loop;
	const char  *name;
	void       (*fired)(struct loop_timer *);
};

void loop_timer_init(struct loop_timer *, struct loop *, const char *name, void (*fired)(struct loop_timer *));
void loop_timer_set(struct loop_timer *, uint64_t in_ms);   /* (re)arms, once */
void loop_timer_stop(struct loop_timer *);                  /* harmless when not armed */
bool loop_timer_armed(const struct loop_timer *);

struct loop_io {
	ev_io        w;
	struct loop *loop;
	const char  *name;
	void       (*ready)(struct loop_io *, int events);  /* EV_READ, EV_WRITE */
};

void loop_io_init(struct loop_io *, struct loop *, const char *name, int fd, void (*ready)(struct loop_io *, int events));
void loop_io_want(struct loop_io *, int events);            /* 0 stops watching */

#endif
