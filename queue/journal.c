/* SPDX-License-Identifier: ISC */
/*
 * Blocks are composed in memory and written in one piece.  Committer thread.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/journal.h"
#include "queue/journal_inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

#define AGAIN_MS 60000                /* when it could not be made: the next try */

struct journal {
	const struct queue *q;
	int            fd;            /* -1: not yet wanted */
	uint64_t       last;
	uint64_t       round;
	uint64_t       not_before_ms; /* it could not be made: the next try */
	size_t         at;            /* of the file, the next block … */
	size_t         end;           /* … and of its half */
	unsigned char *block;         /* the one that is being composed … */
	size_t         n;             /* … so far; 0: none */
	uint32_t       rows;
};

struct journal *journal_new(const struct queue *q, uint64_t last)
{
	struct journal *j = calloc(1, sizeof(*j));

	if (j == NULL)
		return NULL;
	j->q = q;
	j->fd = -1;
	j->last = last;
	j->end = JOURNAL_HALF;
	random_bytes(&j->round, sizeof(j->round));
	return j;
}

void journal_free(struct journal *j)
{
	if (j == NULL)
		return;
	if (j->fd >= 0)
		close(j->fd);
	free(j->block);
	free(j);
}

uint64_t journal_last(const struct journal *j)
{
	return j->last;
}

void journal_turn(struct journal *j)
{
	j->at = j->end % JOURNAL_BYTES;
	j->end = j->at + JOURNAL_HALF;
	random_bytes(&j->round, sizeof(j->round));
}

void journal_drop(struct journal *j)
{
	j->n = 0;
	j->rows = 0;
}

/* ---- composing ---------------------------------------------------------------------- */

static bool begin(struct journal *j)
{
	if (j->block == NULL)
		j->block = malloc(JOURNAL_BLOCK);
	j->n = j->n == 0 ? JOURNAL_HEAD : j->n;
	return j->block != NULL;
}

static void append(struct journal *j, const void *p, size_t n)
{
	memcpy(j->block + j->n, p, n);
	j->n += n;
}

bool journal_add(struct journal *j, const struct queue_put *p)
{
	str rest = p->entry->content, row = buf_str(&p->row);
	size_t n = row.n + p->seals.n + rest.n;

	if (!begin(j) || n > JOURNAL_BLOCK - j->n)
		return false;
	append(j, row.p, row.n);
	j->rows++;
	for (size_t i = 0; rest.n > 0; i++) {
		str piece = str_head(rest, RECORD_BODY);

		append(j, p->seals.p + i * RECORD_HEAD, RECORD_HEAD);
		append(j, piece.p, piece.n);
		j->rows++;
		rest = str_skip(rest, piece.n);
	}
	return true;
}

static void seal(struct journal *j)
{
	const uint64_t about[3] = { htole64(queue_random(j->q)), htole64(j->n - JOURNAL_HEAD), htole64(j->round) };
	size_t end = journal_aligned(j->n);

	memcpy(j->block + RECORD_HEAD, about, sizeof(about));
	record_head(j->block, (struct record_name){ RECORD_BLOCK, j->last, j->rows }, (str){ (const char *)about, sizeof(about) });
	memset(j->block + j->n, 0, end - j->n);
	j->n = end;
}

/* ---- the file -------------------------------------------------------------------------- */

static enum err write_all(int fd, const unsigned char *p, size_t n, size_t at)
{
	while (n > 0) {
		ssize_t done = pwrite(fd, p, n, (off_t)at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? err_of_errno(errno) : ERR_IO;
		p += done;
		at += (size_t)done;
		n -= (size_t)done;
	}
	return OK;
}

/* All of it has its place on the disk from here on. */
static enum err fill(int fd)
{
	unsigned char *zeros = calloc(1, JOURNAL_BLOCK);
	enum err e = zeros != NULL ? OK : ERR_MEMORY;

	for (size_t at = 0; e == OK && at < JOURNAL_BYTES; at += JOURNAL_BLOCK)
		e = write_all(fd, zeros, JOURNAL_BLOCK, at);
	free(zeros);
	return e == OK && fsync(fd) != 0 ? err_of_errno(errno) : e;
}

/* The life that made it may have ended before its name was safe. */
static enum err make_ready(int fd, const char *folder)
{
	struct stat st;
	enum err e = fstat(fd, &st) == 0 ? OK : err_of_errno(errno);

	if (e == OK && st.st_size != (off_t)JOURNAL_BYTES)
		e = fill(fd);
	return e == OK ? sync_folder(folder) : e;
}

static enum err open_file(struct journal *j)
{
	int fd = open(j->q->journal_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	enum err e;

	if (fd < 0)
		return err_of_errno(errno);
	e = make_ready(fd, j->q->folder);
	if (e == OK) {
		j->fd = fd;
		return OK;
	}
	close(fd);
	unlink(j->q->journal_path);          /* half of it is of no use, and takes room */
	return e;
}

/* Without it each batch is a commit of the store: slower, as safe. */
static bool has_file(struct journal *j)
{
	enum err e;

	if (j->fd >= 0)
		return true;
	if (clock_ms() < j->not_before_ms)
		return false;
	e = open_file(j);
	if (e == OK)
		return true;
	j->not_before_ms = clock_ms() + AGAIN_MS;
	log_event(NULL, LOG_WARN, "queue.journal", KV_C("file", j->q->journal_path), KV_C("why", err_text(e)),
	          KV_C("next", "mail is taken all the same, more slowly when much comes at once; it is tried again in a minute"));
	return false;
}

static enum err put_down(struct journal *j, size_t n)
{
	enum err e = write_all(j->fd, j->block, n, j->at);

	return e == OK && fdatasync(j->fd) != 0 ? err_of_errno(errno) : e;
}

/* A block that failed may lie there whole, and whoever is refused now must not be
 * in it: zeros in the place of its head take it back. */
static enum err take_back(struct journal *j, enum err e)
{
	memset(j->block, 0, JOURNAL_ALIGN);
	return put_down(j, JOURNAL_ALIGN) == OK ? e : ERR_IO;
}

/* A number that failed is used up, so nothing may come behind it in this round. */
enum err journal_sync(struct journal *j)
{
	size_t n = journal_aligned(j->n);
	enum err e = n <= j->end - j->at && has_file(j) ? OK : ERR_FULL;

	if (e == OK) {
		j->last++;
		seal(j);
		e = put_down(j, n);
		if (e != OK && e != ERR_IO)
			e = take_back(j, ERR_FULL);
		j->at = e == OK ? j->at + n : j->end;
	}
	journal_drop(j);
	return e;
}
