/* SPDX-License-Identifier: ISC */
/*
 * What a fate does to a recipient's row and to its message's mark, and when a
 * message is gone.  Committer thread.
 */
#include <string.h>

#include "queue/internal.h"
#include "smtpd/base/clock.h"

#define SAID_MAX     1000
#define ATTEMPT_SAID 400             /* of one try among several … */
#define ATTEMPT_HOST 150
#define KEEP_FIRST   2               /* … of which the first ones stay, whatever comes */
#define ROW_MAX      ((size_t)64 << 10)

/* What all the fates of one message share. */
struct writing {
	struct store_txn     *t;
	struct ledger        *ledger;
	str                   row;          /* the message's; valid until something is written */
	struct record_summary m;
	struct record_key     key;
};

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

/* ---- a recipient -------------------------------------------------------------------------- */

static const enum rcpt_state after[] = {
	[FATE_STAGED] = RCPT_STAGED,    [FATE_DELIVERED] = RCPT_SETTLED, [FATE_DEFERRED] = RCPT_WAITING,
	[FATE_BOUNCED] = RCPT_SETTLED,  [FATE_REMOVED] = RCPT_SETTLED,   [FATE_HELD] = RCPT_HELD,
	[FATE_RELEASED] = RCPT_WAITING,
};

static bool settles(enum fate f)
{
	return f == FATE_DELIVERED || f == FATE_BOUNCED || f == FATE_REMOVED;
}

static bool is_about_rcpt(enum fate f)
{
	return f != FATE_NONE && f != FATE_TRYING;
}

/* Put off without having been tried, because its destination rests, is no try. */
static bool was_tried(const struct queue_rcpt *r, const struct queue_fate *f)
{
	if (f->said.n == 0)
		return false;
	return f->fate == FATE_DELIVERED || f->fate == FATE_BOUNCED || (f->fate == FATE_DEFERRED && f->tries > r->tries);
}

/* The first two and the latest: how it began, and how it stands. */
static void add_attempt(struct queue_rcpt *r, const struct queue_fate *f, int64_t now,
                        struct queue_attempt room[static QUEUE_ATTEMPTS])
{
	size_t n = r->nattempts < QUEUE_ATTEMPTS ? r->nattempts : QUEUE_ATTEMPTS;

	if (n > 0 && r->attempts != room)
		memcpy(room, r->attempts, n * sizeof(*room));
	if (n == QUEUE_ATTEMPTS) {
		memmove(room + KEEP_FIRST, room + KEEP_FIRST + 1, (n - KEEP_FIRST - 1) * sizeof(*room));
		n--;
	}
	room[n++] = (struct queue_attempt){
		.at = now, .host = str_head(f->host, ATTEMPT_HOST), .said = str_head(f->said, ATTEMPT_SAID),
	};
	r->attempts = room;
	r->nattempts = n;
}

/* Where a staged file lies stays known as long as it may lie there. */
static void note_place(struct queue_rcpt *r, const struct queue_fate *f, int64_t now)
{
	if (f->fate == FATE_STAGED) {
		r->place = f->place;
		r->staged_at = now;
	} else if (f->fate == FATE_RELEASED && r->place.n > 0) {
		r->state = RCPT_STAGED;
	} else if (f->fate != FATE_HELD) {
		r->place = STR_NONE;
		r->staged_at = 0;
	}
}

static void apply(struct queue_rcpt *r, const struct queue_fate *f, int64_t not_before,
                  struct queue_attempt room[static QUEUE_ATTEMPTS])
{
	int64_t now = clock_wall();

