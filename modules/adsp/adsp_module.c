/* SPDX-License-Identifier: ISC */
/*
 * adsp_module: ADSP of strangers' mail, where it is switched on.
 *
 * Whether the domain exists and what it says is asked for when the header is
 * complete; DKIM's verdicts decide whether that matters (RFC 5617 4.3).  Never
 * objects.  Loop thread.
 */
#include "modules/adsp/adsp.h"
#include "modules/dkim/dkim.h"
#include "modules/module.h"
#include "smtpd/mail/tags.h"

static const struct stat_def stats[] = {
	[ADSP_NOT_DONE]  = { "skipped",   "messages that ADSP was not evaluated for" },
	[ADSP_NONE]      = { "none",      "author domains without a record" },
	[ADSP_PASS]      = { "pass",      "messages that the author's domain has signed" },
	[ADSP_UNKNOWN]   = { "unknown",   "messages that it has not, and may not sign" },
	[ADSP_FAIL]      = { "fail",      "messages that it has not, though it signs all" },
	[ADSP_DISCARD]   = { "discard",   "messages that it has not, and asks to discard" },
	[ADSP_NXDOMAIN]  = { "nxdomain",  "author domains that do not exist" },
	[ADSP_TEMPERROR] = { "temperror", "author domains that DNS gave no answer for" },
	[ADSP_PERMERROR] = { "permerror", "messages without an author domain to ask" },
};

#define RECORD_MAX 1024

struct adsp_msg {
	struct mod         *mod;
	struct dns_ask      existence, record;
	size_t              out;
	bool                on, waiting, done;
	struct adsp_outcome outcome;
};

const char *adsp_result_word(enum adsp_result r)
{
	static const char *const words[] = {
		[ADSP_NONE] = "none",		[ADSP_PASS] = "pass",
		[ADSP_UNKNOWN] = "unknown",	[ADSP_FAIL] = "fail",
		[ADSP_DISCARD] = "discard",	[ADSP_NXDOMAIN] = "nxdomain",
		[ADSP_TEMPERROR] = "temperror", [ADSP_PERMERROR] = "permerror",
	};

	return (size_t)r < COUNT(words) ? words[r] : NULL;
}

/* "dkim=" stands first; what follows it may be unknown to us (RFC 5617 4.2.1). */
enum adsp_practices adsp_record_parse(struct arena *a, str record)
{
	struct tags t;

	if (record.n > RECORD_MAX)
		return ADSP_NO_RECORD;
	tags_parse(a, record, &t);
	if (t.n == 0 || t.malformed || t.duplicate.n > 0 || !str_is(t.v[0].name, "dkim"))
		return ADSP_NO_RECORD;
	if (str_is_nocase(t.v[0].value, "all"))
		return ADSP_SAYS_ALL;
	return str_is_nocase(t.v[0].value, "discardable") ? ADSP_SAYS_DISCARDABLE
							  : ADSP_SAYS_UNKNOWN;
}

/* ---- the questions ------------------------------------------------------------ */

static void evaluated(struct adsp_msg *);

static void answer_came(struct adsp_msg *d)
{
	d->out--;
	if (!d->waiting || d->out > 0)
		return;
	d->waiting = false;
	evaluated(d);
	mod_go(d->mod, SAY_NEXT);
}

static void existence_arrived(struct dns_ask *ask, const struct dns_answer *answer)
{
	struct adsp_msg *d = ask->user;

	d->outcome.existence = answer;
	answer_came(d);
}

static void record_arrived(struct dns_ask *ask, const struct dns_answer *answer)
{
	struct adsp_msg *d = ask->user;

	d->outcome.record = answer;
	answer_came(d);
}

static void body_next(struct mod *m)
{
	const struct adsp_conf *conf = m->conf;
	struct adsp_msg *d = m->msg;
	struct adsp_outcome *o = &d->outcome;

	if (m->in->origin != FROM_STRANGER || conf == NULL || !(conf->enable || conf->evaluate || m->in->reflected))
		return;
	d->mod = m;
	d->on = true;
	if (m->in->from.state != FROM_GOOD || m->in->from.is_literal)
		return;
	o->domain = m->in->from.domain;
	o->record_name = arena_printf(m->arena, "_adsp._domainkey.%.*s", STR_ARG(o->domain));
	d->out = 2;
	dns_ask(m->dns, &d->existence, m->arena, o->domain, DNS_MX, 0, existence_arrived, d);
	dns_ask(m->dns, &d->record, m->arena, o->record_name, DNS_TXT, 0, record_arrived, d);
}

/* ---- every byte was seen ------------------------------------------------------ */

