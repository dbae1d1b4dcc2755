/* SPDX-License-Identifier: ISC */
/*
 * check and export: the whole store read, and single messages taken out.
 *
 * Both work beside a running server and without one; each read transaction ends
 * after a few rows, so that the map never fills because of them.  In a verb.
 */
#ifndef QUEUE_CHECK_H
#define QUEUE_CHECK_H

#include <stdio.h>

#include "queue/queue.h"

struct check_counts {
	uint64_t messages, recipients, rows, files, finished, notes;
	uint64_t bytes;            /* of contents */
	uint64_t wrong;            /* calls of `wrong` */
};

/* What is wrong and what to do, each a static sentence; id 0: the store itself. */
typedef void check_wrong(void *arg, uint64_t id, const char *what, const char *todo);

/* Every row's checksum, every number held against the others, every large
 * content there and as long as it should be. */
enum err queue_check(struct queue *, struct check_counts *, check_wrong *, void *arg);

/* The message as it is stored: our fields, then the content.  OK; ERR_BAD: a part
 * is missing, and *why says which; ERR_ABSENT; ERR_IO: it could not be written. */
enum err queue_export(struct queue *, uint64_t id, FILE *out, const char **why);

/* All ids that are in the queue now, rising; `seen` returns false to stop. */
void queue_ids(struct queue *, bool (*seen)(void *arg, uint64_t id), void *arg);

#endif
