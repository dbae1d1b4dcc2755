/* SPDX-License-Identifier: ISC */
/* mailboxes and from: address lists, and what a mail program would show. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/field.h"

#define GOOD      FROM_GOOD
#define MALFORMED FROM_MALFORMED
#define NO_DOMAIN FROM_NO_DOMAIN
#define SEVERAL   FROM_SEVERAL_DOMAINS

static const struct {
	str             value;
	enum from_state state;
	const char     *domain;
} froms[] = {
	{ STR(" a@x.test"), GOOD, "x.test" },
	{ STR(" A Name <a@X.test>"), GOOD, "x.test" },
	{ STR(" \"Name, A.\" <a@x.test>"), GOOD, "x.test" },
	{ STR("\r\n A\r\n\tName\r\n <a@x.test>\r\n "), GOOD, "x.test" },
	{ STR(" <a@x.test>"), GOOD, "x.test" },
	{ STR(" < a@x.test > "), GOOD, "x.test" },
	{ STR(" a@x.test (A Name)"), GOOD, "x.test" },
	{ STR(" (A (nested\\)) Name) a@x.test"), GOOD, "x.test" },
	{ STR(" J. R. R. <a@x.test>"), GOOD, "x.test" },
	{ STR(" =?utf-8?Q?J=C3=BCrgen?= <a@x.test>"), GOOD, "x.test" },
	{ STR(" =?utf-8?B?SsO8cmdlbg==?= =?utf-8?B?IE0=?= <a@x.test>"), GOOD, "x.test" },
	{ STR(" J\xc3\xbcrgen <a@x.test>"), GOOD, "x.test" },
	{ STR(" J\xfcrgen <a@x.test>"), GOOD, "x.test" },
	{ STR(" a@x.test, B <b@X.TEST>"), GOOD, "x.test" },
	{ STR(" a@x.test,,"), GOOD, "x.test" },
	{ STR(" Team: a@x.test, b@x.test;"), GOOD, "x.test" },
	{ STR(" a@b\xc3\xbc" "cher.test"), GOOD, "xn--bcher-kva.test" },
	{ STR(" \"a b\"@x.test"), GOOD, "x.test" },
	{ STR(" a@[192.0.2.1]"), GOOD, "[192.0.2.1]" },
	{ STR(" \"a@x.test\" <a@x.test>"), GOOD, "x.test" },
	{ STR(" \"a@mail.x.test\" <a@x.test>"), GOOD, "x.test" },
	{ STR(" \"'a@y.test' via List\" <list@x.test>"), GOOD, "x.test" },
	{ STR(" \"a at y.test\" <list@x.test>"), GOOD, "x.test" },
	{ STR(" \"@handle\" <a@x.test>"), GOOD, "x.test" },
	{ STR(" \"me@home\" <a@x.test>"), GOOD, "x.test" },

	{ STR(""), NO_DOMAIN, NULL },
	{ STR(" "), NO_DOMAIN, NULL },
	{ STR(" root"), NO_DOMAIN, NULL },
	{ STR(" <>"), NO_DOMAIN, NULL },
	{ STR(" undisclosed:;"), NO_DOMAIN, NULL },
	{ STR(" Name <a>"), NO_DOMAIN, NULL },
	{ STR(" a@"), NO_DOMAIN, NULL },
	{ STR(" @x.test"), NO_DOMAIN, NULL },
	{ STR(" a@[x.test]"), NO_DOMAIN, NULL },
	{ STR(" =?utf-8?B?YUB4LnRlc3Q=?="), NO_DOMAIN, NULL },

	{ STR(" <a@x.test>, b@y.test"), SEVERAL, NULL },
	{ STR(" a@x.test, b@y.test"), SEVERAL, NULL },
	{ STR(" a@x.test, b@mail.x.test"), SEVERAL, NULL },
	{ STR(" Team: a@x.test, b@y.test;"), SEVERAL, NULL },
	{ STR(" \"a@x.test\" <b@y.test>"), SEVERAL, NULL },
	{ STR(" \"'a@x.test'\" <b@y.test>"), SEVERAL, NULL },
	{ STR(" \"<a@x.test>\" <b@y.test>"), SEVERAL, NULL },
	{ STR(" \"Bank <a@x.test>\" <b@y.test>"), SEVERAL, NULL },
	{ STR(" \"a\\@x.test\" <b@y.test>"), SEVERAL, NULL },
	{ STR(" \"a@x.test\":b@y.test;"), SEVERAL, NULL },
	{ STR(" \"a@x.test\"@y.test"), SEVERAL, NULL },
	{ STR(" \"=?utf-8?Q?a=40x=2Etest?=\" <b@y.test>"), SEVERAL, NULL },
	{ STR(" =?utf-8?B?YUB4LnRlc3Q=?= <b@y.test>"), SEVERAL, NULL },
	{ STR(" =?utf-8?Q?a=40?= =?utf-8?Q?x=2Etest?= <b@y.test>"), SEVERAL, NULL },
	{ STR(" =?utf-8?B?QmFuayA8YUB4LnRlc3Q+LA==?= <b@y.test>"), SEVERAL, NULL },
	{ STR(" =?utf-8?Q?a=40x.test?= <b@y.test>"), SEVERAL, NULL },
	{ STR(" =?utf-8?Q?a@x.test?= <b@y.test>"), MALFORMED, NULL },
	{ STR(" =?utf-8?Q?a=40x.test=00?= <b@y.test>"), SEVERAL, NULL },
	{ STR(" =?utf-8?Q?a=40?= =?utf-8?Q?x.test?= <b@y.test>"), SEVERAL, NULL },
	{ STR(" a=?utf-8?Q?=40x.test?= <b@y.test>"), SEVERAL, NULL },
	{ STR(" =?utf-8?Q?a=40?=x.test <b@y.test>"), SEVERAL, NULL },
	{ STR(" =?utf-8?Q?a=40?=x <b@y.test>"), GOOD, "y.test" },
	{ STR(" =?x=?utf-8?Q?a=40x.test?= <b@y.test>"), SEVERAL, NULL },
	{ STR(" Bank =?utf-8?Q?a=40x.test?= <b@y.test>"), SEVERAL, NULL },
	{ STR(" =?utf-8?Q?a=40y.test?= <b@y.test>"), GOOD, "y.test" },
	{ STR(" =?utf-8?Q?Dr._A?= =?utf-8?Q?_B?= <b@y.test>"), GOOD, "y.test" },
	{ STR(" a@x.test(b@y.test)"), SEVERAL, NULL },
	{ STR(" (b@y.test) a@x.test"), SEVERAL, NULL },
	{ STR(" a@x.test (Bank b@y.test)"), SEVERAL, NULL },
	{ STR(" a@x.test (<b@y.test>)"), SEVERAL, NULL },
	{ STR(" <a@x.test(b@y.test)>"), SEVERAL, NULL },

	{ STR(" <@x.test:b@y.test>"), MALFORMED, NULL },
	{ STR(" <@x.test,@z.test:b@y.test>"), MALFORMED, NULL },
	{ STR(" <a@x.test><b@y.test>"), MALFORMED, NULL },
	{ STR(" a@x.test <b@y.test>"), MALFORMED, NULL },
	{ STR(" a@x.test b@y.test"), MALFORMED, NULL },
	{ STR(" <a@x.test> b@y.test"), MALFORMED, NULL },
	{ STR(" <a@x.test> (c) Name"), MALFORMED, NULL },
	{ STR(" <a@x.test,b@y.test>"), MALFORMED, NULL },
	{ STR(" <a@x.test"), MALFORMED, NULL },
	{ STR(" a@x.test>"), MALFORMED, NULL },
	{ STR(" <<a@x.test>>"), MALFORMED, NULL },
	{ STR(" <a@x.test>>"), MALFORMED, NULL },
	{ STR(" a@x@y.test"), MALFORMED, NULL },
	{ STR(" a@x.test@y.test"), MALFORMED, NULL },
	{ STR(" a@x.test\0.y.test"), MALFORMED, NULL },
	{ STR(" a@x.test\0"), MALFORMED, NULL },
	{ STR(" N\0ame <a@x.test>"), MALFORMED, NULL },
	{ STR(" a@x.test (\0)"), MALFORMED, NULL },
	{ STR(" a@x.test (\\\0)"), MALFORMED, NULL },
	{ STR(" \"\0\" <a@x.test>"), MALFORMED, NULL },
	{ STR(" \"\\\0\" <a@x.test>"), MALFORMED, NULL },
	{ STR(" a@x.test\r<b@y.test>"), MALFORMED, NULL },
	{ STR(" a@x.test\nFrom: b@y.test"), MALFORMED, NULL },
	{ STR(" a@x.test (unclosed"), MALFORMED, NULL },
	{ STR(" <a@x.test> \"unclosed"), MALFORMED, NULL },
	{ STR(" a@x.test) "), MALFORMED, NULL },
	{ STR(" a@x.test."), MALFORMED, NULL },
	{ STR(" a@x.test .y.test"), MALFORMED, NULL },
	{ STR(" a@x.test(c).y.test"), MALFORMED, NULL },
	{ STR(" a@(c)x.test"), MALFORMED, NULL },
	{ STR(" a @x.test"), MALFORMED, NULL },
	{ STR(" a b@x.test"), MALFORMED, NULL },
	{ STR(" a@\"x.test\""), NO_DOMAIN, NULL },
	{ STR(" a@x.\"test\""), MALFORMED, NULL },
	{ STR(" a@x.test; b@x.test"), MALFORMED, NULL },
	{ STR(" Team: a@x.test"), MALFORMED, NULL },
	{ STR(" Team: Sub: a@x.test;;"), MALFORMED, NULL },
	{ STR(" Team: a@x.test; b@x.test"), MALFORMED, NULL },
	{ STR(" : a@x.test;"), MALFORMED, NULL },
	{ STR(" Company, Inc. <a@x.test>"), MALFORMED, NULL },
	{ STR(" a@x.test, junk"), MALFORMED, NULL },
	{ STR(" =?utf-8?Q?b=40y=2Etest=2C?=@x.test"), MALFORMED, NULL },
	{ STR(" <=?utf-8?Q?b?=@x.test>"), MALFORMED, NULL },
	{ STR(" b\\@y.test@x.test"), MALFORMED, NULL },
	{ STR(" [b@y.test] <a@x.test>"), MALFORMED, NULL },
	{ STR(" m\xfcller@x.test, a@x.test"), MALFORMED, NULL },
};

static void judge(struct arena *a, str value, struct from *out)
{
	struct field  f = { .name = STR("From"), .value = value };
	struct fields all = { &f, 1, 1 };

	from_judge(a, &all, out);
}

static void one_field_is_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(froms); i++) {
		struct arena a;
		struct from  f;

		arena_init(&a, ARENA_UNBOUNDED);
		judge(&a, froms[i].value, &f);
		if (f.state != froms[i].state || (f.state == GOOD && !str_is(f.domain, froms[i].domain)))
			fail_msg("\"%.*s\": state %d domain %.*s", STR_ARG(froms[i].value), f.state, STR_ARG(f.domain));
		assert_int_equal(f.why != NULL, f.state != GOOD);
		if (f.state != GOOD)
			assert_int_equal(f.domain.n, 0);
		assert_int_equal(f.is_literal, f.domain.n && f.domain.p[0] == '[');
		arena_fini(&a);
	}
}

static void several_fields_are_refused(void **state)
{
	struct field fields[] = {
		{ .name = STR("To"), .value = STR(" t@x.test") },
		{ .name = STR("From"), .value = STR(" a@x.test") },
		{ .name = STR("fROM"), .value = STR(" a@x.test"), .spaced = true },
	};
	struct fields all = { fields, 3, 3 };
	struct arena  a;
	struct from   f;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	from_judge(&a, &all, &f);
	assert_int_equal(f.state, FROM_SEVERAL_FIELDS);
	assert_non_null(f.mailboxes);
	assert_int_equal(f.domain.n, 0);
	all.n = 2;
	from_judge(&a, &all, &f);
	assert_int_equal(f.state, FROM_GOOD);
	all.n = 1;
	from_judge(&a, &all, &f);
	assert_int_equal(f.state, FROM_ABSENT);
	assert_null(f.mailboxes);
	all.n = 3;
	fields[1].omitted = true;
	from_judge(&a, &all, &f);
	assert_int_equal(f.state, FROM_GOOD);
	arena_fini(&a);
}

static const struct {
	str         value;
	const char *shown;     /* "display|address!" of each; '?' behind what is not usable */
	bool        malformed, group;
} lists[] = {
	{ STR("a@x.test, \"B, C\" <b@y.test>"), "|a@x.test!B, C|b@y.test!", false, false },
	{ STR("A  B\t C <a@x.test>"), "A B C|a@x.test!", false, false },
	{ STR("J. \"R.\" R <a@x.test>"), "J. R. R|a@x.test!", false, false },
	{ STR("=?utf-8?Q?x?= <a@x.test>"), "=?utf-8?Q?x?=|a@x.test!", false, false },
	{ STR("\"a\\\"b\" <a@x.test>"), "a\"b|a@x.test!", false, false },
	{ STR("\"a\r\n b\" <a@x.test>"), "a b|a@x.test!", false, false },
	{ STR("G: a@x.test, b@y.test; , c@z.test"), "|a@x.test!|b@y.test!|c@z.test!", false, true },
	{ STR("<@r.test:a@x.test>"), "|a@x.test!", false, false },
	{ STR("a . b @ x . test"), "|a.b@x.test!", false, false },
	{ STR("\"a\".b@x.test"), "|a.b@x.test!", false, false },
	{ STR("a, b@y.test"), "|a?|b@y.test!", true, false },
	{ STR("<a@x.test> <b@y.test>"), "|a@x.test!|b@y.test!", true, false },
	{ STR("a@x.test@z.test, b@y.test"), "|a@x.test!|z.test?|b@y.test!", true, false },
	{ STR("a@-x.test"), "|a@-x.test!", false, false },
	{ STR("a@x_y.test"), "|a@x_y.test!", false, false },
	{ STR("a@x!y.test"), "|a?", true, false },
	{ STR("<a b@x.test>"), "|\"a b\"@x.test!", true, false },
	{ STR(""), "", false, false },
	{ STR(",,,"), "", false, false },
	{ STR("(only) (comments)"), "", false, false },
	{ STR(";"), "", true, false },
	{ STR("<"), "|?", true, false },
	{ STR("@"), "", true, false },
	{ STR("a@["), "|a?", true, false },
};

