/* SPDX-License-Identifier: ISC */
/*
 * journal: preloaded into the server, writes down everything that it asks the
 * disk to do below JOURNAL_ROOT, in order, and each 250 that it says.
 *
 * tests/crash/power_test.py cuts such a journal at any place and rebuilds what
 * a disk may hold that has forgotten what was not synced.  One lock keeps the
 * journal in the order of the calls.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { K_OPEN = 1, K_WRITE, K_TRUNCATE, K_ALLOCATE, K_SYNC, K_SYNCFS, K_RENAME, K_LINK, K_UNLINK, K_MKDIR, K_ACK };

#define NEW    1u      /* K_OPEN: the call made the file */
#define EMPTY  2u      /* … or emptied it */
#define NAMELESS 4u    /* … and it has no name yet */
#define FOLDER 16u     /* K_SYNC: of a directory */
#define DIRECT 8u      /* K_WRITE: durable when the call returns (O_DSYNC) */

struct record {
	uint32_t kind, flags;
	uint64_t file;         /* inode */
	uint64_t offset;
	uint32_t a, b;         /* bytes of what follows: two texts, or data */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int out = -1;
static char root[4096];
static size_t nroot;

#define REAL(ret, name, ...) \
	static ret (*real)(__VA_ARGS__); \
	if (real == NULL) \
		*(void **)&real = dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void begin(void)
{
	const char *r = getenv("JOURNAL_ROOT"), *file = getenv("JOURNAL_FILE");

	if (r == NULL || file == NULL || strlen(r) >= sizeof(root))
		return;
	nroot = strlen(r);
	memcpy(root, r, nroot);
	out = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void note(struct record r, const void *a, const void *b)
{
	struct iovec v[3] = { { &r, sizeof(r) }, { (void *)(uintptr_t)a, r.a }, { (void *)(uintptr_t)b, r.b } };

	if (syscall(SYS_writev, out, v, 3) != (long)(sizeof(r) + r.a + r.b))
		abort();
}

static int is_ours(const char *path)
{
	return out >= 0 && strncmp(path, root, nroot) == 0 && (path[nroot] == '/' || path[nroot] == '\0');
}

/* Where a descriptor, or a name relative to one, lies. */
static int path_of_fd(int fd, char *to, size_t room)
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, to, room - 1);
	if (n < 0)
		return 0;
	to[n] = '\0';
	return 1;
}

static int path_at(int dir, const char *name, char *to, size_t room)
{
	char base[4096];

	if (name[0] == '/')
		snprintf(to, room, "%s", name);
	else if (dir == AT_FDCWD && getcwd(base, sizeof(base)) != NULL)
		snprintf(to, room, "%s/%s", base, name);
	else if (path_of_fd(dir, base, sizeof(base)))
		snprintf(to, room, "%s/%s", base, name);
	else
		return 0;
	return is_ours(to);
}

static int lies_in(int fd, struct stat *st, char *path, size_t room)
{
	int kept = errno, ok;

	ok = out >= 0 && fd != out && path_of_fd(fd, path, room) && is_ours(path) && fstat(fd, st) == 0;
	errno = kept;
	return ok;
}

static int fd_is_ours(int fd, struct stat *st)
{
	char path[4096];

	return lies_in(fd, st, path, sizeof(path));
}

/* ---- opening -------------------------------------------------------------------- */

static void opened(int fd, const char *path, int flags, int was_there)
{
	struct stat st;
	unsigned f = 0;

	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
		return;
	if ((flags & O_TMPFILE) == O_TMPFILE)
		f = NEW | NAMELESS;
	else if ((flags & O_CREAT) && !was_there)
		f = NEW;
	else if (flags & O_TRUNC)
		f = EMPTY;
	if (f != 0)
		note((struct record){ K_OPEN, f, st.st_ino, 0, (uint32_t)strlen(path), 0 }, path, NULL);
}

static int open_at(int dir, const char *name, int flags, mode_t mode)
{
	char path[4096];
	struct stat st;
	int fd, there, ours = (flags & (O_CREAT | O_TRUNC | O_TMPFILE)) && path_at(dir, name, path, sizeof(path));

	if (!ours)
		return (int)syscall(SYS_openat, dir, name, flags, mode);
	pthread_mutex_lock(&lock);
	there = lstat(path, &st) == 0;
	fd = (int)syscall(SYS_openat, dir, name, flags, mode);
	opened(fd, path, flags, there);
	pthread_mutex_unlock(&lock);
	return fd;
}

#define MODE(flags, last) \
	mode_t mode = 0; \
	if ((flags) & (O_CREAT | O_TMPFILE)) { \
		va_list args; \
		va_start(args, last); \
		mode = va_arg(args, mode_t); \
		va_end(args); \
	}

