/* SPDX-License-Identifier: ISC */
/* dns over libunbound, against a small name server on loopback that knows a few
 * tricks: silence, truncation, failure. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/dns.h"
#include "smtpd/base/stat.h"

/* ---- the server: what it does stands in the first label -------------------- */

struct server {
	pthread_t     thread;
	int           udp, tcp, stop;
	char          at[32];               /* ADDR:PORT */
	atomic_size_t udp_seen, tcp_seen;
};

static size_t put_u16(uint8_t *at, unsigned n)
{
	at[0] = (uint8_t)(n >> 8);
	at[1] = (uint8_t)n;
	return 2;
}

/* A record whose owner is the name at `owner` in the packet. */
static size_t put_record(uint8_t *at, unsigned owner, unsigned type, const void *data, size_t n)
{
	put_u16(at, 0xc000 | owner);
	put_u16(at + 2, type);
	put_u16(at + 4, 1);
	put_u16(at + 6, 0);
	put_u16(at + 8, 60);
	put_u16(at + 10, (unsigned)n);
	memcpy(at + 12, data, n);
	return 12 + n;
}

static bool label_is(const uint8_t *q, const char *word)
{
	return q[12] == strlen(word) && memcmp(q + 13, word, q[12]) == 0;
}

static size_t question_end(const uint8_t *q, size_t n)
{
	size_t at = 12;

	while (at < n && q[at] != 0)
		at += 1u + q[at];
	return at + 5 <= n ? at + 5 : 0;
}

static size_t put_answer(uint8_t *out, size_t at, unsigned type)
{
	static const uint8_t mx[] = { 0, 10, 4, 'm', 'a', 'i', 'l', 0xc0, 12 };
	static const uint8_t tlsa[] = { 3, 1, 1, 0xab, 0xcd };
	static const uint8_t ptr[] = { 4,   'M', 'a', 'i', 'l', 4,   'h', 'o',
		                       'm', 'e', 4,   't', 'e', 's', 't', 0 };
	uint8_t txt[8 * 201];

	for (size_t i = 0; i < 8; i++) {
		txt[201 * i] = 200;
		memset(txt + 201 * i + 1, 'x', 200);
	}
	switch (type) {
	case DNS_A: return put_record(out + at, 12, type, "\xc0\x00\x02\x01", 4);
	case DNS_AAAA:
		return put_record(out + at, 12, type, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1",
		                  16);
	case DNS_MX: return put_record(out + at, 12, type, mx, sizeof(mx));
	case DNS_TXT: return put_record(out + at, 12, type, txt, sizeof(txt));
	case DNS_PTR: return put_record(out + at, 12, type, ptr, sizeof(ptr));
	case DNS_TLSA: return put_record(out + at, 12, type, tlsa, sizeof(tlsa));
	default: return 0;
	}
}

/* An alias to LABEL.home.test, and if `both` the address of that name. */
static size_t put_alias(uint8_t *out, size_t at, bool both, unsigned *answers)
{
	static const uint8_t to[] = { 4,   'g', 'o', 'a', 'l', 4,   'h', 'o',
		                      'm', 'e', 4,   't', 'e', 's', 't', 0 };
	size_t n = put_record(out + at, 12, DNS_CNAME, to, sizeof(to));

	*answers = 1;
	if (!both)
		return n;
	*answers = 2;
	return n + put_record(out + at + n, (unsigned)at + 12, DNS_A, "\xc0\x00\x02\x05", 4);
}

/* Length of the answer in `out`; 0: be silent. */
static size_t answer(const uint8_t *q, size_t n, uint8_t *out, bool udp)
{
	size_t end = n > 12 ? question_end(q, n) : 0, grown = 0;
	unsigned type, flags = 0x8580, answers = 0;

	if (end == 0 || (q[12] > 5 && memcmp(q + 13, "silent", 6) == 0))
		return 0;
	memcpy(out, q, end);
	memset(out + 4, 0, 8);
	out[5] = 1;
	type = (unsigned)out[end - 4] << 8 | out[end - 3];
	if (label_is(q, "nx"))
		flags |= 3;
	else if (label_is(q, "fail"))
		flags |= 2;
	else if (label_is(q, "refuse"))
		flags |= 5;
	else if (label_is(q, "tc") && udp)
		flags |= 0x0200;
	else if (label_is(q, "alias") || label_is(q, "hop"))
		grown = put_alias(out, end, label_is(q, "alias"), &answers);
	else if (!label_is(q, "nodata"))
		grown = put_answer(out, end, type);
	put_u16(out + 2, flags);
	put_u16(out + 6, answers ? answers : grown > 0);
	return end + grown;
}

