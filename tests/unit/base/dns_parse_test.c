/* SPDX-License-Identifier: ISC */
/* dns_parse: answer messages as peers might build them, good and bad.  Packets
 * are written as text: escapes of C, and `|` between the parts for the eye. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/dns.h"

/* header: id, flags, counts; the question `q.test` or `x.q.test` */
#define HEAD(flags, answers, authority) "\0\7" flags "\0\1" answers authority "\0\0"
#define FINE   "\x81\x80"
#define NX     "\x81\x83"
#define N0     "\0\0"
#define N1     "\0\1"
#define N2     "\0\2"
#define N3     "\0\3"
#define Q(type) "\1q\4test\0" type "\0\1"         /* name at offset 12, type ends the 24th byte */
#define ME     "\xc0\x0c"
#define TTL(s) "\0\0\0" s
#define IN     "\0\1"
#define A_     "\0\1"
#define CN     "\0\5"
#define SOA_   "\0\6"
#define PTR_   "\0\x0c"
#define MX_    "\0\x0f"
#define TXT_   "\0\x10"
#define AAAA_  "\0\x1c"
#define TLSA_  "\0\x34"

#define PACKET(text) (text), sizeof(text) - 1

struct parsed {
	const char   *what;
	const char   *packet;
	size_t        n;
	enum dns_type type;
	enum dns_status want;
	size_t        records;
	uint32_t      ttl_s;
	const char   *canonical;
};

