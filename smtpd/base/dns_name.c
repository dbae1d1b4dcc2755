/* SPDX-License-Identifier: ISC */
/* dns_name: see dns_name.h.  Also the names under which addresses are looked up. */
#include <string.h>

#include "smtpd/base/dns.h"
#include "smtpd/base/dns_name.h"

str dns_name_check(str text)
{
	size_t label = 0;

	if (text.n > 0 && text.p[text.n - 1] == '.')
		text.n--;
	if (text.n == 0 || text.n > DNS_TEXT_MAX)
		return STR_NONE;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '\0')
			return STR_NONE;
		if (text.p[i] != '.') {
			if (++label > 63) /* RFC 1035 2.3.4 */
				return STR_NONE;
			continue;
		}
		if (label == 0)
			return STR_NONE;
		label = 0;
	}
	return label == 0 ? STR_NONE : text;
}

str dns_name_lower(str checked, char out[static DNS_TEXT_MAX])
{
	for (size_t i = 0; i < checked.n; i++)
		out[i] = to_lower(checked.p[i]);
	return (str){ out, checked.n };
}

size_t dns_name_escape(str checked, char out[static DNS_ESCAPED_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < checked.n; i++) {
		unsigned char c = (unsigned char)checked.p[i];

		if (is_alnum((char)c) || c == '-' || c == '_' || c == '.') {
			out[n++] = (char)c;
			continue;
		}
		out[n++] = '\\';
		out[n++] = (char)('0' + c / 100);
		out[n++] = (char)('0' + c / 10 % 10);
		out[n++] = (char)('0' + c % 10);
	}
	out[n] = '\0';
	return n;
}

size_t dns_name_to_wire(str checked, uint8_t out[static DNS_WIRE_MAX])
{
	size_t n = 0;
	str label;

	if (checked.n > 0)
		while (str_cut(&checked, '.', &label)) {
			out[n++] = (uint8_t)label.n;
			memcpy(out + n, label.p, label.n);
			n += label.n;
		}
	out[n++] = 0;
	return n;
}

bool dns_name_of_wire(const uint8_t *wire, char out[static DNS_TEXT_MAX], str *text)
{
	size_t n = 0;

	for (size_t len; (len = *wire++) != 0; wire += len) {
		if (n > 0)
			out[n++] = '.';
		for (size_t i = 0; i < len; i++) {
			if (wire[i] == '\0' || wire[i] == '.')
				return false;
			out[n++] = to_lower((char)wire[i]);
		}
	}
	*text = (str){ out, n };
	return true;
}

static str reverse_of_v4(struct arena *a, const uint8_t ip[4])
{
	return arena_printf(a, "%u.%u.%u.%u.in-addr.arpa", ip[3], ip[2], ip[1], ip[0]);
}

static str reverse_of_v6(struct arena *a, const uint8_t ip[16])
{
	char out[64];

	for (size_t i = 0; i < 16; i++) { /* RFC 3596 2.5: lowest nibble first */
		out[4 * i] = "0123456789abcdef"[ip[15 - i] & 15];
		out[4 * i + 2] = "0123456789abcdef"[ip[15 - i] >> 4];
		out[4 * i + 1] = out[4 * i + 3] = '.';
	}
	return arena_printf(a, "%.64sip6.arpa", out);
}

str dns_reverse_name(struct arena *a, const struct sockaddr *sa)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, sa, sizeof(in));
		return reverse_of_v4(a, (const uint8_t *)&in.sin_addr);
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		const uint8_t *ip = in6.sin6_addr.s6_addr;

		memcpy(&in6, sa, sizeof(in6));
		if (memcmp(ip, mapped, sizeof(mapped)) == 0)
			return reverse_of_v4(a, ip + 12);
		return reverse_of_v6(a, ip);
	}
	return STR_NONE;
}
