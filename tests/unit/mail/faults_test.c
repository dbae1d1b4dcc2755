/* SPDX-License-Identifier: ISC */
/*
 * What is held against a message: each fault by itself, and none for a good one.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/faults.h"

#define NOW  1763762908         /* Fri, 21 Nov 2025 22:08:28 +0000 */
#define DATE "Date: Fri, 21 Nov 2025 22:08:28 +0000\r\n"
#define ID   "Message-ID: <1@far.test>\r\n"
#define FROM "From: Ann <ann@far.test>\r\n"
#define TO   "To: b@here.test\r\n"
#define SUBJ "Subject: x\r\n"
#define ALL  DATE ID FROM TO SUBJ
#define UTF8 "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
#define TEXT "text\r\n"

static char longest[1200];

static const struct {
	const char *name, *helo, *header, *body;
	const char *want[3];            /* words of the faults, in order; NULL ends */
} cases[] = {
	{ "a good one", "mx.far.test", ALL, TEXT, { NULL } },
	{ "8-bit with MIME", "mx.far.test", ALL UTF8, "gr\xc3\xbc\xc3\x9f\r\n", { NULL } },
	{ "no Date", "mx.far.test", ID FROM TO SUBJ, TEXT, { "no Date" } },
	{ "Date unreadable", "mx.far.test", "Date: yesterday\r\n" ID FROM TO SUBJ, TEXT, { "cannot be read: yesterday" } },
	{ "Date ahead", "mx.far.test", "Date: Sun, 23 Nov 2025 22:08:28 +0000\r\n" ID FROM TO SUBJ, TEXT, { "Date is 2 days ahead" } },
	{ "Date by its zone", "mx.far.test", "Date: 21 Nov 2025 22:08:28 -0500\r\n" ID FROM TO SUBJ, TEXT, { "Date is 5 hours ahead" } },
	{ "Date old", "mx.far.test", "Date: Fri, 21 Nov 2015 22:08:28 +0000\r\n" ID FROM TO SUBJ, TEXT, { "days old" } },
	{ "Date twice", "mx.far.test", DATE ALL, TEXT, { "Date stands there 2 times" } },
	{ "no Message-ID", "mx.far.test", DATE FROM TO SUBJ, TEXT, { "no Message-ID" } },
	{ "Message-ID bare", "mx.far.test", DATE "Message-ID: 17\r\n" FROM TO SUBJ, TEXT, { "is not <word@host>: 17" } },
	{ "Message-ID of nowhere", "mx.far.test", DATE "Message-ID: <1@localhost>\r\n" FROM TO SUBJ, TEXT, { "\"localhost\"" } },
	{ "Message-ID twice", "mx.far.test", ID ALL, TEXT, { "Message-ID stands there 2" } },
	{ "no From", "mx.far.test", DATE ID TO SUBJ, TEXT, { "From" } },
	{ "two From", "mx.far.test", FROM ALL, TEXT, { "From", "From stands there 2" } },
	{ "a name that pretends", "mx.far.test", DATE ID "From: \"boss@bank.test\" <ann@far.test>\r\n" TO SUBJ, TEXT, { "shows an address of another domain" } },
	{ "a name that does not", "mx.far.test", DATE ID "From: \"ann@far.test\" <ann@far.test>\r\n" TO SUBJ, TEXT, { NULL } },
	{ "authors without a Sender", "mx.far.test", DATE ID "From: a@far.test, b@far.test\r\n" TO SUBJ, TEXT, { "no Sender" } },
	{ "neither To nor Cc", "mx.far.test", DATE ID FROM SUBJ, TEXT, { "neither To nor Cc" } },
	{ "no Subject", "mx.far.test", DATE ID FROM TO, TEXT, { "no Subject" } },
	{ "Bcc", "mx.far.test", ALL "Bcc: c@here.test\r\n", TEXT, { "Bcc was left in" } },
	{ "Return-Path", "mx.far.test", "Return-Path: <a@far.test>\r\n" ALL, TEXT, { "Return-Path" } },
	{ "raw letters", "mx.far.test", DATE ID FROM TO "Subject: gr\xc3\xbc\xc3\x9f\r\n", TEXT, { "Subject holds letters beyond ASCII" } },
	{ "a long field", "mx.far.test", longest, TEXT, { "X has a line of more than 998" } },
	{ "a space before the colon", "mx.far.test", ALL "X-A : b\r\n", TEXT, { "X-A has a space" } },
	{ "8-bit without MIME", "mx.far.test", ALL, "gr\xc3\xbc\xc3\x9f\r\n", { "no MIME field says" } },
	{ "8-bit called 7bit", "mx.far.test", ALL "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n", "\xc3\xbc\r\n", { "does not say 8bit" } },
	{ "no MIME-Version", "mx.far.test", ALL "Content-Type: text/plain\r\n", TEXT, { "no MIME-Version" } },
	{ "a long line", "mx.far.test", ALL, longest, { "a line of " } },
	{ "empty", "mx.far.test", ALL, "", { "text is empty" } },
	{ "HTML only", "mx.far.test", ALL "MIME-Version: 1.0\r\nContent-Type: text/html\r\n", TEXT, { "HTML only" } },
	{ "HTML only in parts", "mx.far.test", ALL "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=a\r\n",
	  "--a\r\nContent-Type: text/html\r\n\r\nx\r\n--a--\r\n", { "HTML only" } },
	{ "HTML and text", "mx.far.test", ALL "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=a\r\n",
	  "--a\r\nContent-Type: text/plain\r\n\r\nx\r\n--a\r\nContent-Type: text/html\r\n\r\nx\r\n--a--\r\n", { NULL } },
	{ "HELO, a bare word", "laptop", ALL, TEXT, { "bare word: laptop" } },
	{ "HELO, an address", "192.0.2.1", ALL, TEXT, { "not even in brackets" } },
	{ "HELO, a literal", "[192.0.2.1]", ALL, TEXT, { "bare address: [192.0.2.1]" } },
	{ "HELO, no literal", "[nobody]", ALL, TEXT, { "HELO is no name" } },
	{ "HELO, none", "a b", ALL, TEXT, { "no host name" } },
	{ "HELO, inside", "pc.fritz.local", ALL, TEXT, { "nobody else can look up" } },
	{ "HELO, ours", "mail.here.test", ALL, TEXT, { "our own name" } },
	{ "Received, another's", "mx.far.test", "Received: from a by b.test; Fri, 21 Nov 2025 22:08:28 +0000 (GMT)\r\n" ALL, TEXT, { NULL } },
	{ "Received, in our name", "mx.far.test", "Received: from a\r\n by mail.here.test with SMTP; Fri, 21 Nov 2025 22:08:28 +0000\r\n" ALL, TEXT,
	  { "had the message before" } },
	{ "Received without a date", "mx.far.test", "Received: from a by b.test\r\n" ALL, TEXT, { "no date that can be read" } },
	{ "Received ahead", "mx.far.test", "Received: from a by b.test; 23 Nov 2025 22:08:28 +0000\r\n" ALL, TEXT, { "dated hours ahead" } },
};

