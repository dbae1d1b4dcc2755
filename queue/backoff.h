/* SPDX-License-Identifier: ISC */
/*
 * backoff: when to try again, and when to give up (RFC 5321 4.5.4.1).  Pure.
 */
#ifndef QUEUE_BACKOFF_H
#define QUEUE_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

struct backoff_conf {
	uint64_t first_ms, most_ms;          /* 5 min doubling to 4 h */
	uint64_t give_up_ms, give_up_bounce_ms;  /* 5 days; 1 day for <> */
	uint64_t delay_notice_ms;            /* 4 h; 0: none */
};

/* Seconds from now until try number `tries`+1; jitter of ±10 % from `random`. */
int64_t backoff_next(const struct backoff_conf *, uint32_t tries, uint64_t random);
bool    backoff_expired(const struct backoff_conf *, bool from_null, int64_t arrived, int64_t now);

#endif
