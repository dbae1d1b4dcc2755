/* SPDX-License-Identifier: ISC */
/* tls_client: whom it believes, by authority, name and TLSA record. */
#include "tests/unit/authority.h"
#include "tests/unit/base/wire.h"

#include "smtpd/base/arena.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"
#include "smtpd/base/tls_inside.h"

static struct loop *l;
static struct arena arena;
static struct tls_client *client, *strange;   /* trusts our authority; trusts none of these */
static char ca_file[64];

enum who { GOOD, EXPIRED, NOT_YET, OTHER, ALONE, STRANGER, WHO };

static struct identity ca, other_ca, server[WHO];
static struct tls_server *serve[WHO];
static char *pems[2];

static int open_pem(str path)
{
	const char *text = pems[str_is(path, "key")];
	int fd = memfd_create("pem", MFD_CLOEXEC);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	lseek(fd, 0, SEEK_SET);
	return fd;
}

static void make(enum who who, const char *name, const struct identity *by, long from, long until)
{
	struct tls_pair pair = { STR("cert"), STR("key") };
	struct tls_conf conf = { .pairs = &pair, .npairs = 1 };
	str why;

	server[who] = identity_new(name, by, from, until);
	pems[0] = identity_pem(&server[who], by);
	pems[1] = identity_key_pem(&server[who]);
	serve[who] = tls_server_new(&conf, open_pem, &arena, &why);
	if (serve[who] == NULL)
		fail_msg("%.*s", STR_ARG(why));
	free(pems[0]);
	free(pems[1]);
}

static int set_up(void **state)
{
	char *pem;
	str why;
	int fd;

	(void)state;
	crypt_setup();
	log_level_set(LOG_ERROR);
	arena_init(&arena, ARENA_UNBOUNDED);
	l = loop_new(0, NULL);
	ca = identity_new("Test Authority", NULL, -A_DAY, A_DAY);
	other_ca = identity_new("Other Authority", NULL, -A_DAY, A_DAY);
	make(GOOD, "mx.test", &ca, -A_DAY, A_DAY);
	make(EXPIRED, "mx.test", &ca, -2 * A_DAY, -A_DAY);
	make(NOT_YET, "mx.test", &ca, A_DAY, 2 * A_DAY);
	make(OTHER, "other.test", &ca, -A_DAY, A_DAY);
	make(ALONE, "mx.test", NULL, -A_DAY, A_DAY);
	make(STRANGER, "mx.test", &other_ca, -A_DAY, A_DAY);
	snprintf(ca_file, sizeof(ca_file), "/tmp/tls_client_test.XXXXXX");
	fd = mkstemp(ca_file);
	pem = identity_pem(&ca, NULL);
	assert_int_equal(write(fd, pem, strlen(pem)), (ssize_t)strlen(pem));
	close(fd);
	free(pem);
	client = tls_client_new();
	strange = tls_client_new();
	assert_true(tls_client_trust(client, str_of(ca_file), &arena, &why));
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (size_t i = 0; i < WHO; i++) {
		identity_free(&server[i]);
		tls_server_free(serve[i]);
	}
	identity_free(&ca);
	identity_free(&other_ca);
	tls_client_free(client);
	tls_client_free(strange);
	unlink(ca_file);
	arena_fini(&arena);
	loop_free(l);
	return 0;
}

static void meet(struct side *a, struct side *b, enum who who, struct tls_client *c, const struct tls_expect *e)
{
	int fds[2];

	pair_of_fds(fds);
	side_open(a, l, fds[0]);
	side_open(b, l, fds[1]);
	conn_secure_server(a->c, serve[who]);
	conn_secure_expecting(b->c, c, e);
	turn_until(l, (a->secured || a->ended) && (b->secured || b->ended));
}

static void judged(enum who who, struct tls_client *c, const struct tls_expect *e, struct tls_state *out, bool *sni)
{
	struct side a, b;

	meet(&a, &b, who, c, e);
	/* Never the handshake's end: the asker decides. */
	assert_int_equal(b.secured, 1);
	*out = conn_tls(b.c);
	*sni = str_is_nocase(conn_tls(a.c).sni, "mx.test");
	side_fini(&a);
	side_fini(&b);
}

/* ---- authorities and names ------------------------------------------------------------ */

