/* SPDX-License-Identifier: ISC */
/*
 * The server's side of the control socket: one request a connection.
 *
 * An asking lives until its handler has said control_end and its answer has
 * left.  When the asker goes first it becomes a ghost whose words go nowhere.
 * Of a long answer only a part is given to the connection at a time; the rest
 * waits here, or is made only when that has left (control_when_read).  Main loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtpd/base/control.h"
#include "smtpd/base/control_inside.h"
#include "smtpd/base/keeper.h"
#include "smtpd/base/log.h"

#define ARENA_BUDGET ((size_t)1 << 20)
#define ASK_MS       10000                     /* for the request to come */
#define LEAVE_MS     (3600 * 1000)             /* for an answer: it may be read in a pager */
#define PIECE        ((size_t)64 << 10)
#define ASKERS       64
#define REST_MS      100                       /* until the next try, without descriptors */

struct control {
	struct loop               *loop;
	struct loop_io             door;
	struct loop_timer          rest;
	const struct control_verb *verbs;
	void                      *house;
	char                      *path;
	struct asking             *askings;
	size_t                     n;
};

struct asking {                       /* a connection and the call it may carry */
	struct control_call call;
	struct control     *control;  /* NULL: it has closed */
	struct asking      *next, **at;
	struct buf          rest;     /* of the answer */
	bool                running;  /* the handler has it */
	bool                over;     /* control_end was said */
	void              (*more)(struct control_call *);     /* of the handler: when all of it has left */
	bool                open_line;
};

/* ---- the request ----------------------------------------------------------------- */

/* Words between blanks; "…" holds blanks, \ takes the next octet as it is. */
bool control_words(struct control_call *call, str line)
{
	call->nwords = 0;
	for (size_t i = 0; i < line.n;) {
		char *word = arena_alloc(&call->arena, line.n + 1);
		bool quoted = false;
		size_t n = 0;

		if (is_wsp(line.p[i])) {
			i++;
			continue;
		}
		if (call->nwords == COUNT(call->words) || word == NULL)
			return false;
		for (; i < line.n && (quoted || !is_wsp(line.p[i])); i++) {
			if (line.p[i] == '"')
				quoted = !quoted;
			else if (line.p[i] == '\\' && ++i == line.n)
				return false;
			else
				word[n++] = line.p[i];
		}
		if (quoted)
			return false;
		call->words[call->nwords++] = (str){ word, n };
	}
	return call->nwords > 0;
}

/* ---- answers ------------------------------------------------------------------------ */

static void part_from_control(struct asking *k)
{
	if (k->control == NULL)
		return;
	*k->at = k->next;
	if (k->next != NULL)
		k->next->at = k->at;
	k->control->n--;
	k->control = NULL;
}

static void forget(struct asking *k)
{
	part_from_control(k);
	conn_close(k->call.conn);
	buf_fini(&k->rest);
	arena_fini(&k->call.arena);
	free(k);
}

static bool all_has_left(const struct asking *k)
{
	return k->call.ghost || (k->rest.n == 0 && conn_unsent(k->call.conn) == 0);
}

static void go_on(struct asking *k)
{
	void (*more)(struct control_call *) = k->more;

	k->more = NULL;
	if (more != NULL)
		more(&k->call);
}

/* No connection any more: the handler, if it is at work, ends the call. */
static void become_ghost(struct asking *k)
{
	conn_close(k->call.conn);
	k->call.conn = NULL;
	k->call.ghost = true;
	buf_fini(&k->rest);
	if (!k->running)
		forget(k);
	else
		go_on(k);
}

/* Gives the connection a piece more. */
static void feed(struct asking *k)
{
	str piece = str_head(buf_str(&k->rest), PIECE);

	if (conn_unsent(k->call.conn) >= PIECE || piece.n == 0)
		return;
	conn_deadline(k->call.conn, LEAVE_MS);
	conn_write(k->call.conn, piece);
	buf_eat(&k->rest, piece.n);
	buf_release(&k->rest);
}

void control_say(struct control_call *call, str text)
{
	struct asking *k = SUPER(call, struct asking, call);

	if (call->ghost || text.n == 0)
		return;
	k->open_line = text.p[text.n - 1] != '\n';
	buf_add(&k->rest, text);
	feed(k);
}

void control_when_read(struct control_call *call, void (*more)(struct control_call *))
{
	struct asking *k = SUPER(call, struct asking, call);

	k->more = more;
	if (all_has_left(k))
		go_on(k);
}

void control_end(struct control_call *call, int status)
{
	struct asking *k = SUPER(call, struct asking, call);

	k->running = false;
	if (call->ghost) {
		forget(k);
		return;
	}
	buf_addf(&k->rest, "%sexit %d\n", k->open_line ? "\n" : "", status);
	if (k->rest.failed) {                   /* no memory: an asker without that line knows */
		forget(k);
		return;
	}
	k->over = true;
	feed(k);
}

