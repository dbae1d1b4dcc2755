/* SPDX-License-Identifier: ISC */
/* The timetable with everything that it lends to. */
#include "tests/unit/queue/yard.h"

#include <signal.h>
#include <sys/stat.h>

#include "queue/report.h"

static const char *peer_route(const struct peer *p)
{
	static char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u", p->port);
	return text;
}

static bool peer_heard(struct peer *p, const char *what)
{
	char *said = peer_copy(p, &p->said);
	bool heard = strstr(said, what) != NULL;

	free(said);
	return heard;
}

static void start(struct yard *y, struct peer *p, const struct script *script)
{
	yard_new(y);
	if (p != NULL) {
		peer_start(p, script, false);
		y->relay.port = p->port;
	}
	yard_domain(y, "us.test", NULL);
	directory_add_account(y->directory, STR("anna@us.test"));
	directory_add_account(y->directory, STR("bob@us.test"));
	snprintf(y->zone, sizeof(y->zone),
	         "far.test  MX 10 mx.test\nmx.test   A 127.0.0.1\ndead.test MX 10 gone.test\ngone.test A 127.0.0.99\n"
	         "null.test MX 0 .\nsick.test MX SERVFAIL\n");
}

static void finish(struct yard *y, struct peer *p)
{
	yard_close(y, 5000);
	yard_burn(y);
	if (p != NULL)
		peer_stop(p);
}

/* ---- Maildirs ------------------------------------------------------------------------ */

static void maildirs_get_each_message_once(void **state)
{
	static const struct yard_rcpt both[] = { { "anna@us.test", RCPT_LOCAL }, { "bob+x@us.test", RCPT_LOCAL } };
	struct yard y;

	(void)state;
	start(&y, NULL, NULL);
	yard_open(&y, false);
	for (int i = 0; i < 300; i++)
		yard_put(&y, "a@far.test", both, 2, 0);
	until(left(&y) == 0);
	assert_int_equal(yard_files(&y, "us.test/anna", "new"), 300);
	assert_int_equal(yard_files(&y, "us.test/bob", "new"), 300);
	assert_int_equal(yard_files(&y, "us.test/bob", "tmp"), 0);
	assert_int_equal(figures(&y).delivered, 600);
	assert_int_equal(figures(&y).waiting + figures(&y).leased + figures(&y).held, 0);
	finish(&y, NULL);
}

static void quarantine_goes_to_junk(void **state)
{
	struct yard y;

	(void)state;
	start(&y, NULL, NULL);
	yard_open(&y, false);
	yard_put_one(&y, "bob@us.test", RCPT_LOCAL | RCPT_QUARANTINE);
	until(left(&y) == 0);
	assert_int_equal(yard_files(&y, "us.test/bob", ".Junk/new"), 1);
	assert_int_equal(yard_files(&y, "us.test/bob", "new"), 0);
	finish(&y, NULL);
}

/* What was staged when the last life ended is moved, not written again. */
static void staged_is_finished_after_a_restart(void **state)
{
	for (int one_by_one = 0; one_by_one < 2; one_by_one++) {
		struct yard y;
		char path[4096];
		uint64_t id;
		FILE *f;

		(void)state;
		start(&y, NULL, NULL);
		house_open(&y.h);
		house_start(&y.h);
		id = yard_put_one(&y, "bob@us.test", RCPT_LOCAL);
		settle_one(&y.h, id, (struct queue_fate){ .fate = FATE_STAGED,
			.place = arena_printf(&y.arena, "%s/us.test/bob\nNAME,S=4", y.mail) }, NULL);
		yard_put_one(&y, "anna@us.test", RCPT_LOCAL);
		house_close(&y.h);
		for (int i = 0; i < 5; i++) {
			static const char *const dirs[] = { "us.test", "us.test/bob", "us.test/bob/tmp", "us.test/bob/new", "us.test/bob/cur" };

			snprintf(path, sizeof(path), "%s/%s", y.mail, dirs[i]);
			mkdir(path, 0700);
		}
		snprintf(path, sizeof(path), "%s/us.test/bob/tmp/NAME,S=4", y.mail);
		f = fopen(path, "w");
		fputs("mail", f);
		fclose(f);
		yard_open(&y, one_by_one);
		until(left(&y) == 0);
		assert_int_equal(yard_files(&y, "us.test/bob", "new"), 1);
		assert_int_equal(yard_files(&y, "us.test/bob", "tmp"), 0);
		assert_int_equal(yard_files(&y, "us.test/anna", "new"), 1);
		finish(&y, NULL);
	}
}

