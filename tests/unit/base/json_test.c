/* SPDX-License-Identifier: ISC */
/* json: order, nesting, nulls, escapes, bytes that are not UTF-8. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/base/json.h"

static void is(struct json *root, const char *want)
{
	char *got = json_text(root);

	assert_string_equal(got, want);
	free(got);
}

static void documents(void **state)
{
	struct json *root = json_new_object(), *list, *child;

	(void)state;
	json_set(root, "z", STR("last letter first"));
	json_set_c(root, "a", "b");
	json_set_num(root, "n", INT64_MIN);
	json_set_bool(root, "yes", true);
	json_set_bool(root, "no", false);
	json_set_null(root, "nil");
	json_set(root, "none", STR_NONE);
	json_set_c(root, "null", NULL);
	json_set(root, "empty", STR(""));
	list = json_set_array(root, "list");
	json_add(list, STR("x"));
	json_set_num(json_add_object(list), "y", 1);
	child = json_set_object(root, "child");
	json_set_object(child, "inner");
	is(root, "{\"z\":\"last letter first\",\"a\":\"b\",\"n\":-9223372036854775808,\"yes\":true,"
	         "\"no\":false,\"nil\":null,\"none\":null,\"null\":null,\"empty\":\"\","
	         "\"list\":[\"x\",{\"y\":1}],\"child\":{\"inner\":{}}}");
	is(json_new_array(), "[]");
}

#define BAD "\xef\xbf\xbd"

static void texts(void **state)
{
	static const struct { str in; const char *want; } cases[] = {
		{ STR("a\"b\\c/"), "a\\\"b\\\\c/" },
		{ STR("\n\t\x01\x7f"), "\\n\\t\\u0001\x7f" },
		{ STR("a\0b"), "a\\u0000b" },
		{ STR("m\xc3\xbcller \xe2\x82\xac \xf0\x9f\x93\xac"),
		  "m\xc3\xbcller \xe2\x82\xac \xf0\x9f\x93\xac" },
		{ STR("m\xfcller"), "m" BAD "ller" },
		{ STR("\xc3"), BAD },
		{ STR("\xc3\xbc\xc3"), "\xc3\xbc" BAD },
		{ STR("\xc0\x80"), BAD BAD },                    /* overlong */
		{ STR("\xe0\x9f\xbf"), BAD BAD BAD },
		{ STR("\xed\xa0\x80"), BAD BAD BAD },            /* surrogate */
		{ STR("\xf4\x90\x80\x80"), BAD BAD BAD BAD },    /* past U+10FFFF */
		{ STR("\xf0\x9f\x93" "a"), BAD BAD BAD "a" },
		{ STR("\xff\0x"), BAD "\\u0000x" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct json *root = json_new_array();
		char         want[128];

		json_add(root, cases[i].in);
		snprintf(want, sizeof(want), "[\"%s\"]", cases[i].want);
		is(root, want);
	}
}

static void printing(void **state)
{
	struct json *root = json_new_object();
	char        *text = NULL;
	size_t       n = 0;
	FILE        *out = open_memstream(&text, &n);

	(void)state;
	json_set_num(root, "a", 1);
	json_print(root, out);
	fclose(out);
	assert_string_equal(text, "{\n  \"a\": 1\n}\n");
	free(text);
}

static void reads_what_is_there(void **state)
{
	struct json *root = json_read(STR(" {\"t\":\"m\\u00fcller\",\"n\":-7,\"r\":1.9,\"big\":1e300,\"yes\":true,\"nil\":null,"
	                                  "\"list\":[\"a\",2,{}],\"o\":{\"in\":1}} "));
	int64_t n = 0;
	bool yes = false;
	str text = STR_NONE;

	(void)state;
	assert_non_null(root);
	assert_true(json_holds_members(root));
	assert_true(json_get_text(json_at(root, "t"), &text) && str_is(text, "m\xc3\xbcller"));
	assert_true(json_get_whole(json_at(root, "n"), &n) && n == -7);
	assert_true(json_get_whole(json_at(root, "r"), &n) && n == 1);
	assert_false(json_get_whole(json_at(root, "big"), &n));
	assert_false(json_get_whole(json_at(root, "t"), &n));
	assert_true(json_get_bool(json_at(root, "yes"), &yes) && yes);
	assert_false(json_get_bool(json_at(root, "nil"), &yes));
	assert_false(json_get_text(json_at(root, "n"), &text));
	assert_int_equal(json_count(json_at(root, "list")), 3);
	assert_true(json_get_text(json_nth(json_at(root, "list"), 0), &text) && str_is(text, "a"));
	assert_true(json_holds_members(json_nth(json_at(root, "list"), 2)));
	assert_false(json_holds_members(json_nth(json_at(root, "list"), 1)));
	assert_true(json_get_whole(json_at(json_at(root, "o"), "in"), &n) && n == 1);
	/* What is not there, or of another kind, is not found. */
	assert_null(json_at(root, "none"));
	assert_null(json_at(json_at(root, "none"), "in"));
	assert_null(json_at(json_at(root, "t"), "in"));
	assert_null(json_nth(json_at(root, "list"), 3));
	assert_null(json_nth(root, 0));
	assert_int_equal(json_count(root), 0);
	assert_int_equal(json_count(NULL), 0);
	assert_false(json_holds_members(NULL));
	assert_false(json_get_text(NULL, &text) || json_get_whole(NULL, &n) || json_get_bool(NULL, &yes));
	json_free(root);
	json_free(NULL);
}

static void refuses_what_is_no_document(void **state)
{
	static const str cases[] = {
		{ NULL, 0 }, { "", 0 }, { "{", 1 }, { "{}x", 3 }, { "{\"a\":1,\"a\":2}", 13 }, { "{\"a\":\"\\u0000\"}", 14 },
		{ "{\"a\":\"\0\"}", 9 }, { "{\"a\":\"\xff\"}", 9 }, { "nul", 3 }, { "{'a':1}", 7 }, { "[1,]", 4 },
	};
	char deep[9000];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (json_read(cases[i]) != NULL)
			fail_msg("case %zu", i);
	memset(deep, '[', sizeof(deep));
	assert_null(json_read((str){ deep, sizeof(deep) }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents),
		cmocka_unit_test(texts),
		cmocka_unit_test(printing),
		cmocka_unit_test(reads_what_is_there),
		cmocka_unit_test(refuses_what_is_no_document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
