/* SPDX-License-Identifier: ISC */
/*
 * crypt: digests, keys, base64 and randomness over OpenSSL, for all rooms.
 *
 * Algorithms are fetched once (crypt_setup, before threads) and contexts are
 * reused.  Nothing here logs; secrets are wiped by who holds them (crypt_wipe).
 */
#ifndef BASE_CRYPT_H
#define BASE_CRYPT_H

#include "smtpd/base/err.h"
#include "smtpd/base/str.h"

void crypt_setup(void);                        /* once, before threads; aborts if OpenSSL lacks SHA-256 */

enum digest_kind { DIGEST_SHA1, DIGEST_SHA256 };
#define DIGEST_MAX 32

struct digest { void *ctx; enum digest_kind kind; };   /* holds an EVP_MD_CTX */

enum err digest_begin(struct digest *, enum digest_kind);
void     digest_add(struct digest *, str);
size_t   digest_end(struct digest *, unsigned char out[static DIGEST_MAX]); /* frees the context */
void     digest_drop(struct digest *);                 /* ends without a result; harmless twice */
size_t   digest_of(enum digest_kind, str, unsigned char out[static DIGEST_MAX]);
/* Of both, one behind the other; for passwords kept by older schemes. */
void     sha512_of(str, str, unsigned char out[static 64]);

/* Asymmetric keys.  A key is immutable after loading and may be used by all
 * threads at once. */
struct key;
enum key_kind { KEY_RSA, KEY_ED25519, KEY_OTHER };

struct key *key_private_pem(str pem, str *why);        /* PKCS#1, PKCS#8; unencrypted; NULL with a reason */
struct key *key_public_rsa(str der);                   /* SubjectPublicKeyInfo or bare RSAPublicKey; NULL */
struct key *key_public_ed25519(str raw);               /* 32 bytes (RFC 8463), or SubjectPublicKeyInfo; NULL */
struct key *key_generate(enum key_kind, unsigned rsa_bits);
void        key_free(struct key *);
enum key_kind key_kind(const struct key *);
unsigned    key_bits(const struct key *);              /* RSA modulus; 256 for Ed25519 */
bool        key_exponent_odd_32(const struct key *);   /* RSA: the public exponent is odd and fits 32 bits */
enum err    key_pem(const struct key *, char **pem, size_t *n);      /* PKCS#8, malloc'ed; wipe and free it */
enum err    key_public_der(const struct key *, unsigned char **der, size_t *n); /* p= of RFC 6376 (SPKI) or RFC 8463 (raw); malloc'ed */

/* Over a digest already made: RSASSA-PKCS1-v1_5 (RFC 8017) with the digest's
 * kind; Ed25519 (RFC 8032, PureEdDSA) over the digest's bytes (RFC 8463 3). */
#define SIGNATURE_MAX 1024
enum err key_sign(const struct key *, enum digest_kind, str digest, unsigned char out[static SIGNATURE_MAX], size_t *n);
bool     key_verify(const struct key *, enum digest_kind, str digest, str signature);

void     hmac_sha256(str key, str data, unsigned char out[static 32]);
enum err pbkdf2_sha256(str password, str salt, unsigned iterations, unsigned char out[static 32]);

void     random_bytes(void *, size_t);                 /* aborts when the system has none */
uint64_t random_below(uint64_t n);                     /* uniform in [0, n) */
void     crypt_wipe(void *, size_t);
bool     crypt_equal(const void *, const void *, size_t);  /* in constant time */

/* RFC 4648 4.  encode returns the text in the arena.  decode takes only the
 * alphabet and correct padding; with `loose`, white space is skipped and
 * padding may be missing (RFC 6376 FWS in b=, bh=, p=).  false: not base64. */
struct arena;
str  base64_encode(struct arena *, str);
bool base64_decode(struct arena *, str, bool loose, str *out);

#endif
