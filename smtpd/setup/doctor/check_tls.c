/* SPDX-License-Identifier: ISC */
/*
 * Certificates as files, and what the listeners show to who connects: as far as
 * a host can talk to itself.  Pure.
 */
#include "smtpd/setup/doctor/checks.h"

#define SOON_S (14 * 86400)

/* ---- files ------------------------------------------------------------------------------------- */

/* RFC 9525 6.3: a wildcard stands for one label, the leftmost. */
static bool name_fits(str pattern, str name)
{
	if (!str_starts(pattern, "*."))
		return str_eq_nocase(pattern, name);
	return str_eq_nocase(str_skip(pattern, 1), str_skip(name, str_find(name, '.')));
}

static bool has_name(const struct tls_cert *c, str name)
{
	for (size_t i = 0; i < c->names.n; i++)
		if (name_fits(c->names.v[i], name))
			return true;
	return false;
}

static bool judge_dates(struct exam *e, const struct host_cert *c, int64_t now)
{
	const char *renew = "renew it (`certbot renew`, `uacme`, …); files that change are read again by themselves";

	for (size_t i = 0; i < c->n; i++) {
		const struct tls_cert *one = &c->chain[i];
		const char *which = i == 0 ? "the certificate" : "a certificate of its chain";

		if (one->not_after <= now)
			exam_found(e, DOCTOR_FAULT, c->file, SAYS(e, "%s ran out %.*s ago", which,
			           STR_ARG(days_text(exam_arena(e), now - one->not_after))), str_of(renew));
		else if (one->not_before > now)
			exam_found(e, DOCTOR_FAULT, c->file, SAYS(e, "%s is not valid before %.*s have passed", which,
			           STR_ARG(days_text(exam_arena(e), one->not_before - now))), STR("look at the clock, then at who made it"));
		else if (one->not_after - now < SOON_S)
			exam_found(e, DOCTOR_WARNING, c->file, SAYS(e, "%s runs out in %.*s", which,
			           STR_ARG(days_text(exam_arena(e), one->not_after - now))), str_of(renew));
		else
			continue;
		return false;
	}
	return true;
}

static bool judge_chain(struct exam *e, const struct host_cert *c)
{
	for (size_t i = 0; i + 1 < c->n; i++)
		if (!str_eq(c->chain[i].issuer, c->chain[i + 1].subject)) {
			exam_found(e, DOCTOR_FAULT, c->file, SAYS(e, "its chain is broken: number %zu was not made by number %zu", i + 1, i + 2),
			           STR("put the certificate first, then its issuer's, and nothing else into the file (fullchain.pem)"));
			return false;
		}
	if (c->n == 1 && str_eq(c->chain[0].issuer, c->chain[0].subject)) {
		exam_found(e, DOCTOR_WARNING, c->file, STR("it is self-signed: mail programs complain, and MTA-STS cannot be"),
		           STR("get one from an authority (certbot, uacme and lego do it; postern-setup(8))"));
		return false;
	}
	if (c->n == 1) {
		exam_found(e, DOCTOR_WARNING, c->file, STR("the file holds the certificate without its issuer's: many cannot verify it"),
		           STR("name the file with the whole chain (fullchain.pem)"));
		return false;
	}
	return true;
}

static void judge_file(struct exam *e, const struct host_cert *c, bool first, int64_t now)
{
	if (c->why.n > 0) {
		exam_found(e, DOCTOR_FAULT, c->file, c->why, STR("make it readable for the server's user; `postern check` says more"));
		return;
	}
	if (first && !has_name(&c->chain[0], e->subject)) {
		exam_found(e, DOCTOR_FAULT, c->file, SAYS(e, "it is made for %.*s, not for %.*s",
		           STR_ARG(words_joined(exam_arena(e), &c->chain[0].names, ", ")), STR_ARG(e->subject)),
		           STR("order one that has the host name, too"));
		return;
	}
	if (judge_dates(e, c, now) && judge_chain(e, c))
		exam_found(e, DOCTOR_OK, c->file, SAYS(e, "it is good for %.*s more", STR_ARG(days_text(exam_arena(e),
		           c->chain[0].not_after - now))), STR_NONE);
}

void check_certificate(struct exam *e)
{
	const struct host_facts *h = exam_host(e);

	if (h->self_signed)
		exam_found(e, DOCTOR_WARNING, STR_NONE, STR("the certificate is one that postern has made and signed itself: mail programs "
		           "complain, and MTA-STS cannot be"), STR("get one (certbot, uacme or lego do it) and name it in tls {}"));
	for (size_t i = 0; i < h->ncerts; i++)
		judge_file(e, &h->certs[i], i == 0, h->now);
}

/* ---- listeners ------------------------------------------------------------------------------------- */

struct door { const struct host_port *port; struct sockaddr_storage at; bool loopback; };

static void set_port(struct sockaddr_storage *s, uint16_t port)
{
	if (s->ss_family == AF_INET6)
		((struct sockaddr_in6 *)s)->sin6_port = htons(port);
	else
		((struct sockaddr_in *)s)->sin_port = htons(port);
}

