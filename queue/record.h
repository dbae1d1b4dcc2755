/* SPDX-License-Identifier: ISC */
/*
 * record: rows as bytes.  Each begins with magic, kind, version, length and a
 * checksum, so that a row can be recognised and judged wherever it is found.
 * Pure.
 *
 *   message row   key: id (8, big-endian)             one a message
 *   rcpt row      key: id, recipient (8 + 4)          from a recipient's first fate on
 *   body row      key: id, number (8 + 4)             RECORD_BODY octets of content each
 */
#ifndef QUEUE_RECORD_H
#define QUEUE_RECORD_H

#include "queue/queue.h"
#include "smtpd/base/buf.h"

enum record_kind { RECORD_MESSAGE = 1, RECORD_RCPT = 2, RECORD_BODY_ROW = 3 };

#define RECORD_VERSION 1
#define RECORD_HEAD    24
/* A body row fills four LMDB pages and their header to the last octet. */
#define RECORD_BODY    (4 * 4096 - 16 - RECORD_HEAD)

struct record_key { unsigned char b[12]; size_t n; };
struct record_key record_key_message(uint64_t id);
struct record_key record_key_part(uint64_t id, uint32_t part);     /* recipient or body row */
uint64_t          record_key_id(str key);                          /* 0: too short */
uint32_t          record_key_number(str key);

/* Writes the head for `body.n` octets that follow it. */
void record_head(unsigned char head[static RECORD_HEAD], enum record_kind, str body);
/* The octets behind a good head; false: magic, kind, version, length or
 * checksum are wrong. */
bool record_open(str row, enum record_kind, str *body);

/* Whole rows, head included, appended to `out`. */
void record_message(struct buf *out, const struct queue_entry *);
void record_rcpt(struct buf *out, const struct queue_rcpt *);
/* Strings are copied into the entry's arena.  false: not such a row, or no memory. */
bool record_read_message(str row, struct queue_entry *);
bool record_read_rcpt(str row, struct arena *, struct queue_rcpt *);
/* The numbers of a message row, without its strings. */
struct record_summary { uint32_t nrcpts; bool in_file; uint64_t id; int64_t arrived; unsigned flags; uint64_t bytes; };
bool record_peek(str row, struct record_summary *);

#endif
