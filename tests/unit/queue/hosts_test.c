/* SPDX-License-Identifier: ISC */
/* Which addresses a route leads to, and in which order. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "queue/deliver/hosts.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/dns_local.h"

static const char zone[] =
	"order.test     MX 30 c.test\n"
	"order.test     MX 10 a.test\n"
	"order.test     MX 20 b.test\n"
	"equal.test     MX 10 a.test\n"
	"equal.test     MX 10 b.test\n"
	"bare.test      A  192.0.2.9\n"
	"null.test      MX 0 .\n"
	"halfnull.test  MX 0 .\n"
	"halfnull.test  MX 5 a.test\n"
	"best.test      MX 10 us.test\n"
	"best.test      MX 20 a.test\n"
	"backup.test    MX 10 a.test\n"
	"backup.test    MX 20 US.test\n"
	"backup.test    MX 20 b.test\n"
	"backup.test    MX 30 c.test\n"
	"hollow.test    MX 10 nothing.test\n"
	"nothing.test   TXT x\n"
	"broken.test    MX 10 sick.test\n"
	"sick.test      A SERVFAIL\n"
	"sickfirst.test MX 10 sick.test\n"
	"sickfirst.test MX 20 a.test\n"
	"fail.test      MX SERVFAIL\n"
	"bogus.test     MX BOGUS\n"
	"late.test      MX TIMEOUT\n"
	"alias.test     CNAME order.test\n"
	"two.test       MX 10 both.test\n"
	"both.test      A  192.0.2.21\n"
	"both.test      A  192.0.2.22\n"
	"both.test      AAAA 2001:db8::21\n"
	"six.test       MX 10 onlysix.test\n"
	"onlysix.test   AAAA 2001:db8::6\n"
	"1.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR us6.test\n"
	"us6.test AAAA 2001:db8::a1\n"
	"3.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR other6.test\n"
	"other6.test AAAA 2001:db8::b3\n"
	"4.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR SERVFAIL\n"
	"5.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR other6.test\n"
	"5.a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR us6b.test\n"
	"us6b.test AAAA 2001:db8::a5\n"
	"six-then-four.test MX 10 onlysix.test\n"
	"six-then-four.test MX 20 a.test\n"
	"twice.test     MX 10 a.test\n"
	"twice.test     MX 20 a.test\n"
	"a.test         A  192.0.2.1\n"
	"b.test         A  192.0.2.2\n"
	"c.test         A  192.0.2.3\n"
	"us.test        A  192.0.2.100\n";

struct seen { char text[1000]; bool done; struct arena arena; };

static struct loop *l;

static void found(struct hosts *h, enum hosts_found what)
{
	struct seen *s = h->user;
	size_t n = strlen(s->text);
	char *end = s->text + n;
	size_t room = sizeof(s->text) - n;

	switch (what) {
	case HOSTS_ADDRESS:
		snprintf(end, room, "%s%.*s=%s", n ? " " : "", STR_ARG(h->name), addr_text((struct sockaddr *)&h->to).s);
		hosts_next(h);
		return;
	case HOSTS_NO_MORE:
		break;
	case HOSTS_LATER:
	case HOSTS_NEVER:
		snprintf(end, room, "%s%s %.*s", n ? " " : "", what == HOSTS_LATER ? "later" : "never", STR_ARG(h->status));
		assert_true(h->said.n > 20);
	}
	s->done = true;
}

static void tick(struct ev_loop *ev, ev_timer *w, int events)
{
	(void)ev, (void)w, (void)events;
}

static const char *all_from(enum route_kind kind, const char *target, enum relay_ipv6 ipv6, const char *source)
{
	static struct seen s;
	str from = str_of(source);
	const struct relay_conf relay = { .port = 25, .ipv6 = ipv6, .source = { &from, source != NULL } };
	const struct deliver_setup setup = { .relay = &relay, .hostname = STR("us.test") };
	const struct route route = { .kind = kind, .target = str_of(target) };
	uint64_t until = clock_ms() + 10000;
	struct hosts h;

	memset(&s, 0, sizeof(s));
	arena_init(&s.arena, 1 << 20);
	hosts_begin(&h, l, &s.arena, &setup, &route, found, &s);
	hosts_next(&h);
	assert_false(s.done);                  /* never inside */
	while (!s.done) {
		ev_timer t;

		assert_true(clock_ms() < until);
		ev_timer_init(&t, tick, 0.02, 0.);
		ev_timer_start(l->ev, &t);
		ev_run(l->ev, EVRUN_ONCE);
		ev_timer_stop(l->ev, &t);
	}
	hosts_stop(&h);
	hosts_stop(&h);
	arena_fini(&s.arena);
	return s.text;
}

