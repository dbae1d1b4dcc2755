/* SPDX-License-Identifier: ISC */
/*
 * Integers are little-endian, strings a 32-bit length and their octets.  The
 * reader trusts nothing: every length is checked against what is left.  Pure.
 */
#include <string.h>

#include "queue/record.h"
#include "smtpd/base/map.h"

#define MAGIC 0x70747271u     /* "qrtp" */

/* The checksum guards against damage, not against an enemy: a fixed key. */
static const uint8_t checksum_key[16] = "postern queue 01";

/* ---- keys ------------------------------------------------------------------------ */

static void put_be(unsigned char *p, uint64_t v, size_t n)
{
	while (n-- > 0) {
		p[n] = (unsigned char)v;
		v >>= 8;
	}
}

static uint64_t get_be(const char *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | (unsigned char)p[i];
	return v;
}

struct record_key record_key_message(uint64_t id)
{
	struct record_key k = { .n = 8 };

	put_be(k.b, id, 8);
	return k;
}

struct record_key record_key_part(uint64_t id, uint32_t part)
{
	struct record_key k = { .n = 12 };

	put_be(k.b, id, 8);
	put_be(k.b + 8, part, 4);
	return k;
}

uint64_t record_key_id(str key)
{
	return key.n < 8 ? 0 : get_be(key.p, 8);
}

uint32_t record_key_number(str key)
{
	return key.n < 12 ? 0 : (uint32_t)get_be(key.p + 8, 4);
}

/* ---- the head ---------------------------------------------------------------------- */

static void put_le(unsigned char *p, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		p[i] = (unsigned char)v;
		v >>= 8;
	}
}

static uint64_t get_le(const char *p, size_t n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | (unsigned char)p[n];
	return v;
}

void record_head(unsigned char head[static RECORD_HEAD], enum record_kind kind, str body)
{
	put_le(head, MAGIC, 4);
	put_le(head + 4, kind, 2);
	put_le(head + 6, RECORD_VERSION, 2);
	put_le(head + 8, body.n, 8);
	put_le(head + 16, siphash(checksum_key, body), 8);
}

bool record_open(str row, enum record_kind kind, str *body)
{
	if (row.n < RECORD_HEAD || get_le(row.p, 4) != MAGIC || get_le(row.p + 4, 2) != kind ||
	    get_le(row.p + 6, 2) != RECORD_VERSION || get_le(row.p + 8, 8) != row.n - RECORD_HEAD)
		return false;
	*body = str_skip(row, RECORD_HEAD);
	return get_le(row.p + 16, 8) == siphash(checksum_key, *body);
}

/* The head is written last, when the length is known. */
static size_t begin(struct buf *out)
{
	static const char room[RECORD_HEAD];
	size_t at = out->n;

	buf_add(out, (str){ room, RECORD_HEAD });
	return at;
}

static void end(struct buf *out, size_t at, enum record_kind kind)
{
	if (!out->failed)
		record_head((unsigned char *)out->p + out->head + at, kind, str_skip(buf_str(out), at + RECORD_HEAD));
}

/* ---- fields -------------------------------------------------------------------------- */

static void add_num(struct buf *out, uint64_t v, size_t n)
{
	unsigned char b[8];

	put_le(b, v, n);
	buf_add(out, (str){ (const char *)b, n });
}

static void add_str(struct buf *out, str s)
{
	add_num(out, s.n, 4);
	buf_add(out, s);
}

struct reader { str rest; bool bad; struct arena *arena; };

static uint64_t take_num(struct reader *r, size_t n)
{
	uint64_t v;

	if (r->bad || r->rest.n < n) {
		r->bad = true;
		return 0;
	}
	v = get_le(r->rest.p, n);
	r->rest = str_skip(r->rest, n);
	return v;
}

static str take_str(struct reader *r)
{
	size_t n = take_num(r, 4);
	str s;

	if (r->bad || r->rest.n < n) {
		r->bad = true;
		return STR_NONE;
	}
	s = str_keep(r->arena, str_head(r->rest, n));
	r->bad = n > 0 && s.p == NULL;
	r->rest = str_skip(r->rest, n);
	return s;
}

/* ---- message rows ---------------------------------------------------------------------- */

