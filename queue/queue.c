/* SPDX-License-Identifier: ISC */
/*
 * The strong room's door: open, start, stop, ids, room, figures.
 *
 * STATE/queue holds `lock` (who serves here), `queue.mdb` (the store) and
 * `body/` (contents over QUEUE_ROWS_MAX), and, once much came at once, `journal`.  Main thread, except where queue.h
 * says otherwise.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/commit.h"
#include "queue/salvage.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"
#include "smtpd/base/map.h"

/* ---- ids ------------------------------------------------------------------------- */

static const char digits[33] = "0123456789bcdfghjklmnpqrstvwxyz_";

str queue_id_text(uint64_t id, char out[static QUEUE_ID_TEXT])
{
	for (int i = 10; i >= 0; i--) {
		out[i] = digits[id & 31];
		id >>= 5;
	}
	out[11] = '\0';
	return (str){ out, 11 };
}

bool queue_id_parse(str text, uint64_t *id)
{
	uint64_t v = 0;

	for (size_t i = 0; i < text.n; i++) {
		const char *d = text.p[i] ? strchr(digits, to_lower(text.p[i])) : NULL;

		if (d == NULL)
			return false;
		v = v << 5 | (uint64_t)(d - digits);
	}
	*id = v;
	return text.n == 11 && v != 0;
}

/* Microseconds since the epoch, or one more than the last: 55 bits last until
 * the year 3111. */
uint64_t queue_new_id(struct queue *q)
{
	uint64_t now = clock_wall_us(), last = atomic_load_explicit(&q->next_id, memory_order_relaxed), next;

	do
		next = now > last ? now : last + 1;
	while (!atomic_compare_exchange_weak(&q->next_id, &last, next));
	return next;
}

/* ---- opening ------------------------------------------------------------------------ */

static char *path_in(const struct queue_conf *c, const char *name)
{
	char *p = NULL;

	return asprintf(&p, "%.*s/queue%s", STR_ARG(c->state), name) < 0 ? NULL : p;
}

const char *body_path(const struct queue *q, uint64_t id, char out[static BODY_PATH])
{
	char name[QUEUE_ID_TEXT];

	snprintf(out, BODY_PATH, "%s/%s", q->bodies, queue_id_text(id, name).p);
	return out;
}

static bool make_folder(const char *path, struct arena *a, str *why)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return true;
	*why = arena_printf(a, "%s: %s: make the state directory writable for the server's user", path, strerror(errno));
	return false;
}

/* Large contents need files without a name, and what was made must still be
 * there after a loss of power. */
static bool folders_hold(struct queue *q, struct arena *a, str *why)
{
	int fd = open(q->bodies, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
	bool unnamed = fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR);

	if (fd >= 0)
		close(fd);
	if (!unnamed)
		*why = arena_printf(a, "%s: this file system cannot hold unnamed files: put the state directory on "
		                    "ext4, xfs, btrfs or tmpfs", q->bodies);
	else if (sync_folder(str_cstr(a, q->conf.state)) != OK || sync_folder(q->folder) != OK)
		*why = arena_printf(a, "%s: %s: the directory cannot be synced: look at the disk", q->folder, strerror(errno));
	else
		return true;
	return false;
}

/* One server a state directory; the lock ends with the process that holds it. */
int lock_take(const char *path, str state, struct arena *a, str *why)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char text[32];
	ssize_t n;

	if (fd < 0) {
		*why = arena_printf(a, "%s: %s: make it readable and writable for the server's user", path, strerror(errno));
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		n = read(fd, text, sizeof(text));
		*why = arena_printf(a, "another server (process %.*s) uses the state directory %.*s: stop it first",
		                    n > 0 ? (int)n : 7, n > 0 ? text : "unknown", STR_ARG(state));
		close(fd);
		return -1;
	}
	/* On a full disk the number may be missing: the lock holds all the same. */
	n = snprintf(text, sizeof(text), "%ld", (long)getpid());
	if (ftruncate(fd, 0) != 0 || write(fd, text, (size_t)n) != n)
		log_event(NULL, LOG_WARN, "lock.unnamed", KV_C("file", path), KV_C("why", strerror(errno)));
	return fd;
}

static bool take_lock(struct queue *q, const char *path, struct arena *a, str *why)
{
	q->fell = fell_said(path);
	q->lock = lock_take(path, q->conf.state, a, why);
	if (q->lock < 0)
		return false;
	return true;
}

