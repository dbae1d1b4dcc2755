/* SPDX-License-Identifier: ISC */
/* Rows come back as they went in, and no flipped bit goes unnoticed. */
#include "tests/unit/queue/house.h"

static struct queue_rcpt rcpts[] = {
	{ .address = { "bob@office.test", 15 }, .orcpt = { "rfc822;bob@office.test", 22 }, .flags = RCPT_LOCAL | RCPT_NOTIFY_DELAY },
	{ .address = { "\"a b\"@x.test", 12 }, .flags = RCPT_QUARANTINE },
};

static struct queue_entry sample(void)
{
	return (struct queue_entry){
		.id = 0x0123456789abcdu, .arrived = 1790000000, .sender = STR("anna@example.org"), .login = STR("anna"),
		.envid = STR("Q+3D1"), .flags = MESSAGE_SMTPUTF8 | MESSAGE_LOGIN, .head = STR("Received: x\r\n"),
		.header_bytes = 77, .bytes = 5000000000u, .in_file = true, .rcpts = rcpts, .nrcpts = 2,
	};
}

static void message_round_trip(void **state)
{
	struct queue_entry want = sample(), *got = entry_new();
	struct record_summary m;
	struct buf row;

	(void)state;
	buf_init(&row, BUF_UNBOUNDED);
	record_message(&row, &want);
	assert_true(record_read_message(buf_str(&row), got));
	assert_true(got->id == want.id && got->arrived == want.arrived && got->flags == want.flags);
	assert_true(got->header_bytes == 77 && got->bytes == want.bytes && got->in_file);
	assert_str(got->sender, want.sender);
	assert_str(got->login, want.login);
	assert_str(got->envid, want.envid);
	assert_str(got->head, want.head);
	assert_int_equal(got->nrcpts, 2);
	for (int i = 0; i < 2; i++) {
		assert_str(got->rcpts[i].address, rcpts[i].address);
		assert_str(got->rcpts[i].orcpt, rcpts[i].orcpt);
		assert_int_equal(got->rcpts[i].flags, rcpts[i].flags);
		assert_int_equal(got->rcpts[i].state, RCPT_WAITING);
		assert_int_equal(got->rcpts[i].next, want.arrived);
	}
	assert_true(record_peek(buf_str(&row), &m));
	assert_true(m.nrcpts == 2 && m.in_file && m.id == want.id && m.arrived == want.arrived && m.flags == want.flags &&
	            m.bytes == want.bytes);
	queue_entry_free(got);
	buf_fini(&row);
}

static void held_from_the_start(void **state)
{
	struct queue_entry want = sample(), *got = entry_new();
	struct buf row;

	(void)state;
	want.flags |= MESSAGE_HELD;
	buf_init(&row, BUF_UNBOUNDED);
	record_message(&row, &want);
	assert_true(record_read_message(buf_str(&row), got));
	assert_int_equal(got->rcpts[1].state, RCPT_HELD);
	queue_entry_free(got);
	buf_fini(&row);
}

static void rcpt_round_trip(void **state)
{
	const struct queue_rcpt want = {
		.state = RCPT_STAGED, .tries = 7, .next = -1, .changed = 1790000001, .said = STR("451 4.7.1 later"),
		.delay_told = true, .place = STR("/home/bob/Maildir\n1790.M1Q1.mx"), .staged_at = 1790000002,
	};
	struct queue_rcpt got = { 0 };
	struct arena a;
	struct buf row;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	buf_init(&row, BUF_UNBOUNDED);
	record_rcpt(&row, &want);
	assert_true(record_read_rcpt(buf_str(&row), &a, &got));
	assert_true(got.state == want.state && got.tries == 7 && got.next == -1 && got.changed == want.changed);
	assert_true(got.delay_told && got.staged_at == want.staged_at);
	assert_str(got.said, want.said);
	assert_str(got.place, want.place);
	buf_fini(&row);
	arena_fini(&a);
}

static bool opens(str row, enum record_kind kind)
{
	struct queue_entry *e = entry_new();
	struct queue_rcpt r;
	struct arena a;
	str body;
	bool ok;

	arena_init(&a, ARENA_UNBOUNDED);
	ok = kind == RECORD_MESSAGE ? record_read_message(row, e)
	   : kind == RECORD_RCPT ? record_read_rcpt(row, &a, &r) : record_open(row, kind, &body);
	arena_fini(&a);
	queue_entry_free(e);
	return ok;
}