static void a_full_queue_at_the_start(void **state)
{
	for (int one_by_one = 0; one_by_one < 2; one_by_one++) {
		struct yard y;
		struct peer p;

		(void)state;
		start(&y, &p, NULL);
		house_open(&y.h);
		house_start(&y.h);
		for (int i = 0; i < 200; i++) {
			yard_put_one(&y, "bob@us.test", RCPT_LOCAL);
			yard_put_one(&y, "x@far.test", 0);
		}
		house_close(&y.h);
		yard_open(&y, one_by_one);
		until(left(&y) == 0);
		assert_int_equal(yard_files(&y, "us.test/bob", "new"), 200);
		assert_int_equal(p.messages, 200);
		finish(&y, &p);
	}
}

/* ---- SMTP ---------------------------------------------------------------------------------- */

static void connections_are_shared(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, NULL);
	yard_open(&y, false);
	for (int i = 0; i < 300; i++)
		yard_put_one(&y, "x@far.test", 0);
	until(left(&y) == 0);
	assert_int_equal(p.messages, 300);
	assert_true(p.connections <= 40);
	assert_true(p.connections >= 6);         /* fifty messages each */
	finish(&y, &p);
}

static void one_message_to_many_places(void **state)
{
	static const struct yard_rcpt rcpts[] = {
		{ "anna@us.test", RCPT_LOCAL }, { "x@far.test", 0 }, { "y@far.test", 0 }, { "bob@us.test", RCPT_LOCAL },
		{ "nobody@us.test", RCPT_LOCAL }, { "z@null.test", 0 }, { "550w@far.test", 0 },
	};
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, NULL);
	yard_open(&y, false);
	yard_put(&y, "anna@us.test", rcpts, COUNT(rcpts), 0);
	until(left(&y) == 0);
	assert_int_equal(p.messages, 1);
	assert_int_equal(yard_files(&y, "us.test/anna", "new"), 1);
	assert_int_equal(yard_files(&y, "us.test/bob", "new"), 1);
	assert_int_equal(letters_taken(), 3);            /* one for each destination that failed */
	assert_int_equal(figures(&y).delivered, 4);
	assert_int_equal(figures(&y).bounced, 3);
	finish(&y, &p);
}

static void put_off_and_tried_again(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_rcpt r;
	char said[1001];
	uint64_t id;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.7.1 greylisted" } });
	yard_open(&y, false);
	id = yard_put_one(&y, "x@far.test", 0);
	until(figures(&y).deferred == 1 && yard_rcpt_of(&y, id, 0, &r, said) == OK && r.tries == 1);
	assert_string_equal(said, "450 4.7.1 greylisted");
	assert_true(r.next >= clock_wall() - 5 && r.next <= clock_wall() + 5);
	peer_change(&p, STEP_RCPT, NULL);
	until(left(&y) == 0);
	assert_int_equal(p.messages, 1);
	finish(&y, &p);
}

/* A broken handshake: the next try does without TLS. */
static void clear_at_the_second_try(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_EHLO] = "250-peer\r\n250 STARTTLS" }, .broken_tls = true });
	yard_open(&y, false);
	yard_put_one(&y, "x@far.test", 0);
	until(left(&y) == 0);
	assert_int_equal(figures(&y).deferred, 1);
	assert_int_equal(p.messages, 1);
	finish(&y, &p);
}

/* ---- a dead destination --------------------------------------------------------------------- */

static void a_dead_destination_stops_nobody(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_rcpt r;
	char said[1001];
	uint64_t id = 0, began;

	(void)state;
	start(&y, &p, NULL);
	y.relay.retry_first_ms = y.relay.retry_most_ms = 3600000;
	yard_open(&y, false);
	for (int i = 0; i < 500; i++)
		id = yard_put_one(&y, "x@dead.test", 0);
	until(yard_rcpt_of(&y, id, 0, &r, said) == OK && r.said.n > 0);
	assert_non_null(strstr(said, "gone.test"));      /* the destination's answer, though nobody tried this one */
	began = clock_ms();
	for (int i = 0; i < 50; i++) {
		yard_put_one(&y, "x@far.test", 0);
		yard_put_one(&y, "bob@us.test", RCPT_LOCAL);
	}
	until(left(&y) == 500);
	assert_true(clock_ms() - began < 20000);
	assert_int_equal(p.messages, 50);
	assert_int_equal(figures(&y).waiting, 500);
	assert_true(figures(&y).deferred <= 10);         /* it was hardly tried */
	finish(&y, &p);
}

