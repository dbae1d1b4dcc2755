/* SPDX-License-Identifier: ISC */
/*
 * The message itself: DATA and BDAT, whole and split at every byte; faults,
 * limits, back-pressure; what is stored of it.
 */
#include "tests/unit/session_house.h"

#define W(s) { s, sizeof(s) - 1 }

static void client_at_data(void)
{
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RCPT TO:<alice@here.test>", "250");
	talk("DATA", "354");
}

static void client_at_rcpt(void)
{
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RCPT TO:<alice@here.test>", "250");
}

/* What may come between 354 and the answer, what is heard and what is kept. */
static const struct { const char *name; str wire; const char *want; const char *kept; } messages[] = {
	{ "plain", W("Subject: x\r\n\r\nhello\r\n.\r\n"), "250 2.0.0 Queued as", "Subject: x\r\n\r\nhello\r\n" },
	{ "dots", W("S: x\r\n\r\n..\r\n...x\r\n. \r\n.\r\n"), "250", "S: x\r\n\r\n.\r\n..x\r\n \r\n" },
	{ "no body", W("Subject: x\r\n.\r\n"), "250", "Subject: x\r\n\r\n" },
	{ "no header", W("\r\nhello\r\n.\r\n"), "250", "\r\nhello\r\n" },
	{ "nothing", W(".\r\n"), "250", "\r\n" },
	{ "no empty line", W("Subject: x\r\nhello there\r\n.\r\n"), "250", "Subject: x\r\n\r\nhello there\r\n" },
	{ "a forged result", W("Authentication-Results: mail.here.test; spf=pass\r\nSubject: x\r\n\r\nb\r\n.\r\n"), "250",
	  "Subject: x\r\n\r\nb\r\n" },
	{ "another's result", W("Authentication-Results: far.test; spf=pass\r\n\r\nb\r\n.\r\n"), "250",
	  "Authentication-Results: far.test; spf=pass\r\n\r\nb\r\n" },
	{ "a bare LF", W("Subject: x\r\n\r\na\nb\r\n.\r\n"), "554 5.6.0", NULL },
	{ "a bare LF in the header", W("Subject: x\nTo: y\r\n\r\nb\r\n.\r\n"), "554 5.6.0", NULL },
	{ "a bare CR", W("Subject: x\r\n\r\na\rb\r\n.\r\n"), "554 5.6.0", NULL },
	{ "a NUL", W("Subject: x\r\n\r\na\0b\r\n.\r\n"), "554 5.6.0", NULL },
	{ "LF dot LF ends nothing", W("S: x\r\n\r\na\n.\nMAIL FROM:<b@far.test>\r\n.\r\n"), "554 5.6.0", NULL },
	{ "LF dot CRLF ends nothing", W("S: x\r\n\r\na\n.\r\nRSET\r\n.\r\n"), "554 5.6.0", NULL },
	{ "CR dot CR ends nothing", W("S: x\r\n\r\na\r.\rRSET\r\n.\r\n"), "554 5.6.0", NULL },
	{ "CRLF dot LF ends nothing", W("S: x\r\n\r\na\r\n.\nRSET\r\n.\r\n"), "554 5.6.0", NULL },
	{ "CRLF NUL dot", W("S: x\r\n\r\na\r\n\0.\r\nRSET\r\n.\r\n"), "554 5.6.0", NULL },
};

static void check_message(size_t i)
{
	const char *want = messages[i].want;

	if (strncmp(hear(), want, strlen(want)) != 0)
		fail_msg("%s: %s", messages[i].name, h.reply);
	if (messages[i].kept == NULL) {
		assert_int_equal(q.nstored, 0);
	} else {
		const struct stored *s = last_stored();

		if (strcmp(s->content, messages[i].kept) != 0)
			fail_msg("%s: kept %s", messages[i].name, s->content);
		assert_int_equal(s->n, strlen(messages[i].kept));
		assert_int_equal(s->header_bytes, (size_t)(strstr(s->content, "\r\n\r\n") ? strstr(s->content, "\r\n\r\n") + 4 - s->content : 2));
		free(s->content);
		q.nstored = 0;
	}
	talk("NOOP", "250");
}

static void messages_come_in(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(messages); i++) {
		client_at_data();
		client_say_bytes(messages[i].wire.p, messages[i].wire.n);
		check_message(i);
	}
}

