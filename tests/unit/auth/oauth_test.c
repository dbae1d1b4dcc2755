/* SPDX-License-Identifier: ISC */
/*
 * OAUTHBEARER and XOAUTH2: what clients say, what tokens claim, and whole
 * exchanges against keys in a file.
 */
#include "tests/unit/auth/token_help.h"

#include "auth/oauth.h"
#include "smtpd/base/json.h"

/* ---- messages -------------------------------------------------------------------------- */

#define A "\001"

static void bearer_messages(void **state)
{
	static const struct { str in; bool good; const char *user, *token; } cases[] = {
		{ STR("n,a=alice@home.test," A "auth=Bearer abc" A A), true, "alice@home.test", "abc" },
		{ STR("n,," A "auth=Bearer abc" A A), true, "", "abc" },
		{ STR("y,," A "auth=bearer a.b-c_d~e+f/g==" A A), true, "", "a.b-c_d~e+f/g==" },
		{ STR("n,a=u=2Cx=3Dy," A "host=h" A "port=587" A "auth=Bearer abc" A A), true, "u,x=y", "abc" },
		{ STR("n,a=alice," A "auth=Bearer  abc" A A), true, "alice", "abc" },
		{ STR("p=tls-unique,," A "auth=Bearer abc" A A), false, "", "" },
		{ STR("n,," A "auth=Bearer abc" A), false, "", "" },
		{ STR("n,," A "auth=Bearer abc"), false, "", "" },
		{ STR("n,," A "auth=Bearer abc" A A "x"), false, "", "" },
		{ STR("n,," A "auth=Bearer abc" A A A), false, "", "" },
		{ STR("n,," A "auth=Bearer abc" A "auth=Bearer abd" A A), false, "", "" },
		{ STR("n,," A "auth=Basic abc" A A), false, "", "" },
		{ STR("n,," A "auth=Bearer " A A), false, "", "" },
		{ STR("n,," A "auth=Bearer a b" A A), false, "", "" },
		{ STR("n,," A "auth=Bearer a\"b" A A), false, "", "" },
		{ STR("n,," A "auth=Bearer ===" A A), false, "", "" },
		{ STR("n,," A "auth" A A), false, "", "" },
		{ STR("n,," A "=x" A "auth=Bearer abc" A A), false, "", "" },
		{ STR("n,," A A), false, "", "" },
		{ STR("n,," A), false, "", "" },
		{ STR("n,,"), false, "", "" },
		{ STR("n,"), false, "", "" },
		{ STR("n"), false, "", "" },
		{ STR(""), false, "", "" },
		{ STR("n,alice," A "auth=Bearer abc" A A), false, "", "" },
		{ STR("n,a=x=2," A "auth=Bearer abc" A A), false, "", "" },
		{ STR("n,a=x=41," A "auth=Bearer abc" A A), false, "", "" },
		{ STR("n,,auth=Bearer abc" A A), false, "", "" },
		{ STR("n,," A "auth=Bearer a\0c" A A), false, "", "" },
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct oauth_message m;
		bool good = oauth_bearer_read(&a, cases[i].in, &m);

		if (good != cases[i].good)
			fail_msg("case %zu: %d", i, good);
		if (good && (!str_is(m.user, cases[i].user) || !str_is(m.token, cases[i].token)))
			fail_msg("case %zu: %.*s, %.*s", i, STR_ARG(m.user), STR_ARG(m.token));
	}
	arena_fini(&a);
}

