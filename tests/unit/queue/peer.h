/* SPDX-License-Identifier: ISC */
/*
 * A mail server that does as it is told, well or badly: on a loop and thread of
 * its own, on a port that the kernel chose.  Answers come from a script; what
 * it was sent is kept.
 */
#ifndef TESTS_QUEUE_PEER_H
#define TESTS_QUEUE_PEER_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/conn.h"
#include "smtpd/mail/dot.h"

enum step { STEP_BANNER, STEP_EHLO, STEP_EHLO_TLS, STEP_HELO, STEP_STARTTLS, STEP_MAIL, STEP_RCPT, STEP_DATA, STEP_FINAL, STEP_RSET, STEPS };

/* What is sent at a step, CRLF added; NULL: the usual.  "drop" closes the
 * connection, "half TEXT" sends TEXT and closes, "raw TEXT" sends just that;
 * "flood" sends lines without end. */
struct script {
	const char *at[STEPS];
	bool        lmtp;
	const char *drop_in_body;    /* "" closes after the first octets of a message; else is said first */
	unsigned    after;           /* connections from this one on (0: all) follow the script */
	bool        broken_tls;      /* answers the handshake with noise */
};

struct peer {
	struct script      script;
	struct loop       *loop;
	pthread_t          thread;
	struct loop_io     io;
	int                fd;
	uint16_t           port;
	struct tls_server *tls;
	pthread_mutex_t    lock;
	struct buf         said;         /* every command line, "|" between */
	struct buf         mail;         /* every message, dots undone; "\f" behind each */
	_Atomic unsigned   connections, messages, secured;
	struct peer_side  *sides;
};

struct peer_side {
	struct peer      *peer;
	struct conn      *conn;
	struct peer_side *next;
	struct dot        dot;
	bool              in_data, scripted, deaf;
	unsigned          rcpts;         /* accepted */
};

/* ---- what it says ---------------------------------------------------------------- */

static const char *const peer_usual[STEPS] = {
	[STEP_BANNER] = "220 peer.test ESMTP", [STEP_EHLO] = "250-peer.test\r\n250-8BITMIME\r\n250-SIZE 1000000\r\n250 PIPELINING",
	[STEP_EHLO_TLS] = "250-peer.test\r\n250 PIPELINING", [STEP_HELO] = "250 peer.test", [STEP_STARTTLS] = "220 2.0.0 go",
	[STEP_MAIL] = "250 2.1.0 ok", [STEP_RCPT] = "250 2.1.5 ok", [STEP_DATA] = "354 go on", [STEP_FINAL] = "250 2.0.0 taken",
	[STEP_RSET] = "250 2.0.0 flushed",
};

static void peer_leave(struct peer_side *s)
{
	s->deaf = true;
	conn_close_politely(s->conn);
	s->conn = NULL;
}

static const char *peer_answer(struct peer_side *s, enum step step)
{
	const char *scripted = s->scripted ? __atomic_load_n(&s->peer->script.at[step], __ATOMIC_ACQUIRE) : NULL;

	return scripted != NULL ? scripted : peer_usual[step];
}

static void peer_say_text(struct peer_side *s, const char *text)
{
	if (s->deaf)
		return;
	if (strcmp(text, "drop") == 0) {
		peer_leave(s);
	} else if (strncmp(text, "half ", 5) == 0) {
		conn_write(s->conn, str_of(text + 5));
		peer_leave(s);
	} else if (strncmp(text, "raw ", 4) == 0) {
		conn_write(s->conn, str_of(text + 4));
	} else if (strcmp(text, "flood") == 0) {
		for (int i = 0; i < 4000; i++)
			conn_write(s->conn, STR("220-and more and more and more\r\n"));
	} else {
		conn_writef(s->conn, "%s\r\n", text);
		if (strncmp(text, "421", 3) == 0)
			peer_leave(s);
	}
}

static void peer_say(struct peer_side *s, enum step step)
{
	peer_say_text(s, peer_answer(s, step));
}

/* ---- what it hears ----------------------------------------------------------------- */

static void peer_note(struct peer *p, struct buf *b, str s, const char *end)
{
	pthread_mutex_lock(&p->lock);
	buf_add(b, s);
	buf_add(b, str_of(end));
	pthread_mutex_unlock(&p->lock);
}

