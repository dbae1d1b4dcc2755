/* SPDX-License-Identifier: ISC */
/*
 * Which keys sign which mail, and how; x= against a clock of the test; and the
 * same message signed anew when it leaves late.
 */
#include <stdio.h>

#include "tests/unit/modules/dkim_help.h"

#include "modules/dkim/dkim_inside.h"

#define NOW 1700000000

static struct strs list(struct arena *a, const char *words)
{
	struct strs l = { ARENA_ARRAY(a, str, 8), 0 };
	str rest = str_of(words), word;

	while (rest.n > 0 && str_cut(&rest, ' ', &word))
		l.v[l.n++] = word;
	return l;
}

static struct path at(struct arena *a, const char *address)
{
	struct path p;

	assert_true(path_of(a, str_of(address), &p));
	return p;
}

/* ---- whose keys ------------------------------------------------------------------- */

static struct dkim_gate shut;

static struct dkim_keyring *ring_of(struct arena *a, const char *keys)
{
	struct dkim_keyring *r = dkim_keyring_new(a);
	str rest = str_of(keys), word;

	while (rest.n > 0 && str_cut(&rest, ' ', &word)) {
		str domain = word, selector;
		bool closed = str_cut(&domain, ':', &selector) && selector.p[0] == '!';
		struct dkim_signer s = {
			.domain = domain, .selector = str_skip(selector, closed), .gate = closed ? &shut : NULL,
			.header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED, .expire_s = 100,
		};

		assert_int_equal(dkim_keyring_add(r, &s), OK);
	}
	return r;
}

static void the_nearest_domain_above_signs(void **state)
{
	static const char keys[] = "a:example.org b:sub.example.org c:deep.other.test";
	static const struct { const char *author, *domain; } cases[] = {
		{ "x@example.org", "example.org" },
		{ "x@EXAMPLE.ORG", "example.org" },
		{ "x@mail.example.org", "example.org" },
		{ "x@a.b.c.example.org", "example.org" },
		{ "x@sub.example.org", "sub.example.org" },
		{ "x@deep.sub.example.org", "sub.example.org" },
		{ "x@notexample.org", NULL },
		{ "x@org", NULL },
		{ "x@other.test", NULL },              /* below does not sign for above */
		{ "x@[192.0.2.1]", NULL },
	};
	struct arena a;
	struct dkim_keyring *r;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	r = ring_of(&a, keys);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct path author = at(&a, cases[i].author), to = at(&a, "y@far.test");
		struct dkim_choice c;

		dkim_keyring_choose(r, &author, &to, 1, &a, &c);
		assert_int_equal(c.found, cases[i].domain != NULL);
		if (c.found) {
			assert_true(str_is(c.domain, cases[i].domain));
			assert_true(c.n == 1 && c.known == 1 && str_eq(c.v[0].domain, c.domain));
		}
	}
	arena_fini(&a);
}

/* ---- rules -------------------------------------------------------------------------- */

static void the_first_rule_that_fits_counts(void **state)
{
	static const struct { const char *from, *to, *selectors; int64_t expire; } rules[] = {
		{ "news@home.test", "", "", 1 },
		{ "bob@home.test @sub.home.test", "far.test", "", 2 },
		{ "", ".far.test", "", 3 },
		{ "", "rsa.test", "*-rsa", 4 },
		{ "", "gone.test", "nowhere", 5 },
		{ "", "shut.test", "shut", 6 },
		{ "", "", "", 7 },
	};
	static const struct { const char *author, *rcpts; int64_t expire; size_t n; } cases[] = {
		{ "news@home.test", "y@far.test", 1, 4 },
		{ "News@home.test", "y@any.test", 1, 4 },
		{ "bob@home.test", "y@far.test z@far.test", 2, 4 },
		{ "bob@home.test", "y@far.test z@near.test", 7, 4 },
		{ "x@sub.home.test", "y@far.test", 2, 4 },
		{ "x@sub.home.test", "y@a.far.test z@b.a.far.test", 3, 4 },
		{ "x@home.test", "y@far.test", 7, 4 },
		{ "x@home.test", "y@notfar.test", 7, 4 },
		{ "x@home.test", "y@rsa.test", 4, 2 },
		{ "x@home.test", "y@gone.test", 5, 4 },       /* its selectors have gone: all that are there */
		{ "x@home.test", "y@shut.test", 6, 4 },       /* or are not out */
	};
	struct arena a;
	struct dkim_keyring *r;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	r = ring_of(&a, "a-rsa:home.test a-ed:home.test b-rsa:home.test !shut:home.test");
	for (size_t i = 0; i < COUNT(rules); i++) {
		struct strs *l = ARENA_ARRAY(&a, struct strs, 3);

		l[0] = list(&a, rules[i].from);
		l[1] = list(&a, rules[i].to);
		l[2] = list(&a, rules[i].selectors);
		assert_int_equal(dkim_keyring_rule(r, STR("Home.test"), &(struct dkim_rule){
			.from = &l[0], .to = &l[1], .selectors = &l[2], .has_expire = true, .expire_s = rules[i].expire }), OK);
	}
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct path author = at(&a, cases[i].author), rcpts[4];
		str rest = str_of(cases[i].rcpts), word;
		struct dkim_choice c;
		size_t n = 0;

		while (rest.n > 0 && str_cut(&rest, ' ', &word))
			rcpts[n++] = at(&a, str_cstr(&a, word));
		dkim_keyring_choose(r, &author, rcpts, n, &a, &c);
		assert_int_equal(c.n, cases[i].n);
		assert_int_equal(c.known, 4);
		for (size_t k = 0; k < c.n; k++)
			assert_int_equal(c.v[k].expire_s, cases[i].expire);
	}
	arena_fini(&a);
}