static void split_messages_are_the_same(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(messages); i++)
		for (size_t cut = 1; cut < messages[i].wire.n; cut++) {
			client_at_data();
			client_say_bytes(messages[i].wire.p, cut);
			turn();
			turn();
			client_say_bytes(messages[i].wire.p + cut, messages[i].wire.n - cut);
			check_message(i);
		}
}

/* Text of the table, dots undone, as a chunk or two split anywhere. */
static const struct { const char *name; str wire; const char *want; const char *kept; } chunks[] = {
	{ "plain", W("Subject: x\r\n\r\nhello\r\n"), "250 2.0.0 Queued", "Subject: x\r\n\r\nhello\r\n" },
	{ "dots are text", W("S: x\r\n\r\n.\r\n..\r\n"), "250", "S: x\r\n\r\n.\r\n..\r\n" },
	{ "no last CRLF", W("S: x\r\n\r\nhello"), "250", "S: x\r\n\r\nhello" },
	{ "cut off in the header", W("Subject: x"), "250", "Subject: x\r\n\r\n" },
	{ "a last CR", W("S: x\r\n\r\nhello\r"), "554 5.6.0", NULL },
	{ "a bare LF", W("S: x\r\n\r\na\nb\r\n"), "554 5.6.0", NULL },
	{ "a NUL", W("S: x\r\n\r\na\0b\r\n"), "554 5.6.0", NULL },
};

static void check_chunks(size_t i, const char *said)
{
	if (strncmp(said, chunks[i].want, strlen(chunks[i].want)) != 0)
		fail_msg("%s: %s", chunks[i].name, said);
	if (chunks[i].kept != NULL) {
		assert_string_equal(last_stored()->content, chunks[i].kept);
		free(last_stored()->content);
	} else {
		assert_int_equal(q.nstored, 0);
	}
	q.nstored = 0;
	talk("NOOP", "250");
}

static void client_say_chunk(str text, bool last)
{
	char line[40];

	snprintf(line, sizeof(line), "BDAT %zu%s\r\n", text.n, last ? " LAST" : "");
	client_say(line);
	client_say_bytes(text.p, text.n);
}

static void chunks_come_in(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(chunks); i++)
		for (size_t cut = 0; cut <= chunks[i].wire.n; cut++) {
			client_at_rcpt();
			client_say_chunk(str_head(chunks[i].wire, cut), false);
			client_say_chunk(str_skip(chunks[i].wire, cut), true);
			if (hear()[0] == '2')
				check_chunks(i, hear());
			else        /* the fault was seen in the first */
				check_chunks(i, hear());
			/* And the last one empty. */
			client_at_rcpt();
			client_say_chunk(chunks[i].wire, false);
			hear();
			client_say("BDAT 0 LAST\r\n");
			check_chunks(i, hear());
		}
}

/* One octet a write: commands, chunk sizes, chunks, what follows. */
static void a_dribbled_session(void **state)
{
	static const char wire[] = "EHLO x\r\nMAIL FROM:<a@far.test>\r\nRCPT TO:<alice@here.test>\r\n"
		"BDAT 12\r\nSubject: x\r\nBDAT 9 LAST\r\n\r\nhello\r\nMAIL FROM:<b@far.test>\r\n"
		"RCPT TO:<bob@here.test>\r\nDATA\r\nSubject: y\r\n\r\n..\r\n.\r\nQUIT\r\n";
	static const char *const want[] = { "250-", "250 2.1.0", "250 2.1.5", "250 2.0.0 12 octets", "250 2.0.0 Queued",
		                            "250 2.1.0", "250 2.1.5", "354", "250 2.0.0 Queued", "221" };

	(void)state;
	/* All at once first, then octet by octet. */
	client_from(&h.mx, "192.0.2.1");
	talk(NULL, "220");
	client_say(wire);
	for (size_t i = 0; i < COUNT(want); i++)
		talk(NULL, want[i]);
	client_from(&h.mx, "192.0.2.1");
	talk(NULL, "220");
	for (size_t i = 0; i < sizeof(wire) - 1; i++) {
		client_say_bytes(wire + i, 1);
		turn();
	}
	for (size_t i = 0; i < COUNT(want); i++)
		talk(NULL, want[i]);
	hear_eof();
	assert_int_equal(q.nstored, 4);
	assert_string_equal(q.stored[2].content, "Subject: x\r\n\r\nhello\r\n");
	assert_string_equal(q.stored[3].content, "Subject: y\r\n\r\n.\r\n");
}

