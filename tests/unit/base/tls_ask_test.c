/* SPDX-License-Identifier: ISC */
/* tls: client certificates asked for, required or not, and the names in them. */
#include "tests/unit/base/tls_house.h"

static struct tls_server *server;

/* ---- certificates ------------------------------------------------------------------ */

static void add_entry(X509_NAME *name, int nid, const char *text, int n)
{
	assert_int_equal(X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, (const unsigned char *)text, n, -1, 0), 1);
}

static void add_mailbox(GENERAL_NAMES *names, const char *text, int n)
{
	GENERAL_NAME *g = GENERAL_NAME_new();
	ASN1_IA5STRING *value = ASN1_IA5STRING_new();

	assert_int_equal(ASN1_STRING_set(value, text, n), 1);
	GENERAL_NAME_set0_value(g, GEN_EMAIL, value);
	sk_GENERAL_NAME_push(names, g);
}

/* Names of every kind; one with a NUL in it, one too long, more than are taken. */
static void put_names(X509 *x, bool with_many)
{
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	char text[400];

	add_mailbox(names, "alice@here.test", 15);
	add_mailbox(names, "root@here.test\0.evil.test", 25);
	add_mailbox(names, "", 0);
	memset(text, 'x', sizeof(text));
	add_mailbox(names, text, sizeof(text));
	add_mailbox(names, "bob@here.test", 13);
	for (int i = 0; with_many && i < 30; i++)
		add_mailbox(names, text, snprintf(text, sizeof(text), "u%d@here.test", i));
	assert_int_equal(X509_add1_ext_i2d(x, NID_subject_alt_name, names, 0, X509V3_ADD_APPEND), 1);
	GENERAL_NAMES_free(names);
	add_entry(X509_get_subject_name(x), NID_pkcs9_emailAddress, "carol@here.test", 15);
	add_entry(X509_get_subject_name(x), NID_commonName, "dora@here.test", 14);
}

/* A certificate that is its own authority. */
static void make_client(const char *stem, bool with_many)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *x = X509_new();
	char file[32];
	FILE *f;

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 7);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), 86400);
	X509_set_pubkey(x, key);
	put_names(x, with_many);
	add_entry(X509_get_subject_name(x), NID_organizationName, stem, -1);   /* an authority is found by its name */
	X509_set_issuer_name(x, X509_get_subject_name(x));
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	snprintf(file, sizeof(file), "%s.pem", stem);
	f = fopen(at(file), "w");
	PEM_write_X509(f, x);
	fclose(f);
	snprintf(file, sizeof(file), "%s.key", stem);
	f = fopen(at(file), "w");
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	X509_free(x);
	EVP_PKEY_free(key);
}

static int set_up(void **state)
{
	static const char *const stem = "server";

	(void)state;
	if (house_begin() != 0)
		return -1;
	make_one(stem, "a.test");
	make_client("alice", false);
	make_client("many", true);
	make_client("stranger", false);
	assert_int_equal(system(str_cstr(&arena, arena_printf(&arena, "cat %s %s > %s", at("alice.pem"), at("many.pem"),
	                                                      at("ca.pem")))), 0);
	server = serve_conf(1, &stem, false, "ca.pem");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	tls_server_free(server);
	return house_end();
}

/* ---- a client that may have one -------------------------------------------------------- */

struct caller { struct bare bare; bool failed; };

static void caller_init(struct caller *c, const char *stem, int version)
{
	memset(c, 0, sizeof(*c));
	bare_init(&c->bare, version);
	if (stem != NULL)
		bare_certificate(&c->bare, stem);
}

/* One go at the handshake and at what comes behind it. */
static void caller_turn(struct caller *c)
{
	char byte;
	int r = SSL_do_handshake(c->bare.ssl), e;

	if (r == 1)
		r = SSL_read(c->bare.ssl, &byte, 1);
	e = SSL_get_error(c->bare.ssl, r);
	c->failed = c->failed || (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE);
}

