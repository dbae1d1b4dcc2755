/* SPDX-License-Identifier: ISC */
/*
 * What the files of the strong room share.  Nobody outside includes it.
 */
#ifndef QUEUE_INTERNAL_H
#define QUEUE_INTERNAL_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

#include "queue/queue.h"
#include "queue/record.h"
#include "queue/store.h"

#define SPOOL_PIECE     ((size_t)128 << 10)  /* what is written to a file at once, each at a multiple of it */
#define CONTENT_KEPT    ((size_t)64 << 10)   /* contents up to this size stay in memory for the first try … */
#define KEPT_BUDGET     ((size_t)16 << 20)   /* … while all entries and contents together hold less than this */

struct queue {
	struct queue_conf conf;
	char             *path;             /* STATE/queue/queue.mdb */
	char             *bodies;           /* STATE/queue/body */
	char             *journal_path;     /* STATE/queue/journal */
	char             *folder;           /* STATE/queue */
	int               lock;             /* held as long as we live */
	bool              reading, unclean, fell, started;
	bool              is_new;           /* this open made the store */
	_Atomic bool      stopping;         /* what is submitted now goes home with ERR_CLOSED */
	struct store     *store;
	struct mbox      *inbox;            /* the committer's */
	struct mbox      *news;
	void            (*news_arrived)(struct baton *);
	struct desk      *disk;
	struct journal   *journal;          /* the committer's, while it runs; so is … */
	struct writer    *writer;
	pthread_t         committer;
	uint64_t          random, id_reserved;
	uint64_t          journal_said;     /* the store's number "journal" */
	_Atomic uint64_t  next_id;
	_Atomic int       room;             /* enum err: may new mail come in? */
	_Atomic uint64_t  messages, commits, puts, fates, batch_longest, used, size;
	_Atomic uint64_t  kept;             /* bytes that entries hold which went out as news … */
	_Atomic size_t    out;              /* … and how many they are: until they have been tried, mostly */
};

/* An entry as it is allocated: its news baton lies with it. */
struct stored_entry {
	struct queue_entry entry;
	struct queue_news  news;
	struct queue      *queue;           /* whose `kept` counts our memory; NULL: not counted … */
	size_t             counted;         /* … this much of it */
};
struct queue_entry *entry_new(void);
/* From here to its end, what it holds is counted. */
void   entry_count(struct queue_entry *, struct queue *);
size_t entry_weight(const struct queue_entry *);   /* the memory it holds: blocks, not what stands in them */

/* New mail may fill the map up to here. */
uint64_t map_limit(const struct queue *);
bool     map_has_room(const struct queue *, uint64_t bytes);
/* With all that was let in so far a twentieth of the map is free. */
bool     map_has_room_for_sure(const struct queue *);

/* So far ahead of the highest one ids are reserved: a minute, in microseconds. */
#define ID_AHEAD ((uint64_t)60 * 1000000)
/* Ids that are drawn from here on are higher. */
void queue_raise_id(struct queue *, uint64_t id);

/* queue/body/ID; the text lives in `out`. */
#define BODY_PATH 4400
const char *body_path(const struct queue *, uint64_t id, char out[static BODY_PATH]);

/* The lock of a state directory; closing it lets go.  -1 with a sentence: who holds it. */
int lock_take(const char *path, str state, struct arena *, str *why);

/* ---- fell.c: how a life ended ------------------------------------------------ */
void fell_watch(int lock);                   /* from now on a fault leaves a word in this file */
void fell_forget(void);
bool fell_said(const char *lock);            /* there is one, of the life before: asked before the lock is taken */
void fell_unblock(sigset_t *);               /* a thread's own faults, for the masks of threads */

/* A name is kept only when its directory is synced. */
enum err sync_folder(const char *path);

/* ---- spool, as the put sees it --------------------------------------------- */

struct spool {
	struct queue *queue;
	struct mbox  *home;
	char         *p;                    /* what is in memory */
	size_t        n, room;
	uint64_t      bytes;                /* in all */
	enum err      err;                  /* latched; the desk's while a job is out */
	enum err      lost;                 /* latched by the loop meanwhile */
	bool          in_file;              /* it has outgrown memory */
	int           fd;                   /* the unnamed file; the desk's while a job is out */
	struct job    job;
	char         *flying;               /* the piece that is on its way to the disk */
	size_t        nflying, flying_room;
	char         *spare;                /* one that has come home: the next gathers in it */
	size_t        spare_room;
	bool          out, ghost, finishing;
	bool          told;                 /* the reader was told to stop: `ready` is owed */
	uint64_t      name;                 /* finishing: link in as this id */
	void        (*ready)(void *);
	void         *ready_arg;
	void        (*finished)(void *, enum err);
	void         *finished_arg;
};

