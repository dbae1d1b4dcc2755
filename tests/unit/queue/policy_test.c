/* SPDX-License-Identifier: ISC */
/* Which TLS a host must show: what DNS says in, a demand out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "queue/deliver/policy.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/dns_local.h"

/* ---- deciding ---------------------------------------------------------------------------- */

#define REQUIRE  MESSAGE_REQUIRETLS
#define OPTIONAL MESSAGE_TLS_OPTIONAL
#define REFUSED  (-1)

static const struct hop hop_may = { .tls = HOP_MAY }, hop_starttls = { .tls = HOP_STARTTLS },
	hop_implicit = { .tls = HOP_IMPLICIT }, hop_any = { .tls = HOP_STARTTLS, .any_certificate = true };

static str mx_ours = { "mx.test", 7 }, mx_theirs = { "other.test", 10 };

static const struct row {
	const char *name;
	enum route_kind kind;
	const struct hop *hop;
	enum policy_word word;
	bool mx_secure;
	enum dane_found dane;
	enum sts_mode sts;
	const str *mx;                 /* of the MTA-STS policy */
	int want, optional, require;   /* level for a message, one with TLS-Required: No, one with REQUIRETLS */
	enum policy_source source;
	const char *result;
} rows[] = {
#define MX ROUTE_MX, NULL
#define AUTO WORD_AUTO
#define OURS &mx_ours
#define OTHERS &mx_theirs
	{ "nothing published", MX, AUTO, false, DANE_UNASKED, STS_NONE, OURS, POLICY_MAY, POLICY_MAY, REFUSED, BY_NOBODY, NULL },
	{ "signed, no TLSA", MX, AUTO, true, DANE_ABSENT, STS_NONE, OURS, POLICY_MAY, POLICY_MAY, POLICY_VERIFY, BY_NOBODY, NULL },
	{ "DANE", MX, AUTO, true, DANE_USABLE, STS_NONE, OURS, POLICY_VERIFY, POLICY_MAY, POLICY_VERIFY, BY_DANE, NULL },
	{ "unusable TLSA", MX, AUTO, true, DANE_UNUSABLE, STS_NONE, OURS, POLICY_ENCRYPT, POLICY_MAY, POLICY_VERIFY, BY_DANE, NULL },
	{ "TLSA failed", MX, AUTO, true, DANE_FAILED, STS_NONE, OURS, REFUSED, POLICY_MAY, REFUSED, BY_DANE, "dnssec-invalid" },
	{ "enforce", MX, AUTO, false, DANE_UNASKED, STS_ENFORCE, OURS, POLICY_VERIFY, POLICY_MAY, POLICY_VERIFY, BY_STS, NULL },
	{ "enforce, another host", MX, AUTO, false, DANE_UNASKED, STS_ENFORCE, OTHERS, REFUSED, POLICY_MAY, REFUSED, BY_STS, "validation-failure" },
	{ "testing", MX, AUTO, false, DANE_UNASKED, STS_TESTING, OURS, POLICY_MAY, POLICY_MAY, POLICY_VERIFY, BY_NOBODY, NULL },
	{ "testing, another host", MX, AUTO, false, DANE_UNASKED, STS_TESTING, OTHERS, POLICY_MAY, POLICY_MAY, REFUSED, BY_NOBODY, NULL },
	/* DANE first: MTA-STS does not decide beside usable records (RFC 8461 2) … */
	{ "DANE and enforce", MX, AUTO, true, DANE_USABLE, STS_ENFORCE, OURS, POLICY_VERIFY, POLICY_MAY, POLICY_VERIFY, BY_DANE, NULL },
	{ "DANE, host not in enforce", MX, AUTO, true, DANE_USABLE, STS_ENFORCE, OTHERS, POLICY_VERIFY, POLICY_MAY, POLICY_VERIFY, BY_DANE, NULL },
	/* … nor repairs what failed, but says more than unusable ones. */
	{ "TLSA failed, enforce", MX, AUTO, true, DANE_FAILED, STS_ENFORCE, OURS, REFUSED, POLICY_MAY, REFUSED, BY_DANE, "dnssec-invalid" },
	{ "unusable TLSA, enforce", MX, AUTO, true, DANE_UNUSABLE, STS_ENFORCE, OURS, POLICY_VERIFY, POLICY_MAY, POLICY_VERIFY, BY_STS, NULL },
	{ "no TLSA, enforce", MX, AUTO, true, DANE_ABSENT, STS_ENFORCE, OURS, POLICY_VERIFY, POLICY_MAY, POLICY_VERIFY, BY_STS, NULL },
	/* The operator's word. */
	{ "none", MX, WORD_NONE, true, DANE_USABLE, STS_ENFORCE, OURS, POLICY_CLEAR, POLICY_CLEAR, REFUSED, BY_OPERATOR, NULL },
	{ "may", MX, WORD_MAY, true, DANE_USABLE, STS_ENFORCE, OTHERS, POLICY_MAY, POLICY_MAY, POLICY_VERIFY, BY_OPERATOR, NULL },
	{ "encrypt", MX, WORD_ENCRYPT, false, DANE_UNASKED, STS_NONE, OURS, POLICY_ENCRYPT, POLICY_ENCRYPT, REFUSED, BY_OPERATOR, NULL },
	{ "encrypt, DANE", MX, WORD_ENCRYPT, true, DANE_USABLE, STS_NONE, OURS, POLICY_VERIFY, POLICY_ENCRYPT, POLICY_VERIFY, BY_DANE, NULL },
	{ "encrypt, enforce", MX, WORD_ENCRYPT, false, DANE_UNASKED, STS_ENFORCE, OURS, POLICY_VERIFY, POLICY_ENCRYPT, POLICY_VERIFY, BY_STS, NULL },
	{ "verify", MX, WORD_VERIFY, false, DANE_UNASKED, STS_NONE, OURS, POLICY_VERIFY, POLICY_VERIFY, REFUSED, BY_OPERATOR, NULL },
	{ "dane, usable", MX, WORD_DANE, true, DANE_USABLE, STS_NONE, OURS, POLICY_VERIFY, POLICY_VERIFY, POLICY_VERIFY, BY_DANE, NULL },
	{ "dane, none", MX, WORD_DANE, false, DANE_UNASKED, STS_ENFORCE, OURS, REFUSED, REFUSED, REFUSED, BY_OPERATOR, "dane-required" },
	{ "dane, unusable", MX, WORD_DANE, true, DANE_UNUSABLE, STS_NONE, OURS, REFUSED, REFUSED, REFUSED, BY_OPERATOR, "dane-required" },
	/* A hop is the operator's: its name is good, and its TLS no domain's business. */
	{ "route without a hop", ROUTE_HOST, NULL, AUTO, false, DANE_UNASKED, STS_NONE, OURS, POLICY_MAY, POLICY_MAY, POLICY_VERIFY, BY_NOBODY, NULL },
	{ "hop may", ROUTE_HOST, &hop_may, AUTO, false, DANE_ABSENT, STS_NONE, OURS, POLICY_MAY, POLICY_MAY, POLICY_VERIFY, BY_NOBODY, NULL },
	{ "hop starttls", ROUTE_HOST, &hop_starttls, AUTO, false, DANE_UNASKED, STS_NONE, OURS, POLICY_VERIFY, POLICY_VERIFY, POLICY_VERIFY, BY_OPERATOR, NULL },
	{ "hop implicit", ROUTE_HOST, &hop_implicit, AUTO, false, DANE_UNASKED, STS_NONE, OURS, POLICY_VERIFY, POLICY_VERIFY, POLICY_VERIFY, BY_OPERATOR, NULL },
	{ "hop, any certificate", ROUTE_HOST, &hop_any, AUTO, true, DANE_USABLE, STS_NONE, OURS, POLICY_ENCRYPT, POLICY_ENCRYPT, POLICY_VERIFY, BY_OPERATOR, NULL },
	{ "hop may, DANE", ROUTE_HOST, &hop_may, AUTO, false, DANE_USABLE, STS_NONE, OURS, POLICY_VERIFY, POLICY_MAY, POLICY_VERIFY, BY_DANE, NULL },
	{ "hop starttls, TLSA failed", ROUTE_HOST, &hop_starttls, AUTO, false, DANE_FAILED, STS_NONE, OURS, REFUSED, POLICY_VERIFY, REFUSED, BY_DANE, "dnssec-invalid" },
};

