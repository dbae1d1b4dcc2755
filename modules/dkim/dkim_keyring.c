/* SPDX-License-Identifier: ISC */
/*
 * dkim_keyring: the keys that sign, by domain.
 *
 * Sorted as it is filled (main thread, once a generation), read by all loops.
 * A domain's keys keep the order in which they were added.
 */
#include "modules/dkim/dkim.h"

#include <string.h>

struct dkim_keyring {
	struct arena        *arena;
	struct dkim_signer **v;
	size_t               n, room;
};

struct dkim_keyring *dkim_keyring_new(struct arena *a)
{
	struct dkim_keyring *r = ARENA_NEW(a, struct dkim_keyring);

	if (r != NULL)
		r->arena = a;
	return r;
}

/* The first place whose domain is not before (with `after`: is behind) `domain`. */
static size_t place(const struct dkim_keyring *r, str domain, bool after)
{
	size_t low = 0, high = r->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int c = str_cmp(r->v[mid]->domain, domain);

		if (c < 0 || (after && c == 0))
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static bool grow(struct dkim_keyring *r)
{
	size_t room = r->room == 0 ? 8 : r->room * 2;
	struct dkim_signer **v = ARENA_ARRAY(r->arena, struct dkim_signer *, room);

	if (v == NULL)
		return false;
	if (r->n > 0)
		memcpy(v, r->v, r->n * sizeof(v[0]));
	r->v = v;
	r->room = room;
	return true;
}

enum err dkim_keyring_add(struct dkim_keyring *r, const struct dkim_signer *s)
{
	struct dkim_signer *copy = ARENA_NEW(r->arena, struct dkim_signer);

	if (copy == NULL || (r->n == r->room && !grow(r)))
		return ERR_MEMORY;
	*copy = *s;
	copy->domain = str_keep_lower(r->arena, s->domain);
	copy->selector = str_keep(r->arena, s->selector);
	copy->identity = str_keep(r->arena, s->identity);
	if (r->arena->spent)
		return ERR_MEMORY;
	size_t at = place(r, copy->domain, true);

	memmove(&r->v[at + 1], &r->v[at], (r->n - at) * sizeof(r->v[0]));
	r->v[at] = copy;
	r->n++;
	return OK;
}

const struct dkim_signer *dkim_keyring_find(const struct dkim_keyring *r, str domain, size_t *at)
{
	if (r == NULL)
		return NULL;
	size_t i = *at == 0 ? place(r, domain, false) : *at;

	if (i >= r->n || !str_eq(r->v[i]->domain, domain))
		return NULL;
	*at = i + 1;
	return r->v[i];
}