static void what_a_rule_does_not_say_is_the_keys(void **state)
{
	struct arena a;
	struct dkim_choice c;
	struct strs headers;
	struct path author, to;
	struct dkim_keyring *r;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	author = at(&a, "Alice.O'x@mail.home.test");
	to = at(&a, "y@far.test");
	headers = list(&a, "From Subject");
	r = ring_of(&a, "s:home.test");
	dkim_keyring_rule(r, STR("home.test"), &(struct dkim_rule){ .headers = &headers, .has_identity = true, .author = true });
	dkim_keyring_choose(r, &author, &to, 1, &a, &c);
	assert_true(c.n == 1 && c.v[0].headers == &headers && c.v[0].expire_s == 100 && c.v[0].body_canon == CANON_RELAXED);
	assert_true(str_is(c.v[0].identity, "Alice.O'x@mail.home.test"));
	assert_false(c.hold);
	dkim_keyring_policy(r, STR("home.test"), true);
	dkim_keyring_choose(r, &author, &to, 1, &a, &c);
	assert_true(c.hold);
	arena_fini(&a);
}

/* ---- x= ------------------------------------------------------------------------------- */

static int64_t tag(str field, const char *name)
{
	char want[8];
	const char *at_;
	int n = snprintf(want, sizeof(want), " %s=", name);
	char text[4096];

	snprintf(text, sizeof(text), "%.*s", STR_ARG(field));
	at_ = strstr(text, want);
	return at_ == NULL ? 0 : strtoll(at_ + n, NULL, 10);
}

static void the_end_is_counted_from_the_start(void **state)
{
	static const struct { int64_t expire[2], not_before, x[2], until; } cases[] = {
		{ { 100, 100 }, 0, { NOW + 100, NOW + 100 }, NOW + 100 },
		{ { 100, 50 }, 0, { NOW + 100, NOW + 50 }, NOW + 50 },           /* the first that runs out */
		{ { 100, 0 }, 0, { NOW + 100, 0 }, NOW + 100 },
		{ { 0, 0 }, 0, { 0, 0 }, INT64_MAX },
		{ { 100, 100 }, NOW + 7000, { NOW + 7100, NOW + 7100 }, NOW + 7100 },
		{ { 0, 0 }, NOW + 7000, { 0, 0 }, INT64_MAX },
		{ { 100, 100 }, NOW - 5, { NOW + 100, NOW + 100 }, NOW + 100 },  /* not in the past */
	};
	struct key *key = key_generate(KEY_ED25519, 0);

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct dkim_signer v[2] = {
			{ .domain = STR("home.test"), .selector = STR("a"), .key = key, .expire_s = cases[i].expire[0] },
			{ .domain = STR("home.test"), .selector = STR("b"), .key = key, .expire_s = cases[i].expire[1] },
		};
		const struct dkim_choice c = { .found = true, .v = v, .n = 2 };
		const str hashes[2] = { STR("a hash of simple"), STR_NONE };
		str out[DKIM_SIGNERS_MAX];
		struct mail m;
		int64_t until;
		size_t n;

		mail_read(&m, STR("From: a@home.test\r\n\r\nHi.\r\n"));
		assert_int_equal(dkim_sign_all(&c, m.fields, hashes, NOW, cases[i].not_before, &m.arena, out, &n, &until), OK);
		assert_int_equal(n, 2);
		for (int k = 0; k < 2; k++) {
			assert_int_equal(tag(out[k], "t"), NOW);
			assert_int_equal(tag(out[k], "x"), cases[i].x[k]);
		}
		assert_true(until == cases[i].until);
		mail_drop(&m);
	}
	key_free(key);
}

/* ---- anew --------------------------------------------------------------------------------- */

