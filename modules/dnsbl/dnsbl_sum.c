/* SPDX-License-Identifier: ISC */
/*
 * dnsbl_sum: what the answers that are in come to: the verdict of all zones
 * together, and a finding for each.
 *
 * A listing counts only by a zone that is fit (dnsbl_counts); what could not be
 * found out lists nobody.  Asks nothing and changes nothing.  Loop thread.
 */
#include "modules/dnsbl/dnsbl_inside.h"
#include "modules/module.h"

/* ---- the verdict ------------------------------------------------------------------- */

static void add(struct dnsbl_sum *s, const struct dnsbl_lookup *l)
{
	if (l->found != IS_LISTED)
		return;
	s->untested = s->untested || dnsbl_health(l) == DNSBL_UNTESTED;
	if (!dnsbl_counts(l))
		return;
	s->allowed = s->allowed || l->zone->action == DNSBL_ACCEPT;
	if (l->zone->action != DNSBL_REJECT && l->zone->action != DNSBL_QUARANTINE)
		return;
	s->quarantine += l->zone->weight;
	s->reject += l->zone->action == DNSBL_REJECT ? l->zone->weight : 0;
	if (s->because == NULL || l->zone->action > s->because->zone->action ||
	    (l->zone->action == s->because->zone->action &&
	     l->zone->weight > s->because->zone->weight))
		s->because = l;
}

struct dnsbl_sum dnsbl_sum_up(const struct mod *m)
{
	const struct dnsbl_conn *c = m->conn;
	const struct dnsbl_msg  *d = m->msg;
	const struct dnsbl_lookup *sets[] = {c->ip, c->helo, c->ptr, d != NULL ? d->sender : NULL};
	struct dnsbl_sum         s = { .say = SAY_NEXT };

	for (size_t i = 0; i < COUNT(sets); i++)
		for (size_t k = 0; sets[i] != NULL && k < dnsbl_zones(m)->n; k++)
			add(&s, &sets[i][k]);
	if (s.allowed)
		return s;
	if (s.reject >= DNSBL_ENOUGH)
		s.say = SAY_REJECT;
	else if (s.quarantine >= DNSBL_ENOUGH)
		s.say = SAY_QUARANTINE;
	return s;
}

/* ---- the findings ------------------------------------------------------------------ */

static const char *why_unused(const struct dnsbl_lookup *l)
{
	if (l->found == NO_ANSWER)
		return "DNS gave no answer";
	if (l->found == IS_LISTED && dnsbl_health(l) != DNSBL_GOOD)
		return "listed, but the zone fails its test and does not count";
	return NULL;
}

static void find(struct dnsbl_finding *f, const struct dnsbl_lookup *l)
{
	const char *unused = why_unused(l);

	if (l->found == NOT_ASKED || f->listed)
		return;
	f->asked = true;
	if (f->subject.n == 0 || unused != NULL || dnsbl_counts(l))
		f->subject = l->subject;
	f->listed = dnsbl_counts(l);
	if (unused != NULL)
		f->reason = str_of(unused);
	if (f->listed) {
		f->answer = l->answer;
		f->reason = l->reason;
	}
}

const struct dnsbl_finding *dnsbl_findings(const void *conn, const void *msg, struct arena *a,
					   size_t *n)
{
	const struct dnsbl_conn *c = conn;
	const struct dnsbl_msg  *d = msg;
	struct dnsbl_finding    *v;

	*n = 0;
	if (c == NULL || c->mod == NULL)
		return NULL;
	const struct dnsbl_lookup *sets[] = {c->ip, c->helo, c->ptr, d != NULL ? d->sender : NULL};

	v = ARENA_ARRAY(a, struct dnsbl_finding, dnsbl_zones(c->mod)->n);
	for (size_t i = 0; v != NULL && i < dnsbl_zones(c->mod)->n; i++) {
		const struct dnsbl_zone *z = dnsbl_zones(c->mod)->v[i];
		struct dnsbl_finding    *f = &v[(*n)++];

		*f = (struct dnsbl_finding){ .zone = z->zone, .action = z->action };
		for (size_t k = 0; k < COUNT(sets); k++)
			if (sets[k] != NULL)
				find(f, &sets[k][i]);
	}
	return v;
}