/* The numbers stand first, for record_peek. */
void record_message(struct buf *out, const struct queue_entry *e)
{
	size_t at = begin(out);

	add_num(out, e->nrcpts, 4);
	add_num(out, e->in_file, 1);
	add_num(out, e->id, 8);
	add_num(out, (uint64_t)e->arrived, 8);
	add_num(out, e->flags, 4);
	add_num(out, e->header_bytes, 8);
	add_num(out, e->bytes, 8);
	add_str(out, e->sender);
	add_str(out, e->login);
	add_str(out, e->envid);
	add_str(out, e->head);
	for (size_t i = 0; i < e->nrcpts; i++) {
		add_str(out, e->rcpts[i].address);
		add_str(out, e->rcpts[i].orcpt);
		add_num(out, e->rcpts[i].flags, 4);
	}
	end(out, at, RECORD_MESSAGE);
}

static bool read_rcpts(struct reader *r, struct queue_entry *e)
{
	/* Each takes at least 12 octets: a count that lies allocates nothing. */
	if (r->bad || e->nrcpts > r->rest.n / 12)
		return false;
	e->rcpts = ARENA_ARRAY(&e->arena, struct queue_rcpt, e->nrcpts);
	if (e->rcpts == NULL && e->nrcpts > 0)
		return false;
	for (size_t i = 0; i < e->nrcpts; i++) {
		e->rcpts[i].address = take_str(r);
		e->rcpts[i].orcpt = take_str(r);
		e->rcpts[i].flags = (unsigned)take_num(r, 4);
		e->rcpts[i].next = e->arrived;
		e->rcpts[i].state = e->flags & MESSAGE_HELD ? RCPT_HELD : RCPT_WAITING;
	}
	return !r->bad;
}

bool record_read_message(str row, struct queue_entry *e)
{
	struct reader r = { .arena = &e->arena };

	if (!record_open(row, RECORD_MESSAGE, &r.rest))
		return false;
	e->nrcpts = take_num(&r, 4);
	e->in_file = take_num(&r, 1) != 0;
	e->id = take_num(&r, 8);
	e->arrived = (int64_t)take_num(&r, 8);
	e->flags = (unsigned)take_num(&r, 4);
	e->header_bytes = take_num(&r, 8);
	e->bytes = take_num(&r, 8);
	e->sender = take_str(&r);
	e->login = take_str(&r);
	e->envid = take_str(&r);
	e->head = take_str(&r);
	return read_rcpts(&r, e);
}

bool record_peek(str row, struct record_summary *out)
{
	struct reader r = { 0 };

	if (!record_open(row, RECORD_MESSAGE, &r.rest))
		return false;
	out->nrcpts = (uint32_t)take_num(&r, 4);
	out->in_file = take_num(&r, 1) != 0;
	out->id = take_num(&r, 8);
	out->arrived = (int64_t)take_num(&r, 8);
	out->flags = (unsigned)take_num(&r, 4);
	take_num(&r, 8);                        /* header_bytes */
	out->bytes = take_num(&r, 8);
	return !r.bad;
}

/* ---- recipient rows ---------------------------------------------------------------------- */

void record_rcpt(struct buf *out, const struct queue_rcpt *r)
{
	size_t at = begin(out);

	add_num(out, r->state, 1);
	add_num(out, r->delay_told, 1);
	add_num(out, r->tries, 4);
	add_num(out, (uint64_t)r->next, 8);
	add_num(out, (uint64_t)r->changed, 8);
	add_num(out, (uint64_t)r->staged_at, 8);
	add_str(out, r->said);
	add_str(out, r->place);
	end(out, at, RECORD_RCPT);
}

bool record_read_rcpt(str row, struct arena *a, struct queue_rcpt *out)
{
	struct reader r = { .arena = a };
	unsigned state;

	if (!record_open(row, RECORD_RCPT, &r.rest))
		return false;
	state = (unsigned)take_num(&r, 1);
	if (state > RCPT_SETTLED)
		return false;
	out->state = (enum rcpt_state)state;
	out->delay_told = take_num(&r, 1) != 0;
	out->tries = (uint32_t)take_num(&r, 4);
	out->next = (int64_t)take_num(&r, 8);
	out->changed = (int64_t)take_num(&r, 8);
	out->staged_at = (int64_t)take_num(&r, 8);
	out->said = take_str(&r);
	out->place = take_str(&r);
	return !r.bad;
}
