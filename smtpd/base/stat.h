/* SPDX-License-Identifier: ISC */
/*
 * stat: counters by index, one row of atomics a thread, summed when asked.
 * Counting costs one relaxed add on memory nobody else writes.
 */
#ifndef BASE_STAT_H
#define BASE_STAT_H

#include "smtpd/base/str.h"

struct stat_def {
	const char *name;   /* "dkim.pass": room or module, then what happened */
	const char *help;
};

/* Before threads: registers `n` counters under `prefix` ("smtp", a module's
 * name) and returns the index of the first. */
unsigned stat_register(const char *prefix, const struct stat_def *defs, size_t n);
void     stat_thread(void);                       /* a thread's own row, at its start; idempotent */
void     stat_add(unsigned index, uint64_t n);    /* any thread */
uint64_t stat_sum(unsigned index);
size_t   stat_count(void);
const char *stat_name(unsigned index);            /* "prefix.name" */
const char *stat_help(unsigned index);

#endif
