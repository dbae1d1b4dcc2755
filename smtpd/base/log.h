/* SPDX-License-Identifier: ISC */
/*
 * log: one event a line, `time level event key=value …`.
 *
 * Events are `noun.past` ("message.stored", "delivery.deferred").  Values from
 * peers are quoted and cut at LOG_VALUE bytes; control bytes are escaped, so a
 * line is a line.  No secrets, no bodies.  Writing puts the line in this
 * thread's ring; one writer thread empties the rings (before log_start and
 * after log_stop lines are written at once).  A full ring drops and counts.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include "smtpd/base/err.h"
#include "smtpd/base/str.h"

#define LOG_VALUE 256

enum log_level { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARN, LOG_ERROR };

struct log {                     /* a context: what each of its lines begins with */
	str id;                  /* id=… a message's or a session's; may be empty */
	str module;              /* module=…; may be empty */
};

struct log_kv {
	const char *key;
	enum { LOG_STR, LOG_NUM, LOG_INT } kind;
	str         s;
	uint64_t    num;
	int64_t     i;
};

#define KV(key_, str_)     ((struct log_kv){ .key = (key_), .kind = LOG_STR, .s = (str_) })
#define KV_C(key_, cstr_)  ((struct log_kv){ .key = (key_), .kind = LOG_STR, .s = str_of(cstr_) })
#define KV_N(key_, num_)   ((struct log_kv){ .key = (key_), .kind = LOG_NUM, .num = (uint64_t)(num_) })
#define KV_I(key_, int_)   ((struct log_kv){ .key = (key_), .kind = LOG_INT, .i = (int64_t)(int_) })

/* log_event(l, LOG_INFO, "message.stored", KV("from", from), KV_N("size", n));
 * `l` may be NULL.  At least one key is given. */
#define log_event(l, level, event, ...)                                                    \
	log_write((l), (level), (event), (const struct log_kv[]){ __VA_ARGS__ },           \
	          sizeof((const struct log_kv[]){ __VA_ARGS__ }) / sizeof(struct log_kv))

void log_write(const struct log *, enum log_level, const char *event, const struct log_kv *, size_t n);

/* A value as it stands in a line: bare when it is made of [A-Za-z0-9._:@/+=<>-[],]
 * and not empty, else quoted with \" \\ \xHH; longer ones cut and ended by `...`.
 * For who searches the log. */
#define LOG_VALUE_ROOM (LOG_VALUE * 4 + 8)
str log_value(str, char out[static LOG_VALUE_ROOM]);

enum log_to { LOG_TO_STDERR, LOG_TO_SYSLOG, LOG_TO_FILE };

enum err log_open(enum log_to, const char *file, str *why); /* main, also at reload: reopens */
void     log_level_set(enum log_level least);
void     log_start(void);                                   /* starts the writer thread */
/* A line as it is, from a signal handler: to standard error and, when the log is a
 * file, to that. */
void     log_last_words(const char *line, size_t n);
void     log_stop(void);                                    /* writes all, ends the thread; 5 s at most */
uint64_t log_dropped(void);

#endif
