/* SPDX-License-Identifier: ISC */
/* Rows come back as they went in, and no flipped bit goes unnoticed. */
#include "tests/unit/queue/house.h"

#define ID 0x0123456789abcdu

static const struct queue_own own = { STR_NONE, { "X-Postern-Copy-Id: q\r\n", 22 } };

static struct queue_rcpt rcpts[] = {
	{ .address = { "bob@office.test", 15 }, .orcpt = { "rfc822;bob@office.test", 22 }, .flags = RCPT_LOCAL | RCPT_NOTIFY_DELAY },
	{ .address = { "\"a b\"@x.test", 12 }, .flags = RCPT_QUARANTINE | RCPT_OWN_SENDER | RCPT_OWN_HEAD, .own = &own },
};

static struct queue_entry sample(void)
{
	return (struct queue_entry){
		.id = ID, .arrived = 1790000000, .sender = STR("anna@example.org"), .login = STR("anna"),
		.envid = STR("Q+3D1"), .flags = MESSAGE_SMTPUTF8 | MESSAGE_LOGIN, .head = STR("Received: x\r\n"),
		.header_bytes = 77, .not_before = 1790000600, .bytes = 5000000000u, .in_file = true, .rcpts = rcpts, .nrcpts = 2,
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
	assert_true(record_read_message(buf_str(&row), want.id, got));
	assert_true(got->id == want.id && got->arrived == want.arrived && got->flags == want.flags);
	assert_int_equal(got->not_before, 1790000600);
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
		assert_int_equal(got->rcpts[i].own != NULL, rcpts[i].own != NULL);
		assert_int_equal(got->rcpts[i].state, RCPT_WAITING);
		assert_int_equal(got->rcpts[i].next, want.not_before);
	}
	assert_int_equal(got->rcpts[1].own->sender.n, 0);
	assert_str(got->rcpts[1].own->head, own.head);
	assert_true(record_peek(buf_str(&row), want.id, &m));
	assert_true(m.nrcpts == 2 && m.in_file && m.id == want.id && m.arrived == want.arrived && m.flags == want.flags &&
	            m.bytes == want.bytes && m.not_before == want.not_before);
	assert_int_equal(m.piece, RECORD_BODY);
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
	assert_true(record_read_message(buf_str(&row), want.id, got));
	assert_int_equal(got->rcpts[1].state, RCPT_HELD);
	queue_entry_free(got);
	buf_fini(&row);
}

/* How it was signed stands behind all else: rows of before end there. */
static void signing_round_trip(void **state)
{
	struct queue_entry want = sample(), *got = entry_new(), *before = entry_new();
	struct record_summary m;
	struct buf row, old;
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	want.signing = (struct queue_signing){ .until = 1790500000, .author = STR("mail.example.org"),
	                                       .hashes = { STR_NONE, STR("32 octets, of which some are \0.") } };
	buf_init(&row, BUF_UNBOUNDED);
	record_message(&row, &want);
	assert_true(record_read_message(buf_str(&row), ID, got));
	assert_int_equal(got->signing.until, 1790500000);
	assert_str(got->signing.author, want.signing.author);
	assert_int_equal(got->signing.hashes[0].n, 0);
	assert_str(got->signing.hashes[1], want.signing.hashes[1]);
	assert_str(got->rcpts[1].address, rcpts[1].address);
	assert_true(record_borrow_message(buf_str(&row), ID, &a, got) && got->signing.until == 1790500000);
	assert_true(record_peek(buf_str(&row), ID, &m) && m.bytes == want.bytes);

	want.signing.until = 0;
	buf_init(&old, BUF_UNBOUNDED);
	record_message(&old, &want);
	assert_true(record_read_message(buf_str(&old), ID, before));
	assert_true(before->signing.until == 0 && before->signing.author.n == 0);
	assert_int_equal(row.n - old.n, 8 + 4 + 16 + 4 + 4 + want.signing.hashes[1].n);

	/* A tail that was cut off and sealed anew is no row. */
	for (size_t cut = 1; cut < row.n - old.n; cut++) {
		struct queue_entry *torn = entry_new();
		struct buf bad;
		unsigned char head[RECORD_HEAD];
		str body = str_skip(str_head(buf_str(&row), row.n - cut), RECORD_HEAD);

		buf_init(&bad, BUF_UNBOUNDED);
		record_head(head, (struct record_name){ RECORD_MESSAGE, ID, 0 }, body);
		buf_add(&bad, (str){ (const char *)head, sizeof(head) });
		buf_add(&bad, body);
		assert_false(record_read_message(buf_str(&bad), ID, torn));
		buf_fini(&bad);
		queue_entry_free(torn);
	}
	queue_entry_free(got);
	queue_entry_free(before);
	buf_fini(&row);
	buf_fini(&old);
	arena_fini(&a);
}

