/* SPDX-License-Identifier: ISC */
/* crypt_key: every form a key comes in, signing and verifying, hostile DER. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/err.h"

/* Made for this test: one RSA key of 1,024 bits in its forms. */
static const char pkcs1[] =
	"-----BEGIN RSA PRIVATE KEY-----\n"
	"MIICXAIBAAKBgQDxoGrIEV58RR1RaFfi4huslG4Njd1QQb0A0GgyttfvZHuzhr6j\n"
	"+52X9gvI2TCwvHCCFWTlPUtBwAlxqLrtHIO6aPeSzY+1e+29XNxMYYXdFH2zICiA\n"
	"HHeh3uLCdQQ5Kue2ujCH5kQXPcsFt7ts7DUHTpWNipeND5HMkZq9rDvb2wIDAQAB\n"
	"AoGBAIRGIk62G3iCSYN4UKx2xVmbxAeNgvtdkX8xl+kzaVC3PHTSLekNZH99BYSF\n"
	"SX9nGVxNI/fOrzUmUMU07mfBdWZ1kMuVhjdvOWp1fXj+CT4ByKjWnLB4JPzI/yJn\n"
	"eg9yDss2UohxJJSE0iB2AXUywoNtgWtC78k/wEbCSQDeBtJBAkEA/ovEyS/IBehP\n"
	"Ew9XztNgnlQrUUeWYJz7k3LWigm2MWOER1H5b3DslSmWFTFhCtiYVbuzrgyAU7W9\n"
	"q9Aua2VvIQJBAPMBwYq+m9PutrMtktd7Tp98eeRYcjkADejEqOd1G2b1dsNYYeXw\n"
	"RlPI9vVj127TAKoVWTEZL/jg6fBcUK6Tl3sCQBBSEdn8cEzAqmFEeJLQRr+gEe7y\n"
	"MhgbuJ2pnUvYd5APG2ofPWkByol90xukwN4bKRlGIa0lLA0x9+lOPcuxA0ECQGsh\n"
	"Lw3XkiMQbgL36HCOr86ntaTxSQnP+FHRwRSpD/eH51+fKymPj7GIOzdbWLJG21gg\n"
	"KT33+KojnX6VdAxCjNkCQFy2iPPM/6yYlA4405jcHJVmLxKrQ9zQNVMjm1xMWqKz\n"
	"Ph82Mz248JNz4wiTxS861VwRbRAUw6LyuROo7BdLGMo=\n"
	"-----END RSA PRIVATE KEY-----\n";

