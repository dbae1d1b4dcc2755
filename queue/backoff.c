/* SPDX-License-Identifier: ISC */
/*
 * Doubling from the first interval to the longest, ±10 % so that messages that
 * failed together do not come back together.  Pure.
 */
#include "queue/backoff.h"

int64_t backoff_next(const struct backoff_conf *c, uint32_t tries, uint64_t random)
{
	uint64_t ms = c->first_ms, jitter;

	for (uint32_t i = 1; i < tries && ms < c->most_ms; i++)
		ms = ms > c->most_ms / 2 ? c->most_ms : 2 * ms;
	if (ms > c->most_ms)
		ms = c->most_ms;
	jitter = ms / 5;
	ms = ms - ms / 10 + (jitter > 0 ? random % (jitter + 1) : 0);
	return (int64_t)((ms + 999) / 1000);
}

bool backoff_expired(const struct backoff_conf *c, bool from_null, int64_t arrived, int64_t now)
{
	uint64_t life_ms = from_null ? c->give_up_bounce_ms : c->give_up_ms;

	return now - arrived >= (int64_t)(life_ms / 1000);
}
