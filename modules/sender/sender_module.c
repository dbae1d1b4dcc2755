/* SPDX-License-Identifier: ISC */
/*
 * sender_module: asks for the MX of a stranger's MAIL FROM, and for addresses
 * where there is none (RFC 5321 5.1); a recipient waits for the answer.
 *
 * Asked at MAIL, beside SPF.  The null sender and address literals are not
 * asked about: DNS knows nothing of them.  Postmaster and abuse stay reachable.
 * Loop thread.
 */
#include <stddef.h>

#include "modules/module.h"
#include "modules/role.h"
#include "modules/sender/sender.h"

struct sender_conf {
	struct conf_head head;
	bool verify;
	int  on_missing, on_null_mx, on_temperror;        /* enum action */
};

enum action { MARK, QUARANTINE, DEFER, REJECT };

static const struct stat_def stats[] = {
	[SENDER_NOT_DONE]  = { "skipped",   "senders that were not asked about" },
	[SENDER_GOOD]      = { "pass",      "senders whose domain takes mail" },
	[SENDER_MISSING]   = { "missing",   "senders whose domain has neither MX nor address" },
	[SENDER_NULL_MX]   = { "null-mx",   "senders whose domain says that it takes no mail" },
	[SENDER_TEMPERROR] = { "temperror", "senders that DNS gave no answer for" },
};

enum { A, AAAA };

struct sender_msg {
	struct mod           *mod;
	struct dns_ask        mx, address[2];
	unsigned              out;
	bool                  has_address, failed;
	enum { NOBODY_WAITS, RCPT_WAITS, MESSAGE_WAITS } waiting;
	struct sender_outcome outcome;
};

const char *sender_result_word(enum sender_result r)
{
	static const char *const words[] = {
		[SENDER_GOOD] = "pass", [SENDER_MISSING] = "missing", [SENDER_NULL_MX] = "null-mx",
		[SENDER_TEMPERROR] = "temperror",
	};

	return (size_t)r < COUNT(words) ? words[r] : NULL;
}

static const struct sender_conf *conf_of(const struct mod *m)
{
	static const struct sender_conf defaults = {
		.verify = true, .on_missing = REJECT, .on_null_mx = REJECT, .on_temperror = DEFER,
	};

	return m->conf != NULL ? m->conf : &defaults;
}

/* ---- from result to action ------------------------------------------------ */

static enum action action_for(const struct sender_conf *c, enum sender_result r)
{
	switch (r) {
	case SENDER_MISSING:
		return (enum action)c->on_missing;
	case SENDER_NULL_MX:
		return (enum action)c->on_null_mx;
	case SENDER_TEMPERROR:
		return (enum action)c->on_temperror;
	default:
		return MARK;
	}
}

/* RFC 3463 3.2 (X.1.8), RFC 7505 4.2 (X.7.27). */
static enum say say_it(struct mod *m, enum action action)
{
	const struct sender_outcome *o = &((struct sender_msg *)m->msg)->outcome;
	bool null_mx = o->result == SENDER_NULL_MX;

	switch (action) {
	case QUARANTINE:
		return SAY_QUARANTINE;
	case DEFER:
		mod_reply(m, 451, null_mx ? "4.7.27" : "4.1.8", o->reason);
		return SAY_DEFER;
	case REJECT:
		mod_reply(m, 550, null_mx ? "5.7.27" : "5.1.8", o->reason);
		return SAY_REJECT;
	default:
		return SAY_NEXT;
	}
}

static enum say rcpt_verdict(struct mod *m)
{
	struct sender_msg *s = m->msg;
	enum action        action = action_for(conf_of(m), s->outcome.result);

	return action >= DEFER ? say_it(m, action) : SAY_NEXT;
}

/* What came for postmaster alone is taken, and marked.  A message without
 * recipients (verify) is judged for what it says itself. */
static enum say message_verdict(struct mod *m)
{
	struct sender_msg *s = m->msg;
	enum action        action = action_for(conf_of(m), s->outcome.result);

	if (m->in->nrcpts == 0)
		return SAY_NEXT;
	return say_it(m, action > QUARANTINE ? QUARANTINE : action);
}

/* ---- the questions -------------------------------------------------------- */

static void settle(struct sender_msg *s, enum sender_result r, const char *because)
{
	struct mod *m = s->mod;
	bool        rcpt_waits = s->waiting == RCPT_WAITS;

	s->outcome.result = r;
	if (because != NULL)
		s->outcome.reason = arena_printf(m->arena, "The sender's domain %.*s %s",
						 STR_ARG(s->outcome.domain), because);
	stat_add(m->stats + r, 1);
	if (s->waiting == NOBODY_WAITS)
		return;
	s->waiting = NOBODY_WAITS;
	mod_go(m, rcpt_waits ? rcpt_verdict(m) : message_verdict(m));
}

static void missing(struct sender_msg *s)
{
	settle(s, SENDER_MISSING,
	       "does not exist or takes no mail: it has neither MX nor address in DNS");
}

static void unknown(struct sender_msg *s)
{
	settle(s, SENDER_TEMPERROR, "cannot be looked up in DNS now: try again later");
}

