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
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/pages.h"

#define HEAD       16
#define NODE       8
#define DEPTH      32              /* LMDB's own cursor goes no deeper */
#define NO_PAGE    UINT64_MAX
#define META_MAGIC 0xBEEFC0DEu
#define META_BYTES 152
#define DB_BYTES   48
#define NO_FOLDER  0x4000u

enum page_flag { BRANCH = 1, LEAF = 2, OVERFLOW = 4, META = 8 };
enum node_flag { BIG = 1, SUBTABLE = 2, DUPLICATES = 4 };

static uint64_t le(const unsigned char *p, size_t n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

static bool bit(const unsigned char *map, uint64_t n)
{
	return map[n / 8] >> n % 8 & 1;
}

static void bit_set(unsigned char *map, uint64_t n)
{
	map[n / 8] |= (unsigned char)(1 << n % 8);
}

bool pages_read(struct pages *p, uint64_t at, void *out, size_t n)
{
	return at <= p->file.bytes && n <= p->file.bytes - at && p->file.read(p->file.arg, at, out, n);
}

/* ---- a file of the disk ------------------------------------------------------------- */

static bool file_read(void *arg, uint64_t at, void *out, size_t n)
{
	int fd = (int)(intptr_t)arg;
	size_t got = 0;

	while (got < n) {
		ssize_t r = pread(fd, (char *)out + got, n - got, (off_t)(at + got));

		if (r == 0 || (r < 0 && errno != EINTR))
			return false;
		got += r > 0 ? (size_t)r : 0;
	}
	return true;
}

enum err pages_file_open(struct pages_file *f, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	*f = (struct pages_file){ .read = file_read, .arg = (void *)(intptr_t)fd };
	if (fd < 0)
		return err_of_errno(errno);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return ERR_BAD;
	}
	f->bytes = (uint64_t)st.st_size;
	return OK;
}

void pages_file_close(struct pages_file *f)
{
	close((int)(intptr_t)f->arg);
}

/* ---- the two first pages ---------------------------------------------------------- */

static struct pages_db db_of(const unsigned char *b)
{
	return (struct pages_db){
		.flags = (unsigned)le(b + 4, 2), .depth = (unsigned)le(b + 6, 2),
		.entries = le(b + 32, 8), .root = le(b + 40, 8),
	};
}

static bool is_page_size(uint64_t n)
{
	return n >= 512 && n <= 32768 && (n & (n - 1)) == 0;
}

/* The page size that a meta page speaks of; 0: it is none. */
static unsigned meta_read(struct pages *p, unsigned number, uint64_t at, struct pages_meta *m, uint64_t *version)
{
	unsigned char b[META_BYTES];
	const unsigned char *meta = b + HEAD;
	uint64_t size;

	*m = (struct pages_meta){ 0 };
	if (!pages_read(p, at, b, sizeof(b)) || le(meta, 4) != META_MAGIC)
		return 0;
	*version = le(meta + 4, 4);
	size = le(meta + 24, 4);
	if (*version != 1 || !is_page_size(size) || le(b, 8) != number || le(b + 10, 2) != META)
		return 0;
	m->spare = db_of(meta + 24);
	m->tables = db_of(meta + 24 + DB_BYTES);
	m->last = le(meta + 24 + 2 * DB_BYTES, 8);
	m->txn = le(meta + 32 + 2 * DB_BYTES, 8);
	/* Commit N is written to page N mod 2; the list of free pages has numbers for
	 * keys, and beside it stands how the file was made: without a directory. */
	m->good = (m->spare.flags & ~NO_FOLDER) == 8 && m->tables.flags == 0 && m->last >= 1 && m->last < UINT64_MAX / size / 2 &&
	          (m->txn % 2 == number || m->txn == 0);
	return (unsigned)size;
}

static void metas_read(struct pages *p)
{
	uint64_t v0 = 1, v1 = 1;
	unsigned size = meta_read(p, 0, 0, &p->meta[0], &v0);

	if (size != 0) {
		unsigned other = meta_read(p, 1, size, &p->meta[1], &v1);

		p->meta[1].good = p->meta[1].good && other == size;
	}
	for (unsigned try = 512; size == 0 && try <= 32768; try *= 2)
		if (meta_read(p, 1, try, &p->meta[1], &v1) == try)
			size = try;
	p->foreign = v0 == v1 && v0 != 1;
	p->size = size != 0 ? size : 4096;
}

/* Two commits in a row, or a file that was just made. */
static bool metas_agree(const struct pages_meta *a, const struct pages_meta *b)
{
	uint64_t apart = a->txn > b->txn ? a->txn - b->txn : b->txn - a->txn;

	return a->good && b->good && (apart == 1 || (a->txn == 0 && b->txn == 0));
}

