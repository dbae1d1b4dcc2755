/* SPDX-License-Identifier: ISC */
/* A domain as who sends to it, or hears from it, sees it: MX, DNSSEC, SPF.  Pure. */
#include "smtpd/setup/doctor/checks.h"
#include "smtpd/setup/doctor/records.h"

/* ---- MX ------------------------------------------------------------------------------------------ */

static bool leads_here(struct exam *e, const struct addresses *all)
{
	const struct host_facts *h = exam_host(e);

	for (size_t i = 0; h != NULL && i < all->n; i++)
		for (size_t k = 0; k < h->addresses.n; k++)
			if (str_eq(h->addresses.v[k], address_text(exam_arena(e), &all->v[i])))
				return true;
	return false;
}

/* RFC 5321 5.1, RFC 2181 10.3: a name with addresses, no alias. */
static bool judge_mx_host(struct exam *e, str host, bool *here)
{
	struct addresses all;

	if (!exam_addresses(e, host, 25, &all))
		return true;
	*here = *here || leads_here(e, &all) || (e->own && exam_host(e) != NULL && str_eq_nocase(host, exam_host(e)->hostname));
	if (all.n == 0 && all.failed != NULL && exam_failed(e, host, all.failed))
		return false;
	if (all.n == 0)
		exam_found(e, DOCTOR_FAULT, host, STR("the MX host has no address"), STR("correct the MX record, or give the host an A record"));
	else if (all.first->cname)
		exam_found(e, DOCTOR_FAULT, host, STR("the MX host is an alias (CNAME), which no MX may name"),
		           SAYS(e, "name %.*s itself in the MX record", STR_ARG(all.first->canonical)));
	else
		return true;
	return false;
}

static void judge_implicit(struct exam *e, const struct dns_answer *mx)
{
	const struct dns_answer *a = fact_dns(e, e->subject, DNS_A);

	if (a == NULL)
		return;
	if (mx->status == DNS_NXDOMAIN)
		exam_found(e, DOCTOR_FAULT, STR_NONE, STR("there is no such domain in DNS"), STR("see how it is spelled; if it is yours, register it"));
	else if (e->own)
		exam_found(e, DOCTOR_FAULT, STR_NONE, STR("it has no MX record"), SAYS(e, "add the one that `postern dns %.*s` prints",
		           STR_ARG(e->subject)));
	else if (a->status == DNS_FOUND)
		exam_found(e, DOCTOR_NOTE, STR_NONE, STR("it has no MX record: mail goes to its own address"), STR_NONE);
	else
		exam_found(e, DOCTOR_FAULT, STR_NONE, STR("it has neither an MX record nor an address: it cannot get mail"),
		           STR("write to another address of theirs, or tell them"));
}

static bool is_null(const struct dns_answer *mx)
{
	return mx->n == 1 && mx->rr[0].mx.host.n == 0;
}

void check_mx(struct exam *e)
{
	const struct dns_answer *mx = fact_dns(e, e->subject, DNS_MX);
	bool good = true, here = false;

	if (mx == NULL || exam_failed(e, STR_NONE, mx))
		return;
	if (mx->status != DNS_FOUND) {
		judge_implicit(e, mx);
		return;
	}
	if (is_null(mx)) {
		exam_found(e, e->own ? DOCTOR_FAULT : DOCTOR_NOTE, STR_NONE, STR("it says that it takes no mail (a null MX, RFC 7505)"),
		           e->own ? SAYS(e, "put the MX record of `postern dns %.*s` in its place", STR_ARG(e->subject)) : STR_NONE);
		return;
	}
	for (size_t i = 0; i < mx->n; i++)
		good = judge_mx_host(e, mx->rr[i].mx.host, &here) && good;
	if (e->waits > 0)
		return;
	if (e->own && exam_host(e) != NULL && !here)
		exam_found(e, DOCTOR_FAULT, STR_NONE, SAYS(e, "its MX records name %.*s%s and not this host: mail is brought elsewhere",
		           STR_ARG(mx->rr[0].mx.host), mx->n > 1 ? " and others" : ""),
		           SAYS(e, "add the MX record that `postern dns %.*s` prints", STR_ARG(e->subject)));
	else if (good)
		exam_found(e, DOCTOR_OK, STR_NONE, SAYS(e, "%zu MX host%s%s", mx->n, mx->n == 1 ? "" : "s", here ? ", this one among them" : ""),
		           STR_NONE);
}

