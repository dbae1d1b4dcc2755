/* SPDX-License-Identifier: ISC */
/*
 * dot: the end of DATA (RFC 5321 4.5.2), found without copying.
 *
 * Only CRLF "." CRLF ends a message.  Bytes come in pieces split anywhere; what
 * goes out are views into them (or into constants), dots undone.
 */
#ifndef MAIL_DOT_H
#define MAIL_DOT_H

#include "smtpd/base/str.h"

enum dot_fault { DOT_BARE_CR = 1, DOT_BARE_LF = 2, DOT_NUL = 4 };

struct dot {
	unsigned char state;
	bool repair;        /* submission: a bare LF goes out as CRLF */
	bool done;          /* the final dot has come */
	unsigned faults;    /* enum dot_fault, or'ed; with repair a bare LF is not one, see repaired */
	bool repaired;
};

/* BDAT has no dots: dot_pass only looks for faults (and repairs); dot_end,
 * after the last chunk, finds the CR that nothing followed. */
void   dot_init(struct dot *, bool repair);
/* Uses some of *in (moving its front) and returns the next piece of message
 * text; an empty piece means *in is used up or the message is done. */
str    dot_next(struct dot *, str *in);
str    dot_pass(struct dot *, str *in);
void   dot_end(struct dot *);
/* The other way: calls sink with pieces so that the stuffed text, final
 * CRLF "." CRLF excluded, goes out.  `at_line_start` is kept between calls. */
struct dot_out { bool at_line_start; bool cr; };
void   dot_out_init(struct dot_out *);
void   dot_out_feed(struct dot_out *, str in, void (*sink)(void *, str), void *arg);
str    dot_out_end(const struct dot_out *);   /* ".\r\n" or "\r\n.\r\n" */

#endif
