/* SPDX-License-Identifier: ISC */
/*
 * signers: the keys that sign for a domain at this moment, by its book and its dkim
 * sections.  Verbs.
 */
#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/keys/gates.h"
#include "smtpd/setup/signing.h"
#include "smtpd/setup/verbs.h"

struct picking { const struct dkim_signer *like; struct arena *arena; struct dkim_signer *v; size_t n; };

static enum err pick(struct picking *p, str selector, str path, int64_t expire_s, str *why)
{
	struct arena secret;
	struct key *key = NULL;
	str pem, said = STR_NONE;
	enum err e;

	arena_init(&secret, 256 << 10);
	e = signing_key_text(verb_open_file, path, &secret, &pem, &said);
	if (e == OK)
		key = key_private_pem(pem, &said);
	if (key != NULL) {
		p->v[p->n] = *p->like;
		p->v[p->n].selector = selector;
		p->v[p->n].key = key;
		p->v[p->n++].expire_s = expire_s;
	} else {
		*why = arena_printf(p->arena, "%.*s: %.*s", STR_ARG(path), STR_ARG(said));
		e = e == OK ? ERR_BAD : e;
	}
	arena_wipe(&secret);
	return e;
}

static enum err pick_sections(struct picking *p, const struct config *c, const struct domain_section *d, bool expires, str *why)
{
	enum err e = OK;

	for (size_t i = 0; i < d->dkim.n && e == OK; i++) {
		const struct dkim_section *s = d->dkim.v[i];

		e = pick(p, s->head.title, s->key, expires ? p->like->expire_s : signing_expire_s(c, s->expire), why);
		if (e == OK && p->like->headers == NULL && s->headers.n > 0)
			p->v[p->n - 1].headers = &s->headers;
	}
	return e;
}

static enum err pick_managed(struct picking *p, const struct config *c, const struct key_plan *plan, const struct life_book *b,
                             bool expires, str *why)
{
	enum err e = OK;

	for (size_t i = 0; i < b->n && e == OK; i++)
		if (life_signs(b, &b->keys[i]))
			e = pick(p, b->keys[i].selector, book_key_path(plan, b->keys[i].selector, p->arena),
			         expires ? p->like->expire_s : signing_expire_s(c, STR("auto")), why);
	return e;
}

enum err key_signers_now(const struct config *c, const struct dkim_signer *like, bool expires, struct arena *a,
                         struct dkim_signer **out, size_t *n, str *why)
{
	const struct domain_section *d = config_domain_of(c, like->domain);
	struct picking p = { .like = like, .arena = a };
	struct life_book book = { .n = 0 };
	struct key_plan plan;
	enum err e = OK;

	*n = 0;
	if (d == NULL) {
		*why = arena_printf(a, "the configuration has no domain \"%.*s\": add one, or say --selector and --key", STR_ARG(like->domain));
		return ERR_ABSENT;
	}
	if (key_plan_of(c, d, a, &plan))
		e = book_read(&plan, a, &book, why);
	p.v = ARENA_ARRAY(a, struct dkim_signer, book.n + d->dkim.n + 1);
	if (e == OK && p.v != NULL)
		e = pick_managed(&p, c, &plan, &book, expires, why);
	if (e == OK && p.v != NULL)
		e = pick_sections(&p, c, d, expires, why);
	if (e == OK && p.n == 0) {
		*why = arena_printf(a, "no key of %.*s is out: `postern key list %.*s` says what is in the way", STR_ARG(like->domain),
		                    STR_ARG(like->domain));
		e = ERR_ABSENT;
	}
	if (e != OK)
		key_signers_drop(p.v, p.n);
	*out = p.v;
	*n = e == OK ? p.n : 0;
	return e;
}

void key_signers_drop(struct dkim_signer *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		key_free((struct key *)(uintptr_t)v[i].key);
}
