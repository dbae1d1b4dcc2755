/* SPDX-License-Identifier: ISC */
/*
 * A store with 100,000 messages: opened and walked in less than a second.
 *
 * `crowd_test fill DIR N ADDRESS` leaves such a store below DIR, for
 * tests/crash/crowd_test.py.
 */
#include "tests/unit/queue/house.h"

#include <inttypes.h>
#include <sys/resource.h>

#define MANY  100000
#define WAVE  1000               /* puts that are under way at once */
#define TEXT  "From: anna@us.test\r\nSubject: one of many\r\n\r\nThis is one of many.\r\n"
#define HEADER 44

static void put_one_of_many(struct house *h, struct putting *w, const char *to)
{
	struct path sender = path_at("anna@us.test"), rcpt = path_at(to);
	struct spool *s = spool_new(h->q, h->home);

	*w = (struct putting){ .id = queue_new_id(h->q) };
	arena_init(&w->arena, ARENA_UNBOUNDED);
	w->put = queue_put_new(h->q, &w->arena, h->home, w->id);
	assert_true(spool_add(s, STR(TEXT)));
	queue_put_from(w->put, &sender, 0, STR_NONE, STR_NONE);
	queue_put_rcpt(w->put, &rcpt, 0, STR_NONE);
	queue_put_header_bytes(w->put, HEADER);
	queue_put_body(w->put, s);
	queue_put_submit(w->put, put_is_home, w);
}

static void fill(struct house *h, size_t n, const char *to)
{
	static struct putting puts[WAVE];

	house_open(h);
	house_start(h);
	for (size_t done = 0; done < n; done += WAVE) {
		for (size_t i = 0; i < WAVE; i++)
			put_one_of_many(h, &puts[i], to);
		for (size_t i = 0; i < WAVE; i++)
			assert_int_equal(put_finish(h, &puts[i]), OK);
		run_all(h->news);
	}
	house_close(h);
}

static void count_one(void *arg, struct queue_entry *e)
{
	*(size_t *)arg += e->damage == NULL && e->nrcpts == 1;
	queue_entry_free(e);
}

static uint64_t cpu_ms(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000 +
	       (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1000;
}

static bool is_sanitized(void)
{
#ifdef SANITIZED
	return true;                     /* it takes its time */
#else
	return false;
#endif
}

/* Of our own time: what others do on the machine does not count. */
static void many_are_walked_in_a_second(void **state)
{
	struct house h = { .map_bytes = (uint64_t)1 << 30 };
	size_t n = is_sanitized() ? MANY / 50 : MANY, seen = 0;
	uint64_t begun, took;

	(void)state;
	fill(&h, n, "x@dead.test");
	begun = cpu_ms();
	house_open(&h);
	assert_int_equal(queue_walk(h.q, count_one, &seen), OK);
	took = cpu_ms() - begun;
	assert_int_equal(seen, n);
	print_message("%zu messages: %" PRIu64 " ms\n", n, took);
	assert_true(took < 1000);
	house_close(&h);
	house_burn(&h);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_are_walked_in_a_second),
	};

	if (argc == 5 && strcmp(argv[1], "fill") == 0) {
		fill(&(struct house){ .dir = argv[2], .map_bytes = (uint64_t)4 << 30 }, strtoul(argv[3], NULL, 10), argv[4]);
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
