/* SPDX-License-Identifier: ISC */
/*
 * report: the queue shown to a person or, as JSON, to a program.
 *
 * Reads committed state in its own short read transactions; disk desk or a
 * verb.  Times are shown local with offset, ages and sizes in human units.
 */
#ifndef QUEUE_REPORT_H
#define QUEUE_REPORT_H

#include "queue/filter.h"
#include "smtpd/base/buf.h"

/* For verbs while no server runs: the store opened for reading only. */
struct queue *queue_open_reading(const struct queue_conf *, struct arena *, str *why);

struct queue_look {
	struct queue_filter filter;
	bool   json;
	size_t width;              /* of the terminal; 0: lines are not cut */
};

/* Columns: id, age, size, sender, recipients, tries, next try, last answer.  JSON:
 * an array, one message a line.  Only messages that fit the filter.
 *
 * In pieces, each from a look at the store of its own, so that a long queue is
 * never one text in memory nor one long transaction: from `over` = false until
 * it is true.  What came or went meanwhile may be in it or not. */
struct queue_list {
	struct queue_look look;
	bool     over;
	/* report_list.c's own */
	bool     begun;
	int64_t  now;
	uint64_t last;             /* the message seen last */
	uint64_t messages, recipients, bytes;
};
enum err queue_report_list(struct queue *, struct queue_list *, struct buf *out);
/* One message's whole story: where it came from, what was judged, each recipient
 * with every attempt and what can be done.  A finished one is told, too, while
 * its record is kept.  ERR_ABSENT: no such message. */
enum err queue_report_show(struct queue *, uint64_t id, bool json, struct buf *out);
/* The ids of all that fit: malloc'ed, *n of them; NULL: none, or an error. */
enum err queue_select(struct queue *, const struct queue_filter *, uint64_t **ids, size_t *n);

#endif
