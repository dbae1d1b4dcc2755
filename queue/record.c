/* SPDX-License-Identifier: ISC */
/*
 * Integers are little-endian, strings a 32-bit length and their octets.  The
 * reader trusts nothing: every length is checked against what is left.  Pure.
 */
#include <string.h>

#include "queue/record_inside.h"
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

enum { AT_KIND = 4, AT_VERSION = 6, AT_LENGTH = 8, AT_NUMBER = 12, AT_ID = 16, AT_SUM = 24, AT_SUM_1 = 16 };

/* Of what follows, then of the head with that in the checksum's place: one
 * number for both, without putting them together. */
static uint64_t checksum_of(const char *head, str body)
{
	unsigned char h[RECORD_HEAD];

	memcpy(h, head, AT_SUM);
	put_le(h + AT_SUM, siphash(checksum_key, body), 8);
	return siphash(checksum_key, (str){ (const char *)h, sizeof(h) });
}

void record_head(unsigned char head[static RECORD_HEAD], struct record_name name, str body)
{
	must(body.n <= UINT32_MAX);
	put_le(head, MAGIC, 4);
	put_le(head + AT_KIND, name.kind, 2);
	put_le(head + AT_VERSION, RECORD_VERSION, 2);
	put_le(head + AT_LENGTH, body.n, 4);
	put_le(head + AT_NUMBER, name.number, 4);
	put_le(head + AT_ID, name.id, 8);
	put_le(head + AT_SUM, checksum_of((const char *)head, body), 8);
}

static unsigned version_of(str row)
{
	return (unsigned)get_le(row.p + AT_VERSION, 2);
}

/* A head of version 1 does not say whose it is. */
static bool open_1(str row, enum record_kind kind, str *body)
{
	*body = str_skip(row, RECORD_HEAD_1);
	return get_le(row.p + AT_KIND, 2) == kind && get_le(row.p + AT_LENGTH, 8) == body->n &&
	       get_le(row.p + AT_SUM_1, 8) == siphash(checksum_key, *body);
}

bool record_recognise(str bytes, struct record_name *name, size_t *length)
{
	if (bytes.n < RECORD_HEAD || get_le(bytes.p, 4) != MAGIC || version_of(bytes) != RECORD_VERSION ||
	    get_le(bytes.p + AT_LENGTH, 4) > bytes.n - RECORD_HEAD)
		return false;
	*length = RECORD_HEAD + (size_t)get_le(bytes.p + AT_LENGTH, 4);
	*name = (struct record_name){
		.kind = (enum record_kind)get_le(bytes.p + AT_KIND, 2), .id = get_le(bytes.p + AT_ID, 8),
		.number = (uint32_t)get_le(bytes.p + AT_NUMBER, 4),
	};
	return get_le(bytes.p + AT_SUM, 8) == checksum_of(bytes.p, str_skip(str_head(bytes, *length), RECORD_HEAD));
}

bool record_open(str row, struct record_name want, str *body)
{
	struct record_name is;
	size_t length;

	if (row.n < RECORD_HEAD_1 || get_le(row.p, 4) != MAGIC)
		return false;
	if (version_of(row) == 1)
		return open_1(row, want.kind, body);
	if (!record_recognise(row, &is, &length) || length != row.n)
		return false;
	*body = str_skip(row, RECORD_HEAD);
	return is.kind == want.kind && is.id == want.id && is.number == want.number;
}

/* The head is written last, when the length is known. */
size_t row_begin(struct buf *out)
{
	static const char room[RECORD_HEAD];
	size_t at = out->n;

	buf_add(out, (str){ room, RECORD_HEAD });
	return at;
}

void row_end(struct buf *out, size_t at, struct record_name name)
{
	if (!out->failed)
		record_head((unsigned char *)out->p + out->head + at, name, str_skip(buf_str(out), at + RECORD_HEAD));
}

/* ---- fields -------------------------------------------------------------------------- */

void row_add_num(struct buf *out, uint64_t v, size_t n)
{
	unsigned char b[8];

	put_le(b, v, n);
	buf_add(out, (str){ (const char *)b, n });
}

void row_add_str(struct buf *out, str s)
{
	row_add_num(out, s.n, 4);
	buf_add(out, s);
}

bool row_open(struct row_reader *r, str row, struct record_name name, struct arena *a)
{
	*r = (struct row_reader){ .arena = a };
	if (!record_open(row, name, &r->rest))
		return false;
	r->version = version_of(row);
	return true;
}

uint64_t row_take_num(struct row_reader *r, size_t n)
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

str row_take_str(struct row_reader *r)
{
	size_t n = row_take_num(r, 4);
	str s;

	if (r->bad || r->rest.n < n) {
		r->bad = true;
		return STR_NONE;
	}
	s = str_head(r->rest, n);
	if (r->arena != NULL)
		s = str_keep(r->arena, s);
	r->bad = n > 0 && s.p == NULL;
	r->rest = str_skip(r->rest, n);
	return s;
}

/* ---- message rows ---------------------------------------------------------------------- */

