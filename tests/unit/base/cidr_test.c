/* SPDX-License-Identifier: ISC */
/*
 * cidr: networks as text, and what lies inside.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd/base/cidr.h"
#include "smtpd/base/err.h"

static struct sockaddr_storage address(const char *text)
{
	struct sockaddr_storage ss = { .ss_family = strchr(text, ':') ? AF_INET6 : AF_INET };
	void *at = ss.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&ss)->sin_addr
	                                   : (void *)&((struct sockaddr_in6 *)&ss)->sin6_addr;

	assert_int_equal(inet_pton(ss.ss_family, text, at), 1);
	return ss;
}

static void reads_and_writes(void **state)
{
	static const struct { const char *in, *out; } cases[] = {
		{ "192.0.2.1", "192.0.2.1" }, { "192.0.2.1/32", "192.0.2.1" }, { "192.0.2.0/24", "192.0.2.0/24" },
		{ "0.0.0.0/0", "0.0.0.0/0" }, { "2001:DB8::/32", "2001:db8::/32" }, { "::1", "::1" }, { "::/0", "::/0" },
		{ "::ffff:192.0.2.0/120", "192.0.2.0/24" }, { "::ffff:0:0/96", "0.0.0.0/0" },
		{ "192.0.2.1/24", NULL }, { "192.0.2.0/33", NULL }, { "2001:db8::/129", NULL }, { "192.0.2", NULL }, { "", NULL },
		{ "/8", NULL }, { "192.0.2.0/", NULL }, { "192.0.2.0/-1", NULL }, { "192.0.2.0/1000000000000", NULL },
		{ "192.0.2.0/24 ", NULL }, { " 192.0.2.0", NULL }, { "host.example.org", NULL }, { "192.0.2.01", NULL },
		{ "fe80::1%lo", NULL },
	};
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 16);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct cidr c;
		str why = STR_NONE;
		bool good = cidr_parse(str_of(cases[i].in), &c, &a, &why);

		if (good != (cases[i].out != NULL))
			fail_msg("%s: %s", cases[i].in, good ? "was taken" : "was refused");
		if (good)
			assert_string_equal(str_cstr(&a, cidr_text(&a, &c)), cases[i].out);
		else
			assert_true(str_starts(why, "must "));
		assert_int_equal(cidr_check(str_of(cases[i].in), &a, &why), good);
	}
	arena_fini(&a);
}

static void says_what_would_be_right(void **state)
{
	struct cidr c;
	struct arena a;
	str why;

	(void)state;
	arena_init(&a, 4096);
	assert_false(cidr_parse(STR("192.0.2.77/24"), &c, &a, &why));
	assert_true(str_is(why, "must not have bits behind its prefix: 192.0.2.0/24"));
	assert_false(cidr_parse((str){ "192.0.2.1\0x", 11 }, &c, &a, &why));
	arena_fini(&a);
}

static void holds(void **state)
{
	static const struct { const char *net, *ip; bool in; } cases[] = {
		{ "192.0.2.0/24", "192.0.2.255", true }, { "192.0.2.0/24", "192.0.3.0", false },
		{ "192.0.2.128/25", "192.0.2.127", false }, { "192.0.2.128/25", "192.0.2.128", true },
		{ "192.0.2.6/31", "192.0.2.7", true }, { "192.0.2.7", "192.0.2.7", true }, { "192.0.2.7", "192.0.2.6", false },
		{ "0.0.0.0/0", "255.255.255.255", true }, { "0.0.0.0/0", "2001:db8::1", false }, { "::/0", "192.0.2.1", false },
		{ "192.0.2.0/24", "::ffff:192.0.2.9", true }, { "::ffff:192.0.2.0/120", "192.0.2.9", true },
		{ "2001:db8::/33", "2001:db8:7fff::1", true }, { "2001:db8::/33", "2001:db8:8000::", false },
	};
	struct arena a;

	(void)state;
	arena_init(&a, 4096);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct sockaddr_storage ss = address(cases[i].ip);
		struct cidr c;
		str why;

		assert_true(cidr_parse(str_of(cases[i].net), &c, &a, &why));
		if (cidr_holds(&c, (struct sockaddr *)&ss) != cases[i].in)
			fail_msg("%s in %s", cases[i].ip, cases[i].net);
	}
	struct sockaddr other = { .sa_family = AF_UNIX };
	struct cidr c = { .v4 = true };

	assert_false(cidr_holds(&c, &other));
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes),
		cmocka_unit_test(says_what_would_be_right),
		cmocka_unit_test(holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
