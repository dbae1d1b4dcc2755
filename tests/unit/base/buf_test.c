/* SPDX-License-Identifier: ISC */
/* buf: adding, eating, limits; a long run against a plain array. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"

static void holds(const struct buf *b, const char *want)
{
	assert_int_equal(buf_str(b).n, strlen(want));
	if (*want)
		assert_memory_equal(buf_str(b).p, want, strlen(want));
}

static void building(void **state)
{
	struct buf b;
	char      *p;

	(void)state;
	buf_init(&b, BUF_UNBOUNDED);
	assert_null(b.p);
	buf_add(&b, STR_NONE);
	buf_add(&b, STR("250"));
	buf_add_char(&b, '-');
	buf_addf(&b, "%s %d", "SIZE", 42);
	buf_addf(&b, "%s", "");
	holds(&b, "250-SIZE 42");
	buf_eat(&b, 4);
	holds(&b, "SIZE 42");
	p = buf_room(&b, 1000);
	assert_non_null(p);
	memcpy(p, "!!", 2);
	buf_filled(&b, 2);
	holds(&b, "SIZE 42!!");
	buf_release(&b);
	assert_non_null(b.p);
	buf_eat(&b, 9);
	buf_release(&b);
	assert_null(b.p);
	buf_add(&b, STR("again"));
	holds(&b, "again");
	buf_wipe(&b);
	assert_null(b.p);
	holds(&b, "");
}

static void limits(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	buf_add(&b, STR("12345"));
	buf_addf(&b, "%d", 67890);      /* exactly full: the NUL does not count */
	assert_false(b.failed);
	holds(&b, "1234567890");
	buf_add(&b, STR_NONE);
	assert_false(b.failed);
	buf_add_char(&b, 'x');
	assert_true(b.failed);
	buf_eat(&b, 9);
	buf_add(&b, STR("y"));          /* would fit, but it has failed */
	holds(&b, "0");
	assert_null(buf_room(&b, 1));
	buf_clear(&b);
	assert_false(b.failed);
	assert_non_null(b.p);
	buf_add(&b, STR("123456789"));
	buf_addf(&b, "%s", "xx");
	assert_true(b.failed);
	holds(&b, "123456789");
	buf_clear(&b);
	assert_null(buf_room(&b, 11));
	assert_true(b.failed);
	buf_clear(&b);
	assert_non_null(buf_room(&b, 10));
	buf_fini(&b);
	buf_init(&b, 0);
	buf_addf(&b, "%s", "a");
	assert_true(b.failed);
	buf_fini(&b);
	buf_init(&b, BUF_UNBOUNDED);
	buf_add_char(&b, 'a');
	assert_null(buf_room(&b, SIZE_MAX));
	assert_true(b.failed);
	buf_fini(&b);
}

/* The same steps on a buf and on an array that never moves. */
static void as_a_queue(void **state)
{
	enum { STEPS = 20000, MAX = 5000 };
	struct buf  b;
	char       *plain = malloc(STEPS * 100);
	size_t      from = 0, to = 0;
	unsigned    seed = 1;

	(void)state;
	buf_init(&b, MAX);
	for (int i = 0; i < STEPS; i++) {
		size_t n = (size_t)rand_r(&seed) % 100;

		if (rand_r(&seed) % 2 && to - from + n <= MAX) {
			for (size_t k = 0; k < n; k++)
				plain[to + k] = (char)rand_r(&seed);
			buf_add(&b, (str){ plain + to, n });
			to += n;
		} else if (n <= to - from) {
			buf_eat(&b, n);
			from += n;
		}
		assert_false(b.failed);
		assert_true(b.room <= MAX);
		assert_int_equal(b.n, to - from);
		if (b.n)
			assert_memory_equal(buf_str(&b).p, plain + from, b.n);
	}
	assert_true(to > 100000);
	buf_fini(&b);
	free(plain);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(building),
		cmocka_unit_test(limits),
		cmocka_unit_test(as_a_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
