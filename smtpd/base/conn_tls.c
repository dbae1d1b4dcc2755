/* SPDX-License-Identifier: ISC */
/*
 * conn_tls: a connection's talk with OpenSSL.
 *
 * OpenSSL reads and writes the socket itself; this file turns its answers into
 * the flags that conn_flow waits by.  A read may have to write and the other
 * way round.  After a fatal answer the SSL is not asked again.  Idle, it holds
 * no record buffers (SSL_MODE_RELEASE_BUFFERS).  Loop thread only.
 */
#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "smtpd/base/conn_inside.h"
#include "smtpd/base/tls_inside.h"

#define BINDING_LABEL "EXPORTER-Channel-Binding"   /* RFC 9266 2 */
#define BINDING_BYTES 32

static void because(struct conn_tls *t, const char *what, const char *detail)
{
	free(t->why);
	if (asprintf(&t->why, "%s: %s", what, detail) < 0)
		t->why = NULL;
}

static void record_failed(struct conn_tls *t)
{
	char reason[128];

	tls_reason(reason, sizeof(reason));
	because(t, "the TLS connection broke", reason);
}

static void fail(struct conn *c, const char *what, const char *detail)
{
	because(c->tls, what, detail);
	conn_doom(c, CONN_TLS_FAILED, EPROTO);
}

/* ---- the beginning --------------------------------------------------------- */

static struct conn_tls *attach(struct conn *c)
{
	struct conn_tls *t;

	if (conn_stopped(c) || c->leaving)
		return NULL;
	must(c->tls == NULL);
	t = calloc(1, sizeof(*t));
	if (t == NULL) {
		conn_doom(c, CONN_TLS_FAILED, ENOMEM);
		return NULL;
	}
	t->clear = c->out.n;
	c->tls = t;
	conn_wake(c);
	return t;
}

void conn_secure_server(struct conn *c, struct tls_server *server)
{
	struct conn_tls *t = attach(c);

	if (t != NULL)
		t->server = server;
}

void conn_ask_client(struct conn *c, enum tls_ask ask)
{
	if (c->tls != NULL && c->tls->server != NULL)
		c->tls->ask = ask;
}

void conn_secure_client(struct conn *c, struct tls_client *client, const char *server_name)
{
	struct conn_tls *t = attach(c);

	if (t == NULL)
		return;
	t->client = client;
	if (server_name == NULL)
		return;
	t->name = strdup(server_name);
	if (t->name == NULL)
		conn_doom(c, CONN_TLS_FAILED, ENOMEM);
}

void conn_secure_expecting(struct conn *c, struct tls_client *client, const struct tls_expect *expect)
{
	struct conn_tls *t = attach(c);

	if (t == NULL)
		return;
	t->client = client;
	t->expect = expect;
}

void conn_tls_free(struct conn *c)
{
	if (c->tls == NULL)
		return;
	SSL_free(c->tls->ssl);
	free(c->tls->name);
	free(c->tls->why);
	free(c->tls);
	c->tls = NULL;
}

static SSL *ssl_for(const struct conn_tls *t)
{
	if (t->server != NULL)
		return tls_server_ssl(t->server, t->ask);
	return t->expect != NULL ? tls_client_ssl_for(t->client, t->expect) : tls_client_ssl(t->client, t->name);
}

static bool start(struct conn *c)
{
	struct conn_tls *t = c->tls;

	/* Bytes sent ahead of the handshake would count as sent under it: the
	 * injection attack on STARTTLS. */
	if (c->in.n > 0) {
		fail(c, "TLS was not started", "the peer sent clear text ahead of it");
		return false;
	}
	t->ssl = ssl_for(t);
	t->expect = NULL;
	if (t->ssl == NULL || SSL_set_fd(t->ssl, c->fd) != 1) {
		fail(c, "TLS was not started", "no memory");
		return false;
	}
	t->phase = TLS_SHAKING;
	t->wants = EV_READ;
	return true;
}

