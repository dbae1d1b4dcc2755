/* SPDX-License-Identifier: ISC */
/*
 * tls_self: a self-signed certificate, for the playground and for tests.
 */
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/tls_inside.h"

#define HOUR 3600L
#define DAY  86400L

bool tls_text_of(BIO *pem, char **out)
{
	char *p;
	long n = BIO_get_mem_data(pem, &p);

	*out = n > 0 ? malloc((size_t)n + 1) : NULL;
	if (*out == NULL)
		return false;
	memcpy(*out, p, (size_t)n);
	(*out)[n] = '\0';
	return true;
}

static bool write_pem(X509 *x, EVP_PKEY *key, char **cert_pem, char **key_pem)
{
	BIO *a = BIO_new(BIO_s_mem()), *b = BIO_new(BIO_s_secmem());
	bool ok = a != NULL && b != NULL && PEM_write_bio_X509(a, x) == 1 &&
	          PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	          tls_text_of(a, cert_pem);

	if (ok && !tls_text_of(b, key_pem)) {
		free(*cert_pem);
		ok = false;
	}
	BIO_free(a);
	BIO_free(b);
	return ok;
}

static bool add_name(GENERAL_NAMES *names, const char *name)
{
	unsigned char ip[16];
	int family_bytes = inet_pton(AF_INET, name, ip) == 1    ? 4
	                   : inet_pton(AF_INET6, name, ip) == 1 ? 16
	                                                        : 0;
	GENERAL_NAME *g = GENERAL_NAME_new();
	ASN1_STRING *value = family_bytes ? ASN1_OCTET_STRING_new() : ASN1_IA5STRING_new();
	const void *bytes = family_bytes ? (const void *)ip : name;
	int n = family_bytes ? family_bytes : (int)strlen(name);

	if (g == NULL || value == NULL || ASN1_STRING_set(value, bytes, n) != 1 ||
	    sk_GENERAL_NAME_push(names, g) <= 0) {
		GENERAL_NAME_free(g);
		ASN1_STRING_free(value);
		return false;
	}
	GENERAL_NAME_set0_value(g, family_bytes ? GEN_IPADD : GEN_DNS, value);
	return true;
}

static bool add_names(X509 *x, const char *const names[], size_t n)
{
	GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
	bool ok = list != NULL;

	for (size_t i = 0; ok && i < n; i++)
		ok = add_name(list, names[i]);
	ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, list, 0, X509V3_ADD_APPEND) == 1;
	GENERAL_NAMES_free(list);
	return ok;
}

bool tls_add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = e != NULL && X509_add_ext(x, e, -1) == 1;
	X509_EXTENSION_free(e);
	return ok;
}

/* RFC 5280 4.1.2.2: positive, at most 20 octets, hard to guess. */
bool tls_set_serial(X509 *x)
{
	BIGNUM *n = BN_new();
	bool ok = n != NULL && BN_rand(n, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
	          BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL;

	BN_free(n);
	return ok;
}

static bool fill(X509 *x, EVP_PKEY *key, const char *const names[], size_t n, int days)
{
	X509_NAME *subject = X509_get_subject_name(x);
	size_t cn = strlen(names[0]) < 64 ? strlen(names[0]) : 64;   /* ub-common-name */

	return X509_set_version(x, X509_VERSION_3) == 1 && tls_set_serial(x) &&
	       X509_gmtime_adj(X509_getm_notBefore(x), -HOUR) != NULL &&
	       X509_gmtime_adj(X509_getm_notAfter(x), days * DAY) != NULL &&
	       X509_set_pubkey(x, key) == 1 &&
	       X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_UTF8,
	                                  (const unsigned char *)names[0], (int)cn, -1, 0) == 1 &&
	       X509_set_issuer_name(x, subject) == 1 && add_names(x, names, n) &&
	       tls_add_extension(x, x, NID_basic_constraints, "critical,CA:FALSE") &&
	       tls_add_extension(x, x, NID_key_usage, "critical,digitalSignature") &&
	       tls_add_extension(x, x, NID_ext_key_usage, "serverAuth,clientAuth") &&
	       tls_add_extension(x, x, NID_subject_key_identifier, "hash") &&
	       X509_sign(x, key, EVP_sha256()) > 0;
}

enum err tls_self_signed(const char *const names[], size_t n, int days, char **cert_pem, char **key_pem)
{
	EVP_PKEY *key;
	X509 *x;
	bool ok;

	*cert_pem = *key_pem = NULL;
	if (n == 0)
		return ERR_BAD;
	key = EVP_EC_gen("P-256");
	x = X509_new();
	ok = key != NULL && x != NULL && fill(x, key, names, n, days) &&
	     write_pem(x, key, cert_pem, key_pem);
	X509_free(x);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok ? OK : ERR_MEMORY;
}
