/* SPDX-License-Identifier: ISC */
/*
 * Doors, generations, the stop, and what happens when there is no room.
 */
#include "tests/unit/session_house.h"

#include <fcntl.h>
#include <sys/resource.h>

#include "smtpd/base/keeper.h"

static struct front_swap     swap2;
static struct session_setup  setup2;
static bool                  swap2_home;
static const struct listener_conf *doors_conf[2];
static int                   doors_fd[2];

static void swap2_arrived(struct baton *b)
{
	(void)b;
	swap2_home = true;
}

/* A second generation; with `n` real doors. */
static void next_generation(size_t n)
{
	const struct era *old = h.front->era;

	setup2 = h.setup;
	setup2.hostname = STR("new.here.test");
	for (size_t i = 0; i < n; i++) {
		doors_fd[i] = listen_at(STR("127.0.0.1:0"));
		assert_true(doors_fd[i] >= 0);
		doors_conf[i] = &h.mx;
	}
	swap2_home = false;
	swap2 = (struct front_swap){ .baton = { .home = h.loop->mbox, .arrived = swap2_arrived }, .front = h.front,
		                     .setup = &setup2, .listeners = doors_conf, .fds = doors_fd, .nlisteners = n };
	front_swap(&swap2);
	UNTIL(h.front->era != old);
}

static int dial(int door)
{
	struct sockaddr_in sa;
	socklen_t n = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(getsockname(door, (struct sockaddr *)&sa, &n), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, n), 0);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void client_dials(int door)
{
	client_close();
	h.fd = dial(door);
}

static void a_session_stays_with_its_generation(void **state)
{
	(void)state;
	client_hello();
	next_generation(0);
	for (int i = 0; i < 5; i++)
		turn();
	assert_false(swap2_home);
	talk("HELO x", "250 mail.here.test");
	talk("QUIT", "221");
	hear_eof();
	UNTIL(swap2_home);
	assert_ptr_equal(swap2.old, &h.setup);
	client_from(&h.mx, "192.0.2.1");
	talk(NULL, "220 new.here.test");
}

static void doors_open_and_shut(void **state)
{
	int old;

	(void)state;
	next_generation(1);
	UNTIL(swap2_home);
	client_dials(doors_fd[0]);
	talk(NULL, "220 new.here.test");
	old = doors_fd[0];
	next_generation(1);
	/* Who knocks at the old door now is not left waiting. */
	{
		struct sockaddr_in sa;
		socklen_t n = sizeof(sa);
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		assert_int_equal(getsockname(old, (struct sockaddr *)&sa, &n), 0);
		assert_int_not_equal(connect(fd, (struct sockaddr *)&sa, n), 0);
		close(fd);
	}
	close(old);
	client_dials(doors_fd[0]);
	talk(NULL, "220 new.here.test");
	close(doors_fd[0]);
}

static void too_many_are_told(void **state)
{
	int first, second;

	(void)state;
	h.limits.connections_address = 2;
	next_generation(1);
	first = dial(doors_fd[0]);
	second = dial(doors_fd[0]);
	UNTIL(front_sessions(h.front) == 2);
	client_dials(doors_fd[0]);
	talk(NULL, "421 4.7.0 new.here.test Too many connections from your address");
	hear_eof();
	close(first);
	UNTIL(front_sessions(h.front) == 1);
	client_dials(doors_fd[0]);
	talk(NULL, "220");
	close(second);
	close(doors_fd[0]);
}

