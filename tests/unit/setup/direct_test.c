/* SPDX-License-Identifier: ISC */
/*
 * Packets of authoritative servers, made up and taken apart; servers of our own that
 * lie, stall and send the wrong thing; updates.
 *
 * With POSTERN_UPDATE=SERVER ZONE KEY ALGORITHM SECRET in the environment the program
 * is no test but sends the update that its arguments say (tests/interop/update_test.py):
 * direct_test add|remove NAME TYPE TTL VALUE …
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/setup/dns/direct_inside.h"

/* ---- packets --------------------------------------------------------------------------- */

#define ID     0x1234
#define NAME   "s1._domainkey.d.test"
#define QNAME  "\2s1\12_domainkey\1d\4test\0"
#define Q      QNAME "\0\20\0\1"
#define HEAD(flags, n) "\x12\x34" flags "\0\1\0" n "\0\0\0\0"
#define TXT(ttl, rdata) "\xc0\x0c\0\20\0\1\0\0\0" ttl rdata
#define P(bytes) { bytes, sizeof(bytes) - 1 }

static const struct {
	const char *what;
	str packet;
	enum packet_fit fit;
	enum dns_status status;
	bool aa, tc;
	size_t n;
	const char *records, *cname;
} packets[] = {
	{ "one record", P(HEAD("\x84\0", "\1") Q TXT("\x3c", "\0\4\3abc")), PACKET_OURS, DNS_FOUND, true, false, 1, "abc|", "" },
	{ "strings joined", P(HEAD("\x84\0", "\1") Q TXT("\x3c", "\0\6\2ab\0\1c")), PACKET_OURS, DNS_FOUND, true, false, 1, "abc|", "" },
	{ "two, sorted", P(HEAD("\x84\0", "\2") Q TXT("\x3c", "\0\2\1z") TXT("\x3c", "\0\2\1a")), PACKET_OURS, DNS_FOUND, true, false, 2, "a|z|", "" },
	{ "without authority", P(HEAD("\x80\0", "\1") Q TXT("\x3c", "\0\2\1z")), PACKET_OURS, DNS_FOUND, false, false, 1, "z|", "" },
	{ "no data", P(HEAD("\x84\0", "\0") Q), PACKET_OURS, DNS_NODATA, true, false, 0, "", "" },
	{ "no such name", P(HEAD("\x84\3", "\0") Q), PACKET_OURS, DNS_NXDOMAIN, true, false, 0, "", "" },
	{ "refused", P(HEAD("\x80\5", "\0") Q), PACKET_OURS, DNS_SERVFAIL, false, false, 0, "", "" },
	{ "refused, the question left out", P("\x12\x34\x80\5\0\0\0\0\0\0\0\0"), PACKET_OURS, DNS_SERVFAIL, false, false, 0, "", "" },
	{ "truncated", P(HEAD("\x86\0", "\0") Q), PACKET_OURS, DNS_TIMEOUT, true, true, 0, "", "" },
	{ "knows no EDNS", P(HEAD("\x80\1", "\0") Q), PACKET_NO_EDNS, DNS_FOUND, false, false, 0, "", "" },
	{ "alias", P(HEAD("\x84\0", "\1") Q "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\5\2K2\xc0\x0f"), PACKET_OURS, DNS_NODATA, true, false, 0, "", "k2._domainkey.d.test" },
	{ "alias and what it leads to", P(HEAD("\x84\0", "\2") Q "\xc0\x0c\0\5\0\1\0\0\0\x3c\0\5\2k2\xc0\x0f" "\2k2\xc0\x0f\0\20\0\1\0\0\0\x3c\0\2\1z"),
	  PACKET_OURS, DNS_NODATA, true, false, 0, "", "k2._domainkey.d.test" },
	{ "a record of another name", P(HEAD("\x84\0", "\1") Q "\1x\xc0\x0c\0\20\0\1\0\0\0\x3c\0\2\1z"), PACKET_OURS, DNS_NODATA, true, false, 0, "", "" },
	{ "another class", P(HEAD("\x84\0", "\1") Q "\xc0\x0c\0\20\0\3\0\0\0\x3c\0\2\1z"), PACKET_OURS, DNS_NODATA, true, false, 0, "", "" },
	{ "another id", P("\x12\x35\x84\0\0\1\0\1\0\0\0\0" Q TXT("\x3c", "\0\2\1z")), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "a question", P(HEAD("\x04\0", "\0") Q), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "another opcode", P(HEAD("\xa4\0", "\0") Q), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "another name asked", P(HEAD("\x84\0", "\0") "\2s2\12_domainkey\1d\4test\0" "\0\20\0\1"), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "another type asked", P(HEAD("\x84\0", "\0") QNAME "\0\1\0\1"), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "no question, yet content", P("\x12\x34\x84\0\0\0\0\0\0\0\0\0"), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "nothing", P(""), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "half a head", P("\x12\x34\x84\0\0\1"), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "a count without records", P(HEAD("\x84\0", "\7") Q), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "a pointer to itself", P(HEAD("\x84\0", "\1") Q "\xc0\x26\0\20\0\1\0\0\0\x3c\0\2\1z"), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "a string longer than its record", P(HEAD("\x84\0", "\1") Q TXT("\x3c", "\0\2\xffz")), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
	{ "a record longer than the packet", P(HEAD("\x84\0", "\1") Q TXT("\x3c", "\xff\xff\1z")), PACKET_STRANGE, DNS_FOUND, false, false, 0, "", "" },
};

static void packets_are_read(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(packets); i++) {
		struct direct_reply r = { 0 };
		struct arena a;
		char got[200] = "";
		enum packet_fit fit;

		arena_init(&a, ARENA_UNBOUNDED);
		fit = packet_read(packets[i].packet, STR(NAME), DNS_TXT, ID, &a, &r);
		for (size_t k = 0; k < r.n; k++)
			snprintf(got + strlen(got), sizeof(got) - strlen(got), "%.*s|", STR_ARG(r.records[k]));
		if (fit != packets[i].fit || r.status != packets[i].status || r.authoritative != packets[i].aa ||
		    r.truncated != packets[i].tc || r.n != packets[i].n || strcmp(got, packets[i].records) != 0 ||
		    !str_is(r.cname, packets[i].cname))
			fail_msg("%s: fit %d status %d aa %d tc %d n %zu \"%s\" cname %.*s", packets[i].what, fit, r.status,
			         r.authoritative, r.truncated, r.n, got, STR_ARG(r.cname));
		if (r.n > 0)
			assert_int_equal(r.ttl_s, 60);
		arena_fini(&a);
	}
}

