/* SPDX-License-Identifier: ISC */
/*
 * spf: check_host() over a table of records.  The community's suite
 * (tests/conformance) covers the RFC case by case; here stands what it leaves
 * out: identities, limits, cancelling, words, hostile sizes.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "modules/spf/spf.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/dns_local.h"
#include "smtpd/base/loop.h"

static const char zone[] =
	"a.test       TXT  v=spf1 ip4:192.0.2.0/24 -all\n"
	"b.test       TXT  v=spf1 include:a.test ~all\n"
	"c.test       TXT  v=spf1 -include:b.test +all\n"
	"loop.test    TXT  v=spf1 include:loop.test -all\n"
	"slow.test    TXT  SERVFAIL\n"
	"late.test    TXT  TIMEOUT\n"
	"bogus.test   TXT  BOGUS\n"
	"two.test     TXT  v=spf1 -all\n"
	"two.test     TXT  v=spf1 +all\n"
	"bad.test     TXT  v=spf1 ip4:192.0.2 -all\n"
	"empty.test   TXT  v=spf1\n"
	"text.test    TXT  hello\n"
	"red.test     TXT  v=spf1 redirect=a.test\n"
	"redinc.test  TXT  v=spf1 include:red.test ?all\n"
	"rednone.test TXT  v=spf1 redirect=text.test\n"
	"incnone.test TXT  v=spf1 include:none.test -all\n"
	"inctemp.test TXT  v=spf1 include:slow.test -all\n"
	"incbad.test  TXT  v=spf1 include:bad.test -all\n"
	"mx.test      TXT  v=spf1 mx -all\n"
	"mx.test      MX   10 m1.test\n"
	"mx.test      MX   20 m2.test\n"
	"m1.test      A    SERVFAIL\n"
	"m2.test      A    192.0.2.25\n"
	"m2.test      AAAA 2001:db8::25\n"
	"nullmx.test  TXT  v=spf1 mx ~all\n"
	"nullmx.test  MX   0 .\n"
	"ptr.test     TXT  v=spf1 ptr -all\n"
	"25.2.0.192.in-addr.arpa PTR elsewhere.example\n"
	"25.2.0.192.in-addr.arpa PTR host.ptr.test\n"
	"host.ptr.test A   192.0.2.25\n"
	"elsewhere.example A SERVFAIL\n"
	"26.2.0.192.in-addr.arpa PTR SERVFAIL\n"
	"27.2.0.192.in-addr.arpa PTR xptr.test\n"
	"xptr.test    A    192.0.2.27\n"
	"p.test       TXT  v=spf1 exists:%{p}.ok.test redirect=%{p}.no.test\n"
	"host.ptr.test.ok.test A 127.0.0.2\n"
	"v1.test      TXT  v=spf1 a:n1.test a:n2.test -all\n"
	"v2.test      TXT  v=spf1 a:n1.test a:n2.test a:n3.test -all\n"
	"l.test       TXT  v=spf1 exists:%{l}.l.test exists:%{s}.s.test -all\n"
	"user.l.test  A    127.0.0.2\n"
	"odd.test     TXT  v=spf1 exists:%{l}.odd.test ~all\n"
	"odd.test     A    127.0.0.2\n"
	"postmaster.l.test A 127.0.0.2\n"
	"helo.test    TXT  v=spf1 ip4:192.0.2.7 -all exp=why.test\n"
	"why.test     TXT  \"%{c} is not %{o}, %{s} says %{r}\"\n"
	"xn--bcher-kva.test TXT v=spf1 -all\n"
	"upper.test   TXT  v=spf1 include:A.Test MX -ALL\n"
	"old.test     TXT  spf2.0/pra ip4:192.0.2.7 -all\n"
	"old.test     TXT  v=spf1 -all\n";

struct scene {
	struct arena       arena;
	struct loop       *loop;
	struct dns        *dns;
	struct spf_query   q;
	struct spf_check  *check;
	unsigned           told;
};

static void told(struct spf_check *c, void *user)
{
	struct scene *s = user;

	(void)c;
	s->told++;
	ev_break(s->loop->ev, EVBREAK_ALL);
}

static void begin(struct scene *s, const char *records, const char *ip, const char *helo, const char *from)
{
	struct sockaddr_in  *v4 = (struct sockaddr_in *)&s->q.ip;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&s->q.ip;

	memset(s, 0, sizeof(*s));
	arena_init(&s->arena, 1 << 20);
	s->loop = loop_new(0, NULL);
	s->dns = dns_with(dns_local_source(records), s->loop, 5000);
	v4->sin_family = AF_INET;
	if (inet_pton(AF_INET, ip, &v4->sin_addr) != 1) {
		v6->sin6_family = AF_INET6;
		assert_int_equal(inet_pton(AF_INET6, ip, &v6->sin6_addr), 1);
	}
	s->q.helo = str_of(helo);
	s->q.limits = (struct spf_limits)SPF_LIMITS_DEFAULT;
	s->q.receiver = STR("mx.here.test");
	if (*from == '\0')
		s->q.sender.is_null = true;
	else
		assert_true(path_of(&s->arena, str_of(from), &s->q.sender));
}

static void end(struct scene *s)
{
	dns_free(s->dns);
	loop_free(s->loop);
	arena_fini(&s->arena);
}

static const struct spf_outcome *run(struct scene *s)
{
	s->check = spf_start(s->dns, &s->arena, &s->q, told, s);
	assert_non_null(s->check);
	assert_int_equal(s->told, 0);            /* never inside the call */
	assert_null(spf_outcome(s->check));
	ev_run(s->loop->ev, 0);
	ev_run(s->loop->ev, EVRUN_NOWAIT);
	assert_int_equal(s->told, 1);
	assert_int_equal(dns_out(s->dns), 0);
	return spf_outcome(s->check);
}

