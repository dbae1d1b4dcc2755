/* SPDX-License-Identifier: ISC */
/*
 * dkim_module: verifies what strangers send, signs what we send.
 *
 * When the header is complete, signatures are read and capped, body hashes
 * wished for and keys asked for, all at once and equal ones once; the final dot
 * waits for the keys that are still out.  Signing wishes at the same point and
 * happens in the queue hook, over the fields that will be sent (dkim_out.c).
 * Loop thread.
 */
#include <string.h>

#include "modules/author.h"
#include "modules/dkim/dkim_inside.h"

#define READ_MAX    100   /* signatures that are read at all; the others are only counted */

enum { PASS, FAIL, POLICY, TEMPERROR, PERMERROR, SIGNED };

static const struct stat_def stats[] = {
	[PASS]      = { "pass",      "signatures that verified" },
	[FAIL]      = { "fail",      "signatures that did not" },
	[POLICY]    = { "policy",    "signatures not acceptable here, or beyond the number looked at" },
	[TEMPERROR] = { "temperror", "signatures whose keys could not be fetched" },
	[PERMERROR] = { "permerror", "signatures that are malformed or have no usable key" },
	[SIGNED]    = { "signed",    "signatures made" },
};

struct dkim_msg;

struct key_wanted {                     /* one question to DNS */
	struct dns_ask           ask;
	struct dkim_msg         *msg;
	str                      name;
	enum dkim_algorithm      algorithm;
	const struct dns_answer *answer;
	struct dkim_key          key;
	bool                     chosen;
};

struct candidate {                      /* parallel to verdicts */
	struct key_wanted *key;         /* NULL: decided without one */
	int                wish;
};

struct dkim_msg {
	struct mod          *mod;
	bool                 judging;   /* verification is on for this message */
	struct dkim_verdict *verdicts;
	struct candidate    *candidates;
	size_t               n;
	struct key_wanted  **keys;
	size_t               nkeys, out;/* asked; not yet answered */
	bool                 waiting, judged;
	struct dkim_out      signing;
};

/* ---- verifying ------------------------------------------------------------ */

static enum say judge_all(struct dkim_msg *);

static void key_arrived(struct dns_ask *ask, const struct dns_answer *answer)
{
	struct key_wanted *k = ask->user;
	struct dkim_msg *d = k->msg;

	k->answer = answer;
	d->out--;
	if (d->waiting && d->out == 0) {
		d->waiting = false;
		mod_go(d->mod, judge_all(d));
	}
}

static struct key_wanted *key_want(struct mod *m, struct dkim_msg *d, const struct dkim_signature *sig)
{
	str name = dkim_key_name(m->arena, sig);
	struct key_wanted *k;

	for (size_t i = 0; i < d->nkeys; i++)
		if (d->keys[i]->algorithm == sig->algorithm && str_eq(d->keys[i]->name, name))
			return d->keys[i];
	k = ARENA_NEW(m->arena, struct key_wanted);
	if (k == NULL || name.n == 0)
		return NULL;
	k->msg = d;
	k->name = name;
	k->algorithm = sig->algorithm;
	d->keys[d->nkeys++] = k;
	d->out++;
	dns_ask(m->dns, &k->ask, m->arena, name, DNS_TXT, 0, key_arrived, k);
	return k;
}

static void decided(struct dkim_verdict *v, enum dkim_result r, const char *reason)
{
	v->result = r;
	v->reason = str_of(reason);
}

