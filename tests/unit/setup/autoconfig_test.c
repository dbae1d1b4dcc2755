/* SPDX-License-Identifier: ISC */
/* What is told of a domain, to whom, and which DNS records belong to it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/setup/dns/dns_records.h"
#include "smtpd/setup/web_page.h"

/* ---- a configuration ------------------------------------------------------------------------ */

static str submissions_at[] = { STR("0.0.0.0:465"), STR("[::]:465") }, submission_at[] = { STR("192.0.2.1:587") };
static str mx_at[] = { STR("0.0.0.0:25") }, web_at[] = { STR("0.0.0.0:443") };
static struct listener_conf mx = { .address = { mx_at, 1 }, .role = ROLE_INBOUND, .tls = TLS_STARTTLS };
static struct listener_conf submission = { .address = { submission_at, 1 }, .role = ROLE_SUBMISSION, .tls = TLS_REQUIRED };
static struct listener_conf submissions = { .address = { submissions_at, 2 }, .role = ROLE_SUBMISSION, .tls = TLS_IMPLICIT };
static struct dkim_section signing = { .head.title = STR("s1"), .key = STR("/keys/s1.pem") };
static void *signing_list[] = { &signing };
static struct domain_section example = { .name = STR("example.org"), .dkim = { signing_list, 1 } };
static struct domain_section other = { .name = STR("other.test") };
static void *listener_list[] = { &mx, &submission, &submissions };
static void *domain_list[] = { &example, &other };

static struct config config(void)
{
	return (struct config){
		.hostname = STR("mail.example.org"), .listeners = { listener_list, 3 }, .domains = { domain_list, 2 },
		.web = { .address = { web_at, 1 }, .sts = WEB_STS_TESTING, .sts_max_age_ms = 604800000 },
	};
}

static size_t times(str text, const char *what)
{
	size_t n = 0, len = strlen(what);

	for (size_t i = 0; i + len <= text.n; i++)
		n += memcmp(text.p + i, what, len) == 0;
	return n;
}

static void holds(str text, const char *what)
{
	if (times(text, what) != 1)
		fail_msg("%zu times \"%s\" in:\n%.*s", times(text, what), what, STR_ARG(text));
}

/* ---- documents --------------------------------------------------------------------------------- */

static void thunderbird(void **state)
{
	struct config c = config();
	struct autoconfig told;
	struct arena a;
	str text;

	(void)state;
	arena_init(&a, 1 << 20);
	autoconfig_of(&c, STR("example.org"), &a, &told);
	text = autoconfig_thunderbird(&told, &a);
	holds(text, "<clientConfig version=\"1.1\">");
	holds(text, "<emailProvider id=\"example.org\">");
	holds(text, "<incomingServer type=\"imap\">\n      <hostname>mail.example.org</hostname>\n      <port>993</port>\n"
	            "      <socketType>SSL</socketType>");
	holds(text, "<port>465</port>\n      <socketType>SSL</socketType>\n      <authentication>password-cleartext</authentication>\n"
	            "      <username>%EMAILADDRESS%</username>");
	holds(text, "<port>587</port>\n      <socketType>STARTTLS</socketType>");
	assert_true(strstr(text.p, "465") < strstr(text.p, "587"));       /* RFC 8314: the better one first */
	assert_int_equal(times(text, "<outgoingServer"), 2);
	c.web.imap = STR("imap.other.test:1993");
	autoconfig_of(&c, STR("example.org"), &a, &told);
	holds(autoconfig_thunderbird(&told, &a), "<hostname>imap.other.test</hostname>\n      <port>1993</port>");
	c.web.imap = STR("none");
	c.listeners.n = 2;
	autoconfig_of(&c, STR("example.org"), &a, &told);
	text = autoconfig_thunderbird(&told, &a);
	assert_int_equal(times(text, "<incomingServer"), 0);
	assert_int_equal(times(text, "<outgoingServer"), 1);
	arena_fini(&a);
}

static void outlook(void **state)
{
	struct config c = config();
	struct autoconfig told;
	struct arena a;
	str text;

	(void)state;
	arena_init(&a, 1 << 20);
	autoconfig_of(&c, STR("example.org"), &a, &told);
	text = autoconfig_outlook(&told, STR("\"a<b>&'c\"@example.org"), &a);
	assert_int_equal(times(text, "<LoginName>&quot;a&lt;b&gt;&amp;&apos;c&quot;@example.org</LoginName>"), 2);
	holds(text, "<Type>SMTP</Type>\n        <Server>mail.example.org</Server>\n        <Port>465</Port>");
	holds(text, "<Type>IMAP</Type>");
	c.listeners.n = 2;                     /* no implicit TLS */
	autoconfig_of(&c, STR("example.org"), &a, &told);
	text = autoconfig_outlook(&told, STR_NONE, &a);
	holds(text, "<Port>587</Port>");
	holds(text, "<Encryption>TLS</Encryption>");
	assert_int_equal(times(text, "LoginName"), 0);
	arena_fini(&a);
}

