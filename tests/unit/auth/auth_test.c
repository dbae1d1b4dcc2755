/* SPDX-License-Identifier: ISC */
/* The house: start, the accounts file looked at again, options changed, the secret. */
#include "tests/unit/auth/auth_help.h"
#include "smtpd/base/buf.h"

static struct house house;
static char good[1024];

static int begin(void **state)
{
	struct arena a;

	(void)state;
	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	snprintf(good, sizeof(good), "# office\nalice@home.test:%s::::::\n", verifier_of(&a, "wonderland"));
	arena_fini(&a);
	house_make(&house, good);
	return 0;
}

static int end(void **state)
{
	(void)state;
	house_end(&house);
	return 0;
}

static void addresses(const char *want)
{
	struct strs v;
	struct buf b;

	assert_int_equal(auth_accounts(house.auth, &house.arena, &v), OK);
	buf_init(&b, BUF_UNBOUNDED);
	for (size_t i = 0; i < v.n; i++) {
		buf_add(&b, v.v[i]);
		buf_add_char(&b, ' ');
	}
	if (!str_is(buf_str(&b), want))
		fail_msg("got \"%.*s\", want \"%s\"", STR_ARG(buf_str(&b)), want);
	buf_fini(&b);
}

/* ---- start ------------------------------------------------------------------------- */

static void starts_without_file(void **state)
{
	bool changed;
	str why;

	(void)state;
	unlink(house.folder.file);
	house_open_or_fail(&house);
	addresses("");
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_REFUSED);
	assert_int_equal(auth_look_again(house.auth, false, &changed, &house.arena, &why), OK);
	assert_false(changed);
	put_text(house.folder.file, good);
	assert_int_equal(auth_look_again(house.auth, false, &changed, &house.arena, &why), OK);
	assert_true(changed);
	addresses("alice@home.test ");
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_PASSED);
}

static void damage_stops_the_start(void **state)
{
	char want[200];
	str why;

	(void)state;
	put_text(house.folder.file, "# x\nalice@home.test:secret\n");
	assert_false(house_open(&house, &why));
	snprintf(want, sizeof(want), "%s:2: ", house.folder.file);
	assert_true(str_starts(why, want));
	unlink(house.folder.file);
	assert_int_equal(symlink("/dev/null", house.folder.file), 0);
	assert_false(house_open(&house, &why));          /* no plain file */
	put_text(house.folder.file, good);
	house_open_or_fail(&house);
}

static str offered(void)
{
	return auth_mechanisms(house.auth, &house.channel, &house.arena);
}

static void mechanisms_named(void **state)
{
	struct auth_conf c = house.conf;
	str two[] = { STR("plain"), STR("SCRAM-SHA-256") }, why;
	const struct offer *before;

	(void)state;
	house_open_or_fail(&house);
	before = atomic_load(&house.auth->offer);
	assert_true(str_is(offered(), "SCRAM-SHA-256 PLAIN LOGIN"));
	c.mechanisms = (struct strs){ two, 2 };
	assert_int_equal(auth_reconfigure(house.auth, &c, &house.arena, &why), OK);
	assert_true(str_is(offered(), "PLAIN SCRAM-SHA-256"));
	assert_null(auth_mechanism_named(house.auth, &house.channel, STR("LOGIN")));
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), OK);
	assert_ptr_equal(atomic_load(&house.auth->offer), before);    /* each list is made once */
}

