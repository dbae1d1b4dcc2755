/* SPDX-License-Identifier: ISC */
/*
 * listener: the doors: listening sockets that all loops watch.
 *
 * A few connections are taken a turn, so that those inside are not forgotten
 * over those who come.  A loop with more than its share stops watching until
 * the others have caught up; the one with the fewest always watches.  When
 * descriptors run out, the spare one is given up to take a connection, say why
 * it cannot stay, and let it go.  Loop thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/session/internal.h"

#define ACCEPTS_A_TURN 8
#define SHARE_SLACK    8         /* sessions over the mean that a loop may have */
#define LEVEL_MS       20        /* until the next look whether it is level */
#define EXHAUSTED_MS   100       /* no descriptor at all: let somebody leave */

/* ---- watching ------------------------------------------------------------------------ */

void doors_watch(struct front *f, bool on)
{
	on = on && !f->stopping;
	for (size_t i = 0; i < f->ndoors; i++)
		if (f->doors[i].fd >= 0)
			loop_io_want(&f->doors[i].io, on ? EV_READ : 0);
	f->watching = on;
	if (on || f->stopping)
		loop_timer_stop(&f->level);
}

static bool over_its_share(const struct front *f)
{
	return f->nloops > 1 && front_sessions(f) > limits_connections() / f->nloops + SHARE_SLACK;
}

void doors_level(struct front *f)
{
	bool over = over_its_share(f);

	if (f->stopping)
		return;
	if (over == f->watching)
		doors_watch(f, !over);
	if (over && !loop_timer_armed(&f->level))
		loop_timer_set(&f->level, LEVEL_MS);
}

static void rest(struct front *f, uint64_t ms)
{
	doors_watch(f, false);
	if (!f->stopping)
		loop_timer_set(&f->level, ms);
}

/* ---- refusing -------------------------------------------------------------------------- */

