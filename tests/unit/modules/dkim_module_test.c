/* SPDX-License-Identifier: ISC */
/*
 * dkim_module: keys asked for and waited for, caps, actions, what is written,
 * and what is signed on the way out.
 */
#include "tests/unit/modules/house_help.h"

#define RFC_ZONE                                                              \
	"brisbane._domainkey.football.example.com TXT " RFC8463_ED25519_KEY "\n" \
	"test._domainkey.football.example.com TXT " RFC8463_RSA_KEY "\n"
#define RFC_MESSAGE RFC8463_FIELDS RFC_FIELDS "\r\n" RFC_BODY

static struct dkim_conf *conf(struct house *h)
{
	return h->confs[HOUSE_DKIM];
}

static void passes_are_written(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	buf_add(&h.zone, STR(RFC_ZONE));
	assert_int_equal(house_judge(&h, "client.test", "", STR(RFC_MESSAGE))->say, SAY_NEXT);
	const char *field = house_field(&h);

	assert_non_null(strstr(field, "dkim=pass header.d=football.example.com header.i=@football.example.com "
	                              "header.s=brisbane header.a=ed25519-sha256 header.b=\"/gCrinpc\""));
	assert_non_null(strstr(field, "dkim=pass header.d=football.example.com header.i=@football.example.com "
	                              "header.s=test header.a=rsa-sha256 header.b=F45dVWDf"));
	house_end(&h);
}

static void no_signature_is_none(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	house_judge(&h, "client.test", "", STR(RFC_FIELDS "\r\n" RFC_BODY));
	assert_non_null(strstr(house_field(&h), " dkim=none;"));
	house_end(&h);
}

/* One question for equal keys, and header.b grows until it tells them apart. */
static void equal_keys_are_asked_once(void **state)
{
	static const char *const sig =
		"DKIM-Signature: v=1; a=rsa-sha256; d=a.test; s=s; h=From; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; b=";
	struct house h;

	(void)state;
	house_begin(&h);
	str text = arena_printf(&h.arena, "%sAAAABBBBCCCC\r\n%sAAAABBBBDDDD\r\n%sEEEE\r\n" RFC_FIELDS "\r\nx\r\n", sig, sig, sig);

	house_judge(&h, "client.test", "", text);
	assert_int_equal(house_times(h.asked, "s._domainkey.a.test "), 1);
	const char *field = house_field(&h);

	assert_non_null(strstr(field, "header.b=AAAABBBBC;"));
	assert_non_null(strstr(field, "header.b=AAAABBBBD;"));
	assert_non_null(strstr(field, "header.b=EEEE;"));
	assert_int_equal(house_times(field, "dkim=permerror reason=\"there is no key: the name does not exist in DNS\""), 3);
	house_end(&h);
}

static void signatures_are_capped_before_dns(void **state)
{
	struct house h;
	struct buf text;
	size_t n;

	(void)state;
	house_begin(&h);
	buf_init(&text, BUF_UNBOUNDED);
	for (int i = 0; i < 300; i++)
		buf_addf(&text, "DKIM-Signature: v=1; a=rsa-sha256; d=d%d.test; s=s; h=From; b=AA; "
		         "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=\r\n", i);
	buf_add(&text, STR(RFC_FIELDS "\r\nx\r\n"));
	house_judge(&h, "client.test", "", buf_str(&text));
	assert_int_equal(house_times(h.asked, "_domainkey"), 8);
	const struct dkim_verdict *v = dkim_state_verdicts(chain_msg(h.conn, &dkim_module), &n);

	assert_int_equal(n, 300);
	assert_int_equal(v[7].result, DKIM_PERMERROR);
	for (size_t i = 8; i < n; i++)
		assert_int_equal(v[i].result, DKIM_POLICY);
	assert_true(str_is(v[20].sig.domain, "d20.test"));
	assert_int_equal(house_times(house_field(&h), "dkim="), 9);
	assert_non_null(strstr(house_field(&h), "dkim=policy reason=\"292 more signatures were not looked at\""));
	buf_fini(&text);
	house_end(&h);
}

