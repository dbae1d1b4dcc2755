/* SPDX-License-Identifier: ISC */
/*
 * own: header fields that are this server's alone.  Their names begin with
 * X-Postern-, and whoever sends one has it taken off.
 *
 *   X-Postern-Quarantine: yes; by=dmarc; reason="…"     for Sieve and the reader
 *   X-Postern-Copy-…                                    the envelope, in an archive's copy
 *
 * X-Postern-Copy-Id ends in a mark that only we can make, so that a copy which
 * comes back is known and not copied again.  Pure.
 */
#ifndef MAIL_OWN_H
#define MAIL_OWN_H

#include "smtpd/base/arena.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/field.h"

#define OWN_SECRET 32

bool own_is(const struct field *);

str own_quarantine(struct arena *, const char *by, str reason);

struct own_copy {
	str     id, mark;                 /* of own_mark */
	int64_t when;
	str     ip, ptr, helo;            /* who brought it; empty: nobody did */
	str     login;                    /* or empty */
	str     sender;                   /* path text */
	const struct path *const *rcpts;
	size_t  nrcpts;
};
/* All of them, each with CRLF; STR_NONE: no memory. */
str own_copy_fields(struct arena *, const struct own_copy *);

/* Message `id` has been copied to `address`. */
str  own_mark(struct arena *, const unsigned char secret[static OWN_SECRET], str id, str address);
str  own_copy_id(struct arena *, str id, str mark);        /* the one field */
bool own_was_copied(struct arena *, const unsigned char secret[static OWN_SECRET], const struct fields *, str address);

/* "Delivered-To: ADDRESS" is among them. */
bool own_was_delivered(const struct fields *, str address);

#endif
