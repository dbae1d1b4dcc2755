/* SPDX-License-Identifier: ISC */
/* Mail that waits for its time: who may send it early, who may stop it, and from when its clocks count. */
#include "tests/unit/queue/yard.h"

#define AN_HOUR 3600

static void start(struct yard *y, struct peer *p, const struct script *script)
{
	yard_new(y);
	peer_start(p, script, false);
	y->relay.port = p->port;
	yard_domain(y, "us.test", NULL);
	directory_add_account(y->directory, STR("anna@us.test"));
	snprintf(y->zone, sizeof(y->zone), "far.test MX 10 mx.test\nmx.test A 127.0.0.1\n");
}

static void finish(struct yard *y, struct peer *p)
{
	yard_close(y, 5000);
	yard_burn(y);
	peer_stop(p);
}

static uint64_t put_later(struct yard *y, const char *rcpt, unsigned flags, int64_t at)
{
	struct path from = path_at("anna@us.test"), to = path_at(rcpt);
	struct spool *s = spool_new(y->h.q, y->h.home);
	struct putting w = { .id = queue_new_id(y->h.q) };

	spool_add(s, STR("Subject: later\r\n\r\nHello\r\n"));
	arena_init(&w.arena, ARENA_UNBOUNDED);
	w.put = queue_put_new(y->h.q, &w.arena, y->h.home, w.id);
	queue_put_from(w.put, &from, flags, STR_NONE, STR_NONE);
	queue_put_rcpt(w.put, &to, 0, STR_NONE);
	queue_put_not_before(w.put, at);
	queue_put_header_bytes(w.put, sizeof("Subject: later\r\n\r\n") - 1);
	queue_put_body(w.put, s);
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&y->h, &w), OK);
	return w.id;
}

static enum err retry_early(struct yard *y, uint64_t id, size_t *touched)
{
	struct wishing w = { .wish = { .what = WISH_RETRY, .early = true, .id = id, .baton.home = y->h.home, .baton.arrived = wish_is_home } };

	timetable_wish(y->t, &w.wish);
	run_home(&y->h, &w.done);
	*touched = w.wish.touched;
	return w.wish.result;
}

static void it_is_stopped_while_it_waits(void **state)
{
	struct yard y;
	struct peer p;
	uint64_t waits, held, due;
	size_t touched;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.7.1 greylisted" } });
	y.relay.retry_first_ms = y.relay.retry_most_ms = (uint64_t)AN_HOUR * 1000;
	yard_open(&y, false);
	waits = put_later(&y, "x@far.test", 0, clock_wall() + AN_HOUR);
	held = put_later(&y, "y@far.test", MESSAGE_HELD, clock_wall() + AN_HOUR);
	due = yard_put_one(&y, "z@far.test", 0);
	until(figures(&y).deferred == 1 && figures(&y).leased == 0);
	assert_int_equal(yard_wish(&y, WISH_CANCEL, due, &touched), ERR_BUSY);
	assert_int_equal(yard_wish(&y, WISH_CANCEL, 1, &touched), ERR_ABSENT);
	assert_int_equal(yard_wish(&y, WISH_CANCEL, 0, &touched), ERR_BUSY);
	assert_int_equal(yard_wish(&y, WISH_CANCEL, waits, &touched), OK);
	assert_int_equal(touched, 1);
	assert_int_equal(yard_wish(&y, WISH_CANCEL, held, &touched), OK);
	assert_int_equal(yard_wish(&y, WISH_CANCEL, waits, &touched), ERR_ABSENT);
	until(left(&y) == 1);
	finish(&y, &p);
}

/* Released while its time has not come, it waits on; a retry of all is not meant
 * for it.  Tried early it is neither late nor given up: that counts from its time. */
static void clocks_count_from_its_time(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_rcpt r;
	char said[1001];
	uint64_t id;
	size_t touched;
	int64_t at = clock_wall() + AN_HOUR;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.7.1 greylisted" } });
	y.relay.retry_first_ms = y.relay.retry_most_ms = (uint64_t)AN_HOUR * 1000;
	y.relay.give_up_ms = y.relay.delay_notice_ms = 1;
	yard_open(&y, false);
	id = put_later(&y, "x@far.test", MESSAGE_HELD, at);
	assert_int_equal(yard_wish(&y, WISH_RELEASE, id, &touched), OK);
	assert_int_equal(yard_rcpt_of(&y, id, 0, &r, said), OK);
	assert_int_equal(r.next, at);
	assert_int_equal(yard_wish(&y, WISH_RETRY, 0, &touched), OK);
	assert_int_equal(touched, 0);
	assert_int_equal(retry_early(&y, id, &touched), OK);
	assert_int_equal(touched, 1);
	until(figures(&y).deferred == 1 && figures(&y).leased == 0);
	assert_int_equal(yard_wish(&y, WISH_CANCEL, id, &touched), ERR_BUSY);
	assert_int_equal(figures(&y).bounced, 0);
	assert_int_equal(letters_taken(), 0);
	assert_int_equal(left(&y), 1);
	finish(&y, &p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_stopped_while_it_waits),
		cmocka_unit_test(clocks_count_from_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
