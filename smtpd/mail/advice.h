/* SPDX-License-Identifier: ISC */
/*
 * advice: what an answer of the far side, or of our own, means, and the next
 * step: for the sender, who reads a notice, and for the operator, who reads
 * `postern queue show`.  One table (advice.c).  Pure; any thread.
 */
#ifndef MAIL_ADVICE_H
#define MAIL_ADVICE_H

#include "smtpd/base/str.h"

struct advice {
	str sender;        /* "The mailbox is full. Try again in a few days …"; empty: nothing to do */
	str operator;      /* what the one who runs this server can do; empty: nothing */
};

/* `status` is RFC 3463's ("5.7.1") or empty: then it is looked for in `said`
 * ("550 5.7.1 Blocked …").  Words tell more than numbers: block lists,
 * greylisting and full mailboxes are known by what is said, whatever the code.
 * `said` is a peer's: any octets. */
struct advice advice_for(str status, str said);

/* The status that an answer holds ("550-5.7.1 …", "5.7.1 …"); empty: none. */
str advice_status(str said);

#endif
