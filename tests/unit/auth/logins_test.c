/* SPDX-License-Identifier: ISC */
/*
 * Who gets in by what: older schemes and their upgrade, device passwords,
 * requirements, codes, and logins that stand no more.
 */
#include "tests/unit/auth/auth_help.h"

#include <liboath/oath.h>
#include <sys/file.h>

#define SSHA "{SSHA}dm2U645IleECKvOANCNiFr38UpOV56Pu"                 /* wonderland */
#define CRYPT "{SHA512-CRYPT}$6$rounds=1000$saltstring$JnP.5CpjHyOb3MZlgSdxSS8QLMJqDUPOwt1VtO2ocUeIwc4T/p4qlJzWZwRxoGqcZowugIQeRV32oS5b9oiNF."
#define BLF "{BLF-CRYPT}$2y$04$2xTVilf/GHqHNlKz3hmdJ.zmIZQja4PMBSmEUSlor7wmitvuj5BE2"
#define SLOW "{SHA512-CRYPT}$6$rounds=900000$saltstring$JnP.5CpjHyOb3MZlgSdxSS8QLMJqDUPOwt1VtO2ocUeIwc4T/p4qlJzWZwRxoGqcZowugIQeRV32oS5b9oiNF."
#define PHONE "abcd-efhj-kmnp-rtwx-abcd"
#define SECRET "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
#define RAW "12345678901234567890"

static struct house house;
static struct arena arena;

static int begin(void **state)
{
	(void)state;
	arena_init(&arena, ARENA_UNBOUNDED);
	house_make(&house, NULL);
	return 0;
}

static int end(void **state)
{
	(void)state;
	house_end(&house);
	arena_fini(&arena);
	return 0;
}

static char *beside(const char *suffix)
{
	return str_cstr(&arena, arena_printf(&arena, "%s.%s", house.folder.file, suffix));
}

static const char *account(const char *name, const char *password, const char *extra)
{
	return str_cstr(&arena, arena_printf(&arena, "%s:%s::::::%s\n", name,
	                                     password[0] == '{' ? password : verifier_of(&arena, password), extra));
}

static const char *device(const char *name, const char *password, const char *extra)
{
	struct quick q;
	str hash;

	quick_make(str_of(password), &q);
	hash = quick_text(&arena, &q);
	return account(name, password, str_cstr(&arena, arena_printf(&arena, "%s postern_hash=%.*s", extra, STR_ARG(hash))));
}

static void put(const char *file, const char *const lines[], size_t n)
{
	str text = STR("");

	for (size_t i = 0; i < n; i++)
		text = arena_printf(&arena, "%.*s%s", STR_ARG(text), lines[i]);
	put_text(file, str_cstr(&arena, text));
}

#define PUT(file, ...) put((file), (const char *const[]){ __VA_ARGS__ }, \
	                   sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(const char *))

static bool looked_again(void)
{
	bool changed;
	str why;

	if (auth_look_again(house.auth, false, &changed, &arena, &why) != OK)
		fail_msg("%.*s", STR_ARG(why));
	return changed;
}

static enum auth_says login_says(const char *name, const char *password)
{
	struct talk t;
	enum auth_says says;

	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "LOGIN", NULL), AUTH_MORE);
	assert_int_equal(talk_step(&t, str_of(name)), AUTH_MORE);
	says = talk_step(&t, str_of(password));
	talk_end(&t);
	return says;
}

static void expect(const char *name, const char *password, bool in)
{
	if ((plain_says(&house, name, password) == AUTH_PASSED) != in ||
	    (login_says(name, password) == AUTH_PASSED) != in)
		fail_msg("%s with %s", name, password);
}

/* What the login by PLAIN stands on, and whom it is of. */
static struct auth_login stand(const char *name, const char *password, const char *who)
{
	struct auth_login l;
	struct talk t;
	str initial = plain(&arena, "", name, password);

	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "PLAIN", &initial), AUTH_PASSED);
	assert_string_equal(t.login, who);
	l = auth_try_stands(t.try);
	talk_end(&t);
	assert_non_null(l.by);
	assert_true(auth_still(&l));
	return l;
}

/* Is the verifier that SCRAM would show the account's own? */
static bool shows_own(const char *key)
{
	struct seat *seat = &house.auth->seats[0];
	struct judge j = { .auth = house.auth, .seat = seat, .table = atomic_load(&house.auth->table),
		           .channel = &house.channel };
	struct judged who;

	judge_name(&j, str_of(key), &who);
	return who.account != NULL;
}

