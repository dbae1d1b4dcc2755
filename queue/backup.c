/* SPDX-License-Identifier: ISC */
/*
 * Writing a backup.  One read transaction, whose end is never far: while it is
 * held no page that mail frees can be used again, so the map is looked at as
 * the archive is written, and whoever reads it slowly is not waited for.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/backup.h"
#include "queue/internal.h"
#include "queue/report.h"
#include "queue/tar.h"
#include "smtpd/base/clock.h"

#define CHUNK   ((size_t)1 << 20)
#define LOOK_MS 10                /* how often the map is looked at */

struct saving {
	struct queue    *q;
	struct backup   *b;
	struct tar_out   tar;
	struct store_txn t;
	bool             held;        /* the snapshot is */
	int              fd;
	bool             plain;       /* a file of the disk: writing never waits for long */
	uint64_t         looked_ms;
	char             pins[BODY_PATH - 16];
	int              pins_fd;
	struct buf       gone;        /* ids that are left out, rising, 8 octets each */
	struct buf       pinned;      /* … and those whose content is a file */
	struct buf       rows;
	unsigned         chunk;
	enum backup_table table;
};

/* ---- the way out, and the map -------------------------------------------------------- */

static bool map_is_short(struct saving *s)
{
	struct store_figures f;

	if (!s->held || (s->looked_ms != 0 && clock_ms() - s->looked_ms < LOOK_MS))
		return false;
	s->looked_ms = clock_ms();
	store_figures_beside(s->q->store, &s->t, &f);
	return f.used / 100 * 100 >= f.size / 100 * BACKUP_MAP_PERCENT;
}

static enum err write_out(void *arg, str text)
{
	struct saving *s = arg;

	while (text.n > 0) {
		struct pollfd p = { .fd = s->fd, .events = POLLOUT };
		ssize_t n;

		if (map_is_short(s))
			return ERR_BUSY;
		if (!s->plain && poll(&p, 1, LOOK_MS) == 0)
			continue;
		/* What a pipe takes without waiting. */
		n = write(s->fd, text.p, s->plain || text.n < 4096 ? text.n : 4096);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return errno == EPIPE ? ERR_CLOSED : err_of_errno(errno);
		text = str_skip(text, n > 0 ? (size_t)n : 0);
	}
	return OK;
}

/* ---- contents that must not go ---------------------------------------------------------- */

static void unpin(int fd, const char *path)
{
	DIR *d = fdopendir(fd);

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.')
			unlinkat(dirfd(d), e->d_name, 0);
	rmdir(path);
	if (d != NULL)
		closedir(d);
	else
		close(fd);
}

/* Of backups that were killed: nobody holds their folder's lock. */
static void unpin_old(const char *folder)
{
	DIR *d = opendir(folder);

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		char path[BODY_PATH + 256];
		int fd;

		if (strncmp(e->d_name, "pins-", 5) != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, e->d_name);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			unpin(fd, path);
		else if (fd >= 0)
			close(fd);
	}
	if (d != NULL)
		closedir(d);
}

static enum err make_pins(struct saving *s)
{
	char folder[BODY_PATH - 64];

