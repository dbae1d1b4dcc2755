/* SPDX-License-Identifier: ISC */
/*
 * spf_module: SPF of strangers' mail, for MAIL FROM and for HELO.
 *
 * Both checks start at MAIL, so that the final dot seldom waits for them; RCPT
 * waits only where an option may refuse.  Mail of a login or of our own is not
 * asked about.  permerror never refuses by itself.  Loop thread.
 */
#include <string.h>

#include "modules/module.h"
#include "modules/spf/spf.h"
#include "smtpd/mail/trace.h"

struct spf_conf {
	struct conf_head head;
	bool     verify, helo;
	uint64_t lookups, voids, names, timeout_ms;
	int      on_fail, on_softfail, on_neutral, on_none, on_temperror, on_permerror, on_helo_fail;   /* enum action */
};

enum action { MARK, QUARANTINE, DEFER, REJECT };

static const struct stat_def stats[] = {
	[SPF_NOT_DONE]  = { "skipped",   "messages that SPF was not evaluated for" },
	[SPF_NONE]      = { "none",      "senders without a record" },
	[SPF_NEUTRAL]   = { "neutral",   "senders whose record says nothing about the client" },
	[SPF_PASS]      = { "pass",      "clients that may send for the sender's domain" },
	[SPF_FAIL]      = { "fail",      "clients that may not" },
	[SPF_SOFTFAIL]  = { "softfail",  "clients that probably may not" },
	[SPF_TEMPERROR] = { "temperror", "senders that DNS gave no answer for" },
	[SPF_PERMERROR] = { "permerror", "senders whose record is faulty" },
};

struct spf_state {
	struct spf_check *mfrom, *helo;      /* the same when the sender is null; NULL: not asked */
	unsigned          out;               /* checks not yet answered */
	enum { NOBODY_WAITS, RCPT_WAITS, MESSAGE_WAITS } waiting;
	bool              refused;           /* a recipient was, for this */
};

static const struct spf_conf *conf_of(const struct mod *m)
{
	static const struct spf_conf defaults = {
		.verify = true, .helo = true, .lookups = 10, .voids = 2, .names = 10, .timeout_ms = 20000,
	};

	return m->conf != NULL ? m->conf : &defaults;
}

/* ---- from result to action ------------------------------------------------ */

static enum action action_for(const struct spf_conf *conf, const struct spf_outcome *o)
{
	switch (o->result) {
	case SPF_FAIL:
		return (enum action)conf->on_fail;
	case SPF_SOFTFAIL:
		return (enum action)conf->on_softfail;
	case SPF_NEUTRAL:
		return (enum action)conf->on_neutral;
	case SPF_NONE:
		return (enum action)conf->on_none;
	case SPF_TEMPERROR:
		return (enum action)conf->on_temperror;
	case SPF_PERMERROR:
		return (enum action)conf->on_permerror;
	default:
		return MARK;
	}
}

/* What the option said, and about which of the two identities. */
struct judgement { enum action action; const struct spf_outcome *about; };

static struct judgement judge(const struct mod *m)
{
	const struct spf_conf    *conf = conf_of(m);
	const struct spf_outcome *mfrom = spf_state_mfrom(m->msg), *helo = spf_state_helo(m->msg);
	struct judgement          j = { MARK, mfrom };

	if (mfrom != NULL)
		j.action = action_for(conf, mfrom);
	if (helo != NULL && helo->result == SPF_FAIL && (enum action)conf->on_helo_fail > j.action)
		j = (struct judgement){ (enum action)conf->on_helo_fail, helo };
	return j;
}

/* RFC 7208 8.4: what the domain's owner says must not look like our own words. */
static str refusal_text(struct mod *m, const struct spf_outcome *o)
{
	const char *identity = o->scope == SPF_HELO ? "HELO" : "MAIL FROM";
	str         text;

	if (o->result != SPF_FAIL && o->result != SPF_SOFTFAIL)
		return arena_printf(m->arena, "SPF of %s domain %.*s: %.*s", identity,
		                    STR_ARG(o->domain), STR_ARG(o->reason));
	text = arena_printf(m->arena, "SPF: %.*s may not send mail for the %s domain %.*s (%s): "
	                    "send it through the servers of that domain, or ask its owner to add this one",
	                    STR_ARG(m->peer->ip), identity, STR_ARG(o->domain),
	                    spf_result_word(o->result));
	if (o->explanation.n == 0)
		return text;
	return arena_printf(m->arena, "%.*s\nThe owner of %.*s explains: %.*s", STR_ARG(text),
	                    STR_ARG(o->domain), STR_ARG(o->explanation));
}

/* RFC 7372 3.2: x.7.23 for a failed check, x.7.24 for one that could not be done. */
static enum say say_it(struct mod *m, struct judgement j)
{
	bool error = j.about != NULL &&
	             (j.about->result == SPF_TEMPERROR || j.about->result == SPF_PERMERROR);