static void policies_and_their_ids(void **state)
{
	static const char *const modes[] = { [WEB_STS_NONE] = "none", [WEB_STS_TESTING] = "testing", [WEB_STS_ENFORCE] = "enforce" };
	str mxs[] = { STR("mx1.example.org"), STR("*.example.net") }, first, id;
	struct config c = config();
	struct autoconfig told;
	char want[200];
	struct arena a;

	(void)state;
	arena_init(&a, 1 << 20);
	for (int i = WEB_STS_NONE; i <= WEB_STS_ENFORCE; i++) {
		c.web.sts = i;
		autoconfig_of(&c, STR("example.org"), &a, &told);
		snprintf(want, sizeof(want), "version: STSv1\r\nmode: %s\r\nmx: mail.example.org\r\nmax_age: 604800\r\n", modes[i]);
		assert_true(str_is(autoconfig_policy(&told, &a), want));
	}
	first = autoconfig_policy_id(&told, &a);
	assert_int_equal(first.n, 20);
	autoconfig_of(&c, STR("example.org"), &a, &told);
	assert_true(str_eq(autoconfig_policy_id(&told, &a), first));       /* the same policy, the same id */
	c.web.sts_mx = (struct strs){ mxs, 2 };
	autoconfig_of(&c, STR("example.org"), &a, &told);
	id = autoconfig_policy_id(&told, &a);
	assert_false(str_eq(id, first));
	holds(autoconfig_policy(&told, &a), "mx: mx1.example.org\r\nmx: *.example.net\r\n");
	c.web.sts_max_age_ms += 1000;
	autoconfig_of(&c, STR("example.org"), &a, &told);
	assert_false(str_eq(autoconfig_policy_id(&told, &a), id));
	arena_fini(&a);
}

static void memory_that_is_spent_is_no_document(void **state)
{
	struct config c = config();

	(void)state;
	for (size_t budget = 0; budget < 4096; budget += 128) {
		struct autoconfig told;
		struct arena a;
		str text;

		arena_init(&a, budget);
		autoconfig_of(&c, STR("example.org"), &a, &told);
		text = autoconfig_thunderbird(&told, &a);
		assert_true(text.n == 0 || times(text, "</clientConfig>") == 1);
		arena_fini(&a);
	}
}

/* ---- Outlook's question ----------------------------------------------------------------------------- */

