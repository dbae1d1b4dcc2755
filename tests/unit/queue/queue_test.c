/* SPDX-License-Identifier: ISC */
/* What is put is what is read; ids; locks; room; lives that end well or badly. */
#include <dlfcn.h>
#include <errno.h>
#include <sys/wait.h>

#include "tests/unit/queue/house.h"

static const size_t sizes[] = {
	0, 1, 17, RECORD_BODY - 1, RECORD_BODY, RECORD_BODY + 1, 16384, 2 * RECORD_BODY, 3 * RECORD_BODY + 1,
	65536, 65537, QUEUE_ROWS_MAX - 1, QUEUE_ROWS_MAX, QUEUE_ROWS_MAX + 1, 10 << 20,
};

/* ---- contents ---------------------------------------------------------------------- */

static void check_entry(struct house *h, uint64_t id, uint64_t seed, size_t bytes)
{
	struct queue_entry *e = NULL;

	assert_int_equal(queue_load(h->q, id, &e), OK);
	assert_int_equal(e->id, id);
	assert_int_equal(e->bytes, bytes);
	assert_int_equal(e->header_bytes, 17);
	assert_int_equal(e->in_file, bytes > QUEUE_ROWS_MAX);
	assert_str(e->sender, STR("anna@example.org"));
	assert_str(e->login, STR("anna"));
	assert_str(e->envid, STR("QQ314159"));
	assert_str(e->head, STR("DKIM-Signature: last, so first\r\nReceived: later\r\n"));
	assert_int_equal(e->nrcpts, 2);
	assert_str(e->rcpts[1].address, STR("user1@office.test"));
	assert_str(e->rcpts[1].orcpt, STR("rfc822;user@office.test"));
	assert_int_equal(e->rcpts[1].state, RCPT_WAITING);
	assert_content(h, e, seed, 65536);
	if (bytes <= 65536)
		assert_content(h, e, seed, 777);
	queue_entry_free(e);
}

static void what_was_put_is_read(void **state)
{
	uint64_t ids[COUNT(sizes)];
	struct house h = { 0 };
	struct found f = { .n = 0 };

	(void)state;
	house_open(&h);
	assert_false(queue_was_unclean(h.q));
	house_start(&h);
	for (size_t i = 0; i < COUNT(sizes); i++)
		ids[i] = put_one(&h, i, sizes[i], 2, NULL);
	for (size_t i = 0; i < COUNT(sizes); i++)
		check_entry(&h, ids[i], i, sizes[i]);
	house_close(&h);

	house_open(&h);                                 /* the next life */
	assert_false(queue_was_unclean(h.q));
	assert_int_equal(queue_walk(h.q, found_one, &f), OK);
	assert_int_equal(f.n, COUNT(sizes));
	house_start(&h);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		assert_int_equal(f.ids[i], ids[i]);
		check_entry(&h, ids[i], i, sizes[i]);
	}
	house_close(&h);
	house_burn(&h);
}

/* The news come with the content while it is small, and without when it is not. */
static void news_of_what_was_stored(void **state)
{
	struct house h = { 0 };

	(void)state;
	house_open(&h);
	house_start(&h);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		uint64_t id = put_one(&h, i, sizes[i], 2, NULL);
		struct baton *b = mbox_take_all(h.news);
		struct queue_entry *e;
		char *want;

		assert_non_null(b);
		assert_null(b->next);
		e = SUPER(b, struct queue_news, baton)->entry;
		assert_int_equal(e->id, id);
		assert_int_equal(e->nrcpts, 2);
		if (sizes[i] > CONTENT_KEPT) {
			assert_null(e->content.p);
		} else if (sizes[i] > 0) {
			want = malloc(sizes[i]);
			fill_content(want, i, 0, sizes[i]);
			assert_str(e->content, ((str){ want, sizes[i] }));
			free(want);
			assert_int_equal(atomic_load(&h.q->kept), entry_weight(e));
			assert_true(entry_weight(e) >= sizes[i] + arena_held(&e->arena));
			queue_entry_forget_content(e);
			assert_null(e->content.p);
			assert_int_equal(atomic_load(&h.q->kept), entry_weight(e));
		}
		queue_entry_free(e);
	}
	house_close(&h);
	house_burn(&h);
}

