/* SPDX-License-Identifier: ISC */
/*
 * spf_tree: what a tree of records costs and what is found wrong with it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd/base/dns_local.h"
#include "smtpd/base/loop.h"
#include "smtpd/setup/dns/spf_tree.h"

static const char zone[] =
	"good.test      TXT  v=spf1 mx ip4:198.51.100.0/24 include:far.test -all\n"
	"good.test      MX   10 mail.good.test\n"
	"mail.good.test A    192.0.2.1\n"
	"far.test       TXT  v=spf1 ip4:203.0.113.0/24 ip6:2001:db8:1::/48 ~all\n"
	"deep.test      TXT  v=spf1 include:good.test redirect=far.test\n"
	"world.test     TXT  v=spf1 +all\n"
	"inworld.test   TXT  v=spf1 include:world.test -all\n"
	"perhaps.test   TXT  v=spf1 ip4:192.0.2.1 ?all\n"
	"endless.test   TXT  v=spf1 ip4:192.0.2.1\n"
	"wide.test      TXT  v=spf1 ip4:10.0.0.0/8 ip6:2000::/12 -all\n"
	"every.test     TXT  v=spf1 ip4:0.0.0.0/0 -all\n"
	"halfwide.test  TXT  v=spf1 a/4 -all\n"
	"halfwide.test  A    192.0.2.1\n"
	"halfwide.test  AAAA 2001:db8::1\n"
	"ptr.test       TXT  v=spf1 ptr -all\n"
	"deadinc.test   TXT  v=spf1 include:gone.test -all\n"
	"norecord.test  TXT  v=spf1 include:text.test -all\n"
	"text.test      TXT  hello\n"
	"deada.test     TXT  v=spf1 a:gone.test mx:text.test -all\n"
	"voids.test     TXT  v=spf1 a:gone1.test a:gone2.test a:gone3.test -all\n"
	"v6.test        TXT  v=spf1 a:m1.test a:m2.test a:m3.test -all\n"
	"m1.test        A    192.0.2.11\n"
	"m2.test        A    192.0.2.12\n"
	"m3.test        A    192.0.2.13\n"
	"two.test       TXT  v=spf1 -all\n"
	"two.test       TXT  v=spf1 ~all\n"
	"bad.test       TXT  v=spf1 ip4:192.0.2 foo:bar include:far.test -all\n"
	"twice.test     TXT  v=spf1 redirect=far.test redirect=good.test\n"
	"inbad.test     TXT  v=spf1 include:bad.test -all\n"
	"behind.test    TXT  v=spf1 -all ip4:192.0.2.1 a:gone.test\n"
	"redall.test    TXT  v=spf1 redirect=gone.test ~all\n"
	"loop.test      TXT  v=spf1 include:loop2.test -all\n"
	"loop2.test     TXT  v=spf1 include:loop.test -all\n"
	"macro.test     TXT  v=spf1 exists:%{i}.ok.test include:%{d}.ok.test -all\n"
	"slow.test      TXT  v=spf1 include:silent.test a:silent.test -all\n"
	"silent.test    ANY  SERVFAIL\n"
	"rootslow.test  TXT  TIMEOUT\n"
	"again.test     TXT  v=spf1 include:far.test include:deepfar.test -all\n"
	"deepfar.test   TXT  v=spf1 include:far.test -all\n"
	"cover.test     TXT  v=spf1 mx ip4:192.0.2.1 ip4:192.0.2.0/28 ip4:203.0.113.7 ip4:203.0.113.7 include:far.test -all\n"
	"cover.test     MX   10 mail.good.test\n"
	"minus.test     TXT  v=spf1 -ip4:192.0.2.1 ip4:192.0.2.0/24 -all\n"
	"ten.test       TXT  v=spf1 a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test a:m1.test exists:m1.test -all\n"
	"eleven.test    TXT  v=spf1 include:ten.test -all\n"
	"nearly.test    TXT  v=spf1;ip4:192.0.2.1\n"
	"quoted.test    TXT  \"\\\"v=spf1 -all\\\"\"\n"
	"cut.test       TXT  \"v=spf1 ip4:192.0.2.1\" \"include:far.test -all\"\n"
	"exp.test       TXT  v=spf1 -all exp=gone.test\n"
	"many.test      TXT  v=spf1 mx -all\n"
	"many.test MX 1 h1.test\nmany.test MX 1 h2.test\nmany.test MX 1 h3.test\nmany.test MX 1 h4.test\n"
	"many.test MX 1 h5.test\nmany.test MX 1 h6.test\nmany.test MX 1 h7.test\nmany.test MX 1 h8.test\n"
	"many.test MX 1 h9.test\nmany.test MX 1 h10.test\nmany.test MX 1 h11.test\n"
	"upper.test     TXT  V=SPF1 INCLUDE:FAR.TEST. -ALL\n"
	"emptymx.test   TXT  v=spf1 mx -all\n"
	"emptymx.test   MX   0 .\n";

struct scene {
	struct arena arena;
	struct loop *loop;
	struct dns  *dns;
	const struct spf_tree *tree;
	unsigned told;
};

static void told(const struct spf_tree *t, void *user)
{
	struct scene *s = user;

	s->tree = t;
	s->told++;
	loop_stop(s->loop);
}

static void begin(struct scene *s, const char *records, size_t budget)
{
	memset(s, 0, sizeof(*s));
	arena_init(&s->arena, budget);
	s->loop = loop_new(0, NULL);
	s->dns = dns_with(dns_local_source(records), s->loop, 5000);
}

static void look(struct scene *s, const char *domain)
{
	assert_non_null(spf_tree_start(s->dns, &s->arena, str_of(domain), told, s));
	s->loop->stopping = false;
	loop_run(s->loop);
	assert_int_equal(s->told, 1);
}

static void end(struct scene *s)
{
	dns_free(s->dns);
	loop_free(s->loop);
	arena_fini(&s->arena);
}

/* "severity domain: text" of each, in order. */
static const struct { const char *domain; unsigned lookups, voids, voids6; const char *want[4]; } cases[] = {
	{ "good.test", 2, 0, 0, { NULL } },
	{ "GOOD.test", 2, 0, 0, { NULL } },
	{ "deep.test", 4, 0, 0, { "warning far.test: far.test is included twice, by good.test and by deep.test: its 1 look-up counts twice" } },
	{ "world.test", 0, 0, 0, { "fault world.test: +all: the whole world may send" } },
	{ "inworld.test", 1, 0, 0, { "fault world.test: +all" } },
	{ "perhaps.test", 0, 0, 0, { "warning perhaps.test: ?all: " } },
	{ "endless.test", 0, 0, 0, { "warning endless.test: the record ends without all" } },
	{ "wide.test", 0, 0, 0, { "warning wide.test: ip4:10.0.0.0/8: a network of /8", "warning wide.test: ip6:2000::/12: " } },
	{ "every.test", 0, 0, 0, { "fault every.test: ip4:0.0.0.0/0: every IPv4 address" } },
	{ "halfwide.test", 1, 0, 0, { "warning halfwide.test: a/4: a network of /4" } },
	{ "ptr.test", 1, 0, 0, { "warning ptr.test: ptr: slow" } },
	{ "deadinc.test", 1, 1, 1, { "fault gone.test: gone.test, which the record of deadinc.test leads to, does not exist" } },
	{ "norecord.test", 1, 0, 0, { "fault text.test: text.test, which the record of norecord.test leads to, has no SPF record" } },
	{ "deada.test", 2, 2, 2, { "warning deada.test: a:gone.test is dead: the name does not exist",
	                           "warning deada.test: mx:text.test is dead: the name has no such record" } },
	{ "voids.test", 3, 3, 3, { "fault voids.test: 3 look-ups find nothing, 2 may", "warning", "warning", "warning" } },
	{ "v6.test", 3, 0, 3, { "warning v6.test: for mail from IPv6 addresses 3 look-ups find nothing" } },
	{ "two.test", 0, 0, 0, { "fault two.test: two.test has 2 SPF records" } },
	{ "bad.test", 1, 0, 0, { "fault bad.test: \"ip4:192.0.2\": this is not an IPv4 address",
	                         "fault bad.test: \"foo:bar\": unknown mechanism" } },
	{ "twice.test", 4, 0, 0, { "fault twice.test: \"redirect=good.test\": it stands twice",
	                           "warning far.test: far.test is included twice" } },
	{ "inbad.test", 2, 0, 0, { "fault bad.test: \"ip4", "fault bad.test: \"foo" } },
	{ "behind.test", 0, 0, 0, { "warning behind.test: ip4:192.0.2.1 stands behind all", "warning behind.test: a:gone.test stands" } },
	{ "redall.test", 0, 0, 0, { "warning redall.test: redirect=gone.test is never looked at: the record has an all" } },
	{ "loop.test", 2, 0, 0, { "fault loop.test: loop.test leads back to itself" } },
	{ "macro.test", 2, 0, 0, { "note macro.test: exists:%{i}.ok.test depends", "note %{d}.ok.test: %{d}.ok.test depends" } },
	{ "slow.test", 2, 0, 0, { "warning slow.test: the question of a:silent.test had no answer (SERVFAIL)",
	                          "warning silent.test: the question for silent.test had no answer" } },
	{ "rootslow.test", 0, 0, 0, { "warning rootslow.test: the question" } },
	{ "gone.test", 0, 0, 0, { "fault gone.test: gone.test does not exist" } },
	{ "text.test", 0, 0, 0, { "fault text.test: text.test has no SPF record" } },
	{ "again.test", 3, 0, 0, { "warning far.test: far.test is included twice, by again.test and by deepfar.test: its 1 look-up" } },
	{ "cover.test", 2, 0, 0, { "warning cover.test: mx is covered by ip4:192.0.2.0/28",
	                           "warning cover.test: ip4:192.0.2.1 is covered by mx",
	                           "warning cover.test: ip4:203.0.113.7 is covered by ip4:203.0.113.0/24 in the record of far.test",
	                           "warning cover.test: ip4:203.0.113.7 is covered by" } },
	{ "minus.test", 0, 0, 0, { NULL } },
	{ "nearly.test", 0, 0, 0, { "fault nearly.test: nearly.test has no SPF record, only a text that was meant as one: v=spf1;ip4" } },
	{ "quoted.test", 0, 0, 0, { "fault quoted.test: quoted.test has no SPF record, only a text" } },
	{ "cut.test", 0, 0, 0, { "fault cut.test: \"ip4:192.0.2.1include:far.test\": ", "note cut.test: the record is cut into 2 strings" } },
	{ "exp.test", 0, 0, 0, { "note exp.test: exp=gone.test: there is not exactly one text" } },
	{ "many.test", 1, 0, 0, { "fault many.test: mx leads to 11 hosts, 10 are allowed" } },
	{ "upper.test", 1, 0, 0, { NULL } },
	{ "emptymx.test", 1, 0, 0, { NULL } },
};

