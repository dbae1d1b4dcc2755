/* SPDX-License-Identifier: ISC */
/*
 * crypt_parsed: public RSA keys that were read lately, by their DER.  OpenSSL 3.0
 * takes longer to take a key in, and to prepare its arithmetic at the first use,
 * than to verify with it; most mail comes from few domains.
 *
 * A table a thread, of fixed size; a key that meets another in its place takes
 * it.  No verdict is kept, only what the octets mean, and the context that
 * verifies with them: setting one up costs half as much as a verification.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "smtpd/base/crypt.h"
#include "smtpd/base/crypt_md.h"
#include "smtpd/base/map.h"

#define PLACES   128
#define DER_MOST 600      /* octets: 4,096 bits and to spare */

struct parsed {
	EVP_PKEY     *pkey;
	EVP_PKEY_CTX *verifier;   /* NULL until asked for */
	bool          exponent_odd_32;
	char         *der;
	size_t        n;
};

static pthread_key_t  table_key;
static pthread_once_t table_once = PTHREAD_ONCE_INIT;
static uint8_t        secret[16];    /* so that nobody chooses whose place his key takes */

static _Thread_local struct parsed *table;

static void drop(struct parsed *p)
{
	EVP_PKEY_CTX_free(p->verifier);
	EVP_PKEY_free(p->pkey);
	free(p->der);
}

static void table_free(void *arg)
{
	for (size_t i = 0; i < PLACES; i++)
		drop((struct parsed *)arg + i);
	free(arg);
	table = NULL;
}

static void table_prepare(void)
{
	random_bytes(secret, sizeof(secret));
	must(pthread_key_create(&table_key, table_free) == 0);
}

/* NULL: out of memory. */
static struct parsed *place_of(str der)
{
	struct parsed *made;

	pthread_once(&table_once, table_prepare);
	if (table == NULL) {
		made = calloc(PLACES, sizeof(*made));
		if (made == NULL || pthread_setspecific(table_key, made) != 0) {
			free(made);
			return NULL;
		}
		table = made;
	}
	return &table[siphash(secret, der) % PLACES];
}

EVP_PKEY *crypt_parsed(str der, bool *exponent_odd_32, unsigned *place)
{
	struct parsed *p = der.n <= DER_MOST ? place_of(der) : NULL;

	if (p == NULL || p->pkey == NULL || !str_eq((str){ p->der, p->n }, der) || EVP_PKEY_up_ref(p->pkey) != 1)
		return NULL;
	*exponent_odd_32 = p->exponent_odd_32;
	*place = (unsigned)(p - table);
	return p->pkey;
}

/* The key may come from another thread: its place here is then another's. */
EVP_PKEY_CTX **crypt_parsed_verifier(const EVP_PKEY *pkey, unsigned place)
{
	return table != NULL && table[place].pkey == pkey ? &table[place].verifier : NULL;
}

void crypt_parsed_keep(str der, EVP_PKEY *pkey, bool exponent_odd_32, unsigned *place)
{
	struct parsed *p = der.n <= DER_MOST ? place_of(der) : NULL;
	char *copy = p != NULL ? malloc(der.n) : NULL;

	if (copy == NULL)
		return;
	if (EVP_PKEY_up_ref(pkey) != 1) {
		free(copy);
		return;
	}
	memcpy(copy, der.p, der.n);
	drop(p);
	*p = (struct parsed){ pkey, NULL, exponent_odd_32, copy, der.n };
	*place = (unsigned)(p - table);
}
