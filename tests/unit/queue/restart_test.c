/* SPDX-License-Identifier: ISC */
/* What the timetable finds when it starts, and what it finds changed. */
#include "tests/unit/queue/yard.h"

#include <signal.h>

static void start(struct yard *y, struct peer *p, const struct script *script)
{
	yard_new(y);
	peer_start(p, script, false);
	y->relay.port = p->port;
	yard_domain(y, "us.test", NULL);
	directory_add_account(y->directory, STR("bob@us.test"));
	snprintf(y->zone, sizeof(y->zone), "far.test  MX 10 mx.test\nnear.test MX 10 mx.test\nmx.test   A 127.0.0.1\n");
}

static void finish(struct yard *y, struct peer *p)
{
	yard_close(y, 5000);
	yard_burn(y);
	peer_stop(p);
}

/* One message, two destinations, both to be tried later: neither part needs the
 * entry, the second is still made from it. */
static void put_off_at_several_places(void **state)
{
	static const struct yard_rcpt rcpts[] = {
		{ "bob@us.test", RCPT_LOCAL }, { "x@far.test", 0 }, { "y@near.test", 0 },
	};
	struct yard y;
	struct peer p;
	uint64_t id;

	(void)state;
	start(&y, &p, NULL);
	house_open(&y.h);
	house_start(&y.h);
	id = yard_put(&y, "a@far.test", rcpts, COUNT(rcpts), 0);
	for (uint32_t i = 0; i < COUNT(rcpts); i++)
		settle_one(&y.h, id, (struct queue_fate){ .rcpt = i, .fate = FATE_DEFERRED, .next = clock_wall() + 3600,
		                                          .tries = 1, .said = STR("450 later") }, NULL);
	house_close(&y.h);
	yard_open(&y, false);
	until(figures(&y).waiting == COUNT(rcpts));
	yard_wish(&y, WISH_RETRY, id, NULL);
	until(left(&y) == 0);
	assert_int_equal(p.messages, 2);
	assert_int_equal(yard_files(&y, "us.test/bob", "new"), 1);
	finish(&y, &p);
}

static int set_up(void **state)
{
	(void)state;
	crypt_setup();
	log_level_set(LOG_ERROR + 1);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(put_off_at_several_places),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
