/* SPDX-License-Identifier: ISC */
/*
 * dmarc_evaluate: policy discovery, alignment and result (RFC 9989 4.10, 4.4, 5.3).
 *
 * The author's walk comes first and gives policy and Organizational Domain;
 * then each identifier that could align is looked at, with a walk of its own
 * where needed; then, only if np could change the answer, whether the Author
 * Domain exists.  What DNS could not say is "unknown", never "no record" and
 * never "fail".  Loop thread.
 */
#include <string.h>

#include "modules/dmarc/dmarc_walk.h"
#include "smtpd/mail/addr.h"

enum phase { AUTHOR_WALK, IDENTIFIERS, EXISTENCE, DONE };

struct dmarc_check {
	struct dmarc_walker   walker;
	struct arena         *arena;
	struct dns           *dns;
	struct dns_ask        exists_ask;
	struct dmarc_walk     author, other;
	struct dmarc_outcome  out;
	const struct dmarc_node *applies;  /* the record's node */
	enum phase            phase;
	size_t                at;          /* identifier under way */
	unsigned              walks;
	bool                  no_dns;      /* the Author Domain cannot be in DNS */
	bool                  author_done, finishing, existence_known, existence_failed, absent;
	dmarc_checked        *done;
	void                 *user;
};

const char *dmarc_result_word(enum dmarc_result r)
{
	static const char *const words[] = {
		[DMARC_NONE] = "none", [DMARC_PASS] = "pass", [DMARC_FAIL] = "fail",
		[DMARC_TEMPERROR] = "temperror", [DMARC_PERMERROR] = "permerror",
	};

	return words[r];
}

const char *dmarc_policy_word(enum dmarc_policy p)
{
	static const char *const words[] = {
		[DMARC_P_NONE] = "none", [DMARC_P_QUARANTINE] = "quarantine", [DMARC_P_REJECT] = "reject",
	};

	return words[p];
}

/* ---- policy discovery (RFC 9989 4.10.1) ----------------------------------- */

static void policy_discover(struct dmarc_check *c)
{
	const struct dmarc_walk *k = &c->author;
	const struct dmarc_node *last = k->n > 0 ? k->nodes[k->n - 1] : NULL;

	c->applies = dmarc_walk_record(k, k->start);
	c->out.incomplete = k->incomplete;
	if (k->incomplete)
		return;
	c->out.org_domain = dmarc_org(k);
	if (c->applies == NULL)
		c->applies = dmarc_walk_record(k, c->out.org_domain);
	if (c->applies == NULL && last != NULL && last->has_record && last->record.psd == DMARC_PSD_YES)
		c->applies = last;
}

static enum dmarc_policy policy_of(enum dmarc_tag t)
{
	return t == DMARC_TAG_REJECT ? DMARC_P_REJECT : t == DMARC_TAG_QUARANTINE ? DMARC_P_QUARANTINE : DMARC_P_NONE;
}

/* The policy for a domain that exists, and for one that does not. */
static enum dmarc_policy policy_chosen(const struct dmarc_check *c, bool absent)
{
	const struct dmarc_record *r = &c->applies->record;
	bool own = str_eq(c->applies->name, c->out.from_domain);

	if (dmarc_policies_bad(r))
		return DMARC_P_NONE;
	if (!own && absent && r->np > DMARC_TAG_BAD)
		return policy_of(r->np);
	if (!own && r->sp > DMARC_TAG_BAD)
		return policy_of(r->sp);
	return policy_of(r->p);
}

static bool existence_matters(const struct dmarc_check *c)
{
	return policy_chosen(c, true) != policy_chosen(c, false);
}

/* t=y: one level down (RFC 9989 4.7). */
static enum dmarc_policy policy_tested(const struct dmarc_outcome *o)
{
	return o->testing && o->published != DMARC_P_NONE ? o->published - 1 : o->published;
}

/* ---- the end -------------------------------------------------------------- */

static bool any(const struct dmarc_check *c, enum dmarc_align align)
{
	for (size_t i = 0; i < c->out.nids; i++)
		if (c->out.ids[i].align == align)
			return true;
	return false;
}

static void policy_settle(struct dmarc_check *c)
{
	struct dmarc_outcome *o = &c->out;

	o->testing = c->applies->record.testing;
	o->has_policy = c->existence_known || !existence_matters(c);
	o->published = policy_chosen(c, c->existence_known && c->absent);
}

static str failed_question(const struct dmarc_check *c)
{
	for (size_t i = c->walker.nsteps; i-- > 0;)
		if (dns_failed(c->walker.steps[i].status))
			return arena_printf(c->arena, "DNS could not answer for %.*s (%s)",
			                    STR_ARG(c->walker.steps[i].name),
			                    dns_status_text(c->walker.steps[i].status));
	return STR("SPF or DKIM could not be evaluated for now");
}

