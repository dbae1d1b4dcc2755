/* SPDX-License-Identifier: ISC */
/*
 * wire: what the tests of conn and tls share: a loop that is turned until
 * something holds, and one side of a connection that notes what it heard.
 */
#ifndef TEST_BASE_WIRE_H
#define TEST_BASE_WIRE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/conn_inside.h"

#define UNUSED __attribute__((unused))
#define PATIENCE_MS 10000

struct side;

struct side {
	struct conn *c;
	struct buf got;
	size_t (*eat)(struct side *, str);  /* NULL: takes all */
	void (*hook)(struct side *, const char *event); /* after the event was noted */
	int connected, secured, drained, ended, shown;
	size_t largest;                     /* bytes taken in one turn */
	enum conn_end how;
	int errnum;
	char why[200];
	bool inside;                        /* a call of ours is on the stack */
};

static void side_heard(struct side *s, const char *event)
{
	assert_false(s->inside);
	if (s->hook != NULL)
		s->hook(s, event);
}

static size_t side_bytes(struct conn *c, str in)
{
	struct side *s = conn_user(c);
	size_t used;

	s->shown++;
	used = s->eat != NULL ? s->eat(s, in) : in.n;
	buf_add(&s->got, str_head(in, used));
	side_heard(s, "bytes");
	return used;
}

static void side_connected(struct conn *c)
{
	struct side *s = conn_user(c);

	s->connected++;
	side_heard(s, "connected");
}

static void side_secured(struct conn *c)
{
	struct side *s = conn_user(c);

	s->secured++;
	side_heard(s, "secured");
}

static void side_drained(struct conn *c)
{
	struct side *s = conn_user(c);

	s->drained++;
	side_heard(s, "drained");
}

static void side_ended(struct conn *c, enum conn_end how)
{
	struct side *s = conn_user(c);

	s->ended++;
	s->how = how;
	s->errnum = conn_errno(c);
	snprintf(s->why, sizeof(s->why), "%.*s", STR_ARG(conn_why(c)));
	side_heard(s, "ended");
}

UNUSED static const struct conn_events side_events = {
	.bytes = side_bytes, .connected = side_connected, .secured = side_secured, .drained = side_drained, .ended = side_ended,
};

UNUSED static void side_init(struct side *s)
{
	memset(s, 0, sizeof(*s));
	buf_init(&s->got, BUF_UNBOUNDED);
}

UNUSED static void side_open(struct side *s, struct loop *l, int fd)
{
	side_init(s);
	s->c = conn_open(l, fd, &side_events, s);
	assert_non_null(s->c);
}

UNUSED static void side_fini(struct side *s)
{
	conn_close(s->c);
	s->c = NULL;
	buf_fini(&s->got);
}

UNUSED static void pair_of_fds(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void wire_tick(struct ev_loop *ev, ev_timer *w, int events)
{
	(void)ev, (void)w, (void)events;
}

/* One turn, at most 20 ms long, so that what is not a watcher is looked at. */
UNUSED static void turn(struct loop *l)
{
	ev_timer tick;

	ev_timer_init(&tick, wire_tick, 0.02, 0.);
	ev_timer_start(l->ev, &tick);
	ev_run(l->ev, EVRUN_ONCE);
	ev_timer_stop(l->ev, &tick);
}

#define turn_until(l, what)                                                    \
	do {                                                                   \
		uint64_t until_ = clock_ms() + PATIENCE_MS;                    \
		while (!(what)) {                                              \
			if (clock_ms() > until_)                               \
				fail_msg("waited in vain for: %s", #what);     \
			turn(l);                                               \
		}                                                              \
	} while (0)

UNUSED static bool got_is(const struct side *s, const char *want)
{
	return str_is(buf_str(&s->got), want);
}

/* A listener on a free loopback port, and its address. */
UNUSED static int loopback_listener(struct sockaddr_in *at)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t n = sizeof(*at);

	memset(at, 0, sizeof(*at));
	at->sin_family = AF_INET;
	at->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)at, sizeof(*at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)at, &n), 0);
	return fd;
}

#endif
