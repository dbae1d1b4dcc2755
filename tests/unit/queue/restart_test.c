/* SPDX-License-Identifier: ISC */
/* What the timetable finds when it starts, and what it finds changed. */
#include "tests/unit/queue/yard.h"

#include <signal.h>

#include "queue/deliver/timetable_inside.h"

struct swapping { struct setup_swap swap; bool done; };

static void swap_is_home(struct baton *b)
{
	struct swapping *w = SUPER(SUPER(b, struct setup_swap, baton), struct swapping, swap);

	w->done = true;
}

static void start(struct yard *y, struct peer *p, const struct script *script)
{
	yard_new(y);
	peer_start(p, script, false);
	y->relay.port = p->port;
	yard_domain(y, "us.test", NULL);
	directory_add_account(y->directory, STR("bob@us.test"));
	snprintf(y->zone, sizeof(y->zone), "far.test  MX 10 mx.test\nnear.test MX 10 mx.test\nmx.test   A 127.0.0.1\n");
}

static void finish(struct yard *y, struct peer *p)
{
	yard_close(y, 5000);
	yard_burn(y);
	peer_stop(p);
}

/* One message, two destinations, both to be tried later: neither part needs the
 * entry, the second is still made from it. */
static void put_off_at_several_places(void **state)
{
	static const struct yard_rcpt rcpts[] = {
		{ "bob@us.test", RCPT_LOCAL }, { "x@far.test", 0 }, { "y@near.test", 0 },
	};
	struct yard y;
	struct peer p;
	uint64_t id;

	(void)state;
	start(&y, &p, NULL);
	house_open(&y.h);
	house_start(&y.h);
	id = yard_put(&y, "a@far.test", rcpts, COUNT(rcpts), 0);
	for (uint32_t i = 0; i < COUNT(rcpts); i++)
		settle_one(&y.h, id, (struct queue_fate){ .rcpt = i, .fate = FATE_DEFERRED, .next = clock_wall() + 3600,
		                                          .tries = 1, .said = STR("450 later") }, NULL);
	house_close(&y.h);
	yard_open(&y, false);
	until(figures(&y).waiting == COUNT(rcpts));
	yard_wish(&y, WISH_RETRY, id, NULL);
	until(left(&y) == 0);
	assert_int_equal(p.messages, 2);
	assert_int_equal(yard_files(&y, "us.test/bob", "new"), 1);
	finish(&y, &p);
}

struct hanging { struct baton baton; struct peer *peer; };

static void hang_up(struct baton *b)
{
	for (struct peer_side *s = SUPER(b, struct hanging, baton)->peer->sides; s != NULL; s = s->next) {
		conn_close(s->conn);
		s->conn = NULL;
	}
}

/* A message waits behind one that goes alone; then one of its recipients turns
 * out to live here.  Nothing may be counted as out for ever. */
static void some_move_while_others_go_alone(void **state)
{
	static const struct yard_rcpt rcpts[] = { { "x@far.test", 0 }, { "new@near.test", 0 } };
	struct yard y;
	struct peer p;
	struct directory *directory;
	struct deliver_setup next;
	struct swapping w = { 0 };
	struct hanging hanging = { .baton.arrived = hang_up, .peer = &p };

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_BANNER] = "raw " } });
	y.relay.smarthost.via = arena_printf(&y.arena, "127.0.0.1:%u", p.port);
	house_open(&y.h);
	house_start(&y.h);
	for (int i = 0; i < 2; i++)                      /* one of them goes first */
		yard_put(&y, "a@far.test", rcpts, COUNT(rcpts), 0);
	house_close(&y.h);
	yard_open(&y, true);
	until(p.connections == 1);
	directory = directory_new(&y.arena, '+');
	y.directory = directory;
	yard_domain(&y, "near.test", NULL);
	directory_add_account(directory, STR("new@near.test"));
	next = y.setup;
	next.directory = directory;
	w.swap = (struct setup_swap){ .baton.home = y.h.home, .baton.arrived = swap_is_home, .new_setup = &next, .old_setup = &y.setup };
	timetable_reconfigure(y.t, &w.swap);
	yard_wish(&y, WISH_RETRY, 1, NULL);              /* answered after the swap: nobody has that id */
	peer_change(&p, STEP_BANNER, NULL);
	loop_send(p.loop, &hanging.baton);
	until(left(&y) == 0);
	assert_int_equal(yard_files(&y, "near.test/new", "new"), 2);
	timetable_stop(y.t, 0);
	assert_int_equal(y.t->first_out, 0);
	run_home(&y.h, &w.done);
	finish(&y, &p);
}

static size_t lines_with(const char *path, const char *what)
{
	char line[2000];
	FILE *f = fopen(path, "r");
	size_t n = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, what) != NULL;
	if (f != NULL)
		fclose(f);
	return n;
}

static size_t touched(struct yard *y, int what, uint64_t id)
{
	size_t n;

	assert_int_equal(yard_wish(y, what, id, &n), OK);
	return n;
}

