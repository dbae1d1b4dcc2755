/* SPDX-License-Identifier: ISC */
/*
 * One function for each kind of record, in the order in which a person would
 * publish them: first what brings mail here, then what makes ours believed, then
 * what is good to have.
 */
#include "smtpd/setup/dns/dns_records.h"

#include <arpa/inet.h>
#include <string.h>

#include "modules/dkim/dkim.h"
#include "modules/dmarc/dmarc.h"
#include "smtpd/base/dns.h"
#include "smtpd/setup/keys/book.h"

struct making {
	const struct config     *config;
	const struct dns_wanted *wanted;
	struct arena            *arena;
	struct dns_records      *out;
	struct autoconfig        told;
	str                      domain;
};

/* ---- adding ------------------------------------------------------------------------------- */

static struct dns_record *add(struct making *m, str name, const char *type, str value, str note)
{
	struct dns_records *out = m->out;

	if (out->n == out->room) {
		size_t room = out->room > 0 ? 2 * out->room : 32;
		struct dns_record *v = ARENA_ARRAY(m->arena, struct dns_record, room);

		if (v == NULL)
			return NULL;
		if (out->n > 0)
			memcpy(v, out->v, out->n * sizeof(*v));
		out->v = v;
		out->room = room;
	}
	out->v[out->n] = (struct dns_record){ name, type, value, note, STR_NONE };
	return &out->v[out->n++];
}

/* In a zone that is not this one. */
static void add_elsewhere(struct making *m, str name, const char *type, str value, str note, str ask_of)
{
	struct dns_record *r = add(m, name, type, value, note);

	if (r != NULL)
		r->ask_of = ask_of;
}

static void add_todo(struct making *m, str sentence)
{
	struct strs *todo = &m->out->todo;
	str *v = ARENA_ARRAY(m->arena, str, todo->n + 1);

	if (v == NULL)
		return;
	if (todo->n > 0)
		memcpy(v, todo->v, todo->n * sizeof(*v));
	v[todo->n++] = sentence;
	todo->v = v;
}

static str under(struct making *m, const char *label)
{
	return arena_printf(m->arena, "%s.%.*s", label, STR_ARG(m->domain));
}

static bool is_within(str name, str domain)
{
	return str_eq_nocase(name, domain) ||
	       (name.n > domain.n && str_ends_nocase(name, domain) && name.p[name.n - domain.n - 1] == '.');
}

/* ---- the records ------------------------------------------------------------------------------ */

static void mx(struct making *m)
{
	add(m, m->domain, "MX", arena_printf(m->arena, "10 %.*s.", STR_ARG(m->config->hostname)),
	    STR("where mail for this domain is brought"));
}

/* The host's own name may lie in another zone. */
static void host(struct making *m)
{
	const struct strs *at = &m->wanted->addresses;
	str name = m->config->hostname;

	if (!is_within(name, m->domain))
		return;
	for (size_t i = 0; i < at->n; i++)
		add(m, name, str_holds(at->v[i], ':') ? "AAAA" : "A", at->v[i], STR("this server"));
	if (at->n == 0)
		add_todo(m, arena_printf(m->arena, "%.*s needs an A record with this server's public address, which no interface "
		                         "here has: look at your provider's page", STR_ARG(name)));
	if (!str_eq_nocase(name, m->domain))
		add(m, name, "TXT", STR("v=spf1 a -all"), STR("SPF of the name that this server says in HELO, for bounces"));
}

static str reverse_name(struct making *m, str address)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	const char *text = str_cstr(m->arena, address);

	if (text != NULL && inet_pton(AF_INET, text, &v4.sin_addr) == 1)
		return dns_reverse_name(m->arena, (const struct sockaddr *)&v4);
	if (text != NULL && inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
		return dns_reverse_name(m->arena, (const struct sockaddr *)&v6);
	return STR_NONE;
}

static void reverse(struct making *m)
{
	const struct strs *at = &m->wanted->addresses;

	for (size_t i = 0; i < at->n; i++) {
		str name = reverse_name(m, at->v[i]);

		if (name.n > 0)
			add_elsewhere(m, name, "PTR", arena_printf(m->arena, "%.*s.", STR_ARG(m->config->hostname)),
			              STR("large receivers refuse mail from addresses whose PTR does not name the host that sends"),
			              arena_printf(m->arena, "the provider of %.*s: \"reverse DNS\" on its pages", STR_ARG(at->v[i])));
	}
	if (at->n == 0)
		add_todo(m, arena_printf(m->arena, "Ask the provider of this server's public address for a PTR record to %.*s",
		                         STR_ARG(m->config->hostname)));
}