/* It comes back: one goes ahead, all follow. */
static void a_dead_destination_comes_back(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_BANNER] = "421 4.3.2 resting" } });
	yard_open(&y, false);
	for (int i = 0; i < 100; i++)
		yard_put_one(&y, "x@far.test", 0);
	until(p.connections >= 4);
	peer_change(&p, STEP_BANNER, NULL);
	until(left(&y) == 0);
	assert_int_equal(p.messages, 100);
	finish(&y, &p);
}

/* ---- notices ---------------------------------------------------------------------------------- */

static void assert_letter(size_t i, const char *what)
{
	pthread_mutex_lock(&taken.lock);
	if (i >= taken.n || strstr(taken.texts[i], what) == NULL)
		fail_msg("letter %zu lacks \"%s\"", i, what);
	pthread_mutex_unlock(&taken.lock);
}

static void bounces_settle_their_recipients(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, NULL);
	yard_open(&y, false);
	yard_put_one(&y, "550x@far.test", 0);
	until(left(&y) == 0);
	assert_int_equal(letters_taken(), 1);
	assert_letter(0, "550 5.1.1 as you wish");
	assert_letter(0, "Action: failed");
	yard_put_one(&y, "550x@far.test", RCPT_NOTIFY_NEVER);
	yard_put(&y, "", &(struct yard_rcpt){ "550x@far.test", 0 }, 1, 0);
	until(left(&y) == 0);
	assert_int_equal(letters_taken(), 1);            /* nobody is told */
	assert_int_equal(figures(&y).bounced, 3);
	finish(&y, &p);
}

static void a_bounce_that_found_no_room_is_tried_again(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, NULL);
	yard_open(&y, false);
	taken.refusals = 2;
	yard_put_one(&y, "550x@far.test", 0);
	until(left(&y) == 0);
	assert_int_equal(letters_taken(), 1);
	taken.answer = ERR_BAD;                          /* and one that can never be stored ends it */
	yard_put_one(&y, "550x@far.test", 0);
	until(left(&y) == 0);
	assert_int_equal(letters_taken(), 1);
	finish(&y, &p);
}

static void old_messages_go_back(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.7.1 greylisted" } });
	y.relay.give_up_ms = 2000;
	yard_open(&y, false);
	yard_put_one(&y, "x@far.test", 0);               /* answers, but never yes */
	yard_put_one(&y, "x@sick.test", 0);              /* rests */
	until(left(&y) == 0);
	assert_int_equal(letters_taken(), 2);
	assert_letter(0, "Status: 5.4.7");
	assert_letter(1, "Status: 5.4.7");
	finish(&y, &p);
}

/* Bounces have their own time (give-up-bounce), and nobody hears of them. */
static void old_bounces_are_dropped(void **state)
{
	static const struct yard_rcpt there = { "x@far.test", 0 };
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.2.2 full" } });
	y.relay.give_up_bounce_ms = 1000;
	yard_open(&y, false);
	yard_put(&y, "", &there, 1, 0);
	yard_put(&y, "anna@us.test", &there, 1, 0);
	until(left(&y) == 1);
	assert_int_equal(figures(&y).bounced, 1);
	assert_int_equal(figures(&y).waiting + figures(&y).leased, 1);
	assert_int_equal(letters_taken(), 0);
	finish(&y, &p);
}

static void delays_are_told_once(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_rcpt r;
	char said[1001];
	uint64_t id, other;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.7.1 greylisted" } });
	y.relay.delay_notice_ms = 1000;
	yard_open(&y, false);
	id = yard_put_one(&y, "x@far.test", 0);
	other = yard_put_one(&y, "x@sick.test", 0);
	yard_put_one(&y, "x@sick.test", RCPT_NOTIFY_FAILURE);
	until(letters_taken() == 2);
	until(yard_rcpt_of(&y, id, 0, &r, said) == OK && r.delay_told);
	until(yard_rcpt_of(&y, other, 0, &r, said) == OK && r.delay_told);
	assert_letter(0, "Action: delayed");
	assert_letter(1, "Action: delayed");
	until(yard_rcpt_of(&y, id, 0, &r, said) == OK && r.tries >= 3);
	assert_int_equal(letters_taken(), 2);
	finish(&y, &p);
}

static void success_is_told_when_asked_for(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, NULL);
	yard_open(&y, false);
	yard_put_one(&y, "bob@us.test", RCPT_LOCAL | RCPT_NOTIFY_SUCCESS);
	until(letters_taken() == 1);
	assert_letter(0, "Action: delivered");
	yard_put_one(&y, "x@far.test", RCPT_NOTIFY_SUCCESS);
	until(letters_taken() == 2);
	assert_letter(1, "Action: relayed");
	peer_change(&p, STEP_EHLO, "250-peer\r\n250 DSN");
	until(peer_heard(&p, "QUIT|"));                  /* the kept connection, which knew no DSN, has ended */
	yard_put_one(&y, "x@far.test", RCPT_NOTIFY_SUCCESS);
	until(left(&y) == 0);
	assert_int_equal(letters_taken(), 2);
	finish(&y, &p);
}