static void lists_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(lists); i++) {
		struct arena     a;
		struct mailboxes m;
		char             shown[200] = "";

		arena_init(&a, ARENA_UNBOUNDED);
		mailboxes_parse(&a, lists[i].value, &m);
		for (size_t j = 0; j < m.n; j++)
			snprintf(shown + strlen(shown), sizeof(shown) - strlen(shown), "%.*s|%.*s%c",
			         STR_ARG(m.v[j].display), STR_ARG(m.v[j].path.text), m.v[j].usable ? '!' : '?');
		if (strcmp(shown, lists[i].shown) != 0 || m.malformed != lists[i].malformed || m.group != lists[i].group)
			fail_msg("\"%.*s\": %s malformed %d group %d", STR_ARG(lists[i].value), shown, m.malformed, m.group);
		arena_fini(&a);
	}
}

/* Each of these is a mebibyte of one thing; quadratic work would take minutes.  A
 * sanitizer has seen all there is to see in less. */
#ifdef SANITIZED
enum { LENGTH = 1 << 17 };
#else
enum { LENGTH = 1 << 20 };
#endif

static void hostile_lengths_stay_linear(void **state)
{
	static const char *const units[] = { "(", "<", "\"", "[", "\\", "a@", ".", ",", "a@b.c,", "<a@b.c", ":", ";",
	                                     "=?", "=?u?q?", "\"<\"", "\"=?\"", "(<)", "@x:", "\"@<\" ", "(\\" };
	size_t n = LENGTH;
	char  *text = malloc(n);

	(void)state;
	assert_non_null(text);
	for (size_t i = 0; i < COUNT(units); i++) {
		struct mailboxes m;
		struct arena     a;
		struct from      f;
		size_t           len = strlen(units[i]);

		for (size_t at = 0; at < n; at++)
			text[at] = units[i][at % len];
		arena_init(&a, (size_t)512 << 20);
		judge(&a, (str){ text, n }, &f);
		assert_int_not_equal(f.state, FROM_GOOD);
		mailboxes_parse(&a, (str){ text, n }, &m);
		text[n - 1] = '>';
		memcpy(text, "a@b.c\"", 6);
		judge(&a, (str){ text, n }, &f);
		assert_int_not_equal(f.state, FROM_GOOD);
		arena_fini(&a);
	}
	free(text);
}

