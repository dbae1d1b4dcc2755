/* SPDX-License-Identifier: ISC */
/*
 * What a host must prove before it hears of a message: the client against
 * servers with good and bad certificates, TLSA records and MTA-STS policies.
 */
#include "tests/unit/queue/side.h"

#include "queue/deliver/policy.h"
#include "queue/deliver/tls_report.h"
#include "tests/unit/authority.h"

/* ---- servers ------------------------------------------------------------------------------ */

/* One server with a certificate for each of these, chosen by SNI; everybody
 * else is shown the first, which is another's. */
static const struct { const char *name; long from, until; bool alone; } shown[] = {
	{ "default.test",           -A_DAY,     A_DAY,  false },
	{ "good-mx.plain.test",     -A_DAY,     A_DAY,  false },
	{ "expired-mx.plain.test",  -2 * A_DAY, -A_DAY, false },
	{ "self-mx.plain.test",     -A_DAY,     A_DAY,  true },
	{ "ta-mx.signed.test",      -A_DAY,     A_DAY,  false },
	{ "expired-mx.signed.test", -2 * A_DAY, -A_DAY, false },
	{ "pkix-mx.signed.test",    -A_DAY,     A_DAY,  false },
};
static struct identity ca, who[COUNT(shown)];
static char ca_file[64];

static int open_pem(str path)
{
	int fd = memfd_create("pem", MFD_CLOEXEC);
	char *text;
	uint32_t i = 0;

	assert_true(str_to_u32(str_skip(path, 1), &i));
	text = path.p[0] == 'c' ? identity_pem(&who[i], shown[i].alone ? NULL : &ca) : identity_key_pem(&who[i]);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	lseek(fd, 0, SEEK_SET);
	free(text);
	return fd;
}

static struct tls_server *certificates;      /* of all peers */

static void make_certificates(void)
{
	struct tls_pair pairs[COUNT(shown)];
	struct tls_conf conf = { .pairs = pairs, .npairs = COUNT(shown) };
	static char names[COUNT(shown)][2][8];
	str why;

	for (unsigned i = 0; i < COUNT(shown); i++) {
		snprintf(names[i][0], 8, "c%u", i);
		snprintf(names[i][1], 8, "k%u", i);
		pairs[i] = (struct tls_pair){ str_of(names[i][0]), str_of(names[i][1]) };
	}
	certificates = tls_server_new(&conf, open_pem, NULL, &why);
	assert_non_null(certificates);
}

static void server_start(struct peer *p, const struct script *script)
{
	peer_start(p, script, false);
	p->tls = certificates;
}

static void server_stop(struct peer *p)
{
	p->tls = NULL;
	peer_stop(p);
}

/* ---- MTA-STS ---------------------------------------------------------------------------------- */

static struct sts_policy published;
static unsigned sts_asked;
static struct { struct loop_call later; struct sts_ask *ask; sts_answered *answered; } post;

static void sts_told(struct loop_call *c)
{
	(void)c;
	post.answered(post.ask, &published);
}

void sts_find(struct sts *s, struct loop *loop, struct arena *a, str domain, struct sts_ask *ask, sts_answered *answered)
{
	(void)s, (void)a, (void)domain;
	sts_asked++;
	post.ask = ask;
	post.answered = answered;
	loop_defer(loop, &post.later, sts_told);
}

void sts_stop(struct sts_ask *ask)
{
	(void)ask;
	loop_undefer(&post.later);
}

/* ---- the zone ------------------------------------------------------------------------------------ */

static void hex(char *out, const struct identity *of)
{
	unsigned char d[4096];
	size_t n = identity_tlsa(of, 1, 1, d);

	for (size_t i = 0; i < n; i++)
		sprintf(out + 2 * i, "%02x", d[i]);
}

