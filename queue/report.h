/* SPDX-License-Identifier: ISC */
/*
 * report: the queue shown to a person or, as JSON, to a program.
 *
 * Reads committed state in its own short read transactions; disk desk or a
 * verb.  Times are shown local with offset, ages and sizes in human units.
 */
#ifndef QUEUE_REPORT_H
#define QUEUE_REPORT_H

#include "queue/queue.h"
#include "smtpd/base/buf.h"

/* For verbs while no server runs: the store opened for reading only. */
struct queue *queue_open_reading(const struct queue_conf *, struct arena *, str *why);

/* Columns: id, age, size, sender, recipients, tries, next try, last answer.  JSON:
 * an array, one message a line. */
enum err queue_report_list(struct queue *, bool json, struct buf *out);
/* One message: envelope, header summary, each recipient with state, tries,
 * next try and last answer.  ERR_ABSENT: no such message. */
enum err queue_report_show(struct queue *, uint64_t id, bool json, struct buf *out);

#endif