static const char *all_of(enum route_kind kind, const char *target, bool ipv6)
{
	return all_from(kind, target, ipv6 ? IPV6_ON : IPV6_OFF, NULL);
}

static void routes_lead_to_addresses(void **state)
{
	static const struct { enum route_kind kind; const char *target; bool ipv6; const char *want; } cases[] = {
		{ ROUTE_MX, "order.test", false, "a.test=192.0.2.1 b.test=192.0.2.2 c.test=192.0.2.3" },
		{ ROUTE_MX, "alias.test", false, "a.test=192.0.2.1 b.test=192.0.2.2 c.test=192.0.2.3" },
		{ ROUTE_MX, "bare.test", false, "bare.test=192.0.2.9" },
		{ ROUTE_MX, "null.test", false, "never 5.1.10" },
		{ ROUTE_MX, "halfnull.test", false, "a.test=192.0.2.1" },
		{ ROUTE_MX, "absent.test", false, "never 5.1.2" },
		{ ROUTE_MX, "best.test", false, "never 5.4.6" },
		{ ROUTE_MX, "backup.test", false, "a.test=192.0.2.1" },
		{ ROUTE_MX, "us.test", false, "never 5.4.6" },
		{ ROUTE_MX, "hollow.test", false, "never 5.4.4" },
		{ ROUTE_MX, "broken.test", false, "later 4.4.3" },
		{ ROUTE_MX, "sickfirst.test", false, "a.test=192.0.2.1" },
		{ ROUTE_MX, "fail.test", false, "later 4.4.3" },
		{ ROUTE_MX, "bogus.test", false, "later 4.4.3" },
		{ ROUTE_MX, "late.test", false, "later 4.4.3" },
		{ ROUTE_MX, "two.test", false, "both.test=192.0.2.21 both.test=192.0.2.22" },
		{ ROUTE_MX, "six.test", false, "never 5.4.4" },
		{ ROUTE_MX, "six.test", true, "onlysix.test=2001:db8::6" },
		{ ROUTE_MX, "twice.test", false, "a.test=192.0.2.1" },
		{ ROUTE_MX, "[192.0.2.50]", false, "[192.0.2.50]=192.0.2.50" },
		{ ROUTE_MX, "[IPv6:2001:db8::5]", false, "[IPv6:2001:db8::5]=2001:db8::5" },
		{ ROUTE_MX, "[nonsense]", false, "never 5.1.2" },
		{ ROUTE_HOST, "127.0.0.1:2525", false, "127.0.0.1=127.0.0.1" },
		{ ROUTE_HOST, "[::1]:2525", false, "::1=::1" },
		{ ROUTE_HOST, "a.test:2525", false, "a.test=192.0.2.1" },
		{ ROUTE_HOST, "onlysix.test:25", false, "onlysix.test=2001:db8::6" },
		{ ROUTE_HOST, "order.test:25", false, "never 5.4.4" },      /* no MX is asked for */
		{ ROUTE_HOST, "no port", false, "later 4.3.5" },
		{ ROUTE_LMTP, "unix:/run/lmtp", false, "/run/lmtp=unix" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *got = all_of(cases[i].kind, cases[i].target, cases[i].ipv6);

		if (strcmp(got, cases[i].want) != 0)
			fail_msg("%s: \"%s\", not \"%s\"", cases[i].target, got, cases[i].want);
	}
}

static void six_comes_with_four(void **state)
{
	const char *got = all_of(ROUTE_MX, "two.test", true);

	(void)state;
	assert_non_null(strstr(got, "192.0.2.21"));
	assert_non_null(strstr(got, "2001:db8::21"));
}

/* relay { ipv6 = auto }: seen by strangers only with a PTR record that leads back. */
static void six_needs_a_name_that_leads_back(void **state)
{
	static const struct { const char *target, *source; enum route_kind kind; const char *want; } cases[] = {
		{ "two.test", "2001:db8::a1", ROUTE_MX, "both.test=192.0.2.21 both.test=192.0.2.22 both.test=2001:db8::21" },
		{ "two.test", "2001:db8::a2", ROUTE_MX, "both.test=192.0.2.21 both.test=192.0.2.22" },    /* no PTR */
		{ "two.test", "2001:db8::a3", ROUTE_MX, "both.test=192.0.2.21 both.test=192.0.2.22" },    /* of somebody else's name */
		{ "two.test", "2001:db8::a4", ROUTE_MX, "both.test=192.0.2.21 both.test=192.0.2.22" },    /* unknown for now */
		{ "two.test", "2001:db8::a5", ROUTE_MX, "both.test=192.0.2.21 both.test=192.0.2.22 both.test=2001:db8::21" },  /* the second name */
		{ "six.test", "2001:db8::a2", ROUTE_MX, "later 4.4.4" },
		{ "six.test", "2001:db8::a1", ROUTE_MX, "onlysix.test=2001:db8::6" },
		{ "six-then-four.test", "2001:db8::a2", ROUTE_MX, "a.test=192.0.2.1" },
		{ "onlysix.test:25", "2001:db8::a2", ROUTE_HOST, "onlysix.test=2001:db8::6" },     /* our own choice */
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int again = 0; again < 2; again++) {        /* asked, then remembered */
			char sorted[200] = "";
			const char *got = all_from(cases[i].kind, cases[i].target, IPV6_AUTO, cases[i].source);

			if (strstr(got, "both.test=2001") == got)  /* the answers come in any order */
				got = strcat(strcat(strcpy(sorted, strchr(got, ' ') + 1), " "), "both.test=2001:db8::21");
			if (strcmp(got, cases[i].want) != 0)
				fail_msg("%s from %s: \"%s\", not \"%s\"", cases[i].target, cases[i].source, got, cases[i].want);
		}
}

/* RFC 5321 5.1: at random among equals. */
static void equals_share_the_load(void **state)
{
	int first[2] = { 0, 0 };

	(void)state;
	for (int i = 0; i < 200; i++)
		first[all_of(ROUTE_MX, "equal.test", false)[0] == 'a']++;
	assert_true(first[0] > 40 && first[1] > 40);
}

static void stopped_in_time_says_nothing(void **state)
{
	const struct relay_conf relay = { .port = 25 };
	const struct deliver_setup setup = { .relay = &relay, .hostname = STR("us.test") };
	const struct route route = { .kind = ROUTE_MX, .target = STR("order.test") };
	struct seen s = { 0 };
	struct hosts h;

	(void)state;
	arena_init(&s.arena, 1 << 20);
	hosts_begin(&h, l, &s.arena, &setup, &route, found, &s);
	hosts_next(&h);
	hosts_stop(&h);
	all_of(ROUTE_MX, "order.test", false);
	assert_int_equal(s.text[0], '\0');
	arena_fini(&s.arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(routes_lead_to_addresses),
		cmocka_unit_test(six_comes_with_four),
		cmocka_unit_test(six_needs_a_name_that_leads_back),
		cmocka_unit_test(equals_share_the_load),
		cmocka_unit_test(stopped_in_time_says_nothing),
	};
	int failed;

	crypt_setup();
	l = loop_new(0, NULL);
	l->dns = dns_with(dns_local_source(zone), l, 2000);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	dns_free(l->dns);
	loop_free(l);
	return failed;
}
