/* SPDX-License-Identifier: ISC */
/*
 * arc_module: validates the chain of what strangers send, seals what is
 * forwarded for them.
 *
 * The structure is checked when the header is complete; only a chain that
 * stands this asks DNS, for all keys at once and equal ones once, and the final
 * dot waits for them.  The chain decides nothing by itself: a trust asks
 * arc_vouches().  Sealing is the queue hook's and off by default.  Loop thread.
 */
#include <string.h>

#include "modules/arc/arc.h"
#include "modules/authn.h"
#include "modules/module.h"

enum { NONE, PASS, FAIL, SEALED };

static const struct stat_def stats[] = {
	[NONE]   = { "none",   "messages without a chain" },
	[PASS]   = { "pass",   "chains that hold" },
	[FAIL]   = { "fail",   "chains that do not" },
	[SEALED] = { "sealed", "forwarded messages that were sealed" },
};

#define KEYS_MAX (ARC_SETS_MAX + ARC_OLDER_MAX + 1)

struct arc_msg;

struct key_wanted {                     /* one question to DNS */
	struct dns_ask           ask;
	struct arc_msg          *msg;
	str                      name;
	enum dkim_algorithm      algorithm;
	const struct dns_answer *answer;
	struct dkim_key          key;
};

struct wanted {                         /* of one set */
	struct key_wanted *seal, *message;
	int                wish;
};

struct arc_msg {
	struct mod         *mod;
	bool                judging, judged, waiting;
	struct arc_chain    chain;
	struct wanted      *sets;
	struct key_wanted **keys;
	size_t              nkeys, out; /* asked; not yet answered */
	int                 seal_wish;  /* plus 1; 0: nothing is sealed */
};

static const struct arc_conf *conf_of(const struct mod *m)
{
	static const struct arc_conf defaults = { .verify = true, .minimum_bits = 1024 };

	return m->conf != NULL ? m->conf : &defaults;
}

/* ---- keys --------------------------------------------------------------------- */

static enum say judge(struct arc_msg *);

static void key_arrived(struct dns_ask *ask, const struct dns_answer *answer)
{
	struct key_wanted *k = ask->user;
	struct arc_msg *d = k->msg;

	k->answer = answer;
	d->out--;
	if (d->waiting && d->out == 0) {
		d->waiting = false;
		mod_go(d->mod, judge(d));
	}
}

static struct key_wanted *key_want(struct arc_msg *d, const struct dkim_signature *sig)
{
	struct mod *m = d->mod;
	str name = dkim_key_name(m->arena, sig);
	struct key_wanted *k;

	for (size_t i = 0; i < d->nkeys; i++)
		if (d->keys[i]->algorithm == sig->algorithm && str_eq(d->keys[i]->name, name))
			return d->keys[i];
	k = ARENA_NEW(m->arena, struct key_wanted);
	if (k == NULL || name.n == 0 || d->nkeys == KEYS_MAX)
		return NULL;
	k->msg = d;
	k->name = name;
	k->algorithm = sig->algorithm;
	d->keys[d->nkeys++] = k;
	d->out++;
	dns_ask(m->dns, &k->ask, m->arena, name, DNS_TXT, 0, key_arrived, k);
	return k;
}

/* ---- verifying ------------------------------------------------------------------ */

static void left_open(struct arc_msg *d, const char *why)
{
	d->chain.result = ARC_FAIL;
	d->chain.temporary = true;
	d->chain.reason = str_of(why);
}

/* An older message signature is only tried when it shares a hash of the whole body. */
static void message_want(struct arc_msg *d, unsigned i)
{
	const struct dkim_signature *sig = &d->chain.sets[i - 1].message_sig;
	struct wanted *w = &d->sets[i - 1];

	if (!arc_wants_message(&d->chain, i) || sig->fault != NULL ||
	    (sig->has_length && i < d->chain.length))
		return;
	w->wish = bodyhash_wish(d->mod->in->hashes, sig->body_canon, DIGEST_SHA256,
	                        sig->has_length ? sig->length : BODYHASH_WHOLE);
	if (w->wish >= 0)
		w->message = key_want(d, sig);
}

static void keys_ask(struct arc_msg *d)
{
	struct arc_chain *c = &d->chain;

	d->sets = ARENA_ARRAY(d->mod->arena, struct wanted, c->length);
	d->keys = ARENA_ARRAY(d->mod->arena, struct key_wanted *, KEYS_MAX);
	if (d->sets == NULL || d->keys == NULL) {
		left_open(d, "there is no memory left to verify the chain");
		return;
	}
	for (unsigned i = c->length; i > 0 && c->result == ARC_NOT_DONE; i--) {
		d->sets[i - 1].seal = key_want(d, &c->sets[i - 1].seal_sig);
		message_want(d, i);
		if (d->sets[i - 1].seal == NULL ||
		    (i == c->length && d->sets[i - 1].message == NULL))
			left_open(d, "there is no memory left to ask for the keys of the chain");
	}
}