static str identifiers_text(const struct dmarc_check *c)
{
	str text = STR_NONE;

	for (size_t i = 0; i < c->out.nids && i < 10; i++)
		text = arena_printf(c->arena, "%.*s%s%s %.*s", STR_ARG(text), i == 0 ? "" : ", ",
		                    c->out.ids[i].dkim ? "DKIM" : "SPF", STR_ARG(c->out.ids[i].domain));
	return text;
}

static str fail_reason(const struct dmarc_check *c)
{
	if (c->out.nids == 0)
		return arena_printf(c->arena, "neither SPF nor DKIM passed for any domain");
	return arena_printf(c->arena, "what passed (%.*s) is not aligned with %.*s",
	                    STR_ARG(identifiers_text(c)), STR_ARG(c->out.from_domain));
}

static void concluded(struct dmarc_check *c, enum dmarc_result r, str reason)
{
	c->out.result = r;
	c->out.reason = reason;
	c->out.steps = c->walker.steps;
	c->out.nsteps = c->walker.nsteps;
	c->phase = DONE;
}

static void conclude(struct dmarc_check *c)
{
	struct dmarc_outcome *o = &c->out;

	for (size_t i = 0; i < o->nids; i++)
		if (o->ids[i].align == DMARC_ALIGNED) {
			o->dkim_aligned = o->dkim_aligned || o->ids[i].dkim;
			o->spf_aligned = o->spf_aligned || !o->ids[i].dkim;
		}
	policy_settle(c);
	if (o->spf_aligned || o->dkim_aligned) {
		concluded(c, DMARC_PASS, STR_NONE);
	} else if (any(c, DMARC_ALIGN_UNKNOWN) || c->existence_failed) {
		o->incomplete = true;
		concluded(c, DMARC_TEMPERROR, failed_question(c));
	} else {
		o->disposition = policy_tested(o);
		concluded(c, DMARC_FAIL, fail_reason(c));
	}
}

/* ---- existence (RFC 9989 3.2.13) ------------------------------------------ */

static void existence_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct dmarc_check *c = ask->user;

	dmarc_step_note(&c->walker, c->out.from_domain, a->status, NULL, 0);
	c->existence_failed = dns_failed(a->status);
	c->existence_known = !c->existence_failed;
	/* Behind an alias the code speaks of the target (RFC 6604). */
	c->absent = a->status == DNS_NXDOMAIN && !a->cname;
	conclude(c);
	c->done(c, c->user);
}

static bool existence_begin(struct dmarc_check *c)
{
	if (any(c, DMARC_ALIGNED) || any(c, DMARC_ALIGN_UNKNOWN) || !existence_matters(c)) {
		conclude(c);
		return true;
	}
	c->phase = EXISTENCE;
	dns_ask(c->dns, &c->exists_ask, c->arena, c->out.from_domain, DNS_A, 0, existence_arrived, c);
	return false;
}

/* ---- alignment (RFC 9989 4.4, 4.10.2) ------------------------------------- */

static bool is_strict(const struct dmarc_check *c, const struct dmarc_identifier *id)
{
	return id->dkim ? c->applies->record.adkim_strict : c->applies->record.aspf_strict;
}

static void aligned(struct dmarc_identifier *id)
{
	id->align = id->open ? DMARC_ALIGN_UNKNOWN : DMARC_ALIGNED;
}

/* Some name above both: only then could one organization hold them. */
static bool share_a_label(str a, str b)
{
	return str_eq(dmarc_rightmost(a, 1), dmarc_rightmost(b, 1));
}

/* True: decided without a walk of its own. */
static bool align_at_once(const struct dmarc_check *c, struct dmarc_identifier *id)
{
	const struct dmarc_outcome *o = &c->out;

	id->align = DMARC_UNALIGNED;
	if (!domain_valid(id->domain))
		return true;
	if (str_eq(id->domain, o->from_domain)) {
		aligned(id);
		return true;
	}
	if (is_strict(c, id)) {
		id->same_org = !id->open && o->org_domain.n > 0 &&
		               (str_eq(id->domain, o->org_domain) || dmarc_below(id->domain, o->org_domain));
		return true;
	}
	if (o->org_domain.n == 0) {     /* the author's walk was cut short */
		if (share_a_label(id->domain, o->from_domain))
			id->align = DMARC_ALIGN_UNKNOWN;
		return true;
	}
	if (str_eq(id->domain, o->org_domain)) {
		id->org = o->org_domain;
		aligned(id);
		return true;
	}
	return !dmarc_below(id->domain, o->org_domain);
}

