/* SPDX-License-Identifier: ISC */
/* arena: alignment, zeroing, budgets, overflow. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/err.h"

static void pieces(void **state)
{
	static const size_t sizes[] = { 1, 0, 16, 17, 700, 1500, 30000, 3, 70000, 100, 200000, 9 };
	char               *got[50 * COUNT(sizes)];
	struct arena        a;
	size_t              n = 0;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	assert_null(a.blocks);
	for (size_t i = 0; i < COUNT(got); i++) {
		size_t size = sizes[i % COUNT(sizes)];

		got[i] = arena_alloc(&a, size);
		assert_non_null(got[i]);
		assert_int_equal((uintptr_t)got[i] % _Alignof(max_align_t), 0);
		for (size_t k = 0; k < size; k++)
			assert_int_equal(got[i][k], 0);
		memset(got[i], (int)i, size);
		n += size;
	}
	for (size_t i = 0; i < COUNT(got); i++)
		for (size_t k = 0; k < sizes[i % COUNT(sizes)]; k++)
			assert_int_equal(got[i][k], (char)i);
	assert_true(a.used >= n);
	arena_fini(&a);
	assert_null(a.blocks);
	assert_int_equal(a.used, 0);
	assert_non_null(arena_alloc(&a, 10));
	arena_wipe(&a);
	assert_null(a.blocks);
}

static void budget(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, 1024);
	assert_non_null(arena_alloc(&a, 1000));
	assert_null(arena_alloc(&a, 100));
	assert_true(a.spent);
	/* What still fits is given, but it stays spent. */
	assert_non_null(arena_alloc(&a, 8));
	assert_true(a.spent);
	arena_fini(&a);
	assert_false(a.spent);
	assert_non_null(arena_alloc(&a, 1024));
	assert_null(arena_alloc(&a, 1));
	arena_fini(&a);
}

/* One block for what was foretold, small ones behind it. */
static void exact(void **state)
{
	struct arena a;
	size_t first = arena_size(100) + arena_size(1) + arena_size(0);
	const char *p, *end;

	(void)state;
	arena_init_exact(&a, ARENA_UNBOUNDED, first);
	p = arena_alloc(&a, 100);
	assert_non_null(arena_alloc(&a, 1));
	end = arena_alloc(&a, 0);
	assert_ptr_equal(end + arena_size(0), p + first);
	assert_int_equal(a.used, first);
	p = arena_alloc(&a, 16);
	for (size_t i = 1; i < 14; i++)          /* 256 bytes, their head among them */
		assert_ptr_equal(arena_alloc(&a, 16), p + 16 * i);
	assert_ptr_not_equal(arena_alloc(&a, 16), p + 16 * 14);
	assert_false(a.spent);
	arena_fini(&a);
	assert_null(a.blocks);
}

static void overflow(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_null(arena_alloc(&a, SIZE_MAX - 15));
	assert_true(a.spent);
	a.spent = false;
	assert_null(arena_alloc_array(&a, SIZE_MAX / 4, 8));
	assert_true(a.spent);
	assert_non_null(ARENA_ARRAY(&a, uint64_t, 0));
	assert_non_null(ARENA_NEW(&a, struct arena));
	arena_fini(&a);
}

static void printing(void **state)
{
	struct arena a;
	str          s;
	char         big[3000];

	(void)state;
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	arena_init(&a, ARENA_UNBOUNDED);
	s = arena_printf(&a, "%s-%d", "a", 7);
	assert_string_equal(s.p, "a-7");
	assert_int_equal(s.n, 3);
	s = arena_printf(&a, "%s!", big);
	assert_int_equal(s.n, sizeof(big));
	assert_int_equal(s.p[s.n - 1], '!');
	s = arena_printf(&a, "%s", "");
	assert_int_equal(s.n, 0);
	arena_fini(&a);
	arena_init(&a, 8);
	assert_null(arena_printf(&a, "%s", big).p);
	assert_true(a.spent);
	arena_fini(&a);
}

/* More than what was handed out, and little more. */
static void what_it_holds(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	assert_int_equal(arena_held(&a), 0);
	assert_non_null(arena_alloc(&a, 10));
	assert_int_equal(arena_held(&a), 1024);
	assert_non_null(arena_alloc(&a, 5000));
	assert_in_range(arena_held(&a), 1024 + 5000, 1024 + 5000 + 64);
	arena_fini(&a);
	assert_int_equal(arena_held(&a), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pieces),
		cmocka_unit_test(budget),
		cmocka_unit_test(exact),
		cmocka_unit_test(overflow),
		cmocka_unit_test(printing),
		cmocka_unit_test(what_it_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