/* Whether something of this message would be sealed, so that its body is hashed. */
static bool seals(const struct mod *m)
{
	return conf_of(m)->signer != NULL && m->in->origin == FROM_STRANGER && m->in->forwarded;
}

static void body_next(struct mod *m)
{
	struct arc_msg *d = m->msg;

	d->mod = m;
	if (m->in->origin != FROM_STRANGER)
		return;
	if (seals(m))
		d->seal_wish = dkim_sign_wish(conf_of(m)->signer, m->in->hashes) + 1;
	d->judging = conf_of(m)->verify || seals(m);
	if (!d->judging)
		return;
	arc_read(m->arena, m->in->fields, &d->chain);
	if (d->chain.result == ARC_NOT_DONE)
		keys_ask(d);
}

static void chain_judge(struct arc_msg *d)
{
	struct mod *m = d->mod;
	struct arc_proof *proofs = ARENA_ARRAY(m->arena, struct arc_proof, d->chain.length);
	const struct arc_evidence e = {
		.arena = m->arena,
		.fields = m->in->fields,
		.hashes = m->in->hashes,
		.proofs = proofs,
		.minimum_bits = (unsigned)conf_of(m)->minimum_bits,
		.now = m->in->now,
	};

	if (proofs == NULL) {
		left_open(d, "there is no memory left to verify the chain");
		return;
	}
	for (size_t i = 0; i < d->nkeys; i++)
		dkim_key_choose(m->arena, d->keys[i]->answer, d->keys[i]->algorithm,
				&d->keys[i]->key);
	for (unsigned i = 0; i < d->chain.length; i++)
		proofs[i] = (struct arc_proof){
			.seal_key = &d->sets[i].seal->key, .wish = d->sets[i].wish,
			.message_key = d->sets[i].message == NULL ? NULL : &d->sets[i].message->key,
		};
	arc_judge(&e, &d->chain);
}

static bool sealer_trusted(void *trust, str sealer)
{
	return trust_sealer(trust, sealer) != NULL;
}

unsigned arc_trusted_results(const struct mod *m)
{
	const struct arc_chain *c = arc_state_chain(mod_other_msg(m, &arc_module));

	return c == NULL || m->trust == NULL || m->in->from.state != FROM_GOOD
		       ? 0
		       : arc_vouches(c, m->arena, m->in->from.domain, sealer_trusted,
				     (void *)(uintptr_t)m->trust);
}

/* What a trusted sealer's entry excuses.  DMARC only when the sealer says that
 * it passed there: else whatever a forwarder lets through would pass here. */
static void vouch(struct arc_msg *d)
{
	const struct arc_chain *c = &d->chain;
	const struct trust_entry *e;

	if (c->result != ARC_PASS || !c->whole)
		return;
	e = trust_sealer(d->mod->trust, c->sets[c->length - 1].seal_sig.domain);
	if (e != NULL && (!trust_skips(e, "dmarc") || arc_trusted_results(d->mod) > 0))
		mod_vouch(d->mod, e);
}

static enum say judge(struct arc_msg *d)
{
	static const unsigned counters[] = {
		[ARC_NONE] = NONE, [ARC_PASS] = PASS, [ARC_FAIL] = FAIL,
	};

	if (d->chain.result == ARC_NOT_DONE)
		chain_judge(d);
	d->judged = true;
	vouch(d);
	stat_add(d->mod->stats + counters[d->chain.result], 1);
	return SAY_NEXT;
}

static enum say message(struct mod *m)
{
	struct arc_msg *d = m->msg;

	if (!d->judging)
		return SAY_NEXT;
	if (d->out > 0 && d->chain.result == ARC_NOT_DONE) {
		d->waiting = true;
		return SAY_WAIT;
	}
	return judge(d);
}

/* ---- sealing --------------------------------------------------------------------- */

/* What our own Authentication-Results says of this message. */
static str own_results(struct mod *m)
{
	str field = authn_field(m->chain, m->arena, m->in->authserv_id, STR_NONE);

	return str_trim(str_skip(field, str_find(field, ':') + 1));
}

static enum err seal(struct mod *m, struct added *add)
{
	struct arc_msg *d = m->msg;
	struct arc_sealed made;
	str hash = bodyhash_result(m->in->hashes, d->seal_wish - 1);
	enum err e = hash.n == 0 ? ERR_MEMORY
				 : arc_seal(conf_of(m)->signer, &d->chain, m->in->fields,
					    own_results(m), hash, m->in->now, m->arena, &made);

	if (e != OK)
		return e;
	added_field(add, made.results);
	added_field(add, made.message);
	added_field(add, made.seal);
	stat_add(m->stats + SEALED, 1);
	return OK;
}

/* A chain that DNS left open goes on as it came: cv=fail would be for ever. */
static enum say queue(struct mod *m, struct added *add)
{
	struct arc_msg *d = m->msg;
	const char *why;

