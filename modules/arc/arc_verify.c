/* SPDX-License-Identifier: ISC */
/*
 * arc_verify: the signatures of a chain whose structure is right (RFC 8617 5.2
 * steps 4 to 7).
 *
 * The newest message signature decides, and every seal; older message
 * signatures only tell how far back the message is unchanged.  Every error is
 * final, a failing DNS among them (5.2.1).  Canonical forms are made once a
 * field; what all seals hash together is bounded by ARC_BYTES_MAX.  Any thread.
 */
#include <string.h>

#include "modules/arc/arc.h"
#include "modules/arc/arc_scope.h"

static void digested(void *arg, str bytes)
{
	digest_add(arg, bytes);
}

/* ---- the chain's own fields, as seals hash them ------------------------------ */

bool arc_scope_init(struct arc_scope *s, struct arena *a)
{
	*s = (struct arc_scope){ .forms = ARENA_ARRAY(a, str, 3 * (ARC_SETS_MAX + 1)), .arena = a };
	return s->forms != NULL;
}

void arc_scope_add(struct arc_scope *s, str raw)
{
	struct buf b;

	buf_init(&b, BUF_UNBOUNDED);
	canon_field(CANON_RELAXED, raw, &b);
	s->failed = s->failed || b.failed;
	s->forms[s->n++] = str_keep(s->arena, buf_str(&b));
	buf_fini(&b);
}

size_t arc_scope_digest(const struct arc_scope *s, size_t n, str seal,
			unsigned char out[static DIGEST_MAX])
{
	struct digest d;
	struct buf b;

	if (s->failed || s->arena->spent || digest_begin(&d, DIGEST_SHA256) != OK)
		return 0;
	for (size_t i = 0; i < n; i++)
		digested(&d, s->forms[i]);
	buf_init(&b, BUF_UNBOUNDED);
	canon_signature_field(CANON_RELAXED, seal, &b);
	if (b.failed) {
		buf_fini(&b);
		digest_drop(&d);
		return 0;
	}
	digested(&d, buf_str(&b));
	buf_fini(&b);
	return digest_end(&d, out);
}

void arc_scope_add_set(struct arc_scope *s, const struct arc_set *set)
{
	arc_scope_add(s, set->results->raw);
	arc_scope_add(s, set->message->raw);
	arc_scope_add(s, set->seal->raw);
}

/* ---- message signatures ------------------------------------------------------ */

static void broken(struct arc_set *s, str why)
{
	s->message_check = ARC_BROKEN;
	s->message_why = why;
}

static void message_judge(const struct arc_evidence *e, struct dkim_index *index, struct arc_set *s,
                          const struct arc_proof *p, struct dkim_verdict *v)
{
	const struct dkim_evidence evidence = {
		.arena = e->arena,
		.index = index,
		.key = p->message_key,
		.minimum_bits = e->minimum_bits,
		.body_hash = bodyhash_result(e->hashes, p->wish),
		.body_length = bodyhash_length(e->hashes, p->wish),
	};

	if (s->message_check != ARC_UNTRIED || p->message_key == NULL)
		return;
	v->sig = s->message_sig;
	if (dkim_expired(&v->sig, e->now)) {
		broken(s, arena_printf(e->arena, "it has expired: x=%lld is past",
				       (long long)v->sig.expiry));
		return;
	}
	dkim_judge(&evidence, v);
	if (v->result == DKIM_PASS)
		s->message_check = ARC_VALID;
	else
		broken(s, v->reason);
}

/* Whether it vouches for what a person is shown: From, and no byte appended. */
static bool covers_all(const struct dkim_verdict *v)
{
	bool from = false;

	for (size_t i = 0; i < v->sig.nh; i++)
		from = from || str_is_nocase(v->sig.h[i], "From");
	return from && !v->partial;
}

