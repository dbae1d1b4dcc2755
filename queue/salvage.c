/* SPDX-License-Identifier: ISC */
/*
 * From the index to the good store: which messages come back, in what state,
 * and what is said of the others.
 */
#include <stdlib.h>

#include "queue/salvage_inside.h"
#include "smtpd/base/clock.h"

#define BATCH    ((size_t)4 << 20)
#define RCPT_ROW ((size_t)128 << 10)

#define WHY_OLD  "its store was damaged, and it may have been delivered already: release it to send it, or remove it"
#define WHY_HAND "brought back by hand from another store, it may have been delivered since: release it to send it, or remove it"
#define WHY_RCPT "what was known of this recipient was lost with a part of the store, it may have the message already: " \
                 "release it to send it, or remove it"
#define WHY_BODY "part of its content was lost with a part of the store: `postern queue export` shows what is left, then remove it"

struct work {
	struct salvage  *s;
	struct pages     pages;
	struct finds     finds;
	struct store_txn t;
	bool             open;       /* a transaction is */
	size_t           batch;      /* octets in it */
	enum err         err;        /* latched */
};

/* ---- the good store -------------------------------------------------------------------- */

static void batch_end(struct work *w)
{
	enum err e;

	if (!w->open)
		return;
	w->open = false;
	if (w->err != OK) {
		store_end(&w->t);
		return;
	}
	e = store_commit(&w->t);
	w->err = e;
	w->batch = 0;
}

static void batch_begin(struct work *w)
{
	if (w->batch > BATCH)
		batch_end(w);
	if (w->open || w->err != OK)
		return;
	w->err = store_extend(w->s->to, 4 * BATCH);
	if (w->err != OK)
		return;
	store_begin(w->s->to, &w->t);
	w->open = true;
}

static const enum table tables[] = {
	[RECORD_MESSAGE] = TABLE_MESSAGE,   [RECORD_RCPT] = TABLE_RCPT, [RECORD_BODY_ROW] = TABLE_BODY,
	[RECORD_FINISHED] = TABLE_FINISHED, [RECORD_MARK] = TABLE_MARK, [RECORD_NOTE] = TABLE_NOTE,
};

static struct record_key key_of(const struct find *f)
{
	return f->kind == RECORD_RCPT || f->kind == RECORD_BODY_ROW ? record_key_part(f->id, f->number)
	                                                              : record_key_message(f->id);
}

static void put(struct work *w, const struct find *f, str row)
{
	struct record_key k = key_of(f);

	store_put(&w->t, tables[f->kind], (str){ (const char *)k.b, k.n }, row);
	w->batch += row.n + 64;
	w->err = w->t.err;
}

/* The row as it lies in the damaged file; malloc'ed; p == NULL: it cannot be read. */
static str row_of(struct work *w, const struct find *f)
{
	char *p = malloc((size_t)f->n + 1);

	if (p == NULL)
		w->err = ERR_MEMORY;
	if (p != NULL && pages_read(&w->pages, f->at, p, f->n))
		return (str){ p, f->n };
	free(p);
	return STR_NONE;
}

static void copy(struct work *w, const struct find *f)
{
	str row = row_of(w, f);

	if (row.p != NULL && w->err == OK)
		put(w, f, row);
	free((char *)(uintptr_t)row.p);
}

static bool there(struct work *w, enum table table, uint64_t id)
{
	struct record_key k = record_key_message(id);
	struct store_txn t;
	bool is;
	str row;

	if (w->s->whole_store)
		return false;
	store_read(w->s->to, &t);
	is = store_get(&t, table, (str){ (const char *)k.b, k.n }, &row);
	store_end(&t);
	return is;
}

/* ---- what a message is worth --------------------------------------------------------------- */

struct piece {                        /* a message that may come back */
	const struct find *message, *rcpts, *bodies;
	size_t             nrcpts, nbodies;
	struct queue_entry entry;
	uint32_t           row_bytes;     /* content octets in each body row but the last */
	const char        *held;          /* why all of it must be held; NULL: it need not */
	bool               damaged;
};

