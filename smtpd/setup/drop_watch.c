/* SPDX-License-Identifier: ISC */
/*
 * drop_watch: the server's side of `postern sendmail`: two threads that block, so
 * that no loop does.
 *
 *   door     accepts at BASE/socket, asks the system who it is, and lets him in
 *            to a loop as a session
 *   pickup   looks through BASE/drop at the start, when a file came, and each
 *            minute; each message goes in over a pair of sockets whose other end
 *            is a session of the file's owner, by the same talk as a verb's
 *
 * What is refused there comes back to its owner as a bounce; what is put off
 * stays.  Both threads share with main two numbers and a descriptor that says
 * stop; they end before the loops do.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/letter.h"
#include "smtpd/base/keeper.h"
#include "smtpd/mail/dsn.h"
#include "smtpd/setup/drop.h"
#include "smtpd/setup/serve.h"

#define PATIENCE_S 330           /* more than a message's questions to DNS may take */
#define LOOK_MS    60000
#define NO_ROOM_MS 100

struct drops {
	struct server   *server;
	struct arena     arena;
	char            *base, *about, *socket;
	int              dir, listening, inotify, stop;
	pthread_t        door, pickup;
	unsigned         next;              /* loop; the door's */
	_Atomic uint64_t messages, bytes, message;     /* struct drop_limits */
	struct mbox     *mbox;              /* notices come home to the pickup */
	struct loop     *to;                /* where its sessions go */
};

static bool is_stopping(void *arg)
{
	struct pollfd p = { ((struct drops *)arg)->stop, POLLIN, 0 };

	return poll(&p, 1, 0) > 0;
}

/* ---- who it is ---------------------------------------------------------------------- */

/* A name that a user database gives; false: it has none. */
static bool user_name(unsigned uid, char *out, size_t room)
{
	char text[4096];
	struct passwd pw, *found = NULL;
	size_t n;

	if (getpwuid_r((uid_t)uid, &pw, text, sizeof(text), &found) != 0 || found == NULL)
		return false;
	n = strlen(found->pw_name);
	if (n == 0 || n >= room)
		return false;
	memcpy(out, found->pw_name, n + 1);
	return true;
}

static struct front_guest *guest_new(unsigned uid, int fd, bool counted)
{
	struct front_guest *g = calloc(1, sizeof(*g));

	if (g == NULL)
		return NULL;
	g->uid = uid;
	g->fd = fd;
	g->counted = counted;
	if (user_name(uid, g->name, sizeof(g->name)))
		return g;
	free(g);
	return NULL;
}

/* ---- the door -------------------------------------------------------------------------- */

static void somebody_came(struct drops *d, int fd)
{
	static const char words[] = "550 5.7.1 Your user id has no name on this machine, so nobody knows whose mail this is\r\n";
	struct ucred who = { 0 };
	socklen_t n = sizeof(who);
	struct front_guest *g = NULL;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0)
		g = guest_new(who.uid, fd, true);
	if (g == NULL) {
		(void)!send(fd, words, sizeof(words) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
		close(fd);
		return;
	}
	front_let_in(d->server->loops[d->next++ % d->server->nloops], g);
}

static void *door_thread(void *arg)
{
	struct drops *d = arg;
	struct pollfd p[2] = { { d->stop, POLLIN, 0 }, { d->listening, POLLIN, 0 } };

	while (poll(p, 2, -1) < 0 || p[0].revents == 0) {
		int fd = accept4(d->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0)
			somebody_came(d, fd);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM)
			poll(p, 1, NO_ROOM_MS);
	}
	/* Who comes now sees at once that nobody is there. */
	unlink(d->socket);
	close(d->listening);
	d->listening = -1;
	return NULL;
}

/* ---- what came back ------------------------------------------------------------------------ */

static str status_of(str said)
{
	str word = str_skip(said, 4);

	word = str_head(word, str_find(word, ' '));
	return word.n >= 5 && is_digit(word.p[0]) && word.p[1] == '.' ? word : STR("5.0.0");
}

/* True when the bounce is in the queue. */
static bool bounced(struct drops *d, str user, str header, struct dsn_rcpt *v, size_t n)
{
	struct letter *l = letter_new();
	struct front_notice notice = { .letter = l, .user = user, .header = header, .rcpts = v, .nrcpts = n };
	bool ok = false;

	if (l == NULL)
		return false;
	l->baton.home = d->mbox;
	front_notify(d->to, &notice);
	(void)mbox_take(d->mbox, 1, SIZE_MAX, UINT64_MAX);
	ok = l->result == OK;
	if (!ok)
		log_event(NULL, LOG_WARN, "letter.failed", KV("to", user), KV_C("why", err_text(l->result)));
	letter_free(l);
	return ok;
}

static str header_of(str message)
{
	for (size_t i = 0; i + 3 < message.n; i++)
		if (memcmp(message.p + i, "\r\n\r\n", 4) == 0)
			return str_head(message, i + 2);
	return STR_NONE;
}

