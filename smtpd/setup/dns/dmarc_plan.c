/* SPDX-License-Identifier: ISC */
/*
 * dmarc_plan: each thing that speaks for or against the next step is one function.
 * Pure.
 */
#include "smtpd/setup/dns/dmarc_plan.h"

#include <string.h>

#include "smtpd/base/buf.h"

#define WORDS_MOST 60
#define A_DAY      86400

struct planning {
	const struct plan_facts *f;
	struct arena            *arena;
	struct dmarc_plan       *out;
	const struct dmarc_record *rec;       /* its own; NULL: none that counts */
	struct dmarc_record      own;
	size_t                   against;
};

const char *plan_step_word(enum plan_step s)
{
	static const char *const words[] = {
		[PLAN_BEGIN] = "begin", [PLAN_MEND] = "mend", [PLAN_STAY] = "stay", [PLAN_GO_ON] = "go-on", [PLAN_DONE] = "done",
	};

	return words[s];
}

static void say(struct planning *p, bool against, str text, str todo)
{
	if (p->out->n == WORDS_MOST || p->out->words == NULL)
		return;
	p->out->words[p->out->n++] = (struct plan_word){ against, text, todo };
	p->against += against;
}

#define SAYS(p, ...) arena_printf((p)->arena, __VA_ARGS__)

/* ---- what is there ------------------------------------------------------------------------------ */

static const struct dmarc_step *own_step(const struct planning *p)
{
	return p->f->seen != NULL && p->f->seen->nsteps > 0 ? &p->f->seen->steps[0] : NULL;
}

/* t=y goes one level down (RFC 9989 4.7). */
static enum dmarc_policy in_force(const struct dmarc_record *r)
{
	enum dmarc_policy policy = r->p >= DMARC_TAG_NONE ? (enum dmarc_policy)(r->p - DMARC_TAG_NONE) : DMARC_P_NONE;

	if (dmarc_policies_bad(r))
		return DMARC_P_NONE;
	return r->testing && policy > DMARC_P_NONE ? policy - 1 : policy;
}

static void see_record(struct planning *p)
{
	const struct dmarc_step *own = own_step(p);

	if (own != NULL && own->records == 1 && dmarc_record_parse(own->record, &p->own)) {
		p->rec = &p->own;
		p->out->has_record = true;
		p->out->present = in_force(p->rec);
	} else if (p->f->seen != NULL && p->f->seen->has_policy) {
		p->out->present = p->f->seen->published;
	}
}

/* ---- what speaks against a step --------------------------------------------------------------------- */

static void judge_signing(struct planning *p)
{
	const struct plan_facts *f = p->f;
	size_t out = 0;

	if (!f->ours) {
		say(p, true, SAYS(p, "the domain is not in this server's configuration, so what signs for it cannot be seen from here"),
		    STR("run this where its mail is signed"));
		return;
	}
	for (size_t i = 0; i < f->n_keys; i++) {
		const struct plan_key *k = &f->keys[i];

		out += k->shown == PLAN_SHOWN;
		if (k->shown == PLAN_ABSENT || k->shown == PLAN_OTHER)
			say(p, true, SAYS(p, "the key %.*s signs, but DNS shows %s for it: what it signs fails", STR_ARG(k->selector),
			    k->shown == PLAN_ABSENT ? "nothing" : "another record"),
			    SAYS(p, "publish the record of %.*s._domainkey that `postern dns %.*s` prints", STR_ARG(k->selector), STR_ARG(f->domain)));
		if (k->shown == PLAN_UNKNOWN)
			say(p, true, SAYS(p, "DNS did not say what it has for the key %.*s", STR_ARG(k->selector)), STR("ask again later"));
	}
	if (f->n_keys == 0)
		say(p, true, STR("nothing signs for the domain: SPF alone breaks at every forwarder, and a policy would hit that mail"),
		    f->keys_wait ? SAYS(p, "its keys wait for DNS: `postern key list %.*s` says what for", STR_ARG(f->domain))
		                 : SAYS(p, "write keys {} into domain \"%.*s\" { }, run `postern key step %.*s`, and publish the records that it names",
		         STR_ARG(f->domain), STR_ARG(f->domain)));
	else if (out > 0)
		say(p, false, SAYS(p, "mail of the domain is signed with d=%.*s, which is aligned, and DNS shows the key", STR_ARG(f->domain)),
		    STR_NONE);
}

static void judge_spf(struct planning *p)
{
	const struct spf_tree *t = p->f->spf;

	if (t == NULL)
		return;
	if (t->root->state == SPF_NODE_FAILED)
		say(p, true, STR("DNS did not say what SPF record the domain has"), STR("ask again later"));
	else if (t->faults > 0)
		say(p, true, SAYS(p, "SPF is broken: %.*s", STR_ARG(t->findings[0].text)),
		    SAYS(p, "`postern spf check %.*s` says what to do", STR_ARG(p->f->domain)));
	else
		say(p, false, SAYS(p, "the SPF record holds, with %u of %u look-ups", t->lookups, SPF_TREE_LOOKUPS), STR_NONE);
}