bool pages_open(struct pages *p, const struct pages_file *file)
{
	const struct pages_meta *a = &p->meta[0], *b = &p->meta[1];

	*p = (struct pages){ .file = *file, .newest = -1 };
	metas_read(p);
	if (a->good || b->good)
		p->newest = !a->good || (b->good && b->txn > a->txn);
	p->agree = metas_agree(a, b);
	p->n = file->bytes / p->size + (file->bytes % p->size != 0);
	if (p->agree && p->meta[p->newest].last + 1 < p->n)
		p->n = p->meta[p->newest].last + 1;
	p->seen = calloc(1, (size_t)(p->n / 8 + 1));
	p->spare = calloc(1, (size_t)(p->n / 8 + 1));
	if (p->seen != NULL && p->spare != NULL)
		return true;
	pages_close(p);
	return false;
}

void pages_close(struct pages *p)
{
	free(p->seen);
	free(p->spare);
	p->seen = p->spare = NULL;
}

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
	return ((size_t)le(page + 12, 2) - HEAD) / 2;
}

static size_t even(size_t n)
{
	return n + (n & 1);
}

/* Room that the node takes, or 0 when it does not lie in the page. */
static size_t node_read(const unsigned char *page, unsigned size, size_t i, struct node *out)
{
	size_t at = (size_t)le(page + HEAD + 2 * i, 2), upper = (size_t)le(page + 14, 2), n, key;
	const unsigned char *p = page + at;

	if (at < upper || at % 2 != 0 || at + NODE > size)
		return 0;
	key = (size_t)le(p + 6, 2);
	if (key > size - at - NODE)
		return 0;
	*out = (struct node){ .key = { (const char *)p + NODE, key }, .flags = (unsigned)le(p + 4, 2), .n = le(p, 4),
	                      .at = at + NODE + key };
	if (page[10] == BRANCH) {
		out->below = le(p, 6);
		return even(NODE + key);
	}
	n = out->flags & BIG ? 8 : (size_t)out->n;
	if (n > size - out->at)
		return 0;
	if (out->flags & BIG)
		out->below = le(page + out->at, 8);
	return even(NODE + key + n);
}

static int compare(bool numbers, str a, str b)
{
	if (!numbers)
		return str_cmp(a, b);
	if (a.n != 8 || b.n != 8)
		return a.n < b.n ? -1 : a.n > b.n;
	uint64_t x = le((const unsigned char *)a.p, 8), y = le((const unsigned char *)b.p, 8);

	return x < y ? -1 : x > y;
}

static bool head_is_sane(const unsigned char *page, unsigned size, uint64_t number)
{
	size_t flags = (size_t)le(page + 10, 2), lower = (size_t)le(page + 12, 2), upper = (size_t)le(page + 14, 2);

	return le(page, 8) == number && (flags == BRANCH || flags == LEAF) && lower >= HEAD && lower % 2 == 0 &&
	       upper >= lower && upper <= size;
}

/* NULL, or what is wrong with a page of rows: every node lies in it, they fill
 * its end exactly, and their keys rise. */
static const char *page_fault(const struct pages *p, const unsigned char *page, uint64_t number, bool numbers)
{
	unsigned size = p->size;
	size_t all = 0;
	struct node before = { 0 }, n;
	bool branch;

	if (!head_is_sane(page, size, number))
		return "its head is wrong";
	branch = page[10] == BRANCH;
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
	return all == size - le(page + 14, 2) ? NULL : "its rows do not fill it";
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
		if (bit(p->seen, i))
			tell(look, i, "it is used twice", table);
		bit_set(p->seen, i);
	}
}

/* Where a long value lies.  Its head may be wrong: what the pages hold says for
 * itself whether it is whole, and a tree's row owns them all the same.  A leaf
 * that was only found may be old, and its pages another's by now. */
static bool big_value(struct pages *p, const struct pages_look *look, const struct walk *w, const struct node *n,
                      struct pages_row *row)
{
	unsigned char head[HEAD];
	uint64_t least = (HEAD - 1 + n->n) / p->size + 1;