/* Recipients whose name begins with a code are answered with it. */
static void peer_rcpt(struct peer_side *s, str line)
{
	str name = str_skip(line, str_find(line, '<') + 1);
	uint32_t code = 250;

	if (peer_answer(s, STEP_RCPT) != peer_usual[STEP_RCPT]) {
		const char *a = peer_answer(s, STEP_RCPT);

		s->rcpts += a[0] == '2';
		peer_say(s, STEP_RCPT);
		return;
	}
	if (str_to_u32(str_head(name, 3), &code) && code >= 400) {
		conn_writef(s->conn, "%u %u.1.1 as you wish\r\n", code, code / 100);
		return;
	}
	if (str_starts(name, "max3") && s->rcpts >= 3) {
		conn_write(s->conn, STR("452 4.5.3 too many recipients\r\n"));
		return;
	}
	s->rcpts++;
	peer_say(s, STEP_RCPT);
}

static void peer_command(struct peer_side *s, str line)
{
	static const struct { const char *verb; enum step step; } verbs[] = {
		{ "HELO", STEP_HELO }, { "MAIL", STEP_MAIL }, { "RSET", STEP_RSET },
	};
	struct peer *p = s->peer;

	peer_note(p, &p->said, line, "|");
	if (str_starts(line, "EHLO") || str_starts(line, "LHLO")) {
		if (conn_tls(s->conn).on)
			p->secured++;
		peer_say(s, conn_tls(s->conn).on ? STEP_EHLO_TLS : STEP_EHLO);
	} else if (str_starts(line, "RCPT")) {
		peer_rcpt(s, line);
	} else if (str_starts(line, "STARTTLS")) {
		peer_say(s, STEP_STARTTLS);
		if (!s->deaf && peer_answer(s, STEP_STARTTLS)[0] == '2' && !p->script.broken_tls)
			conn_secure_server(s->conn, p->tls);
	} else if (str_starts(line, "DATA")) {
		peer_say(s, STEP_DATA);
		s->in_data = peer_answer(s, STEP_DATA)[0] == '3';
		dot_init(&s->dot, false);
	} else if (str_starts(line, "QUIT")) {
		conn_write(s->conn, STR("221 2.0.0 bye\r\n"));
		peer_leave(s);
	} else {
		for (size_t i = 0; i < COUNT(verbs); i++)
			if (str_starts(line, verbs[i].verb)) {
				s->rcpts = 0;
				peer_say(s, verbs[i].step);
				return;
			}
		if (p->script.broken_tls)
			peer_say_text(s, "raw nonsense that is no TLS record at all\r\n");
	}
}

static void peer_message_ended(struct peer_side *s)
{
	struct peer *p = s->peer;
	unsigned n = p->script.lmtp ? s->rcpts : 1;

	s->in_data = false;
	peer_note(p, &p->mail, STR("\f"), "");
	p->messages += s->rcpts > 0;
	for (unsigned i = 0; i < n && !s->deaf; i++) {
		const char *second = strchr(peer_answer(s, STEP_FINAL), '/');

		/* "250 a/550 b": LMTP's second recipient hears the other. */
		if (second != NULL && i == 1)
			peer_say_text(s, second + 1);
		else if (second != NULL)
			conn_writef(s->conn, "%.*s\r\n", (int)(second - peer_answer(s, STEP_FINAL)), peer_answer(s, STEP_FINAL));
		else
			peer_say(s, STEP_FINAL);
	}
	s->rcpts = 0;
}

static size_t peer_data(struct peer_side *s, str in)
{
	str rest = in;

	if (s->peer->script.drop_in_body != NULL && s->scripted) {
		if (s->peer->script.drop_in_body[0] != '\0')
			conn_writef(s->conn, "%s\r\n", s->peer->script.drop_in_body);
		peer_leave(s);
		return in.n;
	}
	while (rest.n > 0 && !s->dot.done) {
		str piece = dot_next(&s->dot, &rest);

		peer_note(s->peer, &s->peer->mail, piece, "");
	}
	if (s->dot.done)
		peer_message_ended(s);
	return in.n - rest.n;
}

static size_t peer_bytes(struct conn *c, str in)
{
	struct peer_side *s = conn_user(c);
	size_t used = 0;

	while (used < in.n && !s->deaf) {
		str rest = str_skip(in, used);
		size_t lf = str_find(rest, '\n');

		if (s->in_data) {
			used += peer_data(s, rest);
			continue;
		}
		if (lf == rest.n)
			break;
		used += lf + 1;
		peer_command(s, str_trim(str_head(rest, lf)));
		if (!s->deaf && str_starts_nocase(rest, "STARTTLS"))
			break;
	}
	return s->deaf ? in.n : used;
}

