/* SPDX-License-Identifier: ISC */
/*
 * dkim_verify and dkim_sign: the RFCs' examples, what we sign, and every way
 * in which a signature stops being one.
 */
#include "tests/unit/modules/dkim_help.h"

/* RFC 8463 A.2 as PKCS#8 */
static const char rfc8463_pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
	"-----END PRIVATE KEY-----\n";

/* The body of RFC 6376 A.2 has one space less than RFC 8463's; both hash alike only relaxed. */
#define RFC6376_BODY "Hi.\r\n\r\nWe lost the game. Are you hungry yet?\r\n\r\nJoe.\r\n"

static struct dkim_verdict judge_text(const char *text, size_t which, const char *record)
{
	struct mail m;

	mail_read(&m, str_of(text));
	struct dkim_verdict v = mail_judge(&m, which, record);

	/* Only what does not live in the arena goes out. */
	static char reason[512];

	memset(reason, 0, sizeof(reason));
	memcpy(reason, v.reason.p ? v.reason.p : "", v.reason.n < sizeof(reason) - 1 ? v.reason.n : 0);
	v.reason = str_of(reason);
	memset(&v.sig, 0, sizeof(v.sig));
	mail_drop(&m);
	return v;
}

static void rfc_examples_pass(void **state)
{
	struct dkim_verdict v;

	(void)state;
	v = judge_text(RFC6376_FIELDS RFC_FIELDS "\r\n" RFC6376_BODY, 0, RFC6376_KEY);
	assert_string_equal(v.reason.p, "");
	assert_int_equal(v.result, DKIM_PASS);
	assert_int_equal(v.key_bits, 1024);
	v = judge_text(RFC8463_FIELDS RFC_FIELDS "\r\n" RFC_BODY, 0, RFC8463_ED25519_KEY);
	assert_int_equal(v.result, DKIM_PASS);
	assert_int_equal(v.key_bits, 256);
	v = judge_text(RFC8463_FIELDS RFC_FIELDS "\r\n" RFC_BODY, 1, RFC8463_RSA_KEY);
	assert_int_equal(v.result, DKIM_PASS);
}

/* The RFC's modulus with an exponent that is even, and one of 33 bits. */
static void odd_exponents_are_policy(void **state)
{
	struct arena a;
	str der;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	assert_true(base64_decode(&a, STR(
		"MIGJAoGBAPAhE/9QLdIGwSYapn1klbf8OQygZ4udCDV9afv/Ni0jE3ZKcUKPE4Iob2/dviNh9xM2HmKNKyrrfW4Ei0truh36/9G1"
		"0LZTMnWVZP3jupH5FxpzaBu2j80yonR/N9WMfg64qGK11j21/qZzAaNo0FxZOggyY9I8N1A81RhyRxDZAgMBAAE="), false, &der));
	char *p = arena_alloc(&a, der.n + 2);

	memcpy(p, der.p, der.n);
	for (int wide = 0; wide < 2; wide++) {
		size_t n = der.n;

		if (wide) {
			p[2] = (char)0x8b;
			memcpy(p + der.n - 5, "\x02\x05\x01\x00\x00\x00\x01", 7);
			n += 2;
		} else {
			p[der.n - 1] = 0;
		}
		str record = arena_printf(&a, "v=DKIM1; p=%.*s", STR_ARG(base64_encode(&a, (str){ p, n })));
		struct dkim_verdict v = judge_text(RFC6376_FIELDS RFC_FIELDS "\r\n" RFC6376_BODY, 0, str_cstr(&a, record));

		assert_int_equal(v.result, DKIM_POLICY);
		assert_non_null(strstr(v.reason.p, "exponent"));
	}
	arena_fini(&a);
}

