/* SPDX-License-Identifier: ISC */
/*
 * What an account may send: windows, recipients it knows, one piece of news, and
 * what outlives the process.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/session/breaker.h"

#define NOW ((int64_t)1800000000)
#define ALICE STR("alice@here.test")

static const unsigned char secret[32] = "a secret of thirty-two octets ..";
static struct mbox *box;

static void shut(struct baton *b) { (void)b; }

static int setup(void **state)
{
	box = mbox_new(NULL, NULL);
	*state = breaker_new(secret, box, shut);
	return *state == NULL;
}

static size_t news(struct breaker_news *last)
{
	size_t n = 0;

	for (struct baton *b = mbox_take_all(box), *next; b != NULL; b = next, n++) {
		next = b->next;
		*last = *SUPER(b, struct breaker_news, baton);
		free(SUPER(b, struct breaker_news, baton));
	}
	return n;
}

static int teardown(void **state)
{
	struct breaker_news last;

	news(&last);
	breaker_free(*state);
	mbox_free(box);
	return 0;
}

/* One message to `n` strangers whose numbers begin at `first`. */
static bool sends(struct breaker *b, const struct allowance_conf *a, str who, int first, int n, int64_t now)
{
	struct arena arena;
	const struct path *v[1000];
	struct breaker_message m = { .account = who, .ip = STR("192.0.2.7"), .nrcpt = (size_t)n, .outside = v, .noutside = (size_t)n };
	bool held;

	arena_init(&arena, ARENA_UNBOUNDED);
	for (int i = 0; i < n; i++) {
		struct path *p = ARENA_NEW(&arena, struct path);

		assert_true(path_of(&arena, arena_printf(&arena, "v%d@far.test", first + i), p));
		v[i] = p;
	}
	held = breaker_takes(b, a, &m, now);
	arena_fini(&arena);
	return held;
}

static void each_limit_holds(void **state)
{
	static const struct { struct allowance_conf a; int rcpts, good; const char *what; } cases[] = {
		{ { .messages_hour = 3 }, 1, 3, "messages in an hour" },
		{ { .messages_day = 5 }, 1, 5, "messages in a day" },
		{ { .recipients_message = 2 }, 3, 0, "recipients of one message" },
		{ { .recipients_hour = 10 }, 4, 2, "recipients in an hour" },
		{ { .recipients_day = 12 }, 4, 3, "recipients in a day" },
		{ { .new_hour = 8 }, 4, 2, "recipients in an hour that it never wrote to before" },
		{ { .new_hour = 0 }, 4, 50, NULL },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		char name[32];
		struct breaker_news last = { 0 };

		snprintf(name, sizeof(name), "user%zu@here.test", i);
		for (int k = 0; k < 50; k++)
			assert_int_equal(sends(*state, &cases[i].a, str_of(name), k * 4, cases[i].rcpts, NOW), k >= cases[i].good);
		assert_int_equal(news(&last), cases[i].what != NULL);      /* once, however much follows */
		if (cases[i].what != NULL) {
			assert_string_equal(last.what, cases[i].what);
			assert_string_equal(last.account, name);
			assert_string_equal(last.ip, "192.0.2.7");
		}
	}
}

static void windows_move_on(void **state)
{
	const struct allowance_conf a = { .messages_hour = 2, .messages_day = 4 };

	assert_false(sends(*state, &a, ALICE, 0, 1, NOW));
	assert_false(sends(*state, &a, ALICE, 0, 1, NOW));
	assert_false(sends(*state, &a, ALICE, 0, 1, NOW + 4500));
	assert_false(sends(*state, &a, ALICE, 0, 1, NOW + 4500));
	assert_false(sends(*state, &a, ALICE, 0, 1, NOW + 86400 + 900));
	assert_false(sends(*state, &a, ALICE, 0, 1, NOW + 86400 + 900));
	assert_true(sends(*state, &a, ALICE, 0, 1, NOW + 86400 + 900));
}

static void names_are_one_whatever_the_case(void **state)
{
	const struct allowance_conf a = { .messages_day = 1 };

	assert_false(sends(*state, &a, ALICE, 0, 1, NOW));
	assert_true(sends(*state, &a, STR("Alice@HERE.test"), 0, 1, NOW));
	assert_false(sends(*state, &a, STR("bob@here.test"), 0, 1, NOW));
	assert_int_equal(breaker_state(*state, ALICE), BREAKER_HELD);
	assert_int_equal(breaker_state(*state, STR("nobody@here.test")), BREAKER_OPEN);
}

static void who_is_known_is_no_news(void **state)
{
	const struct allowance_conf a = { .new_hour = 100 };

	for (int k = 0; k < 50; k++)
		assert_false(sends(*state, &a, ALICE, 0, 100, NOW));
	assert_true(sends(*state, &a, ALICE, 1000, 1, NOW));
	assert_true(breaker_set(*state, ALICE, BREAKER_OPEN));
	assert_false(sends(*state, &a, ALICE, 0, 100, NOW));            /* counters begin again, acquaintances stay */
	assert_false(sends(*state, &a, ALICE, 2000, 100, NOW));
	assert_true(sends(*state, &a, ALICE, 3000, 1, NOW));
}