static struct queue_entry *news_of_one(struct house *h, size_t size)
{
	struct baton *b;

	put_one(h, 0, size, 1, NULL);
	b = mbox_take_all(h->news);
	assert_non_null(b);
	return SUPER(b, struct queue_news, baton)->entry;
}

/* When much is kept a content waits in the store, and what keeps entries hears of it. */
static void news_hold_so_much_at_most(void **state)
{
	struct house h = { 0 };
	struct queue_entry *e;

	(void)state;
	house_open(&h);
	house_start(&h);
	atomic_store(&h.q->kept, KEPT_BUDGET - 30000);
	e = news_of_one(&h, 20000);
	assert_int_equal(e->content.n, 20000);
	queue_entry_free(e);
	assert_int_equal(atomic_load(&h.q->kept), KEPT_BUDGET - 30000);
	atomic_store(&h.q->kept, KEPT_BUDGET - 1000);
	assert_false(queue_keeps_much(h.q));
	e = news_of_one(&h, 500);
	assert_null(e->content.p);
	assert_true(queue_keeps_much(h.q));
	assert_in_range(entry_weight(e), 1024, 2048);   /* one block, and itself */
	queue_entry_free(e);
	assert_int_equal(atomic_load(&h.q->kept), KEPT_BUDGET - 1000);
	house_close(&h);
	house_burn(&h);
}

static void damaged_content_is_not_delivered(void **state)
{
	struct queue_entry *e;
	struct house h = { 0 };
	struct store_txn t;
	struct record_key k;
	uint64_t rows, file;
	char path[BODY_PATH], out[1000];
	size_t got;

	(void)state;
	house_open(&h);
	house_start(&h);
	rows = put_one(&h, 1, 40000, 1, NULL);
	file = put_one(&h, 2, 400000, 1, NULL);
	assert_int_equal(truncate(body_path(h.q, file, path), 399999), 0);
	assert_int_equal(queue_read(h.q, file, true, 0, out, 1000, &got), OK);
	assert_int_equal(queue_read(h.q, file, true, 399500, out, 1000, &got), ERR_BAD);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(queue_read(h.q, file, true, 0, out, 1000, &got), ERR_BAD);
	assert_int_equal(queue_load(h.q, file, &e), OK);
	queue_entry_free(e);
	queue_stop(h.q);
	k = record_key_part(rows, 1);
	store_begin(h.q->store, &t);
	store_delete(&t, TABLE_BODY, (str){ (char *)k.b, k.n });
	assert_int_equal(store_commit(&t), OK);
	assert_int_equal(queue_read(h.q, rows, false, RECORD_BODY - 10, out, 10, &got), OK);
	assert_int_equal(got, 10);
	assert_int_equal(queue_read(h.q, rows, false, RECORD_BODY - 10, out, 11, &got), ERR_BAD);
	assert_int_equal(queue_read(h.q, rows + 1, false, 0, out, 11, &got), ERR_ABSENT);
	house_close(&h);
	house_burn(&h);
}

