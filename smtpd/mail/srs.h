/* SPDX-License-Identifier: ISC */
/*
 * srs: envelope senders of mail that is forwarded (the Sender Rewriting Scheme).
 *
 *   anna@a.test                        →  SRS0=HASH=TT=a.test=anna@ours
 *   SRS0=…@first.test                  →  SRS1=HASH=first.test==…@ours
 *   SRS1=H=first.test==…@second.test   →  SRS1=HASH=first.test==…@ours
 *
 * So SPF asks us, who send, and a bounce comes back to us, who know where it
 * belongs.  The forms are those of the other implementations.  TT is the day,
 * modulo 1024, in base 32; HASH is of HMAC-SHA-256 over the rest, 40 bits in
 * base 32: it survives those who change the case of letters.  Pure.
 */
#ifndef MAIL_SRS_H
#define MAIL_SRS_H

#include "smtpd/mail/addr.h"

#define SRS_SECRET 32

/* The sender for mail that `domain` forwards.  A null sender has none, and is
 * not asked about.  False: it would be too long for a path, or no memory. */
bool srs_forward(struct arena *, const unsigned char secret[static SRS_SECRET], const struct path *sender, str domain,
                 int64_t now, struct path *out);

enum srs_says {
	SRS_NOT,       /* no such address */
	SRS_GOOD,      /* *out: whom it stands for */
	SRS_FORGED,    /* the hash is not ours, or there is no sense in it */
	SRS_OLD,       /* ours, but made over `days` ago */
};
/* What stands behind the recipient of a bounce.  Its domain is the caller's to
 * look at. */
enum srs_says srs_return(struct arena *, const unsigned char secret[static SRS_SECRET], const struct path *rcpt, int64_t now,
                         unsigned days, struct path *out);
bool srs_is(str local);                     /* it has the form of such a local part */

#endif
