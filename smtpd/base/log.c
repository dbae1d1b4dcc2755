/* SPDX-License-Identifier: ISC */
/*
 * log: lines are made by the thread that logs (log_line.c), put into its ring
 * (log_ring.c), and written by one thread, oldest first over all rings.
 *
 * The writer owns the descriptor.  At reload main hands it the next one by an
 * atomic pointer.  Before log_start and after log_stop there is no writer and
 * each line is one write(2).
 */
#include <syslog.h>

/* syslog.h has macros of our levels' names. */
static const int syslog_levels[] = { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARNING, LOG_ERR };
static const int syslog_facility = LOG_MAIL;
static const int syslog_options = LOG_PID | LOG_NDELAY;
#undef LOG_DEBUG
#undef LOG_INFO
#undef LOG_NOTICE

#include "smtpd/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "smtpd/base/log_ring.h"

#define GATHER_NS   5000000           /* how long lines may gather once the writer is roused: with 1 ms it costs half as much again */
#define STALL_MS    1000              /* how long a full pipe may stop one write */
#define STOP_S      5                 /* how long log_stop waits for a writer that is stuck */
#define BATCH       ((size_t)64 << 10)

struct sink {
	enum log_to to;
	int         fd;
	bool        torn; /* a line was written in part: the next begins on a new one */
};

static struct sink            sink = { LOG_TO_STDERR, STDERR_FILENO, false };
static _Atomic(struct sink *) next_sink;
static _Atomic int            least_level = LOG_INFO;
static atomic_bool            running, stopping, asleep;
static int                    rouser = -1;
static pthread_t              writer;
static _Atomic uint64_t       lost; /* lines that a broken descriptor cost */

/* All of it, or false when the descriptor refuses or stalls. */
static bool write_all(struct sink *s, const char *p, size_t n)
{
	struct pollfd poll_out = { .fd = s->fd, .events = POLLOUT };

	while (n > 0) {
		ssize_t done = write(s->fd, p, n);

		if (done < 0 && errno == EAGAIN && poll(&poll_out, 1, STALL_MS) > 0)
			continue;
		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return false;
		s->torn = p[done - 1] != '\n';
		p += done;
		n -= (size_t)done;
	}
	return true;
}

static uint64_t count_lines(str s)
{
	uint64_t n = 0;

	for (str line; str_cut(&s, '\n', &line);)
		n++;
	return n - 1;
}

static bool write_text(struct sink *s, const char *p, size_t n)
{
	return n == 0 || ((!s->torn || write_all(s, "\n", 1)) && write_all(s, p, n));
}

static bool write_line(struct sink *s, const struct log_line *line)
{
	if (s->to != LOG_TO_SYSLOG)
		return write_text(s, line->text, line->n);
	syslog(syslog_levels[line->level], "%.*s", line->n - line->event_at - 1,
	       line->text + line->event_at);
	return true;
}

static void write_batch(struct sink *s, const char *p, size_t n)
{
	if (!write_text(s, p, n))
		atomic_fetch_add(&lost, count_lines((str){ p, n }));
}

/* Everything in the rings, oldest first. */
static void write_rings(void)
{
	static char     batch[BATCH];
	struct log_line line;
	size_t          n = 0;

	while (log_ring_take(&line)) {
		if (sink.to == LOG_TO_SYSLOG) {
			write_line(&sink, &line);
			continue;
		}
		if (line.n > sizeof(batch) - n) {
			write_batch(&sink, batch, n);
			n = 0;
		}
		memcpy(batch + n, line.text, line.n);
		n += line.n;
	}
	write_batch(&sink, batch, n);
}

static void tell_dropped(void)
{
	static uint64_t told;
	uint64_t        dropped = log_dropped();
	struct log_line line;

	if (dropped == told)
		return;
	log_line_make(&line, NULL, LOG_WARN, "log.dropped", &KV_N("count", dropped - told), 1);
	if (write_line(&sink, &line))
		told = dropped;
}

static void take_over(struct sink *s)
{
	int old = sink.to == LOG_TO_FILE ? sink.fd : -1;

	sink = *s;
	free(s);
	if (old >= 0)
		close(old);
}

static void rouse(void)
{
	uint64_t one = 1;

	if (atomic_exchange(&asleep, false))
		(void)!write(rouser, &one, sizeof(one));
}

