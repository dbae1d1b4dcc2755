/* SPDX-License-Identifier: ISC */
/*
 * dmarc: RFC 9989, as a value: tree walk, policy, alignment.
 *
 * dmarc_start knows no module: it gets the Author Domain and the identifiers
 * that authenticated (or may have) and asks its questions over dns.
 */
#ifndef MODULES_DMARC_H
#define MODULES_DMARC_H

#include "smtpd/base/arena.h"
#include "smtpd/base/conf.h"
#include "smtpd/base/dns.h"

enum dmarc_result { DMARC_NOT_DONE, DMARC_NONE, DMARC_PASS, DMARC_FAIL, DMARC_TEMPERROR, DMARC_PERMERROR };
enum dmarc_policy { DMARC_P_NONE, DMARC_P_QUARANTINE, DMARC_P_REJECT };
enum dmarc_align  { DMARC_UNALIGNED, DMARC_ALIGNED, DMARC_ALIGN_UNKNOWN };

const char *dmarc_result_word(enum dmarc_result);
const char *dmarc_policy_word(enum dmarc_policy);

struct dmarc_identifier {
	str  domain;                  /* A-labels, lower case */
	bool dkim;                    /* else SPF */
	bool open;                    /* its own check ended in a temporary error: if it could align, alignment is unknown */
	enum dmarc_align align;       /* out */
	str  org;                     /* out: its Organizational Domain when it was looked for */
	bool same_org;                /* out: of the author's organization, though its mode is strict and it is not identical */
};

/* One record (RFC 9989 4.7, 4.8). */
enum dmarc_tag { DMARC_TAG_ABSENT, DMARC_TAG_BAD, DMARC_TAG_NONE, DMARC_TAG_QUARANTINE, DMARC_TAG_REJECT };
struct dmarc_record {
	enum dmarc_tag p, sp, np;
	bool adkim_strict, aspf_strict;
	bool testing;                 /* t=y */
	enum { DMARC_PSD_UNKNOWN, DMARC_PSD_YES, DMARC_PSD_NO } psd;
	bool rua_valid;               /* at least one syntactically valid URI */
	str  rua, ruf, fo;            /* as written; empty: absent or not valid */
	str  text;
};
/* False: the text is no DMARC record at all.  Pure; keeps views into the text. */
bool dmarc_record_parse(str text, struct dmarc_record *out);
bool dmarc_policies_bad(const struct dmarc_record *);   /* RFC 9989 4.10.1: act as p=none, or not at all */

struct dmarc_step {                   /* one question asked, for explain */
	str  name;                    /* with _dmarc. in front, except the question for existence */
	enum dns_status status;
	str  record;                  /* the DMARC record there, if exactly one */
	size_t records;               /* how many DMARC records */
};

struct dmarc_outcome {
	enum dmarc_result result;
	str  from_domain;
	str  policy_domain;           /* whose record applies; empty: none */
	str  org_domain;
	enum dmarc_policy published;  /* p/sp/np that was chosen, before t */
	enum dmarc_policy disposition;/* evaluated: none unless result is fail */
	bool has_policy;
	bool testing;                 /* t=y */
	bool spf_aligned, dkim_aligned;
	struct dmarc_identifier *ids;
	size_t nids;
	str  record;                  /* text of the record that applies */
	str  reason;                  /* a sentence */
	const struct dmarc_record *parsed; /* of it; NULL without one */
	const struct dmarc_step *steps;    /* in order of asking */
	size_t nsteps;
	bool incomplete;              /* some question failed for now */
};

struct dmarc_check;
typedef void dmarc_checked(struct dmarc_check *, void *user);
/* Two steps, so that questions start as early as From is known.  finish says
 * true when the outcome is there at once; then `done` does not fire. */
struct dmarc_check *dmarc_start(struct dns *, struct arena *, str author_domain);   /* NULL: no memory */
bool dmarc_finish(struct dmarc_check *, struct dmarc_identifier *ids, size_t n, dmarc_checked *done, void *user);
void dmarc_cancel(struct dmarc_check *);
const struct dmarc_outcome *dmarc_outcome(const struct dmarc_check *);   /* NULL until done */

/* What the server makes of a disposition. */
enum dmarc_action      { DMARC_HONOUR, DMARC_STRICT, DMARC_MILD };
enum dmarc_on_temperror { DMARC_DEFER, DMARC_ACCEPT };
struct dmarc_conf {
	struct conf_head head;
	bool verify;
	int  action;                  /* enum dmarc_action */
	int  on_temperror;            /* enum dmarc_on_temperror */
};

/* Why less was done than the policy asks for (RFC 9990 3.1: reason). */
enum dmarc_override { DMARC_AS_PUBLISHED, DMARC_LOCAL_POLICY, DMARC_MAILING_LIST, DMARC_TRUSTED_FORWARDER };
const char *dmarc_override_word(enum dmarc_override);   /* NULL for the first */

extern const struct module dmarc_module;
const struct dmarc_outcome *dmarc_state_outcome(const void *msg);   /* NULL: not evaluated, or open */
enum dmarc_override dmarc_state_override(const void *msg);
str dmarc_state_decision(const void *msg);              /* what was done and why, when it was not simply accepted */

#endif
