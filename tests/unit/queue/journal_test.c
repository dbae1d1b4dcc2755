/* SPDX-License-Identifier: ISC */
/*
 * What counts of a journal, and what the store gets of it at a start.  The test plays
 * the committer and writes the blocks.
 */
#include <sys/stat.h>

#include "queue/journal_inside.h"
#include "tests/unit/queue/burst.h"

/* ---- blocks that the store does not have ------------------------------------------------ */

#define BLOCKS 3

struct block { size_t at, n, from, to; };      /* in the file; of the life's puts */
struct written { struct block v[16]; size_t n; };

static const size_t in_a_block[] = { 3000, 100000, 0, RECORD_BODY, 17 };

static void send_home(struct baton *b)
{
	for (struct baton *next; b != NULL; b = next) {
		next = b->next;
		mbox_send(b->home, b);
	}
}

/* One block of such puts: safe, answered, and not in the store. */
static void write_block(struct house *h, struct life *life, struct journal *j, const size_t *sizes, size_t n,
                        struct written *w)
{
	struct block *b = &w->v[w->n++], *before = w->n > 1 ? b - 1 : NULL;
	struct baton *all;

	*b = (struct block){ .n = JOURNAL_HEAD, .from = life->n };
	b->at = before ? journal_aligned(before->at + before->n) : 0;
	burst_stage_all(h, life, sizes, n);
	b->to = life->n;
	all = burst_take(h);
	for (struct baton *p = all; p != NULL; p = p->next) {
		struct queue_put *put = SUPER(p, struct queue_put, baton);

		b->n += put->row.n + put->seals.n + put->entry->content.n;
		assert_true(journal_add(j, put));
	}
	assert_int_equal(journal_sync(j), OK);
	send_home(all);
	while (life->answered < life->n)
		run_one(h);
}

/* A life that ended without a commit. */
static char *home_with_blocks(struct life *life, size_t blocks, struct written *w)
{
	struct house h = { 0 };
	struct journal *j;

	burst_open(&h);
	j = journal_new(h.q, h.q->journal_said);
	w->n = 0;
	for (size_t i = 0; i < blocks; i++)
		write_block(&h, life, j, in_a_block, COUNT(in_a_block), w);
	journal_free(j);
	house_close(&h);
	return h.dir;
}

static int open_in(const char *dir, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/queue/%s", dir, name);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	return fd;
}

static void damage(const char *dir, size_t at)
{
	int fd = open_in(dir, "journal");
	char b;

	assert_int_equal(pread(fd, &b, 1, (off_t)at), 1);
	b ^= 0x5a;
	assert_int_equal(pwrite(fd, &b, 1, (off_t)at), 1);
	close(fd);
}

/* Of those that were answered only the first `n` may be there. */
static void only_first(struct life *life, size_t n)
{
	for (size_t i = n; i < life->n; i++)
		life->v[i].said = ERR_BAD;
}

static void what_was_answered_is_taken_in(void **state)
{
	struct life *life = life_new();
	struct written w;
	char *dir = home_with_blocks(life, BLOCKS, &w);

	(void)state;
	for (int i = 0; i < 3; i++)                     /* the next starts find it in the store */
		assert_int_equal(burst_judge(dir, life), BLOCKS * COUNT(in_a_block));
	home_gone(dir);
	life_free(life);
}

/* ---- torn blocks ------------------------------------------------------------------------------ */

enum { HEAD, HEAD_NUMBER, HEAD_SUM, STORE_NUMBER, LENGTH, ROW_HEAD, ROW, CONTENT, LAST, PADDING, PLACES };

static size_t place_in(const struct block *b, int place)
{
	const size_t places[PLACES] = {
		b->at, b->at + 16, b->at + 31, b->at + RECORD_HEAD, b->at + RECORD_HEAD + 8, b->at + JOURNAL_HEAD,
		b->at + JOURNAL_HEAD + RECORD_HEAD + 1, b->at + b->n / 2, b->at + b->n - 1, b->at + b->n,
	};

	return places[place];
}

