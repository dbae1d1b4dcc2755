/* SPDX-License-Identifier: ISC */
/*
 * clock: the two times.  Monotonic milliseconds for waiting, seconds since the
 * epoch for what is written down.  --now and tests fix or shift the second.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "smtpd/base/str.h"

uint64_t clock_ms(void);                 /* CLOCK_MONOTONIC; any thread */
int64_t  clock_wall(void);               /* seconds since the epoch; any thread */
uint64_t clock_wall_us(void);            /* microseconds since the epoch */
void     clock_fix(int64_t epoch);       /* before threads: clock_wall says this from now on */
void     clock_shift(int64_t seconds);   /* before threads, tests: wall runs, shifted */

/* RFC 5322 3.3 date-time with the local zone: "Sat, 21 Nov 2026 22:08:28 +0000".
 * Returns the text in `out`. */
str clock_date(int64_t epoch, char out[static 40]);
/* ISO 8601 local time with offset and milliseconds, for the log. */
str clock_stamp(uint64_t epoch_us, char out[static 40]);

#endif
