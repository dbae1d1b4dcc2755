/* SPDX-License-Identifier: ISC */
/* The gate's judgement, from replies made up: who agrees, who does not, who is silent. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "smtpd/base/arena.h"
#include "smtpd/setup/dns/direct.h"

#define WANTED "v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA7Zs"
#define LOWER  "v=DKIM1; k=rsa; p=miibijanbgkqhkig9w0baqefaaocaq8amiibcgkcaqea7zs"

/* One server's replies in a word each, over UDP and over TCP:
 *   =  the record       l  small letters      2  two records, one right     x  another record
 *   c  cut              s  a space in it      q  quotation marks            e  an empty one
 *   t  one octet wrong  +  octets behind it  h  the key in other words  H  the key, not for what we sign
 *   n  NXDOMAIN         0  no data            r  REFUSED                    -  nothing came
 *   T  truncated        a  an alias           b  another alias
 *   u  the record, without authority          v  another, without authority  w  nothing, without authority */
static const struct { const char *servers; size_t nameless; enum gate_sight sight; size_t answered, silent; const char *said; } looks[] = {
	{ "== ==", 0, GATE_SHOWN, 2, 0, "all 2 servers of d.test show the record" },
	{ "==", 0, GATE_SHOWN, 1, 0, "the one server of d.test shows the record" },
	{ "T= T=", 0, GATE_SHOWN, 2, 0, "all 2 servers" },
	{ "=- -=", 0, GATE_SHOWN, 2, 0, "all 2 servers" },
	{ "== --", 0, GATE_SHOWN, 1, 1, "ns1.d.test (192.0.2.1) shows the record; ns2.d.test (192.0.2.2) does not answer (no answer within 4 s)" },
	{ "== == --", 0, GATE_SHOWN, 2, 1, "ns1.d.test (192.0.2.1) and ns2.d.test (192.0.2.2) show the record; ns3" },
	{ "== -- --", 0, GATE_SILENT, 1, 2, "ns2.d.test (192.0.2.2) and ns3.d.test (192.0.2.3) do not answer" },
	{ "== == -- --", 0, GATE_SHOWN, 2, 2, "show the record" },
	{ "==", 1, GATE_SHOWN, 1, 1, "lost.d.test has no address" },
	{ "==", 2, GATE_SILENT, 1, 2, "lost.d.test has no address; lost.d.test has no address" },
	{ "-- --", 0, GATE_SILENT, 0, 2, "ns1.d.test (192.0.2.1) and ns2.d.test (192.0.2.2) do not answer (no answer within 4 s)" },
	{ "", 0, GATE_NOWHERE, 0, 0, "no server to ask for s._domainkey.d.test: the zone d.test has none" },
	{ "", 3, GATE_SILENT, 0, 3, "has no address" },
	{ "rr ==", 0, GATE_SHOWN, 1, 1, "ns1.d.test (192.0.2.1) does not answer (it says REFUSED)" },
	{ "rr rr ==", 0, GATE_SILENT, 1, 2, "do not answer (it says REFUSED)" },
	{ "T- ==", 0, GATE_SHOWN, 1, 1, "over UDP it points to TCP, and there: no answer within 4 s" },
	{ "T-", 0, GATE_SILENT, 0, 1, "points to TCP" },
	{ "uu ==", 0, GATE_SHOWN, 1, 1, "answers without authority" },
	{ "ww uu", 0, GATE_SILENT, 0, 2, "answers without authority" },
	{ "vv ==", 0, GATE_OTHER, 2, 0, "ns1.d.test (192.0.2.1) shows another record" },
	{ "== nn", 0, GATE_OTHER, 2, 0, "ns2.d.test (192.0.2.2) shows no such name (NXDOMAIN); ns1.d.test (192.0.2.1) shows the record" },
	{ "nn nn", 0, GATE_OTHER, 2, 0, "show no such name (NXDOMAIN)" },
	{ "00", 0, GATE_OTHER, 1, 0, "no TXT record" },
	{ "nn -- -- --", 0, GATE_OTHER, 1, 3, "shows no such name" },
	{ "== == == == == xx", 0, GATE_OTHER, 6, 0, "ns6.d.test (192.0.2.6) shows another record, \"v=spf1 -all\"; ns1" },
	{ "=x", 0, GATE_OTHER, 1, 0, "the record over UDP and another record, \"v=spf1 -all\" over TCP" },
	{ "=n ==", 0, GATE_OTHER, 2, 0, "the record over UDP and no such name (NXDOMAIN) over TCP" },
	{ "Tx", 0, GATE_OTHER, 1, 0, "another record" },
	{ "ll", 0, GATE_OTHER, 1, 0, "capital and small letters changed, from octet 19 on" },
	{ "22", 0, GATE_OTHER, 1, 0, "2 records, the right one among them" },
	{ "cc", 0, GATE_OTHER, 1, 0, "the record cut off after 30 of 65 octets" },
	{ "ss", 0, GATE_OTHER, 1, 0, "white space that differs, from octet 31 on" },
	{ "qq", 0, GATE_OTHER, 1, 0, "quotation marks or backslashes in it, from octet 1 on" },
	{ "ee", 0, GATE_OTHER, 1, 0, "an empty record" },
	{ "tt", 0, GATE_OTHER, 1, 0, "differs from octet 31 on" },
	{ "++", 0, GATE_OTHER, 1, 0, "with 4 octets too many behind it" },
	{ "aa aa", 0, GATE_OTHER, 2, 0, "show an alias of key.far.test" },
	{ "aa bb", 0, GATE_OTHER, 2, 0, "shows an alias of other.far.test" },
	{ "aa ==", 0, GATE_OTHER, 2, 0, "ns1.d.test (192.0.2.1) shows an alias of key.far.test; ns2" },
	{ "aa -- --", 0, GATE_SILENT, 1, 2, "do not answer" },
	{ "== == == == == == == == == == --", 0, GATE_SHOWN, 10, 1, "ns8.d.test (192.0.2.8) and 2 more show the record; ns11" },
};

