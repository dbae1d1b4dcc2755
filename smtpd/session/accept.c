/* SPDX-License-Identifier: ISC */
/*
 * accept: the end of a message's way in.
 *
 *   every byte seen ─▶ chain_message ─▶ verdict ─▶ fields ─▶ chain_queue
 *                   ─▶ put ─▶ (committed) ─▶ answer
 *
 * Signing is the last thing before the queue.  250 is said when the put came
 * home with OK and not before.  Each arrow may wait; whoever goes away meanwhile
 * drops the txn, save while the put is out: then it is the committer's, and the
 * message is delivered even if its sender has gone.  Loop thread.
 */
#include "smtpd/mail/own.h"
#include "smtpd/mail/trace.h"
#include "smtpd/session/internal.h"

/* ---- answers ------------------------------------------------------------------- */

static const char *origin_word(const struct txn *t)
{
	static const char *const words[] = {
		[FROM_STRANGER] = "stranger", [FROM_LOGIN] = "login", [FROM_OURSELVES] = "own",
	};

	return words[t->in.origin];
}

static void log_refusal(const struct txn *t, const struct answer *a)
{
	const char *event = a->code >= 500 ? "message.refused" : "message.deferred";

	log_event(&t->log, LOG_INFO, event,
		  KV_C("module", a->module != NULL ? a->module : "session"),
		  KV_C("reason", a->reason), KV_N("code", a->code), KV_C("esc", a->esc),
		  KV("text", a->text), KV("from", t->in.sender.text), KV_N("nrcpt", t->in.nrcpts),
		  KV_N("size", t->bytes), KV("ip", t->peer->ip), KV("login", t->peer->login));
	count(a->code >= 500 ? MESSAGES_REFUSED : MESSAGES_DEFERRED);
}

static void log_stored(const struct txn *t)
{
	str rcpt = t->in.nrcpts == 1 ? t->paths[0].text : STR_NONE;
	str tls = t->peer->tls.on ? t->peer->tls.version : STR("no");

	log_event(&t->log, LOG_INFO, "message.stored", KV("from", t->in.sender.text),
		  KV_N("nrcpt", t->in.nrcpts), KV("rcpt", rcpt), KV_N("size", t->bytes),
		  KV_C("origin", origin_word(t)), KV("login", t->peer->login),
		  KV("ip", t->peer->ip), KV("tls", tls),
		  KV_C("quarantine", t->quarantine ? t->quarantined_by : "no"));
	count(MESSAGES_STORED);
	count_n(BYTES_STORED, t->bytes);
	if (t->quarantine)
		count(MESSAGES_QUARANTINED);
}

static void finish_refused(struct txn *t)
{
	struct answer a = t->refusal;

	log_refusal(t, &a);
	t->finished(t, &a);
}

static void finish_without_room(struct txn *t, const char *reason)
{
	txn_refuse(t, 452, "4.3.1", reason, "The message could not be stored, try again later");
	finish_refused(t);
}

/* ---- the put --------------------------------------------------------------------- */

static str queued(struct txn *t)
{
	str before = t->cancelled ? STR("The other message is stopped, it was not sent. ") : STR("");

	if (t->in.not_before == 0)
		return arena_printf(&t->arena, "%.*sQueued as %.*s", STR_ARG(before), STR_ARG(t->log.id));
	return arena_printf(&t->arena, "%.*sQueued as %.*s, leaves at %.*s", STR_ARG(before), STR_ARG(t->log.id),
	                    STR_ARG(grace_when(&t->arena, t->in.not_before)));
}

static void stored(struct queue_put *p, enum err e, void *arg)
{
	struct txn   *t = arg;
	struct answer a = { .code = 250, .esc = "2.0.0" };

	(void)p;
	t->lent = false;
	switch (e) {
	case OK:
		a.text = queued(t);
		log_stored(t);
		grace_tell(t);
		reflector_tell(t);
		t->finished(t, &a);
		break;
	case ERR_IO:
		txn_refuse(t, 451, "4.3.0", "disk",
			   "The message could not be stored, try again later");
		finish_refused(t);
		break;
	default:
		finish_without_room(t, err_text(e));
	}
}

static str received(struct txn *t)
{
	const struct peer *p = t->peer;
	const struct trace trace = {
		.helo = p->helo,
		.ptr = p->ptr,
		.ip = p->ip,
		.by = t->in.host,
		.id = t->log.id,
		.for_rcpt = t->in.nrcpts == 1 ? t->paths[0].text : STR_NONE,
		.esmtp = p->ehlo,
		.tls = p->tls.on,
		.auth = t->in.origin == FROM_LOGIN,
		.utf8 = t->in.smtputf8,
		.hide_client = t->in.origin == FROM_LOGIN &&
		               (t->setup->submission == NULL || t->setup->submission->hide_client),
		.tls_version = p->tls.version,
		.tls_cipher = p->tls.cipher,
		.tls_bits = p->tls.bits,
		.when = t->in.now,
	};

	return trace_received(&t->arena, &trace);
}

/* RFC 8601 2.7.4: a login's result is for people here; it says to nobody else
 * which account it was unless they share the message with one. */
