/* SPDX-License-Identifier: ISC */
/* What refusals mean for the pace, and whose host it is. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "queue/deliver/pace.h"
#include "smtpd/base/err.h"

static void refusals(void **state)
{
	static const struct { enum pace_when when; int code; const char *esc, *text; enum pace_kind kind; uint32_t after; } cases[] = {
		{ PACE_OF_MESSAGE, 250, "2.0.0", "greylisted for 5 minutes", PACE_FINE, 0 },
		{ PACE_OF_MESSAGE, 550, "5.7.1", "greylisted", PACE_FINE, 0 },
		{ PACE_OF_MESSAGE, 450, "4.7.1", "<x@y>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/", PACE_GREYLISTED, 0 },
		{ PACE_OF_MESSAGE, 451, "4.7.1", "Greylisting in action, please come back in 00:05:00", PACE_GREYLISTED, 300 },
		{ PACE_OF_MESSAGE, 450, "4.2.0", "Greylisted for 300 seconds", PACE_GREYLISTED, 300 },
		{ PACE_OF_MESSAGE, 451, "", "GREYLISTED: try again in 5 min.", PACE_GREYLISTED, 300 },
		{ PACE_OF_MESSAGE, 451, "4.5.1", "come back in 1 hour", PACE_GREYLISTED, 3600 },
		{ PACE_OF_SENDER, 451, "4.3.0", "graylist: wait 90s", PACE_GREYLISTED, 90 },
		{ PACE_OF_MESSAGE, 451, "4.7.1", "Graylisted in 1.2.3.4 5m", PACE_GREYLISTED, 300 },
		{ PACE_OF_MESSAGE, 451, "4.7.1", "Greylisted 99999999999 seconds", PACE_GREYLISTED, 0 },
		{ PACE_OF_MESSAGE, 451, "4.7.1", "Greylisted 999999 hours", PACE_GREYLISTED, PACE_MOST_S },
		{ PACE_OF_MESSAGE, 451, "4.7.1", "Greylisted x5 minutes", PACE_GREYLISTED, 0 },
		{ PACE_OF_MESSAGE, 451, "4.7.1", "Greylisted 0 seconds", PACE_GREYLISTED, 0 },
		{ PACE_OF_MESSAGE, 451, "4.7.1", "Greylisted 12:", PACE_GREYLISTED, 0 },
		{ PACE_OF_MESSAGE, 421, "4.7.28", "Our system has detected an unusual rate of unsolicited mail", PACE_SLOWED, 0 },
		{ PACE_OF_MESSAGE, 421, "4.7.0", "greylisted", PACE_SLOWED, 0 },
		{ PACE_OF_MESSAGE, 450, "4.7.1", "too many mails from you, wait 2 minutes", PACE_SLOWED, 120 },
		{ PACE_OF_MESSAGE, 451, "", "Rate limit exceeded", PACE_SLOWED, 0 },
		{ PACE_OF_SENDER, 451, "4.7.500", "Server busy. Please try again later", PACE_SLOWED, 0 },
		{ PACE_OF_SENDER, 451, "4.3.0", "temporary failure", PACE_FINE, 0 },
		{ PACE_OF_MESSAGE, 452, "4.2.2", "mailbox full", PACE_FINE, 0 },
		{ PACE_OF_MESSAGE, 452, "4.5.3", "too many recipients", PACE_FINE, 0 },
		{ PACE_TO_US, 450, "", "no", PACE_SLOWED, 0 },
		{ PACE_TO_US, 421, "4.3.2", "busy, 30 seconds", PACE_SLOWED, 30 },
		{ PACE_TO_US, 554, "5.7.1", "no", PACE_FINE, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct pace p = pace_of(cases[i].when, cases[i].code, str_of(cases[i].esc), str_of(cases[i].text));

		if (p.kind != cases[i].kind || p.after_s != cases[i].after)
			fail_msg("%d %s %s: %d after %u", cases[i].code, cases[i].esc, cases[i].text, (int)p.kind, p.after_s);
	}
}

static void providers(void **state)
{
	static const struct { const char *host, *want; } cases[] = {
		{ "mx.example.org", "example.org" },
		{ "example.org", "example.org" },
		{ "localhost", "localhost" },
		{ "aspmx.l.google.com", "google.com" },
		{ "ALT1.ASPMX.L.GOOGLE.COM.", "GOOGLE.COM" },
		{ "example-net.mail.protection.outlook.com", "outlook.com" },
		{ "mx1.mail.example.co.uk", "example.co.uk" },
		{ "mx.example.com.au", "example.com.au" },
		{ "example.co.uk", "example.co.uk" },
		{ "co.uk", "co.uk" },
		{ "mx.shop.example.com.br", "example.com.br" },
		{ "mx1.example.k12.ca.us", "example.k12.ca.us" },
		{ "ec2-192-0-2-1.compute-1.amazonaws.com", "amazonaws.com" },
		{ "mx.city.kawasaki.jp", "city.kawasaki.jp" },
		{ "mx.example.test", "example.test" },
		{ "mx.web.de", "web.de" },
		{ "mx00.t-online.de", "t-online.de" },
		{ "mx.example.or.jp", "example.or.jp" },
		{ "192.0.2.1", "192.0.2.1" },
		{ "2001:db8::1", "2001:db8::1" },
		{ "[192.0.2.1]", "[192.0.2.1]" },
		{ "", "" },
		{ ".", "" },
		{ "..", "." },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		str got = provider_name(str_of(cases[i].host));

		if (!str_is(got, cases[i].want))
			fail_msg("%s: %.*s", cases[i].host, STR_ARG(got));
	}
}

static void those_that_rest_are_known(void **state)
{
	static struct resting r;
	char name[20];

	(void)state;
	assert_false(resting_has(&r, STR("big.test"), 100));
	resting_set(&r, STR("Big.test"), 200, 100);
	assert_true(resting_has(&r, STR("big.TEST"), 199));
	assert_false(resting_has(&r, STR("big.test"), 200));
	assert_false(resting_has(&r, STR("bag.test"), 150));
	resting_set(&r, STR("other.test"), 0, 150);          /* was not there: takes nobody's place */
	assert_true(resting_has(&r, STR("big.test"), 150));
	resting_set(&r, STR("big.test"), 0, 150);
	assert_false(resting_has(&r, STR("big.test"), 150));
	for (int i = 0; i < 3 * RESTING; i++) {
		snprintf(name, sizeof(name), "p%d.test", i);
		resting_set(&r, str_of(name), 1000 + i, 150);
	}
	assert_true(resting_has(&r, str_of(name), 150));     /* those that rest longest are known */
	assert_false(resting_has(&r, STR("p0.test"), 150));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refusals),
		cmocka_unit_test(providers),
		cmocka_unit_test(those_that_rest_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
