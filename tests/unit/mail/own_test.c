/* SPDX-License-Identifier: ISC */
/* own: the server's own fields: written, recognised, and not to be forged. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/crypt.h"
#include "smtpd/base/err.h"
#include "smtpd/mail/own.h"

static const unsigned char secret[OWN_SECRET] = "thirty-two octets that are known";
static const unsigned char other[OWN_SECRET] = "thirty-two octets of someone els";
static struct arena a;

static struct fields header(const char *text)
{
	struct splitter s;
	str back;

	splitter_init(&s, &a, 1 << 20, 1 << 20, 1000);
	splitter_feed(&s, str_of(text), &back);
	splitter_end(&s, &back);
	splitter_fini(&s);
	return s.fields;
}

static void is(str got, const char *want)
{
	if (!str_is(got, want))
		fail_msg("got %.*s\nwant %s", STR_ARG(got), want);
}

static void quarantine(void **state)
{
	(void)state;
	is(own_quarantine(&a, "dmarc", STR("a \"b\" c")),
	   "X-Postern-Quarantine: yes; by=dmarc; reason=\"a \\\"b\\\" c\"\r\n");
	is(own_quarantine(&a, "dnsbl", STR_NONE), "X-Postern-Quarantine: yes; by=dnsbl\r\n");
	is(own_quarantine(&a, "x", STR("a\r\nB: c\x01")), "X-Postern-Quarantine: yes; by=x; reason=\"a??B: c?\"\r\n");
}

static void which_are_ours(void **state)
{
	const struct fields f = header("X-Postern-Quarantine: yes\r\nx-postern-anything : 1\r\nX-Posternal: 1\r\nSubject: x\r\n\r\n");

	(void)state;
	assert_int_equal(f.n, 4);
	assert_true(own_is(&f.v[0]) && own_is(&f.v[1]));
	assert_false(own_is(&f.v[2]) || own_is(&f.v[3]));
}

static void the_envelope_in_fields(void **state)
{
	struct path p[3];
	const struct path *to[] = { &p[0], &p[1], &p[2] };
	struct own_copy c = { .id = STR("2x"), .mark = STR("0123456789abcdef"), .when = 1795300000, .sender = STR("x@far.test"),
	                      .ip = STR("192.0.2.1"), .ptr = STR("c.test"), .helo = STR("h\r\ne"), .rcpts = to, .nrcpts = 3 };

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_true(path_of(&a, STR("somebody.with.a.long.name@here.test"), &p[i]));
	is(own_copy_fields(&a, &c),
	   "X-Postern-Copy-Id: 2x 0123456789abcdef\r\n"
	   "X-Postern-Copy-Date: Sat, 21 Nov 2026 22:26:40 +0000\r\n"
	   "X-Postern-Copy-Client: [192.0.2.1] c.test helo=\"h??e\"\r\n"
	   "X-Postern-Copy-From: <x@far.test>\r\n"
	   "X-Postern-Copy-To: <somebody.with.a.long.name@here.test>,\r\n"
	   "\t<somebody.with.a.long.name@here.test>,\r\n\t<somebody.with.a.long.name@here.test>\r\n");
	c.ip = STR_NONE;
	c.login = STR("anna@here.test");
	c.sender = STR("");
	c.nrcpts = 1;
	is(own_copy_fields(&a, &c),
	   "X-Postern-Copy-Id: 2x 0123456789abcdef\r\n"
	   "X-Postern-Copy-Date: Sat, 21 Nov 2026 22:26:40 +0000\r\n"
	   "X-Postern-Copy-Login: anna@here.test\r\n"
	   "X-Postern-Copy-From: <>\r\n"
	   "X-Postern-Copy-To: <somebody.with.a.long.name@here.test>\r\n");
}

static void marks(void **state)
{
	str mark = own_mark(&a, secret, STR("2x"), STR("archive@far.test"));
	const struct { const char *format; const unsigned char *by; const char *to; bool was; } cases[] = {
		{ "X-Postern-Copy-Id: 2x %.*s\r\n\r\n", secret, "archive@far.test", true },
		{ "Subject: x\r\nx-postern-copy-id:\r\n 2x\r\n %.*s \r\n\r\n", secret, "Archive@far.test", true },
		{ "Subject: x\r\nx-postern-copy-id:  2x  %.*s \r\n\r\n", secret, "Archive@far.test", true },
		{ "X-Postern-Copy-Id: 2x wrong\r\nX-Postern-Copy-Id: 2x %.*s\r\n\r\n", secret, "archive@far.test", true },
		{ "X-Postern-Copy-Id: 2x %.*s\r\n\r\n", secret, "archive2@far.test", false },
		{ "X-Postern-Copy-Id: 2x %.*s\r\n\r\n", other, "archive@far.test", false },
		{ "X-Postern-Copy-Id: 2y %.*s\r\n\r\n", secret, "archive@far.test", false },
		{ "X-Postern-Copy-Id: 2x %.*s0\r\n\r\n", secret, "archive@far.test", false },
		{ "X-Postern-Copy-Id: 2x\r\n\r\n%.*s", secret, "archive@far.test", false },
		{ "X-Postern-Copy-Id:\r\n\r\n%.*s", secret, "archive@far.test", false },
		{ "X-Postern-Copy-Id: %.*s\r\n\r\n", secret, "archive@far.test", false },
	};

	(void)state;
	assert_int_equal(mark.n, 16);
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[300];
		struct fields f;

		snprintf(text, sizeof(text), cases[i].format, STR_ARG(mark));
		f = header(text);
		if (own_was_copied(&a, cases[i].by, &f, str_of(cases[i].to)) != cases[i].was)
			fail_msg("case %zu", i);
	}
}

static void delivered_before(void **state)
{
	const struct fields f = header("Delivered-To: bob@here.test\r\nDelivered-To:\r\n  Sales@Here.Test \r\nX: carol@here.test\r\n\r\n");

	(void)state;
	assert_true(own_was_delivered(&f, STR("bob@here.test")));
	assert_true(own_was_delivered(&f, STR("BOB@here.test")));
	assert_true(own_was_delivered(&f, STR("sales@here.test")));
	assert_false(own_was_delivered(&f, STR("bob+x@here.test")));
	assert_false(own_was_delivered(&f, STR("carol@here.test")));
}

static int set_up(void **state)
{
	(void)state;
	setenv("TZ", "UTC", 1);
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_fini(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quarantine),
		cmocka_unit_test(which_are_ours),
		cmocka_unit_test(the_envelope_in_fields),
		cmocka_unit_test(marks),
		cmocka_unit_test(delivered_before),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