static void drained(struct conn *c)
{
	struct asking *k = conn_user(c);

	if (k->rest.n > 0)
		feed(k);
	else if (k->over)
		forget(k);
	else
		go_on(k);
}

static void run(struct asking *k, str line)
{
	struct control_call *call = &k->call;

	k->running = true;
	conn_deadline(call->conn, 0);
	if (line.n > CONTROL_LINE) {
		control_say(call, STR("the request is too long\n"));
		control_end(call, 2);
		return;
	}
	if (!control_words(call, line)) {
		control_say(call, STR("the request cannot be read\n"));
		control_end(call, 2);
		return;
	}
	for (const struct control_verb *v = k->control->verbs; v->name != NULL; v++)
		if (str_is(call->words[0], v->name)) {
			v->run(call);
			return;
		}
	control_say(call, STR("this server does not know that request: is it an older version?\n"));
	control_end(call, 2);
}

/* Behind the request nothing is expected; reading on shows when the asker goes. */
static size_t bytes(struct conn *c, str in)
{
	struct asking *k = conn_user(c);
	size_t at = str_find(in, '\n');

	if (k->running || k->over)
		return in.n;
	if (at == in.n && in.n <= CONTROL_LINE)
		return 0;
	run(k, str_head(in, at));
	return in.n;
}

static void ended(struct conn *c, enum conn_end how)
{
	(void)how;
	become_ghost(conn_user(c));
}

static const struct conn_events events = { .bytes = bytes, .drained = drained, .ended = ended };

/* ---- the door ------------------------------------------------------------------------- */

/* The socket's mode lets nobody else in; this says so once more. */
static bool is_ours(int fd)
{
	struct ucred who;
	socklen_t n = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0)
		return false;
	if (who.uid == 0 || who.uid == geteuid())
		return true;
	log_event(NULL, LOG_WARN, "control.refused", KV_N("uid", who.uid), KV_N("pid", who.pid));
	return false;
}

static void admit(struct control *control, int fd)
{
	struct asking *k = control->n < ASKERS && is_ours(fd) ? calloc(1, sizeof(*k)) : NULL;

	if (k == NULL) {
		close(fd);
		return;
	}
	k->call.house = control->house;
	arena_init(&k->call.arena, ARENA_BUDGET);
	buf_init(&k->rest, BUF_UNBOUNDED);
	k->call.conn = conn_open(control->loop, fd, &events, k);
	if (k->call.conn == NULL) {
		forget(k);
		return;
	}
	k->control = control;
	k->next = control->askings;
	k->at = &control->askings;
	if (k->next != NULL)
		k->next->at = &k->next;
	control->askings = k;
	control->n++;
	conn_deadline(k->call.conn, ASK_MS);
}

static void rested(struct loop_timer *t)
{
	loop_io_want(&SUPER(t, struct control, rest)->door, EV_READ);
}

static void knocked(struct loop_io *io, int ready)
{
	struct control *control = SUPER(io, struct control, door);
	int fd;

	(void)ready;
	while ((fd = accept4(io->w.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		admit(control, fd);
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
		loop_io_want(&control->door, 0);        /* who knocks would be seen again at once */
		loop_timer_set(&control->rest, REST_MS);
	}
}

static int listen_on(const char *path, str *why)
{
	struct arena a;
	int fd;

	arena_init(&a, 16384);
	fd = listen_at(arena_printf(&a, "unix:%s", path));
	if (fd < 0)
		*why = errno == EADDRINUSE
			? STR("the control socket in the state directory is in use, or no socket: stop the other server, or remove the file `control`")
		       : errno == EINVAL || errno == ENAMETOOLONG
			? STR("the control socket's path is longer than 107 octets: choose a state directory with a shorter path")
			: STR("the control socket cannot be made: make the state directory writable for the server's user");
	arena_fini(&a);
	return fd;
}

struct control *control_open(struct loop *loop, const char *path, const struct control_verb *verbs, void *house, str *why)
{
	struct control *c = path != NULL ? calloc(1, sizeof(*c)) : NULL;
	int fd = -1;

	*why = STR("out of memory");
	if (c != NULL)
		c->path = strdup(path);
	if (c != NULL && c->path != NULL)
		fd = listen_on(path, why);
	if (fd < 0) {
		if (c != NULL)
			free(c->path);
		free(c);
		return NULL;
	}
	c->loop = loop;
	c->verbs = verbs;
	c->house = house;
	loop_io_init(&c->door, loop, "control", fd, knocked);
	loop_io_want(&c->door, EV_READ);
	loop_timer_init(&c->rest, loop, "control.rest", rested);
	return c;
}

/* Handlers at work keep their calls, as ghosts. */
void control_close(struct control *c)
{
	if (c == NULL)
		return;
	loop_io_want(&c->door, 0);
	loop_timer_stop(&c->rest);
	close(c->door.w.fd);
	unlink(c->path);
	while (c->askings != NULL) {
		struct asking *k = c->askings;

		part_from_control(k);
		become_ghost(k);
	}
	free(c->path);
	free(c);
}
