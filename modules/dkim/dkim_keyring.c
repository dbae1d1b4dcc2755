/* SPDX-License-Identifier: ISC */
/*
 * dkim_keyring: the keys that sign, by domain, and the rules by which they do.
 *
 * Filled once a generation (main thread), read by all loops and desks.  A
 * domain's keys and rules keep the order in which they were added.
 *
 * Mail of a domain without keys is signed by the nearest domain above it that
 * has some: mail.example.org by example.org, which DMARC's relaxed alignment
 * takes for the same (RFC 7489 3.1.1); but never by a top-level domain.
 */
#include "modules/dkim/dkim.h"

#include <string.h>

struct ring_domain {
	str                  name;
	bool                 hold;
	struct dkim_signer **v;
	size_t               n, room;
	struct dkim_rule   **rules;
	size_t               nrules, rules_room;
};

struct dkim_keyring {
	struct arena        *arena;
	struct ring_domain **v;            /* sorted by name */
	size_t               n, room;
};

struct dkim_keyring *dkim_keyring_new(struct arena *a)
{
	struct dkim_keyring *r = ARENA_NEW(a, struct dkim_keyring);

	if (r != NULL)
		r->arena = a;
	return r;
}

/* The first place whose domain is not before `domain`. */
static size_t place(const struct dkim_keyring *r, str domain)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (str_cmp(r->v[mid]->name, domain) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct ring_domain *domain_find(const struct dkim_keyring *r, str domain)
{
	size_t at = place(r, domain);

	return at < r->n && str_eq(r->v[at]->name, domain) ? r->v[at] : NULL;
}

/* Room for one more pointer. */
static bool grow(struct arena *a, void **v, size_t n, size_t *room)
{
	size_t more = *room == 0 ? 4 : *room * 2;
	void **bigger;

	if (n < *room)
		return true;
	bigger = ARENA_ARRAY(a, void *, more);
	if (bigger == NULL)
		return false;
	if (n > 0)
		memcpy(bigger, *v, n * sizeof(*bigger));
	*v = bigger;
	*room = more;
	return true;
}

static struct ring_domain *domain_get(struct dkim_keyring *r, str name)
{
	str lower = str_keep_lower(r->arena, name);
	struct ring_domain *d = domain_find(r, lower);
	void *v = r->v;
	size_t at;

	if (d != NULL || lower.n != name.n)
		return d;
	d = ARENA_NEW(r->arena, struct ring_domain);
	if (d == NULL || !grow(r->arena, &v, r->n, &r->room))
		return NULL;
	r->v = v;
	d->name = lower;
	at = place(r, lower);
	memmove(&r->v[at + 1], &r->v[at], (r->n - at) * sizeof(r->v[0]));
	r->v[at] = d;
	r->n++;
	return d;
}

enum err dkim_keyring_add(struct dkim_keyring *r, const struct dkim_signer *s)
{
	struct ring_domain *d = domain_get(r, s->domain);
	struct dkim_signer *copy = ARENA_NEW(r->arena, struct dkim_signer);
	void *v = d != NULL ? d->v : NULL;

	if (d == NULL || copy == NULL || !grow(r->arena, &v, d->n, &d->room))
		return ERR_MEMORY;
	d->v = v;
	*copy = *s;
	copy->domain = d->name;
	copy->selector = str_keep(r->arena, s->selector);
	copy->identity = str_keep(r->arena, s->identity);
	if (r->arena->spent)
		return ERR_MEMORY;
	d->v[d->n++] = copy;
	return OK;
}

enum err dkim_keyring_rule(struct dkim_keyring *r, str domain, const struct dkim_rule *rule)
{
	struct ring_domain *d = domain_get(r, domain);
	struct dkim_rule *copy = ARENA_NEW(r->arena, struct dkim_rule);
	void *v = d != NULL ? d->rules : NULL;

	if (d == NULL || copy == NULL || !grow(r->arena, &v, d->nrules, &d->rules_room))
		return ERR_MEMORY;
	d->rules = v;
	*copy = *rule;
	d->rules[d->nrules++] = copy;
	return OK;
}

enum err dkim_keyring_policy(struct dkim_keyring *r, str domain, bool hold)
{
	struct ring_domain *d = domain_get(r, domain);

	if (d == NULL)
		return ERR_MEMORY;
	d->hold = hold;
	return OK;
}

const struct dkim_signer *dkim_keyring_find(const struct dkim_keyring *r, str domain, size_t *at)
{
	const struct ring_domain *d = r != NULL ? domain_find(r, domain) : NULL;

	return d != NULL && *at < d->n ? d->v[(*at)++] : NULL;
}

bool dkim_signer_is_out(const struct dkim_signer *s)
{
	return s->gate == NULL || s->gate->open;
}

/* ---- rules ---------------------------------------------------------------------- */

static bool has(const struct strs *list)
{
	return list != NULL && list->n > 0;
}

static bool from_fits(const struct strs *from, const struct path *author)
{
	for (size_t i = 0; has(from) && i < from->n; i++) {
		str want = from->v[i];

		if (want.n > 0 && want.p[0] == '@' ? str_eq_nocase(str_skip(want, 1), author->domain)
		                                   : str_eq_nocase(want, author->text))
			return true;
	}
	return !has(from);
}

static bool destination_fits(const struct strs *to, str domain)
{
	for (size_t i = 0; i < to->n; i++)
		if (str_starts(to->v[i], ".") ? str_ends_nocase(domain, to->v[i]) : str_eq_nocase(domain, to->v[i]))
			return true;
	return false;
}

static bool rule_fits(const struct dkim_rule *rule, const struct path *author, const struct path *rcpts, size_t n)
{
	if (!from_fits(rule->from, author) || (has(rule->to) && n == 0))
		return false;
	for (size_t i = 0; has(rule->to) && i < n; i++)
		if (!destination_fits(rule->to, rcpts[i].domain))
			return false;
	return true;
}

/* One '*' stands for any text, as in "*-rsa". */
static bool selector_fits(const struct strs *selectors, str selector)
{
	for (size_t i = 0; i < selectors->n; i++) {
		str front = str_head(selectors->v[i], str_find(selectors->v[i], '*')), back;

		if (front.n == selectors->v[i].n) {
			if (str_eq_nocase(front, selector))
				return true;
			continue;
		}
		back = str_skip(selectors->v[i], front.n + 1);
		if (selector.n >= front.n + back.n && str_eq_nocase(str_head(selector, front.n), front) &&
		    str_ends_nocase(selector, back))
			return true;
	}
	return false;
}

/* What a rule that names selectors leaves: with none of them out, all. */
static const struct strs *selectors_of(const struct ring_domain *d, const struct dkim_rule *rule)
{
	if (rule == NULL || !has(rule->selectors))
		return NULL;
	for (size_t i = 0; i < d->n; i++)
		if (dkim_signer_is_out(d->v[i]) && selector_fits(rule->selectors, d->v[i]->selector))
			return rule->selectors;
	return NULL;
}

static void apply(const struct dkim_rule *rule, const struct path *author, struct dkim_signer *s)
{
	if (has(rule->headers))
		s->headers = rule->headers;
	if (rule->has_canon) {
		s->header_canon = rule->header_canon;
		s->body_canon = rule->body_canon;
	}
	if (rule->has_expire)
		s->expire_s = rule->expire_s;
	if (rule->has_identity)
		s->identity = rule->author && author->local.n > 0 ? author->text : STR_NONE;
}

static const struct ring_domain *nearest(const struct dkim_keyring *r, str domain)
{
	for (; r != NULL && str_holds(domain, '.'); domain = str_skip(domain, str_find(domain, '.') + 1)) {
		const struct ring_domain *d = domain_find(r, domain);

		if (d != NULL)
			return d;
	}
	return NULL;
}

void dkim_keyring_choose(const struct dkim_keyring *r, const struct path *author, const struct path *rcpts, size_t n,
                         struct arena *a, struct dkim_choice *out)
{
	const struct ring_domain *d = author->is_literal ? NULL : nearest(r, author->domain);
	const struct dkim_rule *rule = NULL;
	const struct strs *selectors;

	*out = (struct dkim_choice){ .found = d != NULL };
	if (d == NULL)
		return;
	out->domain = d->name;
	out->hold = d->hold;
	out->known = d->n;
	for (size_t i = 0; i < d->nrules && rule == NULL; i++)
		if (rule_fits(d->rules[i], author, rcpts, n))
			rule = d->rules[i];
	selectors = selectors_of(d, rule);
	out->v = ARENA_ARRAY(a, struct dkim_signer, d->n);
	for (size_t i = 0; out->v != NULL && i < d->n; i++) {
		struct dkim_signer *s = &out->v[out->n];

		if (selectors != NULL && !selector_fits(selectors, d->v[i]->selector))
			continue;
		*s = *d->v[i];
		if (rule != NULL)
			apply(rule, author, s);
		out->n++;
	}
}
