/* SPDX-License-Identifier: ISC */
/*
 * spf_record: the text of an SPF record, term by term (RFC 7208 4.5, 4.6, 5,
 * 6, 12).  Pure, allocates nothing: a term is views into the record, so a
 * record is read once to check it whole and again as evaluation goes on.
 */
#ifndef MODULES_SPF_RECORD_H
#define MODULES_SPF_RECORD_H

#include <netinet/in.h>

#include "modules/spf/spf.h"

enum spf_kind {
	SPF_ALL, SPF_INCLUDE, SPF_A, SPF_MX, SPF_PTR, SPF_IP4, SPF_IP6, SPF_EXISTS,   /* mechanisms */
	SPF_REDIRECT, SPF_EXP, SPF_UNKNOWN_MODIFIER,
};

struct spf_parsed {
	enum spf_kind   kind;
	enum spf_result qualifier;     /* of a mechanism: what a match means */
	str             text;          /* the term without its qualifier */
	str             spec;          /* domain-spec; empty: the current domain */
	unsigned        bits4, bits6;  /* prefix lengths, 32 and 128 when not given */
	struct in_addr  ip4;
	struct in6_addr ip6;
};

enum spf_read { SPF_READ_TERM, SPF_READ_END, SPF_READ_BAD };

/* Takes the next term off *rest.  SPF_READ_BAD: `out->text` is the term and
 * *why says what is wrong with it ("unknown mechanism"). */
enum spf_read spf_term_read(str *rest, struct spf_parsed *out, const char **why);

struct spf_modifiers {
	str redirect, exp;             /* domain-specs; p == NULL: not there */
};

/* Reads all terms (RFC 7208 4.6: errors anywhere count).  False: *bad is the
 * term and *why the reason. */
bool spf_terms_check(str terms, struct spf_modifiers *out, str *bad, const char **why);

/* Whether this TXT is a record of the version asked for (NULL: v=spf1); *terms
 * is then what follows the version.  "spf2.0/pra" matches every spf2.0 record
 * whose scopes include pra (RFC 4406 3.1). */
bool spf_record_is(str txt, const char *version, str *terms);

#endif