static void trees(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct spf_tree *t;
		struct scene s;
		size_t want = 0;

		begin(&s, zone, 4 << 20);
		look(&s, cases[i].domain);
		t = s.tree;
		if (t->lookups != cases[i].lookups || t->voids != cases[i].voids || t->voids6 != cases[i].voids6)
			fail_msg("%s: %u look-ups, %u voids, %u for IPv6", cases[i].domain, t->lookups, t->voids, t->voids6);
		while (want < COUNT(cases[i].want) && cases[i].want[want] != NULL)
			want++;
		for (size_t k = 0; k < t->n_findings || k < want; k++) {
			str line = STR_NONE;

			if (k < t->n_findings)
				line = arena_printf(&s.arena, "%s %.*s: %.*s", spf_severity_word(t->findings[k].severity),
				                    STR_ARG(t->findings[k].domain), STR_ARG(t->findings[k].text));
			if (k >= want || !str_starts(line, cases[i].want[k]))
				fail_msg("%s: got \"%.*s\", want \"%s\"", cases[i].domain, STR_ARG(line), k < want ? cases[i].want[k] : "");
			assert_true(t->findings[k].severity == SPF_SAYS_NOTE || t->findings[k].todo.n > 0);
		}
		end(&s);
	}
}

/* Counts against the evaluator: an address that nothing matches pays the same. */
static void told_check(struct spf_check *c, void *user)
{
	(void)c;
	loop_stop(((struct scene *)user)->loop);
}

