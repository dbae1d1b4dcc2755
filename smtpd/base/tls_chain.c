/* SPDX-License-Identifier: ISC */
/*
 * tls_chain: a peer's certificates in words, for people and for records of
 * theirs to make.  What a peer wrote into them is text like any other: quoted
 * where it is shown.  The connection's loop.
 */
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/conn_inside.h"
#include "smtpd/base/tls_inside.h"

#define TEXT_MOST  512
#define NAMES_MOST 100

static str bio_text(BIO *b, struct arena *a)
{
	char *p;
	long n = BIO_get_mem_data(b, &p);

	return str_keep(a, (str){ p, n < 0 ? 0 : n > TEXT_MOST ? TEXT_MOST : (size_t)n });
}

/* RFC 2253's form, everything beyond printable ASCII escaped. */
static str name_text(const X509_NAME *name, struct arena *a)
{
	BIO *b = BIO_new(BIO_s_mem());
	str s = STR_NONE;

	if (b != NULL && X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253) >= 0)
		s = bio_text(b, a);
	BIO_free(b);
	return s;
}

static int64_t time_of(const ASN1_TIME *t)
{
	struct tm tm;

	return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void dns_names(const X509 *x, struct arena *a, struct strs *out)
{
	GENERAL_NAMES *list = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
	int n = list != NULL ? sk_GENERAL_NAME_num(list) : 0;
	str *v = ARENA_ARRAY(a, str, NAMES_MOST);

	for (int i = 0; i < n && v != NULL && out->n < NAMES_MOST; i++) {
		int type;
		const ASN1_STRING *s = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(list, i), &type);

		if (type == GEN_DNS)
			v[out->n++] = str_keep(a, (str){ (const char *)ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s) });
	}
	out->v = v;
	GENERAL_NAMES_free(list);
}

static str spki_digest(const X509 *x, struct arena *a)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char digest[EVP_MAX_MD_SIZE], *der = NULL;
	unsigned n = 0;
	int der_n = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x), &der);
	char *text;

	if (der_n <= 0 || EVP_Digest(der, (size_t)der_n, digest, &n, EVP_sha256(), NULL) != 1)
		n = 0;
	OPENSSL_free(der);
	text = arena_alloc(a, 2 * n + 1);
	if (text == NULL)
		return STR_NONE;
	for (unsigned i = 0; i < n; i++) {
		text[2 * i] = hex[digest[i] >> 4];
		text[2 * i + 1] = hex[digest[i] & 15];
	}
	return (str){ text, 2 * n };
}

static void cert_of(const X509 *x, struct arena *a, struct tls_cert *out)
{
	*out = (struct tls_cert){
		.subject = name_text(X509_get_subject_name(x), a), .issuer = name_text(X509_get_issuer_name(x), a),
		.not_before = time_of(X509_get0_notBefore(x)), .not_after = time_of(X509_get0_notAfter(x)),
		.spki_sha256 = spki_digest(x, a),
	};
	dns_names(x, a, &out->names);
}

size_t conn_tls_chain(const struct conn *c, struct arena *a, struct tls_cert *out, size_t room)
{
	STACK_OF(X509) *chain;
	size_t n = 0;

	if (c->tls == NULL || c->tls->phase != TLS_ON)
		return 0;
	chain = SSL_get_peer_cert_chain(c->tls->ssl);
	for (int i = 0; chain != NULL && i < sk_X509_num(chain) && n < room; i++, n++)
		cert_of(sk_X509_value(chain, i), a, &out[n]);
	ERR_clear_error();
	return n;
}

size_t tls_chain_read(str pem, struct arena *a, struct tls_cert *out, size_t room)
{
	BIO *text = pem.n > 0 && pem.n <= INT_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;
	size_t n = 0;
	X509 *x;

	while (text != NULL && n < room && (x = PEM_read_bio_X509(text, NULL, NULL, NULL)) != NULL) {
		cert_of(x, a, &out[n++]);
		X509_free(x);
	}
	BIO_free(text);
	ERR_clear_error();
	return n;
}
