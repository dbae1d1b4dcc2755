/* SPDX-License-Identifier: ISC */
/*
 * domainkeys: fields, records and the sending address read; which bytes are
 * signed; and whole messages through the module (RFC 4870).
 */
#include "tests/unit/modules/house_help.h"

static struct field field_of(const char *value)
{
	return (struct field){ .name = STR("DomainKey-Signature"), .value = str_of(value), .raw = str_of(value) };
}

static void signatures_are_read(void **state)
{
#define GOOD "a=rsa-sha1; c=nofws; d=Example.COM; s=Sel; q=dns; "
	static const struct { const char *value, *fault; } cases[] = {
		{ GOOD "h=From : To; b=AAAA", NULL },
		{ "c=simple; d=a.test; s=s; b=AA\r\n BB;", NULL },
		{ "c=simple; s=s; b=AAAA", "d= is missing" },
		{ "c=simple; d=a.test(.b.test; s=s; b=AAAA", "d= is not a domain name" },
		{ "c=simple; d=a..test; s=s; b=AAAA", "d= is not a domain name" },
		{ "c=simple; d=a.test; b=AAAA", "s= is missing" },
		{ "c=simple; d=a.test; s=s/x; b=AAAA", "s= is not a selector" },
		{ "d=a.test; s=s; b=AAAA", "c= is missing" },
		{ "c=relaxed; d=a.test; s=s; b=AAAA", "c= names a canonical form that is not known (simple, nofws)" },
		{ "a=rsa-sha256; c=simple; d=a.test; s=s; b=AAAA",
		  "a= names an algorithm that DomainKeys does not know (rsa-sha1)" },
		{ "q=http; c=simple; d=a.test; s=s; b=AAAA", "q= names no way to the key that is known (dns)" },
		{ GOOD "h=; b=AAAA", "h= holds something that is no field name" },
		{ GOOD "h=From", "b= is missing" },
		{ GOOD "b=%%%%", "b= is not base64" },
		{ GOOD "b=AAAA; b=AAAA", "a tag stands in it twice" },
		{ GOOD "b=AAAA; nonsense", "it is not a list of tag=value" },
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct field f = field_of(cases[i].value);
		struct domainkeys_signature sig;

		domainkeys_signature_parse(&a, &f, &sig);
		if (sig.fault == NULL ? cases[i].fault != NULL : cases[i].fault == NULL || strcmp(sig.fault, cases[i].fault))
			fail_msg("%s: %s", cases[i].value, sig.fault != NULL ? sig.fault : "good");
		if (i == 0) {
			assert_true(str_is(sig.domain, "example.com") && str_is(sig.selector, "sel"));
			assert_int_equal(sig.canon, CANON_NOFWS);
			assert_true(domainkeys_signature_covers(&sig, "to") && !domainkeys_signature_covers(&sig, "Sender"));
		}
		if (i == 1)
			assert_true(sig.b.n == 3 && domainkeys_signature_covers(&sig, "anything"));
	}
	arena_fini(&a);
}

/* 512 bits: the RFC would take it, we do not. */
#define RSA_512 "MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKpPMw6CkPacjfopMWujEBoOhyIraX4M20lR1HKC4SxFT8UI+yHh9sY+KuuAxVBkCm+hfAdlg5AY" \
	"1GCpthZ9UpECAwEAAQ=="
#define RSA_1024                                                                                                    \
	"MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDwIRP/UC3SBsEmGqZ9ZJW3/DkMoGeLnQg1fWn7/zYtIxN2SnFCjxOCKG9v3b4jYfcTN" \
	"h5ijSsq631uBItLa7od+v/RtdC2UzJ1lWT947qR+Rcac2gbto/NMqJ0fzfVjH4OuKhitdY9tf6mcwGjaNBcWToIMmPSPDdQPNUYckcQ2QIDAQAB"