#define WRONG "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static const char *zone_for(unsigned port)
{
	static char text[8192];
	char first[65], root[65], expired[65];

	hex(first, &who[0]);
	hex(root, &ca);
	hex(expired, &who[5]);
	snprintf(text, sizeof(text),
	         "signed.test              ANY  SECURE\n"
	         "ee.signed.test           MX   10 ee-mx.signed.test\n"
	         "*.signed.test            A    127.0.0.1\n"
	         "ee-mx.signed.test        A    127.0.0.1\n"
	         "_%u._tcp.ee-mx.signed.test TLSA 3 1 1 %s\n"
	         "ta.signed.test           MX   10 ta-mx.signed.test\n"
	         "ta-mx.signed.test        A    127.0.0.1\n"
	         "_%u._tcp.ta-mx.signed.test TLSA 2 1 1 %s\n"
	         "taname.signed.test       MX   10 taname-mx.signed.test\n"
	         "taname-mx.signed.test    A    127.0.0.1\n"
	         "_%u._tcp.taname-mx.signed.test TLSA 2 1 1 %s\n"
	         "expired.signed.test      MX   10 expired-mx.signed.test\n"
	         "expired-mx.signed.test   A    127.0.0.1\n"
	         "_%u._tcp.expired-mx.signed.test TLSA 3 1 1 %s\n"
	         "wrong.signed.test        MX   10 wrong-mx.signed.test\n"
	         "wrong-mx.signed.test     A    127.0.0.1\n"
	         "_%u._tcp.wrong-mx.signed.test TLSA 3 1 1 " WRONG "\n"
	         "odd.signed.test          MX   10 odd-mx.signed.test\n"
	         "odd-mx.signed.test       A    127.0.0.1\n"
	         "_%u._tcp.odd-mx.signed.test TLSA 1 1 1 " WRONG "\n"
	         "bogus.signed.test        MX   10 bogus-mx.signed.test\n"
	         "bogus-mx.signed.test     A    127.0.0.1\n"
	         "_%u._tcp.bogus-mx.signed.test TLSA BOGUS\n"
	         "two.signed.test          MX   10 wrong-mx.signed.test\n"
	         "two.signed.test          MX   20 ee-mx.signed.test\n"
	         "bogusmx.signed.test      MX   BOGUS\n"
	         "bogusa.signed.test       MX   10 bogusa-mx.signed.test\n"
	         "bogusa-mx.signed.test    A    BOGUS\n"
	         "pkix.signed.test         MX   10 pkix-mx.signed.test\n"
	         "pkix-mx.signed.test      A    127.0.0.1\n"
	         "good.plain.test          MX   10 good-mx.plain.test\n"
	         "good-mx.plain.test       A    127.0.0.1\n"
	         "expired.plain.test       MX   10 expired-mx.plain.test\n"
	         "expired-mx.plain.test    A    127.0.0.1\n"
	         "self.plain.test          MX   10 self-mx.plain.test\n"
	         "self-mx.plain.test       A    127.0.0.1\n"
	         "other.plain.test         MX   10 other-mx.plain.test\n"
	         "other-mx.plain.test      A    127.0.0.1\n",
	         port, first, port, root, port, root, port, expired, port, port, port);
	return text;
}

/* ---- rows ------------------------------------------------------------------------------------------ */

enum what { STARTTLS_OFFERED, STRIPPED, REFUSED, BROKEN, PROMISED };

static const struct script scripts[] = {
	[STARTTLS_OFFERED] = { .at[STEP_EHLO] = "250-peer\r\n250 STARTTLS" },
	[STRIPPED]         = { .at[STEP_EHLO] = "250 peer" },
	[REFUSED]          = { .at = { [STEP_EHLO] = "250-peer\r\n250 STARTTLS", [STEP_STARTTLS] = "454 4.7.0 not now" } },
	[BROKEN]           = { .at[STEP_EHLO] = "250-peer\r\n250 STARTTLS", .broken_tls = true },
	[PROMISED]         = { .at = { [STEP_EHLO] = "250-peer\r\n250 STARTTLS", [STEP_EHLO_TLS] = "250-peer\r\n250 REQUIRETLS" } },
};

#define REQUIRE  MESSAGE_REQUIRETLS
#define OPTIONAL MESSAGE_TLS_OPTIONAL
#define OK_      FATE_DELIVERED, "", "taken"

