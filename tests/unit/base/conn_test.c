/* SPDX-License-Identifier: ISC */
/* conn: bytes in order, back-pressure, and exactly one end, clear and under TLS. */
#include "tests/unit/base/conn_pair.h"

/* ---- bytes --------------------------------------------------------------------- */

static void bytes_go_both_ways(void **state)
{
	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		struct side a, b;

		open_both(&a, &b, tls);
		conn_writef(a.c, "%d hel", 220);
		conn_write(a.c, STR("lo\r\n"));
		conn_write(b.c, STR("EHLO x\r\n"));
		assert_int_equal(conn_unsent(a.c), 11);
		turn_until(l, got_is(&b, "220 hello\r\n") && got_is(&a, "EHLO x\r\n"));
		assert_int_equal(b.shown, 1);      /* gathered, written once */
		assert_int_equal(a.drained, 1);
		assert_int_equal(conn_bytes_out(a.c), 11);
		assert_int_equal(conn_bytes_in(b.c), 11);
		assert_int_equal(conn_bytes_in(a.c), 8);
		assert_int_equal(conn_tls(a.c).on, tls);
		side_fini(&a);
		side_fini(&b);
	}
}

/* Uses whole lines only, one a call. */
static void every_split_reads_the_same(void **state)
{
	static const str text = STR("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n\r\nDATA\r\nx\r\n.\r\n");

	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		for (size_t at = 1; at < text.n; at += tls ? 5 : 1) {
			struct side a, b;

			open_both(&a, &b, tls);
			a.eat = eat_line;
			conn_write(b.c, str_head(text, at));
			conn_flush(b.c);
			turn_until(l, conn_bytes_in(a.c) == at);
			conn_write(b.c, str_skip(text, at));
			turn_until(l, str_eq(buf_str(&a.got), text));
			assert_int_equal(conn_pending(a.c), 0);
			side_fini(&a);
			side_fini(&b);
		}
	}
}

static void byte_by_byte(void **state)
{
	static const str text = STR("HELP\r\nNOOP\r\n");
	struct side a, b;

	(void)state;
	open_both(&a, &b, true);
	a.eat = eat_line;
	for (size_t i = 0; i < text.n; i++) {
		conn_write(b.c, (str){ text.p + i, 1 });
		turn_until(l, conn_bytes_in(a.c) == i + 1);
	}
	assert_true(str_eq(buf_str(&a.got), text));
	side_fini(&a);
	side_fini(&b);
}

/* Pauses after each line, as a session does that waits for an answer. */
static size_t eat_line_and_pause(struct side *s, str in)
{
	size_t n = eat_line(s, in);

	if (n != 0)
		conn_pause(s->c);
	return n;
}

static void paused_input_is_kept_in_order(void **state)
{
	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		struct side a, b;

		open_both(&a, &b, tls);
		a.eat = eat_line_and_pause;
		conn_write(b.c, STR("one\ntwo\nthr"));
		turn_until(l, a.shown == 1);
		assert_true(got_is(&a, "one\n"));
		assert_int_equal(conn_pending(a.c), 7);
		turn(l);
		assert_int_equal(a.shown, 1);
		a.inside = true;
		conn_resume(a.c);                  /* tells at the next turn */
		a.inside = false;
		assert_int_equal(a.shown, 1);
		turn_until(l, got_is(&a, "one\ntwo\n"));
		conn_write(b.c, STR("ee\n"));
		conn_resume(a.c);
		turn_until(l, got_is(&a, "one\ntwo\nthree\n"));
		side_fini(&a);
		side_fini(&b);
	}
}

static void eof_comes_after_the_last_byte(void **state)
{
	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		struct side a, b;

		open_both(&a, &b, tls);
		a.eat = eat_line_and_pause;
		conn_write(b.c, STR("one\ntwo\n"));
		conn_close_politely(b.c);
		b.c = NULL;
		turn_until(l, a.shown == 1);
		for (int i = 0; i < 3; i++)
			turn(l);
		assert_int_equal(a.ended, 0);      /* paused: "two" is still to be shown */
		conn_resume(a.c);
		turn_until(l, a.shown == 2);
		conn_resume(a.c);
		turn_until(l, a.ended == 1);
		assert_true(got_is(&a, "one\ntwo\n"));
		assert_int_equal(a.how, CONN_EOF);
		side_fini(&a);
		side_fini(&b);
	}
}

/* ---- pressure --------------------------------------------------------------------- */

static char big[1 << 20];

