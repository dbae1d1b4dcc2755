/* SPDX-License-Identifier: ISC */
/*
 * domainkeys_module: DomainKeys of strangers' mail, where it is switched on.
 *
 * Signatures are read from the top; the first few are evaluated, and the first
 * that passes counts, else the first.  Keys and the policy of the sending
 * domain are asked for when the header is complete.  Never objects.  Loop thread.
 */
#include "modules/domainkeys/domainkeys.h"
#include "modules/module.h"

#define SIGNATURES_MAX 4

static const struct stat_def stats[] = {
	[DOMAINKEYS_NOT_DONE]  = { "skipped",   "messages that it was not evaluated for" },
	[DOMAINKEYS_NONE]      = { "none",      "messages without a signature" },
	[DOMAINKEYS_PASS]      = { "pass",      "messages whose signature verified" },
	[DOMAINKEYS_FAIL]      = { "fail",      "signatures that did not, or should be there" },
	[DOMAINKEYS_POLICY]    = { "policy",    "signed with a key that is not acceptable" },
	[DOMAINKEYS_TEMPERROR] = { "temperror", "key or policy could not be fetched" },
	[DOMAINKEYS_PERMERROR] = { "permerror", "malformed signatures, or no usable key" },
};

struct domainkeys_msg;

struct candidate {
	struct domainkeys_signature  sig;
	struct domainkeys_hash       hash;
	struct dns_ask               ask;
	str                          key_name;
	const struct dns_answer     *answer;
	struct domainkeys_msg       *msg;
	enum domainkeys_result       result;
	const char                  *reason;
	unsigned                     key_bits;
};

struct domainkeys_msg {
	struct mod                *mod;
	struct domainkeys_sender   sender;
	struct candidate           v[SIGNATURES_MAX];
	size_t                     n, out;
	struct dns_ask             policy_ask;
	str                        policy_name;
	const struct dns_answer   *policy;
	bool                       on, waiting, done;
	struct domainkeys_outcome  outcome;
};

const char *domainkeys_result_word(enum domainkeys_result r)
{
	static const char *const words[] = {
		[DOMAINKEYS_NONE] = "none",           [DOMAINKEYS_PASS] = "pass",
		[DOMAINKEYS_FAIL] = "fail",           [DOMAINKEYS_POLICY] = "policy",
		[DOMAINKEYS_TEMPERROR] = "temperror", [DOMAINKEYS_PERMERROR] = "permerror",
	};

	return (size_t)r < COUNT(words) ? words[r] : NULL;
}

/* ---- the header is complete -------------------------------------------------- */

static void evaluated(struct domainkeys_msg *);

static void answer_came(struct domainkeys_msg *d)
{
	d->out--;
	if (!d->waiting || d->out > 0)
		return;
	d->waiting = false;
	evaluated(d);
	mod_go(d->mod, SAY_NEXT);
}

static void key_arrived(struct dns_ask *ask, const struct dns_answer *answer)
{
	struct candidate *c = ask->user;

	c->answer = answer;
	answer_came(c->msg);
}

static void policy_arrived(struct dns_ask *ask, const struct dns_answer *answer)
{
	struct domainkeys_msg *d = ask->user;

	d->policy = answer;
	answer_came(d);
}

static bool within(str name, str domain)
{
	return str_ends_nocase(name, domain) &&
	       (name.n == domain.n || (name.n > domain.n && name.p[name.n - domain.n - 1] == '.'));
}

/* RFC 4870 3.3: the signature stands above the sending address, covers its
 * field, and d= is its domain or a parent of it. */
static const char *mismatch(const struct domainkeys_msg *d, const struct domainkeys_signature *sig)
{
	if (sig->fault != NULL)
		return sig->fault;
	if (d->sender.fault != NULL)
		return d->sender.fault;
	if (d->sender.field < sig->field)
		return "the sending address stands above the signature, which covers only what is "
		       "below it";
	if (!domainkeys_signature_covers(sig, d->sender.header))
		return "h= does not cover the field with the sending address";
	if (!within(d->sender.domain, sig->domain))
		return "d= is neither the domain of the sending address nor a parent of it";
	return NULL;
}

