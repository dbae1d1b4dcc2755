/* SPDX-License-Identifier: ISC */
/*
 * Buckets, refusals and what is never refused, with a clock of our own; and the
 * table as several threads use it.
 */
#include <pthread.h>

#include "tests/unit/auth/auth_help.h"

#define MINUTE ((uint64_t)60000)

static struct bans *bans;
static uint64_t now;

static void open_with(uint64_t address, uint64_t network, uint64_t account, const char *never)
{
	str words[1] = { str_of(never) };
	struct guess_conf c = { .address = address, .network = network, .account = account,
		                .within_ms = 10 * MINUTE, .refuse_ms = 15 * MINUTE, .refuse_most_ms = 24 * 60 * MINUTE,
		                .slowest_ms = 5000, .never = { words, never != NULL } };

	bans = bans_new();
	assert_non_null(bans);
	assert_true(bans_set(bans, &c));
	now = 1000000;
}

static struct ban_said fails(const char *ip, const char *name, const char *password, enum ban_weight weight)
{
	unsigned char secret[32] = { 0 };
	struct ban_try t = { .name = str_of(name), .weight = weight, .now_ms = now };
	struct ban_said said;

	assert_true(ban_cidr(ip, &t.from));
	if (password != NULL) {
		snprintf((char *)secret, sizeof(secret), "%s", password);
		t.secret = secret;
	}
	bans_failed(bans, &t, &said);
	return said;
}

static uint64_t refuses(const char *ip)
{
	struct cidr from;

	assert_true(ban_cidr(ip, &from));
	return bans_refuse(bans, &from, now);
}

static void good(const char *ip, uint64_t until_ms)
{
	struct cidr from;

	assert_true(ban_cidr(ip, &from));
	bans_good(bans, &from, until_ms);
}

static unsigned until_refused(const char *ip, enum ban_weight weight)
{
	for (unsigned i = 1; i < 1000; i++)
		if (fails(ip, "alice@home.test", NULL, weight).refused != BAN_NOBODY)
			return i;
	return 0;
}

static void addresses_networks_and_weights(void **state)
{
	static const struct { const char *ip; enum ban_weight weight; unsigned want; const char *refused, *free; } rows[] = {
		{ "192.0.2.1", BAN_WHOLE, 10, "192.0.2.1", "192.0.2.2" },
		{ "192.0.3.1", BAN_HALF, 20, "::ffff:192.0.3.1", "192.0.3.2" },
		{ "2001:db8::1", BAN_WHOLE, 10, "2001:db8::1", "2001:db8::2" },
		{ "2001:db8:1::1", BAN_HALF, 20, "2001:db8:1::1", "2001:db8:1::2" },
	};

	(void)state;
	open_with(10, 0, 0, NULL);
	for (size_t i = 0; i < COUNT(rows); i++) {
		assert_int_equal(until_refused(rows[i].ip, rows[i].weight), rows[i].want);
		assert_int_equal(refuses(rows[i].refused), 15 * MINUTE);
		assert_int_equal(refuses(rows[i].free), 0);
	}
	bans_free(bans);
	open_with(0, 5, 0, NULL);
	for (int i = 1; i <= 5; i++) {
		char ip[40];

		snprintf(ip, sizeof(ip), "2001:db8::%d:%d", i, i);
		assert_int_equal(fails(ip, "x", NULL, BAN_WHOLE).refused, i == 5 ? BAN_NETWORK : BAN_NOBODY);
	}
	assert_true(refuses("2001:db8:0:0:ffff::1") > 0);
	assert_int_equal(refuses("2001:db8:0:1::1"), 0);
	bans_free(bans);
}

static void answers_slow_down(void **state)
{
	static const uint64_t want[] = { 0, 0, 250, 500, 1000, 2000, 4000, 5000, 5000 };

	(void)state;
	open_with(20, 0, 0, NULL);
	for (size_t i = 0; i < COUNT(want); i++)
		assert_int_equal(fails("192.0.2.1", "x", NULL, BAN_WHOLE).slow_ms, want[i]);
	assert_int_equal(fails("192.0.2.2", "x", NULL, BAN_WHOLE).slow_ms, 0);
	now += 60 * MINUTE;
	assert_int_equal(fails("192.0.2.1", "x", NULL, BAN_WHOLE).slow_ms, 0);
	bans_free(bans);
}

