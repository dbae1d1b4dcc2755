/* SPDX-License-Identifier: ISC */
/*
 * What is advised about answers as they come from the world.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/advice.h"

/* Words that the advice has to hold; NULL: none may be given. */
static const struct { const char *status, *said, *sender, *operator; } cases[] = {
	{ "", "550 5.1.1 <x@y>: Recipient address rejected: User unknown", "typing errors", NULL },
	{ "5.1.1", "550 No such user", "typing errors", NULL },
	{ "", "550-5.7.26 This mail is unauthenticated", "make sure", "SPF and DKIM" },
	{ "", "550 5.7.515 Access denied, sending domain does not pass", "SPF, DKIM and DMARC", "all three" },
	{ "", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org", "block list", "spamhaus" },
	{ "", "554 5.7.1 Client host blocked using bl.spamcop.net", "block list", "list's name" },
	{ "", "550 5.7.25 The IP address sending this message does not have a PTR record setup", "name for your mail server", "PTR" },
	{ "", "450 4.2.0 <x@y>: Recipient address rejected: Greylisted", "patience", "Greylisting" },
	{ "", "550 5.2.2 mailbox full", "full", NULL },
	{ "", "452 4.2.2 Over quota", "full", NULL },
	{ "", "421 4.7.28 rate limit exceeded", NULL, "fewer messages" },
	{ "", "421 4.7.0 try again", NULL, "slows down" },
	{ "4.4.1", "Connection to mx.far.test timed out", NULL, "port 25" },
	{ "", "535 5.7.8 authentication failed", "administrator", "smarthost" },
	{ "", "550 5.7.1 we do not like you", "rule of its own", "reputation" },
	{ "", "550 5.7.99 no", "safety", NULL },
	{ "", "250 2.0.0 fine", NULL, NULL },
	{ "", "", NULL, NULL },
	{ "", "the verbl is no list", NULL, NULL },
};

static void has(str got, const char *want)
{
	if (want == NULL)
		assert_int_equal(got.n, 0);
	else
		assert_non_null(got.n > 0 ? memmem(got.p, got.n, want, strlen(want)) : NULL);
}

static void advised(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct advice got = advice_for(str_of(cases[i].status), str_of(cases[i].said));

		print_message("%s\n", cases[i].said);
		has(got.sender, cases[i].sender);
		has(got.operator, cases[i].operator);
	}
}

static void statuses(void **state)
{
	static const struct { const char *said, *want; } table[] = {
		{ "550 5.7.1 no", "5.7.1" }, { "550-5.7.26 no", "5.7.26" }, { "5.1.1", "5.1.1" }, { "550 5.7.515 x", "5.7.515" },
		{ "550 No 5.1.1", "" }, { "550 5.7", "" }, { "550 5.7.", "" }, { "550 5.7.1.1", "" }, { "550 3.7.1", "" },
		{ "550 5.1234.1", "" }, { "", "" }, { "550", "" }, { "550 ", "" }, { "5", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++)
		assert_true(str_is(advice_status(str_of(table[i].said)), table[i].want));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(advised), cmocka_unit_test(statuses) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
