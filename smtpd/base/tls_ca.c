/* SPDX-License-Identifier: ISC */
/*
 * tls_ca: authority, certificates in .p12 files, lists of revoked ones.
 */
#include "smtpd/base/tls_ca.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "smtpd/base/tls_inside.h"

#define HOUR 3600L
#define DAY  86400L

/* ---- text in and out --------------------------------------------------------------- */

static int no_passphrase(char *buf, int n, int writing, void *arg)
{
	(void)buf;
	(void)n;
	(void)writing;
	(void)arg;
	return -1;
}

struct authority { X509 *cert; EVP_PKEY *key; };

static void authority_free(struct authority *a)
{
	X509_free(a->cert);
	EVP_PKEY_free(a->key);
}

static bool authority_read(str cert, str key, struct authority *a)
{
	BIO *c = BIO_new_mem_buf(cert.p, (int)cert.n), *k = BIO_new_mem_buf(key.p, (int)key.n);

	a->cert = c != NULL ? PEM_read_bio_X509(c, NULL, no_passphrase, NULL) : NULL;
	a->key = k != NULL ? PEM_read_bio_PrivateKey(k, NULL, no_passphrase, NULL) : NULL;
	BIO_free(c);
	BIO_free(k);
	if (a->cert != NULL && a->key != NULL && X509_check_private_key(a->cert, a->key) == 1)
		return true;
	authority_free(a);
	return false;
}

/* ---- a certificate in the making ------------------------------------------------------ */

static bool serial_text(const X509 *x, char out[static TLS_SERIAL])
{
	BIGNUM *n = ASN1_INTEGER_to_BN(X509_get0_serialNumber(x), NULL);
	char *hex = n != NULL ? BN_bn2hex(n) : NULL;
	bool ok = hex != NULL && strlen(hex) < TLS_SERIAL;

	for (size_t i = 0; ok; i++) {
		out[i] = to_lower(hex[i]);
		if (hex[i] == '\0')
			break;
	}
	OPENSSL_free(hex);
	BN_free(n);
	return ok;
}

/* RFC 5280: 64 characters at most. */
static bool add_name(X509_NAME *name, int nid, const char *text)
{
	size_t n = strlen(text) < 64 ? strlen(text) : 64;

	return X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (const unsigned char *)text,
					  (int)n, -1, 0) == 1;
}

static bool begin(X509 *x, EVP_PKEY *key, int days)
{
	return X509_set_version(x, X509_VERSION_3) == 1 && tls_set_serial(x) &&
	       X509_gmtime_adj(X509_getm_notBefore(x), -HOUR) != NULL &&
	       X509_gmtime_adj(X509_getm_notAfter(x), days * DAY) != NULL &&
	       X509_set_pubkey(x, key) == 1;
}

/* ---- the authority ---------------------------------------------------------------------- */

static bool fill_authority(X509 *x, EVP_PKEY *key, const char *name, int days)
{
	X509_NAME *subject = X509_get_subject_name(x);

	return begin(x, key, days) && add_name(subject, NID_commonName, name) &&
	       X509_set_issuer_name(x, subject) == 1 &&
	       tls_add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	       tls_add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	       tls_add_extension(x, x, NID_subject_key_identifier, "hash") &&
	       X509_sign(x, key, EVP_sha256()) > 0;
}

enum err tls_ca_make(const char *name, int days, char **cert_pem, char **key_pem)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	BIO *a = BIO_new(BIO_s_mem()), *b = BIO_new(BIO_s_secmem());
	bool ok;

	*cert_pem = *key_pem = NULL;
	ok = key != NULL && x != NULL && a != NULL && b != NULL &&
	     fill_authority(x, key, name, days) && PEM_write_bio_X509(a, x) == 1 &&
	     PEM_write_bio_PKCS8PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1 &&
	     tls_text_of(a, cert_pem) && tls_text_of(b, key_pem);
	if (!ok) {
		free(*cert_pem);
		*cert_pem = NULL;
	}
	BIO_free(a);
	BIO_free(b);
	X509_free(x);
	EVP_PKEY_free(key);
	ERR_clear_error();
	return ok ? OK : ERR_MEMORY;
}

