/* SPDX-License-Identifier: ISC */
/*
 * Device passwords: drawn, never chosen, so that a quick hash is enough.
 *
 * 80 random bits are twenty letters in five groups.  The sixteen letters have no
 * look-alikes among them and need neither shift nor another page of a phone's
 * keyboard.  Nobody searches 2^80 passwords, however quick one try is; a salted
 * SHA-256 therefore stands beside the SCRAM verifier, and PLAIN costs no PBKDF2.
 * Pure; any thread.
 */
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"

#define GROUPS 5
#define GROUP  4

static const char letters[16] = "abcdefhjkmnprtwx";

void device_draw(char out[static DEVICE_TEXT + 1])
{
	unsigned char bits[10];

	random_bytes(bits, sizeof(bits));
	for (size_t i = 0, at = 0; i < GROUPS * GROUP; i++) {
		if (i > 0 && i % GROUP == 0)
			out[at++] = '-';
		out[at++] = letters[bits[i / 2] >> (i % 2 * 4) & 15];
	}
	out[DEVICE_TEXT] = '\0';
	crypt_wipe(bits, sizeof(bits));
}

/* A phone writes the first letter large, and people leave the hyphens out. */
bool device_typed(str typed, char out[static DEVICE_TEXT + 1])
{
	size_t n = 0, at = 0;

	for (size_t i = 0; i < typed.n; i++) {
		char c = to_lower(typed.p[i]);

		if (c == '-' || c == ' ')
			continue;
		if (memchr(letters, c, sizeof(letters)) == NULL || n == GROUPS * GROUP)
			return false;
		if (n > 0 && n % GROUP == 0)
			out[at++] = '-';
		out[at++] = c;
		n++;
	}
	out[at] = '\0';
	return n == GROUPS * GROUP;
}

/* ---- the quick hash ------------------------------------------------------------- */

static void quick_hash(const unsigned char salt[DEVICE_SALT], str password,
		       unsigned char out[static 32])
{
	hmac_sha256((str){ (const char *)salt, DEVICE_SALT }, password, out);
}

void quick_make(str password, struct quick *out)
{
	random_bytes(out->salt, sizeof(out->salt));
	quick_hash(out->salt, password, out->hash);
}

bool quick_check(const struct quick *q, str password)
{
	unsigned char got[32];
	bool same;

	quick_hash(q->salt, password, got);
	same = crypt_equal(got, q->hash, sizeof(got));
	crypt_wipe(got, sizeof(got));
	return same;
}

/* 48 bytes: their base64 needs no padding. */
str quick_text(struct arena *a, const struct quick *q)
{
	unsigned char both[DEVICE_SALT + 32];

	memcpy(both, q->salt, DEVICE_SALT);
	memcpy(both + DEVICE_SALT, q->hash, 32);
	return base64_encode(a, (str){ (const char *)both, sizeof(both) });
}

bool quick_parse(str text, struct arena *a, struct quick *out)
{
	str raw;

	if (!base64_decode(a, text, false, &raw) || raw.n != DEVICE_SALT + 32)
		return false;
	memcpy(out->salt, raw.p, DEVICE_SALT);
	memcpy(out->hash, raw.p + DEVICE_SALT, 32);
	return true;
}

/* ---- its name --------------------------------------------------------------------- */

#define SLUG_MOST 24

str device_slug(struct arena *a, str label)
{
	char out[SLUG_MOST];
	size_t n = 0;

	for (size_t i = 0; i < label.n && n < SLUG_MOST; i++) {
		char c = to_lower(label.p[i]);

		if (is_alnum(c))
			out[n++] = c;
		else if (n > 0 && out[n - 1] != '-')
			out[n++] = '-';
	}
	while (n > 0 && out[n - 1] == '-')
		n--;
	return n > 0 ? str_keep(a, (str){ out, n }) : STR("device");
}
