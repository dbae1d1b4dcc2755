/* SPDX-License-Identifier: ISC */
/*
 * dns_seen: what was asked of DNS and what came back, for explain.  Each
 * question once, in the order of the answers; for as long as the arena.
 */
#ifndef SETUP_DNS_SEEN_H
#define SETUP_DNS_SEEN_H

#include "smtpd/base/dns.h"

struct dns_sight {
	str           name;
	enum dns_type type;
	enum dns_status status;
	bool          secure;
	str           canonical;     /* the name asked is an alias of it; else empty */
	str           why;
	str          *records;       /* as text */
	size_t        n, more;       /* shown here; left out */
};

struct dns_seen {
	struct arena     *arena;
	struct dns_sight *v;
	size_t            n, room, more;
};

void dns_seen_watch(struct dns_seen *, struct arena *, struct dns *);
const char *dns_seen_type(enum dns_type);

#endif