static void damage(struct yard *y, enum table table, struct record_key k)
{
	struct store_txn t;

	store_begin(y->h.q->store, &t);
	store_put(&t, table, (str){ (char *)k.b, k.n }, STR("not a record"));
	assert_int_equal(store_commit(&t), OK);
}

static void log_begin(struct yard *y, char path[static 4200])
{
	str why;

	snprintf(path, 4200, "%s/log", y->mail);
	log_level_set(LOG_ERROR);
	assert_int_equal(log_open(LOG_TO_FILE, path, &why), OK);
	log_start();
}

static void log_end(void)
{
	log_stop();
	log_level_set(LOG_ERROR + 1);
}

/* A message whose row is damaged while it waits, and of whose delay somebody
 * should be told: it is held, named once, and can be removed. */
static void an_unreadable_message_is_held(void **state)
{
	struct yard y;
	struct peer p;
	struct queue_rcpt r;
	char said[1001], log[4200];
	int64_t arrived = clock_wall();
	uint64_t id;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.7.1 greylisted" } });
	y.relay.delay_notice_ms = 1000;
	log_begin(&y, log);
	yard_open(&y, false);
	id = yard_put_one(&y, "x@far.test", 0);
	until(yard_rcpt_of(&y, id, 0, &r, said) == OK && r.tries >= 1);
	damage(&y, TABLE_MESSAGE, record_key_message(id));
	until(lines_with(log, "message.damaged") > 0);
	until(clock_wall() > arrived + 2);               /* when the notice is due */
	assert_int_equal(figures(&y).held, 1);
	assert_int_equal(figures(&y).aside, 1);
	assert_int_equal(touched(&y, WISH_RELEASE, id), 0);
	assert_int_equal(touched(&y, WISH_REMOVE, id), 1);
	until(left(&y) == 0);
	assert_int_equal(figures(&y).aside, 0);
	log_end();
	assert_int_equal(lines_with(log, "message.damaged"), 1);
	finish(&y, &p);
}

/* At the start: what is damaged is held alone, whatever part of it; the rest is
 * delivered. */
static void what_is_damaged_is_held_at_the_start(void **state)
{
	static const struct yard_rcpt both[] = { { "bob@us.test", RCPT_LOCAL }, { "anna@us.test", RCPT_LOCAL } };
	char said[1001], log[4200];
	uint64_t row, rcpt, content;
	struct queue_rcpt r = { 0 };
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, NULL);
	directory_add_account(y.directory, STR("anna@us.test"));
	log_begin(&y, log);
	house_open(&y.h);
	house_start(&y.h);
	row = yard_put(&y, "a@far.test", both, 2, 0);
	rcpt = yard_put(&y, "a@far.test", both, 2, 0);
	content = yard_put(&y, "a@far.test", both, 2, 0);
	yard_put(&y, "a@far.test", both, 2, 0);
	queue_stop(y.h.q);
	damage(&y, TABLE_MESSAGE, record_key_message(row));
	damage(&y, TABLE_RCPT, record_key_part(rcpt, 1));
	damage(&y, TABLE_BODY, record_key_part(content, 0));
	house_close(&y.h);
	yard_open(&y, false);
	until(yard_files(&y, "us.test/bob", "new") == 2 && yard_files(&y, "us.test/anna", "new") == 1);
	until(figures(&y).held == 4 && left(&y) == 3);
	assert_int_equal(figures(&y).aside, 3);
	assert_int_equal(yard_rcpt_of(&y, rcpt, 1, &r, said), OK);
	assert_true(r.state == RCPT_HELD && r.damaged);
	assert_int_equal(yard_rcpt_of(&y, content, 0, &r, said), OK);
	assert_true(r.state == RCPT_HELD && !r.damaged);
	assert_non_null(strstr(said, "damaged"));
	assert_int_equal(touched(&y, WISH_RELEASE, row), 0);
	assert_int_equal(touched(&y, WISH_RELEASE, rcpt), 1);
	until(yard_files(&y, "us.test/anna", "new") == 2 && left(&y) == 2);
	assert_int_equal(touched(&y, WISH_REMOVE, 0), 2);
	until(left(&y) == 0);
	assert_int_equal(figures(&y).aside, 0);
	assert_int_equal(figures(&y).held, 0);
	log_end();
	assert_int_equal(lines_with(log, "message.damaged"), 3);
	finish(&y, &p);
}

static void damage_content(uint64_t id, struct yard *y)
{
	house_open(&y->h);
	house_start(&y->h);
	queue_stop(y->h.q);
	damage(y, TABLE_BODY, record_key_part(id, 0));
	house_close(&y->h);
}

/* Each of its ways out meets the damage; one line says so, and another when it
 * was released and met it again. */