	snprintf(folder, sizeof(folder), "%.*s/queue", STR_ARG(s->q->conf.state));
	unpin_old(folder);
	snprintf(s->pins, sizeof(s->pins), "%s/pins-%ld", folder, (long)getpid());
	if (mkdir(s->pins, 0700) != 0)
		return err_of_errno(errno);
	s->pins_fd = open(s->pins, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return s->pins_fd >= 0 && flock(s->pins_fd, LOCK_EX | LOCK_NB) == 0 ? OK : ERR_IO;
}

static void add_id(struct buf *b, uint64_t id)
{
	buf_add(b, (str){ (const char *)&id, sizeof(id) });
}

static bool pin_one(void *arg, str key, str row)
{
	struct saving *s = arg;
	struct record_summary m;
	char from[BODY_PATH], name[QUEUE_ID_TEXT];
	uint64_t id = record_key_id(key);

	if (!record_peek(row, id, &m) || !m.in_file)
		return true;
	if (linkat(AT_FDCWD, body_path(s->q, id, from), s->pins_fd, queue_id_text(id, name).p, 0) == 0)
		add_id(&s->pinned, id);
	else if (errno == ENOENT)
		add_id(&s->gone, id);
	else
		s->tar.err = err_of_errno(errno);
	return s->tar.err == OK;
}

static bool is_left_out(const struct saving *s, uint64_t id)
{
	str ids = buf_str(&s->gone);
	size_t low = 0, high = ids.n / 8;
	uint64_t v;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		memcpy(&v, ids.p + 8 * middle, 8);
		if (v == id)
			return true;
		if (v < id)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* ---- rows ---------------------------------------------------------------------------------- */

static void write_chunk(struct saving *s)
{
	char name[32];

	if (s->rows.n == 0)
		return;
	snprintf(name, sizeof(name), "store/%06u", ++s->chunk);
	tar_file(&s->tar, name, s->rows.n);
	tar_add(&s->tar, buf_str(&s->rows));
	buf_clear(&s->rows);
}

static void add_le(struct buf *b, uint64_t v, size_t n)
{
	for (; n > 0; n--, v >>= 8)
		buf_add_char(b, (char)v);
}

static bool save_row(void *arg, str key, str value)
{
	struct saving *s = arg;

	if (s->table <= BACKUP_BODY && is_left_out(s, record_key_id(key)))
		return true;
	if (s->table == BACKUP_META && !str_is(key, "reserved"))
		return true;            /* the other numbers are this store's own */
	s->b->messages += s->table == BACKUP_MESSAGE;
	s->b->rows++;
	add_le(&s->rows, s->table, 1);
	add_le(&s->rows, key.n, 2);
	add_le(&s->rows, value.n, 4);
	buf_add(&s->rows, key);
	buf_add(&s->rows, value);
	if (s->rows.failed)
		s->tar.err = ERR_MEMORY;
	else if (s->rows.n >= CHUNK)
		write_chunk(s);
	return s->tar.err == OK;
}

static void save_rows(struct saving *s)
{
	static const struct { enum backup_table as; enum table table; } tables[] = {
		{ BACKUP_MESSAGE, TABLE_MESSAGE }, { BACKUP_RCPT, TABLE_RCPT },         { BACKUP_BODY, TABLE_BODY },
		{ BACKUP_META, TABLE_META },       { BACKUP_FINISHED, TABLE_FINISHED }, { BACKUP_NOTE, TABLE_NOTE },
	};

	store_read(s->q->store, &s->t);
	s->held = true;
	if (s->t.err == OK && map_is_short(s))
		s->tar.err = ERR_BUSY;
	if (s->tar.err == OK)
		store_each(&s->t, TABLE_MESSAGE, STR_NONE, pin_one, s);
	s->b->left_out = s->gone.n / 8;
	for (size_t i = 0; i < COUNT(tables) && s->tar.err == OK && s->t.err == OK; i++) {
		s->table = tables[i].as;
		store_each(&s->t, tables[i].table, STR_NONE, save_row, s);
	}
	if (s->tar.err == OK)
		s->tar.err = s->t.err;
	if (s->tar.err == OK)
		write_chunk(s);
	store_end(&s->t);
	s->held = false;
}

/* ---- contents -------------------------------------------------------------------------------- */

static enum err save_file(struct saving *s, uint64_t id)
{
	char name[32], text[QUEUE_ID_TEXT], *piece = malloc(CHUNK);
	int fd = openat(s->pins_fd, queue_id_text(id, text).p, O_RDONLY | O_CLOEXEC);
	struct stat st;
	ssize_t n = -1;

	if (piece != NULL && fd >= 0 && fstat(fd, &st) == 0) {
		snprintf(name, sizeof(name), "body/%s", text);
		tar_file(&s->tar, name, (uint64_t)st.st_size);
		for (n = 1; n > 0 && s->tar.left > 0 && s->tar.err == OK;) {
			n = read(fd, piece, s->tar.left < CHUNK ? s->tar.left : CHUNK);
			if (n > 0)
				tar_add(&s->tar, (str){ piece, (size_t)n });
		}
		s->b->files++;
	}
	free(piece);
	if (fd >= 0)
		close(fd);
	return n <= 0 || s->tar.left > 0 ? ERR_IO : OK;
}

static void save_files(struct saving *s)
{
	str ids = buf_str(&s->pinned);
	uint64_t id;

	for (; ids.n >= 8 && s->tar.err == OK; ids = str_skip(ids, 8)) {
		enum err e;

		memcpy(&id, ids.p, 8);
		e = save_file(s, id);
		if (s->tar.err == OK)
			s->tar.err = e;
	}
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static void save_text(struct saving *s, const char *name, const struct buf *text)
{
	tar_file(&s->tar, name, text->n);
	tar_add(&s->tar, buf_str(text));
}

static void save_head(struct saving *s, const char *version)
{
	struct buf text;

	buf_init(&text, 4096);
	buf_addf(&text, "format 1\nwritten %" PRId64 "\nversion %s\n", s->tar.time, version);
	save_text(s, "postern-backup", &text);
	buf_fini(&text);
}

static void save_end(struct saving *s)
{
	unsigned char digest[DIGEST_MAX];
	struct buf text;

	tar_out_digest(&s->tar, digest);
	buf_init(&text, 4096);
	buf_addf(&text, "messages %" PRIu64 "\nrows %" PRIu64 "\nfiles %" PRIu64 "\nsha256 ", s->b->messages, s->b->rows, s->b->files);
	for (size_t i = 0; i < DIGEST_MAX; i++)
		buf_addf(&text, "%02x", digest[i]);
	buf_add_char(&text, '\n');
	save_text(s, "end", &text);
	tar_end(&s->tar);
	buf_fini(&text);
}

static enum err save_all(struct saving *s, const char *version)
{
	enum err e = make_pins(s);

	if (e != OK)
		return e;
	save_head(s, version);
	save_rows(s);
	save_files(s);
	if (s->tar.err == OK)
		save_end(s);
	return s->tar.err;
}

enum err queue_backup(const struct queue_conf *c, const char *version, int fd, struct backup *b, struct arena *a, str *why)
{
	struct saving s = { .q = queue_open_reading(c, a, why), .b = b, .fd = fd, .pins_fd = -1 };
	struct stat st;
	enum err e;

	*b = (struct backup){ 0 };
	if (s.q == NULL)
		return ERR_ABSENT;
	s.plain = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	buf_init(&s.gone, BUF_UNBOUNDED);
	buf_init(&s.pinned, BUF_UNBOUNDED);
	buf_init(&s.rows, BUF_UNBOUNDED);
	tar_out_init(&s.tar, write_out, &s, clock_wall());
	e = save_all(&s, version);
	if (e != OK)
		*why = arena_printf(a, "the backup could not be written: %s", err_text(e));
	tar_out_drop(&s.tar);
	if (s.pins_fd >= 0)
		unpin(s.pins_fd, s.pins);
	buf_fini(&s.gone);
	buf_fini(&s.pinned);
	buf_fini(&s.rows);
	queue_close(s.q);
	return e;
}
