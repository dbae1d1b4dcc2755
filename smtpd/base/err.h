/* SPDX-License-Identifier: ISC */
/*
 * Errors: three kinds, three means.
 *
 * The peer's fault is a value or a reply and never an enum err.  The world's
 * fault (disk, memory, network) is an enum err, latched where work is built in
 * steps, and answered 4xx.  Our own fault is must(), which ends the process:
 * the next start finds the queue as it was committed.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err {
	OK = 0,
	ERR_MEMORY,   /* a budget or malloc is spent */
	ERR_IO,       /* EIO and its like: what is on the disk is in doubt */
	ERR_FULL,     /* no room: disk, map, table */
	ERR_BUSY,     /* too much waits already; ask again later */
	ERR_TIMEOUT,
	ERR_ABSENT,   /* no such thing */
	ERR_EXISTS,   /* it is there already */
	ERR_BAD,      /* the input is not what its format says */
	ERR_DENIED,   /* the system or a rule forbids it */
	ERR_CLOSED,   /* the other side has gone */
};

/* A few words, lower case, no full stop: "no room", "no such thing", … */
const char *err_text(enum err);

/* The enum err that stands for an errno value (ENOENT: ERR_ABSENT, …). */
enum err err_of_errno(int errnum);

_Noreturn void must_failed(const char *what, const char *file, int line);

/* An invariant of ours.  Always on; a broken one aborts. */
#define must(what) ((what) ? (void)0 : must_failed(#what, __FILE__, __LINE__))

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The struct that embeds MEMBER at which `ptr` points. */
#define SUPER(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
