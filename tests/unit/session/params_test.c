/* SPDX-License-Identifier: ISC */
/*
 * Parameters of MAIL and RCPT, xtext.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "smtpd/session/internal.h"

#define HUNDRED "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

static const struct {
	const char *in;
	int         code;            /* 0: good */
	uint64_t    size;
	unsigned    flags;
	const char *envid;
	bool        utf8, body8bit;
} of_mail[] = {
	{ "", 0, 0, 0, "", false, false },
	{ " ", 0, 0, 0, "", false, false },
	{ " SIZE=1000", 0, 1000, 0, "", false, false },
	{ " size=0", 0, 0, 0, "", false, false },
	{ " SIZE=99999999999999999999", 0, UINT64_MAX, 0, "", false, false },
	{ " SIZE=999999999999999999999", 501, 0, 0, "", false, false },
	{ " SIZE=-1", 501, 0, 0, "", false, false },
	{ " SIZE=1x", 501, 0, 0, "", false, false },
	{ " SIZE=", 501, 0, 0, "", false, false },
	{ " SIZE", 501, 0, 0, "", false, false },
	{ " SIZE=1 SIZE=2", 501, 0, 0, "", false, false },
	{ "SIZE=1", 501, 0, 0, "", false, false },
	{ " BODY=8BITMIME", 0, 0, 0, "", false, true },
	{ " BODY=7bit", 0, 0, 0, "", false, false },
	{ " BODY=BINARYMIME", 555, 0, 0, "", false, false },
	{ " BODY=9BIT", 501, 0, 0, "", false, false },
	{ " SMTPUTF8", 0, 0, 0, "", true, false },
	{ " SMTPUTF8=yes", 501, 0, 0, "", false, false },
	{ " RET=FULL", 0, 0, MESSAGE_RET_FULL, "", false, false },
	{ " RET=hdrs ENVID=QQ314159", 0, 0, MESSAGE_RET_HDRS, "QQ314159", false, false },
	{ " RET=SOME", 501, 0, 0, "", false, false },
	{ " RET", 501, 0, 0, "", false, false },
	{ " RET=FULL,HDRS", 501, 0, 0, "", false, false },
	{ " RET=FULL RET=FULL", 501, 0, 0, "", false, false },
	{ " ENVID", 501, 0, 0, "", false, false },
	{ " ENVID=", 501, 0, 0, "", false, false },
	{ " ENVID=a ENVID=a", 501, 0, 0, "", false, false },
	{ " ENVID=a=b", 501, 0, 0, "", false, false },
	{ " ENVID=\xc3\xa4", 501, 0, 0, "", false, false },
	{ " ORCPT=rfc822;a", 555, 0, 0, "", false, false },
	{ " ENVID=a+2Bb+3D", 0, 0, 0, "a+b=", false, false },
	{ " ENVID=a+2bb", 501, 0, 0, "", false, false },
	{ " ENVID=a+0D", 501, 0, 0, "", false, false },
	{ " ENVID=" HUNDRED, 0, 0, 0, HUNDRED, false, false },
	{ " ENVID=" HUNDRED "0", 501, 0, 0, "", false, false },
	{ " AUTH=<>", 0, 0, 0, "", false, false },
	{ " AUTH=e+3Dmc2@example.com", 0, 0, 0, "", false, false },
	{ " AUTH=a+", 501, 0, 0, "", false, false },
	{ " SIZE=7 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x AUTH=<>", 0, 7, MESSAGE_RET_FULL, "x", true, true },
	{ " XCLIENT=1", 555, 0, 0, "", false, false },
	{ " -SIZE=1", 501, 0, 0, "", false, false },
	{ " =1", 501, 0, 0, "", false, false },
	{ " SIZE=1\tBODY=7BIT", 501, 0, 0, "", false, false },
	{ " REQUIRETLS", 0, 0, MESSAGE_REQUIRETLS, "", false, false },
	{ " RequireTLS RET=HDRS", 0, 0, MESSAGE_REQUIRETLS | MESSAGE_RET_HDRS, "", false, false },
	{ " REQUIRETLS=YES", 501, 0, 0, "", false, false },
	{ " REQUIRETLS REQUIRETLS", 501, 0, 0, "", false, false },
	{ " NOTIFY=NEVER", 555, 0, 0, "", false, false },
};

static void mail_parameters(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(of_mail); i++) {
		struct arena arena;
		struct mail_params p;
		struct param_fault fault = { 0 };
		bool good;

		arena_init(&arena, 65536);
		good = mail_params(&arena, str_of(of_mail[i].in), &p, &fault);
		if (good != (of_mail[i].code == 0) || fault.code != of_mail[i].code)
			fail_msg("%s: %d", of_mail[i].in, fault.code);
		if (good && (p.size != of_mail[i].size || p.flags != of_mail[i].flags || p.utf8 != of_mail[i].utf8 ||
		             p.body8bit != of_mail[i].body8bit || !str_is(p.envid, of_mail[i].envid)))
			fail_msg("%s: values", of_mail[i].in);
		arena_fini(&arena);
	}
}

