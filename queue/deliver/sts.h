/* SPDX-License-Identifier: ISC */
/*
 * sts: MTA-STS (RFC 8461) asked, fetched, kept and kept fresh.
 *
 * One struct sts a process.  It belongs to one loop (main's), where its table,
 * its questions and its fetches live; who asks from another loop does so by
 * mailbox and does not notice.  Policies are notes in the queue's store
 * ("sts:DOMAIN"), so that a restart forgets none (RFC 8461 3.3); in memory there
 * is a bounded number.  A policy that cannot be fetched anew stays until its
 * max_age has passed; a fetch that failed is not tried again for some minutes.
 */
#ifndef QUEUE_DELIVER_STS_H
#define QUEUE_DELIVER_STS_H

#include "queue/deliver/sts_policy.h"
#include "smtpd/base/desk.h"
#include "smtpd/base/loop.h"

struct queue;
struct sts;
struct sts_ask;
struct sts_request;

/* The policy lives in the asker's arena.  Never NULL: a domain without one hears
 * mode STS_NONE and an empty id, and ask->fault says whether that is a fault. */
typedef void sts_answered(struct sts_ask *, const struct sts_policy *);

struct sts_ask {                     /* embedded in the asker; zeroed before first use */
	/* of the answer: what RFC 8460 4.3 calls it when the policy (or a newer one)
	 * was announced and could not be had, else empty; and a sentence.
	 * "sts-policy-fetch-error" "sts-policy-invalid" "sts-webpki-invalid" */
	str  fault, why;
	bool memory;                 /* the arena could not hold the answer: defer the message */
	void *user;                  /* the asker's, set before sts_find */
	/* sts.c's own from here */
	sts_answered       *answered;
	struct arena       *arena;
	struct sts_request *request; /* on its way; NULL: nothing is */
	struct loop_call    later;
};

/* Any loop's thread.  `domain`: of the recipients, in ASCII.  `answered` fires
 * once, on this loop, never inside the call; at the latest after a minute and a
 * half (TXT question, then the fetch's 60 s). */
void sts_find(struct sts *, struct loop *, struct arena *, str domain, struct sts_ask *, sts_answered *answered);
void sts_stop(struct sts_ask *);     /* `answered` does not fire any more; harmless when nothing is out */

/* ---- main's side ------------------------------------------------------------------- */

struct sts_conf {
	str      ca;                 /* PEM file of the CAs that HTTPS servers are checked against */
	uint16_t port;               /* 443 */
};

/* On `owner`'s thread, before other threads; owner->dns is asked.  The file of
 * CAs is read on the slow desk, notes on the disk desk.  NULL: no memory. */
struct sts *sts_new(struct loop *owner, struct queue *, struct desk *disk, struct desk *slow, const struct sts_conf *);
void        sts_begin(struct sts *);                                     /* once the queue has been started */
void        sts_reconfigure(struct sts *, const struct sts_conf *);      /* owner's thread; copies */
/* Nothing is asked or fetched any more; what is out is let go.  Before the
 * owner's resolver goes; sts_free after its loop was freed. */
void        sts_end(struct sts *);
void        sts_free(struct sts *);

#endif
