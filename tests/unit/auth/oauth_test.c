/* SPDX-License-Identifier: ISC */
/*
 * OAUTHBEARER and XOAUTH2: what clients say, what tokens claim, and whole
 * exchanges against keys in a file.
 */
#include <arpa/inet.h>
#include <pthread.h>

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

static uint64_t counted(const char *name)
{
	for (unsigned i = 0; i < stat_count(); i++)
		if (strcmp(stat_name(i), name) == 0)
			return stat_sum(i);
	fail_msg("no counter %s", name);
	return 0;
}

/* A phone with a token that has run out tries for ever: once it counts, by either
 * mechanism; another wrong one counts, too. */
static void the_same_wrong_token_counts_once(void **state)
{
	/* Nobody has logged in well from there. */
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = inet_addr("198.51.100.9") };
	const char *ip = house.channel.ip;
	struct guess_conf before = house.conf.guesses;
	uint64_t failed, again;
	struct talk t;
	str why;

	(void)state;
	house.conf.guesses = (struct guess_conf){ .address = 3, .within_ms = 3600000, .refuse_ms = 60000, .refuse_most_ms = 60000 };
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), OK);
	house.channel.ip = "198.51.100.9";
	failed = counted("auth.failed");
	again = counted("auth.failed-again");
	for (int i = 0; i < 20; i++)
		assert_int_equal(bear(i & 1 ? "XOAUTH2" : "OAUTHBEARER", "alice@home.test", STR("old-token"), i & 2, &t), AUTH_REFUSED);
	assert_int_equal(counted("auth.failed") - failed, 1);
	assert_int_equal(counted("auth.failed-again") - again, 19);
	assert_int_equal(auth_refuses(house.auth, (struct sockaddr *)&from), 0);
	bear("XOAUTH2", "alice@home.test", STR("another"), true, &t);
	assert_int_equal(counted("auth.failed") - failed, 2);
	assert_int_equal(auth_refuses(house.auth, (struct sockaddr *)&from), 0);
	bear("OAUTHBEARER", "alice@home.test", STR("a third"), true, &t);          /* no token at all: counted by half */
	bear("OAUTHBEARER", "alice@home.test", STR("a-fourth"), true, &t);
	assert_true(auth_refuses(house.auth, (struct sockaddr *)&from) > 0);
	house.channel.ip = ip;
	house.conf.guesses = before;
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), OK);
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

/* ---- an issuer that is asked ---------------------------------------------------------------- */

static struct web {
	int             fd, status;
	unsigned        asked;
	char            url[64], body[8192];
	pthread_t       thread;
	pthread_mutex_t lock;
} web;

/* One answer a connection. */
static void *web_serve(void *arg)
{
	char request[4096], answer[sizeof(web.body) + 256];
	int fd;

	(void)arg;
	while ((fd = accept(web.fd, NULL, NULL)) >= 0) {
		size_t n = 0;
		ssize_t got;

		while (n < sizeof(request) - 1 && (got = read(fd, request + n, sizeof(request) - 1 - n)) > 0) {
			n += (size_t)got;
			request[n] = '\0';
			if (strstr(request, "\r\n\r\n") != NULL && (strncmp(request, "GET", 3) == 0 || strstr(request, "\r\n\r\ntoken=") != NULL))
				break;
		}
		pthread_mutex_lock(&web.lock);
		web.asked++;
		snprintf(answer, sizeof(answer), "HTTP/1.1 %d Answer\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", web.status,
		         strlen(web.body), web.body);
		pthread_mutex_unlock(&web.lock);
		got = write(fd, answer, strlen(answer));
		close(fd);
	}
	return NULL;
}

static void web_says(int status, const char *body)
{
	pthread_mutex_lock(&web.lock);
	web.status = status;
	snprintf(web.body, sizeof(web.body), "%s", body);
	pthread_mutex_unlock(&web.lock);
}

static unsigned web_asked(void)
{
	unsigned n;

	pthread_mutex_lock(&web.lock);
	n = web.asked;
	pthread_mutex_unlock(&web.lock);
	return n;
}

static void web_open(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);

	memset(&web, 0, sizeof(web));
	pthread_mutex_init(&web.lock, NULL);
	web.fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(web.fd, (struct sockaddr *)&at, n), 0);
	assert_int_equal(listen(web.fd, 16), 0);
	assert_int_equal(getsockname(web.fd, (struct sockaddr *)&at, &n), 0);
	snprintf(web.url, sizeof(web.url), "http://127.0.0.1:%u/x", ntohs(at.sin_port));
	assert_int_equal(pthread_create(&web.thread, NULL, web_serve, NULL), 0);
}

static void web_close(void)
{
	shutdown(web.fd, SHUT_RDWR);
	pthread_join(web.thread, NULL);
	close(web.fd);
	pthread_mutex_destroy(&web.lock);
}

/* As the desk would, at a time of the test's; the desk itself is idle. */
static enum oauth_says judged(str token, uint64_t now_ms)
{
	struct judge j = { .auth = house.auth, .seat = &house.auth->seats[0], .channel = &house.channel, .now_ms = now_ms };
	const char *reason;
	enum oauth_says says;
	struct arena a;
	str address;

	arena_init(&a, ARENA_UNBOUNDED);
	says = oauth_judge(&j, token, &a, &address, &reason);
	if (says == OAUTH_GOOD)
		assert_true(str_is(address, "alice@home.test"));
	arena_fini(&a);
	return says;
}

