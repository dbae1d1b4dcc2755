/* SPDX-License-Identifier: ISC */
/*
 * What a connection brings along: channel bindings for SCRAM, spoken here by a
 * client of our own that lies where it is told to, and certificates for
 * EXTERNAL.
 */
#include "tests/unit/auth/auth_help.h"

static struct house house;

static int begin(void **state)
{
	static str names[] = { { "SCRAM-SHA-256-PLUS", 18 }, { "SCRAM-SHA-256", 13 }, { "PLAIN", 5 }, { "LOGIN", 5 },
	                       { "EXTERNAL", 8 } };
	static char text[1024];
	struct arena a;

	(void)state;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	snprintf(text, sizeof(text), "alice@home.test:%s\nBob@home.test:\n", verifier_of(&a, "wonderland"));
	arena_fini(&a);
	house_make(&house, text);
	house.conf.mechanisms = (struct strs){ names, COUNT(names) };
	house_open_or_fail(&house);
	return 0;
}

static int end(void **state)
{
	(void)state;
	house_end(&house);
	return 0;
}

/* ---- SCRAM, by hand (RFC 5802 3) ------------------------------------------------------ */

static str hash(str text, unsigned char out[32])
{
	assert_int_equal(digest_of(DIGEST_SHA256, text, out), 32);
	return (str){ (const char *)out, 32 };
}

static str mac(str key, str text, unsigned char out[32])
{
	hmac_sha256(key, text, out);
	return (str){ (const char *)out, 32 };
}

/* The value of one attribute: "i=4096". */
static str attribute(str message, char name)
{
	str word;

	while (str_cut(&message, ',', &word))
		if (word.n > 1 && word.p[0] == name && word.p[1] == '=')
			return str_skip(word, 2);
	fail_msg("no %c=", name);
	return STR_NONE;
}

static str final_message(struct arena *a, str bare, str challenge, str gs2, str data, const char *password)
{
	unsigned char salted[32], client[32], stored[32], signature[32], proof[32];
	str bound = arena_printf(a, "%.*s", STR_ARG(gs2)), salt, without, text;
	char *cb = arena_alloc(a, bound.n + data.n + 1);
	uint32_t rounds = 0;

	memcpy(cb, bound.p, bound.n);
	if (data.n > 0)
		memcpy(cb + bound.n, data.p, data.n);
	without = base64_encode(a, (str){ cb, bound.n + data.n });
	without = arena_printf(a, "c=%.*s,r=%.*s", STR_ARG(without), STR_ARG(attribute(challenge, 'r')));
	assert_true(base64_decode(a, attribute(challenge, 's'), false, &salt));
	assert_true(str_to_u32(attribute(challenge, 'i'), &rounds));
	assert_int_equal(pbkdf2_sha256(str_of(password), salt, rounds, salted), OK);
	mac((str){ (char *)salted, 32 }, STR("Client Key"), client);
	hash((str){ (char *)client, 32 }, stored);
	text = arena_printf(a, "%.*s,%.*s,%.*s", STR_ARG(bare), STR_ARG(challenge), STR_ARG(without));
	mac((str){ (char *)stored, 32 }, text, signature);
	for (size_t i = 0; i < 32; i++)
		proof[i] = client[i] ^ signature[i];
	return arena_printf(a, "%.*s,p=%.*s", STR_ARG(without), STR_ARG(base64_encode(a, (str){ (char *)proof, 32 })));
}

static enum auth_says scram(const char *mechanism, const char *gs2, str data, bool first)
{
	str bare = STR("n=alice@home.test,r=rOprNGfwEbeRWgbN"), hello, challenge;
	struct arena a;
	struct talk t;

