/* SPDX-License-Identifier: ISC */
/*
 * lease: recipients of one message that share a route, on their way.
 *
 * The timetable makes a lease and lends it to a loop (client) or to the disk
 * desk (maildir).  Until it comes home the borrower alone writes in it; of the
 * entry it reads id, sender, flags, head, bytes and content, nothing else.
 */
#ifndef QUEUE_DELIVER_LEASE_H
#define QUEUE_DELIVER_LEASE_H

#include "queue/deliver/deliver.h"
#include "queue/deliver/pace.h"
#include "queue/deliver/route.h"

struct tls_result;

#define SAID_MAX       1000     /* of an answer that is kept; queue.h */
#define STOPPED_STATUS "4.3.2"  /* of what the server's own end cut off */

struct lease_rcpt {
	uint32_t      index;       /* in the entry */
	unsigned      flags;       /* enum rcpt_flag */
	str           address;     /* path text; for Delivered-To, and for RCPT unless `to` is set */
	str           to;          /* where an alias leads now, or the detail for Junk */
	str           sender;      /* RCPT_OWN_SENDER: instead of the message's */
	str           head;        /* fields of its own, in front of the message's */
	str           orcpt;
	/* a Maildir's */
	str           dir;         /* of this recipient; with .Junk when quarantined */
	const struct place *place;
	bool          staged;      /* its file is in tmp/: only the second step is left */
	str           staged_as;   /* "DIR\nNAME": then, and after the first step */
	int64_t       staged_at;
	/* what became of it, the borrower's to say */
	bool          settled;     /* fate is set */
	enum fate     fate;        /* staged, delivered, deferred, bounced; held: what is stored is damaged, or `kept` */
	bool          kept;        /* held: for the operator to decide */
	str           said;        /* "550 5.1.1 No such user", or our own sentence */
	str           status;      /* RFC 3463, for notices; may be empty */
	bool          relayed;     /* NOTIFY=SUCCESS was asked for, and the next hop knows no DSN */
};

struct lease {
	struct baton  baton;       /* home: the timetable */
	struct arena  arena;       /* of what is said; the timetable's before and after */
	const struct deliver_setup *setup;
	const struct queue_entry   *entry;
	str           head;        /* the fields in front, with newer signatures; p == NULL: the entry's */
	struct route  route;
	struct lease_rcpt *v;
	size_t        n;
	bool          utf8_header; /* a field holds non-ASCII: SMTPUTF8 all the way */
	str           clear_host;  /* a host whose TLS failed last time: no STARTTLS there */
	/* the borrower's words */
	bool          unreachable; /* no host of the destination talked to us: its fault, not the message's */
	struct pace   pace;        /* what a refusal asks for */
	str           mx;          /* the host that was spoken to last, by name */
	str           host;        /* who answered, "mx.example.org[192.0.2.1]" */
	str           tls;         /* "TLSv1.3 TLS_AES_256_GCM_SHA384", or empty */
	const char   *verified;    /* what vouched for that host, see policy_verified; NULL: no TLS */
	struct tls_result *results;/* sessions, for tls_report; the newest first */
	str           tls_failed;  /* a host whose handshake failed now */
	/* whose it is at home */
	void         *part, *channel, *settings, *provider;
	struct lease *next;        /* in a batch for the disk desk */
};

static inline str lease_head(const struct lease *l)
{
	return l->head.p != NULL ? l->head : l->entry->head;
}

static inline str lease_sender(const struct lease *l, const struct lease_rcpt *r)
{
	return r->flags & RCPT_OWN_SENDER ? r->sender : l->entry->sender;
}

/* Settles one recipient; the first word counts.  `said` is copied, cut, and made
 * one line. */
void lease_settle(struct lease *, struct lease_rcpt *, enum fate, str status, str said);
/* Of a message whose content cannot be read: damaged it is held, else put off. */
enum fate lease_unreadable(struct arena *, enum err, str *said);
/* All that have no fate yet. */
void lease_settle_rest(struct lease *, enum fate, str status, str said);

#endif
