/* SPDX-License-Identifier: ISC */
/*
 * The relay tricks against directories that hold, and one that does not.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <time.h>

#include "smtpd/session/relay_test.h"
#include "smtpd/session/session.h"

static struct directory *with(struct arena *a, const char *catch_all, const char *postmaster)
{
	static const str target = STR("alice@here.test");
	static const struct strs targets = { (str *)(uintptr_t)&target, 1 };
	struct directory *d = directory_new(a, '+');
	const struct directory_domain here = { .name = STR("here.test"), .catch_all = str_of(catch_all) };

	assert_int_equal(directory_add_domain(d, &here), OK);
	assert_int_equal(directory_add_account(d, STR("alice@here.test")), OK);
	assert_int_equal(directory_add_alias(d, STR("sales@here.test"), &targets), OK);
	directory_set_postmaster(d, str_of(postmaster));
	return d;
}

static const str names[] = { STR("here.test"), STR("second.test") };
static const struct strs ours = { (str *)(uintptr_t)names, 1 }, both = { (str *)(uintptr_t)names, 2 };

struct tally { size_t tried, admitted, through; };

static void seen(void *arg, const struct relay_trick *t)
{
	struct tally *n = arg;

	n->tried++;
	n->admitted += str_starts(str_of(t->answer), "250");
	n->through += t->let_through;
	assert_true(t->answer != NULL && t->name != NULL);
}

static void nobody_gets_through(void **state)
{
	static const struct { const char *catch_all, *postmaster; } cases[] = {
		{ "", "alice@here.test" },
		{ "alice@here.test", "alice@here.test" },
		{ "someone@far.test", "alice@here.test" },       /* outside, but as the configuration says */
		{ "", "admin@far.test" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tally n = { 0 };
		struct arena a;

		arena_init(&a, ARENA_UNBOUNDED);
		assert_int_equal(relay_test(with(&a, cases[i].catch_all, cases[i].postmaster), STR("mail.here.test"), &ours, seen, &n), 0);
		assert_int_equal(n.through, 0);
		assert_true(n.tried > 500 && (n.admitted > 0) == (cases[i].catch_all[0] != 0) && n.admitted < n.tried);
		arena_fini(&a);
	}
}

/* The test can fail: here a stranger's words lead where he wants. */
static void somebody_does(void **state)
{
	struct tally n = { 0 };
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	assert_true(relay_test(with(&a, "relay-test@outside.invalid", "alice@here.test"), STR("mail.here.test"), &ours, seen, &n) > 0);
	assert_true(n.through > 0);
	arena_fini(&a);
}

/* One for people here only is tried as that; one that sends out needs no trick,
 * unless a whole network could call itself so. */
static void devices_are_tried(void **state)
{
	static const struct { const char *address; int to; bool tried, through; } cases[] = {
		{ "192.168.1.20", DEVICE_LOCAL, true, false }, { "192.168.0.0/16", DEVICE_LOCAL, true, false },
		{ "192.168.1.20", DEVICE_ANY, false, false }, { "192.168.1.16/29", DEVICE_ANY, false, false },
		{ "192.168.1.16/28", DEVICE_ANY, true, true }, { "2001:db8::/125", DEVICE_ANY, false, false },
		{ "2001:db8::/64", DEVICE_ANY, true, true },
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		str address = str_of(cases[i].address);
		const struct device_conf scanner = { .head.title = STR("scanner"), .address = { &address, 1 },
			                             .as = STR("alice@here.test"), .to = cases[i].to };
		struct tally n = { 0 };
		size_t through = relay_test_device(with(&a, "", "alice@here.test"), STR("mail.here.test"), &ours, &scanner, seen, &n);

		assert_int_equal(through, n.through);
		assert_int_equal(n.tried > 50, cases[i].tried);
		assert_int_equal(through > 0, cases[i].through);
	}
	arena_fini(&a);
}

/* A second domain that is let through is found as well. */
static void every_domain_is_tried(void **state)
{
	const struct directory_domain second = { .name = STR("second.test"), .catch_all = STR("relay-test@outside.invalid") };
	struct tally n = { 0 };
	struct directory *d;
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	d = with(&a, "", "alice@here.test");
	assert_int_equal(directory_add_domain(d, &second), OK);
	assert_int_equal(relay_test(d, STR("mail.here.test"), &ours, seen, &n), 0);
	assert_true(relay_test(d, STR("mail.here.test"), &both, seen, &n) > 0);
	arena_fini(&a);
}

#ifdef SANITIZED
enum { QUICK_MS = 100 };
#else
enum { QUICK_MS = 20 };               /* of the processor; it takes about 3 */
#endif

static void it_is_quick(void **state)
{
	struct timespec begun, ended;
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begun);
	relay_test(with(&a, "alice@here.test", "alice@here.test"), STR("mail.here.test"), &ours, NULL, NULL);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ended);
	assert_true((ended.tv_sec - begun.tv_sec) * 1000 + (ended.tv_nsec - begun.tv_nsec) / 1000000 < QUICK_MS);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_gets_through), cmocka_unit_test(somebody_does), cmocka_unit_test(devices_are_tried), cmocka_unit_test(every_domain_is_tried),
		cmocka_unit_test(it_is_quick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
