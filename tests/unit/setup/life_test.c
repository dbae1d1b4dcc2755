/* SPDX-License-Identifier: ISC */
/*
 * A managed key's life, without clock, DNS or files: tables of what follows from
 * looks and time, and a random operator against whom nothing may go wrong.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "smtpd/base/err.h"
#include "smtpd/setup/keys/life.h"

#define DAY   ((int64_t)86400)
#define HOUR  ((int64_t)3600)
#define BEGIN ((int64_t)1800000000)

struct world {
	struct arena     a;
	struct life_plan plan;
	struct life_book book;
	struct life_told told;
	int64_t          now;
};

static void make(struct world *w, struct strs *taken)
{
	struct life_want *want;
	size_t n = life_wanted(&w->plan, &w->book, false, &w->a, &want);

	for (size_t i = 0; i < n; i++) {
		str selector = life_selector(&w->book, taken, want[i].algorithm, want[i].set, w->now, &w->a);

		assert_non_null(life_add(&w->book, &want[i], selector, STR("v=DKIM1; p=x"), w->now, &w->told));
	}
}

static void begin(struct world *w)
{
	memset(w, 0, sizeof(*w));
	arena_init(&w->a, ARENA_UNBOUNDED);
	w->plan = (struct life_plan){ .algorithms = { LIFE_RSA_2048, LIFE_ED25519 }, .nalgorithms = 2, .prepare = 4, .rotate = 90 * DAY,
		                      .look = HOUR, .first_look = 60, .tail = 7 * DAY, .gate = true, .revoke = true };
	w->book = (struct life_book){ .domain = STR("example.org"), .arena = &w->a };
	w->told.arena = &w->a;
	w->now = BEGIN;
	make(w, NULL);
}

static void end(struct world *w)
{
	arena_fini(&w->a);
}

static struct life_key *key(struct world *w, const char *selector)
{
	struct life_key *k = life_find(&w->book, str_of(selector));

	assert_non_null(k);
	return k;
}

static void look(struct world *w, const char *selector, enum life_sight sight)
{
	life_looked(&w->plan, &w->book, key(w, selector), sight, STR("ns1 shows what it shows"), w->now, &w->told);
}

static void turn(struct world *w)
{
	life_turn(&w->plan, &w->book, w->now, &w->told);
	make(w, NULL);
}

/* All keys that are due are seen so, each minute or hour, for a while. */
static void pass(struct world *w, int64_t seconds, enum life_sight sight, enum life_sight old)
{
	int64_t until = w->now + seconds;

	while (w->now < until) {
		for (size_t i = 0; i < w->book.n; i++) {
			struct life_key *k = &w->book.keys[i];

			if (life_look_due(&w->plan, &w->book, k) <= w->now)
				life_looked(&w->plan, &w->book, k, k->state >= LIFE_REVOKED ? old : sight, STR("said"), w->now, &w->told);
		}
		turn(w);
		w->now += life_any_signs(&w->book) ? HOUR : 60;
	}
}

static void is(struct world *w, const char *selector, enum life_state state, bool signs)
{
	assert_string_equal(life_state_word(key(w, selector)->state), life_state_word(state));
	assert_int_equal(life_signs(&w->book, key(w, selector)), signs);
}

static size_t told(const struct world *w, enum life_event event)
{
	size_t n = 0;

	for (size_t i = 0; i < w->told.n; i++)
		n += w->told.v[i].event == event;
	return n;
}

/* ---- the beginning ------------------------------------------------------------------ */

static void four_sets_are_prepared_at_once(void **state)
{
	static const char *const want[] = { "r2701a", "e2701a", "r2701b", "e2701b", "r2701c", "e2701c", "r2701d", "e2701d" };
	struct world w;

	(void)state;
	begin(&w);
	assert_int_equal(w.book.n, COUNT(want));
	for (size_t i = 0; i < COUNT(want); i++) {
		assert_true(str_is(w.book.keys[i].selector, want[i]));
		assert_int_equal(w.book.keys[i].set, i / 2 + 1);
		is(&w, want[i], LIFE_PREPARED, false);
	}
	turn(&w);
	assert_int_equal(w.book.n, COUNT(want));       /* enough is enough */
	end(&w);
}

