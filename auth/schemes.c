/* SPDX-License-Identifier: ISC */
/*
 * What a migrating office's file holds: crypt(3) texts and salted digests.
 *
 * Each is checked as Dovecot checks it, and compared in constant time.  What a
 * check costs stands in the text itself, so a text that would hold a thread of
 * the login desk for seconds is refused when the file is read.  A text that is
 * no such text is damage.  Parsing is pure; checks belong on the login desk.
 */
#include <crypt.h>
#include <stdlib.h>
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"

/* About a third of a second each, where SCRAM's 4,096 rounds are a thousandth. */
#define SHA_ROUNDS_DEFAULT 5000u
#define SHA_ROUNDS_MOST    500000u
#define BLF_COST_MOST      12u

static const struct { const char *name; size_t digest_n; } schemes[] = {
	{ "SHA512-CRYPT", 0 }, { "SHA256-CRYPT", 0 }, { "BLF-CRYPT", 0 }, { "CRYPT", 0 },
	{ "SSHA512", 64 }, { "SSHA256", 32 }, { "SSHA", 20 },
};

bool scheme_known(str name)
{
	for (size_t i = 0; i < COUNT(schemes); i++)
		if (str_is_nocase(name, schemes[i].name))
			return true;
	return false;
}

/* ---- crypt(3) ------------------------------------------------------------------- */

static bool is_crypt_text(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_alnum(s.p[i]) && s.p[i] != '.' && s.p[i] != '/')
			return false;
	return true;
}

/* "$6$rounds=N$salt$hash", the rounds if they are not 5,000. */
static bool take_sha(str rest, size_t hash_n, struct cost *cost)
{
	str rounds, salt;
	uint32_t n = SHA_ROUNDS_DEFAULT;

	if (str_starts(rest, "rounds=")) {
		rest = str_skip(rest, 7);
		if (!str_cut(&rest, '$', &rounds) || !str_to_u32(rounds, &n))
			return false;
	}
	cost->rounds = n;
	return str_cut(&rest, '$', &salt) && salt.n <= 16 && is_crypt_text(salt) &&
	       rest.n == hash_n && is_crypt_text(rest);
}

/* "$2y$10$" and 53 characters. */
static bool take_blf(str rest, struct cost *cost)
{
	uint32_t n;

	if (rest.n != 56 || rest.p[2] != '$' || !str_to_u32(str_head(rest, 2), &n) || n < 4)
		return false;
	cost->rounds = n;
	return is_crypt_text(str_skip(rest, 3));
}

static const struct {
	const char *prefix, *name;
	char        how;
	size_t      hash_n;
	unsigned    most;
} crypts[] = {
	{ "$6$",  "SHA512-CRYPT", '6', 86, SHA_ROUNDS_MOST },
	{ "$5$",  "SHA256-CRYPT", '5', 43, SHA_ROUNDS_MOST },
	{ "$2y$", "BLF-CRYPT",    '2', 0,  BLF_COST_MOST },
	{ "$2b$", "BLF-CRYPT",    '2', 0,  BLF_COST_MOST },
	{ "$2a$", "BLF-CRYPT",    '2', 0,  BLF_COST_MOST },
};

static enum err take_crypt(struct arena *a, str name, str value, struct scheme *out,
                           const char **why)
{
	for (size_t i = 0; i < COUNT(crypts); i++) {
		str rest = str_skip(value, strlen(crypts[i].prefix));

		if (!str_starts(value, crypts[i].prefix) ||
		    (!str_is_nocase(name, "CRYPT") && !str_is_nocase(name, crypts[i].name)))
			continue;
		out->cost = (struct cost){ KEPT_CRYPT, crypts[i].how, 0 };
		if (crypts[i].hash_n > 0 ? !take_sha(rest, crypts[i].hash_n, &out->cost)
		                         : !take_blf(rest, &out->cost))
			return ERR_BAD;
		*why = "checking it once would take too long: set the password anew with "
		       "`postern account passwd`";
		if (out->cost.rounds > crypts[i].most)
			return ERR_DENIED;
		out->setting = str_cstr(a, value);
		return out->setting != NULL ? OK : ERR_MEMORY;
	}
	*why = "of crypt's schemes only SHA512, SHA256 and BLF are checked here: set the password "
	       "anew with `postern account passwd`";
	return str_is_nocase(name, "CRYPT") ? ERR_DENIED : ERR_BAD;
}

static bool check_crypt(const char *setting, str password)
{
	struct crypt_data *work = calloc(1, sizeof(*work));
	char copy[PASSWORD_MAX + 1];
	const char *got;
	bool same = false;

	if (work == NULL || password.n > PASSWORD_MAX) {
		free(work);
		return false;
	}
	memcpy(copy, password.p ? password.p : "", password.n);
	copy[password.n] = '\0';
	got = crypt_r(copy, setting, work);
	if (got != NULL && strlen(got) == strlen(setting))
		same = crypt_equal(got, setting, strlen(setting));
	crypt_wipe(copy, sizeof(copy));
	crypt_wipe(work, sizeof(*work));
	free(work);
	return same;
}

/* ---- salted digests ---------------------------------------------------------------- */

static enum err take_salted(struct arena *a, size_t digest_n, str value, struct scheme *out)
{
	str raw;

	if (!base64_decode(a, value, false, &raw))
		return a->spent ? ERR_MEMORY : ERR_BAD;
	if (raw.n <= digest_n || raw.n > digest_n + SALT_MAX)
		return ERR_BAD;
	out->cost = (struct cost){ KEPT_SALTED, 0, 0 };
	out->digest_n = digest_n;
	memcpy(out->digest, raw.p, digest_n);
	out->salt = str_skip(raw, digest_n);
	return OK;
}

static bool check_salted(const struct scheme *s, str password)
{
	unsigned char got[64];
	struct digest d;
	bool same;

	if (s->digest_n == 64) {
		sha512_of(password, s->salt, got);
	} else {
		if (digest_begin(&d, s->digest_n == 20 ? DIGEST_SHA1 : DIGEST_SHA256) != OK)
			return false;
		digest_add(&d, password);
		digest_add(&d, s->salt);
		digest_end(&d, got);
	}
	same = crypt_equal(got, s->digest, s->digest_n);
	crypt_wipe(got, sizeof(got));
	return same;
}

/* ---- both -------------------------------------------------------------------------- */

enum err scheme_parse(struct arena *a, str name, str value, struct scheme *out, const char **why)
{
	enum err e = ERR_BAD;

	*why = NULL;
	for (size_t i = 0; i < COUNT(schemes); i++) {
		if (!str_is_nocase(name, schemes[i].name))
			continue;
		e = schemes[i].digest_n > 0 ? take_salted(a, schemes[i].digest_n, value, out)
		                            : take_crypt(a, name, value, out, why);
	}
	if (e == ERR_BAD)
		*why = "the password's text does not fit its scheme: set the password anew with "
		       "`postern account passwd`";
	return e;
}

bool scheme_check(const struct scheme *s, str password)
{
	if (s->cost.kind == KEPT_SALTED)
		return check_salted(s, password);
	if (s->cost.kind != KEPT_CRYPT)
		return false;
	auth_count(COUNT_HASHED);
	return check_crypt(s->setting, password);
}
