/* SPDX-License-Identifier: ISC */
/*
 * The client leaves while something of its is out: a module's answer, a login, a
 * piece on its way to the disk, a put.  Nothing is touched after it was freed,
 * nothing stays behind, and what was put is stored.
 */
#include "tests/unit/session_house.h"

static void client_at_rcpt(void)
{
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RCPT TO:<alice@here.test>", "250");
}

static void nobody_is_left(void)
{
	client_close();
	UNTIL(h.front->sessions == NULL);
	assert_int_equal(front_sessions(h.front), 0);
}

static void gone_while_a_module_thinks(void **state)
{
	static const enum hook hooks[] = { ON_CONNECT, ON_HELO, ON_MAIL, ON_RCPT, ON_MESSAGE, ON_QUEUE };

	(void)state;
	for (size_t i = 0; i < COUNT(hooks); i++) {
		memset(module.say, 0, sizeof(module.say));
		module.say[hooks[i]] = SAY_WAIT;
		client_from(&h.mx, "192.0.2.1");
		client_say(hooks[i] == ON_CONNECT ? "" : "EHLO x\r\nMAIL FROM:<a@far.test>\r\nRCPT TO:<alice@here.test>\r\n"
		                                         "BDAT 2 LAST\r\n\r\n");
		UNTIL(module.waiting != NULL);
		/* A paused connection does not see the end; the server's stop does. */
		session_close(the_session(), "test", false);
		nobody_is_left();
		assert_null(module.waiting);
	}
	assert_int_equal(q.nstored, 0);
}

/* The answer and the end come in the same turn. */
static void gone_just_before_the_answer(void **state)
{
	static const enum hook hooks[] = { ON_HELO, ON_MAIL, ON_RCPT, ON_MESSAGE, ON_QUEUE };

	(void)state;
	for (size_t i = 0; i < COUNT(hooks); i++) {
		struct mod *m;

		memset(module.say, 0, sizeof(module.say));
		module.say[hooks[i]] = SAY_WAIT;
		client_from(&h.mx, "192.0.2.1");
		client_say("EHLO x\r\nMAIL FROM:<a@far.test>\r\nRCPT TO:<alice@here.test>\r\nBDAT 2 LAST\r\n\r\n");
		UNTIL(module.waiting != NULL);
		m = module.waiting;
		module.waiting = NULL;
		mod_go(m, SAY_NEXT);
		session_close(the_session(), "test", false);
		nobody_is_left();
	}
}

static void gone_during_a_login(void **state)
{
	(void)state;
	client_login(NULL);
	fake_logins.hold = true;
	client_say("AUTH PLAIN AGFsaWNlQGhlcmUudGVzdABzZWNyZXQ=\r\n");
	UNTIL(fake_logins.held != NULL);
	session_close(the_session(), "test", false);
	nobody_is_left();
	assert_int_equal(fake_logins.tries, 0);
}

static void gone_in_the_middle_of_a_message(void **state)
{
	static const char *const so_far[] = { "Sub", "Subject: x\r\n", "Subject: x\r\n\r\n", "Subject: x\r\n\r\nhello" };

	(void)state;
	for (size_t i = 0; i < COUNT(so_far); i++) {
		client_at_rcpt();
		talk("DATA", "354");
		client_say(so_far[i]);
		turn();
		nobody_is_left();
		client_at_rcpt();
		client_say("BDAT 100 LAST\r\n");
		client_say(so_far[i]);
		turn();
		nobody_is_left();
	}
	assert_int_equal(q.nstored, 0);
	assert_int_equal(q.spools, 0);
	assert_int_equal(limits_memory(), 0);
}

static void gone_while_the_disk_writes(void **state)
{
	(void)state;
	q.spool_blocks_after = 5;
	client_at_rcpt();
	talk("DATA", "354");
	client_say("Subject: x\r\n\r\nhello");
	UNTIL(the_session()->waiting);
	session_close(the_session(), "test", false);
	nobody_is_left();
	assert_int_equal(q.nstored, 0);
}

static void what_was_put_is_stored(void **state)
{
	(void)state;
	q.hold_puts = true;
	client_at_rcpt();
	talk("DATA", "354");
	client_say("Subject: x\r\n\r\nhello\r\n.\r\n");
	UNTIL(q.held != NULL);
	session_close(the_session(), "test", false);
	client_close();
	UNTIL(the_session()->ghost);
	for (int i = 0; i < 10; i++)
		turn();
	assert_int_equal(front_sessions(h.front), 1);
	release_puts();
	UNTIL(h.front->sessions == NULL);
	assert_int_equal(q.nstored, 1);
	assert_string_equal(last_stored()->content, "Subject: x\r\n\r\nhello\r\n");
}

static void a_put_may_fail_behind_a_ghost(void **state)
{
	(void)state;
	q.hold_puts = true;
	q.put_result = ERR_FULL;
	client_at_rcpt();
	client_say("BDAT 2 LAST\r\n\r\n");
	UNTIL(q.held != NULL);
	session_close(the_session(), "test", false);
	client_close();
	UNTIL(the_session()->ghost);
	release_puts();
	UNTIL(h.front->sessions == NULL);
	assert_int_equal(q.nstored, 0);
}

/* The put comes home between the decision to close and the closing. */
static void home_just_before_the_end(void **state)
{
	(void)state;
	q.hold_puts = true;
	client_at_rcpt();
	client_say("BDAT 2 LAST\r\n\r\n");
	UNTIL(q.held != NULL);
	release_puts();
	session_close(the_session(), "test", false);
	nobody_is_left();
	assert_int_equal(q.nstored, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOUSE_TEST(gone_while_a_module_thinks), HOUSE_TEST(gone_just_before_the_answer),
		HOUSE_TEST(gone_during_a_login), HOUSE_TEST(gone_in_the_middle_of_a_message),
		HOUSE_TEST(gone_while_the_disk_writes), HOUSE_TEST(what_was_put_is_stored),
		HOUSE_TEST(a_put_may_fail_behind_a_ghost), HOUSE_TEST(home_just_before_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