static void rcpt_round_trip(void **state)
{
	struct queue_attempt attempts[] = {
		{ 1790000000, STR("mx1.example.org[192.0.2.1]"), STR("451 4.7.1 later") },
		{ 1790000300, STR("mx1.example.org[192.0.2.1]"), STR("451 4.7.1 later") },
		{ 1790000900, STR_NONE, STR("451 4.7.1 later") },
		{ 1790001000, STR("mx2.example.org[192.0.2.2]"), STR("421 4.3.2 closing") },
		{ 1790001500, STR("mx2.example.org[192.0.2.2]"), STR("421 4.3.2 closing") },
	};
	const struct queue_rcpt want = {
		.state = RCPT_STAGED, .tries = 7, .next = -1, .changed = 1790000001, .said = STR("451 4.7.1 later"),
		.delay_told = true, .place = STR("/home/bob/Maildir\n1790.M1Q1.mx"), .staged_at = 1790000002,
		.outcome = FATE_REMOVED, .attempts = attempts, .nattempts = COUNT(attempts),
	};
	struct queue_rcpt got = { 0 };
	enum rcpt_state peeked;
	struct arena a;
	struct buf row;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	buf_init(&row, BUF_UNBOUNDED);
	record_rcpt(&row, ID, 3, &want);
	assert_true(record_read_rcpt(buf_str(&row), ID, 3, &a, &got));
	assert_true(got.state == want.state && got.tries == 7 && got.next == -1 && got.changed == want.changed);
	assert_true(got.delay_told && got.staged_at == want.staged_at && got.outcome == FATE_REMOVED);
	assert_str(got.said, want.said);
	assert_str(got.place, want.place);
	assert_int_equal(got.nattempts, COUNT(attempts));
	for (size_t i = 0; i < COUNT(attempts); i++) {
		assert_int_equal(got.attempts[i].at, attempts[i].at);
		assert_str(got.attempts[i].host, attempts[i].host);
		assert_str(got.attempts[i].said, attempts[i].said);
	}
	assert_true(record_peek_rcpt(buf_str(&row), ID, 3, &peeked) && peeked == RCPT_STAGED);
	buf_fini(&row);
	arena_fini(&a);
}

static void finished_round_trip(void **state)
{
	struct queue_attempt word = { .host = STR("mx.x.test[192.0.2.1]"), .said = STR("250 fine") };
	struct queue_rcpt ends[] = {
		{ .address = STR("bob@office.test"), .flags = RCPT_LOCAL, .outcome = FATE_DELIVERED, .tries = 1, .changed = 1790000005,
		  .said = STR("250 fine"), .attempts = &word, .nattempts = 1 },
		{ .address = STR("eve@office.test"), .outcome = FATE_DELIVERED, .tries = 1, .changed = 1790000006,
		  .said = STR("250 fine"), .attempts = &word, .nattempts = 1 },
		{ .address = STR("x@x.test"), .outcome = FATE_REMOVED, .changed = 1790000007 },
	};
	struct queue_entry want = sample(), *got = entry_new();
	struct buf row;
	int64_t at;

	(void)state;
	want.rcpts = ends;
	want.nrcpts = 3;
	buf_init(&row, BUF_UNBOUNDED);
	record_finished(&row, &want, 1790000009);
	assert_true(record_read_finished(buf_str(&row), ID, got, &at));
	assert_true(at == 1790000009 && got->id == ID && got->arrived == want.arrived && got->bytes == want.bytes);
	assert_str(got->sender, want.sender);
	assert_str(got->login, want.login);
	assert_int_equal(got->nrcpts, 3);
	for (size_t i = 0; i < 3; i++) {
		const struct queue_rcpt *r = &got->rcpts[i];

		assert_str(r->address, ends[i].address);
		assert_str(r->said, ends[i].said);
		assert_true(r->state == RCPT_SETTLED && r->outcome == ends[i].outcome && r->tries == ends[i].tries);
		assert_int_equal(r->changed, ends[i].changed);
		assert_int_equal(r->nattempts, ends[i].nattempts);
		assert_true(r->nattempts == 0 || str_eq(r->attempts[0].host, word.host));
	}
	queue_entry_free(got);
	buf_fini(&row);
}

