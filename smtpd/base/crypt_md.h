/* SPDX-License-Identifier: ISC */
/*
 * What crypt.c, crypt_key.c and crypt_parsed.c share of OpenSSL; nobody else includes this.
 */
#ifndef BASE_CRYPT_MD_H
#define BASE_CRYPT_MD_H

#include <openssl/evp.h>

#include "smtpd/base/crypt.h"

const EVP_MD *crypt_md(enum digest_kind); /* NULL: this OpenSSL has none */

/* crypt_parsed.c: RSA keys that this thread has read lately, by their DER.
 * `place` is where the key stands in the thread's table, 0 when it stands nowhere. */
EVP_PKEY *crypt_parsed(str der, bool *exponent_odd_32, unsigned *place);  /* NULL: not there; else a reference, the caller's */
void      crypt_parsed_keep(str der, EVP_PKEY *, bool exponent_odd_32, unsigned *place);  /* takes a reference of its own */

/* Where the context that verifies with this key is kept, or will be: it goes with the
 * key.  NULL: the key does not stand in this thread's table. */
EVP_PKEY_CTX **crypt_parsed_verifier(const EVP_PKEY *, unsigned place);

#endif
