/* SPDX-License-Identifier: ISC */
/*
 * Each command in each phase; arguments; lines; errors; limits of a session.
 */
#include "tests/unit/session_house.h"

/* What each verb hears in each phase: greeted, ready, mail, rcpt, chunks. */
static const struct { const char *line; int want[5]; } phases[] = {
	{ "EHLO x",                       { 250, 250, 250, 250, 503 } },
	{ "HELO x",                       { 250, 250, 250, 250, 503 } },
	{ "ehlo x",                       { 250, 250, 250, 250, 503 } },
	{ "STARTTLS",                     { 502, 502, 503, 503, 503 } },
	{ "AUTH PLAIN AHgAeQ==",          { 503, 502, 503, 503, 503 } },
	{ "MAIL FROM:<a@far.test>",       { 503, 250, 503, 503, 503 } },
	{ "MAIL FROM:<>",                 { 503, 250, 503, 503, 503 } },
	{ "RCPT TO:<alice@here.test>",    { 503, 503, 250, 250, 503 } },
	{ "DATA",                         { 503, 503, 503, 354, 503 } },
	{ "BDAT 0",                       { 503, 503, 503, 250, 250 } },
	{ "RSET",                         { 250, 250, 250, 250, 250 } },
	{ "VRFY alice",                   { 252, 252, 252, 252, 503 } },
	{ "EXPN list",                    { 502, 502, 502, 502, 503 } },
	{ "HELP",                         { 214, 214, 214, 214, 503 } },
	{ "NOOP",                         { 250, 250, 250, 250, 250 } },
	{ "NOOP with words",              { 250, 250, 250, 250, 250 } },
	{ "QUIT",                         { 221, 221, 221, 221, 221 } },
	{ "FROB",                         { 500, 500, 500, 500, 500 } },
	{ "",                             { 500, 500, 500, 500, 500 } },
	{ "MAILFROM:<a@far.test>",        { 500, 500, 500, 500, 500 } },
};

static void client_in_phase(int phase)
{
	client_from(&h.mx, "192.0.2.1");
	talk(NULL, "220");
	if (phase >= 1)
		talk("EHLO x", "250");
	if (phase >= 2)
		talk("MAIL FROM:<a@far.test>", "250 2.1.0");
	if (phase >= 3)
		talk("RCPT TO:<bob@here.test>", "250 2.1.5");
	if (phase >= 4)
		talk("BDAT 0", "250 2.0.0");
}

static void what_may_be_said_when(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(phases); i++)
		for (int phase = 0; phase < 5; phase++) {
			client_in_phase(phase);
			client_say(phases[i].line);
			client_say("\r\n");
			if (atoi(hear()) != phases[i].want[phase])
				fail_msg("%s in phase %d: %s", phases[i].line, phase, h.reply);
			client_close();
		}
}

static const struct { const char *line, *want; } arguments[] = {
	{ "HELO", "501 5.5.4" },
	{ "EHLO", "501 5.5.4" },
	{ "EHLO two words", "501 5.5.4" },
	{ "EHLO [192.0.2.1]", "250-" },
	{ "VRFY", "501 5.5.4" },
	{ "EXPN x", "502 5.5.1" },
	{ "RSET now", "501 5.5.4" },
	{ "QUIT now", "501 5.5.4" },
	{ "DATA now", "503 5.5.1" },
	{ "MAIL", "501 5.5.4" },
	{ "MAIL a@far.test", "501 5.5.4" },
	{ "MAIL FROM:", "501 5.1.7" },
	{ "MAIL FROM:<a@far.test", "501 5.1.7" },
	{ "MAIL FROM:<a>", "501 5.1.7" },
	{ "MAIL FROM:<a@far..test>", "501 5.1.7" },
	{ "MAIL FROM:<a@far.test> FROB=1", "555 5.5.4" },
	{ "MAIL FROM:<a@far.test>SIZE=1", "501 5.1.7" },
	{ "MAIL FROM:<a@far.test> SIZE=10485760", "552 5.3.4" },
	{ "MAIL FROM:<a@far.test> SIZE=99999999999999999999", "552 5.3.4" },
	{ "MAIL FROM:<a@far.test> BODY=BINARYMIME", "555 5.5.4" },
	{ "MAIL FROM:<\xc3\xa4@far.test>", "553 5.6.7" },
	{ "MAIL FROM:<\xc3\xa4@far.test> SMTPUTF8", "250 2.1.0" },
};

