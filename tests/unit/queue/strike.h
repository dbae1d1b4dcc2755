/* SPDX-License-Identifier: ISC */
/*
 * What the strong room asks of the disk, counted: one call can be made to fail, to
 * wait, or to be the last of its life; and the committer can be held in a sync.
 * The functions stand in the test's program, before those of the C library.
 */
#ifndef TESTS_QUEUE_STRIKE_H
#define TESTS_QUEUE_STRIKE_H

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "smtpd/base/mbox_gather.h"
#include "tests/unit/queue/house.h"

enum strike_file { STRIKE_NONE, STRIKE_OTHER, STRIKE_STORE, STRIKE_JOURNAL };
enum strike_how { STRIKE_FAIL, STRIKE_WAIT_BEFORE, STRIKE_WAIT_AFTER, STRIKE_KILL_BEFORE, STRIKE_KILL_AFTER };

static struct {
	_Atomic int     at;            /* the number of the call that is struck; 0: none; -1: only counted */
	_Atomic int     calls;         /* so far */
	enum strike_how how;
	int             errnum;
	_Atomic int     gate;          /* enum strike_file: whose next fdatasync waits */
	_Atomic int     opens;         /* of the journal, for writing */
	int             open_errnum;   /* with which they fail; 0: they do not */
	pid_t           pid;           /* only this process's calls */
	struct mbox    *home;          /* hears when somebody waits */
	struct baton    baton, failed;
	_Atomic bool    reached;       /* home's: it has heard … */
	_Atomic bool    struck;        /* … and that a call failed */
	sem_t           go_on;
} strike;

static void strike_reached(struct baton *b)
{
	(void)b;
	strike.reached = true;
}

static void strike_failed(struct baton *b)
{
	(void)b;
	strike.struck = true;
}

static inline void strike_init(struct mbox *home)
{
	strike.home = home;
	strike.baton.arrived = strike_reached;
	strike.failed.arrived = strike_failed;
	strike.reached = strike.struck = false;
	atomic_store(&strike.gate, STRIKE_NONE);
	strike.pid = getpid();
	sem_init(&strike.go_on, 0, 0);
}

static inline void strike_arm(int at, enum strike_how how, int errnum)
{
	strike.how = how;
	strike.errnum = errnum;
	strike.pid = getpid();
	atomic_store(&strike.calls, 0);
	atomic_store(&strike.at, at);
}

static inline void strike_disarm(void)
{
	atomic_store(&strike.at, 0);
}

static inline void strike_gate(enum strike_file file)
{
	strike.reached = false;
	atomic_store(&strike.gate, (int)file);
}

static inline void strike_go_on(void)
{
	sem_post(&strike.go_on);
}

/* ---- the calls ------------------------------------------------------------------------- */

static inline void strike_wait(void)
{
	mbox_send_now(strike.home, &strike.baton);
	while (sem_wait(&strike.go_on) != 0)
		;
}

static enum strike_file strike_name(const char *path)
{
	const char *last = strrchr(path, '/');

	if (strstr(path, "/postern-queue-") == NULL || last == NULL)
		return STRIKE_NONE;
	return strcmp(last, "/journal") == 0 ? STRIKE_JOURNAL : strcmp(last, "/queue.mdb") == 0 ? STRIKE_STORE : STRIKE_OTHER;
}

static enum strike_file strike_file_of(int fd)
{
	char link[64], path[4096];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return STRIKE_NONE;
	path[n] = '\0';
	return strike_name(path);
}

/* -1: this one fails; 1: something is to be done behind it. */
static int strike_before(enum strike_file file)
{
	int at = atomic_load(&strike.at);

	if (at == 0 || file == STRIKE_NONE || getpid() != strike.pid || atomic_fetch_add(&strike.calls, 1) + 1 != at)
		return 0;
	if (strike.how == STRIKE_WAIT_BEFORE)
		strike_wait();
	else if (strike.how == STRIKE_KILL_BEFORE)
		kill(getpid(), SIGKILL);
	else if (strike.how == STRIKE_FAIL)
		mbox_send_now(strike.home, &strike.failed);
	errno = strike.errnum;
	return strike.how == STRIKE_FAIL ? -1 : strike.how == STRIKE_WAIT_BEFORE ? 0 : 1;
}

static long strike_after(int how, long result)
{
	int kept = errno;

	if (how == 1 && strike.how == STRIKE_KILL_AFTER)
		kill(getpid(), SIGKILL);
	else if (how == 1)
		strike_wait();
	errno = kept;
	return result;
}

/* Another process; what fails in it ends it. */
static inline pid_t strike_fork(void)
{
	pid_t child = fork();

	if (child == 0)
		setenv("CMOCKA_TEST_ABORT", "1", 1);
	return child;
}

#define STRIKE_REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define STRIKE(file, call) do { \
	int how_ = strike_before(file); \
	return how_ < 0 ? -1 : (__typeof__(call))strike_after(how_, (call)); \
} while (0)

int open(const char *path, int flags, ...)
{
	enum strike_file file = flags & (O_WRONLY | O_RDWR | O_DIRECTORY) ? strike_name(path) : STRIKE_NONE;
	mode_t mode = 0;
	va_list args;

	va_start(args, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(args, mode_t);
	va_end(args);
	if (file == STRIKE_JOURNAL) {
		atomic_fetch_add(&strike.opens, 1);
		errno = strike.open_errnum;
		if (errno != 0)
			return -1;
	}
	STRIKE(file, STRIKE_REAL(open)(path, flags, mode));
}

ssize_t write(int fd, const void *p, size_t n)
{
	STRIKE(fd > 2 ? strike_file_of(fd) : STRIKE_NONE, STRIKE_REAL(write)(fd, p, n));
}

/* The store's two head pages are there already: a full disk takes them (one that
 * copies on write may not; LMDB ends there as it does with EIO). */
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	enum strike_file file = strike_file_of(fd);

	if (file == STRIKE_STORE && strike.how == STRIKE_FAIL && strike.errnum == ENOSPC && at < 2 * 4096)
		file = STRIKE_NONE;
	STRIKE(file, STRIKE_REAL(pwrite)(fd, p, n, at));
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	STRIKE(fd > 2 ? strike_file_of(fd) : STRIKE_NONE, STRIKE_REAL(writev)(fd, v, n));
}

int fdatasync(int fd)
{
	enum strike_file file = strike_file_of(fd);
	int gate = (int)file;

	if (file != STRIKE_NONE && atomic_compare_exchange_strong(&strike.gate, &gate, STRIKE_NONE))
		strike_wait();
	STRIKE(file, STRIKE_REAL(fdatasync)(fd));
}

int fsync(int fd)
{
	STRIKE(strike_file_of(fd), STRIKE_REAL(fsync)(fd));
}

int linkat(int from, const char *path, int to, const char *name, int flags)
{
	STRIKE(strike_name(name), STRIKE_REAL(linkat)(from, path, to, name, flags));
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
	STRIKE(strike_file_of(fd), STRIKE_REAL(fallocate)(fd, mode, at, n));
}

#endif
