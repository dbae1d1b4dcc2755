/* SPDX-License-Identifier: ISC */
/* What the doctor remembers, and what it calls a change. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/setup/doctor/memory.h"
#include "smtpd/setup/verbs.h"

/* The front door's, which is not linked here. */
const struct module *const builtin_modules[] = { NULL };
const struct verb verbs[] = { { 0 } };

#define ONE(check_, about_, verdict_, seen_) { .check = STR(check_), .subject = STR("heal.test"), .about = STR(about_), \
	.seen = STR(seen_), .verdict = (verdict_) }

/* ---- the file ------------------------------------------------------------------------------------- */

static void is_written_and_read(void **state)
{
	struct remembered v[] = { ONE("spf", "", DOCTOR_OK, "fine"), ONE("mx", "mx.heal.test \"x\"", DOCTOR_FAULT, "an alias\nof it") };
	struct memory m = { 1234567, v, 2 }, back;
	struct arena a;
	char *text = memory_text(&m);

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	assert_int_equal(memory_read(str_of(text), &a, &back), OK);
	assert_int_equal(back.when, 1234567);
	assert_int_equal(back.n, 2);
	for (size_t i = 0; i < 2; i++) {
		assert_true(str_eq(back.v[i].check, v[i].check) && str_eq(back.v[i].subject, v[i].subject));
		assert_true(str_eq(back.v[i].about, v[i].about) && str_eq(back.v[i].seen, v[i].seen));
		assert_int_equal(back.v[i].verdict, v[i].verdict);
	}
	free(text);
	arena_fini(&a);
}

static void damaged_files_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "{", "[]", "{}", "{\"version\":2,\"when\":1,\"seen\":[]}", "{\"version\":1,\"seen\":[]}", "{\"version\":1,\"when\":1,\"seen\":[1]}",
		"{\"version\":1,\"when\":1,\"seen\":[{\"check\":\"spf\"}]}",
		"{\"version\":1,\"when\":1,\"seen\":[{\"check\":\"spf\",\"subject\":\"a\",\"about\":\"\",\"seen\":\"\",\"verdict\":\"good\"}]}",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++) {
		struct memory m;
		struct arena a;

		arena_init(&a, ARENA_UNBOUNDED);
		if (memory_read(str_of(bad[i]), &a, &m) != ERR_BAD)
			fail_msg("%s", bad[i]);
		arena_fini(&a);
	}
}

/* ---- changes ------------------------------------------------------------------------------------------ */

