/* SPDX-License-Identifier: ISC */
/*
 * addr: host names and address literals.
 *
 * A name inside this house is lower-case ASCII; other scripts are converted
 * where they come in, and most names never meet libidn2.  Paths are read in
 * addr_path.c, header fields in mailboxes.c.  Any thread.
 */
#include "smtpd/mail/addr.h"

#include <arpa/inet.h>
#include <idn2.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"

#define LABEL_MAX 63
#define NAME_MAX_ 253     /* as text, without the root's dot */
#define TEXT_MAX  1024    /* longer UTF-8 makes no name of 253 letters */

static bool is_ascii(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return false;
	return true;
}

/* Octets of the UTF-8 character in front; 0: it is none (RFC 3629 4). */
static size_t utf8_length(str s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	unsigned char        least = 0x80, most = 0xbf;
	size_t               n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xe0)
		least = 0xa0;               /* overlong */
	else if (p[0] == 0xed)
		most = 0x9f;                /* surrogates */
	else if (p[0] == 0xf0)
		least = 0x90;
	else if (p[0] == 0xf4)
		most = 0x8f;                /* over U+10FFFF */
	if (s.n < n || p[1] < least || p[1] > most)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return n;
}

bool utf8_valid(str s)
{
	while (s.n) {
		size_t n = utf8_length(s);

		if (n == 0)
			return false;
		s = str_skip(s, n);
	}
	return true;
}

bool domain_valid(str s)
{
	str label;

	if (s.n == 0 || s.n > NAME_MAX_)
		return false;
	while (str_cut(&s, '.', &label)) {
		if (label.n == 0 || label.n > LABEL_MAX)
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!is_alnum(label.p[i]) && label.p[i] != '-' && label.p[i] != '_')
				return false;
	}
	return true;
}

static str without_root_dot(str s)
{
	if (s.n > 1 && s.p[s.n - 1] == '.')
		s.n--;
	return s;
}

/* RFC 5891, UTS 46 non-transitional. */
static bool converted(struct arena *a, str name, str *out)
{
	char    *text, *ascii = NULL;
	bool     good;
	uint8_t *found = NULL;

	if (name.n > TEXT_MAX || !utf8_valid(name) || (text = str_cstr(a, name)) == NULL)
		return false;
	if (idn2_lookup_u8((const uint8_t *)text, &found, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) !=
	    IDN2_OK)
		return false;
	ascii = (char *)found;
	*out = str_keep_lower(a, without_root_dot(str_of(ascii)));
	good = out->p != NULL && domain_valid(*out);
	idn2_free(ascii);
	return good;
}

bool domain_to_ascii(struct arena *a, str name, str *out)
{
	if (!is_ascii(name))
		return converted(a, name, out);
	name = without_root_dot(name);
	if (!domain_valid(name))
		return false;
	*out = str_keep_lower(a, name);
	return out->p != NULL;
}

/* Scripts whose letters may be shown; what is in none of them stays hidden.
 * L is Latin; J is Chinese, Japanese and Korean, which mix; the others are
 * alone in a word. */
static const struct script {
	uint32_t first, last;
	char     kind;
} scripts[] = {
	{0x00df, 0x00f6, 'L'}, {0x00f8, 0x024f, 'L'}, {0x0370, 0x03ff, 'g'}, {0x0400, 0x04ff, 'c'},
	{0x0561, 0x0587, 'a'}, {0x05d0, 0x05ea, 'h'}, {0x0620, 0x064a, 'r'}, {0x0660, 0x0669, 'r'},
	{0x0671, 0x06d3, 'r'}, {0x0904, 0x094d, 'd'}, {0x0985, 0x09cd, 'b'}, {0x0b85, 0x0bcd, 't'},
	{0x0e01, 0x0e4e, 'T'}, {0x10d0, 0x10fa, 'G'}, {0x1e00, 0x1eff, 'L'}, {0x3041, 0x3096, 'J'},
	{0x30a1, 0x30fe, 'J'}, {0x3400, 0x4dbf, 'J'}, {0x4e00, 0x9fff, 'J'}, {0xac00, 0xd7a3, 'J'},
};

