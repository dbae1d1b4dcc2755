/* SPDX-License-Identifier: ISC */
/*
 * A binary heap; each item knows its place, so it can be moved and removed.
 * One thread.
 */
#include <stdlib.h>

#include "queue/due.h"

void due_init(struct due *d)
{
	*d = (struct due){ 0 };
}

void due_fini(struct due *d)
{
	for (size_t i = 0; i < d->n; i++)
		d->v[i]->at = 0;
	free(d->v);
	due_init(d);
}

static void set(struct due *d, size_t at, struct due_item *item)
{
	d->v[at] = item;
	item->at = at + 1;
}

static void rise(struct due *d, size_t at, struct due_item *item)
{
	while (at > 0 && d->v[(at - 1) / 2]->when > item->when) {
		set(d, at, d->v[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	set(d, at, item);
}

static void sink(struct due *d, size_t at, struct due_item *item)
{
	for (;;) {
		size_t child = 2 * at + 1;

		if (child + 1 < d->n && d->v[child + 1]->when < d->v[child]->when)
			child++;
		if (child >= d->n || d->v[child]->when >= item->when)
			break;
		set(d, at, d->v[child]);
		at = child;
	}
	set(d, at, item);
}

static void settle(struct due *d, size_t at, struct due_item *item)
{
	rise(d, at, item);
	sink(d, item->at - 1, item);
}

bool due_reserve(struct due *d, size_t n)
{
	size_t room = d->room ? d->room : 256;
	struct due_item **v;

	if (n <= d->room)
		return true;
	while (room < n)
		room *= 2;
	v = realloc(d->v, room * sizeof(*v));
	if (v == NULL)
		return false;
	d->v = v;
	d->room = room;
	return true;
}

bool due_put(struct due *d, struct due_item *item, int64_t when)
{
	item->when = when;
	if (item->at > 0) {
		settle(d, item->at - 1, item);
		return true;
	}
	if (!due_reserve(d, d->n + 1))
		return false;
	rise(d, d->n++, item);
	return true;
}

void due_remove(struct due *d, struct due_item *item)
{
	size_t at = item->at;
	struct due_item *last;

	if (at == 0)
		return;
	item->at = 0;
	last = d->v[--d->n];
	if (last != item)
		settle(d, at - 1, last);
}

struct due_item *due_first(const struct due *d)
{
	return d->n > 0 ? d->v[0] : NULL;
}
