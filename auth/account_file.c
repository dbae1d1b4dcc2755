/* SPDX-License-Identifier: ISC */
/*
 * The passwd-file as the verbs change it: read whole, written whole.
 *
 * Changes are made under a lock on FILE.lock, which stays; the file itself is
 * replaced by a new one that was synced before, so a reader sees the old or the
 * new, and a crash leaves one of them.  Mode and owner stay; a new file is 0600
 * and belongs, when root makes it, to the directory's owner, which is the
 * server.  Links are not followed: the directory may belong to somebody else
 * than us.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "auth/inside.h"
#include "smtpd/base/crypt.h"

#define FILE_MOST ((off_t)ACCOUNTS_MOST)

enum err account_file_read(int fd, struct arena *a, str *text)
{
	struct stat st;
	size_t room, n = 0;
	char *p;

	if (fstat(fd, &st) != 0)
		return ERR_IO;
	if (!S_ISREG(st.st_mode))
		return ERR_BAD;
	if (st.st_size > FILE_MOST)
		return ERR_FULL;
	room = (size_t)st.st_size;
	p = arena_alloc(a, room + 1);
	if (p == NULL)
		return ERR_MEMORY;
	while (n < room) {
		ssize_t got = pread(fd, p + n, room - n, (off_t)n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return ERR_IO;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	*text = (str){ p, n };
	return OK;
}

static enum err complain(const char *path, const char *mend, struct arena *a, str *why)
{
	enum err e = err_of_errno(errno);

	*why = arena_printf(a, "%s: %s: %s", path,
	                    errno == ELOOP ? "is a symbolic link" : strerror(errno),
	                    errno == ELOOP    ? "name the file itself in `accounts`"
	                    : errno == ENOENT ? "make the directory, or start the server once"
	                                      : mend);
	return e == OK ? ERR_IO : e;
}

/* The folder that `path` lies in. */
static char *folder_of(const char *path, struct arena *a)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return str_cstr(a, STR("."));
	return str_cstr(a, (str){ path, slash == path ? 1 : (size_t)(slash - path) });
}

static bool give_to_folders_owner(int fd, const char *path, struct arena *a)
{
	char *folder = folder_of(path, a);
	struct stat st;

	if (geteuid() != 0)
		return true;
	return folder != NULL && stat(folder, &st) == 0 && fchown(fd, st.st_uid, st.st_gid) == 0;
}

static enum err take_lock(struct account_file *f, bool waiting, struct arena *a, str *why)
{
	char *path = str_cstr(a, arena_printf(a, "%s.lock", f->path));
	bool made = false;

	if (path == NULL)
		return ERR_MEMORY;
	f->lock = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (f->lock < 0 && errno == ENOENT) {
		f->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		made = f->lock >= 0;
	}
	if (f->lock < 0 || (made && !give_to_folders_owner(f->lock, path, a)))
		return complain(path, "run this as root or as the server's user", a, why);
	while (flock(f->lock, waiting ? LOCK_EX : LOCK_EX | LOCK_NB) != 0) {
		if (errno == EWOULDBLOCK)
			return ERR_BUSY;
		if (errno != EINTR)
			return complain(path, "see whether its file system can lock files", a, why);
	}
	return OK;
}

static enum err read_file(struct account_file *f, struct arena *a, str *why)
{
	int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	enum err e = ERR_IO;

	f->text = STR("");
	if (fd < 0 && errno == ENOENT)
		return OK;
	if (fd < 0)
		return complain(f->path, "run this as root or as the server's user", a, why);
	f->there = true;
	if (fstat(fd, &f->st) == 0)
		e = account_file_read(fd, a, &f->text);
	close(fd);
	if (e != OK)
		*why = arena_printf(a, "%s: %s: it has to be a plain file of at most 16 MiB",
		                    f->path, err_text(e));
	return e;
}

enum err account_file_open(struct account_file *f, const char *path, bool to_change,
                           struct arena *a, str *why)
{
	enum err e = OK;