/* True: the server has it; then `a` is open. */
static bool caller_connect(struct caller *c, struct side *a, enum tls_ask ask)
{
	c->failed = false;
	bare_begin(&c->bare, a, server);
	conn_ask_client(a->c, ask);
	turn_until(l, (caller_turn(c), a->secured || a->ended));
	for (int i = 0; i < 100 && c->bare.session == NULL && !c->failed && a->secured && ask != TLS_ASK_REQUIRE; i++)
		caller_turn(c);
	return a->secured == 1;
}

static void caller_close(struct caller *c, struct side *a)
{
	bare_close(&c->bare);
	side_fini(a);
}

static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

static void asked_required_or_not(void **state)
{
	static const struct { const char *stem; enum tls_ask ask; bool in, certificate; } rows[] = {
		{ NULL, TLS_ASK, true, false },
		{ "alice", TLS_ASK, true, true },
		{ "stranger", TLS_ASK, true, false },
		{ NULL, TLS_ASK_NONE, true, false },
		{ "alice", TLS_ASK_NONE, true, false },
		{ NULL, TLS_ASK_REQUIRE, false, false },
		{ "alice", TLS_ASK_REQUIRE, true, true },
		{ "stranger", TLS_ASK_REQUIRE, false, false },
	};

	(void)state;
	for (size_t v = 0; v < COUNT(versions); v++)
		for (size_t i = 0; i < COUNT(rows); i++) {
			struct caller c;
			struct side a;

			caller_init(&c, rows[i].stem, versions[v]);
			if (caller_connect(&c, &a, rows[i].ask) != rows[i].in)
				fail_msg("row %zu, version %zu", i, v);
			if (rows[i].in)
				assert_int_equal(conn_tls(a.c).client_cert, rows[i].certificate);
			caller_close(&c, &a);
			bare_fini(&c.bare);
		}
}

/* What was agreed on where nobody asked does not open where one is required. */
static void a_session_without_certificate_is_not_resumed_where_it_is_required(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT(versions); v++) {
		struct caller c;
		struct side a;

		caller_init(&c, NULL, versions[v]);
		assert_true(caller_connect(&c, &a, TLS_ASK_NONE));
		assert_non_null(c.bare.session);
		caller_close(&c, &a);
		assert_false(caller_connect(&c, &a, TLS_ASK_REQUIRE));
		caller_close(&c, &a);
		bare_fini(&c.bare);
	}
}

static str names(const char *stem, unsigned which, enum tls_ask ask)
{
	struct strs list;
	struct caller c;
	struct side a;
	str text = STR("");

	caller_init(&c, stem, TLS1_3_VERSION);
	assert_true(caller_connect(&c, &a, ask));
	conn_tls_names(a.c, which, &arena, &list);
	for (size_t i = 0; i < list.n; i++)
		text = arena_printf(&arena, "%.*s%.*s ", STR_ARG(text), STR_ARG(list.v[i]));
	caller_close(&c, &a);
	bare_fini(&c.bare);
	return text;
}

static void names_are_read(void **state)
{
	static const unsigned all = TLS_NAME_SAN | TLS_NAME_EMAIL | TLS_NAME_CN;
	str many;

	(void)state;
	assert_true(str_is(names("alice", TLS_NAME_SAN, TLS_ASK), "alice@here.test bob@here.test "));
	assert_true(str_is(names("alice", TLS_NAME_EMAIL, TLS_ASK), "carol@here.test "));
	assert_true(str_is(names("alice", TLS_NAME_CN, TLS_ASK), "dora@here.test "));
	assert_true(str_is(names("alice", all, TLS_ASK), "alice@here.test bob@here.test carol@here.test dora@here.test "));
	assert_true(str_is(names("alice", 0, TLS_ASK), ""));
	assert_true(str_is(names("alice", all, TLS_ASK_NONE), ""));
	assert_true(str_is(names("stranger", all, TLS_ASK), ""));
	assert_true(str_is(names(NULL, all, TLS_ASK), ""));
	many = names("many", all, TLS_ASK);
	assert_int_equal(many.n > 0 && str_ends_nocase(many, STR(" u13@here.test ")), 1);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(asked_required_or_not),
		cmocka_unit_test(a_session_without_certificate_is_not_resumed_where_it_is_required),
		cmocka_unit_test(names_are_read),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