static int level(const struct policy *p, unsigned flags)
{
	return policy_refuses(p, flags) ? REFUSED : (int)policy_level_for(p, flags);
}

static void who_asks_for_what(void **state)
{
	static char digest[32];
	struct tls_tlsa tlsa = { 3, 1, 1, { digest, 32 } };

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *r = &rows[i];
		struct route route = { .kind = r->kind, .target = STR("example.test"), .hop = r->hop };
		struct dane dane = { .found = r->dane, .base = STR("mx.test"), .owner = STR("_25._tcp.mx.test"),
			             .tlsa = &tlsa, .n = r->dane == DANE_USABLE, .why = STR("SERVFAIL") };
		str allowed = *r->mx;
		struct sts_policy sts = { .mode = r->sts, .mx = { &allowed, 1 } };
		struct policy_facts f = { .route = &route, .word = r->word, .host = STR("mx.test"),
			                  .mx.secure = r->mx_secure, .dane = &dane, .sts = &sts };
		struct arena a;
		struct policy p;

		arena_init(&a, 1 << 16);
		policy_decide(&f, &a, &p);
		if (level(&p, 0) != r->want || level(&p, OPTIONAL) != r->optional || level(&p, REQUIRE) != r->require)
			fail_msg("%s: got %d %d %d, want %d %d %d", r->name, level(&p, 0), level(&p, OPTIONAL), level(&p, REQUIRE),
			         r->want, r->optional, r->require);
		/* REQUIRETLS makes the field of no account (RFC 8689 4.1). */
		assert_int_equal(level(&p, REQUIRE | OPTIONAL), r->require);
		if (p.source != r->source || !str_is(str_of(p.result), r->result != NULL ? r->result : ""))
			fail_msg("%s: source %d, result %s", r->name, (int)p.source, p.result);
		assert_int_equal(p.refused, p.said.n > 0 && str_is(p.status, "4.7.5"));
		assert_true(policy_words(&p, REQUIRE, &a).n > 0);
		arena_fini(&a);
	}
}

