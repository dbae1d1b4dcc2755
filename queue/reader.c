/* SPDX-License-Identifier: ISC */
/*
 * Reading for deliveries and reports: each call its own short read
 * transaction.  Disk desk, verbs, and the main thread before the others run.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "queue/internal.h"

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

/* A recipient whose row is damaged is held for the operator; the others go on. */
static bool fill_rcpt(void *arg, str key, str row)
{
	struct queue_entry *e = arg;
	uint32_t n = record_key_number(key);
	struct queue_rcpt r;

	if (n >= e->nrcpts) {
		return true;
	}
	r = e->rcpts[n];
	if (record_read_rcpt(row, e->id, n, &e->arena, &r)) {
		e->rcpts[n] = r;
		return true;
	}
	e->rcpts[n].state = RCPT_HELD;
	e->rcpts[n].damaged = true;
	e->rcpts[n].said = STR(QUEUE_RCPT_DAMAGED);
	return true;
}

enum err entry_read(struct store_txn *t, uint64_t id, str row, struct queue_entry **out)
{
	struct queue_entry *e = entry_new();
	struct record_key k;
	uint32_t mark;

	if (e == NULL)
		return ERR_MEMORY;
	if (!record_read_message(row, id, e)) {
		queue_entry_free(e);
		return ERR_BAD;
	}
	k = record_key_message(e->id);
	store_each(t, TABLE_RCPT, key_of(&k), fill_rcpt, e);
	mark = mark_get(t, e->id);
	e->lives = MARK_LIVES(mark);
	e->aside = (mark & MARK_ASIDE) != 0;
	if (t->err != OK) {
		queue_entry_free(e);
		return t->err;
	}
	*out = e;
	return OK;
}

enum err queue_load(struct queue *q, uint64_t id, struct queue_entry **out)
{
	struct record_key k = record_key_message(id);
	struct store_txn t;
	enum err e = ERR_ABSENT;
	str row;

	store_read(q->store, &t);
	if (store_get(&t, TABLE_MESSAGE, key_of(&k), &row))
		e = entry_read(&t, id, row, out);
	else if (t.err != OK)
		e = t.err;
	store_end(&t);
	return e;
}

/* ---- all of them ------------------------------------------------------------------- */

/* Of a row that cannot be read only the key is known. */
static enum err entry_damaged(uint64_t id, struct queue_entry **out)
{
	struct queue_entry *e = entry_new();

	if (e == NULL)
		return ERR_MEMORY;
	e->id = id;
	e->damage = "its row";
	*out = e;
	return OK;
}

struct walking {
	struct store_txn *t;
	bool (*seen)(void *, struct queue_entry *);
	void *arg;
	enum err err;
};

static bool walk_one(void *arg, str key, str row)
{
	struct walking *w = arg;
	struct queue_entry *e = NULL;
	enum err got = entry_read(w->t, record_key_id(key), row, &e);

	if (got == ERR_BAD)
		got = entry_damaged(record_key_id(key), &e);
	if (got == OK)
		return w->seen(w->arg, e);
	w->err = got;
	return false;
}

enum err queue_walk_some(struct queue *q, uint64_t after, bool (*seen)(void *, struct queue_entry *), void *arg)
{
	struct record_key first = record_key_message(after + 1);
	struct store_txn t;
	struct walking w = { &t, seen, arg, OK };

	store_read(q->store, &t);
	store_each_from(&t, TABLE_MESSAGE, after == 0 ? STR_NONE : key_of(&first), walk_one, &w);
	if (t.err != OK)
		w.err = t.err;
	store_end(&t);
	return w.err;
}

struct all { void (*seen)(void *, struct queue_entry *); void *arg; };

static bool one_of_all(void *arg, struct queue_entry *e)
{
	const struct all *all = arg;

	all->seen(all->arg, e);
	return true;
}

