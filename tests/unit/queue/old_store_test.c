/* SPDX-License-Identifier: ISC */
/* A store of the version before: its rows are read, served and settled. */
#include "tests/unit/queue/house.h"
#include "queue/report.h"
#include "smtpd/base/map.h"

#define OLD_ID ((uint64_t)1700000000000000)
#define CONTENT 40000

/* ---- rows as they were written then ------------------------------------------------ */

static void num(struct buf *b, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_add_char(b, (char)(v >> 8 * i));
}

static void text(struct buf *b, const char *s)
{
	num(b, strlen(s), 4);
	buf_add(b, str_of(s));
}

static void put_old(struct store_txn *t, enum table table, struct record_key k, unsigned kind, str body)
{
	static const uint8_t key[16] = "postern queue 01";
	struct buf row;

	buf_init(&row, BUF_UNBOUNDED);
	num(&row, 0x70747271, 4);
	num(&row, kind, 2);
	num(&row, 1, 2);
	num(&row, body.n, 8);
	num(&row, siphash(key, body), 8);
	buf_add(&row, body);
	store_put(t, table, (str){ (char *)k.b, k.n }, buf_str(&row));
	buf_fini(&row);
}

static void old_message(struct store_txn *t)
{
	struct buf b;

	buf_init(&b, BUF_UNBOUNDED);
	num(&b, 2, 4);
	num(&b, 0, 1);
	num(&b, OLD_ID, 8);
	num(&b, 1700000000, 8);
	num(&b, MESSAGE_LOGIN, 4);
	num(&b, 17, 8);
	num(&b, CONTENT, 8);
	text(&b, "old@example.org");
	text(&b, "old");
	text(&b, "");
	text(&b, "Received: then\r\n");
	for (int i = 0; i < 2; i++) {
		text(&b, i == 0 ? "a@office.test" : "b@office.test");
		text(&b, "");
		num(&b, RCPT_LOCAL, 4);
	}
	put_old(t, TABLE_MESSAGE, record_key_message(OLD_ID), 1, buf_str(&b));
	buf_fini(&b);
}

static void old_rcpt(struct store_txn *t)
{
	struct buf b;

	buf_init(&b, BUF_UNBOUNDED);
	num(&b, RCPT_WAITING, 1);
	num(&b, 1, 1);
	num(&b, 3, 4);
	num(&b, 1700000900, 8);
	num(&b, 1700000600, 8);
	num(&b, 0, 8);
	text(&b, "451 later");
	text(&b, "");
	put_old(t, TABLE_RCPT, record_key_part(OLD_ID, 1), 2, buf_str(&b));
	buf_fini(&b);
}

static void old_content(struct store_txn *t)
{
	char content[CONTENT];
	str rest = { content, sizeof(content) };

	fill_content(content, 7, 0, sizeof(content));
	for (uint32_t i = 0; rest.n > 0; i++) {
		put_old(t, TABLE_BODY, record_key_part(OLD_ID, i), 3, str_head(rest, RECORD_BODY_1));
		rest = str_skip(rest, RECORD_BODY_1);
	}
}

/* ---- tests ------------------------------------------------------------------------------ */

static void its_messages_go_on(void **state)
{
	struct house h = { .keep_finished_ms = 1000000 };
	struct queue_entry *e;
	struct store_txn t;
	int64_t at;
	bool gone;

	(void)state;
	house_open(&h);
	store_begin(h.q->store, &t);
	old_message(&t);
	old_rcpt(&t);
	old_content(&t);
	assert_int_equal(store_commit(&t), OK);
	house_close(&h);
	house_open(&h);
	house_start(&h);
	assert_int_equal(queue_load(h.q, OLD_ID, &e), OK);
	assert_str(e->sender, STR("old@example.org"));
	assert_str(e->rcpts[1].address, STR("b@office.test"));
	assert_true(e->rcpts[1].tries == 3 && e->rcpts[1].delay_told && e->rcpts[1].next == 1700000900);
	assert_true(e->not_before == 0 && e->lives == 0 && e->rcpts[1].nattempts == 0 && !e->rcpts[1].damaged);
	assert_content(&h, e, 7, CONTENT + 1);
	assert_content(&h, e, 7, 1000);
	queue_entry_free(e);
	assert_int_equal(settle_one(&h, OLD_ID, (struct queue_fate){ .rcpt = 1, .fate = FATE_DEFERRED, .tries = 4,
	                                                             .said = STR("451 again") }, &gone), OK);
	assert_int_equal(queue_load(h.q, OLD_ID, &e), OK);
	assert_true(e->rcpts[1].tries == 4 && e->rcpts[1].delay_told && e->rcpts[1].nattempts == 1);
	queue_entry_free(e);
	settle_one(&h, OLD_ID, (struct queue_fate){ .rcpt = 0, .fate = FATE_DELIVERED }, &gone);
	assert_false(gone);
	settle_one(&h, OLD_ID, (struct queue_fate){ .rcpt = 1, .fate = FATE_DELIVERED }, &gone);
	assert_true(gone);
	assert_int_equal(queue_finished(h.q, OLD_ID, &e, &at), OK);
	queue_entry_free(e);
	house_close(&h);
	house_burn(&h);
}

