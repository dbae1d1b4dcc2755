/* SPDX-License-Identifier: ISC */
/* addr: envelope paths, host names in all scripts, address literals. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/addr.h"

#define L63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L50 "12345678901234567890123456789012345678901234567890"

enum { STRICT = 1, UTF8 = 2, NULL_SENDER = 4, LITERAL = 8, HOLDS_UTF8 = 16, WAS_UTF8 = 32 };

static const struct {
	str         in;
	unsigned    mode;
	const char *text;         /* NULL: refused */
	const char *local, *domain;
	unsigned    flags;
	const char *rest;
} paths[] = {
	{ STR("<a@x.test>"), STRICT, "a@x.test", "a", "x.test", 0, "" },
	{ STR("<a@X.Test> SIZE=3"), STRICT, "a@x.test", "a", "x.test", 0, " SIZE=3" },
	{ STR("<A.b+c@x.test>"), STRICT, "A.b+c@x.test", "A.b+c", "x.test", 0, "" },
	{ STR("<>"), STRICT, "", "", "", NULL_SENDER, "" },
	{ STR("<> BODY=7BIT"), STRICT, "", "", "", NULL_SENDER, " BODY=7BIT" },
	{ STR("<postmaster>"), STRICT, "postmaster", "postmaster", "", 0, "" },
	{ STR("<PostMaster>"), STRICT, "PostMaster", "PostMaster", "", 0, "" },
	{ STR("<root>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<\"a b\"@x.test>"), STRICT, "\"a b\"@x.test", "a b", "x.test", 0, "" },
	{ STR("<\"ab\"@x.test>"), STRICT, "ab@x.test", "ab", "x.test", 0, "" },
	{ STR("<\"a\\\"b\\\\c\\d\"@x.test>"), STRICT, "\"a\\\"b\\\\cd\"@x.test", "a\"b\\cd", "x.test", 0, "" },
	{ STR("<\"a>b\"@x.test> X"), STRICT, "\"a>b\"@x.test", "a>b", "x.test", 0, " X" },
	{ STR("<\"a@y.test\"@x.test>"), STRICT, "\"a@y.test\"@x.test", "a@y.test", "x.test", 0, "" },
	{ STR("<\"\"@x.test>"), STRICT, "\"\"@x.test", "", "x.test", 0, "" },
	{ STR("<\"a..b\"@x.test>"), STRICT, "\"a..b\"@x.test", "a..b", "x.test", 0, "" },
	{ STR("<a%y.test@x.test>"), STRICT, "a%y.test@x.test", "a%y.test", "x.test", 0, "" },
	{ STR("<y.test!a@x.test>"), STRICT, "y.test!a@x.test", "y.test!a", "x.test", 0, "" },
	{ STR("<@y.test,@z.test:a@x.test>"), STRICT, "a@x.test", "a", "x.test", 0, "" },
	{ STR("<@y.test:a@x.test> X"), STRICT, "a@x.test", "a", "x.test", 0, " X" },
	{ STR("<@y.test a@x.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<@:a@x.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<y.test:a@x.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@[192.0.2.1]>"), STRICT, "a@[192.0.2.1]", "a", "[192.0.2.1]", LITERAL, "" },
	{ STR("<a@[ipv6:2001:DB8:0::1]>"), STRICT, "a@[IPv6:2001:db8::1]", "a", "[IPv6:2001:db8::1]", LITERAL, "" },
	{ STR("<a@[192.0.2.256]>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@[::1]>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@[x-tag:abc]>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@[192.0.2.1].test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@192.0.2.1>"), STRICT, "a@192.0.2.1", "a", "192.0.2.1", 0, "" },
	{ STR("<a..b@x.test>"), 0, "\"a..b\"@x.test", "a..b", "x.test", 0, "" },
	{ STR("<a.@x.test>"), 0, "\"a.\"@x.test", "a.", "x.test", 0, "" },
	{ STR("<a..b@x.test>"), STRICT, NULL, NULL, NULL, 0, NULL },
	{ STR("<.a@x.test>"), STRICT, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@x.test.>"), 0, "a@x.test", "a", "x.test", 0, "" },
	{ STR("<a@x.test.>"), STRICT, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@x..test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@.x.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<@x.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@b@x.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a b@x.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@x .test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@x(c).test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<\"a\"b@x.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<\"a@x.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<\"a\\"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@x.test"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@x.test>X"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@x.test>>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<<a@x.test>>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR(" <a@x.test>"), STRICT, NULL, NULL, NULL, 0, NULL },
	{ STR(" <a@x.test>"), 0, "a@x.test", "a", "x.test", 0, "" },
	{ STR("a@x.test"), STRICT, NULL, NULL, NULL, 0, NULL },
	{ STR("a@x.test SIZE=1"), 0, "a@x.test", "a", "x.test", 0, " SIZE=1" },
	{ STR("\"a b\"@x.test"), 0, "\"a b\"@x.test", "a b", "x.test", 0, "" },
	{ STR(""), 0, NULL, NULL, NULL, 0, NULL },
	{ STR(" "), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a\0b@x.test>"), UTF8, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@x\0.test>"), UTF8, NULL, NULL, NULL, 0, NULL },
	{ STR("<\"a\0\"@x.test>"), UTF8, NULL, NULL, NULL, 0, NULL },
	{ STR("<\"a\\\0\"@x.test>"), UTF8, NULL, NULL, NULL, 0, NULL },
	{ STR("<\"a\rb\"@x.test>"), UTF8, NULL, NULL, NULL, 0, NULL },
	{ STR("<\"a\nb\"@x.test>"), UTF8, NULL, NULL, NULL, 0, NULL },
	{ STR("<a\r@x.test>"), UTF8, NULL, NULL, NULL, 0, NULL },
	{ STR("<\"a\tb\"@x.test>"), UTF8, NULL, NULL, NULL, 0, NULL },
	{ STR("<m\xc3\xbcller@x.test>"), UTF8 | STRICT, "m\xc3\xbcller@x.test", "m\xc3\xbcller", "x.test", HOLDS_UTF8 | WAS_UTF8, "" },
	{ STR("<m\xc3\xbcller@x.test>"), STRICT, NULL, NULL, NULL, 0, NULL },
	{ STR("<m\xfcller@x.test>"), UTF8, NULL, NULL, NULL, 0, NULL },
	{ STR("<\"m\xc3\xbc ller\"@x.test>"), UTF8, "\"m\xc3\xbc ller\"@x.test", "m\xc3\xbc ller", "x.test", HOLDS_UTF8 | WAS_UTF8, "" },
	{ STR("<\"m\xc0\x80\"@x.test>"), UTF8, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@b\xc3\xbc" "cher.test>"), UTF8, "a@xn--bcher-kva.test", "a", "xn--bcher-kva.test", WAS_UTF8, "" },
	{ STR("<a@b\xc3\xbc" "cher.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<" L63 "1@x.test>"), STRICT, L63 "1@x.test", L63 "1", "x.test", 0, "" },
	{ STR("<" L63 "12@x.test>"), STRICT, NULL, NULL, NULL, 0, NULL },
	{ STR("<" L63 "12@x.test>"), 0, L63 "12@x.test", L63 "12", "x.test", 0, "" },
	{ STR("<a@" L63 "." L63 "." L63 "." L63 ">"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<a@" L63 "1.test>"), 0, NULL, NULL, NULL, 0, NULL },
	{ STR("<" L50 L50 L50 L50 L50 "1@x.t>"), 0, NULL, NULL, NULL, 0, NULL },
};

static void paths_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(paths); i++) {
		struct arena a;
		struct path  p, again;
		str          rest;
		const char  *why = "unset";
		bool         good;

		arena_init(&a, ARENA_UNBOUNDED);
		good = path_parse(&a, paths[i].in, paths[i].mode & UTF8, paths[i].mode & STRICT, &p, &rest, &why);
		if (good != (paths[i].text != NULL))
			fail_msg("%.*s: %s", STR_ARG(paths[i].in), good ? "taken" : why);
		if (!good) {
			assert_non_null(why);
			assert_int_equal(p.text.n + p.local.n + p.domain.n, 0);
			arena_fini(&a);
			continue;
		}
		assert_null(why);
		if (!str_is(p.text, paths[i].text) || !str_is(p.local, paths[i].local) ||
		    !str_is(p.domain, paths[i].domain) || !str_is(rest, paths[i].rest))
			fail_msg("%.*s: text %.*s local %.*s domain %.*s rest %.*s", STR_ARG(paths[i].in),
			         STR_ARG(p.text), STR_ARG(p.local), STR_ARG(p.domain), STR_ARG(rest));
		assert_int_equal(p.is_null, !!(paths[i].flags & NULL_SENDER));
		assert_int_equal(p.is_literal, !!(paths[i].flags & LITERAL));
		assert_int_equal(p.is_utf8, !!(paths[i].flags & HOLDS_UTF8));
		assert_int_equal(p.was_utf8, !!(paths[i].flags & WAS_UTF8));
		if (p.domain.n) {
			assert_true(path_of(&a, p.text, &again));
			assert_true(path_eq(&p, &again));
			assert_true(str_eq(p.text, again.text));
		}
		assert_true(path_copy(&a, &p, &again));
		assert_true(path_eq(&p, &again));
		arena_fini(&a);
	}
}

static void addresses_alone(void **state)
{
	static const struct { str in; const char *text; } cases[] = {
		{ STR("a@x.test"), "a@x.test" },
		{ STR("\"a b\"@X.TEST"), "\"a b\"@x.test" },
		{ STR("<a@x.test>"), NULL },
		{ STR("postmaster"), NULL },
		{ STR("a@x.test b"), NULL },
		{ STR(" a@x.test"), NULL },
		{ STR("a@x.test\n"), NULL },
		{ STR(""), NULL },
		{ STR("@x.test"), NULL },
	};
	struct arena a;
	struct path  p, q;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(path_of(&a, cases[i].in, &p), cases[i].text != NULL);
		if (cases[i].text != NULL)
			assert_true(str_is(p.text, cases[i].text));
	}
	assert_true(path_of(&a, STR("Bob@x.test"), &p) && path_of(&a, STR("bob@X.test"), &q));
	assert_false(path_eq(&p, &q));
	assert_true(path_eq_nocase(&p, &q));
	assert_false(path_is_postmaster(&p));
	assert_true(path_of(&a, STR("POSTmaster@x.test"), &p));
	assert_true(path_is_postmaster(&p));
	assert_true(path_build(&a, STR("a b"), STR("[192.0.2.1]"), &p));
	assert_true(str_is(p.text, "\"a b\"@[192.0.2.1]"));
	assert_false(path_build(&a, STR("a\nb"), STR("x.test"), &p));
	assert_false(path_build(&a, STR("a\0b"), STR("x.test"), &p));
	arena_fini(&a);
}

