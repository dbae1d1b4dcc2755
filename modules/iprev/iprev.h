/* SPDX-License-Identifier: ISC */
/*
 * iprev: does the address have a name, and the name the address (RFC 8601 3)?
 */
#ifndef MODULES_IPREV_H
#define MODULES_IPREV_H

#include "smtpd/base/dns.h"

enum iprev_result { IPREV_NOT_DONE, IPREV_PASS, IPREV_FAIL, IPREV_TEMPERROR, IPREV_PERMERROR };
const char *iprev_result_word(enum iprev_result);

struct iprev_outcome {
	enum iprev_result result;
	bool helo_matches;  /* the confirmed name equals the HELO name */
	str  name;          /* the confirmed name, or the first PTR name */
	str  reason;
};

extern const struct module iprev_module;
const struct iprev_outcome *iprev_state_outcome(const void *conn);

/* For modules that cannot go on before the name is known.  False: it is known,
 * or never will be.  Else `known` is called once, outside all hooks, unless
 * iprev_wait_end (harmless when nothing is out) came first. */
struct iprev_wait {
	void (*known)(struct iprev_wait *);
	struct iprev_wait *next, **at;
};
bool iprev_wait(const void *conn, struct iprev_wait *, void (*known)(struct iprev_wait *));
void iprev_wait_end(struct iprev_wait *);

#endif
