/* SPDX-License-Identifier: ISC */
/*
 * What a domain promises about TLS to its MX hosts: MTA-STS (RFC 8461) and DANE
 * (RFC 7672).  Pure.
 */
#include "queue/deliver/sts_policy.h"
#include "smtpd/setup/autoconfig.h"
#include "smtpd/setup/doctor/checks.h"

#define HOSTS_LOOKED_AT 8

/* ---- MTA-STS --------------------------------------------------------------------------------------- */

static bool judge_hosts(struct exam *e, const struct sts_policy *p, const struct dns_answer *mx)
{
	bool good = true;

	for (size_t i = 0; mx->status == DNS_FOUND && i < mx->n; i++) {
		str host = mx->rr[i].mx.host;

		if (host.n == 0 || p->mode == STS_NONE || sts_mx_matches(p, host))
			continue;
		exam_found(e, p->mode == STS_ENFORCE ? DOCTOR_FAULT : DOCTOR_WARNING, host,
		           SAYS(e, "the policy does not name this MX host: who obeys it %s", p->mode == STS_ENFORCE ? "brings no mail there"
		           : "would bring no mail there"), STR("name it in the policy (web { sts-mx }), or take its MX record out"));
		good = false;
	}
	return good;
}

static bool same_hosts(const struct sts_policy *a, const struct sts_policy *b)
{
	for (size_t i = 0; i < a->mx.n; i++) {
		size_t k = 0;

		while (k < b->mx.n && !str_eq_nocase(a->mx.v[i], b->mx.v[k]))
			k++;
		if (k == b->mx.n)
			return false;
	}
	return a->mx.n == b->mx.n;
}

/* Our own: what is served must be what the configuration says, under its id. */
static bool judge_own(struct exam *e, const struct sts_policy *p, str id)
{
	const struct config *c = e->doctor->config;
	struct autoconfig told;
	struct sts_policy ours;
	str why;

	autoconfig_of(c, e->subject, exam_arena(e), &told);
	if (told.sts == WEB_STS_OFF || !sts_policy_parse(autoconfig_policy(&told, exam_arena(e)), exam_arena(e), &ours, &why))
		return true;
	if (ours.mode != p->mode || ours.max_age_s != p->max_age_s || !same_hosts(&ours, p)) {
		exam_found(e, DOCTOR_WARNING, STR_NONE, SAYS(e, "the policy that is served (mode %s, %llu s) is not the configuration's (mode %s, "
		           "%llu s)", sts_mode_text(p->mode), (unsigned long long)p->max_age_s, sts_mode_text(ours.mode),
		           (unsigned long long)ours.max_age_s),
		           SAYS(e, "let mta-sts.%.*s lead to this host, or make web {} say the same", STR_ARG(e->subject)));
		return false;
	}
	if (told.served && !str_eq(id, autoconfig_policy_id(&told, exam_arena(e)))) {
		exam_found(e, DOCTOR_WARNING, STR_NONE, STR("the record's id is not the policy's: who knows an older policy keeps it"),
		           SAYS(e, "publish the _mta-sts record as `postern dns %.*s` prints it", STR_ARG(e->subject)));
		return false;
	}
	return true;
}

static void judge_policy(struct exam *e, const struct sts_seen *s, const struct dns_answer *mx, str id)
{
	bool good = judge_hosts(e, &s->policy, mx);

	if (e->own && e->doctor->config != NULL)
		good = judge_own(e, &s->policy, id) && good;
	if (good)
		exam_found(e, DOCTOR_OK, STR_NONE, SAYS(e, "the policy was fetched: mode %s, for %.*s", sts_mode_text(s->policy.mode),
		           STR_ARG(days_text(exam_arena(e), (int64_t)s->policy.max_age_s))), STR_NONE);
}

static str record_id(const struct dns_answer *txt, size_t *n)
{
	str id = STR_NONE;

	*n = 0;
	for (size_t i = 0; txt->status == DNS_FOUND && i < txt->n; i++)
		*n += sts_record_parse(txt->rr[i].txt, &id) == STS_RECORD_GOOD;
	return id;
}