/* ---- a client's ---------------------------------------------------------------------------- */

/* Not by a line of configuration: an address may hold what has a meaning there. */
static bool add_address(X509 *x, const char *address)
{
	GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
	GENERAL_NAME *g = GENERAL_NAME_new();
	ASN1_STRING *value = ASN1_IA5STRING_new();
	bool ok = list != NULL && g != NULL && value != NULL &&
		  ASN1_STRING_set(value, address, -1) == 1;

	if (ok) {
		GENERAL_NAME_set0_value(g, GEN_EMAIL, value);
		value = NULL;
		ok = sk_GENERAL_NAME_push(list, g) > 0;
		if (ok)
			g = NULL;
	}
	ok = ok && X509_add1_ext_i2d(x, NID_subject_alt_name, list, 0, X509V3_ADD_APPEND) == 1;
	ASN1_STRING_free(value);
	GENERAL_NAME_free(g);
	GENERAL_NAMES_free(list);
	return ok;
}

static bool fill_client(X509 *x, EVP_PKEY *key, const struct authority *ca,
			const struct tls_issue *i)
{
	return begin(x, key, i->days) &&
	       add_name(X509_get_subject_name(x), NID_commonName, i->address) &&
	       X509_set_issuer_name(x, X509_get_subject_name(ca->cert)) == 1 &&
	       add_address(x, i->address) &&
	       tls_add_extension(x, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
	       tls_add_extension(x, ca->cert, NID_key_usage, "critical,digitalSignature") &&
	       tls_add_extension(x, ca->cert, NID_ext_key_usage, "clientAuth") &&
	       tls_add_extension(x, ca->cert, NID_subject_key_identifier, "hash") &&
	       tls_add_extension(x, ca->cert, NID_authority_key_identifier, "keyid:always") &&
	       X509_sign(x, ca->key, EVP_sha256()) > 0;
}

static PKCS12 *pack(const struct tls_issue *i, EVP_PKEY *key, X509 *x, X509 *ca)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	int nid = i->legacy ? NID_pbe_WithSHA1And3_Key_TripleDES_CBC : NID_aes_256_cbc;
	const EVP_MD *mac = i->legacy ? EVP_sha1() : EVP_sha256();
	PKCS12 *p = NULL;

	/* mac_iter -1: no MAC yet, its digest is chosen by hand. */
	if (chain != NULL && sk_X509_push(chain, ca) > 0)
		p = PKCS12_create(i->password, i->address, key, x, chain, nid, nid,
				  PKCS12_DEFAULT_ITER, -1, 0);
	if (p != NULL &&
	    PKCS12_set_mac(p, i->password, -1, NULL, 0, PKCS12_DEFAULT_ITER, mac) != 1) {
		PKCS12_free(p);
		p = NULL;
	}
	sk_X509_free(chain);
	return p;
}

static bool write_p12(struct tls_issue *i, PKCS12 *p)
{
	BIO *out = BIO_new(BIO_s_mem());
	char *bytes;
	long n;
	bool ok = out != NULL && i2d_PKCS12_bio(out, p) == 1;

	n = ok ? BIO_get_mem_data(out, &bytes) : 0;
	i->p12 = n > 0 ? malloc((size_t)n) : NULL;
	if (i->p12 != NULL) {
		memcpy(i->p12, bytes, (size_t)n);
		i->p12_n = (size_t)n;
	}
	BIO_free(out);
	return i->p12 != NULL;
}

enum err tls_ca_issue(struct tls_issue *i)
{
	struct authority ca;
	EVP_PKEY *key;
	PKCS12 *p = NULL;
	X509 *x;
	bool ok;

