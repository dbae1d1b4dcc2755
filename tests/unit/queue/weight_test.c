/* SPDX-License-Identifier: ISC */
/* What a queued recipient weighs in memory, and what a line of them costs. */
#include "tests/unit/queue/yard.h"

#include <malloc.h>

#include "queue/deliver/timetable_inside.h"
#include "queue/internal.h"

#define MANY 100000

static bool is_sanitized(void)
{
#ifdef SANITIZED
	return true;                     /* its allocator weighs otherwise */
#else
	return false;
#endif
}

static size_t memory(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* As the store gives it at a start. */
static struct queue_entry *entry_of(uint64_t id, const char *to, size_t rcpts)
{
	struct queue_entry *e = entry_new();

	e->id = id;
	e->arrived = clock_wall();
	e->sender = STR("anna@us.test");
	e->nrcpts = rcpts;
	e->rcpts = ARENA_ARRAY(&e->arena, struct queue_rcpt, rcpts);
	for (size_t i = 0; i < rcpts; i++)
		e->rcpts[i] = (struct queue_rcpt){ .address = str_of(to), .next = e->arrived + 3600, .tries = 1 };
	return e;
}

struct weighing { const char *what, *to; size_t messages, rcpts; int64_t next; size_t most; };

static size_t weigh(const struct weighing *w)
{
	struct yard y;
	size_t before, after;

	yard_new(&y);
	house_open(&y.h);
	y.t = timetable_new(y.h.q, NULL, 0, y.h.disk, &y.setup, take_letter);
	timetable_here = y.t;
	before = memory();
	for (size_t i = 0; i < w->messages; i++) {
		struct queue_entry *e = entry_of(i + 1, w->to, w->rcpts);

		for (size_t k = 0; k < w->rcpts; k++)
			e->rcpts[k].next = e->arrived + w->next;
		message_add(y.t, e, true, false);
	}
	after = memory();
	assert_int_equal(figures(&y).waiting, w->messages * w->rcpts);
	timetable_free(y.t);
	house_close(&y.h);
	yard_burn(&y);
	return (after - before) / (w->messages * w->rcpts);
}

static void a_recipient_weighs_little(void **state)
{
	static const struct weighing cases[] = {
		{ "waiting, one a message", "x@dead.test", MANY, 1, 3600, 220 },
		{ "in line, one a message", "x@dead.test", MANY, 1, 0, 220 },
		{ "waiting, a hundred a message", "x@dead.test", MANY / 100, 100, 3600, 30 },
	};

	(void)state;
	if (is_sanitized())
		skip();
	for (size_t i = 0; i < COUNT(cases); i++) {
		size_t each = weigh(&cases[i]);

		print_message("%s: %zu bytes\n", cases[i].what, each);
		if (each == 0 || each >= cases[i].most)
			fail_msg("%s: %zu bytes each", cases[i].what, each);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_recipient_weighs_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
