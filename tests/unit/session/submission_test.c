/* SPDX-License-Identifier: ISC */
/*
 * Who logs in, as whom he may send, and what his message is given.
 */
#include "tests/unit/session_house.h"

static void client_secure(void)
{
	client_login(NULL);
}

static void logins_are_taken(void **state)
{
	static const struct { const char *name, *say[4], *want[4]; } cases[] = {
		{ "plain", { "AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=" }, { "235 2.7.0" } },
		{ "plain, lower case", { "auth plain AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=" }, { "235 2.7.0" } },
		{ "plain, later", { "AUTH PLAIN", "AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=" }, { "334 ", "235 2.7.0" } },
		{ "login", { "AUTH LOGIN", "YWxpY2VAaGVyZS50ZXN0", "c2VjcmV0" },
		  { "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0" } },
		{ "a wrong password", { "AUTH PLAIN AGFsaWNlQGhlcmUudGVzdAB3cm9uZw==" }, { "535 5.7.8" } },
		{ "no mechanism", { "AUTH" }, { "501 5.5.4" } },
		{ "an unknown one", { "AUTH CRAM-MD5" }, { "504 5.5.4" } },
		{ "no base64", { "AUTH PLAIN !!!!" }, { "501 5.5.2" } },
		{ "loose base64", { "AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ" }, { "501 5.5.2" } },
		{ "no base64 later", { "AUTH PLAIN", "!!!!", "NOOP" }, { "334 ", "501 5.5.2", "250" } },
		{ "empty", { "AUTH PLAIN =" }, { "501 5.5.2" } },
		{ "cancelled", { "AUTH PLAIN", "*", "NOOP" }, { "334 ", "501 5.7.0", "250" } },
		{ "twice", { "AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=", "AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=" },
		  { "235 2.7.0", "503 5.5.1" } },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		client_secure();
		for (size_t j = 0; j < 4 && cases[i].say[j] != NULL; j++) {
			client_say(cases[i].say[j]);
			client_say("\r\n");
			if (strncmp(hear(), cases[i].want[j], strlen(cases[i].want[j])) != 0)
				fail_msg("%s, line %zu: %s", cases[i].name, j, h.reply);
		}
	}
}

static void long_responses_are_taken(void **state)
{
	static char line[13000];

	(void)state;
	client_secure();
	talk("AUTH PLAIN", "334 ");
	memset(line, 'A', sizeof(line));
	memcpy(line + 12288 - 2, "\r\n", 2);
	client_say_bytes(line, 12288);
	talk(NULL, "501 5.5.2");                 /* no name in it, but it was read */
	talk("AUTH PLAIN", "334 ");
	memset(line, 'A', sizeof(line));
	memcpy(line + 12289 - 2, "\r\n", 2);
	client_say_bytes(line, 12289);
	talk(NULL, "500 5.5.2");
	talk("NOOP", "250");
}

static void logins_that_fail_have_an_end(void **state)
{
	(void)state;
	client_secure();
	for (int i = 0; i < 10; i++)
		talk("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdAB3cm9uZw==", "535 5.7.8");
	talk("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdAB3cm9uZw==", "421 4.7.0");
	hear_eof();
}

static void answers_of_auth(void **state)
{
	static const struct { enum auth_says says; const char *want; } cases[] = {
		{ AUTH_LATER, "454 4.7.0" }, { AUTH_NO_MECH, "504 5.5.4" }, { AUTH_MALFORMED, "501 5.5.2" },
		{ AUTH_REFUSED, "535 5.7.8" },
	};

	(void)state;
	client_secure();
	for (size_t i = 0; i < COUNT(cases); i++) {
		fake_logins.instead = cases[i].says;
		talk("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=", cases[i].want);
	}
	fake_logins.instead = 0;
	talk("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=", "235");
}

static void tls_and_login_come_first(void **state)
{
	(void)state;
	client_from(&h.submission, "192.0.2.1");
	talk(NULL, "220");
	talk("HELO x", "530 5.7.0");
	talk("EHLO x", "250");
	assert_null(strstr(h.reply, "AUTH"));
	talk("MAIL FROM:<alice@here.test>", "530 5.7.0");
	talk("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=", "530 5.7.0");
	talk("RSET", "530 5.7.0");
	talk("NOOP", "250");
	talk("QUIT", "221");
	h.submission.tls = TLS_STARTTLS;
	client_from(&h.submission, "192.0.2.1");
	talk(NULL, "220");
	talk("EHLO x", "250");
	assert_null(strstr(h.reply, "AUTH"));
	talk("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=", "538 5.7.11");
	talk("MAIL FROM:<alice@here.test>", "530 5.7.0");
	client_secure();
	talk("MAIL FROM:<alice@here.test>", "530 5.7.0");
	client_login("alice@here.test");
	talk("EHLO again", "250");
	assert_null(strstr(h.reply, "AUTH"));
}