static void what_drains_is_forgotten(void **state)
{
	(void)state;
	open_with(10, 0, 0, NULL);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(fails("192.0.2.1", "x", NULL, BAN_WHOLE).refused, BAN_NOBODY);
		now += MINUTE;
	}
	bans_free(bans);
}

static void refusals_grow_and_are_forgiven(void **state)
{
	uint64_t want = 15 * MINUTE;

	(void)state;
	open_with(3, 0, 0, NULL);
	for (int i = 0; i < 12; i++) {
		assert_int_equal(until_refused("192.0.2.1", BAN_WHOLE), 3);
		assert_int_equal(refuses("192.0.2.1"), want);
		now += want + 1;
		assert_int_equal(refuses("192.0.2.1"), 0);
		want = 2 * want < 24 * 60 * MINUTE ? 2 * want : 24 * 60 * MINUTE;
	}
	now += 25 * 60 * MINUTE;
	assert_int_equal(until_refused("192.0.2.1", BAN_WHOLE), 3);
	assert_int_equal(refuses("192.0.2.1"), 15 * MINUTE);
	bans_free(bans);
}

static void the_same_password_counts_once(void **state)
{
	(void)state;
	open_with(3, 5, 5, NULL);
	assert_false(fails("192.0.2.1", "x", "old", BAN_WHOLE).again);
	for (int i = 0; i < 100; i++) {
		struct ban_said s = fails("192.0.2.1", "x", "old", BAN_WHOLE);

		assert_true(s.again);
		assert_int_equal(s.refused, BAN_NOBODY);
	}
	assert_false(fails("192.0.2.2", "x", "old", BAN_WHOLE).again);
	assert_false(fails("192.0.2.1", "x", "other", BAN_WHOLE).again);
	now += 25 * 60 * MINUTE;
	assert_false(fails("192.0.2.1", "x", "old", BAN_WHOLE).again);
	bans_free(bans);
}

static void who_is_never_refused(void **state)
{
	(void)state;
	open_with(3, 5, 5, "198.51.100.64/26");
	good("192.0.2.9", now + MINUTE);
	assert_int_equal(until_refused("192.0.2.1", BAN_WHOLE), 0);
	assert_int_equal(fails("192.0.2.1", "x", NULL, BAN_WHOLE).slow_ms, 2000);
	now += 2 * MINUTE;
	assert_true(until_refused("192.0.2.1", BAN_WHOLE) > 0);
	good("192.0.2.9", now + MINUTE);                   /* the owner, who comes in by another way */
	assert_int_equal(refuses("192.0.2.1"), 0);
	assert_int_equal(until_refused("198.51.100.65", BAN_WHOLE), 0);
	assert_int_equal(fails("198.51.100.65", "x", NULL, BAN_WHOLE).slow_ms, 0);
	assert_true(until_refused("198.51.100.1", BAN_WHOLE) > 0);
	bans_free(bans);
}

static void a_name_under_siege(void **state)
{
	(void)state;
	open_with(6, 0, 4, NULL);
	for (int i = 0; i < 5; i++) {
		char ip[40];

		snprintf(ip, sizeof(ip), "192.0.%d.1", i);
		fails(ip, i % 2 ? "Alice@home.test" : "alice@HOME.test", NULL, BAN_WHOLE);
	}
	assert_int_equal(fails("198.51.100.1", "alice@home.test", NULL, BAN_WHOLE).slow_ms, 5000);
	assert_int_equal(fails("198.51.100.1", "alice@home.test", NULL, BAN_WHOLE).refused, BAN_ADDRESS);
	assert_int_equal(fails("198.51.100.2", "bob@home.test", NULL, BAN_WHOLE).slow_ms, 0);
	bans_free(bans);
}

/* A million addresses: no more memory, and who was refused stays so. */
/* One thread: there is nothing that TSan could see in a million that is not in the first. */
#ifdef __SANITIZE_THREAD__
enum { FLOOD = 50000 };
#else
enum { FLOOD = 1000000 };
#endif

