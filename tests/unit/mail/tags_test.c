/* SPDX-License-Identifier: ISC */
/* tags: lists as DKIM, ARC and DMARC records and signatures write them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/tags.h"

struct expect {
	const char *name;
	str         text;
	const char *shown;       /* "name<value>" of each, in order */
	bool        malformed;
	const char *duplicate;
};

static const struct expect cases[] = {
	{ "plain", STR("v=1; a=rsa-sha256; b=xyz"), "v<1>a<rsa-sha256>b<xyz>", false, "" },
	{ "semicolon at the end", STR("v=1;"), "v<1>", false, "" },
	{ "space behind it", STR("v=1; \r\n "), "v<1>", false, "" },
	{ "two semicolons at the end", STR("v=1;;"), "v<1>", true, "" },
	{ "empty item inside", STR("v=1;;a=2"), "v<1>a<2>", true, "" },
	{ "empty item in front", STR(";v=1"), "v<1>", true, "" },
	{ "space around all", STR(" v \t=\r\n 1 ; a = 2 "), "v<1>a<2>", false, "" },
	{ "folds inside stay", STR("b=ab\r\n cd"), "b<ab\r\n cd>", false, "" },
	{ "empty value", STR("p=; v=1"), "p<>v<1>", false, "" },
	{ "equal signs in the value", STR("bh=ab==; x=="), "bh<ab==>x<=>", false, "" },
	{ "twice", STR("d=a; d=b"), "d<a>d<b>", false, "d" },
	{ "case tells names apart", STR("d=a; D=b"), "d<a>D<b>", false, "" },
	{ "no equal sign", STR("v=1; junk; a=2"), "v<1>a<2>", true, "" },
	{ "no name", STR("=1; a=2"), "a<2>", true, "" },
	{ "space in a name", STR("v v=1; a=2"), "a<2>", true, "" },
	{ "digit first", STR("1v=1; a=2"), "a<2>", true, "" },
	{ "underscore inside", STR("a_1=1"), "a_1<1>", false, "" },
	{ "underscore first", STR("_a=1"), "", true, "" },
	{ "hyphen", STR("a-b=1"), "", true, "" },
	{ "NUL in the value", STR("d=a\0.b; s=1"), "s<1>", true, "" },
	{ "NUL in the name", STR("d\0=a; s=1"), "s<1>", true, "" },
	{ "UTF-8 value", STR("d=b\xc3\xbc.test"), "d<b\xc3\xbc.test>", false, "" },
	{ "empty", STR(""), "", false, "" },
	{ "white space", STR(" \r\n "), "", false, "" },
};

static void lists_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct expect *c = &cases[i];
		struct arena a;
		struct tags  t;
		char         shown[256] = "";

		arena_init(&a, ARENA_UNBOUNDED);
		tags_parse(&a, c->text, &t);
		for (size_t j = 0; j < t.n; j++)
			snprintf(shown + strlen(shown), sizeof(shown) - strlen(shown), "%.*s<%.*s>",
			         STR_ARG(t.v[j].name), STR_ARG(t.v[j].value));
		if (strcmp(shown, c->shown) != 0 || t.malformed != c->malformed ||
		    !str_is(t.duplicate, c->duplicate))
			fail_msg("%s: got %s malformed %d twice %.*s", c->name, shown, t.malformed,
			         STR_ARG(t.duplicate));
		arena_fini(&a);
	}
}

static void many_tags_stay_linear(void **state)
{
	struct arena a;
	struct tags  t;
	size_t       n = 0, room = 12 * (TAGS_MAX + 100);
	char        *text = malloc(room);
	str          value;

	(void)state;
	assert_non_null(text);
	for (int i = 0; i < TAGS_MAX; i++)
		n += (size_t)snprintf(text + n, room - n, "t%d=%d;", i, i);
	arena_init(&a, ARENA_UNBOUNDED);
	tags_parse(&a, (str){ text, n }, &t);
	assert_int_equal(t.n, TAGS_MAX);
	assert_false(t.malformed);
	assert_int_equal(t.duplicate.n, 0);
	assert_true(tags_get(&t, "t4999", &value));
	assert_true(str_is(value, "4999"));

	n += (size_t)snprintf(text + n, room - n, "t7=again");
	tags_parse(&a, (str){ text, n }, &t);
	assert_int_equal(t.n, TAGS_MAX);
	assert_true(t.malformed);

	memcpy(text, "t1=0;", 5);
	tags_parse(&a, (str){ text, n }, &t);
	assert_true(str_is(t.duplicate, "t1"));
	arena_fini(&a);
	free(text);
}

static void values_are_found(void **state)
{
	struct arena a;
	struct tags  t;
	str          value;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	tags_parse(&a, STR("v=DMARC1; P=none"), &t);
	assert_false(tags_get(&t, "p", &value));
	assert_true(tags_get_nocase(&t, "p", &value));
	assert_true(str_is(value, "none"));
	assert_false(tags_get_nocase(&t, "sp", &value));
	assert_true(str_is(tags_squeeze(&a, STR("ab c\r\n\td ")), "abcd"));
	assert_true(str_is(tags_squeeze(&a, STR("abcd")), "abcd"));
	assert_true(str_is(tags_squeeze(&a, STR(" ")), ""));
	arena_fini(&a);
}

static void memory_that_ends_is_malformed(void **state)
{
	struct arena a;
	struct tags  t;

	(void)state;
	arena_init(&a, 16);
	tags_parse(&a, STR("a=1;b=2;c=3"), &t);
	assert_true(t.malformed);
	assert_int_equal(t.n, 0);
	assert_true(a.spent);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lists_are_read),
		cmocka_unit_test(many_tags_stay_linear),
		cmocka_unit_test(values_are_found),
		cmocka_unit_test(memory_that_ends_is_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
