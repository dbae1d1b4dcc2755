/* SPDX-License-Identifier: ISC */
/*
 * localsender_module: refuses a stranger's message with a local domain in MAIL
 * FROM unless SPF passes, or a valid signature shows that it began here.
 *
 * It asks DNS nothing: at the final dot SPF and DKIM have answered.  Not hit are
 * logins and devices, our own mail, null senders (bounces), return addresses of
 * ours (SRS, which the session knows), and whom `trust` excuses from this or
 * from spf.  What came for postmaster or abuse alone is taken, and marked.  Loop
 * thread.
 */
#include <stddef.h>

#include "modules/dkim/dkim.h"
#include "modules/localsender/localsender.h"
#include "modules/module.h"
#include "modules/role.h"
#include "modules/spf/spf.h"

struct localsender_conf {
	struct conf_head head;
	bool verify;
	int  on_unproven, on_temperror;           /* enum action */
};

enum action { MARK, QUARANTINE, DEFER, REJECT };

static const struct stat_def stats[] = {
	[LOCALSENDER_NOT_DONE]  = { "skipped",   "messages whose sender is not of a local domain, or not to be judged" },
	[LOCALSENDER_PROVEN]    = { "pass",      "messages from outside that may have a local sender" },
	[LOCALSENDER_UNPROVEN]  = { "unproven",  "messages from outside whose local sender nothing speaks for" },
	[LOCALSENDER_TEMPERROR] = { "temperror", "messages with a local sender that DNS left open" },
};

const char *localsender_result_word(enum localsender_result r)
{
	static const char *const words[] = {
		[LOCALSENDER_PROVEN] = "pass", [LOCALSENDER_UNPROVEN] = "unproven", [LOCALSENDER_TEMPERROR] = "temperror",
	};

	return (size_t)r < COUNT(words) ? words[r] : NULL;
}

static const struct localsender_conf *conf_of(const struct mod *m)
{
	static const struct localsender_conf defaults = { .verify = true, .on_unproven = REJECT, .on_temperror = DEFER };

	return m->conf != NULL ? m->conf : &defaults;
}

/* ---- what speaks for it ------------------------------------------------------ */

/* The best that a signature of the sender's own domain came to. */
static enum dkim_result own_signature(const struct mod *m)
{
	const void *state = mod_other_msg(m, &dkim_module);
	enum dkim_result best = DKIM_NONE;
	size_t n;
	const struct dkim_verdict *v = dkim_state_verdicts(state, &n);

	for (size_t i = 0; i < n; i++) {
		if (!str_eq_nocase(v[i].sig.domain, m->in->sender.domain))
			continue;
		if (dkim_state_counts(state, &v[i]))
			return DKIM_PASS;
		if (v[i].result == DKIM_TEMPERROR)
			best = DKIM_TEMPERROR;
	}
	return best;
}

static str unproven_text(struct mod *m, const struct spf_outcome *spf)
{
	return arena_printf(m->arena, "The sender's domain %.*s is served here, and SPF does not let %.*s send for it (%s): "
	                    "log in to a submission port (465 or 587), or have the domain's SPF record name this host",
	                    STR_ARG(m->in->sender.domain), STR_ARG(m->peer->ip), spf_result_word(spf->result));
}

static str temporary_text(struct mod *m)
{
	return arena_printf(m->arena, "The sender's domain %.*s is served here, and DNS cannot tell now whether %.*s may send "
	                    "for it: try again later", STR_ARG(m->in->sender.domain), STR_ARG(m->peer->ip));
}

static void weigh(struct mod *m, struct localsender_outcome *o)
{
	const struct spf_outcome *spf = spf_state_mfrom(mod_other_msg(m, &spf_module));
	enum dkim_result signature = DKIM_NONE;

	if (spf == NULL)                          /* evaluated for nobody: an option */
		return;
	if (spf->result != SPF_PASS)
		signature = own_signature(m);
	if (spf->result == SPF_PASS || signature == DKIM_PASS)
		*o = (struct localsender_outcome){ LOCALSENDER_PROVEN, spf->result == SPF_PASS ? STR("SPF passed") : STR("the message is signed here") };
	else if (spf->result == SPF_TEMPERROR || signature == DKIM_TEMPERROR)
		*o = (struct localsender_outcome){ LOCALSENDER_TEMPERROR, temporary_text(m) };
	else
		*o = (struct localsender_outcome){ LOCALSENDER_UNPROVEN, unproven_text(m, spf) };
}

