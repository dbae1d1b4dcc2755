/* SPDX-License-Identifier: ISC */
/* What each fate does to a recipient, and when a message is gone. */
#include "tests/unit/queue/house.h"

static struct queue_rcpt rcpt_of(struct house *h, uint64_t id, size_t i, char said[static 1100])
{
	struct queue_entry *e;
	struct queue_rcpt r;

	assert_int_equal(queue_load(h->q, id, &e), OK);
	r = e->rcpts[i];
	snprintf(said, 1100, "%.*s", STR_ARG(r.said));
	queue_entry_free(e);
	return r;
}

static void each_fate(void **state)
{
	static const struct {
		struct queue_fate fate;
		struct queue_rcpt want;
	} cases[] = {
		{ { .fate = FATE_DEFERRED, .next = 1900000000, .tries = 3, .said = { "451 later", 9 } },
		  { .state = RCPT_WAITING, .next = 1900000000, .tries = 3, .said = { "451 later", 9 } } },
		{ { .fate = FATE_HELD, .said = { "by you", 6 } },
		  { .state = RCPT_HELD, .next = 1900000000, .tries = 3, .said = { "by you", 6 } } },
		{ { .fate = FATE_RELEASED, .next = 1900000009 },
		  { .state = RCPT_WAITING, .next = 1900000009, .tries = 3, .said = { "by you", 6 } } },
		{ { .fate = FATE_DELAY_TOLD },
		  { .state = RCPT_WAITING, .next = 1900000009, .tries = 3, .said = { "by you", 6 }, .delay_told = true } },
		{ { .fate = FATE_STAGED, .place = { "/m\nname", 7 } },
		  { .state = RCPT_STAGED, .next = 1900000009, .tries = 3, .said = { "by you", 6 }, .delay_told = true } },
		/* Held and released, it is still in tmp/. */
		{ { .fate = FATE_HELD },
		  { .state = RCPT_HELD, .next = 1900000009, .tries = 3, .said = { "by you", 6 }, .delay_told = true, .place = { "/m\nname", 7 } } },
		{ { .fate = FATE_RELEASED, .next = 1900000009 },
		  { .state = RCPT_STAGED, .next = 1900000009, .tries = 3, .said = { "by you", 6 }, .delay_told = true, .place = { "/m\nname", 7 } } },
		{ { .fate = FATE_DELIVERED, .said = { "250 done", 8 } },
		  { .state = RCPT_SETTLED, .next = 1900000009, .tries = 3, .said = { "250 done", 8 }, .delay_told = true } },
		{ { .fate = FATE_DEFERRED, .next = 1, .tries = 9 },      /* too late */
		  { .state = RCPT_SETTLED, .next = 1900000009, .tries = 3, .said = { "250 done", 8 }, .delay_told = true } },
	};
	struct house h = { 0 };
	char said[1100];
	uint64_t id;
	bool gone;

	(void)state;
	house_open(&h);
	house_start(&h);
	id = put_one(&h, 1, 100, 3, NULL);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct queue_fate f = cases[i].fate;
		struct queue_rcpt r;

		f.rcpt = 1;
		assert_int_equal(settle_one(&h, id, f, &gone), OK);
		assert_false(gone);
		r = rcpt_of(&h, id, 1, said);
		assert_int_equal(r.state, cases[i].want.state);
		assert_int_equal(r.next, cases[i].want.next);
		assert_int_equal(r.tries, cases[i].want.tries);
		assert_int_equal(r.delay_told, cases[i].want.delay_told);
		assert_int_equal(r.staged_at != 0, f.fate == FATE_STAGED || cases[i].want.place.n > 0);
		assert_int_equal(r.place.n, f.fate == FATE_STAGED ? 7 : cases[i].want.place.n);
		assert_int_equal(r.outcome, r.state == RCPT_SETTLED ? FATE_DELIVERED : 0);
		assert_str(str_of(said), cases[i].want.said);
		assert_int_equal(rcpt_of(&h, id, 0, said).state, RCPT_WAITING);
	}
	house_close(&h);
	house_burn(&h);
}