static void senders_belong_to_the_login(void **state)
{
	static const struct { const char *line, *want; } cases[] = {
		{ "MAIL FROM:<alice@here.test>", "250 2.1.0" }, { "MAIL FROM:<ALICE@HERE.TEST>", "250 2.1.0" },
		{ "MAIL FROM:<alice+list@here.test>", "250 2.1.0" }, { "MAIL FROM:<>", "250 2.1.0" },
		{ "MAIL FROM:<bob@here.test>", "550 5.7.1 alice@here.test may not send as bob@here.test" },
		{ "MAIL FROM:<alice@far.test>", "550 5.7.1" }, { "MAIL FROM:<nobody@here.test>", "550 5.7.1" },
	};

	(void)state;
	client_login("alice@here.test");
	for (size_t i = 0; i < COUNT(cases); i++) {
		talk(cases[i].line, cases[i].want);
		talk("RSET", "250");
	}
}

static const char *send_as_alice(const char *header)
{
	client_login("alice@here.test");
	talk("MAIL FROM:<alice@here.test>", "250");
	talk("RCPT TO:<far@elsewhere.test>", "250");
	talk("DATA", "354");
	client_say(header);
	client_say("\r\nhello\r\n.\r\n");
	return hear();
}

#define GIVEN "Date: Sat, 21 Nov 2026 22:08:28 +0000\r\nMessage-ID: <1@here.test>\r\n"