/* RFC 4865 4, RFC 3339 5.6. */
static const struct { const char *in; int code; int64_t hold_for, hold_until; } of_release[] = {
	{ " HOLDFOR=1", 0, 1, 0 },
	{ " HOLDFOR=1000000000", 501, 0, 0 },
	{ " HOLDFOR=0", 501, 0, 0 },
	{ " HOLDFOR=01", 501, 0, 0 },
	{ " HOLDFOR=-1", 501, 0, 0 },
	{ " HOLDFOR=1.5", 501, 0, 0 },
	{ " HOLDFOR=", 501, 0, 0 },
	{ " HOLDFOR", 501, 0, 0 },
	{ " HOLDFOR=1 HOLDFOR=1", 501, 0, 0 },
	{ " HOLDFOR=1 HOLDUNTIL=2026-12-24T18:00:00Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T18:00:00Z HOLDFOR=1", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T18:00:00Z", 0, 0, 1798135200 },
	{ " HOLDUNTIL=2026-12-24t18:00:00z", 0, 0, 1798135200 },
	{ " HOLDUNTIL=2026-12-24T18:00:00.123456789Z", 0, 0, 1798135200 },
	{ " HOLDUNTIL=2026-12-24T19:30:00+01:30", 0, 0, 1798135200 },
	{ " HOLDUNTIL=2026-12-24T17:00:00-01:00", 0, 0, 1798135200 },
	{ " HOLDUNTIL=2028-02-29T00:00:00Z", 0, 0, 1835395200 },
	{ " HOLDUNTIL=2016-12-31T23:59:60Z", 0, 0, 1483228799 },
	{ " HOLDUNTIL=2026-02-29T00:00:00Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-04-31T00:00:00Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-13-01T00:00:00Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-00-01T00:00:00Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-00T00:00:00Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T24:00:00Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T18:60:00Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T18:00:61Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T18:00:00", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T18:00:00.Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T18:00:00+24:00", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T18:00:00+0100", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T18:00:00ZZ", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24T18:00Z", 501, 0, 0 },
	{ " HOLDUNTIL=2026-12-24", 501, 0, 0 },
	{ " HOLDUNTIL=1969-12-31T00:00:00Z", 501, 0, 0 },
	{ " HOLDUNTIL=", 501, 0, 0 },
	{ " HOLDUNTIL", 501, 0, 0 },
};

static void release_parameters(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(of_release); i++) {
		struct arena arena;
		struct mail_params p;
		struct param_fault fault = { 0 };
		bool good;

		arena_init(&arena, 65536);
		good = mail_params(&arena, str_of(of_release[i].in), &p, &fault);
		if (good != (of_release[i].code == 0) || fault.code != of_release[i].code)
			fail_msg("%s: %d", of_release[i].in, fault.code);
		if (good && (p.hold_for != of_release[i].hold_for || p.hold_until != of_release[i].hold_until))
			fail_msg("%s: %lld, %lld", of_release[i].in, (long long)p.hold_for, (long long)p.hold_until);
		arena_fini(&arena);
	}
}

