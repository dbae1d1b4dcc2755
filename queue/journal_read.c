/* SPDX-License-Identifier: ISC */
/*
 * What the journal holds and the store does not, after a crash.
 *
 * A block counts when its head is good and this store's, its number the one
 * behind that of the block before, and all its rows are good: the first that is
 * not so ends it, since what comes behind was written in an earlier round.  A
 * message that the store knows, or knows to be finished, is left out: only a store
 * that was put together again can have forgotten what it has.  Main thread.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/journal.h"
#include "queue/journal_inside.h"

struct block { uint64_t number; uint32_t rows; str text; size_t bytes; };

struct reading {
	struct queue    *q;
	struct store_txn t;
	uint64_t         last;        /* block that was met */
	bool             known;       /* the message whose rows come has been left out */
	size_t           taken;
};

/* ---- recognising ---------------------------------------------------------------------- */

static uint64_t number_at(str s, size_t at)
{
	uint64_t v;

	memcpy(&v, s.p + at, sizeof(v));
	return le64toh(v);
}

static bool all_rows_are_good(str text, uint32_t rows)
{
	struct record_name name;
	size_t n;

	for (; rows > 0 && record_recognise(text, &name, &n); rows--) {
		if (name.kind != RECORD_MESSAGE && name.kind != RECORD_BODY_ROW)
			return false;
		text = str_skip(text, n);
	}
	return rows == 0 && text.n == 0;
}

static bool block_at(str rest, uint64_t store, struct block *b)
{
	struct record_name name;
	uint64_t bytes;
	str about;
	size_t n;

	if (!record_recognise(rest, &name, &n) || name.kind != RECORD_BLOCK || n != JOURNAL_HEAD)
		return false;
	about = str_skip(rest, RECORD_HEAD);
	bytes = number_at(about, 8);
	if (number_at(about, 0) != store || bytes > rest.n - JOURNAL_HEAD)
		return false;
	*b = (struct block){ name.id, name.number, str_head(str_skip(rest, JOURNAL_HEAD), (size_t)bytes), journal_aligned(JOURNAL_HEAD + (size_t)bytes) };
	return all_rows_are_good(b->text, b->rows);
}

/* ---- taking in -------------------------------------------------------------------------- */

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

static bool is_known(struct store_txn *t, uint64_t id)
{
	struct record_key k = record_key_message(id);
	str row;

	return store_get(t, TABLE_MESSAGE, key_of(&k), &row) || store_get(t, TABLE_FINISHED, key_of(&k), &row);
}

static void take_row(struct reading *r, struct record_name name, str row)
{
	bool is_message = name.kind == RECORD_MESSAGE;
	struct record_key k = is_message ? record_key_message(name.id) : record_key_part(name.id, name.number);

	if (is_message) {
		queue_raise_id(r->q, name.id);
		r->known = is_known(&r->t, name.id);
		r->taken += !r->known;
	}
	if (!r->known)
		store_put(&r->t, is_message ? TABLE_MESSAGE : TABLE_BODY, key_of(&k), row);
}

static void take_block(struct reading *r, const struct block *b)
{
	struct record_name name;
	str rest = b->text;
	size_t n;

	for (; record_recognise(rest, &name, &n); rest = str_skip(rest, n))
		take_row(r, name, str_head(rest, n));
}

/* Of one half: its blocks that the store does not have. */
static void take_half(struct reading *r, str half)
{
	uint64_t store = queue_random(r->q), before = 0;
	struct block b;

	for (; block_at(half, store, &b) && (before == 0 || b.number == before + 1); half = str_skip(half, b.bytes)) {
		if (b.number > r->q->journal_said)
			take_block(r, &b);
		r->last = b.number > r->last ? b.number : r->last;
		before = b.number;
	}
}

static enum err take_all(struct reading *r, str all)
{
	enum err e;

	store_begin(r->q->store, &r->t);
	take_half(r, str_head(all, JOURNAL_HALF));
	take_half(r, str_skip(all, JOURNAL_HALF));
	if (r->last <= r->q->journal_said) {
		store_end(&r->t);
		return r->t.err;
	}
	meta_put(&r->t, "journal", r->last);
	e = store_commit(&r->t);
	if (e == OK)
		r->q->journal_said = r->last;
	return e;
}

/* ---- the file ----------------------------------------------------------------------------- */

static enum err read_all(int fd, char *p, size_t *n)
{
	for (*n = 0; *n < JOURNAL_BYTES;) {
		ssize_t got = pread(fd, p + *n, JOURNAL_BYTES - *n, (off_t)*n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_of_errno(errno);
		if (got == 0)
			break;
		*n += (size_t)got;
	}
	return OK;
}

enum err journal_take_in(struct queue *q, size_t *taken)
{
	int fd = open(q->journal_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct reading r = { .q = q };
	char *all;
	size_t n;
	enum err e;

	*taken = 0;
	if (fd < 0)
		return errno == ENOENT ? OK : ERR_IO;
	all = malloc(JOURNAL_BYTES);
	e = all != NULL ? read_all(fd, all, &n) : ERR_MEMORY;
	if (e == OK)
		e = take_all(&r, (str){ all, n });
	free(all);
	close(fd);
	*taken = r.taken;
	return e;
}