/* A few words, if they fit the socket's buffer; a TLS client would not read them. */
static void turn_away(const struct door *d, int fd, const char *esc, const char *text)
{
	char line[REPLY_LINE_MAX];
	int  n;

	count(CONNECTIONS_REFUSED);
	if (d->listener->tls != TLS_IMPLICIT) {
		n = snprintf(line, sizeof(line), "421 %s %.*s %s\r\n", esc,
			     STR_ARG(d->front->era->setup->hostname), text);
		if (n > 0 && (size_t)n < sizeof(line))
			(void)!send(fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	shutdown(fd, SHUT_WR);
	close(fd);
}

static void refuse_by_limit(struct door *d, int fd, const struct sockaddr *sa, enum limit limit)
{
	static const struct { const char *text, *word;
	} words[] = {
		[LIMIT_CONNECTIONS] = {"Too many connections, try again later", "connections"},
		[LIMIT_ADDRESS] = {"Too many connections from your address", "connections-address"},
		[LIMIT_NETWORK] = {"Too many connections from your network", "connections-network"},
	};

	log_event(NULL, LOG_NOTICE, "connection.refused", KV_C("ip", addr_text(sa).s),
		  KV("listener", d->listener->head.title), KV_C("limit", words[limit].word));
	turn_away(d, fd, "4.7.0", words[limit].text);
	if (limit == LIMIT_CONNECTIONS)
		front_shed(d->front);
}

/* Whoever guessed passwords from there; mail from other servers comes in all the same. */
static bool refuse_guesser(struct door *d, int fd, const struct sockaddr *sa)
{
	unsigned seconds = d->listener->role != ROLE_SUBMISSION ? 0
	                   : auth_refuses(d->front->era->setup->auth, sa);
	char text[96];

	if (seconds == 0)
		return false;
	log_event(NULL, LOG_INFO, "connection.refused", KV_C("ip", addr_text(sa).s),
		  KV("listener", d->listener->head.title), KV_C("limit", "guesses"));
	auth_turned_away();
	snprintf(text, sizeof(text), "Too many wrong logins from your address, try again in %u minutes",
	         (seconds + 59) / 60);
	turn_away(d, fd, "4.7.0", text);
	return true;
}

/* RFC 5321 3.1 wants an answer, and an answer wants a descriptor. */
static void refuse_with_spare(struct door *d, int errnum)
{
	struct front *f = d->front;
	uint64_t now = clock_ms();
	int fd;

	if (now - f->exhausted_ms >= 1000 || f->exhausted_ms == 0)
		log_event(NULL, LOG_ERROR, "descriptors.exhausted",
			  KV_C("error", strerrordesc_np(errnum)),
			  KV_N("sessions", front_sessions(f)));
	f->exhausted_ms = now;
	if (f->spare >= 0)
		close(f->spare);
	fd = accept4(d->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		turn_away(d, fd, "4.3.2", "No room for another connection now, try again later");
	f->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	front_shed(f);
	if (fd < 0)
		rest(f, EXHAUSTED_MS);
}

/* ---- accepting ---------------------------------------------------------------------------- */

/* Somebody has shut the socket down: another loop, when a reload closed this door. */
static void door_is_shut(struct door *d)
{
	loop_io_want(&d->io, 0);
	d->fd = -1;
}

static bool accept_failed(struct door *d, int errnum)
{
	switch (errnum) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		refuse_with_spare(d, errnum);
		return false;
	case EINVAL:
	case EBADF:
		door_is_shut(d);
		return false;
	case EAGAIN:
		return false;
	default:              /* the client has gone already, or its network has */
		return true;
	}
}

static bool accept_one(struct door *d)
{
	struct sockaddr_storage at = { 0 };
	struct sockaddr *sa = (struct sockaddr *)&at;
	socklen_t n = sizeof(at);
	struct limits_place place;
	enum limit limit;
	int fd = accept4(d->fd, sa, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return accept_failed(d, errno);
	if (refuse_guesser(d, fd, sa))
		return true;
	limit = limits_enter(d->front->era->setup->limits, d->listener, sa, &place);
	if (limit != LIMIT_NONE)
		refuse_by_limit(d, fd, sa, limit);
	else
		session_open(d->front, d->listener, fd, sa, &place);
	return true;
}

static void somebody_knocks(struct loop_io *io, int revents)
{
	struct door *d = SUPER(io, struct door, io);

	(void)revents;
	for (size_t i = 0; i < ACCEPTS_A_TURN && d->front->watching; i++)
		if (!accept_one(d))
			break;
}

/* ---- the set of doors ------------------------------------------------------------------------ */

/* The same socket may come back under another descriptor. */
static bool is_same_socket(int a, int b)
{
	struct stat sa, sb;

	return a == b || (fstat(a, &sa) == 0 && fstat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
			  sa.st_ino == sb.st_ino);
}

/* Whoever waits at it, or comes, is refused by the system at once.  A socket that
 * the service manager gave us is its, and the next process' to open again. */
static void shut(const struct door *d)
{
	if (d->fd >= 0 && !d->front->doors_lent)
		shutdown(d->fd, SHUT_RDWR);
}

static void shut_if_gone(const struct door *d, const struct front_swap *w)
{
	for (size_t i = 0; i < w->nlisteners; i++)
		if (d->fd >= 0 && is_same_socket(d->fd, w->fds[i]))
			return;
	shut(d);
}

void doors_shut(struct front *f)
{
	doors_watch(f, false);
	for (size_t i = 0; i < f->ndoors; i++)
		shut(&f->doors[i]);
}

void doors_set(struct front *f, const struct front_swap *w)
{
	doors_watch(f, false);
	for (size_t i = 0; i < f->ndoors; i++)
		shut_if_gone(&f->doors[i], w);
	free(f->doors);
	f->doors = calloc(w->nlisteners > 0 ? w->nlisteners : 1, sizeof(*f->doors));
	must(f->doors != NULL);
	f->ndoors = w->nlisteners;
	for (size_t i = 0; i < f->ndoors; i++) {
		struct door *d = &f->doors[i];

		d->front = f;
		d->listener = w->listeners[i];
		d->fd = w->fds[i];
		loop_io_init(&d->io, f->loop, "listener", d->fd, somebody_knocks);
	}
	doors_watch(f, true);
	doors_level(f);
}

void doors_free(struct front *f)
{
	f->stopping = true;
	doors_watch(f, false);
	free(f->doors);
	f->doors = NULL;
	f->ndoors = 0;
}
