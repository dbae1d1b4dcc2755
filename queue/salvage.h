/* SPDX-License-Identifier: ISC */
/*
 * salvage: what a damaged store still holds, brought into a good one.
 *
 * Nothing twice: what the newest meta page leads to comes first, then the pages
 * that are neither reached nor free.  A finished message does not come back.
 * Where it cannot be known whether a recipient has the message already, it is
 * brought back held, and named.  Nothing unsaid: every message of which a trace
 * is left and that could not be saved whole is named.
 *
 * Before threads, or in a verb.
 */
#ifndef QUEUE_SALVAGE_H
#define QUEUE_SALVAGE_H

#include "queue/queue.h"
#include "queue/store.h"

enum salvage_what {
	SALVAGE_HELD,           /* whole, but perhaps delivered already */
	SALVAGE_DAMAGED,        /* part of it is missing: set aside */
	SALVAGE_LOST,           /* only a trace is left */
};

struct salvage {
	const char   *from;                /* the damaged file */
	const char   *bodies;              /* the folder of large contents, of the good store … */
	const char   *beside;              /* … and a folder whose body… folders may hold more of them */
	struct store *to;
	bool          whole_store;         /* `to` is new and takes the other's numbers, too */
	uint64_t      keep_finished_ms;
	void        (*tell)(void *arg, uint64_t id, enum salvage_what, const char *why);
	void         *arg;
	/* What came of it: */
	uint64_t      messages;            /* brought over, held and damaged ones among them */
	uint64_t      held, damaged, lost;
	uint64_t      finished;            /* traces of messages that had ended */
	uint64_t      present;             /* messages that `to` has already */
	uint64_t      pages, unreadable;
};

/* OK, ERR_FULL (map or disk), ERR_MEMORY, ERR_IO, ERR_ABSENT; a batch that was
 * begun is whole or not there, and doing it again goes on where it ended. */
enum err salvage_run(struct salvage *);

/* By hand: into the store of a stopped server, from FILE, an old or damaged one;
 * large contents lie in the folder beside it.  Everything comes back held.
 * Only `tell` and `arg` are given. */
enum err queue_salvage_file(const struct queue_conf *, const char *file, struct salvage *, struct arena *, str *why);

/* ---- at start (doubt.c) -------------------------------------------------------- */

struct rescue {
	const struct queue_conf *conf;
	const char *folder, *path, *bodies;        /* STATE/queue, its store, its contents */
	bool        damaged;                       /* it was, and is another now */
};

/* A child walks the store at `path`, if there is one.  When it is damaged it is
 * kept as queue.damaged-DATE and a new one, with what could be saved, takes its
 * place.  OK: LMDB may open it.  Under the lock, before threads. */
enum err queue_rescue(struct rescue *, struct arena *, str *why);
/* NULL: sound; else what is wrong with the file's pages.  No LMDB, no child. */
const char *queue_pages_fault(const char *path, struct arena *, enum err *);

/* `FOLDER/NAME-20260102T030405Z`, of which there is none yet. */
char *queue_dated(struct arena *, const char *folder, const char *name);

#endif
