/* SPDX-License-Identifier: ISC */
/*
 * deny: patterns, replies, the file, and what a table finds.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "modules/deny/deny.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"

static void globs(void **state)
{
	static const struct { const char *pattern, *subject; bool fits; } cases[] = {
		{ "abc", "ABC", true }, { "abc", "abcd", false }, { "a*", "a", true }, { "a*c", "abbbc", true }, { "a*c", "abbb", false },
		{ "*", "", true }, { "", "", true }, { "", "a", false }, { "*a*a*", "bab", false }, { "*a*a*", "baba", true },
		{ "*.dyn.*", "x.dyn.test", true }, { "**x", "yx", true }, { "a*b*c", "a1b2b3c", true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (deny_glob(str_of(cases[i].pattern), str_of(cases[i].subject)) != cases[i].fits)
			fail_msg("%s against %s", cases[i].pattern, cases[i].subject);
}

/* 300 stars against 300 octets: no more than their product. */
static void globs_stay_cheap(void **state)
{
	char pattern[600], subject[400];

	(void)state;
	for (size_t i = 0; i < sizeof(pattern); i += 2)
		memcpy(pattern + i, "*a", 2);
	memset(subject, 'a', sizeof(subject));
	subject[sizeof(subject) - 1] = 'b';
	for (int i = 0; i < 1000; i++)
		assert_false(deny_glob((str){ pattern, sizeof(pattern) }, (str){ subject, sizeof(subject) }));
}

static const struct deny_entry entries[] = {
	{ .kind = DENY_CLIENT, .value = { "192.0.2.7", 9 } },
	{ .kind = DENY_CLIENT, .value = { "198.51.100.0/24", 15 }, .reply = { "450 4.7.9 Later", 15 } },
	{ .kind = DENY_CLIENT, .value = { "2001:db8::7", 11 } },
	{ .kind = DENY_CLIENT, .value = { "203.0.113.1", 11 }, .until = 1000 },
	{ .kind = DENY_HELO, .value = { "Exact.Test", 10 } },
	{ .kind = DENY_HELO, .value = { ".below.test", 11 } },
	{ .kind = DENY_HELO, .value = { "*dsl*.test", 10 } },
	{ .kind = DENY_SENDER, .value = { "user@one.test", 13 } },
	{ .kind = DENY_SENDER, .value = { "@all.test", 9 } },
	{ .kind = DENY_SENDER, .value = { "bare.test", 9 } },
	{ .kind = DENY_SENDER, .value = { "news*@glob.test", 15 } },
	{ .kind = DENY_SENDER, .value = { ".deep.test", 10 } },
	{ .kind = DENY_SENDER, .value = { "<>", 2 } },
	{ .kind = DENY_SENDER, .value = { "@b\xc3\xbc" "cher.test", 13 } },
};

static void clients_are_found(void **state)
{
	static const struct { const char *ip; int64_t now; bool met; } cases[] = {
		{ "192.0.2.7", 5, true }, { "192.0.2.8", 5, false }, { "198.51.100.200", 5, true }, { "2001:db8::7", 5, true },
		{ "2001:db8::8", 5, false }, { "::ffff:192.0.2.7", 5, true }, { "203.0.113.1", 999, true }, { "203.0.113.1", 1000, false },
	};
	struct deny_table *t = deny_table_new(entries, COUNT(entries));

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct sockaddr_storage ss = { .ss_family = strchr(cases[i].ip, ':') ? AF_INET6 : AF_INET };
		void *at = ss.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&ss)->sin_addr
		                                   : (void *)&((struct sockaddr_in6 *)&ss)->sin6_addr;

		inet_pton(ss.ss_family, cases[i].ip, at);
		if ((deny_find_client(t, (struct sockaddr *)&ss, cases[i].now) != NULL) != cases[i].met)
			fail_msg("%s at %lld", cases[i].ip, (long long)cases[i].now);
	}
	assert_true(deny_table_has(t, DENY_CLIENT));
	assert_false(deny_table_has(t, DENY_PTR));
	assert_null(deny_find_name(NULL, DENY_HELO, STR("x"), 1));
	deny_table_free(t);
	deny_table_free(NULL);
}

static void names_are_found(void **state)
{
	static const struct { const char *name; bool met; } cases[] = {
		{ "exact.test", true }, { "EXACT.test.", true }, { "x.exact.test", false }, { "a.below.test", true }, { "below.test", false },
		{ "xbelow.test", false }, { "a-dsl-7.isp.test", true }, { "a.isp.test", false }, { "", false },
	};
	struct deny_table *t = deny_table_new(entries, COUNT(entries));

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if ((deny_find_name(t, DENY_HELO, str_of(cases[i].name), 1) != NULL) != cases[i].met)
			fail_msg("%s", cases[i].name);
	assert_null(deny_find_name(t, DENY_PTR, STR("exact.test"), 1));      /* another kind */
	deny_table_free(t);
}

