/* SPDX-License-Identifier: ISC */
/*
 * dkim_verify: which bytes a signature covers, and whether it is theirs
 * (RFC 6376 3.7, 5.4.2, 6.1).
 *
 * h= is served from the bottom of the header up, each field once a signature;
 * names without a field left count as empty.  The index sorts the fields once
 * a message, so the work is linear in h= and in the bytes covered.  Any thread,
 * one at a time.
 */
#include "modules/dkim/dkim.h"

#include <stdlib.h>
#include <string.h>

const char *dkim_result_word(enum dkim_result r)
{
	static const char *const words[] = {
		[DKIM_NONE] = "none",       [DKIM_PASS] = "pass",           [DKIM_FAIL] = "fail",
		[DKIM_POLICY] = "policy",   [DKIM_NEUTRAL] = "neutral",     [DKIM_TEMPERROR] = "temperror",
		[DKIM_PERMERROR] = "permerror",
	};

	return words[r];
}

struct entry {
	const struct field *field;
	size_t at;
	str relaxed;            /* of a long field, once some signature wanted it */
};

struct group {                  /* the fields of one name: entries[first .. first+n) */
	size_t   first, n, taken;
	unsigned round;         /* `taken` is of this round */
};

struct dkim_index {
	struct arena *arena;
	struct entry *entries;
	size_t        n;
	struct group *groups;
	size_t        ngroups;
	unsigned      round;
};

