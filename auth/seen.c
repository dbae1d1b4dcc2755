/* SPDX-License-Identifier: ISC */
/*
 * When each name last logged in and from where, and which TOTP code it used up.
 *
 *   EPOCH STEP ADDRESS NAME
 *
 * One line is one write to a file opened for appending, so the threads of the
 * login desk need no lock and a reader sees whole lines; the newest of a name
 * counts.  At most one line a minute and name, but every TOTP login has its own:
 * a code that was used must stay used after a restart.  Main makes the file
 * short when it has grown: a new one in its place, under the same descriptor.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/inside.h"
#include "smtpd/base/log.h"

#define APART_S    60
#define ROOM_LEAST ((uint64_t)256 << 10)

/* ---- reading -------------------------------------------------------------------- */

static bool take_line(str line, struct arena *a, struct seen *out)
{
	str when, step, ip;
	uint64_t t;

	if (!str_cut(&line, ' ', &when) || !str_cut(&line, ' ', &step) ||
	    !str_cut(&line, ' ', &ip) || line.n == 0 || !str_to_u64(when, &t) ||
	    !str_to_u64(step, &out->step))
		return false;
	out->when = (int64_t)t;
	out->ip = str_keep(a, ip);
	out->key = str_keep(a, line);
	return out->key.n > 0;
}

/* Whole lines only; the newest of each name. */
static bool take_text(str text, struct arena *a, struct map *by_key)
{
	str line;

	text = str_head(text, str_rfind(text, '\n'));
	while (str_cut(&text, '\n', &line)) {
		struct seen now = { 0 }, *before;

		if (!take_line(line, a, &now))
			continue;              /* a write cut short by a full disk */
		before = map_get(by_key, now.key);
		if (before == NULL) {
			before = ARENA_NEW(a, struct seen);
			if (before == NULL || !map_put(by_key, now.key, before))
				return false;
		}
		if (now.step < before->step)
			now.step = before->step;
		now.key = before->key.n > 0 ? before->key : now.key;
		*before = now;
	}
	return !a->spent;
}

static bool read_fd(int fd, struct arena *a, struct map *by_key, uint64_t *size)
{
	str text;

	if (account_file_read(fd, a, &text) != OK)
		return false;
	*size = text.n;
	return take_text(text, a, by_key);
}

bool seen_read(const char *file, struct arena *a, struct map *by_key)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	uint64_t size;
	bool good;

	if (fd < 0)
		return errno == ENOENT;
	good = read_fd(fd, a, by_key, &size);
	close(fd);
	return good;
}

/* ---- writing --------------------------------------------------------------------- */

void seen_note(struct auth *auth, struct standing *s, const char *ip, int64_t now, uint64_t step)
{
	int64_t before = atomic_load(&s->written);
	int fd = atomic_load(&auth->seen_fd);
	char line[1024];
	int n;

	if (fd < 0 || (step == 0 && now - before < APART_S && now >= before))
		return;
	/* Who is quicker writes. */
	if (!atomic_compare_exchange_strong(&s->written, &before, now) && step == 0)
		return;
	if (step == 0)
		step = atomic_load(&s->step);
	n = snprintf(line, sizeof(line), "%" PRId64 " %" PRIu64 " %s %.*s\n", now, step,
	             ip != NULL && ip[0] != '\0' ? ip : "-", STR_ARG(s->key));
	if (n > 0 && (size_t)n < sizeof(line) && write(fd, line, (size_t)n) != n)
		log_event(NULL, LOG_WARN, "seen.unwritten", KV_C("file", auth->seen_file),
		          KV_C("why", strerror(errno)));
}

/* ---- short again --------------------------------------------------------------------- */

static bool write_newest(int fd, const struct map *by_key)
{
	struct map_entry *e;
	struct buf b;
	bool good;

	buf_init(&b, BUF_UNBOUNDED);
	for (size_t at = 0; (e = map_next(by_key, &at)) != NULL;) {
		const struct seen *s = e->value;

		buf_addf(&b, "%" PRId64 " %" PRIu64 " %.*s %.*s\n", s->when, s->step,
			 STR_ARG(s->ip), STR_ARG(s->key));
	}
	good = !b.failed && write(fd, buf_str(&b).p, b.n) == (ssize_t)b.n && fsync(fd) == 0;
	buf_fini(&b);
	return good;
}