static void candidate_begin(struct domainkeys_msg *d, struct candidate *c)
{
	struct mod *m = d->mod;

	c->msg = d;
	c->reason = mismatch(d, &c->sig);
	if (c->reason != NULL) {
		c->result = DOMAINKEYS_PERMERROR;
		return;
	}
	c->key_name = arena_printf(m->arena, "%.*s._domainkey.%.*s", STR_ARG(c->sig.selector),
				   STR_ARG(c->sig.domain));
	if (c->key_name.n == 0 || !domainkeys_hash_begin(&c->hash, m->in->fields, &c->sig)) {
		c->result = DOMAINKEYS_TEMPERROR;
		c->reason = "there is no memory left to verify it";
		return;
	}
	d->out++;
	dns_ask(m->dns, &c->ask, m->arena, c->key_name, DNS_TXT, 0, key_arrived, c);
}

static void policy_ask(struct domainkeys_msg *d)
{
	struct mod *m = d->mod;

	d->policy_name = arena_printf(m->arena, "_domainkey.%.*s", STR_ARG(d->sender.domain));
	d->out++;
	dns_ask(m->dns, &d->policy_ask, m->arena, d->policy_name, DNS_TXT, 0, policy_arrived, d);
}

static void body_next(struct mod *m)
{
	const struct domainkeys_conf *conf = m->conf;
	struct domainkeys_msg *d = m->msg;
	const struct fields *f = m->in->fields;

	if (m->in->origin != FROM_STRANGER || conf == NULL || !(conf->enable || conf->evaluate || m->in->reflected))
		return;
	d->mod = m;
	d->on = true;
	domainkeys_sender_find(m->arena, f, &m->in->from, &d->sender);
	for (size_t i = 0; i < f->n && d->n < SIGNATURES_MAX; i++) {
		if (!field_is(&f->v[i], "DomainKey-Signature"))
			continue;
		domainkeys_signature_parse(m->arena, &f->v[i], &d->v[d->n].sig);
		candidate_begin(d, &d->v[d->n++]);
	}
	if (d->sender.fault == NULL)
		policy_ask(d);
}

static void body(struct mod *m, str chunk)
{
	struct domainkeys_msg *d = m->msg;

	for (size_t i = 0; i < d->n; i++)
		domainkeys_hash_body(&d->v[i].hash, chunk);
}

/* ---- every byte was seen ------------------------------------------------------ */

static enum domainkeys_result without_key(const struct dns_answer *a, const char **reason)
{
	if (dns_failed(a->status)) {
		*reason = "the key could not be fetched";
		return DOMAINKEYS_TEMPERROR;
	}
	*reason = "there is no key in DNS";
	return DOMAINKEYS_PERMERROR;
}

static void candidate_verify(struct candidate *c, const struct domainkeys_key *k)
{
	unsigned char hash[DIGEST_MAX];
	size_t n = domainkeys_hash_end(&c->hash, hash);

	c->key_bits = key_bits(k->key);
	if (k->granularity.n > 0 && !str_eq(k->granularity, c->msg->sender.local)) {
		c->result = DOMAINKEYS_PERMERROR;
		c->reason = "the key's g= does not allow this sending address";
	} else if (key_verify(k->key, DIGEST_SHA1, (str){ (const char *)hash, n }, c->sig.b)) {
		c->result = DOMAINKEYS_PASS;
		c->reason = k->testing ? "the domain is testing DomainKeys (t=y)" : NULL;
	} else {
		c->result = DOMAINKEYS_FAIL;
		c->reason = k->testing ? "header or body were changed after signing; the domain is "
					 "testing DomainKeys (t=y)"
				       : "header or body were changed after signing";
	}
}

static void candidate_judge(struct candidate *c)
{
	struct domainkeys_key k;

	if (c->result != DOMAINKEYS_NOT_DONE)
		return;
	if (c->answer->status != DNS_FOUND) {
		c->result = without_key(c->answer, &c->reason);
		return;
	}
	domainkeys_key_parse(c->msg->mod->arena, c->answer->rr[0].txt, &k);
	c->result = k.result;
	c->reason = k.reason;
	if (k.result == DOMAINKEYS_PASS)
		candidate_verify(c, &k);
	domainkeys_key_drop(&k);
}

