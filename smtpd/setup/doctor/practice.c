/* SPDX-License-Identifier: ISC */
/* See practice.h.  The verb's thread. */
#include <string.h>

#include "queue/deliver/sts.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/tls.h"
#include "smtpd/setup/doctor/practice.h"
#include "smtpd/setup/doctor/records.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

#define DESK_THREADS 4
#define TIMEOUT_MS   20000

/* ---- before anybody is asked ----------------------------------------------------------------------- */

static enum err read_records(const struct config *c, struct arena *a, struct dns_conf *dns, str *why)
{
	str text, line;
	enum err e;

	if (c->resolver.records.n == 0)
		return OK;
	e = file_read(verb_open_file, c->resolver.records, 1 << 20, a, &text, why);
	if (e != OK)
		return e;
	dns->local_special = true;
	dns->local.v = ARENA_ARRAY(a, str, text.n / 4 + 1);
	while (dns->local.v != NULL && str_cut(&text, '\n', &line))
		if (str_trim(line).n > 0 && line.p[0] != '#')
			dns->local.v[dns->local.n++] = str_trim(line);
	return OK;
}

/* Without a configuration: full recursion, validated where Debian's anchor is there. */
static void default_resolver(struct practice *p)
{
	static const str anchor = { "/usr/share/dns/root.key", sizeof("/usr/share/dns/root.key") - 1 };
	struct config nothing = { .resolver.trust_anchor = anchor };

	p->resolver = (struct dns_conf){ .trust_anchor = config_trust_anchor(&nothing), .timeout_ms = 5000 };
	p->direct = (struct direct_conf){ .resolver = &p->resolver, .port = 53, .timeout_ms = 4000, .ipv6 = direct_has_ipv6() };
}

static enum err set_resolver(struct practice *p, const char *option, str *why)
{
	struct endpoint at;
	enum err e = OK;

	if (p->config != NULL) {
		direct_conf_of(p->config, &p->direct, &p->resolver);
		e = read_records(p->config, p->arena, &p->resolver, why);
	} else {
		default_resolver(p);
	}
	if (option == NULL || e != OK)
		return e;
	if (!endpoint_parse(str_of(option), 53, &at) || at.is_name || at.is_unix) {
		*why = arena_printf(p->arena, "--resolver %s is not ADDR:PORT, as 127.0.0.1:5300", option);
		return ERR_BAD;
	}
	p->resolver = (struct dns_conf){ .only = str_of(option), .local_special = true, .timeout_ms = p->resolver.timeout_ms };
	return OK;
}

enum err practice_open(struct practice *p, const char *resolver_option, str *why)
{
	enum err e = set_resolver(p, resolver_option, why);

	if (e == OK && p->config != NULL)
		e = host_look(p->config, NULL, verb_open_file, p->arena, &p->host, why);
	if (e == OK && p->config != NULL && !p->strange)
		e = wanted_make(p->config, &p->domains, &p->host.addresses, p->arena, &p->wanted, &p->nwanted, why);
	return e;
}

/* ---- a round ------------------------------------------------------------------------------------------- */

struct ending { struct practice *practice; int (*show)(struct doctor *, void *); void *arg; };

static void finished(struct doctor *d)
{
	loop_stop(d->loop);
}

static int with_all(struct practice *p, struct doctor *d, const struct ending *end)
{
	int status;

	d->config = p->config;
	d->host = p->config != NULL && !p->strange ? &p->host : NULL;
	d->direct = &p->direct;
	d->domains = p->domains;
	d->wanted = p->wanted;
	d->nwanted = p->nwanted;
	d->validates = p->resolver.trust_anchor.n > 0;
	d->timeout_ms = TIMEOUT_MS;
	d->done = finished;
	doctor_begin(d);
	loop_run(d->loop);
	status = d->arena->spent ? verb_fail(EXIT_LATER, "doctor", "out of memory") : end->show(d, end->arg);
	doctor_end(d);
	return status;
}

static int with_tls(struct practice *p, struct doctor *d, const struct ending *end)
{
	const struct sts_conf sts = p->config != NULL ? server_sts_conf(p->config)
	                                              : (struct sts_conf){ .ca = STR("/etc/ssl/certs/ca-certificates.crt"), .port = 443 };
	str why = STR_NONE;
	int status = EXIT_LATER;

	d->tls = tls_client_new();
	d->desk = desk_open("doctor", DESK_THREADS);
	d->sts = d->desk != NULL ? sts_new(d->loop, NULL, d->desk, d->desk, &sts) : NULL;
	if (d->tls == NULL || d->sts == NULL) {
		verb_fail(EXIT_LATER, "doctor", "no memory: try again later");
	} else {
		if (!tls_client_trust(d->tls, sts.ca, p->arena, &why))
			fprintf(stderr, "postern doctor: %.*s: no certificate verifies by it; install ca-certificates, or name a file with "
			        "relay's ca\n", STR_ARG(why));
		sts_begin(d->sts);
		status = with_all(p, d, end);
		sts_end(d->sts);
	}
	if (d->desk != NULL)
		desk_close(d->desk);
	conn_leave_now(d->loop);
	tls_client_free(d->tls);
	return status;
}

int practice_round(struct practice *p, struct doctor *d, int (*show)(struct doctor *, void *arg), void *arg)
{
	const struct ending end = { p, show, arg };
	str why = STR_NONE;
	int status;

	d->loop = loop_new(0, NULL);
	if (d->loop == NULL)
		return verb_fail(EXIT_LATER, "doctor", "no memory: try again later");
	d->loop->dns = dns_new(&p->resolver, d->loop, d->arena, &why);
	if (d->loop->dns == NULL) {
		loop_free(d->loop);
		return verb_fail(EXIT_LATER, "doctor", "%.*s", STR_ARG(why));
	}
	status = with_tls(p, d, &end);
	dns_free(d->loop->dns);
	loop_free(d->loop);
	if (d->sts != NULL)
		sts_free(d->sts);
	return status;
}
