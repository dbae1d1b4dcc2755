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
	bool incomplete;              /* some question failed for now */
};

struct dmarc_check;
typedef void dmarc_checked(struct dmarc_check *, void *user);
/* Two steps, so that questions start as early as From is known. */
struct dmarc_check *dmarc_start(struct dns *, struct arena *, str author_domain);
void dmarc_finish(struct dmarc_check *, struct dmarc_identifier *ids, size_t n, dmarc_checked *done, void *user);
void dmarc_cancel(struct dmarc_check *);
const struct dmarc_outcome *dmarc_outcome(const struct dmarc_check *);   /* NULL until done */

extern const struct module dmarc_module;
const struct dmarc_outcome *dmarc_state_outcome(const void *msg);

#endif
