/* SPDX-License-Identifier: ISC */
/*
 * cidr: networks as people write them, "192.0.2.0/24", "2001:db8::/32" or one
 * address, and whether an address lies inside.  A v4-mapped v6 address counts
 * as the v4 address that it is.  Pure; any thread.
 */
#ifndef BASE_CIDR_H
#define BASE_CIDR_H

#include <sys/socket.h>

#include "smtpd/base/arena.h"

struct cidr {
	bool          v4;
	unsigned      bits;       /* of the prefix: 0–32 or 0–128 */
	unsigned char ip[16];     /* v4: the first four */
};

/* False with "must be …" for a configuration fault. */
bool cidr_parse(str text, struct cidr *, struct arena *, str *why);
/* Of a client; false when it is neither IPv4 nor IPv6. */
bool cidr_of(const struct sockaddr *, struct cidr *);
bool cidr_holds(const struct cidr *, const struct sockaddr *);
bool cidr_eq(const struct cidr *, const struct cidr *);
str  cidr_text(struct arena *, const struct cidr *);     /* without "/32" and "/128" */

/* A conf_option's check: one value of a list. */
bool cidr_check(str value, struct arena *, str *why);

#endif