static const struct parsed cases[] = {
	{ "one address", PACKET(HEAD(FINE, N1, N0) Q(A_) ME A_ IN TTL("\x3c") "\0\4" "\xc0\0\2\1"),
	  DNS_A, DNS_FOUND, 1, 60, "q.test" },
	{ "the lowest time counts", PACKET(HEAD(FINE, N2, N0) Q(A_) ME A_ IN TTL("\x3c") "\0\4" "\xc0\0\2\1"
	  ME A_ IN TTL("\x1e") "\0\4" "\xc0\0\2\2"), DNS_A, DNS_FOUND, 2, 30, "q.test" },
	{ "a negative time is none", PACKET(HEAD(FINE, N1, N0) Q(A_) ME A_ IN "\x80\0\0\1" "\0\4" "\xc0\0\2\1"),
	  DNS_A, DNS_FOUND, 1, 0, "q.test" },
	{ "capitals are the same name", PACKET(HEAD(FINE, N1, N0) Q(A_) "\1Q\4TesT\0" A_ IN TTL("\x3c") "\0\4" "\xc0\0\2\1"),
	  DNS_A, DNS_FOUND, 1, 60, "q.test" },
	{ "a stranger's record", PACKET(HEAD(FINE, N2, N0) Q(A_) "\1z\4test\0" A_ IN TTL("\x01") "\0\4" "\xc0\0\2\7"
	  ME A_ IN TTL("\x3c") "\0\4" "\xc0\0\2\1"), DNS_A, DNS_FOUND, 1, 60, "q.test" },
	{ "only a stranger's record", PACKET(HEAD(FINE, N1, N0) Q(A_) "\1z\4test\0" A_ IN TTL("\x01") "\0\4" "\xc0\0\2\7"),
	  DNS_A, DNS_NODATA, 0, 0, "q.test" },
	{ "another class", PACKET(HEAD(FINE, N1, N0) Q(A_) ME A_ "\0\3" TTL("\x01") "\0\4" "\xc0\0\2\7"),
	  DNS_A, DNS_NODATA, 0, 0, "q.test" },
	{ "an alias and its address", PACKET(HEAD(FINE, N2, N0) Q(A_) ME CN IN TTL("\x0a") "\0\4" "\1r\xc0\x0e"
	  "\1r\4test\0" A_ IN TTL("\x3c") "\0\4" "\xc0\0\2\1"), DNS_A, DNS_FOUND, 1, 10, "r.test" },
	{ "the address before the alias", PACKET(HEAD(FINE, N2, N0) Q(A_) "\1r\4test\0" A_ IN TTL("\x3c") "\0\4" "\xc0\0\2\1"
	  ME CN IN TTL("\x0a") "\0\4" "\1r\xc0\x0e"), DNS_A, DNS_FOUND, 1, 10, "r.test" },
	{ "an alias to nothing", PACKET(HEAD(NX, N1, N0) Q(A_) ME CN IN TTL("\x0a") "\0\4" "\1r\xc0\x0e"),
	  DNS_A, DNS_NXDOMAIN, 0, 0, "r.test" },
	{ "an alias to itself", PACKET(HEAD(FINE, N1, N0) Q(A_) ME CN IN TTL("\x0a") "\0\2" ME),
	  DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "the alias asked for", PACKET(HEAD(FINE, N1, N0) Q(CN) ME CN IN TTL("\x0a") "\0\4" "\1r\xc0\x0e"),
	  DNS_CNAME, DNS_FOUND, 1, 10, "q.test" },
	{ "no such name, for a time", PACKET(HEAD(NX, N0, N1) Q(A_) "\4test\0" SOA_ IN TTL("\x3c") "\0\x1a"
	  "\1a\0" "\1b\0" "\0\0\0\1" "\0\0\0\1" "\0\0\0\1" "\0\0\0\1" "\0\0\0\x14"), DNS_A, DNS_NXDOMAIN, 0, 20, "q.test" },
	{ "no data", PACKET(HEAD(FINE, N0, N0) Q(A_)), DNS_A, DNS_NODATA, 0, 0, "q.test" },
	{ "the server failed", PACKET(HEAD("\x81\x82", N0, N0) Q(A_)), DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "the server refused", PACKET(HEAD("\x81\x85", N0, N0) Q(A_)), DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "truncated", PACKET(HEAD("\x83\x80", N0, N0) Q(A_)), DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "a question is no answer", PACKET(HEAD("\x01\x00", N0, N0) Q(A_)), DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "another type asked", PACKET(HEAD(FINE, N0, N0) Q(MX_)), DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "no question", PACKET("\0\7" FINE "\0\0\0\0\0\0\0\0"), DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "nothing", PACKET(""), DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "a record too few", PACKET(HEAD(FINE, N1, N0) Q(A_)), DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "an address of three bytes", PACKET(HEAD(FINE, N1, N0) Q(A_) ME A_ IN TTL("\x3c") "\0\3" "\xc0\0\2"),
	  DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "one bad among good", PACKET(HEAD(FINE, N2, N0) Q(A_) ME A_ IN TTL("\x3c") "\0\4" "\xc0\0\2\1"
	  ME A_ IN TTL("\x3c") "\0\5" "\xc0\0\2\1\1"), DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "data beyond the end", PACKET(HEAD(FINE, N1, N0) Q(A_) ME A_ IN TTL("\x3c") "\0\5" "\xc0\0\2\1"),
	  DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "a pointer to itself", PACKET(HEAD(FINE, N1, N0) Q(A_) "\xc0\x18" A_ IN TTL("\x3c") "\0\4" "\xc0\0\2\1"),
	  DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "a pointer beyond the end", PACKET(HEAD(FINE, N1, N0) Q(A_) "\xc1\x18" A_ IN TTL("\x3c") "\0\4" "\xc0\0\2\1"),
	  DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "an unknown kind of label", PACKET(HEAD(FINE, N1, N0) Q(A_) "\x41q\0" A_ IN TTL("\x3c") "\0\4" "\xc0\0\2\1"),
	  DNS_A, DNS_SERVFAIL, 0, 0, "" },
	{ "mail exchangers", PACKET(HEAD(FINE, N2, N0) Q(MX_) ME MX_ IN TTL("\x3c") "\0\x06" "\0\x14\1M\xc0\x0e"
	  ME MX_ IN TTL("\x3c") "\0\3" "\0\0\0"), DNS_MX, DNS_FOUND, 2, 60, "q.test" },
	{ "an exchanger with a tail", PACKET(HEAD(FINE, N1, N0) Q(MX_) ME MX_ IN TTL("\x3c") "\0\7" "\0\x14\1M\xc0\x0e\1"),
	  DNS_MX, DNS_SERVFAIL, 0, 0, "" },
	{ "an exchanger without a name", PACKET(HEAD(FINE, N1, N0) Q(MX_) ME MX_ IN TTL("\x3c") "\0\2" "\0\x14"),
	  DNS_MX, DNS_SERVFAIL, 0, 0, "" },
	{ "a NUL in a name", PACKET(HEAD(FINE, N1, N0) Q(MX_) ME MX_ IN TTL("\x3c") "\0\x0a" "\0\x14\5m\0.evi\0"),
	  DNS_MX, DNS_SERVFAIL, 0, 0, "" },
	{ "a dot in a label", PACKET(HEAD(FINE, N1, N0) Q(PTR_) ME PTR_ IN TTL("\x3c") "\0\x0a" "\3a.b\4test\0"),
	  DNS_PTR, DNS_SERVFAIL, 0, 0, "" },
	{ "a backslash in a label", PACKET(HEAD(FINE, N1, N0) Q(PTR_) ME PTR_ IN TTL("\x3c") "\0\x0a" "\3a\\b\4test\0"),
	  DNS_PTR, DNS_FOUND, 1, 60, "q.test" },
	{ "texts", PACKET(HEAD(FINE, N1, N0) Q(TXT_) ME TXT_ IN TTL("\x3c") "\0\6" "\2ab\0\1c"), DNS_TXT, DNS_FOUND, 1, 60, "q.test" },
	{ "an empty text", PACKET(HEAD(FINE, N1, N0) Q(TXT_) ME TXT_ IN TTL("\x3c") "\0\1" "\0"), DNS_TXT, DNS_FOUND, 1, 60, "q.test" },
	{ "no text at all", PACKET(HEAD(FINE, N1, N0) Q(TXT_) ME TXT_ IN TTL("\x3c") "\0\0"), DNS_TXT, DNS_FOUND, 1, 60, "q.test" },
	{ "a text beyond its end", PACKET(HEAD(FINE, N1, N0) Q(TXT_) ME TXT_ IN TTL("\x3c") "\0\3" "\3ab"),
	  DNS_TXT, DNS_SERVFAIL, 0, 0, "" },
	{ "an address of sixteen", PACKET(HEAD(FINE, N1, N0) Q(AAAA_) ME AAAA_ IN TTL("\x3c") "\0\x10" "0123456789abcdef"),
	  DNS_AAAA, DNS_FOUND, 1, 60, "q.test" },
	{ "a certificate's mark", PACKET(HEAD(FINE, N1, N0) Q(TLSA_) ME TLSA_ IN TTL("\x3c") "\0\5" "\3\1\1zz"),
	  DNS_TLSA, DNS_FOUND, 1, 60, "q.test" },
	{ "a mark too short", PACKET(HEAD(FINE, N1, N0) Q(TLSA_) ME TLSA_ IN TTL("\x3c") "\0\2" "\3\1"),
	  DNS_TLSA, DNS_SERVFAIL, 0, 0, "" },
	{ "the zone's beginning", PACKET(HEAD(FINE, N1, N0) Q(SOA_) ME SOA_ IN TTL("\x3c") "\0\x1a"
	  "\1a\0" "\1b\0" "\0\0\0\1" "\0\0\0\1" "\0\0\0\1" "\0\0\0\1" "\0\0\0\x14"), DNS_SOA, DNS_FOUND, 1, 60, "q.test" },
};

