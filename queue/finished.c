/* SPDX-License-Identifier: ISC */
/*
 * What became of a message: one small row, written by the transaction that
 * deletes its others, kept for some days.
 *
 * These rows never stand in the way of mail.  They are removed from the front
 * (the oldest ids) a few at a time: when they are too old, when all of them take
 * more than a quarter of the map, and, faster, when the map is half full.
 * Committer thread, but for queue_finished.
 */
#include "queue/internal.h"
#include "smtpd/base/clock.h"

#define PURGE_USUAL  16              /* rows at a time, beside two for each that comes … */
#define PURGE_HURRY  512             /* … and when room is short */
#define ROW_MAX      ((size_t)4 << 20)

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

/* ---- writing ----------------------------------------------------------------------------- */

static bool fill_rcpt(void *arg, str key, str row)
{
	struct queue_entry *e = arg;
	uint32_t n = record_key_number(key);
	struct queue_rcpt r;

	if (n >= e->nrcpts)
		return true;
	r = e->rcpts[n];
	if (record_read_rcpt(row, e->id, n, &e->arena, &r))
		e->rcpts[n] = r;
	return true;
}

/* Composed before the rows go, because it is made of what lies in them; a
 * message is never kept for the sake of its record. */
void finished_compose(struct store_txn *t, struct ledger *l, uint64_t id, str row, const struct queue_rcpt *only)
{
	struct queue_entry e = { 0 };
	struct record_key k = record_key_message(id);

	buf_clear(&l->row);
	if (!l->keep || row.n > ROW_MAX)
		return;
	arena_init(&e.arena, 4 * ROW_MAX);
	if (record_borrow_message(row, id, &e.arena, &e)) {
		if (only == NULL) {
			store_each(t, TABLE_RCPT, key_of(&k), fill_rcpt, &e);
		} else {
			struct queue_rcpt r = *only;

			r.address = e.rcpts[0].address;
			r.flags = e.rcpts[0].flags;
			e.rcpts[0] = r;
		}
		record_finished(&l->row, &e, clock_wall());
	}
	arena_fini(&e.arena);
}

void finished_write(struct store_txn *t, struct ledger *l, uint64_t id)
{
	struct record_key k = record_key_message(id);

	if (!l->keep || l->row.n == 0 || l->row.failed)
		return;
	store_put_last(t, TABLE_FINISHED, key_of(&k), buf_str(&l->row));
	l->written++;
}

void ledger_init(struct ledger *l)
{
	*l = (struct ledger){ 0 };
	buf_init(&l->row, ROW_MAX);
}

void ledger_fini(struct ledger *l)
{
	buf_fini(&l->row);
}

/* ---- removing ------------------------------------------------------------------------------ */

static bool take_too_much(struct store_txn *t, const struct queue *q)
{
	uint64_t rows, bytes;

	store_size(t, TABLE_FINISHED, &rows, &bytes);
	return bytes > atomic_load(&q->size) / 4;
}

/* So is one that is damaged: it could stand in front of the others for ever. */
static bool is_old(const struct queue *q, str key, str row)
{
	int64_t at;

	return !record_finished_at(row, record_key_id(key), &at) || at <= clock_wall() - (int64_t)(q->conf.keep_finished_ms / 1000);
}

size_t finished_purge(struct store_txn *t, struct ledger *l, const struct queue *q)
{
	bool hurry = l->hurry || take_too_much(t, q);
	size_t most = 2 * l->written + (hurry ? PURGE_HURRY : PURGE_USUAL), n = 0;
	str key, row;

	while (n < most && store_first(t, TABLE_FINISHED, &key, &row) && (hurry || is_old(q, key, row))) {
		store_delete(t, TABLE_FINISHED, key);
		n++;
	}
	return n;
}

bool finished_wait(const struct queue *q)
{
	struct store_txn t;
	str key, row;
	bool any;

	store_read(q->store, &t);
	any = store_first(&t, TABLE_FINISHED, &key, &row) && is_old(q, key, row);
	store_end(&t);
	return any;
}

/* ---- reading -------------------------------------------------------------------------------- */

enum err queue_finished(struct queue *q, uint64_t id, struct queue_entry **out, int64_t *at)
{
	struct record_key k = record_key_message(id);
	struct queue_entry *e = entry_new();
	struct store_txn t;
	enum err err = ERR_ABSENT;
	str row;

	if (e == NULL)
		return ERR_MEMORY;
	store_read(q->store, &t);
	if (store_get(&t, TABLE_FINISHED, key_of(&k), &row))
		err = record_read_finished(row, id, e, at) ? OK : ERR_BAD;
	else if (t.err != OK)
		err = t.err;
	store_end(&t);
	if (err == OK)
		*out = e;
	else
		queue_entry_free(e);
	return err;
}