	arena_init(&a, ARENA_UNBOUNDED);
	hello = arena_printf(&a, "%s%.*s", gs2, STR_ARG(bare));
	talk_new(&t, &house);
	talk_begin(&t, mechanism, first ? &hello : NULL);
	if (!first && t.says == AUTH_MORE)
		talk_step(&t, hello);
	if (t.says == AUTH_MORE) {
		challenge = str_keep(&a, (str){ t.text, t.n });
		talk_step(&t, final_message(&a, bare, challenge, str_of(gs2), data, "wonderland"));
		if (t.says == AUTH_MORE)
			talk_step(&t, STR(""));
	}
	talk_end(&t);
	arena_fini(&a);
	return t.says;
}

/* What the server has, what the client says, and what comes of it. */
static void bindings_are_the_connection_s(void **state)
{
	enum has { NONE, EXPORTER, UNIQUE, NOT_LISTED };
	static const struct {
		enum has has;
		const char *mechanism, *gs2;
		const char *data;
		enum auth_says want;
	} cases[] = {
		{ EXPORTER, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "0123456789abcdef0123456789abcdef", AUTH_PASSED },
		{ UNIQUE, "SCRAM-SHA-256-PLUS", "p=tls-unique,,", "finished-msg", AUTH_PASSED },
		{ EXPORTER, "SCRAM-SHA-256-PLUS", "p=tls-exporter,a=alice@home.test,", "0123456789abcdef0123456789abcdef",
		  AUTH_PASSED },
		/* somebody sits between: the client's end of it is another */
		{ EXPORTER, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "0123456789abcdef0123456789abcdeX", AUTH_REFUSED },
		{ EXPORTER, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "0123456789abcdef", AUTH_REFUSED },
		{ EXPORTER, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "", AUTH_REFUSED },
		{ EXPORTER, "SCRAM-SHA-256-PLUS", "p=tls-unique,,", "finished-msg", AUTH_REFUSED },
		{ EXPORTER, "SCRAM-SHA-256-PLUS", "p=,,", "x", AUTH_REFUSED },
		{ EXPORTER, "SCRAM-SHA-256-PLUS", "p=tls-exporter", "x", AUTH_REFUSED },
		{ UNIQUE, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,", "x", AUTH_REFUSED },
		/* -PLUS without it, and it without -PLUS (RFC 5802 6) */
		{ EXPORTER, "SCRAM-SHA-256-PLUS", "n,,", "", AUTH_REFUSED },
		{ EXPORTER, "SCRAM-SHA-256-PLUS", "y,,", "", AUTH_REFUSED },
		{ EXPORTER, "SCRAM-SHA-256", "p=tls-exporter,,", "0123456789abcdef0123456789abcdef", AUTH_REFUSED },
		{ NONE, "SCRAM-SHA-256", "p=tls-exporter,,", "0123456789abcdef0123456789abcdef", AUTH_REFUSED },
		{ NONE, "SCRAM-SHA-256", "p=x,,", "y", AUTH_REFUSED },
		{ NOT_LISTED, "SCRAM-SHA-256", "p=tls-exporter,,", "0123456789abcdef0123456789abcdef", AUTH_REFUSED },
		/* "I could, but think that you cannot" */
		{ EXPORTER, "SCRAM-SHA-256", "y,,", "", AUTH_REFUSED },
		{ NONE, "SCRAM-SHA-256", "y,,", "", AUTH_PASSED },
		{ NOT_LISTED, "SCRAM-SHA-256", "y,,", "", AUTH_PASSED },
		{ EXPORTER, "SCRAM-SHA-256", "n,,", "", AUTH_PASSED },
		{ UNIQUE, "SCRAM-SHA-256", "n,,", "", AUTH_PASSED },
		{ NONE, "SCRAM-SHA-256", "n,,", "", AUTH_PASSED },
		{ NONE, "SCRAM-SHA-256", "n,,", "more than nothing", AUTH_PASSED },   /* Cyrus reads the header alone */
		{ NONE, "SCRAM-SHA-256", "", "", AUTH_REFUSED },
		{ NONE, "SCRAM-SHA-256", "z,,", "", AUTH_REFUSED },
		/* offered to nobody who cannot use it */
		{ NONE, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "x", AUTH_NO_MECH },
		{ NOT_LISTED, "SCRAM-SHA-256-PLUS", "p=tls-exporter,,", "x", AUTH_NO_MECH },
	};
	static str few[] = { { "SCRAM-SHA-256", 13 } };

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int first = 0; first < 2; first++) {
			struct auth_channel *c = &house.channel;
			enum auth_says got;

			*c = (struct auth_channel){ .ip = "192.0.2.7" };
			if (cases[i].has == UNIQUE) {
				c->binding_type = "tls-unique";
				c->binding = STR("finished-msg");
			} else if (cases[i].has != NONE) {
				c->binding_type = "tls-exporter";
				c->binding = STR("0123456789abcdef0123456789abcdef");
			}
			if (cases[i].has == NOT_LISTED)
				c->mechanisms = (struct strs){ few, 1 };
			got = scram(cases[i].mechanism, cases[i].gs2, str_of(cases[i].data), first);
			if (got != cases[i].want)
				fail_msg("case %zu, %s: %d", i, first ? "first" : "asked", got);
		}
}

