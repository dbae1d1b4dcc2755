/* SPDX-License-Identifier: ISC */
/* trace: Received and its companions, also for clients that lie. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/trace.h"

#define WHEN 1795298908
#define DATE "Sat, 21 Nov 2026 22:08:28 +0000\r\n"

static void is(str got, const char *want)
{
	if (!str_is(got, want))
		fail_msg("got \"%.*s\", want \"%s\"", STR_ARG(got), want);
}

static void received_is_written(void **state)
{
	struct trace t = {
		.helo = STR("client.test"), .ptr = STR("mx.client.test"), .ip = STR("192.0.2.7"), .by = STR("mail.here.test"),
		.id = STR("3fAb12"), .for_rcpt = STR("bob@here.test"), .esmtp = true, .tls = true,
		.tls_version = STR("TLSv1.3"), .tls_cipher = STR("TLS_AES_256_GCM_SHA384"), .tls_bits = 256, .when = WHEN,
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	is(trace_received(&a, &t),
	   "Received: from client.test (mx.client.test [192.0.2.7])\r\n"
	   "\tby mail.here.test (postern) with ESMTPS id 3fAb12\r\n"
	   "\tfor <bob@here.test>\r\n"
	   "\t(version=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 bits=256);\r\n"
	   "\t" DATE);
	t.ip = STR("2001:db8::1");
	t.ptr = STR_NONE;
	t.helo = STR("[IPv6:2001:DB8::1]");
	t.tls = false;
	t.for_rcpt = STR_NONE;
	is(trace_received(&a, &t),
	   "Received: from [IPv6:2001:db8::1] (unknown [IPv6:2001:db8::1])\r\n"
	   "\tby mail.here.test (postern) with ESMTP id 3fAb12;\r\n"
	   "\t" DATE);
	t.hide_client = t.tls = t.auth = true;
	t.tls_version = STR_NONE;
	is(trace_received(&a, &t), "Received: by mail.here.test (postern) with ESMTPSA id 3fAb12;\r\n\t" DATE);
	t = (struct trace){ .by = STR("mail.here.test"), .id = STR("x"), .when = WHEN };
	is(trace_received(&a, &t), "Received: by mail.here.test (postern) id x;\r\n\t" DATE);
	arena_fini(&a);
}

/* RFC 3848; RFC 6531 4.3 */
static void keywords(void **state)
{
	static const struct { bool esmtp, lmtp, utf8, tls, auth; const char *want; } cases[] = {
		{ 0, 0, 0, 0, 0, "with SMTP id" },     { 1, 0, 0, 0, 0, "with ESMTP id" },
		{ 1, 0, 0, 1, 0, "with ESMTPS id" },   { 1, 0, 0, 0, 1, "with ESMTPA id" },
		{ 1, 0, 0, 1, 1, "with ESMTPSA id" },  { 1, 0, 1, 0, 0, "with UTF8SMTP id" },
		{ 1, 0, 1, 1, 0, "with UTF8SMTPS id" },{ 1, 0, 1, 0, 1, "with UTF8SMTPA id" },
		{ 1, 0, 1, 1, 1, "with UTF8SMTPSA id" },{ 1, 1, 0, 0, 0, "with LMTP id" },
		{ 1, 1, 0, 1, 1, "with LMTPSA id" },   { 1, 1, 1, 1, 0, "with UTF8LMTPS id" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct trace t = { .helo = STR("c.test"), .ip = STR("192.0.2.7"), .by = STR("h.test"), .id = STR("i"),
		                   .esmtp = cases[i].esmtp, .lmtp = cases[i].lmtp, .utf8 = cases[i].utf8,
		                   .tls = cases[i].tls, .auth = cases[i].auth };
		struct arena a;
		str          got;

		arena_init(&a, ARENA_UNBOUNDED);
		got = trace_received(&a, &t);
		if (memmem(got.p, got.n, cases[i].want, strlen(cases[i].want)) == NULL)
			fail_msg("%s: %.*s", cases[i].want, STR_ARG(got));
		arena_fini(&a);
	}
}

static void assert_one_field(str field)
{
	size_t line = 0;

	assert_true(field.n > 2 && field.p[field.n - 2] == '\r' && field.p[field.n - 1] == '\n');
	for (size_t i = 0; i < field.n; i++) {
		unsigned char c = (unsigned char)field.p[i];

		assert_true(c >= ' ' || c == '\t' || c == '\r' || c == '\n');
		assert_true(c != '\n' || field.p[i - 1] == '\r');
		if (c == '\r') {
			assert_true(i + 1 < field.n && field.p[i + 1] == '\n');
			assert_true(i + 2 == field.n || is_wsp(field.p[i + 2]));
		}
		line = c == '\n' ? 0 : line + 1;
		assert_true(line <= 998);
	}
}

static void lies_are_made_harmless(void **state)
{
	static const struct { str helo; const char *want; } cases[] = {
		{ STR("a b"), "from a?b (" }, { STR("x)\r\nBcc: y"), "from x???Bcc??y (" }, { STR("a\0b"), "from a?b (" },
		{ STR("(unknown [127.0.0.1])"), "from ?unknown??127.0.0.1?? (" }, { STR(""), "from unknown (" },
		{ STR("[1.2.3]"), "from ?1.2.3? (" }, { STR("b\xc3\xbc" "cher.test"), "from xn--bcher-kva.test (" },
		{ STR("..a.."), "from ?.a.? (" }, { STR("HOST.Test."), "from host.test (" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct trace t = { .helo = cases[i].helo, .ptr = cases[i].helo, .ip = STR("192.0.2.7"), .by = STR("h.test"),
		                   .id = cases[i].helo, .for_rcpt = cases[i].helo, .tls = true, .tls_version = STR("T"),
		                   .tls_cipher = cases[i].helo };
		struct arena a;
		str          got;

		arena_init(&a, ARENA_UNBOUNDED);
		got = trace_received(&a, &t);
		assert_one_field(got);
		if (memmem(got.p, got.n, cases[i].want, strlen(cases[i].want)) == NULL)
			fail_msg("%s: %.*s", cases[i].want, STR_ARG(got));
		assert_one_field(trace_return_path(&a, cases[i].helo));
		assert_one_field(trace_delivered_to(&a, cases[i].helo));
		assert_one_field(trace_message_id(&a, cases[i].helo, cases[i].helo));
		arena_fini(&a);
	}
}

static void small_fields(void **state)
{
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	is(trace_return_path(&a, STR("")), "Return-Path: <>\r\n");
	is(trace_return_path(&a, STR("a@x.test")), "Return-Path: <a@x.test>\r\n");
	is(trace_delivered_to(&a, STR("a@x.test")), "Delivered-To: a@x.test\r\n");
	is(trace_date(&a, WHEN), "Date: " DATE);
	is(trace_message_id(&a, STR("17.ab"), STR("x.test")), "Message-ID: <17.ab@x.test>\r\n");
	arena_fini(&a);
}

static void received_spf(void **state)
{
	struct trace_spf s = {
		.result = STR("pass"), .comment = STR("x.test: 192.0.2.7 is authorized (ip4)"), .client_ip = STR("192.0.2.7"),
		.envelope_from = STR("a@x.test"), .helo = STR("client.test"), .receiver = STR("mail.here.test"),
		.identity = STR("mailfrom"), .mechanism = STR("ip4:192.0.2.0/24"),
	};
	struct arena a;
	str          field, got;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	field = trace_received_spf(&a, &s);
	assert_one_field(field);
	is(field,
	   "Received-SPF: pass (x.test: 192.0.2.7 is authorized \\(ip4\\))\r\n"
	   "\tclient-ip=192.0.2.7; envelope-from=\"a@x.test\"; helo=client.test;\r\n"
	   "\treceiver=mail.here.test; identity=mailfrom;\r\n"
	   "\tmechanism=\"ip4:192.0.2.0/24\"\r\n");
	assert_true(trace_received_spf_receiver(&a, str_head(str_skip(field, 13), field.n - 15), &got));
	is(got, "mail.here.test");
	s.helo = s.envelope_from = s.comment = s.problem = STR("a\"b\\\r\nX: y; receiver=z\0");
	field = trace_received_spf(&a, &s);
	assert_one_field(field);
	assert_true(trace_received_spf_receiver(&a, str_head(str_skip(field, 13), field.n - 15), &got));
	is(got, "mail.here.test");
	arena_fini(&a);
}

static void receivers_are_read(void **state)
{
	static const struct { str value; const char *want; } cases[] = {
		{ STR(" pass (c) receiver=a.test; client-ip=1.2.3.4"), "a.test" },
		{ STR(" Pass client-ip=2001:db8::1; RECEIVER = \"a.test\" ;"), "a.test" },
		{ STR(" pass receiver(c)=(d)a.test(e)"), "a.test" },
		{ STR(" pass\r\n\treceiver=a.test"), "a.test" },
		{ STR(" pass (receiver=b.test) client-ip=1.2.3.4"), NULL },
		{ STR(" pass client-ip=\"receiver=b.test\""), NULL },
		{ STR(" pass receiver=a.test; receiver=b.test"), NULL },
		{ STR(" pass receiver="), NULL },
		{ STR(" pass"), NULL },
		{ STR(""), NULL },
		{ STR(" pass (unclosed receiver=a.test"), NULL },
		{ STR(" pass receiver=\"a.test"), NULL },
		{ STR(" pass receiver=a.test client-ip=1.2.3.4"), NULL },
		{ STR(" pass receiver=a\0.test"), NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena a;
		str          got = STR_NONE;
		bool         good;

		arena_init(&a, ARENA_UNBOUNDED);
		good = trace_received_spf_receiver(&a, cases[i].value, &got);
		if (good != (cases[i].want != NULL) || (good && !str_is(got, cases[i].want)))
			fail_msg("\"%.*s\": %d %.*s", STR_ARG(cases[i].value), good, STR_ARG(got));
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(received_is_written), cmocka_unit_test(keywords),
		cmocka_unit_test(lies_are_made_harmless), cmocka_unit_test(small_fields),
		cmocka_unit_test(received_spf), cmocka_unit_test(receivers_are_read),
	};

	setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
