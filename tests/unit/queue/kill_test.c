/* SPDX-License-Identifier: ISC */
/*
 * Lives that end by SIGKILL at random moments under load.  In the next one
 * every acknowledged message is there exactly once, whole, and what was
 * settled stays settled.  POSTERN_SEED repeats a run, POSTERN_LONG=1 kills
 * 300 times.
 */
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "smtpd/base/map.h"
#include "tests/unit/queue/house.h"

#define IN_FLIGHT 24
#define NOTES     200000

enum { FREE, PUT, SETTLING, GONE };

struct note { uint64_t id; _Atomic int state; };
struct notes {                          /* shared with the life that writes them */
	_Atomic size_t n;
	_Atomic bool   going;
	struct note    v[NOTES];
};

/* The content tells its length: what is found can be judged alone. */
static size_t length_of(uint64_t id)
{
	switch (id % 16) {
	case 0:
		return 300000 + id % 1000;      /* a file */
	case 1:
	case 2:
		return 40000 + id % 30000;
	default:
		return id % 3000;
	}
}

/* ---- a life --------------------------------------------------------------------------- */

struct worker {
	struct house    *h;
	struct notes    *notes;
	struct arena     arena;
	struct spool    *spool;
	struct note     *note;
	bool             ready;
	uint64_t         id;
};

static void begin(struct worker *w);

static void settled(struct baton *b)
{
	struct queue_fates *f = SUPER(b, struct queue_fates, baton);
	struct worker *w = f->user;

	if (f->result == OK && f->gone)
		atomic_store(&w->note->state, GONE);
	queue_fates_free(f);
	begin(w);
}

static void settle(struct worker *w)
{
	struct queue_fates *f = queue_fates_new(1);

	atomic_store(&w->note->state, SETTLING);
	f->baton.home = w->h->home;
	f->baton.arrived = settled;
	f->user = w;
	f->id = w->id;
	f->v[0] = (struct queue_fate){ .fate = FATE_DELIVERED };
	queue_settle(w->h->q, f);
}

static void stored(struct queue_put *p, enum err e, void *arg)
{
	struct worker *w = arg;

	(void)p;
	arena_fini(&w->arena);
	if (e != OK)
		_exit(3);
	w->note = &w->notes->v[atomic_load(&w->notes->n)];
	w->note->id = w->id;
	atomic_store(&w->note->state, PUT);
	if (atomic_fetch_add(&w->notes->n, 1) + 1 == NOTES)
		_exit(4);
	if (w->id % 4 != 0)
		settle(w);
	else
		begin(w);
}

static void begin(struct worker *w)
{
	struct path from = path_at("anna@example.org"), to = path_at("bob@office.test");
	struct queue *q = w->h->q;
	struct queue_put *p;
	size_t n;
	char *body;

	w->id = queue_new_id(q);
	n = length_of(w->id);
	body = malloc(n + 1);
	fill_content(body, w->id, 0, n);
	w->spool = spool_new(q, w->h->home);
	spool_add(w->spool, (str){ body, n });
	free(body);
	arena_init(&w->arena, ARENA_UNBOUNDED);
	p = queue_put_new(q, &w->arena, w->h->home, w->id);
	queue_put_from(p, &from, 0, STR_NONE, STR_NONE);
	queue_put_rcpt(p, &to, RCPT_LOCAL, STR_NONE);
	queue_put_body(p, w->spool);
	queue_put_submit(p, stored, w);
}

static void live(char *dir, struct notes *notes)
{
	static struct worker workers[IN_FLIGHT];
	struct house h = { .dir = dir };
	bool never = false;

	house_open(&h);
	house_start(&h);
	queue_watch(h.q, NULL, NULL);
	atomic_store(&notes->going, true);
	for (size_t i = 0; i < IN_FLIGHT; i++) {
		workers[i] = (struct worker){ .h = &h, .notes = notes };
		begin(&workers[i]);
	}
	run_home(&h, &never);
}

/* ---- judging ------------------------------------------------------------------------------ */

