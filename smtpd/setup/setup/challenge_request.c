/* SPDX-License-Identifier: ISC */
/*
 * What an authority asks over HTTP, and what its tokens are made of.  Pure; strangers'
 * bytes.
 */
#include "smtpd/setup/setup/setup.h"

/* base64url, and a dot between token and thumbprint. */
bool challenge_token(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && s.p[i] != '-' && s.p[i] != '_' && s.p[i] != '.')
			return false;
	return s.n > 0 && s.n <= 512;
}

bool challenge_asked(str request, str token)
{
	static const char path[] = "GET /.well-known/acme-challenge/";
	str rest = str_skip(request, sizeof(path) - 1);

	return str_starts(request, path) && rest.n > token.n && str_eq(str_head(rest, token.n), token) && rest.p[token.n] == ' ';
}