static void floods(void **state)
{
	(void)state;
	open_with(3, 0, 0, NULL);
	until_refused("192.0.2.1", BAN_WHOLE);
	for (uint32_t i = 0; i < FLOOD; i++) {
		struct cidr from = { .v4 = true, .bits = 32, .ip = { 10, (unsigned char)(i >> 16), (unsigned char)(i >> 8), (unsigned char)i } };
		struct ban_try t = { .from = from, .name = STR("x"), .weight = BAN_WHOLE, .now_ms = now };
		struct ban_said said;

		bans_failed(bans, &t, &said);
	}
	assert_true(refuses("192.0.2.1") > 0);
	assert_true(ban_table_held(&bans->counts, now) == 1);
	bans_free(bans);
}

/* ---- threads -------------------------------------------------------------------------- */

#define THREADS 4
#define EACH    20000

static void *hammer(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < EACH; i++) {
		struct cidr from = { .v4 = true, .bits = 32, .ip = { 10, 0, 0, (unsigned char)((i * 7 + seed) % 5) } };
		struct ban_try t = { .from = from, .name = STR("x"), .weight = BAN_WHOLE, .now_ms = now + i / 100 };
		struct ban_said said;

		bans_failed(bans, &t, &said);
		bans_refuse(bans, &from, now);
		bans_good(bans, &(struct cidr){ .v4 = true, .bits = 32, .ip = { 11, (unsigned char)i } }, now + i);
	}
	return NULL;
}

static void threads_count_together(void **state)
{
	pthread_t t[THREADS];

	(void)state;
	open_with(1000, 0, 0, NULL);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, hammer, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < 5; i++) {
		char ip[40];

		snprintf(ip, sizeof(ip), "10.0.0.%d", i);
		assert_true(refuses(ip) > 0);
	}
	bans_free(bans);
}

/* ---- logins ------------------------------------------------------------------------------- */

__attribute__((unused)) static void each_accounts_latest_stay(void **state)
{
	struct house h;
	struct login *v;
	struct arena a;
	size_t n;
	char file[200];
	FILE *out;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	house_make(&h, NULL);
	snprintf(file, sizeof(file), "%s.logins", h.folder.file);
	out = fopen(file, "w");
	assert_non_null(out);
	for (int i = 0; i < 20000; i++) {
		fprintf(out, "%d\t192.0.2.7\tPLAIN\talice@home.test\t-\t%s\n", 1000 + i, i % 3 ? "wrong password" : "passed");
		fprintf(out, "%d\t192.0.2.8\tPLAIN\t?\t-\tno such account\n", 1000 + i);
	}
	fprintf(out, "5\t192.0.2.9\tPLAIN\tbob@home.test\tbob+x@home.test\tpassed\nno line of ours\n7\t8\n6\t192.0.2.9\tPLA");
	assert_int_equal(fclose(out), 0);
	house_open_or_fail(&h);
	assert_true(logins_read(file, STR("alice@home.test"), &a, &v, &n));
	assert_int_equal(n, 2 * LOGINS_EACH);
	assert_int_equal(v[0].when, 20999);
	assert_true(logins_read(file, STR("bob@home.test"), &a, &v, &n));
	assert_int_equal(n, 1);
	assert_true(str_is(v[0].by, "bob+x@home.test"));
	assert_true(logins_read(file, STR("?"), &a, &v, &n));
	assert_int_equal(n, 0);
	assert_true(get_text(file, &a).n < 20000);
	house_end(&h);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_networks_and_weights),
		cmocka_unit_test(answers_slow_down),
		cmocka_unit_test(what_drains_is_forgotten),
		cmocka_unit_test(refusals_grow_and_are_forgiven),
		cmocka_unit_test(the_same_password_counts_once),
		cmocka_unit_test(who_is_never_refused),
		cmocka_unit_test(a_name_under_siege),
		cmocka_unit_test(floods),
		cmocka_unit_test(threads_count_together),
#ifndef __SANITIZE_THREAD__           /* one thread reads megabytes octet by octet: a minute there */
		cmocka_unit_test(each_accounts_latest_stay),
#endif
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
