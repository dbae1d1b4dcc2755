/* SPDX-License-Identifier: ISC */
/* What several checks need. */
#include <arpa/inet.h>
#include <string.h>

#include "smtpd/setup/doctor/checks.h"

const struct host_facts *exam_host(const struct exam *e)
{
	return e->doctor->host;
}

bool exam_failed(struct exam *e, str about, const struct dns_answer *a)
{
	if (!dns_failed(a->status))
		return false;
	if (a->status == DNS_BOGUS)
		exam_found(e, DOCTOR_FAULT, about, SAYS(e, "DNSSEC says that the answer is forged%s%.*s", a->why.n > 0 ? ": " : "",
		           STR_ARG(a->why)), STR("sign the zone anew, and compare the DS record at the registrar with the zone's key: who "
		           "validates sees nothing of the domain until then"));
	else
		exam_unknown(e, about, SAYS(e, "DNS gave no answer (%s%s%.*s)", dns_status_text(a->status), a->why.n > 0 ? ": " : "",
		             STR_ARG(a->why)), STR("try again later; if it stays so, look at the name servers of that name"));
	return true;
}

/* ---- addresses ---------------------------------------------------------------------------- */

socklen_t address_length(const struct sockaddr_storage *s)
{
	return s->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

str address_text(struct arena *a, const struct sockaddr_storage *s)
{
	return str_keep(a, str_of(addr_text((const struct sockaddr *)s).s));
}

bool address_parse(str text, uint16_t port, struct sockaddr_storage *out)
{
	char terminated[64];
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;

	memset(out, 0, sizeof(*out));
	if (text.n == 0 || text.n >= sizeof(terminated))
		return false;
	memcpy(terminated, text.p, text.n);
	terminated[text.n] = '\0';
	if (inet_pton(AF_INET, terminated, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
		return true;
	}
	v6->sin6_port = htons(port);
	v6->sin6_family = AF_INET6;
	return inet_pton(AF_INET6, terminated, &v6->sin6_addr) == 1;
}

static void add_addresses(struct addresses *out, const struct dns_answer *a, int family, uint16_t port)
{
	if (dns_failed(a->status))
		out->failed = a;
	for (size_t i = 0; a->status == DNS_FOUND && i < a->n && out->n < COUNT(out->v); i++) {
		struct sockaddr_in *v4 = (struct sockaddr_in *)&out->v[out->n];
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&out->v[out->n];

		if (family == AF_INET)
			*v4 = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = a->rr[i].a };
		else
			*v6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = a->rr[i].aaaa };
		out->secure = out->n == 0 ? a->secure : out->secure && a->secure;
		out->n++;
	}
}

bool exam_addresses(struct exam *e, str name, uint16_t port, struct addresses *out)
{
	const struct dns_answer *v4 = fact_dns(e, name, DNS_A), *v6 = fact_dns(e, name, DNS_AAAA);

	memset(out, 0, sizeof(*out));
	if (v4 == NULL || v6 == NULL)
		return false;
	out->first = v4;
	add_addresses(out, v4, AF_INET, port);
	add_addresses(out, v6, AF_INET6, port);
	return true;
}

bool addresses_have(struct arena *a, const struct addresses *all, str address)
{
	for (size_t i = 0; i < all->n; i++)
		if (str_eq(address_text(a, &all->v[i]), address))
			return true;
	return false;
}

bool exam_own_addresses(struct exam *e, struct addresses *all)
{
	const struct host_facts *h = exam_host(e);

	if (!exam_addresses(e, h->hostname, 0, all))
		return false;
	for (size_t i = 0; i < h->addresses.n && all->n < COUNT(all->v); i++)
		if (!addresses_have(exam_arena(e), all, h->addresses.v[i]) && address_parse(h->addresses.v[i], 0, &all->v[all->n]))
			all->n++;
	return true;
}

/* ---- words ----------------------------------------------------------------------------------- */

size_t txt_records(const struct dns_answer *a, const char *version, str *first)
{
	size_t n = 0;

	*first = STR_NONE;
	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++) {
		str txt = a->rr[i].txt, rest = str_skip(txt, strlen(version));

		if (!str_starts(txt, version) || (rest.n > 0 && is_alnum(rest.p[0])))
			continue;
		if (n++ == 0)
			*first = txt;
	}
	return n;
}

str words_joined(struct arena *a, const struct strs *list, const char *between)
{
	str out = STR("");

	for (size_t i = 0; i < list->n; i++)
		out = arena_printf(a, "%.*s%s%.*s", STR_ARG(out), i > 0 ? between : "", STR_ARG(list->v[i]));
	return out;
}

bool is_same_or_below(str name, str above)
{
	return str_eq_nocase(name, above) ||
	       (name.n > above.n && str_ends_nocase(name, above) && name.p[name.n - above.n - 1] == '.');
}

str days_text(struct arena *a, int64_t seconds)
{
	long long days = (long long)(seconds / 86400), hours = (long long)(seconds / 3600);

	if (days >= 2)
		return arena_printf(a, "%lld days", days);
	return hours == 1 ? STR("an hour") : arena_printf(a, "%lld hours", hours);
}
