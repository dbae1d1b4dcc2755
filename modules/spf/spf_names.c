/* SPDX-License-Identifier: ISC */
/*
 * spf_names: the validated domain names of the client (RFC 7208 5.5): names
 * that its address points to and that point back.  Found once for a check, for
 * ptr and %{p} alike.  Of more than the limit the first are looked at (4.6.4);
 * what fails is skipped.  The loop's thread.
 */
#include <string.h>

#include "modules/spf/spf_inside.h"

static void known(struct spf_check *c)
{
	c->names.known = true;
	c->batch.n = 0;
	c->names.then(c);
}

static bool points_back(const struct spf_check *c, const struct dns_answer *a)
{
	for (size_t i = 0; a->status == DNS_FOUND && i < a->n; i++)
		if (c->v4 ? a->rr[i].a.s_addr == c->ip4.s_addr
		          : memcmp(&a->rr[i].aaaa, &c->ip6, 16) == 0)
			return true;
	return false;
}

static void address_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct spf_check *c = ask->user;

	c->names.valid[ask - c->batch.v] = points_back(c, a);
	if (--c->batch.out == 0)
		known(c);
}

static void ask_back(struct spf_check *c, const struct dns_answer *a, size_t n)
{
	struct spf_names *names = &c->names;

	names->valid = ARENA_ARRAY(&c->scratch, bool, n);
	if (!spf_batch_of(c, n)) {
		known(c);                        /* the next step sees that scratch is spent */
		return;
	}
	names->v = c->batch.names;
	names->n = n;
	for (size_t i = 0; i < n; i++) {
		names->v[i] = a->rr[i].name;
		spf_ask(c, &c->batch.v[i], names->v[i], c->v4 ? DNS_A : DNS_AAAA, address_arrived);
	}
}

static void names_arrived(struct dns_ask *ask, const struct dns_answer *a)
{
	struct spf_check *c = ask->user;
	size_t            n = a->status == DNS_FOUND ? a->n : 0;

	c->names.asked_void = a->status == DNS_NXDOMAIN || a->status == DNS_NODATA;
	c->names.failed = dns_failed(a->status);
	if (n > c->q.limits.names)
		n = c->q.limits.names;
	if (n == 0)
		known(c);
	else
		ask_back(c, a, n);
}

void spf_names_find(struct spf_check *c, void (*then)(struct spf_check *))
{
	str name = dns_reverse_name(&c->scratch, (const struct sockaddr *)&c->q.ip);

	c->names.then = then;
	spf_ask(c, &c->ask, name, DNS_PTR, names_arrived);
}

/* 2: the domain itself, 1: below it, 0: elsewhere. */
static int nearness(str name, str domain)
{
	if (domain.n > 0 && domain.p[domain.n - 1] == '.')
		domain.n--;
	if (str_eq_nocase(name, domain))
		return 2;
	return name.n > domain.n && domain.n > 0 && name.p[name.n - domain.n - 1] == '.' &&
	       str_eq_nocase(str_skip(name, name.n - domain.n), domain);
}

str spf_names_best(const struct spf_check *c, str domain)
{
	str best = STR("unknown");           /* RFC 7208 7.3 */
	int near = -1;

	for (size_t i = 0; i < c->names.n; i++) {
		int this = c->names.valid[i] ? nearness(c->names.v[i], domain) : -1;

		if (this <= near)
			continue;
		near = this;
		best = c->names.v[i];
	}
	return best;
}

bool spf_names_match(const struct spf_check *c, str domain)
{
	for (size_t i = 0; i < c->names.n; i++)
		if (c->names.valid[i] && nearness(c->names.v[i], domain) > 0)
			return true;
	return false;
}
