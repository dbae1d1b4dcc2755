/* SPDX-License-Identifier: ISC */
/*
 * LMDB: MDB_NOTLS, no WRITEMAP, one environment a process, opened once.  The
 * map is as large as configured from the start; the file grows as needed.
 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "queue/store.h"

#define STEP ((uint64_t)16 << 20)     /* how much the file grows at once */

struct store {
	MDB_env *env;
	MDB_dbi  dbi[TABLES];
	bool     absent[TABLES];/* of an older version, opened for reading: empty */
	unsigned page;
	uint64_t allocated;     /* of the file, at least */
};

static const char *const names[TABLES] = { "message", "rcpt", "body", "meta", "finished", "note", "mark" };

static enum err err_of(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return OK;
	case MDB_MAP_FULL:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return ERR_FULL;
	case MDB_READERS_FULL:
	case EAGAIN:
		return ERR_BUSY;
	case MDB_NOTFOUND:
		return ERR_ABSENT;
	case ENOMEM:
	case MDB_TXN_FULL:
		return ERR_MEMORY;
	default:
		return ERR_IO;
	}
}

/* Why it could not be opened, and what to do. */
static const char *advice(int rc, bool reading)
{
	switch (rc) {
	case ENOENT:
	case MDB_NOTFOUND:
		return reading ? "there is no queue yet; the server makes it when it starts" : "make its directory";
	case EACCES:
	case EPERM:
		return "run this as root or as the server's user";
	case ENOSPC:
	case EDQUOT:
		return "make room on the disk";
	case ENOMEM:
		return "the map does not fit into the address space: make queue { size } smaller";
	case EIO:
		return "look at the disk and the kernel's log";
	default:
		return "put back a copy of it, or move it away to begin with an empty queue";
	}
}

static MDB_val val(str s)
{
	return (MDB_val){ s.n, (void *)(uintptr_t)s.p };
}

static str text(MDB_val v)
{
	return (str){ v.mv_data, v.mv_size };
}

static int open_tables(struct store *s, bool reading)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, reading ? MDB_RDONLY : 0, &txn);

	for (int i = 0; rc == 0 && i < TABLES; i++) {
		rc = mdb_dbi_open(txn, names[i], reading ? 0 : MDB_CREATE, &s->dbi[i]);
		s->absent[i] = reading && i > TABLE_META && rc == MDB_NOTFOUND;
		rc = s->absent[i] ? 0 : rc;
	}
	if (rc == 0)
		return mdb_txn_commit(txn);
	if (txn != NULL)
		mdb_txn_abort(txn);
	return rc;
}

struct store *store_open(const char *path, uint64_t map_bytes, bool reading, struct arena *a, str *why)
{
	struct store *s = calloc(1, sizeof(*s));
	MDB_envinfo info;
	MDB_stat stat;
	int rc = s ? mdb_env_create(&s->env) : ENOMEM;

	if (rc == 0)
		rc = mdb_env_set_maxdbs(s->env, TABLES);
	if (rc == 0)
		rc = mdb_env_set_mapsize(s->env, map_bytes & ~(uint64_t)4095);
	if (rc == 0)
		rc = mdb_env_open(s->env, path, MDB_NOTLS | MDB_NOSUBDIR | (reading ? MDB_RDONLY : 0), 0600);
	if (rc == 0)
		rc = mdb_reader_check(s->env, NULL);
	if (rc == 0)
		rc = open_tables(s, reading);
	if (rc == 0 && mdb_env_info(s->env, &info) == 0 && mdb_env_stat(s->env, &stat) == 0) {
		s->page = stat.ms_psize;
		return s;
	}
	*why = arena_printf(a, "the queue's store %s: %s: %s", path, mdb_strerror(rc), advice(rc, reading));
	store_close(s);
	return NULL;
}

void store_close(struct store *s)
{
	if (s == NULL)
		return;
	if (s->env != NULL)
		mdb_env_close(s->env);
	free(s);
}

/* ---- transactions ------------------------------------------------------------------ */

static void latch(struct store_txn *t, int rc)
{
	if (rc == 0 || t->err != OK)
		return;
	t->err = err_of(rc);
	t->full = t->err == ERR_FULL;
}

static void begin(struct store *s, struct store_txn *t, unsigned flags)
{
	MDB_txn *txn = NULL;

	*t = (struct store_txn){ .store = s };
	latch(t, mdb_txn_begin(s->env, NULL, flags, &txn));
	t->txn = txn;
}

void store_begin(struct store *s, struct store_txn *t)
{
	begin(s, t, 0);
}

void store_read(struct store *s, struct store_txn *t)
{
	begin(s, t, MDB_RDONLY);
}

void store_end(struct store_txn *t)
{
	if (t->txn != NULL)
		mdb_txn_abort(t->txn);
	t->txn = NULL;
}

