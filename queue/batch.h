/* SPDX-License-Identifier: ISC */
/*
 * batch: what the committer writes in one transaction.
 *
 * A list of batons: fates (`first`) and puts, those with an error left out.  With
 * puts the store also learns which blocks of the journal it has by then.
 * Committer thread.
 */
#ifndef QUEUE_BATCH_H
#define QUEUE_BATCH_H

#include "queue/internal.h"

struct ids { uint64_t *v; size_t n, room; };

struct batch {
	struct queue *q;
	struct ids    files;                /* bodies whose rows went in the last transaction */
	struct ids    stubborn;             /* files that would not go: tried again */
	uint64_t      highest_id;
	size_t        gone;                 /* messages, by the last transaction */
	struct ledger ledger;
	uint64_t      purge_ms;             /* when records are looked at though nothing else happens */
};

void batch_init(struct batch *, struct queue *);
void batch_fini(struct batch *);

enum batch_part { BATCH_FATES = 1, BATCH_PUTS = 2, BATCH_NO_RECORDS = 4 };
/* OK: synced.  ERR_FULL, ERR_MEMORY: nothing was changed.  ERR_IO: the disk is in doubt. */
enum err batch_write(struct batch *, struct baton *list, unsigned parts);
enum err batch_purge(struct batch *);      /* old records, when nothing else is to do */

void batch_remove_files(struct batch *);   /* of what is gone, once that is committed */
void batch_remove_stubborn(struct batch *);

#endif
