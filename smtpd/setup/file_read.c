/* SPDX-License-Identifier: ISC */
/*
 * A whole small file, through the opener.  Main thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/setup/generation.h"

/* What a file is said to hold; of what is no file nobody says. */
static size_t expected(int fd, size_t most)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size < most ? (size_t)st.st_size : most;
}

enum err file_read(conf_open *open_file, str path, size_t most, struct arena *a, str *text, str *why)
{
	int fd = open_file(path);
	size_t room = fd >= 0 ? expected(fd, most) : 0;
	char *p = arena_alloc(a, room + 1);
	size_t n = 0;
	ssize_t got = 0;

	if (fd < 0 || p == NULL) {
		enum err e = fd < 0 ? err_of_errno(errno) : ERR_MEMORY;

		*why = arena_printf(a, "%.*s: %s: make it readable for the server's user", STR_ARG(path),
		                    fd < 0 ? strerror(errno) : "no memory");
		if (fd >= 0)
			close(fd);
		return e;
	}
	while (n <= room && (got = read(fd, p + n, room + 1 - n)) > 0)
		n += (size_t)got;
	close(fd);
	if (got < 0 || n > room) {
		*why = arena_printf(a, "%.*s: %s", STR_ARG(path), got < 0 ? "it cannot be read" : room == most ? "it is too large" :
		                    "it is being written: try again");
		return got < 0 ? ERR_IO : ERR_BAD;
	}
	*text = (str){ p, n };
	return OK;
}