/* Any total order will do: the length first, it is cheap. */
static int name_cmp(str a, str b)
{
	if (a.n != b.n)
		return a.n < b.n ? -1 : 1;
	for (size_t i = 0; i < a.n; i++) {
		char x = to_lower(a.p[i]), y = to_lower(b.p[i]);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return 0;
}

static int entry_cmp(const void *va, const void *vb)
{
	const struct entry *a = va, *b = vb;
	int c = name_cmp(a->field->name, b->field->name);

	return c != 0 ? c : a->at < b->at ? -1 : 1;
}

struct dkim_index *dkim_index_new(struct arena *a, const struct fields *fields, bool with_omitted)
{
	struct dkim_index *x = ARENA_NEW(a, struct dkim_index);

	if (x == NULL)
		return NULL;
	x->arena = a;
	x->entries = ARENA_ARRAY(a, struct entry, fields->n + 1);
	x->groups = ARENA_ARRAY(a, struct group, fields->n + 1);
	if (x->entries == NULL || x->groups == NULL)
		return NULL;
	for (size_t i = 0; i < fields->n; i++)
		if (with_omitted || !fields->v[i].omitted)
			x->entries[x->n++] = (struct entry){ .field = &fields->v[i], .at = i };
	qsort(x->entries, x->n, sizeof(x->entries[0]), entry_cmp);
	for (size_t i = 0; i < x->n; i++) {
		if (i == 0 || name_cmp(x->entries[i - 1].field->name, x->entries[i].field->name) != 0)
			x->groups[x->ngroups++].first = i;
		x->groups[x->ngroups - 1].n++;
	}
	return x;
}

static struct group *group_find(const struct dkim_index *x, str name)
{
	size_t low = 0, high = x->ngroups;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = name_cmp(name, x->entries[x->groups[mid].first].field->name);

		if (c == 0)
			return &x->groups[mid];
		if (c < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return NULL;
}

size_t dkim_index_count(const struct dkim_index *x, str name)
{
	const struct group *g = group_find(x, name);

	return g == NULL ? 0 : g->n;
}

/* The lowest field of that name not taken yet; the signature's own is never one. */
static struct entry *field_take(struct dkim_index *x, str name, const struct field *own)
{
	struct group *g = group_find(x, name);

	if (g == NULL)
		return NULL;
	if (g->round != x->round) {
		g->round = x->round;
		g->taken = 0;
	}
	while (g->taken < g->n) {
		struct entry *e = &x->entries[g->first + g->n - 1 - g->taken++];

		if (e->field->raw.p != own->raw.p)
			return e;
	}
	return NULL;
}

#define LONG_FIELD ((size_t)2 << 10)

/* The relaxed form of a long field is made once for all signatures, as long as
 * that leaves the message's memory half empty. */
static void entry_put(struct dkim_index *x, struct entry *e, enum canon kind, struct buf *out)
{
	size_t at = out->n;

	if (kind == CANON_RELAXED && e->relaxed.n > 0) {
		buf_add(out, e->relaxed);
		return;
	}
	canon_field(kind, e->field->raw, out);
	if (kind == CANON_RELAXED && e->field->raw.n >= LONG_FIELD && !out->failed &&
	    x->arena->used < x->arena->budget / 2 && out->n - at < x->arena->budget / 4)
		e->relaxed = str_keep(x->arena, str_skip(buf_str(out), at));
}

void dkim_header_bytes(struct dkim_index *x, const struct dkim_signature *sig, canon_sink *sink, void *arg)
{
	struct buf b;

	buf_init(&b, BUF_UNBOUNDED);
	x->round++;
	for (size_t i = 0; i < sig->nh; i++) {
		struct entry *e = field_take(x, sig->h[i], sig->field);

		if (e == NULL)
			continue;
		entry_put(x, e, sig->header_canon, &b);
		sink(arg, buf_str(&b));
		buf_clear(&b);
	}
	canon_signature_field(sig->header_canon, sig->field->raw, &b);
	sink(arg, buf_str(&b));
	buf_fini(&b);
}

static void digested(void *arg, str bytes)
{
	digest_add(arg, bytes);
}

static bool header_verifies(const struct dkim_evidence *e, const struct dkim_signature *sig)
{
	struct digest d;
	unsigned char hash[DIGEST_MAX];

	if (digest_begin(&d, DIGEST_SHA256) != OK)
		return false;
	dkim_header_bytes(e->index, sig, digested, &d);
	size_t n = digest_end(&d, hash);

	return key_verify(e->key->key, DIGEST_SHA256, (str){ (const char *)hash, n }, sig->b);
}

static void judged(struct dkim_verdict *v, enum dkim_result r, str reason)
{
	v->result = r;
	v->reason = reason;
}

/* An exponent that is even is no RSA, one over 32 bits only costs time. */
bool dkim_key_acceptable(const struct dkim_key *key, unsigned minimum_bits, struct arena *a, str *why)
{
	const struct key *k = key->key;

	if (key_kind(k) != KEY_RSA)
		return true;
	if (key_bits(k) < minimum_bits)
		*why = arena_printf(a, "the key is too short: %u bits, at least %u are asked for", key_bits(k), minimum_bits);
	else if (key_bits(k) > DKIM_BITS_MAX)
		*why = arena_printf(a, "the key is too long: %u bits, at most %u are taken", key_bits(k), DKIM_BITS_MAX);
	else if (!key_exponent_odd_32(k))
		*why = STR("the key's public exponent is even or longer than 32 bits");
	else
		return true;
	return false;
}

/* t=s: no subdomain may stand in i= (RFC 6376 3.6.1). */
static bool identity_allowed(const struct dkim_key *k, const struct dkim_signature *sig)
{
	size_t at = str_rfind(sig->identity, '@');

	return !k->same_domain || sig->identity.n == 0 || str_eq(str_skip(sig->identity, at + 1), sig->domain);
}

static void body_mismatched(const struct dkim_evidence *e, struct dkim_verdict *v)
{
	const struct dkim_signature *sig = &v->sig;

	if (sig->has_length && sig->length > e->body_length)
		judged(v, DKIM_FAIL, arena_printf(e->arena,
		       "body hash mismatch: l= counts %llu octets, but only %llu arrived; the body was cut short on its way",
		       (unsigned long long)sig->length, (unsigned long long)e->body_length));
	else
		judged(v, DKIM_FAIL, STR("body hash mismatch: the body was changed after it was signed"));
}

void dkim_judge(const struct dkim_evidence *e, struct dkim_verdict *v)
{
	const struct dkim_signature *sig = &v->sig;
	const struct dkim_key *k = e->key;
	str why = STR_NONE;

	v->testing = k->testing;
	if (k->result != DKIM_PASS) {
		judged(v, k->result, str_of(k->reason));
		return;
	}
	v->key_bits = key_bits(k->key);
	v->partial = sig->has_length && sig->length < e->body_length;
	if (!dkim_key_acceptable(k, e->minimum_bits, e->arena, &why))
		judged(v, DKIM_POLICY, why);
	else if (!identity_allowed(k, sig))
		judged(v, DKIM_PERMERROR, STR("the key's t=s forbids a subdomain in i="));
	else if (!str_eq(e->body_hash, sig->bh))
		body_mismatched(e, v);
	else if (sig->has_length && sig->length > e->body_length)
		judged(v, DKIM_PERMERROR, STR("l= counts more octets than the body has (RFC 6376 3.5)"));
	else if (!header_verifies(e, sig))
		judged(v, DKIM_FAIL, STR("header mismatch: the body hash is right, but a signed header field was "
		                         "changed, added or removed, or the key is not the one that signed"));
	else if (v->partial)
		judged(v, DKIM_PASS, arena_printf(e->arena, "l= leaves the last %llu octets of the body unsigned",
		                                  (unsigned long long)(e->body_length - sig->length)));
	else
		judged(v, DKIM_PASS, STR_NONE);
}