static void names_and_authorities(void **state)
{
	static const struct { enum who who; const char *name, *other; bool trusts; enum tls_fault want; } rows[] = {
		{ GOOD,     "mx.test",   NULL,         true,  TLS_GOOD },
		{ GOOD,     "MX.TEST.",  NULL,         true,  TLS_GOOD },
		{ GOOD,     "x.test",    NULL,         true,  TLS_OTHER_NAME },
		{ GOOD,     "x.test",    "mx.test",    true,  TLS_GOOD },
		{ GOOD,     "mx.test",   NULL,         false, TLS_UNTRUSTED },
		{ GOOD,     "127.0.0.1", NULL,         true,  TLS_OTHER_NAME },
		{ EXPIRED,  "mx.test",   NULL,         true,  TLS_EXPIRED },
		{ NOT_YET,  "mx.test",   NULL,         true,  TLS_NOT_YET },
		{ OTHER,    "mx.test",   NULL,         true,  TLS_OTHER_NAME },
		{ OTHER,    "mx.test",   "other.test", true,  TLS_GOOD },
		{ ALONE,    "mx.test",   NULL,         true,  TLS_UNTRUSTED },
		{ STRANGER, "mx.test",   NULL,         true,  TLS_UNTRUSTED },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		str other = str_of(rows[i].other);
		struct tls_expect e = { .name = str_of(rows[i].name), .others = { &other, rows[i].other != NULL } };
		struct tls_state s;
		bool sni;

		judged(rows[i].who, rows[i].trusts ? client : strange, &e, &s, &sni);
		if (s.fault != rows[i].want || s.verified != (rows[i].want == TLS_GOOD) || s.by_dane || s.why == NULL)
			fail_msg("row %zu: fault %d (%s), want %d", i, (int)s.fault, s.why, (int)rows[i].want);
		assert_int_equal(sni, str_starts_nocase(e.name, "mx.test"));
	}
}

/* ---- TLSA ------------------------------------------------------------------------------- */

static void tlsa_decides(void **state)
{
	static const struct {
		enum who who;            /* who answers */
		const struct identity *of;
		int usage, selector, matching;
		const char *name, *other;
		enum tls_fault want;
	} rows[] = {
		/* DANE-EE: neither name nor time nor authority matter (RFC 7672 3.1.1). */
		{ GOOD,     &server[GOOD],     3, 1, 1, "mx.test", NULL, TLS_GOOD },
		{ GOOD,     &server[GOOD],     3, 0, 1, "mx.test", NULL, TLS_GOOD },
		{ GOOD,     &server[GOOD],     3, 0, 2, "mx.test", NULL, TLS_GOOD },
		{ GOOD,     &server[GOOD],     3, 1, 0, "mx.test", NULL, TLS_GOOD },
		{ GOOD,     &server[GOOD],     3, 0, 0, "mx.test", NULL, TLS_GOOD },
		{ EXPIRED,  &server[EXPIRED],  3, 1, 1, "mx.test", NULL, TLS_GOOD },
		{ NOT_YET,  &server[NOT_YET],  3, 1, 1, "mx.test", NULL, TLS_GOOD },
		{ OTHER,    &server[OTHER],    3, 1, 1, "mx.test", NULL, TLS_GOOD },
		{ ALONE,    &server[ALONE],    3, 0, 1, "mx.test", NULL, TLS_GOOD },
		{ STRANGER, &server[STRANGER], 3, 1, 2, "mx.test", NULL, TLS_GOOD },
		{ GOOD,     &server[OTHER],    3, 1, 1, "mx.test", NULL, TLS_NO_TLSA_MATCH },
		/* DANE-TA: the chain, the name and the time must hold (3.1.2, 3.2.2). */
		{ STRANGER, &other_ca, 2, 0, 1, "mx.test", NULL, TLS_GOOD },
		{ STRANGER, &other_ca, 2, 1, 1, "mx.test", NULL, TLS_GOOD },
		{ STRANGER, &other_ca, 2, 0, 0, "mx.test", NULL, TLS_GOOD },
		{ GOOD,     &ca,       2, 1, 2, "mx.test", NULL, TLS_GOOD },
		{ GOOD,     &ca,       2, 1, 1, "x.test",  "mx.test", TLS_GOOD },
		{ GOOD,     &ca,       2, 1, 1, "x.test",  NULL, TLS_OTHER_NAME },
		{ OTHER,    &ca,       2, 1, 1, "mx.test", NULL, TLS_OTHER_NAME },
		{ EXPIRED,  &ca,       2, 1, 1, "mx.test", NULL, TLS_EXPIRED },
		{ GOOD,     &other_ca, 2, 1, 1, "mx.test", NULL, TLS_NO_TLSA_MATCH },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		unsigned char data[4096];
		size_t n = identity_tlsa(rows[i].of, rows[i].selector, rows[i].matching, data);
		struct tls_tlsa t = { (uint8_t)rows[i].usage, (uint8_t)rows[i].selector, (uint8_t)rows[i].matching,
			              { (char *)data, n } };
		str other = str_of(rows[i].other);
		struct tls_expect e = { .name = str_of(rows[i].name), .others = { &other, rows[i].other != NULL },
			                .tlsa = &t, .ntlsa = 1 };
		struct tls_state s;
		bool sni;

		assert_true(tls_tlsa_usable(strange, &t));
		judged(rows[i].who, strange, &e, &s, &sni);
		if (s.fault != rows[i].want || s.verified != (rows[i].want == TLS_GOOD) || s.by_dane != s.verified)
			fail_msg("row %zu: fault %d (%s), want %d", i, (int)s.fault, s.why, (int)rows[i].want);
	}
}