static void note_round_trip(void **state)
{
	struct buf row;
	str key, value;

	(void)state;
	buf_init(&row, BUF_UNBOUNDED);
	record_note(&row, STR("sts:example.org"), STR("mode: enforce\0"));
	assert_true(record_read_note(buf_str(&row), &key, &value));
	assert_str(key, STR("sts:example.org"));
	assert_str(value, STR("mode: enforce\0"));
	buf_fini(&row);
}

static void number_round_trip(void **state)
{
	static const struct { const char *name, *row; size_t n; bool good; } old[] = {
		{ "format", "\1\0\0\0\0\0\0\0", 8, true },    { "format", "\2\0\0\0\0\0\0\0", 8, false },
		{ "running", "\0\0\0\0\0\0\0\0", 8, true },   { "running", "\1\0\0\0\0\0\0\0", 8, true },
		{ "running", "\1\1\0\0\0\0\0\0", 8, false },  { "random", "\1\2\3\4\5\6\7\x88", 8, true },
		{ "reserved", "\1\2\3\4\5\6\7\10", 8, true }, { "reservee", "\1\2\3\4\5\6\7\10", 8, false },
		{ "random", "\1\2\3\4\5\6\7", 7, false },      { "random", "\1\2\3\4\5\6\7\10\11", 9, false },
	};
	struct buf row;
	uint64_t v;
	str name;

	(void)state;
	buf_init(&row, BUF_UNBOUNDED);
	record_number(&row, STR("random"), 0x8070605040302010);
	assert_true(record_read_number(buf_str(&row), STR("random"), &v) && v == 0x8070605040302010);
	assert_true(record_recognise_number(buf_str(&row), &name, &v));
	assert_str(name, STR("random"));
	assert_false(record_number_is_old(buf_str(&row)));
	assert_false(record_read_number(buf_str(&row), STR("randon"), &v));     /* under another's key */
	buf_fini(&row);
	for (size_t i = 0; i < COUNT(old); i++)
		assert_int_equal(record_read_number((str){ old[i].row, old[i].n }, str_of(old[i].name), &v), old[i].good);
	assert_true(record_read_number((str){ old[5].row, 8 }, STR("random"), &v) && v == 0x8807060504030201);
}

static struct record_name name_of(enum record_kind kind)
{
	return (struct record_name){ kind, kind == RECORD_NOTE || kind == RECORD_NUMBER ? 0 : ID,
	                             kind == RECORD_RCPT || kind == RECORD_BODY_ROW || kind == RECORD_MARK ? 5 : 0 };
}

static bool opens(str row, enum record_kind kind)
{
	struct record_name is = name_of(kind);
	struct queue_entry *e = entry_new(), borrowed = { 0 };
	struct queue_rcpt r;
	struct arena a;
	int64_t at;
	str one, two;
	uint64_t number;
	bool ok;

	arena_init(&a, ARENA_UNBOUNDED);
	switch (kind) {
	case RECORD_MESSAGE:
		ok = record_read_message(row, ID, e);
		assert_int_equal(record_borrow_message(row, ID, &a, &borrowed), ok);
		break;
	case RECORD_RCPT:
		ok = record_read_rcpt(row, ID, is.number, &a, &r);
		break;
	case RECORD_FINISHED:
		ok = record_read_finished(row, ID, e, &at);
		break;
	case RECORD_NOTE:
		ok = record_read_note(row, &one, &two);
		break;
	case RECORD_NUMBER:
		ok = row.n != 8 && record_read_number(row, STR("random"), &number);
		break;
	default:
		ok = record_open(row, is, &one);
	}
	arena_fini(&a);
	queue_entry_free(e);
	return ok;
}

static void make_row(struct buf *row, enum record_kind kind)
{
	struct queue_attempt attempts[] = { { 1, STR("a"), STR("b") }, { 2, STR("a"), STR("b") } };
	const struct queue_rcpt r = { .state = RCPT_WAITING, .said = STR("421 4.3.2 closing"), .attempts = attempts, .nattempts = 2 };
	struct record_name name = name_of(kind);
	unsigned char head[RECORD_HEAD];
	struct queue_entry e = sample();
	str body = STR("a line\r\n\0and another");

	buf_init(row, BUF_UNBOUNDED);
	switch (kind) {
	case RECORD_MESSAGE:
		record_message(row, &e);
		break;
	case RECORD_RCPT:
		record_rcpt(row, ID, name.number, &r);
		break;
	case RECORD_FINISHED:
		record_finished(row, &e, 1790000000);
		break;
	case RECORD_NOTE:
		record_note(row, STR("key"), STR("value"));
		break;
	case RECORD_NUMBER:
		record_number(row, STR("random"), 77);
		break;
	default:
		record_head(head, name, body);
		buf_add(row, (str){ (char *)head, sizeof(head) });
		buf_add(row, body);
	}
}