static void what_a_domain_is_told(void **state)
{
	struct policy_section exact = { .head.title = STR("example.net"), .tls = WORD_VERIFY },
		below = { .head.title = STR(".example.net"), .tls = WORD_ENCRYPT }, all = { .head.title = STR("*"), .tls = WORD_DANE };
	void *v[] = { &exact, &below, &all };
	struct conf_list two = { v, 2 }, three = { v, 3 };

	(void)state;
	assert_int_equal(policy_word_for(&two, STR("example.net")), WORD_VERIFY);
	assert_int_equal(policy_word_for(&two, STR("mail.example.net")), WORD_ENCRYPT);
	assert_int_equal(policy_word_for(&two, STR("example.org")), WORD_AUTO);
	assert_int_equal(policy_word_for(&two, STR("badexample.net")), WORD_AUTO);
	assert_int_equal(policy_word_for(&three, STR("example.org")), WORD_DANE);
}

static void what_a_message_asks_for_has_a_line_of_its_own(void **state)
{
	static const struct { enum route_kind kind; unsigned flags; const char *want; } keys[] = {
		{ ROUTE_MX, 0, "smtp:x.test" }, { ROUTE_MX, MESSAGE_8BIT, "smtp:x.test" },
		{ ROUTE_MX, REQUIRE, "smtp:x.test requiretls" }, { ROUTE_MX, OPTIONAL, "smtp:x.test tls-optional" },
		{ ROUTE_HOST, REQUIRE | OPTIONAL, "smtp:x.test requiretls" }, { ROUTE_LMTP, REQUIRE, "smtp:x.test" },
		{ ROUTE_MAILDIR, OPTIONAL, "smtp:x.test" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(keys); i++) {
		struct route r = { .kind = keys[i].kind, .key = STR("smtp:x.test") };
		struct arena a;

		arena_init(&a, 1024);
		policy_mark_route(&r, keys[i].flags, &a);
		assert_true(str_is(r.key, keys[i].want));
		arena_fini(&a);
	}
}

/* ---- asking ----------------------------------------------------------------------------------- */

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char zone[] =
	"good.test               ANY  SECURE\n"
	"good.test               MX   10 mx.good.test\n"
	"mx.good.test            A    192.0.2.1\n"
	"_25._tcp.mx.good.test   TLSA 3 1 1 " HEX "\n"
	"mixed.good.test         MX   10 mixed-mx.good.test\n"
	"mixed-mx.good.test      A    192.0.2.1\n"
	"_25._tcp.mixed-mx.good.test TLSA 0 1 1 " HEX "\n"
	"_25._tcp.mixed-mx.good.test TLSA 2 1 1 " HEX "\n"
	"odd.good.test           MX   10 odd-mx.good.test\n"
	"odd-mx.good.test        A    192.0.2.1\n"
	"_25._tcp.odd-mx.good.test TLSA 1 1 1 " HEX "\n"
	"none.good.test          MX   10 none-mx.good.test\n"
	"none-mx.good.test       A    192.0.2.1\n"
	"bad.good.test           MX   10 bad-mx.good.test\n"
	"bad-mx.good.test        A    192.0.2.1\n"
	"_25._tcp.bad-mx.good.test TLSA BOGUS\n"
	"sick.good.test          MX   10 sick-mx.good.test\n"
	"sick-mx.good.test       A    192.0.2.1\n"
	"_25._tcp.sick-mx.good.test TLSA SERVFAIL\n"
	"late.good.test          MX   10 late-mx.good.test\n"
	"late-mx.good.test       A    192.0.2.1\n"
	"_25._tcp.late-mx.good.test TLSA TIMEOUT\n"
	/* A validated MX that leads out of the signed world, and the other way round. */
	"out.good.test           MX   10 mx.plain.test\n"
	"mx.plain.test           A    192.0.2.1\n"
	"_25._tcp.mx.plain.test  TLSA 3 1 1 " HEX "\n"
	"plain.test              MX   10 mx.good.test\n"
	/* Aliases (RFC 7672 2.1.3, 2.2.2). */
	"alias.good.test         MX   10 alias-mx.good.test\n"
	"alias-mx.good.test      CNAME mx.good.test\n"
	"both.good.test          MX   10 both-mx.good.test\n"
	"both-mx.good.test       CNAME none-mx.good.test\n"
	"_25._tcp.both-mx.good.test TLSA 3 1 1 " HEX "\n"
	"away.good.test          MX   10 away-mx.good.test\n"
	"away-mx.good.test       CNAME mx.plain.test\n"
	"_25._tcp.away-mx.good.test TLSA 3 1 1 " HEX "\n"
	"nomx.good.test          A    192.0.2.1\n"
	"_25._tcp.nomx.good.test TLSA 3 1 1 " HEX "\n"
	"name.plain.test         CNAME good.test\n"
	"aliased.good.test       CNAME good.test\n";

static struct loop *l;
static struct tls_client *tls;

struct seen { struct policy_look look; struct arena *arena; unsigned times; };

static void known(struct policy_look *look)
{
	((struct seen *)look->user)->times++;
}

static void tick(struct ev_loop *ev, ev_timer *w, int events)
{
	(void)ev, (void)w, (void)events;
}

#define turn_until(what) \
	for (uint64_t until = clock_ms() + 10000; !(what);) { \
		ev_timer t; \
		assert_true(clock_ms() < until); \
		ev_timer_init(&t, tick, 0.02, 0.); \
		ev_timer_start(l->ev, &t); \
		ev_run(l->ev, EVRUN_ONCE); \
		ev_timer_stop(l->ev, &t); \
	}

static void host_came(struct hosts *h, enum hosts_found what)
{
	struct seen *s = h->user;

	assert_int_equal(what, HOSTS_ADDRESS);
	policy_look(&s->look, h);
	assert_int_equal(s->times, 0);           /* never inside */
}

static const struct asked {
	const char *domain;
	enum route_kind kind;
	enum dane_found found;
	size_t n, unusable;
	const char *base, *others;
} asked[] = {
	{ "good.test",         ROUTE_MX, DANE_USABLE,   1, 0, "mx.good.test", "good.test" },
	{ "mixed.good.test",   ROUTE_MX, DANE_USABLE,   1, 1, "mixed-mx.good.test", "mixed.good.test" },
	{ "odd.good.test",     ROUTE_MX, DANE_UNUSABLE, 0, 1, "odd-mx.good.test", NULL },
	{ "none.good.test",    ROUTE_MX, DANE_ABSENT,   0, 0, "none-mx.good.test", NULL },
	{ "bad.good.test",     ROUTE_MX, DANE_FAILED,   0, 0, "bad-mx.good.test", NULL },
	{ "sick.good.test",    ROUTE_MX, DANE_FAILED,   0, 0, "sick-mx.good.test", NULL },
	{ "late.good.test",    ROUTE_MX, DANE_FAILED,   0, 0, "late-mx.good.test", NULL },
	{ "out.good.test",     ROUTE_MX, DANE_UNASKED,  0, 0, NULL, NULL },
	{ "plain.test",        ROUTE_MX, DANE_UNASKED,  0, 0, NULL, NULL },
	{ "alias.good.test",   ROUTE_MX, DANE_USABLE,   1, 0, "mx.good.test", "alias.good.test" },
	{ "both.good.test",    ROUTE_MX, DANE_USABLE,   1, 0, "both-mx.good.test", "both.good.test" },
	{ "away.good.test",    ROUTE_MX, DANE_USABLE,   1, 0, "away-mx.good.test", "away.good.test" },
	{ "nomx.good.test",    ROUTE_MX, DANE_USABLE,   1, 0, "nomx.good.test", "nomx.good.test" },
	{ "name.plain.test",   ROUTE_MX, DANE_UNASKED,  0, 0, NULL, NULL },
	{ "aliased.good.test", ROUTE_MX, DANE_USABLE,   1, 0, "mx.good.test", "aliased.good.test good.test" },
	{ "mx.good.test:25",   ROUTE_HOST, DANE_USABLE, 1, 0, "mx.good.test", "mx.good.test" },
	{ "alias-mx.good.test:25", ROUTE_HOST, DANE_USABLE, 1, 0, "mx.good.test", "alias-mx.good.test" },
	{ "mx.good.test:587",  ROUTE_HOST, DANE_ABSENT, 0, 0, "mx.good.test", NULL },
	{ "192.0.2.1:25",      ROUTE_HOST, DANE_UNASKED, 0, 0, NULL, NULL },
};

static void joined(const struct strs *v, char out[static 300])
{
	size_t n = 0;

	out[0] = '\0';
	for (size_t i = 0; i < v->n; i++)
		n += (size_t)snprintf(out + n, 300 - n, "%s%.*s", i ? " " : "", STR_ARG(v->v[i]));
}

static void look_up(const char *domain, enum route_kind kind, struct arena *a, struct seen *s, struct hosts *h, unsigned port)
{
	static struct relay_conf relay;
	static const struct deliver_setup setup = { .relay = &relay, .hostname = STR("us.test") };
	static struct route route;

	relay.port = port;
	route = (struct route){ .kind = kind, .target = str_of(domain) };
	*s = (struct seen){ .arena = a };
	policy_look_begin(&s->look, l, a, tls, NULL, known, s);
	hosts_begin(h, l, a, &setup, &route, host_came, s);
	hosts_next(h);
	turn_until(s->times > 0);
}

static void where_dnssec_reaches(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(asked); i++) {
		const struct asked *r = &asked[i];
		struct seen s;
		struct hosts h;
		struct arena a;
		char others[300];

		arena_init(&a, 1 << 20);
		look_up(r->domain, r->kind, &a, &s, &h, 25);
		joined(&s.look.policy.expect.others, others);
		if (s.look.dane.found != r->found || s.look.dane.n != r->n || s.look.dane.unusable != r->unusable ||
		    (r->base != NULL && !str_is(s.look.dane.base, r->base)) ||
		    strcmp(others, r->others != NULL ? r->others : "") != 0)
			fail_msg("%s: found %d, %zu usable, %zu not, base %.*s, others %s", r->domain, (int)s.look.dane.found,
			         s.look.dane.n, s.look.dane.unusable, STR_ARG(s.look.dane.base), others);
		if (r->found == DANE_FAILED)
			assert_true(s.look.policy.refused && s.look.policy.said.n > 40);
		/* The same host's next address asks nobody. */
		policy_look(&s.look, &h);
		assert_int_equal(s.times, 1);
		turn_until(s.times > 1);
		hosts_stop(&h);
		policy_look_stop(&s.look);
		policy_look_stop(&s.look);
		arena_fini(&a);
	}
	assert_int_equal(dns_out(l->dns), 0);
}

