/* SPDX-License-Identifier: ISC */
/* Exchanges that are ended in the middle, meet a full or a held desk, or are many. */
#include <pthread.h>

#include "tests/unit/auth/try_help.h"

static void ended_between_steps(void **state)
{
	static const char *const mechanisms[] = { "PLAIN", "LOGIN", "SCRAM-SHA-256" };
	struct talk t;

	(void)state;
	for (size_t i = 0; i < COUNT(mechanisms); i++) {
		talk_new(&t, &house);
		assert_int_equal(talk_begin(&t, mechanisms[i], NULL), AUTH_MORE);
		talk_end(&t);
		assert_int_equal(t.answers, 1);
	}
	talk_new(&t, &house);           /* never begun */
	talk_end(&t);
	talk_new(&t, &house);           /* an answer is due that needs no desk */
	auth_try_begin(t.try, STR("X"), NULL);
	talk_end(&t);
	house_settle(&house);
	assert_int_equal(t.answers, 0);
}

static void ended_while_out(void **state)
{
	str first = STR("n,,n=alice@home.test,r=abcdefgh"), right;
	struct talk t;

	(void)state;
	right = plain(&house.arena, "", "alice@home.test", "wonderland");
	talk_new(&t, &house);
	auth_try_begin(t.try, STR("PLAIN"), &right);
	talk_end(&t);
	house_settle(&house);
	assert_int_equal(t.answers, 0);
	talk_new(&t, &house);           /* comes home with a connection in it */
	auth_try_begin(t.try, STR("SCRAM-SHA-256"), &first);
	talk_end(&t);
	house_settle(&house);
	house_settle(&house);
	assert_int_equal(t.answers, 0);
}

/* A desk that is held up by a lock of ours. */
struct hold { struct job job; pthread_mutex_t *gate; };

static void held(struct job *j)
{
	struct hold *h = SUPER(j, struct hold, job);

	pthread_mutex_lock(h->gate);
	pthread_mutex_unlock(h->gate);
}

static void held_came(struct baton *b)
{
	(void)b;
}

static void full_desk_says_later(void **state)
{
	enum { HELD = DESK_WAITING + 1 };
	static struct hold holds[HELD];
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	struct talk t, half;

	(void)state;
	talk_new(&half, &house);
	assert_int_equal(talk_begin(&half, "LOGIN", NULL), AUTH_MORE);
	pthread_mutex_lock(&gate);
	for (size_t i = 0; i < HELD; i++) {
		holds[i] = (struct hold){ .job = { { .home = house.loop->mbox, .arrived = held_came }, held }, .gate = &gate };
		desk_submit_anyway(house.desk, &holds[i].job);
	}
	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "PLAIN", NULL), AUTH_LATER);
	talk_end(&t);
	assert_int_equal(talk_step(&half, STR("alice@home.test")), AUTH_LATER);   /* begun, and nobody to go on with it */
	talk_end(&half);
	pthread_mutex_unlock(&gate);
	house_settle(&house);
	assert_int_equal(plain_says(&house, "alice@home.test", "wonderland"), AUTH_PASSED);
	pthread_mutex_destroy(&gate);
}

/* Many at once on two threads, while the accounts change under them. */
enum { CROWD = 40, ROUNDS = 10 };
static struct talk crowd[CROWD];
static unsigned crowd_left, crowd_passed, crowd_later;

static void crowd_answered(struct auth_try *a, enum auth_says says, str challenge, void *user)
{
	struct talk *t = user;

	(void)challenge;
	assert_ptr_equal(a, t->try);
	crowd_passed += says == AUTH_PASSED;
	crowd_later += says == AUTH_LATER;
	talk_end(t);
	if (--crowd_left == 0)
		loop_stop(house.loop);
}

static void crowd_and_changes(void **state)
{
	char with_carol[2048];

	(void)state;
	auth_close(house.auth);
	desk_close(house.desk);
	house.desk = desk_open("login", 2);
	house.conf.memory_ms = 0;
	house_open_or_fail(&house);
	snprintf(with_carol, sizeof(with_carol), "%scarol@home.test:%s\n", alice_verifier, verifier_of(&house.arena, "c"));
	for (int round = 0; round < ROUNDS; round++) {
		str right = plain(&house.arena, "", "alice@home.test", "wonderland");

		crowd_left = CROWD;
		for (size_t i = 0; i < CROWD; i++) {
			memset(&crowd[i], 0, sizeof(crowd[i]));
			crowd[i].try = auth_try_new(house.auth, house.loop, &house.channel, crowd_answered, &crowd[i]);
			auth_try_begin(crowd[i].try, STR("PLAIN"), &right);
			put_text(house.folder.file, i % 2 ? alice_verifier : with_carol);
			assert_true(look());
		}
		loop_till_stopped(house.loop);
	}
	assert_int_equal(crowd_passed + crowd_later, CROWD * ROUNDS);
	assert_true(crowd_passed > 0);
	look();
	assert_null(house.auth->replaced);      /* nobody reads: every table but the one that is up has gone */
}

/* The desk is held by a back end: the client hears of it in time, and what comes
 * home later is nobody's. */
struct keeper { struct job job; pthread_mutex_t *lock; };

static void hold_work(struct job *j)
{
	pthread_mutex_t *lock = SUPER(j, struct keeper, job)->lock;

	pthread_mutex_lock(lock);
	pthread_mutex_unlock(lock);
}

static void released(struct baton *b)
{
	(void)b;
}

static void a_step_that_does_not_come_back_is_answered(void **state)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct keeper held = { .job = { { .home = house.loop->mbox, .arrived = released }, hold_work }, .lock = &lock };
	str right = plain(&house.arena, "", "alice@home.test", "wonderland");
	uint64_t before = house.auth->step_ms;
	struct talk t;

	(void)state;
	house.auth->step_ms = 30;
	pthread_mutex_lock(&lock);
	desk_submit_anyway(house.desk, &held.job);
	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "PLAIN", &right), AUTH_LATER);
	assert_int_equal(t.answers, 1);
	talk_end(&t);
	pthread_mutex_unlock(&lock);
	house_settle(&house);
	assert_int_equal(t.answers, 1);
	house.auth->step_ms = before;
	talk_new(&t, &house);
	assert_int_equal(talk_begin(&t, "PLAIN", &right), AUTH_PASSED);
	talk_end(&t);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(ended_between_steps), T(ended_while_out), T(full_desk_says_later), T(crowd_and_changes),
		T(a_step_that_does_not_come_back_is_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