/* ---- DNSSEC ----------------------------------------------------------------------------------------- */

void check_dnssec(struct exam *e)
{
	const struct dns_answer *soa = fact_dns(e, e->subject, DNS_SOA), *mx = fact_dns(e, e->subject, DNS_MX);
	const struct servers_seen *s = exam_servers(e);
	const struct shown *keys;
	bool signed_alone = false;

	if (soa == NULL || mx == NULL || s == NULL || exam_failed(e, STR_NONE, mx))
		return;
	keys = servers_shown(s, e->subject, (enum dns_type)48);
	for (size_t i = 0; keys != NULL && keys->e == OK && i < keys->n; i++)
		signed_alone = signed_alone || keys->replies[i].n > 0;
	if (!e->doctor->validates)
		exam_unknown(e, STR_NONE, STR("nothing is validated here, so it cannot be seen"), STR("see the check `resolver`"));
	else if (mx->secure || soa->secure)
		exam_found(e, DOCTOR_OK, STR_NONE, STR("the zone is signed, and its signatures hold"), STR_NONE);
	else if (signed_alone)
		exam_found(e, DOCTOR_WARNING, STR_NONE, STR("the zone is signed, but the zone above does not say so: nobody can rely on it"),
		           STR("give the DS record of its key to the registrar"));
	else
		exam_found(e, DOCTOR_NOTE, STR_NONE, STR("the zone is not signed: others can be lied to about it, and DANE cannot be"),
		           e->own ? STR("switch DNSSEC on at the DNS provider and give the DS record to the registrar") : STR_NONE);
}

/* ---- SPF -------------------------------------------------------------------------------------------- */

static void judge_own_address(struct exam *e, const struct sockaddr_storage *at, const struct spf_outcome *o)
{
	str text = address_text(exam_arena(e), at);

	if (o->result == SPF_PASS)
		exam_found(e, DOCTOR_OK, text, STR("mail from here passes"), STR_NONE);
	else if (o->result == SPF_TEMPERROR)
		exam_unknown(e, text, o->reason, STR("try again later"));
	else
		exam_found(e, DOCTOR_FAULT, text, SAYS(e, "mail from here gets \"%s\"", spf_result_word(o->result)),
		           SAYS(e, "add mx, or ip%s:%.*s, to the record in front of all", at->ss_family == AF_INET6 ? "6" : "4", STR_ARG(text)));
}

/* With a smarthost it is the smarthost's addresses that count. */
static void judge_own_addresses(struct exam *e)
{
	const struct host_facts *h = exam_host(e);

	for (size_t i = 0; h != NULL && h->smarthost.n == 0 && i < h->addresses.n; i++) {
		struct sockaddr_storage at;
		const struct spf_outcome *o;

		if (!address_parse(h->addresses.v[i], 0, &at))
			continue;
		o = fact_spf(e, e->subject, (const struct sockaddr *)&at);
		if (o != NULL)
			judge_own_address(e, &at, o);
	}
}

void check_spf(struct exam *e)
{
	const struct spf_tree *t = fact_spf_tree(e, e->subject);
	static const enum doctor_verdict as[] = {
		[SPF_SAYS_NOTE] = DOCTOR_NOTE, [SPF_SAYS_WARNING] = DOCTOR_WARNING, [SPF_SAYS_FAULT] = DOCTOR_FAULT,
	};

	if (t == NULL)
		return;
	for (size_t i = 0; i < t->n_findings; i++) {
		const struct spf_finding *f = &t->findings[i];

		exam_found(e, as[f->severity], str_eq_nocase(f->domain, e->subject) ? STR_NONE : f->domain, f->text, f->todo);
	}
	if (t->incomplete && t->n_findings == 0)
		exam_unknown(e, STR_NONE, STR("DNS did not answer all questions about it"), STR("try again later"));
	if (t->root->state != SPF_NODE_RECORD)
		return;
	if (t->faults == 0)
		exam_found(e, DOCTOR_OK, STR_NONE, SAYS(e, "%u of %d look-ups, %u of %d in vain", t->lookups, SPF_TREE_LOOKUPS, t->voids,
		           SPF_TREE_VOIDS), STR_NONE);
	if (e->own)
		judge_own_addresses(e);
}
