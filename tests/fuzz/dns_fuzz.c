/* SPDX-License-Identifier: ISC */
/* dns_parse: the first byte chooses the type asked, the second a budget; the
 * rest is the packet.  Whatever comes out must hold together. */
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/dns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static volatile char seen;

static void look_at(str s)
{
	for (size_t i = 0; i < s.n; i++)
		seen = s.p[i];
}

/* A name is text: no NUL, no empty label. */
static void look_at_name(str s)
{
	must(s.n <= 253);
	for (size_t i = 0; i < s.n; i++) {
		must(s.p[i] != '\0');
		must(s.p[i] != '.' || (i > 0 && i + 1 < s.n && s.p[i + 1] != '.'));
	}
}

static void look_at_record(const struct dns_rr *rr, enum dns_type type)
{
	if (type == DNS_TXT) {
		must(rr->txt_strings > 0 || rr->txt.n == 0);
		look_at(rr->txt);
	} else if (type == DNS_TLSA) {
		look_at(rr->tlsa.data);
	} else if (type == DNS_MX) {
		look_at_name(rr->mx.host);
	} else if (type != DNS_A && type != DNS_AAAA) {
		look_at_name(rr->name);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const enum dns_type types[] = { DNS_A,  DNS_AAAA,  DNS_MX,  DNS_TXT, DNS_PTR,
		                               DNS_NS, DNS_CNAME, DNS_SOA, DNS_TLSA };
	struct dns_answer got;
	enum dns_type type;
	struct arena a;
	char *packet;

	if (n < 2)
		return 0;
	type = types[data[0] % COUNT(types)];
	packet = malloc(n); /* exactly as large as what is in it: reads beyond are seen */
	memcpy(packet, data + 2, n - 2);
	packet = realloc(packet, n > 2 ? n - 2 : 1);
	arena_init(&a, data[1] < 128 ? (size_t)1 << 20 : (size_t)8 * (data[1] - 128));
	dns_parse(&a, (str){ packet, n - 2 }, type, &got);
	must((got.status == DNS_FOUND) == (got.n > 0));
	must(got.status != DNS_SERVFAIL || got.why.n > 0);
	must(!a.spent || got.status == DNS_SERVFAIL);
	look_at_name(got.canonical);
	for (size_t i = 0; i < got.n; i++)
		look_at_record(&got.rr[i], type);
	arena_fini(&a);
	free(packet);
	return 0;
}
