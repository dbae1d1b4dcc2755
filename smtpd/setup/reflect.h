/* SPDX-License-Identifier: ISC */
/*
 * reflect: the text of a reflector's answer: each method's result with the one
 * thing to do, the form of the message, the whole story (explain.h), and below
 * it what arrived.  For people; nothing of what this server trusts is in it.
 * On the loop that has the message.
 */
#ifndef SETUP_REFLECT_H
#define SETUP_REFLECT_H

#include "smtpd/session/session.h"

/* CRLF lines in the arena, UTF-8; empty: no memory. */
str reflect_report(const struct reflection *, struct arena *);

/* What the files of it share. */
struct report {
	const struct reflection *of;
	struct arena *arena;
	struct buf    out;
};
/* A line, broken at words before column 78; what follows stands at `hang`. */
void report_line(struct report *, str line, size_t hang);
/* "  NAME        text", and "To do: …" below it. */
void report_row(struct report *, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
void report_todo(struct report *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void report_rows(struct report *);              /* reflect_rows.c: all methods */

#endif
