/* SPDX-License-Identifier: ISC */
/*
 * mbox: the one place where threads meet, and the only lock of ours.
 *
 * What travels between threads begins with a struct baton; the node is part of
 * the thing lent, so sending never fails and never blocks.  Who sends a baton
 * has given it away.  A mailbox is read by one thread only (a desk's by its
 * workers): either a loop, which `wake` rouses when the box was empty, or a
 * thread that sleeps in mbox_take.
 */
#ifndef BASE_MBOX_H
#define BASE_MBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mbox;

struct baton {                                 /* first member of whatever travels */
	struct baton *next;
	struct mbox  *home;                    /* where it goes when the work is done */
	void        (*arrived)(struct baton *);/* run by the thread that receives it */
	size_t        weight;                  /* bytes it stands for, for mbox_take's limit */
	bool          first;                   /* goes ahead of all that are not (fates) */
};

/* `wake` (may be NULL) is called by the sender's thread, outside the lock, when
 * the box was empty. */
struct mbox *mbox_new(void (*wake)(void *arg), void *arg);
void         mbox_free(struct mbox *);         /* must be empty */

void          mbox_send(struct mbox *, struct baton *);
struct baton *mbox_take_all(struct mbox *);    /* oldest first, linked by next; NULL: empty */

/* Sleeps until something is there, until `until_ms` (clock_ms; UINT64_MAX: for
 * ever) or until mbox_stop; takes at most `items` and, after the first, at most
 * `bytes` of weight.  NULL: the time is up or the box was stopped and is empty. */
struct baton *mbox_take(struct mbox *, size_t items, size_t bytes, uint64_t until_ms);
void          mbox_stop(struct mbox *);        /* takers return at once from now on */
bool          mbox_stopped(struct mbox *);
size_t        mbox_count(struct mbox *);

#endif
