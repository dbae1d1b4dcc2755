/* SPDX-License-Identifier: ISC */
/*
 * Exchanges, whole: libsasl2's client side on the other end where there is a
 * mechanism to be spoken, raw responses where there is one to be broken.
 */
#include <sasl/sasl.h>

#include "tests/unit/auth/try_help.h"

/* ---- the client ------------------------------------------------------------------- */

struct client { const char *name, *as, *password; sasl_callback_t callbacks[4]; sasl_secret_t *secret; };

static int client_name(void *context, int id, const char **result, unsigned *n)
{
	const struct client *c = context;

	*result = id == SASL_CB_USER ? c->as : c->name;
	if (n != NULL)
		*n = (unsigned)strlen(*result);
	return SASL_OK;
}

static int client_secret(sasl_conn_t *conn, void *context, int id, sasl_secret_t **secret)
{
	(void)conn;
	(void)id;
	*secret = ((struct client *)context)->secret;
	return SASL_OK;
}

#define CLIENT_CALL(id_, proc_, c_) ((sasl_callback_t){ (id_), (int (*)(void))(void (*)(void))(proc_), (c_) })

static sasl_conn_t *client_open(struct client *c)
{
	size_t n = strlen(c->password);
	sasl_conn_t *conn = NULL;

	c->secret = calloc(1, sizeof(*c->secret) + n + 1);
	assert_non_null(c->secret);
	c->secret->len = n;
	memcpy(c->secret->data, c->password, n);
	c->callbacks[0] = CLIENT_CALL(SASL_CB_USER, client_name, c);
	c->callbacks[1] = CLIENT_CALL(SASL_CB_AUTHNAME, client_name, c);
	c->callbacks[2] = CLIENT_CALL(SASL_CB_PASS, client_secret, c);
	c->callbacks[3] = (sasl_callback_t){ SASL_CB_LIST_END, NULL, NULL };
	assert_int_equal(sasl_client_new("smtp", "mail.home.test", NULL, NULL, c->callbacks, 0, &conn), SASL_OK);
	return conn;
}

/* Speaks one exchange; with `first` the client's first words go along with AUTH. */
static enum auth_says speak(const char *mechanism, const char *as, const char *name, const char *password, bool first,
                            struct talk *t)
{
	struct client c = { .name = name, .as = as, .password = password };
	const char *out = NULL, *chosen = NULL;
	unsigned n = 0;
	sasl_conn_t *conn;
	str response;
	int r;

	talk_new(t, &house);
	conn = client_open(&c);
	r = sasl_client_start(conn, mechanism, NULL, first ? &out : NULL, first ? &n : NULL, &chosen);
	assert_true(r == SASL_OK || r == SASL_CONTINUE);
	response = (str){ out, n };
	talk_begin(t, mechanism, out != NULL ? &response : NULL);
	while (t->says == AUTH_MORE) {
		r = sasl_client_step(conn, t->text, (unsigned)t->n, NULL, &out, &n);
		if (r != SASL_OK && r != SASL_CONTINUE)
			break;         /* the server's proof was wrong, say */
		talk_step(t, (str){ out, n });
	}
	sasl_dispose(&conn);
	free(c.secret);
	talk_end(t);
	return t->says;
}

static void mechanisms_speak(void **state)
{
	static const struct { const char *mechanism, *as, *name, *password; enum auth_says want; const char *login; } cases[] = {
#define ALL(as, name, password, want, login) \
		{ "PLAIN", as, name, password, want, login }, \
		{ "SCRAM-SHA-256", as, name, password, want, login }
#define EACH(name, password, want, login) ALL("", name, password, want, login), \
		{ "LOGIN", "", name, password, want, login }
		EACH("alice@home.test", "wonderland", AUTH_PASSED, "alice@home.test"),
		EACH("ALICE@Home.Test", "wonderland", AUTH_PASSED, "alice@home.test"),
		EACH("bob@office.test", "bui\xc3\xafld er", AUTH_PASSED, "Bob@office.test"),
		EACH("alice@home.test", "Wonderland", AUTH_REFUSED, ""),
		EACH("alice@home.test", "bui\xc3\xafld er", AUTH_REFUSED, ""),
		EACH("carol@home.test", "wonderland", AUTH_REFUSED, ""),
		EACH("alice", "wonderland", AUTH_REFUSED, ""),
		EACH("mail@home.test", "wonderland", AUTH_REFUSED, ""),
		EACH("old@home.test", "wonderland", AUTH_REFUSED, ""),
		ALL("alice@home.test", "alice@home.test", "wonderland", AUTH_PASSED, "alice@home.test"),
		ALL("Alice@HOME.test", "alice@home.test", "wonderland", AUTH_PASSED, "alice@home.test"),
		ALL("bob@office.test", "alice@home.test", "wonderland", AUTH_REFUSED, ""),
		ALL("nobody@home.test", "alice@home.test", "wonderland", AUTH_REFUSED, ""),
	};
	struct talk t;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int first = 0; first < 2; first++) {
			enum auth_says got = speak(cases[i].mechanism, cases[i].as, cases[i].name, cases[i].password, first, &t);

			if (got != cases[i].want)
				fail_msg("%s %s as %s, %s: %d", cases[i].mechanism, cases[i].name, cases[i].as,
				         first ? "first" : "asked", got);
			assert_string_equal(t.login, cases[i].login);
		}
}

