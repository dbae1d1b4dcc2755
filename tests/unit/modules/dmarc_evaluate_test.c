/* SPDX-License-Identifier: ISC */
/*
 * dmarc_evaluate and dmarc_walk: worked examples of RFC 9989, errors of DNS,
 * and what is asked in which order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "modules/dmarc/dmarc.h"
#include "smtpd/base/dns_local.h"

/* ---- a DNS that remembers what it was asked ------------------------------- */

struct watch {
	struct dns_source  source;
	struct dns_source *inner;
	char               asked[4096];   /* names, each followed by a space */
	size_t             n;
};

static void watch_start(struct dns_source *s, struct dns_question *q)
{
	struct watch *w = (struct watch *)s;
	str name = dns_question_name(q);

	snprintf(w->asked + strlen(w->asked), sizeof(w->asked) - strlen(w->asked), "%.*s ", STR_ARG(name));
	w->n++;
	w->inner->start(w->inner, q);
}

static void watch_cancel(struct dns_source *s, struct dns_question *q)
{
	struct watch *w = (struct watch *)s;

	if (w->inner->cancel != NULL)
		w->inner->cancel(w->inner, q);
}

static void watch_close(struct dns_source *s)
{
	struct watch *w = (struct watch *)s;

	w->inner->close(w->inner);
}

/* ---- one evaluation ------------------------------------------------------- */

struct run {
	struct loop  *loop;
	struct dns   *dns;
	struct watch  watch;
	struct arena  arena;
	struct dmarc_check *check;
	const struct dmarc_outcome *out;
};

static void checked(struct dmarc_check *c, void *user)
{
	struct run *r = user;

	(void)c;
	loop_stop(r->loop);
}

/* "spf:DOMAIN", "dkim:DOMAIN", with '?' in front: its check is open; blanks between. */
static size_t ids_read(const char *text, struct dmarc_identifier *ids)
{
	str rest = str_of(text), word;
	size_t n = 0;

	while (str_cut(&rest, ' ', &word)) {
		if (word.n == 0)
			continue;
		bool open = word.p[0] == '?';

		word = str_skip(word, open);
		ids[n].open = open;
		ids[n].dkim = str_starts(word, "dkim:");
		ids[n++].domain = str_skip(word, str_find(word, ':') + 1);
	}
	return n;
}

static void run_begin(struct run *r, const char *zone)
{
	memset(r, 0, sizeof(*r));
	arena_init(&r->arena, ARENA_UNBOUNDED);
	r->loop = loop_new(0, NULL);
	r->watch.source = (struct dns_source){ watch_start, watch_cancel, watch_close };
	r->watch.inner = dns_local_source(zone);
	r->dns = dns_with(&r->watch.source, r->loop, 5000);
}

static void run_end(struct run *r)
{
	dns_free(r->dns);
	loop_free(r->loop);
	arena_fini(&r->arena);
}

static void run_check(struct run *r, const char *from, const char *passes)
{
	struct dmarc_identifier *ids = ARENA_ARRAY(&r->arena, struct dmarc_identifier, 64);
	size_t n = ids_read(passes, ids);

	r->check = dmarc_start(r->dns, &r->arena, str_of(from));
	assert_null(dmarc_outcome(r->check));
	if (!dmarc_finish(r->check, ids, n, checked, r))
		loop_run(r->loop);
	r->out = dmarc_outcome(r->check);
	assert_non_null(r->out);
}

struct example {
	const char *name, *zone, *from, *passes;
	const char *policy_domain, *org, *result, *disposition, *align;   /* align: "spf", "dkim", "spf dkim", "" */
};

#define R(name, text) "_dmarc." name " TXT v=DMARC1; " text "\n"

static void compare(const struct example *e)
{
	struct run r;

	run_begin(&r, e->zone);
	run_check(&r, e->from, e->passes);
	const struct dmarc_outcome *o = r.out;
	const char *align = o->spf_aligned && o->dkim_aligned ? "spf dkim" : o->spf_aligned ? "spf" : o->dkim_aligned ? "dkim" : "";

	if (!str_is(o->policy_domain, e->policy_domain) || (e->org != NULL && !str_is(o->org_domain, e->org)) ||
	    strcmp(dmarc_result_word(o->result), e->result) != 0 ||
	    strcmp(dmarc_policy_word(o->disposition), e->disposition) != 0 || strcmp(align, e->align) != 0)
		fail_msg("%s: policy domain \"%.*s\" org \"%.*s\" result %s disposition %s aligned \"%s\" (%.*s; asked %s)",
		         e->name, STR_ARG(o->policy_domain), STR_ARG(o->org_domain), dmarc_result_word(o->result),
		         dmarc_policy_word(o->disposition), align, STR_ARG(o->reason), r.watch.asked);
	assert_int_equal(o->nsteps, r.watch.n);
	run_end(&r);
}

