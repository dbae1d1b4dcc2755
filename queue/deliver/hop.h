/* SPDX-License-Identifier: ISC */
/*
 * hop: a server of our own choice that takes mail for others, the smarthost or
 * one of relay's `route` sections: where it is, how TLS begins, how we log in.
 *
 * Belongs to a generation and is immutable once that is built; the password is
 * wiped with it.  Never logged.
 */
#ifndef QUEUE_DELIVER_HOP_H
#define QUEUE_DELIVER_HOP_H

#include "smtpd/base/conf.h"

enum hop_tls {
	HOP_AUTO,          /* until the check: implicit on port 465, starttls with a login, else may */
	HOP_STARTTLS,      /* TLS or nothing */
	HOP_IMPLICIT,      /* from the first octet */
	HOP_MAY,           /* if it is offered, whatever the certificate */
};

struct hop {
	str  via;                  /* HOST:PORT; empty: none; "mx" in a route: straight to the MX hosts */
	int  tls;                  /* enum hop_tls, not HOP_AUTO any more */
	bool any_certificate;      /* TLS is asked for, but not whose it is */
	str  login, password_file;
	bool insecure_login;       /* the password may go where anybody could read it */
	str  password;             /* of the file, or empty */
};

/* Certificate and name must be good. */
static inline bool hop_is_verified(const struct hop *h)
{
	return (h->tls == HOP_STARTTLS || h->tls == HOP_IMPLICIT) && !h->any_certificate;
}

/* route "NAME" { to, from, via, … }: the first that fits. */
struct hop_route {
	struct conf_head head;
	struct strs to;            /* "example.net", ".example.net" (below it), "*"; empty: any */
	struct strs from;          /* the same of the sender's domain; empty: any, <> too */
	struct hop  hop;
};
extern const struct conf_section hop_route_section;

bool hop_pattern_fits(str pattern, str domain);
/* Of `routes` (struct hop_route), the one for this way; NULL: none. */
const struct hop_route *hop_route_for(const struct conf_list *routes, str from_domain, str to_domain);

/* Settles HOP_AUTO and finds faults.  `prefix`: how its options are called
 * beside `via` ("smarthost-", or ""). */
void hop_check(struct hop *, const struct conf_head *, const char *prefix, struct conf_reader *);

/* Reads the password: one line, of a file that only its owner may read.  The
 * text is in the arena, for hop_wipe.  OK, or the sentence in *why. */
enum err hop_read_password(struct hop *, conf_open *, struct arena *, str *why);
void     hop_wipe(struct hop *);

#endif
