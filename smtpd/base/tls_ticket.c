/* SPDX-License-Identifier: ISC */
/*
 * tls_ticket: the keys of session tickets, one set for the whole process.
 *
 * Every context uses them, so a ticket outlives a reload.  The main thread makes
 * a new key every 12 hours; a ticket of the key before is still good and is
 * renewed.  Loops read without a lock: the ring has four slots, of which the
 * newest two are in use, the third has just expired and is left alone for
 * whoever is still at it, and the fourth has been wiped to be written next.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <string.h>

#include "smtpd/base/crypt.h"
#include "smtpd/base/tls_inside.h"

#define SLOTS     4
#define ROTATE_MS ((uint64_t)12 * 3600 * 1000)

struct ticket_key {
	unsigned char name[16];
	unsigned char cipher[32];
	unsigned char mac[32];
};

static struct ticket_key ring[SLOTS];
static _Atomic unsigned newest;          /* counts keys made; 0: none yet */
static uint64_t made_ms;                 /* main thread */

void tls_ticket_rotate(uint64_t now_ms)
{
	unsigned next = atomic_load_explicit(&newest, memory_order_relaxed) + 1;

	if (next > 1 && now_ms - made_ms < ROTATE_MS)
		return;
	made_ms = now_ms;
	random_bytes(&ring[next % SLOTS], sizeof(ring[0]));
	if (next > 2)                    /* expired at the rotation before this one */
		crypt_wipe(&ring[(next - 3 + SLOTS) % SLOTS], sizeof(ring[0]));
	atomic_store_explicit(&newest, next, memory_order_release);
}

/* The key of that name, and whether it is the newest; NULL: none of ours. */
static const struct ticket_key *find(const unsigned char *name, bool *is_newest)
{
	unsigned n = atomic_load_explicit(&newest, memory_order_acquire);

	for (unsigned age = 0; age < 2 && age < n; age++) {
		const struct ticket_key *k = &ring[(n - age) % SLOTS];

		if (crypt_equal(k->name, name, sizeof(k->name))) {
			*is_newest = age == 0;
			return k;
		}
	}
	return NULL;
}

static bool set_mac(EVP_MAC_CTX *mac, const struct ticket_key *k)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)k->mac, sizeof(k->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* 1: go on, 2: go on and renew the ticket, 0: unknown key, -1: failure. */
static int ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                      EVP_MAC_CTX *mac, int sealing)
{
	const struct ticket_key *k;
	bool is_newest = true;

	if (sealing) {
		k = &ring[atomic_load_explicit(&newest, memory_order_acquire) % SLOTS];
		memcpy(name, k->name, sizeof(k->name));
		random_bytes(iv, 16);
		if (EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv) != 1)
			return -1;
	} else {
		k = find(name, &is_newest);
		if (k == NULL)
			return 0;
		if (EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv) != 1)
			return -1;
	}
	if (!set_mac(mac, k))
		return -1;
	/* A TLS 1.3 ticket serves once (RFC 8446 C.4): the next comes with it. */
	return is_newest && (sealing || SSL_version(ssl) != TLS1_3_VERSION) ? 1 : 2;
}

/* A resumed session brings its client's certificate unasked: one that has
 * expired since takes a whole handshake, which says so.  (A revoked one does as
 * well: the authorities' id changes with their list.) */
static SSL_TICKET_RETURN ticket_fits(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                     size_t n, SSL_TICKET_STATUS status, void *arg)
{
	X509 *x = session != NULL ? SSL_SESSION_get0_peer(session) : NULL;

	(void)ssl, (void)name, (void)n, (void)arg;
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	if (x != NULL && X509_cmp_current_time(X509_get0_notAfter(x)) <= 0)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

void tls_ticket_setup(SSL_CTX *ctx)
{
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key);
	SSL_CTX_set_session_ticket_cb(ctx, NULL, ticket_fits, NULL);
}
