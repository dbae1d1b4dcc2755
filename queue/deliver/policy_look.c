/* SPDX-License-Identifier: ISC */
/*
 * The questions behind a policy: TLSA records of the host, then, unless those
 * decide, the domain's MTA-STS policy, once an attempt.  Loop thread.
 */
#include "queue/deliver/policy.h"

#include <arpa/inet.h>

#include "smtpd/base/conn.h"

static void told(struct loop_call *c)
{
	struct policy_look *l = SUPER(c, struct policy_look, later);

	l->known(l);
}

static void tell(struct policy_look *l)
{
	l->facts.dane = &l->dane;
	l->facts.sts = &l->sts;
	policy_decide(&l->facts, l->arena, &l->policy);
	loop_defer(l->loop, &l->later, told);
}

/* ---- MTA-STS ---------------------------------------------------------------------------- */

static void sts_came(struct sts_ask *ask, const struct sts_policy *p)
{
	struct policy_look *l = SUPER(ask, struct policy_look, sts_ask);

	l->sts = *p;
	l->sts_known = !ask->memory;
	tell(l);
	if (ask->memory && !l->policy.refused) {
		l->policy.refused = true;
		l->policy.status = STR("4.3.0");
		l->policy.said = STR("out of memory");
	}
}

static bool sts_has_a_say(const struct policy_look *l)
{
	enum policy_word w = l->facts.word;

	return l->sts_of != NULL && l->hosts->named && !l->sts_known && l->facts.route->kind == ROUTE_MX && l->dane.found != DANE_USABLE &&
	       l->dane.found != DANE_FAILED && (w == WORD_AUTO || w == WORD_ENCRYPT || w == WORD_VERIFY);
}

static void ask_sts(struct policy_look *l)
{
	if (sts_has_a_say(l))
		sts_find(l->sts_of, l->loop, l->arena, l->facts.route->target, &l->sts_ask, sts_came);
	else
		tell(l);
}

/* ---- DANE ---------------------------------------------------------------------------------- */

static void dane_came(struct dane_look *d)
{
	struct policy_look *l = SUPER(d, struct policy_look, dane_look);

	l->dane = d->dane;
	ask_sts(l);
}

/* RFC 7672 2.2.1: only a validated MX answer leads to a host that TLSA records
 * can speak for. */
static bool dane_has_a_say(const struct policy_look *l)
{
	enum policy_word w = l->facts.word;

	if (!l->hosts->named)
		return false;
	if (l->facts.route->kind != ROUTE_MX)
		return l->facts.route->hop == NULL || !l->facts.route->hop->any_certificate;
	return l->facts.mx.secure && w != WORD_NONE && w != WORD_MAY;
}

/* ---- beginning -------------------------------------------------------------------------------- */

void policy_look_begin(struct policy_look *l, struct loop *loop, struct arena *a, struct tls_client *tls, struct sts *sts,
                       void (*known)(struct policy_look *), void *user)
{
	*l = (struct policy_look){ .loop = loop, .arena = a, .tls = tls, .sts_of = sts, .known = known, .user = user };
}

/* An address that the route names must be in the certificate as one. */
static str name_in_certificate(struct policy_look *l, const struct hosts *h)
{
	return h->named ? h->name : str_keep(l->arena, str_of(addr_text((const struct sockaddr *)&h->to).s));
}

static void gather(struct policy_look *l, const struct hosts *h)
{
	l->hosts = h;
	l->host = h->name;
	l->dane = (struct dane){ 0 };
	l->facts = (struct policy_facts){
		.route = h->route, .host = name_in_certificate(l, h), .mx = h->of_mx, .implicit = h->implicit,
		.word = h->route->kind == ROUTE_MX ? policy_word_for(&h->setup->relay->policies, h->route->target) : WORD_AUTO,
	};
}

void policy_look(struct policy_look *l, const struct hosts *h)
{
	if (l->hosts == h && str_eq(l->host, h->name)) {
		loop_defer(l->loop, &l->later, told);
		return;
	}
	gather(l, h);
	if (dane_has_a_say(l))
		dane_find(&l->dane_look, l->loop, l->arena, l->tls, h->name, ntohs(((const struct sockaddr_in *)&h->to)->sin_port),
		          &h->of_name, dane_came, l);
	else
		ask_sts(l);
}

void policy_look_stop(struct policy_look *l)
{
	if (l->loop == NULL)
		return;
	loop_undefer(&l->later);
	dane_stop(&l->dane_look);
	sts_stop(&l->sts_ask);
}
