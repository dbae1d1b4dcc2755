/* SPDX-License-Identifier: ISC */
/*
 * poison: preloaded into the server, ends it in the middle of a delivery of
 * what holds the text in POISON: the write to a Maildir or to a socket that
 * would carry it is a segmentation fault (or, with POISON_SIGNAL, that signal).
 * What comes in is read, and the store writes its pages by other calls, so only
 * the way out meets it.  Any thread.
 */
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

static const char *poison;
static int deadly = SIGSEGV;

__attribute__((constructor)) static void begin(void)
{
	const char *s = getenv("POISON_SIGNAL");

	poison = getenv("POISON");
	if (s != NULL)
		deadly = atoi(s);
}

static void taste(const void *p, size_t n)
{
	if (poison == NULL || poison[0] == '\0' || memmem(p, n, poison, strlen(poison)) == NULL)
		return;
	kill(getpid(), deadly);
	for (;;)
		pause();
}

ssize_t write(int fd, const void *p, size_t n)
{
	static ssize_t (*next)(int, const void *, size_t);

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "write");
	taste(p, n);
	return next(fd, p, n);
}

ssize_t send(int fd, const void *p, size_t n, int flags)
{
	static ssize_t (*next)(int, const void *, size_t, int);

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "send");
	taste(p, n);
	return next(fd, p, n, flags);
}