/* If it had ended, a record would say so. */
static bool surely_unfinished(const struct work *w, const struct queue_entry *e)
{
	int64_t age = clock_wall() - e->arrived;

	return w->finds.finished_whole && age >= 0 && (uint64_t)age * 1000 < w->s->keep_finished_ms &&
	       (w->finds.first_finished == 0 || e->id > w->finds.first_finished);
}

static bool rows_whole(const struct piece *p)
{
	uint64_t left = p->entry.bytes;
	uint32_t head = p->row_bytes == RECORD_BODY ? RECORD_HEAD : RECORD_HEAD_1;

	for (size_t i = 0; left > 0; i++) {
		uint64_t want = left < p->row_bytes ? left : p->row_bytes;

		if (i >= p->nbodies || p->bodies[i].number != i || !p->bodies[i].good || p->bodies[i].n != head + want)
			return false;
		left -= want;
	}
	return true;
}

/* false: its row is not what was written after all. */
static bool piece_read(struct work *w, const struct find *m, struct piece *p)
{
	struct record_summary summary;
	str row = row_of(w, m);
	bool ok;

	*p = (struct piece){ .message = m };
	arena_init(&p->entry.arena, ARENA_UNBOUNDED);
	p->nrcpts = finds_of(&w->finds, RECORD_RCPT, m->id, &p->rcpts);
	p->nbodies = finds_of(&w->finds, RECORD_BODY_ROW, m->id, &p->bodies);
	ok = row.p != NULL && record_read_message(row, m->id, &p->entry) && record_peek(row, m->id, &summary);
	p->row_bytes = ok ? summary.piece : RECORD_BODY;
	free((char *)(uintptr_t)row.p);
	return ok;
}

/* All rows of a message go at once: while one is there, it has not ended. */
static bool has_current(const struct piece *p)
{
	bool any = p->message->current;

	for (size_t i = 0; i < p->nrcpts && !any; i++)
		any = p->rcpts[i].current;
	for (size_t i = 0; i < p->nbodies && !any; i++)
		any = p->bodies[i].current;
	return any;
}

static bool content_whole(const struct work *w, const struct piece *p)
{
	return p->entry.in_file ? salvage_file_whole(w->s, p->entry.id, p->entry.bytes) : rows_whole(p);
}

/* Old copies of its rows, and nothing else.  The file of a large content goes
 * when a message ends; rows lie in free pages for long after. */
static bool is_old(const struct work *w, const struct piece *p)
{
	if (!w->finds.sure || has_current(p) || surely_unfinished(w, &p->entry))
		return false;
	return (w->finds.finished_whole && !p->entry.in_file) || !content_whole(w, p);
}

static void piece_judge(struct work *w, struct piece *p)
{
	p->damaged = !content_whole(w, p);
	if (p->damaged)
		p->held = WHY_BODY;
	else if (!has_current(p) && !surely_unfinished(w, &p->entry))
		p->held = WHY_OLD;
	else if (!w->s->whole_store)
		p->held = WHY_HAND;
}

/* ---- its recipients ------------------------------------------------------------------------------ */

static const struct find *rcpt_row(const struct piece *p, uint32_t number)
{
	for (size_t i = 0; i < p->nrcpts; i++)
		if (p->rcpts[i].number == number)
			return &p->rcpts[i];
	return NULL;
}

/* Why a recipient cannot be trusted with what was found of it; NULL: it can. */
static const char *rcpt_doubt(const struct work *w, const struct piece *p, const struct find *row)
{
	if (p->held != NULL)
		return p->held;
	if (row != NULL ? !row->current : finds_rcpts_doubtful(&w->finds, p->entry.id))
		return WHY_RCPT;
	return NULL;
}

static void hold(struct work *w, const struct piece *p, uint32_t number, struct queue_rcpt *r, const char *why)
{
	const struct find as = { .kind = RECORD_RCPT, .id = p->entry.id, .number = number };
	struct buf row;

	r->state = RCPT_HELD;
	r->said = str_of(why);
	r->changed = clock_wall();
	buf_init(&row, RCPT_ROW);
	record_rcpt(&row, p->entry.id, number, r);
	if (row.failed)
		w->err = ERR_MEMORY;
	else
		put(w, &as, buf_str(&row));
	buf_fini(&row);
}

