/* SPDX-License-Identifier: ISC */
/*
 * Where a message's bytes gather: memory first, then an unnamed file.
 *
 * One piece is on its way to the disk at a time; while it flies the next one
 * gathers, and when that is full too the reader is told to stop.  Two buffers
 * change places.  A piece is whole pages at a place in the file that is a multiple
 * of its size, so that the page cache holds it in few large folios.  Loop thread;
 * the marked functions run on the disk desk, which touches only fd, flying and
 * err while a job is out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/internal.h"
#include "smtpd/base/loop.h"

/* A piece, and what was read behind its end; the first is what had place in memory. */
#define SPOOL_ROOM (SPOOL_PIECE + LOOP_SCRATCH)
#define FIRST_ROOM (QUEUE_ROWS_MAX + LOOP_SCRATCH)

struct spool *spool_new(struct queue *q, struct mbox *home)
{
	struct spool *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->queue = q;
	s->home = home;
	s->fd = -1;
	return s;
}

static void destroy(struct spool *s)
{
	if (s->fd >= 0)
		close(s->fd);           /* an unnamed file goes with its last descriptor */
	free(s->p);
	free(s->flying);
	free(s->spare);
	free(s);
}

void spool_drop(struct spool *s)
{
	if (s == NULL)
		return;
	s->ghost = true;
	if (!s->out)
		destroy(s);
}

enum err spool_error(const struct spool *s)
{
	return s->lost != OK || s->out ? s->lost : s->err;
}

uint64_t spool_bytes(const struct spool *s)
{
	return s->bytes;
}

size_t spool_memory(const struct spool *s)
{
	return s->room + s->flying_room + s->spare_room;
}

void spool_on_ready(struct spool *s, void (*ready)(void *), void *arg)
{
	s->ready = ready;
	s->ready_arg = arg;
}

/* ---- on the disk desk ------------------------------------------------------------- */

static enum err write_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t got = write(fd, p, n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_of_errno(errno);
		if (got == 0)
			return ERR_IO;
		p += got;
		n -= (size_t)got;
	}
	return OK;
}

enum err sync_folder(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum err e = fd >= 0 && fsync(fd) == 0 ? OK : err_of_errno(errno);

	if (fd >= 0)
		close(fd);
	return e;
}

static enum err link_in(struct spool *s)
{
	char from[64], to[BODY_PATH];
	enum err e;

	snprintf(from, sizeof(from), "/proc/self/fd/%d", s->fd);
	if (fsync(s->fd) != 0 ||
	    linkat(AT_FDCWD, from, AT_FDCWD, body_path(s->queue, s->name, to), AT_SYMLINK_FOLLOW) != 0)
		return err_of_errno(errno);
	e = sync_folder(s->queue->bodies);
	if (e != OK)
		unlink(to);
	return e;
}

static void fly(struct job *j)
{
	struct spool *s = SUPER(j, struct spool, job);

	if (s->err == OK && s->fd < 0) {
		s->fd = open(s->queue->bodies, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
		s->err = s->fd < 0 ? err_of_errno(errno) : OK;
	}
	if (s->err == OK)
		s->err = write_all(s->fd, s->flying, s->nflying);
	if (s->err == OK && s->finishing)
		s->err = link_in(s);
}

/* ---- on the loop -------------------------------------------------------------------- */

static void landed(struct baton *b);

/* The buffer that gathers next, of at least so many bytes: the one that came home,
 * or a new one.  NULL: no memory. */
static char *next_buffer(struct spool *s, size_t least, size_t *room)
{
	char *p = s->spare;

	if (p != NULL && s->spare_room >= least) {
		*room = s->spare_room;
		s->spare = NULL;
		s->spare_room = 0;
		return p;
	}
	*room = least > SPOOL_ROOM ? least : SPOOL_ROOM;
	return malloc(*room);
}

/* What is no whole piece yet goes on gathering: it is carried over. */
static void carry_over(struct spool *s, size_t n)
{
	size_t room;
	char *p = next_buffer(s, n, &room);

	if (p == NULL)
		return;                 /* then it goes, too: pieces in step are an advantage, no must */
	memcpy(p, s->flying + s->nflying - n, n);
	s->nflying -= n;
	s->p = p;
	s->n = n;
	s->room = room;
}

static void send_piece(struct spool *s)
{
	size_t rest = s->n % SPOOL_PIECE;

	s->flying = s->p;
	s->nflying = s->n;
	s->flying_room = s->room;
	s->p = NULL;
	s->n = s->room = 0;
	if (!s->finishing && rest > 0)
		carry_over(s, rest);
	s->out = true;
	s->job.work = fly;
	s->job.baton.home = s->home;
	s->job.baton.arrived = landed;
	desk_submit_anyway(s->queue->disk, &s->job);
}

/* One that is larger than others need to be is not kept. */
static void keep_spare(struct spool *s)
{
	bool keep = s->flying_room <= SPOOL_ROOM;

	free(keep ? s->spare : s->flying);
	if (keep) {
		s->spare = s->flying;
		s->spare_room = s->flying_room;
	}
	s->flying = NULL;
	s->nflying = s->flying_room = 0;
}

static void landed(struct baton *b)
{
	struct spool *s = SUPER(SUPER(b, struct job, baton), struct spool, job);
	bool finished = s->finishing && s->n == 0;

	s->out = false;
	if (s->err == OK)
		s->err = s->lost;
	keep_spare(s);
	if (s->ghost) {
		destroy(s);
		return;
	}
	if (s->finished != NULL) {
		if (finished || s->err != OK) {
			s->finished(s->finished_arg, s->err);
			return;
		}
		s->finishing = true;
		send_piece(s);
		return;
	}
	if (s->err == OK && s->n >= SPOOL_PIECE)
		send_piece(s);
	if (!s->told)
		return;
	s->told = false;
	if (s->ready != NULL)
		s->ready(s->ready_arg);
}

static bool make_room(struct spool *s, size_t n)
{
	size_t room = s->room ? s->room : 4096, least = s->n + n;
	char *p;

	if (least <= s->room)
		return true;
	while (room < least)
		room *= 2;
	if (room > FIRST_ROOM && least <= FIRST_ROOM)
		room = FIRST_ROOM;
	p = s->p == NULL && s->in_file ? next_buffer(s, least, &room) : realloc(s->p, room);
	if (p == NULL) {
		s->lost = ERR_MEMORY;
		return false;
	}
	s->p = p;
	s->room = room;
	return true;
}

bool spool_add(struct spool *s, str bytes)
{
	if (spool_error(s) != OK || bytes.n == 0)
		return true;            /* latched: the rest may come, it goes nowhere */
	if (!make_room(s, bytes.n))
		return true;
	memcpy(s->p + s->n, bytes.p, bytes.n);
	s->n += bytes.n;
	s->bytes += bytes.n;
	if (s->bytes > QUEUE_ROWS_MAX)
		s->in_file = true;
	if (!s->in_file || s->n < SPOOL_PIECE)
		return true;
	if (s->out) {
		s->told = true;
		return false;
	}
	send_piece(s);
	return true;
}

void spool_finish(struct spool *s, uint64_t id, void (*finished)(void *, enum err), void *arg)
{
	s->name = id;
	s->finished = finished;
	s->finished_arg = arg;
	if (s->out)
		return;                 /* landed() goes on from there */
	s->finishing = true;
	send_piece(s);
}