static const struct row {
	const char *domain;
	enum what   server;
	enum sts_mode sts;
	unsigned    flags;
	enum fate   fate;
	const char *status, *said;   /* is in it */
	const char *verified;        /* NULL: in the clear, or nothing was sent */
	const char *result;          /* of the last session reported; NULL: none failed */
} rows[] = {
	/* DANE */
	{ "ee.signed.test",      STARTTLS_OFFERED, STS_NONE, 0, OK_, "dane", NULL },
	{ "expired.signed.test", STARTTLS_OFFERED, STS_NONE, 0, OK_, "dane", NULL },
	{ "ta.signed.test",      STARTTLS_OFFERED, STS_NONE, 0, OK_, "dane", NULL },
	{ "taname.signed.test",  STARTTLS_OFFERED, STS_NONE, 0, FATE_DEFERRED, "4.7.5", "the TLSA records of taname-mx.signed.test (DANE)", "no", "certificate-host-mismatch" },
	{ "wrong.signed.test",   STARTTLS_OFFERED, STS_NONE, 0, FATE_DEFERRED, "4.7.5", "could not prove who it is", "no", "validation-failure" },
	{ "odd.signed.test",     STARTTLS_OFFERED, STS_NONE, 0, OK_, "no", NULL },
	{ "odd.signed.test",     STRIPPED, STS_NONE, 0, FATE_DEFERRED, "4.7.4", "does not begin TLS", NULL, "starttls-not-supported" },
	{ "ee.signed.test",      STRIPPED, STS_NONE, 0, FATE_DEFERRED, "4.7.4", "does not begin TLS", NULL, "starttls-not-supported" },
	{ "ee.signed.test",      REFUSED, STS_NONE, 0, FATE_DEFERRED, "4.7.4", "does not begin TLS", NULL, NULL },
	{ "ee.signed.test",      BROKEN, STS_NONE, 0, FATE_DEFERRED, "4.7.5", "nothing was sent in the clear", NULL, "validation-failure" },
	{ "bogus.signed.test",   STARTTLS_OFFERED, STS_NONE, 0, FATE_DEFERRED, "4.7.5", "could not be had: bogus", NULL, "dnssec-invalid" },
	{ "bogusmx.signed.test", STARTTLS_OFFERED, STS_NONE, 0, FATE_DEFERRED, "4.4.3", "bogus", NULL, NULL },
	{ "bogusa.signed.test",  STARTTLS_OFFERED, STS_NONE, 0, FATE_DEFERRED, "4.4.3", "could not be looked up", NULL, NULL },
	/* DANE first, whatever MTA-STS says. */
	{ "ee.signed.test",      STARTTLS_OFFERED, STS_ENFORCE, 0, OK_, "dane", NULL },
	{ "wrong.signed.test",   STARTTLS_OFFERED, STS_TESTING, 0, FATE_DEFERRED, "4.7.5", "DANE", "no", "validation-failure" },
	{ "bogus.signed.test",   STARTTLS_OFFERED, STS_ENFORCE, 0, FATE_DEFERRED, "4.7.5", "DANE", NULL, "dnssec-invalid" },
	/* The next host. */
	{ "two.signed.test",     STARTTLS_OFFERED, STS_NONE, 0, OK_, "dane", NULL },
	/* MTA-STS */
	{ "good.plain.test",     STARTTLS_OFFERED, STS_ENFORCE, 0, OK_, "sts", NULL },
	{ "expired.plain.test",  STARTTLS_OFFERED, STS_ENFORCE, 0, FATE_DEFERRED, "4.7.5", "certificate has expired", "no", "certificate-expired" },
	{ "self.plain.test",     STARTTLS_OFFERED, STS_ENFORCE, 0, FATE_DEFERRED, "4.7.5", "the MTA-STS policy of self.plain.test", "no", "certificate-not-trusted" },
	{ "other.plain.test",    STARTTLS_OFFERED, STS_ENFORCE, 0, FATE_DEFERRED, "4.7.5", "hostname mismatch", "no", "certificate-host-mismatch" },
	{ "good.plain.test",     STRIPPED, STS_ENFORCE, 0, FATE_DEFERRED, "4.7.4", "does not begin TLS", NULL, "starttls-not-supported" },
	{ "good.plain.test",     REFUSED, STS_ENFORCE, 0, FATE_DEFERRED, "4.7.4", "does not begin TLS", NULL, NULL },
	{ "good.plain.test",     BROKEN, STS_ENFORCE, 0, FATE_DEFERRED, "4.7.5", "nothing was sent in the clear", NULL, "validation-failure" },
	{ "ee.signed.test",      STARTTLS_OFFERED, STS_ENFORCE, 0, OK_, "dane", NULL },
	{ "pkix.signed.test",    STARTTLS_OFFERED, STS_ENFORCE, 0, FATE_DEFERRED, "4.7.5", "none that the domain's MTA-STS policy allows", NULL, "validation-failure" },
	{ "good.plain.test",     STARTTLS_OFFERED, STS_TESTING, 0, OK_, "pkix", NULL },
	{ "expired.plain.test",  STARTTLS_OFFERED, STS_TESTING, 0, OK_, "no", "certificate-expired" },
	{ "pkix.signed.test",    STARTTLS_OFFERED, STS_TESTING, 0, OK_, "pkix", "validation-failure" },
	{ "good.plain.test",     STRIPPED, STS_TESTING, 0, OK_, NULL, "starttls-not-supported" },
	/* Nobody asks: opportunistic. */
	{ "good.plain.test",     STARTTLS_OFFERED, STS_NONE, 0, OK_, "no", NULL },
	{ "pkix.signed.test",    STARTTLS_OFFERED, STS_NONE, 0, OK_, "pkix", NULL },
	{ "expired.plain.test",  STARTTLS_OFFERED, STS_NONE, 0, OK_, "no", NULL },
	{ "good.plain.test",     STRIPPED, STS_NONE, 0, OK_, NULL, "starttls-not-supported" },
	{ "good.plain.test",     BROKEN, STS_NONE, 0, FATE_DEFERRED, "4.4.2", "TLS with", NULL, "validation-failure" },
	/* TLS-Required: No */
	{ "wrong.signed.test",   STARTTLS_OFFERED, STS_NONE, OPTIONAL, OK_, "no", "validation-failure" },
	{ "bogus.signed.test",   STARTTLS_OFFERED, STS_NONE, OPTIONAL, OK_, "no", "dnssec-invalid" },
	{ "ee.signed.test",      STRIPPED, STS_NONE, OPTIONAL, OK_, NULL, "starttls-not-supported" },
	{ "expired.plain.test",  STARTTLS_OFFERED, STS_ENFORCE, OPTIONAL, OK_, "no", "certificate-expired" },
	{ "pkix.signed.test",    STARTTLS_OFFERED, STS_ENFORCE, OPTIONAL, OK_, "pkix", "validation-failure" },
	{ "good.plain.test",     STRIPPED, STS_ENFORCE, OPTIONAL, OK_, NULL, "starttls-not-supported" },
	/* REQUIRETLS */
	{ "ee.signed.test",      PROMISED, STS_NONE, REQUIRE, OK_, "dane", NULL },
	{ "good.plain.test",     PROMISED, STS_ENFORCE, REQUIRE, OK_, "sts", NULL },
	{ "good.plain.test",     PROMISED, STS_TESTING, REQUIRE | OPTIONAL, OK_, "pkix", NULL },
	{ "pkix.signed.test",    PROMISED, STS_NONE, REQUIRE, OK_, "pkix", NULL },
	{ "ee.signed.test",      STARTTLS_OFFERED, STS_NONE, REQUIRE, FATE_BOUNCED, "5.7.30", "does not promise TLS for the rest", "dane", NULL },
	{ "good.plain.test",     PROMISED, STS_NONE, REQUIRE, FATE_BOUNCED, "5.7.10", "neither DNSSEC nor an MTA-STS policy", NULL, NULL },
	{ "pkix.signed.test",    STRIPPED, STS_NONE, REQUIRE, FATE_BOUNCED, "5.7.10", "the sender (REQUIRETLS)", NULL, "starttls-not-supported" },
	{ "odd.signed.test",     PROMISED, STS_NONE, REQUIRE, FATE_BOUNCED, "5.7.10", "could not prove who it is", "no", NULL },
	{ "pkix.signed.test",    BROKEN, STS_NONE, REQUIRE, FATE_BOUNCED, "5.7.10", "nothing was sent in the clear", NULL, "validation-failure" },
	{ "bogus.signed.test",   PROMISED, STS_NONE, REQUIRE, FATE_DEFERRED, "4.7.5", "could not be had: bogus", NULL, "dnssec-invalid" },
};