static void put_number(struct store_txn *t, const char *name, uint64_t value)
{
	struct buf row;

	buf_init(&row, BUF_UNBOUNDED);
	num(&row, value, 8);
	store_put(t, TABLE_META, str_of(name), buf_str(&row));
	buf_fini(&row);
}

/* Its numbers had no checksums; they get them. */
static void its_numbers_are_kept(void **state)
{
	static const char *const names[] = { "format", "random", "reserved", "running" };
	struct house h = { 0 };
	struct store_txn t;
	uint64_t v;
	str row;

	(void)state;
	house_open(&h);
	store_begin(h.q->store, &t);
	put_number(&t, "format", 1);
	put_number(&t, "random", 0x1122334455667788);
	put_number(&t, "reserved", OLD_ID);
	put_number(&t, "running", 1);
	assert_int_equal(store_commit(&t), OK);
	house_close(&h);
	for (int again = 0; again < 2; again++) {
		house_open(&h);
		assert_true(queue_random(h.q) == 0x1122334455667788 && h.q->id_reserved == OLD_ID);
		assert_true(queue_was_unclean(h.q) && !h.q->is_new);
		store_read(h.q->store, &t);
		for (size_t i = 0; i < COUNT(names); i++)
			assert_true(store_get(&t, TABLE_META, str_of(names[i]), &row) && !record_number_is_old(row) &&
			            record_read_number(row, str_of(names[i]), &v));
		store_end(&t);
		house_close(&h);
	}
	house_burn(&h);
}

/* … and one that was never written so is damage, not a newer version's word. */
static void its_numbers_are_not_believed_blindly(void **state)
{
	struct house h = { 0 };
	struct store_txn t;
	uint64_t random;

	(void)state;
	house_open(&h);
	random = queue_random(h.q);
	store_begin(h.q->store, &t);
	put_number(&t, "format", 257);
	assert_int_equal(store_commit(&t), OK);
	house_close(&h);
	house_open(&h);
	assert_true(queue_random(h.q) == random && queue_was_unclean(h.q));
	house_close(&h);
	house_burn(&h);
}

/* A verb of this version beside a store that no server of it has opened yet. */
static void its_missing_tables_are_empty(void **state)
{
	static const enum table added[] = { TABLE_FINISHED, TABLE_NOTE, TABLE_MARK };
	struct house h = { 0 };
	struct queue_conf conf;
	struct queue *q;
	struct queue_entry *e;
	struct found f = { .n = 0 };
	struct arena a;
	int64_t at;
	str why, v;

	(void)state;
	house_open(&h);
	house_start(&h);
	put_one(&h, 1, 10, 1, NULL);
	queue_stop(h.q);
	for (size_t i = 0; i < COUNT(added); i++)
		assert_int_equal(store_drop(h.q->store, added[i]), OK);
	house_close(&h);
	conf = house_conf(&h);
	arena_init(&a, ARENA_UNBOUNDED);
	q = queue_open_reading(&conf, &a, &why);
	assert_non_null(q);
	assert_int_equal(queue_walk(q, found_one, &f), OK);
	assert_int_equal(f.n, 1);
	assert_int_equal(queue_finished(q, 1, &e, &at), ERR_ABSENT);
	assert_false(queue_note_get(q, STR("k"), &a, &v));
	queue_close(q);
	arena_fini(&a);
	house_burn(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_messages_go_on),
		cmocka_unit_test(its_missing_tables_are_empty),
		cmocka_unit_test(its_numbers_are_kept),
		cmocka_unit_test(its_numbers_are_not_believed_blindly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
