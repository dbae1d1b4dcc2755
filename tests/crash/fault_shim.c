/* SPDX-License-Identifier: ISC */
/*
 * fault: preloaded into the server, counts what it asks of the disk below
 * FAULT_ROOT (the store, the spool, the Maildirs) and lets the n-th call fail,
 * or ends the process by SIGKILL just before or just after it.
 *
 * FAULT_FILE is a page shared with the test, which arms it and reads what
 * happened (tests/crash/fault_test.py, step_test.py).  Any thread.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SHORT       1000u             /* `how`: a write that writes half, … */
#define KILL_BEFORE 1001u             /* … SIGKILL in place of the call, … */
#define KILL_AFTER  1002u             /* … or when it has been done, before anybody hears of it */

struct page {
	_Atomic uint32_t armed;       /* count from now on */
	_Atomic uint32_t count;       /* calls seen */
	_Atomic uint32_t at;          /* this one fails; 0: none */
	_Atomic uint32_t how;         /* errno, or SHORT */
	_Atomic uint32_t hit;         /* it did */
	char             name[64];    /* which call it was */
	char             path[400];
};

static struct page *page;
static char roots[4][1024];
static _Thread_local int ends_after;
static pid_t owner;                   /* the server, not a child that looks at its store */

__attribute__((constructor)) static void begin(void)
{
	const char *file = getenv("FAULT_FILE"), *all = getenv("FAULT_ROOT");
	int fd = file != NULL ? (int)syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0) : -1;

	owner = getpid();
	for (size_t i = 0; all != NULL && i < 4; i++) {
		size_t n = strcspn(all, ":");

		if (n < sizeof(roots[i]))
			memcpy(roots[i], all, n);
		all = all[n] == ':' ? all + n + 1 : NULL;
	}
	if (fd < 0)
		return;
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	syscall(SYS_close, fd);
	if (page == MAP_FAILED)
		page = NULL;
}

static int is_ours(const char *path)
{
	for (size_t i = 0; i < 4 && roots[i][0] != '\0'; i++) {
		size_t n = strlen(roots[i]);

		if (strncmp(path, roots[i], n) == 0 && (path[n] == '/' || path[n] == '\0'))
			return 1;
	}
	return 0;
}

static void end(void)
{
	syscall(SYS_kill, getpid(), SIGKILL);
	for (;;)
		pause();
}

/* What a call gave, unless it was the last one of this life. */
static long did(long result)
{
	if (ends_after)
		end();
	return result;
}

/* Is this call the one?  Its errno, SHORT, or 0. */
static unsigned strike(const char *name, const char *path)
{
	uint32_t n;

	if (!is_ours(path) || getpid() != owner)
		return 0;
	n = atomic_fetch_add(&page->count, 1) + 1;
	if (n != atomic_load(&page->at))
		return 0;
	snprintf(page->name, sizeof(page->name), "%s", name);
	snprintf(page->path, sizeof(page->path), "%s", path);
	atomic_store(&page->hit, 1);
	if (atomic_load(&page->how) == KILL_BEFORE)
		end();
	ends_after = atomic_load(&page->how) == KILL_AFTER;
	return ends_after ? 0 : atomic_load(&page->how);
}

static unsigned strike_fd(const char *name, int fd)
{
	char link[64], path[4096];
	ssize_t n;
	int kept = errno;
	unsigned how;

	if (page == NULL || !atomic_load(&page->armed))
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return 0;
	path[n] = '\0';
	how = strike(name, path);
	errno = kept;
	return how;
}

static unsigned strike_at(const char *name, int dir, const char *file)
{
	char link[64], path[8192];
	ssize_t n = 0;
	int kept = errno;
	unsigned how;

	if (page == NULL || !atomic_load(&page->armed))
		return 0;
	if (file[0] != '/') {
		if (dir == AT_FDCWD)
			return 0;
		snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
		n = readlink(link, path, 4096);
		if (n <= 0)
			return 0;
		path[n++] = '/';
	}
	snprintf(path + n, sizeof(path) - (size_t)n, "%s", file);
	how = strike(name, path);
	errno = kept;
	return how;
}

static int failed(unsigned how)
{
	errno = how == SHORT ? EIO : (int)how;
	return -1;
}

/* ---- calls on descriptors ------------------------------------------------------- */

ssize_t read(int fd, void *p, size_t n)
{
	unsigned how = strike_fd("read", fd);

	return how == 0 ? did(syscall(SYS_read, fd, p, n)) : how == SHORT ? syscall(SYS_read, fd, p, (n + 1) / 2) : failed(how);
}