/* ---- raw ------------------------------------------------------------------------------ */

static void mechanism_not_offered(void **state)
{
	static const char *const names[] = { "CRAM-MD5", "DIGEST-MD5", "NTLM", "ANONYMOUS", "EXTERNAL", "SCRAM-SHA-1",
	                                     "SCRAM-SHA-256-PLUS", "GSSAPI", "", "PLAIN LOGIN", "X" };
	struct talk t;

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		talk_new(&t, &house);
		assert_int_equal(talk_begin(&t, names[i], NULL), AUTH_NO_MECH);
		talk_end(&t);
	}
	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "plain", NULL), AUTH_MORE);    /* RFC 4422 3.1 has them in capitals */
	assert_int_equal(t.n, 0);
	assert_true(str_is(auth_try_mechanism(t.try), "PLAIN"));
	talk_end(&t);
	house_settle(&house);
}

static void garbage_is_refused(void **state)
{
	static char lots[RESPONSE_MAX + 2];
#define R(text) { text, sizeof(text) - 1 }
	const struct { const char *mechanism; str initial; enum auth_says want; } cases[] = {
		{ "PLAIN", R(""), AUTH_REFUSED },
		{ "PLAIN", R("x"), AUTH_REFUSED },
		{ "PLAIN", R("\0"), AUTH_REFUSED },
		{ "PLAIN", R("\0\0"), AUTH_REFUSED },
		{ "PLAIN", R("\0\0\0"), AUTH_REFUSED },
		{ "PLAIN", R("\0alice@home.test\0"), AUTH_REFUSED },
		{ "PLAIN", R("\0alice@home.test"), AUTH_REFUSED },
		{ "PLAIN", R("\0alice@home.test\0wonderland\0"), AUTH_REFUSED },
		{ "PLAIN", R("\0alice@home.test\0wonderland\0more"), AUTH_REFUSED },
		{ "PLAIN", R("\0alice\0@home.test\0wonderland"), AUTH_REFUSED },
		{ "PLAIN", R("\0\xff\xfe@home.test\0wonderland"), AUTH_REFUSED },
		{ "PLAIN", { lots, RESPONSE_MAX }, AUTH_REFUSED },
		{ "PLAIN", { lots, RESPONSE_MAX + 1 }, AUTH_MALFORMED },
		{ "LOGIN", R("alice@home.test\0x"), AUTH_MALFORMED },
		{ "LOGIN", { lots, RESPONSE_MAX + 1 }, AUTH_MALFORMED },
		{ "SCRAM-SHA-256", R("x"), AUTH_REFUSED },
		{ "SCRAM-SHA-256", R("n,,n=alice@home.test"), AUTH_REFUSED },
		{ "SCRAM-SHA-256", R("n,,m=x,n=alice@home.test,r=abc"), AUTH_REFUSED },
		{ "SCRAM-SHA-256", R("z,,n=alice@home.test,r=abcdefgh"), AUTH_REFUSED },
		{ "SCRAM-SHA-256", R("n,,n=ali=2Xce@home.test,r=abcdefgh"), AUTH_REFUSED },
		{ "SCRAM-SHA-256", R("n,,n=alice\0@home.test,r=abcdefgh"), AUTH_MALFORMED },
		{ "SCRAM-SHA-256", { lots, RESPONSE_MAX }, AUTH_REFUSED },
	};
	struct talk t;

	(void)state;
	memset(lots, 'a', sizeof(lots));
	for (size_t i = 0; i < COUNT(cases); i++) {
		talk_new(&t, &house);
		if (talk_begin(&t, cases[i].mechanism, &cases[i].initial) != cases[i].want)
			fail_msg("%s case %zu: %d", cases[i].mechanism, i, t.says);
		assert_string_equal(t.login, "");
		talk_end(&t);
	}
}