static void unread_output_stops_reading(void **state)
{
	struct side a;
	int fds[2];
	size_t total = 0;

	(void)state;
	pair_of_fds(fds);
	side_open(&a, l, fds[0]);
	conn_write(a.c, (str){ big, sizeof(big) });
	conn_write(a.c, (str){ big, sizeof(big) });
	assert_int_equal(write(fds[1], "more\n", 5), 5);
	for (int i = 0; i < 5; i++)
		turn(l);
	assert_int_equal(a.shown, 0);
	assert_true(conn_unsent(a.c) > CONN_OUT_HIGH);
	while (total < 2 * sizeof(big)) {
		char bite[65536];
		ssize_t n = read(fds[1], bite, sizeof(bite));

		if (n > 0)
			total += (size_t)n;
		else
			turn(l);
	}
	turn_until(l, got_is(&a, "more\n"));
	assert_int_equal(a.drained, 1);
	assert_int_equal(conn_unsent(a.c), 0);
	assert_int_equal(conn_bytes_out(a.c), 2 * sizeof(big));
	side_fini(&a);
	close(fds[1]);
}

static void a_flood_leaves_turns_to_others(void **state)
{
	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		struct side a, b;
		uint64_t before = 0;

		open_both(&a, &b, tls);
		for (int i = 0; i < 4; i++)
			conn_write(b.c, (str){ big, sizeof(big) });
		while (a.got.n < 4 * sizeof(big)) {
			turn(l);
			/* once by its event, once for what TLS still held */
			assert_true(conn_bytes_in(a.c) - before <= 2 * 4 * LOOP_SCRATCH);
			before = conn_bytes_in(a.c);
		}
		assert_int_equal(b.drained, 1);
		side_fini(&a);
		side_fini(&b);
	}
}

static size_t eat_nothing(struct side *s, str in)
{
	(void)s, (void)in;
	return 0;
}

static void held_input_is_bounded(void **state)
{
	struct side a, b;

	(void)state;
	open_both(&a, &b, false);
	a.eat = eat_nothing;
	conn_write(b.c, (str){ big, sizeof(big) });
	turn_until(l, a.ended == 1);
	assert_int_equal(a.how, CONN_RESET);
	assert_int_equal(a.errnum, ENOBUFS);
	assert_true(a.c->in.room <= 512 << 10);
	side_fini(&a);
	side_fini(&b);
}

static void idle_costs_little(void **state)
{
	struct side a, b;

	(void)state;
	open_both(&a, &b, false);
	conn_write(a.c, (str){ big, 5000 });
	conn_write(b.c, (str){ big, 5000 });
	turn_until(l, a.got.n == 5000 && b.got.n == 5000);
	assert_null(a.c->in.p);
	assert_null(a.c->out.p);
	assert_true(sizeof(struct conn) < 1024);
	side_fini(&a);
	side_fini(&b);
}

/* ---- ends ---------------------------------------------------------------------------- */

static void a_refused_dial_is_told_later(void **state)
{
	struct sockaddr_in at;
	struct side s;

	(void)state;
	close(loopback_listener(&at));
	side_init(&s);
	s.inside = true;
	s.c = conn_dial(l, (struct sockaddr *)&at, sizeof(at), NULL, 0, &side_events, &s);
	conn_write(s.c, STR("lost"));
	conn_flush(s.c);
	s.inside = false;
	turn_until(l, s.ended == 1);
	assert_int_equal(s.how, CONN_DIAL_FAILED);
	assert_int_equal(s.errnum, ECONNREFUSED);
	assert_string_equal(s.why, "Connection refused");
	assert_int_equal(s.connected, 0);
	side_fini(&s);
}

static void a_dial_that_cannot_begin_is_told_later(void **state)
{
	struct sockaddr_in to, from = { .sin_family = AF_INET };
	struct side s;

	(void)state;
	close(loopback_listener(&to));
	from.sin_addr.s_addr = htonl(0xC0000201);   /* 192.0.2.1: not ours */
	side_init(&s);
	s.inside = true;
	s.c = conn_dial(l, (struct sockaddr *)&to, sizeof(to), (struct sockaddr *)&from, sizeof(from),
	                &side_events, &s);
	s.inside = false;
	turn_until(l, s.ended == 1);
	assert_int_equal(s.how, CONN_DIAL_FAILED);
	assert_int_equal(s.errnum, EADDRNOTAVAIL);
	side_fini(&s);
}

