/* SPDX-License-Identifier: ISC */
/*
 * dmarc_plan: which DMARC policy is safe for a domain now, and the next record.
 * Pure: what was seen in, advice out; verb_dmarc.c looks.
 *
 *   no record → p=none → p=quarantine → p=reject
 *
 * One step at a time, and none while something speaks against it.  Never pct=, rf=
 * or ri= (RFC 9989 C.5.2); np=reject comes with p=quarantine, for nobody sends from
 * names that do not exist.
 */
#ifndef SETUP_DMARC_PLAN_H
#define SETUP_DMARC_PLAN_H

#include "modules/dmarc/dmarc.h"
#include "smtpd/setup/dns/spf_tree.h"

#define DMARC_PLAN_DAYS 14         /* a policy is watched so long before the next step: two weeks of reports */

enum plan_shown { PLAN_SHOWN, PLAN_ABSENT, PLAN_OTHER, PLAN_UNKNOWN };   /* UNKNOWN: DNS did not say */

struct plan_key    { str selector; enum plan_shown shown; };
struct plan_report { str address, host; bool elsewhere; enum plan_shown consent; };

struct plan_facts {
	str    domain;
	bool   ours;                       /* the configuration has it: what signs is known */
	const struct dmarc_outcome *seen;  /* of the domain; no identifiers */
	const struct spf_tree *spf;
	const struct plan_key *keys;       /* those that sign now */
	size_t n_keys;
	bool   keys_wait;                  /* there are others, which DNS does not show yet */
	const struct plan_report *reports;
	size_t n_reports;
	struct strs below;                 /* domains of the configuration below this one */
	str    first;                      /* the record that a domain without one begins with */
	int64_t since, now;                /* the present policy has been there since, as far as known; 0: not known */
};

enum plan_step { PLAN_BEGIN, PLAN_MEND, PLAN_STAY, PLAN_GO_ON, PLAN_DONE };
const char *plan_step_word(enum plan_step);

struct plan_word { bool against; str text, todo; };    /* against: until it is gone, no step up */

struct dmarc_plan {
	enum plan_step step;
	enum dmarc_policy present, safe;   /* what applies now, what may */
	bool   has_record;                 /* one of its own */
	str    record;                     /* the next one; empty: DONE, or nothing to change */
	str    summary;                    /* one sentence */
	struct plan_word *words;
	size_t n;
	int64_t wait_days;                 /* STAY: until the next step, if only time is missing; 0: something else is */
};

enum err dmarc_plan_make(const struct plan_facts *, struct arena *, struct dmarc_plan *);

#endif