static void every_flipped_bit_is_noticed(void **state)
{
	(void)state;
	for (enum record_kind kind = RECORD_MESSAGE; kind <= RECORD_NUMBER; kind++) {
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
	for (enum record_kind kind = RECORD_MESSAGE; kind <= RECORD_NUMBER; kind++) {
		struct buf row;

		make_row(&row, kind);
		for (enum record_kind other = RECORD_MESSAGE; other <= RECORD_NUMBER; other++)
			assert_int_equal(opens(buf_str(&row), other), other == kind);
		buf_fini(&row);
	}
}

/* Damaged files are searched for rows: each says what it is, wherever it lies. */
static void rows_are_recognised_anywhere(void **state)
{
	(void)state;
	for (enum record_kind kind = RECORD_MESSAGE; kind <= RECORD_NUMBER; kind++) {
		struct record_name want = name_of(kind), got;
		struct buf row;
		size_t length, n;

		make_row(&row, kind);
		n = row.n;
		buf_add(&row, STR("something behind it"));
		assert_true(record_recognise(buf_str(&row), &got, &length));
		assert_int_equal(length, n);
		assert_true(got.kind == want.kind && got.id == want.id && got.number == want.number);
		for (size_t i = 0; i < n; i++)
			assert_false(record_recognise(str_head(buf_str(&row), i), &got, &length));
		buf_fini(&row);
	}
}

/* A page that LMDB put in another's place. */
static void another_ones_row_is_not_taken(void **state)
{
	struct queue_entry *e = entry_new();
	struct record_summary m;
	struct queue_rcpt r;
	struct buf row;
	str body;

	(void)state;
	make_row(&row, RECORD_MESSAGE);
	assert_false(record_read_message(buf_str(&row), ID + 1, e));
	assert_false(record_peek(buf_str(&row), ID + 1, &m));
	buf_fini(&row);
	make_row(&row, RECORD_RCPT);
	assert_false(record_read_rcpt(buf_str(&row), ID, 4, &e->arena, &r));
	assert_false(record_read_rcpt(buf_str(&row), ID + 1, 5, &e->arena, &r));
	buf_fini(&row);
	make_row(&row, RECORD_BODY_ROW);
	assert_false(record_open(buf_str(&row), (struct record_name){ RECORD_BODY_ROW, ID, 4 }, &body));
	buf_fini(&row);
	queue_entry_free(e);
}

/* Counts that lie, under a checksum that holds. */
static void lying_counts(void **state)
{
	static const struct { enum record_kind kind; size_t at, n; } counts[] = {
		{ RECORD_MESSAGE, 0, 4 }, { RECORD_FINISHED, 8, 4 },
		{ RECORD_RCPT, 1 + 1 + 4 + 3 * 8 + 4 + 17 + 4 + 1, 1 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(counts); i++) {
		struct buf row;

		make_row(&row, counts[i].kind);
		for (uint32_t n = 3; n != 0; n = n < 1u << (8 * counts[i].n - 1) ? 2 * n + 1 : 0) {
			char *p = row.p + row.head;

			memcpy(p + RECORD_HEAD + counts[i].at, &n, counts[i].n);
			record_head((unsigned char *)p, name_of(counts[i].kind), str_skip(buf_str(&row), RECORD_HEAD));
			assert_false(opens(buf_str(&row), counts[i].kind));
		}
		buf_fini(&row);
	}
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
		cmocka_unit_test(signing_round_trip),
		cmocka_unit_test(rcpt_round_trip),
		cmocka_unit_test(finished_round_trip),
		cmocka_unit_test(note_round_trip),
		cmocka_unit_test(number_round_trip),
		cmocka_unit_test(rows_are_recognised_anywhere),
		cmocka_unit_test(another_ones_row_is_not_taken),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(kinds_are_not_confused),
		cmocka_unit_test(lying_counts),
		cmocka_unit_test(keys_sort_by_age),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