void queue_raise_id(struct queue *q, uint64_t id)
{
	if (id > atomic_load(&q->next_id))
		atomic_store(&q->next_id, id);
}

/* Reads what the store knows of itself; a new one learns it here. */
static enum err learn(struct queue *q, struct arena *a, str *why)
{
	struct store_txn t;
	uint64_t format;
	str key;

	if (q->reading)
		store_read(q->store, &t);
	else
		store_begin(q->store, &t);
	format = meta_get(&t, "format");
	if (format > QUEUE_FORMAT) {
		store_end(&t);
		*why = arena_printf(a, "the queue in %.*s was written by a newer postern (format %" PRIu64 "): start that one",
		                    STR_ARG(q->conf.state), format);
		return ERR_BAD;
	}
	q->random = meta_get(&t, "random");
	q->id_reserved = meta_get(&t, "reserved");
	q->journal_said = meta_get(&t, "journal");
	q->unclean = meta_get(&t, "running") != 0;
	queue_raise_id(q, q->id_reserved);
	if (store_last_key(&t, TABLE_MESSAGE, &key))
		queue_raise_id(q, record_key_id(key));
	if (q->reading) {
		enum err e = t.err;

		store_end(&t);
		if (e != OK)
			*why = arena_printf(a, "%s: the store cannot be read: %s", q->path, err_text(e));
		return e;
	}
	q->is_new = q->random == 0;
	while (q->random == 0) {
		random_bytes(&q->random, sizeof(q->random));
		meta_put(&t, "random", q->random);
	}
	if (format == 0)
		meta_put(&t, "format", QUEUE_FORMAT);
	meta_renew(&t);
	if (store_commit(&t) == OK)
		return OK;
	*why = arena_printf(a, "%s: the store cannot be written: is the disk full?", q->path);
	return ERR_IO;
}

/* The last life may have ended before the store had all that was answered. */
static bool journal_is_in(struct queue *q, struct arena *a, str *why)
{
	size_t taken = 0;
	enum err e = journal_take_in(q, &taken);

	if (e == OK && taken > 0)
		log_event(NULL, LOG_NOTICE, "queue.journal", KV_C("file", q->journal_path), KV_N("taken", taken),
		          KV_C("why", "the last run ended before the queue had these messages: now it has them"));
	if (e == ERR_FULL)
		*why = arena_printf(a, "%s holds messages that find no room in the queue: make queue { size } larger, or room on the disk",
		                    q->journal_path);
	else if (e != OK)
		*why = arena_printf(a, "%s holds messages and cannot be read: %s: look at the disk; moved away, what it holds is lost",
		                    q->journal_path, err_text(e));
	return e == OK;
}

static bool look_around(struct queue *q)
{
	struct store_figures f;

	store_figures(q->store, true, &f);
	q->used = f.used;
	q->size = f.size;
	q->messages = store_rows(q->store, TABLE_MESSAGE);
	q->inbox = mbox_new(NULL, NULL);
	return q->inbox != NULL;
}

/* LMDB is let loose on a sound file only. */
static bool rescued(struct queue *q, struct arena *a, str *why)
{
	struct rescue r = { .conf = &q->conf, .folder = q->folder, .path = q->path, .bodies = q->bodies };

	return queue_rescue(&r, a, why) == OK;
}

static struct queue *open_at(const struct queue_conf *c, bool reading, struct arena *a, str *why)
{
	struct queue *q = calloc(1, sizeof(*q));
	char *lock = path_in(c, "/lock");
	bool ok = q != NULL && lock != NULL;

	*why = STR("out of memory");
	if (ok) {
		q->conf = *c;
		q->reading = reading;
		q->lock = -1;
		q->path = path_in(c, "/queue.mdb");
		q->bodies = path_in(c, "/body");
		q->journal_path = path_in(c, "/journal");
		q->folder = path_in(c, "");
		ok = q->path != NULL && q->bodies != NULL && q->journal_path != NULL && q->folder != NULL;
	}
	if (ok && !reading)
		ok = make_folder(q->folder, a, why) && make_folder(q->bodies, a, why) && take_lock(q, lock, a, why) &&
		     rescued(q, a, why);
	if (ok) {
		q->store = store_open(q->path, c->map_bytes, reading, a, why);
		ok = q->store != NULL && (reading || folders_hold(q, a, why)) && learn(q, a, why) == OK &&
		     (reading || journal_is_in(q, a, why));
	}
	free(lock);
	if (ok && look_around(q))
		return q;
	queue_close(q);
	return NULL;
}