/* One message that cannot be read does not stop the walk, and is not forgotten. */
static void a_damaged_message_stops_nobody(void **state)
{
	struct house h = { 0 };
	struct found f = { .n = 0 };
	struct queue_entry *e;
	struct record_key k;
	struct store_txn t;
	uint64_t ids[3];
	bool gone;

	(void)state;
	house_open(&h);
	house_start(&h);
	for (int i = 0; i < 3; i++)
		ids[i] = put_one(&h, 1, 10, 2, NULL);
	queue_stop(h.q);
	k = record_key_message(ids[1]);
	store_begin(h.q->store, &t);
	store_put(&t, TABLE_MESSAGE, (str){ (char *)k.b, k.n }, STR("not a record"));
	assert_int_equal(store_commit(&t), OK);
	assert_int_equal(queue_walk(h.q, found_one, &f), OK);
	assert_int_equal(f.n, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(f.ids[i], ids[i]);
		assert_int_equal(f.damaged[i], i == 1);
	}
	house_close(&h);
	/* Of the damaged one only removal can be written, and takes all of it away. */
	house_open(&h);
	house_start(&h);
	assert_int_equal(queue_load(h.q, ids[1], &e), ERR_BAD);
	assert_int_equal(settle_one(&h, ids[1], (struct queue_fate){ .fate = FATE_RELEASED }, &gone), ERR_BAD);
	assert_false(gone);
	assert_int_equal(settle_one(&h, ids[1], (struct queue_fate){ .fate = FATE_REMOVED }, &gone), OK);
	assert_true(gone);
	assert_int_equal(queue_load(h.q, ids[1], &e), ERR_ABSENT);
	assert_int_equal(store_rows(h.q->store, TABLE_BODY), 2);
	house_close(&h);
	house_burn(&h);
}

/* ---- ids ---------------------------------------------------------------------------- */

static void ids_as_text(void **state)
{
	static const uint64_t ids[] = { 1, 31, 32, 1790000000000000u, (1ull << 55) - 1 };
	char text[QUEUE_ID_TEXT];
	uint64_t id;

	(void)state;
	for (size_t i = 0; i < COUNT(ids); i++) {
		str s = queue_id_text(ids[i], text);

		assert_int_equal(s.n, 11);
		assert_true(queue_id_parse(s, &id));
		assert_int_equal(id, ids[i]);
		for (size_t j = 0; j < s.n; j++)
			assert_null(strchr("aeiouAEIOU/. ", s.p[j]));
	}
	assert_false(queue_id_parse(STR("00000000000"), &id));
	assert_false(queue_id_parse(STR("0000000001"), &id));
	assert_false(queue_id_parse(STR("000000000011"), &id));
	assert_false(queue_id_parse(STR("0000000000a"), &id));
	assert_false(queue_id_parse(STR("0000000000\0"), &id));
	assert_false(queue_id_parse(STR_NONE, &id));
}

struct drawing { struct queue *q; uint64_t ids[5000]; };

static void *draw(void *arg)
{
	struct drawing *d = arg;

	for (size_t i = 0; i < COUNT(d->ids); i++)
		d->ids[i] = queue_new_id(d->q);
	return NULL;
}