static bool wants_results(const struct txn *t)
{
	if (t->in.origin != FROM_LOGIN)
		return t->in.origin == FROM_STRANGER;
	for (size_t i = 0; i < t->nfinals; i++)
		if ((t->finals[i]->flags & (RCPT_LOCAL | RCPT_ROUTE)) == RCPT_LOCAL)
			return true;
	return false;
}

/* Each goes in front of those before it. */
static void put_fields(struct txn *t, struct queue_put *p)
{
	for (size_t i = t->ngiven; i-- > 0;)
		queue_put_field(p, t->given[i]);
	queue_put_field(p, received(t));
	if (wants_results(t))
		queue_put_field(
			p, authn_field(t->chain, &t->arena, t->in.authserv_id, t->peer->login));
	for (size_t i = 0; i < t->added.n; i++)
		queue_put_field(p, t->added.v[i]);
	if (t->quarantine)
		queue_put_field(p, own_quarantine(&t->arena, t->quarantined_by, t->quarantined_why));
}

static void put_recipients(struct txn *t, struct queue_put *p)
{
	for (size_t i = 0; i < t->nfinals; i++) {
		const struct final *f = t->finals[i];
		unsigned head = f->head.n > 0 ? RCPT_OWN_HEAD : 0u;

		queue_put_rcpt(p, f->path, f->flags | head, f->orcpt);
		if ((f->flags & RCPT_OWN_SENDER) || head != 0)
			queue_put_own(p, f->sender, f->head);
	}
}

static unsigned message_flags(const struct txn *t)
{
	unsigned flags = t->flags;

	if (t->in.smtputf8)
		flags |= MESSAGE_SMTPUTF8;
	if (t->in.body8bit || (t->high & 0x80))
		flags |= MESSAGE_8BIT;
	if (t->forged || t->quarantine)
		flags |= MESSAGE_FORGED;
	if (t->in.origin == FROM_LOGIN)
		flags |= MESSAGE_LOGIN;
	if (t->in.origin == FROM_OURSELVES)
		flags |= MESSAGE_OWN;
	if (t->held)
		flags |= MESSAGE_HELD | MESSAGE_BREAKER;
	if (t->added.signing.missing)
		flags |= MESSAGE_UNSIGNED;
	if (t->added.signing.hold)
		flags |= MESSAGE_HELD;
	return flags;
}

/* What it takes to sign it anew, should it leave late. */
static void put_signing(struct txn *t, struct queue_put *p)
{
	const struct signing *s = &t->added.signing;
	struct queue_signing kept = { .until = s->until, .author = s->author };

	if (!s->on || s->until == INT64_MAX)
		return;
	for (size_t i = 0; i < QUEUE_HASHES; i++)
		kept.hashes[i] = s->hashes[i];
	queue_put_signing(p, &kept);
}

static void put_message(struct txn *t)
{
	struct queue_put *p = queue_put_new(t->setup->queue, &t->arena, t->loop->mbox, t->id);
	const struct letter *l = t->letter;

	if (p == NULL) {
		finish_without_room(t, "memory");
		return;
	}
	queue_put_from(p, &t->in.sender, message_flags(t), t->envid, t->peer->login);
	put_recipients(t, p);
	put_fields(t, p);
	put_signing(t, p);
	queue_put_header_bytes(p, t->header_bytes);
	queue_put_not_before(p, t->in.not_before);
	if (l != NULL && l->settles_id != 0)
		queue_put_settles(p, l->settles_id, l->settles, l->nsettles);
	if (l != NULL && l->settles_said != NULL)
		queue_put_settles_said(p, l->settles_said, l->settles_host);
	if (t->arena.spent) {
		queue_put_drop(p);
		finish_without_room(t, "memory");
		return;
	}
	queue_put_body(p, t->spool);
	t->spool = NULL;
	t->lent = true;
	queue_put_submit(p, stored, t);
}

/* ---- verdicts ---------------------------------------------------------------------- */

static void refuse_by(struct txn *t, const struct verdict *v, int code, const char *esc)
{
	str text = v->text.n > 0 ? v->text : STR("The message was not accepted");

	if (v->code != 0) {
		code = v->code;
		esc = v->esc;
	}
	t->refusal = (struct answer){ .code = code, .esc = esc, .text = str_keep(&t->arena, text),
		                      .module = v->module, .reason = "verdict" };
	finish_refused(t);
}

static void signed_and_sealed(struct chain_conn *c, void *user)
{
	struct txn *t = user;
	const struct verdict *v = chain_verdict(c);

	if (v->say == SAY_DEFER)
		refuse_by(t, v, 451, "4.7.1");
	else
		put_message(t);
}

/* A reply to a notice alone: there is nothing to store. */
static void finish_cancelled(struct txn *t)
{
	struct answer a = { .code = 250, .esc = "2.0.0", .text = STR("The message is stopped, it was not sent") };

	t->finished(t, &a);
}

static void accepted(struct txn *t);

static void cancel_known(struct txn *t)
{
	if (t->refusal.code != 0)
		finish_refused(t);
	else if (t->in.nrcpts == 0)
		finish_cancelled(t);
	else
		accepted(t);
}

