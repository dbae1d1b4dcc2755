/* SPDX-License-Identifier: ISC */
/*
 * The trees.  A page of rows:
 *
 *   0 number (8)   8 pad (2)   10 flags (2)   12 lower (2)   14 upper (2)
 *   16 offsets of its nodes (2 each), in the order of their keys, up to `lower`
 *   `upper` … end: the nodes, without gaps
 *
 * and a node: 0 low (2)  2 high (2)  4 flags (2)  6 length of the key (2)  8 key,
 * value.  In a branch low, high and flags are the number of the page below; in a
 * leaf low and high are the value's length.  A long value has pages of its own,
 * behind one head whose 12…16 say how many, and the node holds the first's number.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/pages_inside.h"

#define NODE    8
#define DEPTH   32                 /* LMDB's own cursor goes no deeper */
#define NO_PAGE UINT64_MAX
#define SPARE_AHEAD 65536          /* free pages at the end that were never written may be missing */

enum node_flag { BIG = 1, SUBTABLE = 2 };

/* ---- one page of rows ----------------------------------------------------------------- */

struct node {
	str      key;
	unsigned flags;
	uint64_t below;                 /* branch: the page; leaf and BIG: the first page of the value */
	uint64_t n;                     /* leaf: the value's length */
	size_t   at;                    /* … and its place in the page, unless BIG */
};

static size_t count(const unsigned char *page)
{
	return ((size_t)page_le(page + 12, 2) - PAGE_HEAD) / 2;
}

static size_t even(size_t n)
{
	return n + (n & 1);
}

/* Room that the node takes, or 0 when it does not lie in the page. */
static size_t node_read(const unsigned char *page, unsigned size, size_t i, struct node *out)
{
	size_t at = (size_t)page_le(page + PAGE_HEAD + 2 * i, 2), upper = (size_t)page_le(page + 14, 2), n, key;
	const unsigned char *p = page + at;

	if (at < upper || at % 2 != 0 || at + NODE > size)
		return 0;
	key = (size_t)page_le(p + 6, 2);
	if (key > size - at - NODE)
		return 0;
	*out = (struct node){ .key = { (const char *)p + NODE, key }, .flags = (unsigned)page_le(p + 4, 2), .n = page_le(p, 4),
	                      .at = at + NODE + key };
	if (page[10] == PAGE_BRANCH) {
		out->below = page_le(p, 6);
		return even(NODE + key);
	}
	n = out->flags & BIG ? 8 : (size_t)out->n;
	if (n > size - out->at)
		return 0;
	if (out->flags & BIG)
		out->below = page_le(page + out->at, 8);
	return even(NODE + key + n);
}

static int compare(bool numbers, str a, str b)
{
	if (!numbers)
		return str_cmp(a, b);
	if (a.n != 8 || b.n != 8)
		return a.n < b.n ? -1 : a.n > b.n;
	uint64_t x = page_le((const unsigned char *)a.p, 8), y = page_le((const unsigned char *)b.p, 8);

	return x < y ? -1 : x > y;
}

bool page_head_is_sane(const unsigned char *page, unsigned size, uint64_t number)
{
	size_t flags = (size_t)page_le(page + 10, 2), lower = (size_t)page_le(page + 12, 2), upper = (size_t)page_le(page + 14, 2);

	return page_le(page, 8) == number && (flags == PAGE_BRANCH || flags == PAGE_LEAF) && lower >= PAGE_HEAD && lower % 2 == 0 &&
	       upper >= lower && upper <= size;
}

const char *page_fault(const struct pages *p, const unsigned char *page, uint64_t number, bool numbers)
{
	unsigned size = p->size;
	size_t all = 0;
	struct node before = { 0 }, n;
	bool branch;

	if (!page_head_is_sane(page, size, number))
		return "its head is wrong";
	branch = page[10] == PAGE_BRANCH;
	if (count(page) < (branch ? 2u : 1u))
		return "it is empty";
	for (size_t i = 0; i < count(page); i++) {
		size_t room = node_read(page, size, i, &n);

		if (room == 0 || (!branch && n.flags & BIG && (n.below < 2 || n.below >= p->n)))
			return "a row does not lie in it";
		if (!branch && n.flags & ~(unsigned)BIG && n.flags != SUBTABLE)
			return "a row is of another kind";
		all += room;
		if ((n.key.n == 0 && !(branch && i == 0)) || (numbers && n.key.n != 8 && !(branch && i == 0)))
			return "a key has a wrong length";
		if (i > (branch ? 1u : 0u) && compare(numbers, before.key, n.key) >= 0)
			return "its keys are out of order";
		before = n;
	}
	return all == size - page_le(page + 14, 2) ? NULL : "its rows do not fill it";
}

/* ---- walking ------------------------------------------------------------------------------ */

struct walk {
	struct pages            *p;
	const struct pages_look *look;
	str                      table;
	bool                     numbers, whole;
	unsigned                 depth;         /* that the tree should have */
	uint64_t                 rows;
	void                   (*leaf_row)(struct walk *, const struct node *, const struct pages_row *);
	unsigned char           *level[DEPTH];  /* a page each */
};

