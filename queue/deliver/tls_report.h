/* SPDX-License-Identifier: ISC */
/*
 * tls_report: how TLS with other domains went, kept for TLSRPT (RFC 8460).
 *
 * Clients note each session in their lease; the timetable adds them up by day
 * (UTC), domain and policy, and keeps the sums as notes in the queue's store
 * ("tlsrpt:DAY:…"), written at most once a minute and at the end.  What is
 * older than three days goes.  Nothing is sent from here.  Timetable thread.
 */
#ifndef QUEUE_DELIVER_TLS_REPORT_H
#define QUEUE_DELIVER_TLS_REPORT_H

#include "queue/deliver/policy.h"

#define TLS_REPORT_DAYS     3
#define TLS_REPORT_MOST     5000        /* (day, domain, policy) in memory; the rest of a day is not counted */
#define TLS_REPORT_FAILURES 100         /* kinds of failure of one of them */

struct tls_result {                    /* one session; strings live in the lease's arena */
	struct tls_result *next;
	str   domain;                  /* of the recipients: its TLSRPT record says who hears of this */
	str   policy_domain;           /* RFC 8460 1.1: the same, or the TLSA records' base */
	enum policy_kind kind;
	struct strs lines, mx;         /* "policy-string", "mx-host" */
	const char *failure;           /* RFC 8460 4.3, "starttls-not-supported"; NULL: none */
	str   host, from, to;          /* receiving MX; our address and its */
};

#endif
