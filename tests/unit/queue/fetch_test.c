/* SPDX-License-Identifier: ISC */
/* One file over HTTPS: what is taken, what is refused, what is never done. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <signal.h>
#include <cmocka.h>

#include "tests/unit/queue/web.h"

#include "queue/deliver/fetch.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"

#define MOST ((size_t)64 << 10)
#define HEAD "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"

static struct web web;
static struct loop *l;
static struct desk *slow;
static char folder[] = "/tmp/postern-fetch-XXXXXX";
static _Atomic int held;                /* connections that are kept waiting */

/* ---- the server ---------------------------------------------------------------------------- */

static void say_large(SSL *s, size_t n, bool with_length)
{
	char *text = malloc(n + 1);
	char head[200];

	memset(text, 'x', n);
	text[n] = '\0';
	snprintf(head, sizeof(head), with_length ? HEAD "Content-Length: %zu\r\n\r\n" : HEAD "Connection: close\r\n\r\n", n);
	web_say(s, head);
	web_say(s, text);
	free(text);
}

static void say_headers_without_end(SSL *s)
{
	char line[1100];

	memset(line, 'h', sizeof(line));
	memcpy(line, "X-A: ", 5);
	memcpy(line + sizeof(line) - 3, "\r\n", 3);
	web_say(s, HEAD);
	for (int i = 0; i < 10000; i++)
		if (SSL_write(s, line, (int)strlen(line)) <= 0)
			return;
}

/* Until the other side hangs up. */
static void wait_for_end(SSL *s)
{
	char c;

	atomic_fetch_add(&held, 1);
	SSL_read(s, &c, 1);
}

