/* SPDX-License-Identifier: ISC */
/*
 * relay_test: the known relay tricks against a directory, in memory.
 *
 * Each trick is read by the parser that reads RCPT and judged by admit.c, as a
 * stranger's and as a device's that may not send out, so what is tested is what runs.  A trick is let through when it
 * is admitted and leads outside the domains here although no alias, catch-all
 * or copy of the configuration says so: the address that it leads to is the
 * one that the stranger wrote.  No DNS, no descriptors; well under 20 ms.
 */
#ifndef SESSION_RELAY_TEST_H
#define SESSION_RELAY_TEST_H

#include "smtpd/base/arena.h"
#include "smtpd/mail/directory.h"

struct relay_trick {
	const char *name;       /* "percent hack" */
	str         device;     /* whose addresses it comes from; empty: a stranger's */
	str         sender;     /* as behind MAIL FROM: */
	str         rcpt;       /* as behind RCPT TO: */
	bool        let_through;
	const char *answer;     /* what RCPT would hear: "550 5.7.1" */
	str         leads_to;   /* of what is admitted */
};

typedef void relay_seen(void *arg, const struct relay_trick *);

/* Tries them all at each of `domains`, those that receive here, and calls `seen`
 * (may be NULL) for each; how many were let through. */
size_t relay_test(const struct directory *, str hostname, const struct strs *domains, relay_seen *seen, void *arg);

/* The same as one who has a device's address, at the first domain: for a device
 * that writes to people here only, or that is open to a wide network. */
struct device_conf;
size_t relay_test_device(const struct directory *, str hostname, const struct strs *domains, const struct device_conf *,
                         relay_seen *seen, void *arg);

#endif
