/* SPDX-License-Identifier: ISC */
/* orcpt: RFC 6533's form of an address, there and back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/orcpt.h"

static const struct { const char *address, *ascii, *raw; } pairs[] = {
	{ "bob@far.test", "bob@far.test", "bob@far.test" },
	{ "b+o=b\\@far.test", "b\\x{2B}o\\x{3D}b\\x{5C}@far.test", "b\\x{2B}o\\x{3D}b\\x{5C}@far.test" },
	{ "\xc3\xa4@far.test", "\\x{E4}@far.test", "\xc3\xa4@far.test" },
	{ "\"a b\"@far.test", "\"a\\x{20}b\"@far.test", "\"a\\x{20}b\"@far.test" },
	{ "\xe4\xb8\xad@far.test", "\\x{4E2D}@far.test", "\xe4\xb8\xad@far.test" },
	{ "\xf0\x9f\x98\x80@far.test", "\\x{1F600}@far.test", "\xf0\x9f\x98\x80@far.test" },
};

static void there_and_back(void **state)
{
	struct arena a;
	str back;

	(void)state;
	arena_init(&a, 65536);
	for (size_t i = 0; i < COUNT(pairs); i++) {
		str ascii = orcpt_encode(&a, str_of(pairs[i].address), false), raw = orcpt_encode(&a, str_of(pairs[i].address), true);

		if (!str_is(ascii, pairs[i].ascii) || !str_is(raw, pairs[i].raw))
			fail_msg("%s: %.*s %.*s", pairs[i].address, STR_ARG(ascii), STR_ARG(raw));
		assert_true(orcpt_decode(&a, ascii, false, &back) && str_is(back, pairs[i].address));
		assert_true(orcpt_decode(&a, raw, true, &back) && str_is(back, pairs[i].address));
	}
	arena_fini(&a);
}

static void what_does_not_print_stays_out(void **state)
{
	static const char *const bad[] = {
		"\\", "\\x", "\\x{", "\\x{}", "\\x{4", "\\x{E}", "\\x{e4}", "\\x{00}", "\\x{0D}", "\\x{7F}", "\\x{85}", "\\x{D800}",
		"\\x{110000}", "\\x{1234567}", "+", "+2", "+2b", "+0A", "+E4", "a b", "a=b", "\xc3\xa4",
	};
	struct arena a;
	str out;

	(void)state;
	arena_init(&a, 65536);
	for (size_t i = 0; i < COUNT(bad); i++)
		if (orcpt_decode(&a, str_of(bad[i]), false, &out))
			fail_msg("%s", bad[i]);
	assert_false(orcpt_decode(&a, STR("\xe4"), true, &out));
	assert_true(orcpt_decode(&a, STR("a+2Bb"), false, &out) && str_is(out, "a+b"));
	assert_true(str_is(orcpt_encode(&a, STR("a\r\nb\x7f"), true), "a??b?"));
	arena_fini(&a);
}

static void types_match_without_case(void **state)
{
	(void)state;
	assert_true(orcpt_is_utf8(STR("UTF-8;a")));
	assert_false(orcpt_is_utf8(STR("utf-8x;a")));
	assert_false(orcpt_is_utf8(STR("rfc822;utf-8;a")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(what_does_not_print_stays_out),
		cmocka_unit_test(types_match_without_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
