/* SPDX-License-Identifier: ISC */
/*
 * record: rows as bytes.  Each begins with a head that says what it is and of
 * which message, and seals itself and what follows with a checksum, so that a
 * row can be recognised and judged wherever in a damaged file it is found.
 * Pure.
 *
 *   message row    key: id (8, big-endian)            one a message
 *   rcpt row       key: id, recipient (8 + 4)         from a recipient's first fate on
 *   body row       key: id, number (8 + 4)            RECORD_BODY octets of content each
 *   finished row   key: id                            what became of it, for some days
 *   mark row       key: id; number: lives             being tried in the rounds after an unclean stop
 *   note row       key: the note's; id: 0             key and value of a note
 *   number row     key: its name; id: 0               what the store knows of itself
 *   block          no row: the head of a block of the journal (journal.h)
 *
 * The head, version 2, little-endian:
 *
 *   0 magic (4)   4 kind (2)   6 version (2)   8 length of what follows (4)
 *   12 number (4)   16 id (8)   24 checksum of both (8)
 *
 * A message row's recipients may be followed by how it was signed (until when,
 * whose From, its body's hashes); where nothing follows, nothing is known.
 *
 * Version 1 is read and never written: 0 magic, kind, version as above, 8 length
 * (8), 16 checksum of what follows (8); it does not say whose it is.  Its number
 * rows are eight octets and no head.
 */
#ifndef QUEUE_RECORD_H
#define QUEUE_RECORD_H

#include "queue/queue.h"
#include "smtpd/base/buf.h"

enum record_kind {
	RECORD_MESSAGE = 1, RECORD_RCPT = 2, RECORD_BODY_ROW = 3, RECORD_FINISHED = 4, RECORD_MARK = 5, RECORD_NOTE = 6,
	RECORD_NUMBER = 7, RECORD_BLOCK = 8,
};

#define RECORD_VERSION 2
#define RECORD_HEAD    32
#define RECORD_HEAD_1  24
/* A body row fills four LMDB pages and their header to the last octet. */
#define RECORD_BODY    (4 * 4096 - 16 - RECORD_HEAD)
#define RECORD_BODY_1  (4 * 4096 - 16 - RECORD_HEAD_1)

struct record_key { unsigned char b[12]; size_t n; };
struct record_key record_key_message(uint64_t id);
struct record_key record_key_part(uint64_t id, uint32_t part);     /* recipient or body row */
uint64_t          record_key_id(str key);                          /* 0: too short */
uint32_t          record_key_number(str key);

/* What a row is. */
struct record_name { enum record_kind kind; uint64_t id; uint32_t number; };

/* Writes the head for `body.n` octets (fewer than 4 GiB) that follow it. */
void record_head(unsigned char head[static RECORD_HEAD], struct record_name, str body);
/* The octets behind a good head; false: something in it or the checksum is
 * wrong, or it is another row than the one that was looked for. */
bool record_open(str row, struct record_name, str *body);
/* Whether a good row of version 2 begins here, whatever follows it: what it is,
 * and how long, head included.  For salvage. */
bool record_recognise(str bytes, struct record_name *, size_t *length);

/* Whole rows, head included, appended to `out`. */
void record_message(struct buf *out, const struct queue_entry *);
void record_rcpt(struct buf *out, uint64_t id, uint32_t number, const struct queue_rcpt *);
void record_finished(struct buf *out, const struct queue_entry *, int64_t at);
void record_note(struct buf *out, str key, str value);
void record_number(struct buf *out, str name, uint64_t value);
/* Strings are copied into the arena (the entry's), or, without one, lie in the
 * row.  false: not such a row, or no memory. */
bool record_read_message(str row, uint64_t id, struct queue_entry *);
bool record_read_rcpt(str row, uint64_t id, uint32_t number, struct arena *, struct queue_rcpt *);
bool record_read_finished(str row, uint64_t id, struct queue_entry *, int64_t *at);
/* Only when it ended. */
bool record_finished_at(str row, uint64_t id, int64_t *at);
bool record_read_note(str row, str *key, str *value);                  /* both lie in the row */
/* A number of version 1 has no checksum: only what may stand under such a name is
 * taken for one. */
bool record_read_number(str row, str name, uint64_t *value);
bool record_number_is_old(str row);
/* Whatever its name is, if it is a good row of version 2; the name lies in the row. */
bool record_recognise_number(str row, str *name, uint64_t *value);
/* As record_read_message, but only the recipients' array is in `a`; all strings lie in the row. */
bool record_borrow_message(str row, uint64_t id, struct arena *a, struct queue_entry *);
/* The numbers of a message row, without its strings. */
struct record_summary {
	uint32_t nrcpts, piece;            /* piece: content octets in each of its body rows but the last */
	bool     in_file;
	uint64_t id;
	int64_t  arrived, not_before;
	unsigned flags;
	uint64_t bytes;
};
bool record_peek(str row, uint64_t id, struct record_summary *);
/* Only what state a recipient is in. */
bool record_peek_rcpt(str row, uint64_t id, uint32_t number, enum rcpt_state *);

#endif
