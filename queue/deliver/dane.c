/* SPDX-License-Identifier: ISC */
/*
 * The names that may hold the records, one after the other.  What cannot be
 * asked for is told at the loop's next turn.  Loop thread.
 */
#include "queue/deliver/dane.h"

static void ask_next(struct dane_look *);

/* ---- telling -------------------------------------------------------------------------- */

static void told(struct loop_call *c)
{
	struct dane_look *d = SUPER(c, struct dane_look, later);

	d->known(d);
}

static void tell(struct dane_look *d, enum dane_found found)
{
	d->dane.found = found;
	loop_defer(d->loop, &d->later, told);
}

/* ---- records ------------------------------------------------------------------------------ */

static void sort_out(struct dane_look *d, const struct dns_answer *a)
{
	struct tls_tlsa *v = ARENA_ARRAY(d->arena, struct tls_tlsa, DANE_RECORDS_MOST);

	d->dane.tlsa = v;
	for (size_t i = 0; i < a->n; i++) {
		struct tls_tlsa t = { a->rr[i].tlsa.usage, a->rr[i].tlsa.selector, a->rr[i].tlsa.matching, a->rr[i].tlsa.data };

		if (v != NULL && d->dane.n < DANE_RECORDS_MOST && tls_tlsa_usable(d->tls, &t))
			v[d->dane.n++] = t;
		else
			d->dane.unusable++;
	}
	if (v == NULL) {
		d->dane.why = STR("out of memory");
		tell(d, DANE_FAILED);
		return;
	}
	tell(d, d->dane.n > 0 ? DANE_USABLE : DANE_UNUSABLE);
}

static void failed(struct dane_look *d, const struct dns_answer *a)
{
	const char *word = dns_status_text(a->status);

	d->dane.why = a->why.n > 0 ? arena_printf(d->arena, "%s: %.*s", word, STR_ARG(a->why)) : str_of(word);
	tell(d, DANE_FAILED);
}

static void tlsa_came(struct dns_ask *ask, const struct dns_answer *a)
{
	struct dane_look *d = ask->user;

	if (dns_failed(a->status))
		failed(d, a);
	else if (a->status == DNS_FOUND && a->secure)
		sort_out(d, a);
	else
		ask_next(d);
}

static void ask_next(struct dane_look *d)
{
	if (d->at == d->n) {
		tell(d, DANE_ABSENT);
		return;
	}
	d->dane.base = d->names[d->at++];
	d->dane.owner = arena_printf(d->arena, "_%u._tcp.%.*s", d->port, STR_ARG(d->dane.base));
	dns_ask(d->loop->dns, &d->ask, d->arena, d->dane.owner, DNS_TLSA, 0, tlsa_came, d);
}

/* ---- names ----------------------------------------------------------------------------------- */

/* The addresses were not validated, but the name is an alias: its own zone may
 * be signed all the same, and then its records count (RFC 7672 2.2.2). */
static void alias_came(struct dns_ask *ask, const struct dns_answer *a)
{
	struct dane_look *d = ask->user;

	if (dns_failed(a->status))
		failed(d, a);
	else if (a->status == DNS_FOUND && a->secure)
		ask_next(d);
	else
		tell(d, DANE_UNASKED);
}

static void add_name(struct dane_look *d, str name)
{
	if (d->n == 0 || !str_eq_nocase(d->names[0], name))
		d->names[d->n++] = name;
}

void dane_find(struct dane_look *d, struct loop *loop, struct arena *a, struct tls_client *tls, str name, uint16_t port,
               const struct dns_facts *facts, void (*known)(struct dane_look *), void *user)
{
	*d = (struct dane_look){ .loop = loop, .arena = a, .tls = tls, .port = port, .known = known, .user = user };
	if (facts->secure && facts->cname)
		add_name(d, facts->canonical);
	add_name(d, name);
	if (facts->secure)
		ask_next(d);
	else if (facts->cname)
		dns_ask(loop->dns, &d->ask, a, name, DNS_CNAME, 0, alias_came, d);
	else
		tell(d, DANE_UNASKED);
}

void dane_stop(struct dane_look *d)
{
	if (d->loop == NULL)
		return;
	loop_undefer(&d->later);
	dns_cancel(&d->ask);
}
