/* SPDX-License-Identifier: ISC */
/* dsn: notices that people and programs can read, whatever a peer said. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/dsn.h"

#define WHEN 1795298908

static const struct dsn_rcpt rcpts[] = {
	{ .final = STR("bob@far.test"), .orcpt = STR("rfc822;Bob@alias.test"), .action = DSN_FAILED, .status = STR("5.1.1"),
	  .said = STR("550 5.1.1 No such user"), .remote = STR("mx.far.test"), .advice = STR("Check the address."),
	  .last_try = WHEN },
	{ .final = STR("eve@slow.test"), .action = DSN_DELAYED, .status = STR("4.4.1"), .said = STR("Connection timed out"),
	  .last_try = WHEN, .will_retry_until = WHEN + 86400 },
};

static struct dsn usual(void)
{
	return (struct dsn){
		.host = STR("mail.here.test"), .id = STR("3fAb12"), .envid = STR("QQ314159"), .to = STR("alice@here.test"),
		.subject_of = STR(" A question\r\n about mail"), .arrived = WHEN - 60, .now = WHEN, .rcpts = rcpts, .nrcpts = 2,
		.original_header = STR("From: alice@here.test\r\nMessage-ID: <m1@here.test>\r\nSubject: A question\r\n about mail\r\n"),
		.message_id = STR("17.3fAb12@mail.here.test"),
	};
}

static bool holds(str text, const char *what)
{
	return memmem(text.p, text.n, what, strlen(what)) != NULL;
}

static void assert_sane(str text)
{
	size_t line = 0;

	for (size_t i = 0; i < text.n; i++) {
		assert_int_not_equal(text.p[i], '\0');
		assert_true(text.p[i] != '\n' || (i && text.p[i - 1] == '\r'));
		assert_true(text.p[i] != '\r' || (i + 1 < text.n && text.p[i + 1] == '\n'));
		line = text.p[i] == '\n' ? 0 : line + 1;
		assert_true(line <= 999);
	}
	assert_true(text.n > 2 && text.p[text.n - 1] == '\n');
}

static void a_whole_notice(void **state)
{
	static const char *const parts[] = {
		"Date: Sat, 21 Nov 2026 22:08:28 +0000\r\n",
		"From: \"Mail Delivery System\" <postmaster@mail.here.test>\r\n",
		"To: <alice@here.test>\r\n",
		"Subject: Not delivered: A question about mail\r\n",
		"Message-ID: <17.3fAb12@mail.here.test>\r\n",
		"In-Reply-To: <m1@here.test>\r\n",
		"Auto-Submitted: auto-replied\r\n",
		"Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"",
		"could not be delivered to the recipients below",
		"  <bob@far.test>\r\n      The server mx.far.test answered: 550 5.1.1 No such user\r\n"
		"      What you can do: Check the address.\r\n",
		"  <eve@slow.test>\r\n      Connection timed out\r\n      Attempts go on until Sun, 22 Nov 2026 22:08:28 +0000.\r\n",
		"Content-Type: message/delivery-status\r\n",
		"Reporting-MTA: dns; mail.here.test\r\nOriginal-Envelope-Id: QQ314159\r\nX-Postern-Queue-ID: 3fAb12\r\n"
		"Arrival-Date: Sat, 21 Nov 2026 22:07:28 +0000\r\n\r\n",
		"Original-Recipient: rfc822;Bob@alias.test\r\nFinal-Recipient: rfc822; bob@far.test\r\nAction: failed\r\n"
		"Status: 5.1.1\r\nRemote-MTA: dns; mx.far.test\r\nDiagnostic-Code: smtp; 550 5.1.1 No such user\r\n"
		"Last-Attempt-Date: Sat, 21 Nov 2026 22:08:28 +0000\r\n\r\n",
		"Final-Recipient: rfc822; eve@slow.test\r\nAction: delayed\r\nStatus: 4.4.1\r\n"
		"Diagnostic-Code: x-postern; Connection timed out\r\n",
		"Will-Retry-Until: Sun, 22 Nov 2026 22:08:28 +0000\r\n",
		"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 7bit\r\n\r\nFrom: alice@here.test\r\n",
		"Subject: A question\r\n about mail\r\n\r\n--",
	};
	struct dsn d = usual();
	struct buf out;

	(void)state;
	buf_init(&out, BUF_UNBOUNDED);
	dsn_write(&out, &d, false);
	assert_false(out.failed);
	assert_sane(buf_str(&out));
	for (size_t i = 0; i < COUNT(parts); i++)
		if (!holds(buf_str(&out), parts[i]))
			fail_msg("\"%s\" is missing in\n%.*s", parts[i], STR_ARG(buf_str(&out)));
	assert_true(holds(str_skip(buf_str(&out), out.n - 8), "--\r\n"));
	buf_fini(&out);
}

static void the_original_may_follow_whole(void **state)
{
	struct dsn d = usual();
	struct buf out;
	str        text;
	size_t     at;

	(void)state;
	buf_init(&out, BUF_UNBOUNDED);
	dsn_write(&out, &d, true);
	text = buf_str(&out);
	assert_true(holds(str_skip(text, text.n - 80), "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"));
	assert_false(holds(text, "Subject: A question\r\n"));
	at = out.n;
	dsn_end(&out, &d);
	/* The same boundary closes what dsn_write opened. */
	text = str_skip(buf_str(&out), at + 4);
	text.n -= 4;
	assert_int_equal(text.n, 32);
	assert_true(memmem(out.p + out.head, at, text.p, text.n) != NULL);
	buf_fini(&out);
}