/* An Author Domain Signature: valid, and d= is the Author Domain itself (RFC 5617 2.7). */
static bool signed_by_author(const struct adsp_msg *d, bool *open)
{
	const void *state = mod_other_msg(d->mod, &dkim_module);
	size_t n;
	const struct dkim_verdict *v = dkim_state_verdicts(state, &n);

	*open = false;
	for (size_t i = 0; i < n; i++) {
		if (!str_eq_nocase(v[i].sig.domain, d->outcome.domain))
			continue;
		if (dkim_state_counts(state, &v[i]))
			return true;
		*open = *open || v[i].result == DKIM_TEMPERROR;
	}
	return false;
}

/* More than one record is as good as none: nobody says which counts. */
static enum adsp_practices practices_of(struct adsp_msg *d)
{
	const struct dns_answer *a = d->outcome.record;
	enum adsp_practices p = ADSP_NO_RECORD;
	size_t records = 0;

	for (size_t i = 0; a->status == DNS_FOUND && i < a->n && i < 16; i++) {
		enum adsp_practices one = adsp_record_parse(d->mod->arena, a->rr[i].txt);

		if (one == ADSP_NO_RECORD)
			continue;
		p = one;
		records++;
	}
	return records == 1 ? p : ADSP_NO_RECORD;
}

static enum adsp_result judged(struct adsp_msg *d, const char **why)
{
	static const enum adsp_result results[] = {
		[ADSP_NO_RECORD] = ADSP_NONE,
		[ADSP_SAYS_UNKNOWN] = ADSP_UNKNOWN,
		[ADSP_SAYS_ALL] = ADSP_FAIL,
		[ADSP_SAYS_DISCARDABLE] = ADSP_DISCARD,
	};
	const struct adsp_outcome *o = &d->outcome;
	bool open;

	if (o->domain.n == 0) {
		*why = "From names no one domain to ask";
		return ADSP_PERMERROR;
	}
	if (signed_by_author(d, &open))
		return ADSP_PASS;
	if (o->existence->status == DNS_NXDOMAIN) {
		*why = "the author's domain does not exist";
		return ADSP_NXDOMAIN;
	}
	if (dns_failed(o->existence->status) || dns_failed(o->record->status) || open) {
		*why = open ? "DNS left the author's signature open"
			    : "DNS gave no answer for the author's domain";
		return ADSP_TEMPERROR;
	}
	if (o->existence->status == DNS_BADNAME || o->record->status == DNS_BADNAME) {
		*why = "the name of the record is longer than DNS allows";
		return ADSP_PERMERROR;
	}
	return results[practices_of(d)];
}

static void evaluated(struct adsp_msg *d)
{
	const char *why = NULL;

	d->outcome.result = judged(d, &why);
	d->outcome.reason = str_of(why);
	d->done = true;
	stat_add(d->mod->stats + d->outcome.result, 1);
}

static enum say message(struct mod *m)
{
	struct adsp_msg *d = m->msg;

	if (!d->on)
		return SAY_NEXT;
	if (d->out > 0) {
		d->waiting = true;
		return SAY_WAIT;
	}
	evaluated(d);
	return SAY_NEXT;
}

static void results(const struct mod *m, struct authres *r)
{
	const struct adsp_outcome *o = adsp_state_outcome(m->msg);
	const struct adsp_conf *conf = m->conf;

	if (o == NULL || !conf->enable)
		return;
	authres_method(r, "dkim-adsp", adsp_result_word(o->result), o->reason);
	if (o->domain.n > 0)
		authres_property(r, "header.from", o->domain);
}

static void done(struct mod *m)
{
	struct adsp_msg *d = m->msg;

	d->waiting = false;
	dns_cancel(&d->existence);
	dns_cancel(&d->record);
}

const struct adsp_outcome *adsp_state_outcome(const void *msg)
{
	const struct adsp_msg *d = msg;

	return d == NULL || !d->done ? NULL : &d->outcome;
}

static const struct conf_option options[] = {
	{ .name = "enable", .type = CONF_BOOL, .fallback = "no",
	  .offset = offsetof(struct adsp_conf, enable),
	  .help = "evaluate it and write the result; it never decides anything" },
	{ 0 },
};

static const struct conf_section section = {
	.name = "adsp", .options = options, .size = sizeof(struct adsp_conf),
	.help = "Author Domain Signing Practices (RFC 5617, historic; DMARC took its place).",
};

static const char *const after[] = { "dkim", NULL };

const struct module adsp_module = {
	.name      = "adsp",
	.after     = after,
	.section   = &section,
	.stats     = stats,
	.nstats    = COUNT(stats),
	.msg_size  = sizeof(struct adsp_msg),
	.body_next = body_next,
	.message   = message,
	.results   = results,
	.done      = done,
};
