/* SPDX-License-Identifier: ISC */
/*
 * keeper_root: the life of the half that stays root.
 *
 * Waits for two things: an ask of the server's, and signals.  It opens for
 * reading or binds what the configuration names (exact match, its own reading
 * of it), says who has a port of these, passes signals on, and ends as the
 * server ended.  It never writes.
 * One thread; it shares nothing with the server but the socket pair.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "smtpd/base/conn.h"
#include "smtpd/base/keeper_inside.h"

/* ---- what may be handed out ------------------------------------------------ */

static struct strs keep_all(struct arena *arena, struct strs from)
{
	struct strs to = { ARENA_ARRAY(arena, str, from.n), 0 };

	for (; to.v != NULL && to.n < from.n; to.n++)
		to.v[to.n] = str_keep(arena, from.v[to.n]);
	return to;
}

enum err keeper_read_names(struct keeper *k)
{
	struct keeper_names read = { 0 }, names;
	struct arena arena;
	enum err e = k->plan->read(k->plan->arg, &read);

	if (e != OK)
		return e;
	arena_init(&arena, ARENA_UNBOUNDED);
	names.files = keep_all(&arena, read.files);
	names.listeners = keep_all(&arena, read.listeners);
	names.state = keep_all(&arena, read.state);
	if (arena.spent) {
		arena_fini(&arena);
		return ERR_MEMORY;
	}
	arena_fini(&k->arena);
	k->arena = arena;
	k->names = names;
	return OK;
}

static bool is_named(struct strs list, str text)
{
	for (size_t i = 0; i < list.n; i++)
		if (text.n > 0 && str_eq(list.v[i], text))
			return true;
	return false;
}

/* ---- asks ------------------------------------------------------------------- */

static void send_answer(int sock, const struct keeper_answer *a, int fd)
{
	struct iovec iov = { (void *)a, sizeof(*a) };
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .room = { 0 } };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *c;

	if (fd >= 0) {
		m.msg_control = control.room;
		m.msg_controllen = sizeof(control.room);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	/* A server that does not read its answers waits for nothing else of ours. */
	(void)sendmsg(sock, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The descriptor asked for, or -1 with *errnum. */
static int serve(struct keeper *k, uint32_t kind, str text, int32_t *errnum, struct port_holder *holder)
{
	struct endpoint e;
	int fd = -1;

	errno = EACCES;
	switch (kind) {
	case KEEPER_OPEN:
		if (is_named(k->names.files, text))
			fd = keeper_walk(text);
		break;
	case KEEPER_LISTEN:
		if (is_named(k->names.listeners, text))
			fd = listen_at(text);
		break;
	case KEEPER_HOLDER:
		if (is_named(k->names.listeners, text) && endpoint_parse(text, 0, &e))
			(void)port_holder(e.port, holder);
		break;
	case KEEPER_RELOAD:
		*errnum = (int32_t)keeper_read_names(k);
		return -1;
	}
	*errnum = fd >= 0 ? 0 : errno;
	return fd;
}

/* False when the server has closed its end. */
static bool asked(struct keeper *k)
{
	struct keeper_ask ask;
	struct keeper_answer a = { 0 };
	ssize_t n = recv(k->sock, &ask, sizeof(ask), MSG_TRUNC | MSG_DONTWAIT);
	int fd;

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0)
		return false;
	if ((size_t)n < KEEPER_ASK_HEAD || (size_t)n > sizeof(ask))
		return true;
	fd = serve(k, ask.kind, (str){ ask.text, (size_t)n - KEEPER_ASK_HEAD }, &a.errnum, &a.holder);
	a.serial = ask.serial;
	send_answer(k->sock, &a, fd);
	if (fd >= 0)
		close(fd);
	return true;
}

/* ---- signals, and the end ------------------------------------------------------ */

static void end_as_the_server(struct keeper *k)
{
	int status, sig;

	if (waitpid(k->server, &status, WNOHANG) != k->server)
		return;
	if (WIFEXITED(status))
		_exit(WEXITSTATUS(status));
	if (!WIFSIGNALED(status))
		return;
	sig = WTERMSIG(status);
	fprintf(stderr,
	        "postern: the server was ended by signal %d (%s): start it again; "
	        "what it had acknowledged is in the queue\n",
	        sig, sigdescr_np(sig) ? sigdescr_np(sig) : "unknown");
	_exit(128 + sig);
}

static void signalled(struct keeper *k)
{
	struct signalfd_siginfo s;

	if (read(k->signals, &s, sizeof(s)) != sizeof(s))
		return;
	if (s.ssi_signo == SIGCHLD)
		end_as_the_server(k);
	else if (s.ssi_code != SI_KERNEL)   /* a terminal has sent it to the server as well */
		kill(k->server, (int)s.ssi_signo);
}

void keeper_live(struct keeper *k)
{
	struct pollfd wait[2] = { { k->signals, POLLIN, 0 }, { k->sock, POLLIN, 0 } };

	for (;;) {
		if (poll(wait, 2, -1) < 0)
			continue;
		if (wait[0].revents != 0)
			signalled(k);
		if (wait[1].revents != 0 && !asked(k))
			wait[1].fd = -1;
	}
}
