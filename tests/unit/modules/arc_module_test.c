/* SPDX-License-Identifier: ISC */
/*
 * arc_module: whole messages with chains through the modules: what is asked,
 * what is told, whom a trust believes, and what is sealed on the way out.
 */
#include "tests/unit/modules/arc_help.h"
#include "tests/unit/modules/house_help.h"

#define REJECT "_dmarc.author.test TXT v=DMARC1; p=reject\n"

static struct key *key;

static int key_make(void **state)
{
	(void)state;
	crypt_setup();
	key = key_generate(KEY_ED25519, 0);
	return key == NULL;
}

static int key_drop(void **state)
{
	(void)state;
	key_free(key);
	return 0;
}

static void key_publish(struct house *h, const char *domain)
{
	str record;

	assert_int_equal(dkim_key_record(key, &h->arena, &record), OK);
	buf_addf(&h->zone, "s._domainkey.%s TXT %.*s\n", domain, STR_ARG(record));
}

static void sealer_trust(struct house *h, const char *domain, const char *skip)
{
	static struct trust_section section;
	static void *list[] = { &section };
	static str sealer, skipped;
	str why = STR_NONE;

	sealer = str_of(domain);
	skipped = str_of(skip);
	section = (struct trust_section){ .head.title = STR("friends"), .arc_sealer = { &sealer, 1 },
		                          .skip = { &skipped, skip != NULL } };
	h->trust = trust_new(&(struct conf_list){ list, 1 }, &h->arena, &why);
	assert_non_null(h->trust);
}

static const struct arc_chain *chain_of(struct house *h)
{
	return arc_state_chain(chain_msg(h->conn, &arc_module));
}

