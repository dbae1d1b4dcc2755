/* SPDX-License-Identifier: ISC */
/*
 * bodyhash: the hashes that anybody wants of a body, each made once.
 *
 * A wish is (canonical form, digest, length limit); equal wishes share one
 * context, and each canonical form is made once, whoever asks.  Wishes are made
 * while the header is known and the body has not begun (body_next).
 */
#ifndef MAIL_BODYHASH_H
#define MAIL_BODYHASH_H

#include "smtpd/base/arena.h"
#include "smtpd/base/crypt.h"
#include "smtpd/mail/canon.h"

#define BODYHASH_WHOLE UINT64_MAX

struct bodyhash;

struct bodyhash *bodyhash_new(struct arena *);
/* Number of the wish, or -1 (no memory, too many, body begun). */
int  bodyhash_wish(struct bodyhash *, enum canon, enum digest_kind, uint64_t length);
void bodyhash_feed(struct bodyhash *, str chunk);
void bodyhash_end(struct bodyhash *);
str  bodyhash_result(const struct bodyhash *, int wish);        /* the digest; after the end */
uint64_t bodyhash_length(const struct bodyhash *, int wish);    /* octets of the whole canonical body, limit or not */
void bodyhash_drop(struct bodyhash *);                          /* frees the contexts: always, at the message's end */

#endif