/* The records are those of the port that is dialled. */
static void another_port_has_other_records(void **state)
{
	struct seen s;
	struct hosts h;
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	look_up("good.test", ROUTE_MX, &a, &s, &h, 2525);
	assert_true(str_is(s.look.dane.owner, "_2525._tcp.mx.good.test"));
	assert_int_equal(s.look.dane.found, DANE_ABSENT);
	arena_fini(&a);
}

static int set_up(void **state)
{
	(void)state;
	crypt_setup();
	l = loop_new(0, NULL);
	l->dns = dns_with(dns_local_source(zone), l, 2000);
	tls = tls_client_new();
	return l->dns != NULL && tls != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	tls_client_free(tls);
	dns_free(l->dns);
	loop_free(l);
	return 0;
}

/* The log's word: neither more than was proved, nor less than was asked for. */
static void what_was_shown_is_said(void **state)
{
	static const struct {
		bool good, refused;
		enum policy_source source;
		enum policy_level asked;
		bool verified, by_dane;
		const char *want;
	} cases[] = {
		{ false, false, BY_NOBODY, POLICY_MAY, false, false, "no" },
		{ false, false, BY_NOBODY, POLICY_MAY, true, false, "no" },
		{ false, false, BY_OPERATOR, POLICY_ENCRYPT, true, false, "no" },
		{ false, false, BY_OPERATOR, POLICY_VERIFY, true, false, "host" },
		{ false, false, BY_OPERATOR, POLICY_VERIFY, false, false, "no" },
		{ true, false, BY_OPERATOR, POLICY_VERIFY, true, false, "pkix" },
		{ true, false, BY_NOBODY, POLICY_MAY, true, false, "pkix" },
		{ true, false, BY_NOBODY, POLICY_MAY, false, false, "no" },
		{ true, false, BY_STS, POLICY_VERIFY, true, false, "sts" },
		{ true, true, BY_STS, POLICY_MAY, true, false, "pkix" },
		{ true, false, BY_DANE, POLICY_VERIFY, true, true, "dane" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct policy p = { .name_is_good = cases[i].good, .refused = cases[i].refused, .source = cases[i].source };
		struct tls_state shown = { .on = true, .verified = cases[i].verified, .by_dane = cases[i].by_dane };
		const char *got = policy_verified(&p, cases[i].asked, &shown);

		if (strcmp(got, cases[i].want) != 0)
			fail_msg("case %zu: %s, not %s", i, got, cases[i].want);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_asks_for_what),
		cmocka_unit_test(what_a_domain_is_told),
		cmocka_unit_test(what_a_message_asks_for_has_a_line_of_its_own),
		cmocka_unit_test(what_was_shown_is_said),
		cmocka_unit_test(where_dnssec_reaches),
		cmocka_unit_test(another_port_has_other_records),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
