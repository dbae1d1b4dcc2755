/* SPDX-License-Identifier: ISC */
/*
 * How rows are written and read, for the files of record alone.  Integers are
 * little-endian, strings a 32-bit length and their octets.
 */
#ifndef QUEUE_RECORD_INSIDE_H
#define QUEUE_RECORD_INSIDE_H

#include "queue/record.h"

/* The head is written last, when the length is known. */
size_t row_begin(struct buf *out);                                   /* where it begins */
void   row_end(struct buf *out, size_t at, struct record_name);
void   row_add_num(struct buf *out, uint64_t v, size_t n);
void   row_add_str(struct buf *out, str);
/* Says only that it is as the one before, when it is. */
void   row_add_attempt(struct buf *out, const struct queue_attempt *, const struct queue_attempt *before);

struct row_reader {
	str           rest;
	bool          bad;              /* latched: it ends early, or no memory */
	unsigned      version;
	struct arena *arena;            /* NULL: strings lie in the row */
};
bool     row_open(struct row_reader *, str row, struct record_name, struct arena *);
uint64_t row_take_num(struct row_reader *, size_t n);
str      row_take_str(struct row_reader *);
/* An array for e->nrcpts recipients, each of which takes at least `least` octets
 * of what is left: a count that lies allocates nothing. */
bool     row_make_rcpts(struct row_reader *, struct arena *, struct queue_entry *, size_t least);

#endif
