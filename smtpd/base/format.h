/* SPDX-License-Identifier: ISC */
/*
 * format: what vsnprintf does, for the few directives that nearly all texts are
 * made of.  A message makes about a hundred short texts; the C library sets up a
 * stream for each.
 */
#ifndef BASE_FORMAT_H
#define BASE_FORMAT_H

#include <stdarg.h>
#include <stddef.h>

/* As vsnprintf: at most room - 1 octets and a NUL, room is at least 1; returns how
 * many the whole text has, or less than 0.  %s %.*s %u %zu %llu %% are done here,
 * a format with any other directive by vsnprintf. */
int format_text(char *out, size_t room, const char *format, va_list);

#endif
