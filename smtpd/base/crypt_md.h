/* SPDX-License-Identifier: ISC */
/*
 * What crypt.c and crypt_key.c share of OpenSSL; nobody else includes this.
 */
#ifndef BASE_CRYPT_MD_H
#define BASE_CRYPT_MD_H

#include <openssl/evp.h>

#include "smtpd/base/crypt.h"

const EVP_MD *crypt_md(enum digest_kind); /* NULL: this OpenSSL has none */

#endif
