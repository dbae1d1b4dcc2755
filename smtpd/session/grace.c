/* SPDX-License-Identifier: ISC */
/*
 * grace: what a login sends may wait before it leaves, because its account has a
 * grace time or because its mail program asked for it (RFC 4865), and may be
 * stopped until then.
 *
 * The queue has the time (not_before); retries, the notice of a delay and giving
 * up count from it.  Who sent the message is told in a letter whose Reply-To is
 * the address that stops it (mail/cancel.h has the rule).  Whoever answers the
 * letter from a login of that account hears 250 when the message is gone from
 * the queue and not before; one that has left, in part even, is refused with
 * 550, so that the mail program shows it.  A letter is mail of our own, which
 * never waits and of which nobody is told.  Loop thread.
 */
#include <stdlib.h>

#include "smtpd/base/clock.h"
#include "smtpd/mail/trace.h"
#include "smtpd/session/internal.h"

#define SUBJECT_MOST 400        /* octets of a subject that is repeated */
#define RCPTS_SHOWN  10

str grace_when(struct arena *a, int64_t at)
{
	char stamp[40];
	str s = clock_stamp((uint64_t)at * 1000000, stamp);

	return arena_printf(a, "%.*s%.*s", 19, s.p, STR_ARG(str_skip(s, 23)));     /* without its milliseconds */
}

static str domain_of(str login)
{
	return str_skip(login, str_rfind(login, '@') + 1);
}

/* ---- waiting ------------------------------------------------------------------------- */

void grace_begin(struct txn *t)
{
	int64_t now = clock_wall(), wait;

	if (t->in.origin != FROM_LOGIN)
		return;
	wait = (int64_t)(grace_of(t->setup, t->peer->login).wait_ms / 1000);
	t->in.not_before = wait > 0 ? now + wait : 0;
	if (t->release > now && t->release > t->in.not_before) {
		t->in.not_before = t->release;
		t->flags |= MESSAGE_FUTURE;
	}
}

/* ---- stopping ------------------------------------------------------------------------ */

enum cancel_reads grace_reads(struct txn *t, bool by_device, const struct path *to, uint64_t *id)
{
	str login = t->in.origin == FROM_LOGIN && !by_device ? t->peer->login : STR_NONE, text;
	enum cancel_reads reads;

	if (t->setup->secret == NULL || t->setup->cancel == NULL || !txn_is_local(t, to))
		return CANCEL_NOT;
	reads = cancel_read(&t->arena, t->setup->secret, to, login, &text);
	return reads == CANCEL_GOOD && !queue_id_parse(text, id) ? CANCEL_FOREIGN : reads;
}

/* RFC 3834 5: "no" is what a person writes. */
static bool is_automatic(const struct fields *f)
{
	const struct field *first = fields_first(f, "Auto-Submitted");

	return first != NULL && !str_is_nocase(str_trim(first->value), "no");
}

/* What a reply must be to stop anything. */
static void judge_reply(struct txn *t)
{
	if (t->in.sender.is_null || is_automatic(t->in.fields))
		txn_refuse(t, 550, "5.7.1", "automatic",
		           "A program wrote this: only what a person sends stops a message");
}

static void came_home(struct baton *b)
{
	struct cancel *c = SUPER(b, struct cancel, baton);
	struct txn *t = SUPER(c, struct txn, cancel);
	char id[QUEUE_ID_TEXT];
	str text = queue_id_text(t->cancels, id);

	t->lent = false;
	t->cancelled = c->says == CANCEL_STOPPED || c->says == CANCEL_STOPPED_BEFORE;
	if (c->says == CANCEL_LEFT)
		txn_refuse(t, 550, "5.7.0", "left", "It is too late: message %.*s has left already", STR_ARG(text));
	else if (!t->cancelled)
		txn_refuse(t, 451, "4.3.0", "cancel", "The message cannot be stopped just now, try again at once");
	log_event(&t->log, LOG_NOTICE, t->cancelled ? "cancel.granted" : "cancel.refused", KV("message", text),
	          KV("login", t->peer->login), KV("ip", t->peer->ip),
	          KV_C("why", c->says == CANCEL_STOPPED ? "-" : t->cancelled ? "it was stopped before"
	                      : c->says == CANCEL_LEFT ? "it has left already" : "no answer of the queue"));
	t->then(t);
}

void grace_cancel(struct txn *t, void (*then)(struct txn *))
{
	judge_reply(t);
	if (t->refusal.code != 0) {
		then(t);
		return;
	}
	t->then = then;
	t->cancel = (struct cancel){ .id = t->cancels, .baton.home = t->loop->mbox, .baton.arrived = came_home };
	t->lent = true;
	t->setup->cancel(&t->cancel);
}

