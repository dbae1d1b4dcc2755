/* SPDX-License-Identifier: ISC */
/*
 * canon: canonical forms (RFC 6376 3.4; DomainKeys' nofws, RFC 4870 3.4.2.2).
 * Streaming for bodies: pieces split anywhere give the same bytes.
 */
#ifndef MAIL_CANON_H
#define MAIL_CANON_H

#include "smtpd/base/buf.h"
#include "smtpd/base/str.h"

enum canon { CANON_SIMPLE, CANON_RELAXED, CANON_NOFWS };

struct canon_body {
	enum canon kind;
	size_t   crlfs;     /* empty lines held back */
	bool     wsp, cr, any, line;   /* private */
};

typedef void canon_sink(void *arg, str bytes);
void canon_body_init(struct canon_body *, enum canon);
void canon_body_feed(struct canon_body *, str in, canon_sink *, void *arg);
void canon_body_end(struct canon_body *, canon_sink *, void *arg); /* simple: an empty body is one CRLF */

/* One field with its CRLF, as it is hashed. */
void canon_field(enum canon, str raw, struct buf *out);
/* The signature field itself: b='s value left out, no CRLF at the end (RFC 6376 3.7). */
void canon_signature_field(enum canon, str raw, struct buf *out);

#endif
