/* SPDX-License-Identifier: ISC */
/* ARC-Authentication-Results as text: instance, what it vouches for, gathering. */
#include "tests/unit/modules/arc_help.h"

static void instances_are_read(void **state)
{
	static const struct { const char *value; unsigned want; const char *payload; } cases[] = {
		{ " i=1; id; dmarc=pass", 1, "id; dmarc=pass" },
		{ "i=50;id;none\r\n", 50, "id;none" },
		{ "\r\n\ti = 07 ;\r\n id; none", 7, "id; none" },
		{ " (a (nested) one) i (x) = (y) 3 (z) ; id", 3, "id" },
		{ " (never ends i=1; id", 0, "" },
		{ " i=0; id", 0, "" },
		{ " i=51; id", 0, "" },
		{ " i=001; id", 0, "" },
		{ " i=; id", 0, "" },
		{ " i=1 id; none", 0, "" },
		{ " i=1", 0, "" },
		{ " I=1; id", 0, "" },
		{ " id; i=1; none", 0, "" },
		{ " i=-1; id", 0, "" },
		{ " i=1a; id", 0, "" },
		{ "", 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		unsigned got = 0;
		str payload = STR("");
		bool read = arc_results_read(str_of(cases[i].value), &got, &payload);

		if (read != (cases[i].want > 0) || got != cases[i].want || (read && !str_is(payload, cases[i].payload)))
			fail_msg("%s: got %u \"%.*s\"", cases[i].value, got, STR_ARG(payload));
	}
}

static void only_a_clean_pass_vouches(void **state)
{
	static const struct { const char *payload; bool want; } cases[] = {
		{ "fwd.test; dmarc=pass", true },
		{ "fwd.test 1; spf=pass smtp.mailfrom=a@b.test; dmarc=pass (p=reject) header.from=author.test", true },
		{ "\"fwd; test\"; dkim=pass reason=\"dmarc=fail; no\" header.d=x; DMARC = PASS header.from=AUTHOR.test;", true },
		{ "fwd.test; dmarc/1=pass header.from=\"author.test\"", true },
		{ "fwd.test; dmarc=pass header.from=other.test", false },
		{ "fwd.test; dmarc=pass header.from=author.test header.from=other.test", false },
		{ "fwd.test; dmarc=pass header.from=other.test header.from=author.test", false },
		{ "fwd.test; dmarc=pass header.from=author.test.evil.test", false },
		{ "fwd.test; dmarc=fail header.from=author.test", false },
		{ "fwd.test; dmarc=pass; dmarc=fail", false },
		{ "fwd.test; dmarc=fail; dmarc=pass", false },
		{ "fwd.test; dmarc=bestguesspass", false },
		{ "fwd.test; dmarc=passed", false },
		{ "fwd.test; spf=pass", false },
		{ "fwd.test; none", false },
		{ "fwd.test", false },
		{ "dmarc=pass", false },
		{ "fwd.test; spf=fail (dmarc=pass; dmarc=pass)", false },
		{ "fwd.test; spf=fail reason=\"x; dmarc=pass\"", false },
		{ "fwd.test; x-dmarc=pass", false },
		{ "fwd.test; dmarc=pass; spf", false },
		{ "fwd.test; dmarc=pass; =", false },
		{ "fwd.test; dmarc=pass header.from", false },
		{ "fwd.test; dmarc=pass \"never ends", false },
		{ "", false },
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++)
		if (arc_results_vouch(&a, str_of(cases[i].payload), STR("author.test")) != cases[i].want)
			fail_msg("%s: want %d", cases[i].payload, cases[i].want);
	assert_false(arc_results_vouch(&a, STR("fwd.test; dmarc=pass"), STR_NONE));
	arena_fini(&a);
}

static void results_are_gathered(void **state)
{
	static const struct { const char *header, *want; } cases[] = {
		{ "From: x\r\n", "me.test; none" },
		{ "Authentication-Results: me.test; none\r\n", "me.test; none" },
		{ "Authentication-Results: other.test; spf=pass\r\n", "me.test; none" },
		{ "Authentication-Results: ME.test 1; spf=pass;\r\n", "me.test; spf=pass" },
		{ "Authentication-Results: me.test; spf=pass;\r\n\tdkim=pass\r\n"
		  "Authentication-Results: nobody.test; x=y\r\n"
		  "authentication-results: (c) me.test; dmarc=pass \r\n",
		  "me.test; spf=pass;\r\n\tdkim=pass;\r\n dmarc=pass" },
		{ "Authentication-Results: me.test spf=pass\r\n", "me.test; none" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct mail m;
		char text[512];

		snprintf(text, sizeof(text), "%s\r\n", cases[i].header);
		mail_read(&m, str_of(text));
		str got = arc_results_gather(&m.arena, m.fields, STR("me.test"));

		if (!str_is(got, cases[i].want))
			fail_msg("%s: got \"%.*s\"", cases[i].header, STR_ARG(got));
		mail_drop(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(instances_are_read),
		cmocka_unit_test(only_a_clean_pass_vouches),
		cmocka_unit_test(results_are_gathered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
