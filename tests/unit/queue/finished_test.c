/* SPDX-License-Identifier: ISC */
/* What is told of a message that has gone, for how long, and that it never
 * stands in the way of mail. */
#include "tests/unit/queue/house.h"

#define WEEK_MS ((uint64_t)7 * 24 * 3600 * 1000)

static struct queue_entry *finished(struct house *h, uint64_t id)
{
	struct queue_entry *e = NULL;
	int64_t at;

	assert_int_equal(queue_finished(h->q, id, &e, &at), OK);
	assert_int_equal(e->id, id);
	assert_true(at >= e->arrived && at <= clock_wall());
	assert_str(e->sender, STR("anna@example.org"));
	assert_str(e->login, STR("anna"));
	assert_int_equal(e->bytes, 100);
	return e;
}

static void one_recipient_at_once(void **state)
{
	static const struct { struct queue_fate fate; uint32_t tries; } cases[] = {
		{ { .fate = FATE_DELIVERED, .tries = 1, .said = { "250 fine", 8 }, .host = { "mx.x.test[192.0.2.1]", 20 } }, 1 },
		{ { .fate = FATE_BOUNCED, .tries = 1, .said = { "550 no", 6 }, .host = { "mx.x.test[192.0.2.1]", 20 } }, 1 },
		{ { .fate = FATE_REMOVED, .said = { "removed by the operator", 23 } }, 0 },
	};
	struct house h = { .keep_finished_ms = WEEK_MS };

	(void)state;
	house_open(&h);
	house_start(&h);
	for (size_t i = 0; i < COUNT(cases); i++) {
		uint64_t id = put_one(&h, 1, 100, 1, NULL);
		struct queue_entry *e;
		int64_t at;
		bool gone;

		assert_int_equal(queue_finished(h.q, id, &e, &at), ERR_ABSENT);
		assert_int_equal(settle_one(&h, id, cases[i].fate, &gone), OK);
		assert_true(gone);
		e = finished(&h, id);
		assert_int_equal(e->nrcpts, 1);
		assert_str(e->rcpts[0].address, STR("user0@office.test"));
		assert_int_equal(e->rcpts[0].flags, RCPT_LOCAL);
		assert_int_equal(e->rcpts[0].state, RCPT_SETTLED);
		assert_int_equal(e->rcpts[0].outcome, cases[i].fate.fate);
		assert_int_equal(e->rcpts[0].tries, cases[i].tries);
		assert_str(e->rcpts[0].said, cases[i].fate.said);
		assert_int_equal(e->rcpts[0].nattempts, 1);
		assert_str(e->rcpts[0].attempts[0].host, cases[i].fate.host);
		queue_entry_free(e);
	}
	house_close(&h);
	house_burn(&h);
}

static void several_that_end_differently(void **state)
{
	struct house h = { .keep_finished_ms = WEEK_MS };
	struct putting w;
	struct queue_entry *e;
	uint64_t id;

	(void)state;
	house_open(&h);
	house_start(&h);
	id = put_one(&h, 1, 100, 3, NULL);
	settle_one(&h, id, (struct queue_fate){ .rcpt = 2, .fate = FATE_DEFERRED, .tries = 1, .said = STR("451 later") }, NULL);
	settle_one(&h, id, (struct queue_fate){ .rcpt = 0, .fate = FATE_DELIVERED, .tries = 1, .said = STR("250 a"), .host = STR("a") }, NULL);
	settle_one(&h, id, (struct queue_fate){ .rcpt = 2, .fate = FATE_DELIVERED, .tries = 2, .said = STR("250 c"), .host = STR("c") }, NULL);
	/* The last one by the commit of its bounce, which says why. */
	put_begin(&h, &w, spool_with(&h, 2, 500), 1, MESSAGE_OWN);
	queue_put_settles(w.put, id, (uint32_t[]){ 1 }, 1);
	queue_put_settles_said(w.put, &STR("550 nobody"), &STR("b[192.0.2.1]"));
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&h, &w), OK);
	e = finished(&h, id);
	assert_int_equal(e->nrcpts, 3);
	assert_int_equal(e->rcpts[0].outcome, FATE_DELIVERED);
	assert_int_equal(e->rcpts[1].outcome, FATE_BOUNCED);
	assert_int_equal(e->rcpts[2].outcome, FATE_DELIVERED);
	assert_int_equal(e->rcpts[2].tries, 2);
	assert_str(e->rcpts[0].said, STR("250 a"));
	assert_str(e->rcpts[1].said, STR("550 nobody"));
	assert_str(e->rcpts[1].attempts[0].host, STR("b[192.0.2.1]"));
	assert_str(e->rcpts[2].said, STR("250 c"));
	assert_str(e->rcpts[2].attempts[0].host, STR("c"));
	queue_entry_free(e);
	house_close(&h);
	/* They outlive the server. */
	house_open(&h);
	queue_entry_free(finished(&h, id));
	house_close(&h);
	house_burn(&h);
}

