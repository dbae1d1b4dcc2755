/* SPDX-License-Identifier: ISC */
/*
 * The records that `postern dns` prints, as the checks want them.
 */
#include <string.h>

#include "smtpd/setup/dns/dns_records.h"
#include "smtpd/setup/doctor/records.h"
#include "smtpd/setup/keys/book.h"

struct making { const struct config *config; struct arena *arena; struct wanted *v; size_t n, room; };

static void add(struct making *m, struct wanted w)
{
	if (m->n == m->room) {
		size_t room = m->room > 0 ? 2 * m->room : 32;
		struct wanted *v = ARENA_ARRAY(m->arena, struct wanted, room);

		if (v == NULL)
			return;
		if (m->n > 0)
			memcpy(v, m->v, m->n * sizeof(*v));
		m->v = v;
		m->room = room;
	}
	m->v[m->n++] = w;
}

static bool is_key(const struct dns_record *r)
{
	str rest = r->name, label;

	str_cut(&rest, '.', &label);
	return strcmp(r->type, "TXT") == 0 && str_starts(rest, "_domainkey.");
}

/* Keys that a person has named in a dkim section sign at once. */
static bool is_named(const struct config *c, str domain, str name)
{
	for (size_t i = 0; i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		for (size_t k = 0; str_eq(d->name, domain) && k < d->dkim.n; k++)
			if (str_eq_nocase(((const struct dkim_section *)d->dkim.v[k])->head.title, str_head(name, str_find(name, '.'))))
				return true;
	}
	return false;
}

static enum err add_managed(struct making *m, str domain, str *why)
{
	struct key_record *v = NULL;
	size_t n = 0;
	enum err e = key_records(m->config, domain, m->arena, &v, &n, why);

	for (size_t i = 0; e == OK && i < n; i++)
		if (v[i].value.n > 0)
			add(m, (struct wanted){ domain, v[i].name, "TXT", v[i].value, true, v[i].signs });
	return e;
}

static bool is_there(const struct making *m, str name)
{
	for (size_t i = 0; i < m->n; i++)
		if (m->v[i].key && str_eq_nocase(m->v[i].name, name))
			return true;
	return false;
}

static enum err add_domain(struct making *m, str domain, const struct dns_wanted *known, str *why)
{
	struct dns_records all;
	enum err e = add_managed(m, domain, why);

	if (e != OK)
		return e;
	if (dns_records_make(m->config, domain, known, m->arena, &all) != OK)
		return ERR_MEMORY;
	for (size_t i = 0; i < all.n; i++) {
		const struct dns_record *r = &all.v[i];
		bool key = is_key(r);

		/* What belongs into other people's zones has checks of its own: reverse, dmarc-reports. */
		if (r->ask_of.n == 0 && (!key || !is_there(m, r->name)))
			add(m, (struct wanted){ domain, r->name, r->type, r->value, key, key && is_named(m->config, domain, r->name) });
	}
	return OK;
}

enum err wanted_make(const struct config *c, const struct strs *domains, const struct strs *addresses, struct arena *a,
                     const struct wanted **out, size_t *n, str *why)
{
	struct making m = { .config = c, .arena = a };
	struct key_files keys = { 0 };
	struct dns_wanted known = { .keys = &keys, .addresses = *addresses };
	enum err e = key_files_read(c->state, c, a, &keys, why);

	dns_wanted_tlsa(c, a, &known.tlsa);
	for (size_t i = 0; e == OK && i < domains->n; i++)
		if (config_domain_is_local((void *)(uintptr_t)c, domains->v[i]))
			e = add_domain(&m, domains->v[i], &known, why);
	key_files_free(&keys);
	*out = m.v;
	*n = m.n;
	return e;
}
