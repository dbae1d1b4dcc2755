/* SPDX-License-Identifier: ISC */
/*
 * dns_zone: the table behind dns_local, read from the zone text that
 * dns_local.h describes.  Written once, then only read.
 */
#ifndef BASE_DNS_ZONE_H
#define BASE_DNS_ZONE_H

#include "smtpd/base/arena.h"
#include "smtpd/base/map.h"

#define ZONE_ANY 255u

enum zone_trouble { ZONE_FINE, ZONE_SERVFAIL, ZONE_NXDOMAIN, ZONE_NODATA, ZONE_BOGUS, ZONE_TIMEOUT, ZONE_SILENT };

struct zone_record {
	struct zone_record *next;
	unsigned            type;
	uint32_t            ttl_s;
	enum zone_trouble   trouble;
	str                 data;     /* as on the wire */
	str                 target;   /* CNAME: text, lower case */
	size_t              line;
};

struct zone_node {
	str                 name;     /* text, lower case, no root dot */
	struct zone_record *records;  /* in the order of the lines */
	bool                exists;   /* owns records, or lies above a name that does */
	bool                secure;   /* it and all below count as validated */
};

struct zone {
	struct arena arena;
	struct map   nodes;
};

/* False with a reason; zone_fini either way. */
bool zone_read(struct zone *, struct strs lines, struct arena *, str *why);
void zone_fini(struct zone *);

/* The name of its parent: the text behind the first dot; empty at the top. */
str               zone_parent(str name);
/* The node of exactly this name, or NULL. */
struct zone_node *zone_node(const struct zone *, str name);
/* The name or one above it owns records: the table alone speaks for it. */
bool              zone_covers(const struct zone *, str name);
/* The node that answers for the name, by wildcard if need be (RFC 4592);
 * NULL: there is no such name. */
struct zone_node *zone_find(const struct zone *, str name);
bool              zone_secure(const struct zone *, str name);

#endif
