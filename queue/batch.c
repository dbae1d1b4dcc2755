/* SPDX-License-Identifier: ISC */
/*
 * One transaction of the committer's: puts and fates as rows, and the files of
 * messages that have gone by it.  Writer thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/commit.h"
#include "smtpd/base/clock.h"

#define PURGE_IDLE_MS  60000        /* how often records of finished messages are looked at, when nothing happens … */
#define PURGE_AGAIN_MS 100          /* … and when there was something to remove */

/* ---- writing one thing --------------------------------------------------------------- */

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

static void write_content(struct store_txn *t, const struct queue_put *p)
{
	str rest = p->entry->content;

	for (uint32_t i = 0; rest.n > 0 && t->err == OK; i++) {
		struct record_key k = record_key_part(p->id, i);
		str piece = str_head(rest, RECORD_BODY);
		unsigned char *row = store_reserve(t, TABLE_BODY, key_of(&k), RECORD_HEAD + piece.n);

		if (row == NULL)
			return;
		memcpy(row, p->seals.p + (size_t)i * RECORD_HEAD, RECORD_HEAD);
		memcpy(row + RECORD_HEAD, piece.p, piece.n);
		rest = str_skip(rest, piece.n);
	}
}

static void ids_add(struct ids *l, uint64_t id)
{
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		uint64_t *v = realloc(l->v, room * sizeof(*v));

		if (v == NULL)
			return;                 /* the sweep at the next start takes it */
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = id;
}

static enum err settle(struct batch *w, struct store_txn *t, uint64_t id, const struct queue_fate *v, size_t n, bool *gone)
{
	bool in_file = false;
	enum err e = fates_write(t, &w->ledger, id, v, n, gone, &in_file);

	if (*gone)
		w->gone++;
	if (*gone && in_file)
		ids_add(&w->files, id);
	return e;
}

static void write_put(struct batch *w, struct store_txn *t, struct queue_put *p)
{
	struct record_key k = record_key_message(p->id);
	bool gone;

	if (p->err != OK)
		return;
	store_put(t, TABLE_MESSAGE, key_of(&k), buf_str(&p->row));
	write_content(t, p);
	if (p->nsettles > 0)                    /* a bounce settles what it speaks of */
		settle(w, t, p->settles_id, p->settles, p->nsettles, &gone);
	if (p->id > w->highest_id)
		w->highest_id = p->id;
}

static void write_fates(struct batch *w, struct store_txn *t, struct queue_fates *f)
{
	f->gone = false;
	if (f->is_note)
		f->result = note_write(t, SUPER(f, struct queue_note, carrier));
	else
		f->result = settle(w, t, f->id, f->v, f->n, &f->gone);
}

/* Ids stay unique when every message has gone and the clock has stepped back. */
static void reserve_ids(struct batch *w, struct store_txn *t)
{
	if (w->highest_id <= w->q->id_reserved)
		return;
	meta_put(t, "reserved", w->highest_id + ID_AHEAD);
	if (t->err == OK)
		w->q->id_reserved = w->highest_id + ID_AHEAD;
}

/* ---- one batch --------------------------------------------------------------------------- */

/* Records of finished messages that are old, or whose room is needed. */
static void purge(struct batch *w, struct store_txn *t)
{
	size_t n = t->err == OK ? finished_purge(t, &w->ledger, w->q) : 0;

	w->purge_ms = clock_ms() + (n > 0 ? PURGE_AGAIN_MS : PURGE_IDLE_MS);
}

enum err batch_write(struct batch *w, struct baton *list, unsigned parts)
{
	uint64_t reserved = w->q->id_reserved;
	struct store_txn t;
	enum err e;

	w->files.n = 0;
	w->gone = w->ledger.written = 0;
	w->ledger.keep = w->q->conf.keep_finished_ms > 0 && !(parts & BATCH_NO_RECORDS);
	store_begin(w->q->store, &t);
	for (struct baton *b = list; b != NULL && t.err == OK; b = b->next) {
		if (b->first && (parts & BATCH_FATES))
			write_fates(w, &t, SUPER(b, struct queue_fates, baton));
		else if (!b->first && (parts & BATCH_PUTS))
			write_put(w, &t, SUPER(b, struct queue_put, baton));
	}
	if (parts & BATCH_PUTS) {
		reserve_ids(w, &t);
		if (w->journal > w->journal_said)
			meta_put(&t, "journal", w->journal);
	}
	purge(w, &t);
	e = store_commit(&t);
	if (e != OK)
		w->q->id_reserved = reserved;
	else if (parts & BATCH_PUTS)
		w->journal_said = w->journal;
	return e;
}

/* ---- files -------------------------------------------------------------------------------- */

static bool remove_file(const struct queue *q, uint64_t id)
{
	char path[BODY_PATH];

	return unlink(body_path(q, id, path)) == 0 || errno == ENOENT;
}

/* What will not go now goes a second later, or is swept by the next start. */
void batch_remove_files(struct batch *w)
{
	for (size_t i = 0; i < w->files.n; i++)
		if (!remove_file(w->q, w->files.v[i]) && !remove_file(w->q, w->files.v[i]))
			ids_add(&w->stubborn, w->files.v[i]);
	w->files.n = 0;
}

void batch_remove_stubborn(struct batch *w)
{
	size_t left = 0;

	for (size_t i = 0; i < w->stubborn.n; i++)
		if (!remove_file(w->q, w->stubborn.v[i]))
			w->stubborn.v[left++] = w->stubborn.v[i];
	w->stubborn.n = left;
}

void batch_init(struct batch *w, struct queue *q)
{
	*w = (struct batch){ .q = q, .journal = q->journal_said, .journal_said = q->journal_said, .purge_ms = clock_ms() + PURGE_IDLE_MS };
	ledger_init(&w->ledger);
}

void batch_fini(struct batch *w)
{
	ledger_fini(&w->ledger);
	free(w->files.v);
	free(w->stubborn.v);
}

/* Its failure is nobody's: the next look tries again. */
enum err batch_purge(struct batch *w)
{
	w->purge_ms = clock_ms() + PURGE_IDLE_MS;
	return finished_wait(w->q) ? batch_write(w, NULL, 0) : OK;
}