/* Sleeps unless something came between the last look and `asleep`: who puts a
 * line and sees `asleep` rouses us, who does not see it we see (both are
 * sequentially consistent). */
static void rest(void)
{
	const struct timespec gather = { .tv_nsec = GATHER_NS };
	uint64_t              count;

	atomic_store(&asleep, true);
	if (log_ring_any() || atomic_load(&stopping) || atomic_load(&next_sink) != NULL) {
		atomic_store(&asleep, false);
		return;
	}
	while (read(rouser, &count, sizeof(count)) < 0 && errno == EINTR)
		;
	if (!atomic_load(&stopping))
		nanosleep(&gather, NULL);
}

static void *write_on(void *arg)
{
	(void)arg;
	pthread_setname_np(pthread_self(), "log");
	for (;;) {
		bool         last = atomic_load(&stopping);
		struct sink *s = atomic_exchange(&next_sink, NULL);

		if (s != NULL)
			take_over(s);
		write_rings();
		tell_dropped();
		if (last)
			return NULL;
		rest();
	}
}

void log_start(void)
{
	sigset_t all, old;

	if (atomic_load(&running))
		return;
	rouser = eventfd(0, EFD_CLOEXEC);
	if (rouser < 0)
		return; /* lines go on being written at once */
	atomic_store(&stopping, false);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	if (pthread_create(&writer, NULL, write_on, NULL) == 0)
		atomic_store(&running, true);
	else
		close(rouser);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

void log_stop(void)
{
	struct timespec until;

	if (!atomic_load(&running))
		return;
	atomic_store(&stopping, true);
	atomic_store(&asleep, true);
	rouse();
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += STOP_S;
	/* Who does not read our standard error must not keep us alive. */
	if (pthread_timedjoin_np(writer, NULL, &until) != 0)
		return;
	atomic_store(&running, false);
	write_rings();
	close(rouser);
}

void log_write(const struct log *l, enum log_level level, const char *event,
               const struct log_kv *kv, size_t n)
{
	struct log_line line;

	if ((int)level < atomic_load_explicit(&least_level, memory_order_relaxed))
		return;
	log_line_make(&line, l, level, event, kv, n);
	if (!atomic_load(&running)) {
		struct sink s = sink;

		if (!write_line(&s, &line))
			atomic_fetch_add(&lost, 1);
		return;
	}
	if (log_ring_put(&line) && atomic_load(&asleep))
		rouse();
}

void log_last_words(const char *line, size_t n)
{
	int fd = sink.fd;
	ssize_t told = write(STDERR_FILENO, line, n);

	if (fd != STDERR_FILENO)
		told = write(fd, line, n);
	(void)told;
}

static int file_open(const char *file, str *why)
{
	static _Thread_local char text[512];
	int fd = open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
	int e = errno;

	if (fd >= 0)
		return fd;
	snprintf(text, sizeof(text), "log file %.300s cannot be opened: %s: make it writable for "
	         "this user, or set log { to = stderr }", file, strerror(e));
	if (why != NULL)
		*why = str_of(text);
	errno = e;
	return -1;
}

enum err log_open(enum log_to to, const char *file, str *why)
{
	struct sink  new = { to, STDERR_FILENO, false };
	struct sink *handed;

	if (to == LOG_TO_FILE && (new.fd = file_open(file, why)) < 0)
		return err_of_errno(errno);
	if (to == LOG_TO_SYSLOG)
		openlog("postern", syslog_options, syslog_facility);
	handed = malloc(sizeof(*handed));
	if (handed == NULL) {
		if (to == LOG_TO_FILE)
			close(new.fd);
		return ERR_MEMORY;
	}
	*handed = new;
	if (!atomic_load(&running)) {
		take_over(handed);
		return OK;
	}
	handed = atomic_exchange(&next_sink, handed);
	/* The one before was never taken over. */
	if (handed != NULL && handed->to == LOG_TO_FILE)
		close(handed->fd);
	free(handed);
	rouse();
	return OK;
}

void log_level_set(enum log_level least)
{
	atomic_store(&least_level, (int)least);
}

uint64_t log_dropped(void)
{
	return log_ring_dropped() + atomic_load(&lost);
}