static void the_evaluator_counts_the_same(void **state)
{
	static const char *const domains[] = { "good.test", "deep.test", "deada.test", "again.test", "cover.test", "ten.test", "emptymx.test" };

	(void)state;
	for (size_t i = 0; i < COUNT(domains); i++) {
		struct spf_query q = { .helo = STR("helo.test"), .limits = SPF_LIMITS_DEFAULT };
		struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&q.ip;
		struct spf_check *check;
		struct scene s;

		begin(&s, zone, 4 << 20);
		v4->sin_family = AF_INET;
		v4->sin_addr.s_addr = htonl(0x01020304);
		assert_true(path_of(&s.arena, arena_printf(&s.arena, "u@%s", domains[i]), &q.sender));
		check = spf_start(s.dns, &s.arena, &q, told_check, &s);
		loop_run(s.loop);
		look(&s, domains[i]);
		assert_int_equal(s.tree->lookups, spf_outcome(check)->lookups);
		assert_int_equal(s.tree->voids, spf_outcome(check)->voids);
		end(&s);
	}
}

static void limits_of_look_ups(void **state)
{
	struct scene s;
	bool found = false;

	(void)state;
	begin(&s, zone, 4 << 20);
	look(&s, "ten.test");
	assert_int_equal(s.tree->lookups, 10);
	assert_int_equal(s.tree->faults, 0);
	end(&s);
	begin(&s, zone, 4 << 20);
	look(&s, "eleven.test");
	assert_int_equal(s.tree->lookups, 11);
	for (size_t i = 0; i < s.tree->n_findings; i++)
		found = found || str_starts(s.tree->findings[i].text, "11 look-ups, 10 are allowed");
	assert_true(found);
	assert_int_equal(s.tree->faults, 1);
	end(&s);
}