static int by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void ids_are_unique_and_rise(void **state)
{
	static struct drawing d[4];
	static uint64_t all[4 * COUNT(d->ids)];
	struct house h = { 0 };
	pthread_t threads[4];

	(void)state;
	house_open(&h);
	for (int i = 0; i < 4; i++) {
		d[i].q = h.q;
		assert_int_equal(pthread_create(&threads[i], NULL, draw, &d[i]), 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		for (size_t j = 1; j < COUNT(d->ids); j++)
			assert_true(d[i].ids[j - 1] < d[i].ids[j]);
		memcpy(all + (size_t)i * COUNT(d->ids), d[i].ids, sizeof(d->ids));
	}
	qsort(all, COUNT(all), sizeof(all[0]), by_number);
	for (size_t i = 1; i < COUNT(all); i++)
		assert_true(all[i - 1] < all[i]);
	house_close(&h);
	house_burn(&h);
}

/* The clock steps back a year between two lives, and every message has gone. */
static void ids_rise_over_a_clock_that_steps_back(void **state)
{
	struct house h = { 0 };
	uint64_t last = 0;

	(void)state;
	for (int life = 0; life < 3; life++) {
		clock_shift(-life * 365 * 86400);
		house_open(&h);
		house_start(&h);
		for (int i = 0; i < 3; i++) {
			uint64_t id = put_one(&h, 1, 10, 1, NULL);

			assert_true(id > last);
			last = id;
			assert_int_equal(settle_one(&h, id, (struct queue_fate){ .fate = FATE_DELIVERED }, NULL), OK);
		}
		house_close(&h);
	}
	clock_shift(0);
	house_burn(&h);
}

/* ---- the directory -------------------------------------------------------------------- */

static void one_server_a_directory(void **state)
{
	struct house h = { 0 };
	struct queue_conf conf;
	str why = STR_NONE;
	char pid[32];

	(void)state;
	house_open(&h);
	conf = house_conf(&h);
	assert_null(queue_open(&conf, &h.arena, &why));
	snprintf(pid, sizeof(pid), "process %ld)", (long)getpid());
	assert_non_null(strstr(str_cstr(&h.arena, why), pid));
	assert_non_null(strstr(str_cstr(&h.arena, why), h.dir));
	house_close(&h);
	house_open(&h);                                 /* free again */
	house_close(&h);
	house_burn(&h);
}

static void a_newer_format_is_refused(void **state)
{
	struct house h = { 0 };
	struct queue_conf conf;
	struct store_txn t;
	str why = STR_NONE;

	(void)state;
	house_open(&h);
	store_begin(h.q->store, &t);
	meta_put(&t, "format", 2);
	assert_int_equal(store_commit(&t), OK);
	queue_close(h.q);
	conf = house_conf(&h);
	h.q = queue_open(&conf, &h.arena, &why);
	assert_null(h.q);
	assert_non_null(strstr(str_cstr(&h.arena, why), "newer postern"));
	desk_close(h.disk);
	mbox_free(h.home);
	arena_fini(&h.arena);
	house_burn(&h);
}

static void a_missing_directory_is_named(void **state)
{
	const struct queue_conf conf = { .state = STR("/nonexistent/state"), .map_bytes = 16 << 20, .full_percent = 90 };
	struct arena a;
	str why = STR_NONE;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	assert_null(queue_open(&conf, &a, &why));
	assert_non_null(strstr(str_cstr(&a, why), "/nonexistent/state/queue"));
	arena_fini(&a);
}

/* What the start syncs, and what it had synced when it took a file away. */
static _Atomic size_t syncs, synced_before;

int fdatasync(int fd)
{
	atomic_fetch_add(&syncs, 1);
	return ((__typeof__(&fdatasync))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

int unlinkat(int fd, const char *path, int flags)
{
	synced_before = syncs;
	return ((__typeof__(&unlinkat))dlsym(RTLD_NEXT, "unlinkat"))(fd, path, flags);
}

static void bodies_without_a_row_are_swept(void **state)
{
	struct house h = { 0 };
	char path[BODY_PATH], other[BODY_PATH + 16];
	uint64_t kept;
	FILE *f;

	(void)state;
	house_open(&h);
	house_start(&h);
	kept = put_one(&h, 1, 400000, 1, NULL);
	f = fopen(body_path(h.q, kept + 1, path), "w");
	fclose(f);
	snprintf(other, sizeof(other), "%s.mine", path);
	f = fopen(other, "w");
	fclose(f);
	house_close(&h);
	syncs = synced_before = 0;
	house_open(&h);
	house_start(&h);
	assert_int_not_equal(access(path, F_OK), 0);
	assert_true(synced_before > 0);                 /* the row's going may have been nowhere but in memory */
	assert_int_equal(access(other, F_OK), 0);       /* not a name of ours */
	assert_int_equal(access(body_path(h.q, kept, path), F_OK), 0);
	house_close(&h);
	/* A store that has just been made knows nothing: nothing is thrown away. */
	snprintf(other, sizeof(other), "%s/queue/queue.mdb", h.dir);
	assert_int_equal(unlink(other), 0);
	house_open(&h);
	house_start(&h);
	assert_int_equal(access(path, F_OK), 0);
	house_close(&h);
	house_burn(&h);
}

static void an_unclean_end_is_remembered(void **state)
{
	struct house h = { .dir = folder_new() };
	uint64_t number;
	int status;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		house_open(&h);
		house_start(&h);
		put_one(&h, 1, 10, 1, NULL);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	house_open(&h);
	assert_true(queue_was_unclean(h.q));
	number = queue_random(h.q);
	assert_true(number != 0);
	house_start(&h);
	assert_true(queue_was_unclean(h.q));            /* until it is asked in the next life */
	house_close(&h);
	house_open(&h);
	assert_false(queue_was_unclean(h.q));
	assert_int_equal(queue_random(h.q), number);
	house_close(&h);
	house_burn(&h);
}

/* ---- room --------------------------------------------------------------------------------- */

static void wait_for_room(struct house *h, enum err want)
{
	uint64_t until = clock_ms() + 20000;

	while (queue_room(h->q, 0) != want && clock_ms() < until)
		usleep(10000);
	assert_int_equal(queue_room(h->q, 0), want);
}

/* New mail ends at 90 %; notices and fates go on; room comes back by itself. */
static void a_full_map(void **state)
{
	struct house h = { .map_bytes = 8 << 20 };
	struct putting w;
	struct queue_figures f;
	uint64_t ids[2000];
	size_t n = 0;
	enum err e = OK;

	(void)state;
	house_open(&h);
	house_start(&h);
	while ((ids[n] = put_one(&h, n, 30000, 1, &e)) != 0)
		assert_true(++n < COUNT(ids));
	assert_int_equal(e, ERR_FULL);
	queue_figures(h.q, &f);
	assert_int_equal(f.messages, n);
	assert_true(n > 100);
	wait_for_room(&h, OK);                          /* for nothing at all, perhaps */
	assert_int_equal(queue_room(h.q, 250000), ERR_FULL);
	for (int i = 0; i < 3; i++) {                   /* our own mail still fits */
		put_begin(&h, &w, spool_with(&h, 2, 2000), 1, MESSAGE_OWN);
		queue_put_submit(w.put, put_is_home, &w);
		assert_int_equal(put_finish(&h, &w), OK);
	}
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(settle_one(&h, ids[i], (struct queue_fate){ .fate = FATE_DEFERRED, .next = 1, .tries = 1,
		                 .said = STR("450 mailbox busy") }, NULL), OK);
	}
	for (size_t i = 0; i < n; i++) {
		bool gone;

		assert_int_equal(settle_one(&h, ids[i], (struct queue_fate){ .fate = FATE_DELIVERED }, &gone), OK);
		assert_true(gone);
	}
	for (uint64_t until = clock_ms() + 20000; queue_room(h.q, 250000) != OK && clock_ms() < until;)
		usleep(10000);
	assert_int_equal(queue_room(h.q, 250000), OK);
	put_one(&h, 1, 200000, 1, NULL);
	house_close(&h);
	house_burn(&h);
}

/* The disk's limit, set so high that no disk meets it. */
static void a_full_disk(void **state)
{
	struct house h = { 0 };

	(void)state;
	house_open(&h);
	assert_int_equal(queue_room(h.q, 1), OK);
	h.q->conf.free_disk_percent = 101;
	house_start(&h);
	wait_for_room(&h, ERR_FULL);
	put_one(&h, 1, 10, 1, NULL);                    /* what had begun may end */
	house_close(&h);
	house_burn(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_put_is_read),
		cmocka_unit_test(news_of_what_was_stored),
		cmocka_unit_test(news_hold_so_much_at_most),
		cmocka_unit_test(damaged_content_is_not_delivered),
		cmocka_unit_test(a_damaged_message_stops_nobody),
		cmocka_unit_test(ids_as_text),
		cmocka_unit_test(ids_are_unique_and_rise),
		cmocka_unit_test(ids_rise_over_a_clock_that_steps_back),
		cmocka_unit_test(one_server_a_directory),
		cmocka_unit_test(a_newer_format_is_refused),
		cmocka_unit_test(a_missing_directory_is_named),
		cmocka_unit_test(bodies_without_a_row_are_swept),
		cmocka_unit_test(an_unclean_end_is_remembered),
		cmocka_unit_test(a_full_map),
		cmocka_unit_test(a_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