static void tell(const struct pages_look *look, uint64_t page, const char *what, str table)
{
	const struct pages_fault f = { .page = page, .what = what, .table = table };

	if (look->fault != NULL)
		look->fault(look->arg, &f);
}

static void tell_lost(struct walk *w, uint64_t page, const char *what, str low, str high)
{
	const struct pages_fault f = { page, what, true, w->table, low, high };

	w->whole = false;
	if (w->look->fault != NULL)
		w->look->fault(w->look->arg, &f);
}

static void take_pages(struct pages *p, const struct pages_look *look, str table, uint64_t first, uint64_t pages)
{
	for (uint64_t i = first; i < first + pages; i++) {
		if (page_bit(p->seen, i))
			tell(look, i, "it is used twice", table);
		page_bit_set(p->seen, i);
	}
}

/* Where a long value lies.  Its head may be wrong: what the pages hold says for
 * itself whether it is whole, and a tree's row owns them all the same.  A leaf
 * that was only found may be old, and its pages another's by now. */
static bool big_value(struct pages *p, const struct pages_look *look, const struct walk *w, const struct node *n,
                      struct pages_row *row)
{
	unsigned char head[PAGE_HEAD];
	uint64_t least = (PAGE_HEAD - 1 + n->n) / p->size + 1;

	if (n->below < 2 || n->below >= p->n || n->n > PAGES_VALUE || least > p->n - n->below ||
	    !pages_read(p, n->below * p->size, head, sizeof(head))) {
		tell(look, n->below, "a long value does not lie in the file", row->table);
		return false;
	}
	if (page_le(head, 8) == n->below && page_le(head + 10, 2) == PAGE_OVERFLOW && page_le(head + 12, 4) >= least &&
	    page_le(head + 12, 4) <= p->n - n->below) {
		take_pages(p, look, row->table, n->below, page_le(head + 12, 4));
	} else {
		tell(look, n->below, "the head of a long value is wrong", row->table);
		if (w != NULL)
			take_pages(p, look, row->table, n->below, least);
	}
	row->at = n->below * p->size + PAGE_HEAD;
	row->n = n->n;
	return true;
}

/* Everything that a sane leaf holds. */
static void leaf_rows(struct pages *p, const struct pages_look *look, struct walk *w, const unsigned char *page, uint64_t number)
{
	struct node n;

	for (size_t i = 0; i < count(page); i++) {
		struct pages_row row = { .table = w ? w->table : STR_NONE };

		node_read(page, p->size, i, &n);
		row.key = n.key;
		if (n.flags & BIG) {
			if (!big_value(p, look, w, &n, &row))
				continue;
		} else {
			row.at = number * p->size + n.at;
			row.n = n.n;
			row.value = (str){ (const char *)page + n.at, (size_t)n.n };
		}
		if (w != NULL)
			w->leaf_row(w, &n, &row);
		else if (look->row != NULL)
			look->row(look->arg, &row);
	}
}

void page_leaf_rows(struct pages *p, const struct pages_look *look, const unsigned char *page, uint64_t number)
{
	leaf_rows(p, look, NULL, page, number);
}

static void walk_page(struct walk *w, uint64_t number, unsigned level, str low, str high);

static void walk_branch(struct walk *w, const unsigned char *page, unsigned level, str low, str high)
{
	size_t n = count(page);

	for (size_t i = 0; i < n; i++) {
		struct node here = { 0 }, next = { 0 };

		node_read(page, w->p->size, i, &here);
		if (i + 1 < n)
			node_read(page, w->p->size, i + 1, &next);
		walk_page(w, here.below, level + 1, i > 0 ? here.key : low, i + 1 < n ? next.key : high);
	}
}

/* Every key of a page lies in what its parent says of it. */
static bool in_range(const struct walk *w, const unsigned char *page, str low, str high)
{
	size_t first = page[10] == PAGE_BRANCH, last = count(page) - 1;
	struct node n;

	node_read(page, w->p->size, first, &n);
	if (low.n > 0 && compare(w->numbers, n.key, low) < 0)
		return false;
	node_read(page, w->p->size, last, &n);
	return high.n == 0 || compare(w->numbers, n.key, high) < 0;
}

static void walk_page(struct walk *w, uint64_t number, unsigned level, str low, str high)
{
	struct pages *p = w->p;
	unsigned char *page;
	const char *wrong;

	if (level >= DEPTH || number < 2 || number >= p->n) {
		tell_lost(w, number, "there is no such page", low, high);
		return;
	}
	if (page_bit(p->seen, number)) {
		tell_lost(w, number, "it is used twice", low, high);
		return;
	}
	if (w->level[level] == NULL)
		w->level[level] = malloc(p->size);
	page = w->level[level];
	if (page == NULL || !pages_read(p, number * p->size, page, p->size)) {
		tell_lost(w, number, "it cannot be read", low, high);
		return;
	}
	wrong = page_fault(p, page, number, w->numbers);
	if (wrong == NULL && !in_range(w, page, low, high))
		wrong = "its keys do not belong there";
	if (wrong != NULL) {
		tell_lost(w, number, wrong, low, high);
		return;
	}
	page_bit_set(p->seen, number);
	if (page[10] == PAGE_BRANCH) {
		walk_branch(w, page, level, low, high);
		return;
	}
	if (level + 1 != w->depth)
		tell(w->look, number, "its tree says another depth", w->table);
	leaf_rows(p, w->look, w, page, number);
}

