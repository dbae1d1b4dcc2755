/* SPDX-License-Identifier: ISC */
/*
 * A table of hashed keys that all loops write at once, without a lock.
 *
 * A key has one set of BAN_WAYS places, so a table is as large as it was made
 * and no larger; who is new takes the place whose times end first.  Times only
 * rise, so nothing has to be swept.  A place that changes hands is closed (tag 1)
 * while its times are put back.  Two threads that take the same place, or bring
 * the same key in at once, may lose a count: that is all that can happen.
 */
#include <stdlib.h>

#include "auth/ban.h"

#define CLOSED 1u

bool ban_table_open(struct ban_table *t, size_t sets)
{
	t->sets = sets;
	t->v = calloc(sets * BAN_WAYS, sizeof(t->v[0]));
	return t->v != NULL;
}

void ban_table_close(struct ban_table *t)
{
	free(t->v);
	t->v = NULL;
}

static struct ban_place *set_of(const struct ban_table *t, uint64_t tag)
{
	return &t->v[(tag >> 8) % t->sets * BAN_WAYS];
}

static uint64_t usable(uint64_t tag)
{
	return tag > CLOSED ? tag : tag + 2;      /* 0: free */
}

struct ban_place *ban_table_find(const struct ban_table *t, uint64_t tag)
{
	struct ban_place *set;

	tag = usable(tag);
	set = set_of(t, tag);
	for (size_t i = 0; i < BAN_WAYS; i++)
		if (atomic_load(&set[i].tag) == tag)
			return &set[i];
	return NULL;
}

/* When nothing of it matters any more. */
static uint64_t ends(struct ban_place *p)
{
	uint64_t until = atomic_load(&p->until_ms), refused = ban_until(atomic_load(&p->refused));

	return until > refused ? until : refused;
}

struct ban_place *ban_table_take(struct ban_table *t, uint64_t tag)
{
	struct ban_place *p = ban_table_find(t, tag), *set;
	uint64_t held;

	if (p != NULL)
		return p;
	tag = usable(tag);
	set = p = set_of(t, tag);
	for (size_t i = 1; i < BAN_WAYS; i++)
		if (ends(&set[i]) < ends(p))
			p = &set[i];
	held = atomic_load(&p->tag);
	if (held == CLOSED || !atomic_compare_exchange_strong(&p->tag, &held, CLOSED))
		return NULL;
	atomic_store(&p->until_ms, 0);
	atomic_store(&p->refused, 0);
	atomic_store(&p->tag, tag);
	return p;
}

size_t ban_table_held(const struct ban_table *t, uint64_t now_ms)
{
	size_t n = 0;

	for (size_t i = 0; i < t->sets * BAN_WAYS; i++)
		n += ban_until(atomic_load(&t->v[i].refused)) > now_ms;
	return n;
}
