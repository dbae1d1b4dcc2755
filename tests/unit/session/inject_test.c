/* SPDX-License-Identifier: ISC */
/*
 * Letters: our own mail comes in without a session, and goes home either way.
 */
#include "tests/unit/session_house.h"

static struct letter letter;
static size_t        homes;
static struct mbox  *office;         /* the writer's */

static void write_letter(const char *sender, const char *rcpt, const char *text)
{
	letter = (struct letter){ .baton = { .home = office, .arrived = inject_letter },
		                  .sender = str_of(sender), .rcpt = str_of(rcpt), .text = str_of(text) };
	loop_send(h.loop, &letter.baton);
}

static bool letter_is_home(void)
{
	struct baton *b = mbox_take_all(office);

	homes += b != NULL;
	return b != NULL;
}

static const char bounce[] = "From: MAILER-DAEMON@here.test\r\nSubject: x\r\n\r\nsorry\r\n";

static void a_bounce_is_stored(void **state)
{
	static uint32_t settles[] = { 1, 3 };

	(void)state;
	office = mbox_new(NULL, NULL);
	module.adds = "DKIM-Signature: x\r\n";
	write_letter("", "alice@here.test", bounce);
	letter.settles_id = 77;
	letter.settles = settles;
	letter.nsettles = 2;
	UNTIL(letter_is_home());
	assert_int_equal(letter.result, OK);
	assert_int_equal(letter.id, 1);
	assert_string_equal(last_stored()->from, "");
	assert_string_equal(last_stored()->content, bounce);
	assert_int_equal(last_stored()->flags, MESSAGE_OWN);
	assert_int_equal(last_stored()->settles_id, 77);
	assert_int_equal(last_stored()->nrcpts, 1);
	assert_int_equal(last_stored()->rcpts[0].flags, RCPT_LOCAL | RCPT_NOTIFY_NEVER);
	assert_true(strncmp(last_stored()->head, "DKIM-Signature: x\r\nReceived: ", 29) == 0);
	assert_null(strstr(last_stored()->head, "Authentication-Results"));
	mbox_free(office);
}

static void letters_wait_like_others(void **state)
{
	struct mod *m;

	(void)state;
	office = mbox_new(NULL, NULL);
	q.spool_blocks_after = 3;
	module.say[ON_QUEUE] = SAY_WAIT;
	write_letter("postmaster@here.test", "far@elsewhere.test", bounce);
	UNTIL(module.waiting != NULL);
	m = module.waiting;
	module.waiting = NULL;
	mod_go(m, SAY_NEXT);
	UNTIL(letter_is_home());
	assert_int_equal(letter.result, OK);
	assert_string_equal(last_stored()->from, "postmaster@here.test");
	assert_string_equal(last_stored()->content, bounce);
	mbox_free(office);
}

static void failures_go_home(void **state)
{
	(void)state;
	office = mbox_new(NULL, NULL);
	q.put_result = ERR_FULL;
	write_letter("", "alice@here.test", bounce);
	UNTIL(letter_is_home());
	assert_int_equal(letter.result, ERR_FULL);
	q.put_result = OK;
	/* It may be sent another time: not "bad", which gives it up. */
	q.no_memory = true;
	write_letter("", "alice@here.test", bounce);
	UNTIL(letter_is_home());
	assert_int_equal(letter.result, ERR_MEMORY);
	q.no_memory = false;
	write_letter("", "not an address", bounce);
	UNTIL(letter_is_home());
	assert_int_equal(letter.result, ERR_BAD);
	/* Nobody of that name: left to the delivery. */
	write_letter("", "nobody@here.test", bounce);
	UNTIL(letter_is_home());
	assert_int_equal(letter.result, OK);
	assert_int_equal(h.front->letters, 0);
	mbox_free(office);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOUSE_TEST(a_bounce_is_stored), HOUSE_TEST(letters_wait_like_others), HOUSE_TEST(failures_go_home),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
