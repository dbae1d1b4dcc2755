/* SPDX-License-Identifier: ISC */
/*
 * faults: what a header, a body's form or a HELO name has of its own accord that
 * spam filters hold against a message, each with the one thing to do.  Nothing
 * is refused for it here: a person is told.  Pure; any thread.
 */
#ifndef MAIL_FAULTS_H
#define MAIL_FAULTS_H

#include "smtpd/mail/field.h"

#define FAULTS_MOST 40

/* What is kept of a body that passes by in pieces of any size; zeroed at first. */
struct body_look {
	size_t   line;           /* octets of the line at hand */
	size_t   longest;        /* of all lines, without CRLF */
	uint64_t bytes;
	bool     high;           /* an octet beyond ASCII */
	bool     has_plain;      /* a line that begins "Content-Type: text/plain" */
	bool     has_html;
	char     begun[32];      /* the line's beginning, lower case */
};
void body_look_feed(struct body_look *, str piece);
void body_look_end(struct body_look *);

struct fault {
	str what;
	str todo;
};

struct faults_of {
	const struct fields    *fields;     /* omitted ones too: those that pretend to be ours */
	const struct from      *from;
	const struct body_look *body;
	str     helo, host;                 /* the client's name for itself; ours */
	bool    smtputf8, no_blank;         /* the header ended without an empty line */
	int64_t now;
};
/* In the order of telling; at most FAULTS_MOST. */
size_t faults_find(struct arena *, const struct faults_of *, struct fault out[static FAULTS_MOST]);

/* RFC 5322 3.3 and 4.3: "Sat, 21 Nov 2026 22:08:28 +0100", comments behind it
 * allowed.  False: it is none. */
bool date_read(str, int64_t *epoch);

#endif
