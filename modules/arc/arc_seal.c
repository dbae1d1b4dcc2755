/* SPDX-License-Identifier: ISC */
/*
 * arc_seal: one more set on a chain (RFC 8617 5.1).
 *
 * A chain that failed is sealed cv=fail over the new set alone (5.1.2), so that
 * nobody behind us has to look at what cannot be read; what ended or is full is
 * left as it is.  Any thread.
 */
#include <string.h>

#include "modules/arc/arc.h"
#include "modules/arc/arc_scope.h"

#define B_LINE 76

static struct field field_made(const char *name, str raw)
{
	return (struct field){
		.name = str_of(name), .raw = raw, .value = str_skip(raw, str_find(raw, ':') + 1),
	};
}

/* The new results stand in front of the message, where h= may name them. */
static bool fields_with(struct arena *a, const struct fields *own, str results, struct fields *out)
{
	*out = (struct fields){ .v = ARENA_ARRAY(a, struct field, own->n + 1) };
	if (out->v == NULL)
		return false;
	out->v[out->n++] = field_made("ARC-Authentication-Results", results);
	if (own->n > 0)
		memcpy(&out->v[1], own->v, own->n * sizeof(own->v[0]));
	out->n += own->n;
	return true;
}

/* Up to and with "b=". */
static str seal_begin(const struct dkim_signer *s, unsigned instance, enum arc_cv cv, int64_t now,
		      struct arena *a)
{
	return arena_printf(
		a, "ARC-Seal: i=%u; a=%s; t=%lld; cv=%s;\r\n d=%.*s;\r\n s=%.*s;\r\n b=", instance,
		key_kind(s->key) == KEY_ED25519 ? "ed25519-sha256" : "rsa-sha256", (long long)now,
		arc_cv_word(cv), STR_ARG(s->domain), STR_ARG(s->selector));
}

static str seal_end(str begun, str signature, struct arena *a)
{
	str text = base64_encode(a, signature), out;
	struct buf b;

	buf_init(&b, BUF_UNBOUNDED);
	buf_add(&b, begun);
	for (str rest = text; rest.n > 0; rest = str_skip(rest, B_LINE - 2)) {
		if (rest.p != text.p)
			buf_add(&b, STR("\r\n "));
		buf_add(&b, str_head(rest, B_LINE - 2));
	}
	buf_add(&b, STR("\r\n"));
	out = b.failed ? STR_NONE : str_keep(a, buf_str(&b));
	buf_fini(&b);
	return out;
}

static enum err seal_make(const struct dkim_signer *s, const struct arc_chain *c, enum arc_cv cv,
			  int64_t now, struct arena *a, struct arc_sealed *out)
{
	unsigned char hash[DIGEST_MAX], signature[SIGNATURE_MAX];
	struct arc_scope scope;
	size_t n = 0;
	str begun = seal_begin(s, c->length + 1, cv, now, a);

	if (!arc_scope_init(&scope, a))
		return ERR_MEMORY;
	for (unsigned i = 0; cv == ARC_CV_PASS && i < c->length; i++)
		arc_scope_add_set(&scope, &c->sets[i]);
	arc_scope_add(&scope, out->results);
	arc_scope_add(&scope, out->message);
	size_t len = arc_scope_digest(&scope, scope.n, begun, hash);

	if (len == 0)
		return ERR_MEMORY;
	str digest = { (const char *)hash, len };
	enum err e = key_sign(s->key, DIGEST_SHA256, digest, signature, &n);

	if (e != OK)
		return e;
	out->seal = seal_end(begun, (str){ (const char *)signature, n }, a);
	return a->spent || out->seal.n == 0 ? ERR_MEMORY : OK;
}

enum err arc_seal(const struct dkim_signer *s, const struct arc_chain *c,
		  const struct fields *fields, str payload, str body_hash, int64_t now,
		  struct arena *a, struct arc_sealed *out)
{
	static const enum arc_cv cvs[] = {
		[ARC_NONE] = ARC_CV_NONE, [ARC_PASS] = ARC_CV_PASS, [ARC_FAIL] = ARC_CV_FAIL,
	};
	struct fields with;

	if (!arc_may_seal(c))
		return ERR_BAD;
	out->results = arena_printf(a, "ARC-Authentication-Results: i=%u; %.*s\r\n", c->length + 1,
				    STR_ARG(payload));
	if (payload.n == 0 || !fields_with(a, fields, out->results, &with))
		return ERR_MEMORY;
	enum err e = dkim_sign_arc(s, c->length + 1, &with, body_hash, now, a, &out->message);

	return e == OK ? seal_make(s, c, cvs[c->result], now, a, out) : e;
}
