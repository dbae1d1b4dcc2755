/* SPDX-License-Identifier: ISC */
/* Group commit: how many puts share a transaction, where `done` runs, fates beside a full map. */
#include <stdatomic.h>

#include "tests/unit/queue/house.h"

/* ---- submitters that keep one put in flight each --------------------------------------- */

#define HOMES 4

struct submitter;

struct at_home {                       /* one loop with some of the submitters */
	struct house     *h;
	struct mbox      *box;
	pthread_t         thread;
	struct submitter *v;
	size_t            n, left;
	bool              wrong_thread;
};

struct submitter {
	struct at_home *at;
	struct arena    arena;
	size_t          rounds;
	uint64_t        ids[200];
};

static void submit(struct submitter *s);

static void stored(struct queue_put *p, enum err e, void *arg)
{
	struct submitter *s = arg;

	if (e != OK || !pthread_equal(pthread_self(), s->at->thread))
		s->at->wrong_thread = true;
	s->rounds--;
	s->ids[s->rounds] = queue_put_id(p);
	arena_fini(&s->arena);
	if (s->rounds > 0)
		submit(s);
	else
		s->at->left--;
}

static void submit(struct submitter *s)
{
	struct queue *q = s->at->h->q;
	struct path from = path_at("anna@example.org"), to = path_at("bob@office.test");
	struct spool *sp = spool_new(q, s->at->box);
	struct queue_put *p;
	char body[2000];

	fill_content(body, 1, 0, sizeof(body));
	spool_add(sp, (str){ body, sizeof(body) });
	arena_init(&s->arena, ARENA_UNBOUNDED);
	p = queue_put_new(q, &s->arena, s->at->box, queue_new_id(q));
	queue_put_from(p, &from, 0, STR_NONE, STR_NONE);
	queue_put_rcpt(p, &to, RCPT_LOCAL, STR_NONE);
	queue_put_header_bytes(p, 0);
	queue_put_body(p, sp);
	queue_put_submit(p, stored, s);
}

static void *sit_at_home(void *arg)
{
	struct at_home *at = arg;
	uint64_t until = clock_ms() + 60000;

	at->thread = pthread_self();
	for (size_t i = 0; i < at->n; i++)
		submit(&at->v[i]);
	while (at->left > 0) {
		struct baton *b = mbox_take(at->box, 1, SIZE_MAX, until);

		if (b == NULL) {
			at->wrong_thread = true;
			return NULL;
		}
		b->arrived(b);
	}
	return NULL;
}

/* Who was answered by the journal is part of no transaction yet; there are news of
 * it when the store has it. */
static void wait_until_stored(struct house *h, size_t n)
{
	uint64_t until = clock_ms() + 60000;

	while (n-- > 0) {
		struct baton *b = mbox_take(h->news, 1, SIZE_MAX, until);

		assert_non_null(b);
		b->arrived(b);
	}
}

static struct mbox *boxes[HOMES];              /* they outlive the committer, who looks at them once more */

/* Runs n submitters, `rounds` puts each; puts a commit. */
static double run_submitters(struct house *h, size_t n, size_t rounds)
{
	static struct submitter all[64];
	struct at_home at[HOMES] = { 0 };
	struct queue_figures before, after;
	pthread_t threads[HOMES];
	uint64_t began = clock_ms(), took;
	double a_commit;

	queue_figures(h->q, &before);
	for (size_t i = 0; i < n; i++)
		all[i] = (struct submitter){ .rounds = rounds };
	for (size_t i = 0, at_n = 0; i < HOMES; i++) {
		at[i].h = h;
		at[i].box = boxes[i];
		at[i].v = all + at_n;
		at[i].n = at[i].left = (n + i) / HOMES;
		for (size_t j = 0; j < at[i].n; j++)
			all[at_n + j].at = &at[i];
		at_n += at[i].n;
	}
	for (size_t i = 0; i < HOMES; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sit_at_home, &at[i]), 0);
	for (size_t i = 0; i < HOMES; i++) {
		pthread_join(threads[i], NULL);
		assert_false(at[i].wrong_thread);
		assert_int_equal(at[i].left, 0);
	}
	took = clock_ms() - began;
	wait_until_stored(h, n * rounds);
	queue_figures(h->q, &after);
	assert_int_equal(after.puts - before.puts, n * rounds);
	a_commit = (double)(after.puts - before.puts) / (double)(after.commits - before.commits);
	print_message("%zu submitters: %.0f puts/s, %.1f puts a commit, at most %zu\n", n,
	              1000.0 * (double)(n * rounds) / (double)(took ? took : 1), a_commit, (size_t)after.batch_longest);
	return a_commit;
}

