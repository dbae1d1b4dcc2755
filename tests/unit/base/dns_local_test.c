/* SPDX-License-Identifier: ISC */
/* dns over a table in memory: what the zone text means, what its faults say, and
 * what dns.c promises to askers whatever the source. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/base/dns_local.h"

static const char zone[] =
	"# the playground\n"
	"home.test            MX    10 mail.home.test\n"
	"home.test       60   MX    5 Backup.Home.TEST.\n"
	"home.test            TXT   v=spf1 ip4:127.0.0.1; -all\n"
	"two.home.test        TXT   \"two \" \"str\\\"\\092\\065ings\"\n"
	"mail.home.test       A     127.0.0.1\n"
	"mail.home.test       AAAA  ::1\n"
	"www.home.test        CNAME mail.home.test\n"
	"far.home.test        CNAME www.home.test\n"
	"round.home.test      CNAME about.home.test\n"
	"about.home.test      CNAME round.home.test\n"
	"dead.home.test       CNAME none.home.test\n"
	"_25._tcp.mail.home.test TLSA 3 1 1 00ff 10\n"
	"1.0.0.127.in-addr.arpa  PTR mail.home.test\n"
	"null.test            MX    0 .\n"
	"*.wild.test          A     192.0.2.9\n"
	"there.wild.test      TXT   x\n"
	"bad.test             TXT   SERVFAIL\n"
	"bad.test             A     192.0.2.1\n"
	"word.test            TXT   \"SERVFAIL\"\n"
	"gone.test            ANY   NXDOMAIN\n"
	"slow.test            ANY   TIMEOUT\n"
	"false.test           ANY   BOGUS\n"
	"silent.test          ANY   SILENT\n"
	"dane.test            ANY   SECURE\n"
	"a.dane.test          A     192.0.2.2\n";

struct seen {
	struct loop *loop;
	size_t       calls;
	char         text[4096];
};

static void describe(struct seen *s, const struct dns_answer *a, enum dns_type type)
{
	char *at = s->text, *end = at + sizeof(s->text), ip[64];

	at += snprintf(at, (size_t)(end - at), "%s%s", dns_status_text(a->status),
	               a->secure ? " secure" : "");
	if (a->cname)
		at += snprintf(at, (size_t)(end - at), " alias of %.*s", STR_ARG(a->canonical));
	for (size_t i = 0; i < a->n; i++) {
		const struct dns_rr *rr = &a->rr[i];

		*at++ = ' ';
		if (type == DNS_A || type == DNS_AAAA)
			at += snprintf(at, (size_t)(end - at), "%s",
			               inet_ntop(type == DNS_A ? AF_INET : AF_INET6, &rr->a, ip,
			                         sizeof(ip)));
		else if (type == DNS_MX)
			at += snprintf(at, (size_t)(end - at), "%u/%.*s", rr->mx.preference,
			               STR_ARG(rr->mx.host));
		else if (type == DNS_TXT)
			at += snprintf(at, (size_t)(end - at), "%zu[%.*s]", rr->txt_strings,
			               STR_ARG(rr->txt));
		else if (type == DNS_TLSA)
			at += snprintf(at, (size_t)(end - at), "%u%u%u:%zu:%02x", rr->tlsa.usage,
			               rr->tlsa.selector, rr->tlsa.matching, rr->tlsa.data.n,
			               (unsigned char)rr->tlsa.data.p[1]);
		else
			at += snprintf(at, (size_t)(end - at), "%.*s", STR_ARG(rr->name));
	}
	if (a->n > 0)
		snprintf(at, (size_t)(end - at), " ttl=%u", a->ttl_s);
}

static enum dns_type asked_type;

static void answered(struct dns_ask *ask, const struct dns_answer *a)
{
	struct seen *s = ask->user;

	describe(s, a, asked_type);
	s->calls++;
	loop_stop(s->loop);
}

static struct fixture {
	struct loop *loop;
	struct dns  *dns;
	struct arena arena;
} f;

static int open_it(void **state)
{
	(void)state;
	f.loop = loop_new(0, NULL);
	f.dns = dns_with(dns_local_source(zone), f.loop, 5000);
	arena_init(&f.arena, 1 << 20);
	return 0;
}

static int close_it(void **state)
{
	(void)state;
	dns_free(f.dns);
	loop_free(f.loop);
	arena_fini(&f.arena);
	return 0;
}

static void run_until_stopped(struct loop *loop)
{
	loop->stopping = false;
	loop_run(loop);
}

static const char *ask_once(str name, enum dns_type type, uint64_t timeout_ms)
{
	static struct seen s;
	struct dns_ask ask = { 0 };

	s = (struct seen){ .loop = f.loop };
	asked_type = type;
	dns_ask(f.dns, &ask, &f.arena, name, type, timeout_ms, answered, &s);
	assert_int_equal(s.calls, 0); /* never inside the ask */
	run_until_stopped(f.loop);
	assert_int_equal(s.calls, 1);
	assert_int_equal(dns_out(f.dns), 0);
	return s.text;
}