/* No packet cut short or with an octet changed does harm; the sanitizers look on. */
static void broken_packets_do_no_harm(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(packets); i++) {
		for (size_t at = 0; at < packets[i].packet.n; at++) {
			uint8_t copy[300];
			struct direct_reply r = { 0 };
			struct arena a;

			memcpy(copy, packets[i].packet.p, packets[i].packet.n);
			copy[at] ^= 0xff;
			arena_init(&a, ARENA_UNBOUNDED);
			packet_read((str){ (char *)copy, packets[i].packet.n }, STR(NAME), DNS_TXT, ID, &a, &r);
			packet_read(str_head(packets[i].packet, at), STR(NAME), DNS_TXT, ID, &a, &r);
			arena_fini(&a);
		}
	}
}

static void questions_are_written(void **state)
{
	uint8_t out[PACKET_QUERY_MAX];
	size_t n = packet_query(STR(NAME), DNS_TXT, ID, false, out);

	(void)state;
	assert_int_equal(n, 12 + sizeof(Q) - 1);
	assert_memory_equal(out, "\x12\x34\0\0\0\1\0\0\0\0\0\0", 12);        /* no recursion wanted */
	assert_memory_equal(out + 12, Q, sizeof(Q) - 1);
	assert_int_equal(packet_query(STR(NAME), DNS_TXT, ID, true, out), n + 11);
	assert_int_equal(out[n + 3] << 8 | out[n + 4], PACKET_UDP_SIZE);
	assert_int_equal(packet_query(STR("a..b"), DNS_TXT, ID, true, out), 0);
	assert_int_equal(packet_query(STR(""), DNS_TXT, ID, true, out), 0);
}

