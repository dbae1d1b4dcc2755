/* SPDX-License-Identifier: ISC */
/*
 * senderid: the Purported Responsible Address (RFC 4407 2), and whole messages
 * through the module (RFC 4406).
 */
#include "tests/unit/modules/house_help.h"

static void purported_responsible_addresses(void **state)
{
	static const struct { const char *what, *header, *from, *address; } cases[] = {
		{ "step 4: From", "From: A <a@one.test>\r\n", "From", "a@one.test" },
		{ "step 3: Sender", "From: a@one.test\r\nSender: b@two.test\r\n", "Sender", "b@two.test" },
		{ "step 2: Resent-From", "Resent-From: c@three.test\r\nFrom: a@one.test\r\nSender: b@two.test\r\n", "Resent-From", "c@three.test" },
		{ "step 1: Resent-Sender", "Resent-Sender: d@four.test\r\nResent-From: c@three.test\r\nFrom: a@one.test\r\n", "Resent-Sender", "d@four.test" },
		{ "step 1: below Resent-From, in one block", "Resent-From: c@three.test\r\nResent-Sender: d@four.test\r\nFrom: a@one.test\r\n",
		  "Resent-Sender", "d@four.test" },
		{ "step 1: of an older block", "Resent-From: c@three.test\r\nReceived: x\r\nResent-Sender: d@four.test\r\nFrom: a@one.test\r\n",
		  "Resent-From", "c@three.test" },
		{ "step 1: Return-Path parts blocks, too", "Resent-From: c@three.test\r\nReturn-Path: <x>\r\nResent-Sender: d@four.test\r\n",
		  "Resent-From", "c@three.test" },
		{ "step 1: Received above both", "Received: x\r\nResent-From: c@three.test\r\nResent-Sender: d@four.test\r\n", "Resent-Sender", "d@four.test" },
		{ "the first of several", "Resent-Sender: d@four.test\r\nReceived: x\r\nResent-Sender: e@five.test\r\n", "Resent-Sender", "d@four.test" },
		{ "empty fields are not there", "Resent-Sender: \r\nResent-From:\r\n \t\r\nSender: \r\nFrom: a@one.test\r\n", "From", "a@one.test" },
		{ "two Sender", "Sender: b@two.test\r\nSender: b@two.test\r\nFrom: a@one.test\r\n", "Sender", NULL },
		{ "two From", "From: a@one.test\r\nFrom: a@one.test\r\n", "From", NULL },
		{ "two From, one Sender", "From: a@one.test\r\nFrom: a@one.test\r\nSender: b@two.test\r\n", "Sender", "b@two.test" },
		{ "none", "To: x@y.test\r\n", "From", NULL },
		{ "two addresses", "From: a@one.test, b@two.test\r\n", "From", NULL },
		{ "Sender is malformed", "From: a@one.test\r\nSender: <b@two.test\r\n", "Sender", NULL },
		{ "no domain", "From: nobody\r\n", "From", NULL },
		{ "an address literal", "From: a@[192.0.2.1]\r\n", "From", NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct senderid_pra pra;
		struct from from;
		struct mail m;

		mail_read(&m, str_of(cases[i].header));
		from_judge(&m.arena, m.fields, &from);
		senderid_pra_find(&m.arena, m.fields, &from, &pra);
		if (strcmp(pra.header, cases[i].from) != 0 || (pra.fault == NULL) != (cases[i].address != NULL) ||
		    (pra.fault == NULL && !str_is(pra.path.text, cases[i].address)))
			fail_msg("%s: %s %.*s %s", cases[i].what, pra.header, STR_ARG(pra.path.text), pra.fault != NULL ? pra.fault : "");
		mail_drop(&m);
	}
}

struct scene { const char *what, *zone, *sender, *header, *field; enum spf_result pra, mfrom; };

static void play(const struct scene *s)
{
	struct house h;

	house_begin(&h);
	((struct senderid_conf *)h.confs[HOUSE_SENDERID])->enable = true;
	buf_add(&h.zone, str_of(s->zone));
	str text = arena_printf(&h.arena, "%s\r\nx\r\n", s->header != NULL ? s->header : "From: a@one.test\r\n");
	const struct verdict *v = house_judge(&h, "helo.test", s->sender, text);
	const struct senderid_outcome *o = senderid_state_outcome(chain_msg(h.conn, &senderid_module));

	assert_non_null(o);
	assert_non_null(o->mfrom);
	if (o->result != s->pra || o->mfrom->result != s->mfrom)
		fail_msg("%s: pra %s, mfrom %s", s->what, spf_result_word(o->result), spf_result_word(o->mfrom->result));
	if (strstr(house_field(&h), s->field) == NULL)
		fail_msg("%s: want %s in %s", s->what, s->field, house_field(&h));
	assert_true(v->module == NULL || strcmp(v->module, "sender-id") != 0);
	house_end(&h);
}

#define OURS  "+ip4:192.0.2.1 -all\n"       /* the client */
#define OTHER "ip4:198.51.100.1 -all\n"

/* RFC 4406 4.4: records of the scope first, then v=spf1; two are a fault. */
static void records_and_results(void **state)
{
	static const struct scene scenes[] = {
		{ "v=spf1 stands in", "one.test TXT v=spf1 " OURS, "b@one.test", NULL, " sender-id=pass header.from=a@one.test", SPF_PASS, SPF_PASS },
		{ "pra alone", "one.test TXT spf2.0/pra " OURS "one.test TXT v=spf1 " OTHER, "b@one.test", NULL, " sender-id=pass header.from=a@one.test",
		  SPF_PASS, SPF_FAIL },
		{ "mfrom alone", "one.test TXT spf2.0/mfrom " OURS "one.test TXT v=spf1 " OTHER, "b@one.test", NULL, " sender-id=fail reason=", SPF_FAIL, SPF_PASS },
		{ "both scopes in one", "one.test TXT spf2.0/mfrom,pra " OURS "one.test TXT v=spf1 " OTHER, "b@one.test", NULL, " sender-id=pass", SPF_PASS, SPF_PASS },
		{ "one for each", "one.test TXT spf2.0/mfrom " OTHER "one.test TXT spf2.0/pra " OURS, "b@one.test", NULL, " sender-id=pass", SPF_PASS, SPF_FAIL },
		{ "two for the PRA", "one.test TXT spf2.0/mfrom,pra " OURS "one.test TXT spf2.0/pra " OURS, "b@one.test", NULL, " sender-id=permerror", SPF_PERMERROR,
		  SPF_PASS },
		{ "only other scopes", "one.test TXT spf2.0/else " OURS, "b@one.test", NULL, " sender-id=none", SPF_NONE, SPF_NONE },
		{ "no such domain", "", "b@one.test", NULL, " sender-id=none", SPF_NONE, SPF_NONE },
		{ "softfail", "one.test TXT spf2.0/pra ~all\n", "b@one.test", NULL, " sender-id=softfail", SPF_SOFTFAIL, SPF_NONE },
		{ "neutral", "one.test TXT spf2.0/pra ?all\n", "b@one.test", NULL, " sender-id=neutral", SPF_NEUTRAL, SPF_NONE },
		{ "no answer", "one.test TXT SERVFAIL\n", "b@two.test", NULL, " sender-id=temperror", SPF_TEMPERROR, SPF_NONE },
		{ "another's PRA", "two.test TXT spf2.0/pra " OURS "one.test TXT v=spf1 " OTHER, "b@one.test", "Sender: l@two.test\r\nFrom: a@one.test\r\n",
		  " sender-id=pass header.sender=l@two.test", SPF_PASS, SPF_FAIL },
		{ "resent", "two.test TXT v=spf1 " OURS, "b@one.test", "Resent-From: l@two.test\r\nFrom: a@one.test\r\n",
		  " sender-id=pass header.resent-from=l@two.test", SPF_PASS, SPF_NONE },
		{ "no PRA", "one.test TXT v=spf1 " OURS, "b@one.test", "To: x@y.test\r\n", " sender-id=permerror reason=\"no field says who sent the message\"",
		  SPF_PERMERROR, SPF_PASS },
		{ "null sender: HELO", "helo.test TXT spf2.0/mfrom " OURS "one.test TXT v=spf1 " OTHER, "", NULL, " sender-id=fail", SPF_FAIL, SPF_PASS },
		{ "macros are of the PRA", "one.test TXT spf2.0/pra exists:%{l}.%{o} -all\na.one.test A 127.0.0.1\n", "b@two.test", NULL, " sender-id=pass",
		  SPF_PASS, SPF_NONE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(scenes); i++)
		play(&scenes[i]);
}

static void off_by_default(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	house_judge(&h, "client.test", "", STR("From: a@one.test\r\n\r\nx\r\n"));
	assert_null(strstr(house_field(&h), "sender-id"));
	assert_int_equal(house_times(h.asked, " one.test "), 0);
	assert_null(senderid_state_outcome(chain_msg(h.conn, &senderid_module)));
	house_end(&h);
}

static void ends_while_questions_are_out(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	((struct senderid_conf *)h.confs[HOUSE_SENDERID])->enable = true;
	buf_add(&h.zone, STR("one.test TXT SILENT\n"));
	house_arrive(&h, "client.test", "b@one.test", FROM_STRANGER, STR("From: a@one.test\r\n\r\nx\r\n"));
	assert_int_equal(chain_message(h.conn, house_told, h.loop), SAY_WAIT);
	chain_end(h.conn);
	assert_int_equal(dns_out(h.dns), 0);
	house_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(purported_responsible_addresses),
		cmocka_unit_test(records_and_results),
		cmocka_unit_test(off_by_default),
		cmocka_unit_test(ends_while_questions_are_out),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
