/* SPDX-License-Identifier: ISC */
/*
 * TOTP codes (RFC 6238: SHA-1, 30 seconds, six digits, as every authenticator
 * program has them), over liboath.
 *
 * A code counts in its step and the ones beside it, for clocks that differ.
 * That each counts once is the standing's business.  Pure; any thread.
 */
#include <stdlib.h>
#include <string.h>

#include <liboath/oath.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"

#define BESIDE 1

void codes_setup(void)
{
	must(oath_init() == OATH_OK);
}

static bool code_at(str secret, uint64_t step, char out[static CODE_DIGITS + 1])
{
	return oath_totp_generate2(secret.p, secret.n, (time_t)(step * CODE_STEP_S), CODE_STEP_S, 0,
	                           CODE_DIGITS, 0, out) == OATH_OK;
}

/* All three are compared, whichever fits. */
uint64_t code_step(str secret, str code, int64_t now)
{
	uint64_t middle = now > 0 ? (uint64_t)now / CODE_STEP_S : 0, found = 0;
	char want[CODE_DIGITS + 1];

	if (secret.n == 0 || code.n != CODE_DIGITS || middle <= BESIDE)
		return 0;
	for (uint64_t step = middle - BESIDE; step <= middle + BESIDE; step++)
		if (code_at(secret, step, want) && crypt_equal(want, code.p, CODE_DIGITS))
			found = step;
	crypt_wipe(want, sizeof(want));
	return found;
}

str code_secret_text(struct arena *a, str secret)
{
	char *text = NULL;
	size_t n = 0;
	str out = STR_NONE;

	if (oath_base32_encode(secret.p, secret.n, &text, &n) == OATH_OK)
		out = str_keep(a, (str){ text, n });
	crypt_wipe(text, n);
	free(text);
	while (out.n > 0 && out.p[out.n - 1] == '=')
		out.n--;
	return out;
}

/* RFC 4226 4: at least 128 bits. */
bool code_secret_parse(struct arena *a, str text, str *secret)
{
	char *raw = NULL;
	size_t n = 0;
	bool good;

	for (size_t i = 0; i < text.n; i++)
		if (!is_alpha(text.p[i]) && (text.p[i] < '2' || text.p[i] > '7'))
			return false;
	good = text.n > 0 && text.n <= 128 &&
	       oath_base32_decode(text.p, text.n, &raw, &n) == OATH_OK && n >= 16;
	if (good)
		*secret = str_keep(a, (str){ raw, n });
	crypt_wipe(raw, n);
	free(raw);
	return good && secret->n > 0;
}