static void bounces_above_a_share(void **state)
{
	const struct allowance_conf a = { .bounces_percent = 30 };
	struct breaker_news last;

	assert_false(sends(*state, &a, ALICE, 0, 100, NOW));
	breaker_bounced(*state, &a, ALICE, 19, NOW);
	breaker_bounced(*state, &a, ALICE, 11, NOW);
	assert_int_equal(breaker_state(*state, ALICE), BREAKER_OPEN);   /* 30 of 100 */
	breaker_bounced(*state, &a, ALICE, 1, NOW);
	assert_int_equal(breaker_state(*state, ALICE), BREAKER_HELD);
	assert_int_equal(news(&last), 1);
	assert_int_equal(last.count, 31);
}

static void remember_shut(void *arg, const struct breaker_shut *b)
{
	struct breaker_shut *last = arg;

	assert_null(last->account.p);
	*last = *b;
}

struct kept { char *text; size_t n, times; };

static void keep(void *arg, str account, str value)
{
	struct kept *k = arg;

	assert_true(str_eq(account, ALICE) && value.n <= (size_t)64 << 10);
	free(k->text);
	k->text = malloc(value.n);
	memcpy(k->text, value.p, value.n);
	k->n = value.n;
	k->times++;
}

static void it_outlives_the_process(void **state)
{
	const struct allowance_conf a = { .new_hour = 4000, .messages_day = 50 };
	struct kept k = { 0 };
	struct breaker_shut told = { 0 };
	struct breaker *next;
	int64_t since;

	for (int i = 0; i < 40; i++)
		assert_false(sends(*state, &a, ALICE, i * 100, 100, NOW + i * 900));
	breaker_each_changed(*state, keep, &k);
	breaker_each_changed(*state, keep, &k);                 /* nothing new to write */
	assert_int_equal(k.times, 1);
	next = breaker_new(secret, box, shut);
	breaker_restore(next, ALICE, (str){ k.text, k.n });
	for (int i = 0; i < 10; i++)
		assert_false(sends(next, &(struct allowance_conf){ .new_hour = 450, .messages_day = 50 }, ALICE, 3000 + i * 100, 100,
		                   NOW + 40 * 900));
	assert_true(sends(next, &a, ALICE, 0, 1, NOW + 40 * 900));      /* the fifty-first */
	breaker_explain(next, ALICE, STR("51 messages in a day,\nof which 50 are allowed"));
	breaker_each_changed(next, keep, &k);
	breaker_each_shut(next, remember_shut, &told);
	assert_true(told.since > 0 && told.state == BREAKER_HELD && str_is(told.why, "51 messages in a day,?of which 50 are allowed"));
	since = told.since;
	breaker_free(next);
	next = breaker_new(secret, box, shut);
	breaker_restore(next, ALICE, (str){ k.text, k.n });
	assert_int_equal(breaker_state(next, ALICE), BREAKER_HELD);
	told = (struct breaker_shut){ 0 };
	breaker_each_shut(next, remember_shut, &told);
	assert_true(told.since == since && str_is(told.why, "51 messages in a day,?of which 50 are allowed"));
	breaker_set(next, ALICE, BREAKER_OPEN);
	told = (struct breaker_shut){ 0 };
	breaker_each_shut(next, remember_shut, &told);
	assert_null(told.account.p);
	breaker_free(next);
	free(k.text);
}

static void damaged_notes_are_nothing(void **state)
{
	static const char *const texts[] = {
		"", "x", "postern-allowance-1 9\n", "postern-allowance-2 1\n", "postern-allowance-1 1", 
		"postern-allowance-1 0\nc 9 1 1\nc 0 99999999999999 1\nk 999 1\nk 1\nk\nk zz 1\nc\n\n", "postern-allowance-1 0\nh\nh x y\nh 99999999999999999999 z\n", "postern-allowance-1 0\nk 1 1 2 3 4 5 6 7 8 9 a b fffffffff 1\n",
	};

	for (size_t i = 0; i < COUNT(texts); i++) {
		breaker_restore(*state, ALICE, str_of(texts[i]));
		assert_int_equal(breaker_state(*state, ALICE), strcmp(texts[i], "postern-allowance-1 1") == 0 ? BREAKER_HELD : BREAKER_OPEN);
		breaker_set(*state, ALICE, BREAKER_OPEN);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(each_limit_holds), T(windows_move_on), T(names_are_one_whatever_the_case), T(who_is_known_is_no_news),
		T(bounces_above_a_share), T(it_outlives_the_process), T(damaged_notes_are_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