	i->p12 = NULL;
	if (!authority_read(i->ca_cert, i->ca_key, &ca)) {
		ERR_clear_error();
		return ERR_BAD;
	}
	key = EVP_EC_gen("P-256");
	x = X509_new();
	i->issued = (int64_t)time(NULL);
	i->expires = i->issued + i->days * DAY;
	ok = key != NULL && x != NULL && fill_client(x, key, &ca, i) && serial_text(x, i->serial);
	if (ok)
		p = pack(i, key, x, ca.cert);
	ok = p != NULL && write_p12(i, p);
	PKCS12_free(p);
	X509_free(x);
	EVP_PKEY_free(key);
	authority_free(&ca);
	ERR_clear_error();
	return ok ? OK : ERR_MEMORY;
}

/* ---- what does not count any more ------------------------------------------------------------ */

static bool add_revoked(X509_CRL *crl, const struct tls_revoked *r)
{
	X509_REVOKED *entry = X509_REVOKED_new();
	ASN1_INTEGER *serial = NULL;
	ASN1_TIME *when = ASN1_TIME_set(NULL, (time_t)r->when);
	BIGNUM *n = NULL;
	bool ok = entry != NULL && when != NULL && BN_hex2bn(&n, r->serial) > 0;

	serial = ok ? BN_to_ASN1_INTEGER(n, NULL) : NULL;
	ok = serial != NULL && X509_REVOKED_set_serialNumber(entry, serial) == 1 &&
	     X509_REVOKED_set_revocationDate(entry, when) == 1 &&
	     X509_CRL_add0_revoked(crl, entry) == 1;
	if (!ok)
		X509_REVOKED_free(entry);
	ASN1_INTEGER_free(serial);
	ASN1_TIME_free(when);
	BN_free(n);
	return ok;
}

static bool add_number(X509_CRL *crl)
{
	ASN1_INTEGER *number = ASN1_INTEGER_new();
	bool ok = number != NULL && ASN1_INTEGER_set_int64(number, (int64_t)time(NULL)) == 1 &&
	          X509_CRL_add1_ext_i2d(crl, NID_crl_number, number, 0, 0) == 1;

	ASN1_INTEGER_free(number);
	return ok;
}

static bool fill_list(X509_CRL *crl, const struct authority *ca, const struct tls_revoked *v,
		      size_t n, int days)
{
	ASN1_TIME *now = X509_gmtime_adj(NULL, -HOUR), *then = X509_gmtime_adj(NULL, days * DAY);
	bool ok = now != NULL && then != NULL &&
		  X509_CRL_set_version(crl, X509_CRL_VERSION_2) == 1 &&
		  X509_CRL_set_issuer_name(crl, X509_get_subject_name(ca->cert)) == 1 &&
		  X509_CRL_set1_lastUpdate(crl, now) == 1 &&
		  X509_CRL_set1_nextUpdate(crl, then) == 1 && add_number(crl);

	for (size_t i = 0; ok && i < n; i++)
		ok = add_revoked(crl, &v[i]);
	ASN1_TIME_free(now);
	ASN1_TIME_free(then);
	return ok && X509_CRL_sort(crl) == 1 && X509_CRL_sign(crl, ca->key, EVP_sha256()) > 0;
}

enum err tls_ca_list(str ca_cert, str ca_key, const struct tls_revoked *v, size_t n, int days,
		     char **crl_pem)
{
	X509_CRL *crl = X509_CRL_new();
	BIO *out = BIO_new(BIO_s_mem());
	struct authority ca = { 0 };
	enum err e = ERR_BAD;

	*crl_pem = NULL;
	if (authority_read(ca_cert, ca_key, &ca))
		e = crl != NULL && out != NULL && fill_list(crl, &ca, v, n, days) &&
				    PEM_write_bio_X509_CRL(out, crl) == 1 &&
				    tls_text_of(out, crl_pem)
			    ? OK
			    : ERR_MEMORY;
	if (e != ERR_BAD)
		authority_free(&ca);
	X509_CRL_free(crl);
	BIO_free(out);
	ERR_clear_error();
	return e;
}