static bool told_of(struct drops *d, struct arena *a, str user, const struct drop *m, const struct drop_answer *said)
{
	struct dsn_rcpt *v = ARENA_ARRAY(a, struct dsn_rcpt, said->n + m->rcpts.n);
	size_t n = 0;

	if (v == NULL)
		return false;
	for (size_t i = 0; i < said->n; i++) {
		const struct drop_refusal *r = &said->v[i];
		struct dsn_rcpt one = { .action = DSN_FAILED, .status = status_of(r->said), .said = r->said };

		one.final = r->rcpt;
		for (size_t k = 0; k < m->rcpts.n && r->rcpt.n == 0; k++) {
			one.final = m->rcpts.v[k];
			v[n++] = one;
		}
		if (r->rcpt.n > 0)
			v[n++] = one;
		if (r->rcpt.n == 0)
			break;
	}
	return bounced(d, user, header_of(m->message), v, n);
}

static void thrown(void *arg, unsigned uid, size_t n)
{
	struct drops *d = arg;
	char name[128];
	struct arena a;
	struct dsn_rcpt one = { .action = DSN_FAILED, .status = STR("5.2.2") };

	if (!user_name(uid, name, sizeof(name)))
		return;
	arena_init(&a, 4096);
	one.said = arena_printf(&a, "552 5.2.2 %zu message%s of yours waited here beyond what one user may have waiting, or too large, "
	                        "and nothing is left of %s", n, n == 1 ? "" : "s", n == 1 ? "it" : "them");
	bounced(d, str_of(name), STR_NONE, &one, 1);
	arena_fini(&a);
}

/* ---- one message --------------------------------------------------------------------------- */

static bool talked(struct drops *d, unsigned uid, struct arena *a, const struct drop *m, struct drop_answer *said)
{
	struct front_guest *g;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return false;
	g = guest_new(uid, pair[1], false);
	if (g == NULL || fcntl(pair[1], F_SETFL, O_NONBLOCK) != 0) {
		free(g);
		close(pair[0]);
		close(pair[1]);
		return false;
	}
	front_let_in(d->to, g);
	drop_talk(pair[0], PATIENCE_S, a, m, said);
	close(pair[0]);
	return true;
}

static enum drop_took judge(struct drops *d, unsigned uid, str user, struct arena *a, const struct drop *m)
{
	struct drop_answer said = { .said = STR("no descriptors or no memory") };

	if (!talked(d, uid, a, m, &said) || said.says == DROP_LATER) {
		log_event(NULL, LOG_INFO, "drop.deferred", KV_N("uid", uid), KV("user", user), KV("why", said.said));
		return DROP_KEPT;
	}
	if (said.n > 0 && !told_of(d, a, user, m, &said) && said.says == DROP_REFUSED)
		return DROP_KEPT;
	log_event(NULL, LOG_INFO, said.says == DROP_TAKEN ? "drop.taken" : "drop.returned", KV_N("uid", uid), KV("user", user),
	          KV_N("nrcpt", m->rcpts.n), KV_N("nrefused", said.n), KV_N("size", m->message.n), KV("said", said.said));
	return DROP_GONE;
}

static enum drop_took take(void *arg, unsigned uid, str file)
{
	struct drops *d = arg;
	struct arena a;
	struct drop m;
	char name[128];
	const char *why;
	enum drop_took took = DROP_GONE;

	arena_init(&a, (size_t)64 << 20);
	if (!drop_parse(&a, file, &m, &why))
		log_event(NULL, LOG_WARN, "drop.refused", KV_N("uid", uid), KV_C("why", why), KV_C("removed", "yes"));
	else if (!user_name(uid, name, sizeof(name)))
		log_event(NULL, LOG_WARN, "drop.refused", KV_N("uid", uid), KV_C("why", "that user has no name on this machine"),
		          KV_C("removed", "yes"));
	else
		took = judge(d, uid, str_of(name), &a, &m);
	arena_fini(&a);
	return took;
}

static void look(struct drops *d)
{
	const struct drop_limits limits = {
		.messages = atomic_load(&d->messages), .bytes = atomic_load(&d->bytes), .message = atomic_load(&d->message),
	};

	drop_scan(d->dir, &limits, is_stopping, take, thrown, d);
}

static void *pickup_thread(void *arg)
{
	struct drops *d = arg;
	struct pollfd p[2] = { { d->stop, POLLIN, 0 }, { d->inotify, POLLIN, 0 } };
	char events[4096];

	do {
		while (d->inotify >= 0 && read(d->inotify, events, sizeof(events)) > 0)
			;                       /* before the look: what comes later wakes us again */
		look(d);
	} while (poll(p, 2, LOOK_MS) < 0 || p[0].revents == 0);
	return NULL;
}

/* ---- directories ------------------------------------------------------------------------------ */