/* What the desk wrote while the new file was made. */
static void carry_over(int from, int to, off_t at)
{
	char part[4096];
	ssize_t n;

	while ((n = pread(from, part, sizeof(part), at)) > 0 && write(to, part, (size_t)n) == n)
		at += n;
}

/* The new file, in place; -1 with errno. */
static int make_short(const char *file, const struct map *by_key, struct arena *a)
{
	char *next = str_cstr(a, arena_printf(a, "%s.next", file));
	int fd, saved;

	if (next == NULL)
		return -1;
	unlink(next);
	fd = open(next, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -1;
	if (write_newest(fd, by_key) && rename(next, file) == 0)
		return fd;
	saved = errno;
	close(fd);
	unlink(next);
	errno = saved;
	return -1;
}

static void swap(struct auth *auth, int old, struct arena *a)
{
	struct map by_key;
	uint64_t size = 0;
	int fd = atomic_load(&auth->seen_fd), next;

	map_init(&by_key, false);
	next = read_fd(old, a, &by_key, &size) ? make_short(auth->seen_file, &by_key, a) : -1;
	if (next >= 0) {
		if (fd >= 0) {
			dup3(next, fd, O_CLOEXEC);
			carry_over(old, fd, (off_t)size);
			close(next);
		} else {
			atomic_store(&auth->seen_fd, next);
		}
	}
	auth->seen_room = 2 * size > ROOM_LEAST ? 2 * size : ROOM_LEAST;
	map_fini(&by_key);
}

void seen_shorten(struct auth *auth)
{
	struct arena a;
	struct stat st;
	int fd = atomic_load(&auth->seen_fd), old;

	if (fd < 0 || fstat(fd, &st) != 0 || (uint64_t)st.st_size < auth->seen_room)
		return;
	old = open(auth->seen_file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (old < 0)
		return;
	arena_init(&a, ARENA_UNBOUNDED);
	swap(auth, old, &a);
	arena_fini(&a);
	close(old);
}

/* ---- beginning and end ---------------------------------------------------------------- */

static void remember(struct auth *auth, const struct map *by_key)
{
	struct map_entry *e;

	for (size_t at = 0; (e = map_next(by_key, &at)) != NULL;) {
		const struct seen *was = e->value;
		struct standing *s = standing_of(auth, was->key);

		if (s == NULL)
			continue;
		atomic_store(&s->step, was->step);
		atomic_store(&s->written, was->when);
	}
}

/* A write that was cut short must not spoil the next. */
static void end_last_line(int fd)
{
	struct stat st;
	char last;

	if (fstat(fd, &st) == 0 && st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) == 1 &&
	    last != '\n' && write(fd, "\n", 1) != 1)
		log_event(NULL, LOG_DEBUG, "seen.unwritten", KV_C("why", strerror(errno)));
}

void seen_open(struct auth *auth, const char *file)
{
	struct map by_key;
	struct arena a;
	int fd;

	arena_init(&a, ARENA_UNBOUNDED);
	map_init(&by_key, false);
	auth->seen_file = strdup(file);
	auth->seen_room = ROOM_LEAST;
	if (auth->seen_file != NULL && seen_read(file, &a, &by_key))
		remember(auth, &by_key);
	fd = open(file, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	if (fd >= 0)
		end_last_line(fd);
	else
		log_event(NULL, LOG_WARN, "seen.unwritten", KV_C("file", file),
			  KV_C("why", strerror(errno)),
			  KV_C("means",
			       "last uses are not kept, and a TOTP code may be used again right "
			       "after a restart"));
	atomic_store(&auth->seen_fd, auth->seen_file != NULL ? fd : -1);
	map_fini(&by_key);
	arena_fini(&a);
	seen_shorten(auth);
}

void seen_close(struct auth *auth)
{
	int fd = atomic_exchange(&auth->seen_fd, -1);

	if (fd >= 0)
		close(fd);
	free(auth->seen_file);
	auth->seen_file = NULL;
}