static void address_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct sender_msg *s = ask->user;

	s->has_address = s->has_address || a->status == DNS_FOUND;
	s->failed = s->failed || dns_failed(a->status);
	if (--s->out > 0)
		return;
	if (s->has_address)
		settle(s, SENDER_GOOD, NULL);
	else if (s->failed)
		unknown(s);
	else
		missing(s);
}

static void ask_addresses(struct sender_msg *s)
{
	struct mod *m = s->mod;

	s->out = 2;
	dns_ask(m->dns, &s->address[A], m->arena, s->outcome.domain, DNS_A, 0, address_arrived, s);
	dns_ask(m->dns, &s->address[AAAA], m->arena, s->outcome.domain, DNS_AAAA, 0,
		address_arrived, s);
}

static bool is_null_mx(const struct dns_answer *a)
{
	return a->n == 1 && a->rr[0].mx.host.n == 0;
}

static void mx_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct sender_msg *s = ask->user;

	s->out = 0;
	if (dns_failed(a->status))
		unknown(s);
	else if (a->status == DNS_NODATA)
		ask_addresses(s);
	else if (a->status != DNS_FOUND)
		missing(s);
	else if (is_null_mx(a))
		settle(s, SENDER_NULL_MX,
		       "takes no mail (it has a null MX), so nobody could answer");
	else
		settle(s, SENDER_GOOD, NULL);
}

/* ---- hooks ---------------------------------------------------------------- */

static enum say mail(struct mod *m, const struct path *from)
{
	struct sender_msg *s = m->msg;

	if (m->in->origin != FROM_STRANGER || !conf_of(m)->verify || from->is_null ||
	    from->is_literal || mod_excused(m) != NULL) {
		stat_add(m->stats + SENDER_NOT_DONE, 1);
		return SAY_NEXT;
	}
	s->mod = m;
	s->outcome.domain = from->domain;
	s->out = 1;
	dns_ask(m->dns, &s->mx, m->arena, from->domain, DNS_MX, 0, mx_arrived, s);
	return SAY_NEXT;
}

static enum say rcpt(struct mod *m, const struct path *to)
{
	struct sender_msg *s = m->msg;

	if (s->mod == NULL || role_is_open(to))
		return SAY_NEXT;
	if (s->out == 0)
		return rcpt_verdict(m);
	s->waiting = RCPT_WAITS;
	return SAY_WAIT;
}

static enum say message(struct mod *m)
{
	struct sender_msg *s = m->msg;

	if (s->mod == NULL)
		return SAY_NEXT;
	if (s->out == 0)
		return message_verdict(m);
	s->waiting = MESSAGE_WAITS;
	return SAY_WAIT;
}

static void judged(const struct mod *m, struct judged *j)
{
	const struct sender_outcome *o = sender_state_outcome(m->msg);

	if (o != NULL)
		judged_add(j, "sender", sender_result_word(o->result), o->reason);
}

static void done(struct mod *m)
{
	struct sender_msg *s = m->msg;

	dns_cancel(&s->mx);
	dns_cancel(&s->address[A]);
	dns_cancel(&s->address[AAAA]);
	s->waiting = NOBODY_WAITS;
}

const struct sender_outcome *sender_state_outcome(const void *msg)
{
	const struct sender_msg *s = msg;

	return s != NULL && s->outcome.result != SENDER_NOT_DONE ? &s->outcome : NULL;
}

/* ---- the module ----------------------------------------------------------- */

static const char *const actions[] = { "mark", "quarantine", "defer", "reject", NULL };
static const char *const later[] = { "mark", "quarantine", "defer", NULL };

#define OPT(field, type_, name_, fallback_, help_)                                        \
	.name = (name_), .type = (type_), .offset = offsetof(struct sender_conf, field),  \
	.fallback = (fallback_), .help = (help_)

static const struct conf_option options[] = {
	{OPT(verify, CONF_BOOL, "verify", "yes",
	     "look whether the domain of MAIL FROM could take an answer")},
	{OPT(on_missing, CONF_WORD, "missing", "reject",
	     "what is done when it has neither MX nor address; 550 5.1.8"),
	 .words = actions},
	{OPT(on_null_mx, CONF_WORD, "null-mx", "reject",
	     "what is done when it says that it takes no mail; 550 5.7.27"),
	 .words = actions},
	{OPT(on_temperror, CONF_WORD, "temperror", "defer",
	     "what is done when DNS gives no answer; 451 4.1.8"),
	 .words = later},
	{0},
};

static const struct conf_section section = {
	.name = "sender",
	.options = options,
	.size = sizeof(struct sender_conf),
	.help = "The envelope sender's domain: does it exist, does it take mail? Postmaster and "
		"abuse stay reachable.",
};

static const char *const after[] = { "deny", NULL };

const struct module sender_module = {
	.name     = "sender",
	.after    = after,
	.section  = &section,
	.stats    = stats,
	.nstats   = COUNT(stats),
	.msg_size = sizeof(struct sender_msg),
	.mail     = mail,
	.rcpt     = rcpt,
	.message  = message,
	.judged   = judged,
	.done     = done,
};
