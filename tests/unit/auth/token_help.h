/* SPDX-License-Identifier: ISC */
/*
 * An issuer for a test: a key of each kind, its key set, and tokens that it
 * signs, or somebody who would like to be it.
 */
#ifndef TEST_AUTH_TOKEN_HELP_H
#define TEST_AUTH_TOKEN_HELP_H

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

#include "tests/unit/auth/auth_help.h"

struct issuer { EVP_PKEY *rsa, *ec, *ed; };

HELP void issuer_make(struct issuer *i)
{
	i->rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	i->ec = EVP_EC_gen("P-256");
	i->ed = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	assert_true(i->rsa && i->ec && i->ed);
}

HELP void issuer_free(struct issuer *i)
{
	EVP_PKEY_free(i->rsa);
	EVP_PKEY_free(i->ec);
	EVP_PKEY_free(i->ed);
}

HELP str url64(struct arena *a, str s)
{
	str text = base64_encode(a, s);
	char *p = arena_alloc(a, text.n + 1);
	size_t n = 0;

	for (size_t i = 0; i < text.n && text.p[i] != '='; i++)
		p[n++] = text.p[i] == '+' ? '-' : text.p[i] == '/' ? '_' : text.p[i];
	return (str){ p, n };
}

HELP str key_number(struct arena *a, EVP_PKEY *key, const char *name, size_t size)
{
	BIGNUM *n = NULL;
	unsigned char *p;

	assert_int_equal(EVP_PKEY_get_bn_param(key, name, &n), 1);
	size = size ? size : (size_t)BN_num_bytes(n);
	p = arena_alloc(a, size);
	assert_int_equal(BN_bn2binpad(n, p, (int)size), (int)size);
	BN_free(n);
	return url64(a, (str){ (char *)p, size });
}

HELP str jwk_rsa(struct arena *a, EVP_PKEY *key, const char *more)
{
	return arena_printf(a, "{\"kty\":\"RSA\",\"n\":\"%.*s\",\"e\":\"%.*s\"%s}",
	                    STR_ARG(key_number(a, key, OSSL_PKEY_PARAM_RSA_N, 0)),
	                    STR_ARG(key_number(a, key, OSSL_PKEY_PARAM_RSA_E, 0)), more);
}

HELP str jwk_ec(struct arena *a, EVP_PKEY *key, const char *more)
{
	return arena_printf(a, "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%.*s\",\"y\":\"%.*s\"%s}",
	                    STR_ARG(key_number(a, key, OSSL_PKEY_PARAM_EC_PUB_X, 32)),
	                    STR_ARG(key_number(a, key, OSSL_PKEY_PARAM_EC_PUB_Y, 32)), more);
}

HELP str jwk_ed(struct arena *a, EVP_PKEY *key, const char *more)
{
	unsigned char raw[32];
	size_t n = sizeof(raw);

	assert_int_equal(EVP_PKEY_get_raw_public_key(key, raw, &n), 1);
	return arena_printf(a, "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%.*s\"%s}",
	                    STR_ARG(url64(a, (str){ (char *)raw, n })), more);
}

HELP str issuer_keys(struct arena *a, const struct issuer *i)
{
	return arena_printf(a, "{\"keys\":[%.*s,%.*s,%.*s]}",
	                    STR_ARG(jwk_rsa(a, i->rsa, ",\"kid\":\"r\",\"use\":\"sig\"")),
	                    STR_ARG(jwk_ec(a, i->ec, ",\"kid\":\"e\",\"alg\":\"ES256\"")),
	                    STR_ARG(jwk_ed(a, i->ed, ",\"kid\":\"d\"")));
}

/* R and S side by side (RFC 7518 3.4). */
HELP size_t flat(const unsigned char *der, size_t n, unsigned char *out)
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);

	BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32);
	ECDSA_SIG_free(sig);
	return 64;
}

HELP str signed_by(struct arena *a, EVP_PKEY *key, bool pss, str text)
{
	unsigned char *sig = arena_alloc(a, 1024), *der = arena_alloc(a, 1024);
	bool ed = EVP_PKEY_is_a(key, "ED25519"), ec = EVP_PKEY_is_a(key, "EC");
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *how;
	size_t n = 1024;

	assert_int_equal(EVP_DigestSignInit(ctx, &how, ed ? NULL : EVP_sha256(), NULL, key), 1);
	if (pss) {
		EVP_PKEY_CTX_set_rsa_padding(how, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(how, RSA_PSS_SALTLEN_DIGEST);
	}
	assert_int_equal(EVP_DigestSign(ctx, der, &n, (const unsigned char *)text.p, text.n), 1);
	EVP_MD_CTX_free(ctx);
	if (!ec)
		return (str){ (char *)der, n };
	return (str){ (char *)sig, flat(der, n, sig) };
}

/* A token with these two parts; key NULL: the signature is empty. */
HELP str token_of(struct arena *a, const char *head, const char *body, EVP_PKEY *key)
{
	str text = arena_printf(a, "%.*s.%.*s", STR_ARG(url64(a, str_of(head))), STR_ARG(url64(a, str_of(body))));
	str sig = key ? signed_by(a, key, strstr(head, "PS256") != NULL, text) : STR("");

	return arena_printf(a, "%.*s.%.*s", STR_ARG(text), STR_ARG(url64(a, sig)));
}

#endif
