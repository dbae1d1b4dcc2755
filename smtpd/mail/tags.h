/* SPDX-License-Identifier: ISC */
/*
 * tags: tag=value; lists (RFC 6376 3.2), as DKIM signatures and keys, ARC,
 * DomainKeys, DMARC and others use them.  Linear in the input.
 */
#ifndef MAIL_TAGS_H
#define MAIL_TAGS_H

#include "smtpd/base/arena.h"
#include "smtpd/base/str.h"

struct tag  { str name, value; };    /* value trimmed of FWS at both ends, folds inside left */
struct tags {
	struct tag *v;
	size_t      n;
	bool        malformed;       /* an item was no tag=value; the others are still there */
	str         duplicate;       /* a name that came twice (DKIM: the list is invalid) */
};

#define TAGS_MAX 5000

void tags_parse(struct arena *, str text, struct tags *out);
bool tags_get(const struct tags *, const char *name, str *value);        /* to the letter */
bool tags_get_nocase(const struct tags *, const char *name, str *value); /* DMARC */
/* White space and folds taken out: b=, bh=, p=, h=. */
str  tags_squeeze(struct arena *, str value);

#endif