static void a_name_that_is_taken_is_not_used(void **state)
{
	str names[] = { STR("r2701e") };
	struct strs taken = { names, 1 };
	struct world w;
	str got;

	(void)state;
	begin(&w);
	got = life_selector(&w.book, &taken, LIFE_RSA_2048, 9, w.now, &w.a);
	assert_true(str_is(got, "r2701f"));
	end(&w);
}

static void the_first_key_signs_after_two_good_looks_a_minute_apart(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	look(&w, "r2701a", LIFE_SHOWN);
	turn(&w);
	is(&w, "r2701a", LIFE_PREPARED, false);
	w.now += 59;
	look(&w, "r2701a", LIFE_SHOWN);
	turn(&w);
	is(&w, "r2701a", LIFE_PREPARED, false);
	w.now += 1;
	look(&w, "r2701a", LIFE_SHOWN);
	turn(&w);
	is(&w, "r2701a", LIFE_ACTIVE, true);
	is(&w, "e2701a", LIFE_PREPARED, false);
	assert_int_equal(told(&w, LIFE_NEWS_PUBLISHED), 1);
	assert_int_equal(told(&w, LIFE_NEWS_ACTIVE), 1);
	/* Now that one signs, its sister needs an hour between two looks. */
	look(&w, "e2701a", LIFE_SHOWN);
	w.now += HOUR - 1;
	look(&w, "e2701a", LIFE_SHOWN);
	turn(&w);
	is(&w, "e2701a", LIFE_PREPARED, false);
	w.now += 1;
	look(&w, "e2701a", LIFE_SHOWN);
	turn(&w);
	is(&w, "e2701a", LIFE_ACTIVE, true);
	end(&w);
}