	if (j.action == QUARANTINE)
		return SAY_QUARANTINE;
	if (j.action == DEFER) {
		mod_reply(m, 451, error ? "4.7.24" : "4.7.23", refusal_text(m, j.about));
		return SAY_DEFER;
	}
	if (j.action == REJECT) {
		mod_reply(m, 550, error ? "5.7.24" : "5.7.23", refusal_text(m, j.about));
		return SAY_REJECT;
	}
	return SAY_NEXT;
}

/* A recipient is refused or not; to mark is the message's affair. */
static enum say rcpt_verdict(struct mod *m)
{
	struct spf_state *s = m->msg;
	enum say          say = say_it(m, judge(m));

	if (say < SAY_DEFER)
		return SAY_NEXT;
	s->refused = true;
	return say;
}

/* What is left after recipients were refused goes to one who never is
 * (postmaster): it is taken, and marked. */
static enum say message_verdict(struct mod *m)
{
	struct spf_state *s = m->msg;
	struct judgement  j = judge(m);

	if (s->refused && j.action > QUARANTINE)
		j.action = QUARANTINE;
	return say_it(m, j);
}

static bool may_refuse(const struct spf_conf *c)
{
	const int actions[] = { c->on_fail, c->on_softfail, c->on_neutral, c->on_none,
	                        c->on_temperror, c->on_helo_fail };

	for (size_t i = 0; i < COUNT(actions); i++)
		if (actions[i] >= DEFER)
			return true;
	return false;
}

/* ---- the checks ----------------------------------------------------------- */

static void checked(struct spf_check *c, void *user)
{
	struct mod       *m = user;
	struct spf_state *s = m->msg;
	bool              rcpt_waits = s->waiting == RCPT_WAITS;

	if (c == s->mfrom)
		stat_add(m->stats + spf_outcome(c)->result, 1);
	if (--s->out > 0 || s->waiting == NOBODY_WAITS)
		return;
	s->waiting = NOBODY_WAITS;
	mod_go(m, rcpt_waits ? rcpt_verdict(m) : message_verdict(m));
}

static struct spf_check *start(struct mod *m, enum spf_scope scope)
{
	const struct spf_conf *conf = conf_of(m);
	struct spf_state      *s = m->msg;
	struct spf_query       q = {
		.helo = m->peer->helo,
		.sender = m->in->sender,
		.scope = scope,
		.receiver = m->in->host,
		.limits = { (unsigned)conf->lookups, (unsigned)conf->voids, (unsigned)conf->names,
		            conf->timeout_ms },
	};
	struct spf_check *c;

	memcpy(&q.ip, &m->peer->addr, sizeof(m->peer->addr));
	c = spf_start(m->dns, m->arena, &q, checked, m);
	s->out += c != NULL;
	return c;
}

static enum say mail(struct mod *m, const struct path *from)
{
	const struct spf_conf *conf = conf_of(m);
	struct spf_state      *s = m->msg;

	if (m->in->origin != FROM_STRANGER || !conf->verify ||
	    m->peer->addr.sa.sa_family == AF_UNSPEC) {
		stat_add(m->stats + SPF_NOT_DONE, 1);
		return SAY_NEXT;
	}
	s->mfrom = start(m, SPF_MAIL_FROM);
	if (from->is_null)
		s->helo = s->mfrom;              /* RFC 7208 2.4: it is postmaster@HELO's */
	else if (conf->helo)
		s->helo = start(m, SPF_HELO);
	return SAY_NEXT;
}

static enum say rcpt(struct mod *m, const struct path *to)
{
	struct spf_state *s = m->msg;

	if (s->mfrom == NULL || path_is_postmaster(to) || !may_refuse(conf_of(m)))
		return SAY_NEXT;
	if (s->out == 0)
		return rcpt_verdict(m);
	s->waiting = RCPT_WAITS;
	return SAY_WAIT;
}

static enum say message(struct mod *m)
{
	struct spf_state *s = m->msg;

	if (s->mfrom == NULL)
		return SAY_NEXT;
	if (s->out == 0)
		return message_verdict(m);
	s->waiting = MESSAGE_WAITS;
	return SAY_WAIT;
}

static void done(struct mod *m)
{
	struct spf_state *s = m->msg;

	s->waiting = NOBODY_WAITS;
	spf_cancel(s->mfrom);
	spf_cancel(s->helo);
}

/* ---- what is written ------------------------------------------------------ */

static bool says_why(enum spf_result r)
{
	return r != SPF_PASS && r != SPF_NONE;
}

static void write_result(struct authres *r, const struct spf_outcome *o, const char *property,
                         str value)
{
	authres_method(r, "spf", spf_result_word(o->result),
	               says_why(o->result) ? o->reason : STR_NONE);
	authres_property(r, property, value);
}