/* true: it is held for a doubt of ours. */
static bool write_rcpt(struct work *w, struct piece *p, uint32_t number)
{
	const struct find *row = rcpt_row(p, number);
	const char *doubt = rcpt_doubt(w, p, row);
	struct queue_rcpt r = p->entry.rcpts[number];
	str text;

	if (row != NULL && (!row->good || row->state == RCPT_SETTLED || doubt == NULL)) {
		copy(w, row);
		return !row->good;
	}
	if (doubt == NULL)
		return false;
	text = row != NULL ? row_of(w, row) : STR_NONE;
	if (text.p != NULL)
		record_read_rcpt(text, p->entry.id, number, &p->entry.arena, &r);
	free((char *)(uintptr_t)text.p);
	hold(w, p, number, &r, doubt);
	return true;
}

static bool all_settled(const struct piece *p)
{
	for (uint32_t i = 0; i < p->entry.nrcpts; i++) {
		const struct find *row = rcpt_row(p, i);

		if (row == NULL || !row->good || row->state != RCPT_SETTLED)
			return false;
	}
	return true;
}

/* ---- one message ----------------------------------------------------------------------------------- */

static void say(struct work *w, uint64_t id, enum salvage_what what, const char *why)
{
	if (what == SALVAGE_HELD)
		w->s->held++;
	else if (what == SALVAGE_DAMAGED)
		w->s->damaged++;
	else
		w->s->lost++;
	if (w->s->tell != NULL)
		w->s->tell(w->s->arg, id, what, why);
}

static void write_message(struct work *w, struct piece *p)
{
	const struct find *mark;
	bool held = false;

	copy(w, p->message);
	for (uint32_t i = 0; i < p->entry.nrcpts && w->err == OK; i++)
		held |= write_rcpt(w, p, i);
	for (size_t i = 0; i < p->nbodies && w->err == OK; i++)
		copy(w, &p->bodies[i]);
	if (finds_of(&w->finds, RECORD_MARK, p->entry.id, &mark) > 0 && mark->current && w->err == OK)
		copy(w, mark);
	if (w->err != OK)
		return;
	w->s->messages++;
	if (p->damaged)
		say(w, p->entry.id, SALVAGE_DAMAGED, "part of its content is missing: it is set aside");
	else if (held)
		say(w, p->entry.id, SALVAGE_HELD, "it may have been delivered already: it is held");
}

/* Only its key is known, and what hangs on that: it is set aside as it is. */
static void write_ruined(struct work *w, const struct find *m)
{
	const struct find *v;
	size_t n;

	copy(w, m);
	n = finds_of(&w->finds, RECORD_RCPT, m->id, &v);
	for (size_t i = 0; i < n && w->err == OK; i++)
		copy(w, &v[i]);
	n = finds_of(&w->finds, RECORD_BODY_ROW, m->id, &v);
	for (size_t i = 0; i < n && w->err == OK; i++)
		copy(w, &v[i]);
	if (w->err != OK)
		return;
	w->s->messages++;
	say(w, m->id, SALVAGE_DAMAGED, "its row is damaged: it is set aside");
}

/* It ended, and so long ago that nothing says so any more; or what would say so
 * is lost. */
static void name_old(struct work *w, uint64_t id)
{
	if (w->finds.finished_whole)
		w->s->finished++;
	else
		say(w, id, SALVAGE_LOST, "only an old copy of its row is left, or it had ended");
}

static void bring_message(struct work *w, const struct find *m)
{
	const struct find *end;
	struct piece p;

	if ((finds_of(&w->finds, RECORD_FINISHED, m->id, &end) > 0 && end->good) || there(w, TABLE_FINISHED, m->id)) {
		w->s->finished++;
		return;
	}
	if (there(w, TABLE_MESSAGE, m->id)) {
		w->s->present++;
		return;
	}
	batch_begin(w);
	if (w->err != OK)
		return;
	if (!m->good || !piece_read(w, m, &p)) {
		write_ruined(w, m);
		if (!m->good)
			return;
	} else if (all_settled(&p)) {
		w->s->finished++;
	} else if (is_old(w, &p)) {
		name_old(w, m->id);
	} else {
		piece_judge(w, &p);
		write_message(w, &p);
	}
	arena_fini(&p.entry.arena);
}