static void peer_ended(struct conn *c, enum conn_end how)
{
	struct peer_side *s = conn_user(c);

	(void)how;
	conn_close(c);
	s->conn = NULL;
	s->deaf = true;
}

static const struct conn_events peer_events = { .bytes = peer_bytes, .ended = peer_ended };

static void peer_accept(struct loop_io *io, int events)
{
	struct peer *p = SUPER(io, struct peer, io);
	int fd = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct peer_side *s;

	(void)events;
	if (fd < 0)
		return;
	s = calloc(1, sizeof(*s));
	s->peer = p;
	s->scripted = ++p->connections > p->script.after;
	s->next = p->sides;
	p->sides = s;
	s->conn = conn_open(p->loop, fd, &peer_events, s);
	peer_say(s, STEP_BANNER);
}

/* ---- its life ------------------------------------------------------------------------- */

static char *peer_pem[2];

static int peer_open_pem(str path)
{
	const char *text = peer_pem[str_is(path, "key")];
	int fd = memfd_create("pem", MFD_CLOEXEC);

	if (write(fd, text, strlen(text)) < 0)
		abort();
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static inline void peer_tls(struct peer *p)
{
	static const char *const names[] = { "peer.test" };
	struct tls_pair pair = { STR("cert"), STR("key") };
	struct tls_conf conf = { .pairs = &pair, .npairs = 1 };
	str why;

	if (peer_pem[0] == NULL && tls_self_signed(names, 1, 1, &peer_pem[0], &peer_pem[1]) != OK)
		abort();
	p->tls = tls_server_new(&conf, peer_open_pem, NULL, &why);
}

static void *peer_run(void *arg)
{
	struct loop *loop = ((struct peer *)arg)->loop;

	loop_run(loop);
	conn_leave_now(loop);          /* who said QUIT in the last turn */
	return NULL;
}

static inline void peer_start(struct peer *p, const struct script *script, bool tls)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);

	memset(p, 0, sizeof(*p));
	if (script != NULL)
		p->script = *script;
	pthread_mutex_init(&p->lock, NULL);
	buf_init(&p->said, BUF_UNBOUNDED);
	buf_init(&p->mail, BUF_UNBOUNDED);
	p->loop = loop_new(9, NULL);
	if (tls)
		peer_tls(p);
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (bind(p->fd, (struct sockaddr *)&at, n) != 0 || listen(p->fd, 64) != 0 ||
	    getsockname(p->fd, (struct sockaddr *)&at, &n) != 0)
		abort();
	p->port = ntohs(at.sin_port);
	loop_io_init(&p->io, p->loop, "peer", p->fd, peer_accept);
	loop_io_want(&p->io, EV_READ);
	pthread_create(&p->thread, NULL, peer_run, p);
}

struct peer_end { struct baton baton; struct peer *peer; };

static void peer_end_came(struct baton *b)
{
	struct loop *loop = SUPER(b, struct peer_end, baton)->peer->loop;

	conn_leave_now(loop);
	loop_stop(loop);
}

static inline void peer_stop(struct peer *p)
{
	struct peer_end end = { .baton.arrived = peer_end_came, .peer = p };

	loop_send(p->loop, &end.baton);
	pthread_join(p->thread, NULL);
	loop_io_want(&p->io, 0);
	for (struct peer_side *s = p->sides, *next; s != NULL; s = next) {
		next = s->next;
		conn_close(s->conn);
		free(s);
	}
	loop_free(p->loop);
	close(p->fd);
	if (p->tls != NULL)
		tls_server_free(p->tls);
	buf_fini(&p->said);
	buf_fini(&p->mail);
	pthread_mutex_destroy(&p->lock);
}

/* From now on; while it runs. */
static inline void peer_change(struct peer *p, enum step step, const char *text)
{
	__atomic_store_n(&p->script.at[step], text, __ATOMIC_RELEASE);
}

/* A copy, for the caller to free. */
static inline char *peer_copy(struct peer *p, const struct buf *b)
{
	char *s;

	pthread_mutex_lock(&p->lock);
	s = strndup(b->n > 0 ? buf_str(b).p : "", b->n);
	pthread_mutex_unlock(&p->lock);
	return s;
}

#endif
