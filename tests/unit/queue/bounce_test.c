/* SPDX-License-Identifier: ISC */
/* Notices: who hears, what is written, what the letter settles. */
#include "tests/unit/queue/house.h"

#include "queue/deliver/bounce.h"
#include "smtpd/base/crypt.h"

static const struct relay_conf relay;

static void who_hears(void **state)
{
	enum { NEVER = RCPT_NOTIFY_NEVER, SUCCESS = RCPT_NOTIFY_SUCCESS, FAILURE = RCPT_NOTIFY_FAILURE, DELAY = RCPT_NOTIFY_DELAY };
	static const struct { const char *sender; unsigned notify; bool failed, delayed, delivered; } cases[] = {
		{ "a@us.test", 0, true, true, false },
		{ "a@us.test", NEVER, false, false, false },
		{ "a@us.test", SUCCESS, false, false, true },
		{ "a@us.test", FAILURE, true, false, false },
		{ "a@us.test", DELAY, false, true, false },
		{ "a@us.test", SUCCESS | FAILURE | DELAY, true, true, true },
		{ "", 0, false, false, false },
		{ "", SUCCESS | FAILURE | DELAY, false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct queue_entry e = { .sender = str_of(cases[i].sender) };
		const struct queue_rcpt r = { .flags = cases[i].notify | RCPT_LOCAL };

		assert_int_equal(bounce_wanted(&relay, &e, &r, DSN_FAILED), cases[i].failed);
		assert_int_equal(bounce_wanted(&relay, &e, &r, DSN_DELAYED), cases[i].delayed);
		assert_int_equal(bounce_wanted(&relay, &e, &r, DSN_DELIVERED), cases[i].delivered);
		assert_int_equal(bounce_wanted(&relay, &e, &r, DSN_RELAYED), cases[i].delivered);
	}
}

static void a_forged_sender_hears_nothing(void **state)
{
	static const struct relay_conf eager = { .notify_forged = true };
	static const enum dsn_action actions[] = { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_EXPANDED };
	const struct queue_entry forged = { .sender = STR("a@us.test"), .flags = MESSAGE_FORGED };
	const struct queue_entry own = { .flags = MESSAGE_FORGED | MESSAGE_OWN };
	const struct queue_rcpt r = { .flags = RCPT_NOTIFY_SUCCESS | RCPT_NOTIFY_FAILURE | RCPT_NOTIFY_DELAY };

	(void)state;
	for (size_t i = 0; i < COUNT(actions); i++) {
		assert_false(bounce_wanted(&relay, &forged, &r, actions[i]));
		assert_true(bounce_wanted(&eager, &forged, &r, actions[i]));
	}
	assert_true(bounce_wanted(&relay, &own, &r, DSN_FAILED));          /* the postmaster's */
}

static struct deliver_setup setup = { .relay = &relay, .hostname = STR("mail.us.test") };

static struct letter *letter_of(struct queue *q, const struct queue_entry *e, bool settles)
{
	static const struct queue_rcpt rcpts[] = {
		{ .address = STR("bob@far.test"), .orcpt = STR("rfc822;b.ob@far.test") }, { .address = STR("carl@far.test") },
	};
	struct bounce *b = bounce_new(2);
	struct letter *l;

	b->queue = q;
	b->setup = &setup;
	b->entry = e;
	b->settles = settles;
	bounce_add(b, 4, &rcpts[0], DSN_FAILED, STR("5.1.1"), STR("550 5.1.1 no such user"), STR("mx.far.test[192.0.2.1]"), 0);
	bounce_add(b, 9, &rcpts[1], DSN_FAILED, STR("5.7.26"), STR("550 5.7.26 unauthenticated"), STR("mx.far.test[192.0.2.1]"), 0);
	bounce_work(&b->job);
	assert_int_equal(b->result, OK);
	l = b->letter;
	bounce_free(b);
	return l;
}

static void assert_says(const struct letter *l, const char *what)
{
	if (memmem(l->text.p, l->text.n, what, strlen(what)) == NULL)
		fail_msg("lacks \"%s\":\n%.*s", what, STR_ARG(l->text));
}

static void assert_silent(const struct letter *l, const char *what)
{
	assert_null(memmem(l->text.p, l->text.n, what, strlen(what)));
}

static const struct queue_entry original = {
	.id = 4242, .arrived = 1700000000, .sender = STR("anna@us.test"), .envid = STR("QQ314"),
	.head = STR("Received: by us\r\n"), .header_bytes = 29, .bytes = 39,
	.content = STR("Subject: Dinner =?x?=\r\nX: y\r\n\r\nsecret\r\n"),
};

static void letter_tells_all(void **state)
{
	struct letter *l = letter_of(NULL, &original, true);

	(void)state;
	assert_int_equal(l->sender.n, 0);
	assert_true(str_is(l->rcpt, "anna@us.test"));
	assert_int_equal(l->settles_id, 4242);
	assert_int_equal(l->nsettles, 2);
	assert_int_equal(l->settles[0], 4);
	assert_int_equal(l->settles[1], 9);
	assert_false(l->utf8);
	assert_says(l, "To: <anna@us.test>\r\n");
	assert_says(l, "multipart/report");
	assert_says(l, "Reporting-MTA: dns; mail.us.test\r\n");
	assert_says(l, "Original-Envelope-Id: QQ314\r\n");
	assert_says(l, "Final-Recipient: rfc822; bob@far.test\r\n");
	assert_says(l, "Original-Recipient: rfc822;b.ob@far.test\r\n");
	assert_says(l, "Status: 5.1.1\r\n");
	assert_says(l, "Status: 5.7.26\r\n");
	assert_says(l, "550 5.1.1 no such user");
	assert_says(l, "Check the address for typing errors");
	assert_says(l, "Received: by us\r\nSubject: Dinner");
	assert_silent(l, "secret");
	letter_free(l);
}

static void whole_message_when_asked_for(void **state)
{
	struct queue_entry e = original;
	struct letter *l;

	(void)state;
	e.flags = MESSAGE_RET_FULL;
	l = letter_of(NULL, &e, true);
	assert_says(l, "Received: by us\r\nSubject: Dinner");
	assert_says(l, "\r\n\r\nsecret\r\n\r\n--");
	letter_free(l);
	e.flags = MESSAGE_RET_HDRS;
	l = letter_of(NULL, &e, true);
	assert_silent(l, "secret");
	assert_int_equal(l->flags, 0);
	letter_free(l);
	/* RFC 8689 5: as safe on its way back, and no more in it than needed. */
	e.flags = MESSAGE_RET_FULL | MESSAGE_REQUIRETLS | MESSAGE_8BIT;
	l = letter_of(NULL, &e, true);
	assert_silent(l, "secret");
	assert_int_equal(l->flags, MESSAGE_REQUIRETLS);
	letter_free(l);
}

/* One thread: TSan sees all there is in the first hundred. */
#ifdef __SANITIZE_THREAD__
enum { RCPTS = 100 };
#else
enum { RCPTS = 5000 };
#endif

/* Thousands of recipients (it is an option), each with a long answer, and the whole message: what
 * could not be written would be tried for ever. */
static void many_recipients_fit(void **state)
{
	static char answer[1000];
	static const struct queue_rcpt rcpt = { .address = STR("somebody.with.a.long.name@far.test"),
	                                        .orcpt = STR("rfc822;somebody.with.a.long.name@far.test") };
	char *content = calloc(1, BOUNCE_WHOLE_MOST);
	struct queue_entry e = original;
	struct bounce *b = bounce_new(RCPTS);

	(void)state;
	memset(content, 'x', BOUNCE_WHOLE_MOST);
	for (size_t i = 0; i < sizeof(answer); i++)
		answer[i] = i % 10 == 9 ? ' ' : 'a';
	e.flags = MESSAGE_RET_FULL;
	e.content = (str){ content, BOUNCE_WHOLE_MOST };
	e.bytes = BOUNCE_WHOLE_MOST;
	b->setup = &setup;
	b->entry = &e;
	b->settles = true;
	for (uint32_t i = 0; i < RCPTS; i++)
		bounce_add(b, i, &rcpt, DSN_FAILED, STR("5.1.1"), (str){ answer, sizeof(answer) },
		           STR("mx.far.test[192.0.2.1]"), 0);
	bounce_work(&b->job);
	assert_int_equal(b->result, OK);
	assert_int_equal(b->letter->nsettles, RCPTS);
	letter_free(b->letter);
	bounce_free(b);
	free(content);
}

static void notice_settles_nothing(void **state)
{
	struct letter *l = letter_of(NULL, &original, false);

	(void)state;
	assert_int_equal(l->settles_id, 0);
	assert_int_equal(l->nsettles, 0);
	letter_free(l);
}

/* Content on the disk; and one that is not there: the sender hears all the same. */
static void content_from_the_store(void **state)
{
	struct house h = { 0 };
	struct queue_entry e = original;
	struct letter *l;

	(void)state;
	house_open(&h);
	house_start(&h);
	e.id = put_one(&h, 3, 2000, 1, NULL);
	e.bytes = 2000;
	e.content = STR_NONE;
	l = letter_of(h.q, &e, true);
	assert_says(l, "Received: by us\r\n");
	letter_free(l);
	e.id = 99;
	l = letter_of(h.q, &e, true);
	assert_says(l, "550 5.1.1 no such user");
	assert_int_equal(l->settles_id, 99);
	letter_free(l);
	house_close(&h);
	house_burn(&h);
}

static void utf8_sender(void **state)
{
	struct queue_entry e = original;
	struct letter *l;

	(void)state;
	e.sender = STR("\xc3\xa5sa@us.test");
	l = letter_of(NULL, &e, true);
	assert_true(l->utf8);
	assert_says(l, "\xc3\xa5sa@us.test");
	letter_free(l);
}

static struct arena house;

static int directory_made(void **state)
{
	const struct directory_domain d = { .name = STR("us.test") };
	struct directory *made;

	(void)state;
	arena_init(&house, 1 << 20);
	made = directory_new(&house, '+');
	assert_int_equal(directory_add_domain(made, &d), OK);
	setup.directory = made;
	return 0;
}

static int directory_gone(void **state)
{
	(void)state;
	arena_fini(&house);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_hears),
		cmocka_unit_test(a_forged_sender_hears_nothing),
		cmocka_unit_test(letter_tells_all),
		cmocka_unit_test(whole_message_when_asked_for),
		cmocka_unit_test(many_recipients_fit),
		cmocka_unit_test(notice_settles_nothing),
		cmocka_unit_test(content_from_the_store),
		cmocka_unit_test(utf8_sender),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, directory_made, directory_gone);
}
