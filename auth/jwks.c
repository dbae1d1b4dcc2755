/* SPDX-License-Identifier: ISC */
/*
 * An issuer's keys (RFC 7517): of a key set those that sign by an algorithm we
 * know.  Others, and what is malformed, are passed over, for one bad key shall
 * not lock everybody out; a set without a key of use is none.
 *
 * Login desk.
 */
#include <stdlib.h>
#include <string.h>

#include "auth/jwks.h"
#include "smtpd/base/json.h"

static struct jose_key *read_key(const struct json *o, struct arena *a)
{
	static const struct { const char *kty, *crv, *first, *second; } shapes[] = {
		{ "RSA", NULL, "n", "e" },
		{ "EC", "P-256", "x", "y" },
		{ "OKP", "Ed25519", "x", NULL },
	};
	str kty, crv = STR_NONE, text, one, two = STR_NONE;

	if (!json_get_text(json_at(o, "kty"), &kty))
		return NULL;
	json_get_text(json_at(o, "crv"), &crv);
	for (size_t i = 0; i < COUNT(shapes); i++) {
		if (!str_is(kty, shapes[i].kty) || (shapes[i].crv && !str_is(crv, shapes[i].crv)))
			continue;
		if (!json_get_text(json_at(o, shapes[i].first), &text) || !base64url_decode(a, text, &one))
			return NULL;
		if (shapes[i].second && (!json_get_text(json_at(o, shapes[i].second), &text) ||
		                         !base64url_decode(a, text, &two)))
			return NULL;
		return i == 0 ? jose_key_rsa(one, two)
		     : i == 1 ? jose_key_p256(one, two) : jose_key_ed25519(one);
	}
	return NULL;
}

/* RFC 7517 4.2, 4.4: what a key says of its use holds. */
static bool may_sign(const struct json *o, struct jwk *k)
{
	str use = STR("sig");

	json_get_text(json_at(o, "use"), &use);
	json_get_text(json_at(o, "alg"), &k->alg);
	json_get_text(json_at(o, "kid"), &k->kid);
	return str_is(use, "sig");
}

static void take(struct jwks *set, const struct json *o, struct arena *scratch)
{
	struct jwk *k = &set->v[set->n];

	*k = (struct jwk){ .alg = STR_NONE, .kid = STR_NONE };
	if (set->n == JWKS_MOST || !may_sign(o, k))
		return;
	k->key = read_key(o, scratch);
	if (k->key == NULL)
		return;
	k->alg = str_keep(&set->arena, k->alg);
	k->kid = str_keep(&set->arena, k->kid);
	set->n++;
}

struct jwks *jwks_read(str text)
{
	struct json *root = json_read(text);
	const struct json *keys = json_at(root, "keys");
	struct jwks *set = calloc(1, sizeof(*set));
	struct arena scratch;

	arena_init(&scratch, 1 << 20);
	if (set != NULL)
		arena_init(&set->arena, 1 << 20);
	for (size_t i = 0; set != NULL && i < json_count(keys); i++)
		take(set, json_nth(keys, i), &scratch);
	arena_fini(&scratch);
	json_free(root);
	if (set != NULL && set->n > 0)
		return set;
	jwks_free(set);
	return NULL;
}

void jwks_free(struct jwks *set)
{
	if (set == NULL)
		return;
	for (size_t i = 0; i < set->n; i++)
		jose_key_free(set->v[i].key);
	arena_fini(&set->arena);
	free(set);
}
