/* SPDX-License-Identifier: ISC */
/*
 * dmarc_module: judges what strangers send by the domain in From.
 *
 * The walk starts when the header is complete; the final dot brings what SPF
 * and DKIM proved.  The evaluated policy and what is done with the message are
 * kept apart: an option governs the step from reject to a refusal, and a
 * softening keeps its reason for the reports.  Loop thread.
 */
#include <string.h>

#include "modules/arc/arc.h"
#include "modules/author.h"
#include "modules/dkim/dkim.h"
#include "modules/dmarc/dmarc.h"
#include "modules/module.h"
#include "modules/spf/spf.h"

enum { PASS, FAIL, NONE, TEMPERROR, PERMERROR, REFUSED, QUARANTINED, SOFTENED };

static const struct stat_def stats[] = {
	[PASS]        = { "pass",        "messages with an aligned identifier" },
	[FAIL]        = { "fail",        "messages without one" },
	[NONE]        = { "none",        "messages of domains without a record" },
	[TEMPERROR]   = { "temperror",   "messages that DNS left open" },
	[PERMERROR]   = { "permerror",   "messages whose From cannot be judged" },
	[REFUSED]     = { "refused",     "messages refused for DMARC" },
	[QUARANTINED] = { "quarantined", "messages quarantined for DMARC" },
	[SOFTENED]    = { "softened",    "messages spared the refusal that their policy asks for" },
};

struct dmarc_msg {
	struct mod           *mod;
	struct dmarc_check   *check;
	struct dmarc_outcome  unjudged;   /* From could not be judged, or nobody could be asked */
	const struct dmarc_outcome *outcome;
	enum dmarc_override   override;
	str                   decision;
};

const char *dmarc_override_word(enum dmarc_override o)
{
	static const char *const words[] = {
		[DMARC_LOCAL_POLICY] = "local_policy", [DMARC_MAILING_LIST] = "mailing_list",
		[DMARC_TRUSTED_FORWARDER] = "trusted_forwarder",
	};

	return words[o];
}

static const struct dmarc_conf *conf_of(const struct mod *m)
{
	static const struct dmarc_conf defaults = { .verify = true };

	return m->conf != NULL ? m->conf : &defaults;
}

static void body_next(struct mod *m)
{
	struct dmarc_msg *d = m->msg;

	d->mod = m;
	if (m->in->origin == FROM_STRANGER && m->in->from.state == FROM_GOOD && conf_of(m)->verify)
		d->check = dmarc_start(m->dns, m->arena, m->in->from.domain);
}

/* ---- what passed ---------------------------------------------------------- */

struct identifiers { struct dmarc_identifier *v; size_t n; };

static void spf_identifier(struct mod *m, struct identifiers *ids)
{
	const struct spf_outcome *spf = spf_state_mfrom(mod_other_msg(m, &spf_module));

	if (spf == NULL || spf->domain.n == 0 || (spf->result != SPF_PASS && spf->result != SPF_TEMPERROR))
		return;
	ids->v[ids->n++] = (struct dmarc_identifier){
		.domain = str_keep_lower(m->arena, spf->domain), .open = spf->result == SPF_TEMPERROR,
	};
}

static void dkim_identifiers(struct mod *m, struct identifiers *ids)
{
	const void *state = mod_other_msg(m, &dkim_module);
	size_t n;
	const struct dkim_verdict *v = dkim_state_verdicts(state, &n);

	for (size_t i = 0; i < n; i++)
		if (dkim_state_counts(state, &v[i]) || (v[i].result == DKIM_TEMPERROR && v[i].sig.domain.n > 0))
			ids->v[ids->n++] = (struct dmarc_identifier){
				.domain = v[i].sig.domain, .dkim = true, .open = v[i].result == DKIM_TEMPERROR,
			};
}

