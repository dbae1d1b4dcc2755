/* SPDX-License-Identifier: ISC */
/*
 * conn_flow: bytes from the socket to `bytes`, and from the output to the socket.
 *
 * Invariant: input is shown in order and each byte is used once; while input is
 * held nothing newer is shown before it.  A clear and a TLS connection differ
 * only in the two calls that move bytes.  Loop thread, inside handlers.
 */
#include "smtpd/base/conn_inside.h"

#include <errno.h>
#include <sys/socket.h>

#define READS_A_TURN 4                      /* of LOOP_SCRATCH bytes: 256 KiB */
#define HELD_READ    ((size_t)16 << 10)     /* read at once behind held input */
#define LINGER_MS    2000                   /* after our FIN, for the peer's */

bool conn_may_show(const struct conn *c)
{
	return !c->paused && !c->choked && !c->leaving && !c->connecting && !conn_stopped(c) &&
	       (c->tls == NULL || c->tls->phase == TLS_ON);
}

/* Frees what is empty: an idle connection holds no buffer.  Input may have held
 * a password, so it is zeroed. */
static void let_go(struct buf *b)
{
	if (b->n == 0)
		buf_wipe(b);
}

/* ---- out ------------------------------------------------------------------ */

/* The peer may have said why before it stopped listening ("421 …"): what it
 * sent is shown first, then comes the end. */
void conn_write_broke(struct conn *c, int errnum)
{
	c->broken = errnum;
	buf_clear(&c->out);
	let_go(&c->out);
	c->choked = false;
	if (!conn_may_show(c)) {
		conn_doom(c, CONN_RESET, errnum);
		return;
	}
	c->look = true;
	if (!c->busy)
		conn_wake(c);
}

static size_t send_clear(struct conn *c, str s)
{
	ssize_t n;

	do
		n = send(c->fd, s.p, s.n, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n >= 0) {
		c->blocked = (size_t)n < s.n;
		return (size_t)n;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		c->blocked = true;
	else
		conn_write_broke(c, errno);
	return 0;
}

/* Output that may leave now: before TLS only what was written before it. */
static str sendable(const struct conn *c)
{
	if (c->tls == NULL || c->tls->phase == TLS_ON)
		return buf_str(&c->out);
	return str_head(buf_str(&c->out), c->tls->phase == TLS_WAITING ? c->tls->clear : 0);
}

static void all_left(struct conn *c)
{
	let_go(&c->out);
	if (c->choked) {
		c->choked = false;
		c->again = true;
	}
	c->tell_drained = true;
	if (!c->busy)
		conn_wake(c);
}

void conn_push_out(struct conn *c)
{
	bool clear = c->tls == NULL || c->tls->phase != TLS_ON;
	str s;

	if (c->connecting || c->broken != 0)
		return;
	c->blocked = false;
	while (!c->blocked && !conn_stopped(c) && (s = sendable(c)).n > 0) {
		size_t n = clear ? send_clear(c, s) : conn_tls_write(c, s);

		if (n == 0)
			return;
		buf_eat(&c->out, n);
		c->bytes_out += n;
		if (c->tls != NULL && clear)
			c->tls->clear -= n;
		if (c->out.n == 0)
			all_left(c);
	}
}

/* ---- in ------------------------------------------------------------------- */

static size_t receive_clear(struct conn *c, char *p, size_t room)
{
	ssize_t n;

	do
		n = recv(c->fd, p, room, 0);
	while (n < 0 && errno == EINTR);
	if (n > 0) {
		/* A short read has emptied the socket. */
		c->look = (size_t)n == room || c->broken != 0;
		return (size_t)n;
	}
	c->look = false;
	if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
		conn_doom(c, CONN_RESET, errno);
	else if (c->broken != 0)
		conn_doom(c, CONN_RESET, c->broken);
	else if (n == 0)
		conn_doom(c, CONN_EOF, 0);
	return 0;
}

/* Shows `data` until nothing more is used; returns what is left. */
static str show_to_user(struct conn *c, str data)
{
	while (data.n > 0 && conn_may_show(c)) {
		size_t used;

		c->again = false;
		c->dropped = false;
		c->shown = data.n;
		used = c->events->bytes(c, data);
		must(used <= data.n);
		c->shown = 0;
		data = c->dropped ? STR_NONE : str_skip(data, used);
		/* A resume inside `bytes` means the next turn. */
		if (used == 0 || c->again)
			break;
	}
	return data;
}

static void show_held(struct conn *c)
{
	str left = show_to_user(c, buf_str(&c->in));

	buf_eat(&c->in, c->in.n - left.n);
	let_go(&c->in);
}

static void show_fresh(struct conn *c, str fresh)
{
	str left = show_to_user(c, fresh);

	if (conn_stopped(c) || c->leaving)
		return;
	buf_add(&c->in, left);
	if (c->in.failed)
		conn_doom(c, CONN_RESET, ENOMEM);
}

static void take_once(struct conn *c)
{
	bool held = c->in.n > 0;
	size_t room = held ? HELD_READ : LOOP_SCRATCH, n;
	char *p = held ? buf_room(&c->in, room) : c->loop->scratch;

	if (p == NULL) {             /* the user waits for more than may be held */
		conn_doom(c, CONN_RESET, ENOBUFS);
		return;
	}
	n = c->tls != NULL ? conn_tls_read(c, p, room) : receive_clear(c, p, room);
	if (n == 0)
		return;
	c->bytes_in += n;
	if (!held) {
		show_fresh(c, (str){ p, n });
		return;
	}
	buf_filled(&c->in, n);
	show_held(c);
}

static void take_in(struct conn *c)
{
	if (c->again && conn_may_show(c)) {
		c->again = false;
		show_held(c);
	}
	for (unsigned i = 0; c->look && conn_may_show(c) && !c->again; i++) {
		if (i == READS_A_TURN) {
			/* A socket reports again by itself, what TLS has read does not. */
			if (c->tls != NULL)
				conn_wake(c);
			return;
		}
		take_once(c);
	}
}

/* ---- all ------------------------------------------------------------------ */

void conn_pump(struct conn *c)
{
	conn_push_out(c);
	if (!conn_stopped(c) && c->tls != NULL && conn_tls_step(c)) {
		c->look = true;
		if (c->out.n > 0)
			conn_wake(c);
		if (c->events->secured != NULL)
			c->events->secured(c);
	}
	if (conn_stopped(c))
		return;
	if (c->tell_drained && c->out.n == 0) {
		c->tell_drained = false;
		if (c->events->drained != NULL)
			c->events->drained(c);
	}
	if (!conn_stopped(c) && !c->leaving)
		take_in(c);
}

/* Reads and forgets, so that the peer gets our last words and not a reset for
 * bytes that nobody read; then the peer's own FIN ends it. */
static void forget_input(struct conn *c)
{
	for (unsigned i = 0; i < READS_A_TURN; i++) {
		ssize_t n = recv(c->fd, c->loop->scratch, LOOP_SCRATCH, 0);

		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
			return;
		if (n <= 0) {
			conn_close(c);
			return;
		}
	}
}

void conn_farewell(struct conn *c)
{
	if (!c->shut) {
		conn_push_out(c);
		if (c->broken != 0 || conn_stopped(c)) {
			conn_close(c);
			return;
		}
		if (sendable(c).n > 0)
			return;
		conn_tls_bye(c);
		c->shut = true;
		shutdown(c->fd, SHUT_WR);
		loop_timer_set(&c->timer, LINGER_MS);
	}
	forget_input(c);
}
