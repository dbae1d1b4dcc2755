/* SPDX-License-Identifier: ISC */
/*
 * SCRAM-SHA-256 verifiers (RFC 5802 3, RFC 7677): what is kept instead of a
 * password.  Text as Dovecot writes it: "{SCRAM-SHA-256}iterations,salt,
 * StoredKey,ServerKey", the last three in base64.  Pure; any thread.
 */
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"

#define SCHEME "SCRAM-SHA-256"

/* RFC 5802 3: SaltedPassword leads to both keys.  False: no memory. */
static bool derive(str password, str salt, unsigned iterations, unsigned char stored[static 32],
                   unsigned char server[static 32])
{
	unsigned char salted[32], client[32];
	str salted_str = { (const char *)salted, sizeof(salted) };
	bool good = pbkdf2_sha256(password, salt, iterations, salted) == OK;

	auth_count(COUNT_HASHED);
	if (good) {
		hmac_sha256(salted_str, STR("Client Key"), client);
		hmac_sha256(salted_str, STR("Server Key"), server);
		good = digest_of(DIGEST_SHA256, (str){ (const char *)client, 32 }, stored) == 32;
	}
	crypt_wipe(salted, sizeof(salted));
	crypt_wipe(client, sizeof(client));
	return good;
}

enum err verifier_make(struct arena *a, str password, unsigned iterations, struct verifier *out)
{
	char *salt = arena_alloc(a, SALT_NEW);

	if (salt == NULL)
		return ERR_MEMORY;
	if (password.n == 0 || iterations == 0 || iterations > ITERATIONS_MAX)
		return ERR_BAD;
	random_bytes(salt, SALT_NEW);
	out->iterations = iterations;
	out->salt = (str){ salt, SALT_NEW };
	return derive(password, out->salt, iterations, out->stored, out->server) ? OK : ERR_MEMORY;
}

static bool take_key(struct arena *a, str text, unsigned char key[static 32])
{
	str raw;

	if (!base64_decode(a, text, false, &raw) || raw.n != 32)
		return false;
	memcpy(key, raw.p, 32);
	return true;
}

bool verifier_parse(struct arena *a, str text, struct verifier *out)
{
	str iterations, salt, stored, server;
	uint32_t n;

	if (!str_starts_nocase(text, "{" SCHEME "}"))
		return false;
	text = str_skip(text, sizeof("{" SCHEME "}") - 1);
	if (!str_cut(&text, ',', &iterations) || !str_cut(&text, ',', &salt) ||
	    !str_cut(&text, ',', &stored) || !str_cut(&text, ',', &server) || text.p != NULL)
		return false;
	if (!str_to_u32(iterations, &n) || n == 0 || n > ITERATIONS_MAX)
		return false;
	out->iterations = n;
	return base64_decode(a, salt, false, &out->salt) && out->salt.n > 0 &&
	       out->salt.n <= SALT_MAX && take_key(a, stored, out->stored) &&
	       take_key(a, server, out->server);
}

str verifier_text(struct arena *a, const struct verifier *v)
{
	str salt = base64_encode(a, v->salt);
	str stored = base64_encode(a, (str){ (const char *)v->stored, sizeof(v->stored) });
	str server = base64_encode(a, (str){ (const char *)v->server, sizeof(v->server) });

	if (a->spent)
		return STR_NONE;
	return arena_printf(a, "{" SCHEME "}%u,%.*s,%.*s,%.*s", v->iterations, STR_ARG(salt),
	                    STR_ARG(stored), STR_ARG(server));
}

bool verifier_check(const struct verifier *v, str password)
{
	unsigned char stored[32], server[32];
	bool same = derive(password, v->salt, v->iterations, stored, server) &&
	            crypt_equal(stored, v->stored, sizeof(stored));

	crypt_wipe(stored, sizeof(stored));
	crypt_wipe(server, sizeof(server));
	return same;
}
