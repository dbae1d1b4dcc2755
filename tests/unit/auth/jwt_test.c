/* SPDX-License-Identifier: ISC */
/*
 * Tokens that prove themselves: every algorithm that is taken, and the ways to
 * lie about one (RFC 8725 2).
 */
#include "tests/unit/auth/token_help.h"

#include "auth/jwks.h"
#include "smtpd/base/json.h"

static struct issuer issuer, stranger;
static struct arena arena;
static struct jwks *keys;

static int begin(void **state)
{
	(void)state;
	crypt_setup();
	arena_init(&arena, ARENA_UNBOUNDED);
	issuer_make(&issuer);
	issuer_make(&stranger);
	keys = jwks_read(issuer_keys(&arena, &issuer));
	assert_non_null(keys);
	return 0;
}

static int end(void **state)
{
	(void)state;
	jwks_free(keys);
	issuer_free(&issuer);
	issuer_free(&stranger);
	arena_fini(&arena);
	return 0;
}

static enum jwt_says look(const struct jwks *set, str token, const char **reason)
{
	struct json *claims;
	enum jwt_says says = jwt_read(set, token, &arena, &claims, reason);
	str who;

	assert_int_equal(claims != NULL, says == JWT_GOOD);
	if (says == JWT_GOOD)
		assert_true(json_get_text(json_at(claims, "email"), &who) && str_is(who, "alice@home.test"));
	json_free(claims);
	return says;
}

#define CLAIMS "{\"email\":\"alice@home.test\"}"

static void algorithms(void **state)
{
	static const struct { const char *head; enum { RSA_, EC_, ED_, NOBODY } key; bool stranger; enum jwt_says want; } cases[] = {
		{ "{\"alg\":\"RS256\",\"kid\":\"r\"}", RSA_, false, JWT_GOOD },
		{ "{\"alg\":\"PS256\",\"kid\":\"r\"}", RSA_, false, JWT_GOOD },
		{ "{\"alg\":\"ES256\",\"kid\":\"e\"}", EC_, false, JWT_GOOD },
		{ "{\"alg\":\"EdDSA\",\"kid\":\"d\"}", ED_, false, JWT_GOOD },
		{ "{\"alg\":\"RS256\"}", RSA_, false, JWT_GOOD },
		{ "{\"alg\":\"EdDSA\",\"typ\":\"at+jwt\"}", ED_, false, JWT_GOOD },
		/* another's key, another's algorithm */
		{ "{\"alg\":\"RS256\",\"kid\":\"r\"}", RSA_, true, JWT_BAD },
		{ "{\"alg\":\"PS256\"}", RSA_, true, JWT_BAD },
		{ "{\"alg\":\"ES256\"}", EC_, true, JWT_BAD },
		{ "{\"alg\":\"EdDSA\"}", ED_, true, JWT_BAD },
		{ "{\"alg\":\"RS256\"}", EC_, false, JWT_BAD },
		{ "{\"alg\":\"ES256\"}", RSA_, false, JWT_BAD },
		{ "{\"alg\":\"EdDSA\"}", EC_, false, JWT_BAD },
		{ "{\"alg\":\"RS256\",\"kid\":\"e\"}", RSA_, false, JWT_UNKNOWN_KEY },
		{ "{\"alg\":\"ES256\",\"kid\":\"new\"}", EC_, false, JWT_UNKNOWN_KEY },
		/* nothing unsigned, nothing symmetric, nothing else */
		{ "{\"alg\":\"none\"}", NOBODY, false, JWT_BAD },
		{ "{\"alg\":\"none\"}", RSA_, false, JWT_BAD },
		{ "{\"alg\":\"None\"}", RSA_, false, JWT_BAD },
		{ "{\"alg\":\"RS256\"}", NOBODY, false, JWT_BAD },
		{ "{\"alg\":\"HS256\",\"kid\":\"r\"}", RSA_, false, JWT_BAD },
		{ "{\"alg\":\"RS384\"}", RSA_, false, JWT_BAD },
		{ "{\"alg\":\"rs256\"}", RSA_, false, JWT_BAD },
		{ "{\"alg\":7}", RSA_, false, JWT_BAD },
		{ "{}", RSA_, false, JWT_BAD },
		{ "[]", RSA_, false, JWT_BAD },
		{ "{\"alg\":\"RS256\"", RSA_, false, JWT_BAD },
		{ "{\"alg\":\"RS256\",\"alg\":\"RS256\"}", RSA_, false, JWT_BAD },
		{ "{\"alg\":\"RS256\",\"crit\":[\"exp\"]}", RSA_, false, JWT_BAD },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct issuer *by = cases[i].stranger ? &stranger : &issuer;
		EVP_PKEY *all[] = { by->rsa, by->ec, by->ed, NULL };
		const char *reason = NULL;
		enum jwt_says got = look(keys, token_of(&arena, cases[i].head, CLAIMS, all[cases[i].key]), &reason);

		if (got != cases[i].want)
			fail_msg("case %zu: %d %s", i, got, reason ? reason : "");
	}
}

/* A key that comes with the token is nobody's. */
static void keys_in_the_token_do_not_count(void **state)
{
	str key = jwk_rsa(&arena, stranger.rsa, "");
	const char *reason;

	(void)state;
	assert_int_equal(look(keys, token_of(&arena, str_cstr(&arena, arena_printf(&arena, "{\"alg\":\"RS256\",\"jwk\":%.*s}", STR_ARG(key))),
	                                     CLAIMS, stranger.rsa), &reason), JWT_BAD);
	assert_int_equal(look(keys, token_of(&arena, "{\"alg\":\"RS256\",\"jku\":\"http://127.0.0.1:1/\"}", CLAIMS, stranger.rsa),
	                      &reason), JWT_BAD);
}

