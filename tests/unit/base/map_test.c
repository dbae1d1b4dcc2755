/* SPDX-License-Identifier: ISC */
/* map: SipHash's reference values; putting, removing, walking against a plain table. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/base/map.h"

/* Key 00 01 … 0f, message 00 01 … of the given length: the authors' vectors. */
static void sip_vectors(void **state)
{
	static const struct { size_t n; uint64_t want; } cases[] = {
		{ 0, 0x726fdb47dd0e0e31 },  { 1, 0x74f839c593dc67fd },  { 7, 0xab0200f58b01d137 },
		{ 8, 0x93f5f5799a932462 },  { 9, 0x9e0082df0ba9e4b0 },  { 15, 0xa129ca6149be45e5 },
		{ 16, 0x3f2acc7f57c29bdb }, { 63, 0x958a324ceb064572 },
	};
	uint8_t key[16];
	char    message[64];

	(void)state;
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (char)i;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_true(siphash(key, (str){ message, cases[i].n }) == cases[i].want);
}

static void basics(void **state)
{
	struct map m;
	int        a, b;

	(void)state;
	map_init(&m, false);
	assert_null(map_get(&m, STR("x")));
	assert_null(map_remove(&m, STR("x")));
	assert_true(map_put(&m, STR("x"), &a));
	assert_true(map_put(&m, STR("X"), &b));
	assert_true(map_put(&m, STR(""), &b));
	assert_ptr_equal(map_get(&m, STR("x")), &a);
	assert_ptr_equal(map_get(&m, STR("X")), &b);
	assert_ptr_equal(map_get(&m, STR_NONE), &b);
	assert_null(map_get(&m, STR("x\0")));
	assert_int_equal(m.n, 3);
	assert_true(map_put(&m, STR("x"), &b));
	assert_int_equal(m.n, 3);
	assert_ptr_equal(map_remove(&m, STR("x")), &b);
	assert_null(map_get(&m, STR("x")));
	assert_null(map_remove(&m, STR("x")));
	map_fini(&m);
	assert_int_equal(m.n, 0);
}

static void without_case(void **state)
{
	struct map m;
	int        a, b;

	(void)state;
	map_init(&m, true);
	assert_true(map_put(&m, STR("Mail.Example"), &a));
	assert_ptr_equal(map_get(&m, STR("mAIL.eXAMPLE")), &a);
	assert_true(map_put(&m, STR("MAIL.EXAMPLE"), &b));
	assert_int_equal(m.n, 1);
	assert_ptr_equal(map_remove(&m, STR("mail.example")), &b);
	map_fini(&m);
	assert_true(m.nocase);
}

enum { KEYS = 500 };

static void walk(const struct map *m, void *const want[])
{
	struct map_entry *e;
	size_t            at = 0, seen = 0;

	while ((e = map_next(m, &at)) != NULL) {
		assert_ptr_equal(e->value, want[atoi(e->key.p + 1)]);
		seen++;
	}
	assert_int_equal(seen, m->n);
}

static void as_a_table(void **state)
{
	static char keys[KEYS][16];
	void       *want[KEYS] = { NULL };
	struct map  m;
	unsigned    seed = 7;
	size_t      n = 0;

	(void)state;
	map_init(&m, false);
	for (int i = 0; i < KEYS; i++)
		snprintf(keys[i], sizeof(keys[i]), "k%d", i);
	for (int step = 0; step < 50000; step++) {
		int i = rand_r(&seed) % KEYS;

		if (rand_r(&seed) % 2) {
			n += want[i] == NULL;
			want[i] = keys[rand_r(&seed) % KEYS];
			assert_true(map_put(&m, str_of(keys[i]), want[i]));
		} else {
			n -= want[i] != NULL;
			assert_ptr_equal(map_remove(&m, str_of(keys[i])), want[i]);
			want[i] = NULL;
		}
		assert_int_equal(m.n, n);
		if (step % 5000 == 0)
			walk(&m, want);
	}
	for (int i = 0; i < KEYS; i++)
		assert_ptr_equal(map_get(&m, str_of(keys[i])), want[i]);
	/* Coming and going leaves no growing heap of removed slots behind. */
	assert_true(m.room <= 4096);
	map_fini(&m);
}

static void removal_while_walking(void **state)
{
	static char       keys[100][16];
	struct map        m;
	struct map_entry *e;
	size_t            at = 0, seen = 0;

	(void)state;
	map_init(&m, false);
	for (int i = 0; i < 100; i++) {
		snprintf(keys[i], sizeof(keys[i]), "k%d", i);
		assert_true(map_put(&m, str_of(keys[i]), keys[i]));
	}
	while ((e = map_next(&m, &at)) != NULL) {
		char *value = e->value;

		assert_ptr_equal(map_remove(&m, str_of(value)), value);
		seen++;
	}
	assert_int_equal(seen, 100);
	assert_int_equal(m.n, 0);
	map_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sip_vectors),  cmocka_unit_test(basics),
		cmocka_unit_test(without_case), cmocka_unit_test(as_a_table),
		cmocka_unit_test(removal_while_walking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