static void accepted(struct txn *t)
{
	if (t->cancels != 0 && !t->cancelled) {
		grace_cancel(t, cancel_known);
		return;
	}
	if (!recipients_gather(t)) {
		finish_without_room(t, "memory");
		return;
	}
	forward_refuse(t);
	if (t->refusal.code != 0) {
		finish_refused(t);
		return;
	}
	t->held = allowance_is_spent(t);
	grace_begin(t);
	t->added.arena = &t->arena;
	if (chain_queue(t->chain, &t->added, signed_and_sealed, t) != SAY_WAIT)
		signed_and_sealed(t->chain, t);
}

static str judged_of(const struct judged *j, const char *method)
{
	for (size_t i = 0; i < j->n; i++)
		if (str_is(str_of(j->v[i].key), method))
			return str_head(j->v[i].s, str_find(j->v[i].s, ','));
	return STR_NONE;
}

/* RFC 5321 6.2: notices to such a sender would go to somebody who wrote nothing.
 * Mail that a forwarder brings fails SPF, too; a From of the same domain that
 * passes DMARC speaks for it. */
static bool is_forged(const struct txn *t, const struct judged *j)
{
	return str_is(judged_of(j, "spf"), "fail") &&
	       !(str_is(judged_of(j, "dmarc"), "pass") && str_eq_nocase(t->in.from.domain, t->in.sender.domain));
}

/* One line with every verdict, and one for what a trial let pass. */
static void log_judged(struct txn *t, const struct verdict *v)
{
	static const char *const actions[] = {
		[SAY_NEXT] = "accept", [SAY_QUARANTINE] = "quarantine", [SAY_DEFER] = "defer", [SAY_REJECT] = "reject",
	};
	const struct verdict *would = chain_would_refuse(t->chain);
	struct judged j;

	if (t->in.origin != FROM_STRANGER)
		return;
	authn_judged(t->chain, &t->arena, &j);
	t->forged = !t->in.sender.is_null && is_forged(t, &j);
	judged_add(&j, "action", actions[v->say], v->text);
	judged_add(&j, "by", v->module != NULL ? v->module : "-", STR_NONE);
	judged_add(&j, "from", t->in.from.domain.n > 0 ? str_cstr(&t->arena, t->in.from.domain) : "-", STR_NONE);
	judged_add(&j, "ip", t->peer->ip.n > 0 ? str_cstr(&t->arena, t->peer->ip) : "-", STR_NONE);
	if (!t->arena.spent)
		log_write(&t->log, LOG_INFO, "message.judged", j.v, j.n);
	if (would != NULL) {
		log_event(&t->log, LOG_NOTICE, "message.would-refuse", KV_C("module", would->module),
		          KV_C("action", actions[would->say]), KV_N("code", would->code), KV_C("esc", would->esc),
		          KV("text", would->text), KV("from", t->in.sender.text), KV("ip", t->peer->ip));
		count(MESSAGES_WOULD_REFUSE);
	}
}

static void report_known(struct txn *t)
{
	struct answer a = { .code = 250, .esc = "2.0.0", .text = STR("The report on your message is on its way to you") };

	if (t->refusal.code != 0)
		finish_refused(t);
	else
		t->finished(t, &a);
}

/* To a reflector alone: there is nothing to store, and what a mailbox would
 * refuse is told in the report, to a sender who is known to be himself. */
static void reflect(struct txn *t, const struct verdict *v)
{
	struct answer why;

	if (reflector_write(t, v, &why)) {
		reflector_send(t, report_known);
		return;
	}
	if (v->say == SAY_REJECT) {
		refuse_by(t, v, 550, "5.7.1");
		return;
	}
	t->refusal = why;
	finish_refused(t);
}

static void judged(struct chain_conn *c, void *user)
{
	struct txn *t = user;
	const struct verdict *v = chain_verdict(c);
	struct answer why;

	log_judged(t, v);
	if (t->reflector != NULL && v->say != SAY_DEFER && t->in.nrcpts == 0) {
		reflect(t, v);
		return;
	}
	if (t->reflector != NULL && v->say < SAY_DEFER)
		reflector_write(t, v, &why);      /* others get the message, whether there is a report or not */
	switch (v->say) {
	case SAY_REJECT:
		refuse_by(t, v, 550, "5.7.1");
		return;
	case SAY_DEFER:
		refuse_by(t, v, 451, "4.7.1");
		return;
	case SAY_QUARANTINE:
		t->quarantine = t->in.origin == FROM_STRANGER;
		t->quarantined_by = v->module != NULL ? v->module : "module";
		t->quarantined_why = str_keep(&t->arena, v->text);
		break;
	default:
		break;
	}
	accepted(t);
}

void accept_message(struct txn *t)
{
	if (t->arena.spent)
		txn_refuse(t, 452, "4.3.1", "memory",
			   "No room for this message now, try again later");
	if (t->refusal.code != 0)
		finish_refused(t);
	else if (chain_message(t->chain, judged, t) != SAY_WAIT)
		judged(t->chain, t);
}
