/* SPDX-License-Identifier: ISC */
/*
 * A store whose contents are known is damaged in every place in turn, and
 * opened.  Nothing that ended comes back, nobody who has a message is due to get
 * it again, every message that the damage did not touch is there with its
 * recipients as they were, and every other one is named.
 */
#include <fcntl.h>
#include <sys/stat.h>

#include "queue/pages.h"
#include "queue/salvage.h"
#include "smtpd/base/log.h"
#include "smtpd/base/map.h"
#include "tests/unit/queue/house.h"

#define MESSAGES 64
#define RCPTS    5
#define PAGE     4096

struct truth {
	uint64_t id;
	size_t   bytes, nrcpts;
	bool     finished;
	enum rcpt_state state[RCPTS];
};

struct ruin {
	char        *home;                 /* the whole store's state directory */
	struct truth v[MESSAGES];
	char        *file;                 /* its octets … */
	size_t       n;                    /* … up to the last page in use */
	char        *log;                  /* the path of this test's log */
	uint64_t     random;
	unsigned     untouched_held;       /* in all damages together */
};

static struct queue_conf conf_at(const char *dir)
{
	return (struct queue_conf){ .state = str_of(dir), .map_bytes = 64 << 20, .full_percent = 90,
	                            .keep_finished_ms = 7 * 86400000ull };
}

/* ---- the store that is known --------------------------------------------------------- */

static void fate(struct house *h, struct truth *m, uint32_t rcpt, enum fate what, enum rcpt_state then)
{
	struct queue_fate f = { .rcpt = rcpt, .fate = what, .next = clock_wall() + 3600, .tries = 1, .said = STR("250 so it is"),
	                        .place = what == FATE_STAGED ? STR("/var/mail/x\nname") : STR_NONE };
	bool gone = false;

	assert_int_equal(settle_one(h, m->id, f, &gone), OK);
	m->state[rcpt] = then;
	m->finished |= gone;
}

static void give_fates(struct house *h, struct truth *m, unsigned i)
{
	if (i % 4 == 0) {
		for (uint32_t k = 0; k < m->nrcpts; k++)
			fate(h, m, k, FATE_DELIVERED, RCPT_SETTLED);
		return;
	}
	if (m->nrcpts > 1)
		fate(h, m, 0, FATE_DELIVERED, RCPT_SETTLED);
	if (m->nrcpts > 2)
		fate(h, m, 1, FATE_DEFERRED, RCPT_WAITING);
	if (m->nrcpts > 3)
		fate(h, m, 2, FATE_HELD, RCPT_HELD);
	if (i % 3 == 0)
		fate(h, m, (uint32_t)m->nrcpts - 1, FATE_STAGED, RCPT_STAGED);
}

static void note_is_home(struct baton *b)
{
	*(bool *)SUPER(b, struct queue_note, baton)->user = true;
}

static void write_notes(struct house *h)
{
	for (unsigned i = 0; i < 20; i++) {
		struct queue_note *n = queue_note_new();
		bool done = false;
		char key[32];

		snprintf(key, sizeof(key), "sts:domain%u.test", i);
		n->key = str_keep(&n->arena, str_of(key));
		n->value = STR("version: STSv1");
		n->baton.home = h->home;
		n->baton.arrived = note_is_home;
		n->user = &done;
		queue_note_put(h->q, n);
		run_home(h, &done);
		assert_int_equal(n->result, OK);
		queue_note_free(n);
	}
}

static void read_file(struct ruin *r)
{
	char path[4200];
	struct pages_file f;
	struct pages p;

	snprintf(path, sizeof(path), "%s/queue/queue.mdb", r->home);
	assert_int_equal(pages_file_open(&f, path), OK);
	assert_true(pages_open(&p, &f));
	assert_true(p.agree);
	r->n = (size_t)p.n * PAGE;
	r->file = malloc(r->n);
	assert_true(pages_read(&p, 0, r->file, r->n));
	pages_close(&p);
	pages_file_close(&f);
}