#define OWN_HEADER "From: A <a@home.test>\r\nSubject: x\r\n\r\n"
#define BODY       "Hi.\r\n\r\n"
#define IN_FRONT   "DKIM-Signature: v=1; a=rsa-sha256; d=home.test;\r\n\ts=gone; b=\r\n" \
	"dkim-signature: v=1; s=older\r\nAuthentication-Results: mx\r\nReceived: by mx\r\nDate: Sat, 1 Jan 2022 00:00:00 +0000\r\n"

static void signed_anew(void **state)
{
	struct key *keys[2] = { key_generate(KEY_ED25519, 0), key_generate(KEY_ED25519, 0) };

	(void)state;
	for (int form = 0; form < 2; form++) {
		struct arena a;
		struct mail body, m;
		struct path to;
		str hashes[2] = { STR_NONE, STR_NONE }, record, text;
		uint64_t length;
		struct dkim_keyring *r;
		struct dkim_late w;

		arena_init(&a, ARENA_UNBOUNDED);
		r = dkim_keyring_new(&a);
		for (int i = 0; i < 2; i++)       /* the form that was not hashed gives way */
			dkim_keyring_add(r, &(struct dkim_signer){ .domain = STR("home.test"), .selector = i ? STR("new") : STR("shut"),
				.key = keys[i], .gate = i ? NULL : &shut, .body_canon = CANON_RELAXED, .expire_s = 500 });
		mail_read(&body, STR(OWN_HEADER BODY));
		hashes[form] = mail_hash(&body, form ? CANON_RELAXED : CANON_SIMPLE, BODYHASH_WHOLE, &length);
		to = at(&a, "y@far.test");
		w = (struct dkim_late){ .head = STR(IN_FRONT), .header = STR(OWN_HEADER), .hashes = hashes, .rcpts = &to,
		                        .nrcpts = 1, .now = NOW };
		assert_int_equal(dkim_sign_late(r, &a, &w), OK);
		assert_int_equal(w.until, NOW + 500);
		text = arena_printf(&a, "%.*s" OWN_HEADER BODY, STR_ARG(w.fresh));
		mail_read(&m, text);
		assert_int_equal(fields_count(m.fields, "DKIM-Signature"), 1);
		assert_true(str_has(text, "s=new;") && !str_has(text, "s=gone") && !str_has(text, "s=older"));
		assert_true(str_ends_nocase(w.fresh, STR("\r\nAuthentication-Results: mx\r\nReceived: by mx\r\n"
		                                         "Date: Sat, 1 Jan 2022 00:00:00 +0000\r\n")));
		assert_true(str_has(text, form ? "c=simple/relaxed" : "c=simple/simple"));
		dkim_key_record(keys[1], &a, &record);
		assert_int_equal(mail_judge(&m, 0, str_cstr(&a, record)).result, DKIM_PASS);
		mail_drop(&m);
		mail_drop(&body);
		arena_fini(&a);
	}
	key_free(keys[0]);
	key_free(keys[1]);
}

static void not_signed_anew(void **state)
{
	static const struct { const char *header; const char *keys; bool hold; enum err want; bool held; const char *why; } cases[] = {
		{ OWN_HEADER, "!s:home.test", true, ERR_ABSENT, true, "no DKIM key of home.test is out" },
		{ OWN_HEADER, "!s:home.test", false, ERR_ABSENT, false, "no DKIM key of home.test is out" },
		{ OWN_HEADER, "", true, ERR_ABSENT, true, "no DKIM key of home.test is out" },
		{ OWN_HEADER, "s:other.test", false, ERR_ABSENT, false, "no DKIM key of home.test is out" },
		{ "Subject: x\r\n\r\n", "!s:home.test", true, ERR_BAD, false, "its header cannot be signed" },
		{ "", "!s:home.test", true, ERR_BAD, false, "its header cannot be signed" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct arena a;
		struct path to;
		const str hashes[2] = { STR("hash"), STR("hash") };
		struct dkim_keyring *r;
		struct dkim_late w;

		arena_init(&a, ARENA_UNBOUNDED);
		r = ring_of(&a, cases[i].keys);
		if (cases[i].hold)
			dkim_keyring_policy(r, STR("home.test"), true);
		to = at(&a, "y@far.test");
		w = (struct dkim_late){ .head = STR(IN_FRONT), .header = str_of(cases[i].header), .hashes = hashes, .rcpts = &to,
		                        .nrcpts = 1, .now = NOW };
		assert_int_equal(dkim_sign_late(r, &a, &w), cases[i].want);
		assert_int_equal(w.hold, cases[i].held);
		assert_true(str_is(w.why, cases[i].why) && w.fresh.p == NULL);
		arena_fini(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_nearest_domain_above_signs),
		cmocka_unit_test(the_first_rule_that_fits_counts),
		cmocka_unit_test(what_a_rule_does_not_say_is_the_keys),
		cmocka_unit_test(the_end_is_counted_from_the_start),
		cmocka_unit_test(signed_anew),
		cmocka_unit_test(not_signed_anew),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
