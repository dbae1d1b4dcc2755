/* SPDX-License-Identifier: ISC */
/*
 * Which destinations do not work just now, for `postern status`.  Asked by
 * main, answered by the timetable's thread from what it has.
 */
#include "queue/deliver/timetable_inside.h"

#include <stdlib.h>

static bool in_trouble(const struct destination *d)
{
	return d->parts > 0 && (destination_rests(d) || d->troubles > 0);
}

/* The longest lines first; those that find no place are only counted. */
static void add(struct troubles_ask *ask, const struct destination *d)
{
	size_t at = ask->n < TROUBLES_MOST ? ask->n++ : TROUBLES_MOST - 1;

	ask->all++;
	if (at == TROUBLES_MOST - 1 && ask->all > TROUBLES_MOST && ask->v[at].parts >= d->parts)
		return;
	for (; at > 0 && ask->v[at - 1].parts < d->parts; at--)
		ask->v[at] = ask->v[at - 1];
	ask->v[at] = (struct trouble){
		.destination = str_keep(&ask->arena, d->key), .why = str_keep(&ask->arena, str_of(d->said != NULL ? d->said : "")),
		.until = d->not_before, .times = d->troubles, .parts = d->parts,
	};
}

static void asked(struct baton *b)
{
	struct troubles_ask *ask = SUPER(b, struct troubles_ask, baton);
	struct timetable *t = timetable_here;
	struct map_entry *e;

	for (size_t at = 0; (e = map_next(&t->destinations, &at)) != NULL;)
		if (in_trouble(e->value))
			add(ask, e->value);
	b->arrived = ask->back;
	mbox_send(b->home, b);
}

struct troubles_ask *troubles_ask_new(void)
{
	struct troubles_ask *ask = calloc(1, sizeof(*ask));

	if (ask != NULL)
		arena_init(&ask->arena, ARENA_UNBOUNDED);
	return ask;
}

void troubles_ask_free(struct troubles_ask *ask)
{
	arena_fini(&ask->arena);
	free(ask);
}

void timetable_troubles(struct timetable *t, struct troubles_ask *ask)
{
	ask->back = ask->baton.arrived;
	ask->baton.arrived = asked;
	mbox_send(t->inbox, &ask->baton);
}
