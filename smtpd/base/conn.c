/* SPDX-License-Identifier: ISC */
/*
 * conn: the life of a connection, and its face.
 *
 * Invariant: no callback runs inside a call of the user's; `ended` is told at
 * most once and only by conn_leave; after conn_close only memory remains, and
 * that until the running handler leaves.  Loop thread only.
 */
#include "smtpd/base/conn_inside.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IN_MAX        ((size_t)256 << 10)   /* input that may be held */
#define OUT_MAX       ((size_t)64 << 20)    /* a user that ignores conn_unsent ends here */
#define FLUSH_MS      30000                 /* conn_close_politely: for the rest to leave */

/* Those that said good-bye and are still flushing; each thread has its own. */
static _Thread_local struct conn *departing;

/* ---- handlers ------------------------------------------------------------- */

static void conn_free(struct conn *c)
{
	conn_tls_free(c);
	buf_wipe(&c->in);
	buf_wipe(&c->out);
	free(c);
}

static int events_wanted(const struct conn *c)
{
	const struct conn_tls *t = c->tls;
	int want = 0;

	if (c->over || c->doomed)
		return 0;
	if (c->connecting)
		return EV_WRITE;
	if (c->shut)
		return EV_READ;
	if (t != NULL && t->phase == TLS_SHAKING)
		return t->wants;
	if (c->blocked)
		want = t != NULL && t->write_wants_read ? EV_READ : EV_WRITE;
	if (conn_may_show(c))
		want |= t != NULL && t->read_wants_write ? EV_WRITE : EV_READ;
	return want;
}

static void watch(struct conn *c)
{
	int want = events_wanted(c);

	if (c->fd >= 0 && want != c->watching)
		loop_io_want(&c->io, want);
	c->watching = (unsigned char)want;
}

static void conn_enter(struct conn *c)
{
	must(!c->busy);
	c->busy = true;
}

static void conn_leave(struct conn *c)
{
	if (c->doomed && !c->over && !c->closed) {
		c->over = true;
		loop_timer_stop(&c->timer);
		if (c->leaving)
			conn_close(c);
		else
			c->events->ended(c, c->how);
	}
	c->busy = false;
	if (c->closed)
		conn_free(c);
	else
		watch(c);
}

static void dial_answered(struct conn *c)
{
	int errnum = 0;
	socklen_t n = sizeof(errnum);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &errnum, &n) != 0)
		errnum = errno;
	c->connecting = false;
	if (errnum != 0)
		conn_doom(c, CONN_DIAL_FAILED, errnum);
	else
		c->just_connected = true;
}

static void go_on(struct conn *c)
{
	if (c->just_connected && !conn_stopped(c)) {
		c->just_connected = false;
		if (c->events->connected != NULL)
			c->events->connected(c);
	}
	if (conn_stopped(c))
		return;
	if (c->leaving)
		conn_farewell(c);
	else
		conn_pump(c);
}

static void ready(struct loop_io *io, int events)
{
	struct conn *c = SUPER(io, struct conn, io);

	conn_enter(c);
	if (c->connecting)
		dial_answered(c);
	else if (events & EV_READ || (c->tls != NULL && c->tls->read_wants_write))
		c->look = true;
	go_on(c);
	conn_leave(c);
}

static void next_turn(struct loop_call *call)
{
	struct conn *c = SUPER(call, struct conn, later);

	conn_enter(c);
	if (!c->connecting)
		go_on(c);
	conn_leave(c);
}

static void too_late(struct loop_timer *timer)
{
	struct conn *c = SUPER(timer, struct conn, timer);

	conn_enter(c);
	if (c->events->late != NULL && !c->leaving && !conn_stopped(c))
		c->events->late(c);
	else
		conn_doom(c, CONN_TIMEOUT, ETIMEDOUT);
	conn_leave(c);
}

void conn_wake(struct conn *c)
{
	if (c->later.at == NULL && !c->over && !c->closed)
		loop_defer(c->loop, &c->later, next_turn);
}

