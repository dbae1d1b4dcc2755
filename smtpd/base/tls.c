/* SPDX-License-Identifier: ISC */
/*
 * tls: the set of certificates a server shows (the outbound side: tls_client.c).
 *
 * The set in use is immutable and found by one atomic pointer.  Loops load it in
 * two places, for a new connection and when the client has named its host, and
 * use it within that call only; each SSL holds its own reference to its context.
 * The main thread publishes a new set when files have changed and keeps the old
 * ones until tls_server_free: they are small, share the unchanged contexts, and
 * appear as often as certificates are renewed.  So there is no lock and nothing
 * is freed under a reader.
 */
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"
#include "smtpd/base/tls_inside.h"

struct tls_set {
	struct tls_set *older;
	size_t n;
	SSL_CTX *ctx[];                   /* a reference each, in the order of the pairs */
};

struct seen {                             /* files as they were when last read, well or not */
	struct tls_stamp stamps[2];       /* certificate, key */
	bool gone;                        /* one could not be opened, and that was said */
};

struct tls_server {
	_Atomic(struct tls_set *) now;
	struct arena     arena;           /* the rest: main thread */
	tls_open        *open;
	struct tls_pair *pairs;
	size_t           npairs;
	struct seen     *seen;
	bool             minimum_13;
	str              ca_path;
	struct tls_ca    ca;
	struct tls_stamp ca_stamp;
	bool             ca_gone;
};

void tls_ignore_sigpipe(void)
{
	struct sigaction now;

	if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
}

/* ---- choosing a certificate ------------------------------------------------------- */

static bool speaks_for(SSL_CTX *ctx, const char *name)
{
	X509 *leaf = SSL_CTX_get0_certificate(ctx);

	return X509_check_host(leaf, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

/* The first certificate that holds the name the client asked for (RFC 6066 3);
 * a client that asks for an unknown one gets the default, as mail expects. */
static int host_named(SSL *ssl, int *alert, void *arg)
{
	struct tls_server *s = arg;
	const struct tls_set *set = atomic_load_explicit(&s->now, memory_order_acquire);
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	if (name == NULL || name[0] == '\0')
		return SSL_TLSEXT_ERR_NOACK;
	for (size_t i = 0; i < set->n; i++) {
		if (!speaks_for(set->ctx[i], name))
			continue;
		SSL_set_SSL_CTX(ssl, set->ctx[i]);
		break;
	}
	ERR_clear_error();
	return SSL_TLSEXT_ERR_OK;
}

static int must_verify(int ok, X509_STORE_CTX *ctx)
{
	(void)ctx;
	return ok;
}

/* A session that began where nobody asked has no certificate and would be
 * resumed without one: where one is required, none is resumed. */
static void ask(SSL *ssl, enum tls_ask how)
{
	if (how == TLS_ASK_NONE)
		SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
	if (how != TLS_ASK_REQUIRE)
		return;
	SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, must_verify);
	SSL_set_options(ssl, SSL_OP_NO_TICKET);
	SSL_set_num_tickets(ssl, 0);
}

SSL *tls_server_ssl(struct tls_server *s, enum tls_ask how)
{
	const struct tls_set *set = atomic_load_explicit(&s->now, memory_order_acquire);
	SSL *ssl = SSL_new(set->ctx[0]);

	if (ssl == NULL)
		return NULL;
	SSL_set_accept_state(ssl);
	ask(ssl, how);
	return ssl;
}

/* ---- a client's certificate, later ---------------------------------------------------- */

/* As at the handshake: signatures, times, and whether its authority revoked it. */
static bool verifies(X509_STORE *authorities, SSL *ssl, X509 *x)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	bool good = ctx != NULL && X509_STORE_CTX_init(ctx, authorities, x, SSL_get_peer_cert_chain(ssl)) == 1 &&
	            X509_STORE_CTX_set_default(ctx, "ssl_client") == 1 && X509_verify_cert(ctx) == 1;

	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return good;
}

bool tls_client_stands(struct tls_server *s, SSL *ssl, const void **by)
{
	const struct tls_set *set = atomic_load_explicit(&s->now, memory_order_acquire);
	X509 *x = SSL_get0_peer_certificate(ssl);

	if (x == NULL)
		return true;
	if (*by == set && X509_cmp_current_time(X509_get0_notAfter(x)) > 0)
		return true;
	if (!verifies(SSL_CTX_get_cert_store(set->ctx[0]), ssl, x))
		return false;
	*by = set;
	return true;
}

/* ---- building and renewing a set ---------------------------------------------------- */

static void set_free(struct tls_set *set)
{
	for (size_t i = 0; set != NULL && i < set->n; i++)
		SSL_CTX_free(set->ctx[i]);
	free(set);
}

static struct tls_set *set_new(size_t n)
{
	struct tls_set *set = calloc(1, sizeof(*set) + n * sizeof(set->ctx[0]));

	if (set != NULL)
		set->n = n;
	return set;
}

static SSL_CTX *load(struct tls_server *s, size_t i, char *why)
{
	SSL_CTX *ctx = tls_pair_load(s->open, &s->pairs[i], s->minimum_13, &s->ca, s->seen[i].stamps, why);

	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_tlsext_servername_callback(ctx, host_named);
	SSL_CTX_set_tlsext_servername_arg(ctx, s);
	return ctx;
}

