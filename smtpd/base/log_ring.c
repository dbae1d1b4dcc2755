/* SPDX-License-Identifier: ISC */
/*
 * log_ring: single producer, single consumer, no lock.  `put` and `taken` only
 * grow; what lies between them belongs to the reader, the rest to the writer
 * of the ring.  Rings are never freed: threads live as long as the process,
 * and the lines of one that has ended are still to be written.
 */
#include "smtpd/base/log_ring.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A power of two.  The fates of a message to a thousand recipients fit, which are
 * logged at one go; pages that were never written on cost nothing. */
#define RING ((size_t)512 << 10)
#define HEAD offsetof(struct log_line, text)

struct ring {
	struct ring     *next;
	_Atomic uint64_t put;     /* bytes ever put in: the thread */
	_Atomic uint64_t dropped; /* lines: the thread */
	_Alignas(64) _Atomic uint64_t taken; /* bytes ever taken out: the reader */
	char             bytes[RING];
};

static _Atomic(struct ring *)     rings;
static _Thread_local struct ring *mine;
static _Atomic uint64_t           homeless; /* lines of threads that got no ring */

static struct ring *ring_new(void)
{
	struct ring *r = aligned_alloc(64, sizeof(*r));

	if (r == NULL)
		return NULL;
	memset(r, 0, offsetof(struct ring, bytes));
	r->next = atomic_load(&rings);
	while (!atomic_compare_exchange_weak(&rings, &r->next, r))
		;
	return r;
}

static void copy_in(struct ring *r, uint64_t at, const void *from, size_t n)
{
	size_t i = at & (RING - 1), end = RING - i < n ? RING - i : n;

	memcpy(r->bytes + i, from, end);
	memcpy(r->bytes, (const char *)from + end, n - end);
}

static void copy_out(const struct ring *r, uint64_t at, void *to, size_t n)
{
	size_t i = at & (RING - 1), end = RING - i < n ? RING - i : n;

	memcpy(to, r->bytes + i, end);
	memcpy((char *)to + end, r->bytes, n - end);
}

bool log_ring_put(const struct log_line *line)
{
	uint64_t put;
	size_t   n = HEAD + line->n;

	if (mine == NULL)
		mine = ring_new();
	if (mine == NULL) {
		atomic_fetch_add(&homeless, 1);
		return false;
	}
	put = atomic_load_explicit(&mine->put, memory_order_relaxed);
	if (n > RING - (put - atomic_load_explicit(&mine->taken, memory_order_acquire))) {
		atomic_fetch_add(&mine->dropped, 1);
		return false;
	}
	copy_in(mine, put, line, n);
	atomic_store(&mine->put, put + n); /* seq_cst: see rest() in log.c */
	return true;
}

static bool ring_empty(struct ring *r)
{
	return atomic_load(&r->put) == atomic_load_explicit(&r->taken, memory_order_relaxed);
}

bool log_ring_any(void)
{
	for (struct ring *r = atomic_load(&rings); r != NULL; r = r->next)
		if (!ring_empty(r))
			return true;
	return false;
}

static struct ring *oldest(void)
{
	struct ring *found = NULL;
	uint64_t     found_us = 0;

	for (struct ring *r = atomic_load(&rings); r != NULL; r = r->next) {
		uint64_t us;

		if (ring_empty(r))
			continue;
		copy_out(r, atomic_load_explicit(&r->taken, memory_order_relaxed), &us, sizeof(us));
		if (found == NULL || us < found_us) {
			found = r;
			found_us = us;
		}
	}
	return found;
}

bool log_ring_take(struct log_line *line)
{
	struct ring *r = oldest();
	uint64_t     taken;

	if (r == NULL)
		return false;
	taken = atomic_load_explicit(&r->taken, memory_order_relaxed);
	copy_out(r, taken, line, HEAD);
	copy_out(r, taken + HEAD, line->text, line->n);
	atomic_store_explicit(&r->taken, taken + HEAD + line->n, memory_order_release);
	return true;
}

uint64_t log_ring_dropped(void)
{
	uint64_t n = atomic_load(&homeless);

	for (struct ring *r = atomic_load(&rings); r != NULL; r = r->next)
		n += atomic_load(&r->dropped);
	return n;
}
