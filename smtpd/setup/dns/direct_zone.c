/* SPDX-License-Identifier: ISC */
/*
 * Which servers there are: the nearest zone cut above a name, its NS records and
 * their addresses, asked of the configured resolver on a private loop that runs
 * only inside the call.  The thread of the caller.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/dns_name.h"
#include "smtpd/setup/dns/direct_inside.h"

enum { SERVERS_MAX = 32 };                    /* names of one zone */
enum { PORT = 53, TIMEOUT_MS = 4000 };

struct direct *direct_open(const struct direct_conf *conf, struct arena *a, str *why)
{
	struct direct *d = ARENA_NEW(a, struct direct);

	*why = STR("no memory");
	if (d == NULL || (d->loop = loop_new(0, NULL)) == NULL)
		return NULL;
	d->conf = *conf;
	d->conf.port = conf->port > 0 ? conf->port : PORT;
	d->conf.timeout_ms = conf->timeout_ms > 0 ? conf->timeout_ms : TIMEOUT_MS;
	d->dns = dns_new(conf->resolver, d->loop, a, why);
	if (d->dns == NULL) {
		loop_free(d->loop);
		return NULL;
	}
	d->loop->dns = d->dns;
	*why = STR_NONE;
	return d;
}

void direct_close(struct direct *d)
{
	if (d == NULL)
		return;
	dns_free(d->dns);
	loop_free(d->loop);
}

/* ---- questions that block ------------------------------------------------------------ */

struct question {
	struct dns_ask    ask;
	str               name;
	enum dns_type     type;
	struct dns_answer got;
	size_t           *open;
	struct loop      *loop;
};

static void answered(struct dns_ask *ask, const struct dns_answer *got)
{
	struct question *q = SUPER(ask, struct question, ask);

	q->got = *got;
	if (--*q->open == 0)
		loop_stop(q->loop);
}

/* dns.h's deadline ends each, so the loop ends, too. */
static void ask_all(struct direct *d, struct question *q, size_t n, struct arena *a)
{
	size_t open = n;

	for (size_t i = 0; i < n; i++) {
		q[i].open = &open;
		q[i].loop = d->loop;
		dns_ask(d->dns, &q[i].ask, a, q[i].name, q[i].type, 0, answered, &q[i]);
	}
	d->loop->stopping = false;
	if (n > 0)
		loop_run(d->loop);
}

static enum err failure(const struct question *q, struct arena *a, str *why)
{
	*why = arena_printf(a, "the resolver could not say what %.*s is: %s%s%.*s", STR_ARG(q->name), dns_status_text(q->got.status),
	                    q->got.why.n > 0 ? ", " : "", STR_ARG(q->got.why));
	return ERR_BUSY;
}

/* ---- addresses -------------------------------------------------------------------------- */

void direct_at_set(struct direct_at *at, int family, const void *address, uint16_t port)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&at->to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&at->to;

	memset(at, 0, sizeof(*at));
	at->to.ss_family = (sa_family_t)family;
	if (family == AF_INET) {
		memcpy(&v4->sin_addr, address, sizeof(v4->sin_addr));
		v4->sin_port = htons(port);
		at->n = sizeof(*v4);
	} else {
		memcpy(&v6->sin6_addr, address, sizeof(v6->sin6_addr));
		v6->sin6_port = htons(port);
		at->n = sizeof(*v6);
	}
}

str direct_at_text(const struct direct_at *at, struct arena *a)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&at->to;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&at->to;
	char text[INET6_ADDRSTRLEN] = "";

	if (at->to.ss_family == AF_INET)
		inet_ntop(AF_INET, &v4->sin_addr, text, sizeof(text));
	else
		inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof(text));
	return str_keep(a, str_of(text));
}

static void take_addresses(struct direct_host *h, const struct question *q, uint16_t port)
{
	for (size_t i = 0; q->got.status == DNS_FOUND && i < q->got.n && i < DIRECT_ADDRESSES && h->n < COUNT(h->at); i++) {
		const struct dns_rr *rr = &q->got.rr[i];

		direct_at_set(&h->at[h->n++], q->type == DNS_A ? AF_INET : AF_INET6,
		              q->type == DNS_A ? (const void *)&rr->a : (const void *)&rr->aaaa, port);
	}
}

enum err direct_find_hosts(struct direct *d, struct direct_host *h, size_t n, struct arena *a, str *why)
{
	struct question *q = ARENA_ARRAY(a, struct question, 2 * n + 1);

	if (q == NULL) {
		*why = STR("no memory");
		return ERR_MEMORY;
	}
	for (size_t i = 0; i < n; i++) {
		q[2 * i] = (struct question){ .name = h[i].name, .type = DNS_A };
		q[2 * i + 1] = (struct question){ .name = h[i].name, .type = DNS_AAAA };
	}
	ask_all(d, q, 2 * n, a);
	for (size_t i = 0; i < n; i++) {
		take_addresses(&h[i], &q[2 * i], d->conf.port);
		if (h[i].n == 0 || d->conf.ipv6)
			take_addresses(&h[i], &q[2 * i + 1], d->conf.port);
	}
	return OK;
}