static void a_torn_block_ends_it(void **state)
{
	(void)state;
	for (int place = 0; place < PLACES; place++)
		for (size_t torn = 0; torn < BLOCKS; torn++) {
			struct life *life = life_new();
			struct written w;
			char *dir = home_with_blocks(life, BLOCKS, &w);
			size_t counts = place == PADDING ? life->n : w.v[torn].from;

			damage(dir, place_in(&w.v[torn], place));
			only_first(life, counts);
			assert_int_equal(burst_judge(dir, life), counts);
			home_gone(dir);
			life_free(life);
		}
}

/* At every sector: what is written in one piece may be there in part. */
static void a_block_without_its_end(void **state)
{
	static const size_t sizes[] = { 900, 5000, 40 };

	(void)state;
	for (size_t cut = 0, n = 1; cut < n; cut += 512) {
		struct life *life = life_new();
		struct written w = { .n = 0 };
		struct house h = { 0 };
		struct journal *j;
		char zeros[512] = { 0 };
		int fd;

		burst_open(&h);
		j = journal_new(h.q, 0);
		write_block(&h, life, j, sizes, COUNT(sizes), &w);
		write_block(&h, life, j, sizes, COUNT(sizes), &w);
		journal_free(j);
		house_close(&h);
		n = w.v[1].n;
		fd = open_in(h.dir, "journal");
		for (size_t at = cut; at < n; at += 512)
			assert_int_equal(pwrite(fd, zeros, 512, (off_t)(w.v[1].at + at)), 512);
		close(fd);
		only_first(life, COUNT(sizes));
		assert_int_equal(burst_judge(h.dir, life), COUNT(sizes));
		home_gone(h.dir);
		life_free(life);
	}
}

/* A head that is well sealed and lies. */
struct lie { const char *what; uint64_t store; int64_t bytes; int rows; enum record_kind kind; };

static void lying_heads(void **state)
{
	static const struct lie lies[] = {
		{ "another store's", 1, 0, 0, RECORD_BLOCK },
		{ "a row more", 0, 0, 1, RECORD_BLOCK },
		{ "a row less", 0, 0, -1, RECORD_BLOCK },
		{ "an octet less", 0, -1, 0, RECORD_BLOCK },
		{ "an octet more", 0, 1, 0, RECORD_BLOCK },
		{ "more than the file", 0, 1 << 30, 0, RECORD_BLOCK },
		{ "less than nothing", 0, INT64_MIN, 0, RECORD_BLOCK },
		{ "another kind", 0, 0, 0, RECORD_NOTE },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(lies); i++) {
		struct life *life = life_new();
		struct written w;
		char *dir = home_with_blocks(life, 2, &w);
		unsigned char head[JOURNAL_HEAD];
		str about = { (char *)head + RECORD_HEAD, JOURNAL_HEAD - RECORD_HEAD };
		struct record_name name;
		int fd = open_in(dir, "journal");
		uint64_t says[2];
		size_t n;

		assert_int_equal(pread(fd, head, sizeof(head), (off_t)w.v[1].at), sizeof(head));
		assert_true(record_recognise((str){ (char *)head, sizeof(head) }, &name, &n));
		memcpy(says, about.p, sizeof(says));
		says[0] += lies[i].store;
		says[1] += (uint64_t)lies[i].bytes;
		memcpy(head + RECORD_HEAD, says, sizeof(says));
		name.number += (uint32_t)lies[i].rows;
		name.kind = lies[i].kind;
		record_head(head, name, about);
		assert_int_equal(pwrite(fd, head, sizeof(head), (off_t)w.v[1].at), sizeof(head));
		close(fd);
		only_first(life, w.v[1].from);
		if (burst_judge(dir, life) != w.v[1].from)
			fail_msg("%s", lies[i].what);
		home_gone(dir);
		life_free(life);
	}
}

