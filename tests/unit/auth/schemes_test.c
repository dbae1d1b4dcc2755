/* SPDX-License-Identifier: ISC */
/*
 * Older schemes: texts that Dovecot's doveadm and Python's crypt made, read,
 * checked, refused; and device passwords, extra fields, codes (RFC 6238 B).
 */
#include "tests/unit/auth/auth_help.h"

#define SHA512 "$6$PNxuvjOvQo/4wItj$hpqFAe9G0M1qnhnT6FGdZZQpkLUSBnc19dvr0qDq.JXBPnchOcn/Md4UY3UYVv.T.qysgUcx9248TDvAwrkyJ/"
#define SHA512_ROUNDS "$6$rounds=10000$jutbbQ7YXeKdxCw.$1tiqjEmBUiq5sNqjHoBt/0okqZBnCxQQdQ.OtKBF9imvwRaPtFP09TpqYH0tVRAo2oewBYDZn/juMhT85Si491"
#define SHA256 "$5$qmSQEnwVONulXDoD$iPL3Us0egw660rzK/g9sOdi2E/bBO3mMj/mk3plrZx/"
#define BLF "$2y$04$2xTVilf/GHqHNlKz3hmdJ.zmIZQja4PMBSmEUSlor7wmitvuj5BE2"
#define BLF_B "$2b$05$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW"
#define SSHA512 "5lgRWSjZy8r9q6JAN22bRX2WJ5QNgjlcuaOmtLcGlvXW95t3mebZE1JpWwpO1KwQs5vQrtYyhej8ZIqnVlGoYltX1F0="
#define SSHA256 "pwSUzuBqSYuTbDrPAPz55S67OEGuKsanu1KdSBI2D7cnAXHv"
#define SSHA "dm2U645IleECKvOANCNiFr38UpOV56Pu"

static void schemes_are_checked(void **state)
{
	static const struct { const char *name, *value; unsigned rounds; } cases[] = {
		{ "SHA512-CRYPT", SHA512, 5000 }, { "sha512-crypt", SHA512, 5000 },
		{ "SHA512-CRYPT", SHA512_ROUNDS, 10000 }, { "CRYPT", SHA512, 5000 },
		{ "SHA256-CRYPT", SHA256, 5000 }, { "CRYPT", SHA256, 5000 },
		{ "BLF-CRYPT", BLF, 4 }, { "BLF-CRYPT", BLF_B, 5 }, { "CRYPT", BLF, 4 },
		{ "SSHA512", SSHA512, 0 }, { "SSHA256", SSHA256, 0 }, { "SSHA", SSHA, 0 },
	};
	static const char *const wrong[] = { "", "Wonderland", "wonderlan", "wonderland ", "wonderland\n" };
	static char longest[PASSWORD_MAX + 8];
	struct arena a;

	(void)state;
	memset(longest, 'x', sizeof(longest));
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scheme s = { 0 };
		const char *why;

		assert_true(scheme_known(str_of(cases[i].name)));
		if (scheme_parse(&a, str_of(cases[i].name), str_of(cases[i].value), &s, &why) != OK)
			fail_msg("%s %s: %s", cases[i].name, cases[i].value, why);
		assert_int_equal(s.cost.rounds, cases[i].rounds);
		if (!scheme_check(&s, STR("wonderland")))
			fail_msg("%s %s", cases[i].name, cases[i].value);
		for (size_t k = 0; k < COUNT(wrong); k++)
			assert_false(scheme_check(&s, str_of(wrong[k])));
		assert_false(scheme_check(&s, (str){ longest, PASSWORD_MAX }));
		assert_false(scheme_check(&s, (str){ longest, PASSWORD_MAX + 1 }));
	}
	arena_fini(&a);
}