static void candidate_begin(struct mod *m, struct dkim_msg *d, size_t i)
{
	struct dkim_verdict *v = &d->verdicts[i];
	struct candidate *c = &d->candidates[i];

	if (v->sig.fault != NULL) {
		decided(v, DKIM_PERMERROR, v->sig.fault);
		return;
	}
	if (dkim_expired(&v->sig, m->in->now)) {
		v->result = DKIM_FAIL;
		v->reason = arena_printf(m->arena, "the signature has expired: x=%lld is past",
		                         (long long)v->sig.expiry);
		return;
	}
	c->wish = bodyhash_wish(m->in->hashes, v->sig.body_canon, DIGEST_SHA256,
	                        v->sig.has_length ? v->sig.length : BODYHASH_WHOLE);
	if (c->wish < 0)
		decided(v, DKIM_TEMPERROR, "there is no room for another body hash");
	else if ((c->key = key_want(m, d, &v->sig)) == NULL)
		decided(v, DKIM_TEMPERROR, "there is no memory left to ask for the key");
}

/* Signatures in order of appearance; `most` of them are evaluated. */
static void signatures_read(struct mod *m, struct dkim_msg *d, size_t most)
{
	const struct fields *f = m->in->fields;
	size_t room = fields_count(f, "DKIM-Signature");

	d->verdicts = ARENA_ARRAY(m->arena, struct dkim_verdict, room);
	d->candidates = ARENA_ARRAY(m->arena, struct candidate, room);
	d->keys = ARENA_ARRAY(m->arena, struct key_wanted *, room < most ? room : most);
	if (d->verdicts == NULL || d->candidates == NULL || d->keys == NULL)
		return;
	for (size_t i = 0; i < f->n && d->n < room; i++) {
		struct dkim_verdict *v = &d->verdicts[d->n];

		if (!field_is(&f->v[i], "DKIM-Signature"))
			continue;
		if (d->n < READ_MAX)
			dkim_signature_parse(m->arena, &f->v[i], DKIM_SIGNATURE, &v->sig);
		if (d->n < most)
			candidate_begin(m, d, d->n);
		else
			decided(v, DKIM_POLICY, "not looked at: there are more signatures than are evaluated");
		d->n++;
	}
}

static void body_next(struct mod *m)
{
	const struct dkim_conf *conf = m->conf;
	struct dkim_msg *d = m->msg;

	d->mod = m;
	if (m->in->origin != FROM_STRANGER) {
		if (conf != NULL && conf->keyring != NULL)
			dkim_out_begin(m, conf->keyring, &d->signing);
		return;
	}
	d->judging = conf == NULL || conf->verify;
	if (d->judging)
		signatures_read(m, d, conf == NULL ? 8 : conf->max_signatures);
}

static void judge_one(struct dkim_msg *d, size_t i, struct dkim_index *index)
{
	const struct dkim_conf *conf = d->mod->conf;
	struct candidate *c = &d->candidates[i];
	struct key_wanted *k = c->key;

	if (d->verdicts[i].result != DKIM_NOT_DONE)
		return;
	if (!k->chosen)
		dkim_key_choose(d->mod->arena, k->answer, k->algorithm, &k->key);
	k->chosen = true;
	const struct dkim_evidence e = {
		.arena = d->mod->arena,
		.index = index,
		.key = &k->key,
		.body_hash = bodyhash_result(d->mod->in->hashes, c->wish),
		.body_length = bodyhash_length(d->mod->in->hashes, c->wish),
		.minimum_bits = conf == NULL ? 1024 : (unsigned)conf->minimum_bits,
	};

	dkim_judge(&e, &d->verdicts[i]);
}

static void count(const struct mod *m, enum dkim_result r)
{
	static const unsigned of[] = {
		[DKIM_PASS] = PASS, [DKIM_FAIL] = FAIL, [DKIM_POLICY] = POLICY, [DKIM_NEUTRAL] = PERMERROR,
		[DKIM_TEMPERROR] = TEMPERROR, [DKIM_PERMERROR] = PERMERROR,
	};

	stat_add(m->stats + of[r], 1);
}

/* What all signatures together amount to: one pass is a pass. */
static enum dkim_result best_result(const struct dkim_msg *d)
{
	static const enum dkim_result order[] = { DKIM_PASS, DKIM_TEMPERROR, DKIM_FAIL };

