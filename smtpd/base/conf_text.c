/* SPDX-License-Identifier: ISC */
/*
 * conf_text: the files of one reading.
 *
 * Each is opened once, through the caller's conf_open, read whole (a limit
 * stands before each allocation), screened, and kept until the reading is over,
 * so that every attempt to parse sees the same bytes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/conf_inside.h"

#define READ_STEP ((size_t)64 << 10)

static str why_errno(struct conf_reader *r, int errnum)
{
	const char *words = strerrordesc_np(errnum);

	return arena_printf(r->arena, "%s", words != NULL ? words : "unknown error");
}

/* All of fd into `raw`; what went wrong, or STR_NONE. */
static str read_whole(struct conf_reader *r, int fd, struct buf *raw)
{
	for (;;) {
		char *room = buf_room(raw, READ_STEP);
		ssize_t n;

		if (room == NULL)
			return STR("there is not enough memory");
		n = read(fd, room, READ_STEP);
		if (n == 0)
			return STR_NONE;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return why_errno(r, errno);
		buf_filled(raw, (size_t)n);
		if (raw->n > CONF_FILE_MAX)
			return STR("it is larger than 4 MiB");
	}
}

static void load(struct conf_reader *r, struct conf_text *t, int fd)
{
	struct buf raw;
	struct stat st;

	if (fstat(fd, &st) != 0) {
		t->why = why_errno(r, errno);
		return;
	}
	t->dev = st.st_dev;
	t->ino = st.st_ino;
	buf_init(&raw, CONF_FILE_MAX + 2 * READ_STEP);
	t->why = read_whole(r, fd, &raw);
	if (t->why.p == NULL)
		conf_screen(r, t, buf_str(&raw));
	buf_fini(&raw);
}

static struct conf_text *text_known(struct conf_reader *r, str path, size_t *n)
{
	*n = 0;
	for (struct conf_text *t = r->texts; t != NULL; t = t->next, ++*n)
		if (str_is(path, t->path))
			return t;
	return NULL;
}

struct conf_text *conf_text_get(struct conf_reader *r, str path)
{
	size_t n;
	struct conf_text *t = text_known(r, path, &n);
	int fd;

	if (t != NULL)
		return t;
	t = ARENA_NEW(r->arena, struct conf_text);
	if (t == NULL || (t->path = str_cstr(r->arena, path)) == NULL)
		return NULL;
	buf_init(&t->screened, BUF_UNBOUNDED);
	t->next = r->texts;
	r->texts = t;
	if (n >= CONF_FILES_MAX) {
		t->why = STR("there are more than 64 configuration files");
		return t;
	}
	fd = r->open(path);
	if (fd < 0) {
		t->why = why_errno(r, errno);
		return t;
	}
	load(r, t, fd);
	close(fd);
	return t;
}

void conf_texts_free(struct conf_reader *r)
{
	for (struct conf_text *t = r->texts; t != NULL; t = t->next)
		buf_fini(&t->screened);
}
