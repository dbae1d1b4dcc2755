/* SPDX-License-Identifier: ISC */
/*
 * A backup becomes the queue.  It is read twice: once to see that it is whole,
 * once to build a new queue in a folder beside the old one, which then takes its
 * place in one step.  Every message comes back held, because part of it may have
 * been delivered since.  Under the lock; in a verb.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "queue/backup.h"
#include "queue/internal.h"
#include "queue/journal.h"
#include "queue/pages.h"
#include "queue/report.h"
#include "queue/salvage.h"
#include "queue/tar.h"
#include "smtpd/base/clock.h"

#define BATCH    ((size_t)4 << 20)
#define ROW_MOST ((size_t)64 << 20)

struct building {
	struct restore  *r;
	struct arena    *a;
	struct store    *store;
	struct store_txn t;
	bool             open;
	size_t           batch;
	enum err         err;        /* latched */
	char            *folder;     /* STATE/queue.restoring */
	char             said[256];  /* to each recipient */
};

/* ---- rows -------------------------------------------------------------------------- */

static void batch_end(struct building *b)
{
	if (b->open && b->err == OK)
		b->err = store_commit(&b->t);
	else if (b->open)
		store_end(&b->t);
	b->open = false;
	b->batch = 0;
}

static bool batch_begin(struct building *b)
{
	if (b->batch > BATCH)
		batch_end(b);
	if (!b->open && b->err == OK)
		b->err = store_extend(b->store, 4 * BATCH);
	if (!b->open && b->err == OK) {
		store_begin(b->store, &b->t);
		b->open = true;
	}
	return b->err == OK;
}

static bool put(struct building *b, enum table table, str key, str row)
{
	store_put(&b->t, table, key, row);
	b->batch += row.n + 64;
	b->err = b->t.err;
	return b->err == OK;
}

static bool put_rcpt(struct building *b, uint64_t id, uint32_t number, struct queue_rcpt *r)
{
	struct record_key k = record_key_part(id, number);
	struct buf row;
	bool ok;

	r->state = RCPT_HELD;
	r->said = str_of(b->said);
	r->changed = clock_wall();
	buf_init(&row, ROW_MOST);
	record_rcpt(&row, id, number, r);
	ok = !row.failed && put(b, TABLE_RCPT, (str){ (const char *)k.b, k.n }, buf_str(&row));
	buf_fini(&row);
	return ok;
}

/* A row of version 1 stays as it is: its version tells how its content is cut. */
static bool put_message(struct building *b, str key, str row)
{
	uint64_t id = record_key_id(key);
	struct queue_entry e = { 0 };
	struct record_summary m;
	struct buf text;
	bool ok = true;

	b->r->messages++;
	arena_init(&e.arena, ROW_MOST);
	buf_init(&text, ROW_MOST);
	if (!record_read_message(row, id, &e) || !record_peek(row, id, &m)) {
		b->r->damaged++;
		ok = put(b, TABLE_MESSAGE, key, row);
		e.nrcpts = 0;
	} else if (m.piece != RECORD_BODY) {
		ok = put(b, TABLE_MESSAGE, key, row);
	} else {
		e.flags |= MESSAGE_HELD | MESSAGE_RESTORED;
		record_message(&text, &e);
		ok = !text.failed && put(b, TABLE_MESSAGE, key, buf_str(&text));
	}
	for (uint32_t i = 0; i < e.nrcpts && ok; i++)
		ok = put_rcpt(b, id, i, &e.rcpts[i]);
	buf_fini(&text);
	arena_fini(&e.arena);
	return ok;
}

/* What is settled stays so. */
static bool put_old_rcpt(struct building *b, str key, str row)
{
	uint64_t id = record_key_id(key);
	uint32_t number = record_key_number(key);
	struct queue_rcpt r = { 0 };
	struct arena a;
	bool ok;

	arena_init(&a, ROW_MOST);
	if (!record_read_rcpt(row, id, number, &a, &r) || r.state == RCPT_SETTLED)
		ok = put(b, TABLE_RCPT, key, row);
	else
		ok = put_rcpt(b, id, number, &r);
	arena_fini(&a);
	return ok;
}

/* A damaged one is left out: the messages' own ids say the same. */
static bool put_number(struct building *b, str key, str row)
{
	uint64_t v;

	if (str_is(key, "reserved") && record_read_number(row, key, &v))
		meta_put(&b->t, "reserved", v);
	b->err = b->t.err;
	return b->err == OK;
}