/* ---- servers that misbehave ----------------------------------------------------------------- */

enum manner { HONEST, STRANGERS_FIRST, NEVER, FIRST_IS_LOST, WITHOUT_EDNS, TCP_WRONG, TCP_CLOSES, TCP_DRIPS, TCP_STOPS };

struct server {
	enum manner manner;
	int udp, tcp;
	struct sockaddr_in at;
	pthread_t threads[2];
};

static size_t answer(const uint8_t *question, size_t n, uint8_t *out)
{
	static const char record[] = TXT("\x3c", "\0\4\3abc");
	size_t q = 12 + sizeof(Q) - 1;

	(void)n;
	memcpy(out, question, q);
	memcpy(out + 2, "\x84\0\0\1\0\1\0\0\0\0", 10);
	memcpy(out + q, record, sizeof(record) - 1);
	return q + sizeof(record) - 1;
}

static void *serve_udp(void *arg)
{
	struct server *s = arg;
	uint8_t in[600], out[600];
	struct sockaddr_in from;
	socklen_t from_n = sizeof(from);
	ssize_t n;

	for (unsigned asked = 0; (n = recvfrom(s->udp, in, sizeof(in), 0, (struct sockaddr *)&from, &from_n)) > 1; asked++) {
		size_t m = answer(in, (size_t)n, out);

		if (s->manner == NEVER || (s->manner == FIRST_IS_LOST && asked == 0))
			continue;
		if (s->manner == WITHOUT_EDNS && in[11] > 0)
			out[3] = 1;                                        /* FORMERR */
		if (s->manner == STRANGERS_FIRST) {
			out[0] ^= 1;
			sendto(s->udp, out, m, 0, (struct sockaddr *)&from, from_n);
			sendto(s->udp, "x", 1, 0, (struct sockaddr *)&from, from_n);
			out[0] ^= 1;
		}
		sendto(s->udp, out, m, 0, (struct sockaddr *)&from, from_n);
	}
	return NULL;
}

static bool read_all(int fd, uint8_t *p, size_t n)
{
	for (ssize_t got; n > 0; p += got, n -= (size_t)got)
		if ((got = recv(fd, p, n, 0)) <= 0)
			return false;
	return true;
}

static void serve_connection(struct server *s, int fd)
{
	uint8_t in[600], out[602], head[2];
	size_t n, m;

	while (read_all(fd, head, 2) && (n = (size_t)(head[0] << 8 | head[1])) <= sizeof(in) && read_all(fd, in, n)) {
		m = answer(in, n, out + 2);
		out[0] = (uint8_t)(m >> 8);
		out[1] = (uint8_t)m;
		if (s->manner == TCP_CLOSES)
			return;
		if (s->manner == TCP_WRONG)
			out[2] ^= 1;
		if (s->manner == WITHOUT_EDNS && in[11] > 0)
			out[5] = 1;
		for (size_t i = 0; s->manner == TCP_DRIPS && i < m + 2; i++)
			send(fd, out + i, 1, MSG_NOSIGNAL);
		if (s->manner != TCP_DRIPS && s->manner != NEVER)
			send(fd, out, s->manner == TCP_STOPS ? 20 : m + 2, MSG_NOSIGNAL);
	}
}

static void *serve_tcp(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->tcp, NULL, NULL)) >= 0) {
		serve_connection(s, fd);
		close(fd);
	}
	return NULL;
}