static void set_reply(struct direct_reply *r, char word, struct arena *a)
{
	const char *text = NULL;

	r->authoritative = strchr("uvw", word) == NULL;
	r->status = DNS_FOUND;
	switch (word) {
	case '=': case 'u': text = WANTED; break;
	case 'l': text = LOWER; break;
	case 'x': case 'v': case '2': text = "v=spf1 -all"; break;
	case 'c': text = arena_printf(a, "%.30s%c", WANTED, 0).p; break;
	case 's': text = arena_printf(a, "%.30s %s%c", WANTED, &WANTED[30], 0).p; break;
	case 'q': text = "\"" WANTED "\""; break;
	case 't': text = arena_printf(a, "%.30s#%s%c", WANTED, &WANTED[31], 0).p; break;
	case 'h': text = "v=DKIM1; h=sha256; k=rsa; s=email; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A MIIBCgKCAQEA7Zs;"; break;
	case 'H': text = "v=DKIM1; h=sha1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA7Zs"; break;
	case '+': text = WANTED "\\ b."; break;
	case 'e': text = ""; break;
	case 'n': r->status = DNS_NXDOMAIN; return;
	case '0': case 'w': r->status = DNS_NODATA; return;
	case 'a': r->status = DNS_NODATA; r->cname = STR("key.far.test"); return;
	case 'b': r->status = DNS_NODATA; r->cname = STR("other.far.test"); return;
	case 'r': r->status = DNS_SERVFAIL; r->why = STR("it says REFUSED"); return;
	case 'T': r->status = DNS_TIMEOUT; r->truncated = true; r->why = STR("it answers with a truncated packet"); return;
	default: r->status = DNS_TIMEOUT; r->why = STR("no answer within 4 s"); return;
	}
	r->records = ARENA_ARRAY(a, str, 2);
	r->records[r->n++] = str_of(text);
	if (word == '2')
		r->records[r->n++] = str_of(WANTED);
}

static size_t make(const char *servers, struct direct_zone *z, struct direct_reply *r, struct arena *a)
{
	str rest = str_of(servers), word;
	size_t n = 0;

	z->name = STR("d.test");
	z->servers = ARENA_ARRAY(a, struct direct_server, 16);
	while (rest.n > 0 && str_cut(&rest, ' ', &word)) {
		struct direct_server *s = &z->servers[z->n++];

		s->name = arena_printf(a, "ns%zu.d.test", z->n);
		s->address = arena_printf(a, "192.0.2.%zu", z->n);
		for (size_t i = 0; i < 2; i++, n++) {
			r[n] = (struct direct_reply){ .server = s, .tcp = i == 1 };
			set_reply(&r[n], word.p[i], a);
		}
	}
	return n;
}

