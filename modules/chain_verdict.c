/* SPDX-License-Identifier: ISC */
/*
 * chain_verdict: what came of a stage: the strongest objection that counts,
 * and the marks that stick.  What trust excuses and what a trial only notes
 * does not count.  Loop thread.
 */
#include <string.h>

#include "modules/chain_inside.h"
#include "smtpd/base/err.h"

/* The reply that a module gave fits its objection, or there is none. */
static struct verdict verdict_of(const struct seat *s)
{
	struct verdict v = { .say = s->say, .module = s->mod.module->name };
	int            class = s->say == SAY_REJECT ? 5 : s->say == SAY_DEFER ? 4 : 2;

	if (s->said != NULL && s->said->code / 100 == class) {
		v.code = s->said->code;
		v.esc = s->said->esc;
		v.text = s->said->text;
	}
	return v;
}

/* For as long as what it is about: the message, or else the connection.  What there
 * is no memory to remember is not forgotten: then it is "later" for each message. */
static const struct verdict *kept(const struct chain_conn *c, struct verdict v)
{
	static const struct verdict no_memory = { .say = SAY_DEFER, .code = 452, .esc = "4.3.1", .module = "chain" };
	struct verdict *k = ARENA_NEW(c->in != NULL ? c->msg_arena : c->arena, struct verdict);

	if (k == NULL)
		return &no_memory;
	*k = v;
	return k;
}

const struct trust_entry *chain_excuse(const struct seat *s)
{
	return s->msg_excuse != NULL ? s->msg_excuse : s->conn_excuse;
}

/* Our own lack of something (RFC 3463 X.3.X) is no judgement. */
static bool is_judgement(const struct verdict *v)
{
	return v->esc == NULL || !str_starts(str_of(v->esc), "4.3.");
}

static bool tried_only(const struct chain_conn *c, const struct verdict *v)
{
	return c->chain->trial && !c->peer->submission && v->say >= SAY_DEFER &&
	       (c->in == NULL || c->in->origin == FROM_STRANGER) && c->stage != QUEUE &&
	       is_judgement(v);
}

/* The strongest that counts; of equals the first in order.  In a trial what
 * does not count is noted in *would. */
static struct verdict strongest(const struct chain_conn *c, struct verdict *would)
{
	struct verdict v = { .say = SAY_NEXT };

	for (size_t i = 0; i < c->chain->n; i++) {
		struct seat   *s = c->seats[i];
		struct verdict one;

		if (s == NULL || s->say == SAY_NEXT || chain_excuse(s) != NULL)
			continue;
		one = verdict_of(s);
		if (tried_only(c, &one)) {
			s->tried = true;
			if (one.say > would->say)
				*would = one;
		} else if (s->tried && one.say == SAY_QUARANTINE) {
			continue; /* it marks what came for postmaster; in a trial all comes */
		} else if (one.say > v.say) {
			v = one;
		}
	}
	return v;
}

/* Once a seat and message: each stage would say it again. */
static void log_excused(const struct chain_conn *c)
{
	static const char *const words[] = {
		[SAY_QUARANTINE] = "quarantine", [SAY_DEFER] = "defer", [SAY_REJECT] = "reject",
	};

	for (size_t i = 0; i < c->chain->n; i++) {
		const struct seat *s = c->seats[i];

		if (s != NULL && s->say != SAY_NEXT && chain_excuse(s) != NULL)
			log_event(&s->log, LOG_INFO, "verdict.excused", KV_C("said", words[s->say]),
				  KV("trust", trust_name(chain_excuse(s))),
				  KV("text", verdict_of(s).text));
	}
}

static void keep_marks(struct chain_conn *c)
{
	for (size_t i = 0; i < c->chain->n; i++) {
		struct seat           *s = c->seats[i];
		const struct verdict **mark;

		if (s == NULL)
			continue;
		mark = c->in != NULL ? &s->msg_mark : &s->conn_mark;
		if (s->say == SAY_QUARANTINE && !s->tried && *mark == NULL)
			*mark = kept(c, verdict_of(s));
	}
}

/* The first that sticks and is not excused, the message's own before the connection's. */
static struct verdict mark_of(const struct chain_conn *c)
{
	for (int of_message = 1; of_message >= 0; of_message--)
		for (size_t i = 0; i < c->chain->n; i++) {
			const struct seat    *s = c->seats[i];
			const struct verdict *v;

			if (s == NULL)
				continue;
			v = of_message ? s->msg_mark : s->conn_mark;
			if (v != NULL && chain_excuse(s) == NULL)
				return *v;
		}
	return (struct verdict){ .say = SAY_NEXT };
}

void chain_weigh(struct chain_conn *c)
{
	const struct verdict **would = c->in != NULL ? &c->msg_would : &c->conn_would;
	struct verdict         now = { 0 };

	c->verdict = strongest(c, &now);
	if (*would == NULL && now.say != SAY_NEXT)
		*would = kept(c, now);
	if (c->chain->trust != NULL)
		log_excused(c);
	if (c->verdict.say == SAY_QUARANTINE)
		keep_marks(c);
	if (c->verdict.say == SAY_NEXT)
		c->verdict = mark_of(c);
}