static void serve_udp(struct server *s)
{
	uint8_t in[2048], out[8192];
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n = recvfrom(s->udp, in, sizeof(in), MSG_DONTWAIT, (struct sockaddr *)&from, &len);
	size_t m = n > 0 ? answer(in, (size_t)n, out, true) : 0;

	s->udp_seen += n > 0;
	if (m > 0)
		sendto(s->udp, out, m, 0, (struct sockaddr *)&from, len);
}

static void serve_tcp(struct server *s)
{
	uint8_t in[2048], out[8194];
	struct timeval wait = { .tv_sec = 2 };
	int fd = accept(s->tcp, NULL, NULL);
	size_t n, m;

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	if (recv(fd, in, 2, MSG_WAITALL) == 2) {
		n = (size_t)in[0] << 8 | in[1];
		if (n <= sizeof(in) && recv(fd, in, n, MSG_WAITALL) == (ssize_t)n) {
			s->tcp_seen++;
			m = answer(in, n, out + 2, false);
			put_u16(out, (unsigned)m);
			if (m > 0)
				(void)!write(fd, out, m + 2);
		}
	}
	close(fd);
}

static void *serve(void *arg)
{
	struct server *s = arg;
	struct pollfd fds[] = { { .fd = s->udp, .events = POLLIN },
		                { .fd = s->tcp, .events = POLLIN },
		                { .fd = s->stop, .events = POLLIN } };

	while (poll(fds, 3, -1) > 0 && !fds[2].revents) {
		if (fds[0].revents)
			serve_udp(s);
		if (fds[1].revents)
			serve_tcp(s);
	}
	return NULL;
}

static void server_start(struct server *s)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int large = 4 << 20;

	memset(s, 0, sizeof(*s));
	do { /* the UDP port that the kernel gives must be free for TCP, too */
		if (s->tcp > 0) {
			close(s->tcp);
			close(s->udp);
			in.sin_port = 0;
		}
		s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		setsockopt(s->udp, SOL_SOCKET, SO_RCVBUF, &large, sizeof(large));
		assert_int_equal(bind(s->udp, (struct sockaddr *)&in, sizeof(in)), 0);
		assert_int_equal(getsockname(s->udp, (struct sockaddr *)&in, &len), 0);
	} while (bind(s->tcp, (struct sockaddr *)&in, sizeof(in)) != 0);
	assert_int_equal(listen(s->tcp, 64), 0);
	s->stop = eventfd(0, EFD_CLOEXEC);
	snprintf(s->at, sizeof(s->at), "127.0.0.1:%u", ntohs(in.sin_port));
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void server_end(struct server *s)
{
	uint64_t one = 1;

	assert_int_equal(write(s->stop, &one, sizeof(one)), sizeof(one));
	pthread_join(s->thread, NULL);
	close(s->udp);
	close(s->tcp);
	close(s->stop);
}

/* ---- asking ---------------------------------------------------------------- */

static struct fixture {
	struct server server;
	struct loop  *loop;
	struct dns   *dns;
	struct arena  arena;
} f;

static struct dns_answer got;
static size_t answers_left;

static void answered(struct dns_ask *ask, const struct dns_answer *a)
{
	(void)ask;
	got = *a;
	if (--answers_left == 0)
		loop_stop(f.loop);
}

static void run_until(size_t answers)
{
	answers_left = answers;
	f.loop->stopping = false;
	loop_run(f.loop);
}

static const struct dns_answer *ask_once(const char *name, enum dns_type type, uint64_t timeout_ms)
{
	struct dns_ask ask = { 0 };

	dns_ask(f.dns, &ask, &f.arena, str_of(name), type, timeout_ms, answered, NULL);
	run_until(1);
	return &got;
}

static const char *anchor;    /* of the next dns_of */

