/* SPDX-License-Identifier: ISC */
/*
 * RCPT: who gets the message.  admit.c says whether that may be asked for.
 * Loop thread.
 */
#include "smtpd/session/internal.h"

/* What chain_rcpt may keep waiting; in the message's arena. */
struct asked {
	struct session *session;
	struct path     to;
	struct rcpt     rcpt;
	bool            reflects;      /* a report is wanted: it lies in no mailbox */
};

static enum step rcpt_refused(struct session *s, int code, const char *esc, const struct path *to,
			      const char *text)
{
	count(RCPTS_REFUSED);
	if (!s->good_rcpt)
		s->bad_rcpts++;
	log_event(&s->txn->log, LOG_INFO, "recipient.refused", KV("rcpt", to->text),
		  KV_N("code", code), KV("from", s->txn->in.sender.text), KV("ip", s->peer.ip),
		  KV("login", s->peer.login));
	return tell(s, code, esc, "%s", text);
}

/* ---- the end ----------------------------------------------------------------------- */

/* Who looks for a message to an alias knows the alias only. */
static void log_resolved(const struct session *s, const struct asked *a)
{
	const struct rcpt *r = &a->rcpt;

	if (r->nfinals != 1 || !str_eq_nocase(r->finals[0].text, a->to.text))
		log_event(&s->txn->log, LOG_INFO, "recipient.resolved", KV("rcpt", a->to.text),
			  KV("to", r->finals[0].text), KV_N("nto", r->nfinals));
}

static enum step reflected(struct session *s, const struct path *to)
{
	s->txn->reflector = to;
	s->txn->in.reflected = true;
	s->phase = RCPT;
	s->good_rcpt = true;
	return tell(s, 250, "2.1.5", "A report on your message will be its answer");
}

static enum step rcpt_judged(struct asked *a, const struct verdict *v)
{
	struct session *s = a->session;

	if (v->say == SAY_REJECT || v->say == SAY_DEFER) {
		count(RCPTS_REFUSED);
		s->bad_rcpts += !s->good_rcpt;
		return refuse_by_verdict(s, v);
	}
	if (a->reflects)
		return reflected(s, &a->to);
	if (!txn_add_rcpt(s->txn, &a->to, &a->rcpt) || !txn_reserve_more(s->txn))
		return refuse_kindly(
			s, 452, "4.3.1",
			"No memory for another recipient now, send to the others first");
	log_resolved(s, a);
	s->phase = RCPT;
	s->good_rcpt = true;
	return tell(s, 250, "2.1.5", "Recipient fine");
}

static void rcpt_judged_later(struct chain_conn *c, void *user)
{
	struct asked *a = user;

	if (!a->session->closing)
		session_go(a->session, rcpt_judged(a, chain_verdict(c)));
}

/* ---- the relay rule and the directory ----------------------------------------------- */

static enum step ask_modules(struct session *s, struct asked *a)
{
	if (chain_rcpt(s->chain, &a->to, rcpt_judged_later, a) == SAY_WAIT)
		return STEP_WAIT;
	return rcpt_judged(a, chain_verdict(s->chain));
}

static enum step no_room(struct session *s)
{
	return refuse_kindly(s, 452, "4.3.1", "No memory for another recipient now, send to the others first");
}

/* A bounce of what was forwarded goes on to whoever sent it. */
static enum step returned(struct session *s, struct asked *a, const struct path *to)
{
	struct directory_answer found;
	struct txn *t = s->txn;

	if (t->setup->forward->srs_bounces_only && !t->in.sender.is_null && t->in.origin != FROM_LOGIN)
		return rcpt_refused(s, 550, "5.7.1", &a->to, "This address takes returned mail only, with MAIL FROM:<>");
	directory_find(t->setup->directory, &t->arena, to, &found);
	if (found.says == DIRECTORY_UNKNOWN || (srs_is(to->local) && txn_is_local(t, to)))
		return rcpt_refused(s, 550, "5.1.1", &a->to, "Nobody of that name here any more");
	if (!txn_resolve(t, to, &found, &a->rcpt))
		return t->arena.spent ? no_room(s) : rcpt_refused(s, 550, "5.1.1", &a->to, "This alias leads nowhere");
	return ask_modules(s, a);
}

/* A device may be for people here alone. */
static bool may_send_out(const struct session *s)
{
	return s->txn->in.origin == FROM_LOGIN && (s->device == NULL || device_sends_out(s->device));
}

/* The address that stops a message: nothing is delivered to it. */
static enum step cancels(struct session *s, struct asked *a, uint64_t id)
{
	struct txn *t = s->txn;

	if (t->cancels != 0 && t->cancels != id)
		return rcpt_refused(s, 452, "4.5.3", &a->to, "One message stops one other: send another for this one");
	t->cancels = id;
	s->phase = RCPT;
	s->good_rcpt = true;
	return tell(s, 250, "2.1.5", "The end of your message stops the one that this address names");
}

