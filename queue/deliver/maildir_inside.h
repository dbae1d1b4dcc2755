/* SPDX-License-Identifier: ISC */
/*
 * What the files of maildir share: maildir.c (the batch), maildir_dirs.c (the
 * directories), maildir_write.c (step 1), maildir_move.c (step 2).
 */
#ifndef QUEUE_DELIVER_MAILDIR_INSIDE_H
#define QUEUE_DELIVER_MAILDIR_INSIDE_H

#include <sys/types.h>

#include "queue/deliver/maildir.h"

/* tmp/ and new/ of where it was staged, and tmp/ of where it is written once more. */
#define MAILDIR_FOLDERS (3 * MAILDIR_BATCH)

struct maildir_folder {                   /* a directory that a round works in */
	str         dir;                  /* of the mailbox; lent by whoever asked first */
	const char *sub;                  /* "tmp" or "new" */
	int         fd;
	dev_t       disk;
	bool        strange;              /* nobody in this life has seen to it that its own name is kept */
	bool        synced;
	int         errnum;               /* what syncing it said */
};

/* At most MAILDIR_BATCH items that are synced together.  Folders stay open until
 * all of them are settled: those of one mailbox share its folders, and their sync. */
struct maildir_round {
	size_t                n;
	struct maildir_folder folders[MAILDIR_FOLDERS];
};

struct maildir_item {                     /* one recipient's file in one batch */
	struct maildir_batch *batch;
	struct maildir_round *round;
	struct lease         *lease;
	struct lease_rcpt    *rcpt;
	str   dir;                        /* of the mailbox */
	str   name;                       /* the file's */
	int   file;                       /* to be synced (step 1 only); -1 */
	struct maildir_folder *folder;    /* to be synced: tmp/ or new/; NULL: there is nothing to settle */
	bool  moved;                      /* step 2 */
};

/* What is written gathers in `out`; what is read comes into `in`.  An output of
 * MAILDIR_LARGE is written in pieces that the page cache holds in few large folios. */
#define MAILDIR_IN    ((size_t)64 << 10)
#define MAILDIR_SMALL ((size_t)32 << 10)
#define MAILDIR_LARGE ((size_t)128 << 10)   /* once a batch has a content that is a file */
struct maildir_window {
	char  *out;
	size_t room;                      /* of out */
	char   in[MAILDIR_IN];
};

/* Each returns false after it has settled the recipient as deferred. */
bool maildir_write(struct maildir_item *, struct maildir_window *);     /* tmp/NAME is written, not synced */
enum maildir_found { MAILDIR_MOVED, MAILDIR_AGAIN, MAILDIR_PUT_OFF };
enum maildir_found maildir_move(struct maildir_item *);                 /* AGAIN: it has to be written once more */
void maildir_unwrite(struct maildir_item *);                            /* tmp/NAME goes */

/* DIR/SUB ("tmp", "new"), open; with `make` the mailbox is made when it is not
 * there.  NULL: the recipient is settled. */
struct maildir_folder *maildir_open(struct maildir_item *, const char *sub, bool make);
void maildir_close(struct maildir_round *);                             /* all of them */

/* The folder, and its name: a directory's name is kept only when the one above
 * it is synced.  Those above are, once in a life (another life may have died in
 * between), or by the syncfs that is known to have come after. */
void maildir_sync_folder(struct maildir_folder *);
void maildir_sync_disk(struct maildir_round *, const struct maildir_folder *any);   /* all folders of its disk */

/* "No space is left …: what to do" from errno. */
void maildir_failed(struct maildir_item *, const char *doing, int errnum);

#endif