static void names_become_ascii(void **state)
{
	static const struct { str in; const char *want; } cases[] = {
		{ STR("Example.ORG"), "example.org" },
		{ STR("example.org."), "example.org" },
		{ STR("_dmarc.example.org"), "_dmarc.example.org" },
		{ STR("localhost"), "localhost" },
		{ STR("xn--bcher-kva.test"), "xn--bcher-kva.test" },
		{ STR("b\xc3\xbc" "cher.test"), "xn--bcher-kva.test" },
		{ STR("B\xc3\x9c" "CHER.test."), "xn--bcher-kva.test" },
		{ STR("fa\xc3\x9f.test"), "xn--fa-hia.test" },            /* non-transitional: not fass */
		{ STR("\xe4\xbe\x8b\xe3\x81\x88\xe3\x80\x82test"), "xn--r8jz45g.test" },
		{ STR("\xef\xbc\xa1.test"), "a.test" },
		{ STR(""), NULL },
		{ STR("."), NULL },
		{ STR(".."), NULL },
		{ STR("a..b"), NULL },
		{ STR(".a"), NULL },
		{ STR("a.."), NULL },
		{ STR("a b.test"), NULL },
		{ STR("a\0.test"), NULL },
		{ STR("a(.test"), NULL },
		{ STR("a\".test"), NULL },
		{ STR("a/b.test"), NULL },
		{ STR("b\xfc" "cher.test"), NULL },
		{ STR("b\xc3\xbc\0.test"), NULL },
		{ STR("\xe2\x80\xae" "a.test"), NULL },                   /* right-to-left override */
		{ STR("a\xe2\x84\x80.test"), NULL },                      /* maps to a/c */
		{ STR(L63 ".test"), L63 ".test" },
		{ STR(L63 "a.test"), NULL },
		{ STR(L63 "." L63 "." L63 ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
		  L63 "." L63 "." L63 ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" },
		{ STR(L63 "." L63 "." L63 ".aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena a;
		str          out = STR_NONE;
		bool         good;

		arena_init(&a, ARENA_UNBOUNDED);
		good = domain_to_ascii(&a, cases[i].in, &out);
		if (good != (cases[i].want != NULL) || (good && !str_is(out, cases[i].want)))
			fail_msg("%.*s: %d %.*s", STR_ARG(cases[i].in), good, STR_ARG(out));
		if (good)
			assert_true(domain_valid(out));
		arena_fini(&a);
	}
}

static void names_are_shown_where_safe(void **state)
{
	static const struct { const char *in, *want; } cases[] = {
		{ "example.org", "example.org" },
		{ "xn--bcher-kva.test", "b\xc3\xbc" "cher.test" },
		{ "mail.xn--bcher-kva.test", "mail.b\xc3\xbc" "cher.test" },
		{ "xn--r8jz45g.test", "\xe4\xbe\x8b\xe3\x81\x88.test" },
		{ "xn--80ak6aa92e.com", "xn--80ak6aa92e.com" },           /* Cyrillic that reads as apple */
		{ "xn--pple-43d.com", "xn--pple-43d.com" },               /* one Cyrillic letter among Latin */
		{ "xn--e1afmkfd.xn--p1ai", "\xd0\xbf\xd1\x80\xd0\xb8\xd0\xbc\xd0\xb5\xd1\x80.\xd1\x80\xd1\x84" },
		{ "xn--a.test", "xn--a.test" },
		{ "xn--99999999999.test", "xn--99999999999.test" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena a;
		str          got;

		arena_init(&a, ARENA_UNBOUNDED);
		got = domain_to_unicode(&a, str_of(cases[i].in));
		if (!str_is(got, cases[i].want))
			fail_msg("%s: %.*s", cases[i].in, STR_ARG(got));
		arena_fini(&a);
	}
}

static void literals_are_addresses(void **state)
{
	static const struct { str in; int family; } cases[] = {
		{ STR("[192.0.2.1]"), AF_INET },
		{ STR("[IPv6:2001:db8::1]"), AF_INET6 },
		{ STR("[ipv6:::ffff:192.0.2.1]"), AF_INET6 },
		{ STR("[192.0.2]"), 0 },
		{ STR("[192.0.2.01]"), 0 },
		{ STR("[2001:db8::1]"), 0 },
		{ STR("[IPv6:192.0.2.1]"), 0 },
		{ STR("[IPv6:fe80::1%eth0]"), 0 },
		{ STR("[IPv6:]"), 0 },
		{ STR("[]"), 0 },
		{ STR("["), 0 },
		{ STR("192.0.2.1"), 0 },
		{ STR("[192.0.2.1\0]"), 0 },
		{ STR("[ 192.0.2.1]"), 0 },
		{ STR("[IPv6:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000]"), 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct sockaddr_storage at;
		bool                    good = literal_parse(cases[i].in, &at);

		if (good != (cases[i].family != 0) || (good && at.ss_family != cases[i].family))
			fail_msg("%.*s: %d", STR_ARG(cases[i].in), good);
	}
}

static void utf8_is_checked(void **state)
{
	static const struct { str in; bool good; } cases[] = {
		{ STR("abc"), true },       { STR("\xc3\xbc"), true },         { STR("\xe2\x82\xac"), true },
		{ STR("\xf0\x9f\x98\x80"), true }, { STR("\x80"), false },     { STR("\xc0\x80"), false },
		{ STR("\xc1\xbf"), false }, { STR("\xe0\x9f\xbf"), false },    { STR("\xed\xa0\x80"), false },
		{ STR("\xf0\x8f\xbf\xbf"), false }, { STR("\xf4\x90\x80\x80"), false }, { STR("\xf5\x80\x80\x80"), false },
		{ STR("\xc3"), false },     { STR("\xe2\x82"), false },        { STR("\xf0\x9f\x98"), false },
		{ STR("\xf4\x8f\xbf\xbf"), true }, { STR("\xc3("), false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (utf8_valid(cases[i].in) != cases[i].good)
			fail_msg("case %zu", i);
}

static void memory_that_ends_is_a_refusal(void **state)
{
	(void)state;
	for (size_t budget = 0; budget < 400; budget += 8) {
		struct arena a;
		struct path  p;
		str          rest;
		const char  *why;

		arena_init(&a, budget);
		if (!path_parse(&a, STR("<\"a b\"@x.test>"), true, true, &p, &rest, &why))
			assert_true(a.spent && why != NULL);
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_are_read),
		cmocka_unit_test(addresses_alone),
		cmocka_unit_test(names_become_ascii),
		cmocka_unit_test(names_are_shown_where_safe),
		cmocka_unit_test(literals_are_addresses),
		cmocka_unit_test(utf8_is_checked),
		cmocka_unit_test(memory_that_ends_is_a_refusal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
