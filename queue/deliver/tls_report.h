/* SPDX-License-Identifier: ISC */
/*
 * tls_report: how TLS with other domains went, kept for TLSRPT (RFC 8460).
 *
 * Clients note each session in their lease; the timetable adds them up by day
 * (UTC), domain and policy, and keeps each sum as a note in the queue's store,
 * written at most once a minute and at the end.  What is older than three days
 * goes.  Nothing is sent from here.  Timetable thread.
 *
 * A note's key is "tlsrpt:YYYY-MM-DD:" and 32 hexadecimal digits; its value is
 * one JSON object, as RFC 8460 4.4 will have it:
 *
 *     domain                     of the recipients: its TLSRPT record says who hears of this
 *     policy-type                "tlsa", "sts", "no-policy-found"
 *     policy-domain, policy-string [ ], mx-host [ ]
 *     successful, failed         sessions
 *     failures [ ]               result-type, sending-mta-ip, receiving-ip,
 *                                receiving-mx-hostname, failed-session-count
 */
#ifndef QUEUE_DELIVER_TLS_REPORT_H
#define QUEUE_DELIVER_TLS_REPORT_H

#include "queue/deliver/policy.h"

#define TLS_REPORT_DAYS     3
#define TLS_REPORT_MOST     5000        /* sums in memory; what comes beside them is not counted */
#define TLS_REPORT_FAILURES 100         /* kinds of failure of one of them */

struct tls_result {                    /* one session; strings live in the lease's arena */
	struct tls_result *next;
	str   domain;                  /* of the recipients */
	str   policy_domain;           /* RFC 8460 1.1: the same, or the TLSA records' base */
	enum policy_kind kind;
	struct strs lines, mx;         /* "policy-string", "mx-host" */
	const char *failure;           /* RFC 8460 4.3, "starttls-not-supported"; NULL: none */
	str   host, from, to;          /* receiving MX; our address and its */
};

struct tls_report;

/* `home`: the timetable's.  NULL: no memory. */
struct tls_report *tls_report_new(struct queue *, struct mbox *home);
void   tls_report_load(struct tls_report *);               /* what is kept; before threads */
void   tls_report_add(struct tls_report *, const struct tls_result *);   /* and those behind it */
/* Writes what has changed, when it is time or `now`; lets the old go. */
void   tls_report_tick(struct tls_report *, bool now);
uint64_t tls_report_next_ms(const struct tls_report *);    /* of the next tick; UINT64_MAX: nothing to do */
size_t tls_report_out(const struct tls_report *);          /* notes that are being written */
void   tls_report_free(struct tls_report *);

#endif
