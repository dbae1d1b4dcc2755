/* SPDX-License-Identifier: ISC */
/* authres: fields written so that nothing in them can end them, and ids read. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/err.h"
#include "smtpd/mail/authres.h"

static void is(str got, const char *want)
{
	if (!str_is(got, want))
		fail_msg("got \"%.*s\", want \"%s\"", STR_ARG(got), want);
}

static void fields_are_written(void **state)
{
	struct authres r;
	struct arena   a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	authres_init(&r, &a, STR("mail.example.org"));
	is(authres_field(&r, "Authentication-Results"), "Authentication-Results: mail.example.org; none\r\n");
	is(authres_body(&r), "mail.example.org; none");
	authres_comment(&r, STR("before any result"));
	authres_property(&r, "smtp.helo", STR("before.test"));

	authres_method(&r, "spf", "pass", STR_NONE);
	authres_property(&r, "smtp.mailfrom", STR("a.b+c@x.test"));
	authres_method(&r, "dkim", "fail", STR("body hash did not verify"));
	authres_comment(&r, STR("1024-bit (weak) key"));
	authres_property(&r, "header.d", STR("x.test"));
	authres_property(&r, "header.i", STR("@x.test"));
	authres_property(&r, "header.b", STR("ab/cd=+="));
	authres_method(&r, "auth", "pass", STR("ok"));
	authres_property(&r, "smtp.auth", STR("\"a b\"@x.test"));
	is(authres_field(&r, "Authentication-Results"),
	   "Authentication-Results: mail.example.org;\r\n"
	   "\tspf=pass smtp.mailfrom=a.b+c@x.test;\r\n"
	   "\tdkim=fail reason=\"body hash did not verify\" (1024-bit \\(weak\\) key)\r\n"
	   "\theader.d=x.test header.i=@x.test header.b=\"ab/cd=+=\";\r\n"
	   "\tauth=pass reason=ok smtp.auth=\"\\\"a b\\\"@x.test\"\r\n");
	assert_true(str_starts(authres_body(&r), "mail.example.org;\r\n\tspf=pass"));

	authres_init(&r, &a, STR("an odd \"id\""));
	is(authres_body(&r), "\"an odd \\\"id\\\"\"; none");
	authres_init(&r, &a, STR("a-very-long-host-name-that-nobody-would-want.but-some-have.mail.example.org"));
	is(authres_field(&r, "Authentication-Results"),
	   "Authentication-Results:\r\n\ta-very-long-host-name-that-nobody-would-want.but-some-have.mail.example.org; none\r\n");
	arena_fini(&a);
}

/* Every line but the last folds, none is too long, no byte stands that must not. */
static void assert_sane(str field)
{
	size_t line = 0, ends = 0;

	assert_true(field.n > 2);
	for (size_t i = 0; i < field.n; i++) {
		unsigned char c = (unsigned char)field.p[i];

		if (c == '\r') {
			assert_true(i + 1 < field.n && field.p[i + 1] == '\n');
			assert_true(i + 2 == field.n || is_wsp(field.p[i + 2]));
			assert_true(line <= 998);
			line = 0;
			ends++;
			i++;
			continue;
		}
		assert_true(c >= ' ' || c == '\t');
		assert_true(c != 0x7f);
		line++;
	}
	assert_true(ends >= 1);
}

static void hostile_values_are_made_safe(void **state)
{
	static const str values[] = {
		STR("a\r\nInjected: yes"), STR("\0\0"), STR("\"; dkim=pass header.d=bank.test"), STR("\\"), STR("\\\\\""),
		STR("a\nb"), STR("(((("), STR("\xff\xfe"), STR("x\x7fy"), STR("@"), STR("a@b@c"), STR("a@x.test\r\n"), STR(" "),
		STR("a@x.test; spf=pass"), STR(";"), STR("="), STR("a..b@x.test"), STR("b\xc3\xbc@x.test"),
	};
	char *large = malloc(100000);

	(void)state;
	assert_non_null(large);
	memset(large, 'a', 100000);
	for (size_t i = 0; i <= COUNT(values) + 3; i++) {
		str            v = i < COUNT(values) ? values[i] : (str){ large, 100000 };
		struct authres r;
		struct arena   a;
		str            field, id;

		if (i >= COUNT(values))
			memset(large, "a\"\\("[i - COUNT(values)], 100000);
		arena_init(&a, ARENA_UNBOUNDED);
		authres_init(&r, &a, v);
		authres_method(&r, "spf", "fail", v);
		authres_comment(&r, v);
		authres_property(&r, "smtp.mailfrom", v);
		authres_method(&r, "dmarc", "none", v);
		field = authres_field(&r, "Authentication-Results");
		assert_sane(field);
		/* Read back, it is one field with our id, cleaned. */
		if (v.p[0] != ' ')
			assert_true(authres_id(&a, str_head(str_skip(field, 23), field.n - 25), &id));
		arena_fini(&a);
	}
	free(large);
}