static const char pkcs8[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MIICdgIBADANBgkqhkiG9w0BAQEFAASCAmAwggJcAgEAAoGBAPGgasgRXnxFHVFo\n"
	"V+LiG6yUbg2N3VBBvQDQaDK21+9ke7OGvqP7nZf2C8jZMLC8cIIVZOU9S0HACXGo\n"
	"uu0cg7po95LNj7V77b1c3Exhhd0UfbMgKIAcd6He4sJ1BDkq57a6MIfmRBc9ywW3\n"
	"u2zsNQdOlY2Kl40PkcyRmr2sO9vbAgMBAAECgYEAhEYiTrYbeIJJg3hQrHbFWZvE\n"
	"B42C+12RfzGX6TNpULc8dNIt6Q1kf30FhIVJf2cZXE0j986vNSZQxTTuZ8F1ZnWQ\n"
	"y5WGN285anV9eP4JPgHIqNacsHgk/Mj/Imd6D3IOyzZSiHEklITSIHYBdTLCg22B\n"
	"a0LvyT/ARsJJAN4G0kECQQD+i8TJL8gF6E8TD1fO02CeVCtRR5ZgnPuTctaKCbYx\n"
	"Y4RHUflvcOyVKZYVMWEK2JhVu7OuDIBTtb2r0C5rZW8hAkEA8wHBir6b0+62sy2S\n"
	"13tOn3x55FhyOQAN6MSo53UbZvV2w1hh5fBGU8j29WPXbtMAqhVZMRkv+ODp8FxQ\n"
	"rpOXewJAEFIR2fxwTMCqYUR4ktBGv6AR7vIyGBu4namdS9h3kA8bah89aQHKiX3T\n"
	"G6TA3hspGUYhrSUsDTH36U49y7EDQQJAayEvDdeSIxBuAvfocI6vzqe1pPFJCc/4\n"
	"UdHBFKkP94fnX58rKY+PsYg7N1tYskbbWCApPff4qiOdfpV0DEKM2QJAXLaI88z/\n"
	"rJiUDjjTmNwclWYvEqtD3NA1UyObXExaorM+HzYzPbjwk3PjCJPFLzrVXBFtEBTD\n"
	"ovK5E6jsF0sYyg==\n"
	"-----END PRIVATE KEY-----\n";

static const char encrypted_pkcs8[] =
	"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
	"MIIC3TBXBgkqhkiG9w0BBQ0wSjApBgkqhkiG9w0BBQwwHAQIld4C4hdhpAoCAggA\n"
	"MAwGCCqGSIb3DQIJBQAwHQYJYIZIAWUDBAEqBBAtx5+wfEfrCPaAwhV9NYDoBIIC\n"
	"gGMU4zLNttCFiZXUkGOSCMYmB5IAZavV6IoT9nSc717UgH6BWhz5+AORETKii2Yy\n"
	"qF/1pLNE7ZKhMJsPSH4O3RAxLXbaeGthsP7ujkNcOG5o4ha44+nLZYft8n9hviPo\n"
	"P0P10GXhv7hdlxXQbsLzEXk2FB9WH7ThtHdOwdrEFXv1skzxNOOfp4W806hM9ad5\n"
	"isubE4XKoPVmRqZp5pu7033Hacwgn0lXP1A2JguztG6mW4ERxy3LUFIhGU9kWzkl\n"
	"PFZ9JOa6dmoVv5x/uUMCeKyPvcIyHdmdXwx95TH8yDK6afYc/a8pGmK5s2cknmvp\n"
	"bdYVYn/6tNIJQDaekbPSKyXahEbUgCaxOB+NJFcZpuINWaqwY6t1aRLtkOLgdmKl\n"
	"k5RV1EIU+nXsil1C0IFokmDSHXa/wwCEOOLE2hv4zzy1Wjo5wiE0CGlLT8n/PjZh\n"
	"2SZkYKufiWlrtCESMMKbD8e1aY39kqtL6AdmHbWywMzx6MJYngNjQUGGWUgsKADP\n"
	"MSQL0eOeAkREhKfZ0pXVnfyBnkQtEUA5VQMWRGzkEUdd477xYDCRVCF1jM9uPFug\n"
	"gKkjxL7pndJLD/lOz8qbHPdlQXsV0mp+j1mYgXSOlzTLnb59Kz7hrAKcFjS6EA2a\n"
	"6oHSjfEvFO3/VrUNrW8+vwOkW26rJUwBzOICiTeQ26JR3T8Su8B7Pzi50Q56SNcL\n"
	"aaIgpkEbgXr7E9NXx+E0FPM3NuAYPQ012aU48l3VoBYOovL2C9TXODxyEfN/g0hc\n"
	"81cfvMvtSNE4zCZI61++Hbn1A1f8cmuremCYnn5bAtafObmoarRqFc+gFzXhAXjW\n"
	"f95Zr70tJj+acHw4EOnXDQY=\n"
	"-----END ENCRYPTED PRIVATE KEY-----\n";

static const char encrypted_pkcs1[] =
	"-----BEGIN RSA PRIVATE KEY-----\n"
	"Proc-Type: 4,ENCRYPTED\n"
	"DEK-Info: AES-128-CBC,4A770B6EC55551B7378B3F590F1E495C\n"
	"\n"
	"XDY9n7QDSUTrP2Kh908Cqhh9UmDjEaWwW6sKyjVoDzPmdY5p9zxw3gfFFWQgJDQ9\n"
	"m6uWP9B1X0vgHZy9ucZTa+4zfRlWQQuwRoDJBXZbsi+OvaukOWp9Ydhj5wWbmg1w\n"
	"S2xHzuIT0fra+9haIxHgoGGy1gJObInCJui4Jey9ksU85GX5nqdcGyvRBoCOrwXI\n"
	"UIEQIFXZYhhQM9iwE+hMgeDeI3UhJE7Xt/eO5cETZO84HevrfbsJvbENnjqrL/un\n"
	"tF/mb0QJ6+/S6csiknn1p1jQGyM9m7uC1Y8o9TO0Ty5AkOdrKjAoYMprSX+7CDv4\n"
	"kmvZswUuSkct3ldRxZ7CXjjR4MWybEVXVpTn+caSUBEQPo6OY8o8R9z0EMP8F4uW\n"
	"fiLBR/YIZRF1Ae1pbzWdTISj3YIABkI6Ibvj8z0GSiazGBuYd0zy6C0ibeAIYzKT\n"
	"P+DtkRlbs6X3p9j6SpQlU7KdMV5+P3zTwQMluf3/YPM+ZRlJIGDuQ9BYW4esbPJa\n"
	"3X6dKtbCvqfbYpzUXHKCepplEseyTuEz1Ds/jpU3woi7XfQiPzg646IZo8ajD17z\n"
	"uX1HUEonxa6eb2QyDzBC1ncXUMaE/0v4hgxAm/HevFEHys8pPvC1JNpOumLxePaW\n"
	"Ot5fFEcRsNmiBI5gWHH2MfIhqccFKwF6ylTSYqI5VLr8FLHLQcCR0TWnPji08lld\n"
	"jyCHZqHhFES+p2OuY7yP4MTeFSJdcDV2gDJAf4Ku7TNOh8FzTE31MrqGFFYpu1lL\n"
	"Oh9GZF3PMYJQD5Gd3RlZoyMgO7y5exvr1z6V/OSEUhjzyFvWMbnZpv8AXWNQeLk1\n"
	"-----END RSA PRIVATE KEY-----\n";

static const char prime256[] =
	"-----BEGIN EC PRIVATE KEY-----\n"
	"MHcCAQEEIJkvqBMQLOv3cB3XzCD98GfdFFkzbmAYmTpj2KmwoubeoAoGCCqGSM49\n"
	"AwEHoUQDQgAER2sxi3BI37pb71Lu57QOGLjKiYdSYLUyVuXsAYgn0omA76xbzNFh\n"
	"kzqfJ+ikAmjHnBhZlJkN4RCe3yo+IjRrXg==\n"
	"-----END EC PRIVATE KEY-----\n";

/* Its public half: SubjectPublicKeyInfo, RSAPublicKey; another with exponent 3. */
static const char spki[] =
	"MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDxoGrIEV58RR1RaFfi4huslG4Njd1QQb0A0Ggy"
	"ttfvZHuzhr6j+52X9gvI2TCwvHCCFWTlPUtBwAlxqLrtHIO6aPeSzY+1e+29XNxMYYXdFH2zICiA"
	"HHeh3uLCdQQ5Kue2ujCH5kQXPcsFt7ts7DUHTpWNipeND5HMkZq9rDvb2wIDAQAB";
static const char bare[] =
	"MIGJAoGBAPGgasgRXnxFHVFoV+LiG6yUbg2N3VBBvQDQaDK21+9ke7OGvqP7nZf2C8jZMLC8cIIV"
	"ZOU9S0HACXGouu0cg7po95LNj7V77b1c3Exhhd0UfbMgKIAcd6He4sJ1BDkq57a6MIfmRBc9ywW3"
	"u2zsNQdOlY2Kl40PkcyRmr2sO9vbAgMBAAE=";
static const char exponent_3[] =
	"MIGdMA0GCSqGSIb3DQEBAQUAA4GLADCBhwKBgQDOipCeYPtNfWwTc96h5jyhN6+FoJ2yWofpvFSG"
	"s8pi9edukoDuRvONoXrVw5V/uqhNDBAnTmz77vkLtWQMJq4JYLXpcgs61Lg7/8fw89aTWfu/wZaQ"
	"p2JaSVY2Pc9lCgDaCT6C+YTJZxoEesUueBkiVUGZU0lh5N8xrLysKUsn/QIBAw==";

/* "hello", signed by the openssl program with pkcs1. */
static const char signed_sha256[] =
	"787Fr0aA7Kh7vkgXbfbMw+JalmS2jN6OJj4LH1FiKsp6xyMcN02Mjki0XfTgflDz82oNuSWlNdka"
	"hRwwJgITihYqVbVq2siwTWeFwiqqpXNwQFxJkNiHOP8UMO/tdTtkVZhvN0Ak0WrEmSDvFT5I+DAO"
	"xakVlO6km8XpIJWsIkU=";
static const char signed_sha1[] =
	"pKsODHwxpPrSpEnLEMUC+MjJlfPRdlWO/jD7xeozmlSCsxOQsZLg1XHOBfz91uGkLjuhkUQDmff1"
	"ym1WWlhFHufH4i6tjWqakGxwn7xbDp9usWQ9kNv0LKUvRRD++vdxlrGZacJSIj8Qa//xURpHHEE7"
	"ZcGTUo+w36xtBP8kLkI=";

/* RFC 8463 A.2, as PKCS#8 (RFC 8410 7), and its public key. */
static const char rfc8463[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
	"-----END PRIVATE KEY-----\n";
static const char rfc8463_public[] = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/* RFC 8032 7.1, TEST 3. */
static const char rfc8032[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIMWqjfQ/n4N77bdELzHct7Fm04U1B28JS4XOOi4LRFj3\n"
	"-----END PRIVATE KEY-----\n";
static const unsigned char rfc8032_signature[64] =
	"\x62\x91\xd6\x57\xde\xec\x24\x02\x48\x27\xe6\x9c\x3a\xbe\x01\xa3"
	"\x0c\xe5\x48\xa2\x84\x74\x3a\x44\x5e\x36\x80\xd7\xdb\x5a\xc3\xac"
	"\x18\xff\x9b\x53\x8d\x16\xf2\x90\xae\x67\xf7\x60\x98\x4d\xc6\x59"
	"\x4a\x7c\x15\xe9\x71\x6e\xd2\x8d\xc0\x27\xbe\xce\xea\x1e\xc4\x0a";

static struct arena arena;

static int setup(void **state)
{
	(void)state;
	crypt_setup();
	arena_init(&arena, ARENA_UNBOUNDED);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	/* Nothing may be left for TLS to stumble over. */
	assert_int_equal(ERR_peek_error(), 0);
	arena_fini(&arena);
	return 0;
}

static str raw(const char *base64)
{
	str out;

	assert_true(base64_decode(&arena, str_of(base64), false, &out));
	return out;
}

static str hash(enum digest_kind kind, const char *text, unsigned char out[static DIGEST_MAX])
{
	size_t n = digest_of(kind, str_of(text), out);

	return (str){ (const char *)out, n };
}

static void private_forms(void **state)
{
	static const struct { const char *pem; enum key_kind kind; unsigned bits; } cases[] = {
		{ pkcs1, KEY_RSA, 1024 },      { pkcs8, KEY_RSA, 1024 },
		{ rfc8463, KEY_ED25519, 256 }, { prime256, KEY_OTHER, 256 },
	};
	static const struct { const char *pem, *why; } bad[] = {
		{ encrypted_pkcs8, "encrypted" }, { encrypted_pkcs1, "encrypted" },
		{ "", "empty" },                  { "hello", "no private key" },
		{ "-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----\n", "no private key" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct key *k = key_private_pem(str_of(cases[i].pem), NULL);

		assert_non_null(k);
		assert_int_equal(key_kind(k), cases[i].kind);
		assert_int_equal(key_bits(k), cases[i].bits);
		assert_int_equal(key_exponent_odd_32(k), cases[i].kind == KEY_RSA);
		key_free(k);
	}
	for (size_t i = 0; i < COUNT(bad); i++) {
		str why = STR_NONE;

		assert_null(key_private_pem(str_of(bad[i].pem), &why));
		assert_non_null(memmem(why.p, why.n, bad[i].why, strlen(bad[i].why)));
	}
	key_free(NULL);
}

static void public_rsa(void **state)
{
	static const char *const forms[] = { spki, bare, exponent_3 };
	unsigned char            digest[DIGEST_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(forms); i++) {
		struct key *k = key_public_rsa(raw(forms[i]));
		bool        good = i < 2;

		assert_non_null(k);
		assert_int_equal(key_kind(k), KEY_RSA);
		assert_int_equal(key_bits(k), 1024);
		assert_true(key_exponent_odd_32(k));
		assert_int_equal(key_verify(k, DIGEST_SHA256, hash(DIGEST_SHA256, "hello", digest),
		                            raw(signed_sha256)), good);
		assert_int_equal(key_verify(k, DIGEST_SHA1, hash(DIGEST_SHA1, "hello", digest),
		                            raw(signed_sha1)), good);
		assert_false(key_verify(k, DIGEST_SHA256, hash(DIGEST_SHA256, "hellp", digest),
		                        raw(signed_sha256)));
		assert_false(key_verify(k, DIGEST_SHA1, hash(DIGEST_SHA1, "hello", digest),
		                        raw(signed_sha256)));
		assert_false(key_verify(k, DIGEST_SHA256, hash(DIGEST_SHA256, "hello", digest),
		                        str_head(raw(signed_sha256), 127)));
		assert_false(key_verify(k, DIGEST_SHA256, hash(DIGEST_SHA256, "hello", digest),
		                        STR_NONE));
		key_free(k);
	}
}

static bool verifies(const struct key *k, const char *text)
{
	unsigned char digest[DIGEST_MAX];

	return key_verify(k, DIGEST_SHA256, hash(DIGEST_SHA256, text, digest), raw(signed_sha256));
}

/* Enough others that each place of what is kept was taken by one. */
static void read_many_others(void)
{
	char der[] = "\x30\x08\x02\x03\x7f..\x02\x01\x03";

	for (unsigned i = 0; i < 4096; i++) {
		struct key *k;

		der[5] = (char)(i >> 8);
		der[6] = (char)(i | 1);
		k = key_public_rsa((str){ der, sizeof(der) - 1 });
		assert_non_null(k);
		assert_false(verifies(k, "hello"));
		key_free(k);
	}
}

static void *verify_there(void *key)
{
	struct key *mine = key_public_rsa(raw(bare));
	bool        good = verifies(key, "hello") && !verifies(key, "hellp") &&
	            verifies(mine, "hello") && verifies(key, "hello");

	key_free(mine);
	return good ? key : NULL;
}

/* What is kept of a key is of use to the next one of the same octets, and none of
 * it outlives another key in its place, nor is it another thread's. */
static void kept_keys(void **state)
{
	struct key *k = key_public_rsa(raw(spki)), *again;
	pthread_t   thread;
	void       *good;

	(void)state;
	for (int i = 0; i < 3; i++) {
		again = key_public_rsa(raw(spki));
		assert_true(verifies(again, "hello"));
		assert_false(verifies(k, "hellp"));
		assert_true(verifies(k, "hello"));
		key_free(again);
	}
	assert_int_equal(pthread_create(&thread, NULL, verify_there, k), 0);
	assert_int_equal(pthread_join(thread, &good), 0);
	assert_ptr_equal(good, k);
	read_many_others();
	assert_true(verifies(k, "hello"));
	assert_false(verifies(k, "hellp"));
	key_free(k);
}

/* Cut anywhere, lengthened, or of another kind: no key, no crash. */
static void hostile_der(void **state)
{
	static const char *const forms[] = { spki, bare };

	(void)state;
	for (size_t i = 0; i < COUNT(forms); i++) {
		str   whole = raw(forms[i]);
		char *copy = malloc(whole.n + 1);

		for (size_t n = 0; n < whole.n; n++)
			assert_null(key_public_rsa(str_head(whole, n)));
		memcpy(copy, whole.p, whole.n);
		copy[whole.n] = 0;
		assert_null(key_public_rsa((str){ copy, whole.n + 1 }));
		for (size_t n = 0; n < 40 * 8; n++) {
			copy[n / 8] ^= (char)(1 << n % 8);
			key_free(key_public_rsa((str){ copy, whole.n }));
			copy[n / 8] ^= (char)(1 << n % 8);
		}
		free(copy);
	}
	assert_null(key_public_rsa(STR("\x30\x06\x02\x01\x00\x02\x01\x03")));       /* modulus 0 */
	assert_null(key_public_rsa(STR("\x30\x06\x02\x01\x81\x02\x01\x03")));       /* negative */
	assert_null(key_public_rsa(STR("\x30\x05\x02\x01\x0f\x02\x00")));           /* no exponent */
	assert_null(key_public_rsa(STR("\x30\x80\x02\x01\x0f\x02\x01\x03\x00\x00"))); /* not DER */
	assert_null(key_public_rsa(STR("\x30\x84\xff\xff\xff\xff\x02")));
	assert_null(key_public_rsa(STR_NONE));
}

/* RFC 6376 3.6.1 and RFC 8301: who verifies must be able to tell. */
static void exponents(void **state)
{
	static const struct { str der; bool want; } cases[] = {
		{ STR("\x30\x07\x02\x01\x0f\x02\x02\x01\x01"), true },
		{ STR("\x30\x06\x02\x01\x0f\x02\x01\x04"), false },                      /* even */
		{ STR("\x30\x0a\x02\x01\x0f\x02\x05\x00\xff\xff\xff\xff"), true },
		{ STR("\x30\x0a\x02\x01\x0f\x02\x05\x01\x00\x00\x00\x01"), false },      /* 33 bits */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct key *k = key_public_rsa(cases[i].der);

		assert_non_null(k);
		assert_int_equal(key_bits(k), 4);
		assert_int_equal(key_exponent_odd_32(k), cases[i].want);
		assert_false(key_verify(k, DIGEST_SHA256, STR("01234567890123456789012345678901"),
		                        STR("\x01")));
		key_free(k);
	}
}

static void ed25519(void **state)
{
	struct key   *k = key_private_pem(str_of(rfc8463), NULL);
	struct key   *three = key_private_pem(str_of(rfc8032), NULL), *public;
	unsigned char signature[SIGNATURE_MAX], *der;
	size_t        n;
	str           spki_form;

	(void)state;
	assert_int_equal(key_public_der(k, &der, &n), OK);
	assert_int_equal(n, 32);
	assert_memory_equal(der, raw(rfc8463_public).p, 32);
	free(der);
	assert_int_equal(key_sign(three, DIGEST_SHA256, STR("\xaf\x82"), signature, &n), OK);
	assert_int_equal(n, 64);
	assert_memory_equal(signature, rfc8032_signature, 64);

	assert_int_equal(key_sign(k, DIGEST_SHA256, STR("digest"), signature, &n), OK);
	public = key_public_ed25519(raw(rfc8463_public));
	assert_non_null(public);
	assert_int_equal(key_kind(public), KEY_ED25519);
	assert_true(key_verify(public, DIGEST_SHA256, STR("digest"), (str){ (char *)signature, n }));
	assert_false(key_verify(public, DIGEST_SHA256, STR("digesT"), (str){ (char *)signature, n }));
	assert_false(key_verify(public, DIGEST_SHA256, STR("digest"), (str){ (char *)signature, 63 }));
	assert_false(key_verify(three, DIGEST_SHA256, STR("digest"), (str){ (char *)signature, n }));
	key_free(public);

	spki_form = arena_printf(&arena, "\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21%c%.32s", 0,
	                         "01234567890123456789012345678901");
	public = key_public_ed25519(spki_form);
	assert_non_null(public);
	key_free(public);
	assert_null(key_public_ed25519(str_head(spki_form, spki_form.n - 1)));
	assert_null(key_public_ed25519(str_head(raw(rfc8463_public), 31)));
	assert_null(key_public_ed25519(raw(spki)));
	assert_null(key_public_ed25519(STR_NONE));
	key_free(k);
	key_free(three);
}

/* What is made can be written, read back, and used. */
static void made(enum key_kind kind, unsigned bits)
{
	struct key   *k = key_generate(kind, bits), *back, *public;
	unsigned char digest[DIGEST_MAX], signature[SIGNATURE_MAX], *der;
	size_t        pem_n, der_n, n;
	char         *pem;

	assert_non_null(k);
	assert_int_equal(key_bits(k), bits);
	assert_int_equal(key_pem(k, &pem, &pem_n), OK);
	assert_memory_equal(pem, "-----BEGIN PRIVATE KEY-----\n", 28);
	assert_int_equal(strlen(pem), pem_n);
	back = key_private_pem((str){ pem, pem_n }, NULL);
	assert_non_null(back);
	assert_int_equal(key_public_der(k, &der, &der_n), OK);
	public = kind == KEY_RSA ? key_public_rsa((str){ (char *)der, der_n })
	                         : key_public_ed25519((str){ (char *)der, der_n });
	assert_non_null(public);
	assert_int_equal(key_sign(back, DIGEST_SHA256, hash(DIGEST_SHA256, "x", digest),
	                          signature, &n), OK);
	assert_true(key_verify(public, DIGEST_SHA256, hash(DIGEST_SHA256, "x", digest),
	                       (str){ (char *)signature, n }));
	signature[n / 2] ^= 1;
	assert_false(key_verify(public, DIGEST_SHA256, hash(DIGEST_SHA256, "x", digest),
	                        (str){ (char *)signature, n }));
	/* A public half cannot sign. */
	assert_int_equal(key_sign(public, DIGEST_SHA256, hash(DIGEST_SHA256, "x", digest),
	                          signature, &n), ERR_BAD);
	crypt_wipe(pem, pem_n);
	free(pem);
	free(der);
	key_free(k);
	key_free(back);
	key_free(public);
}

static void making(void **state)
{
	(void)state;
	made(KEY_RSA, 1024);
	made(KEY_ED25519, 256);
	assert_null(key_generate(KEY_OTHER, 0));
}

static void other_kinds(void **state)
{
	struct key   *k = key_private_pem(str_of(prime256), NULL);
	unsigned char out[SIGNATURE_MAX];
	size_t        n;

	(void)state;
	assert_int_equal(key_sign(k, DIGEST_SHA256, STR("x"), out, &n), ERR_BAD);
	assert_false(key_verify(k, DIGEST_SHA256, STR("x"), STR("y")));
	key_free(k);
}

/* Keys that were read lately are kept by their octets: each is itself, whatever was read between. */
static void read_again(void **state)
{
	enum { KEYS = 6, ROUNDS = 72 };
	struct key *private[KEYS];
	unsigned char *der[KEYS], signature[SIGNATURE_MAX];
	size_t n[KEYS], signed_n;
	str digest = STR("0123456789abcdef0123456789abcdef");

	(void)state;
	for (size_t i = 0; i < KEYS; i++) {
		private[i] = key_generate(KEY_RSA, 1024);
		assert_non_null(private[i]);
		assert_int_equal(key_public_der(private[i], &der[i], &n[i]), OK);
	}
	for (size_t round = 0; round < ROUNDS; round++) {
		size_t i = round % KEYS, other = (round / KEYS) % KEYS;
		struct key *public = key_public_rsa((str){ (char *)der[i], n[i] });

		assert_non_null(public);
		assert_int_equal(key_bits(public), 1024);
		assert_true(key_exponent_odd_32(public));
		assert_int_equal(key_sign(private[other], DIGEST_SHA256, digest, signature, &signed_n), OK);
		assert_int_equal(key_verify(public, DIGEST_SHA256, digest, (str){ (char *)signature, signed_n }), i == other);
		key_free(public);
	}
	for (size_t i = 0; i < KEYS; i++) {
		key_free(private[i]);
		free(der[i]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(private_forms, setup, teardown),
		cmocka_unit_test_setup_teardown(public_rsa, setup, teardown),
		cmocka_unit_test_setup_teardown(kept_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_der, setup, teardown),
		cmocka_unit_test_setup_teardown(exponents, setup, teardown),
		cmocka_unit_test_setup_teardown(ed25519, setup, teardown),
		cmocka_unit_test_setup_teardown(making, setup, teardown),
		cmocka_unit_test_setup_teardown(other_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(read_again, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