void conn_doom(struct conn *c, enum conn_end how, int errnum)
{
	if (conn_stopped(c))
		return;
	c->doomed = true;
	c->how = how;
	c->errnum = errnum;
	c->broken = 0;
	if (!c->busy)
		conn_wake(c);
}

/* ---- beginnings ----------------------------------------------------------- */

static struct conn *conn_new(struct loop *loop, int fd, const struct conn_events *events, void *user)
{
	struct conn *c = calloc(1, sizeof(*c));
	int on = 1;

	if (c == NULL)
		return NULL;
	c->loop = loop;
	c->events = events;
	c->user = user;
	c->fd = fd;
	buf_init(&c->in, IN_MAX);
	buf_init(&c->out, OUT_MAX);
	loop_timer_init(&c->timer, loop, "conn.deadline", too_late);
	if (fd >= 0) {
		loop_io_init(&c->io, loop, "conn.io", fd, ready);
		/* Fails on unix sockets, which have no Nagle. */
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	return c;
}

struct conn *conn_open(struct loop *loop, int fd, const struct conn_events *events, void *user)
{
	struct conn *c = conn_new(loop, fd, events, user);

	if (c == NULL) {
		close(fd);
		return NULL;
	}
	watch(c);
	return c;
}

static int dial(int fd, const struct sockaddr *to, socklen_t n, const struct sockaddr *from,
                socklen_t nfrom)
{
	int on = 1;

	if (from != NULL) {
		/* The port is chosen at connect(2), so that as many connections fit
		 * as there are (source, destination) pairs. */
		(void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
		if (bind(fd, from, nfrom) != 0)
			return errno;
	}
	return connect(fd, to, n) == 0 ? 0 : errno;
}

struct conn *conn_dial(struct loop *loop, const struct sockaddr *to, socklen_t n,
                       const struct sockaddr *from, socklen_t nfrom,
                       const struct conn_events *events, void *user)
{
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int errnum = fd < 0 ? errno : dial(fd, to, n, from, nfrom);
	struct conn *c = conn_new(loop, fd, events, user);

	if (c == NULL) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	switch (errnum) {
	case 0:
		c->just_connected = true;
		conn_wake(c);
		break;
	case EINPROGRESS:
		c->connecting = true;
		watch(c);
		break;
	default:
		conn_doom(c, CONN_DIAL_FAILED, errnum);
	}
	return c;
}

/* ---- ends ----------------------------------------------------------------- */

static void departing_leave(struct conn *c)
{
	if (c->at == NULL)
		return;
	*c->at = c->next;
	if (c->next != NULL)
		c->next->at = c->at;
	c->at = NULL;
}

void conn_close(struct conn *c)
{
	if (c == NULL || c->closed)
		return;
	c->closed = true;
	departing_leave(c);
	loop_undefer(&c->later);
	loop_timer_stop(&c->timer);
	if (c->fd >= 0) {
		loop_io_want(&c->io, 0);
		close(c->fd);
		c->fd = -1;
	}
	if (!c->busy)
		conn_free(c);
}

void conn_close_politely(struct conn *c)
{
	if (c == NULL || c->closed || c->leaving)
		return;
	if (conn_stopped(c) || c->connecting || (c->tls != NULL && c->tls->phase == TLS_SHAKING)) {
		conn_close(c);
		return;
	}
	c->leaving = true;
	c->user = NULL;
	c->next = departing;
	c->at = &departing;
	if (departing != NULL)
		departing->at = &c->next;
	departing = c;
	loop_timer_set(&c->timer, FLUSH_MS);
	conn_wake(c);
}

size_t conn_leaving(const struct loop *loop)
{
	size_t n = 0;

	for (const struct conn *c = departing; c != NULL; c = c->next)
		n += c->loop == loop;
	return n;
}

void conn_leave_now(const struct loop *loop)
{
	for (struct conn *c = departing, *next; c != NULL; c = next) {
		next = c->next;
		if (c->loop == loop)
			conn_close(c);
	}
}

/* ---- what the user says ---------------------------------------------------- */

/* Whatever is added may choke reading and leaves at the end of the turn. */
static void gathered(struct conn *c)
{
	if (c->out.failed) {
		conn_doom(c, CONN_RESET, ENOBUFS);
		return;
	}
	if (c->out.n > CONN_OUT_HIGH)
		c->choked = true;
	if (c->out.n > 0 && !c->blocked && !c->connecting)
		conn_wake(c);
	if (!c->busy)
		watch(c);
}

static bool deaf(const struct conn *c)
{
	return conn_stopped(c) || c->leaving || c->broken != 0;
}

void conn_write(struct conn *c, str s)
{
	if (deaf(c) || s.n == 0)
		return;
	buf_add(&c->out, s);
	gathered(c);
}

void conn_writef(struct conn *c, const char *format, ...)
{
	va_list args;
	char *room;
	int n;

	if (deaf(c))
		return;
	va_start(args, format);
	n = vsnprintf(NULL, 0, format, args);
	va_end(args);
	must(n >= 0);
	room = buf_room(&c->out, (size_t)n + 1);
	if (room != NULL) {
		va_start(args, format);
		vsnprintf(room, (size_t)n + 1, format, args);
		va_end(args);
		buf_filled(&c->out, (size_t)n);
	}
	gathered(c);
}

void conn_flush(struct conn *c)
{
	if (deaf(c) || c->connecting)
		return;
	conn_push_out(c);
	if (!c->busy && !conn_stopped(c))
		watch(c);
}

void conn_pause(struct conn *c)
{
	c->paused = true;
	c->again = false;
	if (!c->busy && !conn_stopped(c))
		watch(c);
}

void conn_resume(struct conn *c)
{
	if (conn_stopped(c) || c->leaving)
		return;
	c->paused = false;
	c->again = true;
	if (c->in.n > 0 || c->look || c->busy)
		conn_wake(c);
	if (!c->busy)
		watch(c);
}

size_t conn_pending(const struct conn *c)
{
	size_t held = c->shown > c->in.n ? c->shown : c->in.n;

	return held + conn_tls_buffered(c);
}

void conn_drop_pending(struct conn *c)
{
	if (c->shown != 0)
		c->dropped = true;   /* show() throws it away when `bytes` returns */
	else
		buf_wipe(&c->in);
}

void conn_deadline(struct conn *c, uint64_t in_ms)
{
	if (conn_stopped(c) || c->leaving)
		return;
	if (in_ms == 0)
		loop_timer_stop(&c->timer);
	else
		loop_timer_set(&c->timer, in_ms);
}

/* ---- what it tells --------------------------------------------------------- */

void *conn_user(const struct conn *c)
{
	return c->user;
}

struct loop *conn_loop(const struct conn *c)
{
	return c->loop;
}

int conn_fd(const struct conn *c)
{
	return c->fd;
}

size_t conn_unsent(const struct conn *c)
{
	return c->out.n;
}

uint64_t conn_bytes_in(const struct conn *c)
{
	return c->bytes_in;
}

uint64_t conn_bytes_out(const struct conn *c)
{
	return c->bytes_out;
}

int conn_errno(const struct conn *c)
{
	return c->errnum;
}

str conn_why(const struct conn *c)
{
	const char *text;

	if (!c->doomed)
		return STR("the connection is open");
	if (c->how == CONN_EOF)
		return STR("the peer closed the connection");
	if (c->how == CONN_TIMEOUT)
		return STR("nothing came in time");
	if (c->how == CONN_TLS_FAILED && c->tls != NULL && c->tls->why != NULL)
		return str_of(c->tls->why);
	text = strerrordesc_np(c->errnum);
	return str_of(text != NULL ? text : "unknown error");
}
