/* SPDX-License-Identifier: ISC */
/*
 * PTR of our address, then AAAA of its names, until one leads back.  Loop thread.
 */
#include "queue/deliver/own_ipv6.h"

#include <string.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/log.h"

#define REMEMBER_MS ((uint64_t)3600 * 1000)
#define AGAIN_MS    ((uint64_t)300 * 1000)

static _Thread_local struct {
	struct in6_addr source;
	uint64_t        until_ms;      /* 0: nothing */
	bool            fit;
} known;

void own_ipv6_forget(void)
{
	known.until_ms = 0;
}

/* ---- which address ------------------------------------------------------------------- */

/* What the kernel would take; nothing is sent. */
static bool ask_kernel(const struct sockaddr_in6 *to, struct sockaddr_in6 *out)
{
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t n = sizeof(*out);
	bool found;

	if (fd < 0)
		return false;
	found = connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0 &&
	        getsockname(fd, (struct sockaddr *)out, &n) == 0;
	close(fd);
	return found;
}

static bool find_source(const struct relay_conf *relay, const struct sockaddr_in6 *to, struct in6_addr *out)
{
	struct sockaddr_storage set;
	struct sockaddr_in6 at;

	if (relay_source(relay, AF_INET6, &set) > 0) {
		*out = ((const struct sockaddr_in6 *)&set)->sin6_addr;
		return true;
	}
	if (!ask_kernel(to, &at))
		return false;
	*out = at.sin6_addr;
	return true;
}

/* ---- what DNS says of it ---------------------------------------------------------------- */

static void conclude(struct own_ipv6 *o, bool fit)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6, .sin6_addr = o->source };
	struct addr_text text = addr_text((const struct sockaddr *)&at);
	bool news = known.until_ms == 0 || known.fit != fit || memcmp(&known.source, &o->source, sizeof(o->source)) != 0;

	known.source = o->source;
	known.fit = fit;
	known.until_ms = clock_ms() + (!fit && o->failed ? AGAIN_MS : REMEMBER_MS);
	if (news && fit)
		log_event(NULL, LOG_INFO, "ipv6.used", KV_C("source", text.s));
	else if (news)
		log_event(NULL, LOG_NOTICE, "ipv6.unused", KV_C("source", text.s),
		          KV_C("why", o->failed ? "its PTR record could not be looked up"
		                                : "no PTR record of it leads back to it: set one, or relay { ipv6 = on }"));
	o->judged(o, fit);
}

static void look_at_next(struct own_ipv6 *);

static void address_came(struct dns_ask *ask, const struct dns_answer *a)
{
	struct own_ipv6 *o = ask->user;

	o->failed = o->failed || dns_failed(a->status);
	for (size_t i = 0; i < a->n; i++)
		if (memcmp(&a->rr[i].aaaa, &o->source, sizeof(o->source)) == 0) {
			conclude(o, true);
			return;
		}
	look_at_next(o);
}

static void look_at_next(struct own_ipv6 *o)
{
	if (o->at == o->n)
		conclude(o, false);
	else
		dns_ask(o->loop->dns, &o->ask, o->arena, o->names[o->at++], DNS_AAAA, 0, address_came, o);
}

static void names_came(struct dns_ask *ask, const struct dns_answer *a)
{
	struct own_ipv6 *o = ask->user;

	o->failed = dns_failed(a->status);
	for (size_t i = 0; i < a->n && o->n < OWN_NAMES; i++)
		o->names[o->n++] = a->rr[i].name;
	look_at_next(o);
}

enum own_answer own_ipv6_ask(struct own_ipv6 *o, struct loop *loop, struct arena *a, const struct relay_conf *relay,
                             const struct sockaddr_in6 *to, void (*judged)(struct own_ipv6 *, bool), void *user)
{
	struct sockaddr_in6 at = { .sin6_family = AF_INET6 };

	*o = (struct own_ipv6){ .user = user, .judged = judged, .loop = loop, .arena = a };
	if (!find_source(relay, to, &o->source))
		return OWN_UNFIT;
	if (clock_ms() < known.until_ms && memcmp(&known.source, &o->source, sizeof(o->source)) == 0)
		return known.fit ? OWN_FIT : OWN_UNFIT;
	at.sin6_addr = o->source;
	dns_ask(loop->dns, &o->ask, a, dns_reverse_name(a, (const struct sockaddr *)&at), DNS_PTR, 0, names_came, o);
	return OWN_ASKED;
}

void own_ipv6_stop(struct own_ipv6 *o)
{
	dns_cancel(&o->ask);
}
