/* SPDX-License-Identifier: ISC */
/*
 * arena: blocks that grow from 1 KiB to 64 KiB, the newest first; what does
 * not fit a block of usual size gets one of its own.  Behind an exact first
 * block they begin at 256 bytes: twice what is there would mostly stay empty.
 * `used` counts what was handed out, so a budget means the same whatever the
 * blocks are.  One thread at a time.
 */
#include "smtpd/base/arena.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/format.h"

#define BLOCK_SMALL 256          /* behind an exact one */
#define BLOCK_LEAST ((size_t)1 << 10)
#define BLOCK_MOST  ((size_t)64 << 10)
#define ALIGN       _Alignof(max_align_t)

struct arena_block {
	struct arena_block *next;
	size_t              size, used;
	_Alignas(max_align_t) char bytes[];
};

void arena_init(struct arena *a, size_t budget)
{
	*a = (struct arena){ .budget = budget, .next = BLOCK_LEAST };
}

static void empty(struct arena *a, bool wipe)
{
	for (struct arena_block *b = a->blocks, *next; b != NULL; b = next) {
		next = b->next;
		if (wipe)
			explicit_bzero(b->bytes, b->used);
		free(b);
	}
	arena_init(a, a->budget);
}

void arena_fini(struct arena *a)
{
	empty(a, false);
}

void arena_wipe(struct arena *a)
{
	empty(a, true);
}

static struct arena_block *block_new(size_t size)
{
	struct arena_block *b;

	if (size > SIZE_MAX - sizeof(*b))
		return NULL;
	b = malloc(sizeof(*b) + size);
	if (b == NULL)
		return NULL;
	b->next = NULL;
	b->size = size;
	b->used = 0;
	return b;
}

void arena_init_exact(struct arena *a, size_t budget, size_t first)
{
	arena_init(a, budget);
	a->next = BLOCK_SMALL;
	a->blocks = block_new(first);
	a->spent = a->blocks == NULL;
}

static void double_next(struct arena *a, const struct arena_block *b)
{
	size_t size = b->size + sizeof(*b);

	a->next = (unsigned)(size < BLOCK_MOST / 2 ? 2 * size : BLOCK_MOST);
}

/* A block with room for n more bytes, or NULL. */
static struct arena_block *block_with(struct arena *a, size_t n)
{
	struct arena_block *first = a->blocks, *b;
	size_t              usual = a->next - sizeof(*b);

	if (first != NULL && n <= first->size - first->used)
		return first;
	b = block_new(n > usual / 2 ? n : usual);
	if (b == NULL)
		return NULL;
	/* A block made for one thing is full at once: the one with room stays in front. */
	if (first != NULL && b->size == n) {
		b->next = first->next;
		first->next = b;
	} else {
		b->next = first;
		a->blocks = b;
		double_next(a, b);
	}
	return b;
}

size_t arena_size(size_t n)
{
	return ((n > 0 ? n : 1) + ALIGN - 1) & ~(ALIGN - 1);
}

size_t arena_held(const struct arena *a)
{
	size_t held = 0;

	for (const struct arena_block *b = a->blocks; b != NULL; b = b->next)
		held += sizeof(*b) + b->size;
	return held;
}

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_block *b = NULL;
	void               *p;

	if (n <= SIZE_MAX - (ALIGN - 1)) {
		n = arena_size(n);
		if (a->used <= a->budget && n <= a->budget - a->used)
			b = block_with(a, n);
	}
	if (b == NULL) {
		a->spent = true;
		return NULL;
	}
	p = b->bytes + b->used;
	b->used += n;
	a->used += n;
	return memset(p, 0, n);
}

void *arena_alloc_array(struct arena *a, size_t n, size_t size)
{
	if (size != 0 && n > SIZE_MAX / size) {
		a->spent = true;
		return NULL;
	}
	return arena_alloc(a, n * size);
}

/* Most texts are short: they are made once, on the stack. */
#define SHORT 256

str arena_printf(struct arena *a, const char *format, ...)
{
	char    made[SHORT];
	va_list args;
	int     n;
	char   *p;

	va_start(args, format);
	n = format_text(made, sizeof(made), format, args);
	va_end(args);
	p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
	if (p == NULL) {
		a->spent = true;
		return STR_NONE;
	}
	if ((size_t)n < sizeof(made)) {
		memcpy(p, made, (size_t)n + 1);
		return (str){ p, (size_t)n };
	}
	va_start(args, format);
	format_text(p, (size_t)n + 1, format, args);
	va_end(args);
	return (str){ p, (size_t)n };
}
