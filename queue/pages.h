/* SPDX-License-Identifier: ISC */
/*
 * pages: LMDB's file, read by ourselves (format of LMDB 0.9, 64 bits,
 * little-endian), for a file that LMDB itself would fall over.
 *
 * Trusts no octet: every number is held against the file's size before it is
 * followed, no page is visited twice, nothing is mapped (a bad sector is a page
 * that cannot be read, not a SIGBUS).  What is wrong is told, and the rest goes
 * on.  Knows trees, pages and rows; of what the rows mean, nothing.  One thread.
 */
#ifndef QUEUE_PAGES_H
#define QUEUE_PAGES_H

#include "smtpd/base/err.h"
#include "smtpd/base/str.h"

#define PAGES_TABLES 16            /* tables looked at in one file */
#define PAGES_NAME   24            /* octets of a table's name, at most */
#define PAGES_VALUE  ((uint64_t)64 << 20)  /* no value of ours is longer */

struct pages_file {
	/* Exactly n octets from `at`; false: they cannot be read. */
	bool   (*read)(void *arg, uint64_t at, void *out, size_t n);
	void    *arg;
	uint64_t bytes;
};

struct pages_db { unsigned flags, depth; uint64_t entries, root; };

struct pages_meta {
	bool     good;
	uint64_t txn, last;        /* the commit's number; the last page in use */
	struct pages_db spare, tables;
};

struct pages_table {
	char     name[PAGES_NAME];
	size_t   name_n;
	struct pages_db db;
	uint64_t rows;             /* that were reached */
	bool     whole;            /* no part of its tree is missing */
};

struct pages {
	struct pages_file file;
	unsigned size;             /* octets of a page */
	uint64_t n;                /* pages that the file holds, or that are in use when that is known and fewer */
	struct pages_meta meta[2];
	int      newest;           /* of the two; -1: none is good */
	bool     agree;            /* both are good and of two commits in a row */
	bool     foreign;          /* both are of another version of LMDB */
	unsigned char *seen, *spare;       /* a bit a page: reached; on the list of free pages */
	bool     spare_whole;      /* the list of free pages is complete */
	bool     tables_whole;     /* … and that of the tables */
	struct pages_table tables[PAGES_TABLES];
	size_t   ntables;
};

struct pages_row {
	str      table;            /* its name; empty for what a scan found */
	str      key;
	uint64_t at;               /* where in the file the value begins: it lies in one piece */
	uint64_t n;
	str      value;            /* p == NULL: it has pages of its own; pages_read brings it */
};

struct pages_fault {
	uint64_t    page;
	const char *what;
	bool        lost;          /* the rows of `table` from `low` up to `high` were not reached */
	str         table, low, high;      /* high empty: up to the end */
};

struct pages_look {                /* each may be NULL; faults of a scan are not told */
	void (*row)(void *arg, const struct pages_row *);
	void (*fault)(void *arg, const struct pages_fault *);
	/* A page that the scan cannot read as rows.  `sure`: octets of it that belong
	 * to rows which are there; what stands before them may be old.  `ruin`: it is
	 * neither a sane branch nor the begin of a long value; of one that cannot be
	 * read nothing is shown. */
	void (*bytes)(void *arg, uint64_t at, str page, size_t sure, bool ruin);
	void *arg;
};

/* A file of the disk; it is opened for reading and never mapped. */
enum err pages_file_open(struct pages_file *, const char *path);
void     pages_file_close(struct pages_file *);

/* Reads the two first pages.  false: no memory. */
bool pages_open(struct pages *, const struct pages_file *);
void pages_close(struct pages *);
/* Everything that the newest good meta page leads to; without one, nothing. */
void pages_walk(struct pages *, const struct pages_look *);
/* Then what is neither reached nor free, or, with spare_too, not reached. */
void pages_scan(struct pages *, bool spare_too, const struct pages_look *);
bool pages_read(struct pages *, uint64_t at, void *out, size_t n);
const struct pages_table *pages_table(const struct pages *, const char *name);     /* NULL: not found */

#endif
