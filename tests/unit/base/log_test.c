/* SPDX-License-Identifier: ISC */
/* log: how lines look; rings, many threads, overflow, reopening. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/err.h"
#include "smtpd/base/log.h"

static char dir[] = "/tmp/postern-log-XXXXXX";
static char file[64], other[64];

static int setup(void **state)
{
	(void)state;
	snprintf(file, sizeof(file), "%s/log", dir);
	snprintf(other, sizeof(other), "%s/log.1", dir);
	unlink(file);
	unlink(other);
	return log_open(LOG_TO_FILE, file, NULL) == OK ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	log_stop();
	log_level_set(LOG_INFO);
	clock_shift(0);
	return log_open(LOG_TO_STDERR, NULL, NULL) == OK ? 0 : -1;
}

/* The whole file; malloc'ed. */
static char *content(const char *path)
{
	FILE  *f = fopen(path, "r");
	char  *text = NULL;
	size_t n = 0;

	assert_non_null(f);
	if (getdelim(&text, &n, '\0', f) < 0) {
		free(text);
		text = strdup("");
	}
	fclose(f);
	return text;
}

static void is(const char *path, const char *want)
{
	char *got = content(path);

	assert_string_equal(got, want);
	free(got);
}

static void values(void **state)
{
	static const struct { str in; const char *want; } cases[] = {
		{ STR("alice@example.org"), "alice@example.org" },
		{ STR("<a+b=c/d:1_2.3,[::1]>-"), "<a+b=c/d:1_2.3,[::1]>-" },
		{ STR(""), "\"\"" },
		{ STR_NONE, "\"\"" },
		{ STR("two words"), "\"two words\"" },
		{ STR("say \"hi\" \\"), "\"say \\\"hi\\\" \\\\\"" },
		{ STR("a\r\nb\0\x7f\x1b[31m"), "\"a\\x0D\\x0Ab\\x00\\x7F\\x1B[31m\"" },
		{ STR("m\xc3\xbcller"), "\"m\\xC3\\xBCller\"" },
		{ STR("a;b"), "\"a;b\"" },
	};
	char out[LOG_VALUE_ROOM], text[LOG_VALUE + 1];
	str  got;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		got = log_value(cases[i].in, out);
		assert_int_equal(got.n, strlen(cases[i].want));
		assert_memory_equal(got.p, cases[i].want, got.n);
	}
	memset(text, 'x', sizeof(text));
	assert_int_equal(log_value((str){ text, LOG_VALUE }, out).n, LOG_VALUE);
	got = log_value((str){ text, LOG_VALUE + 1 }, out);
	assert_int_equal(got.n, LOG_VALUE + 3);
	assert_memory_equal(got.p + LOG_VALUE, "...", 3);
	memset(text, 1, sizeof(text));
	got = log_value((str){ text, sizeof(text) }, out);
	assert_int_equal(got.n, 4 * LOG_VALUE + 5);
	assert_memory_equal(got.p + got.n - 8, "\\x01...\"", 8);
}

static void lines(void **state)
{
	const struct log both = { .id = STR("4G7"), .module = STR("dkim") };
	const struct log none = { 0 };
	struct stat      st;

	(void)state;
	setenv("TZ", "UTC0", 1);
	clock_fix(1795298908);
	log_event(&both, LOG_INFO, "message.stored", KV("from", STR("a@b")), KV_N("size", UINT64_MAX),
	          KV_I("off", INT64_MIN), KV_C("why", "a reason"), KV_C("null", NULL));
	log_event(&none, LOG_ERROR, "disk.failed", KV("x", STR("1")));
	log_event(NULL, LOG_DEBUG, "not.shown", KV("x", STR("1")));
	log_level_set(LOG_DEBUG);
	log_event(NULL, LOG_DEBUG, "now.shown", KV("x", STR("1")));
	log_level_set(LOG_WARN);
	log_event(NULL, LOG_NOTICE, "not.shown", KV("x", STR("1")));
	is(file, "2026-11-21T22:08:28.000+00:00 info message.stored id=4G7 module=dkim from=a@b "
	         "size=18446744073709551615 off=-9223372036854775808 why=\"a reason\" null=\"\"\n"
	         "2026-11-21T22:08:28.000+00:00 error disk.failed x=1\n"
	         "2026-11-21T22:08:28.000+00:00 debug now.shown x=1\n");
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

/* Ten hostile values do not fit: the rest is left out, and the line says so. */
static void long_lines(void **state)
{
	char          evil[LOG_VALUE];
	struct log_kv kv[10];
	char         *got;

	(void)state;
	memset(evil, '\n', sizeof(evil));
	for (size_t i = 0; i < COUNT(kv); i++)
		kv[i] = KV("k", ((str){ evil, sizeof(evil) }));
	log_write(NULL, LOG_INFO, "much.came", kv, COUNT(kv));
	got = content(file);
	assert_ptr_equal(strchr(got, '\n'), got + strlen(got) - 1);
	assert_non_null(strstr(got, "\\x0A\" cut=yes\n"));
	assert_true(strlen(got) <= 4096);
	free(got);
}

static void cannot_open(void **state)
{
	str   why = STR_NONE;
	char *text;

	(void)state;
	assert_int_equal(log_open(LOG_TO_FILE, "/nonexistent/dir/log", &why), ERR_ABSENT);
	assert_non_null(memmem(why.p, why.n, "/nonexistent/dir/log", 20));
	log_event(NULL, LOG_INFO, "still.here", KV("x", STR("1")));
	text = content(file);
	assert_non_null(strstr(text, " info still.here x=1\n"));
	free(text);
}

enum { WRITERS = 4, LINES = 8000 }; /* of one writer more than a ring, a batch and a pipe hold */

static void *write_lines(void *arg)
{
	const struct log l = { .id = STR("id") };
	char             pad[120];

	memset(pad, 'p', sizeof(pad));
	for (int i = 0; i < LINES; i++)
		log_event(&l, LOG_INFO, "line.written", KV_N("by", (uintptr_t)arg), KV_N("n", i),
		          KV("pad", ((str){ pad, (size_t)i % sizeof(pad) + 1 })), KV("end", STR("end")));
	return NULL;
}

static void start_writers(pthread_t t[WRITERS])
{
	for (uintptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, write_lines, (void *)i), 0);
}