static str mx_of_policy = { "*.plain.test", 12 };

static void begin(struct side *s, struct peer *p, const struct row *r)
{
	server_start(p, &scripts[r->server]);
	side_start_in(s, zone_for(p->port), p->port);
	published = (struct sts_policy){ .mode = r->sts, .mx = { &mx_of_policy, 1 } };
	s->setup.sts = (struct sts *)&published;
	s->entry.flags = r->flags;
}

static void one_message(struct side *s, const char *domain)
{
	static char address[80];
	static const char *rcpt = address;

	snprintf(address, sizeof(address), "bob@%s", domain);
	lease_begin(s, ROUTE_MX, domain, &rcpt, 1);
	lease_go(s);
}

static bool is_text(const char *got, const char *want)
{
	return strcmp(got != NULL ? got : "-", want != NULL ? want : "-") == 0;
}

static void rows_one_by_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		const struct row *r = &rows[i];
		struct peer p;
		struct side s;
		const struct lease_rcpt *v;
		char *said;

		begin(&s, &p, r);
		one_message(&s, r->domain);
		v = &s.lease->v[0];
		said = peer_copy(&p, &p.said);
		if (v->fate != r->fate || !holds(v->said, r->said) || (r->status[0] != '\0' && !str_is(v->status, r->status)))
			fail_msg("row %zu, %s: fate %d, %.*s \"%.*s\"", i, r->domain, (int)v->fate, STR_ARG(v->status), STR_ARG(v->said));
		if (!is_text(s.lease->verified, r->verified))
			fail_msg("row %zu, %s: verified=%s", i, r->domain, s.lease->verified);
		if (!is_text(s.lease->results != NULL ? s.lease->results->failure : NULL, r->result))
			fail_msg("row %zu, %s: result %s", i, r->domain, s.lease->results != NULL ? s.lease->results->failure : NULL);
		/* Nothing of the message was said to who did not prove enough. */
		if ((strstr(said, "MAIL FROM") != NULL) != (r->fate == FATE_DELIVERED))
			fail_msg("row %zu, %s: %s", i, r->domain, said);
		assert_int_equal(strstr(said, " REQUIRETLS|") != NULL, r->fate == FATE_DELIVERED && (r->flags & REQUIRE));
		/* What only REQUIRETLS asked for says nothing about the destination. */
		if (r->fate == FATE_BOUNCED)
			assert_false(s.lease->unreachable);
		free(said);
		side_stop(&s);
		server_stop(&p);
	}
}

