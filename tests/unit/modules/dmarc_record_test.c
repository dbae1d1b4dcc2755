/* SPDX-License-Identifier: ISC */
/*
 * dmarc_record: which TXT records are DMARC records, and what they say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "modules/dmarc/dmarc.h"

static void only_v_in_front_makes_a_record(void **state)
{
	static const struct { const char *text; bool want; } cases[] = {
		{ "v=DMARC1", true },
		{ "v=DMARC1; p=none", true },
		{ "v=DMARC1;p=none;", true },
		{ "V = DMARC1 ; p=none", true },
		{ "v\t=\tDMARC1\t;", true },
		{ " v=DMARC1; p=none", true },
		{ "v=dmarc1; p=reject", false },
		{ "v=DMARC1x; p=reject", false },
		{ "v=DMARC2; p=reject", false },
		{ "v=DMARC1 p=reject", false },
		{ "p=reject; v=DMARC1", false },
		{ "bogus; v=DMARC1; p=reject", false },
		{ "; v=DMARC1; p=reject", false },
		{ "v=spf1 -all", false },
		{ "v", false },
		{ "", false },
	};
	struct dmarc_record r;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (dmarc_record_parse(str_of(cases[i].text), &r) != cases[i].want)
			fail_msg("\"%s\"", cases[i].text);
}

#define A DMARC_TAG_ABSENT
#define B DMARC_TAG_BAD
#define N DMARC_TAG_NONE
#define Q DMARC_TAG_QUARANTINE
#define R DMARC_TAG_REJECT

static void tags_are_read(void **state)
{
	static const struct { const char *text; enum dmarc_tag p, sp, np; bool adkim, aspf, t; int psd; bool rua, bad; } cases[] = {
		{ "p=reject", R, A, A, 0, 0, 0, 0, 0, 0 },
		{ "P=Reject; SP=Quarantine; NP=NONE", R, Q, N, 0, 0, 0, 0, 0, 0 },
		{ "rua=mailto:a@b.c; p=quarantine", Q, A, A, 0, 0, 0, 0, 1, 0 },
		{ "p=reject; adkim=S; aspf=s; t=Y; psd=N", R, A, A, 1, 1, 1, DMARC_PSD_NO, 0, 0 },
		{ "p=reject; psd=y", R, A, A, 0, 0, 0, DMARC_PSD_YES, 0, 0 },
		{ "p=reject; psd=u; t=n; adkim=r", R, A, A, 0, 0, 0, DMARC_PSD_UNKNOWN, 0, 0 },
		{ "bogus; p=reject; adkim=x; psd=x; t=maybe; =; x=y", R, A, A, 0, 0, 0, 0, 0, 0 },
		{ "p=reject; pct=0; rf=afrf; ri=1", R, A, A, 0, 0, 0, 0, 0, 0 },
		{ "p = reject ; sp = none", R, N, A, 0, 0, 0, 0, 0, 0 },
		{ "", A, A, A, 0, 0, 0, 0, 0, 1 },
		{ "p=bogus", B, A, A, 0, 0, 0, 0, 0, 1 },
		{ "p=", B, A, A, 0, 0, 0, 0, 0, 1 },
		{ "p=reject; sp=bogus", R, B, A, 0, 0, 0, 0, 0, 1 },
		{ "p=reject; np=bogus", R, A, B, 0, 0, 0, 0, 0, 1 },
		{ "p=reject; p=reject", B, A, A, 0, 0, 0, 0, 0, 1 },
		{ "p=reject; sp=none; SP=none", R, B, A, 0, 0, 0, 0, 0, 1 },
		{ "p=reject; adkim=s; adkim=s; t=y; t=y; psd=n; psd=n", R, A, A, 0, 0, 0, 0, 0, 0 },
		{ "p=reject; rua=mailto:a@b.c; rua=mailto:a@b.c", R, A, A, 0, 0, 0, 0, 0, 0 },
		{ "p=reject; rua=nonsense", R, A, A, 0, 0, 0, 0, 0, 0 },
		{ "p=reject; rua=nonsense , mailto:x@y!10m", R, A, A, 0, 0, 0, 0, 1, 0 },
		{ "p=reject; rua=https://h/", R, A, A, 0, 0, 0, 0, 1, 0 },
		{ "p=reject; rua=mailto:x y@z", R, A, A, 0, 0, 0, 0, 0, 0 },
		{ "p=reject; rua=mailto:x%4@z", R, A, A, 0, 0, 0, 0, 0, 0 },
		{ "p=reject; rua=mailto:x%2C@z", R, A, A, 0, 0, 0, 0, 1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char text[256] = "v=DMARC1; ";
		struct dmarc_record r;

		strcat(text, cases[i].text);
		assert_true(dmarc_record_parse(str_of(text), &r));
		if (r.p != cases[i].p || r.sp != cases[i].sp || r.np != cases[i].np || r.adkim_strict != cases[i].adkim ||
		    r.aspf_strict != cases[i].aspf || r.testing != cases[i].t || (int)r.psd != cases[i].psd ||
		    r.rua_valid != cases[i].rua || dmarc_policies_bad(&r) != cases[i].bad)
			fail_msg("%s: p %d sp %d np %d adkim %d aspf %d t %d psd %d rua %d bad %d", text, r.p, r.sp, r.np,
			         r.adkim_strict, r.aspf_strict, r.testing, r.psd, r.rua_valid, dmarc_policies_bad(&r));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_v_in_front_makes_a_record),
		cmocka_unit_test(tags_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
