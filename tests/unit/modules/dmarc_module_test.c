/* SPDX-License-Identifier: ISC */
/*
 * dmarc_module: from what passed to what is done, and what stays on record.
 */
#include "tests/unit/modules/house_help.h"

#define SPF_PASSES "example.com TXT v=spf1 ip4:192.0.2.1 -all\nother.test TXT v=spf1 ip4:192.0.2.1 -all\n"
#define REJECT "_dmarc.example.com TXT v=DMARC1; p=reject\n"
#define QUARANTINE "_dmarc.example.com TXT v=DMARC1; p=quarantine\n"
#define NONE "_dmarc.example.com TXT v=DMARC1; p=none\n"
#define BODY "\r\nHello.\r\n"
#define FROM "From: Boss <boss@example.com>\r\n"

struct scene {
	const char *what, *zone, *sender, *text;
	const char *signer;           /* d= of a signature, or NULL */
	bool        partial;          /* … with l= that leaves body uncovered */
	int         action, on_temperror;
	bool        partial_counts;
	enum say    say;
	int         code;
	const char *result, *reason;  /* parts of the field and of the reply */
	enum dmarc_override override;
};

/* l= needs a signature made by hand: the signer's own never has one. */
static str sign_partly(struct house *h, const char *domain, str text)
{
	struct key *key = key_generate(KEY_ED25519, 0);
	struct mail m;
	struct digest d;
	unsigned char hash[DIGEST_MAX];
	struct dkim_signature sig;
	uint64_t whole;
	unsigned char b[SIGNATURE_MAX];
	size_t n;
	str record;

	mail_read(&m, text);
	str raw = arena_printf(&h->arena, "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=%s; s=s; l=2; h=From; bh=%.*s; b=",
	                       domain, STR_ARG(base64_encode(&h->arena, mail_hash(&m, CANON_RELAXED, 2, &whole))));
	struct field f = { .name = STR("DKIM-Signature"), .raw = raw, .value = str_skip(raw, 15) };

	dkim_signature_parse(&h->arena, &f, DKIM_SIGNATURE, &sig);
	struct buf covered;

	buf_init(&covered, BUF_UNBOUNDED);
	canon_field(CANON_RELAXED, fields_first(m.fields, "From")->raw, &covered);
	canon_signature_field(CANON_RELAXED, raw, &covered);
	digest_begin(&d, DIGEST_SHA256);
	digest_add(&d, buf_str(&covered));
	size_t len = digest_end(&d, hash);

	assert_int_equal(key_sign(key, DIGEST_SHA256, (str){ (char *)hash, len }, b, &n), OK);
	assert_int_equal(dkim_key_record(key, &h->arena, &record), OK);
	buf_addf(&h->zone, "s._domainkey.%s TXT %.*s\n", domain, STR_ARG(record));
	str out = arena_printf(&h->arena, "%.*s%.*s\r\n%.*s", STR_ARG(raw),
	                       STR_ARG(base64_encode(&h->arena, (str){ (char *)b, n })), STR_ARG(text));

	buf_fini(&covered);
	mail_drop(&m);
	key_free(key);
	return out;
}

static void play(const struct scene *s)
{
	struct house h;

	house_begin(&h);
	struct dmarc_conf *conf = h.confs[HOUSE_DMARC];

	conf->action = s->action;
	conf->on_temperror = s->on_temperror;
	((struct dkim_conf *)h.confs[HOUSE_DKIM])->partial_counts = s->partial_counts;
	buf_add(&h.zone, str_of(s->zone));
	str text = str_of(s->text);

	if (s->signer != NULL && s->partial)
		text = sign_partly(&h, s->signer, text);
	else if (s->signer != NULL)
		text = house_sign(&h, s->signer, "s", text, BODYHASH_WHOLE);
	const struct verdict *v = house_judge(&h, "client.other.test", s->sender, text);
	const void *state = chain_msg(h.conn, &dmarc_module);
	str decision = dmarc_state_decision(state);

	if (v->say != s->say || v->code != s->code || strstr(house_field(&h), s->result) == NULL ||
	    !str_has(decision, s->reason) || dmarc_state_override(state) != s->override)
		fail_msg("%s: say %d code %d override %d \"%.*s\" (%s)", s->what, v->say, v->code, dmarc_state_override(state),
		         STR_ARG(decision), house_field(&h));
	if (v->say != SAY_NEXT)
		assert_true(str_eq(v->text, decision));
	house_end(&h);
}