static void judge_reports(struct planning *p)
{
	if (p->rec == NULL)
		return;
	if (!p->rec->rua_valid)
		say(p, true, STR("the record names no address for reports (rua=), so nobody sees which mail would be hit"),
		    STR("publish the record below, and wait for reports"));
	for (size_t i = 0; i < p->f->n_reports; i++) {
		const struct plan_report *r = &p->f->reports[i];

		if (!r->elsewhere || r->consent == PLAN_SHOWN)
			continue;
		say(p, r->consent == PLAN_ABSENT, SAYS(p, r->consent == PLAN_ABSENT
		    ? "reports to %.*s are never sent: %.*s does not say that it wants them"
		    : "whether %.*s gets reports is not known: DNS did not answer for %.*s", STR_ARG(r->address), STR_ARG(r->host)),
		    SAYS(p, "the operator of %.*s has to publish %.*s._report._dmarc.%.*s TXT \"v=DMARC1\"", STR_ARG(r->host),
		         STR_ARG(p->f->domain), STR_ARG(r->host)));
	}
}

static void judge_age(struct planning *p)
{
	const struct plan_facts *f = p->f;
	int64_t days = f->since > 0 && f->now > f->since ? (f->now - f->since) / A_DAY : 0;

	if (p->rec == NULL || p->out->present == DMARC_P_REJECT)
		return;
	if (days >= DMARC_PLAN_DAYS) {
		say(p, false, SAYS(p, "this policy has been there for %lld days", (long long)days), STR_NONE);
		return;
	}
	p->out->wait_days = DMARC_PLAN_DAYS - days;
	say(p, true, f->since > 0 && f->since < f->now
	    ? SAYS(p, "this policy has been seen for %lld day%s, %d are wanted", (long long)days, days == 1 ? "" : "s", DMARC_PLAN_DAYS)
	    : f->since > 0 ? STR("this policy is seen for the first time now") : STR("since when this policy has been there is not known here"),
	    f->since == 0 ? STR("say --since DAY once you know") : SAYS(p, "read the reports meanwhile, and come back in %lld day%s (or say --since DAY if it is older)",
	         (long long)p->out->wait_days, p->out->wait_days == 1 ? "" : "s"));
}

/* ---- what is worth knowing ------------------------------------------------------------------------------- */

static bool has_tag(str record, const char *name)
{
	str tag;

	while (str_cut(&record, ';', &tag))
		if (str_is_nocase(str_trim(str_head(tag, str_find(tag, '='))), name))
			return true;
	return false;
}

static void judge_tags(struct planning *p)
{
	static const char *const old[] = { "pct", "rf", "ri" };

	if (p->rec == NULL)
		return;
	for (size_t i = 0; i < COUNT(old); i++)
		if (has_tag(p->rec->text, old[i]))
			say(p, false, SAYS(p, "%s= is no longer part of DMARC (RFC 9989): some receivers still go by it, others ignore it", old[i]),
			    STR("the next record goes without it"));
	if (p->rec->testing)
		say(p, false, STR("t=y: receivers apply the policy one step milder"), STR_NONE);
	if (p->rec->sp == DMARC_TAG_NONE && p->rec->p > DMARC_TAG_NONE)
		say(p, false, STR("sp=none leaves every subdomain open to forgers"), STR("take sp= out once mail from subdomains passes, too"));
}

static void judge_rest(struct planning *p)
{
	for (size_t i = 0; i < p->f->below.n; i++)
		say(p, false, SAYS(p, "%.*s falls under this policy unless it has a record of its own", STR_ARG(p->f->below.v[i])),
		    SAYS(p, "`postern dmarc plan %.*s`", STR_ARG(p->f->below.v[i])));
	if (p->rec == NULL && p->f->seen != NULL && p->f->seen->has_policy)
		say(p, false, SAYS(p, "until it has a record of its own, that of %.*s applies: %s", STR_ARG(p->f->seen->policy_domain),
		    dmarc_policy_word(p->f->seen->published)), STR_NONE);
	if (p->out->present == DMARC_P_QUARANTINE)
		say(p, false, STR("with p=reject posts to mailing lists may be lost, and readers be thrown off the lists (RFC 9989 7.4)"),
		    STR("stay at p=quarantine if people of this domain post to lists"));
	say(p, false, STR("postern reads no reports of others (aggregate reports)"),
	    STR("see in them that every row of your own senders passes, by dkim or spf"));
}

/* ---- the next record -------------------------------------------------------------------------------------------- */

static const char *const policies[] = { "none", "quarantine", "reject" };

