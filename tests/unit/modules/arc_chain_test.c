/* SPDX-License-Identifier: ISC */
/* The structure of chains, signing and verifying them, and who is believed. */
#include "modules/arc/arc_scope.h"
#include "tests/unit/modules/arc_help.h"

#define BH  "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;"
#define AAR(i) "ARC-Authentication-Results: i=" #i "; fwd.test; none\r\n"
#define AMS(i) "ARC-Message-Signature: i=" #i "; a=rsa-sha256; d=fwd.test; s=s; h=from; " BH " b=QUJD\r\n"
#define AS(i, cv) "ARC-Seal: i=" #i "; a=rsa-sha256; cv=" cv "; d=fwd.test; s=s; b=QUJD\r\n"
#define SET(i, cv) AS(i, cv) AMS(i) AAR(i)

static struct key *rsa, *ed;

static int keys_make(void **state)
{
	(void)state;
	crypt_setup();
	rsa = key_generate(KEY_RSA, 1024);
	ed = key_generate(KEY_ED25519, 0);
	return rsa == NULL || ed == NULL;
}

static int keys_drop(void **state)
{
	(void)state;
	key_free(rsa);
	key_free(ed);
	return 0;
}

static void structure_is_checked(void **state)
{
	static const struct { const char *header; enum arc_result want; unsigned length; const char *reason; } cases[] = {
		{ "From: x\r\n", ARC_NONE, 0, "" },
		{ "ARC-Something: x\r\n", ARC_NONE, 0, "" },
		{ SET(1, "none"), ARC_NOT_DONE, 1, "" },
		{ SET(2, "pass") SET(1, "none"), ARC_NOT_DONE, 2, "" },
		{ SET(1, "none") SET(2, "PASS"), ARC_NOT_DONE, 2, "" },
		{ SET(2, "pass"), ARC_FAIL, 2, "i=1 is missing" },
		{ SET(3, "pass") SET(1, "none"), ARC_FAIL, 3, "i=2 is missing" },
		{ AMS(1) AAR(1), ARC_FAIL, 1, "ARC-Seal of i=1 is missing" },
		{ AS(1, "none") AAR(1), ARC_FAIL, 1, "ARC-Message-Signature of i=1 is missing" },
		{ AS(1, "none") AMS(1), ARC_FAIL, 1, "ARC-Authentication-Results of i=1 is missing" },
		{ SET(1, "none") AAR(1), ARC_FAIL, 1, "stands twice" },
		{ SET(1, "none") AMS(1), ARC_FAIL, 1, "stands twice" },
		{ SET(1, "none") AS(1, "none"), ARC_FAIL, 1, "stands twice" },
		{ SET(1, "pass"), ARC_FAIL, 1, "only cv=none" },
		{ SET(2, "none") SET(1, "none"), ARC_FAIL, 2, "only cv=pass" },
		{ SET(2, "pass") SET(1, "fail"), ARC_FAIL, 2, "says cv=fail: only cv=none" },
		{ SET(2, "fail") SET(1, "none"), ARC_FAIL, 2, "found the chain broken" },
		{ SET(1, "maybe"), ARC_FAIL, 1, "neither cv=none" },
		{ AS(0, "none") AMS(1) AAR(1), ARC_FAIL, 1, "no instance number" },
		{ AS(51, "none") AMS(1) AAR(1), ARC_FAIL, 1, "no instance number" },
		{ AS(x, "none") AMS(1) AAR(1), ARC_FAIL, 1, "no instance number" },
		{ "ARC-Seal: i=1; h=from; a=rsa-sha256; cv=none; d=fwd.test; s=s; b=QUJD\r\n" AMS(1) AAR(1), ARC_FAIL, 1, "h= stands in it" },
		{ "ARC-Seal: i=1; a=rsa-sha1; cv=none; d=fwd.test; s=s; b=QUJD\r\n" AMS(1) AAR(1), ARC_FAIL, 1, "rsa-sha1" },
		{ "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=fwd.test(.x; s=s; b=QUJD\r\n" AMS(1) AAR(1), ARC_FAIL, 1, "not a domain name" },
		{ "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=fwd.test; s=s; s=t; b=QUJD\r\n" AMS(1) AAR(1), ARC_FAIL, 1, "twice" },
		{ AS(1, "none") "ARC-Message-Signature: i=1; a=rsa-sha256; d=fwd.test; s=s; h=from:arc-seal; " BH " b=QUJD\r\n" AAR(1),
		  ARC_FAIL, 1, "covers ARC-Seal" },
		{ AS(1, "none") "ARC-Message-Signature: i=1; a=rsa-sha256; d=fwd.test; s=s; h=; " BH " b=QUJD\r\n" AAR(1), ARC_NOT_DONE, 1, "" },
		/* Of older message signatures only how far back the message is unchanged depends. */
		{ SET(2, "pass") AS(1, "none") "ARC-Message-Signature: i=1; d=?\r\n" AAR(1), ARC_NOT_DONE, 2, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct mail m;
		struct arc_chain c;
		char text[4096];

		snprintf(text, sizeof(text), "%s\r\n", cases[i].header);
		mail_read(&m, str_of(text));
		arc_read(&m.arena, m.fields, &c);
		if (c.result != cases[i].want || c.length != cases[i].length || !str_has(c.reason, cases[i].reason))
			fail_msg("%s: got %d, length %u: %.*s", cases[i].header, c.result, c.length, STR_ARG(c.reason));
		mail_drop(&m);
	}
}

static void floods_end_before_anything_is_read(void **state)
{
	struct buf b;
	struct mail m;
	struct arc_chain c;

	(void)state;
	buf_init(&b, BUF_UNBOUNDED);
	for (int i = 0; i < 10000; i++)
		buf_add(&b, STR(AS(1, "none")));
	buf_add(&b, STR("\r\n"));
	mail_read(&m, buf_str(&b));
	arc_read(&m.arena, m.fields, &c);
	assert_int_equal(c.result, ARC_FAIL);
	assert_true(str_has(c.reason, "10000 ARC fields"));
	assert_null(c.sets);
	assert_false(c.temporary);
	mail_drop(&m);

	buf_clear(&b);
	buf_add(&b, STR("ARC-Authentication-Results: i=1; "));
	for (size_t i = 0; i < ARC_BYTES_MAX; i++)
		buf_add_char(&b, 'x');
	buf_add(&b, STR("\r\n" AS(1, "none") AMS(1) "\r\n"));
	mail_read(&m, buf_str(&b));
	arc_read(&m.arena, m.fields, &c);
	assert_int_equal(c.result, ARC_FAIL);
	assert_true(str_has(c.reason, "larger than any chain"));
	mail_drop(&m);
	buf_fini(&b);
}

static void sealed_chains_verify(void **state)
{
	const struct key *keys[] = { rsa, ed };

	(void)state;
	for (size_t k = 0; k < COUNT(keys); k++) {
		char *text = strdup(ARC_MAIL);

		for (unsigned n = 1; n <= 12; n++) {
			struct mail m;

			text = arc_help_seal(text, "fwd.test", ARC_PASSED, keys[k]);
			assert_non_null(text);
			mail_read(&m, str_of(text));
			struct arc_chain c = arc_help_judge(&m, keys[k], 1700000000);

			assert_int_equal(c.result, ARC_PASS);
			assert_int_equal(c.length, n);
			assert_true(c.whole);
			/* Nine message signatures are looked at; whether older ones hold is not known. */
			assert_int_equal(c.has_oldest, n <= ARC_OLDER_MAX + 1);
			assert_int_equal(c.oldest_pass, n <= ARC_OLDER_MAX + 1 ? 0 : n - ARC_OLDER_MAX);
			assert_true(str_is(c.sets[n - 1].seal_sig.domain, "fwd.test"));
			mail_drop(&m);
		}
		free(text);
	}
}

static void fifty_sets_are_the_most(void **state)
{
	char *text = arc_help_chain(ARC_SETS_MAX, ed);
	struct mail m;

	(void)state;
	assert_non_null(text);
	mail_read(&m, str_of(text));
	struct arc_chain c = arc_help_judge(&m, ed, 1700000000);

	assert_int_equal(c.result, ARC_PASS);
	assert_int_equal(c.length, ARC_SETS_MAX);
	assert_false(arc_may_seal(&c));
	mail_drop(&m);
	assert_null(arc_help_seal(text, "fwd.test", ARC_PASSED, ed));
}

/* One byte at a time: in no field of the chain, in From or in the body may it change. */
static void damage_shows(void **state)
{
	static const struct { const char *of, *to; enum arc_result want; bool known; unsigned oldest; const char *reason; } cases[] = {
		{ "Hi Bob", "Hi Rob", ARC_FAIL, false, 0, "message signature of i=2" },
		{ "From: Ann", "From: Eve", ARC_FAIL, false, 0, "message signature of i=2" },
		{ "dmarc=pass", "dmarc=fail", ARC_FAIL, false, 0, "seal of i=2" },
		{ "Subject: Hello", "Subject:  Hello ", ARC_PASS, true, 0, "" },
		{ "Received: x", "Received: y", ARC_PASS, true, 0, "" },
		{ "i=1; a=", "i=1;  a=", ARC_PASS, true, 0, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *text = strdup("Received: x\r\n" ARC_MAIL), *at, *changed;
		struct mail m;

		for (int n = 0; n < 2; n++)
			text = arc_help_seal(text, "fwd.test", ARC_PASSED, ed);
		at = strstr(text, cases[i].of);
		assert_non_null(at);
		assert_true(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, cases[i].to, at + strlen(cases[i].of)) > 0);
		mail_read(&m, str_of(changed));
		struct arc_chain c = arc_help_judge(&m, ed, 1700000000);

		if (c.result != cases[i].want || !str_has(c.reason, cases[i].reason) || c.has_oldest != cases[i].known ||
		    c.oldest_pass != cases[i].oldest)
			fail_msg("%s: got %d, oldest %u: %.*s", cases[i].of, c.result, c.oldest_pass, STR_ARG(c.reason));
		mail_drop(&m);
		free(changed);
		free(text);
	}
}

/* A list that changes the Subject and seals anew: the older signatures break, the chain does not. */
static void oldest_pass_tells_where_it_was_changed(void **state)
{
	struct dkim_signer s = { .domain = STR("list.test"), .selector = STR("s"), .key = ed,
		                 .header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED };
	char *text = arc_help_chain(2, ed), *sealed;
	struct mail before, after, m;
	struct arc_sealed made;
	uint64_t whole;

	(void)state;
	mail_read(&before, str_of(text));
	struct arc_chain c = arc_help_judge(&before, ed, 1700000000);

	assert_int_equal(c.result, ARC_PASS);
	memcpy(strstr(text, "Subject: Hello"), "Subject: [L]ol", 14);
	mail_read(&after, str_of(text));
	str hash = mail_hash(&after, CANON_RELAXED, BODYHASH_WHOLE, &whole);

	assert_int_equal(arc_seal(&s, &c, after.fields, STR("list.test; none"), hash, 1700000000, &after.arena, &made), OK);
	assert_true(asprintf(&sealed, "%.*s%.*s%.*s%s", STR_ARG(made.seal), STR_ARG(made.message), STR_ARG(made.results), text) > 0);
	mail_read(&m, str_of(sealed));
	c = arc_help_judge(&m, ed, 1700000000);
	assert_int_equal(c.result, ARC_PASS);
	assert_true(c.has_oldest);
	assert_int_equal(c.oldest_pass, 3);
	assert_int_equal(c.sets[1].message_check, ARC_BROKEN);
	assert_true(str_has(c.sets[1].message_why, "header mismatch"));
	mail_drop(&m);
	mail_drop(&after);
	mail_drop(&before);
	free(sealed);
	free(text);
}

/* RFC 8617 5.1.2, and that nobody adds to such a chain. */
static void broken_chains_are_sealed_as_failed(void **state)
{
	char *text = arc_help_chain(2, ed);
	struct mail m;

	(void)state;
	memcpy(strstr(text, "Hi Bob"), "Hi Rob", 6);
	text = arc_help_seal(text, "here.test", "here.test; arc=fail", ed);
	assert_non_null(text);
	assert_non_null(strstr(text, "cv=fail"));
	mail_read(&m, str_of(text));
	struct arc_chain c = arc_help_judge(&m, ed, 1700000000);

	assert_int_equal(c.result, ARC_FAIL);
	assert_int_equal(c.length, 3);
	assert_true(c.ended);
	assert_false(arc_may_seal(&c));
	mail_drop(&m);
	assert_null(arc_help_seal(text, "here.test", "here.test; none", ed));
}

static bool believed(void *user, str sealer)
{
	return str_holds(str_of(user), sealer.p[0]);
}

/* Sealers a.test, b.test, … from the oldest; "p" saw DMARC pass, "f" fail. */
static void whom_a_chain_vouches_for(void **state)
{
	static const struct { const char *sealers, *saw, *trusted; unsigned want; } cases[] = {
		{ "a", "p", "a", 1 },
		{ "a", "f", "a", 0 },
		{ "a", "p", "", 0 },
		{ "ab", "pf", "ab", 1 },
		{ "ab", "pp", "ab", 2 },
		{ "ab", "pf", "a", 0 },           /* behind a anybody may have changed anything */
		{ "ab", "pf", "b", 0 },
		{ "ab", "fp", "b", 2 },
		{ "abc", "pff", "ac", 0 },
		{ "abc", "pff", "abc", 1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *text = strdup(ARC_MAIL);
		struct mail m;

		for (size_t n = 0; cases[i].sealers[n] != '\0'; n++) {
			const char domain[] = { cases[i].sealers[n], '.', 't', 'e', 's', 't', '\0' };

			text = arc_help_seal(text, domain, cases[i].saw[n] == 'p' ? ARC_PASSED : "x.test; dmarc=fail", ed);
		}
		mail_read(&m, str_of(text));
		struct arc_chain c = arc_help_judge(&m, ed, 1700000000);
		char trusted[8];

		snprintf(trusted, sizeof(trusted), "%s", cases[i].trusted);
		assert_int_equal(c.result, ARC_PASS);
		assert_int_equal(arc_vouches(&c, &m.arena, STR("author.test"), believed, trusted), cases[i].want);
		assert_int_equal(arc_vouches(&c, &m.arena, STR("other.test"), believed, trusted), 0);
		c.whole = false;
		assert_int_equal(arc_vouches(&c, &m.arena, STR("author.test"), believed, trusted), 0);
		mail_drop(&m);
		free(text);
	}
}

static void digested(void *arg, str bytes)
{
	digest_add(arg, bytes);
}

static str with_signature(struct mail *m, const char *begun, const unsigned char *hash, size_t n)
{
	unsigned char out[SIGNATURE_MAX];
	size_t len = 0;

	assert_int_equal(key_sign(ed, DIGEST_SHA256, (str){ (const char *)hash, n }, out, &len), OK);
	return arena_printf(&m->arena, "%s%.*s\r\n", begun, STR_ARG(base64_encode(&m->arena, (str){ (const char *)out, len })));
}

/* A set whose message signature has the tags given, made by hand: our own
 * signer would refuse them. */
static char *sealed_by_hand(const char *tags, const char *names, uint64_t length)
{
	const char *as = "ARC-Seal: i=1; a=ed25519-sha256; cv=none; d=fwd.test; s=s; b=";
	str aar = STR("ARC-Authentication-Results: i=1; " ARC_PASSED "\r\n"), h = str_of(names), name;
	struct dkim_signature sig = { .kind = DKIM_ARC_MESSAGE, .header_canon = CANON_RELAXED };
	unsigned char hash[DIGEST_MAX];
	struct arc_scope scope;
	struct digest d;
	uint64_t whole;
	struct mail m;
	char *out;

	mail_read(&m, STR(ARC_MAIL));
	str bh = base64_encode(&m.arena, mail_hash(&m, CANON_RELAXED, length, &whole));
	str ams = arena_printf(&m.arena, "ARC-Message-Signature: i=1; a=ed25519-sha256; c=relaxed/relaxed; d=fwd.test; "
	                       "s=s; %s bh=%.*s; b=", tags, STR_ARG(bh));
	struct field own = { .raw = ams };

	sig.h = ARENA_ARRAY(&m.arena, str, 8);
	while (str_cut(&h, ':', &name))
		sig.h[sig.nh++] = name;
	sig.field = &own;
	assert_int_equal(digest_begin(&d, DIGEST_SHA256), OK);
	dkim_header_bytes(dkim_index_new(&m.arena, m.fields, true), &sig, digested, &d);
	ams = with_signature(&m, str_cstr(&m.arena, ams), hash, digest_end(&d, hash));
	assert_true(arc_scope_init(&scope, &m.arena));
	arc_scope_add(&scope, aar);
	arc_scope_add(&scope, ams);
	str seal = with_signature(&m, as, hash, arc_scope_digest(&scope, 2, str_of(as), hash));

	assert_true(asprintf(&out, "%.*s%.*s%.*s" ARC_MAIL, STR_ARG(seal), STR_ARG(ams), STR_ARG(aar)) > 0);
	mail_drop(&m);
	return out;
}

static bool anybody(void *user, str sealer)
{
	(void)user, (void)sealer;
	return true;
}

/* A message signature without From, or over part of the body, binds nothing that is shown. */
static void what_binds_nothing_vouches_for_nobody(void **state)
{
	static const struct { const char *tags, *names; uint64_t length; bool whole; } cases[] = {
		{ "h=from:subject;", "from:subject", BODYHASH_WHOLE, true },
		{ "h=from; l=9;", "from", 9, true },
		{ "h=subject;", "subject", BODYHASH_WHOLE, false },
		{ "h=;", "", BODYHASH_WHOLE, false },
		{ "h=from; l=2;", "from", 2, false },
		{ "h=from; l=0;", "from", 0, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *text = sealed_by_hand(cases[i].tags, cases[i].names, cases[i].length);
		struct mail m;

		mail_read(&m, str_of(text));
		struct arc_chain c = arc_help_judge(&m, ed, 1700000000);

		if (c.result != ARC_PASS || c.whole != cases[i].whole)
			fail_msg("%s: got %d, whole %d: %.*s", cases[i].tags, c.result, c.whole, STR_ARG(c.reason));
		assert_int_equal(arc_vouches(&c, &m.arena, STR("author.test"), anybody, NULL), cases[i].whole);
		mail_drop(&m);
		free(text);
	}
}

/* x= of the newest message signature counts. */
static void an_expired_message_signature_breaks_the_chain(void **state)
{
	char *text = sealed_by_hand("h=from; t=1000; x=2000;", "from", BODYHASH_WHOLE);
	struct mail m;

	(void)state;
	mail_read(&m, str_of(text));
	struct arc_chain c = arc_help_judge(&m, ed, 2000);

	assert_int_equal(c.result, ARC_PASS);
	c = arc_help_judge(&m, ed, 2001);
	assert_int_equal(c.result, ARC_FAIL);
	assert_true(str_has(c.reason, "has expired"));
	assert_false(c.temporary);
	mail_drop(&m);
	free(text);
}

static void memory_that_ends_is_temporary(void **state)
{
	char *text = arc_help_chain(3, ed);
	struct mail m;
	struct arena small;
	struct arc_chain c;

	(void)state;
	mail_read(&m, str_of(text));
	for (size_t budget = 64; budget < 40000; budget += 500) {
		arena_init(&small, budget);
		arc_read(&small, m.fields, &c);
		assert_int_equal(c.result, small.spent ? ARC_FAIL : ARC_NOT_DONE);
		assert_int_equal(c.temporary, small.spent);
		arena_fini(&small);
	}
	mail_drop(&m);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(structure_is_checked),
		cmocka_unit_test(floods_end_before_anything_is_read),
		cmocka_unit_test(sealed_chains_verify),
		cmocka_unit_test(fifty_sets_are_the_most),
		cmocka_unit_test(damage_shows),
		cmocka_unit_test(oldest_pass_tells_where_it_was_changed),
		cmocka_unit_test(broken_chains_are_sealed_as_failed),
		cmocka_unit_test(whom_a_chain_vouches_for),
		cmocka_unit_test(what_binds_nothing_vouches_for_nobody),
		cmocka_unit_test(an_expired_message_signature_breaks_the_chain),
		cmocka_unit_test(memory_that_ends_is_temporary),
	};

	return cmocka_run_group_tests(tests, keys_make, keys_drop);
}