static void texts_are_refused(void **state)
{
	static const struct { const char *name, *value; enum err want; } cases[] = {
		{ "SHA512-CRYPT", "", ERR_BAD },
		{ "SHA512-CRYPT", SHA256, ERR_BAD },
		{ "SHA512-CRYPT", "$6$", ERR_BAD },
		{ "SHA512-CRYPT", "$6$salt$short", ERR_BAD },
		{ "SHA512-CRYPT", "$6$salt:x$", ERR_BAD },
		{ "SHA512-CRYPT", SHA512 "x", ERR_BAD },
		{ "SHA512-CRYPT", "$6$rounds=x$a$" , ERR_BAD },
		{ "SHA512-CRYPT", "$6$rounds=500001$jutbbQ7YXeKdxCw.$1tiqjEmBUiq5sNqjHoBt/0okqZBnCxQQdQ.OtKBF9imvwRaPtFP09TpqYH0tVRAo2oewBYDZn/juMhT85Si491", ERR_DENIED },
		{ "SHA256-CRYPT", "$5$rounds=999999999$saltstring$h/MRXFBWlCHxtsUgJox0IaZxGiymmMWBCcsmIuZgjD9", ERR_DENIED },
		{ "BLF-CRYPT", "$2y$13$2xTVilf/GHqHNlKz3hmdJ.zmIZQja4PMBSmEUSlor7wmitvuj5BE2", ERR_DENIED },
		{ "BLF-CRYPT", "$2y$31$2xTVilf/GHqHNlKz3hmdJ.zmIZQja4PMBSmEUSlor7wmitvuj5BE2", ERR_DENIED },
		{ "BLF-CRYPT", "$2y$03$2xTVilf/GHqHNlKz3hmdJ.zmIZQja4PMBSmEUSlor7wmitvuj5BE2", ERR_BAD },
		{ "BLF-CRYPT", "$2x$04$2xTVilf/GHqHNlKz3hmdJ.zmIZQja4PMBSmEUSlor7wmitvuj5BE2", ERR_BAD },
		{ "BLF-CRYPT", "$2y$04$short", ERR_BAD },
		{ "CRYPT", "$1$salt$BYeAXXTZJdTcWU5Q6lxhK0", ERR_DENIED },
		{ "CRYPT", "$y$j9T$x$y", ERR_DENIED },
		{ "CRYPT", "", ERR_DENIED },
		{ "SSHA", "", ERR_BAD },
		{ "SSHA", "bm90IGhhc2g=", ERR_BAD },
		{ "SSHA", "!!!!", ERR_BAD },
		{ "SSHA256", SSHA, ERR_BAD },
		{ "SSHA512", SSHA256, ERR_BAD },
	};
	static const char *const unknown[] = { "PLAIN", "MD5-CRYPT", "SSHA512.HEX", "ARGON2ID", "", "SSHA1", "CRYPTO" };
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct scheme s = { 0 };
		const char *why = NULL;

		if (scheme_parse(&a, str_of(cases[i].name), str_of(cases[i].value), &s, &why) != cases[i].want)
			fail_msg("%s %s", cases[i].name, cases[i].value);
		assert_non_null(why);
	}
	for (size_t i = 0; i < COUNT(unknown); i++)
		assert_false(scheme_known(str_of(unknown[i])));
	arena_fini(&a);
}

/* ---- device passwords ---------------------------------------------------------------- */

static void device_passwords_are_drawn(void **state)
{
	char one[DEVICE_TEXT + 1], two[DEVICE_TEXT + 1];
	unsigned seen[26] = { 0 };

	(void)state;
	for (int i = 0; i < 200; i++) {
		device_draw(one);
		device_draw(two);
		assert_int_equal(strlen(one), DEVICE_TEXT);
		assert_string_not_equal(one, two);
		for (size_t k = 0; k < DEVICE_TEXT; k++) {
			if (k % 5 == 4) {
				assert_int_equal(one[k], '-');
				continue;
			}
			assert_non_null(strchr("abcdefhjkmnprtwx", one[k]));
			seen[one[k] - 'a']++;
		}
	}
	/* 4,000 letters of sixteen: 250 of each are expected. */
	for (const char *c = "abcdefhjkmnprtwx"; *c != '\0'; c++)
		assert_in_range(seen[*c - 'a'], 150, 350);
}

