/* SPDX-License-Identifier: ISC */
/* sts: policies fetched again before they end, and what a restart finds of them. */
#include "tests/unit/queue/sts_world.h"

static void nobody_waits_for_a_refresh(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	now_is(DAY);
	w.fake.hold = true;
	want(&w, "example.test", IN_FORCE, 1);
	while (w.fake.fetches == 1)
		turn(&w);
	want(&w, "example.test", IN_FORCE, 2);         /* while it is out */
	w.fake.hold = false;
	fake_answers(&w.fake.later);
	settle(&w);
	now_is(7 * DAY + 100);
	zone(&w, TXT("1"));                            /* the web server is gone */
	want(&w, "example.test", IN_FORCE, 2);         /* a day more than the first fetch gave */
	settle(&w);
	close_world(&w);
}

static void refreshed_by_itself(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 1);           /* too early */
	for (int day = 1; day <= 40; day++) {
		now_is(day * DAY);
		sts_refresh(w.sts);
		settle(&w);
	}
	assert_int_equal(w.fake.fetches, 30);          /* nobody wrote there for a month: enough */
	assert_null(w.sts->first->kept);               /* and a week later it was forgotten */
	close_world(&w);
}

/* max_age below two days: in the middle of its life. */
static void a_short_life_is_refreshed_in_time(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	w.fake.file = SHORT;
	want(&w, "example.test", IN_FORCE, 1);
	now_is(400);
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 1);
	now_is(501);
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 2);
	close_world(&w);
}

static void a_refresh_that_fails_is_tried_hourly(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	w.fake.result = FETCH_TIMEOUT;
	for (int i = 0; i <= 180; i++) {
		now_is(DAY + i * 60);
		sts_refresh(w.sts);
		settle(&w);
	}
	assert_int_equal(w.fake.fetches, 1 + 4);
	close_world(&w);
}

/* DNS that does not answer is no reason to let a policy run out. */
static void refreshed_without_dns(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, false);
	want(&w, "example.test", IN_FORCE, 1);
	zone(&w, "_mta-sts.example.test TXT SERVFAIL\n" WEB);
	now_is(DAY);
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 2);
	now_is(8 * DAY - 1);
	want(&w, "example.test", IN_FORCE, 2);
	settle(&w);
	zone(&w, "other.test A 192.0.2.1\n");          /* while a record that is gone is one */
	now_is(9 * DAY);
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 3);
	close_world(&w);
}

/* ---- notes ---------------------------------------------------------------------------------------- */

static void again(struct world *w, int64_t t)
{
	end(w);
	house_open(&w->h);
	house_start(&w->h);
	now_is(t);
	w->fake = (struct fake){ .file = ENFORCE, .result = FETCH_UNREACHABLE };
	begin(w);
	zone(w, "other.test A 192.0.2.1\n");
}

static void a_restart_forgets_nothing(void **state)
{
	struct world w;

	(void)state;
	open_world(&w, true);
	want(&w, "example.test", IN_FORCE, 1);
	want(&w, "other.test", "none ", 1);
	again(&w, DAY / 2);
	want(&w, "example.test", IN_FORCE, 0);
	zone(&w, TXT("1") WEB);
	want(&w, "example.test", IN_FORCE, 0);         /* its id is kept, too */
	again(&w, 7 * DAY);
	want(&w, "example.test", "none ", 0);
	again(&w, 1);                                  /* its note is gone, not only its life over */
	want(&w, "example.test", "none ", 0);
	close_world(&w);
}

static void refreshed_after_a_restart(void **state)
{
	struct world w;
	uint64_t until = clock_ms() + 10000;

	(void)state;
	open_world(&w, true);
	want(&w, "example.test", IN_FORCE, 1);
	again(&w, DAY + 1);
	zone(&w, TXT("1") WEB);
	w.fake.result = FETCH_OK;
	while (w.sts->first == NULL && clock_ms() < until)
		turn(&w);                              /* all notes are read */
	sts_refresh(w.sts);
	settle(&w);
	assert_int_equal(w.fake.fetches, 1);
	again(&w, 8 * DAY);
	want(&w, "example.test", IN_FORCE, 0);
	close_world(&w);
}

/* A note that nobody of ours wrote counts for nothing. */
static void strange_notes(void **state)
{
	static const char *const values[] = {
		"", "1", "1 1 1 1", "2 1800000000 1800000000 1\n" ENFORCE, "1 x 1800000000 1\n" ENFORCE,
		"1 1800000000 1800000000 \n" ENFORCE, "1 1800000000 1800000000 1\nmode: enforce\n",
	};
	struct world w;

	(void)state;
	for (size_t i = 0; i < COUNT(values); i++) {
		struct sts_entry *e;

		open_world(&w, true);
		zone(&w, "other.test A 192.0.2.1\n");
		e = sts_entry_get(w.sts, STR("example.test"));
		assert_non_null(e);
		{
			struct queue_note *n = queue_note_new();

			n->key = STR("sts:example.test");
			n->value = str_keep(&n->arena, str_of(values[i]));
			n->baton.home = w.h.home;
			n->baton.arrived = NULL;
			queue_note_put(w.h.q, n);
			while (mbox_count(w.h.home) == 0)
				turn(&w);
			mbox_take_all(w.h.home);
			queue_note_free(n);
		}
		want(&w, "example.test", "none ", 0);
		close_world(&w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_waits_for_a_refresh),
		cmocka_unit_test(refreshed_by_itself),
		cmocka_unit_test(a_short_life_is_refreshed_in_time),
		cmocka_unit_test(a_refresh_that_fails_is_tried_hourly),
		cmocka_unit_test(refreshed_without_dns),
		cmocka_unit_test(a_restart_forgets_nothing),
		cmocka_unit_test(refreshed_after_a_restart),
		cmocka_unit_test(strange_notes),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
