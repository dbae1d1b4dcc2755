/* SPDX-License-Identifier: ISC */
/*
 * A strong room in a directory of its own, a disk desk, and a home for what
 * comes back.  The test's thread plays the loop.
 */
#ifndef TESTS_QUEUE_HOUSE_H
#define TESTS_QUEUE_HOUSE_H

#include <dirent.h>
#include <ftw.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "queue/internal.h"
#include "smtpd/base/clock.h"

struct house {
	char             *dir;
	uint64_t          map_bytes, keep_finished_ms;
	struct arena      arena;
	struct desk      *disk;
	struct mbox      *home, *news;
	struct queue     *q;
};

/* ---- directories ------------------------------------------------------------------ */

static inline int remove_it(const char *path, const struct stat *st, int what, struct FTW *at)
{
	(void)st;
	(void)what;
	(void)at;
	return remove(path);
}

static inline void remove_all(const char *path)
{
	nftw(path, remove_it, 16, FTW_DEPTH | FTW_PHYS);
}

/* What a test that failed leaves behind. */
static struct { char name[64][32]; size_t n; pid_t owner; } folders;

static inline void folders_end(void)
{
	for (size_t i = 0; i < folders.n && i < COUNT(folders.name) && getpid() == folders.owner; i++)
		remove_all(folders.name[i]);
}

static inline char *folder_new(void)
{
	char name[] = "/tmp/postern-queue-XXXXXX";

	assert_non_null(mkdtemp(name));
	if (folders.n == 0 && atexit(folders_end) == 0)
		folders.owner = getpid();
	memcpy(folders.name[folders.n++ % COUNT(folders.name)], name, sizeof(name));
	return strdup(name);
}

