/* SPDX-License-Identifier: ISC */
/*
 * The file, and its two first pages: behind a page's head stand magic (4),
 * version (4), address (8), size of the map (8), the trees of free pages and of
 * tables (48 each), the last page in use (8), the commit's number (8).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/pages_inside.h"

#define META_MAGIC 0xBEEFC0DEu
#define META_BYTES 152
#define NO_FOLDER  0x4000u

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

struct pages_db page_db(const unsigned char *b)
{
	return (struct pages_db){
		.flags = (unsigned)page_le(b + 4, 2), .depth = (unsigned)page_le(b + 6, 2),
		.entries = page_le(b + 32, 8), .root = page_le(b + 40, 8),
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
	const unsigned char *meta = b + PAGE_HEAD;
	uint64_t size;

	*m = (struct pages_meta){ 0 };
	if (!pages_read(p, at, b, sizeof(b)) || page_le(meta, 4) != META_MAGIC)
		return 0;
	*version = page_le(meta + 4, 4);
	size = page_le(meta + 24, 4);
	if (*version != 1 || !is_page_size(size) || page_le(b, 8) != number || page_le(b + 10, 2) != PAGE_META)
		return 0;
	m->spare = page_db(meta + 24);
	m->tables = page_db(meta + 24 + DB_BYTES);
	m->last = page_le(meta + 24 + 2 * DB_BYTES, 8);
	m->txn = page_le(meta + 32 + 2 * DB_BYTES, 8);
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