static void changes_are_told_apart(void **state)
{
	static const struct { const char *what, *text, *record; enum dkim_result want; const char *reason; } cases[] = {
		{ "a changed body", RFC8463_FIELDS RFC_FIELDS "\r\n" RFC_BODY "footer\r\n", RFC8463_ED25519_KEY, DKIM_FAIL, "body hash mismatch" },
		{ "a changed field", RFC8463_FIELDS "From: Joe SixPack <joe@football.example.com>\r\nTo: x@y.example\r\n\r\n" RFC_BODY, RFC8463_ED25519_KEY, DKIM_FAIL, "header mismatch" },
		{ "a second Subject", RFC8463_FIELDS "Subject: another\r\n" RFC_FIELDS "\r\n" RFC_BODY, RFC8463_ED25519_KEY, DKIM_FAIL, "header mismatch" },
		{ "a second From", RFC8463_FIELDS RFC_FIELDS "From: x@evil.example\r\n\r\n" RFC_BODY, RFC8463_ED25519_KEY, DKIM_FAIL, "header mismatch" },
		{ "a field that is not signed", RFC8463_FIELDS "X-More: x\r\n" RFC_FIELDS "\r\n" RFC_BODY, RFC8463_ED25519_KEY, DKIM_PASS, "" },
		{ "folding, which relaxed allows", RFC8463_FIELDS "FROM :  Joe   SixPack\r\n  <joe@football.example.com>\r\n"
		  "To: Suzie Q <suzie@shopping.example.net>\r\nSubject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
		  "Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n" RFC_BODY, RFC8463_ED25519_KEY, DKIM_PASS, "" },
		{ "trailing empty lines", RFC8463_FIELDS RFC_FIELDS "\r\n" RFC_BODY "\r\n\r\n", RFC8463_ED25519_KEY, DKIM_PASS, "" },
		{ "another key", RFC8463_FIELDS RFC_FIELDS "\r\n" RFC_BODY, "v=DKIM1; k=ed25519; p=1m6YlmR1m6YlmR1m6YlmR1m6YlmR1m6YlmR1m6YlmQA=", DKIM_FAIL, "header mismatch" },
		{ "a key of another kind", RFC8463_FIELDS RFC_FIELDS "\r\n" RFC_BODY, RFC8463_RSA_KEY, DKIM_PERMERROR, "another kind" },
		{ "a revoked key", RFC8463_FIELDS RFC_FIELDS "\r\n" RFC_BODY, "v=DKIM1; p=", DKIM_PERMERROR, "revoked" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct dkim_verdict v = judge_text(cases[i].text, 0, cases[i].record);

		if (v.result != cases[i].want || strstr(v.reason.p, cases[i].reason) == NULL)
			fail_msg("%s: %s (%s)", cases[i].what, dkim_result_word(v.result), v.reason.p);
	}
}

static void digested(void *arg, str bytes)
{
	digest_add(arg, bytes);
}

static void gathered(void *arg, str bytes)
{
	buf_add(arg, bytes);
}

/* ---- what we sign --------------------------------------------------------- */

struct signing {
	struct mail        mail;
	struct dkim_signer signer;
	struct key        *key;
	str                field;       /* the signature */
	str                record;
	struct buf         text;        /* the signed message */
};

static void sign_text(struct signing *s, const char *text, int64_t now)
{
	uint64_t whole;

	mail_read(&s->mail, str_of(text));
	str hash = mail_hash(&s->mail, s->signer.body_canon, BODYHASH_WHOLE, &whole);

	s->signer.key = s->key;
	assert_int_equal(dkim_sign(&s->signer, s->mail.fields, hash, now, &s->mail.arena, &s->field), OK);
	assert_int_equal(dkim_key_record(s->key, &s->mail.arena, &s->record), OK);
	buf_init(&s->text, BUF_UNBOUNDED);
	buf_add(&s->text, s->field);
	buf_add(&s->text, str_of(text));
	buf_add_char(&s->text, '\0');
}

static void sign_drop(struct signing *s)
{
	buf_fini(&s->text);
	mail_drop(&s->mail);
}

static struct dkim_verdict sign_judge(struct signing *s)
{
	char *record = str_cstr(&s->mail.arena, s->record);

	return judge_text(buf_str(&s->text).p, 0, record);
}

static void all_pairings_verify(void **state)
{
	static const char *const texts[] = {
		RFC_FIELDS "\r\n" RFC_BODY,
		"From: a@example.com\r\n\r\n",
		"From: a@example.com\r\n\r\n\r\n\r\n\r\n",
		"From: a@example.com\r\n\r\nno line end",
		"From: a@example.com\r\n\r\n \t \r\n  x  y \t\r\n",
		"from:a@example.com\r\nFROM : b@example.com\r\nSubject:\r\nsubject: \r\n folded\r\n\tmore\r\n\r\n8-bit \xe4\xf6\r\n",
	};
	static const enum canon canons[] = { CANON_SIMPLE, CANON_RELAXED };

	(void)state;
	for (int ed = 0; ed < 2; ed++) {
		struct key *key = key_generate(ed ? KEY_ED25519 : KEY_RSA, 1024);

		for (size_t i = 0; i < COUNT(texts); i++)
			for (size_t c = 0; c < 4; c++) {
				struct signing s = { .key = key, .signer = {
					.domain = STR("example.com"), .selector = STR("s1"),
					.header_canon = canons[c / 2], .body_canon = canons[c % 2], .expire_s = 3600 } };

				sign_text(&s, texts[i], 1700000000);
				struct dkim_verdict v = sign_judge(&s);

				if (v.result != DKIM_PASS)
					fail_msg("text %zu pairing %zu: %s", i, c, v.reason.p);
				sign_drop(&s);
			}
		key_free(key);
	}
}

static void signatures_are_folded(void **state)
{
	struct key *key = key_generate(KEY_RSA, 2048);
	struct signing s = { .key = key, .signer = {
		.domain = STR("a-rather-long-subdomain-name.with-many-labels.in.it.example.com"),
		.selector = STR("a-long-selector-with-a-date-20260101"), .header_canon = CANON_RELAXED,
		.body_canon = CANON_RELAXED, .identity = STR("some;one=odd @a-rather-long-subdomain-name.with-many-labels.in.it.example.com") } };
	str rest, line;

	(void)state;
	sign_text(&s, RFC_FIELDS "\r\n" RFC_BODY, 1700000000);
	rest = s.field;
	while (str_cut(&rest, '\n', &line))
		if (line.n > 79 && !str_has(line, "i="))      /* with its CR; i= cannot be broken */
			fail_msg("%zu columns: %.*s", line.n - 1, STR_ARG(line));
	assert_true(str_has(s.field, "i=some=3Bone=3Dodd=20@"));
	assert_true(str_has(s.field, "t=1700000000;"));
	assert_false(str_has(s.field, "x="));
	assert_true(str_has(s.field, "\r\n"));
	assert_int_equal(sign_judge(&s).result, DKIM_PASS);
	sign_drop(&s);
	key_free(key);
}

/* Each name of the list once more often than it is there; absent ones too. */
static void default_list_is_oversigned(void **state)
{
	struct key *key = key_generate(KEY_ED25519, 0);
	struct signing s = { .key = key, .signer = { .domain = STR("example.com"), .selector = STR("s"),
		.header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED } };
	static const struct { const char *name; size_t want; } counts[] = {
		{ "From", 2 }, { "To", 3 }, { "Subject", 1 }, { "Reply-To", 1 }, { "List-Unsubscribe", 1 },
		{ "Sender", 0 }, { "Received", 0 }, { "Return-Path", 0 }, { "X-Other", 0 },
	};
	struct dkim_signature sig;
	struct field f;

	(void)state;
	sign_text(&s, "Received: x\r\nFrom: a@example.com\r\nTo: b\r\nto: c\r\nSender: x\r\nX-Other: y\r\n\r\nx\r\n", 5);
	f = (struct field){ .name = STR("DKIM-Signature"), .raw = s.field, .value = str_skip(s.field, 15) };
	dkim_signature_parse(&s.mail.arena, &f, DKIM_SIGNATURE, &sig);
	assert_null(sig.fault);
	for (size_t i = 0; i < COUNT(counts); i++) {
		size_t n = 0;

		for (size_t k = 0; k < sig.nh; k++)
			n += str_is_nocase(sig.h[k], counts[i].name);
		if (n != counts[i].want)
			fail_msg("%s stands %zu times in h=", counts[i].name, n);
	}
	sign_drop(&s);
	key_free(key);
}

static void given_list_must_cover_from(void **state)
{
	str names[] = { STR("To"), STR("Subject") };
	struct strs list = { names, 2 };
	struct key *key = key_generate(KEY_ED25519, 0);
	struct dkim_signer signer = { .domain = STR("example.com"), .selector = STR("s"), .key = key, .headers = &list };
	struct mail m;
	str field;

	(void)state;
	mail_read(&m, STR("From: a@example.com\r\n\r\n"));
	assert_int_equal(dkim_sign(&signer, m.fields, STR("x"), 0, &m.arena, &field), ERR_BAD);
	mail_drop(&m);
	key_free(key);
}

static void omitted_fields_are_not_signed(void **state)
{
	struct key *key = key_generate(KEY_ED25519, 0);
	struct dkim_signer signer = { .domain = STR("example.com"), .selector = STR("s"), .key = key,
		.header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED };
	struct mail m, sent;
	struct buf text;
	uint64_t whole;
	str field, record;

	(void)state;
	mail_read(&m, STR("Cc: gone\r\nFrom: a@example.com\r\nCc: stays\r\n\r\nx\r\n"));
	m.fields->v[0].omitted = true;
	str hash = mail_hash(&m, CANON_RELAXED, BODYHASH_WHOLE, &whole);

	assert_int_equal(dkim_sign(&signer, m.fields, hash, 7, &m.arena, &field), OK);
	assert_int_equal(dkim_key_record(key, &m.arena, &record), OK);
	buf_init(&text, BUF_UNBOUNDED);
	buf_add(&text, field);
	buf_add(&text, STR("From: a@example.com\r\nCc: stays\r\n\r\nx\r\n"));
	mail_read(&sent, buf_str(&text));
	assert_int_equal(mail_judge(&sent, 0, str_cstr(&m.arena, record)).result, DKIM_PASS);
	mail_drop(&sent);
	buf_fini(&text);
	mail_drop(&m);
	key_free(key);
}

/* ---- l=, keys, identities ------------------------------------------------- */

/* Signs by hand, so that any tag can be there. */
static struct dkim_verdict forge(const char *tags, const char *signed_body, const char *body, unsigned bits,
                                 const char *record_tags)
{
	struct key *key = key_generate(KEY_RSA, bits);
	struct mail m;
	struct arena a;
	struct dkim_signature sig;
	struct digest d;
	unsigned char hash[DIGEST_MAX], b[SIGNATURE_MAX];
	size_t n;
	uint64_t whole;
	str record;

	arena_init(&a, ARENA_UNBOUNDED);
	mail_read(&m, (str){ signed_body, strlen(signed_body) });
	m.body = str_of(signed_body);
	const char *l = strstr(tags, "l=");
	str bh = base64_encode(&a, mail_hash(&m, CANON_SIMPLE, l ? strtoull(l + 2, NULL, 10) : BODYHASH_WHOLE, &whole));
	str text = arena_printf(&a, "DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=s; h=From; bh=%.*s;%s b=", STR_ARG(bh), tags);
	struct field f = { .name = STR("DKIM-Signature"), .raw = text, .value = str_skip(text, 15) };
	str from = STR("From: a@example.com\r\n");
	struct field ff = { .name = STR("From"), .raw = from, .value = str_skip(from, 5) };
	struct fields fields = { .v = &ff, .n = 1 };

	dkim_signature_parse(&a, &f, DKIM_SIGNATURE, &sig);
	digest_begin(&d, DIGEST_SHA256);
	dkim_header_bytes(dkim_index_new(&a, &fields, true), &sig, digested, &d);
	size_t len = digest_end(&d, hash);

	assert_int_equal(key_sign(key, DIGEST_SHA256, (str){ (char *)hash, len }, b, &n), OK);
	assert_int_equal(dkim_key_record(key, &a, &record), OK);
	record = arena_printf(&a, "%.*s; %s", STR_ARG(record), record_tags);
	str whole_text = arena_printf(&a, "%.*s%.*s\r\n%.*s\r\n%s", STR_ARG(text),
	                              STR_ARG(base64_encode(&a, (str){ (char *)b, n })), STR_ARG(from), body);
	struct dkim_verdict v = judge_text(str_cstr(&a, whole_text), 0, str_cstr(&a, record));

	mail_drop(&m);
	arena_fini(&a);
	key_free(key);
	return v;
}

static void lengths_keys_and_identities(void **state)
{
	static const struct {
		const char *what, *tags, *signed_body, *body; unsigned bits; const char *record; enum dkim_result want;
		bool partial; const char *reason;
	} cases[] = {
		{ "plain", "", "hello\r\n", "hello\r\n", 1024, "", DKIM_PASS, false, "" },
		{ "l= that covers all", " l=7;", "hello\r\n", "hello\r\n", 1024, "", DKIM_PASS, false, "" },
		{ "l= with more behind", " l=7;", "hello\r\n", "hello\r\nmore\r\n", 1024, "", DKIM_PASS, true, "unsigned" },
		{ "l=0 replayed", " l=0;", "hello\r\n", "anything\r\n", 1024, "", DKIM_PASS, true, "last 10 octets" },
		{ "l= and a change before it", " l=7;", "hello\r\n", "jello\r\nmore\r\n", 1024, "", DKIM_FAIL, true, "body hash" },
		{ "l= larger than the body", " l=9;", "hello\r\n", "hello\r\n", 1024, "", DKIM_PERMERROR, false, "more octets" },
		{ "l= of a body cut short", " l=14;", "hello\r\nhello\r\n", "hello\r\n", 1024, "", DKIM_FAIL, false, "cut short" },
		{ "too short a key", "", "x\r\n", "x\r\n", 768, "", DKIM_POLICY, false, "too short: 768 bits" },
		{ "testing", "", "x\r\n", "x\r\n", 1024, "t=y", DKIM_PASS, false, "" },
		{ "t=s and the domain itself", " i=joe@example.com;", "x\r\n", "x\r\n", 1024, "t=s", DKIM_PASS, false, "" },
		{ "t=s and a subdomain", " i=joe@sub.example.com;", "x\r\n", "x\r\n", 1024, "t=s", DKIM_PERMERROR, false, "t=s forbids" },
		{ "a subdomain without t=s", " i=joe@sub.example.com;", "x\r\n", "x\r\n", 1024, "", DKIM_PASS, false, "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct dkim_verdict v = forge(cases[i].tags, cases[i].signed_body, cases[i].body, cases[i].bits, cases[i].record);

		if (v.result != cases[i].want || v.partial != cases[i].partial || strstr(v.reason.p, cases[i].reason) == NULL)
			fail_msg("%s: %s, partial %d (%s)", cases[i].what, dkim_result_word(v.result), v.partial, v.reason.p);
	}
}

/* A relaxed empty body is empty, a simple one is one CRLF. */
static void empty_bodies_are_signed(void **state)
{
	struct key *key = key_generate(KEY_RSA, 1024);
	struct signing s = { .key = key, .signer = { .domain = STR("example.com"), .selector = STR("s"),
		.header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED } };

	(void)state;
	sign_text(&s, "From: a@example.com\r\n\r\n", 5);      /* relaxed: the empty body is empty */
	assert_int_equal(sign_judge(&s).result, DKIM_PASS);
	sign_drop(&s);
	key_free(key);
}

static void ed25519_signs_as_the_rfc(void **state)
{
	str why = STR_NONE;
	struct key *key = key_private_pem(str_of(rfc8463_pem), &why);
	str names[] = { STR("from"), STR("to"), STR("subject"), STR("date"), STR("message-id"), STR("from"), STR("subject"), STR("date") };
	struct strs list = { names, COUNT(names) };
	struct signing s = { .key = key, .signer = { .domain = STR("football.example.com"), .selector = STR("brisbane"),
		.header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED, .headers = &list } };

	(void)state;
	assert_non_null(key);
	sign_text(&s, RFC_FIELDS "\r\n" RFC_BODY, 1528637909);
	assert_true(str_has(s.record, "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="));
	assert_true(str_has(s.field, "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;"));
	assert_int_equal(sign_judge(&s).result, DKIM_PASS);
	sign_drop(&s);
	key_free(key);
}

/* h= from the bottom up, its own field never, in linear time. */
static void repeated_names_go_bottom_up(void **state)
{
	struct arena a;
	struct buf text, got;
	struct mail m;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	buf_init(&text, BUF_UNBOUNDED);
	buf_init(&got, BUF_UNBOUNDED);
	mail_read(&m, STR("DKIM-Signature: h=X:DKIM-Signature:x:x:missing:From; b=AA\r\nX: 1\r\nFrom: f\r\nDKIM-Signature: other\r\nx: 2\r\n\r\n"));
	str h[] = { STR("X"), STR("DKIM-Signature"), STR("DKIM-Signature"), STR("x"), STR("X"), STR("missing"), STR("From") };
	struct dkim_signature sig = { .field = &m.fields->v[0], .h = h, .nh = COUNT(h), .header_canon = CANON_RELAXED };

	dkim_header_bytes(dkim_index_new(&m.arena, m.fields, true), &sig, gathered, &got);
	buf_add_char(&got, '\0');
	assert_string_equal(buf_str(&got).p,
	                    "x:2\r\ndkim-signature:other\r\nx:1\r\nfrom:f\r\ndkim-signature:h=X:DKIM-Signature:x:x:missing:From; b=");
	mail_drop(&m);
	buf_fini(&got);
	buf_fini(&text);
	arena_fini(&a);
}

static void keyring_finds_in_order(void **state)
{
	struct arena a;
	static const char *const domains[] = { "b.test", "a.test", "b.test", "c.test", "B.test" };
	size_t at = 0;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	struct dkim_keyring *r = dkim_keyring_new(&a);

	for (size_t i = 0; i < COUNT(domains); i++) {
		struct dkim_signer s = { .domain = str_of(domains[i]), .selector = arena_printf(&a, "s%zu", i) };

		assert_int_equal(dkim_keyring_add(r, &s), OK);
	}
	assert_true(str_is(dkim_keyring_find(r, STR("b.test"), &at)->selector, "s0"));
	assert_true(str_is(dkim_keyring_find(r, STR("b.test"), &at)->selector, "s2"));
	assert_true(str_is(dkim_keyring_find(r, STR("b.test"), &at)->selector, "s4"));
	assert_null(dkim_keyring_find(r, STR("b.test"), &at));
	at = 0;
	assert_null(dkim_keyring_find(r, STR("sub.b.test"), &at));
	assert_null(dkim_keyring_find(NULL, STR("b.test"), &at));
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rfc_examples_pass),
		cmocka_unit_test(odd_exponents_are_policy),
		cmocka_unit_test(changes_are_told_apart),
		cmocka_unit_test(all_pairings_verify),
		cmocka_unit_test(signatures_are_folded),
		cmocka_unit_test(default_list_is_oversigned),
		cmocka_unit_test(given_list_must_cover_from),
		cmocka_unit_test(omitted_fields_are_not_signed),
		cmocka_unit_test(lengths_keys_and_identities),
		cmocka_unit_test(empty_bodies_are_signed),
		cmocka_unit_test(ed25519_signs_as_the_rfc),
		cmocka_unit_test(repeated_names_go_bottom_up),
		cmocka_unit_test(keyring_finds_in_order),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
