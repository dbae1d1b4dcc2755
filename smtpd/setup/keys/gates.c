/* SPDX-License-Identifier: ISC */
/*
 * gates: see gates.h.  They are never freed: a loop may look at one whose key has
 * long gone.  Main thread.
 */
#include <stdlib.h>
#include <string.h>

#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/keys/gates.h"
#include "smtpd/setup/signing.h"
#include "smtpd/setup/verbs.h"

struct gate {
	struct dkim_gate gate;
	struct gate     *next;
	size_t           ndomain, nselector;
	char             names[];              /* the domain, the selector */
};

static struct gate *gates;

struct dkim_gate *key_gate(str domain, str selector, bool open)
{
	struct gate *g;

	for (g = gates; g != NULL; g = g->next)
		if (str_eq_nocase((str){ g->names, g->ndomain }, domain) &&
		    str_eq_nocase((str){ g->names + g->ndomain, g->nselector }, selector))
			return &g->gate;
	g = calloc(1, sizeof(*g) + domain.n + selector.n);
	if (g == NULL)
		return NULL;
	g->ndomain = domain.n;
	g->nselector = selector.n;
	memcpy(g->names, domain.p, domain.n);
	memcpy(g->names + domain.n, selector.p, selector.n);
	g->gate.open = open;
	g->next = gates;
	gates = g;
	return &g->gate;
}

/* ---- managed --------------------------------------------------------------------------- */

static struct key *read_private(const struct key_plan *p, str selector, struct arena *a)
{
	struct arena secret;
	struct key *key = NULL;
	str path = book_key_path(p, selector, a), pem, why = STR_NONE;

	arena_init(&secret, 256 << 10);
	if (signing_key_text(verb_open_file, path, &secret, &pem, &why) == OK)
		key = key_private_pem(pem, &why);
	if (key == NULL)
		log_event(NULL, LOG_ERROR, "key.unreadable", KV("domain", p->domain), KV("selector", selector), KV("file", path),
		          KV("why", why));
	arena_wipe(&secret);
	return key;
}

enum err key_ring_add(struct dkim_keyring *ring, const struct config *c, const struct domain_section *d, struct arena *a,
                      void (*keep)(void *arg, struct key *), void *arg, str *why)
{
	struct life_book book;
	struct key_plan plan;
	enum err e;

	if (!key_plan_of(c, d, a, &plan))
		return OK;
	e = book_read(&plan, a, &book, why);
	for (size_t i = 0; e == OK && i < book.n; i++) {
		const struct life_key *k = &book.keys[i];
		struct dkim_signer signer = {
			.domain = d->name, .selector = k->selector, .header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED,
			.expire_s = signing_expire_s(c, STR("auto")), .gate = key_gate(d->name, k->selector, life_signs(&book, k)),
		};
		struct key *key;

		if (!life_may_sign(k))
			continue;
		key = read_private(&plan, k->selector, a);
		if (key == NULL)
			continue;
		keep(arg, key);
		signer.key = key;
		e = signer.gate != NULL ? dkim_keyring_add(ring, &signer) : ERR_MEMORY;
	}
	return e;
}

/* ---- by hand ----------------------------------------------------------------------------- */

const struct dkim_gate *key_gate_by_hand(const struct config *c, const struct domain_section *d, const struct dkim_section *s)
{
	return s->gate && c->resolver.records.n == 0 ? key_gate(d->name, s->head.title, true) : NULL;
}
