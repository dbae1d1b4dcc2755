/* SPDX-License-Identifier: ISC */
/*
 * Our own addresses on the block lists that the configuration names (RFC 5782).
 * A list is believed once its test points say what they must: 127.0.0.2 is on it,
 * 127.0.0.1 is not (RFC 5782 5).  Pure.
 */
#include "modules/dnsbl/dnsbl.h"
#include "smtpd/setup/doctor/checks.h"

static enum dnsbl_says says(const struct dnsbl_zone *z, const struct dns_answer *a)
{
	enum dnsbl_says worst = DNSBL_CLEAR;

	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++) {
		enum dnsbl_says one = dnsbl_answer(z, a->rr[i].a);

		worst = one == DNSBL_LISTED || worst == DNSBL_CLEAR ? one : worst;
	}
	return worst;
}

/* False: it says nothing that counts, or nothing yet. */
static bool passes(struct exam *e, const struct dnsbl_zone *z)
{
	const struct dnsbl_zone any = { .zone = z->zone };      /* every code counts for a test */
	const struct dns_answer *on = fact_dns(e, SAYS(e, "2.0.0.127.%.*s", STR_ARG(z->zone)), DNS_A);
	const struct dns_answer *off = fact_dns(e, SAYS(e, "1.0.0.127.%.*s", STR_ARG(z->zone)), DNS_A);
	str why = STR_NONE;

	if (on == NULL || off == NULL)
		return false;
	if (says(&any, off) == DNSBL_LISTED)
		why = STR("it lists 127.0.0.1, which no list may: perhaps it lists the whole world");
	else if (says(&any, on) == DNSBL_NEVER_COUNTS || says(&any, off) == DNSBL_NEVER_COUNTS)
		why = STR("it answers with an error: it may refuse the resolver that asks");
	else if (dns_failed(on->status) || dns_failed(off->status))
		why = SAYS(e, "it does not answer (%s)", dns_status_text(dns_failed(on->status) ? on->status : off->status));
	else if (says(&any, on) != DNSBL_LISTED)
		why = STR("its test entry 127.0.0.2 is not on it: it may have ended");
	if (why.n == 0)
		return true;
	exam_found(e, DOCTOR_WARNING, z->zone, SAYS(e, "the list does not pass its test: %.*s", STR_ARG(why)),
	           STR("see its operators' page, or take it out of verify { dnsbl }"));
	return false;
}

static void judge_address(struct exam *e, const struct dnsbl_zone *z, const struct sockaddr_storage *at, size_t *clear)
{
	struct arena *a = exam_arena(e);
	str name = dnsbl_question_ip(a, z, (const struct sockaddr *)at), reason;
	const struct dns_answer *on = name.n > 0 ? fact_dns(e, name, DNS_A) : NULL, *why = name.n > 0 ? fact_dns(e, name, DNS_TXT) : NULL;

	if (on == NULL || why == NULL)
		return;
	if (says(z, on) != DNSBL_LISTED) {
		*clear += says(z, on) == DNSBL_CLEAR && !dns_failed(on->status);
		return;
	}
	reason = why->status == DNS_FOUND ? why->rr[0].txt : STR("it does not say why");
	if (z->action == DNSBL_ACCEPT)
		exam_found(e, DOCTOR_OK, z->zone, SAYS(e, "%.*s is on this list of the good", STR_ARG(address_text(a, at))), STR_NONE);
	else
		exam_found(e, DOCTOR_FAULT, z->zone, SAYS(e, "%.*s is on the list: %.*s", STR_ARG(address_text(a, at)), STR_ARG(reason)),
		           STR("find what was sent (`postern log`, `postern account list`), stop it, then ask the list's operators to take it off"));
}

void check_blocklists(struct exam *e)
{
	const struct host_facts *h = exam_host(e);
	struct addresses all;

	if (h->zones == NULL || h->zones->n == 0) {
		exam_unknown(e, STR_NONE, STR("the configuration names no block list to ask"), STR_NONE);
		return;
	}
	if (!exam_own_addresses(e, &all))
		return;
	for (size_t i = 0; i < h->zones->n; i++) {
		const struct dnsbl_zone *z = h->zones->v[i];
		size_t clear = 0;

		if (z->type != DNSBL_IP || !passes(e, z))
			continue;
		for (size_t k = 0; k < all.n; k++)
			judge_address(e, z, &all.v[k], &clear);
		if (clear > 0 && e->waits == 0)
			exam_found(e, DOCTOR_OK, z->zone, STR("none of our addresses is on it"), STR_NONE);
	}
}