static bool is_dead(struct store *s)
{
	MDB_txn *txn;
	int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, &txn);

	if (rc == 0)
		mdb_txn_abort(txn);
	return rc == MDB_PANIC;
}

enum err store_commit(struct store_txn *t)
{
	MDB_txn *txn = t->txn;

	if (t->err != OK) {
		store_end(t);
		return t->err;
	}
	t->txn = NULL;
	latch(t, mdb_txn_commit(txn));
	/* A full disk under the page that says which tree is the newest leaves an
	 * environment that serves nobody any more: as bad as a broken one. */
	if (t->err != OK && is_dead(t->store))
		t->err = ERR_IO;
	return t->err;
}

/* ---- rows ---------------------------------------------------------------------------- */

void store_put(struct store_txn *t, enum table table, str key, str value)
{
	MDB_val k = val(key), v = val(value);

	if (t->err == OK)
		latch(t, mdb_put(t->txn, t->store->dbi[table], &k, &v, 0));
}

void store_put_last(struct store_txn *t, enum table table, str key, str value)
{
	MDB_val k = val(key), v = val(value);
	int rc;

	if (t->err != OK)
		return;
	rc = mdb_put(t->txn, t->store->dbi[table], &k, &v, MDB_APPEND);
	if (rc == MDB_KEYEXIST)
		store_put(t, table, key, value);
	else
		latch(t, rc);
}

void *store_reserve(struct store_txn *t, enum table table, str key, size_t n)
{
	MDB_val k = val(key), v = { n, NULL };

	if (t->err == OK)
		latch(t, mdb_put(t->txn, t->store->dbi[table], &k, &v, MDB_RESERVE));
	return t->err == OK ? v.mv_data : NULL;
}

bool store_get(struct store_txn *t, enum table table, str key, str *value)
{
	MDB_val k = val(key), v;
	int rc;

	if (t->err != OK || t->store->absent[table])
		return false;
	rc = mdb_get(t->txn, t->store->dbi[table], &k, &v);
	if (rc != MDB_NOTFOUND)
		latch(t, rc);
	if (rc != 0)
		return false;
	*value = text(v);
	return true;
}

void store_delete(struct store_txn *t, enum table table, str key)
{
	MDB_val k = val(key);
	int rc;

	if (t->err != OK)
		return;
	rc = mdb_del(t->txn, t->store->dbi[table], &k, NULL);
	if (rc != MDB_NOTFOUND)
		latch(t, rc);
}

static bool has_prefix(MDB_val key, str prefix)
{
	return key.mv_size >= prefix.n && (prefix.n == 0 || memcmp(key.mv_data, prefix.p, prefix.n) == 0);
}

static void each(struct store_txn *t, enum table table, str first, str prefix, bool (*seen)(void *, str, str), void *arg)
{
	MDB_cursor *cursor;
	MDB_val k = val(first), v;
	int rc;

	if (t->err != OK || t->store->absent[table])
		return;
	rc = mdb_cursor_open(t->txn, t->store->dbi[table], &cursor);
	if (rc != 0) {
		latch(t, rc);
		return;
	}
	rc = mdb_cursor_get(cursor, &k, &v, first.n > 0 ? MDB_SET_RANGE : MDB_FIRST);
	while (rc == 0 && has_prefix(k, prefix) && seen(arg, text(k), text(v)))
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	if (rc != MDB_NOTFOUND)
		latch(t, rc);
	mdb_cursor_close(cursor);
}

void store_each(struct store_txn *t, enum table table, str prefix, bool (*seen)(void *, str, str), void *arg)
{
	each(t, table, prefix, prefix, seen, arg);
}

void store_each_from(struct store_txn *t, enum table table, str first, bool (*seen)(void *, str, str), void *arg)
{
	each(t, table, first, STR_NONE, seen, arg);
}

void store_delete_prefix(struct store_txn *t, enum table table, str prefix)
{
	MDB_cursor *cursor;
	MDB_val k = val(prefix), v;
	int rc;

	if (t->err != OK)
		return;
	rc = mdb_cursor_open(t->txn, t->store->dbi[table], &cursor);
	if (rc != 0) {
		latch(t, rc);
		return;
	}
	rc = mdb_cursor_get(cursor, &k, &v, prefix.n > 0 ? MDB_SET_RANGE : MDB_FIRST);
	while (rc == 0 && has_prefix(k, prefix)) {
		rc = mdb_cursor_del(cursor, 0);
		if (rc == 0)                    /* after a deletion this is the row that moved up */
			rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
	}
	if (rc != MDB_NOTFOUND)
		latch(t, rc);
	mdb_cursor_close(cursor);
}

