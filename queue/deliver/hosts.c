/* SPDX-License-Identifier: ISC */
/*
 * One question at a time: the domain's MX, then each host's addresses when its
 * turn comes.  What is known without asking is told at the loop's next turn.
 */
#include "queue/deliver/hosts.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/conn.h"
#include "smtpd/base/crypt.h"

static void look_further(struct hosts *);

/* ---- telling ---------------------------------------------------------------------- */

static void told(struct loop_call *c)
{
	struct hosts *h = SUPER(c, struct hosts, later);

	h->found(h, h->result);
}

static void tell(struct hosts *h, enum hosts_found result)
{
	h->result = result;
	loop_defer(h->loop, &h->later, told);
}

static void give_up(struct hosts *h, enum hosts_found result, const char *status, str said)
{
	h->status = str_of(status);
	h->said = said;
	tell(h, result);
}

static void tell_address(struct hosts *h)
{
	h->to = h->addr[h->addr_at++];
	h->nto = h->to.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	h->tried++;
	tell(h, HOSTS_ADDRESS);
}

/* ---- addresses ----------------------------------------------------------------------- */

static void add_v4(struct hosts *h, struct in_addr a)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&h->addr[h->naddr];

	if (h->naddr == HOSTS_ADDRS)
		return;
	memset(in, 0, sizeof(h->addr[0]));
	in->sin_family = AF_INET;
	in->sin_port = htons(h->port);
	in->sin_addr = a;
	h->naddr++;
}

static void add_v6(struct hosts *h, const struct in6_addr *a)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&h->addr[h->naddr];

	if (h->naddr == HOSTS_ADDRS)
		return;
	memset(in6, 0, sizeof(h->addr[0]));
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(h->port);
	in6->sin6_addr = *a;
	h->naddr++;
}

/* A named server of our own choice is reached as it can be; strangers see our
 * IPv6 address only when the operator said that it is fit to be seen. */
static bool wants_v6(const struct hosts *h)
{
	return h->setup->relay->ipv6 != IPV6_OFF || h->route->kind != ROUTE_MX;
}

static const struct sockaddr_in6 *first_v6(const struct hosts *h)
{
	for (size_t i = 0; i < h->naddr; i++)
		if (h->addr[i].ss_family == AF_INET6)
			return (const struct sockaddr_in6 *)&h->addr[i];
	return NULL;
}

static void leave_v6_out(struct hosts *h)
{
	size_t kept = 0;

	for (size_t i = 0; i < h->naddr; i++)
		if (h->addr[i].ss_family != AF_INET6)
			h->addr[kept++] = h->addr[i];
	h->naddr = kept;
	h->unfit = true;
}

static void own_judged(struct own_ipv6 *own, bool fit)
{
	struct hosts *h = own->user;

	if (!fit)
		leave_v6_out(h);
	look_further(h);
}

static void addresses_known(struct hosts *h)
{
	const struct sockaddr_in6 *to = first_v6(h);
	enum own_answer own = OWN_FIT;

	h->lost = h->lost || (h->naddr == 0 && h->temporary);
	if (to != NULL && h->setup->relay->ipv6 == IPV6_AUTO && h->route->kind == ROUTE_MX)
		own = own_ipv6_ask(&h->own, h->loop, h->arena, h->setup->relay, to, own_judged, h);
	if (own == OWN_UNFIT)
		leave_v6_out(h);
	if (own != OWN_ASKED)
		look_further(h);
}

static void note_facts(struct dns_facts *f, const struct dns_answer *a)
{
	f->secure = f->secure && a->secure;
	f->cname = a->cname;
	f->canonical = a->canonical;
}

static void addresses_came(struct dns_ask *ask, const struct dns_answer *a)
{
	struct hosts *h = ask->user;

	h->temporary = h->temporary || dns_failed(a->status);
	if (a->n > 0)
		note_facts(&h->of_name, a);
	for (size_t i = 0; i < a->n; i++)
		if (ask == &h->ask)
			add_v4(h, a->rr[i].a);
		else
			add_v6(h, &a->rr[i].aaaa);
	if (--h->out == 0)
		addresses_known(h);
}

