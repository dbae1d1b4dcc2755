/* SPDX-License-Identifier: ISC */
/*
 * err: the words for errors, and the end of the process when we broke an
 * invariant of ours.  No state; any thread.
 */
#include "smtpd/base/err.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *err_text(enum err e)
{
	switch (e) {
	case OK:
		return "done";
	case ERR_MEMORY:
		return "out of memory";
	case ERR_IO:
		return "input/output error";
	case ERR_FULL:
		return "no room";
	case ERR_BUSY:
		return "too busy";
	case ERR_TIMEOUT:
		return "timed out";
	case ERR_ABSENT:
		return "no such thing";
	case ERR_EXISTS:
		return "exists already";
	case ERR_BAD:
		return "malformed";
	case ERR_DENIED:
		return "not permitted";
	case ERR_CLOSED:
		return "the other side has gone";
	}
	return "unknown error";
}

static const struct {
	int      errnum;
	enum err e;
} errnos[] = {
	{ 0, OK },
	{ ENOMEM, ERR_MEMORY },
	{ ENOBUFS, ERR_MEMORY },
	{ ENOSPC, ERR_FULL },
	{ EDQUOT, ERR_FULL },
	{ EFBIG, ERR_FULL },
	{ EMFILE, ERR_FULL },
	{ ENFILE, ERR_FULL },
	{ EAGAIN, ERR_BUSY },
	{ EBUSY, ERR_BUSY },
	{ EADDRINUSE, ERR_BUSY },
	{ EINPROGRESS, ERR_BUSY },
	{ ETIMEDOUT, ERR_TIMEOUT },
	{ ENOENT, ERR_ABSENT },
	{ ENOTDIR, ERR_ABSENT },
	{ ENXIO, ERR_ABSENT },
	{ ESRCH, ERR_ABSENT },
	{ EADDRNOTAVAIL, ERR_ABSENT },
	{ EEXIST, ERR_EXISTS },
	{ ENOTEMPTY, ERR_EXISTS },
	{ EINVAL, ERR_BAD },
	{ EILSEQ, ERR_BAD },
	{ ENAMETOOLONG, ERR_BAD },
	{ EISDIR, ERR_BAD },
	{ ELOOP, ERR_BAD },
	{ EACCES, ERR_DENIED },
	{ EPERM, ERR_DENIED },
	{ EROFS, ERR_DENIED },
	{ EPIPE, ERR_CLOSED },
	{ ECONNRESET, ERR_CLOSED },
	{ ECONNREFUSED, ERR_CLOSED },
	{ ECONNABORTED, ERR_CLOSED },
	{ ENOTCONN, ERR_CLOSED },
};

enum err err_of_errno(int errnum)
{
	for (size_t i = 0; i < COUNT(errnos); i++)
		if (errnos[i].errnum == errnum)
			return errnos[i].e;
	/* EIO, and whatever we have no better word for: trust nothing. */
	return ERR_IO;
}

_Noreturn void must_failed(const char *what, const char *file, int line)
{
	/* No log: it may be what broke. */
	dprintf(STDERR_FILENO, "postern: %s:%d: this must hold and does not: %s\n", file, line,
	        what);
	abort();
}
