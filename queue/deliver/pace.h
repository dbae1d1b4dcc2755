/* SPDX-License-Identifier: ISC */
/*
 * pace: what a temporary refusal says about when to come back, and who should.
 *
 *   greylisted   this message, after a while: the server wants to see it again
 *   slowed       everybody: the server has too much of us, or of all
 *   fine         neither: the message's own schedule
 *
 * Nobody agreed on how this is said, so codes, enhanced codes and words are
 * looked at (RFC 3463 X.4.5, X.7.x; RFC 6647 for greylisting).  Pure.
 */
#ifndef QUEUE_DELIVER_PACE_H
#define QUEUE_DELIVER_PACE_H

#include <stdatomic.h>

#include "smtpd/base/str.h"

enum pace_kind { PACE_FINE, PACE_GREYLISTED, PACE_SLOWED };

/* Where it was said: to us (banner, EHLO, STARTTLS, AUTH), of the sender, of the
 * message or a recipient. */
enum pace_when { PACE_TO_US, PACE_OF_SENDER, PACE_OF_MESSAGE };

#define PACE_MOST_S 86400          /* no longer than this, whatever was said */

struct pace {
	enum pace_kind kind;
	uint32_t       after_s;    /* "try again in 300 seconds"; 0: nothing was said */
};

struct pace pace_of(enum pace_when, int code, str esc, str text);

/* The name that a host's owner registered, which stands for its provider:
 * "mx1.mail.example.co.uk" → "example.co.uk"; an address stands for itself. */
str provider_name(str host);

/* Providers that rest, where clients see it: so that a domain whose hosts are
 * looked up for the first time does not knock at a door that is known to be
 * shut.  One thread writes, any reads; a reader that looks in the middle of a
 * change is wrong for one attempt. */
#define RESTING 64
struct resting {
	struct { _Atomic uint64_t name; _Atomic int64_t until; } v[RESTING];
};
void resting_set(struct resting *, str provider, int64_t until, int64_t now);    /* seconds; 0: it does not */
bool resting_has(const struct resting *, str provider, int64_t now);

#endif