static void shake_failed(struct conn *c, int answer, int errnum)
{
	char reason[128];

	if (answer == SSL_ERROR_SSL && ERR_peek_error() != 0) {
		tls_reason(reason, sizeof(reason));
		fail(c, "the TLS handshake failed", reason);
	} else if (answer == SSL_ERROR_SYSCALL && errnum != 0) {
		fail(c, "the TLS handshake failed", strerrordesc_np(errnum));
	} else {
		fail(c, "the TLS handshake failed", "the peer closed the connection");
	}
}

static bool shake(struct conn *c)
{
	struct conn_tls *t = c->tls;
	int r, answer;

	ERR_clear_error();
	errno = 0;
	r = SSL_do_handshake(t->ssl);
	if (r == 1) {
		t->phase = TLS_ON;
		return true;
	}
	answer = SSL_get_error(t->ssl, r);
	if (answer == SSL_ERROR_WANT_READ)
		t->wants = EV_READ;
	else if (answer == SSL_ERROR_WANT_WRITE)
		t->wants = EV_WRITE;
	else
		shake_failed(c, answer, errno);
	return false;
}

bool conn_tls_step(struct conn *c)
{
	struct conn_tls *t = c->tls;

	if (t->phase == TLS_WAITING && (t->clear > 0 || !start(c)))
		return false;
	return t->phase == TLS_SHAKING && shake(c);
}

/* ---- records ---------------------------------------------------------------- */

/* What a failed read means.  With bytes in hand an end waits for the next read,
 * so that they are shown first, however long that takes. */
static void read_stopped(struct conn *c, int answer, int errnum, bool bytes_in_hand)
{
	struct conn_tls *t = c->tls;

	switch (answer) {
	case SSL_ERROR_WANT_WRITE:
		t->read_wants_write = true;
		/* fall through */
	case SSL_ERROR_WANT_READ:
		c->look = false;
		if (c->broken != 0 && !bytes_in_hand)
			conn_doom(c, CONN_RESET, c->broken);
		return;
	case SSL_ERROR_ZERO_RETURN:      /* close_notify, or a bare end of file */
		t->stopped_how = c->broken != 0 ? CONN_RESET : CONN_EOF;
		t->stopped_errno = c->broken;
		break;
	case SSL_ERROR_SYSCALL:
		t->stopped_how = errnum != 0 ? CONN_RESET : CONN_EOF;
		t->stopped_errno = errnum;
		break;
	default:
		t->stopped_how = CONN_TLS_FAILED;
		t->stopped_errno = EPROTO;
		record_failed(t);
	}
	t->stopped = true;
}

/* As SSL_get_error wants it.  Rarely is there anything to clear, and OpenSSL
 * takes its time even then. */
static void forget_errors(void)
{
	if (ERR_peek_error() != 0)
		ERR_clear_error();
	errno = 0;
}

size_t conn_tls_read(struct conn *c, char *p, size_t room)
{
	struct conn_tls *t = c->tls;
	size_t have = 0, n;

	t->read_wants_write = false;
	while (!t->stopped && have < room) {
		forget_errors();
		if (SSL_read_ex(t->ssl, p + have, room - have, &n) != 1) {
			int errnum = errno;

			read_stopped(c, SSL_get_error(t->ssl, 0), errnum, have > 0);
			break;
		}
		have += n;
		/* All that the socket gave is used: it reports what is to come. */
		if (c->broken == 0 && SSL_has_pending(t->ssl) == 0) {
			c->look = false;
			break;
		}
	}
	if (t->stopped && have == 0) {
		c->look = false;
		conn_doom(c, t->stopped_how, t->stopped_errno);
	}
	return have;
}

