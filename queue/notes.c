/* SPDX-License-Identifier: ISC */
/*
 * Notes: small things that other rooms keep in the store.  A note travels to
 * the committer inside a carrier that looks like fates, and so goes ahead of
 * puts and is never lost to a full map.
 */
#include <stdlib.h>

#include "queue/internal.h"

#define KEY_MAX   200
#define VALUE_MAX ((size_t)64 << 10)

struct queue_note *queue_note_new(void)
{
	struct queue_note *n = calloc(1, sizeof(*n));

	if (n != NULL)
		arena_init(&n->arena, ARENA_UNBOUNDED);
	return n;
}

void queue_note_free(struct queue_note *n)
{
	if (n == NULL)
		return;
	arena_fini(&n->arena);
	free(n);
}

static void carrier_is_home(struct baton *b)
{
	struct queue_fates *carrier = SUPER(b, struct queue_fates, baton);
	struct queue_note *n = SUPER(carrier, struct queue_note, carrier);

	n->result = carrier->result;
	n->baton.arrived(&n->baton);
}

static bool is_good(const struct queue_note *n)
{
	return n->key.n > 0 && n->key.n <= KEY_MAX && n->value.n <= VALUE_MAX && !n->arena.spent;
}

void queue_note_put(struct queue *q, struct queue_note *n)
{
	n->carrier = (struct queue_fates){
		.baton = { .home = n->baton.home, .arrived = carrier_is_home, .first = true, .weight = n->value.n },
		.is_note = true,
	};
	n->carrier.result = is_good(n) ? OK : ERR_BAD;
	mbox_send(n->carrier.result == OK ? q->inbox : n->baton.home, &n->carrier.baton);
}

/* Committer thread. */
enum err note_write(struct store_txn *t, const struct queue_note *n)
{
	struct buf row;
	enum err e = OK;

	if (n->value.p == NULL) {
		store_delete(t, TABLE_NOTE, n->key);
		return OK;
	}
	buf_init(&row, 2 * VALUE_MAX);
	record_note(&row, n->key, n->value);
	if (row.failed)
		e = ERR_MEMORY;
	else
		store_put(t, TABLE_NOTE, n->key, buf_str(&row));
	buf_fini(&row);
	return e;
}

/* ---- reading ----------------------------------------------------------------------------- */

bool queue_note_get(struct queue *q, str key, struct arena *a, str *value)
{
	struct store_txn t;
	bool found = false;
	str row, is, v;

	if (key.n == 0 || key.n > KEY_MAX)
		return false;
	store_read(q->store, &t);
	if (store_get(&t, TABLE_NOTE, key, &row) && record_read_note(row, &is, &v) && str_eq(is, key)) {
		*value = v.n > 0 ? str_keep(a, v) : STR("");
		found = value->p != NULL;
	}
	store_end(&t);
	return found;
}

struct looking { bool (*seen)(void *, str, str); void *arg; };

/* One that is damaged is as good as absent: notes can be had again. */
static bool look(void *arg, str key, str row)
{
	const struct looking *l = arg;
	str is, value;

	if (!record_read_note(row, &is, &value) || !str_eq(is, key))
		return true;
	return l->seen(l->arg, key, value);
}

void queue_notes_each(struct queue *q, str prefix, bool (*seen)(void *, str, str), void *arg)
{
	struct looking l = { seen, arg };
	struct store_txn t;

	store_read(q->store, &t);
	store_each(&t, TABLE_NOTE, prefix, look, &l);
	store_end(&t);
}