static void answer(struct web *w, SSL *s, const char *path)
{
	static const struct { const char *path, *text; } table[] = {
		{ "/good", HEAD "Content-Length: 5\r\n\r\nhello" },
		{ "/charset", "HTTP/1.1 200 OK\r\nContent-Type: Text/Plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello" },
		{ "/chunks", HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n" },
		{ "/empty", HEAD "Content-Length: 0\r\n\r\n" },
		{ "/html", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello" },
		{ "/typeless", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello" },
		{ "/none", "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello" },
		{ "/created", "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello" },
		{ "/moved", "HTTP/1.1 301 Moved\r\nLocation: /good\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello" },
		{ "/found", "HTTP/1.1 302 Found\r\nLocation: https://good.test/good\r\nContent-Length: 0\r\n\r\n" },
		{ "/old", "hello" },
		{ "/cut", HEAD "Content-Length: 50\r\n\r\nhello" },
	};

	(void)w;
	for (size_t i = 0; i < COUNT(table); i++)
		if (strcmp(path, table[i].path) == 0)
			web_say(s, table[i].text);
	if (strcmp(path, "/large") == 0)
		say_large(s, MOST + 1, true);
	else if (strcmp(path, "/endless") == 0)
		say_large(s, 4 * MOST, false);
	else if (strcmp(path, "/just") == 0)
		say_large(s, MOST, true);
	else if (strcmp(path, "/headers") == 0)
		say_headers_without_end(s);
	else if (strcmp(path, "/silent") == 0)
		wait_for_end(s);
	else if (strcmp(path, "/crawl") == 0) {
		web_say(s, HEAD "Content-Length: 50\r\n\r\nhel");
		wait_for_end(s);
	}
}

/* ---- the asker ------------------------------------------------------------------------------- */

struct asked { struct fetch fetch; bool done; enum fetch_result result; size_t n; char text[16], why[300]; };

static void done(struct fetch *f)
{
	struct asked *a = SUPER(f, struct asked, fetch);

	assert_false(a->done);
	a->done = true;
	a->result = f->result;
	a->n = f->text.n;
	snprintf(a->text, sizeof(a->text), "%.*s", STR_ARG(str_head(f->text, 15)));
	snprintf(a->why, sizeof(a->why), "%.*s", STR_ARG(f->why));
}

static void tick(struct loop_timer *t)
{
	(void)t;
}

static void turn(void)
{
	struct loop_timer t;

	loop_timer_init(&t, l, "tick", tick);
	loop_timer_set(&t, 20);
	ev_run(l->ev, EVRUN_ONCE);
	loop_timer_stop(&t);
}

static void wait_until(const bool *what)
{
	uint64_t until = clock_ms() + 20000;

	while (!*what) {
		assert_true(clock_ms() < until);
		turn();
	}
}

static void begin_at(struct fetcher *f, struct asked *a, const char *host, const char *path, uint16_t port, uint64_t timeout_ms)
{
	*a = (struct asked){ .fetch = {
		.host = str_of(host), .path = str_of(path), .addresses = STR("127.0.0.1"), .port = port,
		.type = STR("text/plain"), .most = MOST, .timeout_ms = timeout_ms, .done = done,
	} };
	fetch_begin(f, &a->fetch);
	assert_false(a->done);                     /* never inside */
}

static enum fetch_result fetch(struct fetcher *f, struct asked *a, const char *host, const char *path)
{
	begin_at(f, a, host, path, web.port, 10000);
	wait_until(&a->done);
	return a->result;
}

static struct fetcher *fetcher(const char *ca)
{
	struct fetcher *f = fetcher_new(l, slow, str_of(ca));

	assert_non_null(f);
	return f;
}

/* As the server ends one: what the desk still has comes home after the end. */
static void finish(struct fetcher *f)
{
	fetcher_end(f);
	while (desk_waiting(slow) > 0)
		turn();
	for (int i = 0; i < 5; i++)
		turn();
	fetcher_free(f);
}

/* ---- tests --------------------------------------------------------------------------------------- */

static void answers_are_judged(void **state)
{
	static const struct { const char *host, *path; enum fetch_result want; const char *text; } cases[] = {
		{ "good.test", "/good", FETCH_OK, "hello" },
		{ "good.test", "/charset", FETCH_OK, "hello" },
		{ "good.test", "/chunks", FETCH_OK, "hello" },
		{ "good.test", "/empty", FETCH_OK, "" },
		{ "good.test", "/just", FETCH_OK, "xxxxxxxxxxxxxxx" },
		{ "good.test", "/html", FETCH_TYPE, NULL },
		{ "good.test", "/typeless", FETCH_TYPE, NULL },
		{ "good.test", "/none", FETCH_STATUS, NULL },
		{ "good.test", "/created", FETCH_STATUS, NULL },
		{ "good.test", "/moved", FETCH_STATUS, NULL },
		{ "good.test", "/found", FETCH_STATUS, NULL },
		{ "good.test", "/large", FETCH_LARGE, NULL },
		{ "good.test", "/endless", FETCH_LARGE, NULL },
		{ "good.test", "/headers", FETCH_UNREACHABLE, NULL },
		{ "good.test", "/old", FETCH_UNREACHABLE, NULL },
		{ "good.test", "/cut", FETCH_UNREACHABLE, NULL },
		{ "good.test", "/unknown", FETCH_UNREACHABLE, NULL },   /* hangs up */
		{ "expired.test", "/good", FETCH_CERTIFICATE, NULL },
		{ "future.test", "/good", FETCH_CERTIFICATE, NULL },
		{ "other.test", "/good", FETCH_CERTIFICATE, NULL },
		{ "stranger.test", "/good", FETCH_CERTIFICATE, NULL },
		{ "cn.test", "/good", FETCH_CERTIFICATE, NULL },
	};
	struct fetcher *f = fetcher(web.ca_file);
	struct asked a;

	(void)state;
	setenv("https_proxy", "http://127.0.0.1:1", 1);
	setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
	for (size_t i = 0; i < COUNT(cases); i++) {
		int before = atomic_load(&web.asked), times;

		fetch(f, &a, cases[i].host, cases[i].path);
		times = atomic_load(&web.asked) - before;
		if (a.result != cases[i].want || (cases[i].text != NULL && strcmp(a.text, cases[i].text) != 0))
			fail_msg("%s%s: %d \"%s\" (%s)", cases[i].host, cases[i].path, a.result, a.text, a.why);
		if (times > 1)
			fail_msg("%s: asked for %d times", cases[i].path, times);
		if (a.result != FETCH_OK && a.why[0] == '\0')
			fail_msg("%s%s: no reason", cases[i].host, cases[i].path);
	}
	unsetenv("https_proxy");
	unsetenv("ALL_PROXY");
	finish(f);
}

static void who_is_slow_is_left(void **state)
{
	struct fetcher *f = fetcher(web.ca_file);
	struct asked a, b, good;

	(void)state;
	begin_at(f, &a, "good.test", "/silent", web.port, 400);
	begin_at(f, &b, "good.test", "/crawl", web.port, 400);
	assert_int_equal(fetch(f, &good, "good.test", "/good"), FETCH_OK);   /* beside them */
	wait_until(&a.done);
	wait_until(&b.done);
	assert_int_equal(a.result, FETCH_TIMEOUT);
	assert_int_equal(b.result, FETCH_TIMEOUT);
	finish(f);
}

/* A port that is bound and has no listener. */
static uint16_t closed_port(int *fd)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(at);

	*fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(*fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(*fd, (struct sockaddr *)&at, &n), 0);
	return ntohs(at.sin_port);
}

static void nobody_there(void **state)
{
	struct fetcher *f = fetcher(web.ca_file);
	struct asked a;
	int fd;

	(void)state;
	begin_at(f, &a, "good.test", "/good", closed_port(&fd), 5000);
	wait_until(&a.done);
	assert_int_equal(a.result, FETCH_UNREACHABLE);
	close(fd);
	finish(f);
}

static void more_addresses_than_one(void **state)
{
	struct fetcher *f = fetcher(web.ca_file);
	struct asked a = { .fetch = {
		.host = STR("good.test"), .path = STR("/good"), .addresses = STR("127.0.0.2,[::1],127.0.0.1"),
		.port = web.port, .type = STR("text/plain"), .most = MOST, .timeout_ms = 10000, .done = done,
	} };

	(void)state;
	fetch_begin(f, &a.fetch);
	wait_until(&a.done);
	assert_int_equal(a.result, FETCH_OK);
	finish(f);
}

/* libcurl would look a name up if it had no address for it. */
static void names_are_not_looked_up(void **state)
{
	struct fetcher *f = fetcher(web.ca_file);
	struct asked a = { .fetch = {
		.host = STR("localhost"), .path = STR("/good"), .addresses = STR("nonsense"),
		.port = web.port, .type = STR("text/plain"), .most = MOST, .timeout_ms = 10000, .done = done,
	} };
	int before = atomic_load(&web.asked);

	(void)state;
	fetch_begin(f, &a.fetch);
	wait_until(&a.done);
	assert_int_not_equal(a.result, FETCH_OK);
	assert_int_equal(atomic_load(&web.asked), before);
	finish(f);
}

/* The desk has read the CAs before the first handshake; the loop reads no file. */
static void cas_are_read_on_the_desk(void **state)
{
	struct fetcher *f = fetcher(web.ca_file);
	char aside[300];
	struct asked a;
	int fd;

	(void)state;
	begin_at(f, &a, "good.test", "/good", closed_port(&fd), 5000);    /* gets no further than connect(2) */
	wait_until(&a.done);
	close(fd);
	snprintf(aside, sizeof(aside), "%s/aside.pem", folder);
	assert_int_equal(rename(web.ca_file, aside), 0);
	assert_int_equal(fetch(f, &a, "good.test", "/good"), FETCH_OK);
	assert_int_equal(fetch(f, &a, "stranger.test", "/good"), FETCH_CERTIFICATE);
	assert_int_equal(rename(aside, web.ca_file), 0);
	finish(f);
}

static void other_cas_from_the_next_fetch_on(void **state)
{
	char empty[300];
	struct fetcher *f;
	struct asked a;
	FILE *out;

	(void)state;
	snprintf(empty, sizeof(empty), "%s/none.pem", folder);
	f = fetcher(empty);
	assert_int_equal(fetch(f, &a, "good.test", "/good"), FETCH_OURS);      /* no such file */
	fetcher_trust(f, str_of(web.ca_file));
	assert_int_equal(fetch(f, &a, "good.test", "/good"), FETCH_OK);
	out = fopen(empty, "w");
	fputs("no certificate\n", out);
	fclose(out);
	fetcher_trust(f, str_of(empty));
	assert_int_equal(fetch(f, &a, "good.test", "/good"), FETCH_OURS);
	fetcher_trust(f, str_of(web.ca_file));
	assert_int_equal(fetch(f, &a, "good.test", "/good"), FETCH_OK);
	unlink(empty);
	finish(f);
}

static void stopped_says_nothing(void **state)
{
	struct fetcher *f = fetcher(web.ca_file);
	struct asked waiting, out, good;
	int before = atomic_load(&held);

	(void)state;
	begin_at(f, &waiting, "good.test", "/good", web.port, 10000);
	fetch_stop(&waiting.fetch);                /* while the CAs are read */
	fetch_stop(&waiting.fetch);
	begin_at(f, &out, "good.test", "/silent", web.port, 10000);
	while (atomic_load(&held) == before)
		turn();
	fetch_stop(&out.fetch);
	assert_int_equal(fetch(f, &good, "good.test", "/good"), FETCH_OK);
	assert_false(waiting.done);
	assert_false(out.done);
	finish(f);
}

static void ended_while_the_desk_reads(void **state)
{
	struct fetcher *f = fetcher(web.ca_file);
	struct asked a;

	(void)state;
	begin_at(f, &a, "good.test", "/good", web.port, 10000);
	turn();
	fetch_stop(&a.fetch);
	finish(f);
	assert_false(a.done);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_judged),
		cmocka_unit_test(who_is_slow_is_left),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(more_addresses_than_one),
		cmocka_unit_test(names_are_not_looked_up),
		cmocka_unit_test(cas_are_read_on_the_desk),
		cmocka_unit_test(other_cas_from_the_next_fetch_on),
		cmocka_unit_test(stopped_says_nothing),
		cmocka_unit_test(ended_while_the_desk_reads),
	};
	int failed;

	signal(SIGPIPE, SIG_IGN);
	crypt_setup();
	if (mkdtemp(folder) == NULL)
		return 1;
	web_start(&web, folder, "example.test", answer);
	l = loop_new(0, NULL);
	slow = desk_open("slow", 1);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	desk_close(slow);
	loop_free(l);
	web_stop(&web);
	rmdir(folder);
	return failed;
}
