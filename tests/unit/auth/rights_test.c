/* SPDX-License-Identifier: ISC */
/* Rights: which addresses a login may call its own. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "auth/auth.h"
#include "smtpd/base/err.h"

static struct arena arena;
static struct directory *directory;

static void add_domain(const char *name, const char *catch_all)
{
	const struct directory_domain d = { .name = str_of(name), .catch_all = str_of(catch_all) };

	assert_int_equal(directory_add_domain(directory, &d), OK);
}

static void add_alias(const char *address, const char *targets)
{
	str *v = ARENA_ARRAY(&arena, str, 8);
	struct strs list = { v, 0 };

	for (str rest = str_of(targets); str_cut(&rest, ' ', &v[list.n]);)
		list.n++;
	assert_int_equal(directory_add_alias(directory, str_of(address), &list), OK);
}

static int begin(void **state)
{
	(void)state;
	arena_init(&arena, ARENA_UNBOUNDED);
	directory = directory_new(&arena, '+');
	assert_non_null(directory);
	add_domain("home.test", "");
	add_domain("all.test", "carol@home.test");
	directory_add_account(directory, STR("alice@home.test"));
	directory_add_account(directory, STR("bob@home.test"));
	directory_add_account(directory, STR("carol@home.test"));
	directory_add_account(directory, STR("dave@all.test"));
	add_alias("info@home.test", "alice@home.test");
	add_alias("team@home.test", "info@home.test bob@home.test outside@far.test");
	add_alias("tagged@home.test", "alice+tag@home.test");
	add_alias("loop1@home.test", "loop2@home.test");
	add_alias("loop2@home.test", "loop1@home.test");
	add_alias("far@home.test", "alice@far.test");
	return 0;
}

static int end(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static void owned(void **state)
{
	static const struct { const char *login, *as; bool want; } cases[] = {
		{ "alice@home.test", "alice@home.test", true },
		{ "alice@home.test", "ALICE@HOME.test", true },
		{ "Alice@home.test", "alice@home.test", true },
		{ "alice@home.test", "alice+shop@home.test", true },
		{ "alice@home.test", "alice+@home.test", true },
		{ "alice@home.test", "\"alice\"@home.test", true },
		{ "alice@home.test", "info@home.test", true },
		{ "alice@home.test", "info+x@home.test", true },
		{ "alice@home.test", "team@home.test", true },
		{ "alice@home.test", "tagged@home.test", true },
		{ "bob@home.test", "team@home.test", true },
		{ "carol@home.test", "anybody@all.test", true },
		{ "carol@home.test", "dave@all.test", false },
		{ "alice@home.test", "bob@home.test", false },
		{ "alice@home.test", "bob+alice@home.test", false },
		{ "alice@home.test", "alice@all.test", false },
		{ "alice@home.test", "alice@far.test", false },
		{ "alice@home.test", "far@home.test", false },
		{ "alice@home.test", "nobody@home.test", false },
		{ "alice@home.test", "loop1@home.test", false },
		{ "alice@home.test", "+alice@home.test", false },
		{ "alice@home.test", "alice@[127.0.0.1]", false },
		{ "bob@home.test", "info@home.test", false },
		{ "", "alice@home.test", false },
		{ "alice", "alice@home.test", false },
		{ "eve@closed.test", "eve@closed.test", true },
		{ "eve@closed.test", "eve+x@closed.test", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct path p;

		assert_true(path_of(&arena, str_of(cases[i].as), &p));
		if (auth_owns(directory, &arena, str_of(cases[i].login), &p) != cases[i].want)
			fail_msg("%s as %s", cases[i].login, cases[i].as);
	}
}

/* The session judges the null sender itself; nobody owns it. */
static void null_sender(void **state)
{
	const struct path null = { .is_null = true };

	(void)state;
	assert_false(auth_owns(directory, &arena, STR("alice@home.test"), &null));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(owned, begin, end),
		cmocka_unit_test_setup_teardown(null_sender, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