/* Each of them costs Cyrus memory that it would forget if we refused the name
 * ourselves (the sanitizers look). */
static void login_with_odd_names(void **state)
{
	static const char *const names[] = { "", " ", "\t\r\n ", "@", "?", "alice", " alice@home.test", "\xff" };
	struct talk t;

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++) {
		uint64_t before = auth_counted(COUNT_HASHED);

		talk_new(&t, &house);
		assert_int_equal(talk_begin(&t, "LOGIN", NULL), AUTH_MORE);
		assert_int_equal(talk_step(&t, str_of(names[i])), AUTH_MORE);
		assert_int_equal(talk_step(&t, STR("wonderland")), AUTH_REFUSED);
		assert_int_equal(auth_counted(COUNT_HASHED) - before, 1);
		talk_end(&t);
	}
}

static void long_plain_names(void **state)
{
	static char name[5000];
	struct talk t;
	str initial;

	(void)state;
	memset(name, 'a', sizeof(name) - 1);
	memcpy(name + sizeof(name) - 12, "@home.test", 11);
	initial = plain(&house.arena, "", name, "wonderland");
	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "PLAIN", &initial), AUTH_REFUSED);
	talk_end(&t);
	/* A password of the longest kind costs a hash and is wrong. */
	initial = plain(&house.arena, "", "alice@home.test", name);
	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "PLAIN", &initial), AUTH_REFUSED);
	talk_end(&t);
	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "LOGIN", NULL), AUTH_MORE);
	initial = str_of(name);
	if (talk_step(&t, initial) == AUTH_MORE)
		talk_step(&t, STR("wonderland"));
	assert_int_equal(t.says, AUTH_REFUSED);
	talk_end(&t);
}

/* ---- SCRAM by hand (RFC 5802 3) ------------------------------------------------------- */

static const char *field_of(const char *text, char name, struct arena *a)
{
	str rest = str_of(text), part;

	while (str_cut(&rest, ',', &part))
		if (part.n > 2 && part.p[0] == name && part.p[1] == '=')
			return str_cstr(a, str_skip(part, 2));
	fail_msg("no %c= in %s", name, text);
	return NULL;
}

static str bytes(const unsigned char *p)
{
	return (str){ (const char *)p, 32 };
}

/* The client's last words, with the header that its first ones began with. */
static str last_words(const char *header, const char *first_bare, const char *challenge, const char *password,
                      struct arena *a)
{
	unsigned char salted[32], client[32], stored[DIGEST_MAX], signature[32];
	str salt, bare, message;

	assert_true(base64_decode(a, str_of(field_of(challenge, 's', a)), false, &salt));
	assert_int_equal(pbkdf2_sha256(str_of(password), salt, 4096, salted), OK);
	hmac_sha256(bytes(salted), STR("Client Key"), client);
	digest_of(DIGEST_SHA256, bytes(client), stored);
	bare = arena_printf(a, "c=%.*s,r=%s", STR_ARG(base64_encode(a, str_of(header))), field_of(challenge, 'r', a));
	message = arena_printf(a, "%s,%s,%.*s", first_bare, challenge, STR_ARG(bare));
	hmac_sha256(bytes(stored), message, signature);
	for (size_t i = 0; i < 32; i++)
		client[i] ^= signature[i];
	return arena_printf(a, "%.*s,p=%.*s", STR_ARG(bare), STR_ARG(base64_encode(a, bytes(client))));
}

/* No -PLUS is offered, so "y" is what an able client says, and right; who wants
 * a binding all the same, or says another header at the end, is refused. */
