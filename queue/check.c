/* SPDX-License-Identifier: ISC */
/*
 * The tables one after the other, in pieces.  A message is judged with all of
 * its rows in one transaction; what belongs to no message is looked for after.
 * A server may run beside: what has gone meanwhile is no fault.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "queue/check.h"
#include "queue/internal.h"
#include "smtpd/base/clock.h"

#define PIECE_ROWS  256
#define PIECE_BYTES ((uint64_t)4 << 20)
#define FRESH_US    ((uint64_t)60 * 1000000)    /* a content so young may belong to a message that is just being stored */

#define EXPORT_FIRST "`postern queue export` shows what is there; then release it, or remove it"

struct checking {
	struct queue        *q;
	struct check_counts *n;
	check_wrong         *wrong;
	void                *arg;
	struct store_txn    *t;
	enum table           table;
	struct buf           next;       /* the key to go on with; empty: from the start */
	uint64_t             rows, bytes;/* of this piece */
	uint64_t             id;         /* of the last row that belongs to no message */
	bool                 over;       /* the piece is */
};

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

static void say(struct checking *c, uint64_t id, const char *what, const char *todo)
{
	c->n->wrong++;
	c->wrong(c->arg, id, what, todo);
}

/* ---- a message and what is its own ------------------------------------------------------ */

struct content { struct checking *c; const struct record_summary *m; uint64_t next, bytes; bool bad; };

static bool body_row(void *arg, str key, str row)
{
	struct content *k = arg;
	struct record_name name = { RECORD_BODY_ROW, k->m->id, record_key_number(key) };
	str body;

	k->c->n->rows++;
	k->c->bytes += row.n;
	if (!record_open(row, name, &body) || name.number != k->next)
		k->bad = true;
	else
		k->bytes += body.n;
	k->next = (uint64_t)name.number + 1;
	return true;
}

static void check_rows(struct checking *c, const struct record_summary *m)
{
	struct record_key k = record_key_message(m->id);
	struct content content = { .c = c, .m = m };

	store_each(c->t, TABLE_BODY, key_of(&k), body_row, &content);
	if (content.bad || content.bytes != m->bytes)
		say(c, m->id, "its content is damaged or not complete", EXPORT_FIRST);
}

static bool is_there(struct checking *c, uint64_t id)
{
	struct record_key k = record_key_message(id);
	struct store_txn t;
	bool there;
	str row;

	store_read(c->q->store, &t);
	there = store_get(&t, TABLE_MESSAGE, key_of(&k), &row);
	store_end(&t);
	return there;
}

static void check_file(struct checking *c, const struct record_summary *m)
{
	char path[BODY_PATH];
	struct stat st;
	bool whole = stat(body_path(c->q, m->id, path), &st) == 0 && (uint64_t)st.st_size == m->bytes;

	/* It may have finished in this moment. */
	if (!whole && is_there(c, m->id))
		say(c, m->id, "the file of its content is missing or has another length", EXPORT_FIRST);
	c->n->files += whole;
}

struct rcpts { struct checking *c; const struct record_summary *m; };

static bool rcpt_row(void *arg, str key, str row)
{
	struct rcpts *r = arg;
	uint32_t number = record_key_number(key);
	struct queue_rcpt rcpt = { 0 };
	struct arena a;

	arena_init(&a, (size_t)1 << 20);
	r->c->n->rows++;
	if (number >= r->m->nrcpts || !record_read_rcpt(row, r->m->id, number, &a, &rcpt))
		say(r->c, r->m->id, "what is known of one of its recipients is damaged",
		    "that one is held: release it to try again (it may have the message already), or remove it");
	arena_fini(&a);
	return true;
}

static void check_message(struct checking *c, str key, str row)
{
	uint64_t id = record_key_id(key);
	struct record_key k = record_key_message(id);
	struct queue_entry e = { 0 };
	struct record_summary m;
	struct rcpts r = { c, &m };
	str end;

	c->n->messages++;
	arena_init(&e.arena, (size_t)64 << 20);
	if (key.n != 8 || !record_read_message(row, id, &e) || !record_peek(row, id, &m)) {
		say(c, id, "its row is damaged: sender and recipients are not known", "`postern queue export` shows what is there; then remove it");
		arena_fini(&e.arena);
		return;
	}
	arena_fini(&e.arena);
	c->n->recipients += m.nrcpts;
	c->n->bytes += m.bytes;
	store_each(c->t, TABLE_RCPT, key_of(&k), rcpt_row, &r);
	if (m.in_file)
		check_file(c, &m);
	else
		check_rows(c, &m);
	if (store_get(c->t, TABLE_FINISHED, key_of(&k), &end))
		say(c, id, "it is in the queue and among the finished ones", "look whether it was delivered, then release it or remove it");
}

