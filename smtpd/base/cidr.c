/* SPDX-License-Identifier: ISC */
/*
 * cidr: see cidr.h.  The four or sixteen octets stand as on the wire, so a
 * prefix is compared octet by octet.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "smtpd/base/cidr.h"

static const char form[] = "must be an address or a network such as 192.0.2.0/24 or 2001:db8::/32";

static unsigned width(const struct cidr *c)
{
	return c->v4 ? 32 : 128;
}

/* ::ffff:192.0.2.1 is 192.0.2.1. */
static bool unmap(struct cidr *c)
{
	static const unsigned char prefix[12] = { [10] = 0xff, [11] = 0xff };

	if (c->v4 || c->bits < 96 || memcmp(c->ip, prefix, sizeof(prefix)) != 0)
		return false;
	memmove(c->ip, c->ip + 12, 4);
	memset(c->ip + 4, 0, 12);
	c->v4 = true;
	c->bits -= 96;
	return true;
}

static bool address_parse(str text, struct cidr *c)
{
	char copy[INET6_ADDRSTRLEN];

	if (text.n == 0 || text.n >= sizeof(copy) || str_holds(text, '\0'))
		return false;
	memcpy(copy, text.p, text.n);
	copy[text.n] = '\0';
	memset(c->ip, 0, sizeof(c->ip));
	c->v4 = inet_pton(AF_INET, copy, c->ip) == 1;
	return c->v4 || inet_pton(AF_INET6, copy, c->ip) == 1;
}

/* Octet i of the prefix's mask. */
static unsigned char mask_at(unsigned bits, unsigned i)
{
	if (bits >= 8 * (i + 1))
		return 0xff;
	return bits <= 8 * i ? 0 : (unsigned char)(0xff << (8 - bits % 8));
}

static bool masked(struct cidr *c)
{
	bool clean = true;

	for (unsigned i = 0; i < width(c) / 8; i++) {
		unsigned char kept = c->ip[i] & mask_at(c->bits, i);

		clean = clean && kept == c->ip[i];
		c->ip[i] = kept;
	}
	return clean;
}

bool cidr_parse(str text, struct cidr *c, struct arena *a, str *why)
{
	size_t slash = str_find(text, '/');
	uint32_t bits;

	if (!address_parse(str_head(text, slash), c)) {
		*why = str_of(form);
		return false;
	}
	c->bits = width(c);
	if (slash < text.n) {
		str digits = str_skip(text, slash + 1);

		if (digits.n > 3 || !str_to_u32(digits, &bits) || bits > width(c)) {
			*why = str_of(form);
			return false;
		}
		c->bits = bits;
	}
	if (!masked(c)) {
		*why = arena_printf(a, "must not have bits behind its prefix: %.*s",
				    STR_ARG(cidr_text(a, c)));
		return false;
	}
	unmap(c);
	return true;
}

bool cidr_check(str value, struct arena *a, str *why)
{
	struct cidr c;

	return cidr_parse(value, &c, a, why);
}

bool cidr_of(const struct sockaddr *sa, struct cidr *c)
{
	*c = (struct cidr){ .v4 = sa->sa_family == AF_INET };
	if (sa->sa_family == AF_INET)
		memcpy(c->ip, &((const struct sockaddr_in *)sa)->sin_addr, 4);
	else if (sa->sa_family == AF_INET6)
		memcpy(c->ip, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
	else
		return false;
	c->bits = width(c);
	unmap(c);
	return true;
}

bool cidr_holds(const struct cidr *c, const struct sockaddr *sa)
{
	struct cidr one;

	if (!cidr_of(sa, &one) || one.v4 != c->v4)
		return false;
	for (unsigned i = 0; i < width(c) / 8; i++)
		if ((one.ip[i] & mask_at(c->bits, i)) != c->ip[i])
			return false;
	return true;
}

bool cidr_eq(const struct cidr *a, const struct cidr *b)
{
	return a->v4 == b->v4 && a->bits == b->bits && memcmp(a->ip, b->ip, width(a) / 8) == 0;
}

str cidr_text(struct arena *a, const struct cidr *c)
{
	char text[INET6_ADDRSTRLEN];

	inet_ntop(c->v4 ? AF_INET : AF_INET6, c->ip, text, sizeof(text));
	if (c->bits == width(c))
		return str_keep(a, str_of(text));
	return arena_printf(a, "%s/%u", text, c->bits);
}
