/* SPDX-License-Identifier: ISC */
/* directory: who receives here, aliases that go in circles, mailbox places. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/mail/directory.h"

static void alias(struct directory *d, const char *from, const char *targets)
{
	str         list = str_of(targets), word, v[20];
	struct strs s = { v, 0 };

	while (str_cut(&list, ' ', &word))
		v[s.n++] = word;
	assert_int_equal(directory_add_alias(d, str_of(from), &s), OK);
}

static struct directory *made(struct arena *a)
{
	struct directory       *d = directory_new(a, '+');
	struct directory_domain home = { .name = STR("Home.Test") };
	struct directory_domain office = { .name = STR("office.test"), .catch_all = STR("all@home.test"), .route = STR("h:25") };

	assert_non_null(d);
	assert_int_equal(directory_add_domain(d, &home), OK);
	assert_int_equal(directory_add_domain(d, &office), OK);
	assert_int_equal(directory_add_domain(d, &office), ERR_EXISTS);
	assert_int_equal(directory_add_account(d, STR("Bob@home.test")), OK);
	assert_int_equal(directory_add_account(d, STR("\"a b\"@home.test")), OK);
	assert_int_equal(directory_add_account(d, STR("all@home.test")), OK);
	assert_int_equal(directory_add_account(d, STR("c+d@home.test")), OK);
	assert_int_equal(directory_add_account(d, STR("bob@HOME.test")), ERR_EXISTS);
	assert_int_equal(directory_add_account(d, STR("x@other.test")), ERR_ABSENT);
	assert_int_equal(directory_add_account(d, STR("x")), ERR_BAD);
	alias(d, "team@home.test", "bob@home.test far@other.test");
	alias(d, "keep@home.test", "keep@home.test far@other.test");
	assert_int_equal(directory_add_account(d, STR("keep@home.test")), OK);
	alias(d, "one@home.test", "two@home.test");
	alias(d, "two@home.test", "one@home.test bob@home.test");
	alias(d, "self@home.test", "self@home.test");
	alias(d, "dead@home.test", "nobody@home.test");
	alias(d, "half@home.test", "nobody@home.test bob@home.test ghost@home.test");
	alias(d, "broken@home.test", "notanaddress bob@home.test");
	directory_set_postmaster(d, STR("bob@home.test"));
	return d;
}

static const struct {
	const char *address;
	enum directory_says says;
	const char *account, *detail, *target;
} finds[] = {
	{ "bob@home.test", DIRECTORY_MAILBOX, "Bob@home.test", "", NULL },
	{ "BOB@home.test", DIRECTORY_MAILBOX, "Bob@home.test", "", NULL },
	{ "bob+x+y@home.test", DIRECTORY_MAILBOX, "Bob@home.test", "x+y", NULL },
	{ "bob+@home.test", DIRECTORY_MAILBOX, "Bob@home.test", "", NULL },
	{ "+bob@home.test", DIRECTORY_UNKNOWN, "", "", NULL },
	{ "c+d@home.test", DIRECTORY_MAILBOX, "c+d@home.test", "", NULL },
	{ "\"A B\"@home.test", DIRECTORY_MAILBOX, "\"a b\"@home.test", "", NULL },
	{ "\"bob\"@home.test", DIRECTORY_MAILBOX, "Bob@home.test", "", NULL },
	{ "nobody@home.test", DIRECTORY_UNKNOWN, "", "", NULL },
	{ "nobody+x@home.test", DIRECTORY_UNKNOWN, "", "", NULL },
	{ "bob@other.test", DIRECTORY_ELSEWHERE, "", "", NULL },
	{ "bob@[192.0.2.1]", DIRECTORY_ELSEWHERE, "", "", NULL },
	{ "bob@sub.home.test", DIRECTORY_ELSEWHERE, "", "", NULL },
	{ "team@home.test", DIRECTORY_TARGETS, "", "", "bob@home.test" },
	{ "Team+x@home.test", DIRECTORY_TARGETS, "", "x", "bob@home.test" },
	{ "who@office.test", DIRECTORY_TARGETS, "", "", "all@home.test" },
	{ "PostMaster@home.test", DIRECTORY_TARGETS, "", "", "bob@home.test" },
	{ "abuse@office.test", DIRECTORY_TARGETS, "", "", "bob@home.test" },
};

static void addresses_are_found(void **state)
{
	struct arena      a, m;
	struct directory *d;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	arena_init(&m, ARENA_UNBOUNDED);
	d = made(&a);
	for (size_t i = 0; i < COUNT(finds); i++) {
		struct directory_answer got;
		struct path             p;
		size_t                  used = a.used;

		assert_true(path_of(&m, str_of(finds[i].address), &p));
		directory_find(d, &m, &p, &got);
		assert_int_equal(a.used, used);
		if (got.says != finds[i].says || !str_is(got.account, finds[i].account) ||
		    !str_is(got.detail, finds[i].detail) ||
		    (finds[i].target != NULL && !str_is(got.targets->v[0], finds[i].target)))
			fail_msg("%s: says %d account %.*s", finds[i].address, got.says, STR_ARG(got.account));
		assert_int_equal(got.domain == NULL, got.says == DIRECTORY_ELSEWHERE);
	}
	assert_non_null(directory_domain(d, STR("OFFICE.test")));
	assert_true(str_is(directory_domain(d, STR("office.test"))->route, "h:25"));
	assert_null(directory_domain(d, STR("other.test")));
	assert_null(directory_domain(d, STR("")));
	arena_fini(&a);
	arena_fini(&m);
}

static const struct { const char *address, *path; enum place_kind kind; } places[] = {
	{ "bob@home.test", "/home/%u", PLACE_MAILDIR }, { "Bob+x@home.test", "/home/%u", PLACE_MAILDIR },
	{ "all@home.test", "", PLACE_LMTP }, { "c+d@home.test", "/bobs/own", PLACE_MAILDIR },
	{ "keep@home.test", "/home/%u", PLACE_MAILDIR },
};

static void accounts_have_places(void **state)
{
	const struct directory_domain home = { .name = STR("home.test"), .place = { .kind = PLACE_MAILDIR, .path = STR("/home/%u") } };
	const struct place own = { .kind = PLACE_MAILDIR, .path = STR("/bobs/own") };
	const struct place lmtp = { .kind = PLACE_LMTP, .lmtp = STR("unix:/run/lmtp") };
	struct directory_answer got;
	struct directory *d;
	struct path p;
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	d = directory_new(&a, '+');
	assert_int_equal(directory_add_domain(d, &home), OK);
	assert_int_equal(directory_set_place(d, STR("bob@home.test"), &own), ERR_ABSENT);
	for (size_t i = 0; i < COUNT(places); i++)
		if (strchr(places[i].address, '+') == NULL || places[i].address[0] == 'c')
			assert_int_equal(directory_add_account(d, str_of(places[i].address)), OK);
	alias(d, "team@home.test", "bob@home.test");
	alias(d, "keep@home.test", "keep@home.test bob@home.test");
	assert_int_equal(directory_set_place(d, STR("C+D@home.test"), &own), OK);
	assert_int_equal(directory_set_place(d, STR("all@home.test"), &lmtp), OK);
	assert_int_equal(directory_set_place(d, STR("team@home.test"), &own), ERR_ABSENT);
	assert_int_equal(directory_set_place(d, STR("x@far.test"), &own), ERR_ABSENT);
	for (size_t i = 0; i < COUNT(places); i++) {
		assert_true(path_of(&a, str_of(places[i].address), &p));
		directory_find(d, &a, &p, &got);
		if (got.place == NULL || got.place->kind != places[i].kind || !str_is(got.place->path, places[i].path))
			fail_msg("%s", places[i].address);
	}
	assert_true(path_of(&a, STR("team@home.test"), &p));
	directory_find(d, &a, &p, &got);
	assert_null(got.place);
	arena_fini(&a);
}

static void postmaster_and_null(void **state)
{
	struct arena            a;
	struct directory       *d;
	struct directory_answer got;
	struct path             p;
	str                     rest;
	const char             *why;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	d = made(&a);
	assert_true(path_parse(&a, STR("<postmaster>"), false, true, &p, &rest, &why));
	directory_find(d, &a, &p, &got);
	assert_int_equal(got.says, DIRECTORY_TARGETS);
	assert_true(str_is(got.domain->name, "home.test"));
	assert_true(path_parse(&a, STR("<>"), false, true, &p, &rest, &why));
	directory_find(d, &a, &p, &got);
	assert_int_equal(got.says, DIRECTORY_ELSEWHERE);
	arena_fini(&a);
}

static const struct {
	const char *address;
	enum err    err;
	const char *finals;
} expands[] = {
	{ "bob@home.test", OK, "bob@home.test " },
	{ "bob+x@home.test", OK, "bob+x@home.test " },
	{ "far@other.test", OK, "far@other.test " },
	{ "team@home.test", OK, "bob@home.test far@other.test " },
	{ "keep@home.test", OK, "keep@home.test far@other.test " },
	{ "one@home.test", OK, "bob@home.test " },
	{ "self@home.test", ERR_ABSENT, "" },
	{ "dead@home.test", ERR_ABSENT, "" },
	{ "half@home.test", OK, "nobody@home.test bob@home.test ghost@home.test " },
	{ "broken@home.test", OK, "bob@home.test " },
	{ "nobody@home.test", ERR_ABSENT, "" },
	{ "x@office.test", OK, "all@home.test " },
};

static void aliases_are_expanded(void **state)
{
	struct arena      a, m;
	struct directory *d;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	arena_init(&m, ARENA_UNBOUNDED);
	d = made(&a);
	for (size_t i = 0; i < COUNT(expands); i++) {
		struct path p, *v;
		size_t      n;
		enum err    e;
		char        shown[200] = "";

		assert_true(path_of(&m, str_of(expands[i].address), &p));
		e = directory_expand(d, &m, &p, 10, &v, &n);
		for (size_t j = 0; j < n; j++)
			snprintf(shown + strlen(shown), sizeof(shown) - strlen(shown), "%.*s ", STR_ARG(v[j].text));
		if (e != expands[i].err || strcmp(shown, expands[i].finals) != 0)
			fail_msg("%s: %d %s", expands[i].address, e, shown);
	}
	arena_fini(&a);
	arena_fini(&m);
}

static void wide_and_deep_aliases_are_bounded(void **state)
{
	struct arena            a, m;
	struct directory       *d;
	struct directory_domain home = { .name = STR("home.test") };
	struct path             p, *v;
	size_t                  n;
	char                    from[40], to[400];

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	arena_init(&m, ARENA_UNBOUNDED);
	d = directory_new(&a, 0);
	assert_int_equal(directory_add_domain(d, &home), OK);
	for (int i = 0; i < 30; i++) {
		snprintf(from, sizeof(from), "deep%d@home.test", i);
		snprintf(to, sizeof(to), "deep%d@home.test", i + 1);
		alias(d, from, to);
	}
	assert_int_equal(directory_add_account(d, STR("deep30@home.test")), OK);
	for (int i = 0; i < 2000; i++) {
		snprintf(from, sizeof(from), "wide%d@home.test", i);
		snprintf(to, sizeof(to), "wide%d@home.test wide%d@home.test u%d@other.test", 2 * i + 1, 2 * i + 2, i);
		alias(d, from, to);
	}
	assert_true(path_of(&m, STR("deep25@home.test"), &p));
	assert_int_equal(directory_expand(d, &m, &p, 10, &v, &n), OK);
	assert_int_equal(n, 1);
	assert_true(path_of(&m, STR("deep0@home.test"), &p));
	assert_int_equal(directory_expand(d, &m, &p, 10, &v, &n), ERR_ABSENT);
	assert_true(path_of(&m, STR("wide0@home.test"), &p));
	assert_int_equal(directory_expand(d, &m, &p, 100, &v, &n), ERR_FULL);
	assert_int_equal(n, 0);
	arena_fini(&a);
	arena_fini(&m);
}

static void many_accounts(void **state)
{
	struct arena            a;
	struct directory       *d;
	struct directory_domain home = { .name = STR("home.test") };
	struct directory_answer got;
	struct path             p;
	char                    text[40];

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	d = directory_new(&a, '+');
	assert_int_equal(directory_add_domain(d, &home), OK);
	for (int i = 0; i < 5000; i++) {
		snprintf(text, sizeof(text), "user%d@home.test", i);
		assert_int_equal(directory_add_account(d, str_of(text)), OK);
	}
	for (int i = 0; i < 5100; i++) {
		snprintf(text, sizeof(text), "USER%d+x@home.test", i);
		assert_true(path_of(&a, str_of(text), &p));
		directory_find(d, &a, &p, &got);
		assert_int_equal(got.says, i < 5000 ? DIRECTORY_MAILBOX : DIRECTORY_UNKNOWN);
	}
	arena_fini(&a);
}

static void maildirs_stay_in_their_tree(void **state)
{
	static const struct { str path, account; const char *want; } cases[] = {
		{ STR("/var/mail/%d/%u"), STR("bob@home.test"), "/var/mail/home.test/bob" },
		{ STR("/m/%u@%d/x%%"), STR("Bob@home.test"), "/m/Bob@home.test/x%" },
		{ STR("/m"), STR("bob@home.test"), "/m" },
		{ STR("/m/%d/%u"), STR("\"a b\"@home.test"), "/m/home.test/a b" },
		{ STR("/m/%d/%u"), STR("\"../x\"@home.test"), NULL },
		{ STR("/m/%d/%u"), STR("\"..\"@home.test"), NULL },
		{ STR("/m/%d/%u"), STR("\".\"@home.test"), NULL },
		{ STR("/m/%d/%u"), STR("\".hidden\"@home.test"), NULL },
		{ STR("/m/%d/%u"), STR("\"a/b\"@home.test"), NULL },
		{ STR("/m/%d/%u"), STR("a/b@home.test"), NULL },
		{ STR("/m/%d/%u"), STR("\"\"@home.test"), NULL },
		{ STR("/m/%d/%u"), STR("a\0b@home.test"), NULL },
		{ STR("/m/%d/%u"), STR("bob"), NULL },
		{ STR("/m/%x"), STR("bob@home.test"), NULL },
		{ STR("/m/%"), STR("bob@home.test"), NULL },
		{ STR(""), STR("bob@home.test"), NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct place place = { .kind = PLACE_MAILDIR, .path = cases[i].path };
		struct arena a;
		str          out = STR_NONE;
		bool         good;

		arena_init(&a, ARENA_UNBOUNDED);
		good = place_maildir(&a, &place, cases[i].account, &out);
		if (good != (cases[i].want != NULL) || (good && !str_is(out, cases[i].want)))
			fail_msg("%.*s: %d %.*s", STR_ARG(cases[i].account), good, STR_ARG(out));
		place.kind = PLACE_LMTP;
		assert_false(place_maildir(&a, &place, cases[i].account, &out));
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_found),
		cmocka_unit_test(accounts_have_places),
		cmocka_unit_test(postmaster_and_null),
		cmocka_unit_test(aliases_are_expanded),
		cmocka_unit_test(wide_and_deep_aliases_are_bounded),
		cmocka_unit_test(many_accounts),
		cmocka_unit_test(maildirs_stay_in_their_tree),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