/* ---- which blocks are new ------------------------------------------------------------------------ */

static void drop_number(char *dir, const char *name)
{
	struct house h = { .dir = dir };
	struct store_txn t;

	house_open(&h);
	store_begin(h.q->store, &t);
	store_delete(&t, TABLE_META, str_of(name));
	assert_int_equal(store_commit(&t), OK);
	house_close(&h);
}

/* Nothing remains of it in the store, not even that it was there. */
static void forget_all(char *dir)
{
	struct house h = { .dir = dir };
	struct store_txn t;

	house_open(&h);
	store_begin(h.q->store, &t);
	store_delete_prefix(&t, TABLE_MESSAGE, STR_NONE);
	store_delete_prefix(&t, TABLE_BODY, STR_NONE);
	assert_int_equal(store_commit(&t), OK);
	house_close(&h);
}

static void the_store_says_what_it_has(void **state)
{
	struct life *life = life_new();
	struct written w;
	char *dir = home_with_blocks(life, BLOCKS, &w);

	(void)state;
	burst_judge(dir, life);
	forget_all(dir);
	only_first(life, 0);
	assert_int_equal(burst_judge(dir, life), 0);
	drop_number(dir, "journal");                    /* and it is that which kept them away */
	for (size_t i = 0; i < life->n; i++)
		life->v[i].said = OK;
	assert_int_equal(burst_judge(dir, life), life->n);
	home_gone(dir);
	life_free(life);
}

/* Blocks of earlier rounds lie behind the newest, some of them at the places where
 * its next ones would: all in both halves. */
static void old_blocks_are_not_taken_in(void **state)
{
	static const size_t small[] = { 700 };

	(void)state;
	for (size_t rounds = 1; rounds < 5; rounds++) {
		struct life *life = life_new();
		struct written w;
		char *dir = home_with_blocks(life, BLOCKS, &w);
		struct house h = { .dir = dir };

		burst_judge(dir, life);
		forget_all(dir);
		only_first(life, 0);
		for (size_t i = 0; i < rounds; i++) {
			size_t n = life->n;
			struct journal *j;

			h = (struct house){ .dir = dir };
			burst_open(&h);
			j = journal_new(h.q, h.q->journal_said);
			w.n = 0;
			write_block(&h, life, j, i % 2 ? small : in_a_block, i % 2 ? 1 : COUNT(in_a_block), &w);
			journal_turn(j);
			w.n = 0;
			write_block(&h, life, j, small, 1, &w);
			journal_free(j);
			house_close(&h);
			assert_int_equal(burst_judge(dir, life), life->n - n);
			forget_all(dir);
			only_first(life, 0);
		}
		home_gone(dir);
		life_free(life);
	}
}

static void another_stores_journal(void **state)
{
	struct life *life = life_new();
	struct written w;
	char *dir = home_with_blocks(life, BLOCKS, &w);
	char path[4096];

	(void)state;
	snprintf(path, sizeof(path), "%s/queue/queue.mdb", dir);
	assert_int_equal(unlink(path), 0);              /* a new one is made */
	only_first(life, 0);
	assert_int_equal(burst_judge(dir, life), 0);
	home_gone(dir);
	life_free(life);
}

/* A store that was put together again may have forgotten what it has of the journal:
 * what stands there stands once, as it stood, and what is known to be finished stays so. */
