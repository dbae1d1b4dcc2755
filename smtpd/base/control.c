/* SPDX-License-Identifier: ISC */
/*
 * The server's side of the control socket: one request a connection.
 *
 * A call outlives its connection when the handler is still at work: it then is
 * a ghost whose words go nowhere, freed by control_end.  Main loop.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtpd/base/control.h"
#include "smtpd/base/control_inside.h"
#include "smtpd/base/keeper.h"

#define ARENA_BUDGET ((size_t)1 << 20)
#define ASK_MS       10000

struct control {
	struct loop               *loop;
	struct loop_io             door;
	const struct control_verb *verbs;
	void                      *house;
	char                      *path;
	struct asking             *askings;
};

struct asking {                       /* a connection and the call it may carry */
	struct control_call call;
	struct control     *control;
	struct asking      *next, **at;
	bool                running;
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

static void forget(struct asking *k)
{
	*k->at = k->next;
	if (k->next != NULL)
		k->next->at = k->at;
	arena_fini(&k->call.arena);
	free(k);
}

void control_say(struct control_call *call, str text)
{
	if (!call->ghost)
		conn_write(call->conn, text);
}

void control_end(struct control_call *call, int status)
{
	struct asking *k = SUPER(call, struct asking, call);

	if (!call->ghost) {
		conn_writef(call->conn, "exit %d\n", status);
		conn_close_politely(call->conn);
	}
	forget(k);
}

static void run(struct asking *k, str line)
{
	struct control_call *call = &k->call;

	k->running = true;
	conn_pause(call->conn);
	conn_deadline(call->conn, 0);
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

static size_t bytes(struct conn *c, str in)
{
	struct asking *k = conn_user(c);
	size_t at = str_find(in, '\n');

	if (at < in.n) {
		run(k, str_head(in, at));
		return in.n;
	}
	if (in.n > CONTROL_LINE) {
		k->running = true;
		control_say(&k->call, STR("the request is too long\n"));
		control_end(&k->call, 2);
		return in.n;
	}
	return 0;
}

static void ended(struct conn *c, enum conn_end how)
{
	struct asking *k = conn_user(c);

	(void)how;
	conn_close(c);
	k->call.conn = NULL;
	k->call.ghost = true;
	if (!k->running)
		forget(k);
}

static const struct conn_events events = { .bytes = bytes, .ended = ended };

/* ---- the door ------------------------------------------------------------------------- */

/* The socket's mode lets nobody else in; this says so once more. */
static bool is_ours(int fd)
{
	struct ucred who;
	socklen_t n = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 && (who.uid == 0 || who.uid == geteuid());
}

static void admit(struct control *control, int fd)
{
	struct asking *k = is_ours(fd) ? calloc(1, sizeof(*k)) : NULL;

	if (k == NULL) {
		close(fd);
		return;
	}
	k->control = control;
	k->call.house = control->house;
	arena_init(&k->call.arena, ARENA_BUDGET);
	k->call.conn = conn_open(control->loop, fd, &events, k);
	if (k->call.conn == NULL) {
		arena_fini(&k->call.arena);
		free(k);
		return;
	}
	k->next = control->askings;
	k->at = &control->askings;
	if (k->next != NULL)
		k->next->at = &k->next;
	control->askings = k;
	conn_deadline(k->call.conn, ASK_MS);
}

static void knocked(struct loop_io *io, int ready)
{
	struct control *control = SUPER(io, struct control, door);
	int fd;

	(void)ready;
	while ((fd = accept4(io->w.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
		admit(control, fd);
}

struct control *control_open(struct loop *loop, const char *path, const struct control_verb *verbs, void *house, str *why)
{
	struct control *c = calloc(1, sizeof(*c));
	struct arena a;
	int fd = -1;

	*why = STR("the control socket could not be opened: is the state directory's path longer than 100 octets?");
	arena_init(&a, 16384);
	if (c != NULL)
		c->path = path != NULL ? strdup(path) : NULL;
	if (c != NULL && c->path != NULL)
		fd = listen_at(arena_printf(&a, "unix:%s", path));
	arena_fini(&a);
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
	return c;
}

void control_close(struct control *c)
{
	if (c == NULL)
		return;
	loop_io_want(&c->door, 0);
	close(c->door.w.fd);
	unlink(c->path);
	while (c->askings != NULL) {
		struct asking *k = c->askings;

		if (k->call.conn != NULL)
			conn_close(k->call.conn);
		forget(k);
	}
	free(c->path);
	free(c);
}
