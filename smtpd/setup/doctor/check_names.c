/* SPDX-License-Identifier: ISC */
/*
 * The resolver, and this host's name: name to address and back again, as who
 * receives our mail looks at it (RFC 8601 iprev, RFC 5321 4.1.4).  Pure.
 */
#include "smtpd/setup/doctor/checks.h"

/* ---- resolver ------------------------------------------------------------------------------ */

/* A top-level domain: nearly all are signed, so that a validating resolver says so
 * of one; the root is, whatever else. */
static str top_level(str domain)
{
	return str_skip(domain, str_rfind(domain, '.') + 1);
}

static void judge_validation(struct exam *e, const struct dns_answer *top)
{
	const struct host_facts *h = exam_host(e);
	const struct dns_answer *ours = fact_dns(e, e->doctor->domains.n > 0 ? e->doctor->domains.v[0] : e->subject, DNS_SOA);

	if (h->resolver.anchor.n == 0) {
		exam_found(e, DOCTOR_WARNING, STR_NONE, SAYS(e, "nothing is validated: %.*s%s", STR_ARG(h->resolver.anchor_wanted),
		           h->resolver.anchor_wanted.n > 0 ? " is not there" : "trust-anchor of resolver {} is empty"),
		           STR("install dns-root-data, or name a file with resolver's trust-anchor: without it DANE protects nothing"));
		return;
	}
	if (ours == NULL)
		return;
	if (top->secure || ours->secure)
		exam_found(e, DOCTOR_OK, STR_NONE, STR("answers are validated"), STR_NONE);
	else if (dns_failed(top->status))
		exam_found(e, DOCTOR_FAULT, STR_NONE, SAYS(e, "the resolver cannot say what %.*s is (%s%s%.*s)", STR_ARG(top_level(e->subject)),
		           dns_status_text(top->status), top->why.n > 0 ? ": " : "", STR_ARG(top->why)),
		           STR("see that this host may ask DNS (UDP and TCP, port 53) and that its clock is right"));
	else
		exam_found(e, DOCTOR_WARNING, STR_NONE, SAYS(e, "no answer was validated, not even one about %.*s",
		           STR_ARG(top_level(e->subject))),
		           STR("ask a forwarder that passes DNSSEC on, or take forward out of resolver {}: DANE protects nothing until then"));
}

void check_resolver(struct exam *e)
{
	const struct host_facts *h = exam_host(e);
	const struct dns_answer *top = fact_dns(e, top_level(e->subject), DNS_NS);

	if (top == NULL)
		return;
	if (h->resolver.public_ones.n > 0)
		exam_found(e, DOCTOR_WARNING, STR_NONE, SAYS(e, "forward names a resolver that all the world uses: %.*s",
		           STR_ARG(words_joined(exam_arena(e), &h->resolver.public_ones, ", "))),
		           STR("take forward out of resolver {}, or name a resolver of your own: block lists refuse to answer those"));
	judge_validation(e, top);
}

/* ---- hostname ---------------------------------------------------------------------------------- */

static bool is_ours(const struct host_facts *h, str address)
{
	for (size_t i = 0; i < h->interfaces.n; i++)
		if (str_eq(h->interfaces.v[i], address))
			return true;
	for (size_t i = 0; i < h->addresses.n; i++)
		if (str_eq(h->addresses.v[i], address))
			return true;
	return false;
}

