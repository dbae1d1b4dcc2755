/* SPDX-License-Identifier: ISC */
/*
 * spf_terms: what each mechanism asks, and when it matches (RFC 7208 5).
 * Several hosts are asked at once: any match matches, a failure counts only
 * when nothing matched.  The loop's thread.
 */
#include <string.h>

#include "modules/spf/spf_inside.h"

/* ---- addresses ------------------------------------------------------------ */

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned bytes = bits / 8, rest = bits % 8;

	if (memcmp(a, b, bytes) != 0)
		return false;
	return rest == 0 || ((a[bytes] ^ b[bytes]) >> (8 - rest)) == 0;
}

static bool in_net4(const struct spf_check *c, struct in_addr net, unsigned bits)
{
	return c->v4 && same_bits((const uint8_t *)&c->ip4, (const uint8_t *)&net, bits);
}

static bool in_net6(const struct spf_check *c, const struct in6_addr *net, unsigned bits)
{
	return !c->v4 && same_bits(c->ip6.s6_addr, net->s6_addr, bits);
}

static enum dns_type address_type(const struct spf_check *c)
{
	return c->v4 ? DNS_A : DNS_AAAA;
}

static bool any_in_net(const struct spf_check *c, const struct dns_answer *a)
{
	const struct spf_parsed *t = &c->frame->term;

	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++)
		if (c->v4 ? in_net4(c, a->rr[i].a, t->bits4) : in_net6(c, &a->rr[i].aaaa, t->bits6))
			return true;
	return false;
}

/* ---- a, exists ------------------------------------------------------------ */

static void a_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct spf_check *c = ask->user;

	if (dns_failed(a->status))
		spf_error_dns(c, c->target, address_type(c), a->status);
	else if (spf_void(c, a->status))
		spf_term_matched(c, any_in_net(c, a));
}

/* An A record at any address will do, whatever the client's family (5.7). */
static void exists_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct spf_check *c = ask->user;

	if (dns_failed(a->status))
		spf_error_dns(c, c->target, DNS_A, a->status);
	else if (spf_void(c, a->status))
		spf_term_matched(c, a->status == DNS_FOUND);
}

/* ---- mx ------------------------------------------------------------------- */

static void cancel_batch(struct spf_check *c)
{
	for (size_t i = 0; i < c->batch.n; i++)
		dns_cancel(&c->batch.v[i]);
	c->batch.n = c->batch.out = 0;
}

static void mx_host_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct spf_check *c = ask->user;

	if (any_in_net(c, a)) {
		cancel_batch(c);
		spf_term_matched(c, true);
		return;
	}
	if (dns_failed(a->status)) {
		c->failure = a->status;
		c->failed_name = c->batch.names[ask - c->batch.v];
	}
	if (--c->batch.out > 0)
		return;
	c->batch.n = 0;
	if (c->failure != DNS_FOUND)
		spf_error_dns(c, c->failed_name, address_type(c), c->failure);
	else
		spf_term_matched(c, false);
}

static size_t hosts_in(const struct dns_answer *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++)
		n += a->rr[i].mx.host.n > 0;     /* a null MX names no host */
	return n;
}

static void ask_hosts(struct spf_check *c, const struct dns_answer *a, size_t n)
{
	size_t at = 0;

	if (!spf_batch_of(c, n)) {
		spf_error_dns(c, c->target, DNS_MX, DNS_SERVFAIL);
		return;
	}
	for (size_t i = 0; i < a->n; i++) {
		if (a->rr[i].mx.host.n == 0)
			continue;
		c->batch.names[at] = a->rr[i].mx.host;
		spf_ask(c, &c->batch.v[at++], a->rr[i].mx.host, address_type(c), mx_host_arrived);
	}
}

static void mx_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct spf_check *c = ask->user;
	size_t            n;

	if (dns_failed(a->status)) {
		spf_error_dns(c, c->target, DNS_MX, a->status);
		return;
	}
	if (!spf_void(c, a->status))
		return;
	n = a->status == DNS_FOUND ? hosts_in(a) : 0;
	if (n > c->q.limits.names)       /* RFC 7208 4.6.4 */
		spf_error(c, SPF_PERMERROR, "error: too many MX records",
		          arena_printf(c->arena, "\"%.*s\" in the record of %.*s leads to %zu mail hosts; "
		                       "%u are allowed.", STR_ARG(str_head(c->frame->term.text, 100)),
		                       STR_ARG(c->frame->domain), n, c->q.limits.names));
	else if (n == 0)
		spf_term_matched(c, false);
	else
		ask_hosts(c, a, n);
}

/* ---- ptr ------------------------------------------------------------------ */

static enum spf_step ptr_begin(struct spf_check *c, str name)
{
	if (!c->names.known) {
		spf_names_find(c, spf_run);      /* and begin again */
		return SPF_STEP_WAIT;
	}
	if (c->names.asked_void && !spf_void(c, DNS_NODATA))
		return SPF_STEP_OVER;
	return spf_names_match(c, name) ? SPF_STEP_MATCH : SPF_STEP_NO_MATCH;
}

/* ---- all of them ---------------------------------------------------------- */

static enum spf_step ask_for(struct spf_check *c, enum spf_kind kind, str name)
{
	if (kind == SPF_PTR)
		return ptr_begin(c, name);
	c->target = name;
	if (kind == SPF_INCLUDE)
		spf_fetch(c, name, false);
	else if (kind == SPF_A)
		spf_ask(c, &c->ask, name, address_type(c), a_arrived);
	else if (kind == SPF_MX)
		spf_ask(c, &c->ask, name, DNS_MX, mx_arrived);
	else
		spf_ask(c, &c->ask, name, DNS_A, exists_arrived);
	return SPF_STEP_WAIT;
}

/* Again after the names that %{p} or ptr need are known. */
enum spf_step spf_term_begin(struct spf_check *c)
{
	struct spf_frame        *f = c->frame;
	const struct spf_parsed *t = &f->term;
	str                      name;

	if (t->kind == SPF_ALL)
		return SPF_STEP_MATCH;
	if (t->kind == SPF_IP4)
		return in_net4(c, t->ip4, t->bits4) ? SPF_STEP_MATCH : SPF_STEP_NO_MATCH;
	if (t->kind == SPF_IP6)
		return in_net6(c, &t->ip6, t->bits6) ? SPF_STEP_MATCH : SPF_STEP_NO_MATCH;
	if (!f->counted && !spf_count(c))
		return SPF_STEP_OVER;
	f->counted = true;
	if (spf_unmatchable(c, t->spec))
		return SPF_STEP_NO_MATCH;
	if (spf_needs_names(c, t->spec)) {
		spf_names_find(c, spf_run);
		return SPF_STEP_WAIT;
	}
	name = spf_target(c, f, t->spec);
	if (c->scratch.spent) {
		spf_error_dns(c, name, DNS_TXT, DNS_SERVFAIL);
		return SPF_STEP_OVER;
	}
	return ask_for(c, t->kind, name);
}