static void server_start(struct server *s, enum manner manner)
{
	socklen_t n = sizeof(s->at);
	int done = -1;

	*s = (struct server){ .manner = manner };
	for (unsigned i = 0; i < 50 && done != 0; i++) {           /* one port for both */
		s->at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
		s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		s->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(s->tcp, (struct sockaddr *)&s->at, n), 0);
		getsockname(s->tcp, (struct sockaddr *)&s->at, &n);
		done = bind(s->udp, (struct sockaddr *)&s->at, n);
		if (done != 0) {
			close(s->udp);
			close(s->tcp);
		}
	}
	assert_int_equal(done, 0);
	assert_int_equal(listen(s->tcp, 4), 0);
	pthread_create(&s->threads[0], NULL, serve_udp, s);
	pthread_create(&s->threads[1], NULL, serve_tcp, s);
}

static void server_stop(struct server *s)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	sendto(fd, "", 1, 0, (struct sockaddr *)&s->at, sizeof(s->at));    /* one octet ends it */
	close(fd);
	shutdown(s->tcp, SHUT_RDWR);
	pthread_join(s->threads[0], NULL);
	pthread_join(s->threads[1], NULL);
	close(s->udp);
	close(s->tcp);
}

static const struct { enum manner manner; enum dns_status udp, tcp; const char *why; } manners[] = {
	{ HONEST,          DNS_FOUND,   DNS_FOUND,   "" },
	{ STRANGERS_FIRST, DNS_FOUND,   DNS_FOUND,   "" },
	{ FIRST_IS_LOST,   DNS_FOUND,   DNS_FOUND,   "" },
	{ WITHOUT_EDNS,    DNS_FOUND,   DNS_FOUND,   "" },
	{ TCP_DRIPS,       DNS_FOUND,   DNS_FOUND,   "" },
	{ TCP_WRONG,       DNS_FOUND,   DNS_TIMEOUT, "it answered another question than the one asked" },
	{ TCP_CLOSES,      DNS_FOUND,   DNS_TIMEOUT, "it closed the connection without an answer" },
	{ TCP_STOPS,       DNS_FOUND,   DNS_TIMEOUT, "no answer within 0.9 s" },
	{ NEVER,           DNS_TIMEOUT, DNS_TIMEOUT, "no answer within 0.9 s" },
};

/* All at the same time: the whole takes as long as the slowest. */
static void servers_that_misbehave(void **state)
{
	struct direct_server asked[COUNT(manners) + 1] = { 0 };
	struct direct_zone z = { .name = STR("d.test"), .servers = asked, .n = COUNT(manners) };
	struct direct d = { .conf = { .timeout_ms = 900 } };
	struct server servers[COUNT(manners)];
	struct direct_reply *r;
	struct arena a;
	uint64_t began;
	size_t n;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(manners); i++) {
		server_start(&servers[i], manners[i].manner);
		memcpy(&asked[i].at, &servers[i].at, sizeof(servers[i].at));
		asked[i].at_n = sizeof(servers[i].at);
	}
	began = clock_ms();
	assert_int_equal(direct_ask(&d, &z, STR(NAME), DNS_TXT, &a, &r, &n), OK);
	assert_true(clock_ms() - began < 9 * 900);
	assert_int_equal(n, 2 * COUNT(manners));
	for (size_t i = 0; i < COUNT(manners); i++) {
		const struct direct_reply *tcp = &r[2 * i + 1];

		if (r[2 * i].status != manners[i].udp || tcp->status != manners[i].tcp || !str_is(tcp->why, manners[i].why))
			fail_msg("manner %d: %d, %d (%.*s)", manners[i].manner, r[2 * i].status, tcp->status, STR_ARG(tcp->why));
		assert_true(tcp->tcp && !r[2 * i].tcp && tcp->server == &asked[i]);
		if (tcp->status == DNS_FOUND)
			assert_true(tcp->n == 1 && str_is(tcp->records[0], "abc") && tcp->authoritative);
		server_stop(&servers[i]);
	}
	arena_fini(&a);
}