static struct dns *dns_of(const char *only, const char *forward, struct strs local)
{
	str fwd[] = { str_of(forward) }, why = STR_NONE;
	struct dns_conf c = { .only = str_of(only),
		              .timeout_ms = 5000,
		              .local = local,
		              .trust_anchor = str_of(anchor) };
	struct dns *dns;

	if (forward != NULL)
		c.forward = (struct strs){ fwd, 1 };
	c.local_special = true;
	dns = dns_new(&c, f.loop, &f.arena, &why);
	if (dns == NULL)
		print_error("%.*s\n", STR_ARG(why));
	assert_non_null(dns);
	return dns;
}

static int open_it(void **state)
{
	static str local[] = { STR("local.test MX 10 mail.local.test"),
		               STR("mail.local.test A 127.0.0.9") };
	struct rlimit files;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max; /* as the server does at its start */
	setrlimit(RLIMIT_NOFILE, &files);
	server_start(&f.server);
	arena_init(&f.arena, ARENA_UNBOUNDED);
	f.loop = loop_new(0, NULL);
	f.dns = dns_of(NULL, f.server.at, (struct strs){ local, COUNT(local) });
	return 0;
}

static int close_it(void **state)
{
	(void)state;
	dns_free(f.dns);
	loop_free(f.loop);
	arena_fini(&f.arena);
	server_end(&f.server);
	return 0;
}

static bool is(str s, const char *want)
{
	if (!str_is(s, want))
		print_error("got %.*s, want %s\n", STR_ARG(s), want);
	return str_is(s, want);
}

static void every_type_is_answered(void **state)
{
	char ip[64];

	(void)state;
	assert_int_equal(ask_once("one.test", DNS_A, 0)->status, DNS_FOUND);
	assert_string_equal(inet_ntop(AF_INET, &got.rr[0].a, ip, sizeof(ip)), "192.0.2.1");
	assert_false(got.secure);
	assert_in_range(got.ttl_s, 1, 60);
	assert_int_equal(ask_once("one.test.", DNS_AAAA, 0)->status, DNS_FOUND);
	assert_string_equal(inet_ntop(AF_INET6, &got.rr[0].aaaa, ip, sizeof(ip)), "2001:db8::1");
	assert_int_equal(ask_once("ONE.test", DNS_MX, 0)->status, DNS_FOUND);
	assert_int_equal(got.rr[0].mx.preference, 10);
	assert_true(is(got.rr[0].mx.host, "mail.one.test"));
	assert_true(is(got.canonical, "one.test"));
	assert_int_equal(ask_once("one.test", DNS_TXT, 0)->status, DNS_FOUND);
	assert_int_equal(got.rr[0].txt.n, 1600);
	assert_int_equal(got.rr[0].txt_strings, 8);
	assert_int_equal(ask_once("1.0.0.127.in-addr.arpa", DNS_PTR, 0)->status, DNS_FOUND);
	assert_true(is(got.rr[0].name, "mail.home.test"));
	assert_int_equal(ask_once("1.1.168.192.in-addr.arpa", DNS_PTR, 0)->status, DNS_FOUND);
	assert_int_equal(ask_once("_25._tcp.one.test", DNS_TLSA, 0)->status, DNS_FOUND);
	assert_int_equal(got.rr[0].tlsa.usage, 3);
	assert_int_equal(got.rr[0].tlsa.data.n, 2);
	assert_int_equal(ask_once("a b(c)\\\"d.one.test", DNS_A, 0)->status, DNS_FOUND);
	assert_true(is(got.canonical, "a b(c)\\\"d.one.test"));
}

static void failures_are_told_apart(void **state)
{
	static const struct { const char *name; enum dns_status want; } table[] = {
		{ "nx.one.test", DNS_NXDOMAIN },
		{ "nodata.one.test", DNS_NODATA },
		{ "fail.one.test", DNS_SERVFAIL },
		{ "refuse.one.test", DNS_SERVFAIL },
		{ "silent.one.test", DNS_TIMEOUT },
		{ "two..dots.test", DNS_BADNAME },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++)
		assert_int_equal(ask_once(table[i].name, DNS_A, 300)->status, table[i].want);
}

static void aliases_are_followed(void **state)
{
	(void)state;
	assert_int_equal(ask_once("alias.one.test", DNS_A, 0)->status, DNS_FOUND);
	assert_true(got.cname);
	assert_true(is(got.canonical, "goal.home.test"));
	assert_int_equal(ask_once("hop.one.test", DNS_A, 0)->status, DNS_FOUND); /* the target is asked by itself */
	assert_true(is(got.canonical, "goal.home.test"));
}

