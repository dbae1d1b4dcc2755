/* SPDX-License-Identifier: ISC */
/*
 * What the authoritative servers of a domain show, one by one: do they agree, do
 * they hold the records that the configuration calls for, and the DKIM keys
 * character by character.  Pure.
 */
#include <string.h>

#include "smtpd/setup/doctor/checks.h"
#include "smtpd/setup/doctor/records.h"

#define DNSKEY ((enum dns_type)48)

/* ---- the question ---------------------------------------------------------------------------- */

static bool has_wish(const struct shown_wish *v, size_t n, str name, enum dns_type type)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].type == type && str_eq_nocase(v[i].name, name))
			return true;
	return false;
}

/* Own domains: every record called for.  Others: what mail goes by. */
const struct servers_seen *exam_servers(struct exam *e)
{
	const struct doctor *d = e->doctor;
	struct shown_wish *v = ARENA_ARRAY(exam_arena(e), struct shown_wish, d->nwanted + 4);
	size_t n = 0;

	if (v == NULL)
		return NULL;
	v[n++] = (struct shown_wish){ .name = e->subject, .type = DNSKEY };
	v[n++] = (struct shown_wish){ .name = e->subject, .type = DNS_MX };
	v[n++] = (struct shown_wish){ .name = e->subject, .type = DNS_TXT };
	v[n++] = (struct shown_wish){ .name = SAYS(e, "_dmarc.%.*s", STR_ARG(e->subject)), .type = DNS_TXT };
	for (size_t i = 0; e->own && i < d->nwanted; i++) {
		const struct wanted *w = &d->wanted[i];

		if (str_eq(w->domain, e->subject) && is_same_or_below(w->name, e->subject) && !has_wish(v, n, w->name, record_type(w->type)))
			v[n++] = (struct shown_wish){ w->name, record_type(w->type), w->key ? w->value : STR_NONE };
	}
	return fact_servers(e, e->subject, v, n);
}

const struct shown *servers_shown(const struct servers_seen *s, str name, enum dns_type type)
{
	for (size_t i = 0; s->e == OK && i < s->n; i++)
		if (s->v[i].wish.type == type && str_eq_nocase(s->v[i].wish.name, name))
			return &s->v[i];
	return NULL;
}

/* A server's word: over TCP if that came, for it was never cut. */
static const struct direct_reply *word_of(const struct shown *s, size_t server)
{
	const struct direct_reply *udp = &s->replies[2 * server], *tcp = &s->replies[2 * server + 1];

	return tcp->status != DNS_TIMEOUT ? tcp : udp;
}

static str who(struct exam *e, const struct direct_reply *r)
{
	return SAYS(e, "%.*s (%.*s)", STR_ARG(r->server->name), STR_ARG(r->server->address));
}

/* ---- do they agree ------------------------------------------------------------------------------- */

static bool same_records(const struct direct_reply *a, const struct direct_reply *b)
{
	if (a->n != b->n || !str_eq_nocase(a->cname, b->cname))
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!str_eq(a->records[i], b->records[i]))
			return false;
	return true;
}

static bool is_answer(const struct direct_reply *r)
{
	return r->authoritative && !dns_failed(r->status);
}

static str shown_text(struct exam *e, const struct direct_reply *r)
{
	const struct strs all = { r->records, r->n };
	str text = words_joined(exam_arena(e), &all, " | ");

	if (r->cname.n > 0)
		return SAYS(e, "an alias of %.*s", STR_ARG(r->cname));
	if (r->n == 0)
		return STR("nothing");
	return text.n > 200 ? SAYS(e, "%.*s...", 200, text.p) : text;
}