static void policies_become_actions(void **state)
{
	static const struct scene scenes[] = {
		{ .what = "SPF aligned", .zone = SPF_PASSES REJECT, .sender = "a@example.com", .text = FROM BODY,
		  .result = "dmarc=pass header.from=example.com policy.dmarc=reject", .reason = "" },
		{ .what = "DKIM aligned", .zone = SPF_PASSES REJECT, .sender = "a@other.test", .text = FROM BODY, .signer = "example.com",
		  .result = "dmarc=pass header.from=example.com", .reason = "" },
		{ .what = "another's SPF", .zone = SPF_PASSES REJECT, .sender = "a@other.test", .text = FROM BODY, .say = SAY_REJECT, .code = 550,
		  .result = "dmarc=fail reason=\"what passed (SPF other.test) is not aligned with example.com\" header.from=example.com policy.dmarc=reject",
		  .reason = "DMARC: example.com has published" },
		{ .what = "another's signature", .zone = REJECT, .sender = "", .text = FROM BODY, .signer = "other.test", .say = SAY_REJECT, .code = 550,
		  .result = "dmarc=fail", .reason = "sign it with DKIM as that domain" },
		{ .what = "nothing, null sender", .zone = REJECT, .sender = "", .text = FROM BODY, .say = SAY_REJECT, .code = 550, .result = "dmarc=fail", .reason = "DMARC" },
		{ .what = "quarantine", .zone = QUARANTINE, .sender = "", .text = FROM BODY, .say = SAY_QUARANTINE, .code = 250,
		  .result = "dmarc=fail", .reason = "DMARC failed for example.com, whose policy is quarantine" },
		{ .what = "none", .zone = NONE, .sender = "", .text = FROM BODY, .result = "policy.dmarc=none", .reason = "" },
		{ .what = "no record", .zone = "", .sender = "", .text = FROM BODY, .result = "dmarc=none", .reason = "" },
		{ .what = "mild", .zone = REJECT, .sender = "", .text = FROM BODY, .action = DMARC_MILD, .say = SAY_QUARANTINE, .code = 250,
		  .result = "dmarc=fail", .reason = "action = mild", .override = DMARC_LOCAL_POLICY },
		{ .what = "strict, plain", .zone = REJECT, .sender = "", .text = FROM BODY, .action = DMARC_STRICT, .say = SAY_REJECT, .code = 550,
		  .result = "dmarc=fail", .reason = "DMARC" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(scenes); i++)
		play(&scenes[i]);
}

#define LIST "List-Id: \"Talk (all)\" <talk.lists.list.test>\r\n"

static void signs_of_an_indirect_way_soften(void **state)
{
	static const struct scene scenes[] = {
		{ .what = "a list's signature", .zone = REJECT, .sender = "", .text = LIST FROM BODY, .signer = "list.test", .say = SAY_QUARANTINE, .code = 250,
		  .result = "dmarc=fail", .reason = "mailing list", .override = DMARC_MAILING_LIST },
		{ .what = "a list's signature, strict", .zone = REJECT, .sender = "", .text = LIST FROM BODY, .signer = "list.test", .action = DMARC_STRICT,
		  .say = SAY_REJECT, .code = 550, .result = "dmarc=fail", .reason = "DMARC" },
		{ .what = "a list's signature, mild", .zone = REJECT, .sender = "", .text = LIST FROM BODY, .signer = "list.test", .action = DMARC_MILD,
		  .say = SAY_QUARANTINE, .code = 250, .result = "dmarc=fail", .reason = "mailing list", .override = DMARC_MAILING_LIST },
		{ .what = "List-Id alone", .zone = REJECT, .sender = "", .text = LIST FROM BODY, .say = SAY_REJECT, .code = 550, .result = "dmarc=fail", .reason = "DMARC" },
		{ .what = "List-Id with another's signature", .zone = REJECT, .sender = "", .text = LIST FROM BODY, .signer = "notlist.test",
		  .say = SAY_REJECT, .code = 550, .result = "dmarc=fail", .reason = "DMARC" },
		{ .what = "a list's partial signature", .zone = REJECT, .sender = "", .text = LIST FROM BODY, .signer = "list.test", .partial = true,
		  .say = SAY_REJECT, .code = 550, .result = "dmarc=fail", .reason = "DMARC" },
		{ .what = "a name that ends alike", .zone = REJECT, .sender = "", .text = "List-Id: <talk.evillist.test>\r\n" FROM BODY, .signer = "list.test",
		  .say = SAY_REJECT, .code = 550, .result = "dmarc=fail", .reason = "DMARC" },
		{ .what = "the organization, strict alignment", .zone = "_dmarc.example.com TXT v=DMARC1; p=reject; adkim=s\n", .sender = "", .text = FROM BODY,
		  .signer = "mail.example.com", .say = SAY_QUARANTINE, .code = 250, .result = "dmarc=fail", .reason = "organization", .override = DMARC_LOCAL_POLICY },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(scenes); i++)
		play(&scenes[i]);
}

static void partial_signatures_do_not_count(void **state)
{
	static const struct scene scenes[] = {
		{ .what = "by default", .zone = REJECT, .sender = "", .text = FROM BODY, .signer = "example.com", .partial = true, .say = SAY_REJECT, .code = 550,
		  .result = "dkim=pass reason=\"l= leaves", .reason = "DMARC" },
		{ .what = "by option", .zone = REJECT, .sender = "", .text = FROM BODY, .signer = "example.com", .partial = true, .partial_counts = true,
		  .result = "dmarc=pass", .reason = "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(scenes); i++)
		play(&scenes[i]);
}

static void open_verdicts_are_put_off(void **state)
{
	static const struct scene scenes[] = {
		{ .what = "the record", .zone = "_dmarc.example.com TXT SERVFAIL\n", .sender = "", .text = FROM BODY, .say = SAY_DEFER, .code = 451,
		  .result = "dmarc=temperror", .reason = "DMARC of example.com cannot be judged now" },
		{ .what = "the record, accepted", .zone = "_dmarc.example.com TXT SERVFAIL\n", .sender = "", .text = FROM BODY, .on_temperror = DMARC_ACCEPT,
		  .result = "dmarc=temperror", .reason = "" },
		{ .what = "SPF", .zone = REJECT "example.com TXT SERVFAIL\n", .sender = "a@example.com", .text = FROM BODY, .say = SAY_DEFER, .code = 451,
		  .result = "dmarc=temperror", .reason = "DMARC" },
		{ .what = "SPF, but p=none", .zone = NONE "example.com TXT SERVFAIL\n", .sender = "a@example.com", .text = FROM BODY,
		  .result = "dmarc=temperror", .reason = "" },
		{ .what = "SPF, but signed", .zone = REJECT "example.com TXT SERVFAIL\n", .sender = "a@example.com", .text = FROM BODY, .signer = "example.com",
		  .result = "dmarc=pass", .reason = "" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(scenes); i++)
		play(&scenes[i]);
}

/* What nobody could vouch for is refused, whatever passed. */
static void from_that_cannot_be_judged_is_refused(void **state)
{
#define REFUSED(what_, text_) \
	{ .what = what_, .zone = SPF_PASSES REJECT, .sender = "a@example.com", .text = text_ BODY, .say = SAY_REJECT, .code = 550, \
	  .result = "dmarc=permerror", .reason = "" }
	static const struct scene scenes[] = {
		REFUSED("no From", "To: x@y.test\r\n"),
		REFUSED("two From fields", FROM "From: x@other.test\r\n"),
		REFUSED("two equal From fields", FROM FROM),
		REFUSED("two domains", "From: a@example.com, b@other.test\r\n"),
		REFUSED("an empty group", "From: nobody:;\r\n"),
		REFUSED("no domain", "From: Boss\r\n"),
		REFUSED("empty", "From:\r\n"),
		{ .what = "two addresses of one domain", .zone = SPF_PASSES REJECT, .sender = "a@example.com", .text = "From: a@example.com, b@EXAMPLE.com\r\n" BODY,
		  .result = "dmarc=pass header.from=example.com", .reason = "" },
		{ .what = "a literal", .zone = SPF_PASSES REJECT, .sender = "a@example.com", .text = "From: a@[192.0.2.1]\r\n" BODY,
		  .result = "dmarc=none", .reason = "" },
		REFUSED("a comment that is another's address", "From: (x@example.com) boss@other.test\r\n"),
		REFUSED("a name that is another's address", "From: \"x@example.com\" <boss@other.test>\r\n"),
		{ .what = "a name that speaks of another's address", .zone = SPF_PASSES REJECT, .sender = "a@other.test",
		  .text = "From: \"x@other.test via List\" <boss@example.com>\r\n" BODY,
		  .say = SAY_REJECT, .code = 550, .result = "dmarc=fail", .reason = "DMARC" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(scenes); i++)
		play(&scenes[i]);
}

static void ends_while_the_walk_is_out(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	buf_add(&h.zone, STR("_dmarc.example.com TXT SILENT\n"));
	house_arrive(&h, "client.test", "", FROM_STRANGER, STR(FROM BODY));
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
	buf_add(&h.zone, STR(REJECT));
	house_arrive(&h, "client.test", "a@other.test", FROM_LOGIN, STR(FROM BODY));
	assert_int_equal(chain_message(h.conn, house_told, h.loop), SAY_NEXT);
	assert_null(dmarc_state_outcome(chain_msg(h.conn, &dmarc_module)));
	assert_null(strstr(h.asked, "_dmarc"));
	house_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policies_become_actions),
		cmocka_unit_test(signs_of_an_indirect_way_soften),
		cmocka_unit_test(partial_signatures_do_not_count),
		cmocka_unit_test(open_verdicts_are_put_off),
		cmocka_unit_test(from_that_cannot_be_judged_is_refused),
		cmocka_unit_test(ends_while_the_walk_is_out),
		cmocka_unit_test(logins_are_not_judged),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