static void truncation_leads_to_tcp(void **state)
{
	size_t before = f.server.tcp_seen;

	(void)state;
	assert_int_equal(ask_once("tc.one.test", DNS_TXT, 0)->status, DNS_FOUND);
	assert_int_equal(got.rr[0].txt.n, 1600);
	assert_true(f.server.tcp_seen > before);
}

static void local_data_comes_first(void **state)
{
	size_t before = f.server.udp_seen;

	(void)state;
	assert_int_equal(ask_once("local.test", DNS_MX, 0)->status, DNS_FOUND);
	assert_int_equal(ask_once("other.local.test", DNS_A, 0)->status, DNS_NXDOMAIN);
	assert_int_equal(f.server.udp_seen, before);
	assert_int_equal(ask_once("notlocal.test", DNS_A, 0)->status, DNS_FOUND);
	assert_true(f.server.udp_seen > before);
}

static uint64_t counted(const char *name)
{
	for (size_t i = 0; i < stat_count(); i++)
		if (strcmp(stat_name((unsigned)i), name) == 0)
			return stat_sum((unsigned)i);
	fail();
	return 0;
}

static void equal_questions_are_asked_once(void **state)
{
	struct dns_ask asks[50] = { 0 };
	size_t before = f.server.udp_seen;
	uint64_t joined = counted("dns.joined");

	(void)state;
	for (size_t i = 0; i < COUNT(asks); i++)
		dns_ask(f.dns, &asks[i], &f.arena, STR("equal.test"), DNS_A, 0, answered, NULL);
	assert_int_equal(dns_out(f.dns), 50);
	run_until(50);
	assert_int_equal(counted("dns.joined") - joined, 49);
	assert_in_range(f.server.udp_seen - before, 1, 10); /* a busy machine makes the library repeat itself */
}

#define SILENT 1000

static void silent_answered(struct dns_ask *ask, const struct dns_answer *a)
{
	(void)ask;
	assert_true(dns_failed(a->status));
}

/* Time in which threads of ours could run and no processor was free. */
static uint64_t waited_ms(void)
{
	DIR *d = opendir("/proc/self/task");
	unsigned long long sum = 0, ran, waited;
	char path[300];

	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", e->d_name);
		file = fopen(path, "r");
		if (file != NULL && fscanf(file, "%llu %llu", &ran, &waited) == 2)
			sum += waited;
		if (file != NULL)
			fclose(file);
	}
	if (d != NULL)
		closedir(d);
	return sum / 1000000;
}

/* Of the time until an answer that counts which the machine did not spend on something else. */
static void a_thousand_silent_questions_delay_nobody(void **state)
{
	static struct dns_ask silent[SILENT];
	struct dns_ask good = { 0 };
	size_t before = f.server.udp_seen, prompt = 0;
	uint64_t began;
	char name[64];

	(void)state;
	for (size_t i = 0; i < SILENT; i++) {
		snprintf(name, sizeof(name), "silent%zu.s%zu.test", i, i);
		dns_ask(f.dns, &silent[i], &f.arena, str_of(name), DNS_A, 3600000, silent_answered,
		        NULL);
	}
	for (size_t i = 0; i < 20; i++) {
		began = clock_ms() - waited_ms();
		snprintf(name, sizeof(name), "good%zu.test", i);
		dns_ask(f.dns, &good, &f.arena, str_of(name), DNS_A, 0, answered, NULL);
		run_until(1);
		assert_int_equal(got.status, DNS_FOUND);
		prompt += (int64_t)(clock_ms() - waited_ms() - began) < 50;
		assert_int_equal(dns_out(f.dns), SILENT);       /* none of them was waited for */
	}
	assert_true(f.server.udp_seen - before >= SILENT);
	assert_true(prompt >= 15); /* the others are a busy machine's */
	for (size_t i = 0; i < SILENT; i++)
		dns_cancel(&silent[i]);
	assert_int_equal(dns_out(f.dns), 0);
}