struct queue *queue_open(const struct queue_conf *c, struct arena *a, str *why)
{
	return open_at(c, false, a, why);
}

struct queue *queue_open_reading(const struct queue_conf *c, struct arena *a, str *why)
{
	return open_at(c, true, a, why);
}

void queue_close(struct queue *q)
{
	if (q == NULL)
		return;
	store_close(q->store);
	journal_free(q->journal);
	if (q->inbox != NULL) {
		/* Sent in the very moment of the end, when nobody looked any more: its
		 * sender has ended too, and nothing was promised. */
		(void)mbox_take_all(q->inbox);
		mbox_free(q->inbox);
	}
	if (q->lock >= 0)
		close(q->lock);
	free(q->path);
	free(q->bodies);
	free(q->journal_path);
	free(q->folder);
	free(q);
}

/* ---- starting ------------------------------------------------------------------------- */

static bool has_row(struct store_txn *t, uint64_t id)
{
	struct record_key k = record_key_message(id);
	str row;

	return store_get(t, TABLE_MESSAGE, (str){ (char *)k.b, k.n }, &row) || t->err != OK;
}

/* A crash between a file's link and its row's commit, or between a row's
 * removal and the file's, leaves a file that nobody knows.  Beside a store that
 * has just been made they are of another one, and stay. */
static void sweep_bodies(struct queue *q)
{
	DIR *d = opendir(q->bodies);
	struct store_txn t;
	uint64_t id;

	if (d == NULL)
		return;
	store_read(q->store, &t);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (!queue_id_parse(str_of(e->d_name), &id) || has_row(&t, id))
			continue;
		if (q->is_new)
			log_event(NULL, LOG_WARN, "body.unknown", KV_C("directory", q->bodies), KV_C("file", e->d_name),
			          KV_C("why", "the store is new and does not know it: put the old store back, or remove the file"));
		else if (unlinkat(dirfd(d), e->d_name, 0) == 0)
			log_event(NULL, LOG_INFO, "body.swept", KV_C("file", e->d_name));
	}
	store_end(&t);
	closedir(d);
}

enum err queue_start(struct queue *q, struct desk *disk)
{
	struct store_txn t;
	sigset_t all, old;

	/* The last life may have ended before its last commit was safe: what this one
	 * syncs comes first, then a file may go because its row has gone. */
	store_begin(q->store, &t);
	meta_put(&t, "running", 1);
	if (store_commit(&t) != OK)
		return ERR_IO;
	sweep_bodies(q);
	q->journal = journal_new(q, q->journal_said);
	if (q->journal == NULL)
		return ERR_MEMORY;
	q->disk = disk;
	fell_watch(q->lock);
	sigfillset(&all);                       /* signals are main's … */
	fell_unblock(&all);                     /* … but a fault of this thread's own */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	q->writer = writer_new(q);
	q->started = q->writer != NULL && pthread_create(&q->committer, NULL, committer_run, q) == 0;
	if (!q->started && q->writer != NULL) {
		writer_end(q->writer);
		writer_free(q->writer);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return q->started ? OK : ERR_MEMORY;
}

/* What came too late for the committer. */
static void send_back(struct queue *q)
{
	for (struct baton *b = mbox_take_all(q->inbox), *next; b != NULL; b = next) {
		next = b->next;
		if (b->first)
			SUPER(b, struct queue_fates, baton)->result = ERR_CLOSED;
		else
			SUPER(b, struct queue_put, baton)->err = ERR_CLOSED;
		mbox_send(b->home, b);
	}
}

void queue_stop(struct queue *q)
{
	struct store_txn t;

	if (!q->started)
		return;
	atomic_store(&q->stopping, true);
	mbox_stop(q->inbox);
	pthread_join(q->committer, NULL);
	journal_free(q->journal);
	q->journal = NULL;
	fell_forget();
	q->started = false;
	send_back(q);
	store_begin(q->store, &t);
	marks_drop_all(&t);
	meta_put(&t, "running", 0);
	store_commit(&t);
}

void queue_watch(struct queue *q, struct mbox *box, void (*arrived)(struct baton *))
{
	q->news = box;
	q->news_arrived = arrived;
}

bool queue_fell(const struct queue *q)
{
	return q->fell;
}

bool queue_was_unclean(const struct queue *q)
{
	return q->unclean;
}

uint64_t queue_random(const struct queue *q)
{
	return q->random;
}

uint64_t map_limit(const struct queue *q)
{
	return atomic_load_explicit(&q->size, memory_order_relaxed) / 100 * q->conf.full_percent;
}

bool map_has_room(const struct queue *q, uint64_t bytes)
{
	return atomic_load_explicit(&q->used, memory_order_relaxed) + bytes <= map_limit(q);
}

bool map_has_room_for_sure(const struct queue *q)
{
	return atomic_load_explicit(&q->used, memory_order_relaxed) <= atomic_load_explicit(&q->size, memory_order_relaxed) / 100 * 95;
}

enum err queue_room(const struct queue *q, uint64_t bytes)
{
	int room = atomic_load_explicit(&q->room, memory_order_relaxed);

