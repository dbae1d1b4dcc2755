/* SPDX-License-Identifier: ISC */
/*
 * explain: a verdict told step by step to a person: by the verb, and in the
 * answer of a reflector's address (reflect.h).
 *
 *   verb_explain.c      the order of it; action
 *   explain_sender.c    client, SPF
 *   explain_dkim.c      signatures, their keys, the bytes that they cover
 *   explain_body.c      why a body hash failed
 *   explain_arc.c       the chain of forwarders
 *   explain_dmarc.c     records, alignment, policy
 *   explain_historic.c  DomainKeys, Sender ID, ADSP
 *   explain_lists.c     deny, trust, block lists, the sender's domain
 *   explain_dns.c       every question and its answer
 */
#ifndef SETUP_EXPLAIN_H
#define SETUP_EXPLAIN_H

#include <stdio.h>

#include "modules/dkim/dkim.h"
#include "smtpd/setup/judge.h"

/* What is told, and where to: of a message whose chain is still open. */
struct story {
	FILE                *out;
	struct arena        *arena;
	struct chain_conn   *conn;
	const struct module *const *modules;   /* NULL: what this server trusts is not told */
	const struct peer   *peer;
	const struct message *msg;
	const struct message_in *in;           /* its bytes; NULL: not at hand */
	unsigned             bodies;           /* of how many signatures the body is tried in many forms, which takes its time */
	const char          *canonical;        /* a directory for the hashed bytes; may be NULL */
};

/* Peer's text on a person's terminal: one line, no control bytes, not endless. */
const char *explain_shown(struct arena *, str, size_t most);

void explain_story(struct story *);            /* all of these, in their order */
void explain_client(struct story *);
void explain_lists(struct story *);
void explain_spf(struct story *);
void explain_dkim(struct story *);
void explain_arc(struct story *);
void explain_dmarc(struct story *);
void explain_historic(struct story *);
void explain_dns(struct judge *);
/* What usually causes a body hash that fails like this one. */
void explain_body(struct story *, const struct dkim_signature *);

#endif
