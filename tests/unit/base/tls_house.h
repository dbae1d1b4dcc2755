/* SPDX-License-Identifier: ISC */
/*
 * tls_house: what the tests of tls share: certificates in a folder of their own,
 * a server that has them, and a client whose every step the test takes itself.
 */
#ifndef TEST_BASE_TLS_HOUSE_H
#define TEST_BASE_TLS_HOUSE_H

#include "tests/unit/base/wire.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/keeper.h"
#include "smtpd/base/log.h"
#include "smtpd/base/tls_inside.h"

static struct loop *l;
static char dir[64];
static struct arena arena;

/* ---- files and servers --------------------------------------------------------------- */

/* Several in one expression: each call has a buffer of its own. */
UNUSED static const char *at(const char *name)
{
	static char paths[8][128];
	static unsigned turn_of;
	char *path = paths[turn_of++ % COUNT(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

UNUSED static void put_file(const char *name, const char *text, size_t n)
{
	char temporary[160];
	int fd;

	snprintf(temporary, sizeof(temporary), "%s.new", at(name));
	fd = open(temporary, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_int_equal(write(fd, text, n), (ssize_t)n);
	close(fd);
	assert_int_equal(rename(temporary, at(name)), 0);
}

UNUSED static void make_pair(const char *cert, const char *key, const char *const names[], size_t n)
{
	char *c, *k;

	assert_int_equal(tls_self_signed(names, n, 7, &c, &k), OK);
	put_file(cert, c, strlen(c));
	put_file(key, k, strlen(k));
	free(c);
	free(k);
}

UNUSED static void make_one(const char *stem, const char *name)
{
	char cert[32], key[32];

	snprintf(cert, sizeof(cert), "%s.pem", stem);
	snprintf(key, sizeof(key), "%s.key", stem);
	make_pair(cert, key, &name, 1);
}

UNUSED static struct tls_server *serve_conf(size_t n, const char *const stems[], bool minimum_13, const char *ca)
{
	struct tls_pair pairs[4];
	char text[8][128];
	struct tls_conf conf = { .pairs = pairs, .npairs = n, .minimum_13 = minimum_13 };
	struct tls_server *s;
	str why;

	for (size_t i = 0; i < n; i++) {
		snprintf(text[2 * i], sizeof(text[0]), "%s/%s.pem", dir, stems[i]);
		snprintf(text[2 * i + 1], sizeof(text[0]), "%s/%s.key", dir, stems[i]);
		pairs[i] = (struct tls_pair){ str_of(text[2 * i]), str_of(text[2 * i + 1]) };
	}
	if (ca != NULL)
		conf.client_ca = str_of(at(ca));
	s = tls_server_new(&conf, keeper_open, &arena, &why);
	if (s == NULL)
		fail_msg("%.*s", STR_ARG(why));
	return s;
}

UNUSED static struct tls_server *serve(const char *stem)
{
	return serve_conf(1, &stem, false, NULL);
}

UNUSED static int house_begin(void)
{
	snprintf(dir, sizeof(dir), "/tmp/tls_test.XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	crypt_setup();
	log_level_set(LOG_ERROR);
	arena_init(&arena, ARENA_UNBOUNDED);
	l = loop_new(0, NULL);
	return l != NULL ? 0 : -1;
}

UNUSED static int house_end(void)
{
	char command[128];

	loop_free(l);
	arena_fini(&arena);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

/* ---- a bare client ---------------------------------------------------------------------- */

struct bare {
	SSL_CTX *ctx;
	SSL *ssl;
	SSL_SESSION *session;
	int fd;
};

UNUSED static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct bare *b = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(b->session);
	b->session = session;
	return 1;
}

/* version: the highest that it knows, 0 for all. */
UNUSED static void bare_init(struct bare *b, int version)
{
	memset(b, 0, sizeof(*b));
	b->ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(b->ctx, version);
	SSL_CTX_set_session_cache_mode(b->ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(b->ctx, keep_session);
	SSL_CTX_set_app_data(b->ctx, b);
}

/* It has STEM.pem to show. */
UNUSED static void bare_certificate(struct bare *b, const char *stem)
{
	char file[32];

	snprintf(file, sizeof(file), "%s.pem", stem);
	assert_int_equal(SSL_CTX_use_certificate_file(b->ctx, at(file), SSL_FILETYPE_PEM), 1);
	snprintf(file, sizeof(file), "%s.key", stem);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(b->ctx, at(file), SSL_FILETYPE_PEM), 1);
}

/* About to shake hands with s, whose side is `a`; resumes b->session if there is one. */
UNUSED static void bare_begin(struct bare *b, struct side *a, struct tls_server *s)
{
	SSL_SESSION *old = b->session;
	int fds[2];

	b->session = NULL;
	pair_of_fds(fds);
	side_open(a, l, fds[0]);
	conn_secure_server(a->c, s);
	b->fd = fds[1];
	b->ssl = SSL_new(b->ctx);
	SSL_set_fd(b->ssl, b->fd);
	SSL_set_connect_state(b->ssl);
	if (old != NULL)
		SSL_set_session(b->ssl, old);
	SSL_SESSION_free(old);
}

UNUSED static void bare_close(struct bare *b)
{
	/* A session that ended without a shutdown would not be offered again. */
	SSL_set_shutdown(b->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(b->ssl);
	close(b->fd);
}

UNUSED static void bare_fini(struct bare *b)
{
	SSL_SESSION_free(b->session);
	SSL_CTX_free(b->ctx);
}

#endif
