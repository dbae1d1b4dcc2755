/* SPDX-License-Identifier: ISC */
/*
 * The book on disk: what is written is read again, what is damaged or from the
 * future is told, and nothing is half written.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "modules/module.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/verbs.h"

/* What postern.c has: nobody asks for it here. */
const struct verb verbs[] = { { 0 } };
const struct module *const builtin_modules[] = { NULL };

struct house { struct arena a; char dir[64]; struct key_plan plan; };

static int begin(void **state)
{
	struct house *h = calloc(1, sizeof(*h));

	assert_non_null(h);
	arena_init(&h->a, ARENA_UNBOUNDED);
	strcpy(h->dir, "/tmp/postern-book-XXXXXX");
	assert_non_null(mkdtemp(h->dir));
	h->plan = (struct key_plan){ .domain = STR("example.org"), .folder = arena_printf(&h->a, "%s/keys/example.org", h->dir) };
	*state = h;
	return 0;
}

static int end(void **state)
{
	struct house *h = *state;
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", h->dir);
	assert_int_equal(system(command), 0);
	arena_fini(&h->a);
	free(h);
	return 0;
}

static void fill(struct house *h, struct life_book *b)
{
	static const struct life_want wants[] = { { 1, LIFE_RSA_2048 }, { 1, LIFE_ED25519 }, { 2, LIFE_RSA_4096 } };

	*b = (struct life_book){ .domain = STR("example.org"), .arena = &h->a, .set = 1, .turned = 77 };
	for (size_t i = 0; i < COUNT(wants); i++)
		assert_non_null(life_add(b, &wants[i], arena_printf(&h->a, "r%zu", i), STR("v=DKIM1; p=\"x\\y\""), 1000 + (int64_t)i, NULL));
	b->keys[0].state = LIFE_ACTIVE;
	b->keys[0].at[LIFE_ACTIVE] = 1234567890123;
	b->keys[0].out = true;
	b->keys[0].sight = LIFE_SHOWN;
	b->keys[0].signed_last = 5;
	b->keys[1].said = STR("ns1 (192.0.2.1) shows \"something\"\n else");
	b->keys[1].sight = LIFE_OTHER;
	b->keys[1].bad = 9;
	b->keys[2].written = LIFE_RECORD_EMPTY;
	b->keys[2].private_part = LIFE_PRIVATE_PUBLISHED;
	b->keys[2].state = LIFE_REVOKED;
}

static void what_is_written_is_read_again(void **state)
{
	struct house *h = *state;
	struct life_book b, c;
	struct stat st;
	str why = STR_NONE;
	int lock;

	fill(h, &b);
	assert_int_equal(book_lock(&h->plan, &h->a, &lock, &why), OK);
	assert_int_equal(book_write(&h->plan, &b, &h->a, &why), OK);
	assert_int_equal(book_write(&h->plan, &b, &h->a, &why), OK);           /* in the place of the old one */
	close(lock);
	assert_int_equal(stat(str_cstr(&h->a, arena_printf(&h->a, "%.*s/book.json", STR_ARG(h->plan.folder))), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(book_read(&h->plan, &h->a, &c, &why), OK);
	assert_int_equal(c.set, b.set);
	assert_int_equal(c.turned, b.turned);
	assert_int_equal(c.n, b.n);
	for (size_t i = 0; i < b.n; i++) {
		const struct life_key *x = &b.keys[i], *y = &c.keys[i];

		assert_true(str_eq(x->selector, y->selector) && str_eq(x->record, y->record) && str_eq(x->said, y->said));
		assert_true(x->algorithm == y->algorithm && x->state == y->state && x->sight == y->sight && x->set == y->set);
		assert_true(x->written == y->written && x->private_part == y->private_part && x->out == y->out);
		assert_true(x->signed_last == y->signed_last && x->looked == y->looked && x->good == y->good && x->bad == y->bad);
		assert_memory_equal(x->at, y->at, sizeof(x->at));
	}
}

static void a_book_that_is_not_there_is_empty(void **state)
{
	struct house *h = *state;
	struct life_book b;
	str why = STR_NONE;

	assert_int_equal(book_read(&h->plan, &h->a, &b, &why), OK);
	assert_int_equal(b.n, 0);
}

static void what_is_no_book_is_told(void **state)
{
	static const struct { const char *text, *word; } cases[] = {
		{ "", "damaged" },
		{ "{", "damaged" },
		{ "[]", "damaged" },
		{ "{\"version\": 1, \"keys\": [{}]}", "damaged" },
		{ "{\"version\": 1, \"keys\": [{\"selector\": \"../x\", \"state\": \"active\"}]}", "damaged" },
		{ "{\"version\": 2, \"keys\": []}", "newer postern" },
	};
	struct house *h = *state;

	for (size_t i = 0; i < COUNT(cases); i++) {
		str path = arena_printf(&h->a, "%.*s/book.json", STR_ARG(h->plan.folder)), why = STR_NONE;
		struct life_book b;

		assert_int_equal(directory_create(h->plan.folder, &h->a, &why), OK);
		assert_int_equal(file_replace(path, 0600, str_of(cases[i].text), &h->a, &why), OK);
		assert_int_equal(book_read(&h->plan, &h->a, &b, &why), ERR_BAD);
		if (strstr(str_cstr(&h->a, why), cases[i].word) == NULL)
			fail_msg("%s: %.*s", cases[i].text, STR_ARG(why));
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_written_is_read_again, begin, end),
		cmocka_unit_test_setup_teardown(a_book_that_is_not_there_is_empty, begin, end),
		cmocka_unit_test_setup_teardown(what_is_no_book_is_told, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