static int set_up(void **state)
{
	static const size_t sizes[] = { 300, 1500, 3000, 300, 40000, 300, 270000, 900 };
	struct ruin *r = calloc(1, sizeof(*r));
	struct house h = { .map_bytes = 64 << 20 };
	str why;

	r->home = folder_new();
	h.dir = r->home;
	r->log = strdup("/tmp/postern-salvage-log-XXXXXX");
	close(mkstemp(r->log));
	assert_int_equal(log_open(LOG_TO_FILE, r->log, &why), OK);
	house_open(&h);
	h.q->conf.keep_finished_ms = 7 * 86400000ull;
	house_start(&h);
	for (unsigned i = 0; i < MESSAGES; i++) {
		struct truth *m = &r->v[i];

		m->bytes = sizes[i % COUNT(sizes)] + i;
		m->nrcpts = 1 + i % RCPTS;
		m->id = put_one(&h, i, m->bytes, m->nrcpts, NULL);
		if (i % 2 == 0)
			give_fates(&h, m, i);
	}
	write_notes(&h);
	r->random = queue_random(h.q);
	house_close(&h);
	read_file(r);
	*state = r;
	return 0;
}

static int tear_down(void **state)
{
	struct ruin *r = *state;

	remove_all(r->home);
	unlink(r->log);
	free(r->home);
	free(r->log);
	free(r->file);
	free(r);
	return 0;
}

/* ---- what a page holds, told independently ----------------------------------------------- */

static uint64_t le(const char *p, size_t n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | (unsigned char)p[n];
	return v;
}

/* Whether octets from..to of the file hold a part of a row of message `id`. */
static bool touches(const struct ruin *r, size_t from, size_t to, uint64_t id)
{
	for (size_t page = 2; page < r->n / PAGE; page++) {
		const char *p = r->file + page * PAGE;
		bool is_long = le(p, 8) == page && le(p + 10, 2) == 4;
		size_t n = is_long ? (size_t)le(p + 12, 4) * PAGE : PAGE;

		if ((page * PAGE < to && page * PAGE + n > from))
			for (size_t i = 16; i + RECORD_HEAD <= PAGE; i += 2)
				if (memcmp(p + i, "qrtp", 4) == 0 && le(p + i + 16, 8) == id)
					return true;
		if (is_long)
			page += n / PAGE - 1;
	}
	return false;
}

/* ---- one damage ------------------------------------------------------------------------------ */

struct life {
	struct ruin *r;
	char        *dir;
	struct queue_entry *found[MESSAGES];
	char        *log;
	size_t       from, to;             /* octets that were damaged */
	size_t       aside;                /* damaged rows under a damaged key: set aside under a number that is nobody's */
};

static void link_bodies(const struct ruin *r, const char *dir)
{
	char from[4300], to[4300];

	snprintf(to, sizeof(to), "%s/queue", dir);
	mkdir(to, 0700);
	snprintf(to, sizeof(to), "%s/queue/body", dir);
	mkdir(to, 0700);
	for (unsigned i = 0; i < MESSAGES; i++) {
		char name[QUEUE_ID_TEXT];

		queue_id_text(r->v[i].id, name);
		snprintf(from, sizeof(from), "%s/queue/body/%s", r->home, name);
		snprintf(to, sizeof(to), "%s/queue/body/%s", dir, name);
		if (link(from, to) != 0)
			assert_true(r->v[i].finished || r->v[i].bytes <= QUEUE_ROWS_MAX);
	}
}

static void write_store(const char *dir, const char *octets, size_t n)
{
	char path[4200];
	int fd;

	snprintf(path, sizeof(path), "%s/queue/queue.mdb", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, octets, n), n);
	close(fd);
}

static void keep(void *arg, struct queue_entry *e)
{
	struct life *l = arg;

	for (unsigned i = 0; i < MESSAGES; i++)
		if (l->r->v[i].id == e->id) {
			assert_null(l->found[i]);
			l->found[i] = e;
			return;
		}
	l->aside += e->damage != NULL;
	queue_entry_free(e);
}

