/* SPDX-License-Identifier: ISC */
/*
 * dmarc_walk: the tree walk (RFC 9989 4.10), with the answers of one message.
 *
 * Inside modules/dmarc only.  One walk goes on at a time; a name is asked once
 * a message, whoever needs it.
 */
#ifndef MODULES_DMARC_WALK_H
#define MODULES_DMARC_WALK_H

#include "modules/dmarc/dmarc.h"

#define DMARC_QUERIES_MAX 8     /* of one walk, by construction */
#define DMARC_WALKS_MAX   10    /* of one message, beside the author's */

struct dmarc_node {             /* one name and what stands at _dmarc.NAME */
	struct dmarc_node  *next;
	str                 name;
	bool                failed;      /* a temporary error */
	bool                has_record;  /* exactly one */
	struct dmarc_record record;
};

struct dmarc_walk {
	str                start;
	struct dmarc_node *nodes[DMARC_QUERIES_MAX];   /* asked, longest name first */
	size_t             n;
	bool               incomplete;  /* the last node failed */
};

struct dmarc_walker {
	struct dns         *dns;
	struct arena       *arena;
	struct dmarc_node  *known;
	struct dmarc_step  *steps;
	size_t              nsteps, room;
	struct dns_ask      ask;
	struct dmarc_walk  *now;         /* the walk under way */
	str                 asking;
	void              (*walked)(void *arg);
	void               *arg;
};

size_t dmarc_labels(str name);
str    dmarc_rightmost(str name, size_t labels);
bool   dmarc_below(str name, str above);      /* a proper subdomain */

/* True: finished at once; else walked(arg) fires later, never inside. */
bool dmarc_walk(struct dmarc_walker *, struct dmarc_walk *, str start);
void dmarc_step_note(struct dmarc_walker *, str name, enum dns_status, const struct dmarc_record *, size_t records);
/* RFC 9989 4.10.2, of a walk that is complete. */
str  dmarc_org(const struct dmarc_walk *);
/* The node of a walk with that name and a record; NULL: none. */
const struct dmarc_node *dmarc_walk_record(const struct dmarc_walk *, str name);

#endif