/* ---- all of them -------------------------------------------------------------------------------------- */

static bool has(const struct work *w, unsigned kind, uint64_t id)
{
	const struct find *v;

	return finds_of(&w->finds, (enum record_kind)kind, id, &v) > 0;
}

/* What is left of messages whose own row is nowhere; each is named once. */
static void name_lost(struct work *w)
{
	const struct find *v = w->finds.v;

	for (size_t i = 0; i < w->finds.n; i++) {
		uint64_t id = v[i].id;

		if ((i > 0 && v[i - 1].kind == v[i].kind && v[i - 1].id == id) || (w->finds.sure && w->finds.finished_whole && !v[i].current) ||
		    has(w, RECORD_MESSAGE, id) || has(w, RECORD_FINISHED, id))
			continue;
		if (v[i].kind == RECORD_RCPT)
			say(w, id, SALVAGE_LOST, "its row is lost: only rows of its recipients are left, or it had ended");
		else if (v[i].kind == RECORD_BODY_ROW && !has(w, RECORD_RCPT, id))
			say(w, id, SALVAGE_LOST, "its row is lost: only content is left, or it had ended");
		else if (v[i].kind == FIND_TRACE && !has(w, RECORD_RCPT, id) && !has(w, RECORD_BODY_ROW, id))
			say(w, id, SALVAGE_LOST, "its row is lost: only a trace of it is left, or it had ended");
	}
}

static void bring_note(struct work *w, const struct find *f)
{
	str row = row_of(w, f), key, value;

	if (row.p != NULL && w->err == OK && record_read_note(row, &key, &value) && key.n <= 500 && key.n > 0) {
		store_put(&w->t, TABLE_NOTE, key, row);
		w->batch += row.n;
		w->err = w->t.err;
	}
	free((char *)(uintptr_t)row.p);
}

static void bring_numbers(struct work *w)
{
	batch_begin(w);
	if (w->err != OK)
		return;
	if (w->finds.random != 0)
		meta_put(&w->t, "random", w->finds.random);
	if (w->finds.reserved != 0)
		meta_put(&w->t, "reserved", w->finds.reserved);
	if (w->finds.journal != 0)
		meta_put(&w->t, "journal", w->finds.journal);
	if (w->finds.journal_perhaps > w->finds.journal)
		meta_put(&w->t, "journal-max", w->finds.journal_perhaps);
	meta_put(&w->t, "running", 1);  /* the last life has not ended well */
	w->err = w->t.err;
}

static void bring_all(struct work *w)
{
	const struct find *v = w->finds.v;

	for (size_t i = 0; i < w->finds.n && w->err == OK; i++) {
		if (v[i].kind == RECORD_MESSAGE && (v[i].good || v[i].current)) {
			bring_message(w, &v[i]);
		} else if (w->s->whole_store && (v[i].kind == RECORD_FINISHED || v[i].kind == RECORD_NOTE) && v[i].good) {
			batch_begin(w);
			if (w->err == OK && v[i].kind == RECORD_NOTE)
				bring_note(w, &v[i]);
			else if (w->err == OK)
				copy(w, &v[i]);
		}
	}
	if (w->s->whole_store && w->err == OK)
		bring_numbers(w);
	batch_end(w);
	if (w->err == OK)
		name_lost(w);
}

enum err salvage_run(struct salvage *s)
{
	struct work w = { .s = s };
	struct pages_file file;
	enum err e = pages_file_open(&file, s->from);

	if (e != OK)
		return e;
	if (!pages_open(&w.pages, &file)) {
		pages_file_close(&file);
		return ERR_MEMORY;
	}
	w.err = finds_gather(&w.finds, &w.pages);
	s->pages = w.pages.n;
	s->unreadable = w.finds.unreadable;
	if (w.err == OK)
		bring_all(&w);
	finds_free(&w.finds);
	pages_close(&w.pages);
	pages_file_close(&file);
	return w.err;
}