static void a_number_that_was_lost(void **state)
{
	struct life *life = life_new();
	struct written w;
	char *dir = home_with_blocks(life, BLOCKS, &w);
	struct house h = { .dir = dir, .keep_finished_ms = 7 * 86400000ull };
	struct queue_entry *e;

	(void)state;
	house_open(&h);
	house_start(&h);
	settle_whole(&h, life->v[0].id);
	settle_whole(&h, life->v[1].id);
	settle_one(&h, life->v[2].id, (struct queue_fate){ .rcpt = 1, .fate = FATE_DELIVERED }, NULL);
	house_close(&h);
	drop_number(dir, "journal");
	life->v[0].said = life->v[1].said = ERR_ABSENT;

	assert_int_equal(burst_judge(dir, life), life->n - 2);
	house_open(&h);
	house_start(&h);
	assert_int_equal(queue_load(h.q, life->v[2].id, &e), OK);
	assert_int_equal(e->rcpts[0].state, RCPT_WAITING);
	assert_int_equal(e->rcpts[1].state, RCPT_SETTLED);
	queue_entry_free(e);
	house_close(&h);
	home_gone(dir);
	life_free(life);
}

/* … and that no record of them is kept, or no more, does not bring them back: the
 * number is read from what is left of the store. */
static void a_store_that_was_put_together_again(void **state)
{
	struct life *life = life_new();
	struct written w;
	char *dir = home_with_blocks(life, BLOCKS, &w);
	struct house h = { .dir = dir };
	char junk[2 * 4096];
	struct queue_entry *e;
	int fd;

	(void)state;
	house_open(&h);
	house_start(&h);
	for (size_t i = 1; i < life->n; i++)
		settle_whole(&h, life->v[i].id);
	house_close(&h);
	memset(junk, 0xa5, sizeof(junk));
	fd = open_in(dir, "queue.mdb");
	assert_int_equal(pwrite(fd, junk, sizeof(junk), 0), sizeof(junk));
	close(fd);
	house_open(&h);                                 /* what it cannot be sure of it holds */
	house_start(&h);
	for (size_t i = 1; i < life->n; i++) {
		if (queue_load(h.q, life->v[i].id, &e) == ERR_ABSENT)
			continue;
		for (size_t k = 0; k < e->nrcpts; k++)
			if (e->rcpts[k].state == RCPT_WAITING)
				fail_msg("message %zu was delivered and would be once more", i);
		queue_entry_free(e);
	}
	house_close(&h);
	home_gone(dir);
	life_free(life);
}

/* What a message says is never taken for a block, wherever it comes to lie and
 * whatever its sender knows of the store. */
static void a_content_that_looks_like_a_block(void **state)
{
	struct life *life = life_new();
	struct written w = { .n = 0 };
	struct house h = { 0 };
	struct record_name name;
	char copy[8192];
	struct journal *j;
	size_t n, head;
	int fd;

	(void)state;
	burst_open(&h);
	j = journal_new(h.q, 0);
	write_block(&h, life, j, (size_t[]){ 3000 }, 1, &w);
	n = w.v[0].n;
	fd = open_in(h.dir, "journal");
	assert_int_equal(pread(fd, copy, n, 0), n);
	journal_turn(j);
	journal_turn(j);                                /* a round later another lies before it … */
	w.n = 0;
	write_block(&h, life, j, (size_t[]){ 100 }, 1, &w);
	journal_free(j);
	house_close(&h);
	assert_true(record_recognise((str){ copy, n }, &name, &head));
	name.id = 3;                                    /* … and it has the number that comes next */
	record_head((unsigned char *)copy, name, (str){ copy + RECORD_HEAD, JOURNAL_HEAD - RECORD_HEAD });
	assert_int_equal(pwrite(fd, copy, n, JOURNAL_ALIGN), n);
	close(fd);
	life->v[0].said = ERR_ABSENT;
	assert_int_equal(burst_judge(h.dir, life), 1);
	home_gone(h.dir);
	life_free(life);
}

/* Wherever the clock stands. */
static void ids_go_on_behind_the_journal(void **state)
{
	struct life *life = life_new();
	struct written w = { .n = 0 };
	struct house h = { 0 };
	struct journal *j;

	(void)state;
	burst_open(&h);
	queue_raise_id(h.q, clock_wall_us() + 86400ull * 1000000);
	j = journal_new(h.q, 0);
	write_block(&h, life, j, in_a_block, COUNT(in_a_block), &w);
	journal_free(j);
	house_close(&h);
	house_open(&h);
	assert_true(queue_new_id(h.q) > life->v[life->n - 1].id);
	house_close(&h);
	house_burn(&h);
	life_free(life);
}

