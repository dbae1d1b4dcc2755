/* SPDX-License-Identifier: ISC */
/* Remembered passwords: found, forgotten in time, never more than 10,000. */
#include "tests/unit/auth/auth_help.h"

static const unsigned char key[32] = { 7 };

static void tag_of(uint64_t n, unsigned char tag[TAG_SIZE])
{
	hmac_sha256((str){ (const char *)key, 32 }, (str){ (const char *)&n, sizeof(n) }, tag);
}

static void kept_and_forgotten(void **state)
{
	unsigned char one[TAG_SIZE], two[TAG_SIZE];
	struct memory m;

	(void)state;
	tag_of(1, one);
	tag_of(2, two);
	memory_init(&m, 2);
	memory_serves(&m, 1);
	assert_false(memory_holds(&m, one, 1000));
	memory_keep(&m, one, 1000, 500);
	assert_true(memory_holds(&m, one, 1000));
	assert_true(memory_holds(&m, one, 1499));
	assert_false(memory_holds(&m, one, 1500));
	assert_false(memory_holds(&m, two, 1000));
	memory_keep(&m, one, 1400, 500);        /* again: its time begins anew, in the same place */
	assert_true(memory_holds(&m, one, 1899));
	memory_keep(&m, two, 1400, 0);          /* 0: never */
	assert_false(memory_holds(&m, two, 1400));
	memory_serves(&m, 1);
	assert_true(memory_holds(&m, one, 1500));
	memory_serves(&m, 2);                   /* other accounts: all is gone */
	assert_false(memory_holds(&m, one, 1500));
	assert_null(m.v);
	memory_wipe(&m);
}

/* Free entries have tags of zeros; a tag of zeros must not be found for that. */
static void zeros_are_nothing(void **state)
{
	unsigned char zeros[TAG_SIZE] = { 0 }, one[TAG_SIZE];
	struct memory m;

	(void)state;
	tag_of(1, one);
	memory_init(&m, 1);
	memory_keep(&m, one, 0, 500);
	assert_false(memory_holds(&m, zeros, 0));
	memory_wipe(&m);
}

static void bounded(void **state)
{
	struct memory m[2];
	unsigned char tag[TAG_SIZE];
	size_t held = 0;

	(void)state;
	for (size_t i = 0; i < 2; i++)
		memory_init(&m[i], 2);
	assert_true(2 * m[0].sets * MEMORY_WAYS <= MEMORY_ALL);
	assert_true(2 * m[0].sets * MEMORY_WAYS > MEMORY_ALL * 9 / 10);
	for (uint64_t i = 0; i < 40000; i++) {
		tag_of(i, tag);
		memory_keep(&m[i % 2], tag, i, 1000000);
	}
	for (uint64_t i = 0; i < 40000; i++) {
		tag_of(i, tag);
		held += memory_holds(&m[i % 2], tag, 40000);
	}
	assert_true(held <= MEMORY_ALL && held > MEMORY_ALL * 9 / 10);
	tag_of(39999, tag);                     /* the newest is there: the oldest went */
	assert_true(memory_holds(&m[1], tag, 40000));
	for (size_t i = 0; i < 2; i++)
		memory_wipe(&m[i]);
}

/* A byte moved from one part to the next makes another tag. */
static void parts_stay_apart(void **state)
{
	struct verifier v = { .iterations = 4096, .salt = STR("salt") }, w = v;
	unsigned char a[TAG_SIZE], b[TAG_SIZE];
	unsigned char other[32] = { 8 };

	(void)state;
	memory_tag(key, STR("ab"), &v, STR("c"), a);
	memory_tag(key, STR("ab"), &v, STR("c"), b);
	assert_memory_equal(a, b, TAG_SIZE);
	memory_tag(key, STR("a"), &v, STR("bc"), b);
	assert_memory_not_equal(a, b, TAG_SIZE);
	w.stored[31] = 1;
	memory_tag(key, STR("ab"), &w, STR("c"), b);
	assert_memory_not_equal(a, b, TAG_SIZE);
	memory_tag(other, STR("ab"), &v, STR("c"), b);
	assert_memory_not_equal(a, b, TAG_SIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kept_and_forgotten),
		cmocka_unit_test(zeros_are_nothing),
		cmocka_unit_test(bounded),
		cmocka_unit_test(parts_stay_apart),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