static bool is_named(const struct life *l, uint64_t id)
{
	char name[QUEUE_ID_TEXT];

	return l->log != NULL && strstr(l->log, queue_id_text(id, name).p) != NULL;
}

static bool content_is(struct queue *q, const struct queue_entry *e, uint64_t seed, size_t bytes)
{
	char *got = malloc(bytes + 1), *want = malloc(bytes + 1);
	size_t n = 0;
	bool same;

	fill_content(want, seed, 0, bytes);
	same = queue_read(q, e->id, e->in_file, 0, got, bytes, &n) == OK && n == bytes && memcmp(got, want, bytes) == 0;
	free(got);
	free(want);
	return same;
}

static bool due(enum rcpt_state s)
{
	return s == RCPT_WAITING || s == RCPT_STAGED;
}

static void judge_one(struct life *l, struct queue *q, unsigned i)
{
	const struct truth *m = &l->r->v[i];
	struct queue_entry *e = l->found[i];
	bool touched = touches(l->r, l->from, l->to, m->id), whole, held = false;

	if (m->finished) {
		assert_null(e);
		return;
	}
	if (e == NULL) {
		bool traces = touches(l->r, 2 * PAGE, l->from, m->id) || touches(l->r, l->to, l->r->n, m->id);

		if (touched && traces && !is_named(l, m->id) && l->aside > 0)
			l->aside--;
		else if (!touched || (traces && !is_named(l, m->id)))
			fail_msg("message %u (%s) is neither there nor named; damage at %zu..%zu\n%s", i, touched ? "touched" : "untouched",
			         l->from, l->to, l->log);
		return;
	}
	whole = e->damage == NULL && content_is(q, e, i, m->bytes);
	if (!whole && !touched)
		fail_msg("message %u was not touched and is damaged; damage at %zu..%zu\n%s", i, l->from, l->to, l->log);
	for (uint32_t k = 0; e->damage == NULL && k < m->nrcpts; k++) {
		if (m->state[k] == RCPT_SETTLED && due(e->rcpts[k].state))
			fail_msg("recipient %u of message %u would get it twice; damage at %zu..%zu", k, i, l->from, l->to);
		if (due(m->state[k]) && e->rcpts[k].state == RCPT_HELD)
			held = true;
		if (due(m->state[k]) && e->rcpts[k].state == RCPT_SETTLED)
			fail_msg("recipient %u of message %u is lost; damage at %zu..%zu", k, i, l->from, l->to);
	}
	l->r->untouched_held += held && !touched;

	if (held && !is_named(l, m->id) && !e->rcpts[0].damaged) {
		bool row = false;

		for (uint32_t k = 0; k < m->nrcpts; k++)
			row |= e->rcpts[k].damaged;
		if (!row)
			fail_msg("message %u is held and nobody says so; damage at %zu..%zu", i, l->from, l->to);
	}
}

static char *log_since(struct ruin *r)
{
	int fd = open(r->log, O_RDWR);
	struct stat st;
	char *text;

	fstat(fd, &st);
	text = calloc(1, (size_t)st.st_size + 1);
	assert_int_equal(read(fd, text, (size_t)st.st_size), st.st_size);
	assert_int_equal(ftruncate(fd, 0), 0);
	close(fd);
	return text;
}

static struct queue *open_in(struct life *l, struct arena *a)
{
	struct queue_conf c = conf_at(l->dir);
	str why = STR_NONE;
	struct queue *q;

	arena_init(a, ARENA_UNBOUNDED);
	q = queue_open(&c, a, &why);
	if (q == NULL)
		fail_msg("damage at %zu..%zu: %.*s", l->from, l->to, STR_ARG(why));
	return q;
}

