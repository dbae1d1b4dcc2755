/* SPDX-License-Identifier: ISC */
/*
 * Local parts are hostile: they are cut at '=' and nothing else, every part is
 * checked, and nothing is believed before its hash is.  Pure.
 */
#include "smtpd/mail/srs.h"

#include "smtpd/base/buf.h"
#include "smtpd/base/crypt.h"

#define HASH       8           /* letters: 40 bits */
#define DAY        86400
#define DAYS       1024        /* two letters count so far */
#define AHEAD      2           /* days that a stamp may lie before us: clocks differ */
#define PATH_MOST  254         /* octets without < and > (RFC 5321 4.5.3.1.3) */

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/* ---- stamps and hashes --------------------------------------------------------- */

static unsigned day_of(int64_t now)
{
	return (unsigned)((uint64_t)now / DAY % DAYS);
}

static str stamp_of(struct arena *a, int64_t now)
{
	unsigned day = day_of(now);

	return arena_printf(a, "%c%c", letters[day >> 5], letters[day & 31]);
}

static int letter_value(char c)
{
	c = to_lower(c);
	return c >= 'a' && c <= 'z' ? c - 'a' : c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

static bool stamp_read(str s, unsigned *day)
{
	int high = s.n == 2 ? letter_value(s.p[0]) : -1, low = s.n == 2 ? letter_value(s.p[1]) : -1;

	*day = (unsigned)(high * 32 + low);
	return high >= 0 && low >= 0;
}

/* Over what follows in the address, in small letters.  `kind` keeps the two
 * forms apart. */
static bool hash_of(const unsigned char *secret, char kind, str rest, char out[static HASH])
{
	unsigned char mac[32];
	uint64_t bits = 0;
	struct buf b;
	bool good;

	buf_init(&b, BUF_UNBOUNDED);
	buf_add(&b, STR("SRS"));
	buf_add_char(&b, kind);
	for (size_t i = 0; i < rest.n; i++)
		buf_add_char(&b, to_lower(rest.p[i]));
	good = !b.failed;
	if (good)
		hmac_sha256((str){ (const char *)secret, SRS_SECRET }, buf_str(&b), mac);
	buf_fini(&b);
	for (size_t i = 0; good && i < 5; i++)
		bits = bits << 8 | mac[i];
	for (size_t i = 0; i < HASH; i++)
		out[i] = letters[bits >> (5 * (HASH - 1 - i)) & 31];
	return good;
}

static bool hash_is(const unsigned char *secret, char kind, str rest, str given)
{
	char want[HASH], said[HASH];

	if (given.n != HASH || !hash_of(secret, kind, rest, want))
		return false;
	for (size_t i = 0; i < HASH; i++)
		said[i] = (char)(given.p[i] >= 'a' && given.p[i] <= 'z' ? given.p[i] - 'a' + 'A' : given.p[i]);
	return crypt_equal(want, said, HASH);
}

/* ---- forms --------------------------------------------------------------------------- */

static bool is_separator(char c)
{
	return c == '=' || c == '+' || c == '-';
}

/* "SRS0" or "SRS1" and a separator; others put + or - there, too. */
static bool has_form(str local, char kind)
{
	return local.n > 5 && str_starts_nocase(local, "SRS") && local.p[3] == kind &&
	       is_separator(local.p[4]);
}

bool srs_is(str local)
{
	return has_form(local, '0') || has_form(local, '1');
}

/* Takes the part before the next '=' off; false when there is none. */
static bool cut(str *rest, str *part)
{
	size_t at = str_find(*rest, '=');

	if (at == rest->n)
		return false;
	*part = str_head(*rest, at);
	*rest = str_skip(*rest, at + 1);
	return true;
}

/* ---- forward --------------------------------------------------------------------------- */

static bool build(struct arena *a, const unsigned char *secret, char kind, str rest, str domain, struct path *out)
{
	char hash[HASH];
	str local;

	if (rest.p == NULL || !hash_of(secret, kind, rest, hash))
		return false;
	local = arena_printf(a, "SRS%c=%.*s=%.*s", kind, HASH, hash, STR_ARG(rest));
	return local.n > 0 && path_build(a, local, domain, out) && out->text.n <= PATH_MOST;
}

/* The first forwarder's name and what it had made, without its first letters. */
static bool first_of_srs1(str local, str *first, str *rest)
{
	str hash;

	*rest = str_skip(local, 5);
	return cut(rest, &hash) && cut(rest, first) && rest->n > 1 && is_separator(rest->p[0]) && domain_valid(*first);
}

bool srs_forward(struct arena *a, const unsigned char secret[static SRS_SECRET], const struct path *sender, str domain,
                 int64_t now, struct path *out)
{
	str local = sender->local, first = sender->domain, rest = str_skip(local, 4);

	if (sender->is_null || sender->domain.n == 0)
		return false;
	if (has_form(local, '0') || (has_form(local, '1') && first_of_srs1(local, &first, &rest)))
		return build(a, secret, '1', arena_printf(a, "%.*s=%.*s", STR_ARG(first), STR_ARG(rest)), domain, out);
	return build(a, secret, '0',
	             arena_printf(a, "%.*s=%.*s=%.*s", STR_ARG(stamp_of(a, now)), STR_ARG(sender->domain), STR_ARG(local)),
	             domain, out);
}

/* ---- back ------------------------------------------------------------------------------- */

static enum srs_says from_srs0(struct arena *a, str rest, int64_t now, unsigned days, struct path *out)
{
	str stamp, domain;
	unsigned day, age;

	if (!cut(&rest, &stamp) || !cut(&rest, &domain) || !stamp_read(stamp, &day) ||
	    !path_build(a, rest, domain, out))
		return SRS_FORGED;
	age = (day_of(now) + AHEAD + DAYS - day) % DAYS;
	return age > days + AHEAD ? SRS_OLD : SRS_GOOD;
}

/* The stamp behind it is the first forwarder's, to be judged there. */
static enum srs_says from_srs1(struct arena *a, str rest, struct path *out)
{
	str first, local;

	if (!cut(&rest, &first) || rest.n == 0 || !domain_valid(first))
		return SRS_FORGED;
	local = arena_printf(a, "SRS0%.*s", STR_ARG(rest));
	return has_form(local, '0') && path_build(a, local, first, out) ? SRS_GOOD : SRS_FORGED;
}

enum srs_says srs_return(struct arena *a, const unsigned char secret[static SRS_SECRET], const struct path *rcpt, int64_t now,
                         unsigned days, struct path *out)
{
	str rest = str_skip(rcpt->local, 5), hash;

	if (!srs_is(rcpt->local))
		return SRS_NOT;
	if (!cut(&rest, &hash) || !hash_is(secret, rcpt->local.p[3], rest, hash))
		return SRS_FORGED;
	return rcpt->local.p[3] == '0' ? from_srs0(a, rest, now, days, out) : from_srs1(a, rest, out);
}
