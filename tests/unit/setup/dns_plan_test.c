/* SPDX-License-Identifier: ISC */
/*
 * dmarc_plan and record_forms: what is seen in, advice and texts out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtpd/setup/dns/dmarc_plan.h"
#include "smtpd/setup/dns/record_forms.h"

#define DAY ((int64_t)86400)
#define NOW (1000 * DAY)
#define RUA "; rua=mailto:r@a.test"

/* ---- plans ----------------------------------------------------------------------------------- */

struct world { const char *dmarc; int64_t days; enum plan_shown key, consent; enum spf_severity spf; size_t records; };

static const struct {
	const char *name;
	struct world w;
	enum plan_step step;
	const char *record;          /* NULL: none */
	size_t against;
} plans[] = {
	{ "no record", { NULL, 99, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 0 }, PLAN_BEGIN, "v=DMARC1; p=none; rua=mailto:first@a.test", 0 },
	{ "two records", { NULL, 99, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 2 }, PLAN_MEND, "v=DMARC1; p=none; rua=mailto:first@a.test", 0 },
	{ "none, old enough", { "v=DMARC1; p=none" RUA, 14, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_GO_ON,
	  "v=DMARC1; p=quarantine; np=reject" RUA, 0 },
	{ "none, a day short", { "v=DMARC1; p=none" RUA, 13, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_STAY, NULL, 1 },
	{ "since unknown", { "v=DMARC1; p=none" RUA, -1, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_STAY, NULL, 1 },
	{ "quarantine", { "v=DMARC1; p=quarantine; np=reject" RUA, 20, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_GO_ON,
	  "v=DMARC1; p=reject" RUA, 0 },
	{ "sp and modes stay", { "v=DMARC1; p=quarantine; sp=none; adkim=s; aspf=s; psd=n; ruf=mailto:f@a.test; fo=1:d" RUA, 20, PLAN_SHOWN,
	  PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_GO_ON,
	  "v=DMARC1; p=reject; sp=none; adkim=s; aspf=s; psd=n" RUA "; ruf=mailto:f@a.test; fo=1:d", 0 },
	{ "sp that says the same goes", { "v=DMARC1; p=quarantine; sp=reject" RUA, 20, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_GO_ON,
	  "v=DMARC1; p=reject" RUA, 0 },
	{ "testing is one step lower", { "v=DMARC1; p=reject; t=y" RUA, 20, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_GO_ON,
	  "v=DMARC1; p=reject" RUA, 0 },
	{ "testing without reports", { "v=DMARC1; p=quarantine; t=y", 20, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_STAY,
	  "v=DMARC1; p=none; rua=mailto:first@a.test", 1 },
	{ "reject", { "v=DMARC1; p=reject" RUA, 0, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_DONE, NULL, 0 },
	{ "misspelt", { "v=DMARC1; p=none; sp=rejct" RUA, 20, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_MEND, "v=DMARC1; p=none" RUA, 0 },
	{ "sizes and old tags go", { "v=DMARC1; p=none; pct=5; ri=1; rf=afrf; rua=mailto:r@a.test!5m, mailto:s@a.test", 20, PLAN_SHOWN,
	  PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_GO_ON, "v=DMARC1; p=quarantine; np=reject; rua=mailto:r@a.test,mailto:s@a.test", 0 },
	{ "no reports", { "v=DMARC1; p=none", 20, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_STAY, "v=DMARC1; p=none; rua=mailto:first@a.test", 1 },
	{ "key absent", { "v=DMARC1; p=none" RUA, 20, PLAN_ABSENT, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_STAY, NULL, 1 },
	{ "another key", { "v=DMARC1; p=none" RUA, 20, PLAN_OTHER, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_STAY, NULL, 1 },
	{ "key unknown", { "v=DMARC1; p=none" RUA, 20, PLAN_UNKNOWN, PLAN_SHOWN, SPF_SAYS_NOTE, 1 }, PLAN_STAY, NULL, 1 },
	{ "no consent", { "v=DMARC1; p=none" RUA, 20, PLAN_SHOWN, PLAN_ABSENT, SPF_SAYS_NOTE, 1 }, PLAN_STAY, NULL, 1 },
	{ "consent unknown", { "v=DMARC1; p=none" RUA, 20, PLAN_SHOWN, PLAN_UNKNOWN, SPF_SAYS_NOTE, 1 }, PLAN_GO_ON,
	  "v=DMARC1; p=quarantine; np=reject" RUA, 0 },
	{ "SPF broken", { "v=DMARC1; p=none" RUA, 20, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_FAULT, 1 }, PLAN_STAY, NULL, 1 },
	{ "SPF warned of", { "v=DMARC1; p=none" RUA, 20, PLAN_SHOWN, PLAN_SHOWN, SPF_SAYS_WARNING, 1 }, PLAN_GO_ON,
	  "v=DMARC1; p=quarantine; np=reject" RUA, 0 },
};

static void make_plan(const struct world *w, struct arena *a, struct dmarc_plan *out)
{
	struct dmarc_step step = { .name = STR("_dmarc.a.test"), .record = str_of(w->dmarc), .records = w->records };
	struct dmarc_outcome seen = { .from_domain = STR("a.test"), .steps = &step, .nsteps = 1 };
	struct spf_node root = { .domain = STR("a.test"), .state = SPF_NODE_RECORD };
	struct spf_finding finding = { w->spf, STR("a.test"), STR("something"), STR("do it") };
	struct spf_tree tree = { .root = &root, .findings = &finding, .n_findings = 1, .faults = w->spf == SPF_SAYS_FAULT };
	struct plan_key key = { STR("s1"), w->key };
	struct plan_report report = { STR("r@b.test"), STR("b.test"), true, w->consent };
	struct plan_facts f = {
		.domain = STR("a.test"), .ours = true, .seen = &seen, .spf = &tree, .keys = &key, .n_keys = 1, .reports = &report,
		.n_reports = 1, .first = STR("v=DMARC1; p=none; rua=mailto:first@a.test"), .now = NOW, .since = w->days < 0 ? 0 : NOW - w->days * DAY,
	};

	assert_int_equal(dmarc_plan_make(&f, a, out), OK);
}

static void steps(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(plans); i++) {
		struct dmarc_plan plan;
		struct arena a;
		size_t against = 0;

		arena_init(&a, 1 << 20);
		make_plan(&plans[i].w, &a, &plan);
		for (size_t k = 0; k < plan.n; k++) {
			against += plan.words[k].against;
			assert_true(!plan.words[k].against || plan.words[k].todo.n > 0);
		}
		if (plan.step != plans[i].step || !str_eq(plan.record, str_of(plans[i].record)) || against != plans[i].against)
			fail_msg("%s: %s \"%.*s\", %zu against", plans[i].name, plan_step_word(plan.step), STR_ARG(plan.record), against);
		assert_true(plan.summary.n > 0);
		assert_true(plan.safe == plan.present || (plan.step == PLAN_GO_ON && plan.safe == plan.present + 1));
		arena_fini(&a);
	}
}

/* ---- forms ---------------------------------------------------------------------------------------- */

static void texts(void **state)
{
	static const struct { const char *type, *name, *value, *zone, *line, *host; } cases[] = {
		{ "MX", "a.test", "10 m.a.test.", "a.test. 3600 IN MX 10 m.a.test.", "a.test. MX 10 m.a.test.", "@" },
		{ "TXT", "x.A.test", "v=spf1 -all", "x.A.test. 3600 IN TXT \"v=spf1 -all\"", "x.A.test. TXT \"v=spf1 -all\"", "x" },
		{ "TXT", "xa.test", "q\"b\\s", "xa.test. 3600 IN TXT \"q\\\"b\\\\s\"", "xa.test. TXT \"q\\\"b\\\\s\"", "xa.test" },
		{ "TXT", "n.b.a.test", "\x01\xc3", "n.b.a.test. 3600 IN TXT \"\\001\\195\"", "n.b.a.test. TXT \"\\001\\195\"", "n.b" },
		{ "TXT", "e.a.test", "", "e.a.test. 3600 IN TXT \"\"", "e.a.test. TXT \"\"", "e" },
	};
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct dns_record r = { .name = str_of(cases[i].name), .type = cases[i].type, .value = str_of(cases[i].value) };

		assert_true(str_is(dns_record_zone(&r, &a), cases[i].zone));
		assert_true(str_is(dns_record_line(&r, &a), cases[i].line));
		assert_true(str_is(dns_record_host(&r, STR("a.test"), &a), cases[i].host));
	}
	arena_fini(&a);
}

static void cuts(void **state)
{
	static const struct { size_t n, strings; } cases[] = { { 1, 1 }, { 254, 1 }, { 255, 1 }, { 256, 2 }, { 510, 2 }, { 511, 3 } };
	char text[600], *form = NULL;
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct dns_record r = { .name = STR("k.a.test"), .type = "TXT", .value = { text, cases[i].n } };
		str zone = dns_record_zone(&r, &a);
		size_t quotes = 0, room, xs = 0, at = 0;
		FILE *out = open_memstream(&form, &room);

		for (size_t k = 0; k < zone.n; k++) {
			quotes += zone.p[k] == '"';
			xs += zone.p[k] == 'x';
		}
		assert_int_equal(quotes, 2 * cases[i].strings);
		assert_int_equal(xs, cases[i].n);
		assert_int_equal(str_holds(zone, '('), cases[i].strings > 1);
		dns_record_print_form(&r, STR("a.test"), &a, out);
		fclose(out);
		for (const char *c = form; (c = strstr(c, "cut after octet")) != NULL; c++)
			at++;
		assert_int_equal(at, cases[i].strings - 1);
		free(form);
	}
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps),
		cmocka_unit_test(texts),
		cmocka_unit_test(cuts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