/* ---- from result to action --------------------------------------------------- */

static bool for_open_roles_only(const struct message *in)
{
	for (size_t i = 0; i < in->nrcpts; i++)
		if (!role_is_open(&in->rcpts[i]))
			return false;
	return in->nrcpts > 0;
}

/* RFC 7372 3.2: X.7.23 for SPF that failed, X.7.24 for SPF that could not be done. */
static enum say say_it(struct mod *m, enum action action, const struct localsender_outcome *o)
{
	bool open = o->result == LOCALSENDER_TEMPERROR;

	if (action > QUARANTINE && for_open_roles_only(m->in))
		action = QUARANTINE;
	switch (action) {
	case QUARANTINE:
		return SAY_QUARANTINE;
	case DEFER:
		mod_reply(m, 451, open ? "4.7.24" : "4.7.23", o->reason);
		return SAY_DEFER;
	case REJECT:
		mod_reply(m, 550, "5.7.23", o->reason);
		return SAY_REJECT;
	default:
		return SAY_NEXT;
	}
}

static enum say message(struct mod *m)
{
	const struct localsender_conf *conf = conf_of(m);
	struct localsender_outcome *o = m->msg;

	if (m->in->origin == FROM_STRANGER && m->in->sender_is_local && conf->verify &&
	    mod_excused_as(m, &spf_module) == NULL)
		weigh(m, o);
	stat_add(m->stats + o->result, 1);
	if (o->result == LOCALSENDER_UNPROVEN)
		return say_it(m, (enum action)conf->on_unproven, o);
	if (o->result == LOCALSENDER_TEMPERROR)
		return say_it(m, (enum action)conf->on_temperror, o);
	return SAY_NEXT;
}

static void judged(const struct mod *m, struct judged *j)
{
	const struct localsender_outcome *o = localsender_state_outcome(m->msg);

	if (o != NULL)
		judged_add(j, "local-sender", localsender_result_word(o->result), o->reason);
}

const struct localsender_outcome *localsender_state_outcome(const void *msg)
{
	const struct localsender_outcome *o = msg;

	return o != NULL && o->result != LOCALSENDER_NOT_DONE ? o : NULL;
}

/* ---- the module ---------------------------------------------------------------- */

static const char *const actions[] = { "mark", "quarantine", "defer", "reject", NULL };
static const char *const later[] = { "mark", "quarantine", "defer", NULL };

#define OPT(field, type_, name_, fallback_, help_)                                            \
	.name = (name_), .type = (type_), .offset = offsetof(struct localsender_conf, field), \
	.fallback = (fallback_), .help = (help_)

static const struct conf_option options[] = {
	{OPT(verify, CONF_BOOL, "verify", "yes",
	     "ask that SPF passes (or a signature of the domain is valid) when MAIL FROM is of a local domain")},
	{OPT(on_unproven, CONF_WORD, "unproven", "reject", "what is done when neither is so; 550 5.7.23"),
	 .words = actions},
	{OPT(on_temperror, CONF_WORD, "temperror", "defer", "what is done when DNS cannot tell; 451 4.7.24"),
	 .words = later},
	{0},
};

static const struct conf_section section = {
	.name = "local-sender",
	.options = options,
	.size = sizeof(struct localsender_conf),
	.help = "Mail from outside with a local domain in MAIL FROM: it comes from a host that SPF names, or it was "
		"signed here and comes back. Without spf { verify } nobody is asked.",
};

static const char *const after[] = { "spf", "dkim", "arc", NULL };

const struct module localsender_module = {
	.name     = "local-sender",
	.after    = after,
	.section  = &section,
	.stats    = stats,
	.nstats   = COUNT(stats),
	.msg_size = sizeof(struct localsender_outcome),
	.message  = message,
	.judged   = judged,
};
