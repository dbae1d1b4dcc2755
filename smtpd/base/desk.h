/* SPDX-License-Identifier: ISC */
/*
 * desk: a few threads for calls that block.
 *
 * A desk owns nothing; it works on what it was lent.  `work` runs on one of
 * its threads, then the job's baton goes home and `arrived` runs there.
 */
#ifndef BASE_DESK_H
#define BASE_DESK_H

#include "smtpd/base/err.h"
#include "smtpd/base/mbox.h"

#define DESK_WAITING 64   /* jobs that may wait; beyond, ERR_BUSY */

struct desk;

struct job {
	struct baton baton;               /* home and arrived are the asker's to set */
	void       (*work)(struct job *);
};

struct desk *desk_open(const char *name, unsigned threads);
void         desk_close(struct desk *);          /* ends after all jobs are done */
/* The same, but false when a call has not come back by then: the desk and what
 * it was lent stay as they are, and the process can only end. */
bool         desk_close_within(struct desk *, uint64_t ms);
enum err     desk_submit(struct desk *, struct job *);   /* OK or ERR_BUSY, then the job is still the caller's */
void         desk_submit_anyway(struct desk *, struct job *); /* for work that was begun and must end */
size_t       desk_waiting(struct desk *);
size_t       desk_threads(const struct desk *);

#endif
