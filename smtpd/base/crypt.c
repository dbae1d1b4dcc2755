/* SPDX-License-Identifier: ISC */
/*
 * crypt: digests, MACs and randomness.  Algorithms are fetched once; each
 * thread keeps a few digest contexts for the next message.  Keys are in
 * crypt_key.c, base64 in base64.c.
 */
#include "smtpd/base/crypt.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "smtpd/base/crypt_md.h"

#define KINDS 2
#define SPARE 16 /* contexts of a kind that a thread keeps */

static EVP_MD         *mds[KINDS];
static EVP_MD         *sha512;
static EVP_MAC        *hmac;
static pthread_key_t   spares_key;
static pthread_once_t  setup_once = PTHREAD_ONCE_INIT;

struct spares {
	EVP_MD_CTX *ctx[KINDS][SPARE];
	unsigned    n[KINDS];
};

static _Thread_local struct spares *spares;

static void spares_free(void *arg)
{
	struct spares *s = arg;

	for (int kind = 0; kind < KINDS; kind++)
		for (unsigned i = 0; i < s->n[kind]; i++)
			EVP_MD_CTX_free(s->ctx[kind][i]);
	free(s);
	spares = NULL;
}

static void setup(void)
{
	mds[DIGEST_SHA1] = EVP_MD_fetch(NULL, "SHA1", NULL);
	mds[DIGEST_SHA256] = EVP_MD_fetch(NULL, "SHA256", NULL);
	sha512 = EVP_MD_fetch(NULL, "SHA512", NULL);
	hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	must(mds[DIGEST_SHA256] != NULL && sha512 != NULL && hmac != NULL);
	must(pthread_key_create(&spares_key, spares_free) == 0);
	ERR_clear_error();
}

void crypt_setup(void)
{
	pthread_once(&setup_once, setup);
}

const EVP_MD *crypt_md(enum digest_kind kind)
{
	crypt_setup();
	return mds[kind];
}

static EVP_MD_CTX *ctx_take(enum digest_kind kind)
{
	if (spares != NULL && spares->n[kind] != 0)
		return spares->ctx[kind][--spares->n[kind]];
	return EVP_MD_CTX_new();
}

static void ctx_give(enum digest_kind kind, EVP_MD_CTX *ctx)
{
	if (spares == NULL) {
		spares = calloc(1, sizeof(*spares));
		if (spares != NULL)
			pthread_setspecific(spares_key, spares);
	}
	if (spares != NULL && spares->n[kind] < SPARE)
		spares->ctx[kind][spares->n[kind]++] = ctx;
	else
		EVP_MD_CTX_free(ctx);
}

enum err digest_begin(struct digest *d, enum digest_kind kind)
{
	const EVP_MD *md = crypt_md(kind);
	EVP_MD_CTX   *ctx;

	*d = (struct digest){ NULL, kind };
	if (md == NULL)
		return ERR_ABSENT;
	ctx = ctx_take(kind);
	if (ctx == NULL || EVP_DigestInit_ex2(ctx, md, NULL) != 1) {
		EVP_MD_CTX_free(ctx);
		ERR_clear_error();
		return ERR_MEMORY;
	}
	d->ctx = ctx;
	return OK;
}

void digest_add(struct digest *d, str s)
{
	must(d->ctx != NULL);
	if (s.n)
		must(EVP_DigestUpdate(d->ctx, s.p, s.n) == 1);
}

size_t digest_end(struct digest *d, unsigned char out[static DIGEST_MAX])
{
	unsigned n = 0;

	must(d->ctx != NULL && EVP_DigestFinal_ex(d->ctx, out, &n) == 1);
	ctx_give(d->kind, d->ctx);
	d->ctx = NULL;
	return n;
}

void digest_drop(struct digest *d)
{
	if (d->ctx != NULL)
		ctx_give(d->kind, d->ctx);
	d->ctx = NULL;
}

size_t digest_of(enum digest_kind kind, str s, unsigned char out[static DIGEST_MAX])
{
	struct digest d;

	if (digest_begin(&d, kind) != OK)
		return 0;
	digest_add(&d, s);
	return digest_end(&d, out);
}

void sha512_of(str a, str b, unsigned char out[static 64])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned n = 0;

	crypt_setup();
	must(ctx != NULL && EVP_DigestInit_ex2(ctx, sha512, NULL) == 1 &&
	     EVP_DigestUpdate(ctx, a.n ? a.p : "", a.n) == 1 &&
	     EVP_DigestUpdate(ctx, b.n ? b.p : "", b.n) == 1 &&
	     EVP_DigestFinal_ex(ctx, out, &n) == 1 && n == 64);
	EVP_MD_CTX_free(ctx);
}

void hmac_sha256(str key, str data, unsigned char out[static 32])
{
	EVP_MAC_CTX *ctx;
	size_t       n = 0;
	char         sha256[] = "SHA256";
	OSSL_PARAM   params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, sha256, 0),
		OSSL_PARAM_construct_end(),
	};

	crypt_setup();
	ctx = EVP_MAC_CTX_new(hmac);
	/* A NULL key would mean the one before. */
	must(ctx != NULL &&
	     EVP_MAC_init(ctx, (const unsigned char *)(key.n ? key.p : ""), key.n, params) == 1 &&
	     EVP_MAC_update(ctx, (const unsigned char *)(data.n ? data.p : ""), data.n) == 1 &&
	     EVP_MAC_final(ctx, out, &n, 32) == 1 && n == 32);
	EVP_MAC_CTX_free(ctx);
}

enum err pbkdf2_sha256(str password, str salt, unsigned iterations, unsigned char out[static 32])
{
	if (iterations == 0 || iterations > INT_MAX || password.n > INT_MAX || salt.n > INT_MAX)
		return ERR_BAD;
	if (PKCS5_PBKDF2_HMAC(password.n ? password.p : "", (int)password.n,
	                      (const unsigned char *)(salt.n ? salt.p : ""), (int)salt.n,
	                      (int)iterations, crypt_md(DIGEST_SHA256), 32, out) == 1)
		return OK;
	ERR_clear_error();
	return ERR_MEMORY;
}

void random_bytes(void *out, size_t n)
{
	unsigned char *p = out;

	while (n > 0) {
		size_t part = n < INT_MAX ? n : INT_MAX;

		must(RAND_bytes(p, (int)part) == 1);
		p += part;
		n -= part;
	}
}

uint64_t random_below(uint64_t n)
{
	uint64_t v, most;

	must(n != 0);
	/* Numbers past the last whole multiple of n would make some likelier. */
	most = UINT64_MAX - UINT64_MAX % n;
	do
		random_bytes(&v, sizeof(v));
	while (v >= most);
	return v % n;
}

void crypt_wipe(void *p, size_t n)
{
	if (p != NULL)
		OPENSSL_cleanse(p, n);
}

bool crypt_equal(const void *a, const void *b, size_t n)
{
	return n == 0 || CRYPTO_memcmp(a, b, n) == 0;
}
