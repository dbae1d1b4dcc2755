/* SPDX-License-Identifier: ISC */
/* Messages found by their id, while others come and go. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "queue/deliver/timetable_inside.h"

#define MANY 3000

static uint64_t next_number(uint64_t *x)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return *x >> 33;
}

/* Ids as the clock makes them: close together, in groups, some far away. */
static void fill_ids(struct message *m, uint64_t *x)
{
	uint64_t id = 1700000000000000;

	for (size_t i = 0; i < MANY; i++) {
		id += next_number(x) % 8 == 0 ? next_number(x) : 1 + next_number(x) % 3;
		m[i].id = id;
	}
}

static void check(const struct known *k, const struct message *m, const bool *in)
{
	for (size_t i = 0; i < MANY; i++)
		assert_ptr_equal(known_find(k, m[i].id), in[i] ? &m[i] : NULL);
}

static void they_come_and_go(void **state)
{
	static struct message m[MANY];
	static bool in[MANY];
	struct known k = { 0 };
	uint64_t x = 4711;
	size_t n = 0;

	(void)state;
	fill_ids(m, &x);
	for (size_t i = 0; i < 40 * MANY; i++) {
		size_t at = next_number(&x) % MANY;

		/* Filled for half of the time, then emptied. */
		if (next_number(&x) % 4 < (i < 20 * MANY ? 3 : 1)) {
			assert_int_equal(known_add(&k, &m[at]), !in[at]);
			n += !in[at];
			in[at] = true;
		} else {
			known_remove(&k, &m[at]);
			n -= in[at];
			in[at] = false;
		}
		assert_int_equal(k.n, n);
		if (i % MANY == 0)
			check(&k, m, in);
	}
	check(&k, m, in);
	known_fini(&k);
}

/* At most three quarters full: a search ends. */
static void it_grows(void **state)
{
	static struct message m[MANY];
	struct known k = { 0 };
	uint64_t x = 1;

	(void)state;
	fill_ids(m, &x);
	assert_null(known_find(&k, 1));
	known_remove(&k, &m[0]);
	for (size_t i = 0; i < MANY; i++) {
		assert_true(known_add(&k, &m[i]));
		assert_true(4 * k.n <= 3 * k.room);
	}
	assert_int_equal(k.room, 4096);
	known_fini(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(they_come_and_go),
		cmocka_unit_test(it_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