static bool made_dir(const char *path, mode_t mode, const char **why)
{
	struct stat st;

	*why = "the server's user could not make it: make it and chown it";
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return false;
	*why = "it is no directory of the server's user";
	if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return false;
	*why = "its group or mode cannot be set";
	if (st.st_gid != getegid() && chown(path, (uid_t)-1, getegid()) != 0)
		return false;
	return chmod(path, mode) == 0 && stat(path, &st) == 0 && (st.st_mode & 07777) == mode;
}

static bool wrote_about(struct drops *d, const struct config *c)
{
	char tmp[256];
	int fd;
	bool ok;

	snprintf(tmp, sizeof(tmp), "%s.new", d->about);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	ok = fd >= 0 && fchmod(fd, 0644) == 0 && dprintf(fd, "domain %.*s\n", STR_ARG(c->sendmail.domain)) > 0;
	if (fd >= 0)
		close(fd);
	return ok && rename(tmp, d->about) == 0;
}

static bool opened(struct drops *d, const struct config *c, const char **why)
{
	str base = c->sendmail.directory;
	char *drop = str_cstr(&d->arena, arena_printf(&d->arena, "%.*s/drop", STR_ARG(base)));

	d->socket = str_cstr(&d->arena, arena_printf(&d->arena, "%.*s/socket", STR_ARG(base)));
	d->base = str_cstr(&d->arena, base);
	d->about = str_cstr(&d->arena, arena_printf(&d->arena, "%.*s/about", STR_ARG(base)));
	*why = "out of memory";
	if (drop == NULL || d->socket == NULL || d->base == NULL || d->about == NULL)
		return false;
	if (!made_dir(d->base, 0711, why) || !made_dir(drop, 03733, why))
		return false;
	*why = "the file about in it could not be written";
	if (!wrote_about(d, c))
		return false;
	*why = "its socket could not be made; does another server use it?";
	d->listening = listen_at(arena_printf(&d->arena, "unix:%s", d->socket));
	if (d->listening < 0 || chmod(d->socket, 0666) != 0)
		return false;
	*why = "it cannot be watched";
	d->dir = open(drop, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	d->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (d->inotify >= 0)             /* without it the minute's look is left */
		(void)inotify_add_watch(d->inotify, drop, IN_MOVED_TO);
	return d->dir >= 0 && d->stop >= 0;
}

/* ---- its life ------------------------------------------------------------------------------------ */

static void close_all(struct drops *d)
{
	const int fds[] = { d->dir, d->listening, d->inotify, d->stop };

	for (size_t i = 0; i < COUNT(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (d->mbox != NULL)
		mbox_free(d->mbox);
	arena_fini(&d->arena);
	free(d);
}

static void set_limits(struct drops *d, const struct config *c)
{
	atomic_store(&d->messages, c->sendmail.waiting_messages);
	atomic_store(&d->bytes, c->sendmail.waiting_bytes);
	atomic_store(&d->message, c->limits.message_size);
}

static bool started(struct drops *d)
{
	d->mbox = mbox_new(NULL, NULL);
	if (d->mbox == NULL || pthread_create(&d->door, NULL, door_thread, d) != 0)
		return false;
	if (pthread_create(&d->pickup, NULL, pickup_thread, d) == 0)
		return true;
	drops_stop(d);
	pthread_join(d->door, NULL);
	return false;
}

struct drops *drops_start(struct server *s, const struct config *c)
{
	struct drops *d = c->sendmail.directory.n > 0 ? calloc(1, sizeof(*d)) : NULL;
	const char *why = "a thread could not be started";

	if (d == NULL)
		return NULL;
	d->server = s;
	d->to = s->loops[0];
	d->dir = d->listening = d->inotify = d->stop = -1;
	arena_init(&d->arena, 64 << 10);
	set_limits(d, c);
	if (opened(d, c, &why) && started(d)) {
		log_event(NULL, LOG_NOTICE, "sendmail.opened", KV("directory", c->sendmail.directory), KV("domain", c->sendmail.domain));
		return d;
	}
	log_event(NULL, conf_given(&c->sendmail.head, "directory") ? LOG_ERROR : LOG_NOTICE, "sendmail.off",
	          KV("directory", c->sendmail.directory), KV_C("why", why), KV_C("error", strerrordesc_np(errno)));
	close_all(d);
	return NULL;
}

void drops_use(struct drops *d, const struct config *c)
{
	if (d == NULL)
		return;
	set_limits(d, c);
	if (!wrote_about(d, c))
		log_event(NULL, LOG_WARN, "sendmail.unwritten", KV_C("file", d->about), KV_C("error", strerrordesc_np(errno)));
}

void drops_stop(struct drops *d)
{
	const uint64_t one = 1;

	if (d != NULL)
		(void)!write(d->stop, &one, sizeof(one));
}

void drops_end(struct drops *d)
{
	if (d == NULL)
		return;
	drops_stop(d);
	pthread_join(d->door, NULL);
	pthread_join(d->pickup, NULL);
	close_all(d);
}
