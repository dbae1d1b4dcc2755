/* SPDX-License-Identifier: ISC */
/*
 * reply: SMTP replies, written and read (RFC 5321 4.2, RFC 2034, RFC 3463).
 */
#ifndef MAIL_REPLY_H
#define MAIL_REPLY_H

#include "smtpd/base/arena.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/str.h"

#define REPLY_LINE_MAX  512     /* RFC 5321 4.5.3.1.5 */
#define REPLY_TOTAL_MAX 65536   /* of a peer's reply: more is a broken peer */

/* "CODE ESC text\r\n"; text with '\n' becomes several lines; long lines are
 * cut at words into several; bytes that do not belong in a reply become '?'. */
void reply_write(struct buf *out, int code, const char *esc, str text);

struct reply {
	int code;                 /* 200–599 */
	str esc;                  /* "5.1.1" or empty */
	str text;                 /* all lines joined by '\n', without code and esc */
	str first;                /* the first line's text */
};
/* Reading, incremental: returns how much of `in` was used; *done when a whole
 * reply is there (its strings live in the arena). *bad when it is none. */
struct reply_reader { struct buf line; struct buf text; int code; bool esc_seen; char esc[12]; size_t bytes; size_t lines; };
void   reply_reader_init(struct reply_reader *);
void   reply_reader_fini(struct reply_reader *);
size_t reply_read(struct reply_reader *, struct arena *, str in, struct reply *out, bool *done, bool *bad);

#endif
