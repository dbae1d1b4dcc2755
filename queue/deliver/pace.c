/* SPDX-License-Identifier: ISC */
/*
 * Words of refusals, and the registered part of names.  Pure.
 */
#include "queue/deliver/pace.h"

#include <libpsl.h>

#include "smtpd/base/err.h"

#define NAME_MOST 255          /* octets of a host name as text */

/* ---- words ------------------------------------------------------------------------------- */

/* Where `word` (small letters) begins in s; s.n: nowhere. */
static size_t find_word(str s, const char *word)
{
	str w = str_of(word);

	for (size_t i = 0; i + w.n <= s.n; i++)
		if (str_eq_nocase(str_head(str_skip(s, i), w.n), w))
			return i;
	return s.n;
}

static bool has_any(str s, const char *const *words)
{
	for (; *words != NULL; words++)
		if (find_word(s, *words) < s.n)
			return true;
	return false;
}

/* ---- times --------------------------------------------------------------------------------- */

static const struct { const char *word; uint32_t seconds; } units[] = {
	{ "s", 1 }, { "sec", 1 }, { "secs", 1 }, { "second", 1 }, { "seconds", 1 },
	{ "m", 60 }, { "min", 60 }, { "mins", 60 }, { "minute", 60 }, { "minutes", 60 },
	{ "h", 3600 }, { "hr", 3600 }, { "hrs", 3600 }, { "hour", 3600 }, { "hours", 3600 },
};

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t digits(str s)
{
	size_t n = 0;

	while (n < s.n && is_digit(s.p[n]))
		n++;
	return n;
}

/* "05:00", "00:05:00": the length, or 0. */
static size_t read_clock(str s, uint32_t *seconds)
{
	uint32_t total = 0, part;
	size_t at = 0, parts = 0;

	for (;;) {
		size_t n = digits(str_skip(s, at));

		if (n == 0 || n > 2 || !str_to_u32(str_head(str_skip(s, at), n), &part))
			return 0;
		total = total * 60 + part;
		at += n;
		if (++parts == 3 || at == s.n || s.p[at] != ':')
			break;
		at++;
	}
	*seconds = total;
	return parts > 1 ? at : 0;
}

/* "300 seconds", "5min", "1 hour", behind the number of n digits. */
static bool read_unit(str s, size_t n, uint32_t *seconds)
{
	str rest = str_trim(str_skip(s, n));
	uint32_t number;
	size_t length = 0;

	while (length < rest.n && is_letter(rest.p[length]))
		length++;
	if (n > 6 || !str_to_u32(str_head(s, n), &number))
		return false;
	for (size_t i = 0; i < COUNT(units); i++)
		if (str_is_nocase(str_head(rest, length), units[i].word)) {
			*seconds = number < PACE_MOST_S / units[i].seconds ? number * units[i].seconds : PACE_MOST_S;
			return true;
		}
	return false;
}

/* The first time in the text that stands alone; 0: none. */
static uint32_t stated_time(str s)
{
	for (size_t i = 0; i < s.n;) {
		str here = str_skip(s, i);
		size_t n = digits(here);
		bool alone = i == 0 || (!is_letter(s.p[i - 1]) && !str_holds(STR(".:-"), s.p[i - 1]));
		uint32_t seconds = 0;

		if (n > 0 && alone && (read_clock(here, &seconds) > 0 || read_unit(here, n, &seconds)) && seconds > 0)
			return seconds < PACE_MOST_S ? seconds : PACE_MOST_S;
		i += n > 0 ? n : 1;
	}
	return 0;
}

/* ---- what it means ---------------------------------------------------------------------------- */

static bool is_greylisting(str esc, str text)
{
	static const char *const words[] = {
		"greylist", "graylist", "grey list", "gray list", "grey-list", "postgrey", NULL,
	};

	return has_any(text, words) || str_is(esc, "4.5.1");
}

static bool is_too_fast(int code, str esc, str text)
{
	static const char *const words[] = {
		"rate limit", "rate-limit", "ratelimit", "too many connections", "too many messages",
		"too many concurrent", "too much mail", "too fast", "throttl", "slow down", "reputation", NULL,
	};

	return code == 421 || str_starts(esc, "4.7.") || str_is(esc, "4.4.5") || str_is(esc, "4.3.2") ||
	       has_any(text, words);
}

struct pace pace_of(enum pace_when when, int code, str esc, str text)
{
	struct pace p = { PACE_FINE, 0 };

	if (code / 100 != 4)
		return p;
	if (when != PACE_TO_US && code != 421 && is_greylisting(esc, text))
		p.kind = PACE_GREYLISTED;
	else if (when == PACE_TO_US || is_too_fast(code, esc, text))
		p.kind = PACE_SLOWED;
	if (p.kind != PACE_FINE)
		p.after_s = stated_time(text);
	return p;
}

/* ---- providers ------------------------------------------------------------------------------------ */

static str without_dot(str host)
{
	return host.n > 0 && host.p[host.n - 1] == '.' ? str_head(host, host.n - 1) : host;
}

/* The last `labels` labels of a name. */
static str tail(str name, unsigned labels)
{
	size_t i = name.n;

	while (i > 0)
		if (name.p[--i] == '.' && --labels == 0)
			return str_skip(name, i + 1);
	return name;
}

static bool is_address(str host)
{
	bool letters = false;

	for (size_t i = 0; i < host.n; i++)
		letters = letters || is_letter(host.p[i]);
	return !letters || str_holds(host, ':') || str_starts(host, "[") || str_starts(host, "/");
}

/* What is registered below the public suffixes that libpsl was built with; the
 * list is in the library, nothing is read. */
str provider_name(str host)
{
	str name = without_dot(host);
	char lower[NAME_MOST + 1];
	const char *registered = NULL;

	if (is_address(name))
		return name;
	if (name.n <= NAME_MOST && !str_holds(name, 0)) {
		for (size_t i = 0; i < name.n; i++)
			lower[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
		lower[name.n] = '\0';
		registered = psl_registrable_domain(psl_builtin(), lower);
	}
	return registered != NULL ? str_skip(name, (size_t)(registered - lower)) : tail(name, 2);
}

/* ---- who rests --------------------------------------------------------------------------------------- */

/* FNV-1a.  Who finds another name with the same number keeps mail from itself. */
static uint64_t number_of(str name)
{
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < name.n; i++) {
		unsigned char c = (unsigned char)name.p[i];

		h = (h ^ (c >= 'A' && c <= 'Z' ? c + 32u : c)) * 1099511628211u;
	}
	return h;
}

/* Its own place, else the one that is free first. */
static size_t place_of(const struct resting *r, uint64_t name)
{
	size_t best = 0;

	for (size_t i = 0; i < RESTING; i++) {
		if (atomic_load(&r->v[i].name) == name)
			return i;
		if (atomic_load(&r->v[i].until) < atomic_load(&r->v[best].until))
			best = i;
	}
	return best;
}

void resting_set(struct resting *r, str provider, int64_t until, int64_t now)
{
	uint64_t name = number_of(provider);
	size_t i = place_of(r, name);

	if (until <= now && atomic_load(&r->v[i].name) != name)
		return;
	atomic_store(&r->v[i].until, 0);
	atomic_store(&r->v[i].name, name);
	atomic_store(&r->v[i].until, until);
}

bool resting_has(const struct resting *r, str provider, int64_t now)
{
	uint64_t name = number_of(provider);

	for (size_t i = 0; i < RESTING; i++)
		if (atomic_load(&r->v[i].name) == name && atomic_load(&r->v[i].until) > now)
			return true;
	return false;
}
