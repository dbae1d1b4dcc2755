/* SPDX-License-Identifier: ISC */
/*
 * What the two files of fetch share: fetch.c (who waits, when the CAs are read)
 * asks, fetch_curl.c (libcurl) does.  What comes back are a fetch's `done` and
 * `some_ended`, never inside a call made here.  The loop's thread, but for cas_read.
 *
 * A handle is libcurl's CURLM, with the CAs that it has read.
 */
#ifndef QUEUE_DELIVER_FETCH_INSIDE_H
#define QUEUE_DELIVER_FETCH_INSIDE_H

#include "queue/deliver/fetch.h"

struct transfers {                         /* embedded; zeroed before transfers_init */
	struct loop      *loop;
	struct loop_timer timer;           /* libcurl's */
	void             *multi;           /* the handle in use, owned; NULL: none yet, or it ended */
	size_t            busy;            /* under way */
	void            (*some_ended)(struct transfers *);   /* perhaps: whenever libcurl had a turn */
};

/* Before the threads.  False: libcurl cannot be used. */
bool  transfers_init(struct transfers *, struct loop *, void (*some_ended)(struct transfers *));
void  transfers_use(struct transfers *, void *multi);      /* instead of the handle before; nothing is under way */
/* With a handle in use.  False: no memory. */
bool  transfers_begin(struct transfers *, struct fetch *, const char *ca);
void  transfers_stop(struct transfers *, struct fetch *);  /* one that is under way; its `done` is not called */
void  transfers_end(struct transfers *);                   /* nothing is under way */
void  transfers_fini(void);

/* Slow desk.  A handle that never reads this file again; NULL: it could not, and
 * *why is a text that stays. */
void *cas_read(const char *ca, const char **why);
void  cas_forget(void *multi);             /* one that nobody uses; harmless with NULL */

#endif
