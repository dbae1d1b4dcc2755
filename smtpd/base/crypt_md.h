/* SPDX-License-Identifier: ISC */
/*
 * What crypt.c, crypt_key.c and crypt_parsed.c share of OpenSSL; nobody else includes this.
 */
#ifndef BASE_CRYPT_MD_H
#define BASE_CRYPT_MD_H

#include <openssl/evp.h>

#include "smtpd/base/crypt.h"

const EVP_MD *crypt_md(enum digest_kind); /* NULL: this OpenSSL has none */

/* crypt_parsed.c: RSA keys that this thread has read lately, by their DER. */
EVP_PKEY *crypt_parsed(str der, bool *exponent_odd_32);   /* NULL: not there; else a reference, the caller's */
void      crypt_parsed_keep(str der, EVP_PKEY *, bool exponent_odd_32);   /* takes a reference of its own */

#endif