enum err queue_walk(struct queue *q, void (*seen)(void *, struct queue_entry *), void *arg)
{
	struct all all = { seen, arg };

	return queue_walk_some(q, 0, one_of_all, &all);
}

/* ---- content ------------------------------------------------------------------------- */

/* Of a message that is there: without its file it is damaged. */
static enum err open_file(struct queue *q, uint64_t id, int *fd)
{
	char path[BODY_PATH];
	enum err e;

	*fd = open(body_path(q, id, path), O_RDONLY | O_CLOEXEC);
	e = *fd < 0 ? err_of_errno(errno) : OK;
	return e == ERR_ABSENT ? ERR_BAD : e;
}

/* As much as is there. */
static enum err read_file(int fd, uint64_t offset, char *out, size_t n, size_t *got)
{
	*got = 0;
	while (*got < n) {
		ssize_t r = pread(fd, out + *got, n - *got, (off_t)(offset + *got));

		if (r == 0)
			break;
		if (r < 0 && errno != EINTR)
			return ERR_IO;
		if (r > 0)
			*got += (size_t)r;
	}
	return OK;
}

static enum err read_once(struct queue *q, uint64_t id, uint64_t offset, char *out, size_t n, size_t *got)
{
	int fd;
	enum err e = open_file(q, id, &fd);

	if (e != OK)
		return e;
	e = read_file(fd, offset, out, n, got);
	close(fd);
	return e;
}

static enum err read_rows(struct store_txn *t, const struct record_summary *m, uint64_t offset, char *out, size_t n,
                          size_t *got)
{
	while (*got < n) {
		uint64_t at = offset + *got;
		uint32_t number = (uint32_t)(at / m->piece);
		struct record_key k = record_key_part(m->id, number);
		str row, body;

		if (!store_get(t, TABLE_BODY, key_of(&k), &row))
			break;
		if (!record_open(row, (struct record_name){ RECORD_BODY_ROW, m->id, number }, &body))
			return ERR_BAD;
		body = str_head(str_skip(body, at % m->piece), n - *got);
		if (body.n == 0)
			break;
		memcpy(out + *got, body.p, body.n);
		*got += body.n;
	}
	return t->err;
}

static enum err find(struct store_txn *t, uint64_t id, struct record_summary *m)
{
	struct record_key k = record_key_message(id);
	str row;

	if (store_get(t, TABLE_MESSAGE, key_of(&k), &row))
		return record_peek(row, id, m) ? OK : ERR_BAD;
	return t->err != OK ? t->err : ERR_ABSENT;
}

/* What the message row counts must all be there: a content that ends early is
 * damaged, never delivered short. */
enum err queue_read(struct queue *q, uint64_t id, bool in_file, uint64_t offset, char *out, size_t n, size_t *got)
{
	struct record_summary m;
	struct store_txn t;
	enum err e;

	*got = 0;
	store_read(q->store, &t);
	e = find(&t, id, &m);
	if (e == OK) {
		uint64_t left = offset < m.bytes ? m.bytes - offset : 0;

		n = left < n ? (size_t)left : n;
		if (!in_file)
			e = read_rows(&t, &m, offset, out, n, got);
	}
	store_end(&t);                          /* a file is read without it */
	if (e == OK && in_file)
		e = read_once(q, id, offset, out, n, got);
	if (e == OK && *got < n)
		e = ERR_BAD;
	return e;
}

enum err queue_body_open(struct queue *q, uint64_t id, int *fd)
{
	struct record_summary m;
	struct store_txn t;
	enum err e;

	*fd = -1;
	store_read(q->store, &t);
	e = find(&t, id, &m);
	store_end(&t);
	return e == OK ? open_file(q, id, fd) : e;
}

enum err queue_body_read(int fd, uint64_t offset, char *out, size_t n)
{
	size_t got;
	enum err e = read_file(fd, offset, out, n, &got);

	return e == OK && got < n ? ERR_BAD : e;
}
