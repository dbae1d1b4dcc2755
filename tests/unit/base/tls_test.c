/* SPDX-License-Identifier: ISC */
/* tls: certificates chosen by name, renewed on the disk, refused with a reason. */
#include "tests/unit/base/tls_house.h"

#include <pthread.h>

static struct tls_client *client;

static X509 *certificate(const char *name)
{
	FILE *f = fopen(at(name), "r");
	X509 *x = PEM_read_X509(f, NULL, NULL, NULL);

	fclose(f);
	assert_non_null(x);
	return x;
}

static int set_up(void **state)
{
	(void)state;
	if (house_begin() != 0)
		return -1;
	client = tls_client_new();
	make_one("a", "a.test");
	make_one("b", "b.test");
	make_one("wild", "*.c.test");
	return client != NULL ? 0 : -1;
}

static int tear_down(void **state)
{
	(void)state;
	tls_client_free(client);
	return house_end();
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
	static const char *const ciphers[] = { "TLS_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384" };
	static const int bits[] = { 128, 256 };
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
		assert_true(str_is(on.cipher, ciphers[i]));
		assert_int_equal(on.bits, bits[i]);
		assert_true(str_is(on.sni, "a.test"));
		assert_false(on.client_cert);
		assert_false(conn_tls(b.c).verified);
		n = conn_tls_binding(a.c, here, sizeof(here), &type);
		assert_string_equal(type, bindings[i]);
		assert_int_equal(n, i ? 12 : 32);
		assert_int_equal(conn_tls_binding(b.c, there, sizeof(there), &type), n);
		assert_memory_equal(here, there, n);
		assert_int_equal(conn_tls_binding(a.c, here, n - 1, &type), 0);
		assert_int_equal(conn_tls_binding(a.c, NULL, 0, &type), n);
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

/* ---- outbound ---------------------------------------------------------------------------------- */

static void verification_is_noted_not_enforced(void **state)
{
	static const struct { const char *name; bool want; } rows[] = {
		{ "v.test", true }, { "v.test.", true }, { "127.0.0.1", true }, { "w.test", false }, { "127.0.0.2", false },
	};
	const char *const names[] = { "v.test", "127.0.0.1" };
	struct tls_client *c = tls_client_new();
	struct tls_server *s;
	struct arena a_why;
	str why = STR_NONE;

	(void)state;
	make_pair("v.pem", "v.key", names, 2);
	arena_init(&a_why, 1024);
	setenv("SSL_CERT_FILE", at("v.pem"), 1);
	assert_true(tls_client_trust(c, STR_NONE, &a_why, &why));     /* the system's */
	unsetenv("SSL_CERT_FILE");
	arena_fini(&a_why);
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
		cmocka_unit_test(verification_is_noted_not_enforced),
		cmocka_unit_test(a_self_signed_certificate_is_sound),
		cmocka_unit_test(sets_change_under_running_loops),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