static void questions_of_outlook(void **state)
{
	static const struct { const char *body, *want; } cases[] = {
		{ "<Request><EMailAddress>alice@example.org</EMailAddress></Request>", "alice@example.org" },
		{ "<a:EMailAddress>alice@example.org</a:EMailAddress>", "alice@example.org" },
		{ "<EMailAddress>\r\n  Alice@EXAMPLE.org\n</EMailAddress>", "Alice@example.org" },
		{ "<EMailAddress>alice@example.org", "alice@example.org" },
		{ "<EMailAddress></EMailAddress>", NULL },
		{ "<EMailAddress>", NULL },
		{ "EMailAddress>alice@example.org<", NULL },
		{ "<EMailAddress >alice@example.org</EMailAddress>", NULL },
		{ "<NotEMailAddress>alice@example.org</NotEMailAddress>", NULL },
		{ "<EMailAddress>alice</EMailAddress>", NULL },
		{ "<EMailAddress>alice@example.org, bob@example.org</EMailAddress>", NULL },
		{ "<EMailAddress>alice@example.org&lt;x&gt;</EMailAddress>", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct path p = { 0 };
		struct arena a;
		bool found;

		arena_init(&a, 1 << 16);
		found = autodiscover_address(str_of(cases[i].body), &a, &p);
		if (found != (cases[i].want != NULL) || (found && !str_is(p.text, cases[i].want)))
			fail_msg("%s: \"%.*s\"", cases[i].body, STR_ARG(p.text));
		arena_fini(&a);
	}
}

/* What a stranger may send, bent at random: never more than an address of it. */
static void bent_questions(void **state)
{
	static const char whole[] = "<?xml?><Autodiscover><Request><x:EMailAddress> \"al ice\"@example.org </x:EMailAddress></Request>";

	(void)state;
	srand(1);
	for (int i = 0; i < 20000; i++) {
		char body[sizeof(whole)];
		size_t n = (size_t)rand() % sizeof(whole);
		struct arena a;
		struct path p;

		memcpy(body, whole, sizeof(whole));
		for (int k = rand() % 4; k > 0; k--)
			body[(size_t)rand() % sizeof(whole)] = (char)rand();
		char *exact = malloc(n + 1);          /* so that a sanitizer sees the end */

		memcpy(exact, body, n);
		exact = realloc(exact, n ? n : 1);
		arena_init(&a, 1 << 16);
		if (autodiscover_address((str){ exact, n }, &a, &p))
			assert_true(p.domain.n > 0 && p.text.n <= n + 8);
		arena_fini(&a);
		free(exact);
	}
}

/* ---- who gets which page ------------------------------------------------------------------------------ */

static void pages(void **state)
{
	static const struct { const char *path, *host, *address; bool post; const char *want; } cases[] = {
		{ "/mail/config-v1.1.xml", "autoconfig.example.org", "", false, "id=\"example.org\"" },
		{ "/mail/config-v1.1.xml", "autoconfig.other.test:443", "", false, "id=\"other.test\"" },
		{ "/mail/config-v1.1.xml", "AUTOCONFIG.Example.ORG.", "", false, "id=\"example.org\"" },
		{ "/mail/config-v1.1.xml", "other.test", "alice@example.org", false, "id=\"other.test\"" },   /* the host decides */
		{ "/mail/config-v1.1.xml", "mail.example.org", "alice@example.org", false, "id=\"example.org\"" },
		{ "/mail/config-v1.1.xml", "mail.example.org", "alice@far.test", false, NULL },
		{ "/mail/config-v1.1.xml", "mail.example.org", "alice", false, NULL },
		{ "/mail/config-v1.1.xml", "mail.example.org", "", false, NULL },
		{ "/mail/config-v1.1.xml", "autodiscover.example.org", "", false, NULL },
		{ "/mail/config-v1.1.xml", "autoconfig.example.org", "", true, NULL },
		{ "/mail/config-v1.1.xml", "", "", false, NULL },
		{ "/autodiscover/autodiscover.xml", "autodiscover.example.org", "", true, "<AccountType>" },
		{ "/autodiscover/autodiscover.xml", "example.org", "", false, "<AccountType>" },
		{ "/Autodiscover/autodiscover.xml", "example.org", "", false, NULL },
		{ "/.well-known/mta-sts.txt", "mta-sts.example.org", "", false, "mode: testing" },
		{ "/.well-known/mta-sts.txt", "mta-sts.other.test", "", false, "mode: testing" },
		{ "/.well-known/mta-sts.txt", "example.org", "", false, NULL },
		{ "/.well-known/mta-sts.txt", "mta-sts.far.test", "", false, NULL },
		{ "/.well-known/mta-sts.txt", "mta-sts.example.org", "", true, NULL },
		{ "/.well-known/mta-sts.txt?", "mta-sts.example.org", "", false, NULL },
		{ "/", "example.org", "", false, NULL },
		{ "", "example.org", "", false, NULL },
	};
	struct config c = config();

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		const struct web_question q = { .path = cases[i].path, .post = cases[i].post, .host = str_of(cases[i].host),
			                        .address = str_of(cases[i].address) };
		const char *type = NULL;
		struct arena a;
		str text;

		arena_init(&a, 1 << 18);
		text = web_page(&c, &q, &a, &type);
		if ((text.n > 0) != (cases[i].want != NULL) || (text.n > 0 && times(text, cases[i].want) != 1))
			fail_msg("%s at %s: %.*s", cases[i].path, cases[i].host, STR_ARG(text));
		arena_fini(&a);
	}
	c.web.sts = WEB_STS_OFF;
	{
		const struct web_question q = { .path = "/.well-known/mta-sts.txt", .host = STR("mta-sts.example.org") };
		const char *type;
		struct arena a;

		arena_init(&a, 1 << 18);
		assert_int_equal(web_page(&c, &q, &a, &type).n, 0);
		arena_fini(&a);
	}
}

/* ---- DNS ------------------------------------------------------------------------------------------------- */

