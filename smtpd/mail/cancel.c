/* SPDX-License-Identifier: ISC */
/*
 * Local parts are hostile: every letter of the form is checked, and nothing is
 * believed before its hash is.  Pure.
 */
#include "smtpd/mail/cancel.h"

#include "smtpd/base/buf.h"
#include "smtpd/base/crypt.h"

#define HASH    16          /* letters: 80 bits */
#define ID_MOST 15

static const char letters[] = "abcdefghijklmnopqrstuvwxyz234567";

static bool hash_of(const unsigned char *secret, str id, str login, char out[static HASH])
{
	unsigned char mac[32];
	struct buf b;
	bool good;

	buf_init(&b, BUF_UNBOUNDED);
	buf_add(&b, STR("cancel\n"));
	buf_add(&b, id);
	buf_add_char(&b, '\n');
	for (size_t i = 0; i < login.n; i++)
		buf_add_char(&b, to_lower(login.p[i]));
	good = !b.failed;
	if (good)
		hmac_sha256((str){ (const char *)secret, CANCEL_SECRET }, buf_str(&b), mac);
	buf_fini(&b);
	for (size_t i = 0; good && i < HASH; i++) {
		size_t bit = 5 * i;
		unsigned two = (unsigned)mac[bit / 8] << 8 | mac[bit / 8 + 1];

		out[i] = letters[two >> (11 - bit % 8) & 31];
	}
	return good;
}

static str domain_of(str login)
{
	return str_skip(login, str_rfind(login, '@') + 1);
}

bool cancel_address(struct arena *a, const unsigned char secret[static CANCEL_SECRET], str id, str login, struct path *out)
{
	char hash[HASH];
	str local;

	if (!str_holds(login, '@') || !hash_of(secret, id, login, hash))
		return false;
	local = arena_printf(a, "cancel+%.*s-%.*s", STR_ARG(id), HASH, hash);
	return local.n > 0 && path_build(a, local, domain_of(login), out);
}

/* Both parts in small letters. */
static bool take_apart(str local, char id[static ID_MOST], size_t *n, char hash[static HASH])
{
	str rest = str_skip(local, 7);
	size_t at = str_find(rest, '-');

	if (!str_starts_nocase(local, "cancel+") || at == 0 || at > ID_MOST || rest.n != at + 1 + HASH)
		return false;
	for (size_t i = 0; i < rest.n; i++)
		if (i != at && !is_alnum(rest.p[i]) && !(i < at && rest.p[i] == '_'))
			return false;
	for (size_t i = 0; i < at; i++)
		id[i] = to_lower(rest.p[i]);
	for (size_t i = 0; i < HASH; i++)
		hash[i] = to_lower(rest.p[at + 1 + i]);
	*n = at;
	return true;
}

enum cancel_reads cancel_read(struct arena *a, const unsigned char secret[static CANCEL_SECRET], const struct path *to, str login,
                              str *id)
{
	char given[ID_MOST], said[HASH], want[HASH];
	size_t n;

	if (!take_apart(to->local, given, &n, said))
		return CANCEL_NOT;
	*id = str_keep(a, (str){ given, n });
	if (login.n == 0 || id->n == 0 || !str_eq_nocase(domain_of(login), to->domain) ||
	    !hash_of(secret, *id, login, want) || !crypt_equal(want, said, HASH))
		return CANCEL_FOREIGN;
	return CANCEL_GOOD;
}