static void keys_are_read(void **state)
{
	static const struct { const char *record; enum domainkeys_result want; const char *granularity; bool testing; } cases[] = {
		{ "p=" RSA_1024, DOMAINKEYS_PASS, "", false },
		{ "g=; k=rsa; t=y; n=a note; p=" RSA_1024 ";", DOMAINKEYS_PASS, "", true },
		{ "g=joe; p=" RSA_1024, DOMAINKEYS_PASS, "joe", false },
		{ "v=DKIM1; g=*; p=" RSA_1024, DOMAINKEYS_PASS, "", false },
		{ "k=rsa; p=", DOMAINKEYS_PERMERROR, NULL, false },
		{ "k=rsa", DOMAINKEYS_PERMERROR, NULL, false },
		{ "k=dsa; p=" RSA_1024, DOMAINKEYS_PERMERROR, NULL, false },
		{ "p=AAAA", DOMAINKEYS_PERMERROR, NULL, false },
		{ "p=" RSA_512, DOMAINKEYS_POLICY, NULL, false },
		{ "nonsense", DOMAINKEYS_PERMERROR, NULL, false },
		{ "", DOMAINKEYS_PERMERROR, NULL, false },
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct domainkeys_key k;

		domainkeys_key_parse(&a, str_of(cases[i].record), &k);
		if (k.result != cases[i].want || (k.result == DOMAINKEYS_PASS) != (k.key != NULL))
			fail_msg("%s: %s", cases[i].record, k.reason != NULL ? k.reason : "good");
		if (k.result == DOMAINKEYS_PASS)
			assert_true(str_is(k.granularity, cases[i].granularity) && k.testing == cases[i].testing);
		domainkeys_key_drop(&k);
		domainkeys_key_drop(&k);
	}
	arena_fini(&a);
}

static void policies_are_read(void **state)
{
	static const struct { const char *record; bool is, all, testing; } cases[] = {
		{ "o=~", true, false, false },       { "o=-", true, true, false },
		{ "t=y; o=-; n=x", true, true, true }, { "n=only a note", true, false, false },
		{ "o=?", false, false, false },      { "nothing", false, false, false },
		{ "", false, false, false },         { "o=-; o=~", false, true, false },
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct domainkeys_policy p;
		bool is = domainkeys_policy_parse(&a, str_of(cases[i].record), &p);

		if (is != cases[i].is || (is && (p.signs_all != cases[i].all || p.testing != cases[i].testing)))
			fail_msg("%s", cases[i].record);
	}
	arena_fini(&a);
}