static void forged_names_are_never_asked(void **state)
{
	static const str names[] = {
		STR("legit.com(.attacker.com"), STR("legit.com\0.attacker.com"), STR("legit.com\".attacker.com"),
		STR("legit.com .attacker.com"), STR("legit..com"), STR("legit.com."),
	};

	(void)state;
	for (size_t i = 0; i < COUNT(names); i++)
		for (int selector = 0; selector < 2; selector++) {
			struct house h;
			struct buf text;

			house_begin(&h);
			buf_init(&text, BUF_UNBOUNDED);
			buf_add(&text, STR("DKIM-Signature: v=1; a=rsa-sha256; h=From; b=AA; bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=; d="));
			buf_add(&text, selector ? STR("a.test") : names[i]);
			buf_add(&text, STR("; s="));
			buf_add(&text, selector ? names[i] : STR("s"));
			buf_add(&text, STR("\r\n" RFC_FIELDS "\r\nx\r\n"));
			house_judge(&h, "client.test", "", buf_str(&text));
			assert_int_equal(house_times(h.asked, "_domainkey"), 0);
			assert_int_equal(house_times(house_field(&h), "dkim=permerror reason="), 1);
			assert_null(strstr(house_field(&h), selector ? "header.s=" : "header.d="));
			buf_fini(&text);
			house_end(&h);
		}
}