/* A failed handshake is tried in the clear the next time, unless TLS is asked for. */
static void clear_text_only_where_nobody_minds(void **state)
{
	static const struct row open = { .domain = "good.plain.test", .server = BROKEN },
		asked = { .domain = "good.plain.test", .server = BROKEN, .sts = STS_ENFORCE };
	struct peer p;
	struct side s;
	char host[256];

	(void)state;
	begin(&s, &p, &open);
	one_message(&s, open.domain);
	assert_true(str_is(s.lease->tls_failed, "good-mx.plain.test"));
	strcpy(host, "good-mx.plain.test");
	lease_begin(&s, ROUTE_MX, open.domain, &(const char *){ "bob@good.plain.test" }, 1);
	s.lease->clear_host = str_of(host);
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
	side_stop(&s);
	server_stop(&p);

	begin(&s, &p, &asked);
	lease_begin(&s, ROUTE_MX, asked.domain, &(const char *){ "bob@good.plain.test" }, 1);
	s.lease->clear_host = str_of(host);
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DEFERRED);
	assert_true(s.lease->unreachable);
	side_stop(&s);
	server_stop(&p);
}

/* A kept connection serves who asks for no more than it proved. */
static void what_a_kept_connection_is_good_for(void **state)
{
	static const struct {
		const char *domain;
		enum what   server;
		enum sts_mode sts;
		unsigned    first, second;
		bool        kept;
		enum fate   fate;
	} pairs[] = {
		{ "ee.signed.test",    PROMISED,         STS_NONE, 0, 0, true, FATE_DELIVERED },
		{ "ee.signed.test",    PROMISED,         STS_NONE, 0, REQUIRE, true, FATE_DELIVERED },
		{ "ee.signed.test",    PROMISED,         STS_NONE, REQUIRE, 0, true, FATE_DELIVERED },
		{ "ee.signed.test",    PROMISED,         STS_NONE, OPTIONAL, REQUIRE, true, FATE_DELIVERED },
		{ "ee.signed.test",    STARTTLS_OFFERED, STS_NONE, 0, REQUIRE, false, FATE_BOUNCED },
		{ "wrong.signed.test", PROMISED,         STS_NONE, OPTIONAL, OPTIONAL, true, FATE_DELIVERED },
		{ "wrong.signed.test", PROMISED,         STS_NONE, OPTIONAL, 0, false, FATE_DEFERRED },
		{ "wrong.signed.test", PROMISED,         STS_NONE, OPTIONAL, REQUIRE, false, FATE_DEFERRED },
		{ "good.plain.test",   PROMISED,         STS_NONE, 0, REQUIRE, false, FATE_BOUNCED },
		{ "good.plain.test",   STRIPPED,         STS_ENFORCE, OPTIONAL, 0, false, FATE_DEFERRED },
		{ "good.plain.test",   STRIPPED,         STS_NONE, OPTIONAL, 0, true, FATE_DELIVERED },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(pairs); i++) {
		const struct row r = { .domain = pairs[i].domain, .server = pairs[i].server, .sts = pairs[i].sts,
			               .flags = pairs[i].first };
		struct peer p;
		struct side s;

		begin(&s, &p, &r);
		one_message(&s, r.domain);
		assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
		assert_int_equal(p.connections, 1);
		s.entry.flags = pairs[i].second;
		one_message(&s, r.domain);
		if (s.lease->v[0].fate != pairs[i].fate || (p.messages == 2) != (pairs[i].fate == FATE_DELIVERED) ||
		    (pairs[i].fate == FATE_DELIVERED && (p.connections == 1) != pairs[i].kept))
			fail_msg("pair %zu: fate %d, %u connections, %u messages, \"%.*s\"", i, (int)s.lease->v[0].fate,
			         p.connections, p.messages, STR_ARG(s.lease->v[0].said));
		side_stop(&s);
		server_stop(&p);
	}
}