/* RFC 7672 3.1.1: DANE-EE, public key, SHA-256.  The name may lie in another zone. */
static void dane(struct making *m)
{
	const struct strs *keys = &m->wanted->tlsa;

	if (!is_within(m->config->hostname, m->domain))
		return;
	for (size_t i = 0; i < keys->n; i++)
		add(m, arena_printf(m->arena, "_25._tcp.%.*s", STR_ARG(m->config->hostname)), "TLSA",
		    arena_printf(m->arena, "3 1 1 %.*s", STR_ARG(keys->v[i])),
		    STR("DANE: only of use where the zone is signed (DNSSEC), else leave it out; renew the certificate with the same key, or "
		        "publish the next key's record beside this one a day before it is used"));
	if (keys->n == 0)
		add_todo(m, STR("No TLSA record: the certificate in tls {} cannot be read here; print this again as a user who may, or after "
		                "the first start"));
}

/* Who else sends for the domain is known to its owner alone; a smarthost's own
 * addresses are what receivers see. */
static void spf(struct making *m)
{
	const struct relay_conf *relay = &m->config->relay;

	if (relay->smarthost.via.n > 0) {
		add(m, m->domain, "TXT", STR("v=spf1 mx ~all"),
		    arena_printf(m->arena, "SPF; mail leaves by %.*s: add the include: that its operator names, then make ~all -all",
		                 STR_ARG(relay->smarthost.via)));
		return;
	}
	add(m, m->domain, "TXT", STR("v=spf1 mx -all"),
	    STR("SPF: this server and nobody else sends for the domain; name others before -all"));
}

static bool signs(const struct config *c, const struct key_file *k)
{
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		for (size_t s = 0; str_eq(d->name, k->domain) && s < d->dkim.n; s++)
			if (str_eq(((const struct dkim_section *)d->dkim.v[s])->key, k->path))
				return true;
	}
	return false;
}

static bool is_there(const struct making *m, str name)
{
	for (size_t i = 0; i < m->wanted->n_managed; i++)
		if (str_eq_nocase(m->wanted->managed[i].name, name))
			return true;
	return false;
}

static void dkim_managed(struct making *m)
{
	for (size_t i = 0; i < m->wanted->n_managed; i++) {
		const struct key_record *k = &m->wanted->managed[i];

		if (k->value.n > 0)
			add(m, k->name, "TXT", k->value, k->note);
		else
			add_todo(m, arena_printf(m->arena, "The TXT record %.*s may be removed: its key has served", STR_ARG(k->name)));
	}
}

static void dkim(struct making *m)
{
	const struct key_files *keys = m->wanted->keys;
	size_t before = m->out->n;

	dkim_managed(m);
	for (size_t i = 0; i < keys->n; i++) {
		const struct key_file *k = &keys->v[i];
		str record, name = arena_printf(m->arena, "%.*s._domainkey.%.*s", STR_ARG(k->selector), STR_ARG(m->domain));

		if (!str_eq(k->domain, m->domain) || is_there(m, name) || dkim_key_record(k->key, m->arena, &record) != OK)
			continue;
		add(m, name, "TXT", record,
		    signs(m->config, k) ? STR("DKIM: this key signs") : STR("DKIM: this key does not sign yet, no dkim section names it"));
	}
	if (m->out->n == before)
		add_todo(m, arena_printf(m->arena, "Nothing signs for %.*s: write keys {} into domain \"%.*s\" { } and run `postern key step %.*s`, "
		                         "or make a single key: `postern key generate %.*s s1`",
		                         STR_ARG(m->domain), STR_ARG(m->domain), STR_ARG(m->domain), STR_ARG(m->domain)));
}

/* ---- DMARC ------------------------------------------------------------------------------------ */

static const struct domain_section *section_of(const struct making *m)
{
	for (size_t i = 0; i < m->config->domains.n; i++)
		if (str_eq(((const struct domain_section *)m->config->domains.v[i])->name, m->domain))
			return m->config->domains.v[i];
	return NULL;
}

static void dmarc(struct making *m)
{
	const struct domain_section *d = section_of(m);

	add(m, under(m, "_dmarc"), "TXT", dns_dmarc_text(d, m->arena), d == NULL || d->dmarc.policy == DMARC_P_NONE
	    ? arena_printf(m->arena, "DMARC: asks for reports only; `postern dmarc plan %.*s` says when the next step is safe", STR_ARG(m->domain))
	    : STR("DMARC: what receivers do with mail that is not ours though it says so"));
}

