/* SPDX-License-Identifier: ISC */
/*
 * hosts: the addresses a route leads to, one after the other (RFC 5321 5.1).
 *
 * MX hosts by preference, at random among equals; those that are no better
 * than ourselves are dropped, so that mail does not come back to us; the
 * domain's own address when it has no MX; a null MX (RFC 7505) is a refusal.
 * The addresses of a host are asked for when its turn comes.  Loop thread.
 */
#ifndef QUEUE_DELIVER_HOSTS_H
#define QUEUE_DELIVER_HOSTS_H

#include "queue/deliver/own_ipv6.h"
#include "queue/deliver/route.h"
#include "smtpd/base/dns.h"

#define HOSTS_MOST     20      /* of a domain's MX hosts that are looked at */
#define HOSTS_ADDRS    16      /* of one host */
#define HOSTS_TRIES    10      /* addresses tried in one attempt */

enum hosts_found {
	HOSTS_ADDRESS,         /* `to` is the next one to try */
	HOSTS_NO_MORE,         /* all were tried */
	HOSTS_LATER,           /* none was found, for a reason that may pass: `said` */
	HOSTS_NEVER,           /* none was found, and that is for good: `said` */
};

struct host { uint16_t preference; uint64_t lot; str name; };

struct hosts {
	/* of HOSTS_ADDRESS */
	str    name;                        /* of the host; the address itself when the route names one */
	struct sockaddr_storage to;
	socklen_t nto;
	struct dns_facts {
		bool secure;                /* DNSSEC: every answer that gave an address was validated */
		bool cname;                 /* the name is an alias … */
		str  canonical;             /* … of this one */
	} of_name;
	bool   named;                       /* `name` is a name, not an address */
	/* once the first was found, for a domain's MX hosts */
	struct dns_facts of_mx;             /* of the domain, and the answer that named its hosts, or that there are none */
	bool   implicit;                    /* it has none: the host is the domain itself */
	/* of HOSTS_LATER, HOSTS_NEVER */
	str    status, said;
	void  *user;
	/* hosts.c's own from here */
	void (*found)(struct hosts *, enum hosts_found);
	struct loop *loop;
	struct arena *arena;
	const struct deliver_setup *setup;
	const struct route *route;
	struct loop_call later;
	enum hosts_found result;
	struct dns_ask ask, ask6;
	unsigned out;                       /* questions */
	struct own_ipv6 own;
	bool   unfit;                       /* addresses were left out, because ours is not fit for them */
	struct host v[HOSTS_MOST];
	size_t n, at;
	struct sockaddr_storage addr[HOSTS_ADDRS];
	size_t naddr, addr_at, tried;
	uint16_t port;
	bool   begun, temporary;            /* a look-up failed that may work another time */
	bool   lost;                        /* … and left a host without any address */
};

/* The route, the setup and the arena live until hosts_stop or the last answer. */
void hosts_begin(struct hosts *, struct loop *, struct arena *, const struct deliver_setup *, const struct route *,
                 void (*found)(struct hosts *, enum hosts_found), void *user);
void hosts_next(struct hosts *);      /* `found` fires later, once, never inside */
void hosts_skip(struct hosts *);      /* no more addresses of this host */
void hosts_stop(struct hosts *);      /* `found` does not fire any more; harmless twice and when zeroed */

#endif
