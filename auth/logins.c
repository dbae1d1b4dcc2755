/* SPDX-License-Identifier: ISC */
/*
 * Each account's latest logins and failures, for `postern account logins`.
 *
 *   EPOCH <tab> ADDRESS <tab> MECHANISM <tab> ACCOUNT <tab> DEVICE <tab> RESULT
 *
 * One line is one write of a login desk's thread to a file opened for appending,
 * as in seen.c.  A name without account has a line, too, under "?": writing takes
 * time, and nobody shall be told by it who exists.  Main makes the file short when
 * it has grown: the newest LOGINS_EACH of each account that passed and as many
 * that failed stay.  A flood between two looks of main's stops at FLOOD.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"

#define ROOM_LEAST ((uint64_t)256 << 10)
#define FLOOD      ((off_t)8 << 20)    /* no failure is written beyond, until it is short again */
#define FULL       ((off_t)12 << 20)   /* nothing is: it must stay readable (ACCOUNTS_MOST) */
#define KEEP_MOST  ((size_t)4 << 20)   /* octets that stay, of all accounts together */
#define NOBODY     "?"

/* ---- writing ---------------------------------------------------------------------- */

static bool is_plain(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] < ' ')
			return false;
	return s.n > 0;
}

static const struct account *account_of(const struct judge *j, const struct claim *c, struct arena *a)
{
	str key = STR_NONE;

	if (c->stands.by != NULL)
		return accounts_find(j->table, c->stands.by->key);
	return accounts_key(a, (str){ c->name, c->n }, &key) ? accounts_find(j->table, key) : NULL;
}

void logins_note(const struct judge *j, const struct claim *c, const struct heard *h,
                 const char *mechanism)
{
	int fd = atomic_load(&j->auth->logins_fd), n;
	str key = STR(NOBODY), by = STR("-");
	const struct account *who;
	char line[1024];
	struct stat st;
	struct arena a;

	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size > (h->says == AUTH_PASSED ? FULL : FLOOD))
		return;
	arena_init(&a, 64 << 10);
	who = account_of(j, c, &a);
	if (who != NULL && who->owner != NULL && is_plain(who->owner->key) && is_plain(who->key)) {
		key = who->owner->key;
		by = account_is_device(who) ? who->key : by;
	}
	n = snprintf(line, sizeof(line), "%" PRId64 "\t%s\t%s\t%.*s\t%.*s\t%s\n", clock_wall(),
	             j->channel->ip != NULL && j->channel->ip[0] != '\0' ? j->channel->ip : "-",
	             mechanism, STR_ARG(key), STR_ARG(by),
	             h->says == AUTH_PASSED ? "passed" : h->reason != NULL ? h->reason : "refused");
	if (n > 0 && (size_t)n < sizeof(line) && write(fd, line, (size_t)n) != n)
		log_event(NULL, LOG_WARN, "logins.unwritten", KV_C("file", j->auth->logins_file),
		          KV_C("why", strerror(errno)));
	arena_fini(&a);
}

/* ---- reading ------------------------------------------------------------------------ */

static bool take_line(str line, struct login *out)
{
	str when;
	uint64_t t;

	if (!str_cut(&line, '\t', &when) || !str_cut(&line, '\t', &out->ip) ||
	    !str_cut(&line, '\t', &out->mechanism) || !str_cut(&line, '\t', &out->key) ||
	    !str_cut(&line, '\t', &out->by) || line.n == 0 || !str_to_u64(when, &t))
		return false;
	out->when = (int64_t)t;
	out->result = line;
	return true;
}

struct kept { unsigned passed, failed; };

/* Is this one, the next older, among the account's newest? */
static bool is_wanted(struct map *by_key, const struct login *l, unsigned each, struct arena *a)
{
	struct kept *k = map_get(by_key, l->key);
	unsigned *n;

	if (k == NULL) {
		k = ARENA_NEW(a, struct kept);
		if (k == NULL || !map_put(by_key, l->key, k))
			return false;
	}
	n = str_is(l->result, "passed") ? &k->passed : &k->failed;
	return (*n)++ < each;
}

/* From the end to the beginning. */
static bool previous_line(str *text, str *line)
{
	size_t at;

	if (text->n == 0)
		return false;
	text->n--;                     /* its newline */
	at = str_rfind(*text, '\n');
	at = at < text->n ? at + 1 : 0;
	*line = str_skip(*text, at);
	text->n = at;
	return true;
}

static size_t lines_in(str text)
{
	size_t n = 0;

	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == '\n';
	return n;
}

/* The newest first, whole lines only. */
static bool take_text(str text, str key, unsigned each, struct arena *a, struct login **v, size_t *n)
{
	size_t end = str_rfind(text, '\n'), most;
	struct map by_key;
	str line;

	text = end < text.n ? str_head(text, end + 1) : STR_NONE;
	most = lines_in(text);
	*n = 0;
	*v = ARENA_ARRAY(a, struct login, most + 1);
	if (*v == NULL)
		return false;
	map_init(&by_key, false);
	while (previous_line(&text, &line)) {
		struct login l;

		if (take_line(line, &l) && !str_is(l.key, NOBODY) && (key.n == 0 || str_eq(key, l.key)) &&
		    is_wanted(&by_key, &l, each, a))
			(*v)[(*n)++] = l;
	}
	map_fini(&by_key);
	return !a->spent;
}

bool logins_read(const char *file, str key, struct arena *a, struct login **v, size_t *n)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	str text;
	bool good;

	*n = 0;
	*v = NULL;
	if (fd < 0)
		return errno == ENOENT;
	good = account_file_read(fd, a, &text) == OK && take_text(text, key, LOGINS_EACH, a, v, n);
	close(fd);
	return good;
}