int open(const char *name, int flags, ...)   { MODE(flags, flags) return open_at(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags, flags) return open_at(AT_FDCWD, name, flags, mode); }
int openat(int dir, const char *name, int flags, ...)   { MODE(flags, flags) return open_at(dir, name, flags, mode); }
int openat64(int dir, const char *name, int flags, ...) { MODE(flags, flags) return open_at(dir, name, flags, mode); }

/* ---- writing --------------------------------------------------------------------- */

static void wrote(int fd, const struct stat *st, uint64_t at, const void *p, size_t n)
{
	int flags = fcntl(fd, F_GETFL);

	note((struct record){ K_WRITE, flags & O_DSYNC ? DIRECT : 0, st->st_ino, at, (uint32_t)n, 0 }, p, NULL);
}

static void wrote_vector(int fd, const struct stat *st, uint64_t at, const struct iovec *v, int n, size_t all)
{
	for (int i = 0; i < n && all > 0; i++) {
		size_t k = v[i].iov_len < all ? v[i].iov_len : all;

		wrote(fd, st, at, v[i].iov_base, k);
		at += k;
		all -= k;
	}
}

static uint64_t position(int fd, const struct stat *st)
{
	return fcntl(fd, F_GETFL) & O_APPEND ? (uint64_t)st->st_size : (uint64_t)lseek(fd, 0, SEEK_CUR);
}

/* "250 …" on a socket: an acknowledgement has left. */
static void look_for_ack(int fd, const void *p, size_t n)
{
	struct stat st;
	int kept = errno;

	if (out >= 0 && n > 10 && n < 65536 && memmem(p, n, "Queued as ", 10) != NULL && fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode))
		note((struct record){ K_ACK, 0, 0, 0, (uint32_t)n, 0 }, p, NULL);
	errno = kept;
}

ssize_t write(int fd, const void *p, size_t n)
{
	struct stat st;
	ssize_t got;

	pthread_mutex_lock(&lock);
	if (fd_is_ours(fd, &st) && S_ISREG(st.st_mode)) {
		uint64_t at = position(fd, &st);

		got = syscall(SYS_write, fd, p, n);
		if (got > 0)
			wrote(fd, &st, at, p, (size_t)got);
	} else {
		look_for_ack(fd, p, n);
		pthread_mutex_unlock(&lock);
		return syscall(SYS_write, fd, p, n);
	}
	pthread_mutex_unlock(&lock);
	return got;
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	struct stat st;
	ssize_t got;

	pthread_mutex_lock(&lock);
	if (fd_is_ours(fd, &st) && S_ISREG(st.st_mode)) {
		uint64_t at = position(fd, &st);

		got = syscall(SYS_writev, fd, v, n);
		if (got > 0)
			wrote_vector(fd, &st, at, v, n, (size_t)got);
	} else {
		for (int i = 0; i < n; i++)
			look_for_ack(fd, v[i].iov_base, v[i].iov_len);
		pthread_mutex_unlock(&lock);
		return syscall(SYS_writev, fd, v, n);
	}
	pthread_mutex_unlock(&lock);
	return got;
}

static ssize_t write_at(int fd, const void *p, size_t n, off_t at)
{
	struct stat st;
	ssize_t got;

	pthread_mutex_lock(&lock);
	got = syscall(SYS_pwrite64, fd, p, n, at);
	if (got > 0 && fd_is_ours(fd, &st))
		wrote(fd, &st, (uint64_t)at, p, (size_t)got);
	pthread_mutex_unlock(&lock);
	return got;
}

static ssize_t write_vector_at(int fd, const struct iovec *v, int n, off_t at)
{
	struct stat st;
	ssize_t got;

	pthread_mutex_lock(&lock);
	got = syscall(SYS_pwritev, fd, v, n, (long)at, 0L);
	if (got > 0 && fd_is_ours(fd, &st))
		wrote_vector(fd, &st, (uint64_t)at, v, n, (size_t)got);
	pthread_mutex_unlock(&lock);
	return got;
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)    { return write_at(fd, p, n, at); }
ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at){ return write_at(fd, p, n, at); }
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)     { return write_vector_at(fd, v, n, at); }
ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at) { return write_vector_at(fd, v, n, at); }

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	pthread_mutex_lock(&lock);
	look_for_ack(fd, p, n);
	pthread_mutex_unlock(&lock);
	return syscall(SYS_sendto, fd, p, n, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < m->msg_iovlen; i++)
		look_for_ack(fd, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
	pthread_mutex_unlock(&lock);
	return syscall(SYS_sendmsg, fd, m, flags);
}

