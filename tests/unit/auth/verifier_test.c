/* SPDX-License-Identifier: ISC */
/* Verifiers: RFC 7677's example, text there and back, Dovecot as the other judge. */
#include "tests/unit/auth/auth_help.h"

/* RFC 7677 3: user "user", password "pencil", salt W22ZaJ0SNY7soEsUEjb6gQ==,
 * 4,096 iterations; the keys follow from its messages (see proof_fits). */
#define EXAMPLE "{SCRAM-SHA-256}4096,W22ZaJ0SNY7soEsUEjb6gQ==,WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=,wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

static const char auth_message[] =
	"n=user,r=rOprNGfwEbeRWgbNEkqO,"
	"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
	"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

static struct arena arena;

static int begin(void **state)
{
	(void)state;
	arena_init(&arena, ARENA_UNBOUNDED);
	crypt_setup();
	return 0;
}

static int end(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static str bytes(const unsigned char *p, size_t n)
{
	return (str){ (const char *)p, n };
}

/* The RFC's own proof and signature against the keys we hold. */
static void proof_fits(void **state)
{
	unsigned char signature[32], key[32], stored[DIGEST_MAX], ours[32];
	struct verifier v;
	str proof, said;

	(void)state;
	assert_true(verifier_parse(&arena, STR(EXAMPLE), &v));
	assert_int_equal(v.iterations, 4096);
	assert_int_equal(v.salt.n, 16);
	assert_true(base64_decode(&arena, STR("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="), false, &proof));
	hmac_sha256(bytes(v.stored, 32), str_of(auth_message), signature);
	for (size_t i = 0; i < 32; i++)
		key[i] = (unsigned char)((unsigned char)proof.p[i] ^ signature[i]);
	digest_of(DIGEST_SHA256, bytes(key, 32), stored);
	assert_memory_equal(stored, v.stored, 32);
	assert_true(base64_decode(&arena, STR("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), false, &said));
	hmac_sha256(bytes(v.server, 32), str_of(auth_message), ours);
	assert_memory_equal(ours, said.p, 32);
}

static void password_fits(void **state)
{
	static const struct { const char *password; bool want; } cases[] = {
		{ "pencil", true }, { "Pencil", false }, { "pencil ", false }, { "penci", false }, { "", false },
	};
	struct verifier v;

	(void)state;
	assert_true(verifier_parse(&arena, STR(EXAMPLE), &v));
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_int_equal(verifier_check(&v, str_of(cases[i].password)), cases[i].want);
}

static void text_and_back(void **state)
{
	struct verifier made, again, example;
	str text;

	(void)state;
	assert_int_equal(verifier_make(&arena, STR("gr\xc3\xbc\xc3\x9f dich"), 5000, &made), OK);
	text = verifier_text(&arena, &made);
	assert_true(str_starts(text, "{SCRAM-SHA-256}5000,"));
	assert_true(verifier_parse(&arena, text, &again));
	assert_int_equal(again.iterations, 5000);
	assert_true(str_eq(again.salt, made.salt));
	assert_memory_equal(again.stored, made.stored, 32);
	assert_memory_equal(again.server, made.server, 32);
	assert_true(verifier_check(&again, STR("gr\xc3\xbc\xc3\x9f dich")));
	assert_true(verifier_parse(&arena, STR(EXAMPLE), &example));
	assert_true(str_is(verifier_text(&arena, &example), EXAMPLE));
}

static void salts_differ(void **state)
{
	struct verifier a, b;

	(void)state;
	assert_int_equal(verifier_make(&arena, STR("same"), 4096, &a), OK);
	assert_int_equal(verifier_make(&arena, STR("same"), 4096, &b), OK);
	assert_false(str_eq(a.salt, b.salt));
	assert_memory_not_equal(a.stored, b.stored, 32);
	assert_int_equal(verifier_make(&arena, STR(""), 4096, &a), ERR_BAD);
	assert_int_equal(verifier_make(&arena, STR("x"), 0, &a), ERR_BAD);
}

#define K32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
#define K31 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="

static void texts_judged(void **state)
{
	static const struct { const char *text; bool want; } cases[] = {
		{ "{SCRAM-SHA-256}4096,AAAA," K32 "," K32, true },
		{ "{scram-sha-256}4096,AAAA," K32 "," K32, true },
		{ "{SCRAM-SHA-256}1,AA==," K32 "," K32, true },
		{ "{SCRAM-SHA-256}0,AAAA," K32 "," K32, false },
		{ "{SCRAM-SHA-256}-1,AAAA," K32 "," K32, false },
		{ "{SCRAM-SHA-256},AAAA," K32 "," K32, false },
		{ "{SCRAM-SHA-256}10000001,AAAA," K32 "," K32, false },
		{ "{SCRAM-SHA-256}99999999999999999999,AAAA," K32 "," K32, false },
		{ "{SCRAM-SHA-256}4096,," K32 "," K32, false },
		{ "{SCRAM-SHA-256}4096,AAA," K32 "," K32, false },
		{ "{SCRAM-SHA-256}4096,AAAA," K31 "," K32, false },
		{ "{SCRAM-SHA-256}4096,AAAA," K32 "," K31, false },
		{ "{SCRAM-SHA-256}4096,AAAA," K32, false },
		{ "{SCRAM-SHA-256}4096,AAAA," K32 "," K32 ",", false },
		{ "{SCRAM-SHA-256}4096,AAAA," K32 "," K32 " ", false },
		{ "{SCRAM-SHA-1}4096,AAAA," K32 "," K32, false },
		{ "4096,AAAA," K32 "," K32, false },
		{ "{SCRAM-SHA-256}", false },
		{ "", false },
	};
	struct verifier v;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		if (verifier_parse(&arena, str_of(cases[i].text), &v) != cases[i].want)
			fail_msg("%s", cases[i].text);
}

/* ---- Dovecot ---------------------------------------------------------------------- */

static bool no_doveadm(void)
{
	if (system("doveadm pw -l >/dev/null 2>&1") == 0)
		return false;
	fprintf(stderr, "SKIPPED: doveadm is not here (Debian: dovecot-core)\n");
	return true;
}

static void dovecot_writes_we_read(void **state)
{
	struct verifier v;
	char line[512];
	FILE *in;

	(void)state;
	if (no_doveadm())
		skip();
	in = popen("doveadm pw -s SCRAM-SHA-256  -p 's3cret: word' 2>&1", "r");
	assert_non_null(in);
	assert_non_null(fgets(line, sizeof(line), in));
	assert_int_equal(pclose(in), 0);
	assert_true(verifier_parse(&arena, str_trim(str_of(line)), &v));
	assert_int_equal(v.iterations, 4096);
	assert_true(verifier_check(&v, STR("s3cret: word")));
	assert_false(verifier_check(&v, STR("s3cret: wort")));
}

static void we_write_dovecot_reads(void **state)
{
	const char *text;
	char command[1024];

	(void)state;
	if (no_doveadm())
		skip();
	text = verifier_of(&arena, "s3cret: word");
	snprintf(command, sizeof(command), "doveadm pw -t '%s' -p 's3cret: word' >/dev/null 2>&1", text);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "doveadm pw -t '%s' -p 's3cret: wort' >/dev/null 2>&1", text);
	assert_int_not_equal(system(command), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(proof_fits, begin, end),
		cmocka_unit_test_setup_teardown(password_fits, begin, end),
		cmocka_unit_test_setup_teardown(text_and_back, begin, end),
		cmocka_unit_test_setup_teardown(salts_differ, begin, end),
		cmocka_unit_test_setup_teardown(texts_judged, begin, end),
		cmocka_unit_test_setup_teardown(dovecot_writes_we_read, begin, end),
		cmocka_unit_test_setup_teardown(we_write_dovecot_reads, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