/* HMAC with the public key as its secret: the classic confusion. */
static void a_public_key_is_no_secret(void **state)
{
	str n = key_number(&arena, issuer.rsa, OSSL_PKEY_PARAM_RSA_N, 0), text, mac;
	unsigned char out[32];
	const char *reason;

	(void)state;
	text = arena_printf(&arena, "%.*s.%.*s", STR_ARG(url64(&arena, STR("{\"alg\":\"HS256\",\"kid\":\"r\"}"))),
	                    STR_ARG(url64(&arena, STR(CLAIMS))));
	hmac_sha256(n, text, out);
	mac = url64(&arena, (str){ (char *)out, 32 });
	assert_int_equal(look(keys, arena_printf(&arena, "%.*s.%.*s", STR_ARG(text), STR_ARG(mac)), &reason), JWT_BAD);
}

/* Every octet counts. */
static void a_changed_octet_spoils_it(void **state)
{
	str good = token_of(&arena, "{\"alg\":\"ES256\"}", CLAIMS, issuer.ec);
	const char *reason;

	(void)state;
	assert_int_equal(look(keys, good, &reason), JWT_GOOD);
	for (size_t i = 0; i < good.n; i++) {
		char *copy = arena_alloc(&arena, good.n);

		memcpy(copy, good.p, good.n);
		copy[i] = copy[i] == 'A' ? 'B' : 'A';
		assert_int_not_equal(look(keys, (str){ copy, good.n }, &reason), JWT_GOOD);
		assert_int_not_equal(look(keys, str_head(good, i), &reason), JWT_GOOD);
	}
}

static void shapes(void **state)
{
	static const str bad[] = {
		{ "", 0 }, { ".", 1 }, { "..", 2 }, { "...", 3 }, { "a.b", 3 }, { "a.b.c.d", 7 }, { "a.b.", 4 }, { ".b.c", 4 },
		{ "a..c", 4 }, { "e30.e30.e30", 11 }, { "e30=.e30.e30", 12 }, { "e+.e30.e30", 10 }, { "e\0.e30.e30", 10 },
	};
	char *huge = arena_alloc(&arena, TOKEN_MAX + 10);
	const char *reason;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_int_equal(look(keys, bad[i], &reason), JWT_BAD);
	memset(huge, 'a', TOKEN_MAX + 10);
	huge[1] = huge[3] = '.';
	assert_int_equal(look(keys, (str){ huge, TOKEN_MAX + 10 }, &reason), JWT_BAD);
	assert_false(jwt_looks_like_one((str){ huge, TOKEN_MAX + 10 }));
	assert_true(jwt_looks_like_one(STR("a.b.c")));
	assert_false(jwt_looks_like_one(STR("opaque")));
	/* The claims are an object. */
	assert_int_equal(look(keys, token_of(&arena, "{\"alg\":\"EdDSA\"}", "[]", issuer.ed), &reason), JWT_BAD);
	assert_int_equal(look(keys, token_of(&arena, "{\"alg\":\"EdDSA\"}", "nonsense", issuer.ed), &reason), JWT_BAD);
}

/* ---- key sets ---------------------------------------------------------------------------- */

static size_t usable(const char *format, ...)
{
	char text[8192];
	struct jwks *set;
	va_list args;
	size_t n;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	set = jwks_read(str_of(text));
	n = set ? set->n : 0;
	jwks_free(set);
	return n;
}

static void key_sets(void **state)
{
	const char *rsa = str_cstr(&arena, jwk_rsa(&arena, issuer.rsa, "")), *ed = str_cstr(&arena, jwk_ed(&arena, issuer.ed, ""));
	EVP_PKEY *small = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
	const char *weak = str_cstr(&arena, jwk_rsa(&arena, small, ""));

	(void)state;
	EVP_PKEY_free(small);
	assert_int_equal(usable("{\"keys\":[%s,%s]}", rsa, ed), 2);
	assert_int_equal(usable("{\"keys\":[%s,7,{},null,%s]}", rsa, ed), 2);
	assert_int_equal(usable("{\"keys\":[%s]}", weak), 0);
	assert_int_equal(usable("{\"keys\":[%s]}", str_cstr(&arena, jwk_rsa(&arena, issuer.rsa, ",\"use\":\"enc\""))), 0);
	assert_int_equal(usable("{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}"), 0);
	assert_int_equal(usable("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AA\",\"y\":\"AA\"}]}"), 0);
	assert_int_equal(usable("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\"}]}"), 0);
	/* not on the curve */
	assert_int_equal(usable("{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\","
	                        "\"y\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\"}]}"), 0);
	assert_int_equal(usable("{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\"}]}"),
	                 0);
	assert_int_equal(usable("{\"keys\":[{\"kty\":\"RSA\",\"n\":\"!\",\"e\":\"AQAB\"}]}"), 0);
	assert_int_equal(usable("{\"keys\":{}}"), 0);
	assert_int_equal(usable("{}"), 0);
	assert_int_equal(usable(""), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(algorithms),
		cmocka_unit_test(keys_in_the_token_do_not_count),
		cmocka_unit_test(a_public_key_is_no_secret),
		cmocka_unit_test(a_changed_octet_spoils_it),
		cmocka_unit_test(shapes),
		cmocka_unit_test(key_sets),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
