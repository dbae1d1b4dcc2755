/* SPDX-License-Identifier: ISC */
/*
 * jwt: by the first byte a token, a key set, what a client says in OAUTHBEARER
 * or XOAUTH2, or an issuer's answer.  Nobody's token is good without his key;
 * what is taken apart lies within what came.
 */
#include <string.h>

#include "auth/jwks.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* RFC 8037 A.2, whose private half stands there, too: no seed is signed by it. */
static const char key_text[] =
        "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";

static struct jwks *keys;

static void token(str in, struct arena *a)
{
	struct json *claims;
	const char *reason = NULL;
	enum jwt_says says = jwt_read(keys, in, a, &claims, &reason);

	must(says != JWT_GOOD && claims == NULL && reason != NULL);
	must(jwt_looks_like_one(in) || says == JWT_BAD);
}

static void key_set(str in)
{
	struct jwks *set = jwks_read(in);

	must(set == NULL || (set->n > 0 && set->n <= JWKS_MOST));
	jwks_free(set);
}

static void message(str in, bool bearer, struct arena *a)
{
	struct oauth_message m;

	if (!(bearer ? oauth_bearer_read(a, in, &m) : oauth_x2_read(in, &m)))
		return;
	must(m.token.n > 0 && m.token.n <= TOKEN_MAX && m.user.n <= in.n);
	must(m.token.p >= in.p && m.token.p + m.token.n <= in.p + in.n);
	for (size_t i = 0; i < m.token.n; i++)
		must(m.token.p[i] > ' ' && m.token.p[i] < 0x7f);
}

static void answer(str in, bool introspected, struct arena *a)
{
	static const struct oauth_rule rule = { .issuer = "i", .audience = "a", .scope = "s t", .user_claim = "email" };
	struct json *o = json_read(in);
	str address = STR_NONE;
	int64_t expires;

	if (oauth_claims(&rule, o, introspected, 1800000000, a, &address, &expires) == NULL)
		must(address.n > 0 && (introspected || expires > 1700000000));
	json_free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	str in = { (const char *)data + 1, n ? n - 1 : 0 };
	struct arena a;

	if (keys == NULL) {
		crypt_setup();
		keys = jwks_read(str_of(key_text));
		must(keys != NULL);
	}
	if (n == 0)
		return 0;
	arena_init(&a, 1 << 20);
	switch (data[0] % 6) {
	case 0: token(in, &a); break;
	case 1: key_set(in); break;
	case 2: message(in, true, &a); break;
	case 3: message(in, false, &a); break;
	case 4: answer(in, false, &a); break;
	case 5: answer(in, true, &a); break;
	}
	arena_fini(&a);
	return 0;
}