/* ---- wishes -------------------------------------------------------------------------------------- */

static void wishes_are_granted(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_rcpt r;
	char said[1001];
	uint64_t a, b, c;
	size_t touched;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.7.1 greylisted" } });
	y.relay.retry_first_ms = y.relay.retry_most_ms = 3600000;
	yard_open(&y, false);
	a = yard_put_one(&y, "a@far.test", 0);
	b = yard_put_one(&y, "b@far.test", 0);
	c = yard_put(&y, "anna@us.test", &(struct yard_rcpt){ "c@far.test", 0 }, 1, MESSAGE_HELD);
	until(figures(&y).deferred == 2 && figures(&y).leased == 0 && figures(&y).held == 1);
	assert_int_equal(yard_wish(&y, WISH_HOLD, a, &touched), OK);
	assert_int_equal(touched, 1);
	assert_int_equal(yard_rcpt_of(&y, a, 0, &r, said), OK);
	assert_int_equal(r.state, RCPT_HELD);
	assert_int_equal(figures(&y).held, 2);
	peer_change(&p, STEP_RCPT, NULL);
	assert_int_equal(yard_wish(&y, WISH_RETRY, 0, &touched), OK);
	assert_int_equal(touched, 1);
	until(left(&y) == 2);
	assert_int_equal(yard_wish(&y, WISH_RETRY, b, &touched), ERR_ABSENT);
	assert_int_equal(yard_wish(&y, WISH_RELEASE, c, &touched), OK);
	until(left(&y) == 1);
	assert_int_equal(yard_wish(&y, WISH_REMOVE, a, &touched), OK);
	assert_int_equal(yard_rcpt_of(&y, a, 0, &r, said), ERR_ABSENT);
	until(left(&y) == 0);
	assert_int_equal(p.messages, 2);
	finish(&y, &p);
}

/* The breaker's: by it, what waits and what comes home is held, what the operator
 * holds is not its own, and its release is. */
static void broken_off(void **state)
{
	const struct queue_filter breakers = { .states = STATE_BREAKER };
	struct yard y;
	struct peer p;
	struct queue_rcpt r;
	char said[1001];
	uint64_t a, b, *ids;
	size_t touched, n;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.7.1 greylisted" } });
	y.relay.retry_first_ms = y.relay.retry_most_ms = 3600000;
	yard_open(&y, false);
	a = yard_put_one(&y, "a@far.test", 0);
	b = yard_put_one(&y, "b@far.test", 0);
	until(figures(&y).deferred == 2 && figures(&y).leased == 0);
	assert_int_equal(yard_wish(&y, WISH_HOLD, a, &touched), OK);
	assert_int_equal(yard_wish(&y, WISH_BREAK, a, &touched), OK);
	assert_int_equal(touched, 0);
	assert_int_equal(yard_wish(&y, WISH_BREAK, b, &touched), OK);
	assert_int_equal(touched, 1);
	assert_int_equal(yard_rcpt_of(&y, b, 0, &r, said), OK);
	assert_int_equal(r.state, RCPT_HELD);
	assert_true(str_starts(str_of(said), QUEUE_HELD_BY_BREAKER));
	assert_int_equal(queue_select(y.h.q, &breakers, &ids, &n), OK);
	assert_int_equal(n, 1);
	assert_int_equal(ids[0], b);
	free(ids);
	peer_change(&p, STEP_RCPT, NULL);
	assert_int_equal(yard_wish(&y, WISH_RELEASE, b, &touched), OK);
	until(left(&y) == 1);
	assert_int_equal(yard_wish(&y, WISH_REMOVE, a, &touched), OK);
	until(left(&y) == 0);
	assert_int_equal(p.messages, 1);
	finish(&y, &p);
}

/* What is out when it is wished away: not called back, but not tried again. */
static void removed_while_it_is_out(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_rcpt r;
	char said[1001];
	uint64_t id;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_BANNER] = "raw " } });
	y.relay.connect_ms = 2000;
	yard_open(&y, false);
	id = yard_put_one(&y, "a@far.test", 0);
	until(p.connections == 1 && figures(&y).leased == 1);
	assert_int_equal(yard_wish(&y, WISH_REMOVE, id, NULL), OK);
	assert_int_equal(yard_rcpt_of(&y, id, 0, &r, said), OK);
	peer_stop(&p);                                   /* the connection breaks */
	until(left(&y) == 0);
	finish(&y, NULL);
}

