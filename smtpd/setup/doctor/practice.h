/* SPDX-License-Identifier: ISC */
/*
 * practice: what a verb needs around a doctor: configuration, resolver, loop, desk,
 * TLS, MTA-STS; opened, used for one round, closed.
 */
#ifndef SETUP_DOCTOR_PRACTICE_H
#define SETUP_DOCTOR_PRACTICE_H

#include "smtpd/setup/dns/direct.h"
#include "smtpd/setup/doctor/doctor.h"
#include "smtpd/setup/doctor/host.h"

struct practice {
	struct arena      *arena;          /* of the whole verb */
	const struct config *config;       /* NULL: none */
	struct host_facts  host;
	struct dns_conf    resolver;
	struct direct_conf direct;
	struct strs        domains;
	const struct wanted *wanted;
	size_t             nwanted;
	bool               strange;        /* the one domain is not the configuration's */
};

/* Collects what is known before anybody is asked.  OK, or the sentence in *why. */
enum err practice_open(struct practice *, const char *resolver_option, str *why);
/* One round with a resolver that remembers nothing: doctor_begin to the end of the
 * loop; `show` looks at the findings while they last.  The exit status. */
int practice_round(struct practice *, struct doctor *, int (*show)(struct doctor *, void *arg), void *arg);

/* wait.c: until every record that mail needs is there.  `for_ms` 0: however long. */
int practice_wait(struct practice *, bool json, uint64_t for_ms);

#endif
