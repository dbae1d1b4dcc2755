/* SPDX-License-Identifier: ISC */
/*
 * spf: Sender Policy Framework (RFC 7208), as a value.
 *
 * One spf_check evaluates check_host() for one identity over dns; it knows no
 * module and no session, so the module, the `spf` verb, the conformance suite
 * and Sender ID use the same code.
 */
#ifndef MODULES_SPF_H
#define MODULES_SPF_H

#include "smtpd/base/arena.h"
#include "smtpd/base/dns.h"
#include "smtpd/mail/addr.h"

enum spf_result { SPF_NOT_DONE, SPF_NONE, SPF_NEUTRAL, SPF_PASS, SPF_FAIL, SPF_SOFTFAIL, SPF_TEMPERROR, SPF_PERMERROR };
const char *spf_result_word(enum spf_result);       /* "pass"; NULL for SPF_NOT_DONE */

enum spf_scope { SPF_MAIL_FROM, SPF_HELO };

struct spf_term {                 /* one evaluated term, for --json and explain */
	str   text;               /* "include:_spf.example.net" */
	str   domain;             /* whose record it stands in */
	unsigned depth;
	unsigned lookups;         /* look-up count after it */
	str   outcome;            /* "match", "no match", "void", "error: …" */
};

struct spf_outcome {
	enum spf_result result;
	enum spf_scope  scope;
	str domain;               /* whose record was asked first: MAIL FROM's or HELO's */
	str mechanism;            /* that matched: "ip4:192.0.2.0/24", "all", "default"; empty otherwise */
	str explanation;          /* exp= of a fail, expanded, ASCII, else empty */
	str reason;               /* a sentence: why permerror, temperror, none … */
	unsigned lookups, voids;
	struct spf_term *terms;   /* in order of evaluation; at most 200 kept */
	size_t nterms;
};

struct spf_limits { unsigned lookups, voids, names; uint64_t timeout_ms; };   /* 10, 2, 10, 20,000 */
#define SPF_LIMITS_DEFAULT { 10, 2, 10, 20000 }

struct spf_query {                /* filled by the asker */
	struct sockaddr_storage ip;
	str  helo;                /* as given */
	struct path sender;       /* MAIL FROM; null: postmaster@HELO is used */
	enum spf_scope scope;     /* SPF_HELO: postmaster@HELO whatever the sender */
	str  receiver;            /* our host name, %{r} */
	struct spf_limits limits;
	const char *record_version; /* NULL: v=spf1.  Sender ID's "spf2.0/pra" takes any spf2.0 record
	                             * with that scope, and where there is none v=spf1 (RFC 4406 4.4) */
};

struct spf_check;                 /* in the arena */
typedef void spf_checked(struct spf_check *, void *user);

/* Starts; `done` fires once, never inside the call, unless cancelled.  NULL when
 * the arena is spent.  The query's strings must live as long as the arena.  A
 * check holds memory of its own until it is done: who drops the arena earlier
 * cancels first.  Terms that need no DNS count for no limit; a void look-up is a
 * term whose own question found nothing, however many hosts it leads to. */
struct spf_check *spf_start(struct dns *, struct arena *, const struct spf_query *, spf_checked *done, void *user);
void spf_cancel(struct spf_check *);                          /* harmless when done */
const struct spf_outcome *spf_outcome(const struct spf_check *);  /* NULL until done */

/* The module's state, for dmarc, verify and explain. */
extern const struct module spf_module;
struct spf_state;
/* MAIL FROM's (HELO's when the sender is null); NULL while open or not evaluated. */
const struct spf_outcome *spf_state_mfrom(const void *msg);
const struct spf_outcome *spf_state_helo(const void *msg);
bool spf_state_waiting(const void *msg);

#endif
