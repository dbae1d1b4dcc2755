/* SPDX-License-Identifier: ISC */
/*
 * adsp: records (RFC 5617 4.2.1), and whole messages through the module (4.3, 5.4).
 */
#include "tests/unit/modules/house_help.h"

static void records_are_read(void **state)
{
	static const struct { const char *record; enum adsp_practices want; } cases[] = {
		{ "dkim=unknown", ADSP_SAYS_UNKNOWN },
		{ "dkim=all", ADSP_SAYS_ALL },
		{ "dkim = ALL ; t=s", ADSP_SAYS_ALL },
		{ "dkim=discardable;", ADSP_SAYS_DISCARDABLE },
		{ "dkim=something-new", ADSP_SAYS_UNKNOWN },
		{ "t=s; dkim=all", ADSP_NO_RECORD },
		{ "DKIM=all", ADSP_NO_RECORD },
		{ "dkim=all; dkim=unknown", ADSP_NO_RECORD },
		{ "dkim=all; nonsense", ADSP_NO_RECORD },
		{ "v=spf1 -all", ADSP_NO_RECORD },
		{ "", ADSP_NO_RECORD },
	};
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; i < COUNT(cases); i++)
		if (adsp_record_parse(&a, str_of(cases[i].record)) != cases[i].want)
			fail_msg("%s", cases[i].record);
	arena_fini(&a);
}

struct scene { const char *what, *zone, *signer, *from, *field; };

static void play(const struct scene *s)
{
	struct house h;

	house_begin(&h);
	((struct adsp_conf *)h.confs[HOUSE_ADSP])->enable = true;
	buf_add(&h.zone, str_of(s->zone));
	str text = arena_printf(&h.arena, "%s\r\nx\r\n", s->from != NULL ? s->from : "From: a@one.test\r\n");

	if (s->signer != NULL)
		text = house_sign(&h, s->signer, "s", text, BODYHASH_WHOLE);
	const struct verdict *v = house_judge(&h, "client.test", "", text);

	if (strstr(house_field(&h), s->field) == NULL)
		fail_msg("%s: want %s in %s", s->what, s->field, house_field(&h));
	assert_true(v->module == NULL || strcmp(v->module, "adsp") != 0);
	house_end(&h);
}

#define HERE    "one.test A 192.0.2.9\n"
#define SAYS(x) HERE "_adsp._domainkey.one.test TXT dkim=" x "\n"

static void results(void **state)
{
	static const struct scene scenes[] = {
		{ "no record", HERE, NULL, NULL, " dkim-adsp=none header.from=one.test" },
		{ "unknown", SAYS("unknown"), NULL, NULL, " dkim-adsp=unknown header.from=one.test" },
		{ "all", SAYS("all"), NULL, NULL, " dkim-adsp=fail header.from=one.test" },
		{ "discardable", SAYS("discardable"), NULL, NULL, " dkim-adsp=discard header.from=one.test" },
		{ "signed by the author's domain", SAYS("discardable"), "one.test", NULL, " dkim-adsp=pass header.from=one.test" },
		{ "by its parent only", "mail.one.test A 192.0.2.9\n_adsp._domainkey.mail.one.test TXT dkim=all\n", "one.test", "From: a@mail.one.test\r\n",
		  " dkim-adsp=fail header.from=mail.one.test" },
		{ "by a third party", SAYS("all"), "two.test", NULL, " dkim-adsp=fail header.from=one.test" },
		{ "no such domain", "", NULL, NULL, " dkim-adsp=nxdomain reason=\"the author's domain does not exist\" header.from=one.test" },
		{ "a domain without MX exists", "x.one.test A 192.0.2.9\n", NULL, NULL, " dkim-adsp=none" },
		{ "no answer", HERE "_adsp._domainkey.one.test TXT SERVFAIL\n", NULL, NULL, " dkim-adsp=temperror reason=" },
		{ "no answer about the domain", "one.test MX TIMEOUT\n", NULL, NULL, " dkim-adsp=temperror reason=" },
		{ "two records", SAYS("all") "_adsp._domainkey.one.test TXT dkim=unknown\n", NULL, NULL, " dkim-adsp=none" },
		{ "another text beside it", SAYS("all") "_adsp._domainkey.one.test TXT hello\n", NULL, NULL, " dkim-adsp=fail" },
		{ "no From", HERE, NULL, "To: x@y.test\r\n", " dkim-adsp=permerror reason=\"From names no one domain to ask\"" },
		{ "two domains", HERE, NULL, "From: a@one.test, b@two.test\r\n", " dkim-adsp=permerror reason=" },
		{ "a literal", HERE, NULL, "From: a@[192.0.2.1]\r\n", " dkim-adsp=permerror reason=" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(scenes); i++)
		play(&scenes[i]);
}

/* The key of the author's own signature did not come: nothing can be said. */
static void an_open_signature(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	((struct adsp_conf *)h.confs[HOUSE_ADSP])->enable = true;
	buf_add(&h.zone, STR(SAYS("all") "s._domainkey.one.test TXT SERVFAIL\n"));
	house_judge(&h, "client.test", "", STR("DKIM-Signature: v=1; a=rsa-sha256; d=one.test; s=s; h=From; b=AAAA;\r\n"
	                                       " bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=\r\nFrom: a@one.test\r\n\r\nx\r\n"));
	assert_non_null(strstr(house_field(&h), " dkim-adsp=temperror reason=\"DNS left the author's signature open\""));
	house_end(&h);
}

static void off_by_default(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	buf_add(&h.zone, STR(SAYS("all")));
	house_judge(&h, "client.test", "", STR("From: a@one.test\r\n\r\nx\r\n"));
	assert_null(strstr(house_field(&h), "adsp"));
	assert_int_equal(house_times(h.asked, "_adsp"), 0);
	house_end(&h);
}

static void ends_while_questions_are_out(void **state)
{
	struct house h;

	(void)state;
	house_begin(&h);
	((struct adsp_conf *)h.confs[HOUSE_ADSP])->enable = true;
	buf_add(&h.zone, STR(HERE "_adsp._domainkey.one.test TXT SILENT\n"));
	house_arrive(&h, "client.test", "", FROM_STRANGER, STR("From: a@one.test\r\n\r\nx\r\n"));
	assert_int_equal(chain_message(h.conn, house_told, h.loop), SAY_WAIT);
	chain_end(h.conn);
	assert_int_equal(dns_out(h.dns), 0);
	house_end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_read),
		cmocka_unit_test(results),
		cmocka_unit_test(an_open_signature),
		cmocka_unit_test(off_by_default),
		cmocka_unit_test(ends_while_questions_are_out),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
