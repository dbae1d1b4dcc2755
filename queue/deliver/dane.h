/* SPDX-License-Identifier: ISC */
/*
 * dane: the TLSA records of one host (RFC 7672 2.2.3, RFC 7671).
 *
 * Asked only where DNSSEC reaches: the host's address answer was validated, or
 * at least the alias it began with.  An alias' target is looked at first, then
 * the name as it was given (2.1.3).  Records that did not come validated count
 * as absent; a question that fails makes the host one to stay away from for now
 * (2.1): never a reason to do without.  Loop thread.
 */
#ifndef QUEUE_DELIVER_DANE_H
#define QUEUE_DELIVER_DANE_H

#include "queue/deliver/hosts.h"
#include "smtpd/base/tls.h"

#define DANE_RECORDS_MOST 64

enum dane_found {
	DANE_UNASKED,          /* DNSSEC does not reach the host */
	DANE_ABSENT,           /* no records, or none that were validated */
	DANE_USABLE,           /* tlsa holds those that can be used */
	DANE_UNUSABLE,         /* validated records, none of a form that can be used: TLS, whoever it is */
	DANE_FAILED,           /* DNS failed, or was tampered with: `why` */
};

struct dane {
	enum dane_found  found;
	str              base;         /* the name that the records belong to, for SNI too */
	str              owner;        /* "_25._tcp.mx.example.org", as last asked */
	struct tls_tlsa *tlsa;         /* DANE_USABLE: the usable ones */
	size_t           n;
	size_t           unusable;     /* how many others there were */
	str              why;          /* DANE_FAILED: "SERVFAIL", "bogus: …" */
};

struct dane_look {                     /* embedded in the asker; zeroed before first use */
	struct dane dane;              /* the answer, in the arena given */
	void       *user;
	/* dane.c's own from here */
	void (*known)(struct dane_look *);
	struct loop *loop;
	struct arena *arena;
	struct tls_client *tls;
	struct dns_ask ask;
	struct loop_call later;
	str      names[2];             /* candidates, the better one first */
	size_t   n, at;
	uint16_t port;
};

/* `name` as the MX record or the route has it; `facts` of its address answers.
 * `known` fires later, once, never inside. */
void dane_find(struct dane_look *, struct loop *, struct arena *, struct tls_client *, str name, uint16_t port,
               const struct dns_facts *facts, void (*known)(struct dane_look *), void *user);
void dane_stop(struct dane_look *);    /* `known` does not fire any more; harmless twice and when zeroed */

#endif
