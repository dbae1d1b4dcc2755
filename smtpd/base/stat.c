/* SPDX-License-Identifier: ISC */
/*
 * stat: rows are pushed on a list without a lock and stay there: threads live
 * as long as the process, and what an ended one counted still counts.
 */
#include "smtpd/base/stat.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"

#define STAT_MOST 1024
#define SETS_MOST 128

struct row {
	struct row      *next;
	_Atomic uint64_t count[STAT_MOST];
};

struct set {
	const char            *prefix;
	const struct stat_def *defs;
	unsigned               first;
};

static struct { char *name; const char *help; } stats[STAT_MOST];
static unsigned   nstats;
static struct set sets[SETS_MOST];
static size_t     nsets;

static struct row            shared; /* of threads that got no row of their own */
static _Atomic(struct row *) rows = &shared;
static _Thread_local struct row *mine;

static char *full_name(const char *prefix, const char *name)
{
	char *full = NULL;

	must(asprintf(&full, "%s.%s", prefix, name) >= 0);
	return full;
}

unsigned stat_register(const char *prefix, const struct stat_def *defs, size_t n)
{
	/* The same set again keeps its numbers. */
	for (size_t i = 0; i < nsets; i++)
		if (sets[i].defs == defs && strcmp(sets[i].prefix, prefix) == 0)
			return sets[i].first;
	must(nsets < SETS_MOST && n <= STAT_MOST - nstats);
	sets[nsets++] = (struct set){ prefix, defs, nstats };
	for (size_t i = 0; i < n; i++) {
		stats[nstats].name = full_name(prefix, defs[i].name);
		stats[nstats].help = defs[i].help;
		nstats++;
	}
	return sets[nsets - 1].first;
}

void stat_thread(void)
{
	struct row *r;

	if (mine != NULL)
		return;
	r = calloc(1, sizeof(*r));
	if (r == NULL) {
		mine = &shared;
		return;
	}
	r->next = atomic_load_explicit(&rows, memory_order_relaxed);
	while (!atomic_compare_exchange_weak_explicit(&rows, &r->next, r, memory_order_release,
	                                              memory_order_relaxed))
		;
	mine = r;
}

void stat_add(unsigned index, uint64_t n)
{
	must(index < nstats);
	stat_thread();
	atomic_fetch_add_explicit(&mine->count[index], n, memory_order_relaxed);
}

uint64_t stat_sum(unsigned index)
{
	uint64_t sum = 0;

	must(index < nstats);
	for (struct row *r = atomic_load_explicit(&rows, memory_order_acquire); r; r = r->next)
		sum += atomic_load_explicit(&r->count[index], memory_order_relaxed);
	return sum;
}

size_t stat_count(void)
{
	return nstats;
}

const char *stat_name(unsigned index)
{
	must(index < nstats);
	return stats[index].name;
}

const char *stat_help(unsigned index)
{
	must(index < nstats);
	return stats[index].help;
}