static bool newest_passes(const struct arc_evidence *e, struct dkim_index *index,
			  struct arc_chain *c)
{
	struct arc_set *s = &c->sets[c->length - 1];
	struct dkim_verdict v = { .result = DKIM_NOT_DONE };

	message_judge(e, index, s, &e->proofs[c->length - 1], &v);
	if (s->message_check == ARC_VALID) {
		c->whole = covers_all(&v);
		return true;
	}
	c->result = ARC_FAIL;
	c->temporary = v.result == DKIM_TEMPERROR || e->arena->spent;
	c->reason =
		arena_printf(e->arena, "the message signature of i=%u (%.*s) does not hold: %.*s",
			     c->length, STR_ARG(s->message_sig.domain), STR_ARG(s->message_why));
	return false;
}

/* RFC 8617 5.2 step 5; unknown when a signature was not tried. */
static void oldest_find(const struct arc_evidence *e, struct dkim_index *index, struct arc_chain *c)
{
	for (unsigned i = c->length - 1; i > 0; i--) {
		struct arc_set *s = &c->sets[i - 1];
		struct dkim_verdict v = { .result = DKIM_NOT_DONE };

		message_judge(e, index, s, &e->proofs[i - 1], &v);
		if (s->message_check == ARC_VALID)
			continue;
		c->has_oldest = s->message_check == ARC_BROKEN && v.result != DKIM_TEMPERROR;
		c->oldest_pass = i + 1;
		return;
	}
	c->has_oldest = true;
	c->oldest_pass = 0;
}

/* ---- seals -------------------------------------------------------------------- */

static const char *seal_fault(const struct arc_evidence *e, const struct arc_scope *scope,
			      const struct arc_set *s, unsigned i, const struct dkim_key *k,
			      str *said)
{
	unsigned char hash[DIGEST_MAX];

	if (k->result != DKIM_PASS)
		return k->reason;
	if (!dkim_key_acceptable(k, e->minimum_bits, e->arena, said))
		return "";
	size_t n = arc_scope_digest(scope, 3 * i - 1, s->seal->raw, hash);
	str digest = { (const char *)hash, n };

	if (n > 0 && key_verify(k->key, DIGEST_SHA256, digest, s->seal_sig.b))
		return NULL;
	return "an ARC field was changed after it was sealed, or another key sealed it";
}

static bool seals_pass(const struct arc_evidence *e, const struct arc_scope *scope,
		       struct arc_chain *c)
{
	for (unsigned i = c->length; i > 0; i--) {
		struct arc_set *s = &c->sets[i - 1];
		const struct dkim_key *k = e->proofs[i - 1].seal_key;
		str said = STR_NONE;
		const char *fault = seal_fault(e, scope, s, i, k, &said);

		s->seal_check = fault == NULL ? ARC_VALID : ARC_BROKEN;
		if (fault == NULL)
			continue;
		if (said.n == 0)
			said = str_of(fault);
		c->result = ARC_FAIL;
		c->temporary = k->result == DKIM_TEMPERROR || e->arena->spent;
		c->reason = arena_printf(e->arena, "the seal of i=%u (%.*s) does not hold: %.*s", i,
		                         STR_ARG(s->seal_sig.domain), STR_ARG(said));
		return false;
	}
	return true;
}

void arc_judge(const struct arc_evidence *e, struct arc_chain *c)
{
	struct dkim_index *index = dkim_index_new(e->arena, e->fields, true);
	struct arc_scope scope;

	if (c->result != ARC_NOT_DONE)
		return;
	if (index == NULL || !arc_scope_init(&scope, e->arena)) {
		c->result = ARC_FAIL;
		c->temporary = true;
		c->reason = STR("there is no memory left to verify the chain");
		return;
	}
	if (!newest_passes(e, index, c))
		return;
	for (unsigned i = 0; i < c->length; i++)
		arc_scope_add_set(&scope, &c->sets[i]);
	if (!seals_pass(e, &scope, c))
		return;
	c->result = ARC_PASS;
	oldest_find(e, index, c);
}