static void looks_are_judged(void **state)
{
	static const str lost[] = { { "lost.d.test", 11 }, { "lost.d.test", 11 }, { "lost.d.test", 11 } };
	(void)state;
	for (size_t i = 0; i < COUNT(looks); i++) {
		struct direct_reply replies[32];
		struct direct_zone z = { .nameless = { (str *)(uintptr_t)lost, looks[i].nameless } };
		struct gate_look look;
		struct arena a;
		char said[4200];
		size_t n;

		arena_init(&a, ARENA_UNBOUNDED);
		n = make(looks[i].servers, &z, replies, &a);
		gate_judge(&z, replies, n, STR("s._domainkey.d.test"), STR(WANTED), &a, &look);
		snprintf(said, sizeof(said), "%.*s", STR_ARG(look.said));
		if (look.sight != looks[i].sight || look.answered != looks[i].answered || look.silent.n != looks[i].silent ||
		    strstr(said, looks[i].said) == NULL || look.servers != z.n + z.nameless.n)
			fail_msg("\"%s\": sight %d, answered %zu, silent %zu: %s", looks[i].servers, look.sight, look.answered,
			         look.silent.n, said);
		arena_fini(&a);
	}
}

/* A record in other words is not this record, but the same key. */
static void the_same_key_in_other_words(void **state)
{
	static const struct { const char *servers; bool same; } rows[] = {
		{ "hh hh", true }, { "hh ==", true }, { "ss", true }, { "Th --", true }, { "hh --", true }, { "==", true }, { "HH", false },
		{ "hh xx", false }, { "hh nn", false }, { "ll", false }, { "cc", false }, { "qq", false }, { "22", false }, { "ee", false },
		{ "hh -- --", false }, { "--", false }, { "aa aa", false }, { "=h", false }, { "vv", false }, { "tt", false },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct direct_reply replies[32];
		struct direct_zone z = { 0 };
		struct gate_look look;
		struct arena a;
		size_t n;

		arena_init(&a, ARENA_UNBOUNDED);
		n = make(rows[i].servers, &z, replies, &a);
		gate_judge(&z, replies, n, STR("s._domainkey.d.test"), STR(WANTED), &a, &look);
		if (look.same_key != rows[i].same)
			fail_msg("\"%s\": %.*s", rows[i].servers, STR_ARG(look.said));
		arena_fini(&a);
	}
}

static void only_one_alias_of_all_is_followed(void **state)
{
	static const struct { const char *servers, *alias; } rows[] = {
		{ "aa aa", "key.far.test" }, { "aa --", "key.far.test" }, { "aa bb", "" }, { "aa ==", "" }, { "aa -- --", "" },
		{ "==", "" }, { "nn", "" },
	};
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct direct_reply replies[32];
		struct direct_zone z = { 0 };
		struct gate_look look;
		struct arena a;
		size_t n;

		arena_init(&a, ARENA_UNBOUNDED);
		n = make(rows[i].servers, &z, replies, &a);
		gate_judge(&z, replies, n, STR("s._domainkey.d.test"), STR(WANTED), &a, &look);
		if (!str_is(look.alias, rows[i].alias))
			fail_msg("\"%s\": alias %.*s", rows[i].servers, STR_ARG(look.alias));
		arena_fini(&a);
	}
}

/* What strangers put into DNS reaches a terminal and a log as printable text only. */
static void what_is_shown_is_printable(void **state)
{
	struct direct_server s = { .name = STR("ns1.d.test"), .address = STR("192.0.2.1") };
	struct direct_zone z = { .name = STR("d.test"), .servers = &s, .n = 1 };
	str record = STR("\x1b[2J\r\nlog.faked\0\xff\"x");
	struct direct_reply r = { .server = &s, .status = DNS_FOUND, .authoritative = true, .records = &record, .n = 1 };
	struct gate_look look;
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	gate_judge(&z, &r, 1, STR("s._domainkey.d.test"), STR(WANTED), &a, &look);
	for (size_t i = 0; i < look.said.n; i++)
		assert_true(look.said.p[i] >= ' ' && look.said.p[i] <= '~');
	assert_int_equal(look.sight, GATE_OTHER);
	arena_fini(&a);
}

/* A look without memory never opens the gate. */
static void no_memory_is_silence(void **state)
{
	size_t shown = 0;

	(void)state;
	for (size_t budget = 0; budget < 6000; budget += 40) {
		struct direct_reply replies[4];
		struct direct_zone z = { 0 };
		struct gate_look look;
		struct arena whole, a;
		size_t n;

		arena_init(&whole, ARENA_UNBOUNDED);
		arena_init(&a, budget);
		n = make("== xx", &z, replies, &whole);
		gate_judge(&z, replies, n, STR("s._domainkey.d.test"), STR(WANTED), &a, &look);
		assert_int_not_equal(look.sight, GATE_SHOWN);
		shown += look.sight == GATE_OTHER;
		arena_fini(&a);
		arena_fini(&whole);
	}
	assert_true(shown > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(looks_are_judged),
		cmocka_unit_test(the_same_key_in_other_words),
		cmocka_unit_test(only_one_alias_of_all_is_followed),
		cmocka_unit_test(what_is_shown_is_printable),
		cmocka_unit_test(no_memory_is_silence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