static void scram_flags(void **state)
{
	static const char bare[] = "n=alice@home.test,r=abcdefgh";
	static const struct { const char *first, *last, *password; enum auth_says want; } cases[] = {
		{ "n,,", "n,,", "wonderland", AUTH_PASSED },
		{ "y,,", "y,,", "wonderland", AUTH_PASSED },
		{ "n,a=alice@home.test,", "n,a=alice@home.test,", "wonderland", AUTH_PASSED },
		{ "n,a=bob@office.test,", "n,a=bob@office.test,", "wonderland", AUTH_REFUSED },
		{ "n,,", "n,,", "wonderlane", AUTH_REFUSED },
		{ "n,,", "y,,", "wonderland", AUTH_REFUSED },
		{ "p=tls-exporter,,", "p=tls-exporter,,", "wonderland", AUTH_REFUSED },
		{ "p=tls-unique,,", "n,,", "wonderland", AUTH_REFUSED },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		str first = arena_printf(&house.arena, "%s%s", cases[i].first, bare);
		struct talk t;

		talk_new(&t, &house);
		if (talk_begin(&t, "SCRAM-SHA-256", &first) == AUTH_MORE) {
			assert_true(str_starts(str_of(t.text), "r=abcdefgh"));
			talk_step(&t, last_words(cases[i].last, bare, t.text, cases[i].password, &house.arena));
		}
		if (t.says == AUTH_MORE) {      /* the server's proof; RFC 4954 4 wants an empty answer */
			assert_true(str_starts(str_of(t.text), "v="));
			talk_step(&t, STR(""));
		}
		if (t.says != cases[i].want)
			fail_msg("%s then %s: %d", cases[i].first, cases[i].last, t.says);
		talk_end(&t);
	}
}

static const char *salt_of(const char *name, char room[200])
{
	char first[300];
	struct talk t;
	str initial;
	char *at;

	snprintf(first, sizeof(first), "n,,n=%s,r=abcdefgh", name);
	initial = str_of(first);
	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "SCRAM-SHA-256", &initial), AUTH_MORE);
	at = strstr(t.text, ",s=");
	assert_non_null(at);
	snprintf(room, 200, "%s", at);
	talk_end(&t);
	house_settle(&house);
	return room;
}

/* What SCRAM shows of an unknown name looks like what it shows of an account,
 * and is the same after a restart. */
static void unknown_names_are_stable(void **state)
{
	char alice[200], nobody[200], other[200], again[200];

	(void)state;
	salt_of("alice@home.test", alice);
	salt_of("nobody@home.test", nobody);
	assert_int_equal(strlen(alice), strlen(nobody));
	assert_string_not_equal(alice, nobody);
	assert_string_not_equal(nobody, salt_of("nobody2@home.test", other));
	assert_string_equal(nobody, salt_of("NoBody@HOME.test", again));
	assert_string_equal(nobody, salt_of("nobody@home.test", again));
	salt_of("nobody", other);
	/* an account that cannot log in looks no different from one that is not there */
	assert_int_equal(strlen(alice), strlen(salt_of("mail@home.test", again)));
	auth_close(house.auth);
	house_open_or_fail(&house);
	assert_string_equal(nobody, salt_of("nobody@home.test", again));
	assert_string_equal(alice, salt_of("alice@home.test", again));
	assert_string_equal(other, salt_of("nobody", again));
}

/* The same answers and the same number of hashes, whoever is asked for. */
static void known_and_unknown_cost_the_same(void **state)
{
	static const char *const names[] = { "alice@home.test", "carol@home.test", "carol", "mail@home.test",
	                                     "old@home.test", "x@y.example" };
	static const char *const mechanisms[] = { "PLAIN", "LOGIN", "SCRAM-SHA-256" };
	static const unsigned answers[] = { 1, 3, 2 };
	struct talk t;

	(void)state;
	for (size_t m = 0; m < COUNT(mechanisms); m++)
		for (size_t i = 0; i < COUNT(names); i++) {
			uint64_t before = auth_counted(COUNT_HASHED);
			enum auth_says says = speak(mechanisms[m], "", names[i], "wrong", true, &t);
			uint64_t hashes = auth_counted(COUNT_HASHED) - before;

			if (says != AUTH_REFUSED || hashes != (m < 2) || t.answers != answers[m])
				fail_msg("%s %s: %d, %u hashes, %u answers", mechanisms[m], names[i], says,
				         (unsigned)hashes, t.answers);
		}
}

/* ---- memory ------------------------------------------------------------------------------ */

