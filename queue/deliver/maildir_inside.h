/* SPDX-License-Identifier: ISC */
/*
 * What the files of maildir share: maildir.c (the batch), maildir_dirs.c (the
 * directories), maildir_write.c (step 1), maildir_move.c (step 2).
 */
#ifndef QUEUE_DELIVER_MAILDIR_INSIDE_H
#define QUEUE_DELIVER_MAILDIR_INSIDE_H

#include "queue/deliver/maildir.h"

struct maildir_item {                     /* one recipient's file in one batch */
	struct maildir_batch *batch;
	struct lease         *lease;
	struct lease_rcpt    *rcpt;
	str   dir;                        /* of the mailbox */
	str   name;                       /* the file's */
	int   file, folder;               /* to be synced: the file (step 1 only), tmp/ or new/; -1 */
	bool  strange;                    /* nobody in this life has seen to it that the folder's own name is kept */
	bool  moved;                      /* step 2 */
};

/* Each returns false after it has settled the recipient as deferred. */
bool maildir_write(struct maildir_item *, char *window, size_t room);   /* tmp/NAME is written, not synced */
enum maildir_found { MAILDIR_MOVED, MAILDIR_AGAIN, MAILDIR_PUT_OFF };
enum maildir_found maildir_move(struct maildir_item *);                 /* AGAIN: it has to be written once more */
void maildir_unwrite(struct maildir_item *);                            /* tmp/NAME goes */

/* Opens DIR/SUB ("tmp", "new"); with `make` the mailbox is made when it is not
 * there.  -1: the recipient is settled. */
int  maildir_folder(struct maildir_item *, const char *sub, bool make);

/* A directory's name is kept only when the one above it is synced: those above
 * this folder are, once in a life (another life may have died in between), or
 * by the syncfs that is known to have come after.  0, or -1 with errno. */
int  maildir_sync_above(struct maildir_item *);
void maildir_trust(int folder);

/* "No space is left …: what to do" from errno. */
void maildir_failed(struct maildir_item *, const char *doing, int errnum);

#endif