static void many_share_a_sync(void **state)
{
	struct house h = { 0 };
	struct found *f = calloc(1, sizeof(*f));
	size_t rounds = 0;
	double a_commit;

	(void)state;
	for (int i = 0; i < HOMES; i++)
		boxes[i] = mbox_new(NULL, NULL);
	house_open(&h);
	house_start(&h);
	assert_true(run_submitters(&h, 1, 100) <= 1.0);
	run_submitters(&h, 16, 50);
	do {                                            /* on a busy machine not all are there in time */
		a_commit = run_submitters(&h, 64, 40);
	} while (++rounds < 5 && a_commit < 16);
	assert_true(a_commit >= 16);
	house_close(&h);
	for (int i = 0; i < HOMES; i++)
		mbox_free(boxes[i]);
	house_open(&h);
	assert_int_equal(queue_walk(h.q, found_one, f), OK);
	assert_int_equal(f->n, 100 + 800 + rounds * 2560);
	free(f);
	house_close(&h);
	house_burn(&h);
}

/* ---- a full map ------------------------------------------------------------------------- */

struct together {
	struct queue_fates *fates;
	bool fates_home;
	struct putting put;
};

/* Fates and a put that cannot be stored, in one batch: the fates are kept. */
static void puts_never_take_fates_with_them(void **state)
{
	static struct putting more[40];
	struct house h = { .map_bytes = 4 << 20 };
	struct queue_entry *e;
	struct together t = { 0 };
	uint64_t id;

	(void)state;
	house_open(&h);
	h.q->conf.full_percent = 1000;                  /* only LMDB itself says that it is full */
	house_start(&h);
	id = put_one(&h, 1, 100, 2, NULL);
	queue_stop(h.q);                                /* so that both wait in its mailbox */
	assert_int_equal(h.q->stopping, true);
	h.q->stopping = false;
	mbox_free(h.q->inbox);
	h.q->inbox = mbox_new(NULL, NULL);

	put_begin(&h, &t.put, spool_with(&h, 2, 200000), 1, 0);
	for (size_t i = 0; i < COUNT(more); i++) {      /* together more than the map holds */
		put_begin(&h, &more[i], spool_with(&h, 2, 200000), 1, 0);
		queue_put_submit(more[i].put, put_is_home, &more[i]);
	}
	queue_put_submit(t.put.put, put_is_home, &t.put);
	t.fates = queue_fates_new(1);
	t.fates->baton.home = h.home;
	t.fates->baton.arrived = fates_are_home;
	t.fates->user = &t.fates_home;
	t.fates->id = id;
	t.fates->v[0] = (struct queue_fate){ .rcpt = 1, .fate = FATE_DELIVERED };
	queue_settle(h.q, t.fates);
	assert_int_equal(queue_start(h.q, h.disk), OK);
	run_home(&h, &t.fates_home);
	assert_int_equal(t.fates->result, OK);
	for (size_t i = 0; i < COUNT(more); i++)
		put_finish(&h, &more[i]);
	assert_int_equal(put_finish(&h, &t.put), ERR_FULL);
	assert_int_equal(queue_load(h.q, id, &e), OK);
	assert_int_equal(e->rcpts[1].state, RCPT_SETTLED);
	queue_entry_free(e);
	queue_fates_free(t.fates);
	house_close(&h);
	house_burn(&h);
}

/* ---- the end ----------------------------------------------------------------------------- */

/* Everything submitted before the stop is stored, what comes after hears so. */
static void stop_stores_what_waits(void **state)
{
	static struct putting w[500];
	struct house h = { 0 };
	struct found *f = calloc(1, sizeof(*f));
	struct putting late;
	size_t stored_ = 0;

	(void)state;
	house_open(&h);
	house_start(&h);
	for (size_t i = 0; i < COUNT(w); i++) {
		put_begin(&h, &w[i], spool_with(&h, i, 300), 1, 0);
		queue_put_submit(w[i].put, put_is_home, &w[i]);
	}
	queue_stop(h.q);
	put_begin(&h, &late, spool_with(&h, 1, 300), 1, 0);
	queue_put_submit(late.put, put_is_home, &late);
	for (size_t i = 0; i < COUNT(w); i++)
		stored_ += put_finish(&h, &w[i]) == OK;
	assert_int_equal(stored_, COUNT(w));
	assert_int_equal(put_finish(&h, &late), ERR_CLOSED);
	house_close(&h);
	house_open(&h);
	assert_int_equal(queue_walk(h.q, found_one, f), OK);
	assert_int_equal(f->n, COUNT(w));
	free(f);
	house_close(&h);
	house_burn(&h);
}

/* What was never put together leaves nothing behind. */
static void unfinished_puts(void **state)
{
	struct house h = { 0 };
	struct putting w;

	(void)state;
	house_open(&h);
	house_start(&h);
	put_begin(&h, &w, spool_with(&h, 1, 400000), 1, 0);
	queue_put_drop(w.put);
	run_all(h.home);
	arena_fini(&w.arena);
	put_begin(&h, &w, NULL, 1, 0);                  /* no memory for a spool */
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&h, &w), ERR_MEMORY);
	put_begin(&h, &w, spool_with(&h, 1, 10), 0, 0); /* nobody to bring it to */
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&h, &w), ERR_BAD);
	assert_int_equal(store_rows(h.q->store, TABLE_MESSAGE), 0);
	assert_int_equal(files_in_body(&h), 0);
	house_close(&h);
	house_burn(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_share_a_sync),
		cmocka_unit_test(puts_never_take_fates_with_them),
		cmocka_unit_test(stop_stores_what_waits),
		cmocka_unit_test(unfinished_puts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