static void none_are_kept(void **state)
{
	struct house h = { .keep_finished_ms = 0 };
	struct queue_entry *e;
	int64_t at;
	uint64_t id;

	(void)state;
	house_open(&h);
	house_start(&h);
	id = put_one(&h, 1, 100, 1, NULL);
	settle_one(&h, id, (struct queue_fate){ .fate = FATE_DELIVERED }, NULL);
	assert_int_equal(queue_finished(h.q, id, &e, &at), ERR_ABSENT);
	assert_int_equal(store_rows(h.q->store, TABLE_FINISHED), 0);
	house_close(&h);
	house_burn(&h);
}

static void pass(struct house *h, size_t n)
{
	for (size_t i = 0; i < n; i++)
		settle_one(h, put_one(h, 1, 100, 1, NULL), (struct queue_fate){ .fate = FATE_DELIVERED, .said = STR("250 fine") }, NULL);
}

/* With the next commits, a few at a time. */
static void old_ones_go(void **state)
{
	struct house h = { .keep_finished_ms = WEEK_MS };
	uint64_t id;

	(void)state;
	house_open(&h);
	house_start(&h);
	pass(&h, 60);
	assert_int_equal(store_rows(h.q->store, TABLE_FINISHED), 60);
	house_close(&h);
	h.keep_finished_ms = 1800 * 1000;
	clock_shift(3600);
	house_open(&h);
	house_start(&h);
	id = put_one(&h, 1, 100, 1, NULL);
	assert_true(store_rows(h.q->store, TABLE_FINISHED) < 60);
	pass(&h, 5);
	assert_int_equal(store_rows(h.q->store, TABLE_FINISHED), 5);
	settle_one(&h, id, (struct queue_fate){ .fate = FATE_REMOVED }, NULL);
	clock_shift(0);
	house_close(&h);
	house_burn(&h);
}

/* The time in the oldest record is not what was written. */
static void date_far_ahead(struct house *h)
{
	struct store_txn t;
	char copy[4096];
	str key, row, first;

	store_begin(h->q->store, &t);
	assert_true(store_first(&t, TABLE_FINISHED, &key, &row) && row.n <= sizeof(copy));
	memcpy(copy, row.p, row.n);
	copy[RECORD_HEAD + 6] ^= 0x40;
	first = str_keep(&h->arena, key);
	store_put(&t, TABLE_FINISHED, first, (str){ copy, row.n });
	assert_int_equal(store_commit(&t), OK);
}

/* A damaged record in front does not keep the others for ever. */
static void a_damaged_one_goes(void **state)
{
	struct house h = { .keep_finished_ms = 1800 * 1000 };

	(void)state;
	house_open(&h);
	house_start(&h);
	pass(&h, 8);
	queue_stop(h.q);
	date_far_ahead(&h);
	house_close(&h);
	clock_shift(3600);
	house_open(&h);
	house_start(&h);
	pass(&h, 1);
	assert_int_equal(store_rows(h.q->store, TABLE_FINISHED), 1);
	clock_shift(0);
	house_close(&h);
	house_burn(&h);
}

#define MANY 20

static void settle_all(struct house *h, uint64_t id)
{
	struct queue_fates *v = queue_fates_new(MANY);
	bool done = false;

	v->baton.home = h->home;
	v->baton.arrived = fates_are_home;
	v->user = &done;
	v->id = id;
	for (uint32_t r = 0; r < MANY; r++)
		v->v[r] = (struct queue_fate){
			.rcpt = r, .fate = FATE_DELIVERED, .said = arena_printf(&v->arena, "250 %u %0400u", r, r),
		};
	queue_settle(h->q, v);
	run_home(h, &done);
	assert_int_equal(v->result, OK);
	assert_true(v->gone);
	queue_fates_free(v);
}

/* A small map, and more messages pass through it than it has room for records:
 * mail never stops, the records stay within their part, and the latest stay. */
static void they_never_fill_the_map(void **state)
{
	struct house h = { .map_bytes = 16 << 20, .keep_finished_ms = WEEK_MS };
	uint64_t rows, bytes, id = 0;
	struct queue_entry *e;
	struct store_txn t;
	int64_t at;

	(void)state;
	house_open(&h);
	house_start(&h);
	for (int i = 0; i < 800; i++) {
		id = put_one(&h, 1, 100, MANY, NULL);
		settle_all(&h, id);
	}
	store_read(h.q->store, &t);
	store_size(&t, TABLE_FINISHED, &rows, &bytes);
	store_end(&t);
	assert_true(rows > 100 && rows < 800);
	assert_true(bytes <= (h.map_bytes / 4) + (64 << 10));
	assert_int_equal(queue_finished(h.q, id, &e, &at), OK);
	queue_entry_free(e);
	house_close(&h);
	/* Half the map is full of something else: the records go first, all of them. */
	h.map_bytes = 4 << 20;
	house_open(&h);
	house_start(&h);
	put_one(&h, 1, 100, 1, NULL);
	put_one(&h, 1, 100, 1, NULL);
	assert_true(store_rows(h.q->store, TABLE_FINISHED) == 0);
	house_close(&h);
	house_burn(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_recipient_at_once),
		cmocka_unit_test(several_that_end_differently),
		cmocka_unit_test(none_are_kept),
		cmocka_unit_test(old_ones_go),
		cmocka_unit_test(a_damaged_one_goes),
		cmocka_unit_test(they_never_fill_the_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