static void a_refused_bdat_brings_its_octets(void **state)
{
	(void)state;
	client_hello();
	client_say("BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
	talk(NULL, "503 5.5.1");
	talk(NULL, "250 2.0.0");
	/* Too large: the chunk and those behind it are read and refused. */
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RCPT TO:<alice@here.test>", "250");
	h.limits.message_size = 10;
	client_say("BDAT 11\r\nQUIT\r\nQUIT\rBDAT 6\r\nQUIT\r\nBDAT 0 LAST\r\nNOOP\r\n");
	talk(NULL, "552 5.3.4");
	talk(NULL, "552 5.3.4");
	talk(NULL, "552 5.3.4");
	talk(NULL, "250 2.0.0 Fine");
	/* No room at the first chunk. */
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RCPT TO:<alice@here.test>", "250");
	q.room = ERR_FULL;
	client_say("BDAT 6\r\nQUIT\r\nNOOP\r\n");
	talk(NULL, "452 4.3.1");
	talk(NULL, "250 2.0.0 Fine");
	q.room = OK;
	/* Before a login, at submission. */
	client_from(&h.submission, "192.0.2.1");
	talk(NULL, "220");
	client_say("BDAT 6\r\nQUIT\r\nNOOP\r\n");
	talk(NULL, "530 5.7.0");
	talk(NULL, "250 2.0.0 Fine");
	/* RSET in the middle. */
	h.limits.message_size = 1000;
	client_at_rcpt();
	client_say("BDAT 4\r\nS: xRSET\r\nBDAT 4 LAST\r\nQUITNOOP\r\n");
	talk(NULL, "250 2.0.0 4 octets");
	talk(NULL, "250 2.0.0 Forgotten");
	talk(NULL, "503 5.5.1");
	talk(NULL, "250 2.0.0 Fine");
}

static void bdat_has_a_grammar(void **state)
{
	static const char *const closes[] = { "BDAT x", "BDAT -1", "BDAT 5 FIRST", "BDAT 99999999999999999999999 LAST" };

	(void)state;
	client_at_rcpt();
	talk("BDAT", "501 5.5.4");
	talk("NOOP", "250");
	for (size_t i = 0; i < COUNT(closes); i++) {
		client_at_rcpt();
		talk(closes[i], "501 5.5.4");
		hear_eof();
	}
}

static void say_many(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		client_say(text);
}

static void limits_of_a_message(void **state)
{
	static char big[20000];

	(void)state;
	memset(big, 'x', sizeof(big));
	client_at_data();                                       /* 101 hops */
	say_many("Received: by x; now\r\n", 101);
	client_say("\r\nb\r\n.\r\n");
	talk(NULL, "554 5.4.6");
	talk("MAIL FROM:<a@far.test>", "250");                  /* 100 are fine */
	talk("RCPT TO:<alice@here.test>", "250");
	talk("DATA", "354");
	say_many("Received: by x; now\r\n", 100);
	client_say("\r\nb\r\n.\r\n");
	talk(NULL, "250 2.0.0");
	client_at_data();                                       /* too many fields */
	say_many("X: y\r\n", 201);
	client_say("\r\nb\r\n.\r\n");
	talk(NULL, "554 5.6.0");
	client_at_data();                                       /* one too large */
	client_say("X: ");
	client_say_bytes(big, sizeof(big));
	client_say("\r\n\r\nb\r\n.\r\n");
	talk(NULL, "554 5.6.0");
	client_at_data();                                       /* all together too large */
	for (int i = 0; i < 8; i++) {
		client_say("X: ");
		client_say_bytes(big, 10000);
		client_say("\r\n");
	}
	client_say("\r\nb\r\n.\r\n");
	talk(NULL, "554 5.6.0");
	client_at_data();                                       /* the message too large */
	client_say("X: y\r\n\r\n");
	for (int i = 0; i < 60; i++) {
		client_say_bytes(big, sizeof(big));
		client_say("\r\n");
	}
	client_say(".\r\n");
	talk(NULL, "552 5.3.4");
	talk("NOOP", "250");
	assert_int_equal(q.nstored, 1);
	assert_int_equal(q.spools, 0);
}

static void failures_of_the_queue(void **state)
{
	static const struct { enum err spool, put; const char *want; } cases[] = {
		{ ERR_FULL, OK, "452 4.3.1" }, { ERR_IO, OK, "452 4.3.1" }, { OK, ERR_FULL, "452 4.3.1" },
		{ OK, ERR_MEMORY, "452 4.3.1" }, { OK, ERR_IO, "451 4.3.0" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		client_at_data();
		q.spool_result = cases[i].spool;
		q.put_result = cases[i].put;
		client_say("Subject: x\r\n\r\nb\r\n.\r\n");
		talk(NULL, cases[i].want);
		q.spool_result = q.put_result = OK;
		talk("MAIL FROM:<a@far.test>", "250");
	}
	assert_int_equal(q.nstored, 0);
}

/* Whatever size of piece the disk is behind by, the message is the same. */
static void the_disk_may_be_slow(void **state)
{
	static const size_t every[] = { 1, 2, 3, 7, 50 };

	(void)state;
	for (size_t i = 0; i < COUNT(every); i++) {
		q.spool_blocks_after = every[i];
		client_at_data();
		client_say("Subject: x\r\nTo: y\r\n\r\n..hello\r\nthere\r\n.\r\nNOOP\r\n");
		talk(NULL, "250 2.0.0 Queued");
		talk(NULL, "250 2.0.0 Fine");
		assert_string_equal(last_stored()->content, "Subject: x\r\nTo: y\r\n\r\n.hello\r\nthere\r\n");
		client_at_rcpt();
		client_say("BDAT 12\r\nSubject: x\r\nBDAT 9 LAST\r\n\r\nhello\r\nNOOP\r\n");
		talk(NULL, "250 2.0.0 12 octets");
		talk(NULL, "250 2.0.0 Queued");
		talk(NULL, "250 2.0.0 Fine");
		assert_string_equal(last_stored()->content, "Subject: x\r\n\r\nhello\r\n");
	}
}

static void a_large_message_takes_little_memory(void **state)
{
	static char big[1000];

	(void)state;
	memset(big, 'x', sizeof(big));
	memcpy(big + sizeof(big) - 2, "\r\n", 2);
	client_at_data();
	client_say("Subject: x\r\n\r\n");
	for (int i = 0; i < 900; i++)
		client_say_bytes(big, sizeof(big));
	turn();
	assert_true(the_session()->txn->reserved <= 512 << 10);
	assert_true(the_session()->txn->arena.used < 64 << 10);
	client_say(".\r\n");
	talk(NULL, "250");
	assert_int_equal(last_stored()->n, 14 + 900 * 1000);
}

static void crawling_has_an_end(void **state)
{
	uint64_t until = clock_ms() + 60;

	(void)state;
	h.limits.crawl_ms = 50;
	h.limits.crawl_bytes = 1000000;
	client_at_data();
	client_say("S: x\r\n");
	turn();
	while (clock_ms() < until)
		turn();
	/* Fifty milliseconds are no second: not slow yet. */
	client_say("S: y\r\n");
	turn();
	h.limits.crawl_ms = 1000;
	until = clock_ms() + 1100;
	while (clock_ms() < until)
		turn();
	client_say("S: z\r\n");
	talk(NULL, "421 4.4.2");
	hear_eof();
	assert_int_equal(q.nstored, 0);
}

/* Octets that nobody wants hold the place no longer than those of a message. */
static void crawling_behind_a_refused_bdat(void **state)
{
	uint64_t until;

	(void)state;
	h.limits.crawl_ms = 1000;
	h.limits.crawl_bytes = 1000000;
	client_hello();
	talk("BDAT 1000000", "503");
	client_say("x");
	turn();
	until = clock_ms() + 1100;
	while (clock_ms() < until)
		turn();
	client_say("y");
	talk(NULL, "421 4.4.2");
	hear_eof();
}

static void what_the_queue_gets(void **state)
{
	const struct stored *s;

	(void)state;
	module.adds = "X-Signed: yes\r\n";
	client_hello();
	talk("MAIL FROM:<a@far.test> ENVID=e1 RET=HDRS BODY=8BITMIME", "250");
	talk("RCPT TO:<sales@here.test> NOTIFY=SUCCESS ORCPT=rfc822;sales@here.test", "250");
	talk("RCPT TO:<alice@here.test> NOTIFY=NEVER", "250");
	talk("RCPT TO:<any@office.test>", "250");
	talk("RCPT TO:<carol+x@copied.test>", "250");
	talk("DATA", "354");
	client_say("Subject: x\r\n\r\nhello\r\n.\r\n");
	talk(NULL, "250 2.0.0 Queued as q1");
	s = last_stored();
	assert_string_equal(s->from, "a@far.test");
	assert_string_equal(s->envid, "e1");
	assert_int_equal(s->flags, MESSAGE_RET_HDRS | MESSAGE_8BIT);
	assert_int_equal(s->nrcpts, 6);
	assert_string_equal(s->rcpts[0].text, "sales@here.test");
	assert_int_equal(s->rcpts[0].flags, RCPT_LOCAL | RCPT_NOTIFY_SUCCESS | RCPT_EXPANDED);
	assert_string_equal(s->rcpts[1].text, "alice@here.test");
	assert_int_equal(s->rcpts[1].flags, RCPT_LOCAL | RCPT_NOTIFY_NEVER);
	assert_string_equal(s->rcpts[1].orcpt, "rfc822;sales@here.test");
	assert_string_equal(s->rcpts[2].text, "far@elsewhere.test");
	assert_int_equal(s->rcpts[2].flags, RCPT_NOTIFY_NEVER | RCPT_OWN_SENDER | RCPT_OWN_HEAD);
	assert_string_equal(s->rcpts[3].text, "bob@office.test");
	assert_int_equal(s->rcpts[3].flags, RCPT_LOCAL);        /* a stranger's mail takes no route */
	assert_string_equal(s->rcpts[4].text, "carol+x@copied.test");
	assert_string_equal(s->rcpts[5].text, "archive@here.test");
	assert_int_equal(s->rcpts[5].flags, RCPT_LOCAL | RCPT_NOTIFY_NEVER | RCPT_COPY | RCPT_OWN_SENDER | RCPT_OWN_HEAD);
	assert_true(strncmp(s->head, "X-Signed: yes\r\nAuthentication-Results: mail.here.test", 52) == 0);
	assert_non_null(strstr(s->head, "test=pass"));
	assert_non_null(strstr(s->head, "\r\nReceived: from client.test"));
	assert_non_null(strstr(s->head, "192.0.2.1"));
	assert_int_equal(module.headers, 1);
	assert_int_equal(module.body_bytes, 7);
	assert_int_equal(module.dones, 1);
}

static void verdicts_at_the_end(void **state)
{
	static const struct { enum hook hook; enum say say; const char *want; } cases[] = {
		{ ON_MESSAGE, SAY_REJECT, "550 5.7.1" }, { ON_MESSAGE, SAY_DEFER, "451 4.7.1" },
		{ ON_QUEUE, SAY_DEFER, "451 4.7.1" }, { ON_MESSAGE, SAY_QUARANTINE, "250 2.0.0" },
		{ ON_MAIL, SAY_QUARANTINE, "250 2.0.0" }, { ON_RCPT, SAY_QUARANTINE, "250 2.0.0" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t before = q.nstored;

		memset(module.say, 0, sizeof(module.say));
		module.say[cases[i].hook] = cases[i].say;
		client_at_data();
		client_say("Subject: x\r\n\r\nb\r\n.\r\n");
		talk(NULL, cases[i].want);
		talk("NOOP", "250");
		assert_int_equal(q.nstored - before, cases[i].want[0] == '2');
		if (cases[i].want[0] == '2')
			assert_int_equal(last_stored()->rcpts[0].flags, RCPT_LOCAL | RCPT_QUARANTINE);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOUSE_TEST(messages_come_in), HOUSE_TEST(split_messages_are_the_same), HOUSE_TEST(chunks_come_in),
		HOUSE_TEST(a_dribbled_session), HOUSE_TEST(a_refused_bdat_brings_its_octets),
		HOUSE_TEST(bdat_has_a_grammar), HOUSE_TEST(limits_of_a_message), HOUSE_TEST(failures_of_the_queue),
		HOUSE_TEST(the_disk_may_be_slow), HOUSE_TEST(a_large_message_takes_little_memory),
		HOUSE_TEST(crawling_has_an_end), HOUSE_TEST(crawling_behind_a_refused_bdat),
		HOUSE_TEST(what_the_queue_gets), HOUSE_TEST(verdicts_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
