/* SPDX-License-Identifier: ISC */
/* crypt: digests, HMAC and PBKDF2 by published vectors, randomness, base64. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/err.h"

static void hex_is(const unsigned char *got, size_t n, const char *want)
{
	char text[2 * DIGEST_MAX + 1] = "";

	for (size_t i = 0; i < n; i++)
		snprintf(text + 2 * i, 3, "%02x", got[i]);
	assert_string_equal(text, want);
}

#define ABC_SHA1   "a9993e364706816aba3e25717850c26c9cd0d89d"
#define ABC_SHA256 "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define NIL_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* FIPS 180 examples. */
static void digests(void **state)
{
	unsigned char out[DIGEST_MAX];
	struct digest many[40], none = { 0 };

	(void)state;
	hex_is(out, digest_of(DIGEST_SHA1, STR("abc"), out), ABC_SHA1);
	hex_is(out, digest_of(DIGEST_SHA256, STR("abc"), out), ABC_SHA256);
	hex_is(out, digest_of(DIGEST_SHA256, STR_NONE, out), NIL_SHA256);
	/* More at once than are kept; some dropped in the middle; used again. */
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < COUNT(many); i++) {
			assert_int_equal(digest_begin(&many[i], i % 2), OK);
			digest_add(&many[i], STR("a"));
		}
		for (size_t i = 0; i < COUNT(many); i++) {
			if (i % 3 == 0) {
				digest_drop(&many[i]);
				digest_drop(&many[i]);
				continue;
			}
			digest_add(&many[i], STR("bc"));
			digest_add(&many[i], STR_NONE);
			hex_is(out, digest_end(&many[i], out), i % 2 ? ABC_SHA256 : ABC_SHA1);
		}
	}
	digest_drop(&none);
}

static void *digest_elsewhere(void *arg)
{
	unsigned char out[DIGEST_MAX];
	struct digest own;

	digest_add(arg, STR("c"));
	digest_end(arg, out);
	if (digest_begin(&own, DIGEST_SHA1) != OK)
		return NULL;
	digest_end(&own, out);
	return digest_of(DIGEST_SHA256, STR("abc"), out) == 32 ? arg : NULL;
}

/* Begun here, ended by another thread, which then ends itself: no leak. */
static void moving_digests(void **state)
{
	struct digest d;
	pthread_t     t;
	void         *done;

	(void)state;
	assert_int_equal(digest_begin(&d, DIGEST_SHA256), OK);
	digest_add(&d, STR("ab"));
	assert_int_equal(pthread_create(&t, NULL, digest_elsewhere, &d), 0);
	pthread_join(t, &done);
	assert_ptr_equal(done, &d);
}