static void nobody_there(void **state)
{
	struct direct_server asked = { .at_n = sizeof(struct sockaddr_in) };
	struct direct_zone z = { .servers = &asked, .n = 1 };
	struct direct d = { .conf = { .timeout_ms = 5000 } };
	struct direct_reply *r;
	struct server s;
	struct arena a;
	size_t n;

	(void)state;
	server_start(&s, HONEST);
	memcpy(&asked.at, &s.at, sizeof(s.at));
	server_stop(&s);
	arena_init(&a, ARENA_UNBOUNDED);
	assert_int_equal(direct_ask(&d, &z, STR(NAME), DNS_TXT, &a, &r, &n), OK);
	assert_true(str_is(r[0].why, "nobody listens there over UDP") && str_is(r[1].why, "nobody listens there over TCP"));
	assert_int_equal(direct_ask(&d, &z, STR("a..b"), DNS_TXT, &a, &r, &n), ERR_BAD);
	arena_fini(&a);
}

/* ---- updates ------------------------------------------------------------------------------------- */

static const struct direct_change good = { STR("s1._domainkey.d.test"), "TXT", STR("\"a\" \"b\""), 60, false };

static void what_is_no_update_is_not_sent(void **state)
{
	static const struct { struct direct_update d; struct direct_change c; const char *why; } rows[] = {
		{ { .zone = STR("d.test"), .server = STR("127.0.0.1:1"), .key_name = STR("k"), .key_algorithm = STR("hmac-md5"), .key_secret = STR("AAAA") },
		  { STR("a.d.test"), "TXT", STR("x"), 60, false }, "no algorithm for updates" },
		{ { .zone = STR("d.test"), .server = STR("127.0.0.1:1"), .key_name = STR("k"), .key_algorithm = STR("hmac-sha256"), .key_secret = STR("not base64!") },
		  { STR("a.d.test"), "TXT", STR("x"), 60, false }, "the secret of the key is not base64" },
		{ { .zone = STR("d.test"), .server = STR("127.0.0.1:1"), .key_name = STR("k..l"), .key_algorithm = STR("hmac-sha256"), .key_secret = STR("AAAA") },
		  { STR("a.d.test"), "TXT", STR("x"), 60, false }, "is no name of a key" },
		{ { .zone = STR("d..test"), .server = STR("127.0.0.1:1"), .key_name = STR("k"), .key_algorithm = STR("hmac-sha256"), .key_secret = STR("AAAA") },
		  { STR("a.d.test"), "TXT", STR("x"), 60, false }, "is no zone" },
		{ { .zone = STR("d.test"), .server = STR("127.0.0.1:1"), .key_name = STR("k"), .key_algorithm = STR("hmac-sha256"), .key_secret = STR("AAAA") },
		  { STR("a.d.test"), "A", STR("not an address"), 60, false }, "is no record" },
		{ { .zone = STR("d.test"), .server = STR("mail.d.test"), .key_name = STR("k"), .key_algorithm = STR("hmac-sha256"), .key_secret = STR("AAAA") },
		  { STR("a.d.test"), "TXT", STR("x"), 60, false }, "give the server as ADDR:PORT" },
		{ { .zone = STR("d.test"), .key_name = STR("k"), .key_algorithm = STR("hmac-sha256"), .key_secret = STR("AAAA") },
		  { STR("a.d.test"), "TXT", STR("x"), 60, true }, "no server is named" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct arena a;
		str why;
		char text[300];

		arena_init(&a, ARENA_UNBOUNDED);
		assert_int_equal(direct_tell(&rows[i].d, &rows[i].c, 1, 1000, &a, &why), ERR_BAD);
		snprintf(text, sizeof(text), "%.*s", STR_ARG(why));
		if (strstr(text, rows[i].why) == NULL)
			fail_msg("%zu: %s", i, text);
		arena_fini(&a);
	}
}

/* The server's answer must be signed: an echo with NOERROR is no success, nor is junk. */
static void unsigned_answers_are_not_believed(void **state)
{
	struct direct_update d = { .zone = STR("d.test"), .key_name = STR("k"), .key_algorithm = STR("HMAC-SHA256"), .key_secret = STR("c2VjcmV0c2VjcmV0") };
	struct packet_update *u;
	struct arena a;
	uint8_t copy[600];
	str wire, why = STR_NONE;
	size_t bare;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	u = packet_update_new(&d, &good, 1, &a, &why);
	assert_non_null(u);
	wire = packet_update_wire(u);
	assert_true(wire.n < sizeof(copy));
	memcpy(copy, wire.p, wire.n);
	assert_int_equal(packet_update_read(u, wire, clock_wall(), &a, &why), ERR_BAD);           /* the question itself */
	copy[2] |= 0x80;
	assert_int_equal(packet_update_read(u, (str){ (char *)copy, wire.n }, clock_wall(), &a, &why), ERR_BAD);
	assert_true(str_starts(why, "the server's answer is not signed"));                         /* signed as a question */
	bare = 12 + 12;
	memcpy(copy + 4, "\0\1\0\0\0\0\0\0", 8);
	assert_int_equal(packet_update_read(u, (str){ (char *)copy, bare }, clock_wall(), &a, &why), ERR_BAD);
	copy[3] = 5;                                                                                /* REFUSED */
	assert_int_equal(packet_update_read(u, (str){ (char *)copy, bare }, clock_wall(), &a, &why), ERR_DENIED);
	copy[0] ^= 1;
	assert_int_equal(packet_update_read(u, (str){ (char *)copy, bare }, clock_wall(), &a, &why), ERR_BAD);
	for (size_t i = 0; i < wire.n; i++) {
		memcpy(copy, wire.p, wire.n);
		copy[2] |= 0x80;
		copy[i] ^= 0x55;
		assert_int_not_equal(packet_update_read(u, (str){ (char *)copy, wire.n }, clock_wall(), &a, &why), OK);
		assert_int_not_equal(packet_update_read(u, (str){ (char *)copy, i }, clock_wall(), &a, &why), OK);
	}
	packet_update_free(u);
	arena_fini(&a);
}

/* ---- not a test: sends an update ------------------------------------------------------------------- */

static int send_update(const char *what, int argc, char **argv)
{
	struct direct_change changes[8];
	struct direct_update d = { 0 };
	str rest = str_of(what), why, *const words[] = { &d.server, &d.zone, &d.key_name, &d.key_algorithm, &d.key_secret };
	struct arena a;
	size_t n = 0;
	enum err e;

	for (size_t i = 0; i < COUNT(words); i++)
		str_cut(&rest, ' ', words[i]);
	for (int i = 1; i + 4 < argc && n < COUNT(changes); i += 5)
		changes[n++] = (struct direct_change){ str_of(argv[i + 1]), argv[i + 2], str_of(argv[i + 4]),
		                                       (uint32_t)atoi(argv[i + 3]), strcmp(argv[i], "remove") == 0 };
	arena_init(&a, ARENA_UNBOUNDED);
	e = direct_tell(&d, changes, n, 5000, &a, &why);
	printf("%s\n%.*s\n", e == OK ? "done" : err_text(e), STR_ARG(why));
	arena_fini(&a);
	return e != OK;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_are_read),
		cmocka_unit_test(broken_packets_do_no_harm),
		cmocka_unit_test(questions_are_written),
		cmocka_unit_test(servers_that_misbehave),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(what_is_no_update_is_not_sent),
		cmocka_unit_test(unsigned_answers_are_not_believed),
	};

	crypt_setup();
	if (getenv("POSTERN_UPDATE") != NULL)
		return send_update(getenv("POSTERN_UPDATE"), argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