static void a_thousand_authors_are_the_most(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, BUF_UNBOUNDED);
	for (int n = 1; n <= 1001; n++) {
		struct arena a;
		struct from  f;

		buf_addf(&b, "%sa%d@b.test", n > 1 ? ", " : "", n);
		if (n < 1000)
			continue;
		arena_init(&a, ARENA_UNBOUNDED);
		judge(&a, buf_str(&b), &f);
		assert_int_equal(f.state, n == 1000 ? FROM_GOOD : FROM_MALFORMED);
		arena_fini(&a);
	}
	buf_fini(&b);
}

static void memory_that_ends_is_malformed(void **state)
{
	(void)state;
	for (size_t budget = 0; budget < 1500; budget += 16) {
		struct arena a;
		struct from  f;

		arena_init(&a, budget);
		judge(&a, STR("A B <a@x.test>, \"c@d.test\" <b@x.test>, b@y.test"), &f);
		assert_int_not_equal(f.state, FROM_GOOD);
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_field_is_judged),
		cmocka_unit_test(several_fields_are_refused),
		cmocka_unit_test(lists_are_read),
		cmocka_unit_test(hostile_lengths_stay_linear),
		cmocka_unit_test(a_thousand_authors_are_the_most),
		cmocka_unit_test(memory_that_ends_is_malformed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
