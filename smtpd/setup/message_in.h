/* SPDX-License-Identifier: ISC */
/*
 * message_in: a message on standard input, as verify, explain, sign and seal
 * take it: lines may end in LF or CRLF.  A file that has both is taken as CRLF,
 * faults and all.
 */
#ifndef SETUP_MESSAGE_IN_H
#define SETUP_MESSAGE_IN_H

#include <stdio.h>

#include "smtpd/base/buf.h"
#include "smtpd/mail/field.h"

#define MESSAGE_IN_MAX ((size_t)512 << 20)

struct message_in {
	struct buf raw;        /* as it came */
	struct buf made;       /* with CRLF, when it came with LF */
	str        text;       /* in CRLF form */
	bool       crlf;       /* it had any CRLF */

	/* after message_in_split */
	struct splitter splitter;
	str        body_front; /* of the body, when the header ended without an empty line */
	str        body;       /* the rest of it, in text */
};

/* Ten times the server's own limits (CONTRACT, Limits). */
#define MESSAGE_IN_HEADER ((size_t)10 << 20)
#define MESSAGE_IN_FIELD  ((size_t)2560 << 10)
#define MESSAGE_IN_FIELDS ((size_t)20000)

/* Reads all of `fd`.  False: *why says what was wrong. */
bool message_in_read(struct message_in *, int fd, const char **why);
/* Splits the header; fields and strings live in the arena and the message. */
void message_in_split(struct message_in *, struct arena *);
void message_in_fini(struct message_in *);
/* CRLF text with the line ends that the message had. */
void message_out(FILE *, const struct message_in *, str crlf_text);

#endif
