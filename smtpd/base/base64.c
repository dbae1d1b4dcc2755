/* SPDX-License-Identifier: ISC */
/*
 * base64: RFC 4648 4.  Peers' bytes come here: the output's size follows from
 * the input's length and nothing is believed.
 */
#include "smtpd/base/arena.h"
#include "smtpd/base/crypt.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

str base64_encode(struct arena *a, str s)
{
	const unsigned char *in = (const unsigned char *)s.p;
	char                *out, *p;

	if (s.n == 0)
		return STR("");
	if (s.n > SIZE_MAX / 4 * 3 - 3)
		return STR_NONE;
	p = out = arena_alloc(a, (s.n + 2) / 3 * 4);
	if (out == NULL)
		return STR_NONE;
	for (size_t i = 0; i < s.n; i += 3) {
		size_t   left = s.n - i;
		uint32_t w = (uint32_t)in[i] << 16;

		if (left > 1)
			w |= (uint32_t)in[i + 1] << 8;
		if (left > 2)
			w |= in[i + 2];
		*p++ = alphabet[w >> 18];
		*p++ = alphabet[w >> 12 & 63];
		*p++ = left > 1 ? alphabet[w >> 6 & 63] : '=';
		*p++ = left > 2 ? alphabet[w & 63] : '=';
	}
	return (str){ out, (size_t)(p - out) };
}

/* One more than the six bits of a letter; 0: no letter. */
static const uint8_t letters[256] = {
	['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
	['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52,
	['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62,
	['+'] = 63, ['/'] = 64,
};

static bool is_space(char c)
{
	return is_wsp(c) || c == '\r' || c == '\n';
}

struct decoder {
	unsigned char *out;
	uint32_t       bits;      /* of the letters since the last whole group */
	size_t         letters, pads;
	bool           loose;
};

static void put_group(struct decoder *d, uint32_t bits)
{
	*d->out++ = (unsigned char)(bits >> 16);
	*d->out++ = (unsigned char)(bits >> 8);
	*d->out++ = (unsigned char)bits;
}

/* Whole groups of four letters, as nearly all are, from their beginning: how
 * many octets they are.  Only between two groups. */
static size_t decode_groups(struct decoder *d, str s)
{
	const unsigned char *in = (const unsigned char *)s.p;
	size_t               n = 0;

	for (; s.n - n >= 4; n += 4) {
		uint32_t v = letters[in[n]], w = letters[in[n + 1]];
		uint32_t x = letters[in[n + 2]], y = letters[in[n + 3]];

		if (v == 0 || w == 0 || x == 0 || y == 0)
			break;
		put_group(d, (v - 1) << 18 | (w - 1) << 12 | (x - 1) << 6 | (y - 1));
	}
	d->letters += n;
	return n;
}

static bool decode_char(struct decoder *d, char c)
{
	uint32_t v;

	if (d->loose && is_space(c))
		return true;
	if (c == '=')
		return ++d->pads <= 2;
	v = letters[(unsigned char)c];
	if (v == 0 || d->pads != 0)
		return false;
	d->bits = d->bits << 6 | (v - 1);
	if (++d->letters % 4 == 0) {
		put_group(d, d->bits);
		d->bits = 0;
	}
	return true;
}

/* The last group of two or three letters, and whether the padding fits it. */
static bool decode_end(struct decoder *d)
{
	static const size_t   due[] = { 0, 0, 2, 1 };
	static const uint32_t spill[] = { 0, 0, 0xf, 0x3 }; /* must be zero, RFC 4648 3.5 */
	size_t                part = d->letters % 4;

	if (part == 1 || d->pads > due[part])
		return false;
	if (!d->loose && (d->pads != due[part] || (d->bits & spill[part]) != 0))
		return false;
	if (part == 2) {
		*d->out++ = (unsigned char)(d->bits >> 4);
	} else if (part == 3) {
		*d->out++ = (unsigned char)(d->bits >> 10);
		*d->out++ = (unsigned char)(d->bits >> 2);
	}
	return true;
}

bool base64_decode(struct arena *a, str s, bool loose, str *out)
{
	char          *p = arena_alloc(a, s.n / 4 * 3 + 3);
	struct decoder d = { .out = (unsigned char *)p, .loose = loose };

	*out = STR_NONE;
	if (p == NULL)
		return false;
	while (s.n != 0) {
		if (d.letters % 4 == 0 && d.pads == 0)
			s = str_skip(s, decode_groups(&d, s));
		if (s.n != 0 && !decode_char(&d, s.p[0]))
			return false;
		s = str_skip(s, 1);
	}
	if (!decode_end(&d))
		return false;
	*out = (str){ p, (size_t)(d.out - (unsigned char *)p) };
	return true;
}