static bool identifiers_gather(struct mod *m, struct identifiers *ids)
{
	size_t signatures;

	dkim_state_verdicts(mod_other_msg(m, &dkim_module), &signatures);
	*ids = (struct identifiers){ ARENA_ARRAY(m->arena, struct dmarc_identifier, signatures + 1), 0 };
	if (ids->v == NULL)
		return false;
	spf_identifier(m, ids);
	dkim_identifiers(m, ids);
	return true;
}

/* ---- signs of an indirect way --------------------------------------------- */

/* List-Id with a valid signature of the list's domain. */
static bool came_by_list(struct mod *m)
{
	const void *state = mod_other_msg(m, &dkim_module);
	size_t n;
	const struct dkim_verdict *v = dkim_state_verdicts(state, &n);

	for (size_t i = 0; i < n; i++)
		if (dkim_state_counts(state, &v[i]) && list_is_within(m->in, v[i].sig.domain))
			return true;
	return false;
}

/* Strict alignment failed, but the author's own organization vouched. */
static bool came_from_the_organization(struct mod *m)
{
	const struct dmarc_outcome *o = ((struct dmarc_msg *)m->msg)->outcome;

	for (size_t i = 0; i < o->nids; i++)
		if (o->ids[i].same_org)
			return true;
	return false;
}

static bool came_by_trusted_forwarder(struct mod *m)
{
	return arc_trusted_results(m) > 0;
}

/* Whatever speaks for an indirect way stands here, one row each. */
static const struct {
	bool              (*shows)(struct mod *);
	enum dmarc_override reason;
	const char         *text;
} signs[] = {
	{ came_by_trusted_forwarder, DMARC_TRUSTED_FORWARDER, "a trusted forwarder has sealed that it passed there" },
	{ came_by_list, DMARC_MAILING_LIST, "the mailing list that its List-Id names has signed it" },
	{ came_from_the_organization, DMARC_LOCAL_POLICY, "another domain of the author's organization vouches for it" },
};

/* ---- from policy to action ------------------------------------------------ */

static enum say quarantined(struct mod *m, const char *because)
{
	struct dmarc_msg *d = m->msg;
	const struct dmarc_outcome *o = d->outcome;

	d->decision = arena_printf(m->arena, "DMARC failed for %.*s, whose policy is %s%s%s", STR_ARG(o->from_domain),
	                           dmarc_policy_word(o->disposition), because ? "; quarantined only, because " : "",
	                           because ? because : "");
	mod_reply(m, 250, "2.7.26", d->decision);
	stat_add(m->stats + QUARANTINED, 1);
	return SAY_QUARANTINE;
}

/* RFC 7372 3.4 for the code; RFC 9989 7.2 for what the text has to name. */
static enum say refused(struct mod *m)
{
	struct dmarc_msg *d = m->msg;
	const struct dmarc_outcome *o = d->outcome;

	d->decision = arena_printf(m->arena, "DMARC: %.*s has published a policy (p=reject at %.*s) to refuse mail that it "
	                           "did not authenticate, and %.*s; send it through the servers of that domain, or sign "
	                           "it with DKIM as that domain", STR_ARG(o->from_domain), STR_ARG(o->policy_domain),
	                           STR_ARG(o->reason));
	mod_reply(m, 550, "5.7.26", d->decision);
	stat_add(m->stats + REFUSED, 1);
	return SAY_REJECT;
}

static enum say reject_weigh(struct mod *m)
{
	struct dmarc_msg *d = m->msg;
	int action = conf_of(m)->action;

	if (action == DMARC_STRICT)
		return refused(m);
	for (size_t i = 0; i < COUNT(signs); i++)
		if (signs[i].shows(m)) {
			d->override = signs[i].reason;
			stat_add(m->stats + SOFTENED, 1);
			return quarantined(m, signs[i].text);
		}
	if (action == DMARC_HONOUR)
		return refused(m);
	d->override = DMARC_LOCAL_POLICY;
	stat_add(m->stats + SOFTENED, 1);
	return quarantined(m, "this server never refuses for DMARC alone (action = mild)");
}

/* p=none must not change how mail is treated (RFC 9989 5.4), also while DNS
 * leaves the verdict open. */