static void device_passwords_are_typed(void **state)
{
	static const struct { const char *typed, *want; } cases[] = {
		{ "abcd-efhj-kmnp-rtwx-abcd", "abcd-efhj-kmnp-rtwx-abcd" },
		{ "Abcd-Efhj-kmnp-RTWX-abcd", "abcd-efhj-kmnp-rtwx-abcd" },
		{ "abcdefhjkmnprtwxabcd", "abcd-efhj-kmnp-rtwx-abcd" },
		{ "abcd efhj kmnp rtwx abcd ", "abcd-efhj-kmnp-rtwx-abcd" },
		{ "--abcdefhj  kmnprtwxabcd", "abcd-efhj-kmnp-rtwx-abcd" },
		{ "abcd-efhj-kmnp-rtwx-abc", NULL },
		{ "abcd-efhj-kmnp-rtwx-abcda", NULL },
		{ "abcd-efhj-kmnp-rtwx-abc1", NULL },
		{ "abcd-efhj-kmnp-rtwx-abco", NULL },
		{ "", NULL }, { "----", NULL },
	};
	char out[DEVICE_TEXT + 1];

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		if (device_typed(str_of(cases[i].typed), out) != (cases[i].want != NULL))
			fail_msg("%s", cases[i].typed);
		if (cases[i].want != NULL)
			assert_string_equal(out, cases[i].want);
	}
}

static void quick_hashes(void **state)
{
	struct quick q, again, other;
	struct arena a;
	str text;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	quick_make(STR("abcd-efhj-kmnp-rtwx-abcd"), &q);
	quick_make(STR("abcd-efhj-kmnp-rtwx-abcd"), &other);
	assert_memory_not_equal(q.salt, other.salt, DEVICE_SALT);
	text = quick_text(&a, &q);
	assert_int_equal(text.n, 64);
	assert_false(str_holds(text, '=') || str_holds(text, ':') || str_holds(text, '%') || str_holds(text, ' '));
	assert_true(quick_parse(text, &a, &again));
	assert_true(quick_check(&again, STR("abcd-efhj-kmnp-rtwx-abcd")));
	assert_false(quick_check(&again, STR("abcd-efhj-kmnp-rtwx-abce")));
	assert_false(quick_check(&again, STR("")));
	assert_false(quick_parse(str_head(text, 60), &a, &again));
	assert_false(quick_parse(STR("x"), &a, &again));
	arena_fini(&a);
}

static void slugs(void **state)
{
	static const struct { const char *label, *want; } cases[] = {
		{ "phone", "phone" }, { "My Phone", "my-phone" }, { " a  b ", "a-b" }, { "B\xc3\xbcro 2", "b-ro-2" },
		{ "\xe2\x98\x83", "device" }, { "", "device" }, { "...", "device" },
		{ "a very long label of a machine somewhere", "a-very-long-label-of-a-m" },
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_true(str_is(device_slug(&a, str_of(cases[i].label)), cases[i].want));
	arena_fini(&a);
}

/* ---- fields -------------------------------------------------------------------------------- */

static void fields_are_taken(void **state)
{
	struct fields f;
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	assert_null(fields_parse(&a, STR("user=Alice@Home.Test allow_nets=192.0.2.0/24,2001:db8::/32,local nologin "
	                                 "postern_send_only userdb_quota_rule=*:storage=1G require=totp "
	                                 "postern_made=2026-11-22T10:00:00Z postern_expires=2027-01-01 "
	                                 "postern_label=my=20phone=C3=A9"), &f));
	assert_true(str_is(f.user, "alice@home.test"));
	assert_int_equal(f.nnets, 2);
	assert_true(f.nologin && f.send_only && f.has_require && f.require == REQUIRE_TOTP && !f.has_quick);
	assert_int_equal(f.made, 1795341600);
	assert_int_equal(f.expires, 1798847999);
	assert_true(str_is(f.label, "my phone\xc3\xa9"));
	assert_null(fields_parse(&a, STR(""), &f));
	assert_null(fields_parse(&a, STR("  nopassword  "), &f));
	assert_true(f.user.n == 0 && f.nnets == 0 && !f.has_require);
	assert_null(fields_parse(&a, STR("allow_nets=local"), &f));
	assert_true(f.nologin);                /* from no network: nobody of ours */
	arena_fini(&a);
}

static void faulty_fields_are_told(void **state)
{
	static const struct { const char *text, *want; } cases[] = {
		{ "user=alice", "the field user=" }, { "user=", "the field user=" },
		{ "allow_nets=192.0.2.0/33", "the field allow_nets=" }, { "allow_nets=1.2.3.4,,", "the field allow_nets=" },
		{ "require=never", "the field require=" }, { "require=", "the field require=" },
		{ "postern_made=yesterday", "the field postern_made=" },
		{ "postern_expires=2027-02-30", "the field postern_expires=" },
		{ "postern_expires=2027-1-1", "the field postern_expires=" },
		{ "postern_hash=abc", "the field postern_hash=" },
	};
	struct fields f;
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		const char *why = fields_parse(&a, str_of(cases[i].text), &f);

		if (why == NULL || strncmp(why, cases[i].want, strlen(cases[i].want)) != 0)
			fail_msg("%s: %s", cases[i].text, why ? why : "fine");
	}
	arena_fini(&a);
}