/* ---- EXTERNAL (RFC 4422 A) -------------------------------------------------------------- */

static void certificates_log_in(void **state)
{
	static const struct {
		const char *names[3], *wanted;   /* NULL: no initial response, then an empty one */
		enum auth_says want;
		const char *login;
	} cases[] = {
		{ { "alice@home.test" }, "", AUTH_PASSED, "alice@home.test" },
		{ { "alice@home.test" }, NULL, AUTH_PASSED, "alice@home.test" },
		{ { "Alice@HOME.test" }, "", AUTH_PASSED, "alice@home.test" },
		{ { "alice@home.test" }, "alice@home.test", AUTH_PASSED, "alice@home.test" },
		{ { "alice@home.test" }, "ALICE@home.test", AUTH_PASSED, "alice@home.test" },
		{ { "alice@home.test" }, "bob@home.test", AUTH_REFUSED, "" },
		{ { "alice@home.test" }, "nobody@home.test", AUTH_REFUSED, "" },
		{ { "alice@home.test" }, "alice", AUTH_REFUSED, "" },
		{ { "bob@home.test" }, "", AUTH_PASSED, "Bob@home.test" },     /* he has no password */
		{ { "nobody@home.test" }, "", AUTH_REFUSED, "" },
		{ { "nobody@home.test" }, "alice@home.test", AUTH_REFUSED, "" },
		{ { "Alice Liddell" }, "", AUTH_REFUSED, "" },
		{ { "old@office.test", "bob@home.test" }, "", AUTH_PASSED, "Bob@home.test" },
		{ { "alice@home.test", "bob@home.test" }, "", AUTH_PASSED, "alice@home.test" },
		{ { "alice@home.test", "bob@home.test" }, "bob@home.test", AUTH_PASSED, "Bob@home.test" },
		{ { "alice@home.test", "bob@home.test" }, "carol@home.test", AUTH_REFUSED, "" },
		{ { NULL }, "", AUTH_NO_MECH, "" },
		{ { NULL }, "alice@home.test", AUTH_NO_MECH, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		str names[3], wanted = str_of(cases[i].wanted);
		struct talk t;
		size_t n = 0;

		while (n < 3 && cases[i].names[n] != NULL) {
			names[n] = str_of(cases[i].names[n]);
			n++;
		}
		house.channel = (struct auth_channel){ .ip = "192.0.2.7", .certificate = { names, n } };
		talk_new(&t, &house);
		if (talk_begin(&t, "EXTERNAL", cases[i].wanted ? &wanted : NULL) == AUTH_MORE)
			talk_step(&t, STR(""));
		talk_end(&t);
		if (t.says != cases[i].want || strcmp(t.login, cases[i].login) != 0)
			fail_msg("case %zu: %d, \"%s\"", i, t.says, t.login);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(bindings_are_the_connection_s),
		cmocka_unit_test(certificates_log_in),
	};

	return cmocka_run_group_tests(tests, begin, end);
}
