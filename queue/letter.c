/* SPDX-License-Identifier: ISC */
/*
 * Letters live in their own arena and are freed by whom they come home to.
 */
#include <stdlib.h>

#include "queue/letter.h"

#define LETTER_MAX ((size_t)64 << 20)

struct letter *letter_new(void)
{
	struct letter *l = calloc(1, sizeof(*l));

	if (l != NULL)
		arena_init(&l->arena, LETTER_MAX);
	return l;
}

void letter_free(struct letter *l)
{
	if (l == NULL)
		return;
	arena_fini(&l->arena);
	free(l);
}
