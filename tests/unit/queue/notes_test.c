/* SPDX-License-Identifier: ISC */
/* Notes are kept as a whole, replaced, removed, and found again. */
#include "tests/unit/queue/house.h"

static void note_is_home(struct baton *b)
{
	*(bool *)SUPER(b, struct queue_note, baton)->user = true;
}

static enum err note(struct house *h, str key, str value)
{
	struct queue_note *n = queue_note_new();
	bool done = false;
	enum err e;

	n->baton.home = h->home;
	n->baton.arrived = note_is_home;
	n->user = &done;
	n->key = str_keep(&n->arena, key);
	n->value = value.p != NULL && value.n > 0 ? str_keep(&n->arena, value) : value;
	queue_note_put(h->q, n);
	run_home(h, &done);
	e = n->result;
	queue_note_free(n);
	return e;
}

static void assert_note(struct house *h, str key, str want)
{
	struct arena a;
	str got = STR_NONE;

	arena_init(&a, ARENA_UNBOUNDED);
	assert_int_equal(queue_note_get(h->q, key, &a, &got), want.p != NULL);
	assert_str(got, want);
	arena_fini(&a);
}

static void kept_replaced_removed(void **state)
{
	static const struct { str key, value; } steps[] = {
		{ { "sts:a.test", 10 }, { "version one", 11 } },
		{ { "sts:a.test", 10 }, { "two\0\xff", 5 } },
		{ { "sts:a.test", 10 }, { "", 0 } },
		{ { "sts:a.test", 10 }, { NULL, 0 } },
		{ { "sts:a.test", 10 }, { NULL, 0 } },
		{ { "sts:a.test", 10 }, { "again", 5 } },
	};
	struct house h = { 0 };

	(void)state;
	house_open(&h);
	house_start(&h);
	assert_note(&h, STR("sts:a.test"), STR_NONE);
	for (size_t i = 0; i < COUNT(steps); i++) {
		assert_int_equal(note(&h, steps[i].key, steps[i].value), OK);
		assert_note(&h, steps[i].key, steps[i].value);
	}
	house_close(&h);
	house_open(&h);
	assert_note(&h, STR("sts:a.test"), STR("again"));
	house_close(&h);
	house_burn(&h);
}

static void limits(void **state)
{
	struct house h = { 0 };
	char *big = calloc(1, (64 << 10) + 1), key[201];

	(void)state;
	memset(key, 'k', sizeof(key));
	house_open(&h);
	house_start(&h);
	assert_int_equal(note(&h, (str){ key, 200 }, (str){ big, 64 << 10 }), OK);
	assert_note(&h, (str){ key, 200 }, (str){ big, 64 << 10 });
	assert_int_equal(note(&h, (str){ key, 201 }, STR("v")), ERR_BAD);
	assert_int_equal(note(&h, STR("k"), (str){ big, (64 << 10) + 1 }), ERR_BAD);
	assert_int_equal(note(&h, STR_NONE, STR("v")), ERR_BAD);
	assert_note(&h, STR("k"), STR_NONE);
	assert_note(&h, (str){ key, 201 }, STR_NONE);
	house_close(&h);
	house_burn(&h);
	free(big);
}

struct seen { char text[200]; size_t most; };

static bool seen(void *arg, str key, str value)
{
	struct seen *s = arg;
	size_t n = strlen(s->text);

	snprintf(s->text + n, sizeof(s->text) - n, "%.*s=%.*s ", STR_ARG(key), STR_ARG(value));
	return --s->most > 0;
}

static void by_prefix(void **state)
{
	static const struct { const char *prefix; size_t most; const char *want; } cases[] = {
		{ "sts:", 9, "sts:a=1 sts:b=2 " }, { "sts:b", 9, "sts:b=2 " }, { "", 9, "dane:a=3 sts:a=1 sts:b=2 tls=4 " },
		{ "", 2, "dane:a=3 sts:a=1 " }, { "zone", 9, "" },
	};
	struct house h = { 0 };
	struct store_txn t;

	(void)state;
	house_open(&h);
	house_start(&h);
	note(&h, STR("sts:b"), STR("2"));
	note(&h, STR("tls"), STR("4"));
	note(&h, STR("sts:a"), STR("1"));
	note(&h, STR("dane:a"), STR("3"));
	queue_stop(h.q);
	/* One that is damaged is as good as absent. */
	store_begin(h.q->store, &t);
	store_put(&t, TABLE_NOTE, STR("sts:ab"), STR("not a record"));
	assert_int_equal(store_commit(&t), OK);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct seen s = { .most = cases[i].most };

		queue_notes_each(h.q, str_of(cases[i].prefix), seen, &s);
		assert_string_equal(s.text, cases[i].want);
	}
	assert_note(&h, STR("sts:ab"), STR_NONE);
	house_close(&h);
	house_burn(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kept_replaced_removed),
		cmocka_unit_test(limits),
		cmocka_unit_test(by_prefix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