static const struct { const char *in; bool utf8; int code; unsigned flags; const char *orcpt; } of_rcpt[] = {
	{ "", false, 0, 0, "" },
	{ " NOTIFY=NEVER", false, 0, RCPT_NOTIFY_NEVER, "" },
	{ " notify=success,FAILURE,Delay", false, 0, RCPT_NOTIFY_SUCCESS | RCPT_NOTIFY_FAILURE | RCPT_NOTIFY_DELAY, "" },
	{ " NOTIFY=NEVER,SUCCESS", false, 501, 0, "" },
	{ " NOTIFY=", false, 501, 0, "" },
	{ " NOTIFY=SUCCESS,", false, 501, 0, "" },
	{ " NOTIFY=,SUCCESS", false, 501, 0, "" },
	{ " NOTIFY", false, 501, 0, "" },
	{ " NOTIFY=NEVER,NEVER", false, 501, 0, "" },
	{ " NOTIFY=DELAY,NEVER", false, 501, 0, "" },
	{ " NOTIFY=FAILURE NOTIFY=DELAY", false, 501, 0, "" },
	{ " NOTIFY=SUCCESS;FAILURE", false, 501, 0, "" },
	{ " ORCPT", false, 501, 0, "" },
	{ " ORCPT=rf c822;a", false, 501, 0, "" },
	{ " ORCPT=x-fax;+2B1-555", false, 0, 0, "x-fax;+1-555" },
	{ " ORCPT=rfc822;a+2b", false, 501, 0, "" },
	{ " ORCPT=rfc822;a=b", false, 501, 0, "" },
	{ " ORCPT=rfc822;\xc3\xa4@example.com", true, 501, 0, "" },
	{ " ORCPT=utf-8;\\x{E4}@example.com", false, 0, 0, "utf-8;\xc3\xa4@example.com" },
	{ " ORCPT=UTF-8;a\\x{2B}b\\x{5C}@example.com", false, 0, 0, "UTF-8;a+b\\@example.com" },
	{ " ORCPT=utf-8;\\x{1F600}@example.com", true, 0, 0, "utf-8;\xf0\x9f\x98\x80@example.com" },
	{ " ORCPT=utf-8;\\x{0A}@example.com", false, 501, 0, "" },
	{ " ORCPT=utf-8;\\x{D800}@example.com", false, 501, 0, "" },
	{ " ORCPT=utf-8;\\x{110000}@example.com", false, 501, 0, "" },
	{ " ORCPT=utf-8;\\x{E4@example.com", false, 501, 0, "" },
	{ " ORCPT=utf-8;\\@example.com", false, 501, 0, "" },
	{ " ORCPT=utf-8;\xe4@example.com", true, 501, 0, "" },
	{ " ORCPT=rfc822;" HUNDRED HUNDRED HUNDRED HUNDRED "0123456789012345678901234567890123456789012345678901234567890123456789"
	  "01234567890123456789012", false, 0, 0,
	  "rfc822;" HUNDRED HUNDRED HUNDRED HUNDRED "0123456789012345678901234567890123456789012345678901234567890123456789"
	  "01234567890123456789012" },
	{ " ORCPT=rfc822;" HUNDRED HUNDRED HUNDRED HUNDRED HUNDRED, false, 501, 0, "" },
	{ " RET=FULL", false, 555, 0, "" },
	{ " ENVID=a", false, 555, 0, "" },
	{ " NOTIFY=ALWAYS", false, 501, 0, "" },
	{ " ORCPT=rfc822;bob@example.com", false, 0, 0, "rfc822;bob@example.com" },
	{ " ORCPT=rfc822;bob+2Bx@example.com", false, 0, 0, "rfc822;bob+x@example.com" },
	{ " ORCPT=bob@example.com", false, 501, 0, "" },
	{ " ORCPT=;bob", false, 501, 0, "" },
	{ " ORCPT=rfc822;", false, 501, 0, "" },
	{ " ORCPT=rfc822;a+00b", false, 501, 0, "" },
	{ " ORCPT=utf-8;\xc3\xa4@example.com", true, 0, 0, "utf-8;\xc3\xa4@example.com" },
	{ " ORCPT=utf-8;\xc3\xa4@example.com", false, 501, 0, "" },
	{ " ORCPT=rfc822;a ORCPT=rfc822;b", false, 501, 0, "" },
	{ " SIZE=1", false, 555, 0, "" },
	{ " NOTIFY=NEVER ORCPT=rfc822;a", false, 0, RCPT_NOTIFY_NEVER, "rfc822;a" },
};

static void rcpt_parameters(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(of_rcpt); i++) {
		struct arena arena;
		struct rcpt_params p;
		struct param_fault fault = { 0 };
		bool good;

		arena_init(&arena, 65536);
		good = rcpt_params(&arena, str_of(of_rcpt[i].in), of_rcpt[i].utf8, &p, &fault);
		if (good != (of_rcpt[i].code == 0) || fault.code != of_rcpt[i].code)
			fail_msg("%s: %d", of_rcpt[i].in, fault.code);
		if (good && (p.flags != of_rcpt[i].flags || !str_is(p.orcpt, of_rcpt[i].orcpt)))
			fail_msg("%s: values", of_rcpt[i].in);
		arena_fini(&arena);
	}
}

static const struct { const char *in; bool good; const char *out; } xtexts[] = {
	{ "", true, "" }, { "abc", true, "abc" }, { "+41+42", true, "AB" }, { "a+2Bb", true, "a+b" },
	{ "+4", false, "" }, { "+", false, "" }, { "+4g", false, "" }, { "+4a", false, "" }, { "+0A", false, "" },
	{ "+7F", false, "" }, { "a b", false, "" }, { "a=b", false, "" }, { "+E4", false, "" }, { "\xe4", false, "" },
};

static void xtext_is_strict(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(xtexts); i++) {
		struct arena arena;
		str out = STR_NONE;

		arena_init(&arena, 4096);
		if (xtext_decode(&arena, str_of(xtexts[i].in), false, &out) != xtexts[i].good)
			fail_msg("%s", xtexts[i].in);
		if (xtexts[i].good && !str_is(out, xtexts[i].out))
			fail_msg("%s: %.*s", xtexts[i].in, STR_ARG(out));
		arena_fini(&arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mail_parameters), cmocka_unit_test(release_parameters),
		cmocka_unit_test(rcpt_parameters),
		cmocka_unit_test(xtext_is_strict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
