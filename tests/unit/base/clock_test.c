/* SPDX-License-Identifier: ISC */
/* clock: how times are written, in several zones; fixing and shifting. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/err.h"

static void zone(const char *tz)
{
	setenv("TZ", tz, 1);
	tzset();
}

static void dates(void **state)
{
	static const struct { const char *tz; int64_t epoch; const char *want; } cases[] = {
		{ "UTC0", 1795298908, "Sat, 21 Nov 2026 22:08:28 +0000" },
		{ "UTC0", 0, "Thu, 1 Jan 1970 00:00:00 +0000" },
		{ "XXX-5:30", 0, "Thu, 1 Jan 1970 05:30:00 +0530" },
		{ "XXX3:30", 951782400, "Mon, 28 Feb 2000 20:30:00 -0330" },
		{ "CET-1CEST,M3.5.0,M10.5.0/3", 1782860400, "Wed, 1 Jul 2026 01:00:00 +0200" },
		{ "CET-1CEST,M3.5.0,M10.5.0/3", 1767222000, "Thu, 1 Jan 2026 00:00:00 +0100" },
		{ "UTC0", -1, "Wed, 31 Dec 1969 23:59:59 +0000" },
		{ "UTC0", 253402300799, "Fri, 31 Dec 9999 23:59:59 +0000" },
		{ "UTC0", 253402300800, "Thu, 1 Jan 1970 00:00:00 +0000" },
		{ "UTC0", INT64_MAX, "Thu, 1 Jan 1970 00:00:00 +0000" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char out[40];
		str  got;

		zone(cases[i].tz);
		got = clock_date(cases[i].epoch, out);
		assert_string_equal(out, cases[i].want);
		assert_int_equal(got.n, strlen(cases[i].want));
	}
}

/* The text of a second is remembered, so each case has a second of its own. */
static void stamps(void **state)
{
	static const struct { const char *tz; uint64_t us; const char *want; } cases[] = {
		{ "UTC0", 1795298908123456, "2026-11-21T22:08:28.123+00:00" },
		{ "UTC0", 1795298908999999, "2026-11-21T22:08:28.999+00:00" },
		{ "UTC0", 1795298909000000, "2026-11-21T22:08:29.000+00:00" },
		{ "XXX-5:30", 1795298910007000, "2026-11-22T03:38:30.007+05:30" },
		{ "XXX8", 1795298911000000, "2026-11-21T14:08:31.000-08:00" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char out[40];
		str  got;

		zone(cases[i].tz);
		got = clock_stamp(cases[i].us, out);
		assert_string_equal(out, cases[i].want);
		assert_int_equal(got.n, strlen(cases[i].want));
	}
}

static void walls(void **state)
{
	int64_t  before = (int64_t)time(NULL), now;
	uint64_t ms = clock_ms();

	(void)state;
	now = clock_wall();
	assert_in_range(now, before, before + 60);
	assert_in_range(clock_wall_us() / 1000000, now, now + 60);
	clock_shift(-1000);
	assert_in_range(clock_wall(), now - 1000, now - 1000 + 60);
	clock_fix(1234567890);
	assert_int_equal(clock_wall(), 1234567890);
	assert_int_equal(clock_wall_us(), 1234567890000000);
	clock_shift(0);
	assert_in_range(clock_wall(), now, now + 60);
	assert_true(clock_ms() >= ms);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dates),
		cmocka_unit_test(stamps),
		cmocka_unit_test(walls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