struct judging {
	struct house *h;
	struct map    here;
	size_t        n;
};

static void seen(void *arg, struct queue_entry *e)
{
	struct judging *j = arg;
	uint64_t *id = arena_alloc(&j->h->arena, sizeof(*id));

	*id = e->id;
	assert_null(map_get(&j->here, (str){ (char *)id, sizeof(*id) }));
	assert_true(map_put(&j->here, (str){ (char *)id, sizeof(*id) }, id));
	assert_int_equal(e->bytes, length_of(e->id));
	if (e->id % 64 == 0 || e->in_file)
		assert_content(j->h, e, e->id, 65536);
	j->n++;
	queue_entry_free(e);
}

static void judge(char *dir, struct notes *notes, size_t lives, size_t *stored_, size_t *files)
{
	struct house h = { .dir = dir };
	struct judging j = { .h = &h };

	house_open(&h);
	assert_true(queue_was_unclean(h.q));
	house_start(&h);
	map_init(&j.here, false);
	assert_int_equal(queue_walk(h.q, seen, &j), OK);
	*stored_ = *files = 0;
	for (size_t i = 0; i < atomic_load(&notes->n); i++) {
		struct note *n = &notes->v[i];
		bool here = map_get(&j.here, (str){ (char *)&n->id, sizeof(n->id) }) != NULL;

		switch (atomic_load(&n->state)) {
		case PUT:
			if (!here)
				fail_msg("message %zu was acknowledged and is not there", i);
			break;
		case SETTLING:                  /* either, but from now on for good */
			atomic_store(&n->state, here ? PUT : GONE);
			break;
		case GONE:
			if (here)
				fail_msg("message %zu was settled and is there", i);
		}
		*stored_ += here;
	}
	/* At most what was in flight was committed and never acknowledged. */
	assert_true(j.n <= *stored_ + IN_FLIGHT * lives);
	for (size_t at = 0; ; ) {
		struct map_entry *m = map_next(&j.here, &at);

		if (m == NULL)
			break;
		*files += *(uint64_t *)m->value % 16 == 0;
	}
	assert_int_equal(files_in_body(&h), *files);
	map_fini(&j.here);
	house_close(&h);
}

/* Until so many more have been acknowledged, or the time is up. */
static void wait_for(struct notes *notes, size_t more, uint64_t until)
{
	size_t n = atomic_load(&notes->n) + more;

	while (atomic_load(&notes->n) < n && clock_ms() < until)
		usleep(200);
}

static void killed_at_random(void **state)
{
	const char *given = getenv("POSTERN_SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL) ^ (unsigned)getpid() << 8;
	int kills = getenv("POSTERN_LONG") ? 300 : 20;
	struct notes *notes = mmap(NULL, sizeof(*notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t left = 0, files = 0, all = 0;
	char *dir = NULL;

	(void)state;
	assert_true(notes != MAP_FAILED);
	print_message("POSTERN_SEED=%u\n", seed);
	srand(seed);
	for (int i = 0; i < kills; i++) {
		pid_t child;
		int status;

		if (i % 50 == 0) {              /* a new directory now and then */
			if (dir != NULL)
				remove_all(dir);
			free(dir);
			dir = folder_new();
			atomic_store(&notes->n, 0);
		}
		atomic_store(&notes->going, false);
		child = fork();
		if (child == 0) {
			live(dir, notes);
			_exit(5);
		}
		while (!atomic_load(&notes->going))
			usleep(500);
		wait_for(notes, (size_t)rand() % 200, clock_ms() + 300);
		usleep((useconds_t)(rand() % 5000));
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (!WIFSIGNALED(status))
			fail_msg("the life ended by itself with %d", status);
		judge(dir, notes, (size_t)i % 50 + 1, &left, &files);
		all = atomic_load(&notes->n);
	}
	print_message("%d kills; in the last directory %zu messages acknowledged, %zu left in the store, %zu as files\n",
	              kills, all, left, files);
	assert_true(all > 100);
	remove_all(dir);
	free(dir);
	munmap(notes, sizeof(*notes));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
