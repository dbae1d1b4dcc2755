/* SPDX-License-Identifier: ISC */
/*
 * The only file that knows libmicrohttpd.  Main's thread.
 *
 *     client ══ TLS ══ conn ── socket pair ── libmicrohttpd ── asked()
 *
 * A client is a stranger who may have come for anything: it has 30 seconds, 32
 * KiB and a place among a hundred, ten of which one address can hold.
 */
#include "smtpd/setup/web.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtpd/base/conn.h"
#include "smtpd/base/log.h"
#include "smtpd/setup/web_page.h"

#define CLIENTS_MOST    100
#define ADDRESS_MOST    10             /* clients of one address */
#define ACCEPTS_A_TURN  8
#define LIFE_MS         30000          /* of a connection, whatever it does */
#define REST_MS         1000           /* after descriptors ran out */
#define QUESTION_MOST   ((size_t)32 << 10)
#define BODY_MOST       ((size_t)16 << 10)
#define PIECE           ((size_t)16 << 10)

struct door {
	struct loop_io io;
	struct web    *web;
	int            fd;
};

struct client {
	struct client     *next, **at;
	struct web        *web;
	struct generation *generation;      /* whose certificates it was shown */
	struct conn       *conn;
	struct loop_io     pipe;            /* our end, once TLS is on */
	int                fd;              /* of it; -1: not yet */
	bool               full;            /* the pipe is: the conn is paused */
	struct sockaddr_storage from;
	socklen_t          nfrom;
};

struct question { struct buf body; };           /* one request */

struct web {
	struct loop       *loop;
	struct MHD_Daemon *mhd;
	struct loop_io     mhd_io;
	struct loop_timer  mhd_timer, rest;
	struct door       *doors;
	size_t             ndoors;
	struct client     *clients;
	size_t             nclients;
	struct generation *now;
	void             (*let_go)(struct generation *);
};

/* ---- libmicrohttpd's side ------------------------------------------------------------------------------ */

static str host_of(struct MHD_Connection *mc)
{
	return str_of(MHD_lookup_connection_value(mc, MHD_HEADER_KIND, "Host"));
}

static void say_served(struct MHD_Connection *mc, const char *path, unsigned status)
{
	const union MHD_ConnectionInfo *i = MHD_get_connection_info(mc, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	log_event(NULL, status == MHD_HTTP_OK ? LOG_INFO : LOG_DEBUG, "web.answered", KV_N("status", status),
	          KV("host", host_of(mc)), KV_C("path", path),
	          KV_C("ip", i != NULL && i->client_addr != NULL ? addr_text(i->client_addr).s : "unknown"));
}

static enum MHD_Result reply(struct MHD_Connection *mc, const char *path, unsigned status, str text, const char *type)
{
	struct MHD_Response *r = MHD_create_response_from_buffer(text.n, (void *)(uintptr_t)text.p,
	                                                         MHD_RESPMEM_MUST_COPY);
	enum MHD_Result done;

	if (r == NULL)
		return MHD_NO;
	say_served(mc, path, status);
	MHD_add_response_header(r, "Content-Type", type);
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	done = MHD_queue_response(mc, status, r);
	MHD_destroy_response(r);
	return done;
}

static enum MHD_Result answer(const struct web *w, struct MHD_Connection *mc, const char *path, bool post, str body)
{
	const struct web_question q = {
		.path = path, .post = post, .host = host_of(mc), .body = body,
		.address = str_of(MHD_lookup_connection_value(mc, MHD_GET_ARGUMENT_KIND, "emailaddress")),
	};
	const char *type = "text/plain";
	enum MHD_Result done;
	struct arena a;
	str text;

	arena_init(&a, (size_t)256 << 10);
	text = web_page(w->now->config, &q, &a, &type);
	if (a.spent)
		done = reply(mc, path, MHD_HTTP_SERVICE_UNAVAILABLE, STR("Try again later\n"), "text/plain");
	else if (text.n == 0)
		done = reply(mc, path, MHD_HTTP_NOT_FOUND, STR("There is nothing here\n"), "text/plain");
	else
		done = reply(mc, path, MHD_HTTP_OK, text, type);
	arena_fini(&a);
	return done;
}

/* Called with *state NULL when the header is there, then for each piece of a
 * body, then once with none. */
static enum MHD_Result asked(void *user, struct MHD_Connection *mc, const char *path, const char *method,
                             const char *version, const char *piece, size_t *n, void **state)
{
	bool post = strcmp(method, MHD_HTTP_METHOD_POST) == 0;
	struct question *q = *state;

	(void)version;
	if (q == NULL) {
		q = calloc(1, sizeof(*q));
		if (q == NULL)
			return MHD_NO;
		buf_init(&q->body, BODY_MOST);
		*state = q;
		return MHD_YES;
	}
	if (*n > 0) {
		buf_add(&q->body, (str){ piece, *n });
		*n = 0;
		return MHD_YES;
	}
	if (q->body.failed)
		return reply(mc, path, MHD_HTTP_CONTENT_TOO_LARGE, STR("That is too much\n"), "text/plain");
	if (!post && strcmp(method, MHD_HTTP_METHOD_GET) != 0)
		return reply(mc, path, MHD_HTTP_NOT_FOUND, STR("There is nothing here\n"), "text/plain");
	return answer(user, mc, path, post, buf_str(&q->body));
}

static void question_over(void *user, struct MHD_Connection *mc, void **state, enum MHD_RequestTerminationCode how)
{
	struct question *q = *state;

	(void)user, (void)mc, (void)how;
	if (q != NULL)
		buf_fini(&q->body);
	free(q);
	*state = NULL;
}

/* ---- its turn on the loop ---------------------------------------------------------------------------------- */

static void run(struct web *w)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(w->mhd);
	if (MHD_get_timeout(w->mhd, &ms) == MHD_YES)
		loop_timer_set(&w->mhd_timer, ms);
	else
		loop_timer_stop(&w->mhd_timer);
}

