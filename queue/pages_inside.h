/* SPDX-License-Identifier: ISC */
/*
 * What the readers of pages share: pages_open.c (the first pages), pages.c (one
 * page, the trees) and pages_scan.c (the rest).
 */
#ifndef QUEUE_PAGES_INSIDE_H
#define QUEUE_PAGES_INSIDE_H

#include "queue/pages.h"

#define PAGE_HEAD 16
#define DB_BYTES  48

enum page_flag { PAGE_BRANCH = 1, PAGE_LEAF = 2, PAGE_OVERFLOW = 4, PAGE_META = 8 };

static inline uint64_t page_le(const unsigned char *p, size_t n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

static inline bool page_bit(const unsigned char *map, uint64_t n)
{
	return map[n / 8] >> n % 8 & 1;
}

static inline void page_bit_set(unsigned char *map, uint64_t n)
{
	map[n / 8] |= (unsigned char)(1 << n % 8);
}

/* The description of a tree, 48 octets. */
struct pages_db page_db(const unsigned char *);
bool            page_head_is_sane(const unsigned char *page, unsigned size, uint64_t number);
/* NULL, or what is wrong with a page of rows: every node lies in it, they fill
 * its end exactly, and their keys rise. */
const char     *page_fault(const struct pages *, const unsigned char *page, uint64_t number, bool numbers);
/* Every row of a sane leaf that is in no tree goes to look->row. */
void            page_leaf_rows(struct pages *, const struct pages_look *, const unsigned char *page, uint64_t number);

#endif
