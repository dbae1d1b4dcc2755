/* SPDX-License-Identifier: ISC */
/*
 * tls_client: the outbound side of TLS.
 *
 * The context in use is found by one atomic pointer; a new list of authorities
 * makes a new one, and the old ones stay until tls_client_free, as with a
 * server's certificates.  Verification always runs and never ends a handshake:
 * OpenSSL keeps its result, tls_judge tells it, and whoever dialled decides
 * before anything is said.  Any loop.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/tls_inside.h"

#define NAME_ROOM 256

struct tls_context {
	struct tls_context *older;
	SSL_CTX            *ctx;
};

struct tls_client {
	_Atomic(struct tls_context *) now;
	char            *trusted;      /* the file, and what it was when it was read */
	struct tls_stamp stamp;
};

/* ---- contexts --------------------------------------------------------------------- */

/* Mail to a server with old cryptography goes out encrypted all the same: the
 * alternative is clear text (RFC 7435). */
#define CLIENT_CIPHERS                                                                      \
	"ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:DHE+AESGCM:DHE+CHACHA20:DHE+AES:RSA+AESGCM:" \
	"RSA+AES:!aNULL:!PSK:!SRP:@SECLEVEL=1"

static bool set_up(SSL_CTX *ctx)
{
	if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, CLIENT_CIPHERS) != 1 || SSL_CTX_dane_enable(ctx) != 1)
		return false;
	/* RFC 7672 3.1.1: a DANE-EE record speaks for the key, whatever its names. */
	SSL_CTX_dane_set_flags(ctx, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	                                 SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_LEGACY_SERVER_CONNECT);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	return true;
}

static struct tls_context *context_new(void)
{
	struct tls_context *x = calloc(1, sizeof(*x));
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (x == NULL || ctx == NULL || !set_up(ctx)) {
		SSL_CTX_free(ctx);
		free(x);
		ERR_clear_error();
		return NULL;
	}
	x->ctx = ctx;
	return x;
}

struct tls_client *tls_client_new(void)
{
	struct tls_client *c = calloc(1, sizeof(*c));
	struct tls_context *x = context_new();

	tls_ignore_sigpipe();
	if (c == NULL || x == NULL) {
		if (x != NULL)
			SSL_CTX_free(x->ctx);
		free(x);
		free(c);
		return NULL;
	}
	atomic_store(&c->now, x);
	return c;
}

void tls_client_free(struct tls_client *c)
{
	struct tls_context *older;

	if (c == NULL)
		return;
	for (struct tls_context *x = atomic_load(&c->now); x != NULL; x = older) {
		older = x->older;
		SSL_CTX_free(x->ctx);
		free(x);
	}
	free(c->trusted);
	free(c);
}

static bool load_authorities(struct tls_context *x, const char *path, char why[static TLS_WHY])
{
	memcpy(why, "no memory", sizeof("no memory"));
	if (x == NULL || path == NULL)
		return false;
	if ((*path == '\0' ? SSL_CTX_set_default_verify_paths(x->ctx) : SSL_CTX_load_verify_file(x->ctx, path)) == 1)
		return true;
	tls_reason(why, TLS_WHY);
	return false;
}

