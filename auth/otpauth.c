/* SPDX-License-Identifier: ISC */
/*
 * The otpauth URI, as authenticator programs read it from a picture:
 *
 *   otpauth://totp/ISSUER:ACCOUNT?secret=BASE32&issuer=ISSUER&algorithm=SHA1&digits=6&period=30
 *
 * Pure.
 */
#include "auth/inside.h"

/* RFC 3986 2.3: all but the unreserved is written as %XX. */
static void add_escaped(struct buf *b, str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (is_alnum(s.p[i]) || s.p[i] == '-' || s.p[i] == '.' || s.p[i] == '_' ||
		    s.p[i] == '~')
			buf_add_char(b, s.p[i]);
		else
			buf_addf(b, "%%%02X", (unsigned char)s.p[i]);
	}
}

str otpauth_uri(struct arena *a, str issuer, str address, str secret_text)
{
	struct buf b;
	str out;

	buf_init(&b, 8192);
	buf_add(&b, STR("otpauth://totp/"));
	add_escaped(&b, issuer);
	buf_add_char(&b, ':');
	add_escaped(&b, address);
	buf_add(&b, STR("?secret="));
	buf_add(&b, secret_text);
	buf_add(&b, STR("&issuer="));
	add_escaped(&b, issuer);
	buf_addf(&b, "&algorithm=SHA1&digits=%d&period=%d", CODE_DIGITS, CODE_STEP_S);
	out = b.failed ? STR_NONE : str_keep(a, buf_str(&b));
	buf_wipe(&b);
	return out;
}
