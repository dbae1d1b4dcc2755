/* SPDX-License-Identifier: ISC */
/*
 * tls_ca: a small authority of one's own, for client certificates.
 *
 * ECDSA P-256 throughout.  What comes out is malloc'ed; keys are wiped and freed
 * by who asked.  Verbs only; no threads.
 */
#ifndef BASE_TLS_CA_H
#define BASE_TLS_CA_H

#include "smtpd/base/err.h"
#include "smtpd/base/str.h"

#define TLS_SERIAL 41                  /* 40 hexadecimal digits at most, small ones */

/* A certificate that may sign client certificates and nothing else. */
enum err tls_ca_make(const char *name, int days, char **cert_pem, char **key_pem);

struct tls_issue {
	str         ca_cert, ca_key;   /* PEM */
	const char *address;           /* whose: subject and rfc822Name */
	const char *password;          /* of the .p12 */
	int         days;
	bool legacy; /* 3DES and SHA-1 around the key, for programs that know no AES there */
	/* out */
	unsigned char *p12;
	size_t         p12_n;
	char           serial[TLS_SERIAL];
	int64_t        issued, expires;
};

/* ERR_BAD: the authority's files are not what they should be. */
enum err tls_ca_issue(struct tls_issue *);

struct tls_revoked { const char *serial; int64_t when; };

/* A list of what does not count any more (RFC 5280 5), PEM. */
enum err tls_ca_list(str ca_cert, str ca_key, const struct tls_revoked *, size_t n, int days,
		     char **crl_pem);

#endif