static void ask_addresses(struct hosts *h, const struct host *host)
{
	h->name = host->name;
	h->named = true;
	h->of_name = (struct dns_facts){ .secure = true, .canonical = host->name };
	h->naddr = h->addr_at = 0;
	h->out = wants_v6(h) ? 2 : 1;
	dns_ask(h->loop->dns, &h->ask, h->arena, host->name, DNS_A, 0, addresses_came, h);
	if (wants_v6(h))
		dns_ask(h->loop->dns, &h->ask6, h->arena, host->name, DNS_AAAA, 0, addresses_came, h);
}

/* RFC 5321 5.1: MX hosts of which none has an address are an error. */
static void tell_no_more(struct hosts *h)
{
	if (h->tried > 0)
		tell(h, HOSTS_NO_MORE);
	else if (h->unfit)
		give_up(h, HOSTS_LATER, "4.4.4",
		        arena_printf(h->arena, "The mail hosts of %.*s have IPv6 addresses only, and ours has no PTR record "
		                     "that leads back to it: set one, or relay { ipv6 = on }", STR_ARG(h->route->target)));
	else if (h->temporary)
		give_up(h, HOSTS_LATER, "4.4.3",
		        arena_printf(h->arena, "The addresses of %.*s could not be looked up: DNS did not answer", STR_ARG(h->name)));
	else
		give_up(h, HOSTS_NEVER, "5.4.4",
		        arena_printf(h->arena, "No mail host of %.*s has an address", STR_ARG(h->route->target)));
}

static void look_further(struct hosts *h)
{
	if (h->addr_at < h->naddr && h->tried < HOSTS_TRIES)
		tell_address(h);
	else if (h->at < h->n && h->tried < HOSTS_TRIES)
		ask_addresses(h, &h->v[h->at++]);
	else
		tell_no_more(h);
}

/* ---- MX ---------------------------------------------------------------------------------- */

static bool have(const struct hosts *h, str name)
{
	for (size_t i = 0; i < h->n; i++)
		if (str_eq_nocase(h->v[i].name, name))
			return true;
	return false;
}

static void add_host(struct hosts *h, uint16_t preference, str name)
{
	struct host host = { preference, random_below(UINT64_MAX), name };
	size_t i = h->n;

	if (have(h, name))
		return;
	if (i == HOSTS_MOST) {
		if (h->v[--i].preference <= preference)
			return;
	} else {
		h->n++;
	}
	for (; i > 0 && (h->v[i - 1].preference > preference ||
	                 (h->v[i - 1].preference == preference && h->v[i - 1].lot > host.lot)); i--)
		h->v[i] = h->v[i - 1];
	h->v[i] = host;
}

/* RFC 5321 5.1: a relay that finds itself in the list drops itself and all that
 * are no better, or the message would go in circles. */
static bool drop_from_ourselves_on(struct hosts *h, const struct dns_answer *a)
{
	uint32_t ours = UINT32_MAX;
	size_t kept = 0;

	for (size_t i = 0; i < a->n; i++)
		if (str_eq_nocase(a->rr[i].mx.host, h->setup->hostname) && a->rr[i].mx.preference < ours)
			ours = a->rr[i].mx.preference;
	while (kept < h->n && h->v[kept].preference < ours)
		kept++;
	h->n = kept;
	return kept > 0;
}

static void tell_circle(struct hosts *h)
{
	give_up(h, HOSTS_NEVER, "5.4.6",
	        arena_printf(h->arena, "Mail for %.*s would come back to this server: its best MX host is %.*s, "
	                     "but the domain is not configured here", STR_ARG(h->route->target),
	                     STR_ARG(h->setup->hostname)));
}