static void make_row(struct buf *row, enum record_kind kind)
{
	const struct queue_rcpt r = { .state = RCPT_WAITING, .said = STR("421 4.3.2 closing") };
	unsigned char head[RECORD_HEAD];
	struct queue_entry e = sample();
	str body = STR("a line\r\n\0and another");

	buf_init(row, BUF_UNBOUNDED);
	if (kind == RECORD_MESSAGE) {
		record_message(row, &e);
	} else if (kind == RECORD_RCPT) {
		record_rcpt(row, &r);
	} else {
		record_head(head, RECORD_BODY_ROW, body);
		buf_add(row, (str){ (char *)head, sizeof(head) });
		buf_add(row, body);
	}
}

static void every_flipped_bit_is_noticed(void **state)
{
	(void)state;
	for (enum record_kind kind = RECORD_MESSAGE; kind <= RECORD_BODY_ROW; kind++) {
		struct buf row;
		char *copy;

		make_row(&row, kind);
		assert_true(opens(buf_str(&row), kind));
		copy = malloc(row.n);
		for (size_t bit = 0; bit < 8 * row.n; bit++) {
			memcpy(copy, buf_str(&row).p, row.n);
			copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
			assert_false(opens((str){ copy, row.n }, kind));
		}
		/* Cut anywhere, or with something behind it. */
		for (size_t n = 0; n < row.n; n++) {
			char *exact = malloc(n + 1);

			memcpy(exact, buf_str(&row).p, n);
			assert_false(opens((str){ exact, n }, kind));
			free(exact);
		}
		buf_add_char(&row, 'x');
		assert_false(opens(buf_str(&row), kind));
		free(copy);
		buf_fini(&row);
	}
}

static void kinds_are_not_confused(void **state)
{
	(void)state;
	for (enum record_kind kind = RECORD_MESSAGE; kind <= RECORD_BODY_ROW; kind++) {
		struct buf row;

		make_row(&row, kind);
		for (enum record_kind other = RECORD_MESSAGE; other <= RECORD_BODY_ROW; other++)
			assert_int_equal(opens(buf_str(&row), other), other == kind);
		buf_fini(&row);
	}
}

/* A count that lies, under a checksum that holds. */
static void lying_counts(void **state)
{
	struct queue_entry e = sample();
	struct buf row;

	(void)state;
	buf_init(&row, BUF_UNBOUNDED);
	record_message(&row, &e);
	for (uint32_t n = 3; n != 0; n = n < 1u << 31 ? 2 * n + 1 : 0) {
		char *p = row.p + row.head;

		memcpy(p + RECORD_HEAD, &n, 4);
		record_head((unsigned char *)p, RECORD_MESSAGE, str_skip(buf_str(&row), RECORD_HEAD));
		assert_false(opens(buf_str(&row), RECORD_MESSAGE));
	}
	buf_fini(&row);
}

static void keys_sort_by_age(void **state)
{
	const uint64_t ids[] = { 1, 255, 256, 0x7fffffffu, 0x0123456789abcdu, 0x0123456789abceu, UINT64_MAX };

	(void)state;
	for (size_t i = 0; i < COUNT(ids); i++) {
		struct record_key k = record_key_message(ids[i]), part = record_key_part(ids[i], 256);

		assert_int_equal(record_key_id((str){ (char *)k.b, k.n }), ids[i]);
		assert_int_equal(record_key_id((str){ (char *)part.b, part.n }), ids[i]);
		assert_int_equal(record_key_number((str){ (char *)part.b, part.n }), 256);
		assert_memory_equal(k.b, part.b, k.n);
		if (i > 0)
			assert_true(memcmp(record_key_message(ids[i - 1]).b, k.b, 8) < 0);
	}
	assert_int_equal(record_key_id(STR("short")), 0);
	assert_int_equal(record_key_number(STR("too short")), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(message_round_trip),
		cmocka_unit_test(held_from_the_start),
		cmocka_unit_test(rcpt_round_trip),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(kinds_are_not_confused),
		cmocka_unit_test(lying_counts),
		cmocka_unit_test(keys_sort_by_age),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
