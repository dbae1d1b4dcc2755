/* SPDX-License-Identifier: ISC */
/*
 * crypt_jose: public keys and signatures as JSON Web Tokens have them (RFC 7518,
 * RFC 8037).  Nothing symmetric, nothing unsigned: neither exists here.
 *
 * A key is immutable and may be used by all threads at once.
 */
#ifndef BASE_CRYPT_JOSE_H
#define BASE_CRYPT_JOSE_H

#include "smtpd/base/str.h"

enum jose_alg { JOSE_RS256, JOSE_PS256, JOSE_ES256, JOSE_EDDSA };
enum jose_kind { JOSE_RSA, JOSE_P256, JOSE_ED25519 };

struct jose_key;

/* From the octets of a JWK's members; NULL: no key that is of use (RSA: 2,048 to
 * 8,192 bits, an odd exponent of at most 32; P-256: a point on the curve). */
struct jose_key *jose_key_rsa(str n, str e);
struct jose_key *jose_key_p256(str x, str y);
struct jose_key *jose_key_ed25519(str x);
void             jose_key_free(struct jose_key *);
enum jose_kind   jose_key_kind(const struct jose_key *);
enum jose_kind   jose_alg_kind(enum jose_alg);

/* False, too, when the key is not of the algorithm's kind. */
bool jose_verify(const struct jose_key *, enum jose_alg, str text, str signature);

/* RFC 4648 5, without padding, as JOSE has it. */
struct arena;
bool base64url_decode(struct arena *, str, str *out);

#endif
