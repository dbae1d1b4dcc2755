/* SPDX-License-Identifier: ISC */
/* str: views, comparison, cutting, numbers, copies; err's words. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/err.h"
#include "smtpd/base/str.h"

static void is(str got, const char *want)
{
	assert_int_equal(got.n, strlen(want));
	if (got.n)
		assert_memory_equal(got.p, want, got.n);
}

static void comparing(void **state)
{
	static const struct { str a, b; bool eq, nocase; int cmp; } cases[] = {
		{ STR(""), STR_NONE, true, true, 0 },
		{ STR("a"), STR("a"), true, true, 0 },
		{ STR("a"), STR("A"), false, true, 1 },
		{ STR("a"), STR("ab"), false, false, -1 },
		{ STR("b"), STR("ab"), false, false, 1 },
		{ STR("a\0b"), STR("a\0c"), false, false, -1 },
		{ STR("\xff"), STR("a"), false, false, 1 },
		{ STR("@"), STR("`"), false, false, -1 },   /* 0x40 and 0x60 are no letters */
		{ STR("\xc4"), STR("\xe4"), false, false, -1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		int c = str_cmp(cases[i].a, cases[i].b);

		assert_int_equal(str_eq(cases[i].a, cases[i].b), cases[i].eq);
		assert_int_equal(str_eq_nocase(cases[i].a, cases[i].b), cases[i].nocase);
		assert_int_equal((c > 0) - (c < 0), cases[i].cmp);
	}
	assert_true(str_is(STR("mail"), "mail"));
	assert_false(str_is(STR("mail\0"), "mail"));
	assert_true(str_is_nocase(STR("MaIl"), "mail"));
	assert_true(str_is(STR_NONE, ""));
}

static void ends(void **state)
{
	(void)state;
	assert_true(str_starts(STR("v=spf1 "), "v=spf1"));
	assert_false(str_starts(STR("v=sp"), "v=spf1"));
	assert_false(str_starts(STR("V=spf1"), "v=spf1"));
	assert_true(str_starts_nocase(STR("V=SPF1"), "v=spf1"));
	assert_true(str_starts(STR_NONE, ""));
	assert_true(str_ends_nocase(STR("a.EXAMPLE"), STR(".example")));
	assert_false(str_ends_nocase(STR("example"), STR("an.example")));
	assert_true(str_ends_nocase(STR_NONE, STR("")));
	is(str_head(STR("abc"), 2), "ab");
	is(str_head(STR("abc"), 9), "abc");
	is(str_skip(STR("abc"), 2), "c");
	is(str_skip(STR("abc"), 9), "");
	assert_null(str_skip(STR_NONE, 3).p);
	is(str_trim(STR(" \t\r\na b\n\r\t ")), "a b");
	is(str_trim(STR(" \r\n ")), "");
	is(str_trim(STR_NONE), "");
}

static void finding(void **state)
{
	(void)state;
	assert_int_equal(str_find(STR("a@b@c"), '@'), 1);
	assert_int_equal(str_rfind(STR("a@b@c"), '@'), 3);
	assert_int_equal(str_find(STR("abc"), '@'), 3);
	assert_int_equal(str_rfind(STR("abc"), '@'), 3);
	assert_int_equal(str_find(STR_NONE, '@'), 0);
	assert_true(str_holds(STR("a\0b"), '\0'));
	assert_false(str_holds(str_head(STR("a\0b"), 1), '\0'));
}

static void cutting(void **state)
{
	static const struct { str in; const char *words[5]; } cases[] = {
		{ STR("a,,b,"), { "a", "", "b", "" } },
		{ STR("a"), { "a" } },
		{ STR(""), { "" } },
		{ STR(","), { "", "" } },
		{ STR_NONE, { NULL } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		str    rest = cases[i].in, word;
		size_t n = 0;

		for (; cases[i].words[n] != NULL; n++) {
			assert_true(str_cut(&rest, ',', &word));
			is(word, cases[i].words[n]);
		}
		assert_false(str_cut(&rest, ',', &word));
	}
}

static void numbers(void **state)
{
	static const struct { str s; bool ok64, ok32; uint64_t v; } cases[] = {
		{ STR("0"), true, true, 0 },
		{ STR("007"), true, true, 7 },
		{ STR("4294967295"), true, true, UINT32_MAX },
		{ STR("4294967296"), true, false, 4294967296 },
		{ STR("18446744073709551615"), true, false, UINT64_MAX },
		{ STR("18446744073709551616"), false, false, 0 },
		{ STR("99999999999999999999"), false, false, 0 },
		{ STR(""), false, false, 0 },
		{ STR("-1"), false, false, 0 },
		{ STR("+1"), false, false, 0 },
		{ STR(" 1"), false, false, 0 },
		{ STR("1x"), false, false, 0 },
		{ STR("1\0"), false, false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint64_t v64 = 0;
		uint32_t v32 = 0;

		assert_int_equal(str_to_u64(cases[i].s, &v64), cases[i].ok64);
		assert_int_equal(str_to_u32(cases[i].s, &v32), cases[i].ok32);
		if (cases[i].ok64)
			assert_int_equal(v64, cases[i].v);
		if (cases[i].ok32)
			assert_int_equal(v32, cases[i].v);
	}
}

static void keeping(void **state)
{
	struct arena a, none;
	char         text[] = "AbC";
	str          kept, lower;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	arena_init(&none, 0);
	kept = str_keep(&a, str_of(text));
	lower = str_keep_lower(&a, str_of(text));
	text[0] = 'x';
	is(kept, "AbC");
	is(lower, "abc");
	assert_string_equal(str_cstr(&a, STR("abc")), "abc");
	assert_string_equal(str_cstr(&a, STR_NONE), "");
	assert_null(str_cstr(&a, STR("a\0b")));
	assert_null(str_keep(&a, STR_NONE).p);
	assert_non_null(str_keep(&a, STR("")).p);
	assert_false(a.spent);
	assert_null(str_keep(&none, STR("a")).p);
	assert_null(str_cstr(&none, STR("a")));
	assert_true(none.spent);
	arena_fini(&a);
	arena_fini(&none);
}

static void letters(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		bool digit = c >= '0' && c <= '9';
		bool alpha = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');

		assert_int_equal(is_digit((char)c), digit);
		assert_int_equal(is_alpha((char)c), alpha);
		assert_int_equal(is_alnum((char)c), digit || alpha);
	}
	assert_int_equal(to_lower('Z'), 'z');
	assert_int_equal(to_lower('['), '[');
}

static void errors(void **state)
{
	static const struct { int errnum; enum err want; } cases[] = {
		{ 0, OK },           { ENOENT, ERR_ABSENT }, { ENOSPC, ERR_FULL },  { EIO, ERR_IO },
		{ EACCES, ERR_DENIED }, { EEXIST, ERR_EXISTS }, { ENOMEM, ERR_MEMORY },
		{ ECONNRESET, ERR_CLOSED }, { ETIMEDOUT, ERR_TIMEOUT }, { 99999, ERR_IO },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(err_of_errno(cases[i].errnum), cases[i].want);
	for (int e = OK; e <= ERR_CLOSED; e++)
		assert_string_not_equal(err_text((enum err)e), "unknown error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comparing), cmocka_unit_test(ends),    cmocka_unit_test(finding),
		cmocka_unit_test(cutting),   cmocka_unit_test(numbers), cmocka_unit_test(keeping),
		cmocka_unit_test(letters),   cmocka_unit_test(errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