static void a_dial_connects_from_its_source(void **state)
{
	struct sockaddr_in at, from = { .sin_family = AF_INET }, peer;
	int listener = loopback_listener(&at), fd;
	socklen_t n = sizeof(peer);
	struct side s, t;

	(void)state;
	from.sin_addr.s_addr = htonl(0x7F000002);
	side_init(&s);
	s.c = conn_dial(l, (struct sockaddr *)&at, sizeof(at), (struct sockaddr *)&from, sizeof(from),
	                &side_events, &s);
	conn_write(s.c, STR("early"));
	turn_until(l, s.connected == 1);
	fd = accept4(listener, (struct sockaddr *)&peer, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_string_equal(addr_text((struct sockaddr *)&peer).s, "127.0.0.2");
	side_open(&t, l, fd);
	turn_until(l, got_is(&t, "early"));
	side_fini(&s);
	turn_until(l, t.ended == 1);
	assert_int_equal(t.how, CONN_EOF);
	for (int i = 0; i < 3; i++)
		turn(l);
	assert_int_equal(t.ended, 1);
	side_fini(&t);
	close(listener);
}

/* A TCP pair: one conn, one bare descriptor. */
static int tcp_peer(struct side *s)
{
	struct sockaddr_in at;
	int listener = loopback_listener(&at), fd;

	side_init(s);
	s->c = conn_dial(l, (struct sockaddr *)&at, sizeof(at), NULL, 0, &side_events, s);
	turn_until(l, s->connected == 1);
	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	assert_true(fd >= 0);
	close(listener);
	return fd;
}

static void a_reset_is_told_once(void **state)
{
	struct linger hard = { 1, 0 };
	struct side s;
	int fd;

	(void)state;
	fd = tcp_peer(&s);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	close(fd);
	turn_until(l, s.ended == 1);
	assert_int_equal(s.how, CONN_RESET);
	assert_int_equal(s.errnum, ECONNRESET);
	conn_write(s.c, STR("x"));
	conn_resume(s.c);
	conn_deadline(s.c, 1);
	for (int i = 0; i < 3; i++)
		turn(l);
	assert_int_equal(s.ended, 1);
	side_fini(&s);
}

static void last_words_are_heard_when_writing_breaks(void **state)
{
	struct side s;
	int fd;

	(void)state;
	fd = tcp_peer(&s);
	conn_write(s.c, STR("EHLO x\r\n"));
	conn_flush(s.c);
	assert_int_equal(write(fd, "421 bye\r\n", 9), 9);
	close(fd);                           /* with input unread: a reset follows */
	conn_write(s.c, STR("MAIL FROM:<>\r\n"));
	s.inside = true;
	conn_flush(s.c);
	s.inside = false;
	turn_until(l, s.ended == 1);
	assert_true(got_is(&s, "421 bye\r\n"));
	assert_int_equal(s.how, CONN_RESET);
	side_fini(&s);
}

static void the_deadline_ends_it(void **state)
{
	struct side a, b;
	uint64_t began = clock_ms();

	(void)state;
	open_both(&a, &b, false);
	conn_deadline(a.c, 20);
	conn_deadline(b.c, 20);
	conn_deadline(b.c, 0);
	turn_until(l, a.ended == 1);
	assert_true(clock_ms() - began >= 18);   /* clocks round */
	assert_int_equal(a.how, CONN_TIMEOUT);
	assert_int_equal(b.ended, 0);
	side_fini(&a);
	side_fini(&b);
}

static unsigned lates;

static void said_late(struct conn *c)
{
	lates++;
	conn_write(c, STR("421 too late\r\n"));
	conn_close_politely(c);
}

static void who_wants_to_hears_of_the_deadline(void **state)
{
	struct conn_events events = side_events;
	struct side a, b;
	int fds[2];

	(void)state;
	events.late = said_late;
	pair_of_fds(fds);
	side_init(&a);
	side_open(&b, l, fds[1]);
	a.c = conn_open(l, fds[0], &events, &a);
	conn_deadline(a.c, 5);
	turn_until(l, b.ended == 1);
	assert_true(got_is(&b, "421 too late\r\n"));
	assert_int_equal(lates, 1);
	assert_int_equal(a.ended, 0);
	a.c = NULL;
	side_fini(&a);
	side_fini(&b);
	turn_until(l, conn_leaving(l) == 0);
}

static void politeness_delivers_everything(void **state)
{
	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		struct side a, b;

		open_both(&a, &b, tls);
		conn_write(b.c, STR("nobody reads this\r\n"));
		conn_flush(b.c);
		conn_write(a.c, (str){ big, sizeof(big) });
		conn_close_politely(a.c);
		a.c = NULL;
		assert_int_equal(conn_leaving(l), 1);
		turn_until(l, b.ended == 1);
		assert_int_equal(b.how, CONN_EOF);
		assert_int_equal(b.got.n, sizeof(big));
		side_fini(&b);
		turn_until(l, conn_leaving(l) == 0);
		assert_int_equal(a.ended, 0);
		side_fini(&a);
	}
}

