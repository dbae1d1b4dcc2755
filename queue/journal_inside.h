/* SPDX-License-Identifier: ISC */
/*
 * What journal.c, which writes blocks, and journal_read.c, which takes them in,
 * share.
 */
#ifndef QUEUE_JOURNAL_INSIDE_H
#define QUEUE_JOURNAL_INSIDE_H

#include "queue/journal.h"

#define JOURNAL_HEAD (RECORD_HEAD + 24)      /* of a block */

static inline size_t journal_aligned(size_t n)
{
	return (n + JOURNAL_ALIGN - 1) / JOURNAL_ALIGN * JOURNAL_ALIGN;
}

#endif
