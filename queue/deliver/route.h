/* SPDX-License-Identifier: ISC */
/*
 * route: who goes where.  Pure: directory and settings in, a route out.
 *
 * A route's key names its destination: recipients with equal keys share leases
 * and connections.
 *
 *     maildir                 our own disk
 *     lmtp:unix:/run/lmtp     an LMTP server that holds the domain's mailboxes
 *     route:127.0.0.1:2525    one SMTP server (a domain's `route`)
 *     via:HOST:PORT/may       a hop: the smarthost, or one of relay's routes
 *     via:user@HOST:PORT/starttls /etc/secret   with a login: two passwords are two
 *     smtp:example.org        the domain's MX hosts
 */
#ifndef QUEUE_DELIVER_ROUTE_H
#define QUEUE_DELIVER_ROUTE_H

#include "queue/deliver/deliver.h"

enum route_kind {
	ROUTE_MAILDIR, ROUTE_LMTP, ROUTE_HOST, ROUTE_MX,
	ROUTE_NOWHERE,      /* nobody of that name here: permanent */
	ROUTE_UNCLEAR,      /* cannot be told now: temporary */
	ROUTE_HELD,         /* waits for the operator */
	ROUTE_EXPANDED,     /* an alias that went to its targets: nothing is left to do */
};

struct route {
	enum route_kind kind;
	str key;                    /* in the arena */
	str target;                 /* endpoint text, or the domain of ROUTE_MX (may be a literal) */
	const struct place *place;  /* ROUTE_MAILDIR: the directory's */
	const struct hop *hop;      /* ROUTE_HOST: its TLS and login; NULL: TLS if offered, no login */
	str account;                /* whose mailbox */
	str to;                     /* whom to ask the next hop for; empty: the address itself */
	str via;                    /* the domain of ours whose alias led elsewhere, since the message came */
	str status, said;           /* of the last four: why */
};

/* `sender`: the envelope's, path text, "" for <>. */
/* The flags that speak of its way: what the operator has released is not held again. */
static inline unsigned route_flags(const struct queue_rcpt *r)
{
	return r->changed != 0 ? r->flags & ~(unsigned)RCPT_DOOMED_HELD : r->flags;
}

/* Who sends to this one: routes may ask. */
static inline str route_sender(const struct queue_entry *e, const struct queue_rcpt *r)
{
	return r->own != NULL && (r->flags & RCPT_OWN_SENDER) ? r->own->sender : e->sender;
}

void route_find(const struct deliver_setup *, struct arena *, str sender, str address, unsigned rcpt_flags, struct route *out);

#endif
