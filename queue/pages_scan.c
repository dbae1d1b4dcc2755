/* SPDX-License-Identifier: ISC */
/* The pages that no tree leads to. */
#include <stdlib.h>
#include <string.h>

#include "queue/pages_inside.h"

static bool left_over(const struct pages *p, uint64_t i, bool spare_too)
{
	return !page_bit(p->seen, i) && (spare_too || !page_bit(p->spare, i));
}

static bool is_long_value(const unsigned char *page, uint64_t number)
{
	return page_le(page, 8) == number && page_le(page + 10, 2) == PAGE_OVERFLOW;
}

/* How many octets of a page that is no sane leaf are rows for certain. */
static size_t sure_octets(const struct pages *p, const unsigned char *page, uint64_t number)
{
	if (is_long_value(page, number))
		return p->size;
	return page_head_is_sane(page, p->size, number) ? p->size - (size_t)page_le(page + 14, 2) : 0;
}

/* The other pages of a long value hold what somebody wrote: they are no rows. */
static void skip_value(struct pages *p, const unsigned char *page, uint64_t number)
{
	uint64_t pages = page_le(page + 12, 4);

	if (!is_long_value(page, number) || pages > p->n - number)
		return;
	for (uint64_t i = 1; i < pages && !page_bit(p->seen, number + i); i++)
		page_bit_set(p->seen, number + i);
}

static bool is_ruin(const struct pages *p, const unsigned char *page, uint64_t number)
{
	return !is_long_value(page, number) && (page[10] != PAGE_BRANCH || page_fault(p, page, number, false) != NULL);
}

/* Leaves first: the long values that they lead to are then seen. */
void pages_scan(struct pages *p, bool spare_too, const struct pages_look *look)
{
	unsigned char *page = calloc(1, p->size);

	if (page == NULL)
		return;
	for (uint64_t i = 2; i < p->n; i++) {
		if (!left_over(p, i, spare_too) || !pages_read(p, i * p->size, page, p->size) || page[10] != PAGE_LEAF ||
		    page_fault(p, page, i, false) != NULL)
			continue;
		page_bit_set(p->seen, i);
		page_leaf_rows(p, look, page, i);
	}
	for (uint64_t i = 0; i < p->n; i++) {
		uint64_t left = p->file.bytes - i * p->size;
		size_t n = left < p->size ? (size_t)left : p->size;     /* the last may be cut off */

		if (i < 2 ? p->newest >= 0 : !left_over(p, i, spare_too))
			continue;
		memset(page, 0, p->size);
		if (!pages_read(p, i * p->size, page, n))
			n = 0;
		page_bit_set(p->seen, i);
		if (look->bytes != NULL)
			look->bytes(look->arg, i * p->size, (str){ (const char *)page, n }, sure_octets(p, page, i),
			            is_ruin(p, page, i));
		skip_value(p, page, i);
	}
	free(page);
}