	for (size_t o = 0; o < COUNT(order); o++)
		for (size_t i = 0; i < d->n; i++)
			if (d->verdicts[i].result == order[o])
				return order[o];
	return d->n == 0 ? DKIM_NONE : DKIM_PERMERROR;
}

/* RFC 7372 3.1: X.7.20, no passing signature. */
static enum say act(struct mod *m, int action, const struct dkim_verdict *v)
{
	str why = v == NULL ? STR("there is no DKIM signature") : v->reason;
	str domain = v == NULL || v->sig.domain.n == 0 ? m->in->from.domain : v->sig.domain;
	str text = arena_printf(m->arena, "DKIM: no signature of %.*s passed (%.*s); sign the message with a key "
	                        "that is published in DNS and send it unchanged", STR_ARG(domain), STR_ARG(why));

	switch (action) {
	case DKIM_QUARANTINE:
		mod_reply(m, 250, "2.7.20", text);
		return SAY_QUARANTINE;
	case DKIM_DEFER:
		mod_reply(m, 451, "4.7.20", text);
		return SAY_DEFER;
	case DKIM_REJECT:
		mod_reply(m, 550, "5.7.20", text);
		return SAY_REJECT;
	default:
		return SAY_NEXT;
	}
}

static enum say decide(struct dkim_msg *d)
{
	const struct dkim_conf *conf = d->mod->conf;
	enum dkim_result r = best_result(d);
	const struct dkim_verdict *v = NULL;

	if (conf == NULL)
		return SAY_NEXT;
	for (size_t i = 0; i < d->n && v == NULL; i++)
		if (d->verdicts[i].result == r || r == DKIM_PERMERROR)
			v = &d->verdicts[i];
	switch (r) {
	case DKIM_FAIL:
		return act(d->mod, conf->on_fail, v);
	case DKIM_TEMPERROR:
		return act(d->mod, conf->on_temperror, v);
	case DKIM_PERMERROR:
		return act(d->mod, conf->on_permerror, v);
	case DKIM_NONE:
		return act(d->mod, conf->on_none, v);
	default:
		return SAY_NEXT;
	}
}

/* A domain that trust names vouches for its own mail and for that of its lists. */
static void vouch(struct dkim_msg *d)
{
	const struct mod *m = d->mod;

	for (size_t i = 0; i < d->n; i++) {
		str domain = d->verdicts[i].sig.domain;
		const struct trust_entry *e = trust_dkim(m->trust, domain);

		if (e != NULL && dkim_state_counts(d, &d->verdicts[i]) &&
		    (author_is_within(m->in, domain) || list_is_within(m->in, domain)))
			mod_vouch(d->mod, e);
	}
}

static enum say judge_all(struct dkim_msg *d)
{
	struct mod *m = d->mod;
	struct dkim_index *index = d->n > 0 ? dkim_index_new(m->arena, m->in->fields, true) : NULL;

	for (size_t i = 0; i < d->n; i++) {
		if (index == NULL)
			decided(&d->verdicts[i], DKIM_TEMPERROR, "there is no memory left to verify it");
		else
			judge_one(d, i, index);
		count(m, d->verdicts[i].result);
	}
	d->judged = true;
	vouch(d);
	return decide(d);
}

static enum say message(struct mod *m)
{
	struct dkim_msg *d = m->msg;

	if (!d->judging)
		return SAY_NEXT;
	if (d->out > 0) {
		d->waiting = true;
		return SAY_WAIT;
	}
	return judge_all(d);
}

/* ---- signing -------------------------------------------------------------- */

static enum say queue(struct mod *m, struct added *add)
{
	struct dkim_msg *d = m->msg;
	size_t n = 0;
	enum say say = dkim_out_sign(m, &d->signing, add, &n);

	stat_add(m->stats + SIGNED, n);
	return say;
}

/* ---- what others see ------------------------------------------------------ */

