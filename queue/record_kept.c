/* SPDX-License-Identifier: ISC */
/*
 * The rows that outlive a message or have none: what became of it, notes, and
 * the store's own numbers.  Pure.
 */
#include "queue/record_inside.h"

/* ---- finished messages ----------------------------------------------------------------------- */

#define FINISHED_SAID 300     /* octets of the last answer that are kept … */
#define FINISHED_HOST 150     /* … and of who gave it */

static struct record_name finished_name(uint64_t id)
{
	return (struct record_name){ .kind = RECORD_FINISHED, .id = id };
}

static struct queue_attempt last_word(const struct queue_rcpt *r)
{
	return (struct queue_attempt){
		.at = r->changed,
		.host = r->nattempts > 0 ? str_head(r->attempts[r->nattempts - 1].host, FINISHED_HOST) : STR_NONE,
		.said = str_head(r->said, FINISHED_SAID),
	};
}

void record_finished(struct buf *out, const struct queue_entry *e, int64_t finished)
{
	struct queue_attempt word, before = { 0 };
	size_t at = row_begin(out);

	row_add_num(out, (uint64_t)finished, 8);
	row_add_num(out, e->nrcpts, 4);
	row_add_num(out, (uint64_t)e->arrived, 8);
	row_add_num(out, e->flags, 4);
	row_add_num(out, e->bytes, 8);
	row_add_str(out, e->sender);
	row_add_str(out, e->login);
	for (size_t i = 0; i < e->nrcpts; i++) {
		const struct queue_rcpt *r = &e->rcpts[i];

		row_add_str(out, r->address);
		row_add_num(out, r->flags, 4);
		row_add_num(out, r->outcome, 1);
		row_add_num(out, r->tries, 4);
		word = last_word(r);
		row_add_attempt(out, &word, i > 0 ? &before : NULL);
		before = word;
	}
	row_end(out, at, finished_name(e->id));
}

static bool take_ends(struct row_reader *r, struct queue_entry *e)
{
	struct queue_attempt *words = ARENA_ARRAY(&e->arena, struct queue_attempt, e->nrcpts);

	if (words == NULL && e->nrcpts > 0)
		return false;
	for (size_t i = 0; i < e->nrcpts && !r->bad; i++) {
		struct queue_rcpt *q = &e->rcpts[i];

		q->state = RCPT_SETTLED;
		q->address = row_take_str(r);
		q->flags = (unsigned)row_take_num(r, 4);
		q->outcome = (unsigned char)row_take_num(r, 1);
		q->tries = (uint32_t)row_take_num(r, 4);
		q->changed = words[i].at = (int64_t)row_take_num(r, 8);
		if (row_take_num(r, 1) == 0) {
			words[i].host = row_take_str(r);
			words[i].said = row_take_str(r);
		} else if (i > 0) {
			words[i].host = words[i - 1].host;
			words[i].said = words[i - 1].said;
		}
		q->said = words[i].said;
		q->attempts = &words[i];
		q->nattempts = words[i].said.n > 0;
	}
	return !r->bad;
}

bool record_read_finished(str row, uint64_t id, struct queue_entry *e, int64_t *at)
{
	struct row_reader r;

	if (!row_open(&r, row, finished_name(id), &e->arena))
		return false;
	e->id = id;
	*at = (int64_t)row_take_num(&r, 8);
	e->nrcpts = row_take_num(&r, 4);
	e->arrived = (int64_t)row_take_num(&r, 8);
	e->flags = (unsigned)row_take_num(&r, 4);
	e->bytes = row_take_num(&r, 8);
	e->sender = row_take_str(&r);
	e->login = row_take_str(&r);
	return row_make_rcpts(&r, &e->arena, e, 22) && take_ends(&r, e);
}

bool record_finished_at(str row, uint64_t id, int64_t *at)
{
	struct row_reader r;

	if (!row_open(&r, row, finished_name(id), NULL))
		return false;
	*at = (int64_t)row_take_num(&r, 8);
	return !r.bad;
}

/* ---- notes ------------------------------------------------------------------------------------- */

void record_note(struct buf *out, str key, str value)
{
	size_t at = row_begin(out);

	row_add_str(out, key);
	row_add_str(out, value);
	row_end(out, at, (struct record_name){ .kind = RECORD_NOTE });
}

bool record_read_note(str row, str *key, str *value)
{
	struct row_reader r;

	if (!row_open(&r, row, (struct record_name){ .kind = RECORD_NOTE }, NULL))
		return false;
	*key = row_take_str(&r);
	*value = row_take_str(&r);
	return !r.bad;
}

/* ---- numbers ------------------------------------------------------------------------------------ */

void record_number(struct buf *out, str name, uint64_t value)
{
	size_t at = row_begin(out);

	row_add_str(out, name);
	row_add_num(out, value, 8);
	row_end(out, at, (struct record_name){ .kind = RECORD_NUMBER });
}

bool record_recognise_number(str row, str *name, uint64_t *value)
{
	struct row_reader r;

	if (!row_open(&r, row, (struct record_name){ .kind = RECORD_NUMBER }, NULL) || r.version == 1)
		return false;
	*name = row_take_str(&r);
	*value = row_take_num(&r, 8);
	return !r.bad && r.rest.n == 0;
}

bool record_number_is_old(str row)
{
	return row.n == 8;
}

static bool read_number_1(str row, str name, uint64_t *value)
{
	uint64_t v = 0;

	for (size_t i = 8; i-- > 0;)
		v = v << 8 | (unsigned char)row.p[i];
	*value = v;
	if (str_is(name, "format"))
		return v == 1;
	if (str_is(name, "running"))
		return v <= 1;
	return str_is(name, "random") || str_is(name, "reserved");
}

bool record_read_number(str row, str name, uint64_t *value)
{
	str is;

	if (record_number_is_old(row))
		return read_number_1(row, name, value);
	return record_recognise_number(row, &is, value) && str_eq(is, name);
}
