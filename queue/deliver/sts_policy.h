/* SPDX-License-Identifier: ISC */
/*
 * sts_policy: what a domain says about TLS to its MX hosts (RFC 8461).
 *
 * The TXT record names a policy's id, the policy file says the rest.  Pure: a
 * peer's bytes in, values out; nothing is believed that the RFC does not allow.
 */
#ifndef QUEUE_DELIVER_STS_POLICY_H
#define QUEUE_DELIVER_STS_POLICY_H

#include "smtpd/base/arena.h"
#include "smtpd/base/str.h"

#define STS_POLICY_MOST  ((size_t)64 << 10)      /* octets of a policy file (RFC 8461 3.3) */
#define STS_MX_MOST      100                     /* patterns; the rest of the file is refused with it */
#define STS_MAX_AGE_MOST ((uint64_t)31557600)    /* a year: RFC 8461 3.2 */

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };

struct sts_policy {
	enum sts_mode mode;       /* STS_NONE: nothing is asked of the MX hosts */
	struct strs   mx;         /* patterns, lower case, no root dot: "mx.example.org", "*.example.org" */
	uint64_t      max_age_s;
	str           id;         /* of the TXT record; empty: the domain has no policy */
	struct strs   lines;      /* of the file, as they came: "policy-string" of RFC 8460 */
};

/* A policy file.  False, with a sentence, when it is not one that RFC 8461 3.2
 * allows.  `id` is left alone. */
bool sts_policy_parse(str file, struct arena *, struct sts_policy *out, str *why);

/* One TXT record (RFC 8461 3.1). */
enum sts_record { STS_RECORD_OTHER, STS_RECORD_BAD, STS_RECORD_GOOD };
enum sts_record sts_record_parse(str txt, str *id);   /* id: a view into txt */

/* Is this MX host one of the policy's?  A wildcard stands for exactly one label,
 * the leftmost (RFC 8461 4.1).  Case and a root dot do not matter. */
bool sts_mx_matches(const struct sts_policy *, str host);

const char *sts_mode_text(enum sts_mode);             /* "none", "testing", "enforce" */

#endif