void check_mta_sts(struct exam *e)
{
	const struct dns_answer *txt = fact_dns(e, SAYS(e, "_mta-sts.%.*s", STR_ARG(e->subject)), DNS_TXT);
	const struct dns_answer *mx = fact_dns(e, e->subject, DNS_MX);
	const struct sts_seen *s;
	size_t n;
	str id;

	if (txt == NULL || mx == NULL || exam_failed(e, STR_NONE, txt))
		return;
	id = record_id(txt, &n);
	if (txt->status != DNS_FOUND) {
		exam_found(e, DOCTOR_NOTE, STR_NONE, STR("it has no MTA-STS policy: who sends there takes any certificate, or none"),
		           e->own ? STR("give web {} an address and publish the records of `postern dns`") : STR_NONE);
		return;
	}
	s = fact_sts(e, e->subject);
	if (s == NULL)
		return;
	if (s->fault.n > 0)
		exam_found(e, DOCTOR_FAULT, STR_NONE, SAYS(e, "a policy is announced and cannot be had: %.*s", STR_ARG(s->why)),
		           SAYS(e, "see that https://mta-sts.%.*s/.well-known/mta-sts.txt can be fetched with a good certificate", STR_ARG(e->subject)));
	else if (n != 1 || s->policy.id.n == 0)
		exam_found(e, DOCTOR_FAULT, STR_NONE, STR("the record at _mta-sts is none, or not alone"), STR("leave one: v=STSv1; id=..."));
	else
		judge_policy(e, s, mx, id);
}

/* ---- DANE ------------------------------------------------------------------------------------------------ */