/* ---- short again ------------------------------------------------------------------------ */

static void put_line(struct buf *b, const struct login *l)
{
	buf_addf(b, "%" PRId64 "\t%.*s\t%.*s\t%.*s\t%.*s\t%.*s\n", l->when, STR_ARG(l->ip),
	         STR_ARG(l->mechanism), STR_ARG(l->key), STR_ARG(l->by), STR_ARG(l->result));
}

/* Oldest first, as they were written. */
static bool write_kept(int fd, const struct login *v, size_t n)
{
	struct buf b;
	bool good;

	buf_init(&b, BUF_UNBOUNDED);
	while (n > 0)
		put_line(&b, &v[--n]);
	good = !b.failed && write(fd, buf_str(&b).p, b.n) == (ssize_t)b.n && fsync(fd) == 0;
	buf_fini(&b);
	return good;
}

/* Very many accounts share what may stay. */
static bool take_bounded(str text, struct arena *a, struct login **v, size_t *n)
{
	for (unsigned each = LOGINS_EACH; take_text(text, STR_NONE, each, a, v, n); each /= 2) {
		size_t octets = 0;

		for (size_t i = 0; i < *n; i++)
			octets += 40 + (*v)[i].ip.n + (*v)[i].key.n + (*v)[i].by.n + (*v)[i].result.n;
		if (octets <= KEEP_MOST || each == 1)
			return true;
	}
	return false;
}

static int make_short(const char *file, str text, struct arena *a, size_t *left)
{
	char *next = str_cstr(a, arena_printf(a, "%s.next", file));
	struct login *v;
	struct stat st;
	int fd;

	if (next == NULL || !take_bounded(text, a, &v, left))
		return -1;
	unlink(next);
	fd = open(next, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -1;
	if (write_kept(fd, v, *left) && fstat(fd, &st) == 0 && rename(next, file) == 0) {
		*left = (size_t)st.st_size;
		return fd;
	}
	close(fd);
	unlink(next);
	return -1;
}

/* What the desk wrote while the new file was made. */
static void carry_over(int from, int to, off_t at)
{
	char part[4096];
	ssize_t n;

	while ((n = pread(from, part, sizeof(part), at)) > 0 && write(to, part, (size_t)n) == n)
		at += n;
}

static void swap(struct auth *auth, int old, int fd, struct arena *a)
{
	size_t left = 0;
	int next = -1;
	str text;

	if (account_file_read(old, a, &text) == OK)
		next = make_short(auth->logins_file, text, a, &left);
	auth->logins_room = 2 * left > ROOM_LEAST ? 2 * left : ROOM_LEAST;
	if (next < 0)
		return;
	dup3(next, fd, O_CLOEXEC);
	carry_over(old, fd, (off_t)text.n);
	close(next);
}

void logins_shorten(struct auth *auth)
{
	int fd = atomic_load(&auth->logins_fd), old;
	struct arena a;
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0 || (uint64_t)st.st_size < auth->logins_room)
		return;
	old = open(auth->logins_file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (old < 0)
		return;
	arena_init(&a, ARENA_UNBOUNDED);
	swap(auth, old, fd, &a);
	arena_fini(&a);
	close(old);
}

/* ---- beginning and end ------------------------------------------------------------------- */

/* The networks that are known for good logins of earlier lives. */
static void remember(struct auth *auth, const struct login *v, size_t n)
{
	int64_t now = clock_wall();
	uint64_t now_ms = clock_ms();
	struct cidr from;

	for (size_t i = 0; i < n; i++) {
		int64_t ends = v[i].when + BAN_GOOD_S;
		char ip[64];

		if (!str_is(v[i].result, "passed") || ends <= now || v[i].when > now ||
		    v[i].ip.n >= sizeof(ip))
			continue;
		snprintf(ip, sizeof(ip), "%.*s", STR_ARG(v[i].ip));
		if (ban_cidr(ip, &from))
			bans_good(auth->bans, &from, now_ms + (uint64_t)(ends - now) * 1000);
	}
}

/* A write that was cut short must not spoil the next. */
static void end_last_line(int fd)
{
	struct stat st;
	char last;

	if (fstat(fd, &st) == 0 && st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) == 1 &&
	    last != '\n' && write(fd, "\n", 1) != 1)
		log_event(NULL, LOG_DEBUG, "logins.unwritten", KV_C("why", strerror(errno)));
}

void logins_open(struct auth *auth, const char *file)
{
	struct login *v;
	struct arena a;
	size_t n;
	int fd;

	arena_init(&a, ARENA_UNBOUNDED);
	auth->logins_file = strdup(file);
	auth->logins_room = ROOM_LEAST;
	if (auth->logins_file != NULL && logins_read(file, STR_NONE, &a, &v, &n))
		remember(auth, v, n);
	arena_fini(&a);
	fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd >= 0)
		end_last_line(fd);
	else
		log_event(NULL, LOG_WARN, "logins.unwritten", KV_C("file", file),
		          KV_C("why", strerror(errno)),
		          KV_C("means", "postern account logins has nothing new to show"));
	atomic_store(&auth->logins_fd, auth->logins_file != NULL ? fd : -1);
	logins_shorten(auth);
}

void logins_close(struct auth *auth)
{
	int fd = atomic_exchange(&auth->logins_fd, -1);

	if (fd >= 0)
		close(fd);
	free(auth->logins_file);
	auth->logins_file = NULL;
}
