/* SPDX-License-Identifier: ISC */
/*
 * jwks: an issuer's keys, as jwks.c reads and jwt.c uses them.
 */
#ifndef AUTH_JWKS_H
#define AUTH_JWKS_H

#include "auth/oauth.h"
#include "smtpd/base/crypt_jose.h"

#define JWKS_MOST 32

struct jwk {
	struct jose_key *key;
	str              kid, alg;     /* may be empty */
};

struct jwks {
	struct arena arena;
	size_t       n;
	struct jwk   v[JWKS_MOST + 1];
};

#endif