static void add_policy(struct buf *b, const char *name, enum dmarc_tag tag)
{
	if (tag >= DMARC_TAG_NONE)
		buf_addf(b, "; %s=%s", name, policies[tag - DMARC_TAG_NONE]);
}

/* rua= of the record that a domain would begin with. */
static str first_reports(const struct planning *p)
{
	struct dmarc_record first;

	return dmarc_record_parse(p->f->first, &first) ? first.rua : STR_NONE;
}

/* `!10m` behind a URI is obsolete (RFC 9989 4.8). */
static void add_uris(struct buf *b, const char *name, str uris)
{
	str uri;
	bool first = true;

	if (uris.n == 0)
		return;
	buf_addf(b, "; %s=", name);
	while (str_cut(&uris, ',', &uri)) {
		uri = str_trim(uri);
		buf_addf(b, "%s%.*s", first ? "" : ",", STR_ARG(str_head(uri, str_find(uri, '!'))));
		first = false;
	}
}

static str record_with(struct planning *p, enum dmarc_policy policy)
{
	const struct dmarc_record *r = p->rec;
	struct buf b;
	str text;

	buf_init(&b, 64 << 10);
	buf_addf(&b, "v=DMARC1; p=%s", policies[policy]);
	if ((int)r->sp - DMARC_TAG_NONE != (int)policy)
		add_policy(&b, "sp", r->sp);
	if (policy == DMARC_P_QUARANTINE && p->out->step == PLAN_GO_ON)
		add_policy(&b, "np", DMARC_TAG_REJECT);
	else if (policy != DMARC_P_REJECT)
		add_policy(&b, "np", r->np);
	if (r->adkim_strict)
		buf_add(&b, STR("; adkim=s"));
	if (r->aspf_strict)
		buf_add(&b, STR("; aspf=s"));
	if (r->psd != DMARC_PSD_UNKNOWN)
		buf_addf(&b, "; psd=%s", r->psd == DMARC_PSD_YES ? "y" : "n");
	add_uris(&b, "rua", r->rua_valid ? r->rua : first_reports(p));
	add_uris(&b, "ruf", r->ruf);
	if (r->ruf.n > 0 && r->fo.n > 0)
		buf_addf(&b, "; fo=%.*s", STR_ARG(r->fo));
	text = b.failed ? STR_NONE : str_keep(p->arena, buf_str(&b));
	buf_fini(&b);
	return text;
}

/* ---- the step ----------------------------------------------------------------------------------------------------- */

static void begin(struct planning *p)
{
	const struct dmarc_step *own = own_step(p);

	p->out->step = own != NULL && own->records > 1 ? PLAN_MEND : PLAN_BEGIN;
	p->out->record = p->f->first;
	p->out->summary = own != NULL && own->records > 1
		? SAYS(p, "%.*s has %zu DMARC records, and receivers take none of them: publish this one alone", STR_ARG(p->f->domain), own->records)
		: SAYS(p, "%.*s has no DMARC record: publish this one, which asks for reports and changes nothing else", STR_ARG(p->f->domain));
}

static void go_on(struct planning *p)
{
	struct dmarc_plan *o = p->out;

	if (dmarc_policies_bad(p->rec)) {
		o->step = PLAN_MEND;
		o->record = record_with(p, DMARC_P_NONE);
		o->summary = STR("a policy in the record (p=, sp= or np=) is missing or misspelt, so receivers act as if it said p=none, or not at all");
	} else if (o->present == DMARC_P_REJECT) {
		o->step = PLAN_DONE;
		o->safe = DMARC_P_REJECT;
		o->summary = p->against > 0 ? STR("p=reject is in force though something speaks against it: mend that, or go back to p=quarantine")
		                            : STR("p=reject is in force: there is no step left");
	} else if (p->against > 0) {
		o->step = PLAN_STAY;
		o->record = p->rec->rua_valid ? STR_NONE : record_with(p, o->present);
		o->summary = SAYS(p, "stay at p=%s for now", policies[o->present]);
	} else {
		o->step = PLAN_GO_ON;
		o->safe = o->present + 1;
		o->record = record_with(p, o->safe);
		o->summary = SAYS(p, "p=%s is safe now, as far as can be seen from here", policies[o->safe]);
	}
}

enum err dmarc_plan_make(const struct plan_facts *f, struct arena *a, struct dmarc_plan *out)
{
	struct planning p = { .f = f, .arena = a, .out = out };

	*out = (struct dmarc_plan){ .words = ARENA_ARRAY(a, struct plan_word, WORDS_MOST) };
	see_record(&p);
	judge_signing(&p);
	judge_spf(&p);
	judge_reports(&p);
	judge_age(&p);
	judge_tags(&p);
	judge_rest(&p);
	out->safe = out->present;
	if (p.rec == NULL)
		begin(&p);
	else
		go_on(&p);
	if (p.against > 1 || out->step != PLAN_STAY)
		out->wait_days = 0;
	return a->spent ? ERR_MEMORY : OK;
}
