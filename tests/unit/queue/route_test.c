/* SPDX-License-Identifier: ISC */
/* Who goes where. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "queue/deliver/route.h"

static struct arena arena;
static struct directory *directory;

static void add_domain(const char *name, enum place_kind kind, const char *route)
{
	const struct directory_domain d = {
		.name = str_of(name), .route = str_of(route),
		.place = { .kind = kind, .path = STR("/mail/%d/%u"), .lmtp = STR("unix:/run/lmtp"), .uid = (uid_t)-1,
		           .gid = (gid_t)-1, .mode = 0700 },
	};

	assert_int_equal(directory_add_domain(directory, &d), OK);
}

static void add_alias(const char *name, const char *a, const char *b)
{
	str v[] = { str_of(a), str_of(b) };
	struct strs targets = { v, b != NULL ? 2 : 1 };

	assert_int_equal(directory_add_alias(directory, str_of(name), &targets), OK);
}

static int set_up(void **state)
{
	(void)state;
	arena_init(&arena, ARENA_UNBOUNDED);
	directory = directory_new(&arena, '+');
	add_domain("home.test", PLACE_MAILDIR, NULL);
	add_domain("office.test", PLACE_MAILDIR, "127.0.0.1:2525");
	add_domain("lmtp.test", PLACE_LMTP, NULL);
	directory_add_account(directory, STR("anna@home.test"));
	directory_add_account(directory, STR("bob@office.test"));
	directory_add_account(directory, STR("carl@lmtp.test"));
	add_alias("one@home.test", "anna@home.test", NULL);
	add_alias("out@home.test", "x@far.test", NULL);
	add_alias("many@home.test", "anna@home.test", "bob@office.test");
	add_alias("loop@home.test", "pool@home.test", NULL);
	add_alias("pool@home.test", "loop@home.test", NULL);
	directory_set_postmaster(directory, STR("anna@home.test"));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static void addresses_have_routes(void **state)
{
	static const struct { const char *address; unsigned flags; bool smarthost; enum route_kind kind; const char *key, *account; } cases[] = {
		{ "anna@home.test", RCPT_LOCAL, false, ROUTE_MAILDIR, "maildir", "anna@home.test" },
		{ "anna+list@home.test", RCPT_LOCAL, false, ROUTE_MAILDIR, "maildir", "anna@home.test" },
		{ "ANNA@home.test", RCPT_LOCAL, false, ROUTE_MAILDIR, "maildir", "anna@home.test" },
		{ "gone@home.test", RCPT_LOCAL, false, ROUTE_NOWHERE, "nowhere", "" },
		{ "anna@home.test", RCPT_LOCAL | RCPT_ROUTE, false, ROUTE_MAILDIR, "maildir", "anna@home.test" },
		{ "bob@office.test", RCPT_LOCAL, false, ROUTE_MAILDIR, "maildir", "bob@office.test" },
		{ "bob@office.test", RCPT_LOCAL | RCPT_ROUTE, false, ROUTE_HOST, "route:127.0.0.1:2525", "" },
		{ "gone@office.test", RCPT_LOCAL | RCPT_ROUTE, false, ROUTE_HOST, "route:127.0.0.1:2525", "" },
		{ "carl@lmtp.test", RCPT_LOCAL, false, ROUTE_LMTP, "lmtp:unix:/run/lmtp", "carl@lmtp.test" },
		{ "x@far.test", 0, false, ROUTE_MX, "smtp:far.test", "" },
		{ "x@far.test", RCPT_LOCAL, false, ROUTE_MX, "smtp:far.test", "" },      /* was ours once */
		{ "x@[192.0.2.1]", 0, false, ROUTE_MX, "smtp:[192.0.2.1]", "" },
		{ "x@far.test", 0, true, ROUTE_HOST, "via:smart.test:587/may", "" },
		{ "anna@home.test", 0, true, ROUTE_MAILDIR, "maildir", "anna@home.test" },
		{ "one@home.test", RCPT_LOCAL, false, ROUTE_MAILDIR, "maildir", "anna@home.test" },
		{ "out@home.test", RCPT_LOCAL, false, ROUTE_MX, "smtp:far.test", "" },
		{ "many@home.test", RCPT_LOCAL, false, ROUTE_UNCLEAR, "nowhere", "" },
		{ "loop@home.test", RCPT_LOCAL, false, ROUTE_UNCLEAR, "nowhere", "" },
		{ "postmaster", RCPT_LOCAL, false, ROUTE_MAILDIR, "maildir", "anna@home.test" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct relay_conf relay = { .smarthost = { .via = cases[i].smarthost ? STR("smart.test:587") : STR_NONE, .tls = HOP_MAY } };
		const struct deliver_setup setup = { .relay = &relay, .directory = directory, .hostname = STR("us.test") };
		struct route r;

		route_find(&setup, &arena, STR("anna@home.test"), str_of(cases[i].address), cases[i].flags, &r);
		if (r.kind != cases[i].kind || !str_is(r.key, cases[i].key) || !str_is(r.account, cases[i].account))
			fail_msg("%s (%u): kind %d, key %.*s, account %.*s", cases[i].address, cases[i].flags, (int)r.kind,
			         STR_ARG(r.key), STR_ARG(r.account));
		if (r.kind == ROUTE_NOWHERE || r.kind == ROUTE_UNCLEAR)
			assert_true(r.said.n > 10 && r.status.n == 5);
	}
}

static void no_memory_is_no_bounce(void **state)
{
	const struct relay_conf relay = { 0 };
	const struct deliver_setup setup = { .relay = &relay, .directory = directory, .hostname = STR("us.test") };
	struct arena small;
	struct route r;

	(void)state;
	arena_init(&small, 1);
	route_find(&setup, &small, STR_NONE, STR("anna@home.test"), RCPT_LOCAL, &r);
	assert_int_equal(r.kind, ROUTE_UNCLEAR);
	arena_fini(&small);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_have_routes),
		cmocka_unit_test(no_memory_is_no_bounce),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