static const struct {
	const char   *name;
	enum dns_type type;
	const char   *want;
} answers[] = {
	{ "home.test", DNS_MX, "found 10/mail.home.test 5/backup.home.test ttl=60" },
	{ "HOME.test.", DNS_MX, "found 10/mail.home.test 5/backup.home.test ttl=60" },
	{ "home.test", DNS_TXT, "found 1[v=spf1 ip4:127.0.0.1; -all] ttl=300" },
	{ "two.home.test", DNS_TXT, "found 2[two str\"\\Aings] ttl=300" },
	{ "home.test", DNS_A, "no data" },
	{ "mail.home.test", DNS_A, "found 127.0.0.1 ttl=300" },
	{ "mail.home.test", DNS_AAAA, "found ::1 ttl=300" },
	{ "www.home.test", DNS_A, "found alias of mail.home.test 127.0.0.1 ttl=300" },
	{ "far.home.test", DNS_AAAA, "found alias of mail.home.test ::1 ttl=300" },
	{ "far.home.test", DNS_CNAME, "found www.home.test ttl=300" },
	{ "far.home.test", DNS_TXT, "no data alias of mail.home.test" },
	{ "dead.home.test", DNS_A, "NXDOMAIN alias of none.home.test" },
	{ "round.home.test", DNS_A, "SERVFAIL" },
	{ "_25._tcp.mail.home.test", DNS_TLSA, "found 311:3:ff ttl=300" },
	{ "_tcp.mail.home.test", DNS_TLSA, "no data" },
	{ "_tcq.mail.home.test", DNS_TLSA, "NXDOMAIN" },
	{ "1.0.0.127.in-addr.arpa", DNS_PTR, "found mail.home.test ttl=300" },
	{ "2.0.0.127.in-addr.arpa", DNS_PTR, "NXDOMAIN" },
	{ "null.test", DNS_MX, "found 0/ ttl=300" },
	{ "a.wild.test", DNS_A, "found 192.0.2.9 ttl=300" },
	{ "a.b.wild.test", DNS_A, "found 192.0.2.9 ttl=300" },
	{ "a.wild.test", DNS_TXT, "no data" },
	{ "there.wild.test", DNS_A, "no data" },
	{ "a.there.wild.test", DNS_A, "NXDOMAIN" },
	{ "bad.test", DNS_TXT, "SERVFAIL" },
	{ "bad.test", DNS_A, "found 192.0.2.1 ttl=300" },
	{ "word.test", DNS_TXT, "found 1[SERVFAIL] ttl=300" },
	{ "gone.test", DNS_A, "NXDOMAIN" },
	{ "slow.test", DNS_A, "timeout" },
	{ "false.test", DNS_A, "bogus" },
	{ "a.dane.test", DNS_A, "found secure 192.0.2.2 ttl=300" },
	{ "b.dane.test", DNS_A, "NXDOMAIN secure" },
	{ "elsewhere.example", DNS_A, "NXDOMAIN" },
	{ "test", DNS_A, "no data" },
};