	*why = STR("out of memory: try again");
	*f = (struct account_file){ .path = path, .lock = -1 };
	if (to_change)
		e = take_lock(f, true, a, why);
	return e == OK ? read_file(f, a, why) : e;
}

enum err account_file_try(struct account_file *f, const char *path, struct arena *a, str *why)
{
	enum err e;

	*why = STR("out of memory: try again");
	*f = (struct account_file){ .path = path, .lock = -1 };
	e = take_lock(f, false, a, why);
	return e == OK ? read_file(f, a, why) : e;
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

/* Owner first: a change of owner may take mode bits away. */
static bool looks_like_before(const struct account_file *f, int fd, struct arena *a)
{
	struct stat st;

	if (!f->there)
		return fchmod(fd, 0600) == 0 && give_to_folders_owner(fd, f->path, a);
	if (fstat(fd, &st) != 0)
		return false;
	if ((st.st_uid != f->st.st_uid || st.st_gid != f->st.st_gid) &&
	    fchown(fd, f->st.st_uid, f->st.st_gid) != 0)
		return false;
	return fchmod(fd, f->st.st_mode & 07777) == 0;
}

static bool sync_folder(const char *path, struct arena *a)
{
	char *folder = folder_of(path, a);
	int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	bool good = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return good;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* What lies at `path`: what was read, or still nothing? */
static bool is_as_read(const struct account_file *f, const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT && !f->there;
	return f->there && same_file(&st, &f->st);
}

/* An editor takes no lock of ours.  The two files change places in one step, and
 * what comes out must be what was read; if it is not, they change back. */
static enum err put_in_place(const struct account_file *f, const char *next)
{
	if (!is_as_read(f, f->path))
		return ERR_BUSY;
	if (!f->there)
		return renameat2(AT_FDCWD, next, AT_FDCWD, f->path, RENAME_NOREPLACE) == 0 ? OK
		       : errno == EEXIST ? ERR_BUSY
		       : errno == EINVAL && rename(next, f->path) == 0 ? OK : ERR_IO;
	if (renameat2(AT_FDCWD, next, AT_FDCWD, f->path, RENAME_EXCHANGE) !=
	    0) /* not on every file system */
		return errno == EINVAL && rename(next, f->path) == 0 ? OK : ERR_IO;
	if (is_as_read(f, next))
		return unlink(next) == 0 ? OK : ERR_IO;
	renameat2(AT_FDCWD, next, AT_FDCWD, f->path, RENAME_EXCHANGE);
	return ERR_BUSY;
}

static enum err place(struct account_file *f, int fd, const char *next, str text, const char *mend,
                      struct arena *a, str *why)
{
	enum err e = ERR_IO;

	errno = 0;
	if (write_all(fd, text) && looks_like_before(f, fd, a) && fsync(fd) == 0)
		e = put_in_place(f, next);
	if (e == ERR_BUSY)
		*why = arena_printf(a, "%s: somebody else changed it just now: run this again",
				    f->path);
	else if (e != OK)
		e = complain(f->path, mend, a, why);
	if (e != OK)
		unlink(next);
	return e;
}

enum err account_file_write(struct account_file *f, str text, struct arena *a, str *why)
{
	const char *mend = "the file is as it was; run this as root or as the server's user, "
	                   "and see that the disk has room";
	uint64_t name;
	char *path;
	enum err e;
	int fd;

	random_bytes(&name, sizeof(name));
	path = str_cstr(a, arena_printf(a, "%s.%016llx.tmp", f->path, (unsigned long long)name));
	if (path == NULL)
		return ERR_MEMORY;
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return complain(path, mend, a, why);
	e = place(f, fd, path, text, mend, a, why);
	close(fd);
	if (e != OK || sync_folder(f->path, a))
		return e;
	return complain(f->path,
	                "it is written, but may not outlive a loss of power: see the kernel's log",
	                a, why);
}

void account_file_close(struct account_file *f)
{
	if (f->lock >= 0)
		close(f->lock);
	f->lock = -1;
}
