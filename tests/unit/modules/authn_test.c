/* SPDX-License-Identifier: ISC */
/* authn: which fields from outside pretend to be ours, and the field we write. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "modules/authn.h"
#include "smtpd/base/err.h"
#include "smtpd/base/loop.h"

static struct field field_of(const char *raw)
{
	str          text = str_of(raw);
	struct field f = { .raw = text };
	size_t       colon = str_find(text, ':'), end = colon;

	while (end > 0 && is_wsp(raw[end - 1]))
		end--;
	f.name = str_head(text, end);
	f.spaced = end != colon;
	f.value = str_head(str_skip(text, colon + 1), text.n - colon - 3);
	return f;
}

static void forged_fields_are_recognised(void **state)
{
	static const struct { const char *raw; bool want; } cases[] = {
		/* RFC 8601 5: ours, however it is spelt */
		{ "Authentication-Results: mx.example.org; spf=pass\r\n", true },
		{ "AUTHENTICATION-RESULTS : MX.Example.ORG; spf=pass\r\n", true },
		{ "Authentication-Results: \"mx.example.org\"; spf=pass\r\n", true },
		{ "Authentication-Results: (a (nested) one) mx.example.org (b); none\r\n", true },
		{ "Authentication-Results: mx.example.org 1; none\r\n", true },
		{ "Authentication-Results:\r\n mx.example.org;\r\n dkim=pass\r\n", true },
		{ "Authentication-Results: mx.example.org.; none\r\n", true },
		/* unreadable: somebody might read it as ours */
		{ "Authentication-Results: \r\n", true },
		{ "Authentication-Results: (unclosed mx.example.org; none\r\n", true },
		/* somebody else's */
		{ "Authentication-Results: mx.example.net; spf=pass\r\n", false },
		{ "Authentication-Results: mx.example.org.evil.test; spf=pass\r\n", false },
		{ "ARC-Authentication-Results: i=1; mx.example.org; spf=pass\r\n", false },
		{ "Subject: Authentication-Results: mx.example.org\r\n", false },
		/* Received-SPF */
		{ "Received-SPF: pass (ok) receiver=host.example.org; client-ip=192.0.2.1\r\n", true },
		{ "Received-SPF: pass receiver=HOST.example.org\r\n", true },
		{ "received-spf: pass client-ip=192.0.2.1\r\n", true },
		{ "Received-SPF: pass receiver=other.example.net; client-ip=192.0.2.1\r\n", false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct field f = field_of(cases[i].raw);
		struct arena a;

		arena_init(&a, 1 << 16);
		if (authn_forged(&a, &f, STR("mx.example.org"), STR("host.example.org")) != cases[i].want)
			fail_msg("want %d: %s", cases[i].want, cases[i].raw);
		arena_fini(&a);
	}
}

static void results(const struct mod *m, struct authres *r)
{
	(void)m;
	authres_method(r, "spf", "pass", STR_NONE);
	authres_property(r, "smtp.mailfrom", STR("a@b.test"));
}

static void field_has_all_results(void **state)
{
	static const struct module        one = { .name = "one", .results = results };
	static const struct module *const with[] = { &one, NULL }, *const without[] = { NULL };
	static const struct { const struct module *const *modules; const char *login, *want; } cases[] = {
		{ with, "", "Authentication-Results: mx.test; spf=pass smtp.mailfrom=a@b.test\r\n" },
		{ without, "", "Authentication-Results: mx.test; none\r\n" },
		{ without, "u@mx.test", "Authentication-Results: mx.test; auth=pass smtp.auth=u@mx.test\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct loop       *loop = loop_new(0, NULL);
		struct peer        peer = { .helo = STR_NONE };
		struct arena       a;
		struct chain      *chain;
		struct chain_conn *c;
		struct field       f;
		struct message     in = { .now = 0 };
		char               flat[200];
		size_t             n = 0;
		str                why, got;

		arena_init(&a, 1 << 16);
		chain = chain_new(cases[i].modules, NULL, &a, &why);
		assert_non_null(chain);
		c = chain_open(chain, loop, &peer, &a, NULL);
		assert_non_null(c);
		assert_int_equal(chain_mail(c, &in, &a, NULL, NULL, NULL), SAY_NEXT);
		got = authn_field(c, &a, STR("mx.test"), str_of(cases[i].login));
		for (size_t j = 0; j < got.n && n + 1 < sizeof(flat); j++)   /* folds are authres' affair */
			if (!(got.p[j] == '\r' && j + 2 < got.n))
				if (!(got.p[j] == '\n' && j + 1 < got.n))
					flat[n++] = got.p[j] == '\t' ? ' ' : got.p[j];
		flat[n] = '\0';
		assert_string_equal(flat, cases[i].want);
		f = field_of(flat);
		assert_true(authn_forged(&a, &f, STR("mx.test"), STR("mx.test")));   /* a copy of ours is forged */
		chain_close(c);
		arena_fini(&a);
		loop_free(loop);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forged_fields_are_recognised),
		cmocka_unit_test(field_has_all_results),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
