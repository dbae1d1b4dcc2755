/* SPDX-License-Identifier: ISC */
/*
 * What the files of the report share: report.c (words for people, JSON),
 * report_list.c, report_show.c.
 */
#ifndef QUEUE_REPORT_INSIDE_H
#define QUEUE_REPORT_INSIDE_H

#include "queue/internal.h"
#include "queue/report.h"
#include "smtpd/base/json.h"

/* A terminal shall not obey what a peer said: no control octets, no broken UTF-8. */
str report_plain(struct arena *, str);
str report_span(struct arena *, int64_t seconds);           /* "3 h" */
str report_size(struct arena *, uint64_t bytes);            /* "1.5 MiB" */
str report_when(struct arena *, int64_t epoch);             /* "2026-11-21T22:08:28+00:00" */
str report_path(struct arena *, str path);                  /* an address, or <> */
/* "waiting", "held", "delivered", … */
const char *report_state(const struct queue_rcpt *);
str report_next(struct arena *, const struct queue_rcpt *, int64_t now);     /* "in 5 min", "now", the state */
bool report_is_breakers(const struct queue_entry *);        /* some recipient of it is held by the breaker */

void report_json(struct json *, const struct queue_entry *, int64_t now);
void report_add_json(struct buf *, struct json *root);      /* frees it */

#endif