/* At one end of the table. */
static bool end_of(struct store_txn *t, enum table table, MDB_cursor_op end, str *key, str *value)
{
	MDB_cursor *cursor;
	MDB_val k, v;
	int rc;

	if (t->err != OK || t->store->absent[table] ||
	    mdb_cursor_open(t->txn, t->store->dbi[table], &cursor) != 0)
		return false;
	rc = mdb_cursor_get(cursor, &k, &v, end);
	mdb_cursor_close(cursor);
	if (rc != MDB_NOTFOUND)
		latch(t, rc);
	if (rc != 0)
		return false;
	*key = text(k);
	*value = text(v);
	return true;
}

bool store_first(struct store_txn *t, enum table table, str *key, str *value)
{
	return end_of(t, table, MDB_FIRST, key, value);
}

bool store_last_key(struct store_txn *t, enum table table, str *key)
{
	str value;

	return end_of(t, table, MDB_LAST, key, &value);
}

void store_size(struct store_txn *t, enum table table, uint64_t *rows, uint64_t *bytes)
{
	MDB_stat stat = { 0 };

	if (t->err == OK && !t->store->absent[table])
		latch(t, mdb_stat(t->txn, t->store->dbi[table], &stat));
	*rows = stat.ms_entries;
	*bytes = (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * stat.ms_psize;
}

bool store_has_table(str name)
{
	for (size_t i = 0; i < TABLES; i++)
		if (str_is(name, names[i]))
			return true;
	return false;
}

enum err store_drop(struct store *s, enum table table)
{
	struct store_txn t;

	store_begin(s, &t);
	if (t.err == OK)
		latch(&t, mdb_drop(t.txn, s->dbi[table], 1));
	return store_commit(&t);
}

static bool allocate(struct store *s, int fd, uint64_t end)
{
	if (fallocate(fd, 0, (off_t)s->allocated, (off_t)(end - s->allocated)) == 0)
		s->allocated = end;
	else if (errno == EOPNOTSUPP || errno == ENOSYS)
		s->allocated = UINT64_MAX;      /* a file system that cannot say it beforehand */
	else
		return false;
	return true;
}

enum err store_extend(struct store *s, uint64_t bytes)
{
	struct stat st;
	MDB_envinfo info;
	uint64_t end, step;
	int fd;

	if (mdb_env_info(s->env, &info) != 0 || mdb_env_get_fd(s->env, &fd) != 0)
		return OK;
	end = (info.me_last_pgno + 1) * s->page + bytes;
	end = end < info.me_mapsize ? end : info.me_mapsize;
	if (s->allocated == 0 && fstat(fd, &st) == 0)
		s->allocated = (uint64_t)st.st_size;
	if (end <= s->allocated)
		return OK;
	step = (end + STEP - 1) / STEP * STEP;
	step = step < info.me_mapsize ? step : info.me_mapsize;
	return allocate(s, fd, step) || allocate(s, fd, end) ? OK : ERR_FULL;
}

void store_forget_dead_readers(struct store *s)
{
	mdb_reader_check(s->env, NULL);
}

/* ---- figures ---------------------------------------------------------------------------- */

/* Each row of LMDB's table 0 is a list of pages that the commit of that number
 * freed: its length, then them.  Those freed before commit `before` are counted. */
static uint64_t free_pages(struct store *s, uint64_t before)
{
	struct store_txn t;
	MDB_cursor *cursor;
	MDB_val k, v;
	uint64_t n = 0;

	store_read(s, &t);
	if (t.err == OK && mdb_cursor_open(t.txn, 0, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0)
			if (v.mv_size >= sizeof(size_t) && k.mv_size == sizeof(size_t) && *(const size_t *)k.mv_data < before)
				n += *(const size_t *)v.mv_data;
		mdb_cursor_close(cursor);
	}
	store_end(&t);
	return n;
}

uint64_t store_rows(struct store *s, enum table table)
{
	struct store_txn t;
	uint64_t rows, bytes;

	store_read(s, &t);
	store_size(&t, table, &rows, &bytes);
	store_end(&t);
	return rows;
}

static void figures(struct store *s, uint64_t unused, struct store_figures *out)
{
	MDB_envinfo info;
	uint64_t pages;

	*out = (struct store_figures){ 0 };
	if (mdb_env_info(s->env, &info) != 0)
		return;
	pages = info.me_last_pgno + 1;
	out->size = info.me_mapsize;
	out->used = (pages > unused ? pages - unused : 0) * s->page;
}

void store_figures(struct store *s, bool exact, struct store_figures *out)
{
	figures(s, exact ? free_pages(s, UINT64_MAX) : 0, out);
}

void store_figures_beside(struct store *s, const struct store_txn *held, struct store_figures *out)
{
	figures(s, held->txn != NULL ? free_pages(s, mdb_txn_id(held->txn)) : 0, out);
}
