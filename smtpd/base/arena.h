/* SPDX-License-Identifier: ISC */
/*
 * arena: memory that ends all at once, with a budget.
 *
 * One per connection, one per message, one per configuration generation.
 * Nothing in it is freed singly.  When the budget (or malloc) is spent,
 * arena_alloc returns NULL and `spent` stays true: stations on a message's way
 * look at it and answer 452.  One thread at a time.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "smtpd/base/str.h"

struct arena_block;

struct arena {
	struct arena_block *blocks;
	size_t used;    /* bytes handed out */
	size_t budget;  /* bytes that may be */
	bool   spent;
};

#define ARENA_UNBOUNDED SIZE_MAX

void  arena_init(struct arena *, size_t budget); /* allocates nothing yet */
void  arena_fini(struct arena *);                /* frees all; it may be used again */
void  arena_wipe(struct arena *);                /* the same, zeroing first: secrets */
void *arena_alloc(struct arena *, size_t);       /* zeroed, aligned for any type */
str   arena_printf(struct arena *, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(arena, type)       ((type *)arena_alloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, type, n)  ((type *)arena_alloc_array((arena), (n), sizeof(type)))
void *arena_alloc_array(struct arena *, size_t n, size_t size); /* NULL on overflow, too */

#endif