static bool judge_each(struct exam *e, const struct servers_seen *s)
{
	const struct shown *soa = &s->v[0];
	bool good = true;

	for (size_t i = 0; i < s->zone.n; i++) {
		const struct direct_reply *udp = &soa->replies[2 * i], *tcp = &soa->replies[2 * i + 1], *r = word_of(soa, i);
		enum doctor_verdict bad = DOCTOR_OK;
		str seen = STR_NONE;

		if (r->status == DNS_TIMEOUT)
			bad = DOCTOR_WARNING, seen = SAYS(e, "it does not answer%s%.*s", r->why.n > 0 ? ": " : "", STR_ARG(r->why));
		else if (!is_answer(r) || r->n == 0)
			bad = DOCTOR_FAULT, seen = SAYS(e, "it does not serve %.*s (%s)", STR_ARG(s->zone.name), dns_status_text(r->status));
		else if (tcp->status == DNS_TIMEOUT)
			bad = DOCTOR_WARNING, seen = STR("it does not answer over TCP, which long records such as keys need");
		else if (udp->status == DNS_TIMEOUT && !udp->truncated)
			bad = DOCTOR_WARNING, seen = STR("it does not answer over UDP");
		if (bad == DOCTOR_OK)
			continue;
		exam_found(e, bad, who(e, r), seen, bad == DOCTOR_FAULT
		           ? STR("take it out of the NS records, here and at the registrar, or let it serve the zone")
		           : STR("have its operators look after it, or take it out of the NS records"));
		good = false;
	}
	return good;
}

static str serial_of(const struct direct_reply *r)
{
	str rest = r->n > 0 ? r->records[0] : STR_NONE, word = STR_NONE;

	for (int i = 0; i < 3 && rest.p != NULL; i++)
		str_cut(&rest, ' ', &word);
	return word;
}

/* The first two that differ.  NULL: all that answer agree. */
static const struct direct_reply *differs(const struct shown *s, size_t servers, const struct direct_reply **first)
{
	*first = NULL;
	for (size_t i = 0; s->e == OK && i < servers; i++) {
		const struct direct_reply *r = word_of(s, i);

		if (!is_answer(r))
			continue;
		if (*first == NULL)
			*first = r;
		else if (!same_records(*first, r))
			return r;
	}
	return NULL;
}

static bool judge_serials(struct exam *e, const struct servers_seen *s)
{
	const struct direct_reply *a, *b = differs(&s->v[0], s->zone.n, &a);

	if (b == NULL || str_eq(serial_of(a), serial_of(b)))
		return true;
	exam_found(e, DOCTOR_WARNING, STR_NONE, SAYS(e, "%.*s has serial %.*s, %.*s has %.*s: one lags behind", STR_ARG(who(e, a)),
	           STR_ARG(serial_of(a)), STR_ARG(who(e, b)), STR_ARG(serial_of(b))),
	           STR("wait for the zone transfer; if it stays so, look at the notify and transfer settings of the primary"));
	return false;
}

static bool judge_agreement(struct exam *e, const struct servers_seen *s)
{
	bool good = true;

	for (size_t i = 1; i < s->n; i++) {
		const struct shown_wish *w = &s->v[i].wish;
		const struct direct_reply *a, *b = differs(&s->v[i], s->zone.n, &a);

		if (b == NULL || w->type == DNSKEY)
			continue;
		exam_found(e, DOCTOR_FAULT, SAYS(e, "%.*s %s", STR_ARG(w->name), record_type_word(w->type)),
		           SAYS(e, "%.*s shows %.*s; %.*s shows %.*s", STR_ARG(who(e, a)), STR_ARG(shown_text(e, a)), STR_ARG(who(e, b)),
		                STR_ARG(shown_text(e, b))),
		           STR("wait for the zone transfer; if it stays so, correct the zone on the one that is wrong"));
		good = false;
	}
	return good;
}

static size_t names_of(const struct direct_zone *z)
{
	size_t n = 0;

	for (size_t i = 0; i < z->n; i++)
		n += i == 0 || !str_eq_nocase(z->servers[i].name, z->servers[i - 1].name);
	return n;
}

static bool judge_zone(struct exam *e, const struct direct_zone *z)
{
	for (size_t i = 0; i < z->nameless.n; i++)
		exam_found(e, DOCTOR_FAULT, z->nameless.v[i], STR("this name server has no address"),
		           STR("give it one, or take it out of the NS records, here and at the registrar"));
	if (names_of(z) + z->nameless.n < 2)
		exam_found(e, DOCTOR_WARNING, STR_NONE, STR("there is one name server alone: when it is out of reach, so is the domain"),
		           STR("add a second one (RFC 2182)"));
	return z->nameless.n == 0 && names_of(z) >= 2;
}