	if (f->fate == FATE_DELAY_TOLD) {
		r->delay_told = true;
		return;
	}
	if (was_tried(r, f))
		add_attempt(r, f, now, room);
	r->state = after[f->fate];
	r->changed = now;
	if (f->said.n > 0)
		r->said = str_head(f->said, SAID_MAX);
	if (f->fate == FATE_DEFERRED || f->fate == FATE_RELEASED)
		r->next = f->next;
	if (f->fate == FATE_RELEASED && r->next < not_before)
		r->next = not_before;
	if (f->fate == FATE_DEFERRED || (settles(f->fate) && f->tries > r->tries))
		r->tries = f->tries;
	if (settles(f->fate))
		r->outcome = (unsigned char)f->fate;
	note_place(r, f, now);
}

/* A recipient without a row is as the message row left it.  One whose row is
 * damaged is held: nobody knows whether it has the message already. */
static void read_rcpt(const struct writing *w, const struct record_key *k, uint32_t n, struct arena *a, struct queue_rcpt *r)
{
	const struct queue_rcpt fresh = {
		.state = w->m.flags & MESSAGE_HELD ? RCPT_HELD : RCPT_WAITING,
		.next = w->m.not_before > w->m.arrived ? w->m.not_before : w->m.arrived,
	};
	str row;

	*r = fresh;
	if (store_get(w->t, TABLE_RCPT, key_of(k), &row) && !record_read_rcpt(row, w->m.id, n, a, r)) {
		*r = fresh;
		r->state = RCPT_HELD;
		r->said = STR(QUEUE_RCPT_DAMAGED);
	}
}

static enum err write_one(struct writing *w, const struct queue_fate *f)
{
	struct record_key k = record_key_part(w->m.id, f->rcpt);
	struct queue_attempt attempts[QUEUE_ATTEMPTS];
	struct queue_rcpt r;
	struct arena a;
	struct buf row;
	enum err e = OK;

	arena_init(&a, ROW_MAX);
	buf_init(&row, ROW_MAX);
	read_rcpt(w, &k, f->rcpt, &a, &r);
	if (r.state != RCPT_SETTLED) {          /* what is settled stays so */
		apply(&r, f, w->m.not_before, attempts);
		record_rcpt(&row, w->m.id, f->rcpt, &r);
		if (row.failed)
			e = ERR_MEMORY;
		else
			store_put(w->t, TABLE_RCPT, key_of(&k), buf_str(&row));
	}
	buf_fini(&row);
	arena_fini(&a);
	return e;
}

static bool count_settled(void *arg, str key, str row)
{
	enum rcpt_state state;

	if (record_peek_rcpt(row, record_key_id(key), record_key_number(key), &state) && state == RCPT_SETTLED)
		++*(uint32_t *)arg;
	return true;
}

/* ---- marks -------------------------------------------------------------------------------------- */

void mark_put(struct store_txn *t, uint64_t id, uint32_t lives)
{
	struct record_key k = record_key_message(id);
	unsigned char head[RECORD_HEAD];

	record_head(head, (struct record_name){ RECORD_MARK, id, lives }, STR_NONE);
	store_put(t, TABLE_MARK, key_of(&k), (str){ (const char *)head, sizeof(head) });
}

uint32_t mark_get(struct store_txn *t, uint64_t id)
{
	struct record_key k = record_key_message(id);
	struct record_name name;
	size_t length;
	str row;

	if (!store_get(t, TABLE_MARK, key_of(&k), &row) || !record_recognise(row, &name, &length) ||
	    name.kind != RECORD_MARK || name.id != id)
		return 0;
	return name.number;
}

static void mark_drop(struct store_txn *t, uint64_t id)
{
	struct record_key k = record_key_message(id);

	store_delete(t, TABLE_MARK, key_of(&k));
}

/* Of a message that is set aside the mark stays, for the next start: it is held
 * until the operator decides. */
static void update_mark(struct writing *w, const struct queue_fate *f)
{
	if (f->fate == FATE_TRYING)
		mark_put(w->t, w->m.id, f->tries);
	else if (f->fate == FATE_HELD && f->tries > 0)
		mark_put(w->t, w->m.id, f->tries | MARK_ASIDE);
	else if (f->fate != FATE_DELAY_TOLD)
		mark_drop(w->t, w->m.id);
}

