/* SPDX-License-Identifier: ISC */
/*
 * The table of facts.  Names are compared without regard to case.
 */
#include <string.h>

#include "smtpd/base/conn.h"
#include "smtpd/setup/doctor/facts.h"

static const struct dns_answer nothing = { .status = DNS_BADNAME };

static struct fact *find(const struct doctor *d, enum fact_kind kind, str name, unsigned number)
{
	for (struct fact *f = d->facts; f != NULL; f = f->next)
		if (f->kind == kind && f->number == number && str_eq_nocase(f->name, name))
			return f;
	return NULL;
}

static struct fact *make(struct doctor *d, enum fact_kind kind, str name, unsigned number)
{
	struct fact *f = ARENA_NEW(d->arena, struct fact);

	if (f == NULL)
		return NULL;
	*f = (struct fact){ .doctor = d, .kind = kind, .name = str_keep(d->arena, name), .number = number };
	if (d->facts_tail == NULL)
		d->facts_tail = &d->facts;
	*d->facts_tail = f;
	d->facts_tail = &f->next;
	return f;
}

void fact_put(struct doctor *d, enum fact_kind kind, str name, unsigned number, const void *value)
{
	struct fact *f = make(d, kind, name, number);

	must(f != NULL);
	f->known = true;
	f->value = value;
}

/* The value, or NULL: it is asked for, or memory is spent (then the exam ends). */
static const void *want(struct exam *e, enum fact_kind kind, str name, unsigned number, const struct sockaddr_storage *from,
                        const void *wish)
{
	struct doctor *d = e->doctor;
	struct fact *f = find(d, kind, name, number);

	if (f == NULL && (f = make(d, kind, name, number)) != NULL) {
		f->wish = wish;
		if (from != NULL)
			f->from = *from;
		d->source->begin(f);
	}
	if (f != NULL && f->known)
		return f->value;
	e->waits++;
	return NULL;
}

const struct dns_answer *fact_dns(struct exam *e, str name, enum dns_type type)
{
	return name.n > 0 ? want(e, FACT_DNS, name, type, NULL, NULL) : &nothing;
}

const struct dns_answer *fact_reverse(struct exam *e, const struct sockaddr *sa)
{
	return fact_dns(e, dns_reverse_name(exam_arena(e), sa), DNS_PTR);
}

str fact_address(struct arena *a, const struct sockaddr *sa)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sa;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)sa;
	struct addr_text text = addr_text(sa);

	if (sa->sa_family == AF_INET6)
		return arena_printf(a, "[%s]:%u", text.s, ntohs(v6->sin6_port));
	return arena_printf(a, "%s:%u", text.s, ntohs(v4->sin_port));
}

const struct spf_outcome *fact_spf(struct exam *e, str domain, const struct sockaddr *from)
{
	struct addr_text text = addr_text(from);
	struct sockaddr_storage at = { 0 };

	memcpy(&at, from, from->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
	return want(e, FACT_SPF, SAYS(e, "%.*s %s", STR_ARG(domain), text.s), 0, &at, NULL);
}

const struct spf_tree *fact_spf_tree(struct exam *e, str domain)
{
	return want(e, FACT_SPF_TREE, domain, 0, NULL, NULL);
}

const struct sts_seen *fact_sts(struct exam *e, str domain)
{
	return want(e, FACT_STS, domain, 0, NULL, NULL);
}

const struct servers_seen *fact_servers(struct exam *e, str domain, const struct shown_wish *v, size_t n)
{
	struct shown_list *list = ARENA_NEW(exam_arena(e), struct shown_list);

	if (list != NULL)
		*list = (struct shown_list){ v, n };
	return want(e, FACT_SERVERS, domain, 0, NULL, list);
}

const struct talk *fact_talk(struct exam *e, const struct talk_wish *w)
{
	struct talk_wish *kept = ARENA_NEW(exam_arena(e), struct talk_wish);

	if (kept != NULL)
		*kept = *w;
	return want(e, FACT_TALK, fact_address(exam_arena(e), (const struct sockaddr *)&w->to), w->implicit | (w->ntlsa > 0) << 1, NULL,
	            kept);
}
