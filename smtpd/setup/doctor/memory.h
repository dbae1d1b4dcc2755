/* SPDX-License-Identifier: ISC */
/*
 * memory: what the last look has found, and what is different now.  Pure: findings
 * and a file's text in, changes and a letter's text out.
 *
 * What could not be seen this time is remembered as it was.  Of a check that wavers
 * only the verdict counts: room and days left change by themselves.
 */
#ifndef SETUP_DOCTOR_MEMORY_H
#define SETUP_DOCTOR_MEMORY_H

#include "smtpd/setup/doctor/doctor.h"

#define MEMORY_MOST ((size_t)4 << 20)      /* octets of the file */

struct remembered {
	str  check, subject, about, seen, todo;   /* todo is not kept */
	enum doctor_verdict verdict;
};
struct memory {
	int64_t            when;               /* of the look */
	struct remembered *v;
	size_t             n;
};

/* ERR_BAD: the text is none of ours.  Strings live in the arena. */
enum err memory_read(str text, struct arena *, struct memory *);
/* The file's text, malloc'ed; NULL: no memory. */
char    *memory_text(const struct memory *);
/* What this look has found; `old` may be NULL. */
void     memory_of(const struct doctor *, const struct memory *old, int64_t now, struct arena *, struct memory *out);

struct change { const struct remembered *was, *is; };    /* either may be NULL: there was, or is, nothing to say */
size_t   memory_compare(const struct memory *old, const struct memory *now, struct arena *, struct change **out);
/* For a letter: CRLF lines, each change with what it was, what it is and what to do. */
str      changes_text(const struct change *, size_t n, struct arena *);

#endif
