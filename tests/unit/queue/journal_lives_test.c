/* SPDX-License-Identifier: ISC */
/*
 * Lives in which many puts come at once: who hears what when, lives that end at any
 * of their calls, and what is done without a journal.
 */
#include <sys/resource.h>
#include <sys/stat.h>

#include "queue/journal.h"
#include "tests/unit/queue/burst.h"

/* ---- many at once --------------------------------------------------------------------------------- */

/* They are answered while a commit still waits for the disk. */
static void answered_before_the_store_has_them(void **state)
{
	struct life *life = life_new();
	struct house h = { 0 };
	struct queue_figures f;

	(void)state;
	burst_start(&h, life);
	burst_hold(&h, life);
	burst_puts(&h, life, burst_sizes, BURST);
	while (life->answered < BURST)
		run_one(&h);
	assert_int_equal(life->v[0].said, -1);
	assert_int_equal(store_rows(h.q->store, TABLE_MESSAGE), 0);
	assert_int_equal(life->stored, 0);
	strike_go_on();
	burst_stored(&h, life, life->n);
	assert_int_equal(burst_judge_open(&h, life), life->n);
	queue_figures(h.q, &f);
	assert_int_equal(f.puts, life->n);
	assert_int_equal(f.messages, life->n);
	house_close(&h);
	assert_int_equal(burst_judge(h.dir, life), life->n);
	home_gone(h.dir);
	life_free(life);
}

static void nobody_hears_before_the_disk_has_it(void **state)
{
	struct life *life = life_new();
	struct house h = { 0 };

	(void)state;
	burst_start(&h, life);
	burst_hold(&h, life);
	strike_gate(STRIKE_JOURNAL);
	burst_puts(&h, life, burst_sizes, BURST);
	while (!strike.reached)
		run_one(&h);
	run_all(h.home);
	assert_int_equal(life->answered, 0);
	sem_post(&strike.go_on);
	sem_post(&strike.go_on);
	burst_stored(&h, life, life->n);
	house_close(&h);
	home_gone(h.dir);
	life_free(life);
}