static void verdicts(void **state)
{
	static const struct {
		const char *ip, *helo, *from, *want, *mechanism;
		unsigned    lookups, voids;
	} cases[] = {
		{ "192.0.2.7", "h.test", "u@a.test", "pass", "ip4:192.0.2.0/24", 0, 0 },
		{ "::ffff:192.0.2.7", "h.test", "u@a.test", "pass", "ip4:192.0.2.0/24", 0, 0 },
		{ "198.51.100.1", "h.test", "u@a.test", "fail", "all", 0, 0 },
		{ "192.0.2.7", "h.test", "u@b.test", "pass", "include:a.test", 1, 0 },
		{ "198.51.100.1", "h.test", "u@b.test", "softfail", "all", 1, 0 },
		{ "192.0.2.7", "h.test", "u@c.test", "fail", "include:b.test", 2, 0 },
		{ "198.51.100.1", "h.test", "u@c.test", "pass", "all", 2, 0 },
		{ "192.0.2.7", "h.test", "u@loop.test", "permerror", "", 11, 0 },
		{ "192.0.2.7", "h.test", "u@slow.test", "temperror", "", 0, 0 },
		{ "192.0.2.7", "h.test", "u@late.test", "temperror", "", 0, 0 },
		{ "192.0.2.7", "h.test", "u@bogus.test", "temperror", "", 0, 0 },
		{ "192.0.2.7", "h.test", "u@none.test", "none", "", 0, 0 },
		{ "192.0.2.7", "h.test", "u@text.test", "none", "", 0, 0 },
		{ "192.0.2.7", "h.test", "u@test", "none", "", 0, 0 },
		{ "192.0.2.7", "h.test", "u@[192.0.2.7]", "none", "", 0, 0 },
		{ "192.0.2.7", "h.test", "u@two.test", "permerror", "", 0, 0 },
		{ "192.0.2.7", "h.test", "u@bad.test", "permerror", "", 0, 0 },
		{ "192.0.2.7", "h.test", "u@empty.test", "neutral", "default", 0, 0 },
		{ "192.0.2.7", "h.test", "u@red.test", "pass", "ip4:192.0.2.0/24", 1, 0 },
		{ "192.0.2.7", "h.test", "u@redinc.test", "pass", "include:red.test", 2, 0 },
		{ "198.51.100.1", "h.test", "u@redinc.test", "neutral", "all", 2, 0 },
		{ "192.0.2.7", "h.test", "u@rednone.test", "permerror", "", 1, 0 },
		{ "192.0.2.7", "h.test", "u@incnone.test", "permerror", "", 1, 0 },
		{ "192.0.2.7", "h.test", "u@inctemp.test", "temperror", "", 1, 0 },
		{ "192.0.2.7", "h.test", "u@incbad.test", "permerror", "", 1, 0 },
		{ "192.0.2.25", "h.test", "u@mx.test", "pass", "mx", 1, 0 },     /* whatever m1 says */
		{ "192.0.2.7", "h.test", "u@mx.test", "temperror", "", 1, 0 },
		{ "2001:db8::25", "h.test", "u@mx.test", "pass", "mx", 1, 0 },
		{ "192.0.2.7", "h.test", "u@nullmx.test", "softfail", "all", 1, 0 },
		{ "192.0.2.25", "h.test", "u@ptr.test", "pass", "ptr", 1, 0 },   /* the failing name is skipped */
		{ "192.0.2.26", "h.test", "u@ptr.test", "fail", "all", 1, 0 },   /* RFC 7208 5.5: no match */
		{ "192.0.2.27", "h.test", "u@ptr.test", "fail", "all", 1, 0 },   /* xptr.test is not below ptr.test */
		{ "192.0.2.28", "h.test", "u@ptr.test", "fail", "all", 1, 1 },
		{ "192.0.2.25", "h.test", "u@p.test", "pass", "exists:%{p}.ok.test", 1, 0 },
		{ "192.0.2.27", "h.test", "u@p.test", "permerror", "", 2, 1 },   /* redirect=xptr.test.no.test */
		{ "192.0.2.7", "h.test", "u@v1.test", "fail", "all", 2, 2 },
		{ "192.0.2.7", "h.test", "u@v2.test", "permerror", "", 3, 3 },
		{ "192.0.2.7", "h.test", "user@l.test", "pass", "exists:%{l}.l.test", 1, 0 },
		{ "192.0.2.7", "h.test", "\"user\"@l.test", "pass", "exists:%{l}.l.test", 1, 0 },
		{ "192.0.2.7", "h.test", "\"a..b\"@odd.test", "softfail", "all", 1, 0 },  /* no name DNS can hold */
		{ "192.0.2.7", "helo.test", "", "pass", "ip4:192.0.2.7", 0, 0 },
		{ "192.0.2.7", "helo.test.", "", "pass", "ip4:192.0.2.7", 0, 0 },
		{ "192.0.2.7", "[192.0.2.7]", "", "none", "", 0, 0 },
		{ "192.0.2.7", "", "", "none", "", 0, 0 },
		{ "192.0.2.7", "h.test", "u@b\xc3\xbc" "cher.test", "fail", "all", 0, 0 },
		{ "192.0.2.7", "b\xc3\xbc" "cher.test", "", "fail", "all", 0, 0 },  /* RFC 8616 4 */
		{ "192.0.2.7", "h.test", "u@upper.test", "pass", "include:A.Test", 1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scene              s;
		const struct spf_outcome *o;

		begin(&s, zone, cases[i].ip, cases[i].helo, cases[i].from);
		o = run(&s);
		if (strcmp(spf_result_word(o->result), cases[i].want) != 0 || o->lookups != cases[i].lookups ||
		    o->voids != cases[i].voids || !str_is(o->mechanism, cases[i].mechanism))
			fail_msg("%s %s %s: got %s by \"%.*s\", %u look-ups, %u void: %.*s", cases[i].ip, cases[i].helo,
			         cases[i].from, spf_result_word(o->result), STR_ARG(o->mechanism), o->lookups, o->voids,
			         STR_ARG(o->reason));
		assert_true(o->reason.n > 0);
		end(&s);
	}
}

/* HELO and MAIL FROM are two checks; a null sender's is HELO's. */
static void identities(void **state)
{
	static const struct {
		const char    *from;
		enum spf_scope scope, want;
		const char    *domain, *explanation;
	} cases[] = {
		{ "u@a.test", SPF_MAIL_FROM, SPF_MAIL_FROM, "a.test", "" },
		{ "u@a.test", SPF_HELO, SPF_HELO, "helo.test",
		  "192.0.2.9 is not helo.test, postmaster@helo.test says mx.here.test" },
		{ "", SPF_MAIL_FROM, SPF_HELO, "helo.test",
		  "192.0.2.9 is not helo.test, postmaster@helo.test says mx.here.test" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scene              s;
		const struct spf_outcome *o;

		begin(&s, zone, "192.0.2.9", "HELO.test", cases[i].from);
		s.q.scope = cases[i].scope;
		o = run(&s);
		assert_int_equal(o->scope, cases[i].want);
		assert_true(str_is(o->domain, cases[i].domain));
		assert_true(str_is(o->explanation, cases[i].explanation));
		end(&s);
	}
}

/* RFC 8616 4: terms with %{l} or %{s} match nothing for a non-ASCII local part. */
static void utf8_local_parts(void **state)
{
	struct scene              s;
	const struct spf_outcome *o;

	(void)state;
	begin(&s, zone, "192.0.2.7", "h.test", "\xc3\xbcser@l.test");
	o = run(&s);
	assert_int_equal(o->result, SPF_FAIL);
	assert_int_equal(o->lookups, 2);
	assert_int_equal(o->voids, 0);
	end(&s);
}

static void reasons_are_sentences(void **state)
{
	static const struct { const char *ip, *from, *want; } cases[] = {
		{ "192.0.2.7", "u@a.test", "192.0.2.7 matches \"ip4:192.0.2.0/24\" in the record of a.test." },
		{ "192.0.2.7", "u@empty.test", "No mechanism in the record of empty.test matches 192.0.2.7." },
		{ "192.0.2.7", "u@none.test", "none.test does not exist." },
		{ "192.0.2.7", "u@text.test", "text.test has no SPF record." },
		{ "192.0.2.7", "u@bad.test",
		  "The SPF record of bad.test has a fault at \"ip4:192.0.2\": this is not an IPv4 address." },
		{ "192.0.2.7", "u@incnone.test", "The record of incnone.test refers to none.test, which does not exist." },
		{ "192.0.2.7", "u@inctemp.test",
		  "DNS gave no answer for TXT of slow.test (SERVFAIL), so nothing can be said now." },
		{ "192.0.2.7", "u@two.test", "two.test has 2 SPF records; one is allowed." },
		{ "192.0.2.7", "u@mx.test", "DNS gave no answer for A of m1.test (SERVFAIL), so nothing can be said now." },
		{ "192.0.2.7", "u@test", "\"test\" is a single label, not a full domain name, and has no SPF record." },
		{ "192.0.2.7", "u@loop.test",
		  "The record of loop.test needs more than 10 terms that ask DNS (RFC 7208 4.6.4)." },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scene              s;
		const struct spf_outcome *o;

		begin(&s, zone, cases[i].ip, "h.test", cases[i].from);
		o = run(&s);
		if (!str_is(o->reason, cases[i].want))
			fail_msg("want %s\ngot  %.*s", cases[i].want, STR_ARG(o->reason));
		end(&s);
	}
}

static void terms_tell_the_way(void **state)
{
	static const struct { const char *text, *domain, *outcome; unsigned depth, lookups; } want[] = {
		{ "include:red.test", "redinc.test", "no match", 0, 2 },
		{ "redirect=a.test", "red.test", "followed", 1, 2 },
		{ "ip4:192.0.2.0/24", "a.test", "no match", 1, 2 },
		{ "all", "a.test", "match", 1, 2 },
		{ "all", "redinc.test", "match", 0, 2 },
	};
	struct scene              s;
	const struct spf_outcome *o;

	(void)state;
	begin(&s, zone, "198.51.100.1", "h.test", "u@redinc.test");
	o = run(&s);
	assert_int_equal(o->nterms, COUNT(want));
	for (size_t i = 0; i < COUNT(want); i++) {
		assert_true(str_is(o->terms[i].text, want[i].text));
		assert_true(str_is(o->terms[i].domain, want[i].domain));
		assert_true(str_is(o->terms[i].outcome, want[i].outcome));
		assert_int_equal(o->terms[i].depth, want[i].depth);
		assert_int_equal(o->terms[i].lookups, want[i].lookups);
	}
	end(&s);
}

static void limits_can_be_set(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, zone, "192.0.2.7", "h.test", "u@v2.test");
	s.q.limits.voids = 3;
	assert_int_equal(run(&s)->result, SPF_FAIL);
	end(&s);
	begin(&s, zone, "192.0.2.7", "h.test", "u@v2.test");
	s.q.limits.voids = 3;
	s.q.limits.lookups = 2;
	assert_int_equal(run(&s)->result, SPF_PERMERROR);
	end(&s);
	begin(&s, zone, "192.0.2.25", "h.test", "u@mx.test");
	s.q.limits.names = 1;
	assert_int_equal(run(&s)->result, SPF_PERMERROR);
	end(&s);
}

/* Each record answers in time, all together do not (RFC 7208 4.6.4). */
static void the_whole_has_a_limit(void **state)
{
	struct scene              s;
	const struct spf_outcome *o;
	uint64_t                  began = clock_ms();

	(void)state;
	begin(&s, "q.test TXT v=spf1 a:silent.test -all\nsilent.test A SILENT\n", "192.0.2.7", "h.test", "u@q.test");
	s.q.limits.timeout_ms = 60;
	o = run(&s);
	assert_int_equal(o->result, SPF_TEMPERROR);
	assert_true(str_starts(o->reason, "The check of q.test took longer than"));
	assert_true(clock_ms() - began < 2000);
	end(&s);
}

static void sender_id_asks_its_own_version(void **state)
{
	struct scene s;

	(void)state;
	begin(&s, zone, "192.0.2.7", "h.test", "u@old.test");
	s.q.record_version = "spf2.0/pra";
	assert_int_equal(run(&s)->result, SPF_PASS);
	end(&s);
	begin(&s, zone, "192.0.2.7", "h.test", "u@a.test");        /* v=spf1 stands in */
	s.q.record_version = "spf2.0/pra";
	assert_int_equal(run(&s)->result, SPF_PASS);
	end(&s);
}

/* Cancelled after every number of turns: nothing is told, nothing stays out. */
static void cancel_anywhere(void **state)
{
	static const char *const senders[] = { "u@mx.test", "u@ptr.test", "u@p.test", "u@redinc.test", "u@test", "" };

	(void)state;
	for (size_t i = 0; i < COUNT(senders); i++)
		for (unsigned turns = 0;; turns++) {
			struct scene s;
			bool         over;

			begin(&s, zone, "192.0.2.25", "helo.test", senders[i]);
			s.check = spf_start(s.dns, &s.arena, &s.q, told, &s);
			for (unsigned t = 0; t < turns; t++)
				ev_run(s.loop->ev, EVRUN_NOWAIT);
			over = s.told > 0;
			spf_cancel(s.check);
			spf_cancel(s.check);
			ev_run(s.loop->ev, EVRUN_NOWAIT);
			ev_run(s.loop->ev, EVRUN_NOWAIT);
			assert_int_equal(s.told, over);
			assert_int_equal(dns_out(s.dns), 0);
			end(&s);
			if (over)
				break;
		}
}

/* ---- hostile sizes -------------------------------------------------------- */

static size_t put_record(char *out, size_t room, const char *name, const char *piece, const char *last)
{
	size_t n = (size_t)snprintf(out, room, "%s TXT v=spf1", name), each = strlen(piece), most = 60000;

	for (size_t used = 0; used + each < most; used += each)
		n += (size_t)snprintf(out + n, room - n, "%s", piece);
	return n + (size_t)snprintf(out + n, room - n, "%s\n", last);
}

static double cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Ten nested records of nearly 64 KiB each, and an end in far under 100 ms. */
static void big_records_end(void **state)
{
	static const char *const pieces[] = {
		" ip4:198.51.100.1", " ?ip6:2001:db8::1/128", " x=%{l127r-.}", " a", " exists:%{ir}.%{v}.%{d2}.x.test", "  ",
	};
	size_t room = 12 * 66000;
	char  *text = malloc(room);

	(void)state;
	for (size_t i = 0; i < COUNT(pieces); i++) {
		struct scene              s;
		const struct spf_outcome *o;
		size_t                    n = 0;
		double                    began;

		for (int depth = 0; depth < 10; depth++) {
			char name[32], next[64];

			snprintf(name, sizeof(name), "r%d.test", depth);
			snprintf(next, sizeof(next), " include:r%d.test -all", depth + 1);
			n += put_record(text + n, room - n, name, pieces[i], next);
		}
		begin(&s, text, "192.0.2.7", "h.test", "u@r0.test");
		began = cpu_ms();
		o = run(&s);
		if (cpu_ms() - began > 1000)             /* ten times the goal: sanitizers are slow */
			fail_msg("%s: %.1f ms", pieces[i], cpu_ms() - began);
		assert_true(o->result != SPF_PASS);
		assert_true(o->nterms <= 200);
		assert_true(s.arena.used < 128 << 10);   /* answers are not kept in the message's budget */
		end(&s);
	}
	free(text);
}

static void no_memory_is_no_crash(void **state)
{
	(void)state;
	for (size_t budget = 0; budget < 8192; budget += 64) {
		struct scene s;

		begin(&s, zone, "192.0.2.7", "helo.test", "");
		arena_fini(&s.arena);
		arena_init(&s.arena, budget);
		s.check = spf_start(s.dns, &s.arena, &s.q, told, &s);
		if (s.check != NULL)
			ev_run(s.loop->ev, 0);
		end(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(verdicts),
		cmocka_unit_test(identities),
		cmocka_unit_test(utf8_local_parts),
		cmocka_unit_test(reasons_are_sentences),
		cmocka_unit_test(terms_tell_the_way),
		cmocka_unit_test(limits_can_be_set),
		cmocka_unit_test(the_whole_has_a_limit),
		cmocka_unit_test(sender_id_asks_its_own_version),
		cmocka_unit_test(cancel_anywhere),
		cmocka_unit_test(big_records_end),
		cmocka_unit_test(no_memory_is_no_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
