/* SPDX-License-Identifier: ISC */
/* bodyhash: shared wishes, length limits, and known hashes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"
#include "smtpd/mail/bodyhash.h"

static const str body = STR(" C \r\nD \t E\r\n\r\n\r\n");

static void is_base64(struct arena *a, str digest, const char *want)
{
	str got = base64_encode(a, digest);

	if (!str_is(got, want))
		fail_msg("got %.*s, want %s", STR_ARG(got), want);
}

/* RFC 6376 3.4.3, 3.4.4: the hashes of the empty body are printed there. */
static void empty_bodies(void **state)
{
	struct arena     a;
	struct bodyhash *h;
	int              w[4];

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	h = bodyhash_new(&a);
	w[0] = bodyhash_wish(h, CANON_SIMPLE, DIGEST_SHA1, BODYHASH_WHOLE);
	w[1] = bodyhash_wish(h, CANON_SIMPLE, DIGEST_SHA256, BODYHASH_WHOLE);
	w[2] = bodyhash_wish(h, CANON_RELAXED, DIGEST_SHA1, BODYHASH_WHOLE);
	w[3] = bodyhash_wish(h, CANON_RELAXED, DIGEST_SHA256, BODYHASH_WHOLE);
	assert_int_equal(bodyhash_result(h, w[0]).n, 0);
	bodyhash_end(h);
	is_base64(&a, bodyhash_result(h, w[0]), "uoq1oCgLlTqpdDX/iUbLy7J1Wic=");
	is_base64(&a, bodyhash_result(h, w[1]), "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=");
	is_base64(&a, bodyhash_result(h, w[2]), "2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
	is_base64(&a, bodyhash_result(h, w[3]), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
	assert_int_equal(bodyhash_length(h, w[0]), 2);
	assert_int_equal(bodyhash_length(h, w[3]), 0);
	bodyhash_drop(h);
	bodyhash_drop(h);
	arena_fini(&a);
}

static void take(void *arg, str piece)
{
	buf_add(arg, piece);
}

/* The digest of the canonical body's first octets, made the plain way. */
static str plain(struct arena *a, enum canon canon, enum digest_kind kind, uint64_t length)
{
	struct canon_body c;
	struct buf        b;
	unsigned char     sum[DIGEST_MAX];
	size_t            n;

	buf_init(&b, BUF_UNBOUNDED);
	canon_body_init(&c, canon);
	canon_body_feed(&c, body, take, &b);
	canon_body_end(&c, take, &b);
	n = digest_of(kind, str_head(buf_str(&b), length < b.n ? (size_t)length : b.n), sum);
	buf_fini(&b);
	return str_keep(a, (str){ (char *)sum, n });
}

static void wishes_with_lengths_split_anywhere(void **state)
{
	static const uint64_t lengths[] = { 0, 1, 5, 7, 13, 14, 100, BODYHASH_WHOLE };

	(void)state;
	for (size_t at = 0; at <= body.n; at++) {
		struct arena     a;
		struct bodyhash *h;
		int              w[3][2][COUNT(lengths)];

		arena_init(&a, ARENA_UNBOUNDED);
		h = bodyhash_new(&a);
		for (int c = 0; c < 3; c++)
			for (int k = 0; k < 2; k++)
				for (size_t l = 0; l < COUNT(lengths); l++)
					w[c][k][l] = bodyhash_wish(h, (enum canon)c, (enum digest_kind)k, lengths[l]);
		bodyhash_feed(h, str_head(body, at));
		bodyhash_feed(h, str_skip(body, at));
		bodyhash_end(h);
		bodyhash_end(h);
		for (int c = 0; c < 3; c++)
			for (int k = 0; k < 2; k++)
				for (size_t l = 0; l < COUNT(lengths); l++)
					assert_true(str_eq(bodyhash_result(h, w[c][k][l]),
					                   plain(&a, (enum canon)c, (enum digest_kind)k, lengths[l])));
		assert_int_equal(bodyhash_length(h, w[0][0][0]), 12);
		assert_int_equal(bodyhash_length(h, w[1][1][0]), 9);
		bodyhash_drop(h);
		arena_fini(&a);
	}
}

static void equal_wishes_share_and_late_ones_fail(void **state)
{
	struct arena     a;
	struct bodyhash *h;
	int              w;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	h = bodyhash_new(&a);
	w = bodyhash_wish(h, CANON_RELAXED, DIGEST_SHA256, BODYHASH_WHOLE);
	assert_true(w >= 0);
	assert_int_equal(bodyhash_wish(h, CANON_RELAXED, DIGEST_SHA256, BODYHASH_WHOLE), w);
	assert_int_not_equal(bodyhash_wish(h, CANON_RELAXED, DIGEST_SHA256, 7), w);
	bodyhash_feed(h, STR("x"));
	assert_int_equal(bodyhash_wish(h, CANON_RELAXED, DIGEST_SHA256, BODYHASH_WHOLE), w);
	assert_int_equal(bodyhash_wish(h, CANON_SIMPLE, DIGEST_SHA256, BODYHASH_WHOLE), -1);
	assert_int_equal(bodyhash_result(h, -1).n, 0);
	assert_int_equal(bodyhash_result(h, 99).n, 0);
	bodyhash_drop(h);                 /* without an end: nothing leaks */
	arena_fini(&a);

	arena_init(&a, ARENA_UNBOUNDED);
	h = bodyhash_new(&a);
	for (uint64_t i = 0; i < 1000; i++)
		w = bodyhash_wish(h, CANON_SIMPLE, DIGEST_SHA256, i);
	assert_int_equal(w, -1);
	bodyhash_drop(h);
	arena_fini(&a);

	arena_init(&a, 64);
	assert_null(bodyhash_new(&a));
	bodyhash_drop(NULL);
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_bodies),
		cmocka_unit_test(wishes_with_lengths_split_anywhere),
		cmocka_unit_test(equal_wishes_share_and_late_ones_fail),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