static void senders_are_found(void **state)
{
	static const struct { const char *path; bool met; } cases[] = {
		{ "user@one.test", true }, { "USER@One.Test", true }, { "other@one.test", false }, { "x@all.test", true },
		{ "x@sub.all.test", false }, { "x@bare.test", true }, { "bare.test@other.test", false }, { "newsletter@glob.test", true },
		{ "old@glob.test", false }, { "x@a.deep.test", true }, { "x@deep.test", false }, { "x@xn--bcher-kva.test", true },
	};
	struct deny_table *t = deny_table_new(entries, COUNT(entries));
	struct path nobody = { .is_null = true, .text = { "", 0 } }, p;
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 16);
	for (size_t i = 0; i < COUNT(cases); i++) {
		assert_true(path_of(&a, str_of(cases[i].path), &p));
		if ((deny_find_path(t, DENY_SENDER, &p, 1) != NULL) != cases[i].met)
			fail_msg("%s", cases[i].path);
	}
	assert_non_null(deny_find_path(t, DENY_SENDER, &nobody, 1));
	assert_null(deny_find_path(t, DENY_RECIPIENT, &nobody, 1));
	deny_table_free(t);
	arena_fini(&a);
}

static void many_addresses_are_found_fast(void **state)
{
	enum { MANY = 50000 };
	struct deny_entry *v;
	struct deny_table *t;
	struct sockaddr_in sa = { .sin_family = AF_INET };
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	v = ARENA_ARRAY(&a, struct deny_entry, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		v[i] = (struct deny_entry){ .kind = DENY_CLIENT, .value = arena_printf(&a, "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255) };
	t = deny_table_new(v, MANY);
	for (uint32_t i = 0; i < MANY; i++) {
		sa.sin_addr.s_addr = htonl((10u << 24) + i);
		assert_non_null(deny_find_client(t, (struct sockaddr *)&sa, 1));
		sa.sin_addr.s_addr = htonl((11u << 24) + i);
		assert_null(deny_find_client(t, (struct sockaddr *)&sa, 1));
	}
	deny_table_free(t);
	arena_fini(&a);
}

static void replies(void **state)
{
	static const struct { const char *reply; int code; const char *esc, *text; } cases[] = {
		{ "", 550, "5.7.1", "" }, { "Go away", 550, "5.7.1", "Go away" }, { "554 5.7.0 No", 554, "5.7.0", "No" },
		{ "450 Later", 450, "4.7.1", "Later" }, { "550 5.7.1", 550, "5.7.1", "" }, { "5500 years", 550, "5.7.1", "5500 years" },
	};
	struct arena a;
	str why;

	(void)state;
	arena_init(&a, 4096);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct deny_entry e = { .kind = DENY_HELO, .value = STR("x"), .reply = str_of(cases[i].reply) };
		struct deny_table *t = deny_table_new(&e, 1);
		const struct deny_entry *met = deny_find_name(t, DENY_HELO, STR("x"), 1);

		assert_int_equal(met->code, cases[i].code);
		assert_string_equal(met->esc, cases[i].esc);
		assert_true(str_is(met->text, cases[i].text));
		deny_table_free(t);
	}
	assert_false(deny_reply_check(STR("250 Welcome"), &a, &why));
	assert_false(deny_reply_check(STR("450 5.7.1 Both"), &a, &why));
	arena_fini(&a);
}

static void values_are_checked(void **state)
{
	static const struct { enum deny_kind kind; const char *value; bool good; } cases[] = {
		{ DENY_CLIENT, "192.0.2.0/24", true }, { DENY_CLIENT, "host.test", false }, { DENY_PTR, "*.host.test", true },
		{ DENY_PTR, "a@host.test", false }, { DENY_HELO, "*", false }, { DENY_SENDER, "*", false }, { DENY_SENDER, "*@*", false },
		{ DENY_SENDER, "<>", true }, { DENY_SENDER, "a b@c.test", false }, { DENY_SENDER, "a\tb", false }, { DENY_SENDER, "", false },
		{ DENY_RECIPIENT, "old@here.test", true },
	};
	struct arena a;
	str why;

	(void)state;
	arena_init(&a, 1 << 16);
	for (size_t i = 0; i < COUNT(cases); i++)
		if (deny_value_check(cases[i].kind, str_of(cases[i].value), &a, &why) != cases[i].good)
			fail_msg("%s", cases[i].value);
	arena_fini(&a);
}

static void the_file_comes_back_as_it_was(void **state)
{
	struct deny_entry *v;
	struct arena a;
	struct buf b;
	size_t n, bad;

	(void)state;
	arena_init(&a, 1 << 16);
	buf_init(&b, 1 << 16);
	deny_file_write(entries, COUNT(entries), &b);
	v = deny_file_read(buf_str(&b), &a, &n, &bad);
	assert_int_equal(n, COUNT(entries));
	assert_int_equal(bad, 0);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(v[i].kind, entries[i].kind);
		assert_true(str_eq(v[i].value, entries[i].value));
		assert_true(str_eq(v[i].reply, entries[i].reply));
		assert_int_equal(v[i].until, entries[i].until);
	}
	v = deny_file_read(STR("# c\n\nhelo\tgood.test\t-\t-\r\nclient\tbad\t-\t-\nhelo\tlast.test\t77\t1\treply here"), &a, &n, &bad);
	assert_int_equal(n, 2);
	assert_int_equal(bad, 4);
	assert_true(str_is(v[1].value, "last.test"));
	assert_true(str_is(v[1].reply, "reply here"));
	assert_int_equal(v[1].until, 77);
	buf_fini(&b);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(globs),
		cmocka_unit_test(globs_stay_cheap),
		cmocka_unit_test(clients_are_found),
		cmocka_unit_test(names_are_found),
		cmocka_unit_test(senders_are_found),
		cmocka_unit_test(many_addresses_are_found_fast),
		cmocka_unit_test(replies),
		cmocka_unit_test(values_are_checked),
		cmocka_unit_test(the_file_comes_back_as_it_was),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
