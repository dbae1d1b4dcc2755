/* SPDX-License-Identifier: ISC */
/*
 * The system says no: each call of the store's, the journal's and the spool's on a
 * message's way fails once, in a life of its own.  What was acknowledged is there
 * in the next life, what was refused is not.
 */
#include "tests/unit/queue/burst.h"

/* ---- lives ------------------------------------------------------------------------------ */

#define SMALL 3000
#define LARGE 400000

enum { NEIGHBOUR, FIRST, SECOND };      /* of the life's puts */

/* Everybody has heard, and the store has what was answered. */
static void wait_for_all(struct house *h, struct life *life)
{
	for (;;) {
		size_t ok = 0;

		for (size_t i = 0; i < life->n; i++)
			ok += life->v[i].said == OK;
		if (life->answered == life->n && life->stored == ok)
			return;
		run_one(h);
	}
}

/* One message after the other; one recipient of the first is settled. */
static void live(struct house *h, struct life *life, int n, int errnum)
{
	strike_arm(n, STRIKE_FAIL, errnum);
	burst_put(h, life, SMALL);
	wait_for_all(h, life);
	burst_put(h, life, LARGE);
	wait_for_all(h, life);
	if (life->v[FIRST].said == OK)
		life->other = settle_one(h, life->v[FIRST].id, (struct queue_fate){ .fate = FATE_DELIVERED }, NULL) == OK;
}

/* While a commit waits many come at once, and more behind them while they are
 * being made safe: everything goes through the journal. */
static void live_in_a_row(struct house *h, struct life *life, int n, int errnum)
{
	static const size_t behind[] = { 100, 100000, 1, 20000 };

	burst_hold(h, life);
	burst_stage_all(h, life, burst_sizes, BURST);
	strike_gate(STRIKE_JOURNAL);
	strike_arm(n, STRIKE_FAIL, errnum);
	burst_go(h);
	while (!strike.reached && !strike.struck)
		run_one(h);
	burst_puts(h, life, behind, COUNT(behind));
	strike_go_on();                 /* the writer */
	strike_go_on();                 /* and who makes them safe, now or by taking a block back */
	wait_for_all(h, life);
}

typedef void living(struct house *, struct life *, int n, int errnum);

static _Noreturn void live_through(living *how, char *dir, struct life *life, int n, int errnum)
{
	struct house h = { .dir = dir };
	int null = open("/dev/null", O_WRONLY);

	dup2(null, 2);
	burst_start(&h, life);
	burst_put(&h, life, 100);
	wait_for_all(&h, life);
	how(&h, life, n, errnum);
	life->calls = atomic_load(&strike.calls);
	strike_disarm();
	house_close(&h);
	_exit(0);
}

static void look_at(char *dir, const struct life *life)
{
	struct house h = { .dir = dir };
	struct queue_entry *e;

	house_open(&h);
	house_start(&h);
	burst_judge_open(&h, life);
	assert_int_equal(life->v[NEIGHBOUR].said, OK);
	if (life->other) {
		assert_int_equal(queue_load(h.q, life->v[FIRST].id, &e), OK);
		assert_int_equal(e->rcpts[0].state, RCPT_SETTLED);
		assert_int_equal(e->rcpts[1].state, RCPT_WAITING);
		queue_entry_free(e);
	}
	house_close(&h);
}

/* ---- all of them ---------------------------------------------------------------------------- */

#define AT_ONCE 8                       /* one that meets a broken disk takes a second to end */

struct one { struct life *life; char *dir; pid_t child; };

static struct one one_begins(living *how, int n, int errnum)
{
	struct one o = { .life = life_new(), .dir = folder_new() };

	o.child = strike_fork();
	if (o.child == 0)
		live_through(how, o.dir, o.life, n, errnum);
	return o;
}

/* How it ended: 0, or 75 when the disk is in doubt.  *more: there were that many calls. */
static int one_ends(struct one *o, int n, bool *more)
{
	int status;

	assert_int_equal(waitpid(o->child, &status, 0), o->child);
	if (!WIFEXITED(status))
		fail_msg("call %d: signal %d ended it", n, WTERMSIG(status));
	look_at(o->dir, o->life);
	*more = *more && (WEXITSTATUS(status) != 0 || o->life->calls >= n);
	remove_all(o->dir);
	free(o->dir);
	life_free(o->life);
	return WEXITSTATUS(status);
}

static int all_lives(living *how, int errnum, int may_end_with)
{
	int n = 1, ended = 0, struck = 0;

	for (bool more = true; more; n += AT_ONCE) {
		struct one v[AT_ONCE];

		for (int i = 0; i < AT_ONCE; i++)
			v[i] = one_begins(how, n + i, errnum);
		for (int i = 0; i < AT_ONCE; i++) {
			int status = one_ends(&v[i], n + i, &more);

			if (status != 0 && status != may_end_with)
				fail_msg("call %d: the process ended with %d", n + i, status);
			ended += status != 0;
			struck += more;
		}
	}
	print_message("%d calls failed one after the other, %d times the process ended\n", struck, ended);
	assert_true(struck > 6);
	return ended;
}

/* No room is an answer, never an end. */
static void no_room(void **state)
{
	(void)state;
	assert_int_equal(all_lives(live, ENOSPC, 0), 0);
	assert_int_equal(all_lives(live_in_a_row, ENOSPC, 0), 0);
}

/* A store in doubt ends the process; a body file's error is its message's own. */
static void broken_disk(void **state)
{
	(void)state;
	assert_true(all_lives(live, EIO, 75) > 0);
	assert_true(all_lives(live_in_a_row, EIO, 75) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_room),
		cmocka_unit_test(broken_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