static void mhd_ready(struct loop_io *io, int events)
{
	(void)events;
	run(SUPER(io, struct web, mhd_io));
}

static void mhd_due(struct loop_timer *t)
{
	run(SUPER(t, struct web, mhd_timer));
}

static bool mhd_started(struct web *w)
{
	const union MHD_DaemonInfo *info;

	if (w->mhd != NULL)
		return true;
	w->mhd = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, asked, w,
	                          MHD_OPTION_NOTIFY_COMPLETED, question_over, NULL,
	                          MHD_OPTION_CONNECTION_LIMIT, (unsigned)CLIENTS_MOST,
	                          MHD_OPTION_CONNECTION_MEMORY_LIMIT, QUESTION_MOST,
	                          MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(LIFE_MS / 1000),
	                          MHD_OPTION_END);
	info = w->mhd != NULL ? MHD_get_daemon_info(w->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (info == NULL || info->epoll_fd < 0) {
		log_event(NULL, LOG_ERROR, "web.failed", KV_C("why", "libmicrohttpd could not be started: nothing is served"));
		return false;
	}
	loop_io_init(&w->mhd_io, w->loop, "web", info->epoll_fd, mhd_ready);
	loop_io_want(&w->mhd_io, EV_READ);
	return true;
}

/* ---- a client ------------------------------------------------------------------------------------------------- */

static void client_free(struct client *c)
{
	struct generation *g = c->generation;
	struct web *w = c->web;

	if (c->fd >= 0) {
		loop_io_want(&c->pipe, 0);
		close(c->fd);
	}
	*c->at = c->next;
	if (c->next != NULL)
		c->next->at = c->at;
	w->nclients--;
	free(c);
	w->let_go(g);
}

static void watch_pipe(struct client *c)
{
	bool read = conn_unsent(c->conn) < CONN_OUT_HIGH;

	loop_io_want(&c->pipe, (read ? EV_READ : 0) | (c->full ? EV_WRITE : 0));
}

static void answer_came(struct client *c)
{
	char piece[PIECE];
	ssize_t n = read(c->fd, piece, sizeof(piece));

	if (n > 0) {
		conn_write(c->conn, (str){ piece, (size_t)n });
		watch_pipe(c);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		conn_close_politely(c->conn);
		client_free(c);
	}
}

static void pipe_ready(struct loop_io *io, int events)
{
	struct client *c = SUPER(io, struct client, pipe);

	if ((events & EV_WRITE) && c->full) {
		c->full = false;
		conn_resume(c->conn);
		watch_pipe(c);
	}
	if (events & EV_READ)
		answer_came(c);
}

/* Both ends are ours: one is libmicrohttpd's from here on. */
static bool pipe_made(struct client *c)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0)
		return false;
	c->fd = ends[0];
	loop_io_init(&c->pipe, c->web->loop, "web", c->fd, pipe_ready);
	if (MHD_add_connection(c->web->mhd, ends[1], (struct sockaddr *)&c->from, c->nfrom) != MHD_YES)
		return false;              /* which has closed its end */
	loop_io_want(&c->pipe, EV_READ);
	run(c->web);
	return true;
}

static void secured(struct conn *conn)
{
	struct client *c = conn_user(conn);

	if (pipe_made(c))
		return;
	conn_close(conn);
	client_free(c);
}

