/* SPDX-License-Identifier: ISC */
/* stat: names, numbers, sums over threads, those that have ended included. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>

#include "smtpd/base/err.h"
#include "smtpd/base/stat.h"

static const struct stat_def dkim[] = { { "pass", "good ones" }, { "fail", "bad ones" } };
static const struct stat_def spf[] = { { "pass", "senders that may" } };
static unsigned              dkim_first, spf_first;

static void *count(void *arg)
{
	if (arg != NULL)
		stat_thread();
	for (int i = 0; i < 10000; i++) {
		stat_add(dkim_first, 1);
		stat_add(spf_first, 3);
	}
	return NULL;
}

static void counting(void **state)
{
	pthread_t threads[4];

	(void)state;
	dkim_first = stat_register("dkim", dkim, COUNT(dkim));
	spf_first = stat_register("spf", spf, COUNT(spf));
	assert_int_equal(stat_register("dkim", dkim, COUNT(dkim)), dkim_first);
	assert_int_equal(stat_count(), 3);
	assert_string_equal(stat_name(dkim_first + 1), "dkim.fail");
	assert_string_equal(stat_name(spf_first), "spf.pass");
	assert_string_equal(stat_help(dkim_first), "good ones");
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count, i % 2 ? state : NULL), 0);
	stat_thread();
	stat_thread();
	stat_add(dkim_first + 1, 5);
	for (size_t i = 0; i < COUNT(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(stat_sum(dkim_first), 40000);
	assert_int_equal(stat_sum(dkim_first + 1), 5);
	assert_int_equal(stat_sum(spf_first), 120000);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(counting) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