static void header_addresses_belong_to_the_login(void **state)
{
	static const struct { const char *header, *want; } cases[] = {
		{ "From: alice@here.test\r\n", "250" },
		{ "From: Alice <Alice+x@Here.Test>\r\n", "250" },
		{ "From: bob@here.test\r\n", "550 5.7.1 alice@here.test may not send as bob@here.test" },
		{ "From: alice@here.test, bob@here.test\r\n", "550 5.7.1" },
		{ "From: alice@here.test, a@far.test\r\n", "550 5.7.1" },
		{ "From: alice@here.test\r\nFrom: alice@here.test\r\n", "550 5.7.1" },
		{ "Subject: no From\r\n", "550 5.7.1" },
		{ "From: nobody at all\r\n", "550 5.7.1" },
		{ "From: alice@here.test\r\nSender: alice@here.test\r\n", "250" },
		{ "From: alice@here.test\r\nSender: bob@here.test\r\n", "550 5.7.1" },
		{ "From: alice@here.test\r\nSender: a@far.test\r\n", "550 5.7.1" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t before = q.nstored;

		if (strncmp(send_as_alice(cases[i].header), cases[i].want, strlen(cases[i].want)) != 0)
			fail_msg("%s: %s", cases[i].header, h.reply);
		assert_int_equal(q.nstored - before, cases[i].want[0] == '2');
		talk("NOOP", "250");
	}
}

static void what_is_missing_is_given(void **state)
{
	const struct stored *s;

	(void)state;
	assert_int_equal(strncmp(send_as_alice("From: alice@here.test\r\n"), "250", 3), 0);
	s = last_stored();
	assert_non_null(strstr(s->head, "\r\nDate: "));
	assert_non_null(strstr(s->head, "\r\nMessage-ID: <"));
	assert_true(strstr(s->head, "Received: ") < strstr(s->head, "Date: "));
	assert_int_equal(module.headers, 3);
	assert_string_equal(s->content, "From: alice@here.test\r\n\r\nhello\r\n");
	assert_string_equal(s->login, "alice@here.test");
	assert_true(s->flags & MESSAGE_LOGIN);
	/* Nobody learns where she sits, and nobody far her login. */
	assert_null(strstr(s->head, "192.0.2.1"));
	assert_null(strstr(s->head, "client.test"));
	assert_null(strstr(s->head, "Authentication-Results"));
	send_as_alice(GIVEN "From: alice@here.test\r\nBcc: secret@far.test\r\nbcc: folded,\r\n too@far.test\r\n");
	s = last_stored();
	assert_null(strstr(s->head, "Date: "));
	assert_null(strstr(s->head, "Message-ID: "));
	assert_string_equal(s->content, GIVEN "From: alice@here.test\r\n\r\nhello\r\n");
}

static void nobody_learns_of_bcc(void **state)
{
	static const char *const headers[] = {
		GIVEN "From: alice@here.test\r\nBcc: secret@far.test\r\n", GIVEN "bcc:secret@far.test\r\nFrom: alice@here.test\r\n",
		GIVEN "BCC : secret@far.test,\r\n\tsecret2@far.test,\r\n secret3@far.test\r\nFrom: alice@here.test\r\n",
		GIVEN "From: alice@here.test\r\nResent-Bcc: secret@far.test\r\nResent-BCC:\r\n secret@far.test\r\n",
		GIVEN "Bcc:\r\nFrom: alice@here.test\r\nBcc: a@b.test\nBcc: secret@far.test\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(headers); i++) {
		assert_int_equal(strncmp(send_as_alice(headers[i]), "250", 3), 0);
		assert_string_equal(last_stored()->content, GIVEN "From: alice@here.test\r\n\r\nhello\r\n");
		assert_null(strstr(last_stored()->head, "secret"));
	}
}

#define MARKED "MIME-Version: 1.0\r\nContent-Type: text/plain; charset="

static void text_beyond_ascii_is_marked(void **state)
{
	static const struct { const char *fields, *text, *charset; } cases[] = {
		{ "", "plain\r\n", NULL }, { "", "Gr\xc3\xbc\xc3\x9f" "e\r\n", "utf-8\r\n" },
		{ "", "\xe2\x82\xac \xf0\x9f\x93\xa8 \xed\x9f\xbf \xf4\x8f\xbf\xbf\r\n", "utf-8\r\n" },
		{ "", "Gr\xfc\xdf" "e\r\n", "unknown-8bit\r\n" },                  /* Latin 1 */
		{ "", "overlong \xc0\xaf\r\n", "unknown-8bit\r\n" }, { "", "\xe0\x9f\xbf\r\n", "unknown-8bit\r\n" },
		{ "", "surrogate \xed\xa0\x80\r\n", "unknown-8bit\r\n" }, { "", "\xf4\x90\x80\x80\r\n", "unknown-8bit\r\n" },
		{ "", "cut \xe2\x82\r\n", "unknown-8bit\r\n" }, { "", "\xf0\x8f\xbf\xbf\r\n", "unknown-8bit\r\n" },
		{ "", "\x80\r\n", "unknown-8bit\r\n" }, { "", "\xff\r\n", "unknown-8bit\r\n" },
		{ "MIME-Version: 1.0\r\n", "\xfc\r\n", NULL }, { "Content-Type: text/plain\r\n", "\xfc\r\n", NULL },
		{ "content-transfer-encoding: 8bit\r\n", "\xfc\r\n", NULL },
		{ "Subject: Gr\xc3\xbc\xc3\x9f" "e\r\n", "plain\r\n", NULL },    /* the body's matter only */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char        message[500], want[100];
		const char *head;

		snprintf(message, sizeof(message), GIVEN "From: alice@here.test\r\n%s\r\n%s", cases[i].fields, cases[i].text);
		if (strncmp(send_as_alice(message), "250", 3) != 0)
			fail_msg("%zu: %s", i, h.reply);
		head = last_stored()->head;
		snprintf(want, sizeof(want), MARKED "%sContent-Transfer-Encoding: 8bit\r\n", cases[i].charset != NULL ? cases[i].charset : "");
		if ((strstr(head, "MIME-Version") != NULL) != (cases[i].charset != NULL) ||
		    (cases[i].charset != NULL && strstr(head, want) == NULL))
			fail_msg("%zu: %s", i, head);
		assert_non_null(strstr(last_stored()->content, cases[i].text));
		assert_int_equal((last_stored()->flags & MESSAGE_8BIT) != 0, strpbrk(message, "\x80\xe2\xc3\xfc\xc0\xe0\xed\xf4\xf0\xff") != NULL);
	}
}

static void it_may_be_refused_or_passed_on(void **state)
{
	struct submission_conf conf = { .unmarked = UNMARKED_REFUSE, .hide_client = false };
	const char *message = GIVEN "From: alice@here.test\r\n\r\n\xc3\xbc\r\n";

	(void)state;
	h.setup.submission = &conf;
	assert_int_equal(strncmp(send_as_alice(message), "554 5.6.0", 9), 0);
	talk("NOOP", "250");
	assert_int_equal(strncmp(send_as_alice(GIVEN "From: alice@here.test\r\nMIME-Version: 1.0\r\n\r\n\xc3\xbc\r\n"), "250", 3), 0);
	assert_int_equal(strncmp(send_as_alice(GIVEN "From: alice@here.test\r\n\r\nplain\r\n"), "250", 3), 0);
	assert_non_null(strstr(last_stored()->head, "[192.0.2.1]"));     /* hide-client = no */
	conf = (struct submission_conf){ .unmarked = UNMARKED_PASS, .hide_client = true };
	assert_int_equal(strncmp(send_as_alice(message), "250", 3), 0);
	assert_null(strstr(last_stored()->head, "MIME"));
	assert_null(strstr(last_stored()->head, "192.0.2.1"));
	h.setup.submission = NULL;
}

static void a_bare_lf_is_repaired(void **state)
{
	(void)state;
	assert_int_equal(strncmp(send_as_alice(GIVEN "From: alice@here.test\nSubject: x\n\na\nb\r\n"), "250", 3), 0);
	assert_string_equal(last_stored()->content,
	                    GIVEN "From: alice@here.test\r\nSubject: x\r\n\r\na\r\nb\r\n\r\nhello\r\n");
	assert_int_equal(strncmp(send_as_alice("From: alice@here.test\r\n\r\na\rb\r\n"), "554 5.6.0", 9), 0);
}

static void where_it_goes(void **state)
{
	const struct stored *s;

	(void)state;
	client_login("alice@here.test");
	talk("MAIL FROM:<>", "250");
	talk("RCPT TO:<nobody@here.test>", "550 5.1.1");
	talk("RCPT TO:<far@elsewhere.test>", "250");
	talk("RCPT TO:<user@[192.0.2.7]>", "250");
	talk("RCPT TO:<bob@office.test>", "250");
	talk("RCPT TO:<both@here.test>", "250");
	talk("RCPT TO:<alice@here.test>", "250");
	talk("DATA", "354");
	client_say(GIVEN "From: alice@here.test\r\n\r\nx\r\n.\r\n");
	talk(NULL, "250");
	s = last_stored();
	assert_string_equal(s->from, "");
	assert_int_equal(s->nrcpts, 5);
	assert_int_equal(s->rcpts[0].flags, 0);
	assert_int_equal(s->rcpts[1].flags, 0);
	assert_string_equal(s->rcpts[2].text, "bob@office.test");
	assert_int_equal(s->rcpts[2].flags, RCPT_LOCAL | RCPT_ROUTE);
	assert_int_equal(s->rcpts[3].flags, RCPT_LOCAL);
	assert_string_equal(s->rcpts[4].text, "bob@here.test");
	/* Somebody here gets it straight: RFC 8601 2.7.4. */
	assert_non_null(strstr(s->head, "auth=pass"));
	assert_non_null(strstr(s->head, "smtp.auth=alice@here.test"));
	assert_null(strstr(s->head, "test=pass"));
	/* Only by a route: nothing. */
	talk("MAIL FROM:<>", "250");
	talk("RCPT TO:<bob@office.test>", "250");
	talk("DATA", "354");
	client_say(GIVEN "From: alice@here.test\r\n\r\nx\r\n.\r\n");
	talk(NULL, "250");
	assert_null(strstr(last_stored()->head, "auth=pass"));
}

static void copies_go_out_and_in(void **state)
{
	(void)state;
	client_login("carol@copied.test");
	talk("MAIL FROM:<carol@copied.test>", "250");
	talk("RCPT TO:<far@elsewhere.test>", "250");
	talk("DATA", "354");
	client_say(GIVEN "From: carol@copied.test\r\n\r\nx\r\n.\r\n");
	talk(NULL, "250");
	assert_int_equal(last_stored()->nrcpts, 2);
	assert_string_equal(last_stored()->rcpts[1].text, "archive@here.test");
	assert_int_equal(last_stored()->rcpts[1].flags, RCPT_LOCAL | RCPT_NOTIFY_NEVER | RCPT_COPY | RCPT_OWN_SENDER | RCPT_OWN_HEAD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOUSE_TEST(logins_are_taken), HOUSE_TEST(long_responses_are_taken),
		HOUSE_TEST(logins_that_fail_have_an_end), HOUSE_TEST(answers_of_auth),
		HOUSE_TEST(tls_and_login_come_first), HOUSE_TEST(senders_belong_to_the_login),
		HOUSE_TEST(header_addresses_belong_to_the_login), HOUSE_TEST(what_is_missing_is_given),
		HOUSE_TEST(nobody_learns_of_bcc), HOUSE_TEST(text_beyond_ascii_is_marked), HOUSE_TEST(it_may_be_refused_or_passed_on),
		HOUSE_TEST(a_bare_lf_is_repaired), HOUSE_TEST(where_it_goes), HOUSE_TEST(copies_go_out_and_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
