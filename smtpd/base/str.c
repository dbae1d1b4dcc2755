/* SPDX-License-Identifier: ISC */
/*
 * str: looking at borrowed bytes.  Nothing here reads past s.n, and strlen is
 * used on our own literals only.  Any thread.
 */
#include "smtpd/base/str.h"

#include <string.h>

#include "smtpd/base/arena.h"

str str_of(const char *terminated)
{
	return terminated ? (str){ terminated, strlen(terminated) } : STR_NONE;
}

/* memcmp may not be handed NULL, even for no bytes. */
static bool same(const char *a, const char *b, size_t n)
{
	return n == 0 || memcmp(a, b, n) == 0;
}

static bool same_nocase(const char *a, const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (to_lower(a[i]) != to_lower(b[i]))
			return false;
	return true;
}

bool str_eq(str a, str b)
{
	return a.n == b.n && same(a.p, b.p, a.n);
}

bool str_eq_nocase(str a, str b)
{
	return a.n == b.n && same_nocase(a.p, b.p, a.n);
}

bool str_is(str s, const char *word)
{
	return str_eq(s, str_of(word));
}

bool str_is_nocase(str s, const char *word)
{
	return str_eq_nocase(s, str_of(word));
}

int str_cmp(str a, str b)
{
	size_t n = a.n < b.n ? a.n : b.n;
	int    c = n ? memcmp(a.p, b.p, n) : 0;

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

bool str_starts(str s, const char *prefix)
{
	str p = str_of(prefix);

	return s.n >= p.n && same(s.p, p.p, p.n);
}

bool str_starts_nocase(str s, const char *prefix)
{
	str p = str_of(prefix);

	return s.n >= p.n && same_nocase(s.p, p.p, p.n);
}

bool str_ends_nocase(str s, str suffix)
{
	return s.n >= suffix.n && str_eq_nocase(str_skip(s, s.n - suffix.n), suffix);
}

str str_head(str s, size_t n)
{
	return (str){ s.p, n < s.n ? n : s.n };
}

str str_skip(str s, size_t n)
{
	if (s.p == NULL)
		return s;
	if (n > s.n)
		n = s.n;
	return (str){ s.p + n, s.n - n };
}

static bool is_blank(char c)
{
	return is_wsp(c) || c == '\r' || c == '\n';
}

str str_trim(str s)
{
	while (s.n && is_blank(s.p[0]))
		s = str_skip(s, 1);
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

size_t str_find(str s, char c)
{
	const char *at = s.n ? memchr(s.p, c, s.n) : NULL;

	return at ? (size_t)(at - s.p) : s.n;
}

size_t str_rfind(str s, char c)
{
	const char *at = s.n ? memrchr(s.p, c, s.n) : NULL;

	return at ? (size_t)(at - s.p) : s.n;
}

bool str_holds(str s, char c)
{
	return str_find(s, c) < s.n;
}

bool str_cut(str *rest, char sep, str *word)
{
	size_t at;

	if (rest->p == NULL)
		return false;
	at = str_find(*rest, sep);
	*word = str_head(*rest, at);
	*rest = at < rest->n ? str_skip(*rest, at + 1) : STR_NONE;
	return true;
}

static bool digits(str s, uint64_t most, uint64_t *out)
{
	uint64_t v = 0;

	if (s.n == 0)
		return false;
	for (size_t i = 0; i < s.n; i++) {
		uint64_t d;

		if (!is_digit(s.p[i]))
			return false;
		d = (uint64_t)(s.p[i] - '0');
		if (v > (most - d) / 10)
			return false;
		v = v * 10 + d;
	}
	*out = v;
	return true;
}

bool str_to_u64(str s, uint64_t *out)
{
	return digits(s, UINT64_MAX, out);
}

bool str_to_u32(str s, uint32_t *out)
{
	uint64_t v;

	if (!digits(s, UINT32_MAX, &v))
		return false;
	*out = (uint32_t)v;
	return true;
}

str str_keep(struct arena *a, str s)
{
	char *p;

	if (s.n == 0)
		return s.p ? STR("") : STR_NONE;
	p = arena_alloc(a, s.n);
	if (p == NULL)
		return STR_NONE;
	memcpy(p, s.p, s.n);
	return (str){ p, s.n };
}

str str_keep_lower(struct arena *a, str s)
{
	char *p;

	if (s.n == 0)
		return s.p ? STR("") : STR_NONE;
	p = arena_alloc(a, s.n);
	if (p == NULL)
		return STR_NONE;
	for (size_t i = 0; i < s.n; i++)
		p[i] = to_lower(s.p[i]);
	return (str){ p, s.n };
}

char *str_cstr(struct arena *a, str s)
{
	char *p;

	if (str_holds(s, '\0') || s.n == SIZE_MAX)
		return NULL;
	p = arena_alloc(a, s.n + 1);
	if (p != NULL && s.n)
		memcpy(p, s.p, s.n);
	return p;
}