	if (d->seal_wish == 0 || !d->judged)
		return SAY_NEXT;
	if (!arc_may_seal(&d->chain)) {
		why = d->chain.temporary ? "DNS left the chain open"
					 : "the chain has ended or is full";
	} else {
		enum err e = seal(m, add);

		if (e == OK)
			return SAY_NEXT;
		if (e == ERR_MEMORY) {
			mod_reply(m, 451, "4.3.0",
				  STR("The message could not be sealed now; try again later"));
			return SAY_DEFER;
		}
		why = err_text(e);
	}
	log_event(m->log, LOG_WARN, "arc.unsealed", KV("domain", conf_of(m)->signer->domain),
		  KV_C("why", why));
	return SAY_NEXT;
}

/* ---- what others see -------------------------------------------------------------- */

/* RFC 8617 10.1, 10.2. */
static void results(const struct mod *m, struct authres *r)
{
	const struct arc_msg *d = m->msg;
	const struct arc_chain *c = &d->chain;

	if (!d->judged)
		return;
	authres_method(r, "arc", arc_result_word(c->result), c->reason);
	if (c->length > 0)
		authres_comment(r, arena_printf(m->arena, "i=%u", c->length));
	if (c->result == ARC_PASS && c->has_oldest)
		authres_property(r, "header.oldest-pass",
				 arena_printf(m->arena, "%u", c->oldest_pass));
	if (d->seal_wish > 0 && m->peer->ip.n > 0)
		authres_property(r, "smtp.remote-ip", m->peer->ip);
}

static void done(struct mod *m)
{
	struct arc_msg *d = m->msg;

	for (size_t i = 0; i < d->nkeys; i++) {
		dns_cancel(&d->keys[i]->ask);
		dkim_key_drop(&d->keys[i]->key);
	}
}

const struct arc_chain *arc_state_chain(const void *msg)
{
	const struct arc_msg *d = msg;

	return d == NULL || !d->judged ? NULL : &d->chain;
}

/* ---- the module -------------------------------------------------------------------- */

static bool is_domain(str value, struct arena *a, str *why)
{
	str name;

	*why = STR("must be a domain name, as \"example.org\"");
	return dkim_name_read(a, value, false, &name);
}

static bool is_selector(str value, struct arena *a, str *why)
{
	str name;

	*why = STR("must be a selector, as \"arc2026\"");
	return dkim_name_read(a, value, true, &name);
}

static bool is_absolute(str value, struct arena *a, str *why)
{
	(void)a;
	*why = STR("must be an absolute path");
	return value.n > 0 && value.p[0] == '/';
}

static void section_check(void *section, struct conf_reader *r)
{
	const struct arc_conf *c = section;

	if (c->seal && !(conf_given(&c->head, "domain") && conf_given(&c->head, "selector") &&
			 conf_given(&c->head, "key")))
		conf_fault(r, &c->head, "seal",
			   "seal = yes needs domain, selector and key: add them, make the key with "
			   "`postern key generate`");
}

#define OPT(field, type_, name_, fallback_, help_)                                                 \
	.name = (name_), .type = (type_), .offset = offsetof(struct arc_conf, field),              \
	.fallback = (fallback_), .help = (help_)

static const struct conf_option options[] = {
	{ OPT(verify, CONF_BOOL, "verify", "yes", "validate the chain of incoming mail; it decides nothing but what a trust makes of it") },
	{ OPT(minimum_bits, CONF_NUMBER, "minimum-bits", "1024", "RSA keys shorter than this break the chain"), .least = 1024, .most = DKIM_BITS_MAX },
	{ OPT(seal, CONF_BOOL, "seal", "no", "seal mail of strangers that is forwarded elsewhere; needs domain, selector and key") },
	{ OPT(domain, CONF_STRING, "domain", NULL, "d= of our seals"), .check = is_domain, .example = "example.org" },
	{ OPT(selector, CONF_STRING, "selector", NULL, "s= of our seals; the key's record is at SELECTOR._domainkey.DOMAIN"), .check = is_selector, .example = "arc" },
	{ OPT(key, CONF_STRING, "key", NULL, "PEM file of the private key that seals"), .check = is_absolute, .example = "/var/lib/postern/keys/example.org/arc.pem" },
	{ 0 },
};

static const struct conf_section section = {
	.name = "arc", .options = options, .size = sizeof(struct arc_conf), .check = section_check,
	.help = "ARC chains (RFC 8617): what forwarders on the way say that they saw.",
};

static const char *const after[] = { "spf", "dkim", NULL };

const struct module arc_module = {
	.name      = "arc",
	.after     = after,
	.section   = &section,
	.stats     = stats,
	.nstats    = COUNT(stats),
	.msg_size  = sizeof(struct arc_msg),
	.body_next = body_next,
	.message   = message,
	.queue     = queue,
	.results   = results,
	.done      = done,
};
