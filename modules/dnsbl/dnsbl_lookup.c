/* SPDX-License-Identifier: ISC */
/*
 * dnsbl_lookup: one question to one zone: its answers, the reason in its TXT,
 * and whether the zone is fit to be heard.  Loop thread.
 */
#include <arpa/inet.h>

#include "modules/dnsbl/dnsbl_inside.h"

#define REASON_MAX 300

enum dnsbl_health dnsbl_health(const struct dnsbl_lookup *l)
{
	const struct dnsbl_state *s = l->zone->state;
	const struct sockaddr_in6 *v6 = &l->mod->peer->addr.in6;

	if (l->zone->type == DNSBL_NAME)
		return (enum dnsbl_health)atomic_load(&s->name);
	if (v6->sin6_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr))
		return (enum dnsbl_health)atomic_load(&s->v6);
	return (enum dnsbl_health)atomic_load(&s->v4);
}

bool dnsbl_counts(const struct dnsbl_lookup *l)
{
	return l->found == IS_LISTED && dnsbl_health(l) == DNSBL_GOOD;
}

static void found(struct dnsbl_lookup *l, enum dnsbl_found what)
{
	l->found = what;
	dnsbl_looked_up(l);
}

/* A person reads it in a reply: one line of printable ASCII. */
static str printable(struct arena *a, str text)
{
	char *p;

	text = str_trim(str_head(text, REASON_MAX));
	p = arena_alloc(a, text.n + 1);
	for (size_t i = 0; p != NULL && i < text.n; i++)
		p[i] = text.p[i] < ' ' || text.p[i] > '~' ? '?' : text.p[i];
	return (str){ p, p != NULL ? text.n : 0 };
}

static void text_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct dnsbl_lookup *l = ask->user;

	if (a->status == DNS_FOUND)
		l->reason = printable(l->keep, a->rr[0].txt);
	found(l, IS_LISTED);
}

static void report(const struct dnsbl_zone *z, struct in_addr ip)
{
	char text[INET_ADDRSTRLEN];

	if (atomic_exchange(&z->state->reported, true))
		return;
	inet_ntop(AF_INET, &ip, text, sizeof(text));
	log_event(NULL, LOG_WARN, "dnsbl.answer-ignored", KV("zone", z->zone), KV_C("answer", text),
		  KV_C("why", "such an answer lists nobody: the zone may be gone, or refuse this "
			      "server's resolver"));
}

/* The first record that counts. */
static bool is_listed(struct dnsbl_lookup *l, const struct dns_answer *a)
{
	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++) {
		char text[INET_ADDRSTRLEN];

		switch (dnsbl_answer(l->zone, a->rr[i].a)) {
		case DNSBL_LISTED:
			inet_ntop(AF_INET, &a->rr[i].a, text, sizeof(text));
			l->answer = str_keep(l->keep, str_of(text));
			return true;
		case DNSBL_NEVER_COUNTS:
			report(l->zone, a->rr[i].a);
			break;
		default:
			break;
		}
	}
	return false;
}

static void address_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct dnsbl_lookup *l = ask->user;

	if (dns_failed(a->status))
		found(l, NO_ANSWER);
	else if (is_listed(l, a))
		dns_ask(l->mod->dns, &l->text, l->scratch, l->question, DNS_TXT, 0, text_arrived,
			l);
	else
		found(l, NOT_LISTED);
}

void dnsbl_ask(struct mod *m, struct dnsbl_lookup *l, const struct dnsbl_zone *z, str question,
	       str subject, struct dnsbl_memory at)
{
	*l = (struct dnsbl_lookup){
		.mod = m, .zone = z, .scratch = at.scratch, .keep = at.keep, .found = NOT_ASKED};
	if (question.n == 0)
		return;
	l->question = question;
	l->subject = str_keep(at.keep, subject);
	l->found = OUT;
	dns_ask(m->dns, &l->address, at.scratch, question, DNS_A, 0, address_arrived, l);
}