static void macs(void **state)
{
	unsigned char out[32];
	char          key[131];

	(void)state;
	/* RFC 4231 4.2, 4.3, 4.7 */
	memset(key, 0x0b, 20);
	hmac_sha256((str){ key, 20 }, STR("Hi There"), out);
	hex_is(out, 32, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	hmac_sha256(STR("Jefe"), STR("what do ya want for nothing?"), out);
	hex_is(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, 131);
	hmac_sha256((str){ key, 131 }, STR("Test Using Larger Than Block-Size Key - Hash Key First"),
	            out);
	hex_is(out, 32, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	hmac_sha256(STR_NONE, STR_NONE, out);
	hex_is(out, 32, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void stretching(void **state)
{
	unsigned char out[32];

	(void)state;
	/* RFC 7914 11, the first half of each. */
	assert_int_equal(pbkdf2_sha256(STR("passwd"), STR("salt"), 1, out), OK);
	hex_is(out, 32, "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc");
	assert_int_equal(pbkdf2_sha256(STR("Password"), STR("NaCl"), 80000, out), OK);
	hex_is(out, 32, "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56");
	assert_int_equal(pbkdf2_sha256(STR("x"), STR("y"), 0, out), ERR_BAD);
	assert_int_equal(pbkdf2_sha256(STR_NONE, STR_NONE, 1, out), OK);
}

static void randomness(void **state)
{
	unsigned      seen[7] = { 0 };
	unsigned char a[32], b[32];

	(void)state;
	for (int i = 0; i < 7000; i++) {
		uint64_t v = random_below(7);

		assert_true(v < 7);
		seen[v]++;
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 700, 1300);
	assert_int_equal(random_below(1), 0);
	assert_true(random_below(UINT64_MAX) < UINT64_MAX);
	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	assert_false(crypt_equal(a, b, sizeof(a)));
	memcpy(b, a, sizeof(a));
	assert_true(crypt_equal(a, b, sizeof(a)));
	assert_true(crypt_equal(NULL, NULL, 0));
	crypt_wipe(a, sizeof(a));
	memset(b, 0, sizeof(b));
	assert_memory_equal(a, b, sizeof(a));
	crypt_wipe(NULL, 0);
}

static void base64(void **state)
{
	static const struct { str text; bool strict, loose; str want; } cases[] = {
		/* RFC 4648 10 */
		{ STR(""), true, true, STR("") },
		{ STR("Zg=="), true, true, STR("f") },
		{ STR("Zm8="), true, true, STR("fo") },
		{ STR("Zm9v"), true, true, STR("foo") },
		{ STR("Zm9vYg=="), true, true, STR("foob") },
		{ STR("Zm9vYmE="), true, true, STR("fooba") },
		{ STR("Zm9vYmFy"), true, true, STR("foobar") },
		{ STR("AP/+"), true, true, STR("\x00\xff\xfe") },
		/* Padding and white space */
		{ STR("Zg"), false, true, STR("f") },
		{ STR("Zg="), false, true, STR("f") },
		{ STR("Zm8"), false, true, STR("fo") },
		{ STR(" Z\r\n\tg =\t= "), false, true, STR("f") },
		{ STR(" \r\n"), false, true, STR("") },
		/* Bits that mean nothing must be zero where we are strict. */
		{ STR("Zh=="), false, true, STR("f") },
		{ STR("Zm9="), false, true, STR("fo") },
		/* Never */
		{ STR("Z"), false, false, STR("") },
		{ STR("Zm9vY"), false, false, STR("") },
		{ STR("="), false, false, STR("") },
		{ STR("===="), false, false, STR("") },
		{ STR("Zm9v="), false, false, STR("") },
		{ STR("Zm8=="), false, false, STR("") },
		{ STR("Zg==="), false, false, STR("") },
		{ STR("Zg==Zg=="), false, false, STR("") },
		{ STR("Zg=g"), false, false, STR("") },
		{ STR("Zm9-"), false, false, STR("") },
		{ STR("Zm9_"), false, false, STR("") },
		{ STR("Zm9\0"), false, false, STR("") },
		{ STR("Zm\xc3\xb6"), false, false, STR("") },
		{ STR("Zm9v\v"), false, false, STR("") },
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		str got;

		assert_int_equal(base64_decode(&a, cases[i].text, false, &got), cases[i].strict);
		if (cases[i].strict) {
			assert_true(str_eq(got, cases[i].want));
			assert_true(str_eq(base64_encode(&a, got), cases[i].text));
		}
		assert_int_equal(base64_decode(&a, cases[i].text, true, &got), cases[i].loose);
		if (cases[i].loose)
			assert_true(str_eq(got, cases[i].want));
	}
	arena_fini(&a);
	arena_init(&a, 0);
	assert_null(base64_encode(&a, STR("x")).p);
	assert_false(base64_decode(&a, STR("Zm9v"), false, &(str){ 0 }));
	assert_true(a.spent);
	arena_fini(&a);
}

/* Long texts go by groups of four: white space and what is no letter, at every place. */
static void base64_places(void **state)
{
	unsigned char bytes[300];
	char          text[402];
	struct arena  a;
	str           whole, got;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 151 + i / 7);
	whole = base64_encode(&a, (str){ (char *)bytes, sizeof(bytes) });
	assert_int_equal(whole.n, 400);
	for (size_t at = 0; at <= whole.n; at++) {
		memcpy(text, whole.p, at);
		memcpy(text + at + 2, whole.p + at, whole.n - at);
		memcpy(text + at, "\r\n", 2);
		assert_true(base64_decode(&a, (str){ text, 402 }, true, &got));
		assert_true(str_eq(got, (str){ (char *)bytes, sizeof(bytes) }));
		assert_false(base64_decode(&a, (str){ text, 402 }, false, &got));
		text[at] = '\x80';
		assert_false(base64_decode(&a, (str){ text, 402 }, true, &got));
		text[at] = '=';
		assert_int_equal(base64_decode(&a, (str){ text, 402 }, true, &got), false);
	}
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(digests),    cmocka_unit_test(moving_digests),
		cmocka_unit_test(macs),       cmocka_unit_test(stretching),
		cmocka_unit_test(randomness), cmocka_unit_test(base64), cmocka_unit_test(base64_places),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
