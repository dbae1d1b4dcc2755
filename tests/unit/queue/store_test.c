/* SPDX-License-Identifier: ISC */
/* Latching, prefixes, deletion, a full map, figures, refusals to open. */
#include <sys/stat.h>

#include "tests/unit/queue/house.h"

struct place { char *dir, path[4096]; struct arena arena; struct store *s; };

static void place_open(struct place *p, uint64_t map)
{
	str why = STR_NONE;

	p->dir = folder_new();
	snprintf(p->path, sizeof(p->path), "%s/queue.mdb", p->dir);
	arena_init(&p->arena, ARENA_UNBOUNDED);
	p->s = store_open(p->path, map, false, &p->arena, &why);
	if (p->s == NULL)
		fail_msg("%.*s", STR_ARG(why));
}

static void place_close(struct place *p)
{
	store_close(p->s);
	arena_fini(&p->arena);
	remove_all(p->dir);
	free(p->dir);
}

static str key(uint64_t id, uint32_t part, struct record_key *k)
{
	*k = record_key_part(id, part);
	return (str){ (char *)k->b, k->n };
}

static bool count_one(void *arg, str k, str v)
{
	(void)k;
	(void)v;
	++*(size_t *)arg;
	return true;
}

static void put_rows(struct place *p, uint64_t id, uint32_t n, size_t bytes)
{
	struct record_key k;
	struct store_txn t;

	store_begin(p->s, &t);
	for (uint32_t i = 0; i < n; i++) {
		char *row = store_reserve(&t, TABLE_BODY, key(id, i, &k), bytes);

		assert_non_null(row);
		memset(row, (int)i, bytes);
	}
	assert_int_equal(store_commit(&t), OK);
}

static size_t rows_of(struct place *p, uint64_t id)
{
	struct record_key k = record_key_message(id);
	struct store_txn t;
	size_t n = 0;

	store_read(p->s, &t);
	store_each(&t, TABLE_BODY, (str){ (char *)k.b, k.n }, count_one, &n);
	store_end(&t);
	return n;
}

static void rows_come_and_go(void **state)
{
	struct store_txn t;
	struct place p;
	str v;

	(void)state;
	place_open(&p, 16 << 20);
	store_begin(p.s, &t);
	store_put(&t, TABLE_META, STR("a"), STR("one"));
	store_put(&t, TABLE_META, STR("a"), STR("two"));
	assert_int_equal(store_commit(&t), OK);
	store_begin(p.s, &t);
	store_put(&t, TABLE_META, STR("a"), STR("never"));
	store_end(&t);                                  /* aborted */
	store_read(p.s, &t);
	assert_true(store_get(&t, TABLE_META, STR("a"), &v));
	assert_str(v, STR("two"));
	assert_false(store_get(&t, TABLE_MESSAGE, STR("a"), &v));
	assert_int_equal(t.err, OK);
	store_end(&t);
	store_begin(p.s, &t);
	store_delete(&t, TABLE_META, STR("a"));
	store_delete(&t, TABLE_META, STR("a"));         /* harmless */
	assert_int_equal(store_commit(&t), OK);
	assert_int_equal(store_rows(p.s, TABLE_META), 0);
	place_close(&p);
}

