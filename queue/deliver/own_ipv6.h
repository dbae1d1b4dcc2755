/* SPDX-License-Identifier: ISC */
/*
 * own_ipv6: may strangers see our IPv6 address?
 *
 * Large providers refuse mail from an IPv6 address without a PTR record whose
 * name leads back to it, and take it over IPv4.  So the address that would be
 * used is looked up, PTR and then AAAA, and what was found is remembered for an
 * hour (five minutes, when DNS did not answer).  One memory a loop thread.
 */
#ifndef QUEUE_DELIVER_OWN_IPV6_H
#define QUEUE_DELIVER_OWN_IPV6_H

#include "queue/deliver/deliver.h"
#include "smtpd/base/dns.h"

#define OWN_NAMES 5                    /* of the PTR records that are looked at */

enum own_answer { OWN_FIT, OWN_UNFIT, OWN_ASKED };

struct own_ipv6 {                      /* zeroed before first use */
	void           *user;
	/* own_ipv6.c's own from here */
	void          (*judged)(struct own_ipv6 *, bool fit);
	struct loop    *loop;
	struct arena   *arena;
	struct dns_ask  ask;
	struct in6_addr source;
	str             names[OWN_NAMES];
	size_t          n, at;
	bool            failed;
};

/* Which address of ours would be used towards `to`, and is it fit?  OWN_ASKED:
 * `judged` fires later, once, unless it is stopped. */
enum own_answer own_ipv6_ask(struct own_ipv6 *, struct loop *, struct arena *, const struct relay_conf *,
                             const struct sockaddr_in6 *to, void (*judged)(struct own_ipv6 *, bool fit), void *user);
void own_ipv6_stop(struct own_ipv6 *);
void own_ipv6_forget(void);            /* what this thread remembers */

#endif