/* RFC 8601 2.7.2 */
static void results(const struct mod *m, struct authres *r)
{
	const struct spf_outcome *mfrom = spf_state_mfrom(m->msg), *helo = spf_state_helo(m->msg);

	if (mfrom != NULL && mfrom->scope == SPF_MAIL_FROM)
		write_result(r, mfrom, "smtp.mailfrom", m->in->sender.text);
	if (helo != NULL)
		write_result(r, helo, "smtp.helo", helo->domain);
}

/* RFC 7208 9.1 */
static enum say queue(struct mod *m, struct added *add)
{
	const struct spf_outcome *o = spf_state_mfrom(m->msg);
	struct trace_spf          t;

	if (o == NULL)
		return SAY_NEXT;
	t = (struct trace_spf){
		.result = str_of(spf_result_word(o->result)),
		.comment = o->reason,
		.client_ip = m->peer->ip,
		.envelope_from = m->in->sender.text,
		.helo = m->peer->helo,
		.receiver = m->in->host,
		.identity = o->scope == SPF_HELO ? STR("helo") : STR("mailfrom"),
		.mechanism = o->mechanism,
	};
	if (o->result == SPF_TEMPERROR || o->result == SPF_PERMERROR) {
		t.comment = STR_NONE;
		t.problem = o->reason;
	}
	added_field(add, trace_received_spf(m->arena, &t));
	return SAY_NEXT;
}

/* ---- for others ----------------------------------------------------------- */

const struct spf_outcome *spf_state_mfrom(const void *msg)
{
	const struct spf_state *s = msg;

	return s != NULL ? spf_outcome(s->mfrom) : NULL;
}

const struct spf_outcome *spf_state_helo(const void *msg)
{
	const struct spf_state *s = msg;

	return s != NULL ? spf_outcome(s->helo) : NULL;
}

bool spf_state_waiting(const void *msg)
{
	const struct spf_state *s = msg;

	return s != NULL && s->out > 0;
}

/* ---- the module ----------------------------------------------------------- */

static const char *const actions[] = { "mark", "quarantine", "defer", "reject", NULL };
static const char *const later[] = { "mark", "quarantine", "defer", NULL };
static const char *const never[] = { "mark", "quarantine", NULL };

#define OPT(field, type_, name_, fallback_, help_)                                                 \
	.name = (name_), .type = (type_), .offset = offsetof(struct spf_conf, field),            \
	.fallback = (fallback_), .help = (help_)

static const struct conf_option options[] = {
	{ OPT(verify, CONF_BOOL, "verify", "yes", "evaluate SPF for incoming mail") },
	{ OPT(helo, CONF_BOOL, "helo", "yes", "evaluate it for the HELO name, too") },
	{ OPT(lookups, CONF_NUMBER, "lookups", "10", "terms of a record that may ask DNS; more are permerror"), .least = 1, .most = 100 },
	{ OPT(voids, CONF_NUMBER, "voids", "2", "of these, how many may find nothing"), .least = 0, .most = 100 },
	{ OPT(names, CONF_NUMBER, "names", "10", "hosts of one mx, and names of the client, that are looked at"), .least = 1, .most = 100 },
	{ OPT(timeout_ms, CONF_TIME, "timeout", "20s", "how long one evaluation may take; then it is temperror"), .least = 1000, .most = 60000 },
	{ OPT(on_fail, CONF_WORD, "fail", "mark", "what is done when the sender's domain forbids the client"), .words = actions },
	{ OPT(on_softfail, CONF_WORD, "softfail", "mark", "what is done when it probably does"), .words = actions },
	{ OPT(on_neutral, CONF_WORD, "neutral", "mark", "what is done when it says nothing about the client"), .words = actions },
	{ OPT(on_none, CONF_WORD, "none", "mark", "what is done when it has no record"), .words = actions },
	{ OPT(on_temperror, CONF_WORD, "temperror", "mark", "what is done when DNS gives no answer"), .words = later },
	{ OPT(on_permerror, CONF_WORD, "permerror", "mark", "what is done when the record is faulty"), .words = never },
	{ OPT(on_helo_fail, CONF_WORD, "helo-fail", "mark", "what is done when the domain of the HELO name forbids the client"), .words = actions },
	{ 0 },
};

static const struct conf_section section = {
	.name = "spf", .options = options, .size = sizeof(struct spf_conf),
	.help = "SPF (RFC 7208): may the client send for the envelope sender's domain, and for the HELO name?",
};

static const char *const after[] = { "deny", NULL };      /* nobody asks about who is denied */

const struct module spf_module = {
	.name     = "spf",
	.after    = after,
	.section  = &section,
	.stats    = stats,
	.nstats   = COUNT(stats),
	.msg_size = sizeof(struct spf_state),
	.mail     = mail,
	.rcpt     = rcpt,
	.message  = message,
	.queue    = queue,
	.results  = results,
	.done     = done,
};