static bool load_all(struct tls_server *s, char *why)
{
	struct tls_set *set = set_new(s->npairs);

	if (set == NULL) {
		memcpy(why, "no memory", sizeof("no memory"));
		return false;
	}
	for (size_t i = 0; i < s->npairs; i++) {
		set->ctx[i] = load(s, i, why);
		if (set->ctx[i] == NULL) {
			set_free(set);
			return false;
		}
	}
	atomic_store_explicit(&s->now, set, memory_order_release);
	return true;
}

static bool copy_conf(struct tls_server *s, const struct tls_conf *conf)
{
	s->minimum_13 = conf->minimum_13;
	s->npairs = conf->npairs;
	s->ca_path = str_keep(&s->arena, conf->client_ca);
	s->pairs = ARENA_ARRAY(&s->arena, struct tls_pair, conf->npairs);
	s->seen = ARENA_ARRAY(&s->arena, struct seen, conf->npairs);
	for (size_t i = 0; i < conf->npairs && !s->arena.spent; i++) {
		s->pairs[i].certificate = str_keep(&s->arena, conf->pairs[i].certificate);
		s->pairs[i].key = str_keep(&s->arena, conf->pairs[i].key);
	}
	return !s->arena.spent;
}

struct tls_server *tls_server_new(const struct tls_conf *conf, tls_open *opener,
                                  struct arena *why_arena, str *why)
{
	struct tls_server *s = calloc(1, sizeof(*s));
	char text[TLS_WHY] = "no memory";

	*why = STR_NONE;
	if (s == NULL)
		return NULL;
	tls_ignore_sigpipe();
	tls_ticket_rotate(clock_ms());
	arena_init(&s->arena, ARENA_UNBOUNDED);
	s->open = opener;
	if (conf->npairs == 0)
		memcpy(text, "no certificate is named: set `certificate` and `key` in `tls`",
		       sizeof("no certificate is named: set `certificate` and `key` in `tls`"));
	else if (copy_conf(s, conf) && tls_ca_load(opener, s->ca_path, &s->ca, &s->ca_stamp, text) &&
	         load_all(s, text))
		return s;
	*why = arena_printf(why_arena, "%s", text);
	tls_server_free(s);
	return NULL;
}

void tls_server_free(struct tls_server *s)
{
	struct tls_set *set;

	if (s == NULL)
		return;
	set = atomic_load(&s->now);
	while (set != NULL) {
		struct tls_set *older = set->older;

		set_free(set);
		set = older;
	}
	tls_ca_free(&s->ca);
	arena_fini(&s->arena);
	free(s);
}

static void refused(str file, str why)
{
	log_event(NULL, LOG_WARN, "tls.refused", KV("file", file), KV("reason", why));
}

/* Whether one of the pair's files differs from what was last read.  A file that
 * cannot be opened is said once, until it is back. */
static bool has_changed(struct tls_server *s, size_t i)
{
	const str paths[2] = { s->pairs[i].certificate, s->pairs[i].key };
	struct seen *seen = &s->seen[i];
	bool changed = false;

	for (size_t f = 0; f < 2; f++) {
		struct tls_stamp stamp;

		if (!tls_stamp_read(s->open, paths[f], &stamp)) {
			if (!seen->gone)
				refused(paths[f], STR("it cannot be opened any more; the certificate read before stays"));
			seen->gone = true;
			return false;
		}
		changed = changed || !tls_stamp_eq(&stamp, &seen->stamps[f]);
	}
	changed = changed || seen->gone;
	seen->gone = false;
	return changed;
}

/* New authorities are in force with the contexts that are built next: all. */
static bool renew_ca(struct tls_server *s)
{
	struct tls_stamp stamp;
	struct tls_ca ca;
	char why[TLS_WHY];

	if (s->ca_path.n == 0)
		return false;
	if (!tls_stamp_read(s->open, s->ca_path, &stamp)) {
		if (!s->ca_gone)
			refused(s->ca_path, STR("it cannot be opened any more; the authorities read before stay"));
		s->ca_gone = true;
		return false;
	}
	if (tls_stamp_eq(&stamp, &s->ca_stamp) && !s->ca_gone)
		return false;
	s->ca_gone = false;
	s->ca_stamp = stamp;
	if (!tls_ca_load(s->open, s->ca_path, &ca, &s->ca_stamp, why)) {
		refused(s->ca_path, str_of(why));
		return false;
	}
	tls_ca_free(&s->ca);
	s->ca = ca;
	return true;
}

/* The pair's new context, or one more reference to its old one. */
static SSL_CTX *renew(struct tls_server *s, size_t i, SSL_CTX *old, bool must_rebuild, bool *changed)
{
	char why[TLS_WHY];
	SSL_CTX *ctx;

	if (has_changed(s, i) || (must_rebuild && !s->seen[i].gone)) {
		ctx = load(s, i, why);
		if (ctx != NULL) {
			*changed = true;
			log_event(NULL, LOG_NOTICE, "tls.renewed", KV("file", s->pairs[i].certificate));
			return ctx;
		}
		refused(s->pairs[i].certificate, str_of(why));
	}
	SSL_CTX_up_ref(old);
	return old;
}

void tls_server_look_again(struct tls_server *s)
{
	struct tls_set *old = atomic_load_explicit(&s->now, memory_order_relaxed);
	struct tls_set *set = set_new(s->npairs);
	bool new_ca, changed = false;

	tls_ticket_rotate(clock_ms());
	if (set == NULL)
		return;
	new_ca = renew_ca(s);
	for (size_t i = 0; i < s->npairs; i++)
		set->ctx[i] = renew(s, i, old->ctx[i], new_ca, &changed);
	if (!changed) {
		set_free(set);
		return;
	}
	set->older = old;
	atomic_store_explicit(&s->now, set, memory_order_release);
}