static bool policy_is_none(const struct dmarc_outcome *o)
{
	return o->has_policy && (o->published == DMARC_P_NONE || (o->testing && o->published == DMARC_P_QUARANTINE));
}

static enum say deferred(struct mod *m)
{
	struct dmarc_msg *d = m->msg;
	const struct dmarc_outcome *o = d->outcome;

	if (conf_of(m)->on_temperror == DMARC_ACCEPT || policy_is_none(o))
		return SAY_NEXT;
	d->decision = arena_printf(m->arena, "DMARC of %.*s cannot be judged now: %.*s; try again later",
	                           STR_ARG(o->from_domain), STR_ARG(o->reason));
	mod_reply(m, 451, "4.7.26", d->decision);
	return SAY_DEFER;
}

/* The policy's failure stands in the results; nothing follows from it. */
static enum say excused(struct mod *m, const struct trust_entry *e)
{
	struct dmarc_msg *d = m->msg;
	const struct dmarc_outcome *o = d->outcome;

	d->override = came_by_list(m) ? DMARC_MAILING_LIST : DMARC_TRUSTED_FORWARDER;
	d->decision = arena_printf(m->arena, "DMARC failed for %.*s, whose policy is %s; taken, because trust \"%.*s\" "
	                           "excuses it", STR_ARG(o->from_domain), dmarc_policy_word(o->disposition),
	                           STR_ARG(trust_name(e)));
	stat_add(m->stats + SOFTENED, 1);
	log_event(m->log, LOG_INFO, "verdict.excused", KV_C("said", dmarc_policy_word(o->disposition)),
	          KV("trust", trust_name(e)), KV("text", d->decision));
	return SAY_NEXT;
}

/* SPF speaks for those who hand the message over; when it is forwarded that is
 * somebody else, and only a signature still speaks for its author. */
static void weigh_forwarding(struct mod *m)
{
	const struct dmarc_outcome *o = ((struct dmarc_msg *)m->msg)->outcome;

	if ((o->result != DMARC_PASS && o->result != DMARC_FAIL) || o->dkim_aligned || !o->has_policy ||
	    o->published == DMARC_P_NONE || o->testing)
		return;
	mod_fragile(m, arena_printf(m->arena, "%.*s publishes p=%s for DMARC, and no signature of that domain holds",
	                            STR_ARG(o->policy_domain), dmarc_policy_word(o->published)));
}

static enum say decide(struct mod *m)
{
	static const unsigned counters[] = {
		[DMARC_PASS] = PASS, [DMARC_FAIL] = FAIL, [DMARC_NONE] = NONE, [DMARC_TEMPERROR] = TEMPERROR,
		[DMARC_PERMERROR] = PERMERROR,
	};
	const struct dmarc_outcome *o = ((struct dmarc_msg *)m->msg)->outcome;

	stat_add(m->stats + counters[o->result], 1);
	weigh_forwarding(m);
	if (o->result == DMARC_TEMPERROR)
		return deferred(m);
	if (o->disposition != DMARC_P_NONE && mod_excused(m) != NULL)
		return excused(m, mod_excused(m));
	if (o->disposition == DMARC_P_REJECT)
		return reject_weigh(m);
	return o->disposition == DMARC_P_QUARANTINE ? quarantined(m, NULL) : SAY_NEXT;
}

/* ---- the final dot -------------------------------------------------------- */

static void checked(struct dmarc_check *c, void *user)
{
	struct mod *m = user;
	struct dmarc_msg *d = m->msg;

	d->outcome = dmarc_outcome(c);
	mod_go(m, decide(m));
}

/* Nothing could be judged: a mail program would show what nobody vouched for. */
static enum say from_refused(struct mod *m)
{
	struct dmarc_msg *d = m->msg;
	const char *why = m->in->from.why != NULL ? m->in->from.why : "From cannot be judged";

	d->unjudged.result = DMARC_PERMERROR;
	d->unjudged.reason = str_of(why);
	d->outcome = &d->unjudged;
	d->decision = str_keep(m->arena, str_of(why));
	stat_add(m->stats + PERMERROR, 1);
	mod_reply(m, 550, "5.7.1", d->decision);
	return SAY_REJECT;
}

