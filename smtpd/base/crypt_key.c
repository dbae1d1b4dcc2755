/* SPDX-License-Identifier: ISC */
/*
 * crypt_key: RSA and Ed25519 keys.  What comes from DNS is hostile and read to
 * its last byte; OpenSSL's queue of errors is left empty, because conn asks it
 * about TLS.
 */
#include "smtpd/base/crypt.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "smtpd/base/crypt_md.h"

struct key {
	EVP_PKEY     *pkey;
	EVP_PKEY_CTX *signing; /* RSA's private ones: set up for SHA-256, copied for each signature */
	enum key_kind kind;
	unsigned      bits;
	unsigned      place;   /* crypt_parsed */
	bool          exponent_odd_32;
};

static bool exponent_is_odd_32(EVP_PKEY *pkey)
{
	BIGNUM *e = NULL;
	bool    good;

	if (EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e) != 1)
		return false;
	good = BN_is_odd(e) && BN_num_bits(e) <= 32;
	BN_free(e);
	return good;
}

/* Takes pkey over, NULL too. */
static struct key *key_made(EVP_PKEY *pkey, bool exponent_odd_32)
{
	struct key *k = pkey ? calloc(1, sizeof(*k)) : NULL;

	if (k == NULL) {
		EVP_PKEY_free(pkey);
		ERR_clear_error();
		return NULL;
	}
	k->pkey = pkey;
	k->kind = EVP_PKEY_is_a(pkey, "RSA")       ? KEY_RSA
	          : EVP_PKEY_is_a(pkey, "ED25519") ? KEY_ED25519
	                                           : KEY_OTHER;
	/* OpenSSL says 253 for Ed25519, the order of its group. */
	k->bits = k->kind == KEY_ED25519 ? 256 : (unsigned)EVP_PKEY_get_bits(pkey);
	k->exponent_odd_32 = exponent_odd_32;
	ERR_clear_error();
	return k;
}

static struct key *key_of(EVP_PKEY *pkey)
{
	return key_made(pkey, pkey != NULL && EVP_PKEY_is_a(pkey, "RSA") && exponent_is_odd_32(pkey));
}

void key_free(struct key *k)
{
	if (k == NULL)
		return;
	EVP_PKEY_CTX_free(k->signing);
	EVP_PKEY_free(k->pkey);
	free(k);
}

enum key_kind key_kind(const struct key *k)
{
	return k->kind;
}

unsigned key_bits(const struct key *k)
{
	return k->bits;
}

bool key_exponent_odd_32(const struct key *k)
{
	return k->exponent_odd_32;
}

static EVP_PKEY_CTX *rsa_ctx(const struct key *k, enum digest_kind kind,
                             int (*init)(EVP_PKEY_CTX *))
{
	const EVP_MD *md = crypt_md(kind);
	EVP_PKEY_CTX *ctx = md ? EVP_PKEY_CTX_new_from_pkey(NULL, k->pkey, NULL) : NULL;

	if (ctx != NULL && init(ctx) == 1 &&
	    EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1 &&
	    EVP_PKEY_CTX_set_signature_md(ctx, md) == 1)
		return ctx;
	EVP_PKEY_CTX_free(ctx);
	return NULL;
}

/* Setting a context up takes OpenSSL 3.0 longer than our part of a signature;
 * copying one does not, and any thread may. */
static struct key *key_private(EVP_PKEY *pkey)
{
	struct key *k = key_of(pkey);

	if (k != NULL && k->kind == KEY_RSA) {
		k->signing = rsa_ctx(k, DIGEST_SHA256, EVP_PKEY_sign_init);
		ERR_clear_error();
	}
	return k;
}

static int asked_passphrase(char *out, int size, int writing, void *arg)
{
	bool *asked = arg;

	(void)out;
	(void)size;
	(void)writing;
	*asked = true;
	return -1;
}

static struct key *refuse(str *why, const char *text)
{
	ERR_clear_error();
	if (why != NULL)
		*why = str_of(text);
	return NULL;
}

struct key *key_private_pem(str pem, str *why)
{
	BIO        *bio = pem.n && pem.n <= INT_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
	bool        encrypted = false;
	struct key *k;

	if (bio == NULL)
		return refuse(why, "it is empty: it must hold a private key in PEM format");
	k = key_private(PEM_read_bio_PrivateKey(bio, NULL, asked_passphrase, &encrypted));
	BIO_free(bio);
	if (k != NULL)
		return k;
	return refuse(why, encrypted ? "the key is encrypted: store it without a passphrase"
	                             : "it holds no private key in PEM format that can be read");
}

/* One DER element with the given tag at the beginning of *rest: its content.
 * Definite lengths only, shortest or not. */