static void arguments_are_looked_at(void **state)
{
	(void)state;
	h.limits.errors = 1000;
	for (size_t i = 0; i < COUNT(arguments); i++) {
		client_hello();
		talk(arguments[i].line, arguments[i].want);
	}
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RCPT", "501 5.5.4");
	talk("RCPT TO:<>", "501 5.1.3");
	talk("RCPT TO:<alice>", "501 5.1.3");
	talk("RCPT TO:<alice@here.test", "501 5.1.3");
	talk("RCPT TO:<\xc3\xa4@here.test>", "553 5.6.7");
	talk("RCPT TO:<alice@here.test> NOTIFY=SOMETIMES", "501 5.5.4");
	talk("RCPT TO:<alice@here.test> SIZE=1", "555 5.5.4");
	talk("RCPT TO:<nobody@here.test>", "550 5.1.1");
	talk("RCPT TO:<circle@here.test>", "550 5.1.1");
	talk("RCPT TO:<a@far.test>", "550 5.7.1");
	talk("DATA", "503 5.5.1");
	talk("RCPT TO:<postmaster>", "250 2.1.5");
	talk("rcpt to: <alice@here.test> notify=never", "250 2.1.5");
}

static void ehlo_tells_what_is_offered(void **state)
{
	(void)state;
	client_from(&h.mx, "192.0.2.1");
	talk(NULL, "220 mail.here.test ESMTP");
	talk("EHLO x", "250-mail.here.test\r\n250-PIPELINING\r\n250-SIZE 1048576\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n"
	               "250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250 LIMITS MAILMAX=100 RCPTMAX=1000");
	talk("HELO x", "250 mail.here.test");
	/* No AUTH, no STARTTLS without a certificate. */
	assert_null(strstr(h.reply, "AUTH"));
	client_login(NULL);
	assert_non_null(strstr(h.reply, "250 AUTH PLAIN LOGIN"));
}

static void lines_have_their_length(void **state)
{
	static const struct { const char *begin; size_t n; const char *want; } cases[] = {
		{ "NOOP ", 512, "250" }, { "NOOP ", 513, "500 5.5.2" },
		{ "MAIL FROM:<a@far.test> ENVID=", 600, "501 5.5.4" },     /* read, and too long an ENVID */
		{ "MAIL FROM:<a@far.test> ENVID=", 1206, "501 5.5.4" },
		{ "MAIL FROM:<a@far.test> ENVID=", 1207, "500 5.5.2" },
		{ "FROB ", 512, "500 5.5.1" }, { "FROB ", 513, "500 5.5.2" },
		{ "NOOP ", 12288, "500 5.5.2" }, { "NOOP ", 12289, "500 5.5.2" }, { "NOOP ", 60000, "500 5.5.2" },
	};
	static char line[70000];

	(void)state;
	h.limits.errors = 1000;
	client_hello();
	for (size_t i = 0; i < COUNT(cases); i++) {
		memset(line, 'a', cases[i].n);
		memcpy(line, cases[i].begin, strlen(cases[i].begin));
		memcpy(line + cases[i].n - 2, "\r\n", 2);
		client_say_bytes(line, cases[i].n);
		if (strncmp(hear(), cases[i].want, strlen(cases[i].want)) != 0)
			fail_msg("%s %zu: %s", cases[i].begin, cases[i].n, h.reply);
		talk("RSET", "250");
	}
}

static void octets_that_no_line_holds(void **state)
{
	(void)state;
	client_hello();
	client_say_bytes("NO\0OP\r\n", 7);
	talk(NULL, "500 5.5.2");
	client_say("NOOP\n");
	talk(NULL, "500 5.5.2");
	client_say("NO\rOP\r\n");
	talk(NULL, "500 5.5.2");
	talk("NOOP", "250 2.0.0");
}

