/* SPDX-License-Identifier: ISC */
/*
 * What the journal holds and the store does not, after a crash.
 *
 * A block counts when its head is good and this store's, its number the one
 * behind that of the block before, and all its rows are good: the first that is
 * not so ends it, since what comes behind was written in an earlier round.  A
 * message that the store has, or knows to be finished, is left out: a store that was
 * put together again may have forgotten what it has, or have a part of it only.
 * Main thread.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/journal.h"
#include "queue/journal_inside.h"
#include "smtpd/base/clock.h"

#define RCPT_ROW ((size_t)4096)
#define WHY_HELD "the store that had it was damaged, and it may have been delivered already: release it to send it, or remove it"

struct block { uint64_t number, round; uint32_t rows; str text; size_t bytes; };

struct reading {
	struct queue    *q;
	struct store_txn t;
	bool             counts;      /* and takes nothing in: there is no transaction */
	uint64_t         perhaps;     /* the store may have the blocks up to this one */
	uint64_t         last;        /* block that was met */
	uint64_t         highest_id;
	bool             held;        /* the store may have had this block */
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
	*b = (struct block){ name.id, number_at(about, 16), name.number, str_head(str_skip(rest, JOURNAL_HEAD), (size_t)bytes),
	                     journal_aligned(JOURNAL_HEAD + (size_t)bytes) };
	return all_rows_are_good(b->text, b->rows);
}

/* ---- taking in -------------------------------------------------------------------------- */

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

static bool is_there(struct store_txn *t, enum table table, uint64_t id)
{
	struct record_key k = record_key_message(id);
	str row;

	return store_get(t, table, key_of(&k), &row);
}

static struct record_key key_of_row(const struct record_name *name)
{
	return name->kind == RECORD_MESSAGE ? record_key_message(name->id) : record_key_part(name->id, name->number);
}

/* The content, octet by octet; `rows` begin with the message's own. */
static bool has_content(struct store_txn *t, str rows)
{
	struct record_name name;
	size_t n;

	for (; record_recognise(rows, &name, &n); rows = str_skip(rows, n)) {
		struct record_key k = key_of_row(&name);
		str row;

		if (name.kind == RECORD_BODY_ROW && (!store_get(t, TABLE_BODY, key_of(&k), &row) || !str_eq(row, str_head(rows, n))))
			return false;
	}
	return true;
}

static void forget(struct store_txn *t, uint64_t id)
{
	struct record_key k = record_key_message(id);

	store_delete_prefix(t, TABLE_RCPT, key_of(&k));
	store_delete_prefix(t, TABLE_BODY, key_of(&k));
	store_delete(t, TABLE_MARK, key_of(&k));
}

static void put_rows(struct store_txn *t, str rows)
{
	struct record_name name;
	size_t n;

	for (; record_recognise(rows, &name, &n); rows = str_skip(rows, n)) {
		struct record_key k = key_of_row(&name);

		store_put(t, name.kind == RECORD_MESSAGE ? TABLE_MESSAGE : TABLE_BODY, key_of(&k), str_head(rows, n));
	}
}

/* All its recipients, until somebody has looked. */
static void hold(struct store_txn *t, uint64_t id, str rows)
{
	struct queue_rcpt r = { .state = RCPT_HELD, .changed = clock_wall(), .said = STR(WHY_HELD) };
	struct record_summary m = { 0 };
	struct record_name name;
	struct buf row;
	size_t n;

	if (!record_recognise(rows, &name, &n) || !record_peek(str_head(rows, n), id, &m))
		return;
	buf_init(&row, RCPT_ROW);
	for (uint32_t i = 0; i < m.nrcpts; i++) {
		struct record_key k = record_key_part(id, i);

		buf_clear(&row);
		record_rcpt(&row, id, i, &r);
		store_put(t, TABLE_RCPT, key_of(&k), buf_str(&row));
	}
	buf_fini(&row);
}

static void take_message(struct reading *r, uint64_t id, str rows)
{
	struct store_txn *t = &r->t;

	r->highest_id = id > r->highest_id ? id : r->highest_id;
	if (!r->counts) {
		if (is_there(t, TABLE_FINISHED, id) || (is_there(t, TABLE_MESSAGE, id) && has_content(t, rows)))
			return;
		forget(t, id);
		put_rows(t, rows);
		if (r->held)
			hold(t, id, rows);
	}
	r->taken++;
}

/* How long a message's rows are, its own and those of its content. */
static size_t rows_of_one(str rest, uint64_t *id)
{
	struct record_name name;
	size_t n, all = 0;

	for (; record_recognise(str_skip(rest, all), &name, &n); all += n) {
		if (all > 0 && name.kind == RECORD_MESSAGE)
			break;
		*id = name.id;
	}
	return all;
}

static void take_block(struct reading *r, const struct block *b)
{
	uint64_t id = 0;
	size_t n;

	for (str rest = b->text; (n = rows_of_one(rest, &id)) > 0; rest = str_skip(rest, n))
		take_message(r, id, str_head(rest, n));
}

/* Of one half: its blocks that the store does not have. */
static void take_half(struct reading *r, str half)
{
	uint64_t store = queue_random(r->q);
	struct block b, before = { 0 };

	for (; block_at(half, store, &b); half = str_skip(half, b.bytes), before = b) {
		if (before.number != 0 && (b.number != before.number + 1 || b.round != before.round))
			return;
		r->held = b.number <= r->perhaps;
		if (b.number > r->q->journal_said)
			take_block(r, &b);
		r->last = b.number > r->last ? b.number : r->last;
	}
}

/* Ids stay unique, also when all of these have gone and the clock has stepped back. */
static void reserve_ids(struct reading *r)
{
	uint64_t reserved = r->highest_id + ID_AHEAD;

	if (reserved <= r->q->id_reserved)
		return;
	meta_put(&r->t, "reserved", reserved);
	r->q->id_reserved = reserved;
	queue_raise_id(r->q, reserved);
}

static enum err take_all(struct reading *r, str all)
{
	enum err e;

	store_begin(r->q->store, &r->t);
	r->perhaps = meta_get(&r->t, "journal-max");
	take_half(r, str_head(all, JOURNAL_HALF));
	take_half(r, str_skip(all, JOURNAL_HALF));
	if (r->last <= r->q->journal_said) {
		store_end(&r->t);
		return r->t.err;
	}
	reserve_ids(r);
	meta_put(&r->t, "journal", r->last);
	e = store_commit(&r->t);
	if (e == OK)
		r->q->journal_said = r->last;
	return e;
}

static enum err count_all(struct reading *r, str all)
{
	r->counts = true;
	take_half(r, str_head(all, JOURNAL_HALF));
	take_half(r, str_skip(all, JOURNAL_HALF));
	return OK;
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

static enum err go_through(struct reading *r, enum err (*what)(struct reading *, str))
{
	int fd = open(r->q->journal_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char *all;
	size_t n;
	enum err e;

	if (fd < 0)
		return errno == ENOENT ? OK : ERR_IO;
	all = malloc(JOURNAL_BYTES);
	e = all != NULL ? read_all(fd, all, &n) : ERR_MEMORY;
	if (e == OK)
		e = what(r, (str){ all, n });
	free(all);
	close(fd);
	return e;
}

enum err journal_take_in(struct queue *q, size_t *taken)
{
	struct reading r = { .q = q };
	enum err e = go_through(&r, take_all);

	*taken = r.taken;
	return e;
}

size_t journal_waiting(struct queue *q)
{
	struct reading r = { .q = q };

	return go_through(&r, count_all) == OK ? r.taken : 0;
}