/* An address that answers: nothing is delivered to it either. */
static enum step reflects(struct session *s, struct asked *a)
{
	const char *why = reflector_refuses_sender(s->txn);

	if (why != NULL)
		return rcpt_refused(s, 550, "5.7.1", &a->to, why);
	if (s->txn->reflector != NULL && !path_eq_nocase(s->txn->reflector, &a->to))
		return rcpt_refused(s, 452, "4.5.3", &a->to, "One report is enough: send another message for this one");
	a->reflects = true;
	return ask_modules(s, a);
}

static enum step admitted(struct session *s, struct asked *a)
{
	uint64_t stopped;

	struct directory_answer found = { 0 };
	struct txn *t = s->txn;
	struct path to;

	if (reflector_is(t, &a->to))
		return reflects(s, a);
	switch (grace_reads(t, s->device != NULL, &a->to, &stopped)) {
	case CANCEL_GOOD:
		return cancels(s, a, stopped);
	case CANCEL_FOREIGN:
		return rcpt_refused(s, 550, "5.7.1", &a->to,
		                    "This address is for the account whose message it stops, after its login");
	case CANCEL_NOT:
		break;
	}
	switch (admit_return(t, &a->to, &to)) {
	case ADMIT_RETURN:
		return returned(s, a, &to);
	case ADMIT_NO_RETURN:
		return rcpt_refused(s, 550, "5.7.1", &a->to, "This return address was not made here, or it is too old");
	default:
		break;
	}
	switch (admit_rcpt(s->setup->directory, &t->arena, may_send_out(s), &a->to,
			   &found)) {
	case ADMIT_NO_RELAY:
		count(RELAY_REFUSED);
		return rcpt_refused(
			s, 550, "5.7.1", &a->to,
			"Not a recipient here, and mail for elsewhere is taken after a login only");
	case ADMIT_UNKNOWN_USER:
		return rcpt_refused(s, 550, "5.1.1", &a->to, "Nobody of that name here");
	default:
		break;
	}
	if (!txn_resolve(t, &a->to, &found, &a->rcpt)) {
		if (t->arena.spent)
			return no_room(s);
		return rcpt_refused(s, 550, "5.1.1", &a->to, "This alias leads nowhere");
	}
	return ask_modules(s, a);
}

/* ---- the command ---------------------------------------------------------------------- */

static bool read_rcpt(struct session *s, str args, struct asked *a, enum step *step)
{
	struct rcpt_params p;
	struct param_fault fault;
	const char *why = "it is no address";
	str rest = STR_NONE;

	if (!str_starts_nocase(args, "TO:"))
		*step = refuse(s, 501, "5.5.4", "Syntax: RCPT TO:<address>");
	else if (!drop_path_parse(s, &s->txn->arena, str_skip(args, 3), &a->to, &rest, &why))
		*step = refuse(s, 501, "5.1.3", "The recipient's address cannot be read: %s", why);
	else if (!rcpt_params(&s->txn->arena, rest, s->txn->in.smtputf8, &p, &fault))
		*step = refuse(s, fault.code, "5.5.4", "RCPT: %s", fault.text);
	else if (a->to.is_null || (a->to.domain.n == 0 && !path_is_postmaster(&a->to)))
		*step = refuse(s, 501, "5.1.3", "The recipient's address needs a domain");
	else if (a->to.was_utf8 && !s->txn->in.smtputf8)
		*step = refuse(s, 553, "5.6.7",
			       "An address beyond ASCII needs SMTPUTF8 behind MAIL");
	else {
		if (a->to.domain.n == 0) /* <postmaster>: the directory copies what it is given */
			a->to.domain = STR("");
		a->rcpt.flags = p.flags;
		a->rcpt.orcpt = p.orcpt;
		return true;
	}
	return false;
}

/* Whoever goes on and on does not send a message. */
static enum step one_too_many(struct session *s)
{
	const struct limits_conf *l = s->setup->limits;

	if (s->txn->tried++ - l->recipients >= l->recipients + l->idle_commands)
		return farewell(s, 421, "4.7.0", "Far more recipients than one message may have, good-bye");
	return refuse_kindly(s, 452, "4.5.3", "Enough recipients for one message: send to these first");
}

enum step cmd_rcpt(struct session *s, str args)
{
	const struct limits_conf *l = s->setup->limits;
	struct asked *a;
	enum step step;

	/* RFC 5321 4.5.3.1.10: those beyond are to come with another message. */
	if (s->txn->tried >= l->recipients)
		return one_too_many(s);
	if (s->peer.login.n == 0 && !s->good_rcpt && s->bad_rcpts >= l->recipients_before_good)
		return refuse(s, 452, "4.5.3", "Too many recipients that do not exist");
	a = ARENA_NEW(&s->txn->arena, struct asked);
	if (a == NULL) {
		s->txn->tried++;
		return refuse_kindly(
			s, 452, "4.3.1",
			"No memory for another recipient now, send to the others first");
	}
	a->session = s;
	if (!read_rcpt(s, args, a, &step))
		return step;
	s->txn->tried++;
	return admitted(s, a);
}
