/* SPDX-License-Identifier: ISC */
/*
 * maildir: mail to our own disk, exactly once, by two steps.
 *
 *   1  tmp/NAME is written and synced, tmp/ too    → FATE_STAGED, with its place
 *   2  (the commit is home) tmp/NAME → new/NAME, new/ synced → FATE_DELIVERED
 *
 * What a crash leaves: not staged → written again, under a new name; staged and
 * tmp/NAME there → step 2; staged and gone → it was delivered, whatever a mail
 * program has done to it since; staged over a day ago and gone (cleaners of
 * tmp/ take such files) → looked for in new/ and cur/, and written again when
 * it is in neither.  NAME is unique for ever, so a file that has it and another
 * size is a fault, never "already delivered".
 *
 * One job carries many recipients, so that they share a flush of the disk.
 * Lines end in LF on the disk, as every program expects of a Maildir.  Disk desk.
 */
#ifndef QUEUE_DELIVER_MAILDIR_H
#define QUEUE_DELIVER_MAILDIR_H

#include "queue/deliver/lease.h"
#include "smtpd/base/desk.h"

#define MAILDIR_BATCH     64              /* recipients of one job */
#define MAILDIR_SYNCFS    5               /* from so many on, one syncfs instead of an fsync each */
#define MAILDIR_STAGED_S  ((int64_t)24 * 3600)

struct maildir_batch {
	struct job    job;                /* work = maildir_work */
	struct queue *queue;
	str           hostname;
	struct lease *leases;             /* linked by next; every recipient is settled when it comes home */
	void         *user;
};

void maildir_work(struct job *);

#endif
