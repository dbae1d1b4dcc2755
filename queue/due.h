/* SPDX-License-Identifier: ISC */
/*
 * due: a heap of things by time.  Small: 24 bytes an entry.  One thread.
 */
#ifndef QUEUE_DUE_H
#define QUEUE_DUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct due_item {            /* embedded */
	int64_t when;        /* seconds */
	size_t  at;          /* place in the heap + 1; 0: not in it */
};
struct due { struct due_item **v; size_t n, room; };

void due_init(struct due *);
void due_fini(struct due *);
bool due_put(struct due *, struct due_item *, int64_t when);   /* moves it when it is there; false: no memory */
void due_remove(struct due *, struct due_item *);              /* harmless when it is not there */
bool due_reserve(struct due *, size_t n);                      /* n items fit from now on; false: no memory */
struct due_item *due_first(const struct due *);                /* the earliest, or NULL */

#endif