static int open_plainly(str path)
{
	char text[4096];

	if (path.n >= sizeof(text)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(text, path.p, path.n);
	text[path.n] = '\0';
	return open(text, O_RDONLY | O_CLOEXEC);
}

/* Contexts stay for ever, so none is made for nothing. */
static bool is_trusted(const struct tls_client *c, str file, const struct tls_stamp *stamp)
{
	return c->trusted != NULL && str_is(file, c->trusted) && tls_stamp_eq(&c->stamp, stamp);
}

bool tls_client_trust(struct tls_client *c, str file, struct arena *why_arena, str *why)
{
	struct tls_stamp stamp = { 0 };
	struct tls_context *x;
	char text[TLS_WHY], *path;

	if ((file.n == 0 || tls_stamp_read(open_plainly, file, &stamp)) && is_trusted(c, file, &stamp))
		return true;
	x = context_new();
	path = strndup(file.n > 0 ? file.p : "", file.n);
	if (load_authorities(x, path, text)) {
		x->older = atomic_load_explicit(&c->now, memory_order_relaxed);
		atomic_store_explicit(&c->now, x, memory_order_release);
		free(c->trusted);
		c->trusted = path;
		c->stamp = stamp;
		return true;
	}
	*why = arena_printf(why_arena, "%.*s: %s", STR_ARG(file), text);
	if (x != NULL)
		SSL_CTX_free(x->ctx);
	free(x);
	free(path);
	ERR_clear_error();
	return false;
}

/* ---- one connection ----------------------------------------------------------------- */

static bool is_address(const char *name)
{
	unsigned char bytes[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

/* A host name without the root's dot, terminated; false: it is none. */
static bool name_of(str given, char name[static NAME_ROOM])
{
	size_t n = given.n;

	if (n > 0 && given.p[n - 1] == '.')
		n--;
	if (n == 0 || n >= NAME_ROOM || memchr(given.p, 0, n) != NULL)
		return false;
	memcpy(name, given.p, n);
	name[n] = '\0';
	return true;
}

/* The name to verify, and for SNI; an address is never sent as SNI (RFC 6066 3). */
static bool expect_name(SSL *ssl, str given)
{
	char name[NAME_ROOM];

	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (!name_of(given, name))
		return given.n == 0 || str_is(given, ".");
	if (is_address(name))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

static SSL *ssl_new(struct tls_client *c)
{
	SSL *ssl = SSL_new(atomic_load_explicit(&c->now, memory_order_acquire)->ctx);

	if (ssl != NULL)
		SSL_set_connect_state(ssl);
	return ssl;
}

SSL *tls_client_ssl(struct tls_client *c, const char *name)
{
	SSL *ssl = ssl_new(c);

	if (ssl == NULL || name == NULL || expect_name(ssl, str_of(name)))
		return ssl;
	SSL_free(ssl);
	return NULL;
}

static bool add_tlsa(SSL *ssl, const struct tls_tlsa *t)
{
	return SSL_dane_tlsa_add(ssl, t->usage, t->selector, t->matching, (const unsigned char *)t->data.p, t->data.n) == 1;
}

static bool expect_dane(SSL *ssl, const struct tls_expect *e)
{
	char name[NAME_ROOM];
	bool any = false;

	if (!name_of(e->name, name) || SSL_dane_enable(ssl, name) != 1)
		return false;
	for (size_t i = 0; i < e->ntlsa; i++)
		any = add_tlsa(ssl, &e->tlsa[i]) || any;
	return any;
}

static bool expect(SSL *ssl, const struct tls_expect *e)
{
	char name[NAME_ROOM];

	if (!expect_name(ssl, e->name) || (e->ntlsa > 0 && !expect_dane(ssl, e)))
		return false;
	for (size_t i = 0; i < e->others.n; i++)
		if (name_of(e->others.v[i], name) && !is_address(name) && SSL_add1_host(ssl, name) != 1)
			return false;
	return true;
}

SSL *tls_client_ssl_for(struct tls_client *c, const struct tls_expect *e)
{
	SSL *ssl = ssl_new(c);

	if (ssl == NULL || expect(ssl, e))
		return ssl;
	SSL_free(ssl);
	return NULL;
}

bool tls_tlsa_usable(struct tls_client *c, const struct tls_tlsa *t)
{
	SSL *ssl;
	bool usable;

	if (t->usage != 2 && t->usage != 3)
		return false;
	ssl = ssl_new(c);
	usable = ssl != NULL && SSL_dane_enable(ssl, "usable.invalid") == 1 && add_tlsa(ssl, t);
	SSL_free(ssl);
	ERR_clear_error();
	return usable;
}

/* ---- what came of it ------------------------------------------------------------------ */

static enum tls_fault fault_of(long result)
{
	switch (result) {
	case X509_V_OK:
		return TLS_GOOD;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return TLS_EXPIRED;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		return TLS_NOT_YET;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return TLS_OTHER_NAME;
	case X509_V_ERR_DANE_NO_MATCH:
		return TLS_NO_TLSA_MATCH;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED:
		return TLS_UNTRUSTED;
	default:
		return TLS_OTHERWISE;
	}
}

void tls_judge(const SSL *ssl, struct tls_state *s)
{
	long result = SSL_get_verify_result(ssl);

	if (SSL_get0_peer_certificate(ssl) == NULL) {
		s->fault = TLS_NO_CERTIFICATE;
		s->why = "it showed no certificate";
		return;
	}
	s->fault = fault_of(result);
	s->why = X509_verify_cert_error_string(result);
	s->verified = result == X509_V_OK;
	s->by_dane = s->verified && SSL_get0_dane_authority((SSL *)ssl, NULL, NULL) >= 0;
}