	if (room != OK)
		return (enum err)room;
	if (bytes > QUEUE_ROWS_MAX)
		bytes = 4096;                   /* a large content is a file beside the store */
	return map_has_room(q, bytes) ? OK : ERR_FULL;
}

void queue_figures(struct queue *q, struct queue_figures *f)
{
	*f = (struct queue_figures){
		.messages = q->messages, .commits = q->commits, .puts = q->puts, .fates = q->fates,
		.map_used = q->used, .map_size = q->size, .batch_longest = q->batch_longest,
	};
}

/* ---- entries ------------------------------------------------------------------------------ */

struct queue_entry *entry_new(void)
{
	struct stored_entry *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	arena_init(&s->entry.arena, ARENA_UNBOUNDED);
	s->news.entry = &s->entry;
	return &s->entry;
}

bool queue_rcpt_waits_for_key(const struct queue_entry *e, const struct queue_rcpt *r)
{
	if (r->state != RCPT_HELD || r->damaged || (e->flags & (MESSAGE_BREAKER | MESSAGE_RESTORED)))
		return false;
	return ((e->flags & MESSAGE_UNSIGNED) && r->changed == 0) || str_starts(r->said, QUEUE_WAITS_FOR_KEY);
}

size_t entry_weight(const struct queue_entry *e)
{
	return sizeof(struct stored_entry) + arena_held(&e->arena) + (e->content_memory != NULL ? (size_t)e->bytes : 0);
}

void entry_count(struct queue_entry *e, struct queue *q)
{
	struct stored_entry *s = SUPER(e, struct stored_entry, entry);

	s->queue = q;
	s->counted = entry_weight(e);
	atomic_fetch_add(&q->kept, s->counted);
	atomic_fetch_add(&q->out, 1);
}

static void uncount(struct stored_entry *s, size_t n)
{
	if (s->queue != NULL)
		atomic_fetch_sub(&s->queue->kept, n);
	s->counted -= s->queue != NULL ? n : 0;
}

bool queue_keeps_much(const struct queue *q)
{
	return atomic_load_explicit(&q->kept, memory_order_relaxed) > KEPT_BUDGET;
}

void queue_entry_forget_content(struct queue_entry *e)
{
	if (e->content_memory != NULL)
		uncount(SUPER(e, struct stored_entry, entry), (size_t)e->bytes);
	free(e->content_memory);
	e->content_memory = NULL;
	e->content = STR_NONE;
}

void queue_entry_free(struct queue_entry *e)
{
	struct stored_entry *s = e != NULL ? SUPER(e, struct stored_entry, entry) : NULL;

	if (e == NULL)
		return;
	queue_entry_forget_content(e);
	uncount(s, s->counted);
	if (s->queue != NULL)
		atomic_fetch_sub(&s->queue->out, 1);
	arena_fini(&e->arena);
	free(s);
}

struct queue_fates *queue_fates_new(size_t n)
{
	struct queue_fates *f = calloc(1, sizeof(*f));

	if (f == NULL)
		return NULL;
	arena_init(&f->arena, ARENA_UNBOUNDED);
	f->v = ARENA_ARRAY(&f->arena, struct queue_fate, n);
	f->n = n;
	if (f->v != NULL || n == 0)
		return f;
	free(f);
	return NULL;
}

void queue_fates_free(struct queue_fates *f)
{
	if (f == NULL)
		return;
	arena_fini(&f->arena);
	free(f);
}

void queue_settle(struct queue *q, struct queue_fates *f)
{
	f->baton.first = true;          /* fates go before puts, and so the committer knows them */
	f->baton.weight = 256 * f->n;
	mbox_send(q->inbox, &f->baton);
}