static void without_descriptors_there_is_an_answer(void **state)
{
	struct rlimit old, few;
	int filler[64];
	size_t n = 0;

	(void)state;
	next_generation(1);
	client_dials(doors_fd[0]);
	talk(NULL, "220");
	/* Another waits in the backlog while every descriptor is taken. */
	{
		int waiting = dial(doors_fd[0]);

		assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
		few = old;
		few.rlim_cur = (rlim_t)waiting + 1;
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		while (n < COUNT(filler) && (filler[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
			n++;
		client_close();
		h.fd = waiting;
		/* The first client's end was closed: take that one, too. */
		while (n < COUNT(filler) && (filler[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
			n++;
	}
	talk(NULL, "421 4.3.2");
	hear_eof();
	setrlimit(RLIMIT_NOFILE, &old);
	while (n > 0)
		close(filler[--n]);
	client_dials(doors_fd[0]);
	talk(NULL, "220");
	close(doors_fd[0]);
}

static void the_idlest_makes_room(void **state)
{
	uint64_t until = clock_ms() + 1100;

	(void)state;
	client_hello();
	assert_false(front_shed(h.front));               /* not that long yet */
	while (clock_ms() < until)
		turn();
	assert_true(front_shed(h.front));
	talk(NULL, "421 4.3.2");
	hear_eof();
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	until = clock_ms() + 1100;
	while (clock_ms() < until)
		turn();
	assert_false(front_shed(h.front));               /* it has begun something … */
	h.front->sessions->useful_ms -= 29000;
	talk("NOOP", "250");
	assert_true(front_shed(h.front));                /* … and NOOP is no way to go on */
	talk(NULL, "421 4.3.2");
	hear_eof();
}

/* ---- the stop ------------------------------------------------------------------ */

static struct front_stop stop;
static bool stopped;

static void stop_home(struct baton *b)
{
	(void)b;
	stopped = true;
}

static void stop_now(uint64_t within_ms)
{
	stopped = false;
	stop = (struct front_stop){ .baton = { .home = h.loop->mbox, .arrived = stop_home }, .front = h.front,
		                    .within_ms = within_ms };
	front_stop(&stop);
}

static void the_idle_are_sent_home(void **state)
{
	(void)state;
	client_hello();
	stop_now(20000);
	talk(NULL, "421 4.3.2");
	hear_eof();
	UNTIL(stopped);
}

static void a_message_may_end(void **state)
{
	(void)state;
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RCPT TO:<alice@here.test>", "250");
	talk("DATA", "354");
	client_say("Subject: x\r\n");
	turn();
	stop_now(20000);
	for (int i = 0; i < 5; i++)
		turn();
	assert_false(stopped);
	client_say("\r\nhello\r\n.\r\n");
	talk(NULL, "250 2.0.0");
	talk(NULL, "421 4.3.2");
	hear_eof();
	UNTIL(stopped);
	assert_int_equal(q.nstored, 1);
}

static void patience_has_an_end(void **state)
{
	(void)state;
	client_hello();
	talk("MAIL FROM:<a@far.test>", "250");
	talk("RCPT TO:<alice@here.test>", "250");
	talk("DATA", "354");
	stop_now(20);
	talk(NULL, "421 4.3.2");
	hear_eof();
	UNTIL(stopped);
	assert_int_equal(q.nstored, 0);
}

static void a_put_is_waited_for(void **state)
{
	(void)state;
	q.hold_puts = true;
	client_hello();
	client_say("MAIL FROM:<a@far.test>\r\nRCPT TO:<alice@here.test>\r\nBDAT 2 LAST\r\n\r\n");
	UNTIL(q.held != NULL);
	stop_now(20);
	UNTIL(the_session()->ghost);
	assert_false(stopped);
	release_puts();
	UNTIL(stopped);
	assert_int_equal(q.nstored, 1);
}

static void nobody_is_sent_home(void **state)
{
	(void)state;
	stop_now(20000);
	UNTIL(stopped);
}

/* ---- logins that stand no more ------------------------------------------------------ */

static void begin_message(const char *from)
{
	char line[200];

	snprintf(line, sizeof(line), "MAIL FROM:<%s>", from);
	talk(line, "250");
	talk("RCPT TO:<bob@here.test>", "250");
}

static void a_login_that_is_gone(void **state)
{
	(void)state;
	/* idle: told without being asked */
	client_login("alice@here.test");
	front_look_at_logins();
	talk("NOOP", "250");
	fake_standing.gone = true;
	front_look_at_logins();
	talk(NULL, "421 4.7.0 This login does not count any more");
	hear_eof();
	/* at the next command, whatever it is */
	fake_standing.gone = false;
	client_login("alice@here.test");
	begin_message("alice@here.test");
	fake_standing.gone = true;
	talk("RCPT TO:<bob@here.test>", "421 4.7.0");
	hear_eof();
	/* a message that was begun may end */
	fake_standing.gone = false;
	client_login("alice@here.test");
	begin_message("alice@here.test");
	talk("DATA", "354");
	fake_standing.gone = true;
	front_look_at_logins();
	client_say("From: alice@here.test\r\n\r\nx\r\n.\r\n");
	talk("", "250 2.0.0");
	talk("RSET", "421 4.7.0");
	hear_eof();
	/* nobody else is concerned */
	client_hello();
	front_look_at_logins();
	talk("NOOP", "250");
	fake_standing.gone = false;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		HOUSE_TEST(a_session_stays_with_its_generation), HOUSE_TEST(doors_open_and_shut),
		HOUSE_TEST(too_many_are_told), HOUSE_TEST(without_descriptors_there_is_an_answer),
		HOUSE_TEST(the_idlest_makes_room), HOUSE_TEST(the_idle_are_sent_home), HOUSE_TEST(a_message_may_end),
		HOUSE_TEST(patience_has_an_end), HOUSE_TEST(a_put_is_waited_for), HOUSE_TEST(nobody_is_sent_home),
		HOUSE_TEST(a_login_that_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