/* Writes what is left, fsyncs the file, links it in as body/ID, fsyncs the
 * directory; then `finished` on home's thread.  A small spool finishes nothing. */
void spool_finish(struct spool *, uint64_t id, void (*finished)(void *, enum err), void *arg);

/* ---- the put, as the committer sees it --------------------------------------- */

struct queue_put {
	struct baton        baton;
	struct queue       *queue;
	struct arena       *arena;
	struct queue_entry *entry;          /* the committer's from submit; NULL once handed on */
	enum err            err;            /* latched while building; the result when home */
	str                *heads;
	size_t              nheads, heads_room, rcpts_room;
	struct spool       *spool;
	struct buf          row;
	struct buf          seals;          /* the heads of the body rows, RECORD_HEAD each */
	uint64_t            settles_id;
	struct queue_fate  *settles;
	size_t              nsettles;
	uint64_t            id;
	queue_done         *done;
	void               *arg;
	struct queue_put   *stand_in;       /* what stands for it once it is answered before the store has it; made here,
	                                     * so that nothing fails between a journal's block and its answers */
};

/* Numbers the store keeps about itself. */
#define QUEUE_FORMAT 1               /* of the store; a higher one was written by a newer postern */
uint64_t meta_get(struct store_txn *, const char *name);   /* 0: not there */
void     meta_put(struct store_txn *, const char *name, uint64_t value);
void     meta_renew(struct store_txn *);                   /* those of an older version get their checksums */

/* ---- room.c: the committer's look at map and disk ---------------------------------- */

struct room {
	uint64_t looked_ms;
	bool     map_full;
	bool     guessed;           /* what is in use was added to since its pages were counted */
	bool     hurry;             /* the map is half full */
};
/* Once a second, more often when the map is nearly full; says when it changes.
 * `ahead` octets wait for a commit. */
void room_look(struct room *, struct queue *, uint64_t ahead);
/* The puts of the batch that find no room get their error; `ahead` octets of others
 * wait for a commit. */
void room_refuse(struct room *, struct queue *, struct baton *batch, uint64_t ahead);
uint64_t room_of(const struct queue_put *);                /* octets of the map that it may take */

/* ---- committer (commit.h) ------------------------------------------------------------------ */

void *committer_run(void *queue);

/* Writes what became of messages, while `keep` is set. */
struct ledger {
	bool       keep;
	bool       hurry;           /* the map is half full: records go first */
	struct buf row;             /* the record that is being composed */
	size_t     written;         /* in this transaction */
};
void   ledger_init(struct ledger *);
void   ledger_fini(struct ledger *);
/* `row` is the message's; `only` its one recipient when that has no row of its own. */
void   finished_compose(struct store_txn *, struct ledger *, uint64_t id, str row, const struct queue_rcpt *only);
void   finished_write(struct store_txn *, struct ledger *, uint64_t id);
size_t finished_purge(struct store_txn *, struct ledger *, const struct queue *);   /* how many went */
bool   finished_wait(const struct queue *);                /* some are old enough to go */

/* Applies fates inside a write transaction.  ERR_ABSENT: no such message or
 * recipient.  *gone: the message's rows have been deleted; *in_file: so must
 * its body's file be, after the commit. */
enum err fates_write(struct store_txn *, struct ledger *, uint64_t id, const struct queue_fate *, size_t n,
                     bool *gone, bool *in_file);

#define QUEUE_RCPT_DAMAGED "what is known of this recipient was damaged on the disk: " \
	"release it to try again (it may have the message already), or remove it"

/* A message's mark: in how many lives that ended uncleanly it was being tried. */
#define MARK_ASIDE    0x80000000u   /* it was set aside for that */
#define MARK_LIVES(m) ((m) & ~MARK_ASIDE)
void     mark_put(struct store_txn *, uint64_t id, uint32_t mark);
uint32_t mark_get(struct store_txn *, uint64_t id);        /* 0: none; also MARK_ASIDE */
void     marks_drop_all(struct store_txn *);               /* but of what is set aside */

enum err note_write(struct store_txn *, const struct queue_note *);

/* Reads one message's row and its recipients' rows. */
enum err entry_read(struct store_txn *, uint64_t id, str row, struct queue_entry **out);

#endif
