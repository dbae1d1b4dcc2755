/* SPDX-License-Identifier: ISC */
/*
 * Reports a day: of a sender, of a network, on the next day, when the table is
 * full, and when several threads count at once.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "smtpd/session/internal.h"

#define DAY 86400
static const struct limits_conf conf = { .reflector_sender = 2, .reflector_network = 5 };

static enum reflect_limit take(const struct limits_conf *c, const char *ip, const char *sender, int64_t now)
{
	struct sockaddr_storage sa = { .ss_family = AF_INET };

	if (inet_pton(AF_INET, ip, &((struct sockaddr_in *)&sa)->sin_addr) != 1) {
		sa.ss_family = AF_INET6;
		assert_int_equal(inet_pton(AF_INET6, ip, &((struct sockaddr_in6 *)&sa)->sin6_addr), 1);
	}
	return reflect_limit_take(c, (struct sockaddr *)&sa, str_of(sender), now);
}

static const struct { const char *ip, *sender; int64_t now; enum reflect_limit want; } steps[] = {
	{ "192.0.2.1", "a@x.test", 10 * DAY, REFLECT_FINE },
	{ "198.51.100.1", "a@x.test", 11 * DAY - 1, REFLECT_FINE },
	{ "203.0.113.1", "a@x.test", 11 * DAY - 1, REFLECT_SENDER },          /* from wherever */
	{ "203.0.113.1", "a@x.test", 11 * DAY, REFLECT_FINE },                /* the next day */
	{ "192.0.2.2", "b@x.test", 10 * DAY, REFLECT_FINE },
	{ "192.0.2.3", "c@x.test", 10 * DAY, REFLECT_FINE },
	{ "192.0.2.4", "d@x.test", 10 * DAY, REFLECT_FINE },
	{ "192.0.2.255", "e@x.test", 10 * DAY, REFLECT_FINE },                /* the fifth of the /24 */
	{ "192.0.2.5", "f@x.test", 10 * DAY, REFLECT_NETWORK },
	{ "::ffff:192.0.2.5", "f@x.test", 10 * DAY, REFLECT_NETWORK },
	{ "192.0.3.5", "f@x.test", 10 * DAY, REFLECT_FINE },                  /* what was refused did not count */
	{ "2001:db8::1", "f@x.test", 10 * DAY, REFLECT_FINE },
	{ "2001:db8:0:ffff::1", "g@x.test", 10 * DAY, REFLECT_FINE },         /* one /48 */
	{ "2001:db8::3", "h@x.test", 10 * DAY, REFLECT_FINE },
	{ "2001:db8::4", "i@x.test", 10 * DAY, REFLECT_FINE },
	{ "2001:db8::5", "j@x.test", 10 * DAY, REFLECT_FINE },
	{ "2001:db8::6", "k@x.test", 10 * DAY, REFLECT_NETWORK },
	{ "2001:db8:1::6", "k@x.test", 10 * DAY, REFLECT_FINE },
};

static void counted(void **state)
{
	(void)state;
	reflect_limit_setup();
	for (size_t i = 0; i < COUNT(steps); i++) {
		print_message("%zu: %s %s\n", i, steps[i].ip, steps[i].sender);
		assert_int_equal(take(&conf, steps[i].ip, steps[i].sender, steps[i].now), steps[i].want);
	}
}

static void none_is_none(void **state)
{
	static const struct limits_conf off = { .reflector_sender = 0, .reflector_network = 5 };

	(void)state;
	reflect_limit_setup();
	assert_int_equal(take(&off, "192.0.2.1", "a@x.test", DAY), REFLECT_SENDER);
}

/* However many come, memory is the same and who is known stays counted. */
static void full(void **state)
{
	static const struct limits_conf wide = { .reflector_sender = 1, .reflector_network = 60000 };
	size_t fine = 0;
	char name[40];

	(void)state;
	reflect_limit_setup();
	assert_int_equal(take(&wide, "192.0.2.1", "first@x.test", 7 * DAY), REFLECT_FINE);
	for (int i = 0; i < 50000; i++) {
		snprintf(name, sizeof(name), "n%d@x.test", i);
		fine += take(&wide, "192.0.2.1", name, 7 * DAY) == REFLECT_FINE;
	}
	assert_true(fine > 12000 && fine < 2048 * 8);
	assert_int_equal(take(&wide, "192.0.2.1", "first@x.test", 7 * DAY), REFLECT_SENDER);
	assert_int_equal(take(&wide, "192.0.2.1", "late@x.test", 8 * DAY), REFLECT_FINE);      /* all are free again */
}

static _Atomic unsigned let_in;

static void *many(void *arg)
{
	static const struct limits_conf c = { .reflector_sender = 100, .reflector_network = 1000 };

	(void)arg;
	for (int i = 0; i < 500; i++)
		if (take(&c, "192.0.2.1", "a@x.test", 3 * DAY) == REFLECT_FINE)
			atomic_fetch_add(&let_in, 1);
	return NULL;
}

static void by_threads(void **state)
{
	pthread_t t[4];

	(void)state;
	reflect_limit_setup();
	for (size_t i = 0; i < COUNT(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, many, NULL), 0);
	for (size_t i = 0; i < COUNT(t); i++)
		pthread_join(t[i], NULL);
	assert_int_equal(let_in, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counted), cmocka_unit_test(none_is_none), cmocka_unit_test(full), cmocka_unit_test(by_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