/* ---- older schemes ------------------------------------------------------------------------ */

static void older_schemes_get_in(void **state)
{
	(void)state;
	PUT(house.folder.file, account("a@home.test", SSHA, ""), account("b@home.test", CRYPT, ""), account("c@home.test", BLF, ""),
	    account("d@home.test", "wonderland", ""), account("slow@home.test", SLOW, ""));
	house_open_or_fail(&house);
	for (int round = 0; round < 2; round++) {
		expect("a@home.test", "wonderland", true);
		expect("b@home.test", "wonderland", true);
		expect("c@home.test", "wonderland", true);
		expect("d@home.test", "wonderland", true);
		expect("slow@home.test", "wonderland", false);
		expect("a@home.test", "Wonderland", false);
		expect("b@home.test", "Wonderland", false);
		expect("c@home.test", "", false);
		expect("x@home.test", "wonderland", false);
	}
	assert_false(shows_own("a@home.test"));
	assert_true(shows_own("d@home.test"));
}

/* A refusal costs one check of each kind, whoever is asked for. */
static void refusals_cost_the_same(void **state)
{
	static const char *const names[] = { "a@home.test", "b@home.test", "c@home.test", "d@home.test", "x@home.test", "none",
	                                     "d+phone@home.test", "code@home.test", "app@home.test" };

	(void)state;
	PUT(house.folder.file, account("a@home.test", SSHA, ""), account("b@home.test", CRYPT, ""), account("c@home.test", BLF, ""),
	    account("d@home.test", "wonderland", ""), account("code@home.test", "wonderland", ""),
	    account("app@home.test", "wonderland", "require=app-password"));
	PUT(beside("app-passwords"), device("d+phone@home.test", PHONE, "user=d@home.test"));
	PUT(beside("totp"), "code@home.test:" SECRET "\n");
	house_open_or_fail(&house);
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < COUNT(names); i++) {
			uint64_t before = auth_counted(COUNT_HASHED);

			assert_int_equal(plain_says(&house, names[i], "wrong"), AUTH_REFUSED);
			if (auth_counted(COUNT_HASHED) - before != 3)
				fail_msg("%s: %d", names[i], (int)(auth_counted(COUNT_HASHED) - before));
		}
	/* Right, but not enough: also the second time, when it could be remembered. */
	for (int round = 0; round < 2; round++) {
		uint64_t before = auth_counted(COUNT_HASHED);

		assert_int_equal(plain_says(&house, "code@home.test", "wonderland000000"), AUTH_REFUSED);
		assert_int_equal(plain_says(&house, "app@home.test", "wonderland"), AUTH_REFUSED);
		assert_int_equal(auth_counted(COUNT_HASHED) - before, 6);
	}
}

static void made_up_verifiers_look_like_most(void **state)
{
	struct verifier v;
	struct judged who;
	struct judge j = { .channel = &house.channel };

	(void)state;
	assert_int_equal(verifier_make(&arena, STR("x"), 5000, &v), OK);
	PUT(house.folder.file, account("a@home.test", str_cstr(&arena, verifier_text(&arena, &v)), ""),
	    account("b@home.test", str_cstr(&arena, verifier_text(&arena, &v)), ""), account("c@home.test", "wonderland", ""));
	house_open_or_fail(&house);
	j.auth = house.auth;
	j.seat = &house.auth->seats[0];
	j.table = atomic_load(&house.auth->table);
	judge_name(&j, STR("nobody@home.test"), &who);
	assert_int_equal(who.verifier.iterations, 5000);
}

/* ---- upgrade ------------------------------------------------------------------------------------ */

static bool file_holds(const char *text)
{
	str all = get_text(house.folder.file, &arena);

	return memmem(all.p, all.n, text, strlen(text)) != NULL;
}

