/* SPDX-License-Identifier: ISC */
/*
 * What a client says in OAUTHBEARER (RFC 7628 3.1) and in XOAUTH2, taken apart.
 *
 *   n,a=user@example.org,^Ahost=…^Aport=…^Aauth=Bearer TOKEN^A^A
 *   user=user@example.org^Aauth=Bearer TOKEN^A^A
 *
 * Pure; every byte is a stranger's.
 */
#include <string.h>

#include "auth/oauth.h"

#define SEPARATOR '\001'

/* RFC 6750 2.1: b64token. */
static bool is_token(str s)
{
	size_t n = s.n;

	while (n > 0 && s.p[n - 1] == '=')
		n--;
	for (size_t i = 0; i < n; i++)
		if (!is_alnum(s.p[i]) && (s.p[i] == '\0' || strchr("-._~+/", s.p[i]) == NULL))
			return false;
	return n > 0 && s.n <= TOKEN_MAX;
}

static bool take_auth(str value, struct oauth_message *m)
{
	if (m->token.n > 0 || !str_starts_nocase(value, "Bearer "))
		return false;
	m->token = str_trim(str_skip(value, 7));
	return is_token(m->token);
}

/* key=value^A … ^A; keys in letters, values without controls (RFC 7628 3.1). */
static bool take_pairs(str rest, bool with_user, struct oauth_message *m)
{
	bool named = false;
	str pair;

	while (str_cut(&rest, SEPARATOR, &pair) && pair.n > 0) {
		size_t equals = str_find(pair, '=');
		str key = str_head(pair, equals), value = str_skip(pair, equals + 1);

		if (key.n == 0 || equals == pair.n)
			return false;
		if (str_is_nocase(key, "auth") && !take_auth(value, m))
			return false;
		if (with_user && str_is_nocase(key, "user")) {
			if (named)
				return false;
			named = true;
			m->user = value;
		}
	}
	/* An empty pair with its separator is the end: nothing stands behind it. */
	return rest.p != NULL && rest.n == 0 && m->token.n > 0;
}

/* RFC 5801 4: "=2C" and "=3D", no other "=", no comma. */
static bool unescape(struct arena *a, str in, str *out)
{
	char *p = arena_alloc(a, in.n + 1);
	size_t n = 0;

	if (p == NULL)
		return false;
	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] != '=') {
			p[n++] = in.p[i];
			continue;
		}
		if (str_starts(str_skip(in, i), "=2C"))
			p[n++] = ',';
		else if (str_starts(str_skip(in, i), "=3D"))
			p[n++] = '=';
		else
			return false;
		i += 2;
	}
	*out = (str){ p, n };
	return true;
}

bool oauth_bearer_read(struct arena *a, str in, struct oauth_message *m)
{
	str flag, who, rest = in;

	*m = (struct oauth_message){ STR_NONE, STR_NONE };
	if (!str_cut(&rest, ',', &flag) || !(str_is(flag, "n") || str_is(flag, "y")))
		return false;          /* "p=": it has no channel binding */
	if (!str_cut(&rest, ',', &who) || rest.n == 0 || rest.p[0] != SEPARATOR)
		return false;
	if (who.n > 0 && (!str_starts(who, "a=") || !unescape(a, str_skip(who, 2), &m->user)))
		return false;
	return take_pairs(str_skip(rest, 1), false, m);
}

bool oauth_x2_read(str in, struct oauth_message *m)
{
	*m = (struct oauth_message){ STR_NONE, STR_NONE };
	return take_pairs(in, true, m);
}