/* Opened, judged, and opened once more: what was mended stays so. */
static void live(struct ruin *r, const char *octets, size_t n, size_t from, size_t to)
{
	struct life l = { .r = r, .dir = folder_new(), .from = from, .to = to };
	struct arena a;
	struct queue *q;
	char *again;

	link_bodies(r, l.dir);
	write_store(l.dir, octets, n);
	q = open_in(&l, &a);
	l.log = log_since(r);
	assert_int_equal(queue_walk(q, keep, &l), OK);
	for (unsigned i = 0; i < MESSAGES; i++)
		judge_one(&l, q, i);
	for (unsigned i = 0; i < MESSAGES; i++)
		queue_entry_free(l.found[i]);
	queue_close(q);
	arena_fini(&a);
	q = open_in(&l, &a);
	queue_close(q);
	arena_fini(&a);
	again = log_since(r);
	if (strstr(again, "store.damaged") != NULL)
		fail_msg("damaged again after it was salvaged; damage at %zu..%zu:\n%s\n%s", from, to, l.log, again);
	free(again);
	free(l.log);
	remove_all(l.dir);
	free(l.dir);
}

/* ---- the damages ---------------------------------------------------------------------------------- */

static uint64_t seed_of_run(void)
{
	const char *s = getenv("POSTERN_SEED");

	return s ? strtoull(s, NULL, 10) : 20260101;
}

static uint64_t next_random(uint64_t *x)
{
	*x = *x * 6364136223846793005u + 1442695040888963407u;
	return *x >> 33;
}

static bool is_long_run(void)
{
	const char *s = getenv("POSTERN_LONG");

	return s != NULL && strcmp(s, "1") == 0;
}

static void undamaged(void **state)
{
	struct ruin *r = *state;

	live(r, r->file, r->n, 0, 0);
	assert_int_equal(r->untouched_held, 0);
}

/* Each page in turn is another's octets, or zero. */
static void each_page(void **state)
{
	struct ruin *r = *state;
	char *copy = malloc(r->n);
	uint64_t x = seed_of_run();
	size_t step = is_long_run() ? 1 : r->n / PAGE / 30 + 1, first = next_random(&x) % step;

	r->untouched_held = 0;
	for (size_t page = 0; page < r->n / PAGE; page += page < 8 ? 1 : step) {
		size_t at = (page < 8 ? page : page - page % step + first) * PAGE;

		if (at >= r->n)
			continue;
		memcpy(copy, r->file, r->n);
		for (size_t i = 0; i < PAGE; i++)
			copy[at + i] = page % 2 ? 0 : (char)next_random(&x);
		live(r, copy, r->n, at, at + PAGE);
	}
	free(copy);
	print_message("%u messages that were not touched were held\n", r->untouched_held);
}

/* Three octets anywhere in one page: its head, its offsets, a key, a row. */
static void some_octets(void **state)
{
	struct ruin *r = *state;
	char *copy = malloc(r->n);
	uint64_t x = seed_of_run() + 1;

	r->untouched_held = 0;
	for (unsigned run = 0; run < (is_long_run() ? 1000u : 40u); run++) {
		size_t at = next_random(&x) % (r->n / PAGE) * PAGE, most = run % 2 ? PAGE : 160;

		memcpy(copy, r->file, r->n);
		for (unsigned i = 0; i < 3; i++)
			copy[at + next_random(&x) % most] ^= (char)(1 + next_random(&x) % 255);
		live(r, copy, r->n, at, at + PAGE);
	}
	free(copy);
	print_message("%u messages that were not touched were held\n", r->untouched_held);
}

static void cut_off(void **state)
{
	struct ruin *r = *state;
	const size_t lengths[] = { 0, 1, 100, 4095, 4096, 4097, 8191, 8192, 3 * PAGE, r->n / 2, r->n / 2 + 7, r->n - 1, r->n - PAGE };
	char *zero = calloc(1, r->n);

	for (size_t i = 0; i < COUNT(lengths); i++)
		live(r, r->file, lengths[i], lengths[i], r->n);
	live(r, zero, r->n, 0, r->n);
	live(r, zero, 8192, 0, r->n);
	free(zero);
}