/* Another generation may ask for something else. */
static void a_reload_dials_anew(void **state)
{
	static const struct row r = { .domain = "ee.signed.test", .server = PROMISED };
	struct deliver_setup other;
	struct peer p;
	struct side s;

	(void)state;
	begin(&s, &p, &r);
	one_message(&s, r.domain);
	other = s.setup;
	lease_begin(&s, ROUTE_MX, r.domain, &(const char *){ "bob@ee.signed.test" }, 1);
	s.lease->setup = &other;
	lease_go(&s);
	assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
	assert_int_equal(p.connections, 2);
	side_stop(&s);
	server_stop(&p);
}

/* MTA-STS is asked once an attempt, and not at all where DANE decides. */
static void who_is_asked(void **state)
{
	static const struct row dane = { .domain = "ee.signed.test", .server = PROMISED, .sts = STS_ENFORCE },
		sts = { .domain = "good.plain.test", .server = PROMISED, .sts = STS_ENFORCE };
	struct peer p;
	struct side s;

	(void)state;
	sts_asked = 0;
	begin(&s, &p, &dane);
	one_message(&s, dane.domain);
	assert_int_equal(sts_asked, 0);
	side_stop(&s);
	server_stop(&p);
	begin(&s, &p, &sts);
	one_message(&s, sts.domain);
	assert_int_equal(sts_asked, 1);
	side_stop(&s);
	server_stop(&p);
}

/* Mail that requires TLS goes to an LMTP server on this machine. */
static void lmtp_on_this_machine_will_do(void **state)
{
	static const struct script lmtp = { .lmtp = true };
	struct peer p;
	struct side s;
	char target[64];

	(void)state;
	peer_start(&p, &lmtp, false);
	side_start_in(&s, "x.test A 127.0.0.1\n", 25);
	s.entry.flags = REQUIRE;
	snprintf(target, sizeof(target), "127.0.0.1:%u", p.port);
	for (unsigned i = 1; i <= 2; i++) {
		lease_begin(&s, ROUTE_LMTP, target, &(const char *){ "bob@x.test" }, 1);
		lease_go(&s);
		assert_int_equal(s.lease->v[0].fate, FATE_DELIVERED);
		assert_int_equal(p.messages, i);
	}
	assert_int_equal(p.connections, 1);
	side_stop(&s);
	server_stop(&p);
}