/* Each try is told once; a deferral that was none is not told. */
static void attempts_gather(void **state)
{
	struct house h = { 0 };
	struct queue_entry *e;
	char said[32];
	uint64_t id;

	(void)state;
	house_open(&h);
	house_start(&h);
	id = put_one(&h, 1, 100, 2, NULL);
	for (uint32_t i = 1; i <= 20; i++) {
		int n = snprintf(said, sizeof(said), "451 later %u", i);

		settle_one(&h, id, (struct queue_fate){ .rcpt = 1, .fate = FATE_DEFERRED, .next = i, .tries = i - 1,
		                                        .said = STR("it rests") }, NULL);
		settle_one(&h, id, (struct queue_fate){ .rcpt = 1, .fate = FATE_DEFERRED, .next = i, .tries = i,
		                                        .said = { said, (size_t)n }, .host = STR("mx[192.0.2.1]") }, NULL);
	}
	assert_int_equal(queue_load(h.q, id, &e), OK);
	assert_int_equal(e->rcpts[0].nattempts, 0);
	assert_int_equal(e->rcpts[1].nattempts, QUEUE_ATTEMPTS);
	for (uint32_t i = 0; i < QUEUE_ATTEMPTS; i++) {
		snprintf(said, sizeof(said), "451 later %u", i < 2 ? i + 1 : i + 9);
		assert_str(e->rcpts[1].attempts[i].said, str_of(said));
		assert_str(e->rcpts[1].attempts[i].host, STR("mx[192.0.2.1]"));
		assert_true(e->rcpts[1].attempts[i].at > 1500000000);
	}
	queue_entry_free(e);
	/* However much a peer says, the row stays small. */
	char *flood = malloc(5000);
	memset(flood, 'x', 5000);
	for (uint32_t i = 21; i < 40; i++) {
		flood[0] = (char)i;
		settle_one(&h, id, (struct queue_fate){ .rcpt = 1, .fate = FATE_DEFERRED, .tries = i, .said = { flood, 5000 },
		                                        .host = { flood, 5000 } }, NULL);
	}
	assert_int_equal(queue_load(h.q, id, &e), OK);
	assert_int_equal(e->rcpts[1].said.n, 1000);
	assert_int_equal(e->rcpts[1].attempts[QUEUE_ATTEMPTS - 1].said.n, 400);
	assert_int_equal(e->rcpts[1].attempts[QUEUE_ATTEMPTS - 1].host.n, 150);
	queue_entry_free(e);
	free(flood);
	house_close(&h);
	house_burn(&h);
}

static unsigned lives_of(struct house *h, uint64_t id)
{
	struct queue_entry *e;
	unsigned n;

	assert_int_equal(queue_load(h->q, id, &e), OK);
	n = e->lives;
	queue_entry_free(e);
	return n;
}

/* What each fate does to the mark of a message that was tried in n lives, and
 * what a clean stop leaves of it. */
static void marks(void **state)
{
	static const struct { enum fate fate; uint32_t lives, aside, want, after_stop; } cases[] = {
		{ FATE_NONE, 1, 0, 1, 0 },      { FATE_NONE, 2, 0, 2, 0 },
		{ FATE_DEFERRED, 1, 0, 0, 0 },  { FATE_DEFERRED, 2, 0, 0, 0 },
		{ FATE_DELIVERED, 1, 0, 0, 0 }, { FATE_STAGED, 1, 0, 0, 0 },
		{ FATE_DELAY_TOLD, 1, 0, 1, 0 },
		{ FATE_HELD, 1, 0, 0, 0 },      { FATE_HELD, 2, 0, 0, 0 },
		{ FATE_HELD, 2, 2, 2, 2 },      /* set aside: for the next start, too */
		{ FATE_RELEASED, 2, 0, 0, 0 },
	};
	struct house h = { 0 };
	uint64_t ids[COUNT(cases)];

	(void)state;
	house_open(&h);
	house_start(&h);
	for (size_t i = 0; i < COUNT(cases); i++) {
		ids[i] = put_one(&h, 1, 100, 2, NULL);
		assert_int_equal(lives_of(&h, ids[i]), 0);
		settle_one(&h, ids[i], (struct queue_fate){ .fate = FATE_TRYING, .tries = cases[i].lives }, NULL);
		assert_int_equal(lives_of(&h, ids[i]), cases[i].lives);
		if (cases[i].fate != FATE_NONE)
			settle_one(&h, ids[i], (struct queue_fate){ .fate = cases[i].fate, .tries = cases[i].aside }, NULL);
		assert_int_equal(lives_of(&h, ids[i]), cases[i].want);
	}
	house_close(&h);
	house_open(&h);
	house_start(&h);
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_int_equal(lives_of(&h, ids[i]), cases[i].after_stop);
		settle_one(&h, ids[i], (struct queue_fate){ .rcpt = 0, .fate = FATE_REMOVED }, NULL);
		settle_one(&h, ids[i], (struct queue_fate){ .rcpt = 1, .fate = FATE_REMOVED }, NULL);
	}
	assert_int_equal(store_rows(h.q->store, TABLE_MARK), 0);
	house_close(&h);
	house_burn(&h);
}

