/* SPDX-License-Identifier: ISC */
/* conn: TLS that begins in the middle, does not begin, or breaks. */
#include "tests/unit/base/conn_pair.h"

static size_t eat_starttls(struct side *s, str in)
{
	size_t n = eat_line(s, in);

	if (conn_tls(s->c).on)
		return in.n;
	conn_write(s->c, STR("220 go ahead\r\n"));
	conn_secure_server(s->c, server);
	conn_write(s->c, STR("not in the clear"));
	return n;
}

static size_t eat_starttls_and_drop(struct side *s, str in)
{
	size_t n = eat_starttls(s, in);

	if (!conn_tls(s->c).on)
		conn_drop_pending(s->c);
	return n;
}

static void secure_the_client(struct side *s, const char *event)
{
	if (strcmp(event, "bytes") == 0 && s->c->tls == NULL)
		conn_secure_client(s->c, client, NULL);
}

static void starttls_begins_after_the_reply(void **state)
{
	struct side a, b;

	(void)state;
	open_both(&a, &b, false);
	a.eat = eat_starttls;
	b.hook = secure_the_client;
	conn_write(b.c, STR("STARTTLS\r\n"));
	turn_until(l, b.got.n > 0);
	assert_true(got_is(&b, "220 go ahead\r\n"));
	turn_until(l, a.secured && b.secured);
	conn_write(b.c, STR("EHLO again\r\n"));
	turn_until(l, got_is(&b, "220 go ahead\r\nnot in the clear"));
	turn_until(l, got_is(&a, "STARTTLS\r\nEHLO again\r\n"));
	side_fini(&a);
	side_fini(&b);
}

static void clear_text_behind_starttls_is_never_shown(void **state)
{
	struct side a, b;

	(void)state;
	open_both(&a, &b, false);
	a.eat = eat_starttls;
	conn_write(b.c, STR("STARTTLS\r\nRSET\r\n"));
	turn_until(l, a.ended == 1);
	assert_int_equal(a.how, CONN_TLS_FAILED);
	assert_true(got_is(&a, "STARTTLS\r\n"));
	assert_string_equal(a.why, "TLS was not started: the peer sent clear text ahead of it");
	side_fini(&a);
	side_fini(&b);

	open_both(&a, &b, false);            /* dropped by the caller: then it goes on */
	a.eat = eat_starttls_and_drop;
	b.hook = secure_the_client;
	conn_write(b.c, STR("STARTTLS\r\nRSET\r\n"));
	turn_until(l, a.secured && b.secured);
	assert_int_equal(conn_pending(a.c), 0);
	side_fini(&a);
	side_fini(&b);
}

static void a_peer_without_tls_fails(void **state)
{
	static const char *const talk[] = { "EHLO clear text\r\n", "" };

	(void)state;
	for (size_t i = 0; i < COUNT(talk); i++) {
		struct side a, b;

		open_both(&a, &b, false);
		conn_secure_server(a.c, server);
		conn_write(b.c, str_of(talk[i]));
		conn_close_politely(b.c);
		b.c = NULL;
		turn_until(l, a.ended == 1);
		assert_int_equal(a.how, CONN_TLS_FAILED);
		assert_non_null(strstr(a.why, "the TLS handshake failed: "));
		side_fini(&a);
		side_fini(&b);
	}
}

static void a_bare_close_under_tls_is_an_end(void **state)
{
	struct side a, b;

	(void)state;
	open_both(&a, &b, true);
	conn_write(a.c, STR("x"));           /* so that the ticket before it was read, too */
	turn_until(l, got_is(&b, "x"));
	conn_close(b.c);
	b.c = NULL;
	turn_until(l, a.ended == 1);
	assert_int_equal(a.how, CONN_EOF);
	side_fini(&a);
	side_fini(&b);
}

static void a_broken_record_is_a_tls_failure(void **state)
{
	struct side a, b;

	(void)state;
	open_both(&a, &b, true);
	assert_int_equal(write(conn_fd(b.c), "\x17\x03\x03\x00\x10garbage-garbage-", 21), 21);
	turn_until(l, a.ended == 1);
	assert_int_equal(a.how, CONN_TLS_FAILED);
	assert_non_null(strstr(a.why, "the TLS connection broke: "));
	side_fini(&a);
	side_fini(&b);
}

static void half_a_record_does_not_keep_the_loop_busy(void **state)
{
	struct side a, b;

	(void)state;
	open_both(&a, &b, true);
	assert_int_equal(write(conn_fd(b.c), "\x17\x03\x03", 3), 3);
	for (int i = 0; i < 5; i++)
		turn(l);
	assert_null(a.c->later.at);
	assert_int_equal(a.ended, 0);
	side_fini(&a);
	side_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(starttls_begins_after_the_reply),
		cmocka_unit_test(clear_text_behind_starttls_is_never_shown),
		cmocka_unit_test(a_peer_without_tls_fails),
		cmocka_unit_test(a_bare_close_under_tls_is_an_end),
		cmocka_unit_test(a_broken_record_is_a_tls_failure),
		cmocka_unit_test(half_a_record_does_not_keep_the_loop_busy),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
