/* SPDX-License-Identifier: ISC */
/* loop: putting off, timers, descriptors, the mailbox, late turns, the end. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/err.h"
#include "smtpd/base/log.h"
#include "smtpd/base/loop.h"

struct house {
	struct loop      *loop;
	char              trace[64];
	struct loop_call  a, b, c;
	struct loop_timer one, two;
	struct loop_io    io;
	int               fds[2], count;
	uint64_t          began;
};

static void note(struct house *h, const char *what)
{
	strncat(h->trace, what, sizeof(h->trace) - strlen(h->trace) - 1);
}

static int build(void **state)
{
	struct house *h = calloc(1, sizeof(*h));

	h->loop = loop_new(0, NULL);
	assert_non_null(h->loop);
	h->loop->house = h;
	*state = h;
	return 0;
}

static int pull_down(void **state)
{
	struct house *h = *state;

	loop_free(h->loop);
	free(h);
	return 0;
}

static void call_c(struct loop_call *c)
{
	struct house *h = SUPER(c, struct house, c);

	note(h, "c");
	loop_stop(h->loop);
}

static void call_b(struct loop_call *c)
{
	note(SUPER(c, struct house, b), "b");
}

static void call_a(struct loop_call *c)
{
	struct house *h = SUPER(c, struct house, a);

	note(h, "a");
	if (h->count++ == 0) {
		loop_undefer(&h->b);                  /* was next */
		loop_undefer(&h->b);                  /* harmless */
		loop_defer(h->loop, &h->a, call_a);   /* the turn after */
		loop_defer(h->loop, &h->b, call_b);
		return;
	}
	loop_defer(h->loop, &h->c, call_c);
	note(h, ".");
}

static void putting_off(void **state)
{
	struct house *h = *state;

	loop_undefer(&h->c);
	loop_defer(h->loop, &h->a, call_a);
	loop_defer(h->loop, &h->b, call_b);
	assert_string_equal(h->trace, "");       /* never inside the call that armed it */
	loop_run(h->loop);
	assert_string_equal(h->trace, "aa.bc");
}

static void second_timer(struct loop_timer *t)
{
	struct house *h = SUPER(t, struct house, two);

	note(h, "2");
	assert_false(loop_timer_armed(t));
	assert_true(clock_ms() + 1 >= h->began + 40);
	if (h->count == 3)
		loop_stop(h->loop);
}

static void first_timer(struct loop_timer *t)
{
	struct house *h = SUPER(t, struct house, one);

	note(h, "1");
	if (++h->count < 3)
		loop_timer_set(t, 1);
	else if (!loop_timer_armed(&h->two))     /* on a busy machine 40 ms are over sooner */
		loop_stop(h->loop);
}

static void timers(void **state)
{
	struct house     *h = *state;
	struct loop_timer never = { 0 };

	loop_timer_stop(&never);
	loop_timer_init(&h->one, h->loop, "first", first_timer);
	loop_timer_init(&h->two, h->loop, "second", second_timer);
	loop_timer_init(&never, h->loop, "never", first_timer);
	loop_timer_stop(&never);
	assert_false(loop_timer_armed(&h->two));
	h->began = clock_ms();
	loop_timer_set(&h->two, 5);
	loop_timer_set(&h->two, 40);             /* the later word counts */
	loop_timer_set(&h->one, 1);
	loop_timer_set(&never, 1);
	assert_true(loop_timer_armed(&h->two));
	loop_timer_stop(&never);
	assert_false(loop_timer_armed(&never));
	loop_run(h->loop);
	assert_int_equal(strlen(h->trace), 4);
	assert_non_null(strchr(h->trace, '2'));
	assert_int_equal(h->count, 3);
	assert_false(loop_timer_armed(&h->one));
}

static void readable(struct loop_io *io, int events)
{
	struct house *h = SUPER(io, struct house, io);
	char          c[2] = { 0 };

	assert_int_equal(events, EV_READ);
	assert_int_equal(read(h->fds[0], c, 1), 1);
	note(h, c);
	if (c[0] == 'x') {
		loop_io_want(io, 0);
		loop_io_want(io, 0);
		loop_stop(h->loop);
	}
}

static void descriptors(void **state)
{
	struct house *h = *state;

	assert_int_equal(pipe(h->fds), 0);
	assert_int_equal(write(h->fds[1], "rx.", 3), 3);
	loop_io_init(&h->io, h->loop, "pipe", h->fds[0], readable);
	loop_io_want(&h->io, EV_READ);
	loop_io_want(&h->io, EV_READ);
	assert_string_equal(h->trace, "");
	loop_run(h->loop);
	assert_string_equal(h->trace, "rx");
	close(h->fds[0]);
	close(h->fds[1]);
}

struct parcel {
	struct baton  baton;
	struct house *to;
	int           number;
};

enum { PARCELS = 2000 };

static void parcel_arrived(struct baton *b)
{
	struct parcel *p = (struct parcel *)b;

	assert_int_equal(p->number, p->to->count++);
	if (p->to->count == PARCELS)
		loop_stop(p->to->loop);
}

static void *send_parcels(void *arg)
{
	struct parcel *p = arg;

	for (int i = 0; i < PARCELS; i++)
		loop_send(p[i].to->loop, &p[i].baton);
	return NULL;
}

static void mailbox(void **state)
{
	struct house  *h = *state;
	struct parcel *p = calloc(PARCELS, sizeof(*p));
	pthread_t      sender;

	for (int i = 0; i < PARCELS; i++)
		p[i] = (struct parcel){ { .arrived = parcel_arrived }, h, i };
	assert_int_equal(pthread_create(&sender, NULL, send_parcels, p), 0);
	loop_run(h->loop);
	pthread_join(sender, NULL);
	assert_int_equal(h->count, PARCELS);
	free(p);
}

static void last_parcel(struct baton *b)
{
	((struct parcel *)b)->number = 1;
}

static void what_is_late_still_arrives(void **state)
{
	struct loop  *l = loop_new(1, NULL);
	struct parcel p = { { .arrived = last_parcel }, NULL, 0 };

	(void)state;
	loop_send(l, &p.baton);
	assert_int_equal(p.number, 0);
	loop_free(l);
	assert_int_equal(p.number, 1);
}

static void slow(struct loop_timer *t)
{
	struct house *h = SUPER(t, struct house, one);
	uint64_t      until = clock_ms() + 120;

	while (clock_ms() < until)
		;
	/* Counts from now, not from the beginning of this turn. */
	h->began = clock_ms();
	loop_timer_set(&h->two, 40);
}

static void quick(struct loop_timer *t)
{
	struct house *h = SUPER(t, struct house, two);

	assert_true(clock_ms() + 1 >= h->began + 40);
	loop_stop(h->loop);
}

static void late_turns(void **state)
{
	struct house *h = *state;
	char          path[] = "/tmp/postern-loop-XXXXXX", text[512] = "";
	int           fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(log_open(LOG_TO_FILE, path, NULL), OK);
	loop_timer_init(&h->one, h->loop, "slow", slow);
	loop_timer_init(&h->two, h->loop, "quick", quick);
	loop_timer_set(&h->one, 1);
	loop_run(h->loop);
	assert_int_equal(log_open(LOG_TO_STDERR, NULL, NULL), OK);
	assert_true(read(fd, text, sizeof(text) - 1) > 0);
	assert_non_null(strstr(text, " warn loop.late loop=0 handler=slow handler_ms="));
	assert_true(loop_longest(h->loop) > 100);
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(putting_off, build, pull_down),
		cmocka_unit_test_setup_teardown(timers, build, pull_down),
		cmocka_unit_test_setup_teardown(descriptors, build, pull_down),
		cmocka_unit_test_setup_teardown(mailbox, build, pull_down),
		cmocka_unit_test(what_is_late_still_arrives),
		cmocka_unit_test_setup_teardown(late_turns, build, pull_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
