/* SPDX-License-Identifier: ISC */
/*
 * deny_store: see deny_store.h.  The lock is a file of its own beside it, for
 * the file itself is replaced.  The verb's process, or main.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/buf.h"
#include "smtpd/setup/deny_store.h"
#include "smtpd/setup/key_files.h"

static enum err complain(const char *path, const char *mend, struct arena *a, str *why)
{
	enum err e = err_of_errno(errno);

	*why = arena_printf(a, "%s: %s: %s", path, strerror(errno), mend);
	return e;
}

/* Root leaves nothing behind that the server could not open. */
static bool give_to_folders_owner(int fd, const char *path, struct arena *a)
{
	size_t slash = str_rfind(str_of(path), '/');
	char *folder = str_cstr(a, slash > 0 ? str_head(str_of(path), slash) : STR("/"));
	struct stat st;

	if (geteuid() != 0)
		return true;
	return folder != NULL && stat(folder, &st) == 0 && fchown(fd, st.st_uid, st.st_gid) == 0;
}

static enum err take_lock(struct deny_store *s, struct arena *a, str *why)
{
	char *path = str_cstr(a, arena_printf(a, "%s.lock", s->path));
	const char *mend = "run this as root or as the server's user";

	if (path == NULL)
		return ERR_MEMORY;
	s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (s->lock < 0 || !give_to_folders_owner(s->lock, path, a))
		return complain(path, mend, a, why);
	while (flock(s->lock, LOCK_EX) != 0)
		if (errno != EINTR)
			return complain(path, "see whether its file system can lock files", a, why);
	return OK;
}

static enum err read_text(const char *path, struct arena *a, str *text, str *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	size_t n = 0;
	ssize_t got = 1;
	char *p;

	*text = STR("");
	if (fd < 0)
		return errno == ENOENT
			       ? OK
			       : complain(path, "run this as root or as the server's user", a, why);
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > DENY_FILE_MAX) {
		close(fd);
		*why = arena_printf(a, "%s: it has to be a plain file of at most 16 MiB", path);
		return ERR_BAD;
	}
	p = arena_alloc(a, (size_t)st.st_size + 1);
	while (p != NULL && n < (size_t)st.st_size && got > 0) {
		got = read(fd, p + n, (size_t)st.st_size - n);
		n += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	if (p == NULL)
		return ERR_MEMORY;
	if (got < 0)
		return complain(path, "see the kernel's log", a, why);
	*text = (str){ p, n };
	return OK;
}

enum err deny_store_open(struct deny_store *s, const char *path, bool to_change, struct arena *a,
			 str *why)
{
	enum err e = OK;
	str text;

	*s = (struct deny_store){ .path = path, .lock = -1 };
	*why = STR("out of memory: try again");
	if (path == NULL)
		return ERR_MEMORY;
	if (to_change)
		e = take_lock(s, a, why);
	if (e == OK)
		e = read_text(path, a, &text, why);
	if (e != OK)
		return e;
	s->v = deny_file_read(text, a, &s->n, &s->bad);
	return s->v != NULL ? OK : ERR_MEMORY;
}

static bool write_all(int fd, str text)
{
	while (text.n > 0) {
		ssize_t n = write(fd, text.p, text.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text = str_skip(text, (size_t)n);
	}
	return true;
}

static enum err replace(const struct deny_store *s, str text, struct arena *a, str *why)
{
	const char *mend = "the file is as it was; run this as root or as the server's user, and "
			   "see that the disk has room";
	char *path = str_cstr(a, arena_printf(a, "%s.new", s->path));
	int fd;

	if (path == NULL)
		return ERR_MEMORY;
	unlink(path);                   /* what was left by a crash; the lock is ours */
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return complain(path, mend, a, why);
	if (!write_all(fd, text) || !give_to_folders_owner(fd, path, a) || fsync(fd) != 0 ||
	    rename(path, s->path) != 0) {
		enum err e = complain(s->path, mend, a, why);

		close(fd);
		unlink(path);
		return e;
	}
	close(fd);
	return OK;
}

enum err deny_store_write(const struct deny_store *s, struct arena *a, str *why)
{
	struct buf text;
	enum err e;

	buf_init(&text, DENY_FILE_MAX);
	deny_file_write(s->v, s->n, &text);
	*why = STR("there are too many entries: remove some, or deny whole networks");
	e = text.failed ? ERR_FULL : replace(s, buf_str(&text), a, why);
	buf_fini(&text);
	return e;
}

void deny_store_close(struct deny_store *s)
{
	if (s->lock >= 0)
		close(s->lock);
	s->lock = -1;
}