#define HERE "x.test A 192.0.2.1\n"    /* a zone is never empty */

/* The author's organization with its subdomain, both existing. */
static const struct example examples[] = {
	{ "1", R("example.com", "p=reject") "news.example.com A 192.0.2.1\n", "news.example.com", "dkim:mail.example.com",
	  "example.com", "example.com", "pass", "none", "dkim" },
	{ "2", R("b.example.com", "p=none") R("example.com", "p=reject") "a.b.example.com A 192.0.2.1\n", "a.b.example.com", "",
	  "example.com", "example.com", "fail", "reject", "" },
	{ "3", R("b.example.com", "p=quarantine; psd=n") R("example.com", "p=none") "a.b.example.com A 192.0.2.1\n", "a.b.example.com", "",
	  "b.example.com", "b.example.com", "fail", "quarantine", "" },
	{ "4", R("corp.example.com", "p=reject; psd=n") R("example.com", "p=none"), "corp.example.com", "dkim:example.com",
	  "corp.example.com", "corp.example.com", "fail", "reject", "" },
	{ "5", R("example.com", "p=reject") R("corp.example.com", "p=reject; psd=n"), "example.com", "dkim:corp.example.com",
	  "example.com", "example.com", "fail", "reject", "" },
	{ "6", R("giant.bank.example", "p=quarantine") R("bank.example", "p=reject; psd=y"), "giant.bank.example",
	  "spf:mail.giant.bank.example dkim:mail.mega.bank.example",
	  "giant.bank.example", "giant.bank.example", "pass", "none", "spf" },
	{ "7", R("bank.example", "p=reject; psd=y") "mega.bank.example A 192.0.2.1\n", "mega.bank.example", "",
	  "bank.example", "mega.bank.example", "fail", "reject", "" },
	{ "8", R("b.c.bank.example", "p=none") R("bank.example", "p=reject; psd=y") "a.b.c.bank.example A 192.0.2.1\n", "a.b.c.bank.example", "",
	  "bank.example", "c.bank.example", "fail", "reject", "" },
	{ "9", R("bank.example", "p=reject; psd=y"), "bank.example", "dkim:mail.bank.example",
	  "bank.example", "bank.example", "fail", "reject", "" },
	{ "10", R("foo.host.example", "p=reject") R("host.example", "p=none"), "foo.host.example", "dkim:bar.host.example",
	  "foo.host.example", "host.example", "pass", "none", "dkim" },
	{ "11", R("foo.host.example", "p=reject") R("host.example", "p=none; psd=y"), "foo.host.example", "dkim:bar.host.example",
	  "foo.host.example", "foo.host.example", "fail", "reject", "" },
	{ "12", R("example.com", "p=none; sp=none; np=reject"), "ghost.example.com", "",
	  "example.com", "example.com", "fail", "reject", "" },
	{ "13", R("example.com", "p=none; sp=quarantine; np=reject") "x.ent.example.com A 192.0.2.1\n", "ent.example.com", "",
	  "example.com", "example.com", "fail", "quarantine", "" },
	{ "14", R("mail.example.com", "p=none") R("mail.example.com", "p=reject") R("example.com", "p=quarantine"), "mail.example.com", "",
	  "example.com", "example.com", "fail", "quarantine", "" },
	{ "15", R("example.com", "p=reject; sp=bogus; rua=mailto:r@example.com"), "example.com", "",
	  "example.com", "example.com", "fail", "none", "" },
	{ "16", R("example.com", "p=reject; sp=bogus"), "example.com", "", "", NULL, "none", "none", "" },
	{ "17", R("example.com", "p=reject; t=y"), "example.com", "", "example.com", "example.com", "fail", "quarantine", "" },
	{ "18", R("b.c.d.e.f.g.h.example.com", "p=reject; psd=n") R("example.com", "p=none") "a.b.c.d.e.f.g.h.example.com A 192.0.2.1\n",
	  "a.b.c.d.e.f.g.h.example.com", "", "example.com", "example.com", "fail", "none", "" },
	{ "19", R("example.com", "p=reject") "_dmarc.com TXT SERVFAIL\n", "example.com", "spf:example.com",
	  "example.com", "", "pass", "none", "spf" },
	{ "20", R("example.com", "p=reject") "_dmarc.com TXT SERVFAIL\n", "example.com", "dkim:mail.example.com",
	  "example.com", "", "temperror", "none", "" },
	{ "21", "_dmarc.example.com TXT SERVFAIL\n", "a.example.com", "dkim:a.example.com", "", "", "temperror", "none", "" },
	{ "22", R("com", "p=reject; psd=y") "example.com A 192.0.2.1\n", "example.com", "", "com", "example.com", "fail", "reject", "" },
	{ "23", R("mail.example.com", "p=none") R("example.com", "p=reject; sp=quarantine") "a.mail.example.com A 192.0.2.1\n",
	  "a.mail.example.com", "spf:mail.example.com", "example.com", "example.com", "pass", "none", "spf" },
	{ "24", R("example.com", "p=reject; adkim=s"), "example.com", "dkim:mail.example.com",
	  "example.com", "example.com", "fail", "reject", "" },
	{ "25", R("example.com", "p=reject; pct=0"), "example.com", "", "example.com", "example.com", "fail", "reject", "" },
	{ "26", R("xn--bcher-kva.example", "p=reject"), "b\xc3\xbc" "cher.example", "dkim:xn--bcher-kva.example",
	  "xn--bcher-kva.example", "xn--bcher-kva.example", "pass", "none", "dkim" },
};