/* true: no part of the tree is missing. */
static bool walk_tree(struct walk *w, const struct pages_db *db)
{
	w->whole = true;
	w->depth = db->depth;
	if (db->root != NO_PAGE)
		walk_page(w, db->root, 0, STR_NONE, STR_NONE);
	for (size_t i = 0; i < DEPTH; i++)
		free(w->level[i]);
	if (w->whole && w->rows < db->entries)
		tell_lost(w, db->root, "its tree counts more rows than it has", STR_NONE, STR_NONE);
	else if (w->whole && w->rows > db->entries)
		tell(w->look, db->root, "its tree counts fewer rows than it has", w->table);
	return w->whole;
}

static void spare_page(struct walk *w, uint64_t number)
{
	/* The file may end before the last free pages: they were never written. */
	if (number < 2 || number > w->p->meta[w->p->newest].last)
		tell(w->look, number, "there is no such page, but it is called free", w->table);
	else if (number < w->p->n && page_bit(w->p->spare, number))
		tell(w->look, number, "it is called free twice", w->table);
	else if (number < w->p->n)
		page_bit_set(w->p->spare, number);
}

/* One commit's free pages: how many, then their numbers. */
static void spare_row(struct walk *w, const struct node *n, const struct pages_row *row)
{
	unsigned char *v = n->flags & ~(unsigned)BIG || row->n < 8 || row->n > PAGES_VALUE ? NULL : malloc((size_t)row->n);
	uint64_t many;

	w->rows++;
	if (v == NULL || !pages_read(w->p, row->at, v, (size_t)row->n) || page_le(v, 8) > row->n / 8 - 1) {
		tell_lost(w, row->at / w->p->size, "a list of free pages is wrong", row->key, row->key);
		free(v);
		return;
	}
	many = page_le(v, 8);
	for (uint64_t i = 0; i < many; i++)
		spare_page(w, page_le(v + 8 + 8 * i, 8));
	free(v);
}

static void table_row(struct walk *w, const struct node *n, const struct pages_row *row)
{
	struct pages *p = w->p;
	struct pages_table *t = &p->tables[p->ntables];

	w->rows++;
	if (n->flags != SUBTABLE || row->n != DB_BYTES || row->key.n >= PAGES_NAME || p->ntables == PAGES_TABLES) {
		tell_lost(w, row->at / p->size, "the list of tables is wrong", row->key, row->key);
		return;
	}
	*t = (struct pages_table){ .name_n = row->key.n, .db = page_db((const unsigned char *)row->value.p) };
	memcpy(t->name, row->key.p, row->key.n);
	if (t->db.flags != 0)
		tell_lost(w, row->at / p->size, "a table is of another kind", row->key, row->key);
	else
		p->ntables++;
}

static void plain_row(struct walk *w, const struct node *n, const struct pages_row *row)
{
	w->rows++;
	if (n->flags & ~(unsigned)BIG)
		tell_lost(w, row->at / w->p->size, "a row is of another kind", row->key, row->key);
	else if (w->look->row != NULL)
		w->look->row(w->look->arg, row);
}

void pages_walk(struct pages *p, const struct pages_look *look)
{
	struct walk w = { .p = p, .look = look, .table = STR("(free pages)"), .numbers = true, .leaf_row = spare_row };
	const struct pages_meta *m;

	if (p->newest < 0) {
		tell(look, 0, "neither of the two first pages is whole", STR_NONE);
		return;
	}
	m = &p->meta[p->newest];
	if (m->last >= p->file.bytes / p->size + SPARE_AHEAD)
		tell(look, (uint64_t)p->newest, "it speaks of a last page far behind the file", STR_NONE);
	if (!p->agree)
		tell(look, (uint64_t)!p->newest, "the two first pages do not belong together", STR_NONE);
	p->spare_whole = walk_tree(&w, &m->spare);
	w = (struct walk){ .p = p, .look = look, .table = STR("(tables)"), .leaf_row = table_row };
	p->tables_whole = walk_tree(&w, &m->tables);
	for (size_t i = 0; i < p->ntables; i++) {
		struct pages_table *t = &p->tables[i];

		w = (struct walk){ .p = p, .look = look, .table = { t->name, t->name_n }, .leaf_row = plain_row };
		t->whole = walk_tree(&w, &t->db);
		t->rows = w.rows;
	}
	for (uint64_t i = 2; i < p->n; i++)
		if (page_bit(p->seen, i) && page_bit(p->spare, i))
			tell(look, i, "it is in use and called free", STR_NONE);
}

const struct pages_table *pages_table(const struct pages *p, const char *name)
{
	for (size_t i = 0; i < p->ntables; i++)
		if (str_is((str){ p->tables[i].name, p->tables[i].name_n }, name))
			return &p->tables[i];
	return NULL;
}

