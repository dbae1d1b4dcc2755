/* SPDX-License-Identifier: ISC */
/* The heap of what is due, and the intervals between tries. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "queue/backoff.h"
#include "queue/due.h"

#define N 1000

static void comes_out_in_order(void **state)
{
	static struct due_item items[N];
	struct due d;
	int64_t last = INT64_MIN;
	size_t left = N;

	(void)state;
	due_init(&d);
	srand(7);
	for (size_t i = 0; i < N; i++)
		assert_true(due_put(&d, &items[i], rand() % 500));
	for (size_t i = 0; i < N; i += 3)
		due_put(&d, &items[i], rand() % 500);      /* moved */
	for (size_t i = 1; i < N; i += 7, left--)
		due_remove(&d, &items[i]);
	due_remove(&d, &items[1]);                         /* twice is harmless */
	for (struct due_item *i; (i = due_first(&d)) != NULL; left--) {
		assert_true(i->when >= last);
		last = i->when;
		due_remove(&d, i);
		assert_int_equal(i->at, 0);
	}
	assert_int_equal(left, 0);
	due_fini(&d);
}

static void intervals_double(void **state)
{
	const struct backoff_conf c = { .first_ms = 300000, .most_ms = 4 * 3600000, .give_up_ms = 432000000,
		                        .give_up_bounce_ms = 86400000 };
	static const struct { uint32_t tries; int64_t middle; } cases[] = {
		{ 1, 300 }, { 2, 600 }, { 3, 1200 }, { 6, 9600 }, { 7, 14400 }, { 60, 14400 }, { UINT32_MAX, 14400 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (uint64_t random = 0; random < 100000; random += 777) {
			int64_t got = backoff_next(&c, cases[i].tries, random * 7919);

			assert_in_range(got, cases[i].middle * 9 / 10, cases[i].middle * 11 / 10 + 1);
		}
	assert_false(backoff_expired(&c, false, 1000, 1000 + 431999));
	assert_true(backoff_expired(&c, false, 1000, 1000 + 432000));
	assert_true(backoff_expired(&c, true, 1000, 1000 + 86400));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_out_in_order),
		cmocka_unit_test(intervals_double),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