static bool no_zone(struct exam *e, const struct servers_seen *s)
{
	if (s->e == ERR_ABSENT)
		exam_found(e, DOCTOR_FAULT, STR_NONE, STR("the domain is not in DNS: nobody has delegated it"),
		           STR("register it, and name its servers at the registrar"));
	else if (s->e != OK || s->n == 0)
		exam_unknown(e, STR_NONE, SAYS(e, "its servers could not be found%s%.*s", s->why.n > 0 ? ": " : "", STR_ARG(s->why)),
		             STR("try again later"));
	return s->e != OK || s->n == 0;
}

void check_servers(struct exam *e)
{
	const struct servers_seen *s = exam_servers(e);
	bool good;

	if (s == NULL || no_zone(e, s))
		return;
	good = judge_zone(e, &s->zone);
	good = judge_each(e, s) && good;
	good = judge_serials(e, s) && good;
	good = judge_agreement(e, s) && good;
	if (good)
		exam_found(e, DOCTOR_OK, STR_NONE, SAYS(e, "%zu servers at %zu addresses agree in %zu record sets", names_of(&s->zone), s->zone.n,
		           s->n), STR_NONE);
}

/* ---- keys -------------------------------------------------------------------------------------------- */

static str to_publish(struct exam *e)
{
	return SAYS(e, "publish the record as `postern dns %.*s` prints it, character by character", STR_ARG(e->subject));
}

/* Without servers to ask: as the resolver sees it. */
static void judge_by_resolver(struct exam *e, const struct wanted *w)
{
	const struct dns_answer *a = fact_dns(e, w->name, DNS_TXT);

	if (a == NULL || exam_failed(e, w->name, a))
		return;
	if (a->status == DNS_FOUND && a->n == 1 && str_eq(a->rr[0].txt, w->value))
		exam_found(e, DOCTOR_OK, w->name, STR("DNS shows the key"), STR_NONE);
	else
		exam_found(e, w->signs ? DOCTOR_FAULT : DOCTOR_WARNING, w->name,
		           a->status != DNS_FOUND ? STR("DNS shows no key there") : a->n > 1 ? STR("DNS shows more than one record there")
		           : SAYS(e, "DNS shows another key: %.*s", STR_ARG(str_head(a->rr[0].txt, 120))), to_publish(e));
}

static void judge_key(struct exam *e, const struct servers_seen *s, const struct wanted *w)
{
	const struct shown *shown = servers_shown(s, w->name, DNS_TXT);
	enum doctor_verdict bad = w->signs ? DOCTOR_FAULT : DOCTOR_WARNING;

	if (shown == NULL || shown->look.sight == GATE_NOWHERE)
		judge_by_resolver(e, w);
	else if (shown->look.sight == GATE_SHOWN)
		exam_found(e, DOCTOR_OK, w->name, SAYS(e, "every server shows the key%s", w->signs ? ", and it signs" : ""), STR_NONE);
	else if (shown->look.sight == GATE_SILENT)
		exam_unknown(e, w->name, shown->look.said, STR("try again later"));
	else
		exam_found(e, bad, w->name, shown->look.said, to_publish(e));
}

void check_dkim(struct exam *e)
{
	const struct servers_seen *s = exam_servers(e);
	size_t signs = 0;

	for (size_t i = 0; s != NULL && i < e->doctor->nwanted; i++) {
		const struct wanted *w = &e->doctor->wanted[i];

		if (!w->key || !str_eq(w->domain, e->subject))
			continue;
		judge_key(e, s, w);
		signs += w->signs;
	}
	if (s != NULL && signs == 0)
		exam_found(e, DOCTOR_WARNING, STR_NONE, STR("no key signs its mail yet: it leaves unsigned"),
		           SAYS(e, "`postern key list %.*s` says what is missing", STR_ARG(e->subject)));
}