static inline size_t files_in_body(const struct house *h)
{
	char path[4096];
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/queue/body", h->dir);
	d = opendir(path);
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* ---- open, close ------------------------------------------------------------------- */

static inline struct queue_conf house_conf(const struct house *h)
{
	return (struct queue_conf){ .state = str_of(h->dir), .map_bytes = h->map_bytes ? h->map_bytes : 256 << 20,
	                            .full_percent = 90, .free_disk_percent = 0,
	                            .keep_finished_ms = h->keep_finished_ms };
}

static inline void house_open(struct house *h)
{
	struct queue_conf conf;
	str why = STR_NONE;

	if (h->dir == NULL)
		h->dir = folder_new();
	conf = house_conf(h);
	arena_init(&h->arena, ARENA_UNBOUNDED);
	h->disk = desk_open("disk", 2);
	h->home = mbox_new(NULL, NULL);
	h->q = queue_open(&conf, &h->arena, &why);
	if (h->q == NULL)
		fail_msg("%.*s", STR_ARG(why));
}

static inline void drop_news(struct baton *b)
{
	queue_entry_free(SUPER(b, struct queue_news, baton)->entry);
}

static inline void house_start(struct house *h)
{
	h->news = mbox_new(NULL, NULL);
	queue_watch(h->q, h->news, drop_news);
	assert_int_equal(queue_start(h->q, h->disk), OK);
}

static inline void run_all(struct mbox *m)
{
	for (struct baton *b = m ? mbox_take_all(m) : NULL, *next; b != NULL; b = next) {
		next = b->next;
		b->arrived(b);
	}
}

static inline void house_close(struct house *h)
{
	desk_close(h->disk);
	run_all(h->home);
	queue_stop(h->q);
	run_all(h->home);
	run_all(h->news);
	queue_close(h->q);
	mbox_free(h->home);
	mbox_free(h->news);
	arena_fini(&h->arena);
	h->news = NULL;
}

static inline void house_burn(struct house *h)
{
	remove_all(h->dir);
	free(h->dir);
	h->dir = NULL;
}

/* Runs what comes home until `*done`; ten seconds are an age. */
static inline void run_home(struct house *h, const bool *done)
{
	uint64_t until = clock_ms() + 60000;

	while (!*done) {
		struct baton *b = mbox_take(h->home, 1, SIZE_MAX, until);

		assert_non_null(b);
		b->arrived(b);
	}
}

/* ---- contents ------------------------------------------------------------------------ */

/* Byte `i` of the content of message `seed`: any shift or swap shows. */
static inline char content_byte(uint64_t seed, uint64_t i)
{
	uint64_t x = (seed + 1) * 0x9e3779b97f4a7c15u + i * 0x2545f4914f6cdd1du;

	return (char)(x >> 56 ^ x >> 31);
}

static inline void fill_content(char *p, uint64_t seed, uint64_t offset, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = content_byte(seed, offset + i);
}

static inline void spool_is_ready(void *arg)
{
	*(bool *)arg = true;
}

static inline struct spool *spool_with(struct house *h, uint64_t seed, size_t n)
{
	char piece[48 << 10];
	struct spool *s = spool_new(h->q, h->home);
	bool ready = true;

	spool_on_ready(s, spool_is_ready, &ready);
	for (size_t at = 0; at < n;) {
		size_t m = n - at < sizeof(piece) ? n - at : sizeof(piece);

		fill_content(piece, seed, at, m);
		ready = spool_add(s, (str){ piece, m });
		run_home(h, &ready);
		at += m;
	}
	return s;
}

/* ---- puts ---------------------------------------------------------------------------- */

struct putting {
	struct queue_put *put;
	struct arena arena;
	uint64_t id;
	enum err result;
	bool done;
};

static inline struct path path_at(const char *text)
{
	return (struct path){ .text = str_of(text) };
}

static inline void put_is_home(struct queue_put *p, enum err e, void *arg)
{
	struct putting *w = arg;

	(void)p;
	w->result = e;
	w->done = true;
}

static inline void put_begin(struct house *h, struct putting *w, struct spool *s, size_t nrcpts, unsigned flags)
{
	struct path sender = path_at("anna@example.org");
	char text[64];

	*w = (struct putting){ .id = queue_new_id(h->q) };
	arena_init(&w->arena, ARENA_UNBOUNDED);
	w->put = queue_put_new(h->q, &w->arena, h->home, w->id);
	assert_non_null(w->put);
	queue_put_from(w->put, &sender, flags, STR("QQ314159"), STR("anna"));
	for (size_t i = 0; i < nrcpts; i++) {
		struct path rcpt;

		snprintf(text, sizeof(text), "user%zu@office.test", i);
		rcpt = path_at(text);
		queue_put_rcpt(w->put, &rcpt, RCPT_LOCAL, STR("rfc822;user@office.test"));
	}
	queue_put_field(w->put, STR("Received: later\r\n"));
	queue_put_field(w->put, STR("DKIM-Signature: last, so first\r\n"));
	queue_put_header_bytes(w->put, 17);
	queue_put_body(w->put, s);
}

static inline enum err put_finish(struct house *h, struct putting *w)
{
	run_home(h, &w->done);
	arena_fini(&w->arena);
	return w->result;
}

/* One message from begin to end; its id, or 0 with the error in *e. */
static inline uint64_t put_one(struct house *h, uint64_t seed, size_t bytes, size_t nrcpts, enum err *e)
{
	struct putting w;
	enum err got;

	put_begin(h, &w, spool_with(h, seed, bytes), nrcpts, 0);
	queue_put_submit(w.put, put_is_home, &w);
	got = put_finish(h, &w);
	if (e != NULL)
		*e = got;
	else
		assert_int_equal(got, OK);
	return got == OK ? w.id : 0;
}

/* ---- fates ----------------------------------------------------------------------------- */

static inline void fates_are_home(struct baton *b)
{
	*(bool *)SUPER(b, struct queue_fates, baton)->user = true;
}

static inline enum err settle_one(struct house *h, uint64_t id, struct queue_fate fate, bool *gone)
{
	struct queue_fates *f = queue_fates_new(1);
	bool done = false;
	enum err e;

	f->baton.home = h->home;
	f->baton.arrived = fates_are_home;
	f->user = &done;
	f->id = id;
	f->v[0] = fate;
	queue_settle(h->q, f);
	run_home(h, &done);
	e = f->result;
	if (gone != NULL)
		*gone = f->gone;
	queue_fates_free(f);
	return e;
}

/* ---- looking ------------------------------------------------------------------------------ */

struct found { uint64_t ids[16384]; bool damaged[16384]; size_t n; };

static inline void found_one(void *arg, struct queue_entry *e)
{
	struct found *f = arg;

	assert_true(f->n < COUNT(f->ids));
	assert_true(f->n == 0 || f->ids[f->n - 1] < e->id);
	f->damaged[f->n] = e->damage != NULL;
	f->ids[f->n++] = e->id;
	queue_entry_free(e);
}

static inline void assert_content(struct house *h, const struct queue_entry *e, uint64_t seed, size_t window)
{
	char *got = malloc(window), *want = malloc(window);
	uint64_t at = 0;
	size_t n;

	do {
		assert_int_equal(queue_read(h->q, e->id, e->in_file, at, got, window, &n), OK);
		assert_int_equal(n, e->bytes - at < window ? e->bytes - at : window);
		fill_content(want, seed, at, n);
		assert_memory_equal(got, want, n);
		at += n;
	} while (n == window);
	assert_int_equal(at, e->bytes);
	free(got);
	free(want);
}

#define assert_str(got, want) do { \
	str got_ = (got), want_ = (want); \
	if (!str_eq(got_, want_)) \
		fail_msg("got \"%.*s\", want \"%.*s\"", STR_ARG(got_), STR_ARG(want_)); \
} while (0)

#endif