static str host_of(str address)
{
	return str_skip(address, str_rfind(address, '@') + 1);
}

/* RFC 9990 4: who gets reports about another organization says that he wants them. */
static void report_consent(struct making *m, str about, str host, bool here)
{
	str name = arena_printf(m->arena, "%.*s._report._dmarc.%.*s", STR_ARG(about), STR_ARG(host));
	str note = arena_printf(m->arena, "allows the DMARC reports about %.*s to be sent to %.*s", STR_ARG(about), STR_ARG(host));

	if (is_within(host, about) || is_within(about, host))
		return;
	if (here)
		add(m, name, "TXT", STR("v=DMARC1"), note);
	else
		add_elsewhere(m, name, "TXT", STR("v=DMARC1"), note, arena_printf(m->arena, "whoever keeps the zone of %.*s", STR_ARG(host)));
}

static void reports(struct making *m)
{
	const struct domain_section *mine = section_of(m);

	for (size_t i = 0; mine != NULL && i < mine->dmarc.reports.n; i++)
		report_consent(m, m->domain, host_of(mine->dmarc.reports.v[i]), false);
	for (size_t i = 0; i < m->config->domains.n; i++) {
		const struct domain_section *d = m->config->domains.v[i];

		for (size_t k = 0; d != mine && k < d->dmarc.reports.n; k++)
			if (is_within(host_of(d->dmarc.reports.v[k]), m->domain))
				report_consent(m, d->name, host_of(d->dmarc.reports.v[k]), true);
	}
}

static void tls_reports(struct making *m)
{
	add(m, under(m, "_smtp._tls"), "TXT", arena_printf(m->arena, "v=TLSRPTv1; rua=mailto:postmaster@%.*s", STR_ARG(m->domain)),
	    STR("who sends here reports TLS that failed (RFC 8460)"));
}

static void web_name(struct making *m, const char *label, const char *why)
{
	add(m, under(m, label), "CNAME", arena_printf(m->arena, "%.*s.", STR_ARG(m->config->hostname)), str_of(why));
}

static void sts(struct making *m)
{
	if (m->told.sts == WEB_STS_OFF)
		return;
	if (!m->told.served) {
		add_todo(m, arena_printf(m->arena, "No MTA-STS: its policy must be served at https://mta-sts.%.*s/.well-known/mta-sts.txt; "
		                         "give web {} an address and it is", STR_ARG(m->domain)));
		return;
	}
	web_name(m, "mta-sts", "where the MTA-STS policy is fetched; the certificate needs this name");
	add(m, under(m, "_mta-sts"), "TXT", arena_printf(m->arena, "v=STSv1; id=%.*s", STR_ARG(autoconfig_policy_id(&m->told, m->arena))),
	    STR("MTA-STS: the id changes when the policy does, so print this again after changing web {}"));
}

static void srv(struct making *m, const char *service, const struct autoconfig_server *s, unsigned priority, const char *why)
{
	if (s->port != 0)
		add(m, under(m, service), "SRV", arena_printf(m->arena, "%u 1 %u %.*s.", priority, s->port, STR_ARG(s->host)),
		    str_of(why));
}

/* RFC 6186, and RFC 8314 5.1 for submissions. */
static void services(struct making *m)
{
	const struct autoconfig_server web = { m->config->hostname, 443 };

	srv(m, "_submissions._tcp", &m->told.submissions, 0, "where mail programs send, TLS from the first octet");
	srv(m, "_submission._tcp", &m->told.submission, 10, "where mail programs send, with STARTTLS");
	srv(m, "_imaps._tcp", &m->told.imap, 0, "where mail programs read; option imap in web {} names another server, or none");
	if (!m->told.served)
		return;
	web_name(m, "autoconfig", "where Thunderbird and others ask for settings; the certificate needs this name");
	web_name(m, "autodiscover", "where Outlook asks for settings; the certificate needs this name");
	srv(m, "_autodiscover._tcp", &web, 0, "the same, for a certificate without autodiscover's name");
}

enum err dns_records_make(const struct config *c, str domain, const struct dns_wanted *wanted, struct arena *a,
                          struct dns_records *out)
{
	static void (*const all[])(struct making *) = {
		mx, host, spf, dkim, dmarc, reports, tls_reports, sts, dane, services, reverse,
	};
	struct making m = { .config = c, .wanted = wanted, .arena = a, .out = out, .domain = domain };

	*out = (struct dns_records){ 0 };
	autoconfig_of(c, domain, a, &m.told);
	for (size_t i = 0; i < COUNT(all); i++)
		all[i](&m);
	return a->spent ? ERR_MEMORY : OK;
}
