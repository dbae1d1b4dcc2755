/* SPDX-License-Identifier: ISC */
/* The passwd-file read: what is an account, what is damage, and where it is. */
#include "tests/unit/auth/auth_help.h"

#define V "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static struct accounts *parse(struct arena *a, str text, str *why)
{
	crypt_setup();
	arena_init(a, ARENA_UNBOUNDED);
	return accounts_parse(STR("/etc/accounts"), text, a, why);
}

static void lines_taken(void **state)
{
	static const char text[] =
		"# the office\n"
		"\n"
		"alice@home.test:" V "::::::\n"
		"Bob.B@Office.Test:" V ":1000:1000:Bob:/home/bob::userdb_quota_rule=*:storage=1G nopassword\r\n"
		"   \n"
		"\"odd name\"@home.test:" V "\n"
		"mail-only@home.test:::::::\n"
		"old@home.test:{SSHA}MrVPuTgmGmbP5VJXx3eQpYHDTMuuLpxg::::::\n"
		"#off@home.test:" V "::::::\n"
		"j\xc3\xb6rg@b\xc3\xbc" "cher.test:" V "::::::";
	static const struct { const char *name; bool there, can_log_in; const char *address, *scheme; int line; } cases[] = {
		{ "alice@home.test", true, true, "alice@home.test", "SCRAM-SHA-256", 3 },
		{ "ALICE@HOME.TEST", true, true, "alice@home.test", "SCRAM-SHA-256", 3 },
		{ "bob.b@office.test", true, true, "Bob.B@office.test", "SCRAM-SHA-256", 4 },
		{ "\"odd name\"@home.test", true, true, "\"odd name\"@home.test", "SCRAM-SHA-256", 6 },
		{ "mail-only@home.test", true, false, "mail-only@home.test", "", 7 },
		{ "old@home.test", true, true, "old@home.test", "SSHA", 8 },
		{ "off@home.test", false, false, NULL, NULL, 0 },
		{ "j\xc3\xb6rg@b\xc3\xbc" "cher.test", true, true, "j\xc3\xb6rg@xn--bcher-kva.test", "SCRAM-SHA-256", 10 },
		{ "j\xc3\xb6rg@xn--bcher-kva.test", true, true, "j\xc3\xb6rg@xn--bcher-kva.test", "SCRAM-SHA-256", 10 },
		{ "carol@home.test", false, false, NULL, NULL, 0 },
	};
	struct arena a;
	str why;
	struct accounts *t = parse(&a, str_of(text), &why);

	(void)state;
	if (t == NULL)
		fail_msg("%.*s", STR_ARG(why));
	assert_int_equal(t->n, 6);
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct account *got;
		str key;

		assert_true(accounts_key(&a, str_of(cases[i].name), &key));
		got = accounts_find(t, key);
		assert_int_equal(got != NULL, cases[i].there);
		if (got == NULL)
			continue;
		assert_true(str_is(got->address, cases[i].address));
		assert_true(str_is(got->scheme, cases[i].scheme));
		assert_int_equal(got->can_log_in, cases[i].can_log_in);
		assert_int_equal(got->line, cases[i].line);
	}
	accounts_free(t);
	arena_fini(&a);
}

static void damage_told(void **state)
{
	static const struct { const char *text; size_t n; const char *want; } cases[] = {
#define T(text) text, sizeof(text) - 1
		{ T("alice:" V "::::::\n"), "/etc/accounts:1: the line does not begin with an address" },
		{ T("# x\n\nalice@home.test@:" V "\n"), "/etc/accounts:3: the line does not begin with an address" },
		{ T("alice@home.test:secret\n"), "/etc/accounts:1: the password has no {SCHEME}" },
		{ T("alice@home.test:{}secret\n"), "/etc/accounts:1: the password has no {SCHEME}" },
		{ T("alice@home.test:{SCRAM-SHA-256}4096,x\n"), "/etc/accounts:1: the verifier is damaged" },
		{ T("a@home.test:" V "\nb@home.test:{SCRAM-SHA-256\n"), "/etc/accounts:2: the password has no {SCHEME}" },
		{ T("a@home.test:" V "\nA@Home.Test:" V "\n"), "/etc/accounts:2: this account has a line already" },
		{ T("a@ho\0me.test:" V "\n"), "/etc/accounts:1: there is a NUL byte" },
		{ T("a@home.test:{X}\0\n"), "/etc/accounts:1: there is a NUL byte" },
		{ T(":" V "\n"), "/etc/accounts:1: the line does not begin with an address" },
		{ T("\xff\xfe@home.test:" V "\n"), "/etc/accounts:1: the line does not begin with an address" },
#undef T
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena a;
		str why = STR_NONE;
		struct accounts *t = parse(&a, (str){ cases[i].text, cases[i].n }, &why);

		assert_null(t);
		if (!str_starts(why, cases[i].want))
			fail_msg("got %.*s, want %s", STR_ARG(why), cases[i].want);
		assert_false(str_holds(why, '{') && memmem(why.p, why.n, "W22Z", 4) != NULL);
		arena_fini(&a);
	}
}

static void empty_is_good(void **state)
{
	static const char *const texts[] = { "", "\n", "# nobody\n", "\r\n \n" };

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct arena a;
		str why;
		struct accounts *t = parse(&a, str_of(texts[i]), &why);

		assert_non_null(t);
		assert_int_equal(t->n, 0);
		accounts_free(t);
		arena_fini(&a);
	}
}

static void names_without_domain(void **state)
{
	static const char *const names[] = { "alice", "@home.test", "alice@", "", "postmaster", "<alice@home.test>",
		                             "alice@home.test ", "a@b@c.test" };
	struct arena a;
	str key;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(names); i++)
		if (accounts_key(&a, str_of(names[i]), &key))
			fail_msg("%s", names[i]);
	assert_false(accounts_key(&a, STR("alice\0@home.test"), &key));
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_taken),
		cmocka_unit_test(damage_told),
		cmocka_unit_test(empty_is_good),
		cmocka_unit_test(names_without_domain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