/* What is listed, and of it what can work over the connection. */
static void offered_is_what_can_work(void **state)
{
	static str all[] = { { "SCRAM-SHA-256-PLUS", 18 }, { "SCRAM-SHA-256", 13 }, { "PLAIN", 5 }, { "LOGIN", 5 },
	                     { "EXTERNAL", 8 }, { "OAUTHBEARER", 11 }, { "XOAUTH2", 7 } };
	static str few[] = { { "external", 8 }, { "plain", 5 } };
	static str address = { "alice@home.test", 15 };
	static const struct {
		bool binding, certificate, tokens, few;
		const char *want;
	} cases[] = {
		{ false, false, false, false, "SCRAM-SHA-256 PLAIN LOGIN" },
		{ true, false, false, false, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN" },
		{ false, true, false, false, "SCRAM-SHA-256 PLAIN LOGIN EXTERNAL" },
		{ false, false, true, false, "SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2" },
		{ true, true, true, false, "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN EXTERNAL OAUTHBEARER XOAUTH2" },
		{ true, true, true, true, "EXTERNAL PLAIN" },
		{ true, false, true, true, "PLAIN" },
	};
	struct auth_conf c = house.conf;
	str why;

	(void)state;
	c.mechanisms = (struct strs){ all, COUNT(all) };
	house.conf = c;
	house_open_or_fail(&house);
	assert_int_equal(auth_can_offer(house.auth, &c.mechanisms, &house.arena, &why), OK);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct auth_channel ch = { .ip = "192.0.2.7" };

		c.oauth.introspection = cases[i].tokens ? STR("https://issuer.test/") : STR_NONE;
		assert_int_equal(auth_reconfigure(house.auth, &c, &house.arena, &why), OK);
		ch.binding_type = cases[i].binding ? "tls-unique" : NULL;
		ch.binding = STR("x");
		ch.certificate = (struct strs){ &address, cases[i].certificate };
		ch.mechanisms = (struct strs){ few, cases[i].few ? COUNT(few) : 0 };
		if (!str_is(auth_mechanisms(house.auth, &ch, &house.arena), cases[i].want))
			fail_msg("case %zu: %.*s", i, STR_ARG(auth_mechanisms(house.auth, &ch, &house.arena)));
		for (size_t k = 0; k < COUNT(all); k++) {
			const char *named = auth_mechanism_named(house.auth, &ch, all[k]);
			str rest = str_of(cases[i].want), word;
			bool want = false;

			while (str_cut(&rest, ' ', &word))
				want |= str_eq(word, all[k]);
			assert_int_equal(named != NULL, want);
		}
	}
}

/* ---- the file changes ------------------------------------------------------------------ */

static void damage_keeps_the_old(void **state)
{
	bool changed;
	char want[200];
	str why;

	(void)state;
	house_open_or_fail(&house);
	put_text(house.folder.file, "bob@office.test:\nalice@home.test:{SCRAM-SHA-256}4096,x\n");
	assert_int_equal(auth_look_again(house.auth, false, &changed, &house.arena, &why), ERR_BAD);
	snprintf(want, sizeof(want), "%s:2: the verifier is damaged", house.folder.file);
	assert_true(str_starts(why, want));
	assert_false(changed);
	addresses("alice@home.test ");
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_PASSED);
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), ERR_BAD);
	unlink(house.folder.file);
	assert_int_equal(auth_look_again(house.auth, false, &changed, &house.arena, &why), ERR_ABSENT);
	addresses("alice@home.test ");
	put_text(house.folder.file, "bob@office.test:\n");
	assert_int_equal(auth_look_again(house.auth, false, &changed, &house.arena, &why), OK);
	assert_true(changed);
	addresses("bob@office.test ");
}

/* Written in place within the clock's grain, with the same length. */
static void same_stamp_other_bytes(void **state)
{
	bool changed;
	str why;

	(void)state;
	put_text(house.folder.file, "a@home.test:\n");
	house_open_or_fail(&house);
	for (char c = 'b'; c < 'h'; c++) {
		int fd = open(house.folder.file, O_WRONLY);
		char want[] = "x@home.test ";

		assert_int_equal(pwrite(fd, &c, 1, 0), 1);
		close(fd);
		assert_int_equal(auth_look_again(house.auth, false, &changed, &house.arena, &why), OK);
		assert_true(changed);
		want[0] = c;
		addresses(want);
	}
	put_text(house.folder.file, "g@home.test:\n");   /* another file, the same accounts */
	assert_int_equal(auth_look_again(house.auth, true, &changed, &house.arena, &why), OK);
	assert_false(changed);
}

