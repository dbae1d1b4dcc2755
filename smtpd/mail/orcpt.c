/* SPDX-License-Identifier: ISC */
/*
 * Both ways between UTF-8 and RFC 6533's form.  "+2B", which is how RFC 3461
 * writes "+" in every type, is read as well.
 */
#include "smtpd/mail/orcpt.h"

#include "smtpd/base/buf.h"
#include "smtpd/mail/addr.h"

bool orcpt_is_utf8(str orcpt)
{
	return str_is_nocase(str_head(orcpt, str_find(orcpt, ';')), "utf-8");
}

static int hex_of(char c)
{
	return is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Up to `most` digits; how many there are. */
static size_t read_hex(str s, size_t most, uint32_t *point)
{
	size_t n = 0;

	for (*point = 0; n < s.n && n < most && hex_of(s.p[n]) >= 0; n++)
		*point = *point << 4 | (uint32_t)hex_of(s.p[n]);
	return n;
}

static void add_point(struct buf *b, uint32_t point)
{
	if (point < 0x80) {
		buf_add_char(b, (char)point);
		return;
	}
	if (point < 0x800) {
		buf_add_char(b, (char)(0xc0 | point >> 6));
	} else {
		if (point < 0x10000) {
			buf_add_char(b, (char)(0xe0 | point >> 12));
		} else {
			buf_add_char(b, (char)(0xf0 | point >> 18));
			buf_add_char(b, (char)(0x80 | (point >> 12 & 0x3f)));
		}
		buf_add_char(b, (char)(0x80 | (point >> 6 & 0x3f)));
	}
	buf_add_char(b, (char)(0x80 | (point & 0x3f)));
}

static bool prints(uint32_t point)
{
	return point >= ' ' && point != 0x7f && !(point >= 0x80 && point < 0xa0) && point <= 0x10ffff;
}

/* "\x{E4}" or "+2B" at the front of `in`: its length, or 0. */
static size_t read_escape(str in, uint32_t *point)
{
	size_t n;

	if (in.p[0] == '+')
		return read_hex(str_skip(in, 1), 2, point) == 2 && *point < 0x80 ? 3 : 0;
	if (!str_starts(in, "\\x{"))
		return 0;
	n = read_hex(str_skip(in, 3), 6, point);
	return n >= 2 && n + 3 < in.n && in.p[n + 3] == '}' ? n + 4 : 0;
}

static bool decode(struct buf *b, str in, bool raw)
{
	while (in.n > 0) {
		unsigned char c = (unsigned char)in.p[0];
		uint32_t point = 0;
		size_t n = 1;

		if (c == '+' || c == '\\') {
			n = read_escape(in, &point);
			if (n == 0 || !prints(point))
				return false;
			add_point(b, point);
		} else if (c <= ' ' || c == '=' || c == 0x7f || (c > 0x7f && !raw)) {
			return false;
		} else {
			buf_add_char(b, (char)c);
		}
		in = str_skip(in, n);
	}
	return !b->failed && utf8_valid(buf_str(b));
}

bool orcpt_decode(struct arena *a, str in, bool raw, str *out)
{
	struct buf b;
	bool good;

	buf_init(&b, BUF_UNBOUNDED);
	good = decode(&b, in, raw);
	if (good)
		*out = str_keep(a, buf_str(&b));
	buf_fini(&b);
	return good && !a->spent;
}

/* The code point at `at`, which moves behind it; a stray byte stands for itself. */
static uint32_t next_point(str s, size_t *at)
{
	unsigned char c = (unsigned char)s.p[(*at)++];
	uint32_t      point = c < 0xc0 ? c : c < 0xe0 ? c & 0x1f : c < 0xf0 ? c & 0x0f : c & 0x07;

	while (c >= 0xc0 && *at < s.n && ((unsigned char)s.p[*at] & 0xc0) == 0x80)
		point = point << 6 | ((unsigned char)s.p[(*at)++] & 0x3f);
	return point;
}

str orcpt_encode(struct arena *a, str s, bool raw)
{
	struct buf b;
	str        out;

	buf_init(&b, BUF_UNBOUNDED);
	for (size_t i = 0; i < s.n;) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == 0x7f || c < ' ') {
			buf_add_char(&b, '?');
			i++;
		} else if (c == '\\' || c == '+' || c == '=' || c == ' ' || (c >= 0x80 && !raw)) {
			buf_addf(&b, "\\x{%02X}", (unsigned)next_point(s, &i));
		} else {
			buf_add_char(&b, (char)c);
			i++;
		}
	}
	out = b.failed ? STR_NONE : str_keep(a, buf_str(&b));
	buf_fini(&b);
	return out;
}
