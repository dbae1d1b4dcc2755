/* SPDX-License-Identifier: ISC */
/* desk: work is done by other threads, jobs come home, the bound, the end. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/desk.h"
#include "smtpd/base/err.h"

struct sum {
	struct job job;
	int        in, out, home;
	pthread_t  by;
};

static void add_one(struct job *j)
{
	struct sum *s = SUPER(j, struct sum, job);

	s->out = s->in + 1;
	s->by = pthread_self();
}

static void came_home(struct baton *b)
{
	SUPER(b, struct sum, job.baton)->home++;
}

static void receive(struct mbox *home, size_t n)
{
	while (n > 0) {
		struct baton *b = mbox_take(home, 1, SIZE_MAX, clock_ms() + 20000);

		assert_non_null(b);
		b->arrived(b);
		n--;
	}
}

static void init_sum(struct sum *s, struct mbox *home, int in)
{
	*s = (struct sum){ .job = { { .home = home, .arrived = came_home }, add_one }, .in = in };
}

static void jobs_come_home(void **state)
{
	enum { JOBS = 1000 };
	static struct sum sums[JOBS];
	struct mbox      *home = mbox_new(NULL, NULL);
	struct desk      *d = desk_open("a desk with a long name", 3);

	(void)state;
	assert_non_null(d);
	assert_int_equal(desk_threads(d), 3);
	for (int i = 0; i < JOBS; i++) {
		init_sum(&sums[i], home, i);
		desk_submit_anyway(d, &sums[i].job);
	}
	receive(home, JOBS);
	for (int i = 0; i < JOBS; i++) {
		assert_int_equal(sums[i].out, i + 1);
		assert_int_equal(sums[i].home, 1);
		assert_false(pthread_equal(sums[i].by, pthread_self()));
	}
	desk_close(d);
	mbox_free(home);
}

static sem_t entered, leave;

static void wait_to_leave(struct job *j)
{
	sem_post(&entered);
	while (sem_wait(&leave) != 0)
		;
	add_one(j);
}

static void bounded(void **state)
{
	static struct sum sums[DESK_WAITING + 3];
	struct mbox      *home = mbox_new(NULL, NULL);
	struct desk      *d = desk_open("one", 1);

	(void)state;
	sem_init(&entered, 0, 0);
	sem_init(&leave, 0, 0);
	for (size_t i = 0; i < COUNT(sums); i++)
		init_sum(&sums[i], home, (int)i);
	sums[0].job.work = wait_to_leave;
	assert_int_equal(desk_submit(d, &sums[0].job), OK);
	sem_wait(&entered);
	assert_int_equal(desk_waiting(d), 0);
	for (size_t i = 1; i <= DESK_WAITING; i++)
		assert_int_equal(desk_submit(d, &sums[i].job), OK);
	assert_int_equal(desk_submit(d, &sums[DESK_WAITING + 1].job), ERR_BUSY);
	desk_submit_anyway(d, &sums[DESK_WAITING + 2].job);
	assert_int_equal(desk_waiting(d), DESK_WAITING + 1);
	sem_post(&leave);
	desk_close(d);    /* only after all work is done */
	assert_int_equal(mbox_count(home), DESK_WAITING + 2);
	receive(home, DESK_WAITING + 2);
	assert_int_equal(sums[DESK_WAITING + 1].out, 0);
	assert_int_equal(sums[DESK_WAITING + 2].out, DESK_WAITING + 3);
	mbox_free(home);
	sem_destroy(&entered);
	sem_destroy(&leave);
}

/* A call that does not come back: its desk says so in time, and ends once it has. */
static void an_end_that_does_not_wait_for_ever(void **state)
{
	struct mbox *home = mbox_new(NULL, NULL);
	struct desk *d = desk_open("stuck", 2);
	struct sum   s = { .job = { { .home = home, .arrived = came_home }, wait_to_leave } };
	uint64_t     begin;

	(void)state;
	assert_true(desk_close_within(desk_open("idle", 3), 20000));
	assert_true(desk_close_within(NULL, 1));
	sem_init(&entered, 0, 0);
	sem_init(&leave, 0, 0);
	desk_submit_anyway(d, &s.job);
	sem_wait(&entered);
	begin = clock_ms();
	assert_false(desk_close_within(d, 20));
	assert_true(clock_ms() - begin >= 15);
	sem_post(&leave);
	assert_true(desk_close_within(d, 20000));
	receive(home, 1);
	mbox_free(home);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(jobs_come_home),
		cmocka_unit_test(bounded),
		cmocka_unit_test(an_end_that_does_not_wait_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
