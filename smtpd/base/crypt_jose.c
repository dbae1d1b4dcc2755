/* SPDX-License-Identifier: ISC */
/*
 * crypt_jose: the algorithm follows the key, never the other way round; what a
 * token says of itself is compared with it (RFC 8725 3.1, 3.2).
 */
#include "smtpd/base/crypt_jose.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/crypt.h"

#define RSA_LEAST 2048
#define RSA_MOST  8192
#define P256_SIZE 32

struct jose_key {
	EVP_PKEY      *pkey;
	enum jose_kind kind;
};

/* ---- keys ---------------------------------------------------------------------- */

/* Takes pkey over, NULL too. */
static struct jose_key *key_of(EVP_PKEY *pkey, enum jose_kind kind)
{
	struct jose_key *k = pkey ? calloc(1, sizeof(*k)) : NULL;

	ERR_clear_error();
	if (k == NULL) {
		EVP_PKEY_free(pkey);
		return NULL;
	}
	k->pkey = pkey;
	k->kind = kind;
	return k;
}

void jose_key_free(struct jose_key *k)
{
	if (k == NULL)
		return;
	EVP_PKEY_free(k->pkey);
	free(k);
}

enum jose_kind jose_key_kind(const struct jose_key *k)
{
	return k->kind;
}

static EVP_PKEY *pkey_of(const char *type, OSSL_PARAM_BLD *bld)
{
	OSSL_PARAM   *params = OSSL_PARAM_BLD_to_param(bld);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY     *pkey = NULL;

	if (params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
		EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params);
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return pkey;
}

struct jose_key *jose_key_rsa(str modulus, str exponent)
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	EVP_PKEY       *pkey = NULL;
	BIGNUM         *n, *e;

	if (modulus.n > RSA_MOST / 8 || exponent.n > 8 || bld == NULL) {
		OSSL_PARAM_BLD_free(bld);
		return NULL;
	}
	n = BN_bin2bn((const unsigned char *)modulus.p, (int)modulus.n, NULL);
	e = BN_bin2bn((const unsigned char *)exponent.p, (int)exponent.n, NULL);
	if (n != NULL && e != NULL && BN_num_bits(n) >= RSA_LEAST && BN_is_odd(e) &&
	    !BN_is_one(e) && BN_num_bits(e) <= 32 &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		pkey = pkey_of("RSA", bld);
	OSSL_PARAM_BLD_free(bld);
	BN_free(n);
	BN_free(e);
	return key_of(pkey, JOSE_RSA);
}

/* RFC 7518 6.2.1: both coordinates in full length.  That the point lies on the
 * curve is OpenSSL's to check as it decodes it. */
struct jose_key *jose_key_p256(str x, str y)
{
	unsigned char   point[1 + 2 * P256_SIZE] = { 4 };
	OSSL_PARAM_BLD *bld;
	EVP_PKEY       *pkey = NULL;

	if (x.n != P256_SIZE || y.n != P256_SIZE)
		return NULL;
	memcpy(point + 1, x.p, P256_SIZE);
	memcpy(point + 1 + P256_SIZE, y.p, P256_SIZE);
	bld = OSSL_PARAM_BLD_new();
	if (bld != NULL &&
	    OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) == 1 &&
	    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)) == 1)
		pkey = pkey_of("EC", bld);
	OSSL_PARAM_BLD_free(bld);
	return key_of(pkey, JOSE_P256);
}

struct jose_key *jose_key_ed25519(str x)
{
	if (x.n != 32)
		return NULL;
	return key_of(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
	                                          (const unsigned char *)x.p, x.n), JOSE_ED25519);
}

/* ---- signatures ------------------------------------------------------------------- */

enum jose_kind jose_alg_kind(enum jose_alg alg)
{
	static const enum jose_kind kinds[] = { [JOSE_RS256] = JOSE_RSA, [JOSE_PS256] = JOSE_RSA,
		                                [JOSE_ES256] = JOSE_P256, [JOSE_EDDSA] = JOSE_ED25519 };

	return kinds[alg];
}

/* RFC 7518 3.5: salt as long as the hash. */
static bool set_padding(EVP_PKEY_CTX *ctx, enum jose_alg alg)
{
	if (alg == JOSE_RS256)
		return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
	return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static bool check(const struct jose_key *k, enum jose_alg alg, str text, const unsigned char *sig,
                  size_t n)
{
	EVP_MD_CTX   *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *how = NULL;
	bool          good;

	good = ctx != NULL &&
	       EVP_DigestVerifyInit(ctx, &how, alg == JOSE_EDDSA ? NULL : EVP_sha256(), NULL,
	                            k->pkey) == 1 &&
	       (k->kind != JOSE_RSA || set_padding(how, alg)) &&
	       EVP_DigestVerify(ctx, sig, n, (const unsigned char *)text.p, text.n) == 1;
	EVP_MD_CTX_free(ctx);
	return good;
}

/* RFC 7518 3.4: R and S side by side; OpenSSL wants them in DER. */
static bool check_ecdsa(const struct jose_key *k, str text, str signature)
{
	const unsigned char *p = (const unsigned char *)signature.p;
	unsigned char       *der = NULL;
	ECDSA_SIG           *sig = ECDSA_SIG_new();
	BIGNUM              *r, *s;
	int                  n = 0;
	bool                 good;

	if (sig == NULL || signature.n != 2 * P256_SIZE) {
		ECDSA_SIG_free(sig);
		return false;
	}
	r = BN_bin2bn(p, P256_SIZE, NULL);
	s = BN_bin2bn(p + P256_SIZE, P256_SIZE, NULL);
	if (r == NULL || s == NULL || ECDSA_SIG_set0(sig, r, s) != 1) {
		BN_free(r);
		BN_free(s);
	} else {
		n = i2d_ECDSA_SIG(sig, &der);
	}
	good = n > 0 && check(k, JOSE_ES256, text, der, (size_t)n);
	OPENSSL_free(der);
	ECDSA_SIG_free(sig);
	return good;
}

bool jose_verify(const struct jose_key *k, enum jose_alg alg, str text, str signature)
{
	bool good;

	if (k->kind != jose_alg_kind(alg) || signature.n == 0 || signature.n > RSA_MOST / 8)
		return false;
	if (alg == JOSE_ES256)
		good = check_ecdsa(k, text, signature);
	else
		good = check(k, alg, text, (const unsigned char *)signature.p, signature.n);
	ERR_clear_error();
	return good;
}

/* ---- text --------------------------------------------------------------------------- */

bool base64url_decode(struct arena *a, str s, str *out)
{
	size_t pads = (4 - s.n % 4) % 4;
	char  *p = arena_alloc(a, s.n + pads + 1);

	*out = STR_NONE;
	if (p == NULL)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '+' || s.p[i] == '/' || s.p[i] == '=')
			return false;
		p[i] = s.p[i] == '-' ? '+' : s.p[i] == '_' ? '/' : s.p[i];
	}
	memset(p + s.n, '=', pads);
	return base64_decode(a, (str){ p, s.n + pads }, false, out);
}