/* With TLSA records the system's authorities have no say. */
static void a_good_certificate_does_not_outweigh_tlsa(void **state)
{
	unsigned char data[4096];
	size_t n = identity_tlsa(&server[OTHER], 1, 1, data);
	struct tls_tlsa t = { 3, 1, 1, { (char *)data, n } };
	struct tls_expect e = { .name = STR("mx.test"), .tlsa = &t, .ntlsa = 1 };
	struct tls_state s;
	bool sni;

	(void)state;
	judged(GOOD, client, &e, &s, &sni);
	assert_int_equal(s.fault, TLS_NO_TLSA_MATCH);
	assert_true(sni);
}

static void one_of_several_records_is_enough(void **state)
{
	unsigned char data[2][4096];
	struct tls_tlsa t[2] = {
		{ 3, 1, 1, { (char *)data[0], identity_tlsa(&server[OTHER], 1, 1, data[0]) } },
		{ 3, 1, 1, { (char *)data[1], identity_tlsa(&server[GOOD], 1, 1, data[1]) } },
	};
	struct tls_expect e = { .name = STR("mx.test"), .tlsa = t, .ntlsa = 2 };
	struct tls_state s;
	bool sni;

	(void)state;
	judged(GOOD, strange, &e, &s, &sni);
	assert_true(s.verified);
}

static void what_is_usable(void **state)
{
	static const char digest[64] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";
	static const struct { int usage, selector, matching; size_t n; bool want; } rows[] = {
		{ 3, 1, 1, 32, true },  { 3, 0, 2, 64, true },  { 2, 1, 1, 32, true },  { 2, 0, 2, 64, true },
		{ 0, 1, 1, 32, false }, { 1, 1, 1, 32, false }, { 4, 1, 1, 32, false }, { 255, 1, 1, 32, false },
		{ 3, 2, 1, 32, false }, { 3, 1, 3, 32, false }, { 3, 1, 1, 31, false }, { 3, 1, 1, 33, false },
		{ 3, 1, 2, 32, false }, { 3, 1, 1, 0, false },  { 3, 0, 0, 64, false }, { 3, 1, 0, 64, false },
		{ 3, 0, 0, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_tlsa t = { (uint8_t)rows[i].usage, (uint8_t)rows[i].selector, (uint8_t)rows[i].matching,
			              { digest, rows[i].n } };

		if (tls_tlsa_usable(client, &t) != rows[i].want)
			fail_msg("row %zu", i);
	}
}

/* ---- the rest ------------------------------------------------------------------------------ */

static void authorities_that_cannot_be_read(void **state)
{
	struct tls_expect e = { .name = STR("mx.test") };
	struct tls_state s;
	str why = STR_NONE;
	bool sni;

	(void)state;
	assert_false(tls_client_trust(client, STR("/nonexistent/ca.pem"), &arena, &why));
	assert_true(str_starts(why, "/nonexistent/ca.pem: "));
	judged(GOOD, client, &e, &s, &sni);
	assert_true(s.verified);        /* those of before stay */
}

/* RFC 8461 4.2, RFC 7672 3: nothing below 1.2 is TLS. */
static void old_versions_are_never_offered(void **state)
{
	SSL *ssl = tls_client_ssl(client, "mx.test");

	(void)state;
	assert_int_equal(SSL_get_min_proto_version(ssl), TLS1_2_VERSION);
	SSL_free(ssl);
}

static void the_chain_in_words(void **state)
{
	struct tls_expect e = { .name = STR("mx.test") };
	struct tls_cert chain[4];
	unsigned char data[4096];
	struct side a, b;
	char hex[3];

	(void)state;
	meet(&a, &b, GOOD, client, &e);
	assert_int_equal(conn_tls_chain(b.c, &arena, chain, 4), 2);
	assert_true(str_is(chain[0].subject, "CN=mx.test"));
	assert_true(str_is(chain[0].issuer, "CN=Test Authority"));
	assert_int_equal(chain[0].names.n, 1);
	assert_true(str_is(chain[0].names.v[0], "mx.test"));
	assert_int_equal(chain[0].not_after - chain[0].not_before, 2 * A_DAY);
	assert_int_equal(identity_tlsa(&server[GOOD], 1, 1, data), 32);
	assert_int_equal(chain[0].spki_sha256.n, 64);
	for (size_t i = 0; i < 32; i++) {
		snprintf(hex, sizeof(hex), "%02x", data[i]);
		assert_memory_equal(chain[0].spki_sha256.p + 2 * i, hex, 2);
	}
	assert_true(str_is(chain[1].subject, "CN=Test Authority"));
	assert_int_equal(conn_tls_chain(b.c, &arena, chain, 1), 1);
	side_fini(&a);
	side_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_and_authorities),
		cmocka_unit_test(tlsa_decides),
		cmocka_unit_test(a_good_certificate_does_not_outweigh_tlsa),
		cmocka_unit_test(one_of_several_records_is_enough),
		cmocka_unit_test(what_is_usable),
		cmocka_unit_test(authorities_that_cannot_be_read),
		cmocka_unit_test(old_versions_are_never_offered),
		cmocka_unit_test(the_chain_in_words),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