size_t conn_tls_write(struct conn *c, str s)
{
	struct conn_tls *t = c->tls;
	size_t n = 0;
	int errnum;

	t->write_wants_read = false;
	if (t->stopped && t->stopped_how != CONN_EOF)
		return 0;                /* the coming read tells */
	forget_errors();
	if (SSL_write_ex(t->ssl, s.p, s.n, &n) == 1)
		return n;
	errnum = errno;
	switch (SSL_get_error(t->ssl, 0)) {
	case SSL_ERROR_WANT_READ:
		t->write_wants_read = true;
		/* fall through */
	case SSL_ERROR_WANT_WRITE:
		c->blocked = true;
		break;
	case SSL_ERROR_SSL:
		record_failed(t);
		conn_doom(c, CONN_TLS_FAILED, EPROTO);
		break;
	default:
		conn_write_broke(c, errnum != 0 ? errnum : EPIPE);
	}
	return 0;
}

size_t conn_tls_buffered(const struct conn *c)
{
	if (c->tls == NULL || c->tls->phase != TLS_ON)
		return 0;
	return (size_t)SSL_pending(c->tls->ssl);
}

void conn_tls_bye(struct conn *c)
{
	struct conn_tls *t = c->tls;

	if (t == NULL || t->phase != TLS_ON || (t->stopped && t->stopped_how != CONN_EOF))
		return;
	ERR_clear_error();
	(void)SSL_shutdown(t->ssl);
	ERR_clear_error();
}

/* ---- what was negotiated ----------------------------------------------------- */

struct tls_state conn_tls(const struct conn *c)
{
	struct tls_state s = { 0 };
	const SSL *ssl;

	if (c->tls == NULL || c->tls->phase != TLS_ON)
		return s;
	ssl = c->tls->ssl;
	s.on = true;
	s.version = str_of(SSL_get_version(ssl));
	s.cipher = str_of(SSL_get_cipher_name(ssl));
	s.bits = (unsigned)SSL_get_cipher_bits(ssl, NULL);
	s.sni = str_of(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name));
	if (c->tls->client != NULL)
		tls_judge(ssl, &s);
	else if (SSL_get0_peer_certificate(ssl) != NULL && SSL_get_verify_result(ssl) == X509_V_OK)
		s.client_cert = c->tls->ask != TLS_ASK_NONE;
	return s;
}

void conn_tls_names(const struct conn *c, unsigned which, struct arena *a, struct strs *out)
{
	*out = (struct strs){ 0 };
	if (conn_tls(c).client_cert)
		tls_names_of(SSL_get0_peer_certificate(c->tls->ssl), which, a, out);
}

bool conn_tls_client_stands(const struct conn *c, struct tls_server *now)
{
	return now == NULL || !conn_tls(c).client_cert || tls_client_stands(now, c->tls->ssl, &c->tls->stood_under);
}

/* tls-unique (RFC 5929 3): the first Finished of the handshake, the client's
 * unless it was resumed.  Unsafe without the extended master secret (RFC 7627). */
static size_t first_finished(const SSL *ssl, unsigned char *out, size_t room)
{
	bool ours = (SSL_is_server(ssl) != 0) == (SSL_session_reused(ssl) != 0);
	size_t n;

	if (SSL_get_extms_support((SSL *)ssl) != 1)
		return 0;
	n = ours ? SSL_get_finished(ssl, out, room) : SSL_get_peer_finished(ssl, out, room);
	return out == NULL || n <= room ? n : 0;
}

size_t conn_tls_binding(const struct conn *c, unsigned char *out, size_t room, const char **type)
{
	SSL *ssl;

	if (c->tls == NULL || c->tls->phase != TLS_ON)
		return 0;
	ssl = c->tls->ssl;
	if (SSL_version(ssl) != TLS1_3_VERSION) {
		*type = "tls-unique";
		return first_finished(ssl, out, room);
	}
	*type = "tls-exporter";
	if (out == NULL)
		return BINDING_BYTES;
	if (room < BINDING_BYTES ||
	    SSL_export_keying_material(ssl, out, BINDING_BYTES, BINDING_LABEL, sizeof(BINDING_LABEL) - 1,
	                               (const unsigned char *)"", 0, 1) != 1)
		return 0;
	return BINDING_BYTES;
}
