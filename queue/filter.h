/* SPDX-License-Identifier: ISC */
/*
 * filter: which messages a command of the operator means.
 *
 *     --to TEXT --from TEXT --older TIME --state STATE
 *
 * A message fits when everything that was named fits it, in one recipient where
 * recipients are meant.  Pure.
 */
#ifndef QUEUE_FILTER_H
#define QUEUE_FILTER_H

#include "queue/queue.h"

enum queue_state {
	STATE_WAITING = 1, STATE_STAGED = 2, STATE_HELD = 4, STATE_DAMAGED = 8, STATE_ASIDE = 16, STATE_BREAKER = 32,
	STATE_UNSIGNED = 64,        /* held until a DKIM key is out */
};
#define QUEUE_STATES "waiting, staged, held, aside, breaker, unsigned or damaged"

struct queue_filter {
	str      login;           /* whose message it is, whole; empty: anybody's */
	str      author;          /* the domain in From, or one above it; empty: any */
	str      to, from;        /* part of an address, any case; empty: all */
	int64_t  older_s;         /* at least so old */
	unsigned states;          /* enum queue_state, or'ed; 0: all */
};

/* Takes one option ("--to") with its value.  False: `why` says what is wrong;
 * no such option: *why is NULL.  Text is borrowed. */
bool queue_filter_take(struct queue_filter *, str option, str value, const char **why);
bool queue_filter_is_empty(const struct queue_filter *);
bool queue_filter_fits(const struct queue_filter *, const struct queue_entry *, int64_t now);

#endif