/* An address that no interface has may be that of a NAT: then none has a public one. */
static void judge_name(struct exam *e, const struct addresses *all)
{
	const struct host_facts *h = exam_host(e);
	bool behind_nat = h->addresses.n == 0;

	for (size_t i = 0; i < all->n; i++) {
		str at = address_text(exam_arena(e), &all->v[i]);

		if (is_ours(h, at))
			exam_found(e, DOCTOR_OK, at, STR("the name leads here"), STR_NONE);
		else if (behind_nat)
			exam_found(e, DOCTOR_NOTE, at, STR("no interface of this host has a public address: it is behind a NAT, and only somebody "
			           "outside can see whether this address leads here"),
			           SAYS(e, "ask from another network: `openssl s_client -starttls smtp -connect %.*s:25`", STR_ARG(e->subject)));
		else
			exam_found(e, DOCTOR_FAULT, at, STR("the name leads to an address that this host does not have"),
			           STR("correct the record, or set hostname to this host's name; if a NAT passes the connections on, name "
			               "relay's source"));
	}
	for (size_t i = 0; i < h->addresses.n; i++)
		if (!addresses_have(exam_arena(e), all, h->addresses.v[i]))
			exam_found(e, DOCTOR_WARNING, h->addresses.v[i], STR("mail may leave from this address of ours, and the name does not lead to it"),
			           SAYS(e, "add it to %.*s in DNS, or say with relay's source from which address mail leaves", STR_ARG(e->subject)));
}

void check_hostname(struct exam *e)
{
	struct addresses all;

	if (!exam_addresses(e, e->subject, 25, &all))
		return;
	if (all.n > 0)
		judge_name(e, &all);
	else if (all.failed == NULL || !exam_failed(e, STR_NONE, all.failed))
		exam_found(e, DOCTOR_FAULT, STR_NONE, STR("the host name has no address in DNS"),
		           STR("add the A (and AAAA) record that `postern dns` prints: mail with this name in HELO is refused by many"));
}

/* ---- reverse ------------------------------------------------------------------------------------- */

static bool leads_back(struct exam *e, str name, const struct sockaddr_storage *at, bool *known)
{
	struct addresses back;

	*known = exam_addresses(e, name, 0, &back);
	return *known && addresses_have(exam_arena(e), &back, address_text(exam_arena(e), at));
}

static void judge_reverse(struct exam *e, const struct sockaddr_storage *at, const struct dns_answer *ptr)
{
	str text = address_text(exam_arena(e), at), name = ptr->status == DNS_FOUND ? ptr->rr[0].name : STR_NONE;
	str ask = SAYS(e, "ask the provider of %.*s for a PTR record to %.*s", STR_ARG(text), STR_ARG(e->subject));
	bool known = true;

	for (size_t i = 0; ptr->status == DNS_FOUND && i < ptr->n; i++)
		if (str_eq_nocase(ptr->rr[i].name, e->subject))
			name = ptr->rr[i].name;
	if (exam_failed(e, text, ptr))
		return;
	if (name.n == 0)
		exam_found(e, DOCTOR_FAULT, text, STR("the address has no name (no PTR record): large receivers refuse its mail"), ask);
	else if (!leads_back(e, name, at, &known) && known)
		exam_found(e, DOCTOR_FAULT, text, SAYS(e, "its name %.*s does not lead back to it: it counts as none", STR_ARG(name)),
		           str_eq_nocase(name, e->subject) ? SAYS(e, "add the address to %.*s in DNS", STR_ARG(e->subject)) : ask);
	else if (!str_eq_nocase(name, e->subject))
		exam_found(e, DOCTOR_WARNING, text, SAYS(e, "its name is %.*s, and this server says %.*s in HELO", STR_ARG(name),
		           STR_ARG(e->subject)), ask);
	else
		exam_found(e, DOCTOR_OK, text, SAYS(e, "its name is %.*s, both ways", STR_ARG(name)), STR_NONE);
}

void check_reverse(struct exam *e)
{
	struct addresses all;

	if (!exam_own_addresses(e, &all))
		return;
	for (size_t i = 0; i < all.n; i++) {
		const struct dns_answer *ptr = fact_reverse(e, (const struct sockaddr *)&all.v[i]);

		if (ptr != NULL)
			judge_reverse(e, &all.v[i], ptr);
	}
	if (all.n == 0 && e->waits == 0)
		exam_unknown(e, STR_NONE, STR("no public address of this host is known"), STR("give the host name an address first"));
}
