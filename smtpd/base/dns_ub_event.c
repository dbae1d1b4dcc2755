/* SPDX-License-Identifier: ISC */
/*
 * dns_ub_event: each of libunbound's events is one ev_io and one ev_timer.
 *
 * The rules are libevent's: an event that fires and is not persistent is
 * disarmed before its callback; the timeout of a persistent one starts anew at
 * each firing.  A callback may free its event, so nothing is touched after it.
 * The calls that libunbound promises not to make abort.  Thread: the loop's,
 * and main's while the context is set up.
 */
#include "smtpd/base/dns_ub_event.h"

#include <stdlib.h>
#include <sys/time.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/err.h"

struct event {
	struct ub_event ub;  /* first */
	struct loop    *loop;
	ev_io           io;
	ev_timer        timer;
	short           bits;
	void          (*run)(int fd, short bits, void *arg);
	void           *arg;
};

static struct event *event_of(struct ub_event *ub)
{
	return (struct event *)ub;
}

static void disarm(struct event *e)
{
	ev_io_stop(e->loop->ev, &e->io);
	ev_timer_stop(e->loop->ev, &e->timer);
}

static void fire(struct event *e, short bits)
{
	loop_doing(e->loop, "dns.library");
	if (!(e->bits & UB_EV_PERSIST))
		disarm(e);
	else if (ev_is_active(&e->timer))
		ev_timer_again(e->loop->ev, &e->timer);
	e->run(e->io.fd, bits, e->arg);
}

static void io_ready(struct ev_loop *ev, ev_io *w, int events)
{
	struct event *e = SUPER(w, struct event, io);
	short bits = (short)((events & EV_READ ? UB_EV_READ : 0) |
	                     (events & EV_WRITE ? UB_EV_WRITE : 0));

	(void)ev;
	if (events & EV_ERROR)
		bits = UB_EV_READ | UB_EV_WRITE;
	fire(e, bits & e->bits);
}

static void time_is_up(struct ev_loop *ev, ev_timer *w, int events)
{
	(void)ev;
	(void)events;
	fire(SUPER(w, struct event, timer), UB_EV_TIMEOUT);
}

static void arm_timer(struct event *e, const struct timeval *in)
{
	double s = (double)in->tv_sec + (double)in->tv_usec / 1e6;

	ev_timer_stop(e->loop->ev, &e->timer);
	/* libev counts from when the poll returned; `repeat` is what _again uses. */
	ev_timer_set(&e->timer, s + (double)(clock_ms() - e->loop->turn_began_ms) / 1e3,
	             s > 0 ? s : 1e-6);
	ev_timer_start(e->loop->ev, &e->timer);
}

static void event_add_bits(struct ub_event *ub, short bits)
{
	event_of(ub)->bits |= bits;
}

static void event_del_bits(struct ub_event *ub, short bits)
{
	event_of(ub)->bits &= (short)~bits;
}

static void event_set_fd(struct ub_event *ub, int fd)
{
	struct event *e = event_of(ub);

	ev_io_stop(e->loop->ev, &e->io);
	ev_io_set(&e->io, fd, e->io.events & (EV_READ | EV_WRITE));
}

static void event_free(struct ub_event *ub)
{
	disarm(event_of(ub));
	free(event_of(ub));
}

static int event_add(struct ub_event *ub, struct timeval *in)
{
	struct event *e = event_of(ub);
	int events = (e->bits & UB_EV_READ ? EV_READ : 0) | (e->bits & UB_EV_WRITE ? EV_WRITE : 0);

	ev_io_stop(e->loop->ev, &e->io);
	if (events != 0 && e->io.fd >= 0) {
		ev_io_set(&e->io, e->io.fd, events);
		ev_io_start(e->loop->ev, &e->io);
	}
	if (in != NULL)
		arm_timer(e, in);
	return 0;
}

static int event_del(struct ub_event *ub)
{
	disarm(event_of(ub));
	return 0;
}

static int event_add_timer(struct ub_event *ub, struct ub_event_base *base,
                           void (*run)(int, short, void *), void *arg, struct timeval *in)
{
	struct event *e = event_of(ub);

	(void)base;
	e->run = run;
	e->arg = arg;
	arm_timer(e, in);
	return 0;
}

static int event_del_timer(struct ub_event *ub)
{
	struct event *e = event_of(ub);

	ev_timer_stop(e->loop->ev, &e->timer);
	return 0;
}

static int no_signal_add(struct ub_event *ub, struct timeval *in)
{
	(void)ub;
	(void)in;
	must(!"libunbound wants a signal");
	return -1;
}

static int no_signal_del(struct ub_event *ub)
{
	return no_signal_add(ub, NULL);
}

static void no_winsock(struct ub_event *ub)
{
	(void)ub;
}

static void no_winsock_wouldblock(struct ub_event *ub, int bit)
{
	(void)ub;
	(void)bit;
}

static struct ub_event_vmt event_calls = {
	.add_bits = event_add_bits,
	.del_bits = event_del_bits,
	.set_fd = event_set_fd,
	.free = event_free,
	.add = event_add,
	.del = event_del,
	.add_timer = event_add_timer,
	.del_timer = event_del_timer,
	.add_signal = no_signal_add,
	.del_signal = no_signal_del,
	.winsock_unregister_wsaevent = no_winsock,
	.winsock_tcp_wouldblock = no_winsock_wouldblock,
};

static struct ub_event *base_new_event(struct ub_event_base *ub, int fd, short bits,
                                       void (*run)(int, short, void *), void *arg)
{
	struct dns_ub_base *base = (struct dns_ub_base *)ub;
	struct event *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->ub = (struct ub_event){ .magic = UB_EVENT_MAGIC, .vmt = &event_calls };
	e->loop = base->loop;
	e->bits = bits;
	e->run = run;
	e->arg = arg;
	ev_io_init(&e->io, io_ready, fd, 0);
	ev_timer_init(&e->timer, time_is_up, 0., 0.);
	return &e->ub;
}

/* The rest is for programs that let libunbound run the loop. */
static void base_free(struct ub_event_base *base)
{
	(void)base;
}

static int base_dispatch(struct ub_event_base *base)
{
	(void)base;
	must(!"libunbound wants to run the loop");
	return -1;
}

static int base_loopexit(struct ub_event_base *base, struct timeval *in)
{
	(void)base;
	(void)in;
	return 0;
}

static struct ub_event *base_new_signal(struct ub_event_base *base, int fd,
                                        void (*run)(int, short, void *), void *arg)
{
	(void)base;
	(void)fd;
	(void)run;
	(void)arg;
	must(!"libunbound wants a signal");
	return NULL;
}

static struct ub_event *base_winsock(struct ub_event_base *base, void *wsa,
                                     void (*run)(int, short, void *), void *arg)
{
	(void)wsa;
	return base_new_signal(base, -1, run, arg);
}

static struct ub_event_base_vmt base_calls = {
	.free = base_free,
	.dispatch = base_dispatch,
	.loopexit = base_loopexit,
	.new_event = base_new_event,
	.new_signal = base_new_signal,
	.winsock_register_wsaevent = base_winsock,
};

void dns_ub_base_init(struct dns_ub_base *base, struct loop *loop)
{
	*base = (struct dns_ub_base){
		.ub = { .magic = UB_EVENT_MAGIC, .vmt = &base_calls },
		.loop = loop,
	};
}
