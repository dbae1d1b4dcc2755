/* SPDX-License-Identifier: ISC */
/*
 * dns_wanted: what records need to know of this host: its public addresses and the
 * public keys of its certificates.  A verb's thread, or a desk's: files are read.
 */
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "smtpd/base/conn.h"
#include "smtpd/base/tls.h"
#include "smtpd/setup/dns/dns_records.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/verbs.h"

#define CERTIFICATE_MOST ((size_t)256 << 10)

/* ---- addresses ------------------------------------------------------------------------------- */

/* RFC 6890: loopback, link-local, private, carrier's NAT, unique local. */
static bool is_public(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET) {
		uint32_t a = ntohl(((const struct sockaddr_in *)(const void *)sa)->sin_addr.s_addr);

		return a >> 24 != 0 && a >> 24 != 10 && a >> 24 != 127 && a >> 22 != (100u << 2 | 1) && a >> 16 != 0xa9fe &&
		       a >> 20 != 0xac1 && a >> 16 != 0xc0a8 && a >> 28 < 14;
	}
	if (sa->sa_family == AF_INET6)
		return (((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr.s6_addr[0] & 0xe0) == 0x20;   /* 2000::/3 */
	return false;
}

static bool have(const struct strs *list, str s)
{
	for (size_t i = 0; i < list->n; i++)
		if (str_eq(list->v[i], s))
			return true;
	return false;
}

/* What mail leaves from, where the configuration says so, else what the
 * interfaces have. */
void dns_wanted_addresses(const struct config *c, struct arena *a, struct strs *out)
{
	struct ifaddrs *all = NULL;
	size_t n = 0;

	if (c->relay.source.n > 0) {
		*out = c->relay.source;
		return;
	}
	if (getifaddrs(&all) != 0)
		return;
	for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next)
		n++;
	out->v = ARENA_ARRAY(a, str, n);
	for (const struct ifaddrs *i = all; i != NULL && out->v != NULL; i = i->ifa_next) {
		struct addr_text text;

		if (i->ifa_addr == NULL || !(i->ifa_flags & IFF_UP) || !is_public(i->ifa_addr))
			continue;
		text = addr_text(i->ifa_addr);
		if (!have(out, str_of(text.s)))
			out->v[out->n++] = str_keep(a, str_of(text.s));
	}
	freeifaddrs(all);
}

/* ---- certificates ----------------------------------------------------------------------------- */

static bool is_name_of(const struct tls_cert *cert, str host)
{
	for (size_t i = 0; i < cert->names.n; i++) {
		str name = cert->names.v[i];

		if (str_eq_nocase(name, host))
			return true;
		if (str_starts(name, "*.") && str_eq_nocase(str_skip(name, 1), str_skip(host, str_find(host, '.'))))
			return true;
	}
	return false;
}

/* A client that asks for the MX host's name is shown the certificates that hold
 * it; where none does, the first. */
void dns_wanted_tlsa(const struct config *c, struct arena *a, struct strs *out)
{
	str first = STR_NONE;

	*out = (struct strs){ ARENA_ARRAY(a, str, c->tls.certificate.n), 0 };
	for (size_t i = 0; out->v != NULL && i < c->tls.certificate.n; i++) {
		struct tls_cert leaf;
		str pem, why;

		if (file_read(verb_open_file, c->tls.certificate.v[i], CERTIFICATE_MOST, a, &pem, &why) != OK ||
		    tls_chain_read(pem, a, &leaf, 1) != 1 || leaf.spki_sha256.n == 0)
			continue;
		if (i == 0)
			first = leaf.spki_sha256;
		if (is_name_of(&leaf, c->hostname) && !have(out, leaf.spki_sha256))
			out->v[out->n++] = leaf.spki_sha256;
	}
	if (out->v != NULL && out->n == 0 && first.n > 0)
		out->v[out->n++] = first;
}