/* "NAME TYPE VALUE" a line. */
static char *records_of(struct config *c, const char *domain, const struct dns_wanted *wanted, size_t *todo)
{
	static char text[8000];
	struct dns_records all;
	struct arena a;
	size_t n = 0;

	text[0] = '\0';
	arena_init(&a, 1 << 20);
	assert_int_equal(dns_records_make(c, str_of(domain), wanted, &a, &all), OK);
	for (size_t i = 0; i < all.n; i++) {
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%.*s %s %.*s\n", STR_ARG(all.v[i].name), all.v[i].type,
		                      STR_ARG(all.v[i].value));
		assert_true(all.v[i].note.n > 5);
	}
	*todo = all.todo.n;
	arena_fini(&a);
	return text;
}

static void has(const char *text, const char *line)
{
	if (strstr(text, line) == NULL)
		fail_msg("no \"%s\" in:\n%s", line, text);
}

static void records(void **state)
{
	str addresses[] = { STR("192.0.2.1"), STR("2001:db8::1") };
	struct key_file v[] = {
		{ .domain = STR("example.org"), .selector = STR("s1"), .path = STR("/keys/s1.pem"), .key = key_generate(KEY_ED25519, 0) },
		{ .domain = STR("far.test"), .selector = STR("s2"), .path = STR("/keys/s2.pem"), .key = key_generate(KEY_ED25519, 0) },
	};
	struct key_files keys = { v, 2, 2 };
	str tlsa[] = { STR("00ff") };
	struct dns_wanted wanted = { .keys = &keys, .addresses = { addresses, 2 }, .tlsa = { tlsa, 1 } };
	struct config c = config();
	const char *text;
	size_t todo;

	(void)state;
	text = records_of(&c, "example.org", &wanted, &todo);
	has(text, "example.org MX 10 mail.example.org.\n");
	has(text, "mail.example.org A 192.0.2.1\n");
	has(text, "mail.example.org AAAA 2001:db8::1\n");
	has(text, "mail.example.org TXT v=spf1 a -all\n");
	has(text, "\nexample.org TXT v=spf1 mx -all\n");
	has(text, "s1._domainkey.example.org TXT v=DKIM1; k=ed25519; p=");
	has(text, "_dmarc.example.org TXT v=DMARC1; p=none; rua=mailto:postmaster@example.org\n");
	has(text, "_smtp._tls.example.org TXT v=TLSRPTv1; rua=mailto:postmaster@example.org\n");
	has(text, "_mta-sts.example.org TXT v=STSv1; id=");
	has(text, "mta-sts.example.org CNAME mail.example.org.\n");
	has(text, "_submissions._tcp.example.org SRV 0 1 465 mail.example.org.\n");
	has(text, "_submission._tcp.example.org SRV 10 1 587 mail.example.org.\n");
	has(text, "_imaps._tcp.example.org SRV 0 1 993 mail.example.org.\n");
	has(text, "autoconfig.example.org CNAME mail.example.org.\n");
	has(text, "autodiscover.example.org CNAME mail.example.org.\n");
	has(text, "\n_25._tcp.mail.example.org TLSA 3 1 1 00ff\n");
	has(text, "\n1.2.0.192.in-addr.arpa PTR mail.example.org.\n");
	assert_null(strstr(text, "s2._domainkey"));
	assert_int_equal(todo, 0);
	text = records_of(&c, "other.test", &wanted, &todo);
	assert_null(strstr(text, "mail.example.org A "));  /* it lies in the other zone */
	assert_null(strstr(text, "TLSA"));
	assert_int_equal(todo, 1);                        /* nothing signs */
	wanted.tlsa.n = 0;
	c.web.address.n = 0;
	wanted.addresses.n = 0;
	text = records_of(&c, "example.org", &wanted, &todo);
	assert_null(strstr(text, "mta-sts"));             /* who would serve the policy? */
	assert_null(strstr(text, "autoconfig"));
	assert_int_equal(todo, 4);
	c.relay.smarthost.via = STR("smtp.far.test:587");
	c.web.sts = WEB_STS_OFF;
	text = records_of(&c, "example.org", &wanted, &todo);
	has(text, "\nexample.org TXT v=spf1 mx ~all\n");
	key_free(v[0].key);
	key_free(v[1].key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(thunderbird),
		cmocka_unit_test(outlook),
		cmocka_unit_test(policies_and_their_ids),
		cmocka_unit_test(memory_that_is_spent_is_no_document),
		cmocka_unit_test(questions_of_outlook),
		cmocka_unit_test(bent_questions),
		cmocka_unit_test(pages),
		cmocka_unit_test(records),
	};

	crypt_setup();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
