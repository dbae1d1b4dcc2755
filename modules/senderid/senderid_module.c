/* SPDX-License-Identifier: ISC */
/*
 * senderid_module: Sender ID of strangers' mail, where it is switched on.
 *
 * The test of MAIL FROM starts with the message, that of the PRA when the
 * header is complete; the final dot waits for both.  Never objects.  Loop thread.
 */
#include <string.h>

#include "modules/module.h"
#include "modules/senderid/senderid.h"

static const struct stat_def stats[] = {
	[SPF_NOT_DONE]  = { "skipped",   "messages that Sender ID was not evaluated for" },
	[SPF_NONE]      = { "none",      "senders without a record" },
	[SPF_NEUTRAL]   = { "neutral",   "senders whose record says nothing about the client" },
	[SPF_PASS]      = { "pass",      "clients that may send for the purported sender" },
	[SPF_FAIL]      = { "fail",      "clients that may not" },
	[SPF_SOFTFAIL]  = { "softfail",  "clients that probably may not" },
	[SPF_TEMPERROR] = { "temperror", "senders that DNS gave no answer for" },
	[SPF_PERMERROR] = { "permerror", "faulty records, and messages that name no sender" },
};

struct senderid_msg {
	struct senderid_pra     pra;
	struct spf_check       *check, *mfrom;
	size_t                  out;
	bool                    on, waiting, done;
	struct senderid_outcome outcome;
};

static bool enabled(const struct mod *m)
{
	const struct senderid_conf *conf = m->conf;

	return conf != NULL && (conf->enable || conf->evaluate || m->in->reflected) && m->in->origin == FROM_STRANGER &&
	       m->peer->addr.sa.sa_family != AF_UNSPEC;
}

static void evaluated(struct mod *m)
{
	struct senderid_msg *s = m->msg;
	struct senderid_outcome *o = &s->outcome;

	o->pra = &s->pra;
	o->domain = s->pra.path.domain;
	o->spf = spf_outcome(s->check);
	o->mfrom = spf_outcome(s->mfrom);
	o->result = o->spf != NULL ? o->spf->result : SPF_PERMERROR;
	o->reason = o->spf != NULL ? o->spf->reason : str_of(s->pra.fault);
	s->done = true;
	stat_add(m->stats + o->result, 1);
}

static void checked(struct spf_check *c, void *user)
{
	struct mod *m = user;
	struct senderid_msg *s = m->msg;

	(void)c;
	if (--s->out > 0 || !s->waiting)
		return;
	s->waiting = false;
	evaluated(m);
	mod_go(m, SAY_NEXT);
}

static struct spf_check *start(struct mod *m, const struct path *sender, const char *version)
{
	struct spf_query q = {
		.helo = m->peer->helo,
		.sender = *sender,
		.scope = SPF_MAIL_FROM,
		.receiver = m->in->host,
		.limits = SPF_LIMITS_DEFAULT,
		.record_version = version,
	};
	struct spf_check *c;

	memcpy(&q.ip, &m->peer->addr, sizeof(m->peer->addr));
	c = spf_start(m->dns, m->arena, &q, checked, m);
	((struct senderid_msg *)m->msg)->out += c != NULL;
	return c;
}

static enum say mail(struct mod *m, const struct path *from)
{
	struct senderid_msg *s = m->msg;

	s->on = enabled(m);
	if (s->on)
		s->mfrom = start(m, from, "spf2.0/mfrom");
	return SAY_NEXT;
}

static void body_next(struct mod *m)
{
	struct senderid_msg *s = m->msg;

	if (!s->on && enabled(m)) {        /* wanted since RCPT */
		s->on = true;
		s->mfrom = start(m, &m->in->sender, "spf2.0/mfrom");
	}
	if (!s->on)
		return;
	senderid_pra_find(m->arena, m->in->fields, &m->in->from, &s->pra);
	if (s->pra.fault == NULL)
		s->check = start(m, &s->pra.path, "spf2.0/pra");
}

static enum say message(struct mod *m)
{
	struct senderid_msg *s = m->msg;

	if (!s->on)
		return SAY_NEXT;
	if (s->out > 0) {
		s->waiting = true;
		return SAY_WAIT;
	}
	evaluated(m);
	return SAY_NEXT;
}

/* The property is header.FIELD of the field that the PRA came from. */
static void results(const struct mod *m, struct authres *r)
{
	const struct senderid_outcome *o = senderid_state_outcome(m->msg);
	const struct senderid_conf *conf = m->conf;
	char property[32] = "header.";
	size_t n = 7;

	if (o == NULL || !conf->enable)
		return;
	authres_method(r, "sender-id", spf_result_word(o->result),
		       o->result == SPF_PASS ? STR_NONE : o->reason);
	if (o->spf == NULL)
		return;
	for (const char *p = o->pra->header; *p != '\0'; p++)
		property[n++] = to_lower(*p);
	authres_property(r, property, o->pra->path.text);
}

static void done(struct mod *m)
{
	struct senderid_msg *s = m->msg;

	s->waiting = false;
	spf_cancel(s->check);
	spf_cancel(s->mfrom);
}

const struct senderid_outcome *senderid_state_outcome(const void *msg)
{
	const struct senderid_msg *s = msg;

	return s == NULL || !s->done ? NULL : &s->outcome;
}

static const struct conf_option options[] = {
	{ .name = "enable", .type = CONF_BOOL, .fallback = "no",
	  .offset = offsetof(struct senderid_conf, enable),
	  .help = "evaluate it and write the result; it never decides anything" },
	{ 0 },
};

static const struct conf_section section = {
	.name = "sender-id", .options = options, .size = sizeof(struct senderid_conf),
	.help = "Sender ID (RFC 4406, RFC 4407; historic).",
};

const struct module senderid_module = {
	.name      = "sender-id",
	.section   = &section,
	.stats     = stats,
	.nstats    = COUNT(stats),
	.msg_size  = sizeof(struct senderid_msg),
	.mail      = mail,
	.body_next = body_next,
	.message   = message,
	.results   = results,
	.done      = done,
};