static void a_good_login_upgrades(void **state)
{
	struct auth_login l;
	struct stat before, after;

	(void)state;
	house.conf.upgrade = true;
	PUT(house.folder.file, "# ours\n", "a@home.test:" SSHA ":1000:1000:A:/home/a::quota=1G x=y:z\r\n", account("b@home.test", CRYPT, ""),
	    "c@home.test:" BLF);
	chmod(house.folder.file, 0640);
	stat(house.folder.file, &before);
	house_open_or_fail(&house);
	l = stand("a@home.test", "wonderland", "a@home.test");
	assert_int_equal(plain_says(&house, "a@home.test", "wrong"), AUTH_REFUSED);
	assert_true(file_holds("# ours\na@home.test:{SCRAM-SHA-256}4096,"));
	assert_true(file_holds(":1000:1000:A:/home/a::quota=1G x=y:z\r\nb@home.test:" CRYPT "::::::\nc@home.test:" BLF));
	stand("c@home.test", "wonderland", "c@home.test");
	assert_true(file_holds("\nc@home.test:{SCRAM-SHA-256}4096,"));
	stat(house.folder.file, &after);
	assert_int_equal(after.st_mode, before.st_mode);
	assert_true(looked_again());
	assert_true(auth_still(&l));           /* it is the same password */
	assert_true(shows_own("a@home.test"));
	expect("a@home.test", "wonderland", true);
	expect("c@home.test", "wonderland", true);
	expect("a@home.test", "wonderlan", false);
}

static void an_upgrade_loses_nobodys_change(void **state)
{
	char lock[200];
	int fd;

	(void)state;
	house.conf.upgrade = true;
	PUT(house.folder.file, account("a@home.test", SSHA, ""));
	house_open_or_fail(&house);
	/* Changed since it was read: the new line is not the one that was checked. */
	PUT(house.folder.file, account("a@home.test", CRYPT, ""), account("new@home.test", "x", ""));
	stand("a@home.test", "wonderland", "a@home.test");
	assert_true(file_holds("a@home.test:" CRYPT) && file_holds("new@home.test"));
	/* Somebody is at work: nobody waits for him. */
	PUT(house.folder.file, account("a@home.test", SSHA, ""));
	snprintf(lock, sizeof(lock), "%s.lock", house.folder.file);
	fd = open(lock, O_RDWR | O_CREAT, 0600);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	stand("a@home.test", "wonderland", "a@home.test");
	assert_true(file_holds(SSHA));
	close(fd);
	stand("a@home.test", "wonderland", "a@home.test");
	assert_false(file_holds(SSHA));
}

/* An editor knows nothing of our lock. */
static void a_write_notices_others(void **state)
{
	struct account_file f;
	struct arena a;
	str why;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	put_text(house.folder.file, "one\n");
	assert_int_equal(account_file_open(&f, house.folder.file, true, &a, &why), OK);
	put_text(house.folder.file, "two\n");
	assert_int_equal(account_file_write(&f, STR("ours\n"), &a, &why), ERR_BUSY);
	account_file_close(&f);
	assert_true(str_is(get_text(house.folder.file, &a), "two\n"));
	assert_int_equal(account_file_open(&f, house.folder.file, true, &a, &why), OK);
	assert_int_equal(account_file_write(&f, STR("ours\n"), &a, &why), OK);
	account_file_close(&f);
	assert_true(str_is(get_text(house.folder.file, &a), "ours\n"));
	/* And one that appeared where there was none. */
	unlink(house.folder.file);
	assert_int_equal(account_file_open(&f, house.folder.file, true, &a, &why), OK);
	put_text(house.folder.file, "theirs\n");
	assert_int_equal(account_file_write(&f, STR("ours\n"), &a, &why), ERR_BUSY);
	account_file_close(&f);
	assert_true(str_is(get_text(house.folder.file, &a), "theirs\n"));
	arena_fini(&a);
}

/* ---- device passwords ------------------------------------------------------------------------------ */