static void errors_have_an_end(void **state)
{
	(void)state;
	client_hello();
	for (int i = 0; i < 10; i++)
		talk("FROB", "500 5.5.1");
	talk("FROB", "421 4.7.0");
	hear_eof();
}

static void idling_has_an_end(void **state)
{
	(void)state;
	client_hello();
	for (int i = 0; i < 49; i++)
		talk("NOOP", "250");
	talk("NOOP", "421 4.7.0");
	hear_eof();
}

/* Recipients lead to a message: they are no idling. */
static void recipients_are_no_idling(void **state)
{
	(void)state;
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	for (int i = 0; i < 60; i++)
		talk("RCPT TO:<alice@here.test>", "250");
	for (int i = 0; i < 60; i++)
		talk("RCPT TO:<nobody@here.test>", "550 5.1.1");
}

static void recipients_have_an_end(void **state)
{
	(void)state;
	h.limits.recipients = 100;
	h.limits.recipients_before_good = 5;
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	for (int i = 0; i < 5; i++)
		talk("RCPT TO:<nobody@here.test>", "550 5.1.1");
	talk("RCPT TO:<nobody@here.test>", "452 4.5.3");
	/* A new transaction makes no new chance. */
	talk("RSET", "250");
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RCPT TO:<alice@here.test>", "452 4.5.3");
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	for (int i = 0; i < 100; i++)
		talk("RCPT TO:<alice@here.test>", "250");
	for (int i = 0; i < 150; i++)
		talk("RCPT TO:<alice@here.test>", "452 4.5.3");
	talk("RCPT TO:<alice@here.test>", "421 4.7.0");
	hear_eof();
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	for (int i = 0; i < 100; i++)
		talk("RCPT TO:<alice@here.test>", "250");
	for (int i = 0; i < 20; i++)
		talk("RCPT TO:<alice@here.test>", "452 4.5.3");
	talk("DATA", "354");
}

static void messages_have_an_end(void **state)
{
	(void)state;
	h.limits.messages_inbound = 2;
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RSET", "250");
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RSET", "250");
	talk("MAIL FROM:<a@far.test>", "421 4.7.0");
	hear_eof();
}

static void silence_has_an_end(void **state)
{
	(void)state;
	h.limits.command_timeout_ms = 30;
	h.limits.data_timeout_ms = 30;
	client_hello();
	talk(NULL, "421 4.4.2");
	hear_eof();
	client_hello();
	client_say("NOO");                     /* half a line is silence, too */
	talk(NULL, "421 4.4.2");
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RCPT TO:<alice@here.test>", "250");
	talk("DATA", "354");
	client_say("Subject: x\r\n");
	talk(NULL, "421 4.4.2");
	hear_eof();
}

static void who_speaks_first_is_let_go(void **state)
{
	(void)state;
	module.say[ON_CONNECT] = SAY_WAIT;
	client_from(&h.mx, "192.0.2.1");
	UNTIL(module.waiting != NULL);
	client_say("EHLO x\r\nMAIL FROM:<a@far.test>\r\n");
	talk(NULL, "554 5.5.1");
	hear_eof();
}

static void a_group_is_answered_in_order(void **state)
{
	(void)state;
	client_hello();
	client_say("MAIL FROM:<a@far.test>\r\nRCPT TO:<alice@here.test>\r\nRCPT TO:<nobody@here.test>\r\n"
	           "RCPT TO:<bob@here.test>\r\nDATA\r\n");
	talk(NULL, "250 2.1.0");
	talk(NULL, "250 2.1.5");
	talk(NULL, "550 5.1.1");
	talk(NULL, "250 2.1.5");
	talk(NULL, "354");
	/* The same with a module that lets each wait. */
	client_hello();
	module.say[ON_RCPT] = SAY_WAIT;
	client_say("MAIL FROM:<a@far.test>\r\nRCPT TO:<alice@here.test>\r\nRCPT TO:<bob@here.test>\r\nRSET\r\n");
	talk(NULL, "250 2.1.0");
	for (int i = 0; i < 2; i++) {
		struct mod *m;

		UNTIL(module.waiting != NULL);
		m = module.waiting;
		module.waiting = NULL;
		mod_go(m, SAY_NEXT);
		talk(NULL, "250 2.1.5");
	}
	talk(NULL, "250 2.0.0");
}

