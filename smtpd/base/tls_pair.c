/* SPDX-License-Identifier: ISC */
/*
 * tls_pair: from PEM files to a server context.
 *
 * A file is read whole through the opener (the keeper's, or open(2)), so that
 * nothing here needs the path to be readable.  Private keys are wiped from our
 * memory once OpenSSL has them; a passphrase is never asked for.  Main thread.
 */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/crypt.h"
#include "smtpd/base/tls_inside.h"

#define FILE_MAX ((size_t)4 << 20)

/* With forward secrecy only; the last two groups for peers without AEAD. */
#define CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES+SHA384:ECDHE+AES+SHA256:!aNULL:!PSK:!SRP"

/* TLS 1.3.  SHA-256 has instructions of its own on every newer CPU, SHA-384 has
 * not, and a handshake hashes much and seals little: so both sides save some
 * percent of it.  AES-128 is what RFC 8446 9.1 asks everybody to have. */
#define SUITES  "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define GROUPS  "X25519:P-256:P-384:X448:P-521"

void tls_reason(char *out, size_t room)
{
	unsigned long e = ERR_peek_error();
	const char *text = ERR_reason_error_string(e);

	if (ERR_SYSTEM_ERROR(e))
		text = strerrordesc_np(ERR_GET_REASON(e));
	snprintf(out, room, "%s", text != NULL ? text : "no reason given");
	ERR_clear_error();
}

/* ---- files ------------------------------------------------------------------- */

struct text { char *p; size_t n; };

static void text_wipe(struct text *t)
{
	if (t->p != NULL)
		crypt_wipe(t->p, t->n);
	free(t->p);
	t->p = NULL;
}

static bool same_time(struct timespec a, struct timespec b)
{
	return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool tls_stamp_eq(const struct tls_stamp *a, const struct tls_stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       same_time(a->changed, b->changed) && same_time(a->written, b->written);
}

static bool stamp_of(int fd, struct tls_stamp *out)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return false;
	*out = (struct tls_stamp){ st.st_dev, st.st_ino, st.st_size, st.st_ctim, st.st_mtim };
	return true;
}