static ssize_t read_at(int fd, void *p, size_t n, off_t at)
{
	unsigned how = strike_fd("pread", fd);

	return how == 0 ? did(syscall(SYS_pread64, fd, p, n, at)) : how == SHORT ? syscall(SYS_pread64, fd, p, (n + 1) / 2, at) : failed(how);
}
ssize_t pread(int fd, void *p, size_t n, off_t at)     { return read_at(fd, p, n, at); }
ssize_t pread64(int fd, void *p, size_t n, off64_t at) { return read_at(fd, p, n, at); }

ssize_t write(int fd, const void *p, size_t n)
{
	unsigned how = strike_fd("write", fd);

	return how == 0 ? did(syscall(SYS_write, fd, p, n)) : how == SHORT ? syscall(SYS_write, fd, p, (n + 1) / 2) : failed(how);
}

static ssize_t write_at(int fd, const void *p, size_t n, off_t at)
{
	unsigned how = strike_fd("pwrite", fd);

	return how == 0 ? did(syscall(SYS_pwrite64, fd, p, n, at)) : how == SHORT ? syscall(SYS_pwrite64, fd, p, (n + 1) / 2, at) : failed(how);
}
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)     { return write_at(fd, p, n, at); }
ssize_t pwrite64(int fd, const void *p, size_t n, off64_t at) { return write_at(fd, p, n, at); }

ssize_t writev(int fd, const struct iovec *v, int n)
{
	unsigned how = strike_fd("writev", fd);

	return how == 0 ? did(syscall(SYS_writev, fd, v, n))
	     : how == SHORT ? syscall(SYS_write, fd, v[0].iov_base, (v[0].iov_len + 1) / 2) : failed(how);
}

static ssize_t write_vector_at(int fd, const struct iovec *v, int n, off_t at)
{
	unsigned how = strike_fd("pwritev", fd);

	return how == 0 ? did(syscall(SYS_pwritev, fd, v, n, (long)at, 0L))
	     : how == SHORT ? syscall(SYS_pwrite64, fd, v[0].iov_base, (v[0].iov_len + 1) / 2, at) : failed(how);
}
ssize_t pwritev(int fd, const struct iovec *v, int n, off_t at)     { return write_vector_at(fd, v, n, at); }
ssize_t pwritev64(int fd, const struct iovec *v, int n, off64_t at) { return write_vector_at(fd, v, n, at); }

#define ON_FD(name, number) \
	unsigned how = strike_fd(name, fd); \
	return how == 0 ? (int)did(syscall(number, fd)) : failed(how)

int fsync(int fd)     { ON_FD("fsync", SYS_fsync); }
int fdatasync(int fd) { ON_FD("fdatasync", SYS_fdatasync); }
int syncfs(int fd)    { ON_FD("syncfs", SYS_syncfs); }

static int truncated(int fd, off_t n)
{
	unsigned how = strike_fd("ftruncate", fd);

	return how == 0 ? (int)did(syscall(SYS_ftruncate, fd, n)) : failed(how);
}
int ftruncate(int fd, off_t n)     { return truncated(fd, n); }
int ftruncate64(int fd, off64_t n) { return truncated(fd, n); }

static int allocated(int fd, int mode, off_t at, off_t n)
{
	unsigned how = strike_fd("fallocate", fd);

	return how == 0 ? (int)did(syscall(SYS_fallocate, fd, mode, at, n)) : failed(how);
}
int fallocate(int fd, int mode, off_t at, off_t n)       { return allocated(fd, mode, at, n); }
int fallocate64(int fd, int mode, off64_t at, off64_t n) { return allocated(fd, mode, at, n); }

/* ---- calls on names ---------------------------------------------------------------- */

static int open_at(int dir, const char *name, int flags, mode_t mode)
{
	unsigned how = strike_at("open", dir, name);

	return how == 0 ? (int)did(syscall(SYS_openat, dir, name, flags, mode)) : failed(how);
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

static int moved(int fd, const char *from, int td, const char *to, unsigned flags)
{
	unsigned how = strike_at("rename", td, to);

	return how == 0 ? (int)did(syscall(SYS_renameat2, fd, from, td, to, flags)) : failed(how);
}
int rename(const char *from, const char *to) { return moved(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int fd, const char *from, int td, const char *to) { return moved(fd, from, td, to, 0); }
int renameat2(int fd, const char *from, int td, const char *to, unsigned flags) { return moved(fd, from, td, to, flags); }

int linkat(int fd, const char *from, int td, const char *to, int flags)
{
	unsigned how = strike_at("link", td, to);

	return how == 0 ? (int)did(syscall(SYS_linkat, fd, from, td, to, flags)) : failed(how);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dir, const char *name, int flags)
{
	unsigned how = strike_at("unlink", dir, name);

	return how == 0 ? (int)did(syscall(SYS_unlinkat, dir, name, flags)) : failed(how);
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }

int mkdirat(int dir, const char *name, mode_t mode)
{
	unsigned how = strike_at("mkdir", dir, name);

	return how == 0 ? (int)did(syscall(SYS_mkdirat, dir, name, mode)) : failed(how);
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }
