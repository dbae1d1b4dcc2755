/* SPDX-License-Identifier: ISC */
/* mbox: order, who goes first, weights, deadlines, stopping, waking; real threads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/err.h"
#include "smtpd/base/mbox_gather.h"

struct note {
	struct baton baton;
	int          sender, number;
};

static void send_note(struct mbox *m, struct note *n, int number, size_t weight, bool first)
{
	n->number = number;
	n->baton.weight = weight;
	n->baton.first = first;
	mbox_send(m, &n->baton);
}

/* The numbers of a list, checked one by one. */
static void comes(struct baton *b, const int *want, size_t n)
{
	for (size_t i = 0; i < n; i++, b = b->next) {
		assert_non_null(b);
		assert_int_equal(((struct note *)b)->number, want[i]);
	}
	assert_null(b);
}
#define COMES(list, ...) comes((list), (int[]){ __VA_ARGS__ }, sizeof((int[]){ __VA_ARGS__ }) / sizeof(int))

static void order(void **state)
{
	struct mbox *m = mbox_new(NULL, NULL);
	struct note  n[6];

	(void)state;
	assert_null(mbox_take_all(m));
	for (int i = 0; i < 6; i++)
		send_note(m, &n[i], i, 0, i == 2 || i == 4);
	assert_int_equal(mbox_count(m), 6);
	COMES(mbox_take_all(m), 2, 4, 0, 1, 3, 5);
	assert_int_equal(mbox_count(m), 0);
	for (int i = 0; i < 2; i++)
		send_note(m, &n[i], i, 0, false);
	COMES(mbox_take_all(m), 0, 1);
	for (int i = 0; i < 2; i++)
		send_note(m, &n[i], i, 0, true);
	COMES(mbox_take_all(m), 0, 1);
	mbox_free(m);
}

static void weights(void **state)
{
	struct mbox *m = mbox_new(NULL, NULL);
	struct note  n[6];

	(void)state;
	for (int i = 0; i < 5; i++)
		send_note(m, &n[i], i, 40, i == 4);
	COMES(mbox_take(m, 2, SIZE_MAX, 0), 4, 0);       /* two items */
	COMES(mbox_take(m, 10, 80, 0), 1, 2);            /* 80 bytes, not 120 */
	send_note(m, &n[0], 0, 0, false);
	COMES(mbox_take(m, 10, 39, 0), 3);               /* the first always, however heavy */
	send_note(m, &n[1], 1, 1000, false);
	send_note(m, &n[2], 2, 0, false);
	COMES(mbox_take(m, 10, 50, 0), 0);               /* 1,000 would be too much */
	COMES(mbox_take(m, 10, 50, 0), 1);               /* nothing more after too much */
	send_note(m, &n[3], 3, SIZE_MAX, false);
	COMES(mbox_take(m, 10, SIZE_MAX, 0), 2, 3);
	mbox_free(m);
}

static void deadlines(void **state)
{
	struct mbox *m = mbox_new(NULL, NULL);
	uint64_t     until = clock_ms() + 30;

	(void)state;
	assert_null(mbox_take(m, 1, 1, 0));
	assert_null(mbox_take(m, 1, 1, until));
	assert_true(clock_ms() >= until);
	assert_false(mbox_stopped(m));
	mbox_free(m);
}

static void stopping(void **state)
{
	struct mbox *m = mbox_new(NULL, NULL);
	struct note  n[2];

	(void)state;
	send_note(m, &n[0], 0, 0, false);
	send_note(m, &n[1], 1, 0, false);
	mbox_stop(m);
	assert_true(mbox_stopped(m));
	COMES(mbox_take(m, 1, SIZE_MAX, UINT64_MAX), 0);
	COMES(mbox_take(m, 1, SIZE_MAX, UINT64_MAX), 1);
	assert_null(mbox_take(m, 1, SIZE_MAX, UINT64_MAX));
	mbox_free(m);
}

static void count_wake(void *arg)
{
	(*(int *)arg)++;
}

static void waking(void **state)
{
	int          woken = 0;
	struct mbox *m = mbox_new(count_wake, &woken);
	struct note  n[4];

	(void)state;
	send_note(m, &n[0], 0, 0, false);
	assert_int_equal(woken, 1);
	send_note(m, &n[1], 1, 0, false);
	send_note(m, &n[2], 2, 0, true);
	assert_int_equal(woken, 1);
	mbox_take(m, 2, SIZE_MAX, 0);
	send_note(m, &n[3], 3, 0, false);    /* one was left: not empty */
	assert_int_equal(woken, 1);
	mbox_take_all(m);
	send_note(m, &n[0], 0, 0, true);
	assert_int_equal(woken, 2);
	mbox_take_all(m);
	mbox_free(m);
}

enum { SENDERS = 4, NOTES = 5000 };

struct sender {
	pthread_t    thread;
	struct mbox *to;
	int          number;
	struct note  notes[NOTES];
};