static void only_means_that_server_alone(void **state)
{
	static const char *const names[] = { "localhost",
		                             "one.invalid",
		                             "one.onion",
		                             "1.0.0.127.in-addr.arpa",
		                             "1.2.168.192.in-addr.arpa",
		                             "host.home.arpa",
		                             "example.com" };
	struct server server, other;
	struct dns *before = f.dns;

	(void)state;
	server_start(&server);
	server_start(&other);
	f.dns = dns_of(server.at, other.at, (struct strs){ NULL, 0 });
	for (size_t i = 0; i < COUNT(names); i++) {
		size_t seen = server.udp_seen;

		assert_int_equal(ask_once(names[i], DNS_A, 0)->status, DNS_FOUND);
		assert_true(server.udp_seen > seen);
	}
	assert_int_equal(other.udp_seen, 0);
	dns_free(f.dns);
	f.dns = before;
	server_end(&server);
	server_end(&other);
}

/* A zone that must be signed and is not; --resolver believes it all the same. */
static void a_broken_signature_is_bogus(void **state)
{
	static const char text[] =
		"signed.test. IN DS 12345 8 2 "
		"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n";
	char file[] = "/tmp/dns_test.XXXXXX";
	struct dns *before = f.dns;
	int fd = mkstemp(file);

	(void)state;
	assert_int_equal(write(fd, text, sizeof(text) - 1), sizeof(text) - 1);
	close(fd);
	anchor = file;
	f.dns = dns_of(NULL, f.server.at, (struct strs){ NULL, 0 });
	assert_int_equal(ask_once("one.signed.test", DNS_A, 0)->status, DNS_BOGUS);
	assert_true(got.why.n > 0);
	assert_false(got.secure);
	assert_int_equal(ask_once("one.unsigned.test", DNS_A, 0)->status, DNS_FOUND);
	dns_free(f.dns);
	f.dns = dns_of(f.server.at, NULL, (struct strs){ NULL, 0 });
	assert_int_equal(ask_once("one.signed.test", DNS_A, 0)->status, DNS_FOUND);
	dns_free(f.dns);
	f.dns = before;
	anchor = NULL;
	unlink(file);
}

static void the_end_cancels_what_the_library_still_asks(void **state)
{
	struct dns *dns = dns_of(f.server.at, NULL, (struct strs){ NULL, 0 });
	struct dns_ask asks[20] = { 0 };
	char name[64];

	(void)state;
	for (size_t i = 0; i < COUNT(asks); i++) {
		snprintf(name, sizeof(name), "silent%zu.end.test", i);
		dns_ask(dns, &asks[i], &f.arena, str_of(name), DNS_A, 0, answered, NULL);
	}
	dns_cancel(&asks[0]);
	answers_left = COUNT(asks) - 1;
	dns_free(dns);
	assert_int_equal(answers_left, 0);
	assert_int_equal(got.status, DNS_TIMEOUT);
}

static void a_bad_setting_has_a_reason(void **state)
{
	str servers[] = { STR("localhost:53") }, lines[] = { STR("home.test MX") }, why = STR_NONE;
	const struct {
		struct dns_conf c;
		const char *want;
	} table[] = {
		{ { .forward = { servers, 1 } }, "must be ADDR:PORT" },
		{ { .only = STR("unix:/x") }, "must be ADDR:PORT" },
		{ { .trust_anchor = STR("/nonexistent/root.key") },
		  "trust-anchor /nonexistent/root.key" },
		{ { .local = { lines, 1 } }, "line 1" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		assert_null(dns_new(&table[i].c, f.loop, &f.arena, &why));
		assert_non_null(strstr(str_cstr(&f.arena, why), table[i].want));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_type_is_answered),
		cmocka_unit_test(failures_are_told_apart),
		cmocka_unit_test(aliases_are_followed),
		cmocka_unit_test(truncation_leads_to_tcp),
		cmocka_unit_test(local_data_comes_first),
		cmocka_unit_test(equal_questions_are_asked_once),
		cmocka_unit_test(a_thousand_silent_questions_delay_nobody),
		cmocka_unit_test(only_means_that_server_alone),
		cmocka_unit_test(a_broken_signature_is_bogus),
		cmocka_unit_test(the_end_cancels_what_the_library_still_asks),
		cmocka_unit_test(a_bad_setting_has_a_reason),
	};

	return cmocka_run_group_tests(tests, open_it, close_it);
}
