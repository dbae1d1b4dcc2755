/* SPDX-License-Identifier: ISC */
/*
 * A token that proves itself: compact JWS (RFC 7515 3.1) with claims in JSON
 * (RFC 7519), its signature checked with a key of the issuer's.
 *
 * The header is believed as far as it agrees with the key (RFC 8725): `none` and
 * HS* are not among the algorithms, a `crit` is never understood, keys are never
 * taken from the token (jwk, jku, x5u, x5c).
 *
 * Login desk; every byte is a stranger's.
 */
#include <string.h>

#include "auth/jwks.h"
#include "smtpd/base/json.h"

static const char *const algorithms[] = { [JOSE_RS256] = "RS256", [JOSE_PS256] = "PS256",
	                                  [JOSE_ES256] = "ES256", [JOSE_EDDSA] = "EdDSA" };

struct parts { str head, body, signature, signed_text; };

static bool split(str token, struct parts *p)
{
	str rest = token;

	if (token.n > TOKEN_MAX || !str_cut(&rest, '.', &p->head) || !str_cut(&rest, '.', &p->body) ||
	    !str_cut(&rest, '.', &p->signature) || rest.p != NULL)
		return false;
	p->signed_text = str_head(token, p->head.n + 1 + p->body.n);
	return p->head.n > 0 && p->body.n > 0 && p->signature.n > 0;
}

bool jwt_looks_like_one(str token)
{
	struct parts p;

	return split(token, &p);
}

static bool algorithm_of(str name, enum jose_alg *out)
{
	for (size_t i = 0; i < COUNT(algorithms); i++)
		if (str_is(name, algorithms[i])) {
			*out = (enum jose_alg)i;
			return true;
		}
	return false;
}

/* What the header says: NULL when it may be gone on with. */
static const char *read_header(str text, struct arena *a, enum jose_alg *alg, str *kid)
{
	struct json *o = json_read(text);
	const char *wrong = NULL;
	str name = STR_NONE;

	*kid = STR_NONE;
	if (!json_holds_members(o))
		wrong = "the token's header is no JSON object";
	else if (!json_get_text(json_at(o, "alg"), &name) || !algorithm_of(name, alg))
		wrong = "the token's algorithm is none of RS256, PS256, ES256, EdDSA";
	else if (json_at(o, "crit") != NULL)
		wrong = "the token demands an extension";
	else if (json_get_text(json_at(o, "kid"), kid))
		*kid = str_keep(a, *kid);
	json_free(o);
	return wrong;
}

/* A key that the header does not rule out: its kid, its own alg, its kind. */
static bool fits(const struct jwk *k, enum jose_alg alg, str kid)
{
	return jose_key_kind(k->key) == jose_alg_kind(alg) &&
	       (k->alg.n == 0 || str_is(k->alg, algorithms[alg])) &&
	       (kid.n == 0 || k->kid.n == 0 || str_eq(k->kid, kid));
}

static enum jwt_says check(const struct jwks *keys, enum jose_alg alg, str kid, str text,
                           str signature, const char **reason)
{
	bool any = false;

	for (size_t i = 0; i < keys->n; i++) {
		if (!fits(&keys->v[i], alg, kid))
			continue;
		any = true;
		if (jose_verify(keys->v[i].key, alg, text, signature))
			return JWT_GOOD;
	}
	*reason = any ? "the token's signature is wrong" : "no key of the issuer's fits the token";
	return any ? JWT_BAD : JWT_UNKNOWN_KEY;
}

enum jwt_says jwt_read(const struct jwks *keys, str token, struct arena *a, struct json **claims,
                       const char **reason)
{
	str head, body, signature, kid;
	enum jwt_says says;
	enum jose_alg alg;
	struct parts p;

	*claims = NULL;
	*reason = "the token is malformed";
	if (!split(token, &p) || !base64url_decode(a, p.head, &head) ||
	    !base64url_decode(a, p.body, &body) || !base64url_decode(a, p.signature, &signature))
		return JWT_BAD;
	*reason = read_header(head, a, &alg, &kid);
	if (*reason != NULL)
		return JWT_BAD;
	says = check(keys, alg, kid, p.signed_text, signature, reason);
	if (says != JWT_GOOD)
		return says;
	*claims = json_read(body);
	if (json_holds_members(*claims))
		return JWT_GOOD;
	json_free(*claims);
	*claims = NULL;
	*reason = "the token's claims are no JSON object";
	return JWT_BAD;
}