static void labels_go_and_come(void **state)
{
	static const char *const labels[] = { "phone", "my phone", "100% =sure=", "a:b/c\\d", "B\xc3\xbcro", "=20", "%u" };
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(labels); i++) {
		str text = fields_escape(&a, str_of(labels[i]));

		assert_false(str_holds(text, ' ') || str_holds(text, '%') || str_holds(text, ':'));
		assert_true(str_is(fields_unescape(&a, text), labels[i]));
	}
	arena_fini(&a);
}

/* ---- codes ---------------------------------------------------------------------------------- */

/* RFC 6238 B has eight digits; ours are the last six of them. */
static void codes_of_the_standard(void **state)
{
	static const struct { int64_t when; const char *code; } cases[] = {
		{ 59, "287082" }, { 1111111109, "081804" }, { 1111111111, "050471" }, { 1234567890, "005924" },
		{ 2000000000, "279037" }, { 20000000000, "353130" },
	};
	str secret = STR("12345678901234567890");

	(void)state;
	codes_setup();
	for (size_t i = 0; i < COUNT(cases); i++) {
		str code = str_of(cases[i].code);
		uint64_t step = (uint64_t)cases[i].when / 30;

		if (i > 0)                     /* the first one's step has none before */
			assert_int_equal(code_step(secret, code, cases[i].when), step);
		assert_int_equal(code_step(secret, code, cases[i].when + 30), step);
		assert_int_equal(code_step(secret, code, cases[i].when + 61), 0);
		if (i > 0) {
			assert_int_equal(code_step(secret, code, cases[i].when - 30), step);
			assert_int_equal(code_step(secret, code, cases[i].when - 61), 0);
		}
		assert_int_equal(code_step(secret, str_head(code, 5), cases[i].when), 0);
		assert_int_equal(code_step(STR("09876543210987654321"), code, cases[i].when), 0);
	}
	assert_int_equal(code_step(STR_NONE, STR("287082"), 59), 0);
}

static void secrets_as_text(void **state)
{
	static const char *const bad[] = { "", "x", "GEZDGNBVGY3TQOJQ", "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJ1", "GEZD GNBV GY3T QOJQ GEZD GNBV GY3T QOJQ" };
	struct arena a;
	str raw;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	assert_true(str_is(code_secret_text(&a, STR("12345678901234567890")), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"));
	assert_true(code_secret_parse(&a, STR("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"), &raw));
	assert_true(str_is(raw, "12345678901234567890"));
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(code_secret_parse(&a, str_of(bad[i]), &raw));
	assert_true(str_is(otpauth_uri(&a, STR("mail.home.test"), STR("o'b+x@home.test"), STR("ABC")),
	                   "otpauth://totp/mail.home.test:o%27b%2Bx%40home.test?secret=ABC&issuer=mail.home.test"
	                   "&algorithm=SHA1&digits=6&period=30"));
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schemes_are_checked), cmocka_unit_test(texts_are_refused),
		cmocka_unit_test(device_passwords_are_drawn), cmocka_unit_test(device_passwords_are_typed),
		cmocka_unit_test(quick_hashes), cmocka_unit_test(slugs), cmocka_unit_test(fields_are_taken),
		cmocka_unit_test(faulty_fields_are_told), cmocka_unit_test(labels_go_and_come),
		cmocka_unit_test(codes_of_the_standard), cmocka_unit_test(secrets_as_text),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
