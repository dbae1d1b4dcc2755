/* SPDX-License-Identifier: ISC */
/* What is and what is not a policy, a record, a match (RFC 8461 3.1, 3.2, 4.1). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "queue/deliver/sts_policy.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/err.h"

/* "enforce 604800 mx1 mx2", or "no: SENTENCE". */
static const char *parsed(const char *file)
{
	static char text[2000];
	struct arena a;
	struct sts_policy p = { 0 };
	str why;
	size_t n;

	arena_init(&a, 1 << 20);
	if (!sts_policy_parse(str_of(file), &a, &p, &why)) {
		assert_int_equal(p.mx.n, 0);
		assert_true(why.n > 5);
		snprintf(text, sizeof(text), "no: %.*s", STR_ARG(why));
	} else {
		n = (size_t)snprintf(text, sizeof(text), "%s %llu", sts_mode_text(p.mode), (unsigned long long)p.max_age_s);
		for (size_t i = 0; i < p.mx.n; i++)
			n += (size_t)snprintf(text + n, sizeof(text) - n, " %.*s", STR_ARG(p.mx.v[i]));
	}
	arena_fini(&a);
	return text;
}

static void files(void **state)
{
	static const struct { const char *file, *want; } cases[] = {
		/* the RFC's own (3.2), LF and CRLF, with and without the last line end */
		{ "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\n"
		  "max_age: 604800\n", "enforce 604800 mail.example.com *.example.net backupmx.example.com" },
		{ "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmax_age: 604800\r\n", "enforce 604800 mail.example.com" },
		{ "version: STSv1\nmode: testing\nmx: a.test\nmax_age: 86400", "testing 86400 a.test" },
		{ "version:STSv1\nmode:testing\nmx:a.test\nmax_age:86400", "testing 86400 a.test" },
		{ "version:\t STSv1 \nmode: testing\t\nmx:   A.TEST \nmax_age: 86400 \n", "testing 86400 a.test" },
		{ "max_age: 86400\nmx: a.test\nmode: enforce\nversion: STSv1\n", "enforce 86400 a.test" },
		{ "version: STSv1\nmode: none\nmax_age: 86400\n", "none 86400" },
		{ "version: STSv1\nmode: none\nmx: a.test\nmax_age: 86400\n", "none 86400 a.test" },
		/* unknown keys, keys given twice: the first counts */
		{ "version: STSv1\nx-new.thing_1: any: thing = \xc3\xa9 here\nmode: enforce\nmx: a.test\nmax_age: 86400\n", "enforce 86400 a.test" },
		{ "version: STSv1\nmode: enforce\nmode: none\nmx: a.test\nmax_age: 86400\nmax_age: 1\nversion: STSv2\n", "enforce 86400 a.test" },
		{ "version: STSv1\n\nmode: enforce\nmx: a.test\n\r\nmax_age: 86400\n\n", "enforce 86400 a.test" },
		/* max_age */
		{ "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 31557600\n", "enforce 31557600 a.test" },
		{ "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 31557601\n", "enforce 31557600 a.test" },
		{ "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 9999999999\n", "enforce 31557600 a.test" },
		{ "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 0\n", "enforce 0 a.test" },
		{ "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 99999999999\n", "no: its max_age is no number of seconds" },
		{ "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: -1\n", "no: its max_age is no number of seconds" },
		{ "version: STSv1\nmode: enforce\nmx: a.test\nmax_age:\n", "no: its max_age is no number of seconds" },
		{ "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 1d\n", "no: its max_age is no number of seconds" },
		/* what is missing */
		{ "", "no: it has no version" },
		{ "mode: enforce\nmx: a.test\nmax_age: 86400\n", "no: it has no version" },
		{ "version: STSv1\nmx: a.test\nmax_age: 86400\n", "no: it has no mode" },
		{ "version: STSv1\nmode: enforce\nmx: a.test\n", "no: it has no max_age" },
		{ "version: STSv1\nmode: enforce\nmax_age: 86400\n", "no: it names no mx host" },
		{ "version: STSv1\nmode: testing\nmax_age: 86400\n", "no: it names no mx host" },
		/* what is wrong */
		{ "version: STSv2\nmode: enforce\nmx: a.test\nmax_age: 86400\n", "no: its version is not STSv1" },
		{ "version: stsv1\nmode: enforce\nmx: a.test\nmax_age: 86400\n", "no: its version is not STSv1" },
		{ "version: STSv1\nmode: Enforce\nmx: a.test\nmax_age: 86400\n", "no: its mode is none of enforce, testing and none" },
		{ "version: STSv1\nmode: report\nmx: a.test\nmax_age: 86400\n", "no: its mode is none of enforce, testing and none" },
		{ "version: STSv1\nmode: enforce\nmx: *\nmax_age: 86400\n", "no: one of its mx lines is no host name" },
		{ "version: STSv1\nmode: enforce\nmx: *.\nmax_age: 86400\n", "no: one of its mx lines is no host name" },
		{ "version: STSv1\nmode: enforce\nmx: mx.*.test\nmax_age: 86400\n", "no: one of its mx lines is no host name" },
		{ "version: STSv1\nmode: enforce\nmx: mx*.test\nmax_age: 86400\n", "no: one of its mx lines is no host name" },
		{ "version: STSv1\nmode: enforce\nmx: *.*.test\nmax_age: 86400\n", "no: one of its mx lines is no host name" },
		{ "version: STSv1\nmode: enforce\nmx: a..test\nmax_age: 86400\n", "no: one of its mx lines is no host name" },
		{ "version: STSv1\nmode: enforce\nmx: a.test b.test\nmax_age: 86400\n", "no: one of its mx lines is no host name" },
		{ "version: STSv1\nmode: enforce\nmx:\nmax_age: 86400\n", "no: one of its mx lines is no host name" },
		{ "<html><body>Not here</body></html>\n", "no: one of its lines is not `name: value`" },
		{ "version: STSv1\nmode enforce\nmx: a.test\nmax_age: 86400\n", "no: one of its lines is not `name: value`" },
		{ "version: STSv1\n: enforce\nmx: a.test\nmax_age: 86400\n", "no: one of its lines is not `name: value`" },
		{ "version: STSv1\rmode: enforce\rmx: a.test\rmax_age: 86400\r", "no: it holds bytes that are not text" },
		{ "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: 86400\nx: \x01\n", "no: it holds bytes that are not text" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *got = parsed(cases[i].file);

		if (strcmp(got, cases[i].want) != 0)
			fail_msg("%s: \"%s\", not \"%s\"", cases[i].file, got, cases[i].want);
	}
}

static bool takes(str file)
{
	struct arena a;
	struct sts_policy p = { .id = STR("kept") };
	bool good;
	str why;

	arena_init(&a, 1 << 20);
	good = sts_policy_parse(file, &a, &p, &why);
	assert_true(str_is(p.id, "kept"));
	arena_fini(&a);
	return good;
}

static void sizes(void **state)
{
	static const char head[] = "version: STSv1\nmode: enforce\nmax_age: 86400\nmx: a.test\n";
	struct buf b;

	(void)state;
	buf_init(&b, BUF_UNBOUNDED);
	buf_addf(&b, "%sx: ", head);
	while (buf_str(&b).n < STS_POLICY_MOST - 1)
		buf_add_char(&b, 'y');
	buf_add_char(&b, '\n');
	assert_true(takes(buf_str(&b)));
	buf_add_char(&b, '\n');
	assert_false(takes(buf_str(&b)));        /* 64 KiB and one */
	buf_clear(&b);
	buf_addf(&b, "%s", head);
	for (int i = 1; i < STS_MX_MOST; i++)
		buf_addf(&b, "mx: mx%d.test\n", i);
	assert_true(takes(buf_str(&b)));
	buf_addf(&b, "mx: last.test\n");
	assert_false(takes(buf_str(&b)));
	buf_clear(&b);
	for (int i = 0; i < 1000; i++)
		buf_addf(&b, "x%d: y\n", i);
	buf_addf(&b, "%s", head);
	assert_false(takes(buf_str(&b)));
	buf_fini(&b);
	assert_false(takes((str){ "version: STSv1\nmode: none\nmax_age: 1\nx: \0\n", 42 }));
}

static void memory_that_is_spent_is_no_policy(void **state)
{
	static const char file[] = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmax_age: 604800\n";

	(void)state;
	for (size_t budget = 0; budget < 16384; budget += 64) {
		struct arena a;
		struct sts_policy p = { 0 };
		str why;

		arena_init(&a, budget);
		if (sts_policy_parse(str_of(file), &a, &p, &why)) {
			assert_int_equal(p.mx.n, 1);
			assert_true(str_is(p.mx.v[0], "mail.example.com"));
			assert_int_equal(p.lines.n, 4);
		}
		arena_fini(&a);
	}
}

static void lines_are_kept_for_reports(void **state)
{
	struct arena a;
	struct sts_policy p = { 0 };
	str why;

	(void)state;
	arena_init(&a, 1 << 20);
	assert_true(sts_policy_parse(STR("version: STSv1\r\nmode: testing\r\nmx: A.test\r\nmax_age: 5\r\n"), &a, &p, &why));
	assert_int_equal(p.lines.n, 4);
	assert_true(str_is(p.lines.v[2], "mx: A.test"));
	arena_fini(&a);
}

static void records(void **state)
{
	static const struct { const char *txt; enum sts_record want; const char *id; } cases[] = {
		{ "v=STSv1; id=20160831085700Z;", STS_RECORD_GOOD, "20160831085700Z" },
		{ "v=STSv1;id=1", STS_RECORD_GOOD, "1" },
		{ "v=STSv1 ; id=1 ; x=y", STS_RECORD_GOOD, "1" },
		{ "v=STSv1; x_y-z.1=abc/d:e; id=a1;", STS_RECORD_GOOD, "a1" },
		{ "v=STSv1; id=12345678901234567890123456789012", STS_RECORD_GOOD, "12345678901234567890123456789012" },
		{ "v=STSv1; id=123456789012345678901234567890123", STS_RECORD_BAD, "" },
		{ "v=STSv1; id=", STS_RECORD_BAD, "" },
		{ "v=STSv1; id=a-b", STS_RECORD_BAD, "" },
		{ "v=STSv1; id=a; id=b", STS_RECORD_BAD, "a" },
		{ "v=STSv1; ID=a", STS_RECORD_BAD, "" },
		{ "v=STSv1;", STS_RECORD_BAD, "" },
		{ "v=STSv1; id=a;; x=y", STS_RECORD_BAD, "a" },
		{ "v=STSv1; id=a; x", STS_RECORD_BAD, "a" },
		{ "v=STSv1; id=a; x=", STS_RECORD_BAD, "a" },
		{ "v=STSv1; id=a; x=y z", STS_RECORD_BAD, "a" },
		{ "v=STSv1", STS_RECORD_OTHER, "" },
		{ "v=STSv1 id=a", STS_RECORD_OTHER, "" },
		{ " v=STSv1; id=a", STS_RECORD_OTHER, "" },
		{ "v=stsv1; id=a", STS_RECORD_OTHER, "" },
		{ "v=STSv2; id=a", STS_RECORD_OTHER, "" },
		{ "v=STSv10; id=a", STS_RECORD_OTHER, "" },
		{ "v=spf1 -all", STS_RECORD_OTHER, "" },
		{ "id=a; v=STSv1", STS_RECORD_OTHER, "" },
		{ "", STS_RECORD_OTHER, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		str id;
		enum sts_record got = sts_record_parse(str_of(cases[i].txt), &id);

		if (got != cases[i].want || (got == STS_RECORD_GOOD && !str_is(id, cases[i].id)))
			fail_msg("%s: %d, id \"%.*s\"", cases[i].txt, got, STR_ARG(id));
	}
}

static void matches(void **state)
{
	static str patterns[] = { STR("mail.example.com"), STR("*.example.net") };
	static const struct sts_policy p = { .mx = { patterns, 2 } };
	static const struct { const char *host; bool want; } cases[] = {
		{ "mail.example.com", true },
		{ "MAIL.Example.COM.", true },
		{ "mx.example.net", true },
		{ "MX.EXAMPLE.NET", true },
		{ "a.mx.example.net", false },       /* one label, no more */
		{ "example.net", false },
		{ ".example.net", false },
		{ "xexample.net", false },
		{ "mail.example.com.evil.test", false },
		{ "amail.example.com", false },
		{ "*.example.net", true },           /* no MX host is called so, and it would match itself */
		{ "", false },
		{ ".", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (sts_mx_matches(&p, str_of(cases[i].host)) != cases[i].want)
			fail_msg("%s", cases[i].host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files),
		cmocka_unit_test(sizes),
		cmocka_unit_test(memory_that_is_spent_is_no_policy),
		cmocka_unit_test(lines_are_kept_for_reports),
		cmocka_unit_test(records),
		cmocka_unit_test(matches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