bool tls_stamp_read(tls_open *opener, str path, struct tls_stamp *out)
{
	int fd = opener(path);
	bool ok = fd >= 0 && stamp_of(fd, out);

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool read_all(int fd, struct text *t, size_t size)
{
	if (size > FILE_MAX) {
		errno = EFBIG;
		return false;
	}
	t->p = malloc(size + 1);
	while (t->p != NULL && t->n < size) {
		ssize_t n = read(fd, t->p + t->n, size - t->n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		if (n == 0)
			break;
		t->n += (size_t)n;
	}
	return t->p != NULL;
}

static bool file_read(tls_open *opener, str path, struct text *t, struct tls_stamp *stamp, char *why)
{
	int fd = opener(path);
	bool ok = fd >= 0 && stamp_of(fd, stamp) && read_all(fd, t, (size_t)stamp->size);

	if (!ok)
		snprintf(why, TLS_WHY,
		         "%.*s cannot be read (%s): name an existing PEM file that the server may read",
		         STR_ARG(path), strerror(errno));
	if (fd >= 0)
		close(fd);
	if (!ok)
		text_wipe(t);
	return ok;
}

/* ---- certificate and key ------------------------------------------------------- */

/* Never a prompt: a server has nobody to ask. */
static int no_passphrase(char *out, int room, int writing, void *arg)
{
	(void)out, (void)room, (void)writing, (void)arg;
	return -1;
}

static bool end_of_pem(void)
{
	unsigned long e = ERR_peek_last_error();
	bool end = ERR_GET_LIB(e) == ERR_LIB_PEM && ERR_GET_REASON(e) == PEM_R_NO_START_LINE;

	ERR_clear_error();
	return end;
}

static bool use_chain(SSL_CTX *ctx, BIO *pem, str path, char *why)
{
	X509 *x = PEM_read_bio_X509_AUX(pem, NULL, no_passphrase, NULL);
	char reason[128];
	bool ok;

	if (x == NULL) {
		ERR_clear_error();
		snprintf(why, TLS_WHY,
		         "%.*s holds no PEM certificate: put the server's certificate first, then its chain",
		         STR_ARG(path));
		return false;
	}
	ok = SSL_CTX_use_certificate(ctx, x) == 1;
	X509_free(x);
	if (!ok) {
		tls_reason(reason, sizeof(reason));
		snprintf(why, TLS_WHY, "%.*s cannot be used (%s): have a stronger certificate issued",
		         STR_ARG(path), reason);
		return false;
	}
	while ((x = PEM_read_bio_X509(pem, NULL, no_passphrase, NULL)) != NULL) {
		if (SSL_CTX_add0_chain_cert(ctx, x) != 1) {
			X509_free(x);
			break;
		}
	}
	if (x == NULL && end_of_pem())
		return true;
	snprintf(why, TLS_WHY, "%.*s has a broken certificate in its chain: write the whole chain again",
	         STR_ARG(path));
	ERR_clear_error();
	return false;
}

static bool use_key(SSL_CTX *ctx, BIO *pem, const struct tls_pair *pair, char *why)
{
	EVP_PKEY *key = PEM_read_bio_PrivateKey(pem, NULL, no_passphrase, NULL);
	bool ok;

	ERR_clear_error();
	if (key == NULL) {
		snprintf(why, TLS_WHY,
		         "%.*s holds no private key that can be read without a passphrase: "
		         "write the certificate's key there as unencrypted PEM",
		         STR_ARG(pair->key));
		return false;
	}
	ok = SSL_CTX_use_PrivateKey(ctx, key) == 1 && SSL_CTX_check_private_key(ctx) == 1;
	EVP_PKEY_free(key);
	ERR_clear_error();
	if (!ok)
		snprintf(why, TLS_WHY,
		         "%.*s is not the key of %.*s: name a certificate and key that were issued together",
		         STR_ARG(pair->key), STR_ARG(pair->certificate));
	return ok;
}

static bool use_text(SSL_CTX *ctx, struct text *t, bool is_key, const struct tls_pair *pair, char *why)
{
	BIO *pem = BIO_new_mem_buf(t->p, (int)t->n);
	bool ok = false;

	if (pem == NULL)
		snprintf(why, TLS_WHY, "no memory for %.*s: try again later", STR_ARG(pair->certificate));
	else
		ok = is_key ? use_key(ctx, pem, pair, why) : use_chain(ctx, pem, pair->certificate, why);
	BIO_free(pem);
	return ok;
}

/* ---- contexts -------------------------------------------------------------------- */

/* A client certificate that does not verify does not end the handshake; the
 * result is remembered by SSL_get_verify_result. */
static int note_only(int ok, X509_STORE_CTX *ctx)
{
	(void)ok, (void)ctx;
	return 1;
}

static bool ask_client(SSL_CTX *ctx, const struct tls_ca *ca)
{
	STACK_OF(X509_NAME) *names;

	if (SSL_CTX_set_session_id_context(ctx, ca->id, sizeof(ca->id)) != 1)
		return false;
	if (ca->store == NULL)
		return true;
	names = SSL_dup_CA_list(ca->names);
	if (names == NULL)
		return false;
	SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set1_cert_store(ctx, ca->store);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, note_only);
	return true;
}

static SSL_CTX *context_new(bool minimum_13, const struct tls_ca *ca)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
	                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* Sessions live in tickets alone; one a handshake is enough for mail. */
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, 4 * 3600);
	SSL_CTX_set_num_tickets(ctx, 1);
	SSL_CTX_set_read_ahead(ctx, 1);
	tls_ticket_setup(ctx);
	if (SSL_CTX_set_min_proto_version(ctx, minimum_13 ? TLS1_3_VERSION : TLS1_2_VERSION) == 1 &&
	    SSL_CTX_set_cipher_list(ctx, CIPHERS) == 1 && SSL_CTX_set_ciphersuites(ctx, SUITES) == 1 &&
	    SSL_CTX_set1_groups_list(ctx, GROUPS) == 1 && ask_client(ctx, ca))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