static void packets_become_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct parsed *c = &cases[i];
		struct dns_answer got;
		struct arena a;

		arena_init(&a, 1 << 16);
		dns_parse(&a, (str){ c->packet, c->n }, c->type, &got);
		if (got.status != c->want || got.n != c->records ||
		    !str_is(got.canonical, c->canonical))
			print_error("%s: %s, %zu records, %.*s\n", c->what,
			            dns_status_text(got.status), got.n, STR_ARG(got.canonical));
		assert_int_equal(got.status, c->want);
		assert_int_equal(got.n, c->records);
		assert_int_equal(got.ttl_s, c->ttl_s);
		assert_true(str_is(got.canonical, c->canonical));
		assert_true((got.status == DNS_SERVFAIL) == (got.why.n > 0));
		arena_fini(&a);
	}
}

static const struct parsed *case_of(const char *what)
{
	for (size_t i = 0; i < COUNT(cases); i++)
		if (strcmp(cases[i].what, what) == 0)
			return &cases[i];
	fail();
	return NULL;
}

static struct dns_answer parse_case(const char *what, struct arena *a)
{
	const struct parsed *c = case_of(what);
	struct dns_answer got;

	dns_parse(a, (str){ c->packet, c->n }, c->type, &got);
	return got;
}

static void records_hold_what_the_packet_said(void **state)
{
	struct dns_answer got;
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 16);
	got = parse_case("mail exchangers", &a);
	assert_int_equal(got.rr[0].mx.preference, 20);
	assert_true(str_is(got.rr[0].mx.host, "m.test"));
	assert_int_equal(got.rr[1].mx.host.n, 0);
	got = parse_case("texts", &a);
	assert_true(str_is(got.rr[0].txt, "abc"));
	assert_int_equal(got.rr[0].txt_strings, 3);
	got = parse_case("a backslash in a label", &a);
	assert_true(str_is(got.rr[0].name, "a\\b.test"));
	got = parse_case("a certificate's mark", &a);
	assert_int_equal(got.rr[0].tlsa.usage, 3);
	assert_true(str_is(got.rr[0].tlsa.data, "zz"));
	got = parse_case("an address of sixteen", &a);
	assert_memory_equal(&got.rr[0].aaaa, "0123456789abcdef", 16);
	got = parse_case("the alias asked for", &a);
	assert_true(str_is(got.rr[0].name, "r.test"));
	assert_false(got.cname);
	got = parse_case("the zone's beginning", &a);
	assert_true(str_is(got.rr[0].name, "a"));
	arena_fini(&a);
}

