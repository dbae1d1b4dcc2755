/* SPDX-License-Identifier: ISC */
/*
 * A certificate authority for tests: certificates as they should be, and as
 * they should not.  OpenSSL does the signing; nothing is written to the disk
 * but what the test asks for.
 */
#ifndef TESTS_AUTHORITY_H
#define TESTS_AUTHORITY_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define A_DAY 86400L

struct identity {                      /* of an authority, or of a server */
	X509     *cert;
	EVP_PKEY *key;
};

static inline void identity_extend(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	if (e == NULL || X509_add_ext(x, e, -1) != 1)
		abort();
	X509_EXTENSION_free(e);
}

/* Valid from `from` to `until` seconds from now; `by` NULL: an authority. */
static inline struct identity identity_new(const char *name, const struct identity *by, long from, long until)
{
	struct identity who = { X509_new(), EVP_EC_gen("P-256") };
	X509_NAME *subject = X509_get_subject_name(who.cert);
	X509 *issuer = by != NULL ? by->cert : who.cert;
	static long serial = 1000;
	char names[300];

	X509_set_version(who.cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(who.cert), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(who.cert), from);
	X509_gmtime_adj(X509_getm_notAfter(who.cert), until);
	X509_set_pubkey(who.cert, who.key);
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
	X509_set_issuer_name(who.cert, X509_get_subject_name(issuer));
	identity_extend(who.cert, issuer, NID_subject_key_identifier, "hash");
	if (by == NULL) {
		identity_extend(who.cert, issuer, NID_basic_constraints, "critical,CA:TRUE");
		identity_extend(who.cert, issuer, NID_key_usage, "critical,keyCertSign");
	} else {
		snprintf(names, sizeof(names), "DNS:%s", name);
		identity_extend(who.cert, issuer, NID_subject_alt_name, names);
		identity_extend(who.cert, issuer, NID_basic_constraints, "critical,CA:FALSE");
	}
	if (X509_sign(who.cert, by != NULL ? by->key : who.key, EVP_sha256()) <= 0)
		abort();
	return who;
}

static inline void identity_free(struct identity *who)
{
	X509_free(who->cert);
	EVP_PKEY_free(who->key);
}

static inline char *pem_take(BIO *b)
{
	char *p, *out;
	long n = BIO_get_mem_data(b, &p);

	out = strndup(p, (size_t)n);
	BIO_free(b);
	return out;
}

/* The certificate, and its issuer's behind it when one is given; for free(3). */
static inline char *identity_pem(const struct identity *who, const struct identity *issuer)
{
	BIO *b = BIO_new(BIO_s_mem());

	PEM_write_bio_X509(b, who->cert);
	if (issuer != NULL)
		PEM_write_bio_X509(b, issuer->cert);
	return pem_take(b);
}

static inline char *identity_key_pem(const struct identity *who)
{
	BIO *b = BIO_new(BIO_s_mem());

	PEM_write_bio_PKCS8PrivateKey(b, who->key, NULL, NULL, 0, NULL, NULL);
	return pem_take(b);
}

/* What a TLSA record with this selector and matching type holds; its length. */
static inline size_t identity_tlsa(const struct identity *who, int selector, int matching, unsigned char out[static 4096])
{
	unsigned char *der = NULL;
	int n = selector == 0 ? i2d_X509(who->cert, &der) : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(who->cert), &der);
	unsigned size = (unsigned)n;

	if (n <= 0 || n > 4096)
		abort();
	if (matching == 0)
		memcpy(out, der, (size_t)n);
	else if (EVP_Digest(der, (size_t)n, out, &size, matching == 1 ? EVP_sha256() : EVP_sha512(), NULL) != 1)
		abort();
	OPENSSL_free(der);
	return size;
}

#endif