static size_t bytes(struct conn *conn, str in)
{
	struct client *c = conn_user(conn);
	ssize_t n = send(c->fd, in.p, in.n, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		return in.n;               /* it has hung up: its last words come */
	if (n < 0)
		n = 0;
	if ((size_t)n < in.n) {
		c->full = true;
		conn_pause(conn);
		watch_pipe(c);
	}
	return (size_t)n;
}

static void drained(struct conn *conn)
{
	struct client *c = conn_user(conn);

	if (c->fd >= 0)
		watch_pipe(c);
}

static void ended(struct conn *conn, enum conn_end how)
{
	struct client *c = conn_user(conn);

	(void)how;
	conn_close(conn);
	client_free(c);
}

static const struct conn_events events = { .bytes = bytes, .secured = secured, .drained = drained, .ended = ended };

/* ---- doors --------------------------------------------------------------------------------------------------------- */

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	return a->ss_family == AF_INET ? a4->sin_addr.s_addr == b4->sin_addr.s_addr
	                               : memcmp(&a6->sin6_addr, &b6->sin6_addr, 8) == 0;   /* a /64 is one host */
}

static bool has_room(const struct web *w, const struct sockaddr_storage *from)
{
	size_t n = 0;

	for (const struct client *c = w->clients; c != NULL; c = c->next)
		n += same_host(&c->from, from);
	return w->nclients < CLIENTS_MOST && n < ADDRESS_MOST;
}

static void client_came(struct web *w, int fd, const struct sockaddr_storage *from, socklen_t n)
{
	struct client *c = has_room(w, from) ? calloc(1, sizeof(*c)) : NULL;

	if (c == NULL) {
		close(fd);
		return;
	}
	c->web = w;
	c->fd = -1;
	c->from = *from;
	c->nfrom = n;
	c->conn = conn_open(w->loop, fd, &events, c);
	if (c->conn == NULL) {
		free(c);
		return;
	}
	c->generation = w->now;
	w->now->users++;
	c->next = w->clients;
	c->at = &w->clients;
	if (c->next != NULL)
		c->next->at = &c->next;
	w->clients = c;
	w->nclients++;
	conn_deadline(c->conn, LIFE_MS);
	conn_secure_server(c->conn, w->now->tls);
	conn_ask_client(c->conn, TLS_ASK_NONE);
}

static void watch(struct web *w, bool on)
{
	for (size_t i = 0; i < w->ndoors; i++)
		loop_io_want(&w->doors[i].io, on ? EV_READ : 0);
}

static void rested(struct loop_timer *t)
{
	watch(SUPER(t, struct web, rest), true);
}

static void door_ready(struct loop_io *io, int what)
{
	struct door *d = SUPER(io, struct door, io);
	struct web *w = d->web;

	(void)what;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		struct sockaddr_storage from = { 0 };
		socklen_t n = sizeof(from);
		int fd = accept4(d->fd, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			client_came(w, fd, &from, n);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			watch(w, false);       /* mail comes first */
			loop_timer_set(&w->rest, REST_MS);
			return;
		} else if (errno != ECONNABORTED && errno != EINTR) {
			return;
		}
	}
}

static void close_doors(struct web *w)
{
	watch(w, false);
	loop_timer_stop(&w->rest);
	free(w->doors);
	w->doors = NULL;
	w->ndoors = 0;
}

void web_use(struct web *w, struct generation *g, const int *fds, size_t n)
{
	close_doors(w);
	w->now = g;
	if (n == 0 || g->tls == NULL || !mhd_started(w))
		return;
	w->doors = calloc(n, sizeof(*w->doors));
	must(w->doors != NULL);
	w->ndoors = n;
	for (size_t i = 0; i < n; i++) {
		w->doors[i].web = w;
		w->doors[i].fd = fds[i];
		loop_io_init(&w->doors[i].io, w->loop, "web", fds[i], door_ready);
	}
	watch(w, true);
}

/* ---- beginning and end ------------------------------------------------------------------------------------------------ */

struct web *web_new(struct loop *loop, void (*let_go)(struct generation *))
{
	struct web *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->loop = loop;
	w->let_go = let_go;
	loop_timer_init(&w->mhd_timer, loop, "web", mhd_due);
	loop_timer_init(&w->rest, loop, "web", rested);
	return w;
}

void web_end(struct web *w)
{
	close_doors(w);
	while (w->clients != NULL) {
		conn_close(w->clients->conn);
		client_free(w->clients);
	}
	loop_timer_stop(&w->mhd_timer);
	if (w->mhd != NULL) {
		loop_io_want(&w->mhd_io, 0);
		MHD_stop_daemon(w->mhd);
	}
	w->mhd = NULL;
}

void web_free(struct web *w)
{
	free(w);
}