static void *send_many(void *arg)
{
	struct sender *s = arg;

	if (s->number % 2 == 1)
		mbox_gather();
	for (int i = 0; i < NOTES; i++) {
		s->notes[i].sender = s->number;
		send_note(s->to, &s->notes[i], i, 1, false);
		if (i % 100 == 99)
			mbox_hand_over();
	}
	mbox_gather_no_more();
	return NULL;
}

static struct sender *start_senders(struct mbox *m)
{
	struct sender *s = calloc(SENDERS, sizeof(*s));

	assert_non_null(s);
	for (int i = 0; i < SENDERS; i++) {
		s[i].to = m;
		s[i].number = i;
		assert_int_equal(pthread_create(&s[i].thread, NULL, send_many, &s[i]), 0);
	}
	return s;
}

static void end_senders(struct sender *s)
{
	for (int i = 0; i < SENDERS; i++)
		pthread_join(s[i].thread, NULL);
	free(s);
}

/* One taker that sleeps: each sender's notes arrive in its order, none is lost. */
static void many_senders(void **state)
{
	struct mbox   *m = mbox_new(NULL, NULL);
	struct sender *s = start_senders(m);
	int            next[SENDERS] = { 0 };

	(void)state;
	for (int got = 0; got < SENDERS * NOTES;) {
		struct baton *b = mbox_take(m, 256, 100, clock_ms() + 20000);

		assert_non_null(b);
		for (; b != NULL; b = b->next, got++) {
			struct note *n = (struct note *)b;

			assert_int_equal(n->number, next[n->sender]++);
		}
	}
	assert_int_equal(mbox_count(m), 0);
	end_senders(s);
	mbox_free(m);
}

static atomic_int taken_in_all;

static void *take_until_stop(void *arg)
{
	struct baton *b;

	while ((b = mbox_take(arg, 3, SIZE_MAX, UINT64_MAX)) != NULL)
		for (; b != NULL; b = b->next)
			atomic_fetch_add(&taken_in_all, 1);
	return NULL;
}

/* Several takers, as at a desk: all notes are taken once, and stop ends all. */
static void many_takers(void **state)
{
	struct mbox   *m = mbox_new(NULL, NULL);
	pthread_t      takers[3];
	struct sender *s;

	(void)state;
	atomic_store(&taken_in_all, 0);
	for (size_t i = 0; i < COUNT(takers); i++)
		assert_int_equal(pthread_create(&takers[i], NULL, take_until_stop, m), 0);
	s = start_senders(m);
	for (int i = 0; i < SENDERS; i++)
		pthread_join(s[i].thread, NULL);
	mbox_stop(m);
	for (size_t i = 0; i < COUNT(takers); i++)
		pthread_join(takers[i], NULL);
	assert_int_equal(atomic_load(&taken_in_all), SENDERS * NOTES);
	free(s);
	mbox_free(m);
}

/* What is gathered comes in one go and wakes once; what is sent now comes now. */
static void gathering(void **state)
{
	int          woken = 0;
	struct mbox *m = mbox_new(count_wake, &woken), *other = mbox_new(NULL, NULL), *now = mbox_new(NULL, NULL);
	struct note  n[8];

	(void)state;
	mbox_gather();
	for (int i = 0; i < 5; i++)
		send_note(m, &n[i], i, 0, i == 3);
	send_note(other, &n[5], 5, 0, true);
	n[6].number = 6;
	n[6].baton.first = false;
	mbox_send_now(now, &n[6].baton);
	assert_int_equal(woken, 0);
	assert_int_equal(mbox_count(m), 0);
	COMES(mbox_take_all(now), 6);
	mbox_hand_over();
	assert_int_equal(woken, 1);
	COMES(mbox_take_all(m), 3, 0, 1, 2, 4);
	COMES(mbox_take(other, 1, SIZE_MAX, 0), 5);
	send_note(other, &n[0], 0, 0, false);            /* who takes has handed over */
	COMES(mbox_take(other, 1, SIZE_MAX, UINT64_MAX), 0);
	send_note(m, &n[1], 1, 0, false);
	mbox_gather_no_more();
	send_note(m, &n[2], 2, 0, false);
	assert_int_equal(woken, 2);
	COMES(mbox_take_all(m), 1, 2);
	mbox_free(m);
	mbox_free(other);
	mbox_free(now);
}

static void gathering_for_many_boxes(void **state)
{
	struct mbox *m[20];
	struct note  n[60];

	(void)state;
	mbox_gather();
	for (size_t i = 0; i < COUNT(m); i++)
		m[i] = mbox_new(NULL, NULL);
	for (size_t i = 0; i < COUNT(n); i++)
		send_note(m[i % COUNT(m)], &n[i], (int)i, 0, false);
	mbox_gather_no_more();
	for (size_t i = 0; i < COUNT(m); i++) {
		COMES(mbox_take_all(m[i]), (int)i, (int)i + 20, (int)i + 40);
		mbox_free(m[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order),        cmocka_unit_test(weights),
		cmocka_unit_test(deadlines),    cmocka_unit_test(stopping),
		cmocka_unit_test(waking),       cmocka_unit_test(many_senders),
		cmocka_unit_test(many_takers),  cmocka_unit_test(gathering),
		cmocka_unit_test(gathering_for_many_boxes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