/* RFC 4870 2.3: Sender's address, else From's; the first of several. */
static void the_sending_address(void **state)
{
	static const struct { const char *header, *from, *domain, *fault; } cases[] = {
		{ "From: a@one.test\r\n", "From", "one.test", NULL },
		{ "From: a@one.test\r\nSender: b@two.test\r\n", "Sender", "two.test", NULL },
		{ "Sender: b@TWO.test, c@three.test\r\nFrom: a@one.test\r\n", "Sender", "two.test", NULL },
		{ "Subject: x\r\n", "From", "", "the message has neither Sender nor From" },
		{ "From: a@one.test\r\nFrom: b@two.test\r\n", "From", "", "the field with the sending address stands there several times" },
		{ "From: nobody\r\n", "From", "", "the sending address cannot be read" },
		{ "From: a@[192.0.2.1]\r\n", "From", "", "the sending address cannot be read" },
		{ "From: <a@one.test\r\n", "From", "", "the sending address cannot be read" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct domainkeys_sender s;
		struct from from;
		struct mail m;

		mail_read(&m, str_of(cases[i].header));
		from_judge(&m.arena, m.fields, &from);
		domainkeys_sender_find(&m.arena, m.fields, &from, &s);
		if (!str_is(s.domain, cases[i].domain) || strcmp(s.header, cases[i].from) ||
		    (s.fault == NULL ? cases[i].fault != NULL : cases[i].fault == NULL || strcmp(s.fault, cases[i].fault)))
			fail_msg("%s: %s", cases[i].header, s.fault != NULL ? s.fault : "good");
		mail_drop(&m);
	}
}

#define DK "DomainKey-Signature: d=a.test; s=s; b=AAAA; "

/* RFC 4870 3.4, the bytes written out; the body cut at every place. */
static void what_is_signed(void **state)
{
	static const struct { const char *what, *text, *bytes; } cases[] = {
		{ "simple, all that follows", "Above: x\r\n" DK "c=simple\r\nFrom:  a@a.test\r\nSubject: x\r\n  y \r\n\r\nHi  you \r\n\r\nz\r\n\r\n\r\n",
		  "From:  a@a.test\r\nSubject: x\r\n  y \r\n\r\nHi  you \r\n\r\nz\r\n" },
		{ "nofws", DK "c=nofws\r\nFrom:  a@a.test\r\nSubject :\tx\r\n  y \r\n\r\n Hi \t you \r\n \t\r\nz\r\n \r\n\r\n",
		  "From:a@a.test\r\nSubject:xy\r\n\r\nHiyou\r\n\r\nz\r\n" },
		{ "h= in the message's order, every occurrence", DK "c=simple; h=subject:FROM:absent\r\nTo: t\r\nFrom: a\r\nSubject: 1\r\nX: x\r\nSubject: 2\r\n\r\nb\r\n",
		  "From: a\r\nSubject: 1\r\nSubject: 2\r\n\r\nb\r\n" },
		{ "an empty body takes the empty line along", DK "c=simple\r\nFrom: a\r\n\r\n", "From: a\r\n" },
		{ "so does one of empty lines", DK "c=simple\r\nFrom: a\r\n\r\n\r\n\r\n", "From: a\r\n" },
		{ "or of blanks, without them", DK "c=nofws\r\nFrom: a\r\n\r\n \r\n\t\r\n", "From:a\r\n" },
		{ "blanks are content to simple", DK "c=simple\r\nFrom: a\r\n\r\n \r\n\r\n", "From: a\r\n\r\n \r\n" },
		{ "no CRLF at the end", DK "c=simple\r\nFrom: a\r\n\r\nb", "From: a\r\n\r\nb\r\n" },
		{ "empty lines in front", DK "c=simple\r\nFrom: a\r\n\r\n\r\n\r\nb\r\n", "From: a\r\n\r\n\r\n\r\nb\r\n" },
		{ "a signature below is a field as others", DK "c=simple\r\n" DK "c=simple\r\nFrom: a\r\n\r\nb\r\n", DK "c=simple\r\nFrom: a\r\n\r\nb\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct domainkeys_signature sig;
		unsigned char want[DIGEST_MAX], got[DIGEST_MAX];
		struct mail m;

		mail_read(&m, str_of(cases[i].text));
		domainkeys_signature_parse(&m.arena, fields_first(m.fields, "DomainKey-Signature"), &sig);
		assert_null(sig.fault);
		assert_int_equal(digest_of(DIGEST_SHA1, str_of(cases[i].bytes), want), 20);
		for (size_t cut = 0; cut <= m.body.n; cut++) {
			struct domainkeys_hash h;

			assert_true(domainkeys_hash_begin(&h, m.fields, &sig));
			domainkeys_hash_body(&h, str_head(m.body, cut));
			domainkeys_hash_body(&h, str_skip(m.body, cut));
			assert_int_equal(domainkeys_hash_end(&h, got), 20);
			if (memcmp(got, want, 20) != 0)
				fail_msg("%s, cut at %zu", cases[i].what, cut);
			domainkeys_hash_drop(&h);
		}
		mail_drop(&m);
	}
}

/* ---- through the module ---------------------------------------------------- */

static struct key *key;

/* `tags` may hold c=, h=, d= and s= stand there already; `head` is put above. */
static str dk_sign(struct house *h, const char *domain, const char *tags, const char *head, str text)
{
	unsigned char hash[DIGEST_MAX], b[SIGNATURE_MAX];
	struct domainkeys_signature sig;
	struct domainkeys_hash dh;
	struct mail m;
	size_t n = 0;
	str unsigned_text = arena_printf(&h->arena, "DomainKey-Signature: d=%s; s=s; b=AAAA; %s\r\n%.*s", domain, tags,
	                                 STR_ARG(text));

	mail_read(&m, unsigned_text);
	domainkeys_signature_parse(&m.arena, &m.fields->v[0], &sig);
	assert_true(domainkeys_hash_begin(&dh, m.fields, &sig));
	domainkeys_hash_body(&dh, m.body);
	size_t hn = domainkeys_hash_end(&dh, hash);

	assert_int_equal(key_sign(key, DIGEST_SHA1, (str){ (const char *)hash, hn }, b, &n), OK);
	str text_b = base64_encode(&h->arena, (str){ (const char *)b, n });
	str out = arena_printf(&h->arena, "%sDomainKey-Signature: d=%s; s=s; b=%.*s; %s\r\n%.*s", head, domain, STR_ARG(text_b), tags,
	                       STR_ARG(text));

	mail_drop(&m);
	return out;
}

static void key_publish(struct house *h, const char *domain, const char *tags)
{
	str record;

	assert_int_equal(dkim_key_record(key, &h->arena, &record), OK);
	buf_addf(&h->zone, "s._domainkey.%s TXT %s%.*s\n", domain, tags, STR_ARG(str_skip(record, 9)));   /* without v=DKIM1 */
}

struct scene {
	const char *what, *domain, *tags, *head, *key_tags, *zone, *text;
	const char *change;              /* put behind the body after signing */
	const char *field;               /* in Authentication-Results */
	bool        no_key, not_signed;
};

static void play(const struct scene *s)
{
	struct house h;
	const char *domain = s->domain != NULL ? s->domain : "a.test", *text = s->text != NULL ? s->text : "From: joe@a.test\r\n\r\nHi.\r\n";

	house_begin(&h);
	((struct domainkeys_conf *)h.confs[HOUSE_DOMAINKEYS])->enable = true;
	if (s->zone != NULL)
		buf_add(&h.zone, str_of(s->zone));
	if (!s->no_key)
		key_publish(&h, domain, s->key_tags != NULL ? s->key_tags : "");
	str m = s->not_signed ? str_of(text)
	                      : dk_sign(&h, domain, s->tags != NULL ? s->tags : "c=simple", s->head != NULL ? s->head : "", str_of(text));

	if (s->change != NULL)
		m = arena_printf(&h.arena, "%.*s%s", STR_ARG(m), s->change);
	const struct verdict *v = house_judge(&h, "client.test", "", m);

	if (strstr(house_field(&h), s->field) == NULL)
		fail_msg("%s: want %s in %s", s->what, s->field, house_field(&h));
	assert_null(v->module != NULL && strcmp(v->module, "domainkeys") == 0 ? v->module : NULL);
	house_end(&h);
}

static void whole_messages(void **state)
{
	static const struct scene scenes[] = {
		{ .what = "pass", .field = " domainkeys=pass header.d=a.test header.from=a.test" },
		{ .what = "nofws survives blanks", .tags = "c=nofws", .text = "From: joe@a.test\r\n\r\nHi.\r\n", .change = " \r\n\t\r\n",
		  .field = " domainkeys=pass header.d=" },
		{ .what = "changed", .change = "more\r\n", .field = " domainkeys=fail reason=\"header or body were changed after signing\" header.d=a.test" },
		{ .what = "a parent of the sending domain", .text = "From: joe@mail.a.test\r\n\r\nHi.\r\n", .field = " domainkeys=pass header.d=a.test header.from=mail.a.test" },
		{ .what = "Sender counts before From", .text = "Sender: list@a.test\r\nFrom: joe@other.test\r\n\r\nHi.\r\n",
		  .field = " domainkeys=pass header.d=a.test header.sender=a.test" },
		{ .what = "another domain", .text = "From: joe@other.test\r\n\r\nHi.\r\n", .field = " domainkeys=permerror reason=\"d= is neither" },
		{ .what = "ends alike", .text = "From: joe@ba.test\r\n\r\nHi.\r\n", .field = " domainkeys=permerror reason=\"d= is neither" },
		{ .what = "Sender above it", .head = "Sender: x@a.test\r\n", .field = " domainkeys=permerror reason=\"the sending address stands above" },
		{ .what = "h= leaves From out", .tags = "c=simple; h=Subject", .field = " domainkeys=permerror reason=\"h= does not cover" },
		{ .what = "no key", .no_key = true, .field = " domainkeys=permerror reason=\"there is no key in DNS\"" },
		{ .what = "no answer", .no_key = true, .zone = "s._domainkey.a.test TXT SERVFAIL\n", .field = " domainkeys=temperror reason=\"the key could not be fetched\"" },
		{ .what = "for joe", .key_tags = "g=joe; ", .field = " domainkeys=pass header.d=" },
		{ .what = "for jim", .key_tags = "g=jim; ", .field = " domainkeys=permerror reason=\"the key's g= does not allow" },
		{ .what = "testing", .key_tags = "t=y; ", .field = " domainkeys=pass reason=\"the domain is testing DomainKeys (t=y)\"" },
		{ .what = "malformed", .tags = "c=none", .field = " domainkeys=permerror reason=\"c= names" },
		{ .what = "unsigned", .not_signed = true, .field = " domainkeys=none header.from=a.test" },
		{ .what = "unsigned, may be", .not_signed = true, .zone = "_domainkey.a.test TXT o=~\n", .field = " domainkeys=none header.from=a.test" },
		{ .what = "unsigned, against the policy", .not_signed = true, .zone = "_domainkey.a.test TXT t=n; o=-\n",
		  .field = " domainkeys=fail reason=\"there is no signature, and the domain signs all its mail (o=-)\" header.from=a.test" },
		{ .what = "unsigned, still testing", .not_signed = true, .zone = "_domainkey.a.test TXT t=y; o=-\n", .field = " domainkeys=none header.from=a.test" },
		{ .what = "unsigned, no answer", .not_signed = true, .zone = "_domainkey.a.test TXT TIMEOUT\n", .field = " domainkeys=temperror reason=" },
		{ .what = "no From", .not_signed = true, .text = "To: x@y.test\r\n\r\nHi.\r\n", .field = " domainkeys=none" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(scenes); i++)
		play(&scenes[i]);
}

/* The first that passes counts; four are looked at. */
static void several_signatures(void **state)
{
	struct house h;
	struct buf text;

	(void)state;
	house_begin(&h);
	((struct domainkeys_conf *)h.confs[HOUSE_DOMAINKEYS])->enable = true;
	key_publish(&h, "a.test", "");
	str good = dk_sign(&h, "a.test", "c=nofws; h=From", "", STR("From: joe@a.test\r\n\r\nHi.\r\n"));

	buf_init(&text, BUF_UNBOUNDED);
	for (int i = 0; i < 3; i++)
		buf_addf(&text, "DomainKey-Signature: d=a.test; s=t%d; c=simple; b=AAAA\r\n", i);
	buf_add(&text, good);
	house_judge(&h, "client.test", "", buf_str(&text));
	assert_non_null(strstr(house_field(&h), " domainkeys=pass header.d=a.test"));
	const struct domainkeys_outcome *o = domainkeys_state_outcome(chain_msg(h.conn, &domainkeys_module));

	assert_int_equal(o->signatures, 4);
	assert_true(str_is(o->selector, "s") && o->key_bits == 1024);
	assert_int_equal(house_times(h.asked, "._domainkey.a.test"), 4);
	buf_fini(&text);
	house_end(&h);
}

static void off_by_default(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	house_judge(&h, "client.test", "", STR(DK "c=simple\r\nFrom: a@a.test\r\n\r\nx\r\n"));
	assert_null(strstr(house_field(&h), "domainkeys"));
	assert_null(strstr(h.asked, "_domainkey"));
	assert_null(domainkeys_state_outcome(chain_msg(h.conn, &domainkeys_module)));
	house_end(&h);
}

static void ends_while_questions_are_out(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	((struct domainkeys_conf *)h.confs[HOUSE_DOMAINKEYS])->enable = true;
	buf_add(&h.zone, STR("s._domainkey.a.test TXT SILENT\n"));
	house_arrive(&h, "client.test", "", FROM_STRANGER, STR(DK "c=simple\r\nFrom: a@a.test\r\n\r\nx\r\n"));
	assert_int_equal(chain_message(h.conn, house_told, h.loop), SAY_WAIT);
	chain_end(h.conn);
	assert_int_equal(dns_out(h.dns), 0);
	house_end(&h);
}

static void logins_are_not_judged(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	((struct domainkeys_conf *)h.confs[HOUSE_DOMAINKEYS])->enable = true;
	house_arrive(&h, "client.test", "", FROM_LOGIN, STR(DK "c=simple\r\nFrom: a@a.test\r\n\r\nx\r\n"));
	assert_int_equal(house_times(h.asked, "_domainkey"), 0);
	house_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signatures_are_read),
		cmocka_unit_test(keys_are_read),
		cmocka_unit_test(policies_are_read),
		cmocka_unit_test(the_sending_address),
		cmocka_unit_test(what_is_signed),
		cmocka_unit_test(whole_messages),
		cmocka_unit_test(several_signatures),
		cmocka_unit_test(off_by_default),
		cmocka_unit_test(ends_while_questions_are_out),
		cmocka_unit_test(logins_are_not_judged),
	};

	crypt_setup();
	key = key_generate(KEY_RSA, 1024);
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	key_free(key);
	return failed;
}
