/* SPDX-License-Identifier: ISC */
/* tls: certificates chosen by name, renewed on the disk, refused with a reason. */
#include "tests/unit/base/wire.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/keeper.h"
#include "smtpd/base/log.h"
#include "smtpd/base/tls_inside.h"

static struct loop *l;
static char dir[64];
static struct arena arena;
static struct tls_client *client;

/* ---- files ------------------------------------------------------------------------ */

/* Several in one expression: each call has a buffer of its own. */
static const char *at(const char *name)
{
	static char paths[8][128];
	static unsigned turn_of;
	char *path = paths[turn_of++ % COUNT(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static void put_file(const char *name, const char *text, size_t n)
{
	char temporary[160];
	int fd;

	snprintf(temporary, sizeof(temporary), "%s.new", at(name));
	fd = open(temporary, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	assert_int_equal(write(fd, text, n), (ssize_t)n);
	close(fd);
	assert_int_equal(rename(temporary, at(name)), 0);
}

static void make_pair(const char *cert, const char *key, const char *const names[], size_t n)
{
	char *c, *k;

	assert_int_equal(tls_self_signed(names, n, 7, &c, &k), OK);
	put_file(cert, c, strlen(c));
	put_file(key, k, strlen(k));
	free(c);
	free(k);
}

static void make_one(const char *stem, const char *name)
{
	char cert[32], key[32];

	snprintf(cert, sizeof(cert), "%s.pem", stem);
	snprintf(key, sizeof(key), "%s.key", stem);
	make_pair(cert, key, &name, 1);
}

static X509 *certificate(const char *name)
{
	FILE *f = fopen(at(name), "r");
	X509 *x = PEM_read_X509(f, NULL, NULL, NULL);

	fclose(f);
	assert_non_null(x);
	return x;
}

static struct tls_server *serve_conf(size_t n, const char *const stems[], bool minimum_13, const char *ca)
{
	struct tls_pair pairs[4];
	char text[8][128];
	struct tls_conf conf = { .pairs = pairs, .npairs = n, .minimum_13 = minimum_13 };
	struct tls_server *s;
	str why;

	for (size_t i = 0; i < n; i++) {
		snprintf(text[2 * i], sizeof(text[0]), "%s/%s.pem", dir, stems[i]);
		snprintf(text[2 * i + 1], sizeof(text[0]), "%s/%s.key", dir, stems[i]);
		pairs[i] = (struct tls_pair){ str_of(text[2 * i]), str_of(text[2 * i + 1]) };
	}
	if (ca != NULL)
		conf.client_ca = str_of(at(ca));
	s = tls_server_new(&conf, keeper_open, &arena, &why);
	if (s == NULL)
		fail_msg("%.*s", STR_ARG(why));
	return s;
}

static struct tls_server *serve(const char *stem)
{
	return serve_conf(1, &stem, false, NULL);
}

static int set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/tls_test.XXXXXX");
	if (mkdtemp(dir) == NULL)
		return -1;
	crypt_setup();
	log_level_set(LOG_ERROR);
	arena_init(&arena, ARENA_UNBOUNDED);
	l = loop_new(0, NULL);
	client = tls_client_new();
	make_one("a", "a.test");
	make_one("b", "b.test");
	make_one("wild", "*.c.test");
	return l != NULL && client != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	tls_client_free(client);
	loop_free(l);
	arena_fini(&arena);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

/* ---- handshakes --------------------------------------------------------------------- */

static void shake_hands(struct side *a, struct side *b, struct tls_server *s, struct tls_client *c,
                        const char *name)
{
	int fds[2];

	pair_of_fds(fds);
	side_open(a, l, fds[0]);
	side_open(b, l, fds[1]);
	conn_secure_server(a->c, s);
	conn_secure_client(b->c, c, name);
	turn_until(l, (a->secured || a->ended) && (b->secured || b->ended));
}

/* The name in the certificate that a client asking for `name` is shown. */
static void shown_name(struct tls_server *s, const char *name, char out[static 64])
{
	struct side a, b;

	shake_hands(&a, &b, s, client, name);
	assert_int_equal(b.secured, 1);
	X509_NAME_get_text_by_NID(X509_get_subject_name(SSL_get0_peer_certificate(b.c->tls->ssl)),
	                          NID_commonName, out, 64);
	side_fini(&a);
	side_fini(&b);
}

static struct tls_client *client_up_to(int version)
{
	struct tls_client *c = tls_client_new();
	SSL *ssl = tls_client_ssl(c, NULL);

	SSL_CTX_set_max_proto_version(SSL_get_SSL_CTX(ssl), version);
	SSL_free(ssl);
	return c;
}

static void the_state_is_told(void **state)
{
	static const int versions[] = { TLS1_3_VERSION, TLS1_2_VERSION };
	static const char *const words[] = { "TLSv1.3", "TLSv1.2" }, *const bindings[] = { "tls-exporter",
		                                                                           "tls-unique" };
	struct tls_server *s = serve("a");

	(void)state;
	for (size_t i = 0; i < COUNT(versions); i++) {
		struct tls_client *c = client_up_to(versions[i]);
		unsigned char here[64], there[64];
		const char *type = NULL;
		struct tls_state on;
		struct side a, b;
		size_t n;

		shake_hands(&a, &b, s, c, "a.test.");
		on = conn_tls(a.c);
		assert_true(on.on);
		assert_true(str_is(on.version, words[i]));
		assert_true(str_is(on.cipher, i ? "ECDHE-ECDSA-AES256-GCM-SHA384" : "TLS_AES_256_GCM_SHA384"));
		assert_int_equal(on.bits, 256);
		assert_true(str_is(on.sni, "a.test"));
		assert_false(on.client_cert);
		assert_false(conn_tls(b.c).verified);
		n = conn_tls_binding(a.c, here, sizeof(here), &type);
		assert_string_equal(type, bindings[i]);
		assert_int_equal(n, i ? 12 : 32);
		assert_int_equal(conn_tls_binding(b.c, there, sizeof(there), &type), n);
		assert_memory_equal(here, there, n);
		assert_int_equal(conn_tls_binding(a.c, here, n - 1, &type), 0);
		side_fini(&a);
		side_fini(&b);
		tls_client_free(c);
	}
	tls_server_free(s);
}

static void old_versions_are_refused(void **state)
{
	const char *stem = "a";
	struct tls_server *any = serve("a"), *strict = serve_conf(1, &stem, true, NULL);
	struct tls_client *c12 = client_up_to(TLS1_2_VERSION);
	struct side a, b;

	(void)state;
	shake_hands(&a, &b, strict, c12, NULL);
	assert_int_equal(a.how, CONN_TLS_FAILED);
	assert_int_equal(b.how, CONN_TLS_FAILED);
	side_fini(&a);
	side_fini(&b);
	shake_hands(&a, &b, any, c12, NULL);
	assert_int_equal(a.secured, 1);
	side_fini(&a);
	side_fini(&b);
	tls_client_free(c12);
	tls_server_free(any);
	tls_server_free(strict);
}

static void the_name_chooses_the_certificate(void **state)
{
	static const char *const stems[] = { "a", "b", "wild" };
	static const struct { const char *ask, *want; } rows[] = {
		{ "a.test", "a.test" },     { "b.test", "b.test" },   { "B.TEST", "b.test" },
		{ "x.c.test", "*.c.test" }, { "c.test", "a.test" },   { "x.y.c.test", "a.test" },
		{ "other.test", "a.test" }, { NULL, "a.test" },       { "127.0.0.1", "a.test" },
		{ "b.test.", "b.test" },
	};
	struct tls_server *s = serve_conf(3, stems, false, NULL);

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		char got[64];

		shown_name(s, rows[i].ask, got);
		assert_string_equal(got, rows[i].want);
	}
	tls_server_free(s);
}

/* ---- renewal ---------------------------------------------------------------------------- */

static void shows(struct tls_server *s, const char *want)
{
	char got[64];

	shown_name(s, NULL, got);
	assert_string_equal(got, want);
}

static void a_renewed_certificate_is_shown(void **state)
{
	struct tls_server *s;
	struct side a, b;

	(void)state;
	make_one("r", "old.test");
	s = serve("r");
	shows(s, "old.test");
	shake_hands(&a, &b, s, client, NULL);      /* lives through the change */
	tls_server_look_again(s);
	shows(s, "old.test");
	make_one("r", "new.test");
	shows(s, "old.test");
	tls_server_look_again(s);
	shows(s, "new.test");
	conn_write(a.c, STR("still here"));
	turn_until(l, got_is(&b, "still here"));
	side_fini(&a);
	side_fini(&b);
	tls_server_free(s);
}

static void a_broken_renewal_changes_nothing(void **state)
{
	const char *const other[] = { "other.test" };
	struct tls_server *s;

	(void)state;
	make_one("r", "good.test");
	s = serve("r");
	put_file("r.pem", "garbage", 7);
	tls_server_look_again(s);
	shows(s, "good.test");
	make_pair("r.pem", "elsewhere.key", other, 1);   /* a certificate whose key is not there yet */
	tls_server_look_again(s);
	shows(s, "good.test");
	unlink(at("r.key"));
	tls_server_look_again(s);
	shows(s, "good.test");
	assert_int_equal(rename(at("elsewhere.key"), at("r.key")), 0);
	tls_server_look_again(s);
	shows(s, "other.test");
	tls_server_free(s);
}

static void faults_are_told(void **state)
{
	static const char broken_chain[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
	static const struct { const char *cert, *key, *want; } rows[] = {
		{ "absent.pem", "a.key", "absent.pem cannot be read (No such file or directory): " },
		{ "a.pem", "absent.key", "absent.key cannot be read (No such file or directory): " },
		{ "a.key", "a.key", "a.key holds no PEM certificate: " },
		{ "a.pem", "a.pem", "a.pem holds no private key " },
		{ "a.pem", "b.key", "b.key is not the key of " },
		{ "a.pem", "locked.key", "locked.key holds no private key " },
		{ "chain.pem", "a.key", "chain.pem has a broken certificate in its chain: " },
		{ "empty.pem", "a.key", "empty.pem holds no PEM certificate: " },
	};
	EVP_PKEY *key = EVP_EC_gen("P-256");
	FILE *f = fopen(at("locked.key"), "w");
	char text[4096];
	size_t n;

	(void)state;
	assert_int_equal(PEM_write_PKCS8PrivateKey(f, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL), 1);
	fclose(f);
	EVP_PKEY_free(key);
	f = fopen(at("a.pem"), "r");
	n = fread(text, 1, sizeof(text) / 2, f);
	fclose(f);
	memcpy(text + n, broken_chain, sizeof(broken_chain));
	put_file("chain.pem", text, n + sizeof(broken_chain) - 1);
	put_file("empty.pem", "", 0);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct tls_pair pair = { str_of(at(rows[i].cert)), str_of(at(rows[i].key)) };
		struct tls_conf conf = { .pairs = &pair, .npairs = 1 };
		str why;

		assert_null(tls_server_new(&conf, keeper_open, &arena, &why));
		snprintf(text, sizeof(text), "%.*s", STR_ARG(why));
		if (strstr(text, rows[i].want) == NULL || strncmp(text, dir, strlen(dir)) != 0)
			fail_msg("got: %s\nwant: %s", text, rows[i].want);
	}
}

static void no_certificate_is_a_fault(void **state)
{
	struct tls_conf none = { 0 };
	str why;

	(void)state;
	assert_null(tls_server_new(&none, keeper_open, &arena, &why));
	assert_true(str_starts(why, "no certificate is named: "));
}

/* ---- a bare client: sessions, client certificates, key updates ---------------------------- */

struct bare {
	SSL_CTX *ctx;
	SSL *ssl;
	SSL_SESSION *session;
	int fd;
};

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct bare *b = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	SSL_SESSION_free(b->session);
	b->session = session;
	return 1;
}

static void bare_init(struct bare *b)
{
	memset(b, 0, sizeof(*b));
	b->ctx = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_session_cache_mode(b->ctx, SSL_SESS_CACHE_CLIENT);
	SSL_CTX_sess_set_new_cb(b->ctx, keep_session);
	SSL_CTX_set_app_data(b->ctx, b);
}

static bool bare_shaken(struct bare *b)
{
	char byte;

	if (SSL_do_handshake(b->ssl) != 1)
		return false;
	(void)SSL_read(b->ssl, &byte, 1);          /* the ticket comes behind the handshake */
	return b->session != NULL;
}

/* Handshakes with s; resumes b->session if there is one. */
static void bare_connect(struct bare *b, struct side *a, struct tls_server *s)
{
	SSL_SESSION *old = b->session;
	int fds[2];

	b->session = NULL;
	pair_of_fds(fds);
	side_open(a, l, fds[0]);
	conn_secure_server(a->c, s);
	b->fd = fds[1];
	b->ssl = SSL_new(b->ctx);
	SSL_set_fd(b->ssl, b->fd);
	SSL_set_connect_state(b->ssl);
	if (old != NULL)
		SSL_set_session(b->ssl, old);
	turn_until(l, bare_shaken(b));
	turn_until(l, a->secured == 1);
	SSL_SESSION_free(old);
}

static void bare_close(struct bare *b)
{
	/* A session that ended without a shutdown would not be offered again. */
	SSL_set_shutdown(b->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(b->ssl);
	close(b->fd);
}

static void bare_fini(struct bare *b)
{
	SSL_SESSION_free(b->session);
	SSL_CTX_free(b->ctx);
}

static void tickets_survive_a_reload(void **state)
{
	static const uint64_t half_day = 12 * 3600 * 1000;
	struct bare b;

	(void)state;
	bare_init(&b);
	for (unsigned i = 0; i < 5; i++) {
		/* 0 new; 1 after a reload; 2 one key later; 3, 4: two keys later it is
		 * unknown, once; then renewed. */
		static const bool resumed[] = { false, true, true, false, true };
		struct tls_server *s = serve("a");
		struct side a;

		if (i == 2)
			tls_ticket_rotate(clock_ms() + half_day);
		if (i == 3) {
			tls_ticket_rotate(clock_ms() + 2 * half_day);
			tls_ticket_rotate(clock_ms() + 3 * half_day);
		}
		bare_connect(&b, &a, s);
		assert_int_equal(SSL_session_reused(b.ssl), resumed[i]);
		bare_close(&b);
		side_fini(&a);
		tls_server_free(s);
	}
	bare_fini(&b);
}

static void client_certificates_are_asked_for_not_required(void **state)
{
	static const struct { const char *stem; bool want; } rows[] = { { NULL, false }, { "b", true }, { "a", false } };
	const char *stem = "a";
	struct tls_server *s = serve_conf(1, &stem, false, "b.pem");

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct bare b;
		struct side a;
		char file[16];

		bare_init(&b);
		if (rows[i].stem != NULL) {
			snprintf(file, sizeof(file), "%s.pem", rows[i].stem);
			assert_int_equal(SSL_CTX_use_certificate_file(b.ctx, at(file), SSL_FILETYPE_PEM), 1);
			snprintf(file, sizeof(file), "%s.key", rows[i].stem);
			assert_int_equal(SSL_CTX_use_PrivateKey_file(b.ctx, at(file), SSL_FILETYPE_PEM), 1);
		}
		bare_connect(&b, &a, s);
		assert_int_equal(conn_tls(a.c).client_cert, rows[i].want);
		bare_close(&b);
		side_fini(&a);
		bare_connect(&b, &a, s);           /* and it is the same when resumed */
		assert_int_equal(SSL_session_reused(b.ssl), 1);
		assert_int_equal(conn_tls(a.c).client_cert, rows[i].want);
		bare_close(&b);
		side_fini(&a);
		bare_fini(&b);
	}
	tls_server_free(s);
}

static void new_authorities_end_old_sessions(void **state)
{
	const char *stem = "a";
	struct tls_server *s;
	struct bare b;
	struct side a;

	(void)state;
	make_one("ca", "ca.test");
	s = serve_conf(1, &stem, false, "ca.pem");
	bare_init(&b);
	assert_int_equal(SSL_CTX_use_certificate_file(b.ctx, at("ca.pem"), SSL_FILETYPE_PEM), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey_file(b.ctx, at("ca.key"), SSL_FILETYPE_PEM), 1);
	bare_connect(&b, &a, s);
	assert_true(conn_tls(a.c).client_cert);
	bare_close(&b);
	side_fini(&a);
	make_one("ca", "other.test");
	tls_server_look_again(s);
	bare_connect(&b, &a, s);
	assert_int_equal(SSL_session_reused(b.ssl), 0);
	assert_false(conn_tls(a.c).client_cert);
	bare_close(&b);
	side_fini(&a);
	put_file("ca.pem", "garbage", 7);          /* the authorities of before stay */
	tls_server_look_again(s);
	bare_connect(&b, &a, s);
	assert_int_equal(SSL_session_reused(b.ssl), 1);
	bare_close(&b);
	side_fini(&a);
	bare_fini(&b);
	tls_server_free(s);
}

static void key_updates_are_answered(void **state)
{
	struct tls_server *s = serve("a");
	struct bare b;
	struct side a;
	char text[64];
	int n;

	(void)state;
	bare_init(&b);
	bare_connect(&b, &a, s);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(SSL_key_update(b.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
		assert_int_equal(SSL_write(b.ssl, "x", 1), 1);
		turn_until(l, a.got.n == (size_t)i + 1);
		conn_write(a.c, STR("y"));
		turn_until(l, (n = SSL_read(b.ssl, text, sizeof(text))) > 0);
		assert_int_equal(n, 1);
	}
	bare_close(&b);
	side_fini(&a);
	bare_fini(&b);
	tls_server_free(s);
}

/* ---- outbound ---------------------------------------------------------------------------------- */

static void verification_is_noted_not_enforced(void **state)
{
	static const struct { const char *name; bool want; } rows[] = {
		{ "v.test", true }, { "v.test.", true }, { "127.0.0.1", true }, { "w.test", false }, { "127.0.0.2", false },
	};
	const char *const names[] = { "v.test", "127.0.0.1" };
	struct tls_server *s;
	struct tls_client *c;

	(void)state;
	make_pair("v.pem", "v.key", names, 2);
	setenv("SSL_CERT_FILE", at("v.pem"), 1);
	c = tls_client_new();
	unsetenv("SSL_CERT_FILE");
	s = serve("v");
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct side a, b;

		shake_hands(&a, &b, s, c, rows[i].name);
		assert_int_equal(b.secured, 1);
		if (conn_tls(b.c).verified != rows[i].want)
			fail_msg("%s: %s", rows[i].name,
			         X509_verify_cert_error_string(SSL_get_verify_result(b.c->tls->ssl)));
		assert_int_equal(conn_tls(a.c).sni.n > 0, !is_digit(rows[i].name[0]));
		side_fini(&a);
		side_fini(&b);
	}
	tls_client_free(c);
	tls_server_free(s);
}

static void a_self_signed_certificate_is_sound(void **state)
{
	const char *const names[] = { "mail.example.test", "example.test", "::1" };
	X509 *one, *two;

	(void)state;
	make_pair("s1.pem", "s1.key", names, 3);
	make_pair("s2.pem", "s2.key", names, 3);
	one = certificate("s1.pem");
	two = certificate("s2.pem");
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(X509_check_host(one, names[i], 0, 0, NULL), 1);
	assert_int_equal(X509_check_ip_asc(one, "::1", 0), 1);
	assert_int_not_equal(ASN1_INTEGER_cmp(X509_get0_serialNumber(one), X509_get0_serialNumber(two)), 0);
	assert_int_equal(X509_cmp_current_time(X509_get0_notBefore(one)), -1);
	assert_int_equal(X509_cmp_current_time(X509_get0_notAfter(one)), 1);
	assert_int_equal(EVP_PKEY_get_id(X509_get0_pubkey(one)), EVP_PKEY_EC);
	assert_int_equal(EVP_PKEY_get_bits(X509_get0_pubkey(one)), 256);
	assert_int_equal(X509_verify(one, X509_get0_pubkey(one)), 1);
	X509_free(one);
	X509_free(two);
}

/* ---- threads ------------------------------------------------------------------------------------ */

struct visitor {
	pthread_t thread;
	struct tls_server *server;
	_Atomic bool stop;
	unsigned hands;
};

/* A loop thread's part in small: SSLs of the set in use, shaken in memory. */
static void *visit(void *arg)
{
	struct visitor *v = arg;

	while (!v->stop || v->hands == 0) {
		SSL *here = tls_server_ssl(v->server, TLS_ASK), *there = tls_client_ssl(client, "x.test");
		BIO *one, *two;

		BIO_new_bio_pair(&one, 0, &two, 0);
		SSL_set_bio(here, one, one);
		SSL_set_bio(there, two, two);
		for (int i = 0; i < 10 && !(SSL_is_init_finished(here) && SSL_is_init_finished(there)); i++) {
			SSL_do_handshake(there);
			SSL_do_handshake(here);
		}
		v->hands += SSL_is_init_finished(here) && SSL_is_init_finished(there);
		SSL_free(here);
		SSL_free(there);
	}
	return NULL;
}

static void sets_change_under_running_loops(void **state)
{
	struct visitor v[2];
	struct tls_server *s;

	(void)state;
	make_one("r", "x.test");
	s = serve("r");
	for (size_t i = 0; i < COUNT(v); i++) {
		v[i] = (struct visitor){ .server = s };
		assert_int_equal(pthread_create(&v[i].thread, NULL, visit, &v[i]), 0);
	}
	for (int i = 0; i < 20; i++) {
		make_one("r", i % 2 ? "x.test" : "y.test");
		tls_server_look_again(s);
	}
	for (size_t i = 0; i < COUNT(v); i++) {
		v[i].stop = true;
		pthread_join(v[i].thread, NULL);
		assert_true(v[i].hands > 0);
	}
	tls_server_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_state_is_told),
		cmocka_unit_test(old_versions_are_refused),
		cmocka_unit_test(the_name_chooses_the_certificate),
		cmocka_unit_test(a_renewed_certificate_is_shown),
		cmocka_unit_test(a_broken_renewal_changes_nothing),
		cmocka_unit_test(faults_are_told),
		cmocka_unit_test(no_certificate_is_a_fault),
		cmocka_unit_test(tickets_survive_a_reload),
		cmocka_unit_test(client_certificates_are_asked_for_not_required),
		cmocka_unit_test(new_authorities_end_old_sessions),
		cmocka_unit_test(key_updates_are_answered),
		cmocka_unit_test(verification_is_noted_not_enforced),
		cmocka_unit_test(a_self_signed_certificate_is_sound),
		cmocka_unit_test(sets_change_under_running_loops),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
