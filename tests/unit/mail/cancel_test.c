/* SPDX-License-Identifier: ISC */
/* cancel: one address for one message of one account, and no way in for anybody else. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <ctype.h>

#include "smtpd/base/crypt.h"
#include "smtpd/mail/cancel.h"

static const unsigned char secret[CANCEL_SECRET] = "thirty-two octets that are known";
static const unsigned char other[CANCEL_SECRET] = "thirty-two octets of someone els";
static struct arena a;

static struct path made(const char *id, const char *login)
{
	struct path p;

	if (!cancel_address(&a, secret, str_of(id), str_of(login), &p))
		fail_msg("not made: %s %s", id, login);
	return p;
}

static enum cancel_reads reads(const unsigned char *by, str address, const char *login, const char *id)
{
	struct path p;
	str got = STR_NONE;
	enum cancel_reads says;

	if (!path_of(&a, address, &p))
		fail_msg("no address: %.*s", STR_ARG(address));
	says = cancel_read(&a, by, &p, str_of(login), &got);
	if (says == CANCEL_GOOD && !str_is(got, id))
		fail_msg("%.*s: id %.*s", STR_ARG(address), STR_ARG(got));
	return says;
}

static str changed(str s, size_t at, char c)
{
	char *p = arena_alloc(&a, s.n);

	assert_non_null(p);
	for (size_t i = 0; i < s.n; i++)
		p[i] = i == at ? c : s.p[i];
	return (str){ p, s.n };
}

static void there_and_back(void **state)
{
	static const struct { const char *id, *login; } table[] = {
		{ "1m0vvwq_81m", "alice@here.test" }, { "7", "Alice@Here.test" }, { "999999999999999", "b\xc3\xbc@xn--bcher-kva.test" },
		{ "1m0vvwq_81m", "a+b@here.test" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct path p = made(table[i].id, table[i].login);
		str upper = str_keep(&a, p.text);

		assert_true(p.local.n <= ADDR_LOCAL_MAX);
		assert_int_equal(reads(secret, p.text, table[i].login, table[i].id), CANCEL_GOOD);
		for (size_t k = 0; k < p.local.n; k++)
			upper = changed(upper, k, (char)toupper(upper.p[k]));
		assert_int_equal(reads(secret, upper, table[i].login, table[i].id), CANCEL_GOOD);
	}
}

static void nobody_elses(void **state)
{
	str good = made("1m0vvwq_81m", "alice@here.test").text;

	(void)state;
	assert_int_equal(reads(secret, good, "", ""), CANCEL_FOREIGN);
	assert_int_equal(reads(secret, good, "bob@here.test", ""), CANCEL_FOREIGN);
	assert_int_equal(reads(secret, good, "alice@other.test", ""), CANCEL_FOREIGN);
	assert_int_equal(reads(other, good, "alice@here.test", ""), CANCEL_FOREIGN);
	/* Every letter counts, of the id and of the hash. */
	for (size_t i = 7; i < str_find(good, '@'); i++) {
		str bad = changed(good, i, good.p[i] == 'b' ? 'c' : 'b');

		if (reads(secret, bad, "alice@here.test", "") == CANCEL_GOOD)
			fail_msg("taken: %.*s", STR_ARG(bad));
	}
}

static void no_such_address(void **state)
{
	static const char *const table[] = {
		"cancel@here.test", "cancel+shop@here.test", "cancel+@here.test", "cancel+-abcdefghij234567@here.test",
		"cancel+1m0-abcdefghij23456@here.test", "cancel+1m0-abcdefghij2345678@here.test",
		"cancel+1234567890123456-abcdefghij234567@here.test", "cancel+1m0-abcdefghij_34567@here.test",
		"cancel+1m0_abcdefghij234567@here.test", "xcancel+1m0-abcdefghij234567@here.test", "\"cancel+1 0-abcdefghij234567\"@here.test",
	};
	struct path p;

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++)
		if (reads(secret, str_of(table[i]), "alice@here.test", "") != CANCEL_NOT)
			fail_msg("has the form: %s", table[i]);
	assert_false(cancel_address(&a, secret, STR("1"), STR("nobody"), &p));
}

static int set_up(void **state)
{
	(void)state;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	arena_fini(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(nobody_elses),
		cmocka_unit_test(no_such_address),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
