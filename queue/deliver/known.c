/* SPDX-License-Identifier: ISC */
/*
 * The timetable's messages by their id: open addressing, linear probing, at most
 * three quarters full; who leaves a gap lets those behind it move up, so that no
 * slot need remember that it was used.  A slot is one pointer, the id stands in the
 * message: of a million queued this holds 16 MB, where a map of strings held 50.
 * Ids are our own, drawn from the clock: no enemy chooses them.  Timetable thread.
 */
#include "queue/deliver/timetable_inside.h"

#include <stdlib.h>

#define SLOTS_LEAST 256

/* Fibonacci hashing: neighbours in time fall far apart; the upper bits decide. */
static size_t place(const struct known *k, uint64_t id)
{
	return (size_t)((id * 0x9e3779b97f4a7c15u) >> 32) & (k->room - 1);
}

/* Where it stands, or the gap where it would. */
static size_t slot_of(const struct known *k, uint64_t id)
{
	size_t i = place(k, id);

	while (k->slots[i] != NULL && k->slots[i]->id != id)
		i = (i + 1) & (k->room - 1);
	return i;
}

static bool grow(struct known *k)
{
	struct known more = { .n = k->n, .room = k->room > 0 ? 2 * k->room : SLOTS_LEAST };

	more.slots = calloc(more.room, sizeof(struct message *));
	if (more.slots == NULL)
		return false;
	for (size_t i = 0; i < k->room; i++)
		if (k->slots[i] != NULL)
			more.slots[slot_of(&more, k->slots[i]->id)] = k->slots[i];
	free(k->slots);
	*k = more;
	return true;
}

struct message *known_find(const struct known *k, uint64_t id)
{
	return k->n > 0 ? k->slots[slot_of(k, id)] : NULL;
}

bool known_add(struct known *k, struct message *m)
{
	if (known_find(k, m->id) != NULL)
		return false;
	if (k->n + 1 > k->room / 4 * 3 && !grow(k))
		return false;
	k->slots[slot_of(k, m->id)] = m;
	k->n++;
	return true;
}

void known_remove(struct known *k, const struct message *m)
{
	size_t gap, mask = k->room - 1;

	if (known_find(k, m->id) != m)
		return;
	gap = slot_of(k, m->id);
	for (size_t i = (gap + 1) & mask; k->slots[i] != NULL; i = (i + 1) & mask)
		/* It may stand in the gap when its own place is not between the two. */
		if (((i - place(k, k->slots[i]->id)) & mask) >= ((i - gap) & mask)) {
			k->slots[gap] = k->slots[i];
			gap = i;
		}
	k->slots[gap] = NULL;
	k->n--;
}

void known_fini(struct known *k)
{
	free(k->slots);
	*k = (struct known){ 0 };
}