static void long_records(void **state)
{
	char text[2000];
	struct scene s;
	size_t n = (size_t)snprintf(text, sizeof(text), "long.test TXT v=spf1");

	(void)state;
	for (int i = 0; i < 30; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " ip4:198.51.100.%d", 100 + i);
	snprintf(text + n, sizeof(text) - n, " -all\n");
	begin(&s, text, 4 << 20);
	look(&s, "long.test");
	assert_int_equal(s.tree->n_findings, 2);
	assert_true(str_starts(s.tree->findings[0].text, "the record has 5"));
	assert_true(str_starts(s.tree->findings[1].text, "the record is cut into 3 strings"));
	end(&s);
}

/* Ten includes in each of many records: a peer's tree is as large as he likes. */
static void a_tree_without_end_is_cut(void **state)
{
	static char text[400000];
	struct scene s;
	size_t n = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "n%d.test TXT v=spf1", i);
		for (int k = 1; k <= 10; k++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, " include:n%d.test", (10 * i + k) % 1000);
		n += (size_t)snprintf(text + n, sizeof(text) - n, " -all\n");
	}
	begin(&s, text, 4 << 20);
	look(&s, "n0.test");
	assert_true(s.tree->faults > 0);
	assert_true(s.tree->lookups < 1100);
	end(&s);
}

static void memory_that_is_spent_ends_it(void **state)
{
	(void)state;
	for (size_t budget = 100; budget < 20000; budget += 97) {
		struct scene s;

		begin(&s, zone, budget);
		if (spf_tree_start(s.dns, &s.arena, STR("cover.test"), told, &s) != NULL) {
			loop_run(s.loop);
			assert_int_equal(s.told, 1);
		}
		end(&s);
	}
}

static void nothing_is_told_after_cancelling(void **state)
{
	struct spf_tree_check *c;
	struct scene s;

	(void)state;
	begin(&s, zone, 1 << 20);
	c = spf_tree_start(s.dns, &s.arena, STR("good.test"), told, &s);
	spf_tree_cancel(c);
	ev_run(s.loop->ev, EVRUN_NOWAIT);
	ev_run(s.loop->ev, EVRUN_NOWAIT);
	assert_int_equal(s.told, 0);
	spf_tree_cancel(c);
	spf_tree_cancel(NULL);
	end(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trees),
		cmocka_unit_test(the_evaluator_counts_the_same),
		cmocka_unit_test(limits_of_look_ups),
		cmocka_unit_test(long_records),
		cmocka_unit_test(a_tree_without_end_is_cut),
		cmocka_unit_test(memory_that_is_spent_ends_it),
		cmocka_unit_test(nothing_is_told_after_cancelling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