/* ---- the notice ------------------------------------------------------------------------ */

/* Encoded words are ASCII and are taken as they are; anything else is not repeated. */
static str subject_of(struct txn *t)
{
	const struct field *f = fields_first(t->in.fields, "Subject");
	str s = f != NULL ? str_trim(field_unfold(&t->arena, f->value)) : STR_NONE;

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < ' ' || s.p[i] > '~')
			return STR("");
	return s.n <= SUBJECT_MOST ? s : STR("");
}

static str rcpts_of(const struct txn *t, struct arena *a)
{
	str out = STR("");

	for (size_t i = 0; i < t->in.nrcpts && i < RCPTS_SHOWN; i++)
		out = arena_printf(a, "%.*s    %.*s\r\n", STR_ARG(out), STR_ARG(t->paths[i].text));
	if (t->in.nrcpts > RCPTS_SHOWN)
		out = arena_printf(a, "%.*s    and %zu more\r\n", STR_ARG(out), t->in.nrcpts - RCPTS_SHOWN);
	return out;
}

static str text_of(struct txn *t, struct arena *a, const struct path *stop)
{
	str id = t->log.id, login = t->peer->login, subject = subject_of(t), when = grace_when(a, t->in.not_before);

	return arena_printf(a,
		"From: Mail server <postmaster@%.*s>\r\nReply-To: <%.*s>\r\nTo: <%.*s>\r\nSubject: Waits%s%.*s\r\n%.*s%.*s"
		"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
		"Content-Transfer-Encoding: 8bit\r\n\r\n"
		"Your mail to\r\n\r\n%.*s\r\nwaits on %.*s and leaves at\r\n\r\n    %.*s\r\n\r\n"
		"To stop it, reply to this mail before then.  What you write does not matter; it has\r\n"
		"to come from a mail program that is logged in as %.*s.\r\n"
		"When it is too late your mail program says so.\r\n\r\n"
		"On the server itself, this stops it, or lets it leave at once:\r\n\r\n"
		"    postern queue remove %.*s\r\n    postern queue retry %.*s\r\n",
		STR_ARG(domain_of(login)), STR_ARG(stop->text), STR_ARG(login), subject.n > 0 ? ": " : "", STR_ARG(subject),
		STR_ARG(trace_date(a, clock_wall())),
		STR_ARG(trace_message_id(a, arena_printf(a, "%.*s.waits", STR_ARG(id)), t->in.host)), STR_ARG(rcpts_of(t, a)),
		STR_ARG(t->in.host), STR_ARG(when), STR_ARG(login), STR_ARG(id), STR_ARG(id));
}

static void told(struct baton *b)
{
	struct letter *l = SUPER(b, struct letter, baton);

	if (l->result != OK)
		log_event(NULL, LOG_WARN, "letter.failed", KV("to", l->rcpt), KV_C("why", err_text(l->result)));
	letter_free(l);
}

static bool wants_notice(const struct txn *t)
{
	int how = grace_of(t->setup, t->peer->login).notice;
	int64_t waits = t->in.not_before - clock_wall();

	if (t->in.not_before == 0 || t->held || t->in.sender.is_null || is_automatic(t->in.fields) || t->setup->cancel == NULL ||
	    t->setup->secret == NULL)
		return false;
	return how == GRACE_NOTICE_YES || (how == GRACE_NOTICE_AUTO && waits >= GRACE_NOTICE_S);
}

void grace_tell(struct txn *t)
{
	struct letter *l;
	struct path stop;

	if (t->in.not_before != 0)
		log_event(&t->log, LOG_INFO, "message.waits", KV("until", grace_when(&t->arena, t->in.not_before)),
		          KV_C("why", t->flags & MESSAGE_FUTURE ? "asked for" : "grace"), KV("login", t->peer->login));
	if (!wants_notice(t) || (l = letter_new()) == NULL)
		return;
	if (!cancel_address(&l->arena, t->setup->secret, t->log.id, t->peer->login, &stop)) {
		letter_free(l);
		return;
	}
	l->sender = STR("");
	l->rcpt = str_keep(&l->arena, t->peer->login);
	l->text = text_of(t, &l->arena, &stop);
	l->utf8 = stop.is_utf8;
	l->baton.home = t->loop->mbox;
	l->baton.arrived = told;
	if (l->arena.spent)
		letter_free(l);
	else
		inject_letter(&l->baton);
}
