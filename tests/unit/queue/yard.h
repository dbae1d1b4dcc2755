/* SPDX-License-Identifier: ISC */
/*
 * The way out, whole: a strong room, two loops, a timetable, Maildirs in a
 * directory of the test, and a session that takes letters.
 */
#ifndef TESTS_QUEUE_YARD_H
#define TESTS_QUEUE_YARD_H

#include "tests/unit/queue/house.h"
#include "tests/unit/queue/peer.h"

#include <stdatomic.h>

#include "queue/deliver/deliver.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/dns_local.h"
#include "smtpd/base/log.h"

#define LOOPS 2

struct yard {
	struct house         h;
	char                *mail;            /* Maildirs below */
	struct arena         arena;
	struct directory    *directory;
	struct relay_conf    relay;
	struct deliver_setup setup;
	struct loop         *loops[LOOPS];
	pthread_t            threads[LOOPS];
	struct timetable    *t;
	char                 zone[1000];
};

/* ---- letters: what session's inject does, in little ---------------------------------- */

struct taken {
	pthread_mutex_t lock;
	char           *texts[64];
	size_t          n;
	enum err        answer;      /* OK: stored */
	unsigned        refusals;    /* so many are answered ERR_FULL first */
	struct queue   *queue;
};

static struct taken taken = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct settling { struct queue_fates *fates; struct letter *letter; };

static void letter_is_stored(struct baton *b)
{
	struct queue_fates *f = SUPER(b, struct queue_fates, baton);
	struct letter *l = f->user;

	queue_fates_free(f);
	l->result = OK;
	mbox_send(l->baton.home, &l->baton);
}

/* On a loop. */
static struct mbox *loop_home[LOOPS];
static _Thread_local struct mbox *my_home;

static void take_letter(struct baton *b)
{
	struct letter *l = SUPER(b, struct letter, baton);
	struct queue_fates *f;
	bool refused;

	pthread_mutex_lock(&taken.lock);
	refused = taken.refusals > 0 || taken.answer != OK;
	if (taken.refusals > 0)
		taken.refusals--;
	else if (taken.n < COUNT(taken.texts) && !refused)
		taken.texts[taken.n++] = strndup(l->text.p, l->text.n);
	pthread_mutex_unlock(&taken.lock);
	if (refused || l->settles_id == 0) {
		l->result = !refused ? OK : taken.answer != OK ? taken.answer : ERR_FULL;
		mbox_send(l->baton.home, &l->baton);
		return;
	}
	f = queue_fates_new(l->nsettles);
	f->id = l->settles_id;
	for (size_t i = 0; i < l->nsettles; i++)
		f->v[i] = (struct queue_fate){ .rcpt = l->settles[i], .fate = FATE_BOUNCED };
	f->user = l;
	f->baton.home = my_home;
	f->baton.arrived = letter_is_stored;
	queue_settle(taken.queue, f);
}

static inline size_t letters_taken(void)
{
	size_t n;

	pthread_mutex_lock(&taken.lock);
	n = taken.n;
	pthread_mutex_unlock(&taken.lock);
	return n;
}

static inline void letters_drop(void)
{
	for (size_t i = 0; i < taken.n; i++)
		free(taken.texts[i]);
	taken.n = taken.refusals = 0;
	taken.answer = OK;
}

/* ---- the yard ----------------------------------------------------------------------------- */

static void *yard_loop(void *arg)
{
	struct loop *l = arg;

	my_home = loop_home[l->index];
	loop_run(l);
	return NULL;
}

static inline void yard_domain(struct yard *y, const char *name, const char *route)
{
	struct directory_domain d = {
		.name = str_of(name), .route = str_of(route),
		.place = { .kind = PLACE_MAILDIR, .path = arena_printf(&y->arena, "%s/%%d/%%u", y->mail), .uid = (uid_t)-1,
		           .gid = (gid_t)-1, .mode = 0700 },
	};

	assert_int_equal(directory_add_domain(y->directory, &d), OK);
}

static inline void yard_new(struct yard *y)
{
	memset(y, 0, sizeof(*y));
	y->mail = folder_new();
	arena_init(&y->arena, ARENA_UNBOUNDED);
	y->directory = directory_new(&y->arena, '+');
	y->relay = (struct relay_conf){
		.retry_first_ms = 1000, .retry_most_ms = 1000, .give_up_ms = 86400000, .give_up_bounce_ms = 86400000,
		.delay_notice_ms = 0, .destination_concurrency = 5, .concurrency = 20, .messages_per_connection = 50,
		.idle_ms = 300, .connect_ms = 2000, .port = 25,
	};
	y->setup = (struct deliver_setup){ .relay = &y->relay, .directory = y->directory, .hostname = STR("us.test") };
}

/* From here on the settings do not change. */
static inline void yard_open(struct yard *y, bool one_by_one)
{
	house_open(&y->h);
	taken.queue = y->h.q;
	for (unsigned i = 0; i < LOOPS; i++) {
		y->loops[i] = loop_new(i, NULL);
		loop_home[i] = y->loops[i]->mbox;
		y->loops[i]->dns = dns_with(dns_local_source(y->zone), y->loops[i], 2000);
		pthread_create(&y->threads[i], NULL, yard_loop, y->loops[i]);
	}
	y->t = timetable_new(y->h.q, y->loops, LOOPS, y->h.disk, &y->setup, take_letter);
	assert_non_null(y->t);
	assert_int_equal(queue_start(y->h.q, y->h.disk), OK);
	assert_int_equal(timetable_start(y->t, one_by_one), OK);
}

