/* SPDX-License-Identifier: ISC */
/* tls: sessions that are resumed, client certificates beside them, key updates. */
#include "tests/unit/base/tls_house.h"

static int set_up(void **state)
{
	(void)state;
	if (house_begin() != 0)
		return -1;
	make_one("a", "a.test");
	make_one("b", "b.test");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return house_end();
}

static bool bare_shaken(struct bare *b)
{
	char byte;

	if (SSL_do_handshake(b->ssl) != 1)
		return false;
	(void)SSL_read(b->ssl, &byte, 1);          /* the ticket comes behind the handshake */
	return b->session != NULL;
}

/* Handshakes with s, up to a ticket. */
static void bare_connect(struct bare *b, struct side *a, struct tls_server *s)
{
	bare_begin(b, a, s);
	turn_until(l, bare_shaken(b));
	turn_until(l, a->secured == 1);
}

static void tickets_survive_a_reload(void **state)
{
	static const uint64_t half_day = 12 * 3600 * 1000;
	struct bare b;

	(void)state;
	bare_init(&b, 0);
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

		bare_init(&b, 0);
		if (rows[i].stem != NULL)
			bare_certificate(&b, rows[i].stem);
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
	bare_init(&b, 0);
	bare_certificate(&b, "ca");
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
	bare_init(&b, 0);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tickets_survive_a_reload),
		cmocka_unit_test(client_certificates_are_asked_for_not_required),
		cmocka_unit_test(new_authorities_end_old_sessions),
		cmocka_unit_test(key_updates_are_answered),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