/* Modules object at each stage; theirs or the usual words are heard. */
static void modules_object(void **state)
{
	static const struct { enum hook hook; enum say say; const char *plain, *own; } cases[] = {
		{ ON_CONNECT, SAY_REJECT, "554 5.7.1", "550 5.7.99 the module says so" },
		{ ON_CONNECT, SAY_DEFER, "421 4.7.1", "450 4.7.99 the module says so" },
		{ ON_HELO, SAY_REJECT, "550 5.7.1", "550 5.7.99" }, { ON_HELO, SAY_DEFER, "451 4.7.1", "450 4.7.99" },
		{ ON_MAIL, SAY_REJECT, "550 5.7.1", "550 5.7.99" }, { ON_MAIL, SAY_DEFER, "451 4.7.1", "450 4.7.99" },
		{ ON_RCPT, SAY_REJECT, "550 5.7.1", "550 5.7.99" }, { ON_RCPT, SAY_DEFER, "451 4.7.1", "450 4.7.99" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int own = 0; own < 2; own++) {
			enum hook hook = cases[i].hook;
			const char *want = own ? cases[i].own : cases[i].plain;

			memset(module.say, 0, sizeof(module.say));
			module.say[hook] = cases[i].say;
			module.replies = own;
			client_from(&h.mx, "192.0.2.1");
			talk(NULL, hook == ON_CONNECT ? want : "220");
			if (hook == ON_CONNECT) {
				hear_eof();
				continue;
			}
			talk("EHLO x", hook == ON_HELO ? want : "250");
			if (hook == ON_HELO) {
				talk("MAIL FROM:<a@far.test>", "503 5.5.1");
				continue;
			}
			talk("MAIL FROM:<a@far.test>", hook == ON_MAIL ? want : "250");
			if (hook == ON_MAIL) {
				talk("RCPT TO:<alice@here.test>", "503 5.5.1");
				continue;
			}
			talk("RCPT TO:<alice@here.test>", want);
			talk("DATA", "503 5.5.1");
		}
}

static void room_is_asked_for_at_mail(void **state)
{
	(void)state;
	client_hello();
	q.room = ERR_FULL;
	talk("MAIL FROM:<a@far.test>", "452 4.3.1");
	q.room = OK;
	limits_take_memory_anyway(h.limits.memory);
	talk("MAIL FROM:<a@far.test>", "452 4.3.1");
	limits_give_memory(h.limits.memory);
	talk("MAIL FROM:<a@far.test> SIZE=1000000", "250");
	assert_int_equal(limits_memory(), 256 << 10);
	talk("RCPT TO:<alice@here.test>", "250");
	q.room = ERR_FULL;
	talk("DATA", "452 4.3.1");
	q.room = OK;
	talk("DATA", "354");
	client_say("Subject: x\r\n\r\n.\r\n");
	talk(NULL, "250 2.0.0");
	talk("RSET", "250");
	assert_int_equal(limits_memory(), 0);
}

/* An idle connection holds under 4 KiB of ours. */
static void a_session_is_small(void **state)
{
	(void)state;
	client_hello();
	assert_true(sizeof(struct session) + the_session()->arena.used < 3000);
	assert_null(the_session()->txn);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOUSE_TEST(what_may_be_said_when), HOUSE_TEST(arguments_are_looked_at),
		HOUSE_TEST(ehlo_tells_what_is_offered), HOUSE_TEST(lines_have_their_length),
		HOUSE_TEST(octets_that_no_line_holds), HOUSE_TEST(errors_have_an_end), HOUSE_TEST(idling_has_an_end),
		HOUSE_TEST(recipients_are_no_idling), HOUSE_TEST(recipients_have_an_end),
		HOUSE_TEST(messages_have_an_end), HOUSE_TEST(silence_has_an_end), HOUSE_TEST(who_speaks_first_is_let_go),
		HOUSE_TEST(a_group_is_answered_in_order), HOUSE_TEST(modules_object),
		HOUSE_TEST(room_is_asked_for_at_mail), HOUSE_TEST(a_session_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
