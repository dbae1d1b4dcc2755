/* SPDX-License-Identifier: ISC */
/*
 * log_ring: log lines, and a ring of them for each thread, written by its
 * thread alone and read by the log's writer alone.  Only log*.c include this.
 */
#ifndef BASE_LOG_RING_H
#define BASE_LOG_RING_H

#include "smtpd/base/log.h"

#define LOG_LINE 4096

struct log_line {
	uint64_t us;        /* when: the reader takes the oldest of all rings */
	uint16_t n;         /* bytes of text, with the newline */
	uint8_t  level;
	uint8_t  event_at;  /* where the event's name begins in the text */
	char     text[LOG_LINE];
};

void     log_line_make(struct log_line *, const struct log *, enum log_level, const char *event,
                       const struct log_kv *, size_t n);
bool     log_ring_put(const struct log_line *);  /* into this thread's; false: full, and counted */
bool     log_ring_take(struct log_line *);       /* the reader: the oldest line of all; false: none */
bool     log_ring_any(void);                     /* the reader: is there a line? */
uint64_t log_ring_dropped(void);                 /* any thread */

#endif