/* Each is another token. */
static str kid_token(const struct issuer *by, const char *kid)
{
	static int last;

	return token_of(&house.arena, str_cstr(&house.arena, arena_printf(&house.arena, "{\"alg\":\"EdDSA\",\"kid\":\"%s\"}", kid)),
	                str_cstr(&house.arena, arena_printf(&house.arena, "{\"iss\":\"https://i.test\",\"aud\":\"mail\",\"scope\":\"smtp\","
	                                                    "\"email\":\"alice@home.test\",\"exp\":%lld,\"jti\":%d}",
	                                                    (long long)clock_wall() + 600, ++last)), by->ed);
}

static const char *one_key(const struct issuer *by, const char *kid)
{
	return str_cstr(&house.arena, arena_printf(&house.arena, "{\"keys\":[%.*s]}",
	                STR_ARG(jwk_ed(&house.arena, by->ed, str_cstr(&house.arena, arena_printf(&house.arena, ",\"kid\":\"%s\"", kid))))));
}

/* An issuer changes its keys: they are fetched when a token names one that is not
 * known, but not at every stranger's whim; old ones hold while it is down. */
static void keys_are_fetched_again(void **state)
{
	struct oauth_conf before = house.conf.oauth;
	uint64_t now = clock_ms();
	struct issuer next;
	str why;

	(void)state;
	issuer_make(&next);
	web_open();
	house.conf.oauth.keys = str_of(web.url);
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), OK);
	web_says(200, one_key(&issuer, "one"));
	assert_int_equal(judged(kid_token(&issuer, "one"), now), OAUTH_GOOD);
	assert_int_equal(judged(kid_token(&issuer, "one"), now + 1000), OAUTH_GOOD);
	assert_int_equal(web_asked(), 1);
	web_says(200, one_key(&next, "two"));
	assert_int_equal(judged(kid_token(&next, "two"), now + 59000), OAUTH_BAD);      /* too soon */
	assert_int_equal(web_asked(), 1);
	assert_int_equal(judged(kid_token(&next, "two"), now + 61000), OAUTH_GOOD);
	assert_int_equal(web_asked(), 2);
	assert_int_equal(judged(kid_token(&issuer, "none"), now + 62000), OAUTH_BAD);
	assert_int_equal(judged(kid_token(&issuer, "nine"), now + 63000), OAUTH_BAD);
	assert_int_equal(web_asked(), 2);
	/* An hour later, and nobody there. */
	web_says(500, "");
	now += 2 * 3600 * 1000;
	assert_int_equal(judged(kid_token(&next, "two"), now), OAUTH_GOOD);
	assert_int_equal(web_asked(), 3);
	issuer_free(&next);
	web_close();
	house.conf.oauth = before;
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), OK);
}

/* Each token is shown once while its answer holds; the table of answers is full
 * one day and forgets. */
static void answers_are_remembered(void **state)
{
	struct oauth_conf before = house.conf.oauth;
	char text[256];
	uint64_t now = clock_ms();
	str why;

	(void)state;
	web_open();
	house.conf.oauth = (struct oauth_conf){ .user_claim = STR("email"), .introspection = str_of(web.url), .client_id = STR("x") };
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), OK);
	snprintf(text, sizeof(text), "{\"active\":true,\"email\":\"alice@home.test\",\"exp\":%lld}", (long long)clock_wall() + 600);
	web_says(200, text);
	for (int i = 0; i < 3; i++)
		assert_int_equal(judged(STR("good"), now), OAUTH_GOOD);
	assert_int_equal(web_asked(), 1);
	web_says(200, "{\"active\":false}");
	assert_int_equal(judged(STR("good"), now), OAUTH_GOOD);
	for (int i = 0; i < 3; i++)
		assert_int_equal(judged(STR("bad"), now), OAUTH_BAD);
	assert_int_equal(web_asked(), 2);
	/* It ends at its end, leeway or not. */
	snprintf(text, sizeof(text), "{\"active\":true,\"email\":\"alice@home.test\",\"exp\":%lld}", (long long)clock_wall() - 10);
	web_says(200, text);
	assert_int_equal(judged(STR("ending"), now), OAUTH_GOOD);
	assert_int_equal(judged(STR("ending"), now), OAUTH_GOOD);
	assert_int_equal(web_asked(), 4);
	for (int i = 0; i < 1200; i++)
		judged(str_of(str_cstr(&house.arena, arena_printf(&house.arena, "t%d", i))), now);
	assert_int_equal(web_asked(), 1204);
	/* What is no answer is not remembered, and is not asked for again at once. */
	web_says(200, "nonsense");
	assert_int_equal(judged(STR("new"), now), OAUTH_LATER);
	web_says(503, text);
	assert_int_equal(judged(STR("new"), now), OAUTH_LATER);
	assert_int_equal(judged(STR("new"), now), OAUTH_LATER);
	assert_int_equal(web_asked(), 1206);
	assert_int_equal(judged(STR("new"), clock_ms() + 60000), OAUTH_LATER);
	assert_int_equal(web_asked(), 1207);
	web_close();
	house.conf.oauth = before;
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), OK);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(bearer_messages),
		cmocka_unit_test(x2_messages),
		cmocka_unit_test(claims),
		cmocka_unit_test(tokens_log_in),
		cmocka_unit_test(a_strangers_token_does_not),
		cmocka_unit_test(the_same_wrong_token_counts_once),
		cmocka_unit_test(malformed_messages_are_refused),
		cmocka_unit_test(a_reload_changes_the_keys),
		cmocka_unit_test(keys_are_fetched_again),
		cmocka_unit_test(answers_are_remembered),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