static int digit(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

static bool is_hash(str data, str hex)
{
	if (hex.n != 2 * data.n)
		return false;
	for (size_t i = 0; i < data.n; i++)
		if ((unsigned char)data.p[i] != (digit(hex.p[2 * i]) << 4 | digit(hex.p[2 * i + 1])))
			return false;
	return true;
}

/* Of our certificate's file the key's digest is known: "3 1 1", and "2 1 1" of its chain. */
static enum { FITS, FITS_NOT, FITS_UNKNOWN } fits_file(const struct host_cert *c, const struct dns_rr *rr)
{
	if (rr->tlsa.selector != 1 || rr->tlsa.matching != 1 || (rr->tlsa.usage != 3 && rr->tlsa.usage != 2))
		return FITS_UNKNOWN;
	for (size_t i = rr->tlsa.usage == 3 ? 0 : 1; i < c->n && (rr->tlsa.usage == 2 || i == 0); i++)
		if (is_hash(rr->tlsa.data, c->chain[i].spki_sha256))
			return FITS;
	return FITS_NOT;
}

static void judge_own_host(struct exam *e, str host, const struct dns_answer *tlsa)
{
	const struct host_facts *h = exam_host(e);
	bool unknown = false;

	for (size_t i = 0; i < tlsa->n && h->ncerts > 0; i++)
		switch (fits_file(&h->certs[0], &tlsa->rr[i])) {
		case FITS:
			exam_found(e, DOCTOR_OK, host, STR("a TLSA record fits the certificate"), STR_NONE);
			return;
		case FITS_UNKNOWN:
			unknown = true;
			break;
		case FITS_NOT:
			break;
		}
	if (unknown || h->ncerts == 0)
		exam_unknown(e, host, STR("its TLSA records are of a kind that is not compared with a file"),
		             SAYS(e, "`postern deliver-test %.*s` from another host shows whether they fit", STR_ARG(e->subject)));
	else
		exam_found(e, DOCTOR_FAULT, host, STR("no TLSA record fits the certificate: who obeys DANE brings no mail"),
		           SAYS(e, "publish the TLSA record that `postern dns %.*s` prints, before a new key is used", STR_ARG(e->subject)));
}

/* Somebody else's: only who talks to it can tell. */
static void judge_other_host(struct exam *e, str host, const struct dns_answer *tlsa, const struct addresses *at)
{
	struct tls_tlsa *v = ARENA_ARRAY(exam_arena(e), struct tls_tlsa, tlsa->n + 1);
	struct talk_wish wish = { .to = at->v[0], .n = address_length(&at->v[0]), .name = host, .tlsa = v };
	const struct talk *t;

	if (!e->doctor->outside) {
		exam_found(e, DOCTOR_OK, host, STR("DANE: it has TLSA records; whether its certificate fits them was not tried"), STR_NONE);
		return;
	}
	for (size_t i = 0; v != NULL && i < tlsa->n; i++) {
		v[wish.ntlsa] = (struct tls_tlsa){ tlsa->rr[i].tlsa.usage, tlsa->rr[i].tlsa.selector, tlsa->rr[i].tlsa.matching,
			                           tlsa->rr[i].tlsa.data };
		wish.ntlsa += tls_tlsa_usable(e->doctor->tls, &v[wish.ntlsa]);
	}
	t = fact_talk(e, &wish);
	if (t == NULL)
		return;
	if (!t->connected)
		exam_unknown(e, host, SAYS(e, "it cannot be reached: %.*s", STR_ARG(t->said)), STR("try again later"));
	else if (t->tls.by_dane)
		exam_found(e, DOCTOR_OK, host, STR("DANE: a TLSA record fits its certificate"), STR_NONE);
	else
		exam_found(e, DOCTOR_FAULT, host, STR("no TLSA record fits its certificate: mail to it waits"),
		           STR("tell its postmaster; relay { policy } can make an exception meanwhile"));
}

/* RFC 7672 2.2.3: with DNSSEC down to the host, or not at all; 2.1: a question that
 * fails stops the mail. */
static void judge_host(struct exam *e, str host, bool *dane)
{
	const struct dns_answer *tlsa = fact_dns(e, SAYS(e, "_25._tcp.%.*s", STR_ARG(host)), DNS_TLSA);
	struct addresses at;

	if (!exam_addresses(e, host, 25, &at) || tlsa == NULL || at.n == 0)
		return;
	if (at.secure && dns_failed(tlsa->status))
		exam_found(e, DOCTOR_FAULT, host, SAYS(e, "the question for its TLSA records fails (%s): who obeys DANE brings no mail",
		           dns_status_text(tlsa->status)), STR("let the name servers answer for _tcp names, with NXDOMAIN if there are none"));
	else if (tlsa->status == DNS_FOUND && !(at.secure && tlsa->secure))
		exam_found(e, DOCTOR_WARNING, host, STR("it has TLSA records, but DNSSEC does not reach them: nobody looks at them"),
		           STR("sign the zone of the host and give its DS record to the registrar"));
	else if (tlsa->status == DNS_FOUND && e->own && exam_host(e) != NULL && str_eq_nocase(host, exam_host(e)->hostname))
		judge_own_host(e, host, tlsa);
	else if (tlsa->status == DNS_FOUND)
		judge_other_host(e, host, tlsa, &at);
	else
		return;
	*dane = true;
}

void check_tlsa(struct exam *e)
{
	const struct dns_answer *mx = fact_dns(e, e->subject, DNS_MX);
	bool dane = false;

	if (mx == NULL || mx->status != DNS_FOUND)
		return;
	if (!e->doctor->validates) {
		exam_unknown(e, STR_NONE, STR("nothing is validated here, so DANE cannot be looked at"), STR("see the check `resolver`"));
		return;
	}
	for (size_t i = 0; i < mx->n && i < HOSTS_LOOKED_AT; i++)
		if (mx->rr[i].mx.host.n > 0)
			judge_host(e, mx->rr[i].mx.host, &dane);
	if (!dane && e->waits == 0)
		exam_found(e, DOCTOR_NOTE, STR_NONE, STR("no MX host has TLSA records: DANE does not protect mail on its way there"),
		           e->own && mx->secure ? STR("the zone is signed: publish the TLSA record that `postern dns` prints") : STR_NONE);
}
