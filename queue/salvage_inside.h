/* SPDX-License-Identifier: ISC */
/*
 * The index of what a damaged file holds.  Between salvage.c, salvage_index.c and
 * salvage_files.c.
 */
#ifndef QUEUE_SALVAGE_INSIDE_H
#define QUEUE_SALVAGE_INSIDE_H

#include "queue/internal.h"
#include "queue/pages.h"
#include "queue/salvage.h"

#define FIND_TRACE 99            /* a kind: the head of a row that is not whole */

struct find {                    /* one row */
	uint64_t id;
	uint64_t at;             /* where in the file it begins … */
	uint32_t n;              /* … and how long it is */
	uint32_t number;
	int64_t  changed;        /* recipient rows */
	unsigned char kind;      /* enum record_kind */
	unsigned char state;     /* recipient rows: enum rcpt_state */
	bool     good;           /* its checksum holds */
	bool     current;        /* it is no old copy */
};

struct range { uint64_t low, high; };

struct finds {
	struct find *v;          /* sorted; of each row the best copy */
	size_t n, room;
	bool   failed;           /* no memory */
	struct range *lost;      /* ids whose recipient rows were not reached */
	size_t nlost, lost_room;
	bool   rcpts_whole;      /* no recipient row is missing */
	bool   finished_whole;   /* no record of a finished message is missing … */
	uint64_t first_finished; /* … from this id on; 0: there is none */
	bool   sure;             /* what is current was told from what is old */
	uint64_t random, reserved;
	uint64_t journal, journal_perhaps;  /* the blocks that the store has, for sure and at most */
	bool   random_sealed;    /* its checksum holds */
	uint64_t unreadable;     /* pages */
};

/* Reads the whole file. */
enum err finds_gather(struct finds *, struct pages *);
void     finds_free(struct finds *);
/* The first row of a kind with that id, and how many. */
size_t   finds_of(const struct finds *, enum record_kind, uint64_t id, const struct find **);
bool     finds_rcpts_doubtful(const struct finds *, uint64_t id);

/* Whether a message's large content is there as long as it should be; brought
 * into the store's own folder when it lies in another. */
bool salvage_file_whole(const struct salvage *, uint64_t id, uint64_t bytes);

#endif
