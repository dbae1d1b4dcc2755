/* SPDX-License-Identifier: ISC */
/*
 * A whole small file, through the opener.  Main thread.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/setup/generation.h"

enum err file_read(conf_open *open_file, str path, size_t most, struct arena *a, str *text, str *why)
{
	int fd = open_file(path);
	char *p = arena_alloc(a, most + 1);
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
	while (n <= most && (got = read(fd, p + n, most + 1 - n)) > 0)
		n += (size_t)got;
	close(fd);
	if (got < 0 || n > most) {
		*why = arena_printf(a, "%.*s: %s", STR_ARG(path), got < 0 ? "it cannot be read" : "it is too large");
		return got < 0 ? ERR_IO : ERR_BAD;
	}
	*text = (str){ p, n };
	return OK;
}
