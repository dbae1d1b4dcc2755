/* SPDX-License-Identifier: ISC */
/*
 * commit: what the three parts of committing share.
 *
 *   committer.c   the thread that everything is sent to: room, journal, and what
 *                 gathers for the store
 *   writer.c      the thread that commits to the store, one list at a time, and
 *                 tells who waits for it
 *   batch.c       one transaction of the writer's
 *   answers.c     what becomes of a put when it is safe, or refused
 *
 * A list is batons linked by next: fates (`first`) and puts.  It belongs to one of
 * the two threads at a time.
 */
#ifndef QUEUE_COMMIT_H
#define QUEUE_COMMIT_H

#include "queue/journal.h"
#include "queue/internal.h"

struct pile { struct baton *first, **end; };
void          pile_clear(struct pile *);
void          pile_add(struct pile *, struct baton *list);       /* one, or many */
void          pile_add_one(struct pile *, struct baton *);       /* whatever it is linked to */
struct baton *pile_take(struct pile *);

static inline struct queue_put *put_of(struct baton *b)
{
	return SUPER(b, struct queue_put, baton);
}

/* ---- answers.c ------------------------------------------------------------------------- */

/* The put's session is answered now; what is returned, its stand-in, stands for it
 * until the store has it. */
struct baton *answer_early(struct baton *put);
bool          is_answered(const struct baton *);
void          answered_ends(struct baton *);                     /* what stood for one is freed */
/* OK: the store has it, and the timetable hears of it. */
void          answer_put(struct queue *, struct queue_put *, enum err);
void          count_puts(struct queue *, size_t);

/* ---- batch.c ----------------------------------------------------------------------------- */

struct ids { uint64_t *v; size_t n, room; };

struct batch {
	struct queue *q;
	struct ids    files;                /* bodies whose rows went in the last transaction */
	struct ids    stubborn;             /* files that would not go: tried again */
	uint64_t      highest_id;
	uint64_t      journal;              /* with puts: the store has all blocks up to this one … */
	uint64_t      journal_said;         /* … as it knows */
	size_t        gone;                 /* messages, by the last transaction */
	struct ledger ledger;
	uint64_t      purge_ms;             /* when records are looked at though nothing else happens */
};

void batch_init(struct batch *, struct queue *);
void batch_fini(struct batch *);

enum batch_part { BATCH_FATES = 1, BATCH_PUTS = 2, BATCH_NO_RECORDS = 4 };
/* Puts with an error are left out.  OK: synced.  ERR_FULL, ERR_MEMORY: nothing was
 * changed.  ERR_IO: the disk is in doubt. */
enum err batch_write(struct batch *, struct baton *list, unsigned parts);
enum err batch_purge(struct batch *);      /* old records, when nothing else is to do */

void batch_remove_files(struct batch *);   /* of what is gone, once that is committed */
void batch_remove_stubborn(struct batch *);

/* ---- writer.c ------------------------------------------------------------------------------ */

struct work {
	struct baton  baton;                /* goes home to the committer's inbox */
	struct baton *list;                 /* empty: only what the writer wants to do by itself */
	uint64_t      journal;              /* the last block of which something is in it */
	size_t        answered;             /* of its puts, so many */
	bool          hurry;                /* the map is half full */
	/* when it is home: */
	struct baton *left;                 /* fates that could not be written, and answered puts without room */
	bool          broken;               /* the disk is in doubt; `left` is all of it */
	uint64_t      wake_ms;              /* when it wants to be asked, though nothing came */
};

struct writer;
struct writer *writer_new(struct queue *);                       /* starts the thread; NULL: it could not */
void           writer_give(struct writer *, struct work *);
void           writer_end(struct writer *);                      /* what it has is done and on its way home; its thread has ended */
void           writer_do(struct writer *, struct work *);        /* then: by the caller's thread */
void           writer_free(struct writer *);

#endif