static void worked_examples(void **state)
{
	(void)state;
	assert_int_equal(COUNT(examples), 26);
	for (size_t i = 0; i < COUNT(examples); i++)
		compare(&examples[i]);
}

/* What DNS could not say is unknown, never "no record", never "fail". */
static void errors_of_dns(void **state)
{
	static const struct example cases[] = {
		{ "at the Author Domain", "_dmarc.example.com TXT SERVFAIL\n", "example.com", "spf:example.com", "", "", "temperror", "none", "" },
		{ "timeout", "_dmarc.example.com TXT TIMEOUT\n", "example.com", "", "", "", "temperror", "none", "" },
		{ "bogus", "_dmarc.example.com TXT BOGUS\n", "example.com", "", "", "", "temperror", "none", "" },
		{ "further up, own record, strict and identical", R("example.com", "p=reject; aspf=s") "_dmarc.com TXT SERVFAIL\n",
		  "example.com", "spf:example.com", "example.com", "", "pass", "none", "spf" },
		{ "further up, own record, strict and not identical", R("example.com", "p=reject; adkim=s") "_dmarc.com TXT SERVFAIL\n",
		  "example.com", "dkim:mail.example.com", "example.com", "", "fail", "reject", "" },
		{ "further up, own record, another tree", R("example.com", "p=reject") "_dmarc.com TXT SERVFAIL\n",
		  "example.com", "dkim:other.example", "example.com", "", "fail", "reject", "" },
		{ "further up, own record, nothing passed", R("example.com", "p=reject") "_dmarc.com TXT SERVFAIL\n",
		  "example.com", "", "example.com", "", "fail", "reject", "" },
		{ "an identifier's walk", R("example.com", "p=reject") "_dmarc.mail.example.com TXT SERVFAIL\n",
		  "example.com", "dkim:mail.example.com", "example.com", "example.com", "temperror", "none", "" },
		{ "an identifier's walk, another one aligned", R("example.com", "p=reject") "_dmarc.mail.example.com TXT SERVFAIL\n",
		  "example.com", "dkim:mail.example.com spf:example.com", "example.com", "example.com", "pass", "none", "spf" },
		{ "SPF itself, could align", R("example.com", "p=reject"), "example.com", "?spf:example.com",
		  "example.com", "example.com", "temperror", "none", "" },
		{ "SPF itself, could not align", R("example.com", "p=reject"), "example.com", "?spf:other.test",
		  "example.com", "example.com", "fail", "reject", "" },
		{ "a signature's key, below the organization", R("example.com", "p=reject"), "example.com", "?dkim:mail.example.com",
		  "example.com", "example.com", "temperror", "none", "" },
		{ "a signature's key, another one aligned", R("example.com", "p=reject"), "example.com", "?dkim:example.com spf:example.com",
		  "example.com", "example.com", "pass", "none", "spf" },
		{ "existence, where np differs", R("example.com", "p=none; np=reject") "ghost.example.com A SERVFAIL\n",
		  "ghost.example.com", "", "example.com", "example.com", "temperror", "none", "" },
		{ "existence, where np is the same", R("example.com", "p=reject; np=reject") "ghost.example.com A SERVFAIL\n",
		  "ghost.example.com", "", "example.com", "example.com", "fail", "reject", "" },
		{ "existence, but aligned", R("example.com", "p=none; np=reject") "ghost.example.com A SERVFAIL\n",
		  "ghost.example.com", "spf:ghost.example.com", "example.com", "example.com", "pass", "none", "spf" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		compare(&cases[i]);
}

static void corners(void **state)
{
	static const struct example cases[] = {
		{ "no record anywhere", HERE, "example.com", "spf:example.com", "", "example.com", "none", "none", "" },
		{ "a literal", HERE, "[192.0.2.1]", "", "", "", "none", "none", "" },
		{ "a label over 63", HERE, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example", "", "", "", "none", "none", "" },
		{ "an empty label", HERE, "a..example", "", "", "", "none", "none", "" },
		{ "other TXT does not count", "_dmarc.example.com TXT hello\n_dmarc.example.com TXT v=spf1 -all\n" R("example.com", "p=reject"),
		  "example.com", "", "example.com", "example.com", "fail", "reject", "" },
		{ "p=reject behind an alias", "_dmarc.example.com CNAME _dmarc.host.test\n" R("host.test", "p=reject"),
		  "example.com", "", "example.com", "example.com", "fail", "reject", "" },
		{ "an alias makes the name exist", R("example.com", "p=none; np=reject") "a.example.com CNAME gone.example.com\n",
		  "a.example.com", "", "example.com", "example.com", "fail", "none", "" },
		{ "a wildcard makes the name exist", R("example.com", "p=none; np=reject") "*.example.com MX 10 x.test\n",
		  "any.example.com", "", "example.com", "example.com", "fail", "none", "" },
		{ "np without sp", R("example.com", "p=reject; np=none"), "ghost.example.com", "", "example.com", "example.com", "fail", "none", "" },
		{ "np never for a name with its own record", R("a.example.com", "p=none; np=reject"), "a.example.com", "",
		  "a.example.com", "a.example.com", "fail", "none", "" },
		{ "sp is for names below", R("example.com", "p=reject; sp=none"), "example.com", "", "example.com", "example.com", "fail", "reject", "" },
		{ "quarantine under test", R("example.com", "p=quarantine; t=y"), "example.com", "", "example.com", "example.com", "fail", "none", "" },
		{ "p missing without rua", R("example.com", "adkim=s"), "example.com", "", "", NULL, "none", "none", "" },
		{ "p missing with rua", R("example.com", "rua=mailto:r@example.com"), "example.com", "", "example.com", "example.com", "fail", "none", "" },
		{ "p twice", R("example.com", "p=reject; p=reject"), "example.com", "", "", NULL, "none", "none", "" },
		{ "a bad policy does not lead to the parent's", R("a.example.com", "p=bogus") R("example.com", "p=reject"), "a.example.com", "",
		  "", NULL, "none", "none", "" },
		{ "an identifier above an unrecorded parent", R("b.example.com", "p=reject") "a.b.example.com A 192.0.2.1\n", "a.b.example.com",
		  "dkim:example.com", "b.example.com", "b.example.com", "fail", "reject", "" },
		{ "case does not matter", R("example.com", "p=reject"), "Example.COM", "spf:example.com", "example.com", "example.com", "pass", "none", "spf" },
		{ "a suffix's record does not count beside the organization's", R("com", "p=reject; psd=y") R("example.com", "p=none"), "a.example.com",
		  "", "example.com", "example.com", "fail", "none", "" },
		{ "both aligned", R("example.com", "p=reject"), "example.com", "spf:a.example.com dkim:b.example.com dkim:evil.test",
		  "example.com", "example.com", "pass", "none", "spf dkim" },
		{ "a name that ends alike", R("example.com", "p=reject"), "example.com", "dkim:badexample.com", "example.com", "example.com", "fail", "reject", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		compare(&cases[i]);
}

static void questions_go_in_order_and_once(void **state)
{
	static const struct { const char *zone, *from, *passes, *asked; } cases[] = {
		{ R("example.com", "p=reject") "news.example.com A 192.0.2.1\n", "news.example.com", "dkim:mail.example.com",
		  "_dmarc.news.example.com _dmarc.example.com _dmarc.com _dmarc.mail.example.com " },
		{ R("example.com", "p=reject; psd=n"), "example.com", "", "_dmarc.example.com " },
		{ R("example.com", "p=reject"), "example.com", "spf:example.com dkim:other.test dkim:com", "_dmarc.example.com _dmarc.com " },
		{ R("example.com", "p=reject; adkim=s"), "example.com", "dkim:mail.example.com", "_dmarc.example.com _dmarc.com " },
		{ R("example.com", "p=none; np=reject") "a.example.com A 192.0.2.1\n", "a.example.com", "",
		  "_dmarc.a.example.com _dmarc.example.com _dmarc.com a.example.com " },
		{ R("example.com", "p=none; np=reject"), "a.example.com", "spf:example.com",
		  "_dmarc.a.example.com _dmarc.example.com _dmarc.com " },
		{ HERE, "a.b.c.d.e.f.g.h.i.j.k.example.com", "",
		  "_dmarc.a.b.c.d.e.f.g.h.i.j.k.example.com _dmarc.g.h.i.j.k.example.com _dmarc.h.i.j.k.example.com "
		  "_dmarc.i.j.k.example.com _dmarc.j.k.example.com _dmarc.k.example.com _dmarc.example.com _dmarc.com " },
		{ HERE, "a.b.c.d.e.f.example.com", "",
		  "_dmarc.a.b.c.d.e.f.example.com _dmarc.b.c.d.e.f.example.com _dmarc.c.d.e.f.example.com _dmarc.d.e.f.example.com "
		  "_dmarc.e.f.example.com _dmarc.f.example.com _dmarc.example.com _dmarc.com " },
		{ HERE, "[192.0.2.1]", "", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct run r;

		run_begin(&r, cases[i].zone);
		struct dmarc_identifier ids[8] = { 0 };
		size_t n = ids_read(cases[i].passes, ids);

		r.check = dmarc_start(r.dns, &r.arena, str_of(cases[i].from));
		if (!dmarc_finish(r.check, ids, n, checked, &r))
			loop_run(r.loop);
		assert_string_equal(r.watch.asked, cases[i].asked);
		assert_true(r.watch.n <= 8 + 1 + n);
		run_end(&r);
	}
}

/* At most ten walks beside the author's: an identifier beyond is unknown. */
static void walks_are_limited(void **state)
{
	struct run r;
	char ids[1024] = "";

	(void)state;
	for (int i = 0; i < 12; i++)
		snprintf(ids + strlen(ids), sizeof(ids) - strlen(ids), "dkim:s%d.example.com ", i);
	run_begin(&r, R("example.com", "p=reject") "_dmarc.s0.example.com TXT v=DMARC1; p=none; psd=n\n");
	run_check(&r, "example.com", ids);
	assert_int_equal(r.out->ids[0].align, DMARC_UNALIGNED);
	assert_int_equal(r.out->ids[1].align, DMARC_ALIGNED);
	assert_int_equal(r.out->ids[9].align, DMARC_ALIGNED);
	assert_int_equal(r.out->ids[10].align, DMARC_ALIGN_UNKNOWN);
	assert_int_equal(r.out->result, DMARC_PASS);
	run_end(&r);
}

static void strict_modes_know_the_organization(void **state)
{
	struct run r;

	(void)state;
	run_begin(&r, R("example.com", "p=reject; adkim=s"));
	run_check(&r, "example.com", "dkim:mail.example.com dkim:other.test");
	assert_true(r.out->ids[0].same_org);
	assert_false(r.out->ids[1].same_org);
	assert_int_equal(r.out->result, DMARC_FAIL);
	assert_true(r.out->has_policy);
	run_end(&r);
}

/* The walk may be over before the message is, and a message may end before its walk. */
static void either_side_may_be_first(void **state)
{
	struct run r;

	(void)state;
	run_begin(&r, R("example.com", "p=reject"));
	r.check = dmarc_start(r.dns, &r.arena, STR("example.com"));
	while (dns_out(r.dns) > 0)
		ev_run(r.loop->ev, EVRUN_NOWAIT);
	assert_true(dmarc_finish(r.check, NULL, 0, checked, &r));
	assert_int_equal(dmarc_outcome(r.check)->result, DMARC_FAIL);
	r.check = dmarc_start(r.dns, &r.arena, STR("other.test"));
	dmarc_cancel(r.check);
	assert_int_equal(dns_out(r.dns), 0);
	run_end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(worked_examples),
		cmocka_unit_test(errors_of_dns),
		cmocka_unit_test(corners),
		cmocka_unit_test(questions_go_in_order_and_once),
		cmocka_unit_test(walks_are_limited),
		cmocka_unit_test(strict_modes_know_the_organization),
		cmocka_unit_test(either_side_may_be_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