static void results(const struct mod *m, struct authres *r)
{
	const struct dkim_conf *conf = m->conf;
	const struct dkim_msg *d = m->msg;

	if (d->judging)
		dkim_results_write(d->verdicts, d->n, conf == NULL ? 8 : conf->max_signatures, m->arena, r);
}

static void done(struct mod *m)
{
	struct dkim_msg *d = m->msg;

	for (size_t i = 0; i < d->nkeys; i++) {
		dns_cancel(&d->keys[i]->ask);
		dkim_key_drop(&d->keys[i]->key);
	}
}

const struct dkim_verdict *dkim_state_verdicts(const void *msg, size_t *n)
{
	const struct dkim_msg *d = msg;

	*n = d == NULL || !d->judged ? 0 : d->n;
	return *n == 0 ? NULL : d->verdicts;
}

bool dkim_state_judged(const void *msg)
{
	const struct dkim_msg *d = msg;

	return d != NULL && d->judged;
}

bool dkim_state_counts(const void *msg, const struct dkim_verdict *v)
{
	const struct dkim_msg *d = msg;
	const struct dkim_conf *conf = d->mod->conf;

	return v->result == DKIM_PASS && (!v->partial || (conf != NULL && conf->partial_counts));
}

const struct dns_answer *dkim_state_answer(const void *msg, const struct dkim_verdict *v)
{
	const struct dkim_msg *d = msg;
	const struct candidate *c = &d->candidates[v - d->verdicts];

	return c->key == NULL ? NULL : c->key->answer;
}

str dkim_state_body_hash(const void *msg, const struct dkim_verdict *v)
{
	const struct dkim_msg *d = msg;
	const struct candidate *c = &d->candidates[v - d->verdicts];

	return c->key == NULL ? STR_NONE : bodyhash_result(d->mod->in->hashes, c->wish);
}

/* ---- the module ----------------------------------------------------------- */

static const char *const actions[] = { "mark", "quarantine", "defer", "reject", NULL };

#define OPT(field, type_, name_, fallback_, help_) \
	.name = (name_), .type = (type_), .offset = offsetof(struct dkim_conf, field), .fallback = (fallback_), \
	.help = (help_)

static const struct conf_option options[] = {
	{ OPT(verify, CONF_BOOL, "verify", "yes", "check the signatures of incoming mail") },
	{ OPT(max_signatures, CONF_NUMBER, "max-signatures", "8", "signatures evaluated in one message; the others get policy"), .least = 1, .most = 50 },
	{ OPT(minimum_bits, CONF_NUMBER, "minimum-bits", "1024", "RSA keys shorter than this get policy"), .least = 1024, .most = DKIM_BITS_MAX },
	{ OPT(partial_counts, CONF_BOOL, "partial-counts", "no", "whether a signature whose l= leaves body unsigned counts for DMARC") },
	{ OPT(on_fail, CONF_WORD, "fail", "mark", "what is done when signatures are there and fail"), .words = actions },
	{ OPT(on_temperror, CONF_WORD, "temperror", "mark", "what is done when no key could be fetched for now"), .words = actions },
	{ OPT(on_permerror, CONF_WORD, "permerror", "mark", "what is done when no signature is well formed, acceptable and has a key"), .words = actions },
	{ OPT(on_none, CONF_WORD, "none", "mark", "what is done with mail that is not signed"), .words = actions },
	{ 0 },
};

static const struct conf_section section = {
	.name = "dkim", .options = options, .size = sizeof(struct dkim_conf),
	.help = "DKIM signatures (RFC 6376) of incoming mail.",
};

const struct module dkim_module = {
	.name      = "dkim",
	.section   = &section,
	.stats     = stats,
	.nstats    = COUNT(stats),
	.msg_size  = sizeof(struct dkim_msg),
	.body_next = body_next,
	.message   = message,
	.queue     = queue,
	.results   = results,
	.done      = done,
};