static void long_texts_fold(void **state)
{
	struct authres r;
	struct arena   a;
	str            field, rest, line;
	char           words[400];

	(void)state;
	for (size_t i = 0; i < sizeof(words); i++)
		words[i] = i % 6 == 5 ? ' ' : 'w';
	arena_init(&a, ARENA_UNBOUNDED);
	authres_init(&r, &a, STR("x.test"));
	authres_method(&r, "dkim", "fail", (str){ words, sizeof(words) });
	authres_comment(&r, (str){ words, sizeof(words) });
	rest = field = authres_field(&r, "Authentication-Results");
	assert_sane(field);
	while (str_cut(&rest, '\n', &line))
		assert_true(line.n <= 79);
	arena_fini(&a);
}

static void ids_are_read(void **state)
{
	static const struct { str value; const char *id; } cases[] = {
		{ STR(" mail.example.org; none"), "mail.example.org" },
		{ STR(" mail.example.org;"), "mail.example.org" },
		{ STR(" mail.example.org"), "mail.example.org" },
		{ STR(" Mail.Example.ORG 1; spf=pass"), "Mail.Example.ORG" },
		{ STR(" mail.example.org 1 (v) ; spf=pass"), "mail.example.org" },
		{ STR("\r\n\t(c (n)) mail.example.org(c)\r\n ;none"), "mail.example.org" },
		{ STR(" \"mail.example.org\"; none"), "mail.example.org" },
		{ STR(" \"mail\\.example.org\" 1; none"), "mail.example.org" },
		{ STR(" (\\)) mail.example.org; none"), "mail.example.org" },
		{ STR(" mail.example.org none"), NULL },
		{ STR(" mail.example.org/1; none"), NULL },
		{ STR(" mail.example.org1x y; none"), NULL },
		{ STR(" ; none"), NULL },
		{ STR(""), NULL },
		{ STR(" (unclosed mail.example.org; none"), NULL },
		{ STR(" \"unclosed; none"), NULL },
		{ STR(" \"\"; none"), NULL },
		{ STR(" mail\0.example.org; none"), NULL },
		{ STR(" mail.\xc3\xbc.org; none"), NULL },
		{ STR(" a@b; none"), NULL },
		{ STR(" =; none"), NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena a;
		str          id = STR_NONE;
		bool         good;

		arena_init(&a, ARENA_UNBOUNDED);
		good = authres_id(&a, cases[i].value, &id);
		if (good != (cases[i].id != NULL) || (good && !str_is(id, cases[i].id)))
			fail_msg("\"%.*s\": %d %.*s", STR_ARG(cases[i].value), good, STR_ARG(id));
		arena_fini(&a);
	}
}

static void memory_that_ends_gives_nothing(void **state)
{
	(void)state;
	for (size_t budget = 0; budget < 3000; budget += 16) {
		struct authres r;
		struct arena   a;
		str            field;

		arena_init(&a, budget);
		authres_init(&r, &a, STR("mail.example.org"));
		authres_method(&r, "spf", "pass", STR("some reason to be quoted"));
		authres_property(&r, "smtp.mailfrom", STR("a@x.test"));
		field = authres_field(&r, "Authentication-Results");
		assert_true(field.p == NULL ? a.spent : str_ends_nocase(field, STR("=a@x.test\r\n")));
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_written),
		cmocka_unit_test(hostile_values_are_made_safe),
		cmocka_unit_test(long_texts_fold),
		cmocka_unit_test(ids_are_read),
		cmocka_unit_test(memory_that_ends_gives_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
