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

/* A message whose row is damaged, and of whose delay somebody should be told:
 * it is looked at again in an hour, not at once and for ever. */
static void an_unreadable_message_is_left_alone(void **state)
{
	struct yard y;
	struct peer p;
	struct record_key k;
	struct store_txn t;
	struct queue_rcpt r;
	char said[1001], log[4200];
	int64_t arrived = clock_wall();
	str why;
	uint64_t id;

	(void)state;
	start(&y, &p, &(struct script){ .at = { [STEP_RCPT] = "450 4.7.1 greylisted" } });
	y.relay.delay_notice_ms = 1000;
	snprintf(log, sizeof(log), "%s/log", y.mail);
	log_level_set(LOG_ERROR);
	assert_int_equal(log_open(LOG_TO_FILE, log, &why), OK);
	log_start();
	yard_open(&y, false);
	id = yard_put_one(&y, "x@far.test", 0);
	until(yard_rcpt_of(&y, id, 0, &r, said) == OK && r.tries >= 1);
	k = record_key_message(id);
	store_begin(y.h.q->store, &t);
	store_put(&t, TABLE_MESSAGE, (str){ (char *)k.b, k.n }, STR("not a record"));
	assert_int_equal(store_commit(&t), OK);
	until(lines_with(log, "message.unreadable") > 0);
	until(clock_wall() > arrived + 2);               /* when the notice is due */
	log_stop();
	assert_true(lines_with(log, "message.unreadable") <= 3);
	log_level_set(LOG_ERROR + 1);
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
		cmocka_unit_test(put_off_at_several_places),
		cmocka_unit_test(some_move_while_others_go_alone),
		cmocka_unit_test(an_unreadable_message_is_left_alone),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