static void peers_words_are_made_safe(void **state)
{
	static const str words[] = {
		STR("a\r\nBcc: x@y.test\r\n\r\nbody"), STR("\0\x01\x7f"), STR("\xff\xfe"), STR("--x\n--y--"), STR("b\xc3\xbc" "cher"),
		STR(""), STR("   "), STR(";"), STR("utf-8;b\xc3\xbc@x.test"),
	};
	char *large = malloc(200000);

	(void)state;
	assert_non_null(large);
	memset(large, 'x', 200000);
	for (size_t i = 0; i <= COUNT(words); i++)
		for (int utf8 = 0; utf8 < 2; utf8++) {
			str             s = i < COUNT(words) ? words[i] : (str){ large, 200000 };
			struct dsn_rcpt r = { s, s, DSN_FAILED, s, s, s, s, WHEN, WHEN };
			struct dsn      d = { s, s, s, s, s, s, WHEN, WHEN, &r, 1, s, utf8, s };
			struct buf      out;
			const char     *end;

			buf_init(&out, BUF_UNBOUNDED);
			dsn_write(&out, &d, false);
			assert_false(out.failed);
			assert_sane(buf_str(&out));
			end = memmem(out.p + out.head, out.n, "\r\n\r\n", 4);
			assert_non_null(end);
			assert_false(holds(str_head(buf_str(&out), (size_t)(end - out.p) - out.head), "\nBcc:"));
			assert_true(holds(buf_str(&out), "\r\nStatus: 5.0.0\r\n"));
			assert_true(out.n < 100000);
			buf_fini(&out);
		}
	free(large);
}

static void addresses_in_utf8(void **state)
{
	struct dsn_rcpt r = { .final = STR("m\xc3\xbcller@far.test"), .orcpt = STR("utf-8;m\xc3\xbcller@far.test"),
	                      .action = DSN_FAILED, .status = STR("5.6.7"), .said = STR("no SMTPUTF8") };
	struct dsn      d = usual();
	struct buf      out;

	(void)state;
	d.rcpts = &r;
	d.nrcpts = 1;
	buf_init(&out, BUF_UNBOUNDED);
	dsn_write(&out, &d, false);
	assert_true(holds(buf_str(&out), "Final-Recipient: utf-8; m\\x{FC}ller@far.test\r\n"));
	assert_true(holds(buf_str(&out), "Original-Recipient: utf-8;m\\x{FC}ller@far.test\r\n"));
	assert_true(holds(buf_str(&out), "  <m??ller@far.test>\r\n"));
	buf_clear(&out);
	d.utf8 = true;
	dsn_write(&out, &d, false);
	assert_true(holds(buf_str(&out), "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n"));
	assert_true(holds(buf_str(&out), "Final-Recipient: utf-8; m\xc3\xbcller@far.test\r\n"));
	assert_true(holds(buf_str(&out), "Content-Type: message/global-headers\r\n"));
	assert_true(holds(buf_str(&out), "  <m\xc3\xbcller@far.test>\r\n"));
	buf_fini(&out);
}

static void statuses_fit_their_action(void **state)
{
	static const struct { enum dsn_action action; str given; const char *want; } cases[] = {
		{ DSN_FAILED, STR("5.7.26"), "Status: 5.7.26\r\n" },  { DSN_FAILED, STR("4.4.7"), "Status: 5.0.0\r\n" },
		{ DSN_FAILED, STR("5.1"), "Status: 5.0.0\r\n" },      { DSN_FAILED, STR("5.1.1.1"), "Status: 5.0.0\r\n" },
		{ DSN_FAILED, STR("5.x.1"), "Status: 5.0.0\r\n" },    { DSN_FAILED, STR("5..1"), "Status: 5.0.0\r\n" },
		{ DSN_FAILED, STR(""), "Status: 5.0.0\r\n" },         { DSN_DELAYED, STR("4.7.1"), "Status: 4.7.1\r\n" },
		{ DSN_DELAYED, STR("5.7.1"), "Status: 4.0.0\r\n" },   { DSN_DELIVERED, STR("2.1.5"), "Status: 2.1.5\r\n" },
		{ DSN_RELAYED, STR(""), "Status: 2.0.0\r\n" },        { DSN_EXPANDED, STR(""), "Action: expanded\r\nStatus: 2.0.0\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct dsn_rcpt r = { .final = STR("a@x.test"), .action = cases[i].action, .status = cases[i].given };
		struct dsn      d = usual();
		struct buf      out;

		d.rcpts = &r;
		d.nrcpts = 1;
		buf_init(&out, BUF_UNBOUNDED);
		dsn_write(&out, &d, false);
		if (!holds(buf_str(&out), cases[i].want))
			fail_msg("%s: %.*s", cases[i].want, STR_ARG(buf_str(&out)));
		buf_fini(&out);
	}
}

static void long_headers_are_cut_at_a_line(void **state)
{
	size_t     n = 300000;
	char      *header = malloc(n);
	struct dsn d = usual();
	struct buf out;

	(void)state;
	assert_non_null(header);
	for (size_t i = 0; i + 10 <= n; i += 10)
		memcpy(header + i, "X: 12345\r\n", 10);
	d.original_header = (str){ header, n };
	buf_init(&out, BUF_UNBOUNDED);
	dsn_write(&out, &d, false);
	assert_sane(buf_str(&out));
	assert_true(out.n < 80000);
	assert_true(holds(buf_str(&out), "X: 12345\r\n\r\n--"));
	buf_fini(&out);
	free(header);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_notice),
		cmocka_unit_test(the_original_may_follow_whole),
		cmocka_unit_test(peers_words_are_made_safe),
		cmocka_unit_test(addresses_in_utf8),
		cmocka_unit_test(statuses_fit_their_action),
		cmocka_unit_test(long_headers_are_cut_at_a_line),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