/* ---- the file ---------------------------------------------------------------------------------- */

static void cut_file(const char *dir, size_t n)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/queue/journal", dir);
	assert_int_equal(truncate(path, (off_t)n), 0);
}

static void a_file_too_short(void **state)
{
	for (size_t i = 0; i < 6; i++) {
		struct life *life = life_new();
		struct written w;
		char *dir = home_with_blocks(life, 2, &w);
		const struct { size_t n, counts; } cases[6] = {
			{ 0, 0 }, { 1, 0 }, { w.v[0].n - 1, 0 }, { w.v[0].n, w.v[0].to },
			{ w.v[1].at + w.v[1].n - 1, w.v[0].to }, { w.v[1].at + w.v[1].n, w.v[1].to },
		};

		(void)state;
		cut_file(dir, cases[i].n);
		only_first(life, cases[i].counts);
		assert_int_equal(burst_judge(dir, life), cases[i].counts);
		home_gone(dir);
		life_free(life);
	}
}

/* A start does not go on without what was answered: it says where it lies. */
static void what_is_no_file_is_named(void **state)
{
	for (int as_link = 0; as_link < 2; as_link++) {
		struct house h = { 0 };
		struct arena a;
		struct queue_conf conf;
		char path[4096];
		str why;

		(void)state;
		house_open(&h);
		house_close(&h);
		snprintf(path, sizeof(path), "%s/queue/journal", h.dir);
		assert_int_equal(as_link ? symlink("/etc/hostname", path) : mkdir(path, 0700), 0);
		conf = house_conf(&h);
		arena_init(&a, ARENA_UNBOUNDED);
		assert_null(queue_open(&conf, &a, &why));
		assert_non_null(strstr(str_cstr(&a, why), path));
		arena_fini(&a);
		house_burn(&h);
	}
}

/* The start that takes it in ends at each of its calls, and the next one, too. */
static void killed_while_it_is_taken_in(void **state)
{
	static const enum strike_how hows[] = { STRIKE_KILL_BEFORE, STRIKE_KILL_AFTER };
	size_t starts = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(hows); i++)
		for (int n = 1, more = 1; more; n++) {
			struct life *life = life_new();
			struct written w;
			char *dir = home_with_blocks(life, BLOCKS, &w);

			for (int again = 0; again < 2; again++) {
				pid_t child = strike_fork();
				int status;

				if (child == 0) {
					struct house h = { .dir = dir };

					strike_arm(n, hows[i], 0);
					house_open(&h);
					_exit(0);
				}
				assert_int_equal(waitpid(child, &status, 0), child);
				more = WIFSIGNALED(status);
				starts++;
			}
			assert_int_equal(burst_judge(dir, life), life->n);
			home_gone(dir);
			life_free(life);
		}
	print_message("%zu starts\n", starts);
	assert_true(starts > 4 * 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_answered_is_taken_in),
		cmocka_unit_test(a_torn_block_ends_it),
		cmocka_unit_test(a_block_without_its_end),
		cmocka_unit_test(lying_heads),
		cmocka_unit_test(the_store_says_what_it_has),
		cmocka_unit_test(old_blocks_are_not_taken_in),
		cmocka_unit_test(another_stores_journal),
		cmocka_unit_test(a_number_that_was_lost),
		cmocka_unit_test(a_store_that_was_put_together_again),
		cmocka_unit_test(a_content_that_looks_like_a_block),
		cmocka_unit_test(ids_go_on_behind_the_journal),
		cmocka_unit_test(a_file_too_short),
		cmocka_unit_test(what_is_no_file_is_named),
		cmocka_unit_test(killed_while_it_is_taken_in),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