static bool der_take(str *rest, unsigned char tag, str *content)
{
	const unsigned char *p = (const unsigned char *)rest->p;
	size_t               n, at = 2;

	if (rest->n < 2 || p[0] != tag)
		return false;
	n = p[1];
	if (n & 0x80) {
		size_t more = n & 0x7f;

		if (more == 0 || more > 3 || more > rest->n - 2)
			return false;
		for (n = 0; at < 2 + more; at++)
			n = n << 8 | p[at];
	}
	if (n > rest->n - at)
		return false;
	*content = str_head(str_skip(*rest, at), n);
	*rest = str_skip(*rest, at + n);
	return true;
}

#define DER_INTEGER    0x02
#define DER_BIT_STRING 0x03
#define DER_OID        0x06
#define DER_SEQUENCE   0x30

/* RFC 8017 A.1.1: RSAPublicKey ::= SEQUENCE { modulus, publicExponent }. */
static bool der_rsa(str der, str *modulus, str *exponent)
{
	str seq;

	return der_take(&der, DER_SEQUENCE, &seq) && der.n == 0 &&
	       der_take(&seq, DER_INTEGER, modulus) && der_take(&seq, DER_INTEGER, exponent) &&
	       seq.n == 0 && modulus->n != 0 && exponent->n != 0 && !(modulus->p[0] & 0x80) &&
	       !(exponent->p[0] & 0x80);
}

/* RFC 5280 4.1: SubjectPublicKeyInfo ::= SEQUENCE { algorithm, BIT STRING };
 * what the bits hold, when the algorithm is `oid`. */
static bool der_spki(str der, str oid, str *bits)
{
	str seq, algorithm, id;

	if (!der_take(&der, DER_SEQUENCE, &seq) || der.n != 0 ||
	    !der_take(&seq, DER_SEQUENCE, &algorithm) || !der_take(&algorithm, DER_OID, &id) ||
	    !str_eq(id, oid) || !der_take(&seq, DER_BIT_STRING, bits) || seq.n != 0)
		return false;
	if (bits->n == 0 || bits->p[0] != 0) /* no unused bits */
		return false;
	*bits = str_skip(*bits, 1);
	return true;
}

static EVP_PKEY *pkey_of_params(OSSL_PARAM_BLD *bld)
{
	OSSL_PARAM   *params = OSSL_PARAM_BLD_to_param(bld);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "RSA", NULL);
	EVP_PKEY     *pkey = NULL;

	if (params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) == 1)
		EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_PUBLIC_KEY, params);
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return pkey;
}

static EVP_PKEY *pkey_of_rsa(str modulus, str exponent)
{
	BIGNUM         *n = BN_bin2bn((const unsigned char *)modulus.p, (int)modulus.n, NULL);
	BIGNUM         *e = BN_bin2bn((const unsigned char *)exponent.p, (int)exponent.n, NULL);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	EVP_PKEY       *pkey = NULL;

	if (n != NULL && e != NULL && bld != NULL && !BN_is_zero(n) && !BN_is_zero(e) &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_RSA_E, e) == 1)
		pkey = pkey_of_params(bld);
	OSSL_PARAM_BLD_free(bld);
	BN_free(n);
	BN_free(e);
	return pkey;
}

#define RSA_DER_MOST 8192 /* a modulus of 16,384 bits, an exponent as long, and to spare */

/* Read here and not by d2i_PUBKEY, whose decoder of OpenSSL 3.0 costs more
 * than the verification, and which takes trailing bytes. */
struct key *key_public_rsa(str der)
{
	static const str oid = { "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01", 9 }; /* rsaEncryption */
	str              bits, modulus, exponent;
	EVP_PKEY        *pkey;
	unsigned         place = 0;
	bool             odd;
	struct key      *k;

	if (der.n > RSA_DER_MOST)
		return NULL;
	pkey = crypt_parsed(der, &odd, &place);
	if (pkey != NULL) {
		k = key_made(pkey, odd);
		if (k != NULL)
			k->place = place;
		return k;
	}
	if (!der_spki(der, oid, &bits))
		bits = der;
	if (!der_rsa(bits, &modulus, &exponent))
		return NULL;
	k = key_of(pkey_of_rsa(modulus, exponent));
	if (k != NULL)
		crypt_parsed_keep(der, k->pkey, k->exponent_odd_32, &k->place);
	return k;
}

struct key *key_public_ed25519(str raw)
{
	static const str oid = { "\x2b\x65\x70", 3 }; /* RFC 8410 3 */

	if (raw.n != 32 && !der_spki(raw, oid, &raw))
		return NULL;
	if (raw.n != 32)
		return NULL;
	return key_of(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL,
	                                          (const unsigned char *)raw.p, raw.n));
}

struct key *key_generate(enum key_kind kind, unsigned rsa_bits)
{
	if (kind == KEY_RSA)
		return key_private(EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)rsa_bits));
	if (kind == KEY_ED25519)
		return key_private(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
	return NULL;
}

