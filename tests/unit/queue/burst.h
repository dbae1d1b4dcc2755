/* SPDX-License-Identifier: ISC */
/*
 * Puts that wait at once, and what each of them heard: it lies in shared memory,
 * so that who judges may be another life than who put.
 */
#ifndef TESTS_QUEUE_BURST_H
#define TESTS_QUEUE_BURST_H

#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/unit/queue/strike.h"

#define LIFE_PUTS 64

struct told { uint64_t id, seed; size_t bytes; _Atomic int said; };    /* said: -1: nothing */
struct life {
	struct told   v[LIFE_PUTS];
	size_t        n;
	size_t        answered, stored;        /* stored: news that came */
	_Atomic int   calls;                   /* that were counted, in the end */
	uint64_t      other;                   /* the test's own */
};

/* One of each kind: none, some octets, a row to the last octet, many rows, a file. */
static const size_t burst_sizes[] = {
	3000, 0, 100000, 1, RECORD_BODY, QUEUE_ROWS_MAX + 5000, 3 * RECORD_BODY + 1, 700, 40000, 17,
};
#define BURST COUNT(burst_sizes)

static inline struct life *life_new(void)
{
	struct life *l = mmap(NULL, sizeof(*l), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(l != MAP_FAILED);
	return l;
}

static inline void life_free(struct life *l)
{
	munmap(l, sizeof(*l));
}

/* ---- putting ------------------------------------------------------------------------------ */

struct going { struct putting w; struct life *life; struct told *told; };

static void told_is_home(struct queue_put *p, enum err e, void *arg)
{
	struct going *g = arg;

	(void)p;
	atomic_store(&g->told->said, (int)e);
	g->life->answered++;
	arena_fini(&g->w.arena);
	free(g);
}

static struct life *whose_news;

static void news_came(struct baton *b)
{
	whose_news->stored++;
	queue_entry_free(SUPER(b, struct queue_news, baton)->entry);
}

static struct queue stage;            /* what is put waits in its inbox, until all comes at once */

static inline void burst_init(struct house *h)
{
	if (stage.inbox == NULL)
		stage.inbox = mbox_new(NULL, NULL);
	strike_init(h->home);
}

/* A room that is open but has no committer: the test plays it. */
static inline void burst_open(struct house *h)
{
	house_open(h);
	h->q->disk = h->disk;
	burst_init(h);
}

static inline void burst_start(struct house *h, struct life *life)
{
	house_open(h);
	burst_init(h);
	whose_news = life;
	queue_watch(h->q, h->home, news_came);
	assert_int_equal(queue_start(h->q, h->disk), OK);
}

static inline void run_one(struct house *h)
{
	struct baton *b = mbox_take(h->home, 1, SIZE_MAX, clock_ms() + 60000);

	assert_non_null(b);
	b->arrived(b);
}

/* A put that is put together, not yet submitted. */
static inline struct going *burst_begin(struct house *h, struct life *life, size_t bytes)
{
	struct going *g = calloc(1, sizeof(*g));
	size_t i = life->n;

	assert_true(i < LIFE_PUTS);
	g->life = life;
	g->told = &life->v[i];
	put_begin(h, &g->w, spool_with(h, i + 1, bytes), 2, 0);
	g->told->id = g->w.id;
	g->told->seed = i + 1;
	g->told->bytes = bytes;
	atomic_store(&g->told->said, -1);
	life->n++;
	return g;
}

/* Until it waits for the committer: a file is linked in before. */
static inline void burst_stage(struct house *h, struct going *g)
{
	struct queue_put *p = g->w.put;

	p->queue = &stage;
	queue_put_submit(p, told_is_home, g);
	while (p->baton.arrived == NULL)
		run_one(h);
}

static inline void burst_stage_all(struct house *h, struct life *life, const size_t *sizes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		burst_stage(h, burst_begin(h, life, sizes[i]));
}

/* What is staged. */
static inline struct baton *burst_take(struct house *h)
{
	struct baton *all = mbox_take_all(stage.inbox);

	for (struct baton *b = all; b != NULL; b = b->next)
		SUPER(b, struct queue_put, baton)->queue = h->q;
	return all;
}

/* One batch. */
static inline void burst_go(struct house *h)
{
	mbox_gather();
	for (struct baton *b = burst_take(h), *next; b != NULL; b = next) {
		next = b->next;
		mbox_send(h->q->inbox, b);
	}
	mbox_hand_over();
	mbox_gather_no_more();
}

static inline void burst_puts(struct house *h, struct life *life, const size_t *sizes, size_t n)
{
	burst_stage_all(h, life, sizes, n);
	burst_go(h);
}

static inline void burst_put(struct house *h, struct life *life, size_t bytes)
{
	burst_puts(h, life, &bytes, 1);
}

/* A commit waits, of a message of its own. */
static inline void burst_hold(struct house *h, struct life *life)
{
	strike_gate(STRIKE_STORE);
	burst_put(h, life, 100);
	while (!strike.reached)
		run_one(h);
	strike.reached = false;
}

/* Until all were answered, or somebody waits. */
static inline void burst_answers(struct house *h, struct life *life)
{
	while (life->answered < life->n && !strike.reached)
		run_one(h);
}

static inline void burst_stored(struct house *h, struct life *life, size_t n)
{
	while (life->stored < n && !strike.reached)
		run_one(h);
}

static inline void home_gone(char *dir)
{
	remove_all(dir);
	free(dir);
}

static inline void settle_whole(struct house *h, uint64_t id)
{
	settle_one(h, id, (struct queue_fate){ .rcpt = 0, .fate = FATE_DELIVERED }, NULL);
	settle_one(h, id, (struct queue_fate){ .rcpt = 1, .fate = FATE_DELIVERED }, NULL);
}

static inline uint64_t number(struct house *h, const char *name)
{
	struct store_txn t;
	uint64_t v;

	store_read(h->q->store, &t);
	v = meta_get(&t, name);
	store_end(&t);
	return v;
}

/* ---- judging ---------------------------------------------------------------------------------- */

static inline const struct told *told_of(const struct life *life, uint64_t id)
{
	for (size_t i = 0; i < life->n; i++)
		if (life->v[i].id == id)
			return &life->v[i];
	return NULL;
}

/* What was answered is there, once and whole, what was refused is not, and nothing
 * else is.  How many there are. */
static inline size_t burst_judge_open(struct house *h, const struct life *life)
{
	struct found *f = calloc(1, sizeof(*f));
	size_t files = 0, n;

	assert_int_equal(queue_walk(h->q, found_one, f), OK);
	for (size_t i = 0; i < f->n; i++) {
		const struct told *t = told_of(life, f->ids[i]);
		struct queue_entry *e;

		if (t == NULL)
			fail_msg("a message that nobody sent is there");
		assert_int_equal(queue_load(h->q, t->id, &e), OK);
		assert_null(e->damage);
		assert_int_equal(e->bytes, t->bytes);
		assert_int_equal(e->nrcpts, 2);
		assert_int_equal(e->in_file, t->bytes > QUEUE_ROWS_MAX);
		assert_str(e->head, STR("DKIM-Signature: last, so first\r\nReceived: later\r\n"));
		assert_content(h, e, t->seed, 65536);
		files += e->in_file;
		queue_entry_free(e);
	}
	for (size_t i = 0; i < life->n; i++) {
		bool here = false;

		for (size_t k = 0; k < f->n; k++)
			here = here || f->ids[k] == life->v[i].id;
		if (life->v[i].said == OK && !here)
			fail_msg("message %zu was answered and is not there", i);
		if (life->v[i].said > OK && here)
			fail_msg("message %zu heard \"%s\" and is there", i, err_text((enum err)life->v[i].said));
	}
	if (h->q->started)
		assert_int_equal(files_in_body(h), files);
	n = f->n;
	free(f);
	return n;
}

/* In the next life. */
static inline size_t burst_judge(char *dir, const struct life *life)
{
	struct house h = { .dir = dir };
	size_t n;

	house_open(&h);
	house_start(&h);
	n = burst_judge_open(&h, life);
	house_close(&h);
	return n;
}

#endif