static void device_passwords_get_in(void **state)
{
	uint64_t hashed;

	(void)state;
	PUT(house.folder.file, account("alice@home.test", "wonderland", ""), account("bob@home.test", "builder", ""),
	    "mail@home.test:::::::\n",
	    device("mail+pad@home.test", PHONE, "user=mail@home.test"));
	PUT(beside("app-passwords"), device("alice+phone@home.test", PHONE, "user=alice@home.test postern_label=phone"),
	    device("alice+pad@home.test", "xxxx-wwww-tttt-rrrr-pppp", "user=alice@home.test"),
	    account("alice+own@home.test", "by-hand", "user=alice@home.test"),
	    device("alice+scan@home.test", "aaaa-bbbb-cccc-dddd-eeee", "user=alice@home.test nologin postern_send_only"),
	    device("alice+off@home.test", "aaaa-bbbb-cccc-dddd-ffff", "user=alice@home.test nologin"),
	    device("alice+far@home.test", "aaaa-bbbb-cccc-dddd-hhhh", "user=alice@home.test allow_nets=198.51.100.0/24"),
	    device("alice+near@home.test", "aaaa-bbbb-cccc-dddd-jjjj", "user=alice@home.test allow_nets=192.0.2.0/28,2001:db8::/32"),
	    device("alice+old@home.test", "aaaa-bbbb-cccc-dddd-kkkk", "user=alice@home.test postern_expires=2020-01-01"),
	    device("alice+new@home.test", "aaaa-bbbb-cccc-dddd-mmmm", "user=alice@home.test postern_expires=2999-01-01"),
	    device("gone+phone@home.test", "aaaa-bbbb-cccc-dddd-nnnn", "user=gone@home.test"));
	house_open_or_fail(&house);
	hashed = auth_counted(COUNT_HASHED);
	expect("alice+phone@home.test", PHONE, true);
	expect("Alice+Phone@HOME.test", "Abcdefhjkmnprtwxabcd", true);
	expect("alice@home.test", PHONE, true);
	expect("alice@home.test", "ABCD EFHJ KMNP RTWX ABCD", true);
	expect("alice@home.test", "xxxx-wwww-tttt-rrrr-pppp", true);
	expect("alice+scan@home.test", "aaaa-bbbb-cccc-dddd-eeee", true);
	expect("alice+near@home.test", "aaaa-bbbb-cccc-dddd-jjjj", true);
	expect("alice@home.test", "aaaa-bbbb-cccc-dddd-mmmm", true);
	expect("mail@home.test", PHONE, true);
	assert_int_equal(auth_counted(COUNT_HASHED), hashed);  /* no PBKDF2 at all */
	expect("alice@home.test", "wonderland", true);
	expect("alice+own@home.test", "by-hand", true);
	expect("alice+phone@home.test", "wonderland", false);
	expect("alice+phone@home.test", "xxxx-wwww-tttt-rrrr-pppp", false);
	expect("bob@home.test", PHONE, false);
	expect("alice+off@home.test", "aaaa-bbbb-cccc-dddd-ffff", false);
	expect("alice@home.test", "aaaa-bbbb-cccc-dddd-ffff", false);
	expect("alice+far@home.test", "aaaa-bbbb-cccc-dddd-hhhh", false);
	expect("alice@home.test", "aaaa-bbbb-cccc-dddd-hhhh", false);
	expect("alice+old@home.test", "aaaa-bbbb-cccc-dddd-kkkk", false);
	expect("alice@home.test", "aaaa-bbbb-cccc-dddd-kkkk", false);
	expect("gone+phone@home.test", "aaaa-bbbb-cccc-dddd-nnnn", false);
	expect("gone@home.test", "aaaa-bbbb-cccc-dddd-nnnn", false);
	stand("alice+phone@home.test", PHONE, "alice@home.test");
	stand("alice@home.test", PHONE, "alice@home.test");
	assert_true(shows_own("alice+phone@home.test") && shows_own("alice@home.test"));
	house.channel.ip = "2001:db8::7";
	expect("alice+near@home.test", "aaaa-bbbb-cccc-dddd-jjjj", true);
	house.channel.ip = "::ffff:198.51.100.9";
	expect("alice+far@home.test", "aaaa-bbbb-cccc-dddd-hhhh", true);
	expect("alice+near@home.test", "aaaa-bbbb-cccc-dddd-jjjj", false);
}

static void devices_are_no_mailboxes(void **state)
{
	struct strs v;

	(void)state;
	PUT(house.folder.file, account("alice@home.test", "wonderland", ""), device("alice+pad@home.test", PHONE, "user=alice@home.test"));
	PUT(beside("app-passwords"), device("alice+phone@home.test", PHONE, "user=alice@home.test"));
	house_open_or_fail(&house);
	assert_int_equal(auth_accounts(house.auth, &arena, &v), OK);
	assert_int_equal(v.n, 1);
	assert_true(str_is(v.v[0], "alice@home.test"));
}

