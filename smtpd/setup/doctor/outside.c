/* SPDX-License-Identifier: ISC */
/*
 * What can only be seen by asking somebody else.  Without --outside that is the
 * configured smarthost and nobody more.  With it, and only then:
 *
 *   outgoing   connects to port 25 of the MX hosts of one domain, doctor {}'s
 *              outside-domain, hears the greeting, says EHLO, STARTTLS and QUIT
 *   arrival    the same with the MX hosts of a domain that is somebody else's
 *   asker      asks for one name whose answer is the address of who asked, doctor
 *              {}'s outside-name: shows which resolver the world sees
 */
#include "smtpd/setup/doctor/checks.h"

#define MX_TRIED 2

/* ---- port 25 outward -------------------------------------------------------------------------- */

static bool judge_talk(struct exam *e, str about, const struct talk *t, bool smarthost)
{
	if (t->connected) {
		exam_found(e, DOCTOR_OK, about, smarthost ? STR("the smarthost answers") : STR("port 25 there can be reached from here"),
		           STR_NONE);
		return true;
	}
	exam_found(e, DOCTOR_FAULT, about, SAYS(e, "%s cannot be reached: %.*s", smarthost ? "the smarthost" : "port 25 of that mail server",
	           STR_ARG(t->said)), smarthost ? STR("look at relay's smarthost, and whether this host may connect there")
	           : STR("ask the provider to open port 25 outward, or send by a smarthost (relay { smarthost })"));
	return false;
}

static void talk_to(struct exam *e, str host, uint16_t port, bool smarthost)
{
	struct addresses all = { .n = 0 };
	struct talk_wish wish = { .name = host };
	const struct talk *t;

	if (address_parse(host, port, &all.v[0]))
		all.n = 1;
	else if (!exam_addresses(e, host, port, &all))
		return;
	if (all.n == 0) {
		exam_found(e, DOCTOR_FAULT, host, STR("it has no address in DNS"), smarthost ? STR("look at relay's smarthost") : STR("try another domain"));
		return;
	}
	wish.to = all.v[0];
	wish.n = address_length(&all.v[0]);
	wish.implicit = smarthost && port == 465;
	t = fact_talk(e, &wish);
	if (t != NULL)
		judge_talk(e, host, t, smarthost);
}

/* The best MX hosts of a domain, or itself. */
static void talk_to_domain(struct exam *e, str domain, uint16_t port)
{
	const struct dns_answer *mx = fact_dns(e, domain, DNS_MX);

	if (mx == NULL || exam_failed(e, domain, mx))
		return;
	if (mx->status != DNS_FOUND)
		talk_to(e, domain, port, false);
	for (size_t i = 0; mx->status == DNS_FOUND && i < mx->n && i < MX_TRIED; i++)
		if (mx->rr[i].mx.host.n > 0)
			talk_to(e, mx->rr[i].mx.host, port, false);
}

void check_outgoing(struct exam *e)
{
	const struct host_facts *h = exam_host(e);
	struct endpoint via;

	if (h->smarthost.n > 0 && endpoint_parse(h->smarthost, 587, &via) && !via.is_unix)
		talk_to(e, via.host, via.port, true);
	else if (e->doctor->outside)
		talk_to_domain(e, h->outside, (uint16_t)h->mx_port);
	else
		exam_unknown(e, STR_NONE, STR("whether this host may connect to port 25 of others was not tried"),
		             SAYS(e, "`postern doctor --outside` tries it with %.*s", STR_ARG(h->outside)));
}

/* Of a domain that is not ours; nothing is said when nobody may be asked. */
void check_arrival(struct exam *e)
{
	if (!e->own && e->doctor->outside)
		talk_to_domain(e, e->subject, (uint16_t)(e->doctor->config != NULL ? e->doctor->config->relay.port : 25));
}

/* ---- whom the world sees asking ----------------------------------------------------------------------- */

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

/* The answer is an address record, or a text that is an address. */
static str asker_in(struct exam *e, const struct dns_answer *a, const struct dns_answer *txt)
{
	struct sockaddr_storage at;

	for (size_t i = 0; txt->status == DNS_FOUND && i < txt->n; i++)
		if (address_parse(txt->rr[i].txt, 0, &at))
			return txt->rr[i].txt;
	if (a->status != DNS_FOUND)
		return STR_NONE;
	at = (struct sockaddr_storage){ 0 };
	*(struct sockaddr_in *)&at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = a->rr[0].a };
	return address_text(exam_arena(e), &at);
}

void check_asker(struct exam *e)
{
	const struct host_facts *h = exam_host(e);
	const struct dns_answer *a, *txt;
	str asker;

	if (!e->doctor->outside) {
		exam_unknown(e, STR_NONE, STR("which address asks DNS for us was not looked at"),
		             SAYS(e, "`postern doctor --outside` asks %.*s", STR_ARG(h->whoami)));
		return;
	}
	a = fact_dns(e, h->whoami, DNS_A);
	txt = fact_dns(e, h->whoami, DNS_TXT);
	if (a == NULL || txt == NULL)
		return;
	asker = asker_in(e, a, txt);
	if (asker.n == 0)
		exam_unknown(e, h->whoami, STR("it does not say who asked"), STR("name another one with doctor's outside-name"));
	else if (host_public_resolver(asker) != NULL)
		exam_found(e, DOCTOR_WARNING, asker, SAYS(e, "the resolver that asks for us is %s's", host_public_resolver(asker)),
		           STR("take forward out of resolver {}: block lists refuse to answer public resolvers"));
	else if (is_ours(h, asker))
		exam_found(e, DOCTOR_OK, asker, STR("this host asks DNS itself"), STR_NONE);
	else
		exam_found(e, DOCTOR_NOTE, asker, STR("another address asks DNS for us: a NAT's, or a forwarder's; block lists count its questions"),
		           STR_NONE);
}
