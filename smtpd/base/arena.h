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
	unsigned next;  /* the size of the block to come, unless more is asked for */
};

#define ARENA_UNBOUNDED SIZE_MAX

void  arena_init(struct arena *, size_t budget); /* allocates nothing yet */
/* For what lives long and in large numbers: a block of exactly `first` bytes, what
 * is known to be needed, allocated here; those behind it begin small. */
void  arena_init_exact(struct arena *, size_t budget, size_t first);
void  arena_fini(struct arena *);                /* frees all; it may be used again */
void  arena_wipe(struct arena *);                /* the same, zeroing first: secrets */
void *arena_alloc(struct arena *, size_t);       /* zeroed, aligned for any type */
size_t arena_size(size_t);                       /* what arena_alloc takes for so much */
size_t arena_held(const struct arena *);         /* memory that its blocks take: more than was handed out */
str   arena_printf(struct arena *, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(arena, type)       ((type *)arena_alloc((arena), sizeof(type)))
#define ARENA_ARRAY(arena, type, n)  ((type *)arena_alloc_array((arena), (n), sizeof(type)))
void *arena_alloc_array(struct arena *, size_t n, size_t size); /* NULL on overflow, too */

#endif
