/* SPDX-License-Identifier: ISC */
/*
 * store: the LMDB file.  Latching transactions: the first failure sticks and
 * later calls do nothing.  The committer alone writes; anybody may read, in a
 * transaction that ends before the call returns.
 *
 * Only store.c knows lmdb.h.
 */
#ifndef QUEUE_STORE_H
#define QUEUE_STORE_H

#include "smtpd/base/arena.h"
#include "smtpd/base/err.h"
#include "smtpd/base/str.h"

struct store;
enum table { TABLE_MESSAGE, TABLE_RCPT, TABLE_BODY, TABLE_META, TABLE_FINISHED, TABLE_NOTE, TABLE_MARK, TABLES };

/* Makes the file when it is not there (and not `reading`).  NULL with a sentence.
 * A table that the store of an older version lacks is empty to a reader. */
struct store *store_open(const char *path, uint64_t map_bytes, bool reading, struct arena *, str *why);
void          store_close(struct store *);

struct store_txn {
	struct store *store;
	void         *txn;
	enum err      err;        /* latched */
	bool          full;       /* the map was full */
};

void     store_begin(struct store *, struct store_txn *);               /* for writing */
void     store_read(struct store *, struct store_txn *);                /* for reading; end with store_end */
/* OK: synced.  ERR_FULL: nothing was changed.  ERR_IO: the disk is in doubt. */
enum err store_commit(struct store_txn *);
void     store_end(struct store_txn *);                                 /* abort, or end of reading */

void     store_put(struct store_txn *, enum table, str key, str value);
/* As store_put, cheaper when the key is behind all others. */
void     store_put_last(struct store_txn *, enum table, str key, str value);
/* Room for a value of n octets, to be filled before the next call; NULL: latched. */
void    *store_reserve(struct store_txn *, enum table, str key, size_t n);
/* Valid until the next change or the end.  false: not there (or latched). */
bool     store_get(struct store_txn *, enum table, str key, str *value);
void     store_delete(struct store_txn *, enum table, str key);         /* harmless when it is not there */
/* All keys that begin with `prefix`, in order; `seen` returns false to stop. */
void     store_each(struct store_txn *, enum table, str prefix, bool (*seen)(void *, str key, str value), void *);
/* The same from the key `first` on, or the one behind it. */
void     store_each_from(struct store_txn *, enum table, str first, bool (*seen)(void *, str key, str value), void *);
void     store_delete_prefix(struct store_txn *, enum table, str prefix);
bool     store_first(struct store_txn *, enum table, str *key, str *value);
bool     store_last_key(struct store_txn *, enum table, str *key);
/* How many rows, and how many bytes of the map they and their tree take. */
void     store_size(struct store_txn *, enum table, uint64_t *rows, uint64_t *bytes);

/* Whether one of ours is called so. */
bool     store_has_table(str name);

/* Removes a table with its rows; nothing else may be under way, and the store is
 * closed next.  For tests. */
enum err store_drop(struct store *, enum table);

/* Sees to it that the disk has room for `bytes` more behind the last page in
 * use, so that a full disk is met here and not halfway through a commit, where
 * LMDB cannot tell it from a broken one.  OK or ERR_FULL. */
enum err store_extend(struct store *, uint64_t bytes);

/* A reader that was killed keeps pages from being used again until it is forgotten. */
void     store_forget_dead_readers(struct store *);

uint64_t store_rows(struct store *, enum table);                        /* how many */

struct store_figures { uint64_t used, size; };                          /* bytes; free pages count as free */
void     store_figures(struct store *, bool exact, struct store_figures *);  /* exact walks the list of free pages */

/* As a writer finds it while `held` is being read: what was freed since that
 * began cannot be used again, and counts as used. */
void     store_figures_beside(struct store *, const struct store_txn *held, struct store_figures *);

#endif