static void politeness_can_be_cut_short(void **state)
{
	struct side a, b;

	(void)state;
	open_both(&a, &b, false);
	conn_pause(b.c);
	conn_write(a.c, (str){ big, sizeof(big) });
	conn_close_politely(a.c);
	for (int i = 0; i < 3; i++)
		turn(l);
	assert_int_equal(conn_leaving(l), 1);
	conn_leave_now(l);
	assert_int_equal(conn_leaving(l), 0);
	a.c = NULL;
	side_fini(&a);
	side_fini(&b);
}

static const char *closing_event;
static void (*closing)(struct conn *);

static void close_there(struct side *s, const char *event)
{
	if (s->c == NULL || strcmp(event, closing_event) != 0)
		return;
	conn_write(s->c, STR("last"));
	closing(s->c);
	s->c = NULL;
}

static void closing_inside_a_callback_is_safe(void **state)
{
	static const char *const events[] = { "bytes", "secured", "drained", "ended" };
	static void (*const ways[])(struct conn *) = { conn_close, conn_close_politely };

	(void)state;
	for (size_t i = 0; i < COUNT(events) * COUNT(ways); i++) {
		struct side a, b;

		closing_event = events[i / 2];
		closing = ways[i % 2];
		open_both(&a, &b, false);
		a.hook = close_there;
		a.eat = eat_line;            /* two lines in hand when it closes at the first */
		conn_secure_server(a.c, server);
		conn_secure_client(b.c, client, NULL);
		conn_write(a.c, STR("220 hello\r\n"));
		conn_write(b.c, STR("one\ntwo\nthree"));
		turn_until(l, a.c == NULL || a.got.n == 8);
		if (a.c != NULL)
			conn_close_politely(b.c), b.c = NULL;
		turn_until(l, a.c == NULL);
		turn_until(l, b.c == NULL || b.ended == 1);
		assert_int_equal(a.ended, strcmp(closing_event, "ended") == 0);
		if (strcmp(closing_event, "bytes") == 0)
			assert_int_equal(a.shown, 1);
		side_fini(&a);
		side_fini(&b);
		turn_until(l, conn_leaving(l) == 0);
	}
}

static void closing_when_connected_is_safe(void **state)
{
	struct sockaddr_in at;
	int listener = loopback_listener(&at);
	struct side s;

	(void)state;
	closing_event = "connected";
	closing = conn_close;
	side_init(&s);
	s.hook = close_there;
	s.c = conn_dial(l, (struct sockaddr *)&at, sizeof(at), NULL, 0, &side_events, &s);
	turn_until(l, s.c == NULL);
	assert_int_equal(s.ended, 0);
	side_fini(&s);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_go_both_ways),
		cmocka_unit_test(every_split_reads_the_same),
		cmocka_unit_test(byte_by_byte),
		cmocka_unit_test(paused_input_is_kept_in_order),
		cmocka_unit_test(eof_comes_after_the_last_byte),
		cmocka_unit_test(unread_output_stops_reading),
		cmocka_unit_test(a_flood_leaves_turns_to_others),
		cmocka_unit_test(held_input_is_bounded),
		cmocka_unit_test(idle_costs_little),
		cmocka_unit_test(a_refused_dial_is_told_later),
		cmocka_unit_test(a_dial_that_cannot_begin_is_told_later),
		cmocka_unit_test(a_dial_connects_from_its_source),
		cmocka_unit_test(a_reset_is_told_once),
		cmocka_unit_test(last_words_are_heard_when_writing_breaks),
		cmocka_unit_test(the_deadline_ends_it),
		cmocka_unit_test(who_wants_to_hears_of_the_deadline),
		cmocka_unit_test(politeness_delivers_everything),
		cmocka_unit_test(politeness_can_be_cut_short),
		cmocka_unit_test(closing_inside_a_callback_is_safe),
		cmocka_unit_test(closing_when_connected_is_safe),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