static void damage_in_any_file_keeps_all(void **state)
{
	static const struct { const char *suffix, *text, *want; } cases[] = {
		{ "app-passwords", "alice+x@home.test:{SSHA}\n", ":1: the password's text does not fit" },
		{ "app-passwords", "\nalice+x@home.test:" SSHA "\n", ":2: a device password needs the field user=" },
		{ "app-passwords", "alice@home.test:" SSHA "::::::user=bob@home.test\n", ":1: this account has a line already" },
		{ "app-passwords", "a+x@home.test:" SSHA "::::::user=alice@home.test postern_hash=x\n", ":1: the field postern_hash=" },
		{ "totp", "# x\nalice@home.test:short\n", ":2: this is no enrolment" },
		{ "totp", "alice:" SECRET "\n", ":1: this is no enrolment" },
	};

	(void)state;
	PUT(house.folder.file, account("alice@home.test", "wonderland", ""));
	house_open_or_fail(&house);
	for (size_t i = 0; i < COUNT(cases); i++) {
		str want = arena_printf(&arena, "%s%s", beside(cases[i].suffix), cases[i].want), why;
		bool changed;

		put_text(beside(cases[i].suffix), cases[i].text);
		assert_int_equal(auth_look_again(house.auth, false, &changed, &arena, &why), ERR_BAD);
		if (!str_starts(why, str_cstr(&arena, want)))
			fail_msg("%.*s", STR_ARG(why));
		assert_false(changed);
		expect("alice@home.test", "wonderland", true);
		put_text(beside(cases[i].suffix), "");
		looked_again();
	}
}

/* ---- requirements ---------------------------------------------------------------------------------------- */

static void what_is_required(void **state)
{
	static const struct auth_demand demands[] = { { { "office.test", 11 }, REQUIRE_APP_PASSWORD } };
	str mine[] = { STR("Cert@home.test") }, others[] = { STR("eve@home.test"), STR("cert@home.test.evil") };

	(void)state;
	house.conf.demands = demands;
	house.conf.ndemands = COUNT(demands);
	PUT(house.folder.file, account("app@home.test", "wonderland", "require=app-password"),
	    account("cert@home.test", "wonderland", "require=certificate"), account("token@home.test", "wonderland", "require=oauth"),
	    account("o@office.test", "wonderland", ""), account("free@office.test", "wonderland", "require=password"),
	    account("nets@home.test", "wonderland", "allow_nets=198.51.100.0/24"), account("off@home.test", "wonderland", "nologin"));
	PUT(beside("app-passwords"), device("app+phone@home.test", PHONE, "user=app@home.test"),
	    device("cert+phone@home.test", PHONE, "user=cert@home.test"), device("o+phone@office.test", PHONE, "user=o@office.test"),
	    device("token+phone@home.test", PHONE, "user=token@home.test"));
	house_open_or_fail(&house);
	expect("app@home.test", "wonderland", false);
	expect("app@home.test", PHONE, true);
	expect("app+phone@home.test", PHONE, true);
	assert_false(shows_own("app@home.test"));
	assert_true(shows_own("app+phone@home.test"));
	expect("o@office.test", "wonderland", false);
	expect("o@office.test", PHONE, true);
	expect("free@office.test", "wonderland", true);
	expect("token@home.test", "wonderland", false);
	expect("token@home.test", PHONE, false);
	assert_false(shows_own("token@home.test"));
	expect("nets@home.test", "wonderland", false);
	expect("off@home.test", "wonderland", false);
	expect("cert@home.test", "wonderland", false);
	expect("cert@home.test", PHONE, false);
	house.channel.certificate = (struct strs){ others, COUNT(others) };
	expect("cert@home.test", "wonderland", false);
	house.channel.certificate = (struct strs){ mine, COUNT(mine) };
	expect("cert@home.test", "wonderland", true);
	expect("cert@home.test", "wrong", false);
	expect("cert@home.test", PHONE, true);
	assert_true(shows_own("cert@home.test"));
	assert_false(auth_needs_codes(house.auth));
}

/* A change of the configuration alone is a change. */
static void demands_change(void **state)
{
	static const struct auth_demand demands[] = { { { "home.test", 9 }, REQUIRE_APP_PASSWORD } };
	struct auth_conf c = house.conf;
	str why;

	(void)state;
	PUT(house.folder.file, account("a@home.test", "wonderland", ""));
	house_open_or_fail(&house);
	expect("a@home.test", "wonderland", true);
	c.demands = demands;
	c.ndemands = 1;
	assert_int_equal(auth_reconfigure(house.auth, &c, &arena, &why), OK);
	expect("a@home.test", "wonderland", false);
	assert_int_equal(auth_reconfigure(house.auth, &house.conf, &arena, &why), OK);
	expect("a@home.test", "wonderland", true);
}