static struct record_name message_name(uint64_t id)
{
	return (struct record_name){ .kind = RECORD_MESSAGE, .id = id };
}

/* The flags say which of a recipient's own strings follow them. */
static void add_own(struct buf *out, const struct queue_rcpt *r)
{
	unsigned flags = r->own != NULL ? r->flags : r->flags & ~(unsigned)(RCPT_OWN_SENDER | RCPT_OWN_HEAD);

	row_add_num(out, flags, 4);
	if (flags & RCPT_OWN_SENDER)
		row_add_str(out, r->own->sender);
	if (flags & RCPT_OWN_HEAD)
		row_add_str(out, r->own->head);
}

static bool take_own(struct row_reader *r, struct arena *a, struct queue_rcpt *out)
{
	struct queue_own *own;

	out->flags = (unsigned)row_take_num(r, 4);
	if (!(out->flags & (RCPT_OWN_SENDER | RCPT_OWN_HEAD)))
		return true;
	own = ARENA_NEW(a, struct queue_own);
	if (own == NULL)
		return false;
	if (out->flags & RCPT_OWN_SENDER)
		own->sender = row_take_str(r);
	if (out->flags & RCPT_OWN_HEAD)
		own->head = row_take_str(r);
	out->own = own;
	return true;
}

/* Behind the recipients, and only when there is something to say: rows of before
 * have nothing there, and a program of before does not look. */
static void add_signing(struct buf *out, const struct queue_signing *s)
{
	if (s->until == 0)
		return;
	row_add_num(out, (uint64_t)s->until, 8);
	row_add_str(out, s->author);
	for (size_t i = 0; i < QUEUE_HASHES; i++)
		row_add_str(out, s->hashes[i]);
}

static bool take_signing(struct row_reader *r, struct queue_signing *s)
{
	*s = (struct queue_signing){ 0 };
	if (r->bad || r->rest.n == 0)
		return !r->bad;
	s->until = (int64_t)row_take_num(r, 8);
	s->author = row_take_str(r);
	for (size_t i = 0; i < QUEUE_HASHES; i++)
		s->hashes[i] = row_take_str(r);
	return !r->bad;
}

/* The numbers stand first, for record_peek. */
void record_message(struct buf *out, const struct queue_entry *e)
{
	size_t at = row_begin(out);

	row_add_num(out, e->nrcpts, 4);
	row_add_num(out, e->in_file, 1);
	row_add_num(out, e->id, 8);
	row_add_num(out, (uint64_t)e->arrived, 8);
	row_add_num(out, e->flags, 4);
	row_add_num(out, e->header_bytes, 8);
	row_add_num(out, e->bytes, 8);
	row_add_num(out, (uint64_t)e->not_before, 8);
	row_add_str(out, e->sender);
	row_add_str(out, e->login);
	row_add_str(out, e->envid);
	row_add_str(out, e->head);
	for (size_t i = 0; i < e->nrcpts; i++) {
		row_add_str(out, e->rcpts[i].address);
		row_add_str(out, e->rcpts[i].orcpt);
		add_own(out, &e->rcpts[i]);
	}
	add_signing(out, &e->signing);
	row_end(out, at, message_name(e->id));
}

/* Each recipient takes at least `least` octets: a count that lies allocates nothing. */
bool row_make_rcpts(struct row_reader *r, struct arena *a, struct queue_entry *e, size_t least)
{
	if (r->bad || e->nrcpts > r->rest.n / least)
		return false;
	e->rcpts = ARENA_ARRAY(a, struct queue_rcpt, e->nrcpts);
	return e->rcpts != NULL || e->nrcpts == 0;
}

static bool read_rcpts(struct row_reader *r, struct arena *a, struct queue_entry *e)
{
	if (!row_make_rcpts(r, a, e, 12))
		return false;
	for (size_t i = 0; i < e->nrcpts; i++) {
		e->rcpts[i].address = row_take_str(r);
		e->rcpts[i].orcpt = row_take_str(r);
		if (!take_own(r, a, &e->rcpts[i]))
			return false;
		e->rcpts[i].next = e->not_before > e->arrived ? e->not_before : e->arrived;
		e->rcpts[i].state = e->flags & MESSAGE_HELD ? RCPT_HELD : RCPT_WAITING;
	}
	return !r->bad;
}

static bool read_message(struct row_reader *r, uint64_t id, struct arena *a, struct queue_entry *e)
{
	e->nrcpts = row_take_num(r, 4);
	e->in_file = row_take_num(r, 1) != 0;
	e->id = row_take_num(r, 8);
	e->arrived = (int64_t)row_take_num(r, 8);
	e->flags = (unsigned)row_take_num(r, 4);
	e->header_bytes = row_take_num(r, 8);
	e->bytes = row_take_num(r, 8);
	e->not_before = r->version > 1 ? (int64_t)row_take_num(r, 8) : 0;
	e->sender = row_take_str(r);
	e->login = row_take_str(r);
	e->envid = row_take_str(r);
	e->head = row_take_str(r);
	return read_rcpts(r, a, e) && take_signing(r, &e->signing) && e->id == id;
}

