/* SPDX-License-Identifier: ISC */
/*
 * A zone's server told what to hold: RFC 2136, signed by TSIG (RFC 8945), in one
 * message over TCP.  The addresses of the server are tried one after another, each
 * only when the one before could not be reached: an update whose answer got lost
 * may have been made.  Any thread that may block.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/conn.h"
#include "smtpd/setup/dns/direct_inside.h"

enum { PORT = 53, TIMEOUT_MS = 10000 };

struct telling {
	struct packet_update *update;
	struct arena         *arena;
	str                  *why;
	enum err              outcome;
};

static enum heard heard(struct exchange *e, str packet)
{
	struct telling *t = e->user;

	t->outcome = packet_update_read(t->update, packet, clock_wall(), t->arena, t->why);
	return HEARD_TAKEN;
}

static enum err tell_one(struct telling *t, const struct direct_at *at, uint64_t timeout_ms, bool *reached)
{
	struct exchange e = {
		.to = (const struct sockaddr *)&at->to, .to_n = at->n, .tcp = true, .heard = heard, .user = t,
		.request = packet_update_wire(t->update),
	};
	str address = direct_at_text(at, t->arena);

	exchange_all(&e, 1, timeout_ms);
	*reached = e.taken || e.sent > 0;
	if (e.taken) {
		if (t->outcome != OK)
			*t->why = arena_printf(t->arena, "%.*s: %.*s", STR_ARG(address), STR_ARG(*t->why));
		return t->outcome;
	}
	*t->why = arena_printf(t->arena, "%.*s: %s", STR_ARG(address), e.why);
	return strstr(e.why, "no answer") != NULL ? ERR_TIMEOUT : ERR_CLOSED;
}

/* ---- who is told ------------------------------------------------------------------------ */

static enum err find_host(const struct direct_update *d, str name, uint16_t port, struct arena *a, struct direct_host *h, str *why)
{
	enum err e;

	h->name = name;
	if (d->asker == NULL) {
		*why = arena_printf(a, "%.*s is a name, and there is no resolver here: give the server as ADDR:PORT", STR_ARG(name));
		return ERR_BAD;
	}
	e = direct_find_hosts(d->asker, h, 1, a, why);
	for (size_t i = 0; i < h->n; i++) {
		if (h->at[i].to.ss_family == AF_INET)
			((struct sockaddr_in *)&h->at[i].to)->sin_port = htons(port);
		else
			((struct sockaddr_in6 *)&h->at[i].to)->sin6_port = htons(port);
	}
	if (e == OK && h->n == 0) {
		*why = arena_printf(a, "the server %.*s has no address in DNS", STR_ARG(name));
		e = ERR_ABSENT;
	}
	return e;
}

static enum err find_server(const struct direct_update *d, struct arena *a, struct direct_host *h, str *why)
{
	uint16_t port = d->asker != NULL ? d->asker->conf.port : PORT;
	struct direct_zone zone;
	struct endpoint at;
	enum err e;

	if (d->server.n == 0) {
		if (d->asker == NULL) {
			*why = STR("no server is named and there is no resolver here: give the server as ADDR:PORT");
			return ERR_BAD;
		}
		e = direct_zone_of(d->asker, d->zone, a, &zone, why);
		return e == OK ? find_host(d, zone.primary, port, a, h, why) : e;
	}
	if (!endpoint_parse(d->server, port, &at) || at.is_unix) {
		*why = arena_printf(a, "\"%.*s\" is no server: HOST:PORT or ADDR:PORT", STR_ARG(d->server));
		return ERR_BAD;
	}
	if (at.is_name)
		return find_host(d, at.host, at.port, a, h, why);
	h->at[h->n].to = at.at;
	h->at[h->n++].n = at.n;
	return OK;
}

enum err direct_tell(const struct direct_update *d, const struct direct_change *c, size_t n, uint64_t timeout_ms,
                     struct arena *a, str *why)
{
	uint64_t until = clock_ms() + (timeout_ms > 0 ? timeout_ms : TIMEOUT_MS), now;
	struct direct_host host = { 0 };
	struct telling t = { .arena = a, .why = why, .outcome = ERR_BUSY };
	bool reached = false;
	enum err e;

	*why = STR_NONE;
	t.update = packet_update_new(d, c, n, a, why);
	if (t.update == NULL)
		return ERR_BAD;
	e = find_server(d, a, &host, why);
	for (size_t i = 0; e == OK && i < host.n; i++) {
		now = clock_ms();
		e = now < until ? tell_one(&t, &host.at[i], until - now, &reached) : ERR_TIMEOUT;
		if (e == OK || reached)
			break;
		if (i + 1 < host.n)
			e = OK;               /* the next address */
	}
	packet_update_free(t.update);
	return e;
}