/* ---- codes -------------------------------------------------------------------------------------------------- */

static const char *with_code(const char *password, int64_t step)
{
	char code[8];

	assert_int_equal(oath_totp_generate(RAW, sizeof(RAW) - 1, step * CODE_STEP_S, CODE_STEP_S, 0, CODE_DIGITS, code), OATH_OK);
	return str_cstr(&arena, arena_printf(&arena, "%s%s", password, code));
}

static void codes_count_once(void **state)
{
	int64_t now = clock_wall() / CODE_STEP_S;
	const char *before, *this;

	(void)state;
	PUT(house.folder.file, account("a@home.test", "wonderland", ""), account("b@home.test", "wonderland", ""));
	PUT(beside("totp"), "a@home.test:" SECRET ":2026-11-22T10:00:00Z\n", "gone@home.test:" SECRET "\n");
	PUT(beside("app-passwords"), device("a+phone@home.test", PHONE, "user=a@home.test"));
	house_open_or_fail(&house);
	assert_true(auth_needs_codes(house.auth));
	assert_false(shows_own("a@home.test"));
	assert_true(shows_own("b@home.test"));
	before = with_code("wonderland", now);
	this = with_code("wonderland", now + 1);
	assert_int_equal(plain_says(&house, "a@home.test", "wonderland"), AUTH_REFUSED);
	assert_int_equal(plain_says(&house, "a@home.test", "wonderland000000"), AUTH_REFUSED);
	assert_int_equal(plain_says(&house, "a@home.test", with_code("", now)), AUTH_REFUSED);
	assert_int_equal(plain_says(&house, "a@home.test", with_code("wrong", now)), AUTH_REFUSED);
	assert_int_equal(plain_says(&house, "a@home.test", with_code("wonderland", now - 5)), AUTH_REFUSED);
	assert_int_equal(plain_says(&house, "a@home.test", before), AUTH_PASSED);
	assert_int_equal(plain_says(&house, "a@home.test", before), AUTH_REFUSED);
	assert_int_equal(plain_says(&house, "a@home.test", this), AUTH_PASSED);
	assert_int_equal(plain_says(&house, "a@home.test", this), AUTH_REFUSED);
	assert_int_equal(plain_says(&house, "a@home.test", before), AUTH_REFUSED);    /* older than the newest */
	expect("a@home.test", PHONE, true);
	expect("b@home.test", "wonderland", true);
	/* Not after a restart, either. */
	house_settle(&house);
	auth_close(house.auth);
	desk_close(house.desk);
	house.desk = desk_open("login", 1);
	house_open_or_fail(&house);
	assert_int_equal(plain_says(&house, "a@home.test", this), AUTH_REFUSED);
	put_text(beside("totp"), "");
	assert_true(looked_again());
	assert_false(auth_needs_codes(house.auth));
	expect("a@home.test", "wonderland", true);
}

/* ---- logins that stand no more -------------------------------------------------------------------------------- */

static void logins_end(void **state)
{
	struct auth_login alice, phone, pad, bob, none = { 0 };
	const char *keep;

	(void)state;
	keep = account("alice@home.test", "wonderland", "");
	PUT(house.folder.file, keep, account("bob@home.test", "builder", ""));
	PUT(beside("app-passwords"), device("alice+phone@home.test", PHONE, "user=alice@home.test"),
	    device("alice+pad@home.test", "xxxx-wwww-tttt-rrrr-pppp", "user=alice@home.test"));
	house_open_or_fail(&house);
	assert_true(auth_still(&none));
	alice = stand("alice@home.test", "wonderland", "alice@home.test");
	phone = stand("alice@home.test", PHONE, "alice@home.test");
	pad = stand("alice+pad@home.test", "xxxx-wwww-tttt-rrrr-pppp", "alice@home.test");
	bob = stand("bob@home.test", "builder", "bob@home.test");
	/* one device password goes */
	PUT(beside("app-passwords"), device("alice+pad@home.test", "xxxx-wwww-tttt-rrrr-pppp", "user=alice@home.test"));
	assert_true(looked_again());
	assert_true(auth_still(&alice) && !auth_still(&phone) && auth_still(&bob));
	assert_false(auth_still(&pad));        /* written anew, with another salt: it is another */
	/* a password is changed, an account removed and made again */
	PUT(house.folder.file, keep, account("bob@home.test", "builder", ""));
	assert_true(looked_again());
	assert_true(auth_still(&alice) && !auth_still(&bob));
	bob = stand("bob@home.test", "builder", "bob@home.test");
	PUT(house.folder.file, keep);
	assert_true(looked_again());
	assert_false(auth_still(&bob));
	PUT(house.folder.file, keep, account("bob@home.test", "builder", ""));
	assert_true(looked_again());
	assert_false(auth_still(&bob));
	/* the account goes, and its device passwords with it */
	pad = stand("alice+pad@home.test", "xxxx-wwww-tttt-rrrr-pppp", "alice@home.test");
	PUT(house.folder.file, account("bob@home.test", "builder", ""));
	assert_true(looked_again());
	assert_true(!auth_still(&alice) && !auth_still(&pad));
}

