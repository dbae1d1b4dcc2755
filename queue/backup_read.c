/* SPDX-License-Identifier: ISC */
/*
 * Reading a backup: every length is held against what is left before it is
 * believed, and the end says whether all of it came.  Touches nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/backup.h"
#include "queue/tar.h"

#define NUMBER_MOST 128        /* octets of a number row, record.h */
#define TEXT_MOST  4096
#define KEY_MOST   511
#define VALUE_MOST ((size_t)64 << 20)

struct reading {
	struct tar_in      *t;
	struct backup_seen *seen;
	backup_row         *row;
	backup_file        *file;
	void               *arg;
	uint64_t            chunks, last_file;
	char                text[TEXT_MOST + 1];
};

/* "NAME VALUE" on a line of its own. */
static bool line_value(const char *text, const char *name, str *out)
{
	str rest = str_of(text), line;

	while (str_cut(&rest, '\n', &line))
		if (str_starts(line, name) && line.n > strlen(name) && line.p[strlen(name)] == ' ') {
			*out = str_skip(line, strlen(name) + 1);
			return true;
		}
	return false;
}

static bool line_number(const char *text, const char *name, uint64_t *out)
{
	str value;

	return line_value(text, name, &value) && str_to_u64(value, out);
}

static bool read_text(struct reading *r)
{
	size_t n = (size_t)r->t->left;

	if (r->t->left > TEXT_MOST || !tar_read(r->t, r->text, n))
		return false;
	r->text[n] = '\0';
	return true;
}

static const char *read_head(struct reading *r)
{
	uint64_t format, written = 0;

	if (!tar_next(r->t) || strcmp(r->t->name, "postern-backup") != 0)
		return "it is no backup that postern wrote";
	if (!read_text(r) || !line_number(r->text, "format", &format) || !line_number(r->text, "written", &written))
		return "its first file is damaged";
	if (format != 1)
		return "it was written by a newer postern: restore it with that one";
	r->seen->written = (int64_t)written;
	return NULL;
}

/* ---- rows ------------------------------------------------------------------------- */

static uint64_t le(const unsigned char *p, size_t n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

static bool key_fits(enum backup_table table, size_t key, size_t value)
{
	switch (table) {
	case BACKUP_MESSAGE:
	case BACKUP_FINISHED:
		return key == 8;
	case BACKUP_RCPT:
	case BACKUP_BODY:
		return key == 12;
	case BACKUP_META:
		return key > 0 && key <= 12 && value <= NUMBER_MOST;
	case BACKUP_NOTE:
		return key > 0 && key <= KEY_MOST;
	}
	return false;
}

/* false: what is wrong stands in t->wrong, or `row` wants no more. */
static bool read_row(struct reading *r)
{
	unsigned char head[7];
	char key[KEY_MOST], *value;
	size_t nkey, nvalue;
	bool ok;

	if (!tar_read(r->t, head, sizeof(head)))
		return false;
	nkey = (size_t)le(head + 1, 2);
	nvalue = (size_t)le(head + 3, 4);
	if (nkey > KEY_MOST || nvalue > VALUE_MOST || nkey + nvalue > r->t->left ||
	    !key_fits((enum backup_table)head[0], nkey, nvalue)) {
		r->t->wrong = "a row in it is damaged";
		return false;
	}
	value = malloc(nvalue + 1);
	if (value == NULL)
		r->t->wrong = "out of memory";
	ok = value != NULL && tar_read(r->t, key, nkey) && tar_read(r->t, value, nvalue);
	if (ok) {
		r->seen->rows++;
		r->seen->messages += head[0] == BACKUP_MESSAGE;
		ok = r->row == NULL || r->row(r->arg, (enum backup_table)head[0], (str){ key, nkey }, (str){ value, nvalue });
	}
	free(value);
	return ok;
}

static bool is_next_chunk(struct reading *r)
{
	uint64_t number;

	return r->chunks != UINT64_MAX && str_to_u64(str_of(r->t->name + 6), &number) && number == ++r->chunks;
}

/* ---- contents ----------------------------------------------------------------------- */

static bool read_file(struct reading *r)
{
	char piece[8 << 10];
	uint64_t id;

	r->chunks = UINT64_MAX;                 /* no rows behind contents */
	if (!queue_id_parse(str_of(r->t->name + 5), &id) || id <= r->last_file) {
		r->t->wrong = "it holds a file with a strange name";
		return false;
	}
	r->last_file = id;
	r->seen->files++;
	if (r->file != NULL)
		return r->file(r->arg, id, r->t) && r->t->left == 0;
	while (r->t->left > 0)
		if (!tar_read(r->t, piece, r->t->left < sizeof(piece) ? (size_t)r->t->left : sizeof(piece)))
			return false;
	return true;
}

/* ---- the end --------------------------------------------------------------------------- */

static const char *read_end(struct reading *r)
{
	unsigned char digest[DIGEST_MAX];
	char hex[2 * DIGEST_MAX + 1];
	uint64_t messages, rows, files;
	str said;

	tar_in_digest(r->t, digest);
	for (size_t i = 0; i < DIGEST_MAX; i++) {
		hex[2 * i] = "0123456789abcdef"[digest[i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
	}
	hex[2 * DIGEST_MAX] = '\0';
	if (!read_text(r) || !line_number(r->text, "messages", &messages) || !line_number(r->text, "rows", &rows) ||
	    !line_number(r->text, "files", &files) || !line_value(r->text, "sha256", &said))
		return "its end is damaged";
	if (messages != r->seen->messages || rows != r->seen->rows || files != r->seen->files || !str_is(said, hex))
		return "what it holds is not what was written";
	return tar_next(r->t) || !r->t->ended ? "something follows its end" : NULL;
}

const char *backup_read(struct tar_in *t, struct backup_seen *seen, backup_row *row, backup_file *file, void *arg)
{
	struct reading r = { .t = t, .seen = seen, .row = row, .file = file, .arg = arg };
	const char *wrong;
	bool ok = true;

	*seen = (struct backup_seen){ 0 };
	wrong = read_head(&r);
	while (wrong == NULL && ok && tar_next(t)) {
		if (strcmp(t->name, "end") == 0)
			return read_end(&r);
		if (str_starts(str_of(t->name), "store/") && is_next_chunk(&r))
			while (ok && t->left > 0)
				ok = read_row(&r);
		else if (str_starts(str_of(t->name), "body/"))
			ok = read_file(&r);
		else
			wrong = "it holds a file that is no backup's";
	}
	if (wrong != NULL)
		return wrong;
	return t->wrong != NULL ? t->wrong : t->ended ? "it has no end" : "it was given up";
}