static int truncated(int fd, off_t n)
{
	struct stat st;
	int rc;

	pthread_mutex_lock(&lock);
	rc = (int)syscall(SYS_ftruncate, fd, n);
	if (rc == 0 && fd_is_ours(fd, &st))
		note((struct record){ K_TRUNCATE, 0, st.st_ino, (uint64_t)n, 0, 0 }, NULL, NULL);
	pthread_mutex_unlock(&lock);
	return rc;
}
int ftruncate(int fd, off_t n)     { return truncated(fd, n); }
int ftruncate64(int fd, off64_t n) { return truncated(fd, n); }

static int allocated(int fd, int mode, off_t at, off_t n)
{
	struct stat st;
	int rc;

	pthread_mutex_lock(&lock);
	rc = (int)syscall(SYS_fallocate, fd, mode, at, n);
	if (rc == 0 && mode == 0 && fd_is_ours(fd, &st))
		note((struct record){ K_ALLOCATE, 0, st.st_ino, (uint64_t)(at + n), 0, 0 }, NULL, NULL);
	pthread_mutex_unlock(&lock);
	return rc;
}
int fallocate(int fd, int mode, off_t at, off_t n)       { return allocated(fd, mode, at, n); }
int fallocate64(int fd, int mode, off64_t at, off64_t n) { return allocated(fd, mode, at, n); }

/* ---- syncing ------------------------------------------------------------------------ */

static int synced(long call, int fd, enum kind kind)
{
	char path[4096];
	struct stat st;
	int rc;

	/* What was written down before the call is what it has to keep. */
	pthread_mutex_lock(&lock);
	rc = (int)syscall(call, fd);
	if (rc == 0 && lies_in(fd, &st, path, sizeof(path)))
		note((struct record){ kind, S_ISDIR(st.st_mode) ? FOLDER : 0, st.st_ino, 0, (uint32_t)strlen(path), 0 }, path, NULL);
	pthread_mutex_unlock(&lock);
	return rc;
}
int fsync(int fd)     { return synced(SYS_fsync, fd, K_SYNC); }
int fdatasync(int fd) { return synced(SYS_fdatasync, fd, K_SYNC); }
int syncfs(int fd)    { return synced(SYS_syncfs, fd, K_SYNCFS); }

/* ---- names ----------------------------------------------------------------------------- */

static void named(enum kind kind, unsigned flags, const char *from, const char *to)
{
	struct stat st = { 0 };

	if (kind != K_UNLINK)
		lstat(to, &st);
	note((struct record){ kind, flags, st.st_ino, 0, (uint32_t)strlen(from), (uint32_t)strlen(to) }, from, to);
}

static int moved(int fromdir, const char *from, int todir, const char *to, unsigned flags)
{
	char a[4096], b[4096];
	int rc, ours;

	pthread_mutex_lock(&lock);
	ours = path_at(fromdir, from, a, sizeof(a)) & path_at(todir, to, b, sizeof(b));
	rc = (int)syscall(SYS_renameat2, fromdir, from, todir, to, flags);
	if (rc == 0 && ours)
		named(K_RENAME, 0, a, b);
	pthread_mutex_unlock(&lock);
	return rc;
}
int rename(const char *from, const char *to) { return moved(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int fd, const char *from, int td, const char *to) { return moved(fd, from, td, to, 0); }
int renameat2(int fd, const char *from, int td, const char *to, unsigned flags) { return moved(fd, from, td, to, flags); }

int linkat(int fromdir, const char *from, int todir, const char *to, int flags)
{
	char b[4096];
	int rc, ours;

	pthread_mutex_lock(&lock);
	ours = path_at(todir, to, b, sizeof(b));
	rc = (int)syscall(SYS_linkat, fromdir, from, todir, to, flags);
	if (rc == 0 && ours)
		named(K_LINK, 0, "", b);
	pthread_mutex_unlock(&lock);
	return rc;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dir, const char *name, int flags)
{
	char a[4096];
	int rc, ours;

	pthread_mutex_lock(&lock);
	ours = path_at(dir, name, a, sizeof(a));
	rc = (int)syscall(SYS_unlinkat, dir, name, flags);
	if (rc == 0 && ours)
		named(K_UNLINK, 0, a, "");
	pthread_mutex_unlock(&lock);
	return rc;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name)  { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdirat(int dir, const char *name, mode_t mode)
{
	char a[4096];
	int rc, ours;

	pthread_mutex_lock(&lock);
	ours = path_at(dir, name, a, sizeof(a));
	rc = (int)syscall(SYS_mkdirat, dir, name, mode);
	if (rc == 0 && ours)
		named(K_MKDIR, 0, "", a);
	pthread_mutex_unlock(&lock);
	return rc;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