bool record_read_message(str row, uint64_t id, struct queue_entry *e)
{
	struct row_reader r;

	return row_open(&r, row, message_name(id), &e->arena) && read_message(&r, id, &e->arena, e);
}

bool record_borrow_message(str row, uint64_t id, struct arena *a, struct queue_entry *e)
{
	struct row_reader r;

	return row_open(&r, row, message_name(id), NULL) && read_message(&r, id, a, e);
}

bool record_peek(str row, uint64_t id, struct record_summary *out)
{
	struct row_reader r;

	if (!row_open(&r, row, message_name(id), NULL))
		return false;
	out->piece = r.version > 1 ? RECORD_BODY : RECORD_BODY_1;
	out->nrcpts = (uint32_t)row_take_num(&r, 4);
	out->in_file = row_take_num(&r, 1) != 0;
	out->id = row_take_num(&r, 8);
	out->arrived = (int64_t)row_take_num(&r, 8);
	out->flags = (unsigned)row_take_num(&r, 4);
	row_take_num(&r, 8);                        /* header_bytes */
	out->bytes = row_take_num(&r, 8);
	out->not_before = r.version > 1 ? (int64_t)row_take_num(&r, 8) : 0;
	return !r.bad && out->id == id;
}

/* ---- recipient rows ---------------------------------------------------------------------- */

/* A destination that is down says the same again and again: it is kept once. */
void row_add_attempt(struct buf *out, const struct queue_attempt *a, const struct queue_attempt *before)
{
	bool same = before != NULL && str_eq(a->host, before->host) && str_eq(a->said, before->said);

	row_add_num(out, (uint64_t)a->at, 8);
	row_add_num(out, same, 1);
	if (same)
		return;
	row_add_str(out, a->host);
	row_add_str(out, a->said);
}

static bool take_attempts(struct row_reader *r, struct arena *a, struct queue_rcpt *out)
{
	out->nattempts = (size_t)row_take_num(r, 1);
	if (r->bad || out->nattempts > r->rest.n / 9)
		return false;
	out->attempts = ARENA_ARRAY(a, struct queue_attempt, out->nattempts);
	if (out->attempts == NULL && out->nattempts > 0)
		return false;
	for (size_t i = 0; i < out->nattempts; i++) {
		struct queue_attempt *v = &out->attempts[i];

		v->at = (int64_t)row_take_num(r, 8);
		if (row_take_num(r, 1) == 0) {
			v->host = row_take_str(r);
			v->said = row_take_str(r);
		} else if (i > 0) {
			v->host = v[-1].host;
			v->said = v[-1].said;
		} else {
			return false;
		}
	}
	return !r->bad;
}

static struct record_name rcpt_name(uint64_t id, uint32_t number)
{
	return (struct record_name){ .kind = RECORD_RCPT, .id = id, .number = number };
}

void record_rcpt(struct buf *out, uint64_t id, uint32_t number, const struct queue_rcpt *r)
{
	size_t at = row_begin(out);

	row_add_num(out, r->state, 1);
	row_add_num(out, r->delay_told, 1);
	row_add_num(out, r->tries, 4);
	row_add_num(out, (uint64_t)r->next, 8);
	row_add_num(out, (uint64_t)r->changed, 8);
	row_add_num(out, (uint64_t)r->staged_at, 8);
	row_add_str(out, r->said);
	row_add_str(out, r->place);
	row_add_num(out, r->outcome, 1);
	row_add_num(out, r->nattempts, 1);
	for (size_t i = 0; i < r->nattempts; i++)
		row_add_attempt(out, &r->attempts[i], i > 0 ? &r->attempts[i - 1] : NULL);
	row_end(out, at, rcpt_name(id, number));
}

bool record_read_rcpt(str row, uint64_t id, uint32_t number, struct arena *a, struct queue_rcpt *out)
{
	struct row_reader r;
	unsigned state;

	if (!row_open(&r, row, rcpt_name(id, number), a))
		return false;
	state = (unsigned)row_take_num(&r, 1);
	if (state > RCPT_SETTLED)
		return false;
	out->state = (enum rcpt_state)state;
	out->delay_told = row_take_num(&r, 1) != 0;
	out->tries = (uint32_t)row_take_num(&r, 4);
	out->next = (int64_t)row_take_num(&r, 8);
	out->changed = (int64_t)row_take_num(&r, 8);
	out->staged_at = (int64_t)row_take_num(&r, 8);
	out->said = row_take_str(&r);
	out->place = row_take_str(&r);
	if (r.version == 1)
		return !r.bad;
	out->outcome = (unsigned char)row_take_num(&r, 1);
	return take_attempts(&r, a, out);
}

bool record_peek_rcpt(str row, uint64_t id, uint32_t number, enum rcpt_state *state)
{
	struct row_reader r;

	if (!row_open(&r, row, rcpt_name(id, number), NULL))
		return false;
	*state = (enum rcpt_state)row_take_num(&r, 1);
	return !r.bad && *state <= RCPT_SETTLED;
}