/* ---- what belongs to none ------------------------------------------------------------------ */

static void check_owner(struct checking *c, str key)
{
	uint64_t id = record_key_id(key);
	struct record_key k = record_key_message(id);
	str row;

	if (id == c->id || store_get(c->t, TABLE_MESSAGE, key_of(&k), &row))
		return;
	c->id = id;
	say(c, id, "rows of a message that is not there", "nothing: they only take room");
}

static void check_finished(struct checking *c, str key, str row)
{
	struct queue_entry e = { 0 };
	int64_t at;

	c->n->finished++;
	arena_init(&e.arena, (size_t)64 << 20);
	if (!record_read_finished(row, record_key_id(key), &e, &at))
		say(c, record_key_id(key), "the record of how it ended is damaged", "it does no harm and goes by itself");
	arena_fini(&e.arena);
}

static void check_note(struct checking *c, str key, str row)
{
	str is, value;

	c->n->notes++;
	if (!record_read_note(row, &is, &value) || !str_eq(is, key))
		say(c, 0, "a note (a cached policy or the like) is damaged", "it is read again from where it came");
}

/* ---- pieces ------------------------------------------------------------------------------------ */

static bool row_seen(void *arg, str key, str row)
{
	struct checking *c = arg;

	if (c->rows >= PIECE_ROWS || c->bytes >= PIECE_BYTES) {
		buf_clear(&c->next);
		buf_add(&c->next, key);
		c->over = true;
		return false;
	}
	c->rows++;
	c->n->rows++;
	c->bytes += row.n;
	if (c->table == TABLE_MESSAGE)
		check_message(c, key, row);
	else if (c->table == TABLE_RCPT || c->table == TABLE_BODY)
		check_owner(c, key);
	else if (c->table == TABLE_FINISHED)
		check_finished(c, key, row);
	else if (c->table == TABLE_NOTE)
		check_note(c, key, row);
	return c->t->err == OK;
}

static enum err check_table(struct checking *c, enum table table)
{
	struct store_txn t;
	enum err e;

	c->table = table;
	c->id = 0;
	buf_clear(&c->next);
	do {
		c->rows = c->bytes = 0;
		c->over = false;
		store_read(c->q->store, &t);
		c->t = &t;
		store_each_from(&t, table, buf_str(&c->next), row_seen, c);
		e = t.err;
		store_end(&t);
	} while (e == OK && c->over);
	return e;
}

/* Large contents without a message. */
static void check_files(struct checking *c)
{
	DIR *d = opendir(c->q->bodies);
	uint64_t id, now = clock_wall_us();

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		struct stat st;

		if (e->d_name[0] == '.')
			continue;
		if (!queue_id_parse(str_of(e->d_name), &id))
			say(c, 0, "a file in the folder of contents that is none of ours", "look at it and move it away");
		else if (!is_there(c, id) && now - id > FRESH_US && fstatat(dirfd(d), e->d_name, &st, 0) == 0)
			say(c, id, "a content without a message", "the server removes it at its next start");
	}
	if (d != NULL)
		closedir(d);
}

enum err queue_check(struct queue *q, struct check_counts *counts, check_wrong *wrong, void *arg)
{
	static const enum table tables[] = { TABLE_MESSAGE, TABLE_RCPT, TABLE_BODY, TABLE_FINISHED, TABLE_NOTE };
	struct checking c = { .q = q, .n = counts, .wrong = wrong, .arg = arg };
	enum err e = OK;

	*counts = (struct check_counts){ 0 };
	buf_init(&c.next, 1024);
	for (size_t i = 0; i < COUNT(tables) && e == OK; i++)
		e = check_table(&c, tables[i]);
	if (e == OK)
		check_files(&c);
	buf_fini(&c.next);
	return e;
}