/* No try before it, whatever happens meanwhile; only a wish to retry may. */
static void not_before(void **state)
{
	const int64_t later = clock_wall() + 3600;
	struct house h = { 0 };
	struct queue_entry *e;
	struct putting w;

	(void)state;
	house_open(&h);
	house_start(&h);
	put_begin(&h, &w, spool_with(&h, 1, 10), 2, 0);
	queue_put_not_before(w.put, later);
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&h, &w), OK);
	settle_one(&h, w.id, (struct queue_fate){ .rcpt = 1, .fate = FATE_HELD }, NULL);
	settle_one(&h, w.id, (struct queue_fate){ .rcpt = 1, .fate = FATE_RELEASED, .next = clock_wall() }, NULL);
	house_close(&h);
	house_open(&h);
	assert_int_equal(queue_load(h.q, w.id, &e), OK);
	assert_int_equal(e->not_before, later);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(e->rcpts[i].state, RCPT_WAITING);
		assert_int_equal(e->rcpts[i].next, later);
	}
	queue_entry_free(e);
	house_close(&h);
	house_burn(&h);
}

/* The first fate of a recipient finds what the message row says of it. */
static void fresh_recipients_keep_what_they_have(void **state)
{
	struct house h = { 0 };
	struct putting w;
	struct queue_rcpt r;
	char said[1100];

	(void)state;
	house_open(&h);
	house_start(&h);
	put_begin(&h, &w, spool_with(&h, 1, 10), 2, MESSAGE_HELD);
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&h, &w), OK);
	assert_int_equal(settle_one(&h, w.id, (struct queue_fate){ .fate = FATE_DELAY_TOLD }, NULL), OK);
	r = rcpt_of(&h, w.id, 0, said);
	assert_int_equal(r.state, RCPT_HELD);
	assert_true(r.delay_told);
	assert_true(r.next > 1500000000);
	house_close(&h);
	house_burn(&h);
}

static void the_last_settled_takes_all_with_it(void **state)
{
	static const enum fate ends[] = { FATE_DELIVERED, FATE_BOUNCED, FATE_REMOVED };
	struct house h = { 0 };

	(void)state;
	house_open(&h);
	house_start(&h);
	for (size_t i = 0; i < 3; i++)
		for (size_t nrcpts = 1; nrcpts <= 3; nrcpts++)
			for (size_t bytes = 100; bytes <= 1000000; bytes *= 100) {
				uint64_t id = put_one(&h, 1, bytes, nrcpts, NULL);
				struct queue_entry *e;
				bool gone = false;

				assert_int_equal(files_in_body(&h), bytes > QUEUE_ROWS_MAX);
				for (uint32_t r = 0; r < nrcpts; r++) {
					assert_false(gone);
					assert_int_equal(settle_one(&h, id, (struct queue_fate){ .rcpt = r, .fate = ends[(i + r) % 3] }, &gone), OK);
				}
				assert_true(gone);
				assert_int_equal(queue_load(h.q, id, &e), ERR_ABSENT);
				assert_int_equal(settle_one(&h, id, (struct queue_fate){ .fate = FATE_DELIVERED }, &gone), ERR_ABSENT);
				assert_false(gone);
				for (int table = 0; table < TABLE_META; table++)
					assert_int_equal(store_rows(h.q->store, table), 0);
				assert_int_equal(files_in_body(&h), 0);
			}
	house_close(&h);
	house_burn(&h);
}