static void troubles_have_results_and_actions(void **state)
{
	static const struct {
		const char *zone; bool body_changed; size_t option; enum say say; int code; const char *want;
	} cases[] = {
#define ON(o) offsetof(struct dkim_conf, o)
		{ "brisbane._domainkey.football.example.com TXT SERVFAIL\ntest._domainkey.football.example.com TXT SERVFAIL\n", false,
		  ON(on_temperror), SAY_DEFER, 451, "dkim=temperror reason=\"the key could not be fetched: DNS server failure\"" },
		{ "brisbane._domainkey.football.example.com TXT TIMEOUT\ntest._domainkey.football.example.com TXT TIMEOUT\n", false,
		  ON(on_temperror), SAY_DEFER, 451, "dkim=temperror reason=\"the key could not be fetched: no answer" },
		{ RFC_ZONE, true, ON(on_fail), SAY_REJECT, 550, "dkim=fail reason=\"body hash mismatch" },
		{ "", false, ON(on_permerror), SAY_REJECT, 550, "dkim=permerror reason=\"there is no key" },
		{ "brisbane._domainkey.football.example.com TXT v=DKIM1; p=\n", false, ON(on_permerror), SAY_QUARANTINE, 250,
		  "dkim=permerror reason=\"the key is revoked" },
		{ "brisbane._domainkey.football.example.com CNAME key.host.test\nkey.host.test TXT " RFC8463_ED25519_KEY "\n", false,
		  ON(on_permerror), SAY_NEXT, 0, "dkim=pass header.d=" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct house h;

		house_begin(&h);
		buf_add(&h.zone, str_of(cases[i].zone));
		*(int *)((char *)conf(&h) + cases[i].option) =
			cases[i].say == SAY_DEFER ? DKIM_DEFER : cases[i].say == SAY_QUARANTINE ? DKIM_QUARANTINE : DKIM_REJECT;
		const struct verdict *v = house_judge(&h, "client.test", "", cases[i].body_changed
			? STR(RFC8463_FIELDS RFC_FIELDS "\r\nchanged\r\n") : STR(RFC_MESSAGE));

		if (strstr(house_field(&h), cases[i].want) == NULL)
			fail_msg("case %zu: %s", i, house_field(&h));
		assert_int_equal(v->say, cases[i].say);
		assert_int_equal(v->code, cases[i].code);
		house_end(&h);
	}
}

static void split_records_are_joined(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	buf_add(&h.zone, STR("brisbane._domainkey.football.example.com TXT \"v=DKIM1; k=ed25519; p=11qYAYKx\" \"CrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"\n"));
	house_judge(&h, "client.test", "", STR(RFC_MESSAGE));
	assert_non_null(strstr(house_field(&h), "dkim=pass header.d=football.example.com"));
	house_end(&h);
}

static void testing_and_expiry_are_known(void **state)
{
	struct house h;
	size_t n;

	(void)state;
	house_begin(&h);
	buf_add(&h.zone, STR("brisbane._domainkey.football.example.com TXT t=y; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"));
	house_judge(&h, "client.test", "", STR("DKIM-Signature: v=1; a=rsa-sha256; d=old.test; s=s; h=From; b=AA; x=1600000000; "
	                                       "bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=\r\n" RFC_MESSAGE));
	const struct dkim_verdict *v = dkim_state_verdicts(chain_msg(h.conn, &dkim_module), &n);

	assert_int_equal(n, 3);
	assert_int_equal(v[0].result, DKIM_FAIL);
	assert_true(str_starts(v[0].reason, "the signature has expired"));
	assert_null(strstr(h.asked, "old.test"));
	assert_int_equal(v[1].result, DKIM_PASS);
	assert_true(v[1].testing);
	house_end(&h);
}

/* A message that ends while its keys are out leaves nothing behind. */
static void ends_while_keys_are_out(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	buf_add(&h.zone, STR("brisbane._domainkey.football.example.com TXT SILENT\n"));
	house_arrive(&h, "client.test", "", FROM_STRANGER, STR(RFC_MESSAGE));
	assert_int_equal(chain_message(h.conn, house_told, h.loop), SAY_WAIT);
	chain_end(h.conn);
	assert_int_equal(dns_out(h.dns), 0);
	house_end(&h);
}

/* ---- signing -------------------------------------------------------------- */

static void send_out(struct house *h, str text, enum origin origin, struct added *added)
{
	*added = (struct added){ .arena = &h->msg_arena };
	house_arrive(h, "client.test", "user@home.test", origin, text);
	house_stage(h, chain_message(h->conn, house_told, h->loop));
	assert_int_equal(chain_verdict(h->conn)->say, SAY_NEXT);
	added_field(added, STR("Date: Sat, 1 Jan 2022 00:00:00 +0000\r\n"));
	added_field(added, STR("Received: by mx.test\r\n"));
	house_stage(h, chain_queue(h->conn, added, house_told, h->loop));
	h->field = authn_field(h->conn, &h->msg_arena, h->in.authserv_id, STR_NONE);
}

static void logins_are_signed_with_every_key(void **state)
{
	static const enum origin origins[] = { FROM_LOGIN, FROM_OURSELVES };

	(void)state;
	for (size_t o = 0; o < COUNT(origins); o++) {
		struct house h;
		struct added added;
		struct key *keys[] = { key_generate(KEY_RSA, 1024), key_generate(KEY_ED25519, 0) };
		struct buf sent;
		struct mail m;
		str record;

		house_begin(&h);
		conf(&h)->keyring = dkim_keyring_new(&h.arena);
		for (int i = 0; i < 2; i++)
			dkim_keyring_add(conf(&h)->keyring, &(struct dkim_signer){ .domain = STR("home.test"),
				.selector = i ? STR("ed") : STR("rsa"), .key = keys[i], .header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED });
		send_out(&h, STR("From: user@HOME.test\r\nSubject: x\r\n\r\nHi.\r\n"), origins[o], &added);
		assert_int_equal(added.n, 4);
		assert_true(str_has(added.v[3], "s=rsa;"));        /* the last added stands first: the keyring's order */
		assert_true(str_has(added.v[2], "s=ed;"));
		assert_false(str_has(added.v[3], "Received"));
		assert_true(str_has(added.v[3], "t=1700000000;"));
		assert_null(strstr(house_field(&h), "dkim="));
		assert_null(strstr(house_field(&h), "dmarc="));
		buf_init(&sent, BUF_UNBOUNDED);
		for (size_t i = added.n; i-- > 0;)
			buf_add(&sent, added.v[i]);
		buf_add(&sent, STR("From: user@HOME.test\r\nSubject: x\r\n\r\nHi.\r\n"));
		mail_read(&m, buf_str(&sent));
		for (int i = 0; i < 2; i++) {
			dkim_key_record(keys[i], &h.arena, &record);
			assert_int_equal(mail_judge(&m, (size_t)i, str_cstr(&h.arena, record)).result, DKIM_PASS);
		}
		mail_drop(&m);
		buf_fini(&sent);
		house_end(&h);
		key_free(keys[0]);
		key_free(keys[1]);
	}
}

static void others_are_not_signed(void **state)
{
	static const struct { const char *text; enum origin origin; } cases[] = {
		{ "From: user@homehome.test\r\n\r\nHi.\r\n", FROM_LOGIN },
		{ "From: user@test\r\n\r\nHi.\r\n", FROM_LOGIN },
		{ "From: user@other.test\r\n\r\nHi.\r\n", FROM_LOGIN },
		{ "From: a@home.test, b@other.test\r\n\r\nHi.\r\n", FROM_LOGIN },
		{ "Subject: x\r\n\r\nHi.\r\n", FROM_OURSELVES },
		{ "From: user@home.test\r\n\r\nHi.\r\n", FROM_STRANGER },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct house h;
		struct added added;
		struct key *key = key_generate(KEY_ED25519, 0);

		house_begin(&h);
		conf(&h)->keyring = dkim_keyring_new(&h.arena);
		dkim_keyring_add(conf(&h)->keyring, &(struct dkim_signer){ .domain = STR("home.test"), .selector = STR("s"), .key = key });
		send_out(&h, str_of(cases[i].text), cases[i].origin, &added);
		for (size_t k = 0; k < added.n; k++)
			assert_false(str_starts(added.v[k], "DKIM-Signature"));
		house_end(&h);
		key_free(key);
	}
}

/* No key is out: sent with a word in the log, or held; what signing anew needs is kept all the same. */
static void shut_gates_follow_the_policy(void **state)
{
	static const struct { bool keys, open, policy, hold; } cases[] = {
		{ true, false, false, false }, { true, false, true, false }, { true, false, true, true },
		{ false, false, true, true }, { true, true, true, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct house h;
		struct added added;
		struct dkim_gate gate = { cases[i].open };
		struct key *key = key_generate(KEY_ED25519, 0);

		house_begin(&h);
		conf(&h)->keyring = dkim_keyring_new(&h.arena);
		if (cases[i].policy)
			dkim_keyring_policy(conf(&h)->keyring, STR("home.test"), cases[i].hold);
		if (cases[i].keys)
			dkim_keyring_add(conf(&h)->keyring, &(struct dkim_signer){ .domain = STR("home.test"), .selector = STR("s"),
				.key = key, .gate = &gate, .body_canon = CANON_RELAXED, .expire_s = 60 });
		send_out(&h, STR("From: user@mail.home.test\r\n\r\nHi.\r\n"), FROM_LOGIN, &added);
		assert_int_equal(added.n, 2 + cases[i].open);
		assert_true(added.signing.on && str_is(added.signing.author, "mail.home.test"));
		assert_int_equal(added.signing.missing, !cases[i].open);
		assert_int_equal(added.signing.hold, !cases[i].open && cases[i].hold);
		assert_int_equal(added.signing.until, 1700000000 + (cases[i].open ? 60 : 0));
		assert_int_equal(added.signing.hashes[CANON_RELAXED].n, 32);
		assert_int_equal(added.signing.hashes[CANON_SIMPLE].n, 0);
		house_end(&h);
		key_free(key);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passes_are_written),
		cmocka_unit_test(no_signature_is_none),
		cmocka_unit_test(equal_keys_are_asked_once),
		cmocka_unit_test(signatures_are_capped_before_dns),
		cmocka_unit_test(forged_names_are_never_asked),
		cmocka_unit_test(troubles_have_results_and_actions),
		cmocka_unit_test(split_records_are_joined),
		cmocka_unit_test(testing_and_expiry_are_known),
		cmocka_unit_test(ends_while_keys_are_out),
		cmocka_unit_test(logins_are_signed_with_every_key),
		cmocka_unit_test(others_are_not_signed),
		cmocka_unit_test(shut_gates_follow_the_policy),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