enum err key_pem(const struct key *k, char **pem, size_t *n)
{
	BIO     *bio = BIO_new(BIO_s_mem());
	char    *text = NULL;
	long     len = 0;
	enum err e = ERR_MEMORY;

	*pem = NULL;
	*n = 0;
	if (bio != NULL &&
	    PEM_write_bio_PKCS8PrivateKey(bio, k->pkey, NULL, NULL, 0, NULL, NULL) == 1)
		len = BIO_get_mem_data(bio, &text);
	if (len > 0)
		*pem = malloc((size_t)len + 1);
	if (*pem != NULL) {
		memcpy(*pem, text, (size_t)len);
		(*pem)[len] = '\0';
		*n = (size_t)len;
		e = OK;
	}
	BIO_free(bio); /* wipes its memory */
	ERR_clear_error();
	return e;
}

enum err key_public_der(const struct key *k, unsigned char **der, size_t *n)
{
	unsigned char *p;
	int            len = 32;

	*der = NULL;
	*n = 32;
	if (k->kind != KEY_ED25519)
		len = i2d_PUBKEY(k->pkey, NULL);
	p = len > 0 ? malloc((size_t)len) : NULL;
	if (p == NULL) {
		ERR_clear_error();
		return ERR_MEMORY;
	}
	*der = p;
	if (k->kind != KEY_ED25519)
		*n = (size_t)i2d_PUBKEY(k->pkey, &p);
	else
		must(EVP_PKEY_get_raw_public_key(k->pkey, p, n) == 1 && *n == 32);
	return OK;
}

static bool sign_rsa(const struct key *k, enum digest_kind kind, str digest, unsigned char *out,
                     size_t *n)
{
	EVP_PKEY_CTX *ctx = kind == DIGEST_SHA256 && k->signing != NULL
	                            ? EVP_PKEY_CTX_dup(k->signing)
	                            : rsa_ctx(k, kind, EVP_PKEY_sign_init);
	bool          done;

	done = ctx != NULL &&
	       EVP_PKEY_sign(ctx, out, n, (const unsigned char *)digest.p, digest.n) == 1;
	EVP_PKEY_CTX_free(ctx);
	return done;
}

static bool sign_ed25519(const struct key *k, str data, unsigned char *out, size_t *n)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool        done;

	done = ctx != NULL && EVP_DigestSignInit(ctx, NULL, NULL, NULL, k->pkey) == 1 &&
	       EVP_DigestSign(ctx, out, n, (const unsigned char *)data.p, data.n) == 1;
	EVP_MD_CTX_free(ctx);
	return done;
}

enum err key_sign(const struct key *k, enum digest_kind kind, str digest,
                  unsigned char out[static SIGNATURE_MAX], size_t *n)
{
	bool done;

	if (k->kind == KEY_OTHER || EVP_PKEY_get_size(k->pkey) > SIGNATURE_MAX)
		return ERR_BAD;
	*n = SIGNATURE_MAX;
	done = k->kind == KEY_RSA ? sign_rsa(k, kind, digest, out, n)
	                          : sign_ed25519(k, digest, out, n);
	ERR_clear_error();
	return done ? OK : ERR_BAD;
}

static bool verify_rsa(const struct key *k, enum digest_kind kind, str digest, str signature)
{
	EVP_PKEY_CTX **kept = kind == DIGEST_SHA256 ? crypt_parsed_verifier(k->pkey, k->place) : NULL;
	EVP_PKEY_CTX  *ctx = kept != NULL ? *kept : NULL;
	bool           good;

	if (ctx == NULL)
		ctx = rsa_ctx(k, kind, EVP_PKEY_verify_init);
	good = ctx != NULL &&
	       EVP_PKEY_verify(ctx, (const unsigned char *)signature.p, signature.n,
	                       (const unsigned char *)digest.p, digest.n) == 1;
	if (kept != NULL)
		*kept = ctx;
	else
		EVP_PKEY_CTX_free(ctx);
	return good;
}

static bool verify_ed25519(const struct key *k, str data, str signature)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool        good;

	good = ctx != NULL && EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, k->pkey) == 1 &&
	       EVP_DigestVerify(ctx, (const unsigned char *)signature.p, signature.n,
	                        (const unsigned char *)data.p, data.n) == 1;
	EVP_MD_CTX_free(ctx);
	return good;
}

bool key_verify(const struct key *k, enum digest_kind kind, str digest, str signature)
{
	bool good = false;

	if (signature.n == 0 || digest.n == 0)
		return false;
	if (k->kind == KEY_RSA)
		good = verify_rsa(k, kind, digest, signature);
	else if (k->kind == KEY_ED25519)
		good = verify_ed25519(k, digest, signature);
	ERR_clear_error();
	return good;
}