static bool collect_marks(void *arg, str key, str row)
{
	struct buf *ids = arg;
	struct record_name name;
	size_t length;

	if (!record_recognise(row, &name, &length) || !(name.number & MARK_ASIDE))
		buf_add(ids, str_head(key, 8));
	return true;
}

void marks_drop_all(struct store_txn *t)
{
	struct buf ids;

	buf_init(&ids, BUF_UNBOUNDED);
	store_each(t, TABLE_MARK, STR_NONE, collect_marks, &ids);
	for (str rest = buf_str(&ids); rest.n >= 8; rest = str_skip(rest, 8))
		store_delete(t, TABLE_MARK, str_head(rest, 8));
	buf_fini(&ids);
}

/* ---- the message ------------------------------------------------------------------------------------ */

static void remove_message(struct store_txn *t, const struct record_key *k)
{
	store_delete(t, TABLE_MESSAGE, key_of(k));
	store_delete_prefix(t, TABLE_RCPT, key_of(k));
	store_delete_prefix(t, TABLE_BODY, key_of(k));
	store_delete(t, TABLE_MARK, key_of(k));
}

/* The usual case, one recipient settled at once, writes no row of it. */
static bool settles_at_once(const struct writing *w, const struct queue_fate *v, size_t n)
{
	return w->m.nrcpts == 1 && n == 1 && v->rcpt == 0 && settles(v->fate);
}

static void end_message(struct writing *w, const struct queue_fate *at_once)
{
	struct queue_attempt attempts[QUEUE_ATTEMPTS];
	struct queue_rcpt last;
	struct arena a;

	arena_init(&a, ROW_MAX);
	if (at_once != NULL) {
		struct record_key k = record_key_part(w->m.id, 0);

		read_rcpt(w, &k, 0, &a, &last);
		apply(&last, at_once, 0, attempts);
	}
	finished_compose(w->t, w->ledger, w->m.id, w->row, at_once != NULL ? &last : NULL);
	remove_message(w->t, &w->key);
	finished_write(w->t, w->ledger, w->m.id);
	arena_fini(&a);
}

static enum err write_all(struct writing *w, const struct queue_fate *v, size_t n, uint32_t *settled)
{
	enum err e = OK;

	for (size_t i = 0; i < n && e == OK; i++) {
		update_mark(w, &v[i]);
		if (is_about_rcpt(v[i].fate))
			e = v[i].rcpt < w->m.nrcpts ? write_one(w, &v[i]) : ERR_ABSENT;
	}
	store_each(w->t, TABLE_RCPT, key_of(&w->key), count_settled, settled);
	/* What was written has moved the row that end_message reads. */
	if (!store_get(w->t, TABLE_MESSAGE, key_of(&w->key), &w->row))
		w->row = STR_NONE;
	return e;
}

enum err fates_write(struct store_txn *t, struct ledger *ledger, uint64_t id, const struct queue_fate *v, size_t n,
                     bool *gone, bool *in_file)
{
	struct writing w = { .t = t, .ledger = ledger, .key = record_key_message(id) };
	const struct queue_fate *at_once = NULL;
	uint32_t settled = 0;
	enum err e = OK;

	*gone = *in_file = false;
	if (!store_get(t, TABLE_MESSAGE, key_of(&w.key), &w.row))
		return ERR_ABSENT;
	if (!record_peek(w.row, id, &w.m)) {
		if (n == 0 || v->fate != FATE_REMOVED)
			return ERR_BAD;
		remove_message(t, &w.key);      /* whatever it was */
		*gone = *in_file = true;
		return OK;
	}
	*in_file = w.m.in_file;
	if (settles_at_once(&w, v, n))
		at_once = v;
	else
		e = write_all(&w, v, n, &settled);
	if ((at_once != NULL || settled == w.m.nrcpts) && t->err == OK) {
		end_message(&w, at_once);
		*gone = true;
	}
	return e;
}
