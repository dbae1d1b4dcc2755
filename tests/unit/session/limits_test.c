/* SPDX-License-Identifier: ISC */
/*
 * What all loops count together: totals, addresses, networks, memory; also when
 * several threads count at once.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>

#include "smtpd/base/crypt.h"
#include "smtpd/session/internal.h"

static const struct limits_conf conf = {
	.connections = 10, .connections_address = 3, .connections_network = 4, .memory = 1000,
};
static const struct listener_conf mx = { .role = ROLE_INBOUND }, sub = { .role = ROLE_SUBMISSION };
static const struct listener_conf free_mx = { .role = ROLE_INBOUND, .loopback_unlimited = true };

static enum limit enter(const struct limits_conf *c, const struct listener_conf *l, const char *ip, struct limits_place *p)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, ip, &in.sin_addr) == 1)
		return limits_enter(c, l, (struct sockaddr *)&in, p);
	assert_int_equal(inet_pton(AF_INET6, ip, &in6.sin6_addr), 1);
	return limits_enter(c, l, (struct sockaddr *)&in6, p);
}

static void leave_all(struct limits_place *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		limits_leave(&p[i]);
	assert_int_equal(limits_connections(), 0);
}

static const struct {
	const char *name;
	const struct listener_conf *listener;
	const char *ip[12];
	enum limit last;             /* what the last one hears; the others get in */
} cases[] = {
	{ "three of one address", &mx, { "192.0.2.1", "192.0.2.1", "192.0.2.1" }, LIMIT_NONE },
	{ "a fourth of one address", &mx, { "192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.1" }, LIMIT_ADDRESS },
	{ "v4 has no network", &mx, { "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5" }, LIMIT_NONE },
	{ "a fifth of one /64", &mx, { "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8::5" }, LIMIT_NETWORK },
	{ "another /64", &mx, { "2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4", "2001:db8:0:1::5" }, LIMIT_NONE },
	{ "v4-mapped is v4", &mx, { "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1" }, LIMIT_ADDRESS },
	{ "half for inbound", &mx, { "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6" }, LIMIT_CONNECTIONS },
	{ "more for submission", &sub, { "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.6" }, LIMIT_NONE },
	{ "loopback counts", &mx, { "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1" }, LIMIT_ADDRESS },
	{ "loopback may be spared", &free_mx, { "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1", "127.0.0.1" }, LIMIT_NONE },
	{ "and ::1 too", &free_mx, { "::1", "::1", "::1", "::1", "::1" }, LIMIT_NONE },
};

static void connections_are_counted(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct limits_place p[12];
		size_t n = 0;
		enum limit said = LIMIT_NONE;

		for (; cases[i].ip[n] != NULL; n++) {
			if (said != LIMIT_NONE)
				fail_msg("%s: refused too early", cases[i].name);
			said = enter(&conf, cases[i].listener, cases[i].ip[n], &p[n]);
		}
		if (said != cases[i].last)
			fail_msg("%s: %d", cases[i].name, said);
		leave_all(p, n);
	}
}

static void all_places_are_submissions_too(void **state)
{
	struct limits_place p[11];
	char ip[20];

	(void)state;
	for (int i = 0; i < 11; i++) {
		snprintf(ip, sizeof(ip), "192.0.2.%d", i + 1);
		assert_int_equal(enter(&conf, &sub, ip, &p[i]), i < 10 ? LIMIT_NONE : LIMIT_CONNECTIONS);
	}
	leave_all(p, 11);
}

/* A thousand addresses do not make one another seem too many. */
static void a_thousand_addresses(void **state)
{
	static struct limits_place p[1000];
	struct limits_conf c = conf;
	char ip[20];

	(void)state;
	c.connections = 2000;
	c.connections_address = 3;              /* of one: once in thirty runs two of a thousand meet in all rows */
	for (int i = 0; i < 1000; i++) {
		snprintf(ip, sizeof(ip), "10.1.%d.%d", i / 250, i % 250);
		assert_int_equal(enter(&c, &sub, ip, &p[i]), LIMIT_NONE);
	}
	for (int i = 0; i < 1000; i += 97) {
		struct limits_place again, third, fourth;
		enum limit said;

		snprintf(ip, sizeof(ip), "10.1.%d.%d", i / 250, i % 250);
		assert_int_equal(enter(&c, &sub, ip, &again), LIMIT_NONE);
		said = enter(&c, &sub, ip, &third);     /* counted with another's, or not */
		assert_int_equal(enter(&c, &sub, ip, &fourth), LIMIT_ADDRESS);
		limits_leave(&again);
		if (said == LIMIT_NONE)
			limits_leave(&third);
	}
	leave_all(p, 1000);
}

static void *come_and_go(void *arg)
{
	struct limits_conf c = conf;
	size_t *in = arg;

	c.connections = 2;
	for (int i = 0; i < 20000; i++) {
		struct limits_place p;

		if (enter(&c, &sub, "192.0.2.9", &p) == LIMIT_NONE) {
			(*in)++;
			if (limits_connections() > 8)    /* four threads, each one over at most */
				*in = SIZE_MAX / 2;
			limits_leave(&p);
		}
	}
	return NULL;
}

static void threads_may_count_at_once(void **state)
{
	pthread_t t[4];
	size_t in[4] = { 0 };
	struct limits_place p;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&t[i], NULL, come_and_go, &in[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		assert_true(in[i] < SIZE_MAX / 2);
	}
	assert_int_equal(limits_connections(), 0);
	assert_int_equal(enter(&conf, &mx, "192.0.2.9", &p), LIMIT_NONE);
	leave_all(&p, 1);
}

static void memory_is_counted(void **state)
{
	(void)state;
	assert_true(limits_take_memory(&conf, 600));
	assert_false(limits_take_memory(&conf, 401));
	assert_true(limits_take_memory(&conf, 400));
	limits_take_memory_anyway(50);
	assert_int_equal(limits_memory(), 1050);
	limits_give_memory(1050);
	assert_int_equal(limits_memory(), 0);
}

static int draw(void **state)
{
	(void)state;
	crypt_setup();
	limits_setup();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections_are_counted),
		cmocka_unit_test(all_places_are_submissions_too),
		cmocka_unit_test(a_thousand_addresses),
		cmocka_unit_test(threads_may_count_at_once),
		cmocka_unit_test(memory_is_counted),
	};

	return cmocka_run_group_tests(tests, draw, NULL);
}