/* ---- a smarthost -------------------------------------------------------------------------------------- */

static void a_hop_is_held_to_its_route(void **state)
{
	static const struct hop starttls = { .tls = HOP_STARTTLS }, any = { .tls = HOP_STARTTLS, .any_certificate = true },
		may = { .tls = HOP_MAY };
	static const struct { const struct hop *hop; const char *host; enum what server; enum fate fate; const char *said; } hops[] = {
		{ &starttls, "good-mx.plain.test", STARTTLS_OFFERED, FATE_DELIVERED, "taken" },
		{ &starttls, "other-mx.plain.test", STARTTLS_OFFERED, FATE_DEFERRED, "postern.conf asks for that" },
		{ &starttls, "self-mx.plain.test", STARTTLS_OFFERED, FATE_DEFERRED, "self-signed" },
		{ &starttls, "good-mx.plain.test", STRIPPED, FATE_DEFERRED, "does not begin TLS" },
		{ &starttls, "ee-mx.signed.test", STARTTLS_OFFERED, FATE_DELIVERED, "taken" },
		{ &any, "self-mx.plain.test", STARTTLS_OFFERED, FATE_DELIVERED, "taken" },
		{ &any, "good-mx.plain.test", STRIPPED, FATE_DEFERRED, "does not begin TLS" },
		{ &may, "self-mx.plain.test", STARTTLS_OFFERED, FATE_DELIVERED, "taken" },
		{ &may, "good-mx.plain.test", STRIPPED, FATE_DELIVERED, "taken" },
		{ NULL, "wrong-mx.signed.test", STARTTLS_OFFERED, FATE_DEFERRED, "DANE" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(hops); i++) {
		const struct row r = { .server = hops[i].server };
		struct peer p;
		struct side s;
		char target[80];

		begin(&s, &p, &r);
		snprintf(target, sizeof(target), "%s:%u", hops[i].host, p.port);
		lease_begin(&s, ROUTE_HOST, target, &(const char *){ "bob@far.test" }, 1);
		s.lease->route.hop = hops[i].hop;
		lease_go(&s);
		if (s.lease->v[0].fate != hops[i].fate || !holds(s.lease->v[0].said, hops[i].said))
			fail_msg("hop %zu: fate %d \"%.*s\"", i, (int)s.lease->v[0].fate, STR_ARG(s.lease->v[0].said));
		side_stop(&s);
		server_stop(&p);
	}
}

/* ---- the frame --------------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	struct arena a;
	char *pem;
	str why;
	int fd;

	(void)state;
	crypt_setup();
	log_level_set(LOG_ERROR);
	ca = identity_new("Test Authority", NULL, -A_DAY, A_DAY);
	for (size_t i = 0; i < COUNT(shown); i++)
		who[i] = identity_new(shown[i].name, shown[i].alone ? NULL : &ca, shown[i].from, shown[i].until);
	strcpy(ca_file, "/tmp/client_tls_test.XXXXXX");
	fd = mkstemp(ca_file);
	pem = identity_pem(&ca, NULL);
	if (fd < 0 || write(fd, pem, strlen(pem)) < 0)
		return -1;
	close(fd);
	free(pem);
	make_certificates();
	arena_init(&a, 4096);
	side_tls = tls_client_new();
	assert_true(tls_client_trust(side_tls, str_of(ca_file), &a, &why));
	arena_fini(&a);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(shown); i++)
		identity_free(&who[i]);
	identity_free(&ca);
	tls_client_free(side_tls);
	tls_server_free(certificates);
	unlink(ca_file);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_one_by_one),
		cmocka_unit_test(clear_text_only_where_nobody_minds),
		cmocka_unit_test(what_a_kept_connection_is_good_for),
		cmocka_unit_test(a_reload_dials_anew),
		cmocka_unit_test(who_is_asked),
		cmocka_unit_test(lmtp_on_this_machine_will_do),
		cmocka_unit_test(a_hop_is_held_to_its_route),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