static void logins_end_with_their_day(void **state)
{
	struct auth_login l;

	(void)state;
	PUT(house.folder.file, account("alice@home.test", "wonderland", ""));
	PUT(beside("app-passwords"), device("alice+phone@home.test", PHONE, "user=alice@home.test postern_expires=2999-01-01"));
	house_open_or_fail(&house);
	l = stand("alice@home.test", PHONE, "alice@home.test");
	atomic_store(&((struct standing *)(uintptr_t)l.by)->until, clock_wall() - 1);
	assert_false(auth_still(&l));
}

/* ---- last uses ----------------------------------------------------------------------------------------------------- */

static void last_uses_are_written(void **state)
{
	const struct seen *s;
	struct map by_key;

	(void)state;
	PUT(house.folder.file, account("alice@home.test", "wonderland", ""));
	PUT(beside("app-passwords"), device("alice+phone@home.test", PHONE, "user=alice@home.test"));
	put_text(beside("seen"), "17 0 192.0.2.99 alice@home.test\n19 0 192.0.2.98 \"odd name\"@home.test\nbroken\n18 0 ::1 alice@home.test\n20 0 cut");
	house_open_or_fail(&house);
	for (int i = 0; i < 5; i++) {
		stand("alice@home.test", PHONE, "alice@home.test");
		stand("alice@home.test", "wonderland", "alice@home.test");
	}
	map_init(&by_key, false);
	assert_true(seen_read(beside("seen"), &arena, &by_key));
	s = map_get(&by_key, STR("alice+phone@home.test"));
	assert_non_null(s);
	assert_true(str_is(s->ip, "192.0.2.7") && s->when > 1700000000);
	s = map_get(&by_key, STR("alice@home.test"));
	assert_true(s != NULL && s->when > 1700000000);
	s = map_get(&by_key, STR("\"odd name\"@home.test"));
	assert_true(s != NULL && s->when == 19);
	map_fini(&by_key);
	assert_true(get_text(beside("seen"), &arena).n < 300);         /* once a minute, not each time */
	/* Grown, it is made short, and what is used goes on being written. */
	house.auth->seen_room = 1;
	looked_again();
	map_init(&by_key, false);
	assert_true(seen_read(beside("seen"), &arena, &by_key));
	assert_int_equal(by_key.n, 3);
	map_fini(&by_key);
	atomic_store(&standing_of(house.auth, STR("alice@home.test"))->written, 0);
	house.channel.ip = "192.0.2.8";
	stand("alice@home.test", "wonderland", "alice@home.test");
	map_init(&by_key, false);
	assert_true(seen_read(beside("seen"), &arena, &by_key));
	s = map_get(&by_key, STR("alice@home.test"));
	assert_true(s != NULL && str_is(s->ip, "192.0.2.8"));
	map_fini(&by_key);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(older_schemes_get_in), T(refusals_cost_the_same), T(made_up_verifiers_look_like_most),
		T(a_good_login_upgrades), T(an_upgrade_loses_nobodys_change), T(a_write_notices_others),
		T(device_passwords_get_in), T(devices_are_no_mailboxes), T(damage_in_any_file_keeps_all),
		T(what_is_required), T(demands_change), T(codes_count_once), T(logins_end), T(logins_end_with_their_day),
		T(last_uses_are_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