static void x2_messages(void **state)
{
	static const struct { str in; bool good; const char *user, *token; } cases[] = {
		{ STR("user=alice@home.test" A "auth=Bearer abc" A A), true, "alice@home.test", "abc" },
		{ STR("auth=Bearer abc" A "user=alice@home.test" A A), true, "alice@home.test", "abc" },
		{ STR("auth=Bearer abc" A A), true, "", "abc" },
		{ STR("user=alice@home.test" A "auth=Bearer abc" A), false, "", "" },
		{ STR("user=a" A "user=b" A "auth=Bearer abc" A A), false, "", "" },
		{ STR("user=" A "user=b" A "auth=Bearer abc" A A), false, "", "" },
		{ STR("user=alice@home.test" A A), false, "", "" },
		{ STR("n,," A "auth=Bearer abc" A A), false, "", "" },
		{ STR(""), false, "", "" },
		{ STR(A A), false, "", "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct oauth_message m;
		bool good = oauth_x2_read(cases[i].in, &m);

		if (good != cases[i].good)
			fail_msg("case %zu: %d", i, good);
		if (good && (!str_is(m.user, cases[i].user) || !str_is(m.token, cases[i].token)))
			fail_msg("case %zu: %.*s, %.*s", i, STR_ARG(m.user), STR_ARG(m.token));
	}
}

/* ---- claims -------------------------------------------------------------------------------- */

#define NOW 1800000000

static void claims(void **state)
{
	static const struct oauth_rule whole = { .issuer = "https://i.test", .audience = "mail", .scope = "smtp send",
		                                 .user_claim = "email" },
	                               loose = { .issuer = "", .audience = "", .scope = "", .user_claim = "sub" };
	static const struct { const struct oauth_rule *rule; bool introspected; const char *text, *want; } cases[] = {
#define GOOD "\"iss\":\"https://i.test\",\"aud\":\"mail\",\"scope\":\"smtp send\",\"email\":\"a@b.test\""
		{ &whole, false, "{" GOOD ",\"exp\":1800000001}", NULL },
		{ &whole, false, "{" GOOD ",\"exp\":1800000000.5}", NULL },
		{ &whole, false, "{" GOOD ",\"exp\":1799999970}", NULL },           /* clocks differ */
		{ &whole, false, "{" GOOD ",\"exp\":1799999940}", "expired" },
		{ &whole, false, "{" GOOD ",\"exp\":\"1900000000\"}", "expired" },
		{ &whole, false, "{" GOOD ",\"exp\":1e99}", "expired" },
		{ &whole, false, "{" GOOD ",\"exp\":-1}", "expired" },
		{ &whole, false, "{" GOOD "}", "no end" },
		{ &whole, true, "{" GOOD "}", NULL },
		{ &whole, true, "{" GOOD ",\"exp\":1}", "expired" },
		{ &whole, false, "{" GOOD ",\"exp\":1900000000,\"nbf\":1800000050}", NULL },
		{ &whole, false, "{" GOOD ",\"exp\":1900000000,\"nbf\":1800000100}", "not valid yet" },
		{ &whole, false, "{" GOOD ",\"exp\":1900000000,\"nbf\":\"x\"}", "not valid yet" },
		{ &whole, false, "{" GOOD ",\"exp\":1900000000,\"email_verified\":true}", NULL },
		{ &whole, false, "{" GOOD ",\"exp\":1900000000,\"email_verified\":false}", "never verified" },
#define T ",\"exp\":1900000000"
		{ &whole, false, "{\"aud\":\"mail\",\"scope\":\"smtp send\",\"email\":\"a@b.test\"" T "}", "another issuer's" },
		{ &whole, true, "{\"aud\":\"mail\",\"scope\":\"smtp send\",\"email\":\"a@b.test\"" T "}", NULL },
		{ &whole, true, "{\"iss\":\"https://i.test/\",\"aud\":\"mail\",\"scope\":\"smtp send\",\"email\":\"a@b.test\"" T "}",
		  "another issuer's" },
		{ &whole, false, "{\"iss\":[\"https://i.test\"],\"aud\":\"mail\",\"scope\":\"smtp send\",\"email\":\"a@b.test\"" T "}",
		  "another issuer's" },
#define I "{\"iss\":\"https://i.test\""
		{ &whole, false, I ",\"scope\":\"smtp send\",\"email\":\"a@b.test\"" T "}", "somebody else" },
		{ &whole, true, I ",\"scope\":\"smtp send\",\"email\":\"a@b.test\"" T "}", "somebody else" },
		{ &whole, false, I ",\"aud\":[\"x\",\"mail\"],\"scope\":\"smtp send\",\"email\":\"a@b.test\"" T "}", NULL },
		{ &whole, false, I ",\"aud\":[\"x\",7],\"scope\":\"smtp send\",\"email\":\"a@b.test\"" T "}", "somebody else" },
		{ &whole, false, I ",\"aud\":\"mailx\",\"scope\":\"smtp send\",\"email\":\"a@b.test\"" T "}", "somebody else" },
		{ &whole, false, I ",\"aud\":\"mail\",\"scope\":\"x send smtp\",\"email\":\"a@b.test\"" T "}", NULL },
		{ &whole, false, I ",\"aud\":\"mail\",\"scp\":[\"send\",\"smtp\"],\"email\":\"a@b.test\"" T "}", NULL },
		{ &whole, false, I ",\"aud\":\"mail\",\"scope\":\"smtp sends\",\"email\":\"a@b.test\"" T "}", "the scope" },
		{ &whole, false, I ",\"aud\":\"mail\",\"email\":\"a@b.test\"" T "}", "the scope" },
		{ &whole, false, I ",\"aud\":\"mail\",\"scope\":\"smtp send\",\"email\":\"\"" T "}", "whose it is" },
		{ &whole, false, I ",\"aud\":\"mail\",\"scope\":\"smtp send\",\"email\":7" T "}", "whose it is" },
		{ &whole, false, I ",\"aud\":\"mail\",\"scope\":\"smtp send\",\"sub\":\"a@b.test\"" T "}", "whose it is" },
		{ &loose, true, "{\"sub\":\"a@b.test\",\"email_verified\":false}", NULL },
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct json *o = json_read(str_of(cases[i].text));
		str address = STR_NONE;
		int64_t expires;
		const char *got;

		assert_non_null(o);
		got = oauth_claims(cases[i].rule, o, cases[i].introspected, NOW, &a, &address, &expires);
		if (cases[i].want == NULL ? got != NULL || !str_is(address, "a@b.test") : got == NULL || strstr(got, cases[i].want) == NULL)
			fail_msg("case %zu: %s", i, got ? got : "good");
		json_free(o);
	}
	arena_fini(&a);
}

/* ---- exchanges ------------------------------------------------------------------------------- */

static struct house house;
static struct issuer issuer;
static char keys_file[128];

static int begin(void **state)
{
	static str names[] = { { "PLAIN", 5 }, { "OAUTHBEARER", 11 }, { "XOAUTH2", 7 } };
	char text[1024];
	struct arena a;

	(void)state;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	snprintf(text, sizeof(text), "alice@home.test:%s\nbob@home.test:\n", verifier_of(&a, "wonderland"));
	house_make(&house, text);
	issuer_make(&issuer);
	snprintf(keys_file, sizeof(keys_file), "%s/keys", house.folder.path);
	put_text(keys_file, str_cstr(&a, issuer_keys(&a, &issuer)));
	arena_fini(&a);
	house.conf.mechanisms = (struct strs){ names, COUNT(names) };
	house.conf.oauth = (struct oauth_conf){ .issuer = STR("https://i.test"), .audience = STR("mail"),
		                                .scope = STR("smtp"), .user_claim = STR("email"), .keys = str_of(keys_file) };
	house_open_or_fail(&house);
	return 0;
}

static int end(void **state)
{
	(void)state;
	issuer_free(&issuer);
	house_end(&house);
	return 0;
}

static str token_for(const char *email, const char *aud, EVP_PKEY *key)
{
	return token_of(&house.arena, EVP_PKEY_is_a(key, "ED25519") ? "{\"alg\":\"EdDSA\"}" : "{\"alg\":\"ES256\"}",
	                str_cstr(&house.arena, arena_printf(&house.arena, "{\"iss\":\"https://i.test\",\"aud\":\"%s\",\"scope\":\"smtp\","
	                                                    "\"email\":\"%s\",\"exp\":%lld}", aud, email,
	                                                    (long long)clock_wall() + 600)), key);
}

/* Speaks; the challenge of a refusal is left in t->text. */
static enum auth_says bear(const char *mechanism, const char *user, str token, bool first, struct talk *t)
{
	bool x2 = strcmp(mechanism, "XOAUTH2") == 0;
	str said = x2 ? arena_printf(&house.arena, "user=%s" A "auth=Bearer %.*s" A A, user, STR_ARG(token))
	              : arena_printf(&house.arena, "n,%s%s," A "auth=Bearer %.*s" A A, user[0] ? "a=" : "", user, STR_ARG(token));
	char text[sizeof(t->text)];

	talk_new(t, &house);
	talk_begin(t, mechanism, first ? &said : NULL);
	if (!first && t->says == AUTH_MORE)
		talk_step(t, said);
	memcpy(text, t->text, sizeof(text));
	if (t->says == AUTH_MORE)
		talk_step(t, x2 ? STR("") : STR(A));
	memcpy(t->text, text, sizeof(text));
	talk_end(t);
	return t->says;
}

static void tokens_log_in(void **state)
{
	static const struct { const char *user, *email, *aud; enum auth_says want; const char *login; } cases[] = {
		{ "alice@home.test", "alice@home.test", "mail", AUTH_PASSED, "alice@home.test" },
		{ "", "alice@home.test", "mail", AUTH_PASSED, "alice@home.test" },
		{ "ALICE@home.test", "Alice@Home.Test", "mail", AUTH_PASSED, "alice@home.test" },
		{ "bob@home.test", "bob@home.test", "mail", AUTH_PASSED, "bob@home.test" },     /* without password */
		{ "bob@home.test", "alice@home.test", "mail", AUTH_REFUSED, "" },
		{ "nobody@home.test", "nobody@home.test", "mail", AUTH_REFUSED, "" },
		{ "", "nobody@home.test", "mail", AUTH_REFUSED, "" },
		{ "", "not an address", "mail", AUTH_REFUSED, "" },
		{ "alice@home.test", "alice@home.test", "files", AUTH_REFUSED, "" },
	};
	static const char *const mechanisms[] = { "OAUTHBEARER", "XOAUTH2" };
	char challenges[2][4096] = { "", "" };
	struct talk t;

	(void)state;
	for (size_t m = 0; m < COUNT(mechanisms); m++)
		for (size_t i = 0; i < COUNT(cases); i++)
			for (int round = 0; round < 4; round++) {      /* asked, first, each once more: now it is known */
				str token = token_for(cases[i].email, cases[i].aud, issuer.ed);
				enum auth_says got = bear(mechanisms[m], cases[i].user, token, round & 1, &t);

				if (got != cases[i].want || strcmp(t.login, cases[i].login) != 0)
					fail_msg("%s, case %zu, round %d: %d \"%s\"", mechanisms[m], i, round, got, t.login);
				if (got != AUTH_REFUSED)
					continue;
				/* One text, whoever it is and whatever is wrong. */
				if (challenges[m][0] == '\0')
					snprintf(challenges[m], sizeof(challenges[m]), "%s", t.text);
				assert_string_equal(t.text, challenges[m]);
			}
	assert_string_equal(challenges[0], "{\"status\":\"invalid_token\",\"scope\":\"smtp\",\"openid-configuration\":"
	                                   "\"https://i.test/.well-known/openid-configuration\"}");
	assert_non_null(strstr(challenges[1], "\"status\":\"400\""));
}

static void a_strangers_token_does_not(void **state)
{
	struct issuer stranger;
	struct talk t;

	(void)state;
	issuer_make(&stranger);
	assert_int_equal(bear("OAUTHBEARER", "alice@home.test", token_for("alice@home.test", "mail", stranger.ed), true, &t),
	                 AUTH_REFUSED);
	assert_int_equal(bear("XOAUTH2", "alice@home.test", token_for("alice@home.test", "mail", stranger.ec), true, &t),
	                 AUTH_REFUSED);
	assert_int_equal(bear("XOAUTH2", "alice@home.test", STR("opaque"), true, &t), AUTH_REFUSED);
	issuer_free(&stranger);
}

static void malformed_messages_are_refused(void **state)
{
	static const str bad[] = { { "n", 1 }, { "n,,", 3 }, { "n,," A "auth=Bearer a" A, 17 }, { "{}", 2 }, { A, 1 },
	                           { "user=x" A A, 8 }, { "p=x,," A "auth=Bearer a" A A, 20 } };
	static const char *const mechanisms[] = { "OAUTHBEARER", "XOAUTH2" };
	struct talk t;

	(void)state;
	for (size_t m = 0; m < COUNT(mechanisms); m++)
		for (size_t i = 0; i < COUNT(bad); i++) {
			talk_new(&t, &house);
			assert_int_equal(talk_begin(&t, mechanisms[m], &bad[i]), AUTH_REFUSED);
			talk_end(&t);
		}
	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "XOAUTH2", NULL), AUTH_MORE);
	assert_int_equal(talk_step(&t, STR("")), AUTH_REFUSED);        /* asked once, not for ever */
	talk_end(&t);
	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "OAUTHBEARER", &(str){ "n,,\0" A "auth=Bearer a" A A, 20 }), AUTH_MALFORMED);
	talk_end(&t);
	house_settle(&house);
}