/* ---- the cut ------------------------------------------------------------------------------ */

/* S._domainkey.D and its like are hardly a zone: when the resolver fails at such a
 * name (an alias of itself), the servers of the zone above say more than it does. */
static bool is_leaf(str name)
{
	str parent = str_skip(name, str_find(name, '.') + 1);

	return parent.n > 0 && parent.p[0] == '_';
}

/* A name with a SOA record of its own is a zone's apex; an alias has none. */
static enum err find_cut(struct direct *d, str name, struct arena *a, struct direct_zone *z, str *why)
{
	for (; name.n > 0; name = str_skip(name, str_find(name, '.') + 1)) {
		struct question *q = ARENA_NEW(a, struct question);

		if (q == NULL)
			return ERR_MEMORY;
		*q = (struct question){ .name = name, .type = DNS_SOA };
		ask_all(d, q, 1, a);
		if (dns_failed(q->got.status) && (q->got.status == DNS_TIMEOUT || !is_leaf(name)))
			return failure(q, a, why);
		if (q->got.status != DNS_FOUND || q->got.cname)
			continue;
		z->name = name;
		z->primary = q->got.rr[0].name;
		return OK;
	}
	*why = STR("no zone above the name is in DNS: it is not delegated");
	return ERR_ABSENT;
}

/* Resolvers turn the order of records; what is said of the servers must not turn
 * with it, or the same fault is news at every look. */
static int by_name(const void *a, const void *b)
{
	const struct direct_server *x = a, *y = b;
	int order = str_cmp(x->name, y->name);

	return order != 0 ? order : str_cmp(x->address, y->address);
}

static int by_host(const void *a, const void *b)
{
	return str_cmp(((const struct direct_host *)a)->name, ((const struct direct_host *)b)->name);
}

static enum err find_names(struct direct *d, struct arena *a, const struct direct_zone *z, struct direct_host **hosts, size_t *n,
                           str *why)
{
	struct question *q = ARENA_NEW(a, struct question);

	if (q == NULL)
		return ERR_MEMORY;
	*q = (struct question){ .name = z->name, .type = DNS_NS };
	ask_all(d, q, 1, a);
	if (dns_failed(q->got.status))
		return failure(q, a, why);
	*n = q->got.status == DNS_FOUND ? q->got.n : 0;
	if (*n > SERVERS_MAX)
		*n = SERVERS_MAX;
	*hosts = ARENA_ARRAY(a, struct direct_host, *n + 1);
	for (size_t i = 0; *hosts != NULL && i < *n; i++)
		(*hosts)[i].name = q->got.rr[i].name;
	if (*hosts != NULL && *n > 1)
		qsort(*hosts, *n, sizeof(**hosts), by_host);
	return *hosts != NULL ? OK : ERR_MEMORY;
}

static bool has_address(const struct direct_zone *z, const struct direct_at *at)
{
	for (size_t i = 0; i < z->n; i++)
		if (z->servers[i].at_n == at->n && memcmp(&z->servers[i].at, &at->to, at->n) == 0)
			return true;
	return false;
}

/* One address is one server, however many names it has. */
static enum err list_servers(const struct direct_host *h, size_t n, struct arena *a, struct direct_zone *z)
{
	size_t room = 0;

	for (size_t i = 0; i < n; i++)
		room += h[i].n;
	z->servers = ARENA_ARRAY(a, struct direct_server, room + 1);
	z->nameless.v = ARENA_ARRAY(a, str, n + 1);
	if (z->servers == NULL || z->nameless.v == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < h[i].n; k++) {
			const struct direct_at *at = &h[i].at[k];

			if (!has_address(z, at))
				z->servers[z->n++] = (struct direct_server){ .name = h[i].name, .address = direct_at_text(at, a),
				                                             .at = at->to, .at_n = at->n };
		}
		if (h[i].n == 0)
			z->nameless.v[z->nameless.n++] = h[i].name;
	}
	qsort(z->servers, z->n, sizeof(*z->servers), by_name);
	return OK;
}

enum err direct_zone_of(struct direct *d, str name, struct arena *a, struct direct_zone *z, str *why)
{
	str checked = dns_name_check(name);
	struct direct_host *hosts = NULL;
	size_t n = 0;
	enum err e;

	*z = (struct direct_zone){ 0 };
	*why = STR_NONE;
	if (checked.n == 0) {
		*why = arena_printf(a, "\"%.*s\" is no name that DNS can hold", STR_ARG(name));
		return ERR_ABSENT;
	}
	e = find_cut(d, str_keep_lower(a, checked), a, z, why);
	if (e == OK)
		e = find_names(d, a, z, &hosts, &n, why);
	if (e == OK)
		e = direct_find_hosts(d, hosts, n, a, why);
	if (e == OK)
		e = list_servers(hosts, n, a, z);
	if (e == ERR_MEMORY)
		*why = STR("no memory");
	return e;
}