static bool row_came(void *arg, enum backup_table table, str key, str value)
{
	struct building *b = arg;

	if (!batch_begin(b))
		return false;
	switch (table) {
	case BACKUP_MESSAGE:
		return put_message(b, key, value);
	case BACKUP_RCPT:
		return put_old_rcpt(b, key, value);
	case BACKUP_BODY:
		return put(b, TABLE_BODY, key, value);
	case BACKUP_FINISHED:
		return put(b, TABLE_FINISHED, key, value);
	case BACKUP_NOTE:
		return put(b, TABLE_NOTE, key, value);
	case BACKUP_META:
		return put_number(b, key, value);
	}
	return false;
}

/* The number that goes into Maildir names is drawn anew: names that the old
 * queue gave must never be met again. */
static bool put_random(struct building *b)
{
	uint64_t random = 0;

	if (!batch_begin(b))
		return false;
	while (random == 0)
		random_bytes(&random, sizeof(random));
	meta_put(&b->t, "random", random);
	b->err = b->t.err;
	batch_end(b);
	return b->err == OK;
}

/* ---- contents ------------------------------------------------------------------------- */

static bool file_came(void *arg, uint64_t id, struct tar_in *t)
{
	struct building *b = arg;
	char path[BODY_PATH], name[QUEUE_ID_TEXT], piece[64 << 10];
	int fd;
	bool ok;

	snprintf(path, sizeof(path), "%s/body/%s", b->folder, queue_id_text(id, name).p);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ok = fd >= 0;
	while (ok && t->left > 0) {
		size_t n = t->left < sizeof(piece) ? (size_t)t->left : sizeof(piece);

		if (!tar_read(t, piece, n))
			break;
		ok = write(fd, piece, n) == (ssize_t)n;
	}
	ok = ok && fsync(fd) == 0;
	if (!ok)
		b->err = err_of_errno(errno);
	if (fd >= 0)
		close(fd);
	b->r->files++;
	return ok;
}

/* ---- the archive ------------------------------------------------------------------------- */

static long read_fd(void *arg, void *out, size_t n)
{
	ssize_t r;

	do
		r = read((int)(intptr_t)arg, out, n);
	while (r < 0 && errno == EINTR);
	return r;
}

static const char *read_archive(int fd, struct backup_seen *seen, struct building *b)
{
	struct tar_in t;
	const char *wrong;

	if (lseek(fd, 0, SEEK_SET) != 0)
		return "it is no plain file";
	tar_in_init(&t, read_fd, (void *)(intptr_t)fd);
	wrong = backup_read(&t, seen, b ? row_came : NULL, b ? file_came : NULL, b);
	tar_in_drop(&t);
	return wrong;
}

/* ---- the place -------------------------------------------------------------------------------- */

/* Whether messages lie in the queue that is there.  A damaged one may hold some. */
static bool holds_messages(const struct queue_conf *c, const char *path, struct arena *a)
{
	struct stat st;
	struct queue *q;
	enum err e;
	str why;
	bool any;

	if (stat(path, &st) != 0)
		return false;
	if (queue_pages_fault(path, a, &e) != NULL || e != OK)
		return true;
	q = queue_open_reading(c, a, &why);
	if (q == NULL)
		return true;
	any = store_rows(q->store, TABLE_MESSAGE) > 0 || journal_waiting(q) > 0;
	queue_close(q);
	return any;
}

static void empty_folder(const char *folder)
{
	DIR *d = opendir(folder);

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		closedir(d);
}

/* Of a restore that was killed, or a queue that never held anything. */
static bool remove_tree(const char *folder)
{
	char path[BODY_PATH];

	snprintf(path, sizeof(path), "%s/body", folder);
	empty_folder(path);
	rmdir(path);
	empty_folder(folder);
	return rmdir(folder) == 0 || errno == ENOENT;
}

static bool make_place(struct building *b)
{
	char path[BODY_PATH];

	snprintf(path, sizeof(path), "%s/body", b->folder);
	if (!remove_tree(b->folder) || mkdir(b->folder, 0700) != 0 || mkdir(path, 0700) != 0) {
		b->err = err_of_errno(errno);
		return false;
	}
	return true;
}

/* In one step, where the file system can exchange two names.  `kept`: what the
 * old one is called then; NULL: it held no store and goes. */