/* Another key, and what was known before is not believed any more. */
static void a_reload_changes_the_keys(void **state)
{
	str token = token_for("alice@home.test", "mail", issuer.ed), why;
	struct issuer next;
	struct talk t;

	(void)state;
	assert_int_equal(bear("XOAUTH2", "alice@home.test", token, true, &t), AUTH_PASSED);
	issuer_make(&next);
	put_text(keys_file, str_cstr(&house.arena, issuer_keys(&house.arena, &next)));
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), OK);
	assert_int_equal(bear("XOAUTH2", "alice@home.test", token, true, &t), AUTH_REFUSED);
	assert_int_equal(bear("XOAUTH2", "alice@home.test", token_for("alice@home.test", "mail", next.ec), true, &t), AUTH_PASSED);
	issuer_free(&next);
	put_text(keys_file, "{\"keys\":[]}");
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), ERR_BAD);
	assert_non_null(memmem(why.p, why.n, "no JSON Web Key Set", 19));
	put_text(keys_file, str_cstr(&house.arena, issuer_keys(&house.arena, &issuer)));
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), OK);
	assert_int_equal(bear("XOAUTH2", "alice@home.test", token, true, &t), AUTH_PASSED);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(bearer_messages),
		cmocka_unit_test(x2_messages),
		cmocka_unit_test(claims),
		cmocka_unit_test(tokens_log_in),
		cmocka_unit_test(a_strangers_token_does_not),
		cmocka_unit_test(malformed_messages_are_refused),
		cmocka_unit_test(a_reload_changes_the_keys),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
