/* SPDX-License-Identifier: ISC */
/*
 * How a life ended.  One that ends by a fault of its own leaves a word in the
 * lock file, behind the process's number; loss of power, a kill from outside
 * and an end for want of memory leave none.  What was being tried then is under
 * more or less suspicion (queue/deliver/aside.c).
 *
 * The handler is async-signal-safe; it gives the signal back to whoever had it
 * before, so that a core or a report is written as ever.  Any thread.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "queue/internal.h"

#define WORD_AT 24              /* behind the number */

static const char word[] = "fell";
static const int faults[] = { SIGSEGV, SIGABRT, SIGFPE, SIGILL };
static struct sigaction before[COUNT(faults)];
static _Atomic int lock = -1;

static void fault(int number)
{
	int fd = atomic_load(&lock);

	if (fd >= 0 && pwrite(fd, word, sizeof(word) - 1, WORD_AT) < 0)
		fd = -1;                /* then it is not known */
	for (size_t i = 0; i < COUNT(faults); i++)
		if (faults[i] == number)
			sigaction(number, &before[i], NULL);
	raise(number);
}

void fell_watch(int fd)
{
	struct sigaction a = { .sa_handler = fault };

	sigemptyset(&a.sa_mask);
	if (atomic_exchange(&lock, fd) >= 0)
		return;
	for (size_t i = 0; i < COUNT(faults); i++)
		sigaction(faults[i], &a, &before[i]);
}

void fell_forget(void)
{
	if (atomic_exchange(&lock, -1) < 0)
		return;
	for (size_t i = 0; i < COUNT(faults); i++)
		sigaction(faults[i], &before[i], NULL);
}

bool fell_said(const char *path)
{
	char text[sizeof(word) - 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool said = fd >= 0 && pread(fd, text, sizeof(text), WORD_AT) == (ssize_t)sizeof(text) &&
	            memcmp(text, word, sizeof(text)) == 0;

	if (fd >= 0)
		close(fd);
	return said;
}

void fell_unblock(sigset_t *set)
{
	for (size_t i = 0; i < COUNT(faults); i++)
		sigdelset(set, faults[i]);
	sigdelset(set, SIGBUS);
}