static void what_a_look_means_for_the_gate(void **state)
{
	static const struct { const char *name; enum life_sight sights[4]; bool out; } cases[] = {
		{ "two good ones", { LIFE_SHOWN, LIFE_SHOWN }, true },
		{ "one is not enough", { LIFE_SHOWN }, false },
		{ "silence between changes nothing", { LIFE_SHOWN, LIFE_SILENT, LIFE_SHOWN }, true },
		{ "silence is no good look", { LIFE_SHOWN, LIFE_SILENT }, false },
		{ "another record: from the beginning", { LIFE_SHOWN, LIFE_OTHER, LIFE_SHOWN }, false },
		{ "and then again two", { LIFE_SHOWN, LIFE_OTHER, LIFE_SHOWN, LIFE_SHOWN }, true },
		{ "nobody serves it", { LIFE_SHOWN, LIFE_NOWHERE, LIFE_SHOWN }, false },
		{ "what was out is not any more", { LIFE_SHOWN, LIFE_SHOWN, LIFE_OTHER }, false },
		{ "only other records", { LIFE_OTHER, LIFE_OTHER, LIFE_OTHER, LIFE_OTHER }, false },
		{ "silence alone", { LIFE_SILENT, LIFE_SILENT, LIFE_SILENT }, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct world w;

		begin(&w);
		for (size_t s = 0; s < 4 && cases[i].sights[s] != LIFE_UNSEEN; s++, w.now += 60)
			look(&w, "r2701a", cases[i].sights[s]);
		if (key(&w, "r2701a")->out != cases[i].out)
			fail_msg("%s", cases[i].name);
		end(&w);
	}
}

static void nothing_becomes_active_on_a_silent_look(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	look(&w, "r2701a", LIFE_SHOWN);
	w.now += 60;
	look(&w, "r2701a", LIFE_SHOWN);
	look(&w, "r2701a", LIFE_SILENT);
	turn(&w);
	is(&w, "r2701a", LIFE_PUBLISHED, false);
	look(&w, "r2701a", LIFE_SHOWN);
	turn(&w);
	is(&w, "r2701a", LIFE_ACTIVE, true);
	end(&w);
}

static void a_first_set_that_is_wrong_leaves_its_turn_to_the_next(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	for (int i = 0; i < 2; i++, w.now += 60) {
		look(&w, "r2701a", LIFE_OTHER);
		look(&w, "e2701a", LIFE_OTHER);
		look(&w, "r2701b", LIFE_SHOWN);
	}
	w.now -= 60;
	turn(&w);
	is(&w, "r2701b", LIFE_ACTIVE, true);
	assert_int_equal(key(&w, "r2701a")->set, 5);           /* behind all others, and not thrown away */
	assert_int_equal(key(&w, "e2701a")->set, 5);
	end(&w);
}

/* ---- the calendar ---------------------------------------------------------------------- */

static void sets_follow_each_other_by_calendar(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	pass(&w, DAY, LIFE_SHOWN, LIFE_OTHER);
	is(&w, "r2701a", LIFE_ACTIVE, true);
	is(&w, "e2701a", LIFE_ACTIVE, true);
	is(&w, "r2701b", LIFE_PUBLISHED, false);
	pass(&w, 88 * DAY, LIFE_SHOWN, LIFE_OTHER);
	is(&w, "r2701a", LIFE_ACTIVE, true);
	pass(&w, 2 * DAY, LIFE_SHOWN, LIFE_OTHER);
	is(&w, "r2701b", LIFE_ACTIVE, true);
	is(&w, "e2701b", LIFE_ACTIVE, true);
	is(&w, "r2701a", LIFE_RETIRING, false);
	is(&w, "e2701a", LIFE_RETIRING, false);
	pass(&w, 5 * DAY, LIFE_SHOWN, LIFE_OTHER);
	is(&w, "r2701a", LIFE_RETIRING, false);
	assert_int_equal(life_record_of(&w.plan, key(&w, "r2701a")), LIFE_RECORD_KEY);
	pass(&w, 3 * DAY, LIFE_SHOWN, LIFE_OTHER);
	is(&w, "r2701a", LIFE_REVOKED, false);
	assert_true(str_is(life_record_text(&w.plan, key(&w, "r2701a")), "v=DKIM1; k=rsa; p="));
	assert_true(str_is(life_record_text(&w.plan, key(&w, "e2701a")), "v=DKIM1; k=ed25519; p="));
	pass(&w, 3 * DAY, LIFE_SHOWN, LIFE_GONE);
	is(&w, "r2701a", LIFE_REMOVED, false);
	end(&w);
}

/* What was seen an hour ago is not what counts at the turn. */
static void a_key_is_looked_at_at_its_turn(void **state)
{
	struct world w;
	struct life_key *k;
	int64_t turn;

	(void)state;
	begin(&w);
	pass(&w, DAY, LIFE_SHOWN, LIFE_OTHER);
	k = key(&w, "r2701b");
	turn = w.book.turned + w.plan.rotate;
	k->looked = w.now;
	assert_true(life_look_due(&w.plan, &w.book, k) == w.now + DAY);
	k->looked = turn - DAY / 2;
	assert_true(life_look_due(&w.plan, &w.book, k) == turn - DAY / 2 + HOUR);
	k->looked = turn - 60;
	assert_true(life_look_due(&w.plan, &w.book, k) == turn);
	k->looked = turn;
	assert_true(life_look_due(&w.plan, &w.book, k) == turn + HOUR);
	end(&w);
}

/* Four sets last for a year; the next four are made when one is left. */
static void records_are_asked_for_once_a_year(void **state)
{
	struct world w;
	size_t before;

	(void)state;
	begin(&w);
	before = w.book.n;
	pass(&w, 179 * DAY, LIFE_SHOWN, LIFE_GONE);
	assert_int_equal(w.book.n, before);
	pass(&w, 5 * DAY, LIFE_SHOWN, LIFE_GONE);
	assert_int_equal(w.book.n, before + 6);        /* three sets more: four are ahead again */
	pass(&w, 260 * DAY, LIFE_SHOWN, LIFE_GONE);
	assert_int_equal(w.book.n, before + 6);
	end(&w);
}

static void an_overdue_turn_waits_for_the_gate_and_says_so(void **state)
{
	struct world w;
	int64_t when;
	str said;

	(void)state;
	begin(&w);
	for (int i = 0; i < 2; i++, w.now += 60)
		look(&w, "r2701a", LIFE_SHOWN);
	w.now -= 60;
	turn(&w);
	is(&w, "r2701a", LIFE_ACTIVE, true);
	w.now += 91 * DAY;
	look(&w, "r2701a", LIFE_SHOWN);
	look(&w, "r2701b", LIFE_OTHER);
	turn(&w);
	is(&w, "r2701a", LIFE_ACTIVE, true);
	assert_true(life_troubled(&w.plan, &w.book, w.now));
	said = life_summary(&w.plan, &w.book, w.now, &w.a);
	assert_non_null(strstr(str_cstr(&w.a, said), "turn came on"));
	said = life_next_text(&w.plan, &w.book, key(&w, "r2701b"), w.now, &w.a, &when);
	assert_non_null(strstr(str_cstr(&w.a, said), "waits for DNS: ns1 shows what it shows"));
	look(&w, "r2701b", LIFE_SHOWN);
	w.now += HOUR;
	look(&w, "r2701b", LIFE_SHOWN);
	turn(&w);
	is(&w, "r2701b", LIFE_ACTIVE, true);
	is(&w, "r2701a", LIFE_RETIRING, false);
	assert_false(life_troubled(&w.plan, &w.book, w.now));
	end(&w);
}

/* ---- drift --------------------------------------------------------------------------------- */

static void active_twice(struct world *w)
{
	begin(w);
	pass(w, 91 * DAY, LIFE_SHOWN, LIFE_OTHER);
	is(w, "r2701b", LIFE_ACTIVE, true);
	is(w, "r2701a", LIFE_RETIRING, false);
}

static void a_key_that_dns_loses_stops_and_the_older_one_signs(void **state)
{
	struct world w;

	(void)state;
	active_twice(&w);
	look(&w, "r2701b", LIFE_OTHER);
	turn(&w);
	assert_int_equal(told(&w, LIFE_NEWS_DRIFT), 1);
	is(&w, "r2701b", LIFE_ACTIVE, false);
	is(&w, "r2701a", LIFE_RETIRING, true);
	is(&w, "e2701b", LIFE_ACTIVE, true);           /* its sister is another matter */
	assert_int_equal(key(&w, "r2701a")->signed_last, w.now);
	w.now += HOUR / 2;
	look(&w, "r2701b", LIFE_OTHER);
	turn(&w);
	assert_int_equal(told(&w, LIFE_NEWS_DRIFT), 1);        /* told once */
	/* Mended: two looks, an hour apart, for others are out. */
	look(&w, "r2701b", LIFE_SHOWN);
	w.now += HOUR;
	look(&w, "r2701b", LIFE_SHOWN);
	turn(&w);
	is(&w, "r2701b", LIFE_ACTIVE, true);
	is(&w, "r2701a", LIFE_RETIRING, false);
	assert_int_equal(told(&w, LIFE_NEWS_MENDED), 1);
	end(&w);
}

static void when_no_older_one_is_out_the_calendar_turns_early(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	pass(&w, DAY, LIFE_SHOWN, LIFE_OTHER);
	look(&w, "r2701a", LIFE_OTHER);
	turn(&w);
	is(&w, "r2701a", LIFE_ACTIVE, false);
	is(&w, "r2701b", LIFE_PUBLISHED, false);               /* not for a fault of a moment */
	w.now += HOUR;
	look(&w, "r2701a", LIFE_OTHER);
	turn(&w);
	is(&w, "r2701b", LIFE_ACTIVE, true);
	is(&w, "e2701b", LIFE_ACTIVE, true);
	is(&w, "r2701a", LIFE_RETIRING, false);
	is(&w, "e2701a", LIFE_RETIRING, false);
	end(&w);
}

static void silence_stops_nobody(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	pass(&w, DAY, LIFE_SHOWN, LIFE_OTHER);
	pass(&w, 30 * DAY, LIFE_SILENT, LIFE_SILENT);
	is(&w, "r2701a", LIFE_ACTIVE, true);
	assert_false(life_troubled(&w.plan, &w.book, w.now));
	end(&w);
}

/* ---- by hand, and other plans ------------------------------------------------------------------ */

static void rotate_refuses_with_the_reason_while_the_gate_is_shut(void **state)
{
	struct world w;
	str why = STR_NONE;

	(void)state;
	begin(&w);
	for (int i = 0; i < 2; i++, w.now += 60)
		look(&w, "r2701a", LIFE_SHOWN);
	w.now -= 60;
	turn(&w);
	look(&w, "r2701b", LIFE_OTHER);
	assert_false(life_rotate(&w.plan, &w.book, w.now, true, &w.a, &why, &w.told));
	assert_non_null(strstr(str_cstr(&w.a, why), "r2701b may not sign yet: ns1 shows"));
	look(&w, "r2701b", LIFE_SHOWN);
	assert_false(life_rotate(&w.plan, &w.book, w.now, false, &w.a, &why, &w.told));
	assert_non_null(strstr(str_cstr(&w.a, why), "--force"));
	assert_true(life_rotate(&w.plan, &w.book, w.now, true, &w.a, &why, &w.told));
	is(&w, "r2701b", LIFE_ACTIVE, true);
	end(&w);
}

static void rotate_turns_before_its_day(void **state)
{
	struct world w;
	str why = STR_NONE;

	(void)state;
	begin(&w);
	pass(&w, DAY, LIFE_SHOWN, LIFE_OTHER);
	assert_true(life_rotate(&w.plan, &w.book, w.now, false, &w.a, &why, &w.told));
	is(&w, "r2701b", LIFE_ACTIVE, true);
	is(&w, "e2701b", LIFE_ACTIVE, true);
	assert_int_equal(w.book.turned, w.now);
	end(&w);
}

static void without_a_gate_all_goes_by_calendar(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.plan.gate = false;
	turn(&w);
	is(&w, "r2701a", LIFE_ACTIVE, true);
	is(&w, "e2701a", LIFE_ACTIVE, true);
	assert_true(life_look_due(&w.plan, &w.book, key(&w, "r2701a")) == INT64_MAX);
	w.now += 90 * DAY;
	turn(&w);
	is(&w, "r2701b", LIFE_ACTIVE, true);
	end(&w);
}

static void an_algorithm_comes_and_goes(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	pass(&w, DAY, LIFE_SHOWN, LIFE_OTHER);
	w.plan.nalgorithms = 1;                                /* rsa alone */
	turn(&w);
	is(&w, "e2701a", LIFE_RETIRING, false);
	is(&w, "e2701b", LIFE_REVOKED, false);
	is(&w, "r2701a", LIFE_ACTIVE, true);
	w.plan.nalgorithms = 2;
	pass(&w, DAY, LIFE_SHOWN, LIFE_OTHER);
	is(&w, "e2701e", LIFE_ACTIVE, true);                   /* a new one, of the set whose turn it is */
	end(&w);
}

static void private_parts_are_put_away_when_dns_has_forgotten(void **state)
{
	struct world w;

	(void)state;
	begin(&w);
	w.plan.publish = true;
	pass(&w, 100 * DAY, LIFE_SHOWN, LIFE_OTHER);
	is(&w, "r2701a", LIFE_REVOKED, false);
	assert_int_equal(life_private_of(&w.plan, key(&w, "r2701a"), w.now), LIFE_PRIVATE_HERE);
	look(&w, "r2701a", LIFE_EMPTY);
	assert_int_equal(life_private_of(&w.plan, key(&w, "r2701a"), w.now), LIFE_PRIVATE_HERE);
	w.now += DAY;
	assert_int_equal(life_private_of(&w.plan, key(&w, "r2701a"), w.now), LIFE_PRIVATE_PUBLISHED);
	w.plan.publish = false;
	assert_int_equal(life_private_of(&w.plan, key(&w, "r2701a"), w.now), LIFE_PRIVATE_GONE);
	look(&w, "r2701a", LIFE_OTHER);                        /* it is back: nobody may have it */
	w.plan.publish = true;
	assert_int_equal(life_private_of(&w.plan, key(&w, "r2701a"), w.now), LIFE_PRIVATE_HERE);
	end(&w);
}

/* ---- a random operator ---------------------------------------------------------------------------- */

struct shadow { bool shown; int64_t good; bool earned; };   /* what the test knows of a key by itself */

static enum life_sight see(const struct shadow *s, const struct life_key *k)
{
	if (rand() % 8 == 0)
		return LIFE_SILENT;
	if (k->state >= LIFE_REVOKED)
		return s->shown ? LIFE_OTHER : LIFE_GONE;
	return s->shown ? LIFE_SHOWN : LIFE_OTHER;
}

static void check(const struct world *w, const struct shadow *s, const int64_t *last)
{
	for (size_t i = 0; i < w->book.n; i++) {
		const struct life_key *k = &w->book.keys[i];

		if (life_signs(&w->book, k)) {
			assert_true(s[i].earned);
			assert_true(k->state == LIFE_ACTIVE || k->state == LIFE_RETIRING);
			assert_int_equal(life_record_of(&w->plan, k), LIFE_RECORD_KEY);
		}
		if (last[i] != 0 && w->now - last[i] < w->plan.tail)
			assert_int_equal(life_record_of(&w->plan, k), LIFE_RECORD_KEY);
		assert_ptr_equal(life_find(&w->book, k->selector), k);         /* no name twice */
		for (size_t j = 0; life_signs(&w->book, k) && j < i; j++)
			assert_false(life_signs(&w->book, &w->book.keys[j]) && k->algorithm == w->book.keys[j].algorithm);
	}
}

static void whatever_an_operator_does_nothing_signs_that_is_not_out(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 10; seed++) {
		struct shadow s[400] = { { .shown = false } };
		int64_t last[400] = { 0 };
		struct world w;

		srand(seed);
		begin(&w);
		w.plan.rotate = (1 + rand() % 20) * DAY;
		w.plan.tail = (1 + rand() % 8) * DAY;
		w.plan.prepare = 1 + (unsigned)rand() % 5;
		for (int step = 0; step < 400; step++) {
			str why;

			w.now += 1 + rand() % (int)(DAY / 2);
			for (size_t i = 0; i < w.book.n && i < COUNT(s); i++) {
				struct life_key *k = &w.book.keys[i];
				int64_t interval = life_any_signs(&w.book) ? w.plan.look : w.plan.first_look;
				enum life_sight sight;

				if (rand() % 40 == 0)
					s[i].shown = !s[i].shown;
				if (life_look_due(&w.plan, &w.book, k) > w.now)
					continue;
				sight = see(&s[i], k);
				if (sight == LIFE_OTHER)
					s[i].earned = false, s[i].good = 0;
				if (sight == LIFE_SHOWN && s[i].good == 0)
					s[i].good = w.now;
				if (sight == LIFE_SHOWN && w.now - s[i].good >= interval)
					s[i].earned = true;
				life_looked(&w.plan, &w.book, k, sight, STR("said"), w.now, NULL);
			}
			life_turn(&w.plan, &w.book, w.now, NULL);
			if (rand() % 60 == 0)
				life_rotate(&w.plan, &w.book, w.now, false, &w.a, &why, NULL);
			if (w.book.n < 380)
				make(&w, NULL);
			for (size_t i = 0; i < w.book.n; i++)
				if (life_signs(&w.book, &w.book.keys[i]))
					last[i] = w.now;
			check(&w, s, last);
			assert_true(w.book.n <= COUNT(s));
		}
		end(&w);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(four_sets_are_prepared_at_once),
		cmocka_unit_test(a_name_that_is_taken_is_not_used),
		cmocka_unit_test(the_first_key_signs_after_two_good_looks_a_minute_apart),
		cmocka_unit_test(what_a_look_means_for_the_gate),
		cmocka_unit_test(nothing_becomes_active_on_a_silent_look),
		cmocka_unit_test(a_first_set_that_is_wrong_leaves_its_turn_to_the_next),
		cmocka_unit_test(sets_follow_each_other_by_calendar),
		cmocka_unit_test(a_key_is_looked_at_at_its_turn),
		cmocka_unit_test(records_are_asked_for_once_a_year),
		cmocka_unit_test(an_overdue_turn_waits_for_the_gate_and_says_so),
		cmocka_unit_test(a_key_that_dns_loses_stops_and_the_older_one_signs),
		cmocka_unit_test(when_no_older_one_is_out_the_calendar_turns_early),
		cmocka_unit_test(silence_stops_nobody),
		cmocka_unit_test(rotate_refuses_with_the_reason_while_the_gate_is_shut),
		cmocka_unit_test(rotate_turns_before_its_day),
		cmocka_unit_test(without_a_gate_all_goes_by_calendar),
		cmocka_unit_test(an_algorithm_comes_and_goes),
		cmocka_unit_test(private_parts_are_put_away_when_dns_has_forgotten),
		cmocka_unit_test(whatever_an_operator_does_nothing_signs_that_is_not_out),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