static enum say out_of_memory(struct mod *m)
{
	mod_reply(m, 452, "4.3.1", STR("There is no memory left to judge this message; try again later"));
	return SAY_DEFER;
}

static enum say message(struct mod *m)
{
	struct dmarc_msg *d = m->msg;
	struct identifiers ids;

	if (m->in->origin != FROM_STRANGER)
		return SAY_NEXT;
	if (m->in->from.state != FROM_GOOD)
		return from_refused(m);
	if (!conf_of(m)->verify)
		return SAY_NEXT;
	if (d->check == NULL || !identifiers_gather(m, &ids))
		return out_of_memory(m);
	if (!dmarc_finish(d->check, ids.v, ids.n, checked, m))
		return SAY_WAIT;
	d->outcome = dmarc_outcome(d->check);
	return decide(m);
}

/* RFC 9989 9.1, 9.2: these two properties are registered, no others. */
static void results(const struct mod *m, struct authres *r)
{
	const struct dmarc_msg *d = m->msg;
	const struct dmarc_outcome *o = d->outcome;

	if (o == NULL)
		return;
	authres_method(r, "dmarc", dmarc_result_word(o->result), o->reason);
	if (o->from_domain.n > 0)
		authres_property(r, "header.from", o->from_domain);
	if (o->has_policy && (o->result == DMARC_PASS || o->result == DMARC_FAIL)) {
		enum dmarc_policy p = o->published;

		if (o->testing && p != DMARC_P_NONE)
			p--;
		authres_property(r, "policy.dmarc", str_of(dmarc_policy_word(p)));
	}
}

static void done(struct mod *m)
{
	struct dmarc_msg *d = m->msg;

	if (d->check != NULL)
		dmarc_cancel(d->check);
}

const struct dmarc_outcome *dmarc_state_outcome(const void *msg)
{
	return msg == NULL ? NULL : ((const struct dmarc_msg *)msg)->outcome;
}

enum dmarc_override dmarc_state_override(const void *msg)
{
	return msg == NULL ? DMARC_AS_PUBLISHED : ((const struct dmarc_msg *)msg)->override;
}

str dmarc_state_decision(const void *msg)
{
	return msg == NULL ? STR_NONE : ((const struct dmarc_msg *)msg)->decision;
}

/* ---- the module ----------------------------------------------------------- */

static const char *const actions[] = { "honour", "strict", "mild", NULL };
static const char *const on_temperror[] = { "defer", "accept", NULL };

#define OPT(field, type_, name_, fallback_, help_) \
	.name = (name_), .type = (type_), .offset = offsetof(struct dmarc_conf, field), .fallback = (fallback_), \
	.help = (help_)

static const struct conf_option options[] = {
	{ OPT(verify, CONF_BOOL, "verify", "yes", "evaluate the policy of the domain in From; mail whose From cannot be judged is refused in any case") },
	{ OPT(action, CONF_WORD, "action", "honour", "honour refuses under p=reject unless something speaks for an indirect way; strict always refuses, mild never: it quarantines"), .words = actions },
	{ OPT(on_temperror, CONF_WORD, "temperror", "defer", "defer or accept mail whose verdict DNS leaves open"), .words = on_temperror },
	{ 0 },
};

static const struct conf_section section = {
	.name = "dmarc", .options = options, .size = sizeof(struct dmarc_conf),
	.help = "DMARC (RFC 9989): what is done with mail that the domain in From did not authenticate.",
};

static const char *const after[] = { "spf", "dkim", "arc", NULL };

const struct module dmarc_module = {
	.name      = "dmarc",
	.after     = after,
	.section   = &section,
	.stats     = stats,
	.nstats    = COUNT(stats),
	.msg_size  = sizeof(struct dmarc_msg),
	.body_next = body_next,
	.message   = message,
	.results   = results,
	.done      = done,
};