static void identifier_walked(struct dmarc_check *c)
{
	struct dmarc_identifier *id = &c->out.ids[c->at];

	if (c->other.incomplete) {
		id->align = DMARC_ALIGN_UNKNOWN;
		return;
	}
	id->org = dmarc_org(&c->other);
	if (str_eq(id->org, c->out.org_domain))
		aligned(id);
}

/* A name seen before is not walked again. */
static bool align_as_before(const struct dmarc_check *c, struct dmarc_identifier *id)
{
	for (size_t i = 0; i < c->at; i++) {
		const struct dmarc_identifier *b = &c->out.ids[i];

		if (!str_eq(b->domain, id->domain) || b->org.n == 0)
			continue;
		id->org = b->org;
		if (str_eq(id->org, c->out.org_domain))
			aligned(id);
		return true;
	}
	return false;
}

/* True: everything is decided at once. */
static bool identifiers_go_on(struct dmarc_check *c)
{
	c->phase = IDENTIFIERS;
	for (; c->at < c->out.nids; c->at++) {
		struct dmarc_identifier *id = &c->out.ids[c->at];

		if (align_at_once(c, id) || align_as_before(c, id))
			continue;
		if (c->walks++ >= DMARC_WALKS_MAX) {
			id->align = DMARC_ALIGN_UNKNOWN;
			continue;
		}
		if (!dmarc_walk(&c->walker, &c->other, id->domain))
			return false;
		identifier_walked(c);
	}
	return existence_begin(c);
}

/* ---- the course of it ----------------------------------------------------- */

static bool evaluate(struct dmarc_check *c)
{
	struct dmarc_outcome *o = &c->out;

	if (c->no_dns) {
		concluded(c, DMARC_NONE, STR("the Author Domain is no name that DNS can hold"));
		return true;
	}
	policy_discover(c);
	if (c->applies == NULL && c->author.incomplete) {
		concluded(c, DMARC_TEMPERROR, failed_question(c));
		return true;
	}
	if (c->applies == NULL) {
		concluded(c, DMARC_NONE, STR("no DMARC record applies"));
		return true;
	}
	if (dmarc_policies_bad(&c->applies->record) && !c->applies->record.rua_valid) {
		concluded(c, DMARC_NONE, arena_printf(c->arena, "the DMARC record of %.*s has no valid policy",
		                                      STR_ARG(c->applies->name)));
		return true;
	}
	o->policy_domain = c->applies->name;
	o->parsed = &c->applies->record;
	o->record = c->applies->record.text;
	return identifiers_go_on(c);
}

static void walked(void *arg)
{
	struct dmarc_check *c = arg;

	if (c->phase == AUTHOR_WALK) {
		c->author_done = true;
		if (c->finishing && evaluate(c))
			c->done(c, c->user);
		return;
	}
	identifier_walked(c);
	c->at++;
	if (identifiers_go_on(c))
		c->done(c, c->user);
}

static bool author_read(struct dmarc_check *c, str domain)
{
	str ascii;

	if (domain.n == 0 || domain.p[0] == '[' || !domain_to_ascii(c->arena, domain, &ascii))
		return false;
	c->out.from_domain = ascii;
	return domain_valid(ascii);
}

struct dmarc_check *dmarc_start(struct dns *dns, struct arena *a, str author_domain)
{
	struct dmarc_check *c = ARENA_NEW(a, struct dmarc_check);

	if (c == NULL)
		return NULL;
	c->arena = a;
	c->dns = dns;
	c->walker = (struct dmarc_walker){ .dns = dns, .arena = a, .walked = walked, .arg = c };
	c->out.from_domain = str_keep(a, author_domain);
	if (!author_read(c, author_domain))
		c->no_dns = c->author_done = true;
	else
		c->author_done = dmarc_walk(&c->walker, &c->author, c->out.from_domain);
	return c;
}

bool dmarc_finish(struct dmarc_check *c, struct dmarc_identifier *ids, size_t n, dmarc_checked *done, void *user)
{
	c->out.ids = ids;
	c->out.nids = n;
	c->done = done;
	c->user = user;
	c->finishing = true;
	return c->author_done && evaluate(c);
}

void dmarc_cancel(struct dmarc_check *c)
{
	dns_cancel(&c->walker.ask);
	dns_cancel(&c->exists_ask);
	c->phase = DONE;
}

const struct dmarc_outcome *dmarc_outcome(const struct dmarc_check *c)
{
	return c != NULL && c->out.result != DMARC_NOT_DONE ? &c->out : NULL;
}