/* Both first pages are rubbish: nobody knows what is free, so what comes back is
 * held when it may have ended. */
static void without_meta_pages(void **state)
{
	struct ruin *r = *state;
	char *copy = malloc(r->n);

	memcpy(copy, r->file, r->n);
	memset(copy, 0xa5, 2 * PAGE);
	live(r, copy, r->n, 0, 2 * PAGE);
	free(copy);
}

/* ---- what the store knows of itself ----------------------------------------------------------------- */

struct places { size_t from[64], n[64], many; };

static void number_here(void *arg, const struct pages_row *row)
{
	struct places *l = arg;

	if (!str_is(row->table, "meta"))
		return;
	l->from[l->many] = (size_t)row->at - row->key.n;        /* key and value lie side by side */
	l->n[l->many++] = row->key.n + (size_t)row->n;
}

static bool read_octets(void *arg, uint64_t at, void *out, size_t n)
{
	const struct ruin *r = arg;

	if (at > r->n || n > r->n - at)
		return false;
	memcpy(out, r->file + at, n);
	return true;
}

/* Every number, and the name of every table. */
static void find_places(struct ruin *r, struct places *numbers, struct places *names)
{
	struct pages_file f = { .read = read_octets, .arg = r, .bytes = r->n };
	const struct pages_look look = { .row = number_here, .arg = numbers };
	struct pages p;

	*numbers = *names = (struct places){ .many = 0 };
	assert_true(pages_open(&p, &f));
	pages_walk(&p, &look);
	assert_int_equal(numbers->many, 4);
	assert_int_equal(p.ntables, TABLES);
	for (size_t i = 0; i < p.ntables; i++) {
		const char *page = r->file + p.meta[p.newest].tables.root * PAGE;
		const char *at = memmem(page, PAGE, p.tables[i].name, p.tables[i].name_n);

		assert_non_null(at);
		names->from[i] = (size_t)(at - r->file);
		names->n[i] = p.tables[i].name_n;
	}
	names->many = p.ntables;
	pages_close(&p);
}

static void live_with(struct ruin *r, size_t at, int bit)
{
	char *copy = malloc(r->n);
	char dir[] = "/tmp/postern-queue-XXXXXX", *text;
	struct life l = { .r = r, .dir = dir, .from = at, .to = at + 1 };
	struct arena a;
	struct queue *q;

	memcpy(copy, r->file, r->n);
	copy[at] = (char)(copy[at] ^ 1 << bit);
	live(r, copy, r->n, at, at + 1);
	assert_int_equal(r->untouched_held, 0);
	assert_non_null(mkdtemp(dir));
	link_bodies(r, dir);
	write_store(dir, copy, r->n);
	q = open_in(&l, &a);
	text = log_since(r);
	if (strstr(text, "store.damaged") == NULL)
		fail_msg("octet %zu has changed and nobody says so", at);
	assert_int_equal(queue_random(q), r->random);
	queue_close(q);
	arena_fini(&a);
	free(text);
	remove_all(dir);
	free(copy);
}

/* A number that is not what was written, or a table under another name: the
 * store is salvaged, and keeps its number and all its messages. */
static void what_it_knows_of_itself(void **state)
{
	struct ruin *r = *state;
	struct places numbers, names;
	uint64_t x = seed_of_run() + 2;

	find_places(r, &numbers, &names);
	r->untouched_held = 0;
	for (size_t i = 0; i < numbers.many; i++)
		for (size_t k = 0; k < numbers.n[i]; k += is_long_run() ? 1 : 1 + next_random(&x) % 24)
			live_with(r, numbers.from[i] + k, (int)(next_random(&x) % 8));
	for (size_t i = 0; i < names.many; i++)
		live_with(r, names.from[i] + names.n[i] - 1, 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_it_knows_of_itself),
		cmocka_unit_test(undamaged), cmocka_unit_test(each_page), cmocka_unit_test(some_octets),
		cmocka_unit_test(cut_off),   cmocka_unit_test(without_meta_pages),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