struct yard_end { struct baton baton; struct loop *loop; };

static void yard_loop_ends(struct baton *b)
{
	struct loop *loop = SUPER(b, struct yard_end, baton)->loop;

	conn_leave_now(loop);
	loop_stop(loop);
}

static inline void yard_close(struct yard *y, uint64_t within_ms)
{
	timetable_stop(y->t, within_ms);
	queue_stop(y->h.q);
	for (unsigned i = 0; i < LOOPS; i++) {
		struct yard_end end = { .baton.arrived = yard_loop_ends, .loop = y->loops[i] };

		loop_send(y->loops[i], &end.baton);
		pthread_join(y->threads[i], NULL);
	}
	desk_close(y->h.disk);           /* its threads may still be rousing a loop */
	y->h.disk = NULL;
	timetable_free(y->t);
	for (unsigned i = 0; i < LOOPS; i++) {
		dns_free(y->loops[i]->dns);
		loop_free(y->loops[i]);
	}
	house_close(&y->h);
}

static inline void yard_burn(struct yard *y)
{
	house_burn(&y->h);
	remove_all(y->mail);
	free(y->mail);
	arena_fini(&y->arena);
	letters_drop();
}

/* ---- puts ---------------------------------------------------------------------------------- */

struct yard_rcpt { const char *address; unsigned flags; };

static inline uint64_t yard_put(struct yard *y, const char *sender, const struct yard_rcpt *rcpts, size_t n, unsigned flags)
{
	static const char text[] = "Subject: to and fro\r\n\r\nHello\r\n";
	struct path from = path_at(sender);
	struct spool *s = spool_new(y->h.q, y->h.home);
	struct putting w = { .id = queue_new_id(y->h.q) };

	spool_add(s, STR("Subject: to and fro\r\n\r\nHello\r\n"));
	arena_init(&w.arena, ARENA_UNBOUNDED);
	w.put = queue_put_new(y->h.q, &w.arena, y->h.home, w.id);
	queue_put_from(w.put, &from, flags, STR_NONE, STR_NONE);
	for (size_t i = 0; i < n; i++) {
		struct path to = path_at(rcpts[i].address);

		queue_put_rcpt(w.put, &to, rcpts[i].flags, STR_NONE);
	}
	queue_put_field(w.put, STR("Received: here\r\n"));
	queue_put_header_bytes(w.put, sizeof("Subject: to and fro\r\n\r\n") - 1);
	queue_put_body(w.put, s);
	queue_put_submit(w.put, put_is_home, &w);
	assert_int_equal(put_finish(&y->h, &w), OK);
	(void)text;
	return w.id;
}

static inline uint64_t yard_put_one(struct yard *y, const char *rcpt, unsigned flags)
{
	return yard_put(y, "anna@us.test", &(struct yard_rcpt){ rcpt, flags }, 1, 0);
}

/* ---- looking --------------------------------------------------------------------------------- */

static inline size_t yard_files(struct yard *y, const char *account, const char *sub)
{
	char path[4096];
	size_t n = 0;
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s/%s", y->mail, account, sub);
	d = opendir(path);
	if (d == NULL)
		return 0;
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

static inline struct timetable_figures figures(struct yard *y)
{
	struct timetable_figures f;

	timetable_figures(y->t, &f);
	return f;
}

/* Messages in the store, once the timetable has heard of all its changes. */
static inline uint64_t left(struct yard *y)
{
	struct queue_figures f;

	queue_figures(y->h.q, &f);
	return f.messages > figures(y).messages ? f.messages : figures(y).messages;
}

/* Waits for what another thread does; a minute is an age. */
#define until(what)                                                       \
	do {                                                              \
		uint64_t until_ = clock_ms() + 60000;                     \
		while (!(what)) {                                         \
			if (clock_ms() > until_)                          \
				fail_msg("waited in vain for: %s", #what); \
			usleep(2000);                                     \
		}                                                         \
	} while (0)

/* One recipient as it is committed. */
static inline enum err yard_rcpt_of(struct yard *y, uint64_t id, size_t i, struct queue_rcpt *out, char said[static 1001])
{
	struct queue_entry *e = NULL;
	enum err err = queue_load(y->h.q, id, &e);

	if (err != OK)
		return err;
	*out = e->rcpts[i];
	snprintf(said, 1001, "%.*s", STR_ARG(e->rcpts[i].said));
	queue_entry_free(e);
	return OK;
}

/* ---- wishes ------------------------------------------------------------------------------------ */

struct wishing { struct queue_wish wish; bool done; };

static void wish_is_home(struct baton *b)
{
	struct wishing *w = SUPER(SUPER(b, struct queue_wish, baton), struct wishing, wish);

	w->done = true;
}

static inline enum err yard_wish(struct yard *y, int what, uint64_t id, size_t *touched)
{
	struct wishing w = { .wish = { .id = id, .baton.home = y->h.home, .baton.arrived = wish_is_home } };

	w.wish.what = what;
	timetable_wish(y->t, &w.wish);
	run_home(&y->h, &w.done);
	if (touched != NULL)
		*touched = w.wish.touched;
	return w.wish.result;
}

#endif