static void other_file(void **state)
{
	struct auth_conf c = house.conf;
	char other[200];
	bool changed;
	str why;

	(void)state;
	house_open_or_fail(&house);
	snprintf(other, sizeof(other), "%s/others", house.folder.path);
	c.accounts = str_of(other);
	assert_int_equal(auth_reconfigure(house.auth, &c, &house.arena, &why), ERR_ABSENT);
	addresses("alice@home.test ");
	put_text(other, "nobody\n");
	assert_int_equal(auth_reconfigure(house.auth, &c, &house.arena, &why), ERR_BAD);
	addresses("alice@home.test ");
	assert_int_equal(auth_look_again(house.auth, false, &changed, &house.arena, &why), OK);
	assert_false(changed);
	put_text(other, "bob@office.test:\n");
	assert_int_equal(auth_reconfigure(house.auth, &c, &house.arena, &why), OK);
	addresses("bob@office.test ");
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &house.arena, &why), OK);
	addresses("alice@home.test ");
}

/* ---- the secret -------------------------------------------------------------------------- */

static void secret_is_kept(void **state)
{
	unsigned char one[32], two[32];
	char file[200];
	struct stat st;
	str why;

	(void)state;
	snprintf(file, sizeof(file), "%s.secret", house.folder.file);
	assert_true(secret_load(file, one, &house.arena, &why));
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(st.st_size, 65);
	assert_true(secret_load(file, two, &house.arena, &why));
	assert_memory_equal(one, two, 32);
	house_open_or_fail(&house);
	assert_memory_equal(house.auth->secret, one, 32);
}

static void secret_cannot_be_kept(void **state)
{
	unsigned char one[32], two[32];
	char file[200];
	str why = STR_NONE;

	(void)state;
	assert_false(secret_load("/nonexistent/secret", one, &house.arena, &why));
	assert_true(why.n > 0);
	assert_false(secret_load("/nonexistent/secret", two, &house.arena, &why));
	assert_memory_not_equal(one, two, 32);
	snprintf(file, sizeof(file), "%s.secret", house.folder.file);
	put_text(file, "short\n");
	assert_false(secret_load(file, one, &house.arena, &why));
	assert_non_null(memmem(why.p, why.n, "64 hexadecimal", 14));
	put_text(file, "zz00000000000000000000000000000000000000000000000000000000000000\n");
	assert_false(secret_load(file, one, &house.arena, &why));
	house_open_or_fail(&house);                      /* and the server starts all the same */
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_PASSED);
}

/* ---- options --------------------------------------------------------------------------------- */

static int open_plain(str path)
{
	char name[256];

	snprintf(name, sizeof(name), "%.*s", STR_ARG(path));
	return open(name, O_RDONLY | O_CLOEXEC);
}

struct root { struct conf_head head; struct auth_conf auth; };

static enum err read_options(const char *text, struct root *out, struct conf_faults *faults)
{
	struct conf_section section = auth_section;
	const struct conf_section *sections[] = { &section, NULL };
	const struct conf_section root = { .sections = sections, .size = sizeof(*out) };
	char file[200];

	section.offset = offsetof(struct root, auth);
	snprintf(file, sizeof(file), "%s/conf", house.folder.path);
	put_text(file, text);
	return conf_read(str_cstr(&house.arena, str_of(file)), open_plain, &root, out, &house.arena, faults);
}