static bool take_place(const char *folder, const char *fresh, const char *kept)
{
	struct stat st;

	if (lstat(folder, &st) != 0)
		return rename(fresh, folder) == 0;
	if (renameat2(AT_FDCWD, fresh, AT_FDCWD, folder, RENAME_EXCHANGE) == 0)
		return kept != NULL ? rename(fresh, kept) == 0 : remove_tree(fresh);
	if (kept != NULL ? rename(folder, kept) != 0 : !remove_tree(folder))
		return false;
	return rename(fresh, folder) == 0;
}

static enum err build(struct building *b, const struct queue_conf *c, int fd, str *why)
{
	struct backup_seen seen;
	char path[BODY_PATH];
	const char *wrong = NULL;

	if (!make_place(b)) {
		*why = arena_printf(b->a, "%s could not be made: %s", b->folder, err_text(b->err));
		return b->err;
	}
	snprintf(path, sizeof(path), "%s/queue.mdb", b->folder);
	b->store = store_open(path, c->map_bytes, false, b->a, why);
	if (b->store == NULL)
		return ERR_IO;
	wrong = read_archive(fd, &seen, b);
	batch_end(b);
	if (wrong == NULL && b->err == OK)
		put_random(b);
	store_close(b->store);
	snprintf(path, sizeof(path), "%s/body", b->folder);
	if (wrong == NULL && b->err == OK && (sync_folder(path) != OK || sync_folder(b->folder) != OK))
		b->err = ERR_IO;
	if (wrong == NULL && b->err == OK)
		return OK;
	*why = arena_printf(b->a, "the new queue could not be written: %s%s", b->err != OK ? err_text(b->err) : wrong,
	                    b->err == ERR_FULL ? ": make room on the disk, or queue { size } larger" : "");
	remove_tree(b->folder);
	return b->err != OK ? b->err : ERR_BAD;
}

static enum err restore_locked(const struct queue_conf *c, int fd, struct restore *r, struct arena *a, str *why)
{
	const char *state = str_cstr(a, c->state), *folder = str_cstr(a, arena_printf(a, "%s/queue", state));
	const char *store = str_cstr(a, arena_printf(a, "%s/queue.mdb", folder));
	struct building b = { .r = r, .a = a };
	struct stat st;
	char date[64];
	struct tm tm;
	time_t written = (time_t)r->written;
	int lock;
	enum err e;

	if (!r->force && holds_messages(c, store, a)) {
		*why = arena_printf(a, "the queue in %s is not empty: empty it first, or say --force (it is then kept beside the new one)", state);
		return ERR_DENIED;
	}
	localtime_r(&written, &tm);
	strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S %z", &tm);
	snprintf(b.said, sizeof(b.said), "came back from the backup of %s and may have been delivered since: release it to send it, "
	         "or remove it", date);
	b.folder = str_cstr(a, arena_printf(a, "%s.restoring", folder));
	e = build(&b, c, fd, why);
	if (e != OK)
		return e;
	lock = lock_take(str_cstr(a, arena_printf(a, "%s/lock", b.folder)), c->state, a, why);
	r->kept = lstat(store, &st) == 0 ? queue_dated(a, state, "queue.before-restore") : NULL;
	if (lock < 0 || !take_place(folder, b.folder, r->kept) ||
	    sync_folder(state) != OK) {
		*why = arena_printf(a, "%s: %s: the restored queue could not take the place of the old one", folder, strerror(errno));
		e = ERR_IO;
	}
	if (lock >= 0)
		close(lock);
	return e;
}

enum err queue_restore(const struct queue_conf *c, int fd, struct restore *r, struct arena *a, str *why)
{
	struct backup_seen seen;
	struct stat st;
	const char *wrong, *state = str_cstr(a, c->state);
	int lock = -1;
	enum err e;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		*why = STR("a backup is restored from a plain file, because it is read twice: write it to the disk first");
		return ERR_BAD;
	}
	if (stat(state, &st) != 0) {
		*why = arena_printf(a, "the state directory %s: %s", state, strerror(errno));
		return ERR_ABSENT;
	}
	if (stat(str_cstr(a, arena_printf(a, "%s/queue", state)), &st) == 0) {
		lock = lock_take(str_cstr(a, arena_printf(a, "%s/queue/lock", state)), c->state, a, why);
		if (lock < 0)
			return ERR_DENIED;
	}
	wrong = read_archive(fd, &seen, NULL);
	if (wrong != NULL) {
		*why = arena_printf(a, "the archive cannot be restored: %s; nothing was touched", wrong);
		e = ERR_BAD;
	} else {
		r->written = seen.written;
		e = restore_locked(c, fd, r, a, why);
	}
	if (lock >= 0)
		close(lock);
	return e;
}
