/* SPDX-License-Identifier: ISC */
/* Which messages --to, --from, --older and --state mean. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "queue/filter.h"

#define NOW 1000000

/* Two recipients: alice waits, bob is held; from anna, an hour old. */
static struct queue_entry entry(struct queue_rcpt rcpts[2])
{
	rcpts[0] = (struct queue_rcpt){ .address = STR("alice@far.test"), .state = RCPT_WAITING };
	rcpts[1] = (struct queue_rcpt){ .address = STR("bob@other.test"), .state = RCPT_HELD };
	return (struct queue_entry){ .arrived = NOW - 3600, .sender = STR("anna@here.test"), .rcpts = rcpts, .nrcpts = 2 };
}

static const struct { const char *words[8]; bool fits; } cases[] = {
	{ { NULL }, true },
	{ { "--to", "alice" }, true },
	{ { "--to", "ALICE@FAR" }, true },
	{ { "--to", "carol" }, false },
	{ { "--from", "here.test" }, true },
	{ { "--from", "far.test" }, false },
	{ { "--from", "<>" }, false },
	{ { "--older", "59m" }, true },
	{ { "--older", "61m" }, false },
	{ { "--older", "1h" }, true },
	{ { "--older", "1d" }, false },
	{ { "--state", "waiting" }, true },
	{ { "--state", "held" }, true },
	{ { "--state", "staged" }, false },
	{ { "--state", "staged", "--state", "held" }, true },
	{ { "--to", "alice", "--state", "held" }, false },        /* it is bob's that is held */
	{ { "--to", "bob", "--state", "held" }, true },
	{ { "--to", "bob", "--from", "anna", "--older", "10m" }, true },
	{ { "--state", "damaged" }, false },
	{ { "--state", "breaker" }, false },
};

static void read_words(const char *const words[8], struct queue_filter *f)
{
	const char *why;

	*f = (struct queue_filter){ .older_s = 0 };
	for (size_t i = 0; i < 8 && words[i] != NULL; i += 2)
		assert_true(queue_filter_take(f, str_of(words[i]), str_of(words[i + 1]), &why));
}

static void what_fits(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct queue_rcpt rcpts[2];
		struct queue_entry e = entry(rcpts);
		struct queue_filter f;

		read_words(cases[i].words, &f);
		assert_int_equal(queue_filter_fits(&f, &e, NOW), cases[i].fits);
		assert_int_equal(queue_filter_is_empty(&f), cases[i].words[0] == NULL);
	}
}

static void what_cannot_be_trusted(void **state)
{
	struct queue_entry damaged = { .arrived = NOW, .damage = "its row" };
	struct queue_rcpt rcpts[2];
	struct queue_entry breaker = entry(rcpts), twice = entry(rcpts), settled = entry(rcpts);
	struct queue_filter f;
	const char *why;

	(void)state;
	breaker.flags = MESSAGE_BREAKER;
	twice.aside = true;
	f = (struct queue_filter){ .states = STATE_DAMAGED };
	assert_true(queue_filter_fits(&f, &damaged, NOW));
	assert_false(queue_filter_fits(&f, &twice, NOW));
	f.states = STATE_ASIDE;
	assert_true(queue_filter_fits(&f, &damaged, NOW));
	assert_true(queue_filter_fits(&f, &twice, NOW));
	assert_false(queue_filter_fits(&f, &breaker, NOW));
	f.states = STATE_BREAKER;
	assert_true(queue_filter_fits(&f, &breaker, NOW));
	settled.rcpts[0].state = settled.rcpts[1].state = RCPT_SETTLED;
	f = (struct queue_filter){ .to = STR("alice") };
	assert_false(queue_filter_fits(&f, &settled, NOW));
	assert_true(queue_filter_take(&f, STR("--from"), STR("<>"), &why));
	f.to = STR_NONE;
	assert_true(queue_filter_fits(&f, &damaged, NOW));
}

static void what_is_refused(void **state)
{
	static const struct { const char *option, *value; bool named; } bad[] = {
		{ "--older", "2", true }, { "--older", "h", true }, { "--older", "2x", true }, { "--older", "", true },
		{ "--older", "-2h", true }, { "--older", "99999999999h", true }, { "--state", "dead", true },
		{ "--state", "", true }, { "--whom", "x", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct queue_filter f = { .older_s = 0 };
		const char *why;

		assert_false(queue_filter_take(&f, str_of(bad[i].option), str_of(bad[i].value), &why));
		assert_int_equal(why != NULL, bad[i].named);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_fits), cmocka_unit_test(what_cannot_be_trusted), cmocka_unit_test(what_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