/* What the field says; which questions it takes. */
static void chains_are_told(void **state)
{
	static const struct { unsigned sets; const char *damage, *zone, *want; size_t questions; bool temporary; } cases[] = {
		{ 0, NULL, "", "; arc=none;", 0, false },
		{ 1, NULL, "", "; arc=pass (i=1) header.oldest-pass=0;", 1, false },
		{ 3, NULL, "", "; arc=pass (i=3) header.oldest-pass=0;", 1, false },
		{ 2, "Hi Bob", "", "; arc=fail reason=\"the message signature of i=2 (fwd.test) does not hold: body hash mismatch", 1, false },
		{ 2, "cv=none", "", "; arc=fail reason=\"the seal of i=1 says neither", 0, false },
		{ 2, "ARC-Seal", "", "; arc=fail reason=\"the chain is broken: ARC-Seal of i=2 is missing\" (i=2);", 0, false },
		{ 1, NULL, "s._domainkey.fwd.test TXT SERVFAIL\n", "DNS server failure\" (i=1);", 1, true },
		{ 1, NULL, "s._domainkey.fwd.test TXT v=DKIM1; p=\n", "the key is revoked: p= is empty\" (i=1);", 1, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *text = arc_help_chain(cases[i].sets, key);
		struct house h;

		if (cases[i].damage != NULL)
			memcpy(strstr(text, cases[i].damage), "Xx", 2);
		house_begin(&h);
		if (cases[i].zone[0] == '\0')
			key_publish(&h, "fwd.test");
		buf_add(&h.zone, str_of(cases[i].zone));
		house_judge(&h, "client.test", "", str_of(text));
		const char *field = house_field(&h);

		if (strstr(field, cases[i].want) == NULL)
			fail_msg("%u sets: want %s, got %s", cases[i].sets, cases[i].want, field);
		assert_int_equal(house_times(h.asked, "s._domainkey.fwd.test"), cases[i].questions);
		assert_int_equal(chain_of(&h)->temporary, cases[i].temporary);
		house_end(&h);
		free(text);
	}
}

static void what_we_sent_is_not_judged(void **state)
{
	char *text = arc_help_chain(1, key);
	struct house h;

	(void)state;
	house_begin(&h);
	key_publish(&h, "fwd.test");
	house_arrive(&h, "client.test", "ann@author.test", FROM_LOGIN, str_of(text));
	house_stage(&h, chain_message(h.conn, house_told, h.loop));
	assert_null(chain_of(&h));
	assert_int_equal(house_times(h.asked, "fwd.test"), 0);
	house_end(&h);
	free(text);
}

static void verifying_may_be_off(void **state)
{
	char *text = arc_help_chain(1, key);
	struct house h;

	(void)state;
	house_begin(&h);
	((struct arc_conf *)h.confs[HOUSE_ARC])->verify = false;
	house_judge(&h, "client.test", "", str_of(text));
	assert_null(chain_of(&h));
	assert_null(strstr(house_field(&h), "; arc="));
	house_end(&h);
	free(text);
}

/* CONTRACT: with the chain of a trusted sealer a reject becomes a quarantine. */
static void trust_decides_what_a_chain_is_worth(void **state)
{
	static const struct { const char *payload, *trusted, *skip, *damage; enum say want; enum dmarc_override why; } cases[] = {
		{ ARC_PASSED, NULL, NULL, NULL, SAY_REJECT, DMARC_AS_PUBLISHED },
		{ ARC_PASSED, "other.test", NULL, NULL, SAY_REJECT, DMARC_AS_PUBLISHED },
		{ ARC_PASSED, "fwd.test", NULL, NULL, SAY_QUARANTINE, DMARC_TRUSTED_FORWARDER },
		{ ARC_PASSED, "*.test", NULL, NULL, SAY_QUARANTINE, DMARC_TRUSTED_FORWARDER },
		{ ARC_PASSED, "fwd.test", "dmarc", NULL, SAY_NEXT, DMARC_TRUSTED_FORWARDER },
		{ ARC_PASSED, "fwd.test", NULL, "Hi Bob", SAY_REJECT, DMARC_AS_PUBLISHED },
		{ ARC_PASSED, "fwd.test", "dmarc", "Hi Bob", SAY_REJECT, DMARC_AS_PUBLISHED },
		{ "fwd.test; dmarc=fail header.from=author.test", "fwd.test", NULL, NULL, SAY_REJECT, DMARC_AS_PUBLISHED },
		{ "fwd.test; dmarc=fail header.from=author.test", "fwd.test", "dmarc", NULL, SAY_REJECT, DMARC_AS_PUBLISHED },
		{ "fwd.test; dmarc=pass header.from=else.test", "fwd.test", "dmarc", NULL, SAY_REJECT, DMARC_AS_PUBLISHED },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		char *text = arc_help_seal(strdup(ARC_MAIL), "fwd.test", cases[i].payload, key);
		struct house h;

		if (cases[i].damage != NULL)
			*strstr(text, cases[i].damage) = 'X';
		house_begin(&h);
		key_publish(&h, "fwd.test");
		buf_add(&h.zone, STR(REJECT));
		if (cases[i].trusted != NULL)
			sealer_trust(&h, cases[i].trusted, cases[i].skip);
		enum say got = house_judge(&h, "client.test", "", str_of(text))->say;

		if (got != cases[i].want || dmarc_state_override(chain_msg(h.conn, &dmarc_module)) != cases[i].why)
			fail_msg("case %zu: got say %d, override %d", i, got, dmarc_state_override(chain_msg(h.conn, &dmarc_module)));
		house_end(&h);
		free(text);
	}
}

/* ---- sealing -------------------------------------------------------------------- */

struct leaving { unsigned sets; bool forwarded, on; const char *damage, *zone, *seal; };

static void leave(const struct leaving *l)
{
	struct dkim_signer signer = { .domain = STR("here.test"), .selector = STR("s"), .key = key,
		                      .header_canon = CANON_RELAXED, .body_canon = CANON_RELAXED };
	char *text = arc_help_chain(l->sets, key), *sealed;
	struct added added = { .n = 0 };
	str arc[3] = { STR_NONE };
	size_t n = 0;
	struct house h;

	if (l->damage != NULL)
		*strstr(text, l->damage) = 'X';
	house_begin(&h);
	added.arena = &h.msg_arena;
	if (l->zone == NULL)
		key_publish(&h, "fwd.test");
	else
		buf_add(&h.zone, str_of(l->zone));
	((struct arc_conf *)h.confs[HOUSE_ARC])->signer = l->on ? &signer : NULL;
	h.in.forwarded = l->forwarded;
	house_judge(&h, "client.test", "", str_of(text));
	house_stage(&h, chain_queue(h.conn, &added, house_told, h.loop));
	assert_int_equal(chain_verdict(h.conn)->say, SAY_NEXT);
	for (size_t i = 0; i < added.n; i++)
		if (str_starts(added.v[i], "ARC-"))
			arc[n++ % 3] = added.v[i];
	assert_int_equal(n, l->seal != NULL ? 3 : 0);
	if (l->seal != NULL) {
		struct mail m;

		assert_true(str_has(arc[2], l->seal));
		assert_true(str_has(arc[0], "; mx.test;"));
		assert_true(str_has(arc[0], "smtp.remote-ip=192.0.2.1"));
		assert_true(asprintf(&sealed, "%.*s%.*s%.*s%s", STR_ARG(arc[2]), STR_ARG(arc[1]), STR_ARG(arc[0]), text) > 0);
		mail_read(&m, str_of(sealed));
		struct arc_chain c = arc_help_judge(&m, key, 1700000000);

		assert_int_equal(c.length, l->sets + 1);
		assert_int_equal(c.result, strstr(l->seal, "cv=fail") != NULL ? ARC_FAIL : ARC_PASS);
		mail_drop(&m);
		free(sealed);
	}
	house_end(&h);
	free(text);
}

static void forwarded_mail_is_sealed(void **state)
{
	static const struct leaving cases[] = {
		{ 0, true, true, NULL, NULL, "ARC-Seal: i=1; a=ed25519-sha256; t=1700000000; cv=none;\r\n d=here.test;\r\n s=s;" },
		{ 2, true, true, NULL, NULL, "ARC-Seal: i=3; a=ed25519-sha256; t=1700000000; cv=pass;" },
		{ 2, true, true, "Hi Bob", NULL, "ARC-Seal: i=3; a=ed25519-sha256; t=1700000000; cv=fail;" },
		{ 1, true, false, NULL, NULL, NULL },
		{ 1, false, true, NULL, NULL, NULL },
		/* cv=fail would be for ever. */
		{ 1, true, true, NULL, "s._domainkey.fwd.test TXT SERVFAIL\n", NULL },
		{ ARC_SETS_MAX, true, true, NULL, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		leave(&cases[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(chains_are_told),
		cmocka_unit_test(what_we_sent_is_not_judged),
		cmocka_unit_test(verifying_may_be_off),
		cmocka_unit_test(trust_decides_what_a_chain_is_worth),
		cmocka_unit_test(forwarded_mail_is_sealed),
	};

	return cmocka_run_group_tests(tests, key_make, key_drop);
}
