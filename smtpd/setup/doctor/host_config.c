/* SPDX-License-Identifier: ISC */
/*
 * What this host's configuration leads to: certificates, listeners, accounts,
 * devices, the resolver, block lists, and whether a stranger could relay.
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "modules/dnsbl/dnsbl.h"
#include "smtpd/base/conn.h"
#include "smtpd/setup/doctor/host_inside.h"
#include "smtpd/setup/generation.h"

#define PEM_MOST ((size_t)256 << 10)

/* ---- resolvers ------------------------------------------------------------------------- */

static const struct { const char *address, *whose; } public_resolvers[] = {
	{ "8.8.8.8", "Google" }, { "8.8.4.4", "Google" }, { "2001:4860:4860::8888", "Google" }, { "2001:4860:4860::8844", "Google" },
	{ "1.1.1.1", "Cloudflare" }, { "1.0.0.1", "Cloudflare" }, { "2606:4700:4700::1111", "Cloudflare" },
	{ "2606:4700:4700::1001", "Cloudflare" }, { "9.9.9.9", "Quad9" }, { "9.9.9.10", "Quad9" }, { "149.112.112.112", "Quad9" },
	{ "2620:fe::fe", "Quad9" }, { "2620:fe::9", "Quad9" }, { "208.67.222.222", "OpenDNS" }, { "208.67.220.220", "OpenDNS" },
	{ "2620:119:35::35", "OpenDNS" }, { "2620:119:53::53", "OpenDNS" }, { "94.140.14.14", "AdGuard" },
	{ "94.140.15.15", "AdGuard" }, { "64.6.64.6", "Verisign" }, { "64.6.65.6", "Verisign" }, { "4.2.2.1", "Level3" },
	{ "4.2.2.2", "Level3" }, { "77.88.8.8", "Yandex" }, { "185.228.168.9", "CleanBrowsing" }, { "76.76.2.0", "Control D" },
};

const char *host_public_resolver(str endpoint)
{
	struct endpoint e;

	if (!endpoint_parse(endpoint, 53, &e) || e.is_unix || e.is_name)
		return NULL;
	for (size_t i = 0; i < COUNT(public_resolvers); i++)
		if (strcmp(addr_text((struct sockaddr *)&e.at).s, public_resolvers[i].address) == 0)
			return public_resolvers[i].whose;
	return NULL;
}

static void see_resolver(const struct config *c, struct arena *a, struct host_facts *h)
{
	const struct strs *forward = &c->resolver.forward;

	h->resolver.anchor = config_trust_anchor(c);
	h->resolver.anchor_wanted = c->resolver.trust_anchor;
	h->resolver.forward = *forward;
	h->resolver.public_ones.v = ARENA_ARRAY(a, str, forward->n + 1);
	for (size_t i = 0; h->resolver.public_ones.v != NULL && i < forward->n; i++) {
		const char *whose = host_public_resolver(forward->v[i]);

		if (whose != NULL)
			h->resolver.public_ones.v[h->resolver.public_ones.n++] = arena_printf(a, "%.*s (%s)", STR_ARG(forward->v[i]), whose);
	}
}

/* ---- certificates ------------------------------------------------------------------------- */

static void see_certificates(const struct config *c, conf_open *open_file, struct arena *a, struct host_facts *h)
{
	h->self_signed = c->self_signed;
	h->minimum_13 = c->tls.minimum == 1;
	h->certs = ARENA_ARRAY(a, struct host_cert, c->tls.certificate.n + 1);
	for (size_t i = 0; h->certs != NULL && i < c->tls.certificate.n; i++) {
		struct host_cert *cert = &h->certs[h->ncerts++];
		str pem;

		cert->file = c->tls.certificate.v[i];
		if (file_read(open_file, cert->file, PEM_MOST, a, &pem, &cert->why) != OK)
			continue;
		cert->n = tls_chain_read(pem, a, cert->chain, COUNT(cert->chain));
		cert->why = cert->n > 0 ? STR_NONE : arena_printf(a, "%.*s holds no certificate", STR_ARG(cert->file));
	}
}

/* ---- listeners ------------------------------------------------------------------------------ */

static bool is_any(const struct sockaddr_storage *s)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)s;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)s;

	return s->ss_family == AF_INET ? v4->sin_addr.s_addr == 0 : memcmp(&v6->sin6_addr, &in6addr_any, sizeof(in6addr_any)) == 0;
}