static void answers_come_from_the_table(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(answers); i++) {
		const char *got = ask_once(str_of(answers[i].name), answers[i].type, 0);

		if (strcmp(got, answers[i].want) != 0)
			print_error("%s %d\n", answers[i].name, (int)answers[i].type);
		assert_string_equal(got, answers[i].want);
	}
}

#define L50 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeee"

static void what_is_no_name_is_never_asked(void **state)
{
	static const struct {
		str name;
		const char *want;
	} names[] = {
		{ STR(""), "not a domain name" },
		{ STR("."), "not a domain name" },
		{ STR(".home.test"), "not a domain name" },
		{ STR("a..test"), "not a domain name" },
		{ STR("home.test.."), "not a domain name" },
		{ STR("home.test\0.evil.test"), "not a domain name" },
		{ STR("mail\0.home.test"), "not a domain name" },
		{ STR(L50 "0123456789012.home.test"), "NXDOMAIN" },           /* 63 */
		{ STR(L50 "01234567890123.home.test"), "not a domain name" }, /* 64 */
		{ STR(L50 "." L50 "." L50 "." L50
		          ".0123456789012345678901234567890123456789.home.test"),
		  "not a domain name" },
		{ STR(L50 "." L50 "." L50 "." L50 ".012345678901234567890123456789012345678"),
		  "NXDOMAIN" },                         /* 243 */
		{ STR("mail.home.test "), "NXDOMAIN" }, /* not a shorter name */
		{ STR("mail\\.home.test"), "NXDOMAIN" },
		{ STR("(mail).home.test"), "NXDOMAIN" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		assert_string_equal(ask_once(names[i].name, DNS_A, 0), names[i].want);
}

static void a_silent_source_meets_the_deadline(void **state)
{
	(void)state;
	assert_string_equal(ask_once(STR("silent.test"), DNS_A, 20), "timeout");
}

/* Two askers of one silent question, each with its own time. */
static void each_asker_has_its_own_deadline(void **state)
{
	struct seen a = { .loop = f.loop }, b = { .loop = f.loop };
	struct dns_ask first = { 0 }, second = { 0 };

	(void)state;
	dns_ask(f.dns, &first, &f.arena, STR("silent.test"), DNS_A, 3600000, answered, &a);
	dns_ask(f.dns, &second, &f.arena, STR("Silent.test."), DNS_A, 10, answered, &b);
	run_until_stopped(f.loop);
	assert_int_equal(a.calls, 0);
	assert_string_equal(b.text, "timeout");
	assert_int_equal(dns_out(f.dns), 1);
	dns_cancel(&first);
	dns_cancel(&first);
	dns_cancel(&second);
	assert_int_equal(dns_out(f.dns), 0);
}

static struct dns_ask other;
static size_t nested_calls;

static void asks_again(struct dns_ask *ask, const struct dns_answer *a)
{
	(void)a;
	dns_cancel(&other);
	dns_cancel(ask);
	if (++nested_calls < 3)
		dns_ask(f.dns, ask, &f.arena, STR("home.test"), DNS_MX, 0, asks_again, NULL);
	else
		loop_stop(f.loop);
}

static void must_not_come(struct dns_ask *ask, const struct dns_answer *a)
{
	(void)ask;
	(void)a;
	fail();
}

static void an_asker_may_cancel_and_ask_from_its_answer(void **state)
{
	struct dns_ask ask = { 0 };

	(void)state;
	nested_calls = 0;
	dns_ask(f.dns, &ask, &f.arena, STR("home.test"), DNS_MX, 0, asks_again, NULL);
	dns_ask(f.dns, &other, &f.arena, STR("home.test"), DNS_MX, 0, must_not_come, NULL);
	run_until_stopped(f.loop);
	assert_int_equal(nested_calls, 3);
	assert_int_equal(dns_out(f.dns), 0);
	/* the same through the list of asks that need no question */
	nested_calls = 0;
	dns_ask(f.dns, &ask, &f.arena, STR(""), DNS_MX, 0, asks_again, NULL);
	dns_ask(f.dns, &other, &f.arena, STR(".."), DNS_MX, 0, must_not_come, NULL);
	run_until_stopped(f.loop);
	assert_int_equal(nested_calls, 3);
}

static void an_answer_too_large_for_the_arena_is_a_failure(void **state)
{
	struct seen s = { .loop = f.loop };
	struct dns_ask ask = { 0 };
	struct arena small;

	(void)state;
	for (size_t budget = 0; budget < 400; budget += 16) {
		arena_init(&small, budget);
		asked_type = DNS_MX;
		dns_ask(f.dns, &ask, &small, STR("home.test"), DNS_MX, 0, answered, &s);
		run_until_stopped(f.loop);
		if (small.spent)
			assert_string_equal(s.text, "SERVFAIL");
		else
			assert_string_equal(s.text, answers[0].want);
		arena_fini(&small);
	}
}

static size_t left_answers;

static void left(struct dns_ask *ask, const struct dns_answer *a)
{
	(void)ask;
	assert_int_equal(a->status, DNS_TIMEOUT);
	left_answers++;
}

static void who_still_waits_at_the_end_hears_timeout(void **state)
{
	struct loop *loop = loop_new(0, NULL);
	struct dns *dns = dns_with(dns_local_source(zone), loop, 5000);
	struct dns_ask asks[4] = { 0 };

	(void)state;
	left_answers = 0;
	dns_ask(dns, &asks[0], &f.arena, STR("silent.test"), DNS_A, 0, left, NULL);
	dns_ask(dns, &asks[1], &f.arena, STR("silent.test"), DNS_A, 0, left, NULL);
	dns_ask(dns, &asks[2], &f.arena, STR("home.test"), DNS_A, 0, left, NULL);
	dns_ask(dns, &asks[3], &f.arena, STR(""), DNS_A, 0, left, NULL);
	dns_free(dns);
	assert_int_equal(left_answers, 4);
	loop_free(loop);
}

static void faults_say_line_and_remedy(void **state)
{
	static const struct {
		const char *line, *want;
	} faults[] = {
		{ "home.test", "after the name comes a type" },
		{ "home..test A 192.0.2.1", "a line begins with a domain name" },
		{ "home.test SPF x", "after the name comes a type" },
		{ "home.test A 192.0.2", "A needs an IPv4 address" },
		{ "home.test A 192.0.2.1 192.0.2.2", "something behind the data" },
		{ "home.test AAAA 192.0.2.1", "AAAA needs an IPv6 address" },
		{ "home.test MX mail.home.test", "MX needs a preference and a name" },
		{ "home.test MX 70000 mail.home.test", "MX needs a preference and a name" },
		{ "home.test MX 10", "MX needs a preference and a name" },
		{ "home.test TXT", "TXT needs a text" },
		{ "home.test TXT \"open", "closing quotation mark" },
		{ "home.test TXT \"a\" b", "another one or the end" },
		{ "home.test TXT \"\\3\"", "three digits" },
		{ "home.test TXT \"\\300\"", "three digits" },
		{ "home.test PTR", "needs a name" },
		{ "home.test TLSA 3 1 1", "TLSA needs" },
		{ "home.test TLSA 3 1 1 0", "TLSA needs" },
		{ "home.test TLSA 3 1 300 00", "TLSA needs" },
		{ "home.test TLSA 3 1 1 0g", "TLSA needs" },
		{ "home.test ANY 1", "ANY goes with" },
		{ "home.test CNAME www.example.org",
		  "must lead to a name that local data answers" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(faults); i++) {
		str lines[] = { STR("fine.test A 192.0.2.1"), str_of(faults[i].line) };
		str why = STR_NONE;
		char *text;

		assert_false(dns_local_check((struct strs){ lines, 2 }, &f.arena, &why));
		text = str_cstr(&f.arena, why);
		assert_non_null(strstr(text, "line 2"));
		assert_non_null(strstr(text, faults[i].line));
		if (strstr(text, faults[i].want) == NULL)
			print_error("%s\n", text);
		assert_non_null(strstr(text, faults[i].want));
	}
}

static void a_long_text_becomes_several_strings(void **state)
{
	char line[700] = "long.test TXT ";
	str lines[1];
	struct dns_source *source;
	struct dns *dns, *before = f.dns;
	str why;

	(void)state;
	memset(line + strlen(line), 'x', 600);
	lines[0] = str_of(line);
	source = dns_local_new((struct strs){ lines, 1 }, NULL, &f.arena, &why);
	assert_non_null(source);
	dns = f.dns = dns_with(source, f.loop, 1000);
	assert_non_null(strstr(ask_once(STR("long.test"), DNS_TXT, 0), "found 3[xxx"));
	f.dns = before;
	dns_free(dns);
}

static void addresses_have_reverse_names(void **state)
{
	static const struct { int family; const char *ip, *want; } table[] = {
		{ AF_INET, "192.0.2.1", "1.2.0.192.in-addr.arpa" },
		{ AF_INET6, "::ffff:192.0.2.1", "1.2.0.192.in-addr.arpa" },
		{ AF_INET6, "2001:db8::12ab",
		  "b.a.2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct sockaddr_in in = { .sin_family = AF_INET };
		struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
		str got;

		inet_pton(table[i].family, table[i].ip,
		          table[i].family == AF_INET ? (void *)&in.sin_addr
		                                     : (void *)&in6.sin6_addr);
		got = dns_reverse_name(&f.arena,
		                       table[i].family == AF_INET ? (void *)&in : (void *)&in6);
		assert_string_equal(str_cstr(&f.arena, got), table[i].want);
	}
}

struct watched { size_t n; char text[200]; };

static void watched(void *user, str name, enum dns_type type, const struct dns_answer *a)
{
	struct watched *w = user;
	size_t          at = strlen(w->text);

	w->n++;
	snprintf(w->text + at, sizeof(w->text) - at, "%d %.*s %s; ", (int)type, STR_ARG(name),
	         dns_status_text(a->status));
}

static void nobody_waits(struct dns_ask *ask, const struct dns_answer *a)
{
	(void)a;
	if (++*(size_t *)ask->user == 4)
		loop_stop(f.loop);
}

/* What is no question (a bad name) is no answer to see. */
static void a_watcher_sees_what_askers_hear(void **state)
{
	static const struct { str name; enum dns_type type; } asks[] = {
		{ STR("Home.test"), DNS_TXT },
		{ STR("slow.test"), DNS_A },
		{ STR("none.home.test"), DNS_MX },
		{ STR("a..b"), DNS_A },
	};
	struct dns_ask ask[COUNT(asks)] = { 0 };
	struct watched w = { 0 };
	size_t         heard = 0;

	(void)state;
	dns_watch(f.dns, watched, &w);
	for (size_t i = 0; i < COUNT(asks); i++)
		dns_ask(f.dns, &ask[i], &f.arena, asks[i].name, asks[i].type, 0, nobody_waits, &heard);
	assert_int_equal(w.n, 0);
	run_until_stopped(f.loop);
	assert_int_equal(w.n, 3);
	assert_non_null(strstr(w.text, "16 home.test found; "));
	assert_non_null(strstr(w.text, "1 slow.test timeout; "));
	assert_non_null(strstr(w.text, "15 none.home.test NXDOMAIN; "));
	dns_watch(f.dns, NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_come_from_the_table),
		cmocka_unit_test(a_watcher_sees_what_askers_hear),
		cmocka_unit_test(what_is_no_name_is_never_asked),
		cmocka_unit_test(a_silent_source_meets_the_deadline),
		cmocka_unit_test(each_asker_has_its_own_deadline),
		cmocka_unit_test(an_asker_may_cancel_and_ask_from_its_answer),
		cmocka_unit_test(an_answer_too_large_for_the_arena_is_a_failure),
		cmocka_unit_test(who_still_waits_at_the_end_hears_timeout),
		cmocka_unit_test(faults_say_line_and_remedy),
		cmocka_unit_test(a_long_text_becomes_several_strings),
		cmocka_unit_test(addresses_have_reverse_names),
	};

	return cmocka_run_group_tests(tests, open_it, close_it);
}