static void join_writers(pthread_t t[WRITERS])
{
	for (int i = 0; i < WRITERS; i++)
		pthread_join(t[i], NULL);
}

/* Every line of a file is whole and each thread's are in order; adds what was
 * written and what was told to be dropped. */
static void count_file(const char *path, uint64_t next[WRITERS], uint64_t *written, uint64_t *told)
{
	char *text = content(path), *rest = text, *line;

	while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
		const char *event = strstr(line, " warn log.dropped count=");
		unsigned    by, n;

		if (event != NULL) {
			*told += strtoull(event + 24, NULL, 10);
			continue;
		}
		event = strstr(line, " info line.written id=id by=");
		assert_ptr_equal(event, line + 29);
		assert_int_equal(sscanf(event + 28, "%u n=%u pad=p", &by, &n), 2);
		assert_string_equal(line + strlen(line) - 8, " end=end");
		assert_true(by < WRITERS && n >= next[by]);
		next[by] = n + 1;
		(*written)++;
	}
	free(text);
}

static void many_threads(void **state)
{
	uint64_t  next[WRITERS] = { 0 }, written = 0, told = 0, before = log_dropped();
	pthread_t t[WRITERS];

	(void)state;
	log_start();
	start_writers(t);
	join_writers(t);
	log_stop();
	count_file(file, next, &written, &told);
	assert_int_equal(told, log_dropped() - before);
	assert_int_equal(written + told, WRITERS * LINES);
	assert_true(written > 0);
}

/* A reopening in the middle, as log rotation does it: nothing lost or torn. */
static void reopening(void **state)
{
	uint64_t  next[WRITERS] = { 0 }, written = 0, told = 0, before = log_dropped();
	pthread_t t[WRITERS];

	(void)state;
	log_start();
	start_writers(t);
	assert_int_equal(rename(file, other), 0);
	for (int i = 0; i < 20; i++)
		assert_int_equal(log_open(LOG_TO_FILE, file, NULL), OK);
	join_writers(t);
	log_event(&(struct log){ .id = STR("id") }, LOG_INFO, "line.written", KV_N("by", 0),
	          KV_N("n", LINES), KV("pad", STR("p")), KV("end", STR("end")));
	log_stop();
	count_file(other, next, &written, &told);
	count_file(file, next, &written, &told);
	assert_int_equal(told, log_dropped() - before);
	assert_int_equal(written + told, WRITERS * LINES + 1);
	assert_int_equal(next[0], LINES + 1);
}

static void *drain(void *arg)
{
	int     in = *(int *)arg, out = open(file, O_WRONLY | O_TRUNC);
	char    part[4096];
	ssize_t n;

	while ((n = read(in, part, sizeof(part))) > 0)
		if (write(out, part, (size_t)n) != n)
			break;
	close(out);
	return NULL;
}

/* Nobody reads the pipe: the writer stands still, the thread that logs does
 * not, and when a reader comes, what is missing is told. */
static void full_rings(void **state)
{
	uint64_t  next[WRITERS] = { 0 }, written = 0, told = 0, before = log_dropped();
	char      fifo[64];
	int       in;
	pthread_t t;

	(void)state;
	snprintf(fifo, sizeof(fifo), "%s/fifo", dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	in = open(fifo, O_RDONLY | O_NONBLOCK);
	assert_true(in >= 0);
	assert_int_equal(log_open(LOG_TO_FILE, fifo, NULL), OK);
	log_start();
	write_lines(NULL);
	assert_true(log_dropped() > before);
	assert_int_equal(fcntl(in, F_SETFL, 0), 0);
	assert_int_equal(pthread_create(&t, NULL, drain, &in), 0);
	log_stop();
	assert_int_equal(log_open(LOG_TO_STDERR, NULL, NULL), OK);
	pthread_join(t, NULL);
	count_file(file, next, &written, &told);
	assert_int_equal(told, log_dropped() - before);
	assert_int_equal(written + told, LINES);
	close(in);
	unlink(fifo);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values),
		cmocka_unit_test_setup_teardown(lines, setup, teardown),
		cmocka_unit_test_setup_teardown(long_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(cannot_open, setup, teardown),
		cmocka_unit_test_setup_teardown(many_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(reopening, setup, teardown),
		cmocka_unit_test_setup_teardown(full_rings, setup, teardown),
	};
	int failed;

	if (mkdtemp(dir) == NULL)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(file);
	unlink(other);
	rmdir(dir);
	return failed;
}
