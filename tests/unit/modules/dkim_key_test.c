/* SPDX-License-Identifier: ISC */
/*
 * dkim_key: key records, read and written.
 */
#include "tests/unit/modules/dkim_help.h"

#define P "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTNh5" \
          "ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcD2QIDAQAB"
#define ED "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
/* The same RSA key as a bare RSAPublicKey. */
#define BARE "MIGJAoGBAPAhE/9QLdIGwSYapn1klbf8OQygZ4udCDV9afv/Ni0jE3ZKcUKPE4Iob2/dviNh9xM2HmKNKyrrfW4Ei0truh36/9G10LZTMn" \
             "WVZP3jupH5FxpzaBu2j80yonR/N9WMfg64qGK11j21/qZzAaNo0FxZOggyY9I8N1A81RhyRwPZAgMBAAE="

static void records_are_judged(void **state)
{
	static const struct { const char *record; enum dkim_algorithm alg; const char *want; } cases[] = {
		{ "v=DKIM1; k=rsa; p=" P, DKIM_RSA_SHA256, NULL },
		{ "p=" P, DKIM_RSA_SHA256, NULL },
		{ "p=" BARE, DKIM_RSA_SHA256, NULL },
		{ "v=DKIM1; p= " P " ;", DKIM_RSA_SHA256, NULL },
		{ "v=DKIM1; k=ed25519; p=" ED, DKIM_ED25519_SHA256, NULL },
		{ "v=DKIM1; n=note; g=*; x=unknown; p=" P, DKIM_RSA_SHA256, NULL },
		{ "v=DKIM1; h=sha1:sha256; p=" P, DKIM_RSA_SHA256, NULL },
		{ "v=DKIM1; h=sha1; p=" P, DKIM_RSA_SHA256, "does not allow sha256" },
		{ "v=DKIM1; s=email; p=" P, DKIM_RSA_SHA256, NULL },
		{ "v=DKIM1; s=*; p=" P, DKIM_RSA_SHA256, NULL },
		{ "v=DKIM1; s=tlsrpt; p=" P, DKIM_RSA_SHA256, "not for e-mail" },
		{ "v=DKIM1; s=tlsrpt : email; p=" P, DKIM_RSA_SHA256, NULL },
		{ "v=DKIM1; k=ed25519; p=" ED, DKIM_RSA_SHA256, "another kind" },
		{ "v=DKIM1; p=" P, DKIM_ED25519_SHA256, "another kind" },
		{ "v=DKIM1; k=dsa; p=" P, DKIM_RSA_SHA256, "another kind" },
		{ "v=DKIM1; p=", DKIM_RSA_SHA256, "revoked" },
		{ "v=DKIM1; p= ;", DKIM_RSA_SHA256, "revoked" },
		{ "v=DKIM1; k=rsa", DKIM_RSA_SHA256, "p= is missing" },
		{ "v=DKIM2; p=" P, DKIM_RSA_SHA256, "v= is not DKIM1" },
		{ "p=" P "; v=DKIM1", DKIM_RSA_SHA256, "v= is not DKIM1" },
		{ "v=DKIM1; p=" P "; p=" P, DKIM_RSA_SHA256, "twice" },
		{ "v=DKIM1; p=%%%", DKIM_RSA_SHA256, "not base64" },
		{ "v=DKIM1; p=AAAA", DKIM_RSA_SHA256, "no RSA key" },
		{ "v=DKIM1; k=ed25519; p=AAAA", DKIM_ED25519_SHA256, "no Ed25519 key" },
		{ "v=DKIM1; oops; p=" P, DKIM_RSA_SHA256, "not a list" },
		{ "v=spf1 -all", DKIM_RSA_SHA256, "malformed" },
		{ "hello", DKIM_RSA_SHA256, "malformed" },
		{ "", DKIM_RSA_SHA256, "malformed" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena a;
		struct dkim_key k;

		arena_init(&a, ARENA_UNBOUNDED);
		dkim_key_parse(&a, str_of(cases[i].record), cases[i].alg, &k);
		if (cases[i].want == NULL && (k.result != DKIM_PASS || k.key == NULL))
			fail_msg("%s: %s", cases[i].record, k.reason);
		if (cases[i].want != NULL && (k.result != DKIM_PERMERROR || strstr(k.reason, cases[i].want) == NULL))
			fail_msg("%s: got %s, want %s", cases[i].record, k.reason ? k.reason : "a key", cases[i].want);
		dkim_key_drop(&k);
		dkim_key_drop(&k);
		arena_fini(&a);
	}
}

static void flags_are_read(void **state)
{
	static const struct { const char *record; bool testing, same; } cases[] = {
		{ "p=" P, false, false },         { "t=y; p=" P, true, false },
		{ "t=s; p=" P, false, true },     { "t=y:s; p=" P, true, true },
		{ "t=s : y; p=" P, true, true },  { "t=x:z; p=" P, false, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena a;
		struct dkim_key k;

		arena_init(&a, ARENA_UNBOUNDED);
		dkim_key_parse(&a, str_of(cases[i].record), DKIM_RSA_SHA256, &k);
		assert_int_equal(k.testing, cases[i].testing);
		assert_int_equal(k.same_domain, cases[i].same);
		dkim_key_drop(&k);
		arena_fini(&a);
	}
}

static void long_records_are_not_read(void **state)
{
	struct arena a;
	struct dkim_key k;
	char *text = malloc(64 << 10);

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	memset(text, 'A', 64 << 10);
	memcpy(text, "v=DKIM1; p=", 11);
	dkim_key_parse(&a, (str){ text, 64 << 10 }, DKIM_RSA_SHA256, &k);
	assert_int_equal(k.result, DKIM_PERMERROR);
	assert_non_null(strstr(k.reason, "longer than any key"));
	free(text);
	arena_fini(&a);
}

static void answers_become_results(void **state)
{
	static const struct { enum dns_status status; enum dkim_result want; const char *reason; } cases[] = {
		{ DNS_NXDOMAIN, DKIM_PERMERROR, "does not exist" },   { DNS_NODATA, DKIM_PERMERROR, "no TXT record" },
		{ DNS_BADNAME, DKIM_PERMERROR, "longer than DNS" },   { DNS_SERVFAIL, DKIM_TEMPERROR, "server failure" },
		{ DNS_TIMEOUT, DKIM_TEMPERROR, "no answer" },         { DNS_BOGUS, DKIM_TEMPERROR, "DNSSEC" },
	};
	struct arena a;
	struct dkim_key k;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct dns_answer ans = { .status = cases[i].status };

		dkim_key_choose(&a, &ans, DKIM_RSA_SHA256, &k);
		assert_int_equal(k.result, cases[i].want);
		assert_non_null(strstr(k.reason, cases[i].reason));
	}
	/* Of several records the one that fits is taken, wherever it stands. */
	struct dns_rr rr[] = { { .txt = STR("v=spf1 -all") }, { .txt = STR("v=DKIM1; k=ed25519; p=" ED) },
	                       { .txt = STR("v=DKIM1; p=" P) } };
	struct dns_answer ans = { .status = DNS_FOUND, .rr = rr, .n = 3 };

	dkim_key_choose(&a, &ans, DKIM_RSA_SHA256, &k);
	assert_int_equal(k.result, DKIM_PASS);
	assert_int_equal(key_bits(k.key), 1024);
	dkim_key_drop(&k);
	ans.n = 1;
	dkim_key_choose(&a, &ans, DKIM_RSA_SHA256, &k);
	assert_int_equal(k.result, DKIM_PERMERROR);
	arena_fini(&a);
}

static void records_are_written(void **state)
{
	struct arena a;
	struct dkim_key k;
	str record;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (int ed = 0; ed < 2; ed++) {
		struct key *key = key_generate(ed ? KEY_ED25519 : KEY_RSA, 1024);

		assert_int_equal(dkim_key_record(key, &a, &record), OK);
		assert_true(str_starts(record, ed ? "v=DKIM1; k=ed25519; p=" : "v=DKIM1; k=rsa; p="));
		dkim_key_parse(&a, record, ed ? DKIM_ED25519_SHA256 : DKIM_RSA_SHA256, &k);
		assert_int_equal(k.result, DKIM_PASS);
		dkim_key_drop(&k);
		key_free(key);
	}
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_judged),
		cmocka_unit_test(flags_are_read),
		cmocka_unit_test(long_records_are_not_read),
		cmocka_unit_test(answers_become_results),
		cmocka_unit_test(records_are_written),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