static char script_of(uint32_t c)
{
	for (size_t i = 0; i < COUNT(scripts); i++)
		if (c >= scripts[i].first && c <= scripts[i].last)
			return scripts[i].kind;
	return 0;
}

/* Scripts with letters that look like Latin ones. */
static bool resembles_latin(char script)
{
	return script == 'g' || script == 'c' || script == 'a';
}

static uint32_t code_point(str s, size_t n)
{
	uint32_t c = (unsigned char)s.p[0];

	if (n == 1)
		return c;
	c &= 0x7fu >> n;
	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)s.p[i] & 0x3f);
	return c;
}

/* One script, which mixes with ASCII letters only where it does in words. */
static bool label_is_plain(str label, bool ascii_tld)
{
	char script = 0;
	bool letters = false;

	while (label.n) {
		size_t n = utf8_length(label);
		char   kind;

		if (n == 0)
			return false;
		kind = n == 1 ? 0 : script_of(code_point(label, n));
		if (n == 1)
			letters |= is_alpha(label.p[0]);
		else if (kind == 0 || (script && kind != script))
			return false;
		else
			script = kind;
		label = str_skip(label, n);
	}
	if (script == 0 || script == 'L' || script == 'J')
		return true;
	return !letters && !(ascii_tld && resembles_latin(script));
}

static bool name_is_plain(str name)
{
	bool ascii_tld =
		is_ascii(str_skip(name, str_rfind(name, '.') == name.n ? 0 : str_rfind(name, '.')));
	str  label;

	while (str_cut(&name, '.', &label))
		if (!label_is_plain(label, ascii_tld))
			return false;
	return true;
}

str domain_to_unicode(struct arena *a, str ascii)
{
	char *text, *shown = NULL;
	str   out = ascii, back;

	if (!str_starts(ascii, "xn--") &&
	    (ascii.n < 5 || memmem(ascii.p, ascii.n, ".xn--", 5) == NULL))
		return ascii;
	if (!domain_valid(ascii) || (text = str_cstr(a, ascii)) == NULL)
		return ascii;
	if (idn2_to_unicode_8z8z(text, &shown, 0) != IDN2_OK)
		return ascii;
	if (name_is_plain(str_of(shown)) && domain_to_ascii(a, str_of(shown), &back) &&
	    str_eq_nocase(back, ascii)) {
		out = str_keep(a, str_of(shown));
		if (out.p == NULL)
			out = ascii;
	}
	idn2_free(shown);
	return out;
}

bool literal_parse(str literal, struct sockaddr_storage *out)
{
	struct sockaddr_in  *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	char                 text[INET6_ADDRSTRLEN + 1];
	bool                 six;

	*out = (struct sockaddr_storage){ 0 };
	if (literal.n < 3 || literal.p[0] != '[' || literal.p[literal.n - 1] != ']')
		return false;
	literal = (str){ literal.p + 1, literal.n - 2 };
	six = str_starts_nocase(literal, "IPv6:");
	if (six)
		literal = str_skip(literal, 5);
	if (literal.n == 0 || literal.n >= sizeof(text) || str_holds(literal, '\0'))
		return false;
	memcpy(text, literal.p, literal.n);
	text[literal.n] = '\0';
	out->ss_family = six ? AF_INET6 : AF_INET;
	return inet_pton(out->ss_family, text,
			 six ? (void *)&v6->sin6_addr : (void *)&v4->sin_addr) == 1;
}

bool literal_to_text(struct arena *a, str literal, str *out)
{
	struct sockaddr_storage    at;
	const struct sockaddr_in  *v4 = (const struct sockaddr_in *)&at;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&at;
	char                       text[INET6_ADDRSTRLEN];
	bool                       six;

	if (!literal_parse(literal, &at))
		return false;
	six = at.ss_family == AF_INET6;
	inet_ntop(at.ss_family, six ? (const void *)&v6->sin6_addr : (const void *)&v4->sin_addr,
		  text, sizeof(text));
	*out = arena_printf(a, "[%s%s]", six ? "IPv6:" : "", text);
	return out->p != NULL;
}