static void changes_are_found(void **state)
{
	static const struct remembered fine = ONE("spf", "", DOCTOR_OK, "fine"), other = ONE("spf", "", DOCTOR_OK, "other"),
	                               bad = ONE("spf", "", DOCTOR_FAULT, "bad"), room40 = ONE("disk", "/", DOCTOR_OK, "40 %"),
	                               room30 = ONE("disk", "/", DOCTOR_OK, "30 %"), full = ONE("disk", "/", DOCTOR_FAULT, "1 %"),
	                               there = ONE("reverse", "1", DOCTOR_OK, "x"), second = ONE("reverse", "2", DOCTOR_OK, "x"),
	                               strange = ONE("no-such-check", "", DOCTOR_OK, "x");
	static const struct {
		const char *what;
		const struct remembered *old[3], *now[3];
		size_t n;
		const char *was, *is;         /* of the first; NULL: nothing */
	} table[] = {
		{ "nothing", { &fine, &there }, { &fine, &there }, 0, NULL, NULL },
		{ "another order", { &fine, &there }, { &there, &fine }, 0, NULL, NULL },
		{ "the verdict", { &fine }, { &bad }, 1, "fine", "bad" },
		{ "the words", { &fine }, { &other }, 1, "fine", "other" },
		{ "what wavers", { &room40 }, { &room30 }, 0, NULL, NULL },
		{ "what wavers, its verdict", { &room40 }, { &full }, 1, "40 %", "1 %" },
		{ "an address more", { &there }, { &there, &second }, 1, NULL, "x" },
		{ "an address less", { &there, &second }, { &there }, 1, "x", NULL },
		{ "another beside it", { &fine }, { &fine, &bad }, 1, NULL, "bad" },
		{ "two at a place, one new", { &fine, &other }, { &fine, &bad }, 1, "other", "bad" },
		{ "a check that was not there", { &fine }, { &fine, &strange }, 0, NULL, NULL },
		{ "a check that is gone", { &fine, &strange }, { &fine }, 0, NULL, NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct remembered o[3], w[3];
		struct memory old = { .v = o }, now = { .v = w };
		struct change *v;
		struct arena a;
		size_t n;

		arena_init(&a, ARENA_UNBOUNDED);
		for (size_t k = 0; k < 3 && table[i].old[k] != NULL; k++)
			o[old.n++] = *table[i].old[k];
		for (size_t k = 0; k < 3 && table[i].now[k] != NULL; k++)
			w[now.n++] = *table[i].now[k];
		n = memory_compare(&old, &now, &a, &v);
		if (n != table[i].n || (n > 0 && ((v[0].was != NULL) != (table[i].was != NULL) || (v[0].is != NULL) != (table[i].is != NULL) ||
		                                  (v[0].was != NULL && !str_is(v[0].was->seen, table[i].was)) ||
		                                  (v[0].is != NULL && !str_is(v[0].is->seen, table[i].is)))))
			fail_msg("%s: %zu changes", table[i].what, n);
		arena_fini(&a);
	}
}

/* What could not be seen is remembered as it was. */
static void the_unseen_is_no_change(void **state)
{
	struct remembered o[] = { ONE("reverse", "1", DOCTOR_OK, "x"), ONE("reverse", "2", DOCTOR_OK, "y"), ONE("spf", "", DOCTOR_OK, "z") };
	struct finding reverse[] = { { .verdict = DOCTOR_OK, .about = STR("1"), .seen = STR("x") },
		                     { .verdict = DOCTOR_NOTE, .unknown = true, .about = STR("2"), .seen = STR("no answer") } };
	struct finding spf[] = { { .verdict = DOCTOR_NOTE, .unknown = true, .seen = STR("no answer") } };
	struct exam exams[] = { { .check = doctor_check(STR("reverse")), .subject = STR("heal.test"), .v = reverse, .n = 2, .done = true },
		                { .check = doctor_check(STR("spf")), .subject = STR("heal.test"), .v = spf, .n = 1, .done = true } };
	struct doctor d = { .v = exams, .n = 2 };
	struct memory old = { 1, o, 3 }, now;
	struct change *v;
	struct arena a;

	(void)state;
	arena_init(&a, ARENA_UNBOUNDED);
	memory_of(&d, &old, 2, &a, &now);
	assert_int_equal(now.n, 3);
	assert_int_equal(now.when, 2);
	assert_int_equal(memory_compare(&old, &now, &a, &v), 0);
	memory_of(&d, NULL, 2, &a, &now);
	assert_int_equal(now.n, 1);
	arena_fini(&a);
}

static void a_letter_says_what_to_do(void **state)
{
	struct remembered was = ONE("spf", "192.0.2.1", DOCTOR_OK, "passes"), is = ONE("spf", "192.0.2.1", DOCTOR_FAULT, "fails");
	const struct change v[] = { { &was, &is }, { NULL, &was }, { &was, NULL } };
	struct arena a;

	(void)state;
	is.todo = STR("mend it");
	arena_init(&a, ARENA_UNBOUNDED);
	str text = changes_text(v, 3, &a);

	assert_true(str_is(text, "heal.test, spf, 192.0.2.1\r\n    was  ok: passes\r\n    is   fault: fails\r\n    do   mend it\r\n\r\n"
	                   "heal.test, spf, 192.0.2.1\r\n    was  nothing to say\r\n    is   ok: passes\r\n\r\n"
	                   "heal.test, spf, 192.0.2.1\r\n    was  ok: passes\r\n    is   nothing to say\r\n\r\n"));
	arena_fini(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(is_written_and_read), cmocka_unit_test(damaged_files_are_refused), cmocka_unit_test(changes_are_found),
		cmocka_unit_test(the_unseen_is_no_change), cmocka_unit_test(a_letter_says_what_to_do),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