/* Rows of neighbours on the same pages stay, whatever the number and size. */
static void prefixes_are_exact(void **state)
{
	static const struct { uint32_t rows; size_t bytes; } cases[] = {
		{ 0, 10 }, { 1, 10 }, { 2, 10 }, { 100, 10 }, { 3000, 40 }, { 17, RECORD_BODY + RECORD_HEAD }, { 300, 1500 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct record_key k = record_key_message(256);
		struct store_txn t;
		struct place p;

		place_open(&p, 64 << 20);
		put_rows(&p, 255, 50, 10);
		put_rows(&p, 256, cases[i].rows, cases[i].bytes);
		if (i % 2 == 0)
			put_rows(&p, 257, 50, 10);
		assert_int_equal(rows_of(&p, 256), cases[i].rows);
		store_begin(p.s, &t);
		store_delete_prefix(&t, TABLE_BODY, (str){ (char *)k.b, k.n });
		assert_int_equal(store_commit(&t), OK);
		assert_int_equal(rows_of(&p, 255), 50);
		assert_int_equal(rows_of(&p, 256), 0);
		assert_int_equal(rows_of(&p, 257), i % 2 == 0 ? 50 : 0);
		place_close(&p);
	}
}

static void the_first_failure_sticks(void **state)
{
	struct record_key k;
	struct store_txn t;
	struct place p;
	str v;

	(void)state;
	place_open(&p, 1 << 20);
	put_rows(&p, 1, 1, 100);
	store_begin(p.s, &t);
	assert_null(store_reserve(&t, TABLE_BODY, key(2, 0, &k), 2 << 20));
	assert_int_equal(t.err, ERR_FULL);
	assert_true(t.full);
	store_put(&t, TABLE_META, STR("x"), STR("y"));  /* does nothing now */
	assert_null(store_reserve(&t, TABLE_BODY, key(2, 1, &k), 10));
	assert_false(store_get(&t, TABLE_BODY, key(1, 0, &k), &v));
	assert_int_equal(store_commit(&t), ERR_FULL);
	store_read(p.s, &t);
	assert_true(store_get(&t, TABLE_BODY, key(1, 0, &k), &v));
	assert_false(store_get(&t, TABLE_META, STR("x"), &v));
	store_end(&t);
	place_close(&p);
}

static enum err put_until_full(struct place *p, uint64_t *id)
{
	struct record_key k;
	struct store_txn t;
	enum err e;

	do {
		store_begin(p->s, &t);
		for (uint32_t i = 0; i < 4; i++)
			store_reserve(&t, TABLE_BODY, key(*id, i, &k), 16000);
		e = store_commit(&t);
		++*id;
	} while (e == OK);
	return e;
}

static void a_full_map_recovers(void **state)
{
	struct store_figures full, freed;
	uint64_t id = 1;
	struct place p;

	(void)state;
	place_open(&p, 4 << 20);
	assert_int_equal(put_until_full(&p, &id), ERR_FULL);
	store_figures(p.s, true, &full);
	assert_true(full.used > full.size / 100 * 90 && full.used <= full.size);
	for (uint64_t i = 1; i < id / 2; i++) {
		struct record_key k = record_key_message(i);
		struct store_txn t;

		store_begin(p.s, &t);
		store_delete_prefix(&t, TABLE_BODY, (str){ (char *)k.b, k.n });
		/* The first removals may lack pages of their own: that is what the
		 * last tenth of the map is kept for. */
		store_commit(&t);
	}
	store_figures(p.s, true, &freed);
	assert_true(freed.used < full.used);
	put_rows(&p, 1 << 20, 4, 16000);
	place_close(&p);
}

static void the_last_key(void **state)
{
	struct store_txn t;
	struct place p;
	str last;

	(void)state;
	place_open(&p, 16 << 20);
	store_read(p.s, &t);
	assert_false(store_last_key(&t, TABLE_BODY, &last));
	store_end(&t);
	put_rows(&p, 300, 1, 10);
	put_rows(&p, 20, 1, 10);
	store_read(p.s, &t);
	assert_true(store_last_key(&t, TABLE_BODY, &last));
	assert_int_equal(record_key_id(last), 300);
	store_end(&t);
	place_close(&p);
}

static void what_cannot_be_opened_says_why(void **state)
{
	struct store *s;
	struct place p;
	str why = STR_NONE;
	FILE *f;

	(void)state;
	place_open(&p, 1 << 20);
	store_close(p.s);
	p.s = NULL;
	f = fopen(p.path, "w");
	for (int i = 0; i < 5000; i++)
		fputs("this is no store ", f);
	fclose(f);
	s = store_open(p.path, 1 << 20, false, &p.arena, &why);
	assert_null(s);
	assert_non_null(strstr(str_cstr(&p.arena, why), p.path));
	assert_non_null(strstr(str_cstr(&p.arena, why), "put back a copy"));
	remove(p.path);
	s = store_open(p.path, 1 << 20, true, &p.arena, &why);
	assert_null(s);
	assert_non_null(strstr(str_cstr(&p.arena, why), "no queue yet"));
	place_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_come_and_go),
		cmocka_unit_test(prefixes_are_exact),
		cmocka_unit_test(the_first_failure_sticks),
		cmocka_unit_test(a_full_map_recovers),
		cmocka_unit_test(the_last_key),
		cmocka_unit_test(what_cannot_be_opened_says_why),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