/* Out when the breaker trips: it is held when it comes home undelivered. */
static void broken_off_while_it_is_out(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_rcpt r;
	char said[1001];
	size_t touched;
	uint64_t id;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_BANNER] = "raw " } });
	y.relay.connect_ms = 2000;
	yard_open(&y, false);
	id = yard_put_one(&y, "a@far.test", 0);
	until(p.connections == 1 && figures(&y).leased == 1);
	assert_int_equal(yard_wish(&y, WISH_BREAK, id, &touched), OK);
	assert_int_equal(touched, 0);
	peer_stop(&p);                                   /* the connection breaks */
	until(figures(&y).held == 1);
	assert_int_equal(yard_rcpt_of(&y, id, 0, &r, said), OK);
	assert_true(str_starts(str_of(said), QUEUE_HELD_BY_BREAKER));
	finish(&y, NULL);
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void stop_lets_go_of_what_is_out(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_entry *e = NULL;
	uint64_t id, began;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_FINAL] = "raw " } });
	yard_open(&y, false);
	id = yard_put_one(&y, "a@far.test", 0);
	until(p.messages == 1);
	began = clock_ms();
	yard_close(&y, 300);
	assert_true(clock_ms() - began < 10000);
	peer_stop(&p);
	house_open(&y.h);
	house_start(&y.h);
	assert_int_equal(queue_load(y.h.q, id, &e), OK);
	assert_int_equal(e->rcpts[0].state, RCPT_WAITING);
	assert_true(e->rcpts[0].next <= clock_wall());
	queue_entry_free(e);
	house_close(&y.h);
	yard_burn(&y);
}

struct swapping { struct setup_swap swap; bool done; };

static void swap_is_home(struct baton *b)
{
	struct swapping *w = SUPER(SUPER(b, struct setup_swap, baton), struct swapping, swap);

	w->done = true;
}

static void settings_are_swapped(void **state)
{
	struct yard y;
	struct peer p;
	struct relay_conf relay;
	struct deliver_setup next;
	struct swapping w = { 0 };

	(void)state;
	start(&y, &p, NULL);
	y.relay.retry_first_ms = y.relay.retry_most_ms = 3600000;
	yard_open(&y, false);
	for (int i = 0; i < 20; i++)
		yard_put_one(&y, "x@dead.test", 0);
	until(figures(&y).deferred >= 1 && figures(&y).leased == 0);
	relay = y.relay;
	relay.smarthost.via = str_of(peer_route(&p));
	next = y.setup;
	next.relay = &relay;
	w.swap = (struct setup_swap){ .baton.home = y.h.home, .baton.arrived = swap_is_home, .new_setup = &next, .old_setup = &y.setup };
	timetable_reconfigure(y.t, &w.swap);
	run_home(&y.h, &w.done);
	memset(&y.relay, 0xff, sizeof(y.relay));         /* nobody reads it any more */
	yard_wish(&y, WISH_RETRY, 0, NULL);
	until(left(&y) == 0);
	assert_int_equal(p.messages, 20);
	finish(&y, &p);
}

static int set_up(void **state)
{
	(void)state;
	crypt_setup();
	log_level_set(LOG_ERROR + 1);
	signal(SIGPIPE, SIG_IGN);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(maildirs_get_each_message_once),
		cmocka_unit_test(quarantine_goes_to_junk),
		cmocka_unit_test(staged_is_finished_after_a_restart),
		cmocka_unit_test(a_full_queue_at_the_start),
		cmocka_unit_test(connections_are_shared),
		cmocka_unit_test(one_message_to_many_places),
		cmocka_unit_test(put_off_and_tried_again),
		cmocka_unit_test(clear_at_the_second_try),
		cmocka_unit_test(a_dead_destination_stops_nobody),
		cmocka_unit_test(a_dead_destination_comes_back),
		cmocka_unit_test(bounces_settle_their_recipients),
		cmocka_unit_test(a_bounce_that_found_no_room_is_tried_again),
		cmocka_unit_test(old_messages_go_back),
		cmocka_unit_test(old_bounces_are_dropped),
		cmocka_unit_test(delays_are_told_once),
		cmocka_unit_test(success_is_told_when_asked_for),
		cmocka_unit_test(wishes_are_granted),
		cmocka_unit_test(broken_off),
		cmocka_unit_test(broken_off_while_it_is_out),
		cmocka_unit_test(removed_while_it_is_out),
		cmocka_unit_test(stop_lets_go_of_what_is_out),
		cmocka_unit_test(settings_are_swapped),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
