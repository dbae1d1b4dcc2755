/* SPDX-License-Identifier: ISC */
/*
 * spf_inside: what the files of the evaluator share.
 *
 *   spf.c         life of a check: its beginning, records asked for, frames
 *   spf_end.c     its end, and the limits that lead there
 *   spf_terms.c   what each mechanism asks and when it matches
 *   spf_exp.c     the explanation of a fail
 *   spf_names.c   the validated names of the address (ptr, %{p})
 *   spf_target.c  domain-specs and explanations expanded for this check
 *   spf_log.c     the outcome's words: terms, reason
 *
 * Included records are frames on a list, never C recursion.  All that DNS
 * answers and what is built meanwhile lies in `scratch`, which has its own
 * budget and ends with the check; only the outcome is in the asker's arena.
 */
#ifndef MODULES_SPF_INSIDE_H
#define MODULES_SPF_INSIDE_H

#include "modules/spf/spf_record.h"
#include "modules/spf/spf_macro.h"

#define SPF_SCRATCH_MAX ((size_t)1 << 20)
#define SPF_TERMS_MAX   200
#define SPF_NAME_MAX    253

struct spf_frame {                       /* one record under evaluation */
	struct spf_frame    *up;         /* the record that includes it */
	str                  domain;
	unsigned             depth;
	str                  rest;       /* terms not yet read */
	struct spf_modifiers modifiers;
	struct spf_parsed    term;       /* the one at work */
	bool                 at_work;
	bool                 counted;    /* as a look-up */
	bool                 found_void; /* its question had no answer */
	size_t               entry;      /* its place in the list of terms */
};

struct spf_names {                       /* RFC 7208 5.5, once for a check */
	bool   known;
	bool   asked_void, failed;       /* the question for PTR */
	str   *v;                        /* at most limits.names */
	bool  *valid;                    /* it points back */
	size_t n;
	void (*then)(struct spf_check *);
};

/* Several questions at once; the answers come in any order. */
struct spf_batch {
	struct dns_ask *v;
	str            *names;
	size_t          n, out;
};

struct spf_check {
	struct dns       *dns;
	struct arena     *arena;
	struct arena      scratch;
	struct spf_query  q;
	spf_checked      *done;
	void             *user;
	uint64_t          until_ms;
	bool              over;          /* finished or cancelled: scratch is gone */
	bool              finished;

	bool              v4;            /* mapped addresses count as v4 (RFC 7208 5) */
	struct in_addr    ip4;
	struct in6_addr   ip6;
	str               ip_text;
	struct spf_macros macros;        /* all but d and p */

	struct spf_frame *frame;
	struct dns_ask    ask;
	struct spf_batch  batch;
	enum dns_status   failure;       /* of one of the batch's questions; DNS_FOUND: none failed */
	str               failed_name;
	struct spf_names  names;

	str               target;        /* whose record is asked for */
	bool              redirecting;
	struct spf_term  *terms;
	size_t            nterms, terms_room;
	size_t            modifier_entry;    /* of the redirect= or exp= at work */
	str               explain;           /* text of exp=, not yet expanded */
	struct spf_outcome out;
};

/* spf.c */
void spf_run(struct spf_check *);                        /* goes on in the top frame */
void spf_term_matched(struct spf_check *, bool);         /* the term at work ended, in a callback */
void spf_fetch(struct spf_check *, str domain, bool redirect);  /* asks for a record to evaluate next */
/* spf_end.c.  The whole check ends, and may be gone when these return: touch it no
 * more.  spf_error_dns: by a question that could not be answered. */
void spf_finish(struct spf_check *, enum spf_result);
void spf_error(struct spf_check *, enum spf_result, const char *outcome, str reason);
void spf_error_dns(struct spf_check *, str name, enum dns_type, enum dns_status);
void spf_error_late(struct spf_check *);                 /* spf_late */
void spf_error_size(struct spf_check *);                 /* scratch is spent */
bool spf_late(const struct spf_check *);                 /* the 20 s are over */
/* Counts a term that asks DNS; false when that was one too many: the check has ended. */
bool spf_count(struct spf_check *);
/* Counts it when the answer is void; false as above. */
bool spf_void(struct spf_check *, enum dns_status);
void spf_ask(struct spf_check *, struct dns_ask *, str name, enum dns_type, dns_answered *);
bool spf_batch_of(struct spf_check *, size_t n);         /* false: scratch is spent */

/* spf_exp.c: fetches and expands exp=, then finishes with SPF_FAIL. */
void spf_explain(struct spf_check *);

/* spf_terms.c */
enum spf_step { SPF_STEP_NO_MATCH, SPF_STEP_MATCH, SPF_STEP_WAIT, SPF_STEP_OVER };
enum spf_step spf_term_begin(struct spf_check *);

/* spf_names.c: NULL `then` is not allowed; it runs in a callback. */
void spf_names_find(struct spf_check *, void (*then)(struct spf_check *));
str  spf_names_best(const struct spf_check *, str domain);       /* %{p} */
bool spf_names_match(const struct spf_check *, str domain);

/* spf_target.c */
void spf_macros_init(struct spf_check *);
/* Whether the spec cannot be expanded before the names are known. */
bool spf_needs_names(const struct spf_check *, str spec);
/* RFC 8616 4: a term with %{s} or %{l} and a non-ASCII local part matches nothing. */
bool spf_unmatchable(const struct spf_check *, str spec);
str  spf_target(struct spf_check *, const struct spf_frame *, str spec);    /* empty spec: the frame's domain */
str  spf_explanation(struct spf_check *, str domain, str text);             /* empty: it cannot be used */

/* spf_log.c */
#define SPF_NO_ENTRY SIZE_MAX
size_t spf_note(struct spf_check *, str text, str domain, unsigned depth);
str    spf_shown(struct spf_check *, str peer_text);     /* for a sentence: cut, odd bytes as '?' */
void   spf_note_outcome(struct spf_check *, size_t entry, str outcome);
void   spf_keep_outcome(struct spf_check *);             /* from scratch to the asker's arena */
const char *spf_type_word(enum dns_type);

#endif