static void options_read(void **state)
{
	static const struct { const char *text; const char *fault; } bad[] = {
		{ "auth { mechanisms = {\"CRAM-MD5\"} }", "must be SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN" },
		{ "auth { mechanisms = {\"OAUTHBEARER\", \"XOAUTH2\"} }", "tokens could not be checked" },
		{ "auth { backend = ldap }", "backend" },
		{ "auth { auxprop = \"../x\" }", "must be the name of one of Cyrus'" },
		{ "auth { auxprop = \"postern\" }", "must be the name of one of Cyrus'" },
		{ "auth { auxprop-options = {\"sasldb_path\"} }", "a colon and a value" },
		{ "auth { certificate-names = {\"dns\"} }", "must be san, email or cn" },
		{ "auth { certificate-names = {} }", "at least one of san" },
		{ "auth { oauth { issuer = \"i\" } }", "tokens could not be checked" },
		{ "auth { oauth { keys = \"/k\" issuer = \"i\" } }", "set issuer and audience" },
		{ "auth { oauth { keys = \"/k\" audience = \"a\" } }", "set issuer and audience" },
		{ "auth { oauth { keys = \"k\" } }", "must be a path that begins with /, or an https:// URL" },
		{ "auth { oauth { introspection = \"https://i.test/\" } }", "set client-id" },
		{ "auth { oauth { introspection = \"http://i.test/\" client-id = \"x\" } }", "must be an https:// URL" },
		{ "auth { oauth { introspection = \"http://127.0.0.1.i.test/\" client-id = \"x\" } }", "must be an https:// URL" },
		{ "auth { oauth { introspection = \"http://localhost:80@i.test/\" client-id = \"x\" } }", "must be an https" },
		{ "auth { oauth { introspection = \"https://i.test/\" client-id = \"x\" user-claim = \"\" } }", "name a claim" },
		{ "auth { mechanisms = {} }", "nobody could log in" },
		{ "auth { mechanisms = {\"PLAIN\", \"LOGIN\", \"plain\"} }", "stands there twice" },
		{ "auth { iterations = 1000 }", "4096" },
		{ "auth { accounts = \"accounts\" }", "must be a path" },
		{ "auth { memory = 5 parsecs }", "memory" },
	};
	struct conf_faults faults;
	struct root r;

	(void)state;
	assert_int_equal(read_options("", &r, &faults), OK);
	assert_int_equal(r.auth.iterations, 4096);
	assert_int_equal(r.auth.memory_ms, 3600000);
	assert_int_equal(r.auth.accounts.n, 0);
	assert_int_equal(r.auth.mechanisms.n, 7);
	assert_true(str_is(r.auth.mechanisms.v[0], "SCRAM-SHA-256-PLUS"));
	assert_int_equal(r.auth.backend, BACKEND_FILE);
	assert_int_equal(r.auth.certificate_names.n, 1);
	assert_true(str_is(r.auth.oauth.user_claim, "email"));
	assert_int_equal(read_options("auth { oauth { keys = \"http://127.0.0.1:80/k\" issuer = \"i\" audience = \"a\" "
	                              "introspection = \"http://[::1]:81/\" client-id = \"x\" } }", &r, &faults), OK);
	assert_int_equal(read_options("auth { mechanisms = {\"PLAIN\"} iterations = 20000 memory = 0s accounts = \"/x\" }", &r,
	                              &faults), OK);
	assert_int_equal(r.auth.iterations, 20000);
	assert_int_equal(r.auth.memory_ms, 0);
	assert_true(str_is(r.auth.accounts, "/x"));
	for (size_t i = 0; i < COUNT(bad); i++) {
		bool said = false;

		assert_int_equal(read_options(bad[i].text, &r, &faults), ERR_BAD);
		for (size_t k = 0; k < faults.n; k++)
			said |= memmem(faults.v[k].text.p, faults.v[k].text.n, bad[i].fault, strlen(bad[i].fault)) != NULL;
		if (!said)
			fail_msg("%s: %.*s", bad[i].text, STR_ARG(faults.v[0].text));
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(starts_without_file), T(damage_stops_the_start), T(mechanisms_named), T(offered_is_what_can_work),
		T(damage_keeps_the_old),
		T(same_stamp_other_bytes), T(other_file), T(secret_is_kept), T(secret_cannot_be_kept), T(options_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
