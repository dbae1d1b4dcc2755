/* SPDX-License-Identifier: ISC */
/*
 * An authority of one's own: its certificates, .p12 files and lists, taken apart
 * and verified with OpenSSL.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/crypt.h"
#include "smtpd/base/tls_ca.h"

struct opened { EVP_PKEY *key; X509 *cert; STACK_OF(X509) *chain; };

static X509 *read_cert(const char *pem)
{
	BIO *b = BIO_new_mem_buf(pem, -1);
	X509 *x = PEM_read_bio_X509(b, NULL, NULL, NULL);

	BIO_free(b);
	assert_non_null(x);
	return x;
}

static bool p12_open(const struct tls_issue *i, const char *password, struct opened *o)
{
	const unsigned char *p = i->p12;
	PKCS12 *p12 = d2i_PKCS12(NULL, &p, (long)i->p12_n);
	bool good;

	memset(o, 0, sizeof(*o));
	assert_non_null(p12);
	good = PKCS12_parse(p12, password, &o->key, &o->cert, &o->chain) == 1;
	PKCS12_free(p12);
	return good;
}

static void p12_close(struct opened *o)
{
	EVP_PKEY_free(o->key);
	X509_free(o->cert);
	sk_X509_pop_free(o->chain, X509_free);
}

/* X509_V_OK, or what is wrong; with a list when there is one. */
static int verify(const char *ca_pem, X509 *x, const char *list)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	X509 *ca = read_cert(ca_pem);
	int result;

	X509_STORE_add_cert(store, ca);
	if (list != NULL) {
		BIO *b = BIO_new_mem_buf(list, -1);
		X509_CRL *crl = PEM_read_bio_X509_CRL(b, NULL, NULL, NULL);

		assert_non_null(crl);
		X509_STORE_add_crl(store, crl);
		X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
		X509_CRL_free(crl);
		BIO_free(b);
	}
	assert_int_equal(X509_STORE_CTX_init(ctx, store, x, NULL), 1);
	X509_STORE_CTX_set_purpose(ctx, X509_PURPOSE_SSL_CLIENT);
	X509_verify_cert(ctx);
	result = X509_STORE_CTX_get_error(ctx);
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
	X509_free(ca);
	return result;
}

static void issued_certificates_verify(void **state)
{
	static const struct { const char *address; bool legacy; } cases[] = {
		{ "alice@home.test", false }, { "bob@home.test", true },
		{ "a,DNS:evil.test@home.test", false },        /* no configuration text is made of it */
	};
	char *ca, *key, *list;

	(void)state;
	assert_int_equal(tls_ca_make("office", 3650, &ca, &key), OK);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct tls_issue issue = { .ca_cert = str_of(ca), .ca_key = str_of(key), .address = cases[i].address,
			                   .password = "abcd-efhj", .days = 30, .legacy = cases[i].legacy };
		struct tls_revoked revoked = { .serial = issue.serial, .when = 1795341600 };
		STACK_OF(OPENSSL_STRING) *names;
		struct opened o;

		assert_int_equal(tls_ca_issue(&issue), OK);
		assert_int_equal(issue.expires - issue.issued, 30 * 86400);
		assert_false(p12_open(&issue, "abcd-efhk", &o));
		p12_close(&o);
		assert_true(p12_open(&issue, "abcd-efhj", &o));
		assert_int_equal(X509_check_private_key(o.cert, o.key), 1);
		assert_int_equal(sk_X509_num(o.chain), 1);
		names = X509_get1_email(o.cert);
		assert_int_equal(sk_OPENSSL_STRING_num(names), 1);
		assert_string_equal(sk_OPENSSL_STRING_value(names, 0), cases[i].address);
		X509_email_free(names);
		assert_int_equal(verify(ca, o.cert, NULL), X509_V_OK);
		assert_int_equal(tls_ca_list(str_of(ca), str_of(key), NULL, 0, 30, &list), OK);
		assert_int_equal(verify(ca, o.cert, list), X509_V_OK);
		free(list);
		assert_int_equal(tls_ca_list(str_of(ca), str_of(key), &revoked, 1, 30, &list), OK);
		assert_int_equal(verify(ca, o.cert, list), X509_V_ERR_CERT_REVOKED);
		free(list);
		p12_close(&o);
		free(issue.p12);
	}
	free(ca);
	free(key);
}

static void an_authority_that_is_none(void **state)
{
	char *ca, *key, *other_ca, *other_key, *list = NULL;
	struct tls_issue issue = { .address = "a@home.test", .password = "x", .days = 1 };

	(void)state;
	assert_int_equal(tls_ca_make("one", 10, &ca, &key), OK);
	assert_int_equal(tls_ca_make("two", 10, &other_ca, &other_key), OK);
	issue.ca_cert = str_of(ca);
	issue.ca_key = str_of(other_key);
	assert_int_equal(tls_ca_issue(&issue), ERR_BAD);       /* another's key */
	issue.ca_key = STR("no key");
	assert_int_equal(tls_ca_issue(&issue), ERR_BAD);
	issue.ca_cert = STR_NONE;
	assert_int_equal(tls_ca_issue(&issue), ERR_BAD);
	assert_null(issue.p12);
	assert_int_equal(tls_ca_list(str_of(ca), str_of(other_key), NULL, 0, 1, &list), ERR_BAD);
	assert_null(list);
	free(ca);
	free(key);
	free(other_ca);
	free(other_key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(issued_certificates_verify), cmocka_unit_test(an_authority_that_is_none),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
