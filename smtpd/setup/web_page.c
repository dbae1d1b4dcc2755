/* SPDX-License-Identifier: ISC */
/*
 * Paths, hosts and addresses, held against the configuration.
 */
#include "smtpd/setup/web_page.h"

#include <string.h>

enum page { PAGE_AUTOCONFIG, PAGE_AUTODISCOVER, PAGE_POLICY };

static const struct { const char *path; enum page page; bool post; } paths[] = {
	{ "/mail/config-v1.1.xml", PAGE_AUTOCONFIG, false },
	{ "/.well-known/autoconfig/mail/config-v1.1.xml", PAGE_AUTOCONFIG, false },
	{ "/autodiscover/autodiscover.xml", PAGE_AUTODISCOVER, true },
	{ "/Autodiscover/Autodiscover.xml", PAGE_AUTODISCOVER, true },
	{ "/AutoDiscover/AutoDiscover.xml", PAGE_AUTODISCOVER, true },
	{ "/.well-known/mta-sts.txt", PAGE_POLICY, false },
};

static const struct domain_section *domain_named(const struct config *c, str name)
{
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		if (str_eq_nocase(d->name, name))
			return d;
	}
	return NULL;
}

static str without_port(str host)
{
	host = str_head(host, str_find(host, ':'));
	if (host.n > 0 && host.p[host.n - 1] == '.')
		host.n--;
	return host;
}

/* The domain that a host name stands for: PREFIX.DOMAIN, or DOMAIN itself. */
static const struct domain_section *domain_of(const struct config *c, str host, const char *prefix, bool bare)
{
	const struct domain_section *d = NULL;

	host = without_port(host);
	if (str_starts_nocase(host, prefix))
		d = domain_named(c, str_skip(host, str_of(prefix).n));
	return d == NULL && bare ? domain_named(c, host) : d;
}

static str policy(const struct config *c, const struct web_question *q, struct arena *a)
{
	const struct domain_section *d = domain_of(c, q->host, "mta-sts.", false);
	struct autoconfig told;

	if (d == NULL || c->web.sts == WEB_STS_OFF)
		return STR_NONE;
	autoconfig_of(c, d->name, a, &told);
	return autoconfig_policy(&told, a);
}

/* Programs that follow an SRV record come under another name, with the address. */
static str mozilla(const struct config *c, const struct web_question *q, struct arena *a)
{
	const struct domain_section *d = domain_of(c, q->host, "autoconfig.", true);
	struct autoconfig told;
	struct path p;

	if (d == NULL && q->address.n > 0 && q->address.n <= 320 && path_of(a, q->address, &p))
		d = domain_named(c, p.domain);
	if (d == NULL)
		return STR_NONE;
	autoconfig_of(c, d->name, a, &told);
	return autoconfig_thunderbird(&told, a);
}

static str outlook(const struct config *c, const struct web_question *q, struct arena *a)
{
	const struct domain_section *d = domain_of(c, q->host, "autodiscover.", true), *whose = NULL;
	struct autoconfig told;
	str address = STR_NONE;
	struct path p;

	if (autodiscover_address(q->body, a, &p))
		whose = domain_named(c, p.domain);
	if (whose != NULL) {
		d = whose;
		address = p.text;
	}
	if (d == NULL)
		return STR_NONE;
	autoconfig_of(c, d->name, a, &told);
	return autoconfig_outlook(&told, address, a);
}

str web_page(const struct config *c, const struct web_question *q, struct arena *a, const char **type)
{
	for (size_t i = 0; i < COUNT(paths); i++) {
		if (strcmp(q->path, paths[i].path) != 0 || (q->post && !paths[i].post))
			continue;
		*type = paths[i].page == PAGE_POLICY ? "text/plain" : "text/xml; charset=utf-8";
		switch (paths[i].page) {
		case PAGE_POLICY:
			return policy(c, q, a);
		case PAGE_AUTOCONFIG:
			return mozilla(c, q, a);
		case PAGE_AUTODISCOVER:
			return outlook(c, q, a);
		}
	}
	return STR_NONE;
}
