/* SPDX-License-Identifier: ISC */
/*
 * journal: where messages are safe until the store has them.
 *
 * A commit of the store writes pages here and there and waits for the disk twice.
 * When many messages come at once the committer writes them here first, one
 * behind the other, and one flush makes them safe: they are answered, and the
 * store gets all that came in some milliseconds in one commit.
 *
 * STATE/queue/journal is JOURNAL_BYTES long, made with zeros when it is first
 * wanted, and written over again and again: it never grows, so that its sync is
 * one of data alone.  A block is what was answered together:
 *
 *   head       a sealed row (record.h): kind RECORD_BLOCK, id the block's number,
 *              which rises for ever, number how many rows follow;
 *              0 the store's random number (8)   8 octets of the rows (8)
 *              16 the round (8), drawn whenever a half is begun anew
 *   rows       the same octets as in the store: message rows, each followed by its
 *              body rows
 *
 * and begins at a multiple of JOURNAL_ALIGN.  The file has two halves: while the
 * store takes what stands in one, the other is written.  The store's own number
 * "journal" is the last block it has; a commit that holds the rows raises it.  So
 * at a start those blocks of a half count, from its front on, that are of one round
 * and whose numbers follow each other, up to the first that is not whole, which was
 * never answered; and of them those with a higher number than the store's are taken
 * in.  What lies behind is of earlier rounds: contents that somebody sent may look
 * there like blocks, but nobody knows the round to come.
 *
 * The committer's; journal_take_in is main's, before anybody else reads the store.
 */
#ifndef QUEUE_JOURNAL_H
#define QUEUE_JOURNAL_H

#include "queue/internal.h"

#define JOURNAL_HALF  ((size_t)4 << 20)
#define JOURNAL_BYTES (2 * JOURNAL_HALF)
#define JOURNAL_BLOCK ((size_t)1 << 20)      /* of a block, at most */
#define JOURNAL_ALIGN ((size_t)4096)

struct journal;

/* `last`: the store's number.  Asks nothing of the disk.  NULL: no memory. */
struct journal *journal_new(const struct queue *, uint64_t last);
void            journal_free(struct journal *);

/* Into the block that is being composed.  false: no room in it (or no memory for it). */
bool     journal_add(struct journal *, const struct queue_put *);
void     journal_drop(struct journal *);              /* what is being composed */

/* The block is written and synced.  ERR_FULL: it has no place before
 * journal_turn, or the file or the disk has none: nothing of it is there.  ERR_IO:
 * the disk is in doubt. */
enum err journal_sync(struct journal *);

uint64_t journal_last(const struct journal *);        /* the number of the last block: the store's, once it is committed */
/* From here on the other half is written over: the store has all that stood there. */
void     journal_turn(struct journal *);

/* What the store does not have yet goes into it, in one transaction.  A store that
 * was put together again may not know its number, but the highest it may have been
 * ("journal-max"): messages of blocks up to that may have been delivered, and come
 * in held.  *taken:
 * how many messages.  ERR_FULL: the map has no room for them; ERR_IO: the
 * journal or the store cannot be read or written. */
enum err journal_take_in(struct queue *, size_t *taken);

/* How many messages it holds that the store, opened for reading, does not; 0
 * also when it cannot be read. */
size_t   journal_waiting(struct queue *);

#endif
