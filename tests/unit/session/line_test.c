/* SPDX-License-Identifier: ISC */
/*
 * Command lines, whole and split at every byte.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "smtpd/session/internal.h"

static const struct { const char *name; str in; enum line_says says; const char *text; size_t left; } cases[] = {
	{ "a line", { "NOOP\r\n", 6 }, LINE_GOOD, "NOOP", 0 },
	{ "an empty line", { "\r\n", 2 }, LINE_GOOD, "", 0 },
	{ "two lines", { "RSET\r\nQUIT\r\n", 12 }, LINE_GOOD, "RSET", 6 },
	{ "a bare LF ends a faulty line", { "NOOP\nQUIT\r\n", 11 }, LINE_FAULTY, "", 6 },
	{ "LF alone", { "\n", 1 }, LINE_FAULTY, "", 0 },
	{ "CR inside", { "NO\rOP\r\n", 7 }, LINE_FAULTY, "NO\rOP", 0 },
	{ "CR CR LF", { "NOOP\r\r\n", 7 }, LINE_FAULTY, "NOOP\r", 0 },
	{ "NUL inside", { "NO\0OP\r\n", 7 }, LINE_FAULTY, NULL, 0 },
	{ "no end yet", { "NOOP\r", 5 }, LINE_MORE, "", 5 },
	{ "nothing", { "", 0 }, LINE_MORE, "", 0 },
};

static void lines_are_taken(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct line l = { 0 };
		str in = cases[i].in, out;

		if (line_take(&l, &in, &out) != cases[i].says || in.n != cases[i].left)
			fail_msg("%s", cases[i].name);
		if (cases[i].says == LINE_GOOD && !str_is(out, cases[i].text))
			fail_msg("%s: text", cases[i].name);
	}
}

/* The connection shows again what was not used, with more behind it. */
static void split_lines_are_the_same(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (size_t cut = 0; cut < cases[i].in.n; cut++) {
			struct line l = { 0 };
			str in = str_head(cases[i].in, cut), out;
			enum line_says says = line_take(&l, &in, &out);

			if (says == LINE_MORE) {
				in = cases[i].in;
				says = line_take(&l, &in, &out);
			}
			if (says != cases[i].says)
				fail_msg("%s, cut at %zu", cases[i].name, cut);
		}
}

static void long_lines_are_skipped(void **state)
{
	static char wire[LINE_MAX_ANY * 2];
	struct line l = { 0 };
	str in, out;

	(void)state;
	memset(wire, 'x', sizeof(wire));
	/* The longest that is good. */
	memcpy(wire + LINE_MAX_ANY - 2, "\r\n", 2);
	in = (str){ wire, LINE_MAX_ANY };
	assert_int_equal(line_take(&l, &in, &out), LINE_GOOD);
	assert_int_equal(out.n, LINE_MAX_ANY - 2);
	/* One more in one piece. */
	in = (str){ wire + 1, LINE_MAX_ANY };
	in.p = wire;
	memset(wire, 'x', sizeof(wire));
	memcpy(wire + LINE_MAX_ANY - 1, "\r\n", 2);
	in = (str){ wire, LINE_MAX_ANY + 1 };
	assert_int_equal(line_take(&l, &in, &out), LINE_LONG);
	assert_int_equal(in.n, 0);
	/* Far more, in pieces: thrown away as it comes, and what follows is read. */
	memset(wire, 'x', sizeof(wire));
	in = (str){ wire, sizeof(wire) };
	assert_int_equal(line_take(&l, &in, &out), LINE_MORE);
	assert_int_equal(in.n, 0);
	in = STR("xxx");
	assert_int_equal(line_take(&l, &in, &out), LINE_MORE);
	assert_int_equal(in.n, 0);
	in = STR("x\r\nNOOP\r\n");
	assert_int_equal(line_take(&l, &in, &out), LINE_LONG);
	assert_int_equal(line_take(&l, &in, &out), LINE_GOOD);
	assert_true(str_is(out, "NOOP"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_taken),
		cmocka_unit_test(split_lines_are_the_same),
		cmocka_unit_test(long_lines_are_skipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