static void mx_found(struct hosts *h, const struct dns_answer *a)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->rr[i].mx.host.n > 0)
			add_host(h, a->rr[i].mx.preference, a->rr[i].mx.host);
	if (h->n == 0)
		give_up(h, HOSTS_NEVER, "5.1.10",
		        arena_printf(h->arena, "The domain %.*s accepts no mail (null MX)", STR_ARG(h->route->target)));
	else if (!drop_from_ourselves_on(h, a))
		tell_circle(h);
	else
		look_further(h);
}

static void mx_came(struct dns_ask *ask, const struct dns_answer *a)
{
	struct hosts *h = ask->user;
	str domain = h->route->target;

	h->of_mx = (struct dns_facts){ a->secure, a->cname, a->canonical };
	switch (a->status) {
	case DNS_FOUND:
		mx_found(h, a);
		return;
	case DNS_NODATA:               /* the implicit MX */
		add_host(h, 0, domain);
		h->implicit = true;
		if (str_eq_nocase(domain, h->setup->hostname))
			tell_circle(h);
		else
			look_further(h);
		return;
	case DNS_NXDOMAIN:
	case DNS_BADNAME:
		give_up(h, HOSTS_NEVER, "5.1.2", arena_printf(h->arena, "The domain %.*s does not exist", STR_ARG(domain)));
		return;
	default:
		give_up(h, HOSTS_LATER, "4.4.3",
		        arena_printf(h->arena, "The MX hosts of %.*s could not be looked up: %s", STR_ARG(domain),
		                     dns_status_text(a->status)));
	}
}

/* ---- beginning --------------------------------------------------------------------------- */

static void address_given(struct hosts *h, str name, const struct sockaddr_storage *at, socklen_t n)
{
	h->name = name;
	h->tried = HOSTS_TRIES;          /* there is no other */
	h->to = *at;
	h->nto = n;
	tell(h, HOSTS_ADDRESS);
}

static void begin_endpoint(struct hosts *h)
{
	struct endpoint e;

	if (!endpoint_parse(h->route->target, 0, &e)) {
		give_up(h, HOSTS_LATER, "4.3.5",
		        arena_printf(h->arena, "\"%.*s\" is no HOST:PORT: mend it in the configuration",
		                     STR_ARG(h->route->target)));
		return;
	}
	h->port = e.port;
	if (!e.is_name) {
		address_given(h, e.host, &e.at, e.n);
		return;
	}
	add_host(h, 0, e.host);
	look_further(h);
}

static void begin_literal(struct hosts *h)
{
	struct sockaddr_storage at;

	if (!literal_parse(h->route->target, &at)) {
		give_up(h, HOSTS_NEVER, "5.1.2",
		        arena_printf(h->arena, "%.*s is no address literal", STR_ARG(h->route->target)));
		return;
	}
	if (at.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&at)->sin6_port = htons(h->port);
	else
		((struct sockaddr_in *)&at)->sin_port = htons(h->port);
	address_given(h, h->route->target, &at, at.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
	                                                                 : sizeof(struct sockaddr_in));
}

void hosts_begin(struct hosts *h, struct loop *loop, struct arena *a, const struct deliver_setup *setup,
                 const struct route *route, void (*found)(struct hosts *, enum hosts_found), void *user)
{
	*h = (struct hosts){
		.loop = loop, .arena = a, .setup = setup, .route = route, .found = found, .user = user,
		.port = (uint16_t)setup->relay->port,
	};
}

void hosts_next(struct hosts *h)
{
	if (h->begun) {
		look_further(h);
		return;
	}
	h->begun = true;
	if (h->route->kind != ROUTE_MX)
		begin_endpoint(h);
	else if (str_starts(h->route->target, "["))
		begin_literal(h);
	else
		dns_ask(h->loop->dns, &h->ask, h->arena, h->route->target, DNS_MX, 0, mx_came, h);
}

void hosts_skip(struct hosts *h)
{
	h->addr_at = h->naddr;
}

void hosts_stop(struct hosts *h)
{
	if (h->loop == NULL)
		return;
	loop_undefer(&h->later);
	dns_cancel(&h->ask);
	dns_cancel(&h->ask6);
	own_ipv6_stop(&h->own);
	h->out = 0;
}