static void success_is_remembered(void **state)
{
	static const struct { const char *name, *password; enum auth_says want; unsigned hashes; } steps[] = {
		{ "alice@home.test", "wrong", AUTH_REFUSED, 1 },
		{ "alice@home.test", "wrong", AUTH_REFUSED, 1 },        /* a failure leaves nothing */
		{ "alice@home.test", "wonderland", AUTH_PASSED, 1 },
		{ "alice@home.test", "wonderland", AUTH_PASSED, 0 },
		{ "Alice@Home.Test", "wonderland", AUTH_PASSED, 0 },
		{ "alice@home.test", "wonderlan", AUTH_REFUSED, 1 },
		{ "bob@office.test", "wonderland", AUTH_REFUSED, 1 },
		{ "alice@home.test", "wonderland", AUTH_PASSED, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(steps); i++) {
		uint64_t before = auth_counted(COUNT_HASHED);

		assert_int_equal(plain_says(&house, steps[i].name, steps[i].password), steps[i].want);
		if (auth_counted(COUNT_HASHED) - before != steps[i].hashes)
			fail_msg("step %zu: %u hashes", i, (unsigned)(auth_counted(COUNT_HASHED) - before));
	}
}

static void memory_can_be_off(void **state)
{
	struct auth_conf off = house.conf;
	uint64_t before;
	str why;

	(void)state;
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_PASSED);
	off.memory_ms = 0;
	assert_int_equal(auth_reconfigure(house.auth, &off, &house.arena, &why), OK);
	before = auth_counted(COUNT_HASHED);
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_PASSED);
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_PASSED);
	assert_int_equal(auth_counted(COUNT_HASHED) - before, 2);
}

/* ---- accounts that change ---------------------------------------------------------------- */

static void put_accounts(const char *alice_password)
{
	char text[1024];

	snprintf(text, sizeof(text), "alice@home.test:%s::::::\n", verifier_of(&house.arena, alice_password));
	put_text(house.folder.file, text);
}

static void memory_is_wiped_on_change(void **state)
{
	uint64_t before;

	(void)state;
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_PASSED);
	assert_false(look());
	put_accounts("new");
	assert_true(look());
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_REFUSED);
	assert_int_equal(plain_says(&house, "alice@home.test", "new"), AUTH_PASSED);
	assert_int_equal(plain_says(&house, "bob@office.test", "bui\xc3\xafld er"), AUTH_REFUSED);
	/* The old verifier again: what was remembered of it is gone all the same. */
	put_text(house.folder.file, alice_verifier);
	assert_true(look());
	before = auth_counted(COUNT_HASHED);
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_PASSED);
	assert_int_equal(auth_counted(COUNT_HASHED) - before, 1);
}

/* SCRAM holds the verifier over a round trip; a change in between counts. */
static void change_in_mid_exchange(void **state)
{
	struct client c = { .name = "alice@home.test", .as = "", .password = "wonderland" };
	const char *out, *chosen;
	unsigned n;
	struct talk t;

	(void)state;
	for (int gone = 0; gone < 2; gone++) {
		sasl_conn_t *conn = client_open(&c);
		str first;

		put_text(house.folder.file, alice_verifier);
		look();
		talk_new(&t, &house);
		assert_int_equal(sasl_client_start(conn, "SCRAM-SHA-256", NULL, &out, &n, &chosen), SASL_CONTINUE);
		first = (str){ out, n };
		assert_int_equal(talk_begin(&t, "SCRAM-SHA-256", &first), AUTH_MORE);
		if (gone)
			put_text(house.folder.file, "# nobody\n");
		else
			put_accounts("new");
		assert_true(look());
		while (t.says == AUTH_MORE) {
			assert_true(sasl_client_step(conn, t.text, (unsigned)t.n, NULL, &out, &n) >= SASL_OK);
			talk_step(&t, (str){ out, n });
		}
		assert_int_equal(t.says, AUTH_REFUSED);
		talk_end(&t);
		sasl_dispose(&conn);
		free(c.secret);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(mechanisms_speak), T(mechanism_not_offered), T(garbage_is_refused), T(login_with_odd_names),
		T(long_plain_names),
		T(scram_flags), T(unknown_names_are_stable), T(known_and_unknown_cost_the_same),
		T(success_is_remembered), T(memory_can_be_off), T(memory_is_wiped_on_change), T(change_in_mid_exchange),
	};
	int failed;

	if (sasl_client_init(NULL) != SASL_OK)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	sasl_client_done();
	return failed;
}
