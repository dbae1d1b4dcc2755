/* SPDX-License-Identifier: ISC */
/*
 * explain: what the files of the story share.
 *
 *   verb_explain.c      the order of it; client, SPF, DMARC, action
 *   explain_dkim.c      signatures, their keys, the bytes that they cover
 *   explain_body.c      why a body hash failed
 *   explain_arc.c       the chain of forwarders
 *   explain_historic.c  DomainKeys, Sender ID, ADSP
 *   explain_lists.c     deny, trust, block lists, the sender's domain
 *   explain_dns.c       every question and its answer
 */
#ifndef SETUP_EXPLAIN_H
#define SETUP_EXPLAIN_H

#include "modules/dkim/dkim.h"
#include "smtpd/setup/judge.h"

/* Peer's text on a person's terminal: one line, no control bytes, not endless. */
const char *explain_shown(struct arena *, str, size_t most);

void explain_lists(struct judge *);
void explain_dkim(struct judge *);
void explain_arc(struct judge *);
void explain_historic(struct judge *);
void explain_dns(struct judge *);
/* What usually causes a body hash that fails like this one. */
void explain_body(struct judge *, const struct dkim_signature *);

#endif
