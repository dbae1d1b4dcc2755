/* SPDX-License-Identifier: ISC */
/*
 * forward: what mail needs that leaves us again for an alias.
 *
 *   a stranger's sender   becomes one of ours (SRS), so that SPF asks about us
 *                         and a bounce comes back, to be sent on from here
 *   Delivered-To          says through which alias it went: it goes there once
 *   the verdict           may tell that nobody will take it from us: `doomed`
 *
 * The body and every field stay as they came, so signatures go on to hold.
 * Loop thread.
 */
#include "smtpd/mail/own.h"
#include "smtpd/mail/srs.h"
#include "smtpd/mail/trace.h"
#include "smtpd/session/internal.h"

#define DAY_MS ((uint64_t)24 * 3600 * 1000)

/* ---- returned mail --------------------------------------------------------------- */

enum srs_says forward_return(struct txn *t, const struct path *to, struct path *out)
{
	const struct forward_conf *f = t->setup->forward;

	if (t->setup->secret == NULL || f == NULL || !txn_is_local(t, to))
		return SRS_NOT;
	return srs_return(&t->arena, t->setup->secret, to, t->in.now, (unsigned)(f->srs_age_ms / DAY_MS), out);
}

/* ---- on the way out ---------------------------------------------------------------- */

/* The domain that the mail was for, unless the options name another. */
static str srs_domain(const struct txn *t, const struct path *via)
{
	const struct directory_domain *home = directory_home(t->setup->directory);

	if (t->setup->forward->srs_domain.n > 0)
		return t->setup->forward->srs_domain;
	return via->domain.n > 0 || home == NULL ? via->domain : home->name;
}

static void rewrite_sender(struct txn *t, const struct path *via, struct final *f)
{
	struct path made;

	if (t->setup->secret == NULL || t->setup->forward == NULL || !t->setup->forward->srs || t->in.sender.is_null ||
	    txn_is_local(t, &t->in.sender))
		return;
	if (!srs_forward(&t->arena, t->setup->secret, &t->in.sender, srs_domain(t, via), t->in.now, &made)) {
		log_event(&t->log, LOG_NOTICE, "forward.unrewritten", KV("to", f->path->text), KV("from", t->in.sender.text),
		          KV_C("why", "the sender's address is too long"));
		return;
	}
	f->flags |= RCPT_OWN_SENDER;
	f->sender = made.text;
	log_event(&t->log, LOG_INFO, "forward.rewritten", KV("to", f->path->text), KV("sender", made.text));
}

static void weigh_doom(struct txn *t, struct final *f)
{
	static const char *const does[] = {
		[DOOMED_SEND] = "it is sent all the same", [DOOMED_KEEP] = "it is held in the queue",
		[DOOMED_BOUNCE] = "it goes back to its sender",
	};
	int doomed = t->setup->forward != NULL ? t->setup->forward->doomed : DOOMED_SEND;
	str why = chain_fragile(t->chain);

	if (why.n == 0 || t->in.origin != FROM_STRANGER)
		return;
	log_event(&t->log, LOG_NOTICE, "forward.doomed", KV("to", f->path->text), KV("from", t->in.sender.text), KV("why", why),
	          KV_C("does", does[doomed]));
	if (doomed == DOOMED_KEEP)
		f->flags |= RCPT_DOOMED_HELD;
	else if (doomed == DOOMED_BOUNCE)
		f->flags |= RCPT_DOOMED;
}

/* What others say of their own mailboxes is theirs to judge. */
static bool was_here(struct txn *t, const struct rcpt *r, const struct path *via, const struct final *f, bool local)
{
	return (local && own_was_delivered(t->in.fields, f->path->text)) ||
	       (rcpt_is_resolved(r, via) && own_was_delivered(t->in.fields, via->text));
}

bool rcpt_is_resolved(const struct rcpt *r, const struct path *via)
{
	return r->nfinals != 1 || !str_eq_nocase(r->finals[0].text, via->text);
}

void forward_prepare(struct txn *t, const struct rcpt *r, const struct path *via, struct final *f)
{
	bool local = txn_is_local(t, f->path);

	if (t->in.origin == FROM_OURSELVES)
		return;
	if (was_here(t, r, via, f, local))
		f->flags |= RCPT_LOOPS;
	if (local || !rcpt_is_resolved(r, via))
		return;
	rewrite_sender(t, via, f);
	f->head = trace_delivered_to(&t->arena, via->text);
	weigh_doom(t, f);
}

/* ---- before it is stored ---------------------------------------------------------------- */

/* Copies and notices apart: is there anybody who will get it? */
static bool everybody(const struct txn *t, unsigned flags)
{
	size_t n = 0;

	for (size_t i = 0; i < t->nfinals; i++) {
		const struct final *f = t->finals[i];

		if (f->flags & (RCPT_COPY | RCPT_EXPANDED))
			continue;
		if (!(f->flags & flags))
			return false;
		n++;
	}
	return n > 0;
}

/* What would only come back is not taken: then nobody has to be told. */
void forward_refuse(struct txn *t)
{
	if (everybody(t, RCPT_LOOPS))
		txn_refuse(t, 554, "5.4.6", "loop", "The message has been delivered to this address before: it goes in circles");
	else if (everybody(t, RCPT_LOOPS | RCPT_DOOMED))
		txn_refuse(t, 550, "5.7.26", "forward", "This address forwards elsewhere, and the message would be refused "
		           "there: %.*s; sign it with DKIM as the domain in From", STR_ARG(chain_fragile(t->chain)));
}
