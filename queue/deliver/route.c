/* SPDX-License-Identifier: ISC */
/*
 * The rule: our domain → its `route` when the mail was submitted here and the
 * domain has one, else its mailboxes; any other domain → the first of relay's
 * routes that fits sender and recipient, else the smarthost, else its MX hosts.
 * Aliases were followed when the message came in; the directory is asked anew at
 * each attempt, and an alias that has appeared since is followed when it leads
 * to one address.  What the way in has judged goes nowhere: see rcpt_flag.
 */
#include "queue/deliver/route.h"

#define HOPS 10      /* aliases of aliases */

static void no_way(struct route *out, enum route_kind kind, const char *status, str said)
{
	out->kind = kind;
	out->status = str_of(status);
	out->said = said;
	out->key = STR("nowhere");
}

static void to_host(struct arena *a, struct route *out, str endpoint)
{
	out->kind = ROUTE_HOST;
	out->target = endpoint;
	out->key = arena_printf(a, "route:%.*s", STR_ARG(endpoint));
}

/* Connections are shared by key: so it holds all that makes one different, the
 * password by its file. */
static void to_hop(struct arena *a, struct route *out, const struct hop *hop)
{
	static const char *const tls[] = { [HOP_AUTO] = "auto", [HOP_STARTTLS] = "starttls", [HOP_IMPLICIT] = "implicit",
	                                   [HOP_MAY] = "may" };

	out->kind = ROUTE_HOST;
	out->target = hop->via;
	out->hop = hop;
	out->key = arena_printf(a, "via:%.*s%s%.*s/%s%s%s%.*s", STR_ARG(hop->login), hop->login.n > 0 ? "@" : "",
	                        STR_ARG(hop->via), tls[hop->tls], hop->any_certificate ? "-any" : "",
	                        hop->password_file.n > 0 ? " " : "", STR_ARG(hop->password_file));
}

static str domain_of(str address)
{
	return str_skip(address, str_rfind(address, '@') + 1);
}

/* NULL: straight to the MX hosts. */
static const struct hop *hop_for(const struct deliver_setup *s, str sender, const struct path *p)
{
	const struct hop_route *route = hop_route_for(&s->relay->routes, domain_of(sender), p->domain);
	const struct hop *hop = route != NULL ? &route->hop : &s->relay->smarthost;

	return hop->via.n == 0 || str_is(hop->via, "mx") ? NULL : hop;
}

static void to_elsewhere(const struct deliver_setup *s, struct arena *a, str sender, const struct path *p, struct route *out)
{
	const struct hop *hop;

	if (p->domain.n == 0) {
		no_way(out, ROUTE_NOWHERE, "5.1.3", arena_printf(a, "%.*s has no domain", STR_ARG(p->text)));
		return;
	}
	hop = hop_for(s, sender, p);
	if (hop != NULL) {
		to_hop(a, out, hop);
		return;
	}
	out->kind = ROUTE_MX;
	out->target = p->domain;
	out->key = arena_printf(a, "smtp:%.*s", STR_ARG(p->domain));
}

/* user+Junk@domain */
static str junk_of(struct arena *a, const struct place *place, str account)
{
	struct path p, junk;

	if (!path_of(a, account, &p) ||
	    !path_build(a, arena_printf(a, "%.*s%cJunk", STR_ARG(p.local), place->junk_detail), p.domain, &junk))
		return account;
	return junk.text;
}

static void to_mailbox(struct arena *a, const struct directory_answer *found, unsigned flags, unsigned hops, struct route *out)
{
	const struct place *place = found->place;

	out->account = found->account;
	out->place = place;
	out->via = STR_NONE;
	if (place->kind == PLACE_LMTP) {
		if ((flags & RCPT_QUARANTINE) && place->junk_detail != '\0')
			out->to = junk_of(a, place, found->account);
		else if (hops > 0)
			out->to = found->account;
		out->kind = ROUTE_LMTP;
		out->target = place->lmtp;
		out->key = arena_printf(a, "lmtp:%.*s", STR_ARG(place->lmtp));
		return;
	}
	out->kind = ROUTE_MAILDIR;
	out->key = STR("maildir");
}

static void to_nobody(struct arena *a, const struct path *p, struct route *out)
{
	no_way(out, ROUTE_NOWHERE, "5.1.1", arena_printf(a, "There is no mailbox %.*s here any more", STR_ARG(p->text)));
}

/* What was decided when it came in. */
static bool is_decided(struct arena *a, const struct path *p, unsigned flags, struct route *out)
{
	if (flags & RCPT_EXPANDED)
		no_way(out, ROUTE_EXPANDED, "2.0.0", STR("It stands for several addresses, and went to them"));
	else if (flags & RCPT_LOOPS)
		no_way(out, ROUTE_NOWHERE, "5.4.6",
		       arena_printf(a, "The message has been delivered to %.*s before: it goes in circles", STR_ARG(p->text)));
	else if (flags & RCPT_DOOMED)
		no_way(out, ROUTE_NOWHERE, "5.7.26",
		       STR("The address forwards elsewhere, and the message would be refused there: DMARC of the domain in From "
		           "asks for it, and no signature of that domain holds"));
	else if (flags & RCPT_DOOMED_HELD)
		no_way(out, ROUTE_HELD, "4.7.26",
		       arena_printf(a, "DMARC of the domain in From asks that %.*s refuse this message as forwarded: `postern queue "
		                    "release ID` sends it all the same, `postern queue remove ID` drops it", STR_ARG(p->domain)));
	else
		return false;
	return true;
}

static void find(const struct deliver_setup *s, struct arena *a, str sender, const struct path *p, unsigned flags,
                 unsigned hops, struct route *out)
{
	const struct directory_domain *d = directory_domain(s->directory, p->domain);
	struct directory_answer found;
	struct path next;

	if (d != NULL && (flags & RCPT_ROUTE) && d->route.n > 0) {
		to_host(a, out, d->route);
		out->to = hops > 0 ? p->text : STR_NONE;
		out->via = STR_NONE;
		return;
	}
	directory_find(s->directory, a, p, &found);
	switch (found.says) {
	case DIRECTORY_ELSEWHERE:
		to_elsewhere(s, a, sender, p, out);
		if (hops > 0)
			out->to = p->text;
		return;
	case DIRECTORY_MAILBOX:
		to_mailbox(a, &found, flags, hops, out);
		return;
	case DIRECTORY_UNKNOWN:
		to_nobody(a, p, out);
		return;
	case DIRECTORY_TARGETS:
		break;
	}
	if (found.keeps) {
		to_mailbox(a, &found, flags, hops, out);
	} else if (found.targets->n == 1 && hops < HOPS && path_of(a, found.targets->v[0], &next)) {
		out->via = found.domain->name;
		find(s, a, sender, &next, flags, hops + 1, out);
	} else {
		no_way(out, ROUTE_UNCLEAR, "4.3.5",
		       arena_printf(a, "%.*s became an alias of several addresses while this message waited: give it a mailbox or one target",
		                    STR_ARG(p->text)));
	}
}

void route_find(const struct deliver_setup *s, struct arena *a, str sender, str address, unsigned flags, struct route *out)
{
	struct path p = { 0 };

	*out = (struct route){ .kind = ROUTE_UNCLEAR };
	if (!path_of(a, address, &p))
		p = (struct path){ .text = address, .local = address };     /* postmaster */
	if (is_decided(a, &p, flags, out))
		return;
	find(s, a, sender, &p, flags, 0, out);
	if (out->key.n == 0 || a->spent)
		no_way(out, ROUTE_UNCLEAR, "4.3.0", STR("out of memory"));
}
