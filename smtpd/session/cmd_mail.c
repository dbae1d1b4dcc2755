/* SPDX-License-Identifier: ISC */
/*
 * MAIL: a message begins.
 *
 * What can be known to fail later fails here: too large, no room on the disk or
 * in memory, a sender that is not the login's own.  Loop thread.
 */
#include "smtpd/base/clock.h"
#include "smtpd/session/internal.h"

#define RESERVE_MOST    ((uint64_t)256 << 10)   /* beyond, the body is in a file */
#define RESERVE_UNKNOWN ((uint64_t)64 << 10)    /* without SIZE= */

static enum step give_up(struct session *s, enum step step)
{
	session_forget_message(s);
	return step;
}

static enum step mail_judged(struct session *s, const struct verdict *v)
{
	if (v->say == SAY_REJECT || v->say == SAY_DEFER)
		return give_up(s, refuse_by_verdict(s, v));
	s->phase = MAIL;
	s->messages++;
	return tell(s, 250, "2.1.0", "Sender fine");
}

static void mail_judged_later(struct chain_conn *c, void *user)
{
	struct session *s = user;

	if (!s->closing)
		session_go(s, mail_judged(s, chain_verdict(c)));
}

/* ---- the address ------------------------------------------------------------------ */

static bool owns_sender(struct session *s, const struct path *from)
{
	return from->is_null || peer_may_send_as(s->setup, &s->txn->arena, &s->peer, from);
}

/* True when MAIL may go on. */
static bool sender_good(struct session *s, enum step *step)
{
	const struct path *from = &s->txn->in.sender;

	if (!from->is_null && from->domain.n == 0)
		*step = refuse(s, 501, "5.1.7", "The sender's address needs a domain");
	else if (from->was_utf8 && !s->txn->in.smtputf8)
		*step = refuse(s, 553, "5.6.7",
			       "An address beyond ASCII needs SMTPUTF8 behind MAIL");
	else if (s->peer.login.n > 0 && !owns_sender(s, from))
		*step = refuse_kindly(s, 550, "5.7.1", "%.*s may not send as %.*s",
				      STR_ARG(s->peer.login), STR_ARG(from->text));
	else
		return true;
	return false;
}

/* ---- room -------------------------------------------------------------------------- */

static bool room_is_there(struct session *s, enum step *step)
{
	struct txn *t = s->txn;
	uint64_t most = s->setup->limits->message_size, want = t->declared;

	if (t->declared > most) {
		*step = refuse_kindly(
			s, 552, "5.3.4",
			"The message is larger than %llu octets, the most that is taken here",
			(unsigned long long)most);
		return false;
	}
	if (want == 0)
		want = RESERVE_UNKNOWN;
	if (queue_room(s->setup->queue, t->declared) != OK)
		*step = refuse_kindly(
			s, 452, "4.3.1",
			"The disk has no room for another message now, try again later");
	else if (!txn_reserve(t, want < RESERVE_MOST ? want : RESERVE_MOST))
		*step = refuse_kindly(s, 452, "4.3.1",
				      "No memory for another message now, try again later");
	else
		return true;
	return false;
}

/* A return address that we made went out from here, so it may come back as a
 * sender: whoever forwards mail that we forwarded keeps it. */
static bool sender_is_ours(struct txn *t)
{
	const struct path *from = &t->in.sender;
	struct path origin;

	return !from->is_null && txn_is_local(t, from) && forward_return(t, from, &origin) != SRS_GOOD;
}

/* ---- the command --------------------------------------------------------------------- */

/* RFC 4865: for those who log in; else it is as unknown as on port 25. */
static bool release_good(struct session *s, const struct mail_params *p, enum step *step)
{
	const struct submission_conf *c = s->setup->submission;
	int64_t most = c != NULL ? (int64_t)(c->future_release_ms / 1000) : 0, now = clock_wall();
	int64_t at = p->hold_for > 0 ? now + p->hold_for : p->hold_until;

	if (at == 0)
		return true;
	if (!s->peer.submission || s->peer.login.n == 0 || most == 0)
		*step = refuse(s, 555, "5.5.4", "MAIL: this parameter is not known here");
	else if (at < now)
		*step = refuse(s, 501, "5.5.4", "MAIL: HOLDUNTIL is in the past: it is %.*s here",
		               STR_ARG(grace_when(&s->txn->arena, now)));
	else if (at > now + most)
		*step = refuse(s, 501, "5.5.4", "MAIL: a message waits %lld seconds here at most, until %.*s",
		               (long long)most, STR_ARG(grace_when(&s->txn->arena, now + most)));
	else {
		s->txn->release = at;
		return true;
	}
	return false;
}

static bool read_mail(struct session *s, str args, enum step *step)
{
	struct txn *t = s->txn;
	struct mail_params p;
	struct param_fault fault;
	const char *why = "it is no address";
	str rest = STR_NONE;

	if (!str_starts_nocase(args, "FROM:")) {
		*step = refuse(s, 501, "5.5.4", "Syntax: MAIL FROM:<address>");
		return false;
	}
	if (!drop_path_parse(s, &t->arena, str_skip(args, 5), &t->in.sender, &rest, &why)) {
		*step = refuse(s, 501, "5.1.7", "The sender's address cannot be read: %s", why);
		return false;
	}
	if (!mail_params(&t->arena, rest, &p, &fault)) {
		*step = refuse(s, fault.code, "5.5.4", "MAIL: %s", fault.text);
		return false;
	}
	if ((p.flags & MESSAGE_REQUIRETLS) && !s->peer.tls.on) {       /* RFC 8689 2 */
		*step = refuse(s, 530, "5.7.10", "REQUIRETLS needs TLS here, too: say STARTTLS first");
		return false;
	}
	if (!release_good(s, &p, step))
		return false;
	t->declared = p.size;
	t->in.smtputf8 = p.utf8;
	t->in.body8bit = p.body8bit;
	t->flags = p.flags;
	t->envid = p.envid;
	return true;
}

static void finished(struct txn *t, const struct answer *a)
{
	data_answered(t->owner, a);
}

enum step cmd_mail(struct session *s, str args)
{
	const struct limits_conf *l = s->setup->limits;
	enum step step = STEP_DONE;

	if (s->messages >= (s->peer.submission ? l->messages_submission : l->messages_inbound))
		return farewell(s, 421, "4.7.0",
				"Enough messages for one connection: open another");
	s->txn = txn_new(s->setup, s->front->loop, s->chain, &s->peer,
	                 s->peer.login.n > 0 ? FROM_LOGIN : FROM_STRANGER, s);
	if (s->txn == NULL)
		return refuse_kindly(s, 452, "4.3.1",
				     "No memory for another message now, try again later");
	s->txn->ready = data_ready;
	s->txn->finished = finished;
	if (!read_mail(s, args, &step) || !sender_good(s, &step) || !room_is_there(s, &step))
		return give_up(s, step);
	s->txn->in.sender_is_local = sender_is_ours(s->txn);
	switch (chain_mail(s->chain, &s->txn->in, &s->txn->arena, &s->txn->log, mail_judged_later,
			   s)) {
	case SAY_WAIT:
		return STEP_WAIT;
	default:
		return mail_judged(s, chain_verdict(s->chain));
	}
}
