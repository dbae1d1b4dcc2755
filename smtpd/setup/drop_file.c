/* SPDX-License-Identifier: ISC */
/*
 * drop_file: a dropped message as a file.
 *
 *   postern-drop 1
 *   sender root
 *   rcpt alice@example.org        any number, one at least
 *   notify NEVER                  these three may be absent
 *   ret HDRS
 *   envid abc
 *   size 1234
 *                                 an empty line, then so many octets
 *
 * The head has LF lines; its values hold no control characters, so a value can
 * never become a line or an SMTP command of its own.  Any thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/setup/drop.h"

#define MAGIC     "postern-drop 1"
#define VALUE_MAX 512            /* an address of SMTP has at most this */

/* ---- reading ------------------------------------------------------------------ */

static bool is_clean(str value)
{
	for (size_t i = 0; i < value.n; i++)
		if ((unsigned char)value.p[i] < ' ' || value.p[i] == 0x7f)
			return false;
	return value.n <= VALUE_MAX;
}

/* These three go into a command as they are. */
static bool is_word(str value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] <= ' ' || value.p[i] > '~')
			return false;
	return value.n > 0 && value.n <= 100;
}

static size_t count_rcpts(str head)
{
	size_t n = 0;
	str line;

	while (str_cut(&head, '\n', &line))
		n += str_starts(line, "rcpt ");
	return n;
}

static bool take_line(struct drop *d, str line, bool *sender, bool *size, uint64_t *bytes)
{
	str value = str_skip(line, str_find(line, ' ') + 1);

	if (!is_clean(value))
		return false;
	if (str_starts(line, "sender ") && !*sender) {
		d->sender = value;
		*sender = true;
	} else if (str_starts(line, "rcpt ") && value.n > 0) {
		d->rcpts.v[d->rcpts.n++] = value;
	} else if (str_starts(line, "notify ") && is_word(value)) {
		d->notify = value;
	} else if (str_starts(line, "ret ") && is_word(value)) {
		d->ret = value;
	} else if (str_starts(line, "envid ") && is_word(value)) {
		d->envid = value;
	} else if (str_starts(line, "size ") && !*size) {
		*size = str_to_u64(value, bytes);
		return *size;
	} else {
		return false;
	}
	return true;
}

/* The head with the LF of its last line; false: none is there. */
static bool cut_head(str file, str *head)
{
	str part = str_head(file, DROP_HEAD_MOST);

	for (size_t i = 0; i + 1 < part.n; i++)
		if (part.p[i] == '\n' && part.p[i + 1] == '\n') {
			*head = str_head(file, i + 1);
			return true;
		}
	return false;
}

bool drop_parse(struct arena *a, str file, struct drop *out, const char **why)
{
	bool sender = false, size = false;
	uint64_t bytes = 0;
	str head, line;
	size_t n;

	*out = (struct drop){ 0 };
	*why = "it is no dropped message";
	if (!cut_head(file, &head))
		return false;
	out->message = str_skip(file, head.n + 1);
	n = count_rcpts(head);
	if (!str_cut(&head, '\n', &line) || !str_is(line, MAGIC))
		return false;
	*why = "it names no recipient, or far too many";
	if (n == 0 || n > DROP_RCPTS_MOST)
		return false;
	*why = "there is no memory for it";
	out->rcpts.v = ARENA_ARRAY(a, str, n);
	if (out->rcpts.v == NULL)
		return false;
	*why = "a line of its head cannot be read";
	while (str_cut(&head, '\n', &line))
		if ((line.n > 0 || head.p != NULL) && !take_line(out, line, &sender, &size, &bytes))
			return false;
	*why = "it is not complete";
	return sender && size && bytes == out->message.n;
}

/* ---- writing ------------------------------------------------------------------- */

static void print_optional(struct buf *out, const char *name, str value)
{
	if (value.n > 0)
		buf_addf(out, "%s %.*s\n", name, STR_ARG(value));
}

void drop_print(struct buf *out, const struct drop *d)
{
	buf_addf(out, MAGIC "\nsender %.*s\n", STR_ARG(d->sender));
	for (size_t i = 0; i < d->rcpts.n; i++)
		buf_addf(out, "rcpt %.*s\n", STR_ARG(d->rcpts.v[i]));
	print_optional(out, "notify", d->notify);
	print_optional(out, "ret", d->ret);
	print_optional(out, "envid", d->envid);
	buf_addf(out, "size %zu\n\n", d->message.n);
}

static bool write_all(int fd, str s)
{
	while (s.n > 0) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		s = str_skip(s, (size_t)n);
	}
	return true;
}

static bool write_file(int fd, const struct drop *d)
{
	struct buf head;
	bool ok;

	buf_init(&head, BUF_UNBOUNDED);
	drop_print(&head, d);
	if (head.failed)
		errno = ENOMEM;
	/* Whatever the umask says: the server's group reads it, nobody else. */
	ok = !head.failed && fchmod(fd, 0640) == 0 && write_all(fd, buf_str(&head)) && write_all(fd, d->message) &&
	     fsync(fd) == 0;
	buf_fini(&head);
	return ok;
}

/* Behind the rename the file is synced once more: nobody but the server may open
 * the directory to sync that, and the file's own sync takes its new name along. */
static bool leave_at(const char *base, const char *name, const struct drop *d)
{
	char tmp[4200], new[4200];
	int fd, kept;
	bool ok;

	snprintf(tmp, sizeof(tmp), "%s/drop/tmp.%s", base, name);
	snprintf(new, sizeof(new), "%s/drop/new.%s", base, name);
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	ok = write_file(fd, d);
	if (ok && rename(tmp, new) == 0)
		(void)fsync(fd);
	else
		ok = false;
	kept = errno;
	if (!ok)
		unlink(tmp);
	close(fd);
	errno = kept;
	return ok;
}

bool drop_leave(const char *base, const struct drop *d)
{
	char name[64];
	uint64_t random;

	if (strlen(base) > 4096) {
		errno = ENAMETOOLONG;
		return false;
	}
	random_bytes(&random, sizeof(random));
	snprintf(name, sizeof(name), "%016" PRIx64 ".%016" PRIx64, (uint64_t)clock_wall_us(), random);
	return leave_at(base, name, d);
}