SSL_CTX *tls_pair_load(tls_open *opener, const struct tls_pair *pair, bool minimum_13,
                       const struct tls_ca *ca, struct tls_stamp stamps[static 2],
                       char why[static TLS_WHY])
{
	struct text certificate = { 0 }, key = { 0 };
	SSL_CTX *ctx = context_new(minimum_13, ca);
	bool ok = false;

	if (ctx == NULL)
		tls_reason(why, TLS_WHY);
	else
		ok = file_read(opener, pair->certificate, &certificate, &stamps[0], why) &&
		     file_read(opener, pair->key, &key, &stamps[1], why) &&
		     use_text(ctx, &certificate, false, pair, why) && use_text(ctx, &key, true, pair, why);
	text_wipe(&certificate);
	text_wipe(&key);
	if (ok)
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

/* ---- authorities for client certificates ------------------------------------------ */

void tls_ca_free(struct tls_ca *ca)
{
	X509_STORE_free(ca->store);
	sk_X509_NAME_pop_free(ca->names, X509_NAME_free);
	memset(ca, 0, sizeof(*ca));
}

static bool ca_add(struct tls_ca *ca, X509 *x)
{
	X509_NAME *name = X509_NAME_dup(X509_get_subject_name(x));

	if (name == NULL || sk_X509_NAME_push(ca->names, name) <= 0) {
		X509_NAME_free(name);
		return false;
	}
	return X509_STORE_add_cert(ca->store, x) == 1;
}

/* Is the client's certificate on a list of its authority?  The lists lie beside
 * the authorities in a file that we trust, and authorities without one are fine:
 * OpenSSL's own check would refuse those. */
static int look_whether_revoked(X509_STORE_CTX *ctx)
{
	X509 *x = X509_STORE_CTX_get0_cert(ctx);
	STACK_OF(X509_CRL) *lists = x != NULL ? X509_STORE_CTX_get1_crls(ctx, X509_get_issuer_name(x)) : NULL;
	X509_REVOKED *entry;
	int ok = 1;

	for (int i = 0; ok && i < sk_X509_CRL_num(lists); i++)
		ok = X509_CRL_get0_by_cert(sk_X509_CRL_value(lists, i), &entry, x) != 1;
	sk_X509_CRL_pop_free(lists, X509_CRL_free);
	if (ok)
		return 1;
	X509_STORE_CTX_set_error(ctx, X509_V_ERR_CERT_REVOKED);
	X509_STORE_CTX_set_error_depth(ctx, 0);
	return X509_STORE_CTX_get_verify_cb(ctx)(0, ctx);
}

static bool ca_fill(struct tls_ca *ca, BIO *pem)
{
	bool ok = ca->store != NULL && ca->names != NULL && pem != NULL;
	STACK_OF(X509_INFO) *all = ok ? PEM_X509_INFO_read_bio(pem, NULL, no_passphrase, NULL) : NULL;

	ok = all != NULL;
	for (int i = 0; ok && i < sk_X509_INFO_num(all); i++) {
		const X509_INFO *info = sk_X509_INFO_value(all, i);

		if (info->x509 != NULL)
			ok = ca_add(ca, info->x509);
		if (ok && info->crl != NULL)
			ok = X509_STORE_add_crl(ca->store, info->crl) == 1;
	}
	sk_X509_INFO_pop_free(all, X509_INFO_free);
	if (ok)
		X509_STORE_set_check_revocation(ca->store, look_whether_revoked);
	return ok && sk_X509_NAME_num(ca->names) > 0;
}

bool tls_ca_load(tls_open *opener, str path, struct tls_ca *ca, struct tls_stamp *stamp,
                 char why[static TLS_WHY])
{
	struct text t = { 0 };
	BIO *pem;
	bool ok;

	memset(ca, 0, sizeof(*ca));
	if (path.n == 0)
		return true;
	if (!file_read(opener, path, &t, stamp, why))
		return false;
	digest_of(DIGEST_SHA256, (str){ t.p, t.n }, ca->id);
	ca->store = X509_STORE_new();
	ca->names = sk_X509_NAME_new_null();
	pem = BIO_new_mem_buf(t.p, (int)t.n);
	ok = ca_fill(ca, pem);
	BIO_free(pem);
	text_wipe(&t);
	ERR_clear_error();
	if (ok)
		return true;
	tls_ca_free(ca);
	snprintf(why, TLS_WHY,
	         "%.*s is no list of PEM certificates: put the authorities that sign client certificates there",
	         STR_ARG(path));
	return false;
}
