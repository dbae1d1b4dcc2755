/* SPDX-License-Identifier: ISC */
/*
 * What a fate does to a recipient's row, and when a message is gone.
 * Committer thread.
 */
#include "queue/internal.h"
#include "smtpd/base/clock.h"

#define SAID_MAX 1000
#define ROW_MAX  ((size_t)64 << 10)

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

static const enum rcpt_state after[] = {
	[FATE_STAGED] = RCPT_STAGED,    [FATE_DELIVERED] = RCPT_SETTLED, [FATE_DEFERRED] = RCPT_WAITING,
	[FATE_BOUNCED] = RCPT_SETTLED,  [FATE_REMOVED] = RCPT_SETTLED,   [FATE_HELD] = RCPT_HELD,
	[FATE_RELEASED] = RCPT_WAITING,
};

static void apply(struct queue_rcpt *r, const struct queue_fate *f)
{
	int64_t now = clock_wall();

	if (f->fate == FATE_DELAY_TOLD) {
		r->delay_told = true;
		return;
	}
	r->state = after[f->fate];
	r->changed = now;
	if (f->said.n > 0)
		r->said = str_head(f->said, SAID_MAX);
	if (f->fate == FATE_DEFERRED || f->fate == FATE_RELEASED)
		r->next = f->next;
	if (f->fate == FATE_DEFERRED)
		r->tries = f->tries;
	r->place = f->fate == FATE_STAGED ? f->place : STR_NONE;
	r->staged_at = f->fate == FATE_STAGED ? now : 0;
}

/* A recipient without a row is as the message row left it; so is one whose row
 * is damaged: the fate that is written now makes it whole again. */
static void read_rcpt(struct store_txn *t, const struct record_key *k, uint32_t n, const struct record_summary *m,
                      struct arena *a, struct queue_rcpt *r)
{
	const struct queue_rcpt fresh = {
		.state = m->flags & MESSAGE_HELD ? RCPT_HELD : RCPT_WAITING, .next = m->arrived,
	};
	str row;

	*r = fresh;
	if (store_get(t, TABLE_RCPT, key_of(k), &row) && !record_read_rcpt(row, m->id, n, a, r))
		*r = fresh;
}

static bool count_settled(void *arg, str key, str row)
{
	enum rcpt_state state;

	if (record_peek_rcpt(row, record_key_id(key), record_key_number(key), &state) && state == RCPT_SETTLED)
		++*(uint32_t *)arg;
	return true;
}

static void remove_message(struct store_txn *t, const struct record_key *k)
{
	store_delete(t, TABLE_MESSAGE, key_of(k));
	store_delete_prefix(t, TABLE_RCPT, key_of(k));
	store_delete_prefix(t, TABLE_BODY, key_of(k));
}

static enum err write_one(struct store_txn *t, const struct record_summary *m, const struct queue_fate *f)
{
	struct record_key k = record_key_part(m->id, f->rcpt);
	struct queue_rcpt r;
	struct arena a;
	struct buf row;
	enum err e = OK;

	arena_init(&a, ROW_MAX);
	buf_init(&row, ROW_MAX);
	read_rcpt(t, &k, f->rcpt, m, &a, &r);
	if (r.state != RCPT_SETTLED) {          /* what is settled stays so */
		apply(&r, f);
		record_rcpt(&row, m->id, f->rcpt, &r);
		if (row.failed)
			e = ERR_MEMORY;
		else
			store_put(t, TABLE_RCPT, key_of(&k), buf_str(&row));
	}
	buf_fini(&row);
	arena_fini(&a);
	return e;
}

enum err fates_write(struct store_txn *t, uint64_t id, const struct queue_fate *v, size_t n, bool *gone, bool *in_file)
{
	struct record_key k = record_key_message(id);
	struct record_summary m;
	uint32_t settled = 0;
	enum err e = OK;
	str row;

	*gone = *in_file = false;
	if (!store_get(t, TABLE_MESSAGE, key_of(&k), &row))
		return ERR_ABSENT;
	if (!record_peek(row, id, &m))
		return ERR_BAD;
	*in_file = m.in_file;
	/* The usual case, one recipient settled at once, writes nothing first. */
	if (m.nrcpts == 1 && n == 1 && v->rcpt == 0 && v->fate != FATE_DELAY_TOLD && after[v->fate] == RCPT_SETTLED) {
		settled = 1;
	} else {
		for (size_t i = 0; i < n && e == OK; i++)
			e = v[i].rcpt < m.nrcpts ? write_one(t, &m, &v[i]) : ERR_ABSENT;
		store_each(t, TABLE_RCPT, key_of(&k), count_settled, &settled);
	}
	if (settled == m.nrcpts && t->err == OK) {
		remove_message(t, &k);
		*gone = true;
	}
	return e;
}