static void once(size_t i, size_t piece)
{
	struct arena a;
	struct splitter s;
	struct from from;
	struct body_look look = { 0 };
	struct fault got[FAULTS_MOST];
	str back, body = str_of(cases[i].body);
	size_t n, want = 0;

	print_message("%s, by %zu\n", cases[i].name, piece);
	arena_init(&a, ARENA_UNBOUNDED);
	splitter_init(&s, &a, 1 << 20, 1 << 20, 1000);
	splitter_feed(&s, str_of(cases[i].header), &back);
	splitter_end(&s, &back);
	from_judge(&a, &s.fields, &from);
	for (; body.n > 0; body = str_skip(body, piece))
		body_look_feed(&look, str_head(body, piece));
	body_look_end(&look);
	n = faults_find(&a, &(struct faults_of){ .fields = &s.fields, .from = &from, .body = &look, .helo = str_of(cases[i].helo),
	                                         .host = STR("mail.here.test"), .now = NOW }, got);
	for (; want < COUNT(cases[i].want) && cases[i].want[want] != NULL; want++) {
		assert_true(want < n);
		if (memmem(got[want].what.p, got[want].what.n, cases[i].want[want], strlen(cases[i].want[want])) == NULL)
			fail_msg("want %s, got %.*s", cases[i].want[want], STR_ARG(got[want].what));
		assert_true(got[want].todo.n > 0);
	}
	if (n != want)
		fail_msg("%zu faults too many, the first: %.*s", n - want, STR_ARG(got[want].what));
	splitter_fini(&s);
	arena_fini(&a);
}

static void found(void **state)
{
	(void)state;
	strcpy(longest, ALL "X: ");
	memset(longest + strlen(longest), 'y', 1000);
	strcat(longest, "\r\n");
	for (size_t i = 0; i < COUNT(cases); i++) {
		once(i, 1);
		once(i, 4096);
	}
}

static const struct { const char *text; int64_t want; } dates[] = {
	{ "Fri, 21 Nov 2025 22:08:28 +0000", NOW },
	{ "21 Nov 2025 22:08:28 +0000", NOW },
	{ "21 Nov 25 22:08:28 +0000", NOW },
	{ "Fri, 21 Nov 2025 23:08:28 +0100 (CET)", NOW },
	{ "Fri, 21 Nov 2025 17:08:28 EST", NOW },
	{ "Fri, 21 Nov 2025 22:08:28 GMT", NOW },
	{ "  fri,  1 nov 2025 22:08 +0000", NOW - 20 * 86400 - 28 },
	{ "", 0 }, { "Fri", 0 }, { "Fri 21 Nov 2025 22:08:28 +0000", 0 }, { "21 Nov 2025", 0 }, { "21 Nov 2025 24:08:28 +0000", 0 },
	{ "0 Nov 2025 22:08:28 +0000", 0 }, { "32 Nov 2025 22:08:28 +0000", 0 }, { "21 Nuv 2025 22:08:28 +0000", 0 },
	{ "21 Nov 20255 22:08:28 +0000", 0 }, { "21 Nov 2025 22:08:28 +00", 0 }, { "21 Nov 2025 22:08:28 +0060", 0 }, { "21 Nov 2025 22:08:28", 0 },
};

static void dates_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(dates); i++) {
		int64_t got = 0;

		print_message("%s\n", dates[i].text);
		assert_int_equal(date_read(str_of(dates[i].text), &got), dates[i].want != 0);
		if (dates[i].want != 0)
			assert_int_equal(got, dates[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(found), cmocka_unit_test(dates_read) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