	if (n->below < 2 || n->below >= p->n || n->n > PAGES_VALUE || least > p->n - n->below ||
	    !pages_read(p, n->below * p->size, head, sizeof(head))) {
		tell(look, n->below, "a long value does not lie in the file", row->table);
		return false;
	}
	if (le(head, 8) == n->below && le(head + 10, 2) == OVERFLOW && le(head + 12, 4) >= least &&
	    le(head + 12, 4) <= p->n - n->below) {
		take_pages(p, look, row->table, n->below, le(head + 12, 4));
	} else {
		tell(look, n->below, "the head of a long value is wrong", row->table);
		if (w != NULL)
			take_pages(p, look, row->table, n->below, least);
	}
	row->at = n->below * p->size + HEAD;
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
	size_t first = page[10] == BRANCH, last = count(page) - 1;
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
	if (bit(p->seen, number)) {
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
	bit_set(p->seen, number);
	if (page[10] == BRANCH) {
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
	else if (number < w->p->n && bit(w->p->spare, number))
		tell(w->look, number, "it is called free twice", w->table);
	else if (number < w->p->n)
		bit_set(w->p->spare, number);
}

/* One commit's free pages: how many, then their numbers. */
static void spare_row(struct walk *w, const struct node *n, const struct pages_row *row)
{
	unsigned char *v = n->flags & ~(unsigned)BIG || row->n < 8 || row->n > PAGES_VALUE ? NULL : malloc((size_t)row->n);
	uint64_t many;

	w->rows++;
	if (v == NULL || !pages_read(w->p, row->at, v, (size_t)row->n) || le(v, 8) > row->n / 8 - 1) {
		tell_lost(w, row->at / w->p->size, "a list of free pages is wrong", row->key, row->key);
		free(v);
		return;
	}
	many = le(v, 8);
	for (uint64_t i = 0; i < many; i++)
		spare_page(w, le(v + 8 + 8 * i, 8));
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
	*t = (struct pages_table){ .name_n = row->key.n, .db = db_of((const unsigned char *)row->value.p) };
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
		if (bit(p->seen, i) && bit(p->spare, i))
			tell(look, i, "it is in use and called free", STR_NONE);
}

const struct pages_table *pages_table(const struct pages *p, const char *name)
{
	for (size_t i = 0; i < p->ntables; i++)
		if (str_is((str){ p->tables[i].name, p->tables[i].name_n }, name))
			return &p->tables[i];
	return NULL;
}

/* ---- what no tree leads to ------------------------------------------------------------------ */

static bool left_over(const struct pages *p, uint64_t i, bool spare_too)
{
	return !bit(p->seen, i) && (spare_too || !bit(p->spare, i));
}

static bool is_long_value(const unsigned char *page, uint64_t number)
{
	return le(page, 8) == number && le(page + 10, 2) == OVERFLOW;
}

/* How many octets of a page that is no sane leaf are rows for certain. */
static size_t sure_octets(const struct pages *p, const unsigned char *page, uint64_t number)
{
	if (is_long_value(page, number))
		return p->size;
	return head_is_sane(page, p->size, number) ? p->size - (size_t)le(page + 14, 2) : 0;
}

/* The other pages of a long value hold what somebody wrote: they are no rows. */
static void skip_value(struct pages *p, const unsigned char *page, uint64_t number)
{
	uint64_t pages = le(page + 12, 4);

	if (!is_long_value(page, number) || pages > p->n - number)
		return;
	for (uint64_t i = 1; i < pages && !bit(p->seen, number + i); i++)
		bit_set(p->seen, number + i);
}

static bool is_ruin(const struct pages *p, const unsigned char *page, uint64_t number)
{
	return !is_long_value(page, number) && (page[10] != BRANCH || page_fault(p, page, number, false) != NULL);
}

/* Leaves first: the long values that they lead to are then seen. */
void pages_scan(struct pages *p, bool spare_too, const struct pages_look *look)
{
	unsigned char *page = calloc(1, p->size);

	if (page == NULL)
		return;
	for (uint64_t i = 2; i < p->n; i++) {
		if (!left_over(p, i, spare_too) || !pages_read(p, i * p->size, page, p->size) || page[10] != LEAF ||
		    page_fault(p, page, i, false) != NULL)
			continue;
		bit_set(p->seen, i);
		leaf_rows(p, look, NULL, page, i);
	}
	for (uint64_t i = 0; i < p->n; i++) {
		uint64_t left = p->file.bytes - i * p->size;
		size_t n = left < p->size ? (size_t)left : p->size;     /* the last may be cut off */

		if (i < 2 ? p->newest >= 0 : !left_over(p, i, spare_too))
			continue;
		memset(page, 0, p->size);
		if (!pages_read(p, i * p->size, page, n))
			n = 0;
		bit_set(p->seen, i);
		if (look->bytes != NULL)
			look->bytes(look->arg, i * p->size, (str){ (const char *)page, n }, sure_octets(p, page, i),
			            is_ruin(p, page, i));
		skip_value(p, page, i);
	}
	free(page);
}
