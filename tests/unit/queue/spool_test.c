/* SPDX-License-Identifier: ISC */
/* Where a message gathers: memory, then a file; when to stop reading; errors stick; dropped at any time. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "tests/unit/queue/house.h"

static void small_stays_in_memory(void **state)
{
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 65536, QUEUE_ROWS_MAX - 1, QUEUE_ROWS_MAX };
	struct house h = { 0 };

	(void)state;
	house_open(&h);
	house_start(&h);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct spool *s = spool_with(&h, i, sizes[i]);

		assert_int_equal(spool_bytes(s), sizes[i]);
		assert_int_equal(spool_error(s), OK);
		assert_false(s->in_file);
		assert_true(spool_memory(s) >= sizes[i] && spool_memory(s) <= 2 * sizes[i] + 4096);
		spool_drop(s);
	}
	house_close(&h);
	house_burn(&h);
}

/* Never more than a few pieces in memory, however much comes. */
static void large_goes_to_a_file(void **state)
{
	struct house h = { 0 };
	char piece[64 << 10];
	bool ready = true;
	size_t told = 0;
	struct spool *s;

	(void)state;
	house_open(&h);
	house_start(&h);
	s = spool_new(h.q, h.home);
	spool_on_ready(s, spool_is_ready, &ready);
	fill_content(piece, 1, 0, sizeof(piece));
	for (int i = 0; i < 160; i++) {
		if (!spool_add(s, (str){ piece, sizeof(piece) })) {
			told++;
			ready = false;
			run_home(&h, &ready);
		}
		assert_true(spool_memory(s) <= QUEUE_ROWS_MAX + SPOOL_PIECE + 2 * sizeof(piece));
	}
	assert_true(told > 0);
	assert_true(s->in_file);
	assert_int_equal(spool_bytes(s), 160 * sizeof(piece));
	assert_int_equal(files_in_body(&h), 0);         /* it has no name yet */
	spool_drop(s);
	house_close(&h);
	house_burn(&h);
}

/* `ready` is for those who were told to stop, and for nobody else. */
static void ready_when_told_to_stop(void **state)
{
	static char piece[2 * QUEUE_ROWS_MAX];
	struct house h = { 0 };
	bool ready = false;
	struct spool *s;

	(void)state;
	house_open(&h);
	house_start(&h);
	s = spool_new(h.q, h.home);
	spool_on_ready(s, spool_is_ready, &ready);
	assert_true(spool_add(s, (str){ piece, sizeof(piece) }));
	assert_true(spool_add(s, STR("a little more")));
	while (s->out) {
		struct baton *b = mbox_take(h.home, 1, SIZE_MAX, clock_ms() + 60000);

		assert_non_null(b);
		b->arrived(b);
	}
	assert_false(ready);
	assert_true(spool_add(s, (str){ piece, sizeof(piece) }));
	assert_false(spool_add(s, (str){ piece, sizeof(piece) }));
	run_home(&h, &ready);
	spool_drop(s);
	house_close(&h);
	house_burn(&h);
}

/* Dropped while its piece is on its way: it frees itself when that is home. */
static void dropped_in_flight(void **state)
{
	static char piece[2 * QUEUE_ROWS_MAX];
	struct house h = { 0 };
	struct spool *s;

	(void)state;
	house_open(&h);
	house_start(&h);
	s = spool_new(h.q, h.home);
	assert_true(spool_add(s, (str){ piece, sizeof(piece) }));
	assert_true(s->out);
	spool_drop(s);
	spool_drop(NULL);
	house_close(&h);
	house_burn(&h);
}

/* No room: the error sticks, later bytes go nowhere, nothing hangs; a put of it
 * is answered, and what is small can still be taken. */
static void no_room_sticks(void **state)
{
	struct rlimit limit = { 1 << 20, RLIM_INFINITY }, before;
	struct house h = { 0 };
	struct putting w;
	struct spool *s;
	uint64_t bytes;

	(void)state;
	house_open(&h);
	house_start(&h);
	put_one(&h, 1, 1000, 1, NULL);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	s = spool_with(&h, 7, 3 << 20);
	assert_int_equal(spool_error(s), ERR_FULL);
	bytes = spool_bytes(s);
	assert_true(spool_add(s, STR("more")));
	assert_int_equal(spool_bytes(s), bytes);
	put_begin(&h, &w, s, 1, 0);
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&h, &w), ERR_FULL);
	put_one(&h, 2, 1000, 1, NULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	put_one(&h, 3, 3 << 20, 1, NULL);
	assert_int_equal(files_in_body(&h), 1);
	house_close(&h);
	house_burn(&h);
}

/* The last piece still flies when the put is submitted. */
static void submitted_in_flight(void **state)
{
	static char piece[QUEUE_ROWS_MAX + 1];
	struct queue_entry *e;
	struct house h = { 0 };
	struct putting w;
	struct spool *s;

	(void)state;
	house_open(&h);
	house_start(&h);
	for (size_t more = 0; more < 3; more++) {
		s = spool_new(h.q, h.home);
		fill_content(piece, 5, 0, sizeof(piece));
		assert_true(spool_add(s, (str){ piece, sizeof(piece) }));
		assert_true(s->out);
		fill_content(piece, 5, sizeof(piece), more);
		spool_add(s, (str){ piece, more });
		put_begin(&h, &w, s, 1, 0);
		queue_put_submit(w.put, put_is_home, &w);
		assert_int_equal(put_finish(&h, &w), OK);
		assert_int_equal(queue_load(h.q, w.id, &e), OK);
		assert_true(e->in_file);
		assert_int_equal(e->bytes, sizeof(piece) + more);
		assert_content(&h, e, 5, 100000);
		queue_entry_free(e);
	}
	house_close(&h);
	house_burn(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_stays_in_memory),
		cmocka_unit_test(large_goes_to_a_file),
		cmocka_unit_test(ready_when_told_to_stop),
		cmocka_unit_test(dropped_in_flight),
		cmocka_unit_test(no_room_sticks),
		cmocka_unit_test(submitted_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