static void damaged_content_is_named_once(void **state)
{
	static const struct yard_rcpt rcpts[] = {
		{ "bob@us.test", RCPT_LOCAL }, { "x@far.test", 0 }, { "y@near.test", 0 },
	};
	char log[4200];
	struct yard y;
	struct peer p;
	uint64_t id;

	(void)state;
	start(&y, &p, NULL);
	log_begin(&y, log);
	house_open(&y.h);
	house_start(&y.h);
	id = yard_put(&y, "a@far.test", rcpts, COUNT(rcpts), 0);
	house_close(&y.h);
	damage_content(id, &y);
	yard_open(&y, false);
	until(figures(&y).held == COUNT(rcpts));
	assert_int_equal(touched(&y, WISH_RELEASE, id), 1);
	until(lines_with(log, "message.damaged") == 2 && figures(&y).held == COUNT(rcpts));
	assert_int_equal(figures(&y).aside, 1);
	assert_int_equal(p.messages, 0);
	assert_int_equal(touched(&y, WISH_REMOVE, id), 1);
	until(left(&y) == 0);
	log_end();
	assert_int_equal(lines_with(log, "message.damaged"), 2);
	finish(&y, &p);
}

static void say_it_fell(struct yard *y)
{
	char path[4200];
	FILE *f;

	snprintf(path, sizeof(path), "%s/queue/lock", y->h.dir);
	f = fopen(path, "r+");
	assert_int_equal(fseek(f, 24, SEEK_SET), 0);
	assert_int_equal(fputs("fell", f) >= 0 && fclose(f) == 0, 1);
}

/* A message that was being tried in two lives that ended uncleanly, the last by
 * a fault, is held, and postmaster hears of it; the others flow.  Released, it is
 * tried again. */
static void tried_in_two_lives_it_is_set_aside(void **state)
{
	static const struct { uint32_t lives; bool fell, aside; } cases[] = {
		{ 0, false, false }, { 1, true, false }, { 2, false, false }, { 2, true, true }, { 7, false, false },
		{ 8, false, true },
	};

	for (size_t i = 0; i < COUNT(cases); i++) {
		uint32_t lives = cases[i].lives;
		bool aside = cases[i].aside;
		char said[1001];
		struct queue_rcpt r;
		struct queue_entry *e;
		struct yard y;
		struct peer p;
		uint64_t id;

		(void)state;
		start(&y, &p, NULL);
		house_open(&y.h);
		house_start(&y.h);
		id = yard_put_one(&y, "x@far.test", 0);
		yard_put_one(&y, "bob@us.test", RCPT_LOCAL);
		queue_stop(y.h.q);
		if (lives > 0) {
			struct store_txn t;

			store_begin(y.h.q->store, &t);
			mark_put(&t, id, lives);
			assert_int_equal(store_commit(&t), OK);
		}
		house_close(&y.h);
		if (cases[i].fell)
			say_it_fell(&y);
		for (int start_again = 0; start_again < 1 + aside; start_again++) {
			yard_open(&y, true);
			until(yard_files(&y, "us.test/bob", "new") == 1);
			until(left(&y) == aside);
			assert_int_equal(p.messages, !aside);
			assert_int_equal(figures(&y).aside, aside);
			assert_int_equal(figures(&y).held, aside);
			until(letters_taken() == aside);         /* one, however often it starts */
			if (aside) {
				until(yard_rcpt_of(&y, id, 0, &r, said) == OK && r.state == RCPT_HELD);
				assert_non_null(strstr(said, "uncleanly"));
				assert_non_null(strstr(taken.texts[0], "x@far.test"));
				assert_non_null(strstr(taken.texts[0], "To: <postmaster@us.test>"));
			}
			if (aside && start_again == 1) {
				assert_int_equal(touched(&y, WISH_RELEASE, id), 1);
				until(left(&y) == 0);
				assert_int_equal(p.messages, 1);
				assert_int_equal(figures(&y).aside, 0);
			} else if (aside) {
				timetable_stop(y.t, 1000);
				assert_int_equal(queue_load(y.h.q, id, &e), OK);
				assert_int_equal(e->lives, lives);
				queue_entry_free(e);
				yard_close(&y, 1000);
			}
		}
		assert_int_equal(store_rows(y.h.q->store, TABLE_MARK), 0);
		finish(&y, &p);
	}
}

/* While one is out alone its mark is written, and nobody else's. */
static void the_mark_goes_ahead(void **state)
{
	struct yard y;
	struct peer p;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_FINAL] = "raw " } });
	house_open(&y.h);
	house_start(&y.h);
	for (int i = 0; i < 3; i++)
		yard_put_one(&y, "x@far.test", 0);
	house_close(&y.h);
	yard_open(&y, true);
	until(p.messages == 1);
	assert_int_equal(store_rows(y.h.q->store, TABLE_MARK), 1);
	yard_close(&y, 100);
	yard_burn(&y);
	peer_stop(&p);
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
		cmocka_unit_test(put_off_at_several_places),
		cmocka_unit_test(some_move_while_others_go_alone),
		cmocka_unit_test(an_unreadable_message_is_held),
		cmocka_unit_test(damaged_content_is_named_once),
		cmocka_unit_test(what_is_damaged_is_held_at_the_start),
		cmocka_unit_test(tried_in_two_lives_it_is_set_aside),
		cmocka_unit_test(the_mark_goes_ahead),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
