/* SPDX-License-Identifier: ISC */
/*
 * spf_tree: a domain's SPF record with all that it leads to, as a tree of values:
 * how many look-ups and voids each branch costs (RFC 7208 4.6.4), and what is
 * dead, said twice, too wide or never reached.  Unlike an evaluation it follows
 * every term, whatever the address: the counts are those of a sender that
 * nothing matches, the dearest there is.
 *
 * Questions go over a loop's dns, all that can be asked at a time; the answers and
 * the tree live in the asker's arena.  Records are hostile: nodes, terms and
 * questions have caps, and what they cut off is a finding.
 */
#ifndef SETUP_SPF_TREE_H
#define SETUP_SPF_TREE_H

#include "modules/spf/spf_record.h"
#include "smtpd/base/cidr.h"

#define SPF_TREE_LOOKUPS 10     /* RFC 7208 4.6.4 */
#define SPF_TREE_VOIDS   2
#define SPF_TREE_LONG    450    /* octets of a record: the answer still fits 512 with others beside it */

enum spf_severity { SPF_SAYS_NOTE, SPF_SAYS_WARNING, SPF_SAYS_FAULT };
const char *spf_severity_word(enum spf_severity);       /* "note", "warning", "fault" */

struct spf_finding {
	enum spf_severity severity;
	str domain;               /* whose record it is about */
	str text;                 /* what is wrong, a sentence without its dot */
	str todo;                 /* the one thing to do; empty for some notes */
};

enum spf_node_state {
	SPF_NODE_RECORD,          /* one record, all terms of it readable */
	SPF_NODE_BAD,             /* one, with a syntax fault: permerror */
	SPF_NODE_SEVERAL,         /* more than one: permerror */
	SPF_NODE_NO_RECORD,       /* the domain exists, without one */
	SPF_NODE_NXDOMAIN,
	SPF_NODE_FAILED,          /* DNS did not say */
	SPF_NODE_LOOP,            /* it stands above already: not followed */
	SPF_NODE_MACRO,           /* the name depends on the sender: not followed */
	SPF_NODE_CUT,             /* a cap was reached: not followed */
};

struct spf_tree_term {
	str    text;                     /* as written, qualifier included */
	const char *fault;               /* NULL: readable */
	struct spf_parsed parsed;        /* when readable */
	bool   reached;                  /* false: behind all, or a redirect= beside all */
	bool   counts;                   /* as a look-up */
	bool   is_void, is_void6;        /* its question finds nothing, for a sender with IPv4, IPv6 */
	enum dns_status status;          /* of its question, if it asked one */
	struct spf_node *node;           /* include, redirect: where it leads */
	struct cidr *nets;               /* the addresses it stands for, as far as known now */
	size_t n_nets;
	size_t hosts;                    /* mx: names; exp: texts */
};

struct spf_node {
	str    domain;
	unsigned depth;                  /* 0: the domain asked for */
	enum spf_node_state state;
	enum dns_status status;
	str    record;                   /* when there is exactly one */
	size_t strings;                  /* that it is cut into */
	size_t records;                  /* SPF records at the name */
	str    nearly;                   /* a text there that was meant as one, and is none */
	struct spf_tree_term *terms;
	size_t n_terms;
	unsigned lookups, voids, voids6; /* of this record and all below it; `lookups` without the one that led here */
	struct spf_node *up;
};

struct spf_tree {
	struct spf_node *root;
	struct spf_finding *findings;    /* faults first, then in the order of the tree */
	size_t n_findings;
	size_t faults, warnings;
	unsigned lookups, voids, voids6; /* in all; compare with SPF_TREE_LOOKUPS, SPF_TREE_VOIDS */
	bool   incomplete;               /* some question had no answer: ask again later */
	str    published;                /* spf_tree_start_text: the one record that DNS has now */
};

struct spf_tree_check;
typedef void spf_tree_done(const struct spf_tree *, void *user);
/* `done` fires once, never inside the call.  NULL: the arena is spent.  `domain`:
 * A-labels. */
struct spf_tree_check *spf_tree_start(struct dns *, struct arena *, str domain, spf_tree_done *, void *user);
/* The same as if `record` were published at the domain. */
struct spf_tree_check *spf_tree_start_text(struct dns *, struct arena *, str domain, str record, spf_tree_done *, void *user);
void spf_tree_cancel(struct spf_tree_check *);          /* harmless when done */

#endif