/* Every packet, cut at every length, in a block of exactly that size: a read
 * beyond it is seen by the sanitizer, and the answer is never half. */
static void a_cut_packet_is_never_half_an_answer(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (size_t n = 0; n < cases[i].n; n++) {
			char *exact = malloc(n ? n : 1);
			struct dns_answer got;
			struct arena a;

			memcpy(exact, cases[i].packet, n);
			arena_init(&a, 1 << 16);
			dns_parse(&a, (str){ exact, n }, cases[i].type, &got);
			if (got.status == DNS_FOUND) { /* the authority section alone was cut */
				assert_int_equal(got.n, cases[i].records);
				assert_int_equal(cases[i].want, DNS_FOUND);
			}
			arena_fini(&a);
			free(exact);
		}
}

/* The one-label name of a number, at the end of a packet. */
static void add_number(char *packet, size_t *n, unsigned number)
{
	packet[(*n)++] = 2;
	packet[(*n)++] = (char)('0' + number / 10);
	packet[(*n)++] = (char)('0' + number % 10);
	packet[(*n)++] = 0;
}

static void add(char *packet, size_t *n, const char *bytes, size_t count)
{
	memcpy(packet + *n, bytes, count);
	*n += count;
}

/* Aliases 00 → 01 → 02 …, in reverse for the search's sake, and an address. */
static size_t make_chain(char *packet, unsigned links)
{
	size_t n = 0;

	add(packet, &n, PACKET("\0\7" FINE "\0\1\0\0\0\0\0\0"));
	packet[7] = (char)(links + 1);
	add_number(packet, &n, 0);
	add(packet, &n, PACKET(A_ IN));
	for (unsigned i = links; i-- > 0;) {
		add_number(packet, &n, i);
		add(packet, &n, PACKET(CN IN TTL("\x09") "\0\4"));
		add_number(packet, &n, i + 1);
	}
	add_number(packet, &n, links);
	add(packet, &n, PACKET(A_ IN TTL("\x09") "\0\4" "\xc0\0\2\1"));
	return n;
}

static void a_chain_has_sixteen_links_at_most(void **state)
{
	char packet[2048];

	(void)state;
	for (unsigned links = 15; links < 19; links++) {
		size_t n = make_chain(packet, links);
		struct dns_answer got;
		struct arena a;

		arena_init(&a, 1 << 16);
		dns_parse(&a, (str){ packet, n }, DNS_A, &got);
		assert_int_equal(got.status, links <= 16 ? DNS_FOUND : DNS_SERVFAIL);
		assert_int_equal(got.n, links <= 16 ? 1 : 0);
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packets_become_answers),
		cmocka_unit_test(records_hold_what_the_packet_said),
		cmocka_unit_test(a_cut_packet_is_never_half_an_answer),
		cmocka_unit_test(a_chain_has_sixteen_links_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