static void fates_of_nobody(void **state)
{
	struct house h = { 0 };
	uint64_t id;

	(void)state;
	house_open(&h);
	house_start(&h);
	id = put_one(&h, 1, 10, 2, NULL);
	assert_int_equal(settle_one(&h, id, (struct queue_fate){ .rcpt = 2, .fate = FATE_DELIVERED }, NULL), ERR_ABSENT);
	assert_int_equal(settle_one(&h, id + 1, (struct queue_fate){ .fate = FATE_DELIVERED }, NULL), ERR_ABSENT);
	assert_int_equal(store_rows(h.q->store, TABLE_RCPT), 0);
	house_close(&h);
	house_burn(&h);
}

/* A bounce and what it speaks of: one transaction. */
static void a_bounce_settles(void **state)
{
	const uint32_t both[] = { 0, 2 };
	struct house h = { 0 };
	struct queue_entry *e;
	struct putting w;
	uint64_t id;
	char said[1100];

	(void)state;
	house_open(&h);
	house_start(&h);
	id = put_one(&h, 1, 1000000, 3, NULL);
	put_begin(&h, &w, spool_with(&h, 2, 500), 1, MESSAGE_OWN);
	queue_put_settles(w.put, id, both, 2);
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&h, &w), OK);
	assert_int_equal(rcpt_of(&h, id, 0, said).state, RCPT_SETTLED);
	assert_int_equal(rcpt_of(&h, id, 1, said).state, RCPT_WAITING);
	assert_int_equal(rcpt_of(&h, id, 2, said).state, RCPT_SETTLED);
	put_begin(&h, &w, spool_with(&h, 3, 500), 1, MESSAGE_OWN);
	queue_put_settles(w.put, id, (uint32_t[]){ 1 }, 1);
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&h, &w), OK);
	assert_int_equal(queue_load(h.q, id, &e), ERR_ABSENT);
	assert_int_equal(files_in_body(&h), 0);
	assert_int_equal(store_rows(h.q->store, TABLE_MESSAGE), 2);
	house_close(&h);
	house_burn(&h);
}

/* One damaged recipient is held; the other goes on; a fate makes it whole. */
static void a_damaged_recipient_is_held(void **state)
{
	struct house h = { 0 };
	struct record_key k;
	struct store_txn t;
	char said[1100];
	uint64_t id;

	(void)state;
	house_open(&h);
	house_start(&h);
	id = put_one(&h, 1, 10, 2, NULL);
	queue_stop(h.q);
	k = record_key_part(id, 1);
	store_begin(h.q->store, &t);
	store_put(&t, TABLE_RCPT, (str){ (char *)k.b, k.n }, STR("not a record"));
	assert_int_equal(store_commit(&t), OK);
	house_close(&h);
	house_open(&h);
	house_start(&h);
	assert_int_equal(rcpt_of(&h, id, 0, said).state, RCPT_WAITING);
	assert_int_equal(rcpt_of(&h, id, 1, said).state, RCPT_HELD);
	assert_true(rcpt_of(&h, id, 1, said).damaged);
	assert_non_null(strstr(said, "damaged"));
	/* That a notice went out does not make it fresh. */
	assert_int_equal(settle_one(&h, id, (struct queue_fate){ .rcpt = 1, .fate = FATE_DELAY_TOLD }, NULL), OK);
	assert_int_equal(rcpt_of(&h, id, 1, said).state, RCPT_HELD);
	assert_non_null(strstr(said, "damaged"));
	assert_int_equal(settle_one(&h, id, (struct queue_fate){ .rcpt = 1, .fate = FATE_RELEASED, .next = 5 }, NULL), OK);
	assert_int_equal(rcpt_of(&h, id, 1, said).state, RCPT_WAITING);
	house_close(&h);
	house_burn(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_fate),
		cmocka_unit_test(attempts_gather),
		cmocka_unit_test(marks),
		cmocka_unit_test(not_before),
		cmocka_unit_test(fresh_recipients_keep_what_they_have),
		cmocka_unit_test(the_last_settled_takes_all_with_it),
		cmocka_unit_test(fates_of_nobody),
		cmocka_unit_test(a_bounce_settles),
		cmocka_unit_test(a_damaged_recipient_is_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
