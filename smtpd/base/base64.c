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

/* The six bits of a letter, or -1. */
static int sextet(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (is_digit(c))
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

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

static bool decode_char(struct decoder *d, char c)
{
	int v;

	if (d->loose && is_space(c))
		return true;
	if (c == '=')
		return ++d->pads <= 2;
	v = sextet(c);
	if (v < 0 || d->pads != 0)
		return false;
	d->bits = d->bits << 6 | (uint32_t)v;
	if (++d->letters % 4 == 0) {
		*d->out++ = (unsigned char)(d->bits >> 16);
		*d->out++ = (unsigned char)(d->bits >> 8);
		*d->out++ = (unsigned char)d->bits;
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
	for (size_t i = 0; i < s.n; i++)
		if (!decode_char(&d, s.p[i]))
			return false;
	if (!decode_end(&d))
		return false;
	*out = (str){ p, (size_t)(d.out - (unsigned char *)p) };
	return true;
}
