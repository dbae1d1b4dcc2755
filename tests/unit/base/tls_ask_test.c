/* SPDX-License-Identifier: ISC */
/* tls: client certificates asked for, required or not, and the names in them. */
#include "tests/unit/base/wire.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/keeper.h"
#include "smtpd/base/log.h"
#include "smtpd/base/tls_inside.h"

static struct loop *l;
static char dir[64];
static struct arena arena;
static struct tls_server *server;

static const char *at(const char *name)
{
	static char paths[8][128];
	static unsigned turn_of;
	char *path = paths[turn_of++ % COUNT(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

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

static void put_file(const char *name, const char *text)
{
	FILE *f = fopen(at(name), "w");

	fputs(text, f);
	fclose(f);
}

static int set_up(void **state)
{
	static const char *const name = "a.test";
	struct tls_pair pair;
	struct tls_conf conf = { .pairs = &pair, .npairs = 1 };
	char *cert, *key;
	str why;

	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/tls_test.XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	crypt_setup();
	log_level_set(LOG_ERROR);
	arena_init(&arena, ARENA_UNBOUNDED);
	l = loop_new(0, NULL);
	assert_int_equal(tls_self_signed(&name, 1, 7, &cert, &key), OK);
	put_file("server.pem", cert);
	put_file("server.key", key);
	free(cert);
	free(key);
	make_client("alice", false);
	make_client("many", true);
	make_client("stranger", false);
	assert_int_equal(system(str_cstr(&arena, arena_printf(&arena, "cat %s %s > %s", at("alice.pem"), at("many.pem"),
	                                                      at("ca.pem")))), 0);
	pair = (struct tls_pair){ str_of(at("server.pem")), str_of(at("server.key")) };
	conf.client_ca = str_of(at("ca.pem"));
	server = tls_server_new(&conf, keeper_open, &arena, &why);
	return server != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	tls_server_free(server);
	loop_free(l);
	arena_fini(&arena);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

/* ---- a client that may have one -------------------------------------------------------- */

struct bare { SSL_CTX *ctx; SSL *ssl; SSL_SESSION *session; int fd; bool failed; };

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct bare *b = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(b->session);
	b->session = session;
	return 1;
}

static void bare_init(struct bare *b, const char *stem, int version)
{
	char file[32];

	memset(b, 0, sizeof(*b));
	b->ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(b->ctx, version);
	SSL_CTX_set_session_cache_mode(b->ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(b->ctx, keep_session);
	SSL_CTX_set_app_data(b->ctx, b);
	if (stem == NULL)
		return;
	snprintf(file, sizeof(file), "%s.pem", stem);
	assert_int_equal(SSL_CTX_use_certificate_file(b->ctx, at(file), SSL_FILETYPE_PEM), 1);
	snprintf(file, sizeof(file), "%s.key", stem);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(b->ctx, at(file), SSL_FILETYPE_PEM), 1);
}

/* One go at the handshake and at what comes behind it. */
static bool bare_turn(struct bare *b)
{
	char byte;
	int r = SSL_do_handshake(b->ssl), e;

	if (r == 1)
		r = SSL_read(b->ssl, &byte, 1);
	e = SSL_get_error(b->ssl, r);
	b->failed = b->failed || (e != SSL_ERROR_WANT_READ && e != SSL_ERROR_WANT_WRITE);
	return SSL_is_init_finished(b->ssl);
}

/* True: the server has it; then `a` is open. */
static bool bare_connect(struct bare *b, struct side *a, enum tls_ask ask)
{
	SSL_SESSION *old = b->session;
	int fds[2];

	b->session = NULL;
	b->failed = false;
	pair_of_fds(fds);
	side_open(a, l, fds[0]);
	conn_secure_server(a->c, server);
	conn_ask_client(a->c, ask);
	b->fd = fds[1];
	b->ssl = SSL_new(b->ctx);
	SSL_set_fd(b->ssl, b->fd);
	SSL_set_connect_state(b->ssl);
	if (old != NULL)
		SSL_set_session(b->ssl, old);
	turn_until(l, ((void)bare_turn(b), a->secured || a->ended));
	for (int i = 0; i < 100 && b->session == NULL && !b->failed && a->secured && ask != TLS_ASK_REQUIRE; i++)
		bare_turn(b);
	SSL_SESSION_free(old);
	return a->secured == 1;
}

static void bare_close(struct bare *b)
{
	SSL_set_shutdown(b->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(b->ssl);
	close(b->fd);
}

static void bare_fini(struct bare *b)
{
	SSL_SESSION_free(b->session);
	SSL_CTX_free(b->ctx);
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
			struct bare b;
			struct side a;

			bare_init(&b, rows[i].stem, versions[v]);
			if (bare_connect(&b, &a, rows[i].ask) != rows[i].in)
				fail_msg("row %zu, version %zu", i, v);
			if (rows[i].in)
				assert_int_equal(conn_tls(a.c).client_cert, rows[i].certificate);
			bare_close(&b);
			side_fini(&a);
			bare_fini(&b);
		}
}

/* What was agreed on where nobody asked does not open where one is required. */
static void a_session_without_certificate_is_not_resumed_where_it_is_required(void **state)
{
	(void)state;
	for (size_t v = 0; v < COUNT(versions); v++) {
		struct bare b;
		struct side a;

		bare_init(&b, NULL, versions[v]);
		assert_true(bare_connect(&b, &a, TLS_ASK_NONE));
		assert_non_null(b.session);
		bare_close(&b);
		side_fini(&a);
		assert_false(bare_connect(&b, &a, TLS_ASK_REQUIRE));
		bare_close(&b);
		side_fini(&a);
		bare_fini(&b);
	}
}

static str names(const char *stem, unsigned which, enum tls_ask ask)
{
	struct strs list;
	struct bare b;
	struct side a;
	str text = STR("");

	bare_init(&b, stem, TLS1_3_VERSION);
	assert_true(bare_connect(&b, &a, ask));
	conn_tls_names(a.c, which, &arena, &list);
	for (size_t i = 0; i < list.n; i++)
		text = arena_printf(&arena, "%.*s%.*s ", STR_ARG(text), STR_ARG(list.v[i]));
	bare_close(&b);
	side_fini(&a);
	bare_fini(&b);
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