/* Where a listener can be met from here: at its own address; one of every address at
 * the public ones, or, behind a NAT, at loopback. */
static size_t doors(struct exam *e, struct door *out, size_t room)
{
	const struct host_facts *h = exam_host(e);
	size_t n = 0;

	for (size_t i = 0; i < h->nports; i++) {
		const struct host_port *p = &h->ports[i];
		size_t before = n;

		for (size_t k = 0; p->any && k < h->addresses.n && n < room; k++) {
			struct door *d = &out[n];

			if (!address_parse(h->addresses.v[k], p->port, &d->at) || d->at.ss_family != p->family)
				continue;
			d->port = p;
			d->loopback = false;
			n++;
		}
		if (n > before || n == room)
			continue;
		out[n] = (struct door){ .port = p, .at = p->at, .loopback = p->any };
		if (p->any)
			address_parse(p->family == AF_INET6 ? STR("::1") : STR("127.0.0.1"), p->port, &out[n].at);
		set_port(&out[n].at, p->port);
		n++;
	}
	return n;
}

static const struct talk *talk_at(struct exam *e, const struct door *d)
{
	const struct talk_wish wish = { .to = d->at, .n = address_length(&d->at), .implicit = d->port->implicit,
		                        .name = exam_host(e)->hostname };

	return fact_talk(e, &wish);
}

/* An answer of any kind shows that the port is open; a busy server says 421. */
static void judge_door(struct exam *e, const struct door *d, const struct talk *t)
{
	str at = fact_address(exam_arena(e), (const struct sockaddr *)&d->at);

	if (!t->connected)
		exam_found(e, DOCTOR_FAULT, at, SAYS(e, "listener %.*s does not answer: %.*s", STR_ARG(d->port->listener), STR_ARG(t->said)),
		           STR("start the server (`systemctl start postern`), and let this host's packet filter pass the port"));
	else
		exam_found(e, DOCTOR_OK, at, SAYS(e, "listener %.*s answers%s", STR_ARG(d->port->listener), d->loopback ? ", from here" : ""),
		           STR_NONE);
}

/* A host that talks to itself passes no firewall between it and the world. */
static void say_how_to_ask(struct exam *e, bool nat)
{
	exam_found(e, DOCTOR_NOTE, STR_NONE,
	           nat ? STR("this host has no public address of its own (a NAT passes connections on), so whether the ports are open "
	                     "to the world cannot be seen from here")
	               : STR("a host that talks to itself does not see the provider's packet filter"),
	           SAYS(e, "ask from another network: `openssl s_client -starttls smtp -connect %.*s:25`", STR_ARG(e->subject)));
}

void check_ports(struct exam *e)
{
	const struct host_facts *h = exam_host(e);
	struct door all[64];
	size_t n = doors(e, all, COUNT(all));

	for (size_t i = 0; i < n; i++) {
		const struct talk *t = talk_at(e, &all[i]);

		if (t != NULL)
			judge_door(e, &all[i], t);
	}
	if (e->waits == 0)
		say_how_to_ask(e, h->addresses.n == 0);
}

/* ---- TLS ----------------------------------------------------------------------------------------------- */

static void judge_handshake(struct exam *e, const struct door *d, const struct talk *t)
{
	const struct host_facts *h = exam_host(e);
	str at = fact_address(exam_arena(e), (const struct sockaddr *)&d->at);

	if (!t->connected)
		exam_unknown(e, at, STR("nothing answers there"), STR("see the check `ports`"));
	else if (!t->tls.on)
		exam_found(e, DOCTOR_FAULT, at, SAYS(e, "TLS does not begin%s%.*s", t->said.n > 0 ? ": " : "", STR_ARG(t->said)),
		           STR("say tls = starttls for the listener; the log's tls.failed says more"));
	else if (!t->tls.verified && !h->self_signed)
		exam_found(e, DOCTOR_WARNING, at, SAYS(e, "%.*s, but who connects cannot verify the certificate: %s", STR_ARG(t->tls.version),
		           t->tls.why != NULL ? t->tls.why : "unknown"),
		           STR("name a certificate with its whole chain, by an authority that mail programs know, for the host name"));
	else
		exam_found(e, DOCTOR_OK, at, SAYS(e, "%.*s%s", STR_ARG(t->tls.version), t->tls.verified ? ", the certificate holds" : ""), STR_NONE);
}

void check_tls(struct exam *e)
{
	const struct host_facts *h = exam_host(e);
	struct door all[64];
	size_t n = doors(e, all, COUNT(all));

	for (size_t i = 0; i < n; i++) {
		const struct talk *t = talk_at(e, &all[i]);

		if (t != NULL)
			judge_handshake(e, &all[i], t);
	}
	if (h->minimum_13)
		exam_found(e, DOCTOR_NOTE, STR_NONE, STR("only TLS 1.3 is spoken: who knows no more than 1.2 sends in the clear, or not at all"),
		           STR("say minimum = \"1.2\" in tls {}, unless that is meant"));
}