static void outcome_from(struct domainkeys_msg *d, const struct candidate *c)
{
	struct domainkeys_outcome *o = &d->outcome;

	o->result = c->result;
	o->domain = c->sig.domain;
	o->selector = c->sig.selector;
	o->reason = str_of(c->reason);
	o->key_name = c->key_name;
	o->key = c->answer;
	o->key_bits = c->key_bits;
}

/* Without a signature the policy speaks (RFC 4870 3.6): o=- means that there
 * should have been one, unless the domain is still testing. */
static void outcome_unsigned(struct domainkeys_msg *d)
{
	struct domainkeys_outcome *o = &d->outcome;
	struct domainkeys_policy p = { 0 };

	o->result = DOMAINKEYS_NONE;
	o->domain = d->sender.domain;
	if (d->policy == NULL)
		return;
	if (dns_failed(d->policy->status)) {
		o->result = DOMAINKEYS_TEMPERROR;
		o->reason = STR("there is no signature, and the policy could not be fetched");
	} else if (d->policy->status == DNS_FOUND &&
		   domainkeys_policy_parse(d->mod->arena, d->policy->rr[0].txt, &p) &&
		   p.signs_all && !p.testing) {
		o->result = DOMAINKEYS_FAIL;
		o->reason = STR("there is no signature, and the domain signs all its mail (o=-)");
	}
}

static void evaluated(struct domainkeys_msg *d)
{
	const struct candidate *best = d->n > 0 ? &d->v[0] : NULL;

	for (size_t i = 0; i < d->n; i++) {
		candidate_judge(&d->v[i]);
		if (d->v[i].result == DOMAINKEYS_PASS && best->result != DOMAINKEYS_PASS)
			best = &d->v[i];
	}
	if (best != NULL)
		outcome_from(d, best);
	else
		outcome_unsigned(d);
	d->outcome.sender = &d->sender;
	d->outcome.signatures = fields_count(d->mod->in->fields, "DomainKey-Signature");
	d->outcome.policy_name = d->policy_name;
	d->outcome.policy = d->policy;
	d->done = true;
	stat_add(d->mod->stats + d->outcome.result, 1);
}

static enum say message(struct mod *m)
{
	struct domainkeys_msg *d = m->msg;

	if (!d->on)
		return SAY_NEXT;
	if (d->out > 0) {
		d->waiting = true;
		return SAY_WAIT;
	}
	evaluated(d);
	return SAY_NEXT;
}

/* The properties that IANA has for it: header.d, header.from, header.sender. */
static void results(const struct mod *m, struct authres *r)
{
	const struct domainkeys_outcome *o = domainkeys_state_outcome(m->msg);
	const struct domainkeys_conf *conf = m->conf;

	if (o == NULL || !conf->enable)
		return;
	authres_method(r, "domainkeys", domainkeys_result_word(o->result), o->reason);
	if (o->selector.n > 0)
		authres_property(r, "header.d", o->domain);
	if (o->sender->domain.n > 0)
		authres_property(r,
				 str_is(str_of(o->sender->header), "From") ? "header.from"
									   : "header.sender",
				 o->sender->domain);
}

static void done(struct mod *m)
{
	struct domainkeys_msg *d = m->msg;

	dns_cancel(&d->policy_ask);
	for (size_t i = 0; i < d->n; i++) {
		dns_cancel(&d->v[i].ask);
		domainkeys_hash_drop(&d->v[i].hash);
	}
}

const struct domainkeys_outcome *domainkeys_state_outcome(const void *msg)
{
	const struct domainkeys_msg *d = msg;

	return d == NULL || !d->done ? NULL : &d->outcome;
}

static const struct conf_option options[] = {
	{ .name = "enable", .type = CONF_BOOL, .fallback = "no",
	  .offset = offsetof(struct domainkeys_conf, enable),
	  .help = "evaluate it and write the result; it never decides anything" },
	{ 0 },
};

static const struct conf_section section = {
	.name = "domainkeys", .options = options, .size = sizeof(struct domainkeys_conf),
	.help = "DomainKeys (RFC 4870, historic; DKIM took its place).",
};

const struct module domainkeys_module = {
	.name      = "domainkeys",
	.section   = &section,
	.stats     = stats,
	.nstats    = COUNT(stats),
	.msg_size  = sizeof(struct domainkeys_msg),
	.body_next = body_next,
	.body      = body,
	.message   = message,
	.results   = results,
	.done      = done,
};