/* The journal may go after a stop: the store has all. */
static void a_stop_leaves_nothing_in_it(void **state)
{
	struct life *life = life_new();
	struct house h = { 0 };
	char path[4096];

	(void)state;
	burst_start(&h, life);
	burst_hold(&h, life);
	burst_puts(&h, life, burst_sizes, BURST);
	while (life->answered < BURST)
		run_one(&h);
	strike_go_on();
	house_close(&h);
	snprintf(path, sizeof(path), "%s/queue/journal", h.dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(burst_judge(h.dir, life), life->n);
	home_gone(h.dir);
	life_free(life);
}

/* Round after round, each over the one before the last, until a half is full. */
static void rounds(void **state)
{
	static const size_t sizes[] = { 90000, 90000, 90000, 90000, 90000, 90000, 90000, 90000 };
	struct life *life = life_new();
	struct house h = { 0 };
	size_t filled = 0;
	uint64_t last = 0;

	(void)state;
	burst_start(&h, life);
	while (filled < 3 * JOURNAL_BYTES) {
		static struct life round;

		round = (struct life){ .n = 0 };
		whose_news = &round;
		burst_hold(&h, &round);
		for (size_t i = 1; i <= 7; i++) {       /* the last ones find no room in its half, and wait */
			burst_puts(&h, &round, sizes, COUNT(sizes));
			filled += 720000;
			while (i <= 5 && round.answered < i * COUNT(sizes))
				run_one(&h);
		}
		strike_go_on();
		burst_stored(&h, &round, round.n);
		burst_answers(&h, &round);
		assert_true(number(&h, "journal") > last);
		last = number(&h, "journal");
		for (size_t i = 0; i < round.n; i++) {
			assert_int_equal(round.v[i].said, OK);
			settle_whole(&h, round.v[i].id);
		}
	}
	house_close(&h);
	assert_int_equal(burst_judge(h.dir, life), 0);
	home_gone(h.dir);
	life_free(life);
}

/* What settles something else is answered by the store: one transaction has both. */
static void a_bounce_waits_for_the_store(void **state)
{
	for (int lost = 0; lost < 2; lost++) {
		struct life *life = life_new();
		struct house h = { .dir = folder_new() };
		struct queue_entry *e;
		pid_t child = strike_fork();
		int status;

		(void)state;
		if (child == 0) {
			struct going *g;

			burst_start(&h, life);
			burst_put(&h, life, 500);
			burst_answers(&h, life);
			burst_hold(&h, life);
			g = burst_begin(&h, life, 300);
			queue_put_settles(g->w.put, life->v[0].id, (uint32_t[]){ 1 }, 1);
			burst_stage(&h, g);
			burst_puts(&h, life, burst_sizes, BURST);
			while (life->answered < 1 + BURST)
				run_one(&h);
			assert_int_equal(life->v[1].said, -1);
			assert_int_equal(life->v[2].said, -1);
			if (lost)
				kill(getpid(), SIGKILL);
			strike_go_on();
			burst_answers(&h, life);
			kill(getpid(), SIGKILL);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(burst_judge(h.dir, life), lost ? 1 + BURST : 3 + BURST);
		house_open(&h);
		assert_int_equal(queue_load(h.q, life->v[0].id, &e), OK);
		assert_int_equal(e->rcpts[0].state, RCPT_WAITING);
		assert_int_equal(e->rcpts[1].state, lost ? RCPT_WAITING : RCPT_SETTLED);
		queue_entry_free(e);
		house_close(&h);
		home_gone(h.dir);
		life_free(life);
	}
}

/* ---- lives that end ---------------------------------------------------------------------------------- */

/* Kills itself when the struck call is reached and everybody has heard what was
 * sent until then; ends by itself when there was no such call. */
static _Noreturn void live_until(char *dir, struct life *life, int n, enum strike_how how)
{
	struct house h = { .dir = dir };

	burst_start(&h, life);
	burst_hold(&h, life);
	burst_stage_all(&h, life, burst_sizes, BURST);
	strike_arm(n, how, 0);
	burst_go(&h);
	while (life->answered < BURST && !strike.reached)
		run_one(&h);
	strike_go_on();                         /* whoever it is that waits: the commit, or the struck call */
	burst_stored(&h, life, life->n);
	if (strike.reached) {
		run_all(h.home);
		kill(getpid(), SIGKILL);
	}
	life->calls = atomic_load(&strike.calls);
	_exit(0);
}

static void killed_at_each_call(void **state)
{
	static const enum strike_how hows[] = { STRIKE_WAIT_BEFORE, STRIKE_WAIT_AFTER };
	size_t lives = 0, heard = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(hows); i++)
		for (int n = 1, more = 1; more; n++) {
			struct life *life = life_new();
			char *dir = folder_new();
			pid_t child = strike_fork();
			int status;

			if (child == 0)
				live_until(dir, life, n, hows[i]);
			assert_int_equal(waitpid(child, &status, 0), child);
			assert_true(WIFEXITED(status) ? WEXITSTATUS(status) == 0 : WTERMSIG(status) == SIGKILL);
			more = WIFSIGNALED(status);
			for (size_t k = 0; k < life->n; k++)
				heard += life->v[k].said == OK;
			burst_judge(dir, life);
			home_gone(dir);
			life_free(life);
			lives++;
		}
	print_message("%zu lives, %zu answers\n", lives, heard);
	assert_true(lives > 2 * 12 && heard > 10 * BURST);
}

/* ---- no journal ---------------------------------------------------------------------- */

/* Mail is taken all the same, and it is not tried again and again. */
static void what_cannot_be_made(void **state)
{
	static const int errnums[] = { ENOSPC, EDQUOT, EACCES, EROFS, EMFILE, EISDIR, ELOOP, ENOENT };

	(void)state;
	for (size_t i = 0; i < COUNT(errnums); i++) {
		struct life *life = life_new();
		struct house h = { 0 };

		burst_start(&h, life);
		strike.opens = 0;
		strike.open_errnum = errnums[i];
		for (int k = 0; k < 2; k++) {
			burst_hold(&h, life);
			burst_puts(&h, life, burst_sizes, BURST);
			strike_go_on();
			burst_answers(&h, life);
		}
		burst_stored(&h, life, life->n);
		assert_int_equal(strike.opens, 1);
		strike.open_errnum = 0;
		house_close(&h);
		assert_int_equal(burst_judge(h.dir, life), life->n);
		home_gone(h.dir);
		life_free(life);
	}
}

static void there_is_no_room_for_it(void **state)
{
	struct life *life = life_new();
	char *dir = folder_new();
	pid_t child = strike_fork();
	struct stat st;
	char path[4096];
	int status;

	(void)state;
	if (child == 0) {
		const struct rlimit limit = { 3 << 20, 3 << 20 };
		struct house h = { .dir = dir };

		signal(SIGXFSZ, SIG_IGN);
		burst_start(&h, life);
		burst_put(&h, life, 10);
		burst_answers(&h, life);
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		burst_hold(&h, life);
		burst_puts(&h, life, burst_sizes, BURST);
		strike_go_on();
		burst_stored(&h, life, life->n);
		burst_answers(&h, life);
		house_close(&h);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	snprintf(path, sizeof(path), "%s/queue/journal", dir);
	assert_int_equal(stat(path, &st), -1);          /* half of one is of no use */
	for (size_t i = 0; i < life->n; i++)
		assert_int_equal(life->v[i].said, OK);
	assert_int_equal(burst_judge(dir, life), life->n);
	home_gone(dir);
	life_free(life);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answered_before_the_store_has_them),
		cmocka_unit_test(nobody_hears_before_the_disk_has_it),
		cmocka_unit_test(a_stop_leaves_nothing_in_it),
		cmocka_unit_test(rounds),
		cmocka_unit_test(a_bounce_waits_for_the_store),
		cmocka_unit_test(killed_at_each_call),
		cmocka_unit_test(what_cannot_be_made),
		cmocka_unit_test(there_is_no_room_for_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
