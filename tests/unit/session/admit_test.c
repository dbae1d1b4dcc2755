/* SPDX-License-Identifier: ISC */
/*
 * The relay rule against the known tricks, as a stranger and with a login.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "smtpd/session/internal.h"

/* here.test has alice, an alias sales, and one odd mailbox; catch.test takes all names. */
static struct directory *directory(struct arena *a)
{
	static const str target = STR("alice@here.test");
	static const struct strs targets = { (str *)&target, 1 };
	struct directory *d = directory_new(a, '+');
	const struct directory_domain here = { .name = STR("here.test") };
	const struct directory_domain all = { .name = STR("catch.test"), .catch_all = STR("alice@here.test") };

	assert_int_equal(directory_add_domain(d, &here), OK);
	assert_int_equal(directory_add_domain(d, &all), OK);
	assert_int_equal(directory_add_account(d, STR("alice@here.test")), OK);
	assert_int_equal(directory_add_account(d, STR("50%@here.test")), OK);
	assert_int_equal(directory_add_alias(d, STR("sales@here.test"), &targets), OK);
	directory_set_postmaster(d, STR("alice@here.test"));
	return d;
}

enum { NOT_READ = -1 };

static const struct { const char *to; int stranger, login; } cases[] = {
	{ "<alice@here.test>", ADMIT_LOCAL, ADMIT_LOCAL },
	{ "<ALICE@HERE.TEST>", ADMIT_LOCAL, ADMIT_LOCAL },
	{ "<alice+shop@here.test>", ADMIT_LOCAL, ADMIT_LOCAL },
	{ "<\"alice\"@here.test>", ADMIT_LOCAL, ADMIT_LOCAL },
	{ "<sales@here.test>", ADMIT_LOCAL, ADMIT_LOCAL },
	{ "<postmaster>", ADMIT_LOCAL, ADMIT_LOCAL },
	{ "<Postmaster@here.test>", ADMIT_LOCAL, ADMIT_LOCAL },
	{ "<anybody@catch.test>", ADMIT_LOCAL, ADMIT_LOCAL },
	{ "<nobody@here.test>", ADMIT_UNKNOWN_USER, ADMIT_UNKNOWN_USER },
	{ "<50%@here.test>", ADMIT_LOCAL, ADMIT_LOCAL },
	{ "<user@elsewhere.test>", ADMIT_NO_RELAY, ADMIT_ANYWHERE },
	{ "<user@sub.here.test>", ADMIT_NO_RELAY, ADMIT_ANYWHERE },
	{ "<user@here.test.elsewhere.test>", ADMIT_NO_RELAY, ADMIT_ANYWHERE },
	{ "<user@nothere.test>", ADMIT_NO_RELAY, ADMIT_ANYWHERE },
	{ "<user%elsewhere.test@here.test>", ADMIT_NO_RELAY, ADMIT_UNKNOWN_USER },
	{ "<user%elsewhere.test@catch.test>", ADMIT_NO_RELAY, ADMIT_LOCAL },
	{ "<elsewhere.test!user@here.test>", ADMIT_NO_RELAY, ADMIT_UNKNOWN_USER },
	{ "<elsewhere.test!user@catch.test>", ADMIT_NO_RELAY, ADMIT_LOCAL },
	{ "<\"user@elsewhere.test\"@here.test>", ADMIT_NO_RELAY, ADMIT_UNKNOWN_USER },
	{ "<\"user@elsewhere.test\"@catch.test>", ADMIT_NO_RELAY, ADMIT_LOCAL },
	{ "<\"user%elsewhere.test\"@here.test>", ADMIT_NO_RELAY, ADMIT_UNKNOWN_USER },
	{ "<@here.test:user@elsewhere.test>", ADMIT_NO_RELAY, ADMIT_ANYWHERE },
	{ "<@here.test,@catch.test:user@elsewhere.test>", ADMIT_NO_RELAY, ADMIT_ANYWHERE },
	{ "<@elsewhere.test:alice@here.test>", ADMIT_LOCAL, ADMIT_LOCAL },
	{ "<user@[192.0.2.1]>", ADMIT_NO_RELAY, ADMIT_ANYWHERE },
	{ "<alice@[127.0.0.1]>", ADMIT_NO_RELAY, ADMIT_ANYWHERE },
	{ "<user@[IPv6:2001:db8::1]>", ADMIT_NO_RELAY, ADMIT_ANYWHERE },
	{ "<user@elsewhere.test@here.test>", NOT_READ, NOT_READ },
	{ "<user@here.test@elsewhere.test>", NOT_READ, NOT_READ },
	{ "<user@elsewhere.test,alice@here.test>", NOT_READ, NOT_READ },
};

static void the_rule_holds(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena arena;
		struct directory_answer found;
		const struct directory *d;
		struct path to;
		const char *why;
		str rest;
		int got[2] = { NOT_READ, NOT_READ };

		arena_init(&arena, ARENA_UNBOUNDED);
		d = directory(&arena);
		if (path_parse(&arena, str_of(cases[i].to), true, false, &to, &rest, &why) && rest.n == 0) {
			got[0] = (int)admit_rcpt(d, &arena, false, &to, &found);
			got[1] = (int)admit_rcpt(d, &arena, true, &to, &found);
		}
		if (got[0] != cases[i].stranger || got[1] != cases[i].login)
			fail_msg("%s: stranger %d, login %d", cases[i].to, got[0], got[1]);
		arena_fini(&arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(the_rule_holds) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