static void see_listeners(const struct config *c, struct arena *a, struct host_facts *h)
{
	size_t n = 0;

	for (size_t i = 0; i < c->listeners.n; i++)
		n += ((const struct listener_conf *)c->listeners.v[i])->address.n;
	h->ports = ARENA_ARRAY(a, struct host_port, n + 1);
	for (size_t i = 0; h->ports != NULL && i < c->listeners.n; i++) {
		const struct listener_conf *l = c->listeners.v[i];

		for (size_t k = 0; k < l->address.n; k++) {
			struct endpoint e;

			if (!endpoint_parse(l->address.v[k], 0, &e) || e.is_unix || e.is_name || e.port == 0)
				continue;
			h->ports[h->nports++] = (struct host_port){
				.listener = l->head.title, .submission = l->role == ROLE_SUBMISSION, .implicit = l->tls == TLS_IMPLICIT,
				.any = is_any(&e.at), .family = e.at.ss_family, .port = e.port, .at = e.at, .at_n = e.n,
			};
		}
	}
}

/* ---- accounts, devices, relaying ---------------------------------------------------------------- */

static void see_accounts(const struct config *c, conf_open *open_file, struct arena *a, struct host_facts *h, struct strs *accounts)
{
	str file = STR_NONE, why = STR_NONE;

	if (accounts_check(&c->auth, open_file, a, &file, &why) != OK ||
	    accounts_named(&c->auth, open_file, a, accounts, &why) != OK)
		h->accounts.why = why.n > 0 ? why : STR("the accounts could not be read");
	h->accounts.n = accounts->n;
}

static str joined(struct arena *a, const struct strs *list)
{
	str out = STR_NONE;

	for (size_t i = 0; i < list->n; i++)
		out = arena_printf(a, "%.*s%s%.*s", STR_ARG(out), i > 0 ? ", " : "", STR_ARG(list->v[i]));
	return out;
}

static void see_devices(const struct config *c, struct arena *a, struct host_facts *h)
{
	h->devices.v = ARENA_ARRAY(a, str, c->devices.n + 1);
	for (size_t i = 0; h->devices.v != NULL && i < c->devices.n; i++) {
		const struct device_conf *d = c->devices.v[i];

		if (d->to == DEVICE_ANY)
			h->devices.v[h->devices.n++] = arena_printf(a, "\"%.*s\" (%.*s) as %.*s", STR_ARG(d->head.title),
			                                            STR_ARG(joined(a, &d->address)), STR_ARG(d->as));
	}
}

struct through { struct arena *arena; str first; };

static void trick_seen(void *arg, const struct relay_trick *t)
{
	struct through *f = arg;

	if (t->let_through && f->first.n == 0)
		f->first = arena_printf(f->arena, "%s: RCPT TO:%.*s leads to %.*s", t->name, STR_ARG(t->rcpt), STR_ARG(t->leads_to));
}

static void try_relaying(struct host_facts *h, const struct generation *g, struct arena *a)
{
	struct through f = { .arena = a };

	h->relay.known = true;
	h->relay.through = generation_relay_test(g, trick_seen, &f);
	h->relay.why = f.first;
}

/* The directory alone is made of the files, as relay-test does. */
static void try_relaying_by_files(const struct config *c, conf_open *open_file, const struct strs *accounts, struct arena *a,
                                  struct host_facts *h)
{
	struct generation *g = calloc(1, sizeof(*g));
	str why = STR_NONE;

	if (g == NULL)
		return;
	arena_init(&g->arena, ARENA_UNBOUNDED);
	g->config = (struct config *)(uintptr_t)c;
	if (generation_directory(g, open_file, accounts, &why) == OK)
		try_relaying(h, g, a);
	else
		h->relay.why = str_keep(a, why);
	generation_free(g);
}

/* ---- block lists ----------------------------------------------------------------------------------- */

/* A running server's are made whole already. */
static void see_zones(const struct config *c, bool running, struct arena *a, struct host_facts *h)
{
	const void *zones = config_module(c, &dnsbl_module);
	str why = STR_NONE;

	if (zones != NULL && (running || dnsbl_module.setup(zones, a, &why) == OK))
		h->zones = zones;
}

void host_see_config(const struct config *c, struct generation *running, conf_open *open_file, struct arena *a, struct host_facts *h)
{
	struct strs accounts = { 0 };

	see_resolver(c, a, h);
	see_certificates(c, open_file, a, h);
	see_listeners(c, a, h);
	see_accounts(c, open_file, a, h, &accounts);
	see_devices(c, a, h);
	if (running != NULL)
		try_relaying(h, running, a);
	else
		try_relaying_by_files(c, open_file, &accounts, a, h);
	see_zones(c, running != NULL, a, h);
	h->smarthost = c->relay.smarthost.via;
	h->mx_port = c->relay.port;
	h->whoami = c->doctor.outside_name;
	h->outside = c->doctor.outside_domain;
}
