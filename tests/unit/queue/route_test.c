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

/* Whom the next hop is asked for, and what was decided on the way in. */
static void routes_say_more(void **state)
{
	static const struct { const char *address; unsigned flags; enum route_kind kind; const char *to, *via, *status, *lmtp; } cases[] = {
		{ "anna@home.test", RCPT_LOCAL, ROUTE_MAILDIR, "", "", "", "" },
		{ "one@home.test", RCPT_LOCAL, ROUTE_MAILDIR, "", "", "", "" },
		{ "keep@home.test", RCPT_LOCAL, ROUTE_MAILDIR, "", "", "", "" },           /* itself among several */
		{ "out@home.test", RCPT_LOCAL, ROUTE_MX, "x@far.test", "home.test", "", "" },
		{ "x@far.test", 0, ROUTE_MX, "", "", "", "" },
		{ "carl+x@lmtp.test", RCPT_LOCAL, ROUTE_LMTP, "", "", "", "unix:/run/lmtp" },
		{ "sink@home.test", RCPT_LOCAL, ROUTE_LMTP, "carl@lmtp.test", "", "", "unix:/run/lmtp" },
		{ "sink@home.test", RCPT_LOCAL | RCPT_QUARANTINE, ROUTE_LMTP, "carl@lmtp.test", "", "", "unix:/run/lmtp" },
		{ "dora+x@lmtp.test", RCPT_LOCAL, ROUTE_LMTP, "", "", "", "127.0.0.1:24" },
		{ "dora+x@lmtp.test", RCPT_LOCAL | RCPT_QUARANTINE, ROUTE_LMTP, "dora+Junk@lmtp.test", "", "", "127.0.0.1:24" },
		{ "emil@lmtp.test", RCPT_LOCAL | RCPT_QUARANTINE, ROUTE_MAILDIR, "", "", "", "" },
		{ "anna@home.test", RCPT_LOCAL | RCPT_LOOPS, ROUTE_NOWHERE, "", "", "5.4.6", "" },
		{ "x@far.test", RCPT_DOOMED, ROUTE_NOWHERE, "", "", "5.7.26", "" },
		{ "x@far.test", RCPT_DOOMED_HELD, ROUTE_HELD, "", "", "4.7.26", "" },
		{ "many@home.test", RCPT_LOCAL | RCPT_EXPANDED, ROUTE_EXPANDED, "", "", "2.0.0", "" },
		{ "bob@office.test", RCPT_LOCAL | RCPT_ROUTE | RCPT_EXPANDED, ROUTE_EXPANDED, "", "", "2.0.0", "" },
	};
	const struct place lmtp = { .kind = PLACE_LMTP, .lmtp = STR("127.0.0.1:24"), .junk_detail = '+' };
	const struct place maildir = { .kind = PLACE_MAILDIR, .path = STR("/own") };
	const struct relay_conf relay = { 0 };
	const struct deliver_setup setup = { .relay = &relay, .directory = directory, .hostname = STR("us.test") };

	(void)state;
	for (size_t i = 0; i < 2; i++)
		directory_add_account(directory, i ? STR("dora@lmtp.test") : STR("emil@lmtp.test"));
	directory_add_account(directory, STR("keep@home.test"));
	assert_int_equal(directory_set_place(directory, STR("dora@lmtp.test"), &lmtp), OK);
	assert_int_equal(directory_set_place(directory, STR("emil@lmtp.test"), &maildir), OK);
	add_alias("keep@home.test", "keep@home.test", "x@far.test");
	add_alias("sink@home.test", "carl@lmtp.test", NULL);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct route r;

		route_find(&setup, &arena, STR("x@far.test"), str_of(cases[i].address), cases[i].flags, &r);
		if (r.kind != cases[i].kind || !str_is(r.to, cases[i].to) || !str_is(r.via, cases[i].via) ||
		    !str_is(r.status, cases[i].status) || (r.kind == ROUTE_LMTP && !str_is(r.target, cases[i].lmtp)))
			fail_msg("%s (%u): kind %d, to %.*s, via %.*s, status %.*s, target %.*s", cases[i].address, cases[i].flags,
			         (int)r.kind, STR_ARG(r.to), STR_ARG(r.via), STR_ARG(r.status), STR_ARG(r.target));
	}
}

/* The operator's word is kept. */
static void what_is_released_is_not_held_again(void **state)
{
	struct queue_rcpt r = { .flags = RCPT_DOOMED_HELD | RCPT_OWN_SENDER };

	(void)state;
	assert_int_equal(route_flags(&r), RCPT_DOOMED_HELD | RCPT_OWN_SENDER);
	r.changed = 1;
	assert_int_equal(route_flags(&r), RCPT_OWN_SENDER);
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
		cmocka_unit_test(routes_say_more),
		cmocka_unit_test(what_is_released_is_not_held_again),
		cmocka_unit_test(no_memory_is_no_bounce),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
