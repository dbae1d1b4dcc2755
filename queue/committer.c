/* SPDX-License-Identifier: ISC */
/*
 * The one thread that writes.
 *
 * Take everything that waits, one transaction, one sync, answer all; while it
 * syncs, the next batch gathers.  Fates go before puts; a put that meets a full
 * map or disk never takes fates with it; fates whose commit fails are kept and
 * tried again.  EIO is final: see queue.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "queue/internal.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"
#include "smtpd/base/stat.h"

#define BATCH_ITEMS 256
#define BATCH_BYTES ((size_t)4 << 20)
#define TREE_BYTES  ((uint64_t)1 << 20)  /* of the trees' own pages a batch may write */
#define LOOK_MS     1000            /* how often disk and map are looked at … */
#define LOOK_SOON_MS 10             /* … and when the map seems to be full: what has gone meanwhile is not counted yet */
#define PURGE_IDLE_MS  60000        /* how often records of finished messages are looked at, when nothing happens … */
#define PURGE_AGAIN_MS 100          /* … and when there was something to remove */
#define ID_AHEAD    ((uint64_t)60 * 1000000)

struct committer {
	struct queue  *q;
	struct baton  *kept, **kept_tail;   /* fates whose commit failed */
	uint64_t      *files;               /* bodies to remove after the commit; in front those that would not go … */
	size_t         nfiles, files_room;
	size_t         stubborn;            /* … so many: tried again */
	uint64_t       looked_ms;
	uint64_t       highest_id;
	bool           map_full;
	bool           guessed;             /* what is in use was added to since its pages were counted */
	size_t         gone;                /* messages, in this transaction */
	struct ledger  ledger;
	uint64_t       purge_ms;            /* when records are looked at though nothing else happens */
};

/* ---- writing one thing --------------------------------------------------------------- */

static str key_of(const struct record_key *k)
{
	return (str){ (const char *)k->b, k->n };
}

static void write_content(struct store_txn *t, const struct queue_entry *e)
{
	str rest = e->content;

	for (uint32_t i = 0; rest.n > 0 && t->err == OK; i++) {
		struct record_key k = record_key_part(e->id, i);
		str piece = str_head(rest, RECORD_BODY);
		unsigned char *row = store_reserve(t, TABLE_BODY, key_of(&k), RECORD_HEAD + piece.n);

		if (row == NULL)
			return;
		memcpy(row + RECORD_HEAD, piece.p, piece.n);
		record_head(row, (struct record_name){ RECORD_BODY_ROW, e->id, i }, piece);
		rest = str_skip(rest, piece.n);
	}
}

static void remove_file_later(struct committer *c, uint64_t id)
{
	if (c->nfiles == c->files_room) {
		size_t room = c->files_room ? 2 * c->files_room : 64;
		uint64_t *v = realloc(c->files, room * sizeof(*v));

		if (v == NULL)
			return;                 /* the sweep at the next start takes it */
		c->files = v;
		c->files_room = room;
	}
	c->files[c->nfiles++] = id;
}

static enum err settle(struct committer *c, struct store_txn *t, uint64_t id, const struct queue_fate *v, size_t n, bool *gone)
{
	bool in_file = false;
	enum err e = fates_write(t, &c->ledger, id, v, n, gone, &in_file);

	if (*gone)
		c->gone++;
	if (*gone && in_file)
		remove_file_later(c, id);
	return e;
}

static void write_put(struct committer *c, struct store_txn *t, struct queue_put *p)
{
	struct record_key k = record_key_message(p->id);
	bool gone;

	store_put(t, TABLE_MESSAGE, key_of(&k), buf_str(&p->row));
	write_content(t, p->entry);
	if (p->nsettles > 0)                    /* a bounce settles what it speaks of */
		settle(c, t, p->settles_id, p->settles, p->nsettles, &gone);
	if (p->id > c->highest_id)
		c->highest_id = p->id;
}

static void write_fates(struct committer *c, struct store_txn *t, struct queue_fates *f)
{
	f->gone = false;
	if (f->is_note)
		f->result = note_write(t, SUPER(f, struct queue_note, carrier));
	else
		f->result = settle(c, t, f->id, f->v, f->n, &f->gone);
}

/* Ids stay unique when every message has gone and the clock has stepped back. */
static void reserve_ids(struct committer *c, struct store_txn *t)
{
	if (c->highest_id <= c->q->id_reserved)
		return;
	meta_put(t, "reserved", c->highest_id + ID_AHEAD);
	if (t->err == OK)
		c->q->id_reserved = c->highest_id + ID_AHEAD;
}

/* ---- one batch --------------------------------------------------------------------------- */

enum part { FATES = 1, PUTS = 2, NO_RECORDS = 4 };

static struct queue_put *put_of(struct baton *b)
{
	return SUPER(b, struct queue_put, baton);
}

/* What a put takes of the map: its rows in whole pages, and a part of the
 * tree's own. */
static uint64_t pages_of(const struct queue_put *p)
{
	return (p->row.n + p->entry->content.n + 3 * 4096) / 4096 * 4096;
}

/* Is there room for so much, beside what this batch brings already?  Nobody is
 * refused by a guess: before the first one is, the pages are counted. */
static bool has_room(struct committer *c, uint64_t bytes, uint64_t ahead)
{
	struct store_figures f;

	if (map_has_room(c->q, bytes))
		return true;
	if (!c->guessed)
		return false;
	c->guessed = false;
	store_figures(c->q->store, true, &f);
	atomic_store(&c->q->used, f.used + ahead);
	return map_has_room(c->q, bytes);
}

/* The last part of the map belongs to fates, our own notices and removal: other
 * puts are refused here, however much came in since queue_room was asked; and
 * all of them when the disk has no room for them. */
static void refuse_without_room(struct committer *c, struct baton *batch)
{
	uint64_t all = 0;
	enum err disk;

	for (struct baton *b = batch; b != NULL; b = b->next)
		if (!b->first && !(put_of(b)->entry->flags & MESSAGE_OWN) && !has_room(c, pages_of(put_of(b)), all)) {
			put_of(b)->err = ERR_FULL;
		} else if (!b->first) {
			all += pages_of(put_of(b));
			atomic_fetch_add(&c->q->used, pages_of(put_of(b)));
		}
	c->guessed = c->guessed || all > 0;
	disk = store_extend(c->q->store, all + TREE_BYTES);
	for (struct baton *b = batch; b != NULL && disk != OK; b = b->next)
		if (!b->first)
			put_of(b)->err = disk;
}

/* Records of finished messages that are old, or whose room is needed. */
static void purge(struct committer *c, struct store_txn *t)
{
	size_t n = t->err == OK ? finished_purge(t, &c->ledger, c->q) : 0;

	c->purge_ms = clock_ms() + (n > 0 ? PURGE_AGAIN_MS : PURGE_IDLE_MS);
}

static enum err write_batch(struct committer *c, struct baton *batch, unsigned parts)
{
	uint64_t reserved = c->q->id_reserved;
	struct store_txn t;
	enum err e;

	c->nfiles = c->stubborn;
	c->gone = c->ledger.written = 0;
	c->ledger.keep = c->q->conf.keep_finished_ms > 0 && !(parts & NO_RECORDS);
	store_begin(c->q->store, &t);
	for (struct baton *b = batch; b != NULL && t.err == OK; b = b->next) {
		if (b->first && (parts & FATES))
			write_fates(c, &t, SUPER(b, struct queue_fates, baton));
		else if (!b->first && (parts & PUTS) && put_of(b)->err == OK)
			write_put(c, &t, put_of(b));
	}
	if (parts & PUTS)
		reserve_ids(c, &t);
	purge(c, &t);
	e = store_commit(&t);
	if (e != OK)
		c->q->id_reserved = reserved;
	return e;
}

/* How many there are to write. */
static size_t count(struct baton *batch, bool fates)
{
	size_t n = 0;

	for (; batch != NULL; batch = batch->next)
		n += batch->first == fates && (fates || put_of(batch)->err == OK);
	return n;
}

/* The entry goes on to the timetable; its content stays in memory for the first
 * try when it is small and there is room for it. */
static void tell_news(struct queue *q, struct queue_put *p)
{
	struct stored_entry *s = SUPER(p->entry, struct stored_entry, entry);
	struct queue_entry *e = p->entry;

	p->entry = NULL;
	if (e->bytes > CONTENT_KEPT || atomic_load(&q->content) + e->bytes > CONTENT_BUDGET) {
		queue_entry_forget_content(e);
	} else if (e->content_memory != NULL) {
		s->queue = q;
		atomic_fetch_add(&q->content, e->bytes);
	}
	if (q->news == NULL) {
		queue_entry_free(e);
		return;
	}
	s->news.baton.arrived = q->news_arrived;
	mbox_send(q->news, &s->news.baton);
}

/* When the disk is in doubt the row may be there in the next life: then the file
 * stays, and the sweep at its start decides. */
static void answer_put(struct queue *q, struct queue_put *p, enum err e)
{
	char path[BODY_PATH];

	if (p->err == OK)
		p->err = e;
	if (p->err == OK)
		tell_news(q, p);
	else if (p->entry->in_file && p->err != ERR_IO)
		unlink(body_path(q, p->id, path));
	mbox_send(p->baton.home, &p->baton);
}

static void keep_fates(struct committer *c, struct baton *b)
{
	b->next = NULL;
	*c->kept_tail = b;
	c->kept_tail = &b->next;
}

static bool remove_file(const struct queue *q, uint64_t id)
{
	char path[BODY_PATH];

	return unlink(body_path(q, id, path)) == 0 || errno == ENOENT;
}

/* What will not go now goes a second later, or is swept by the next start. */
static void remove_files(struct committer *c)
{
	c->stubborn = 0;
	for (size_t i = 0; i < c->nfiles; i++)
		if (!remove_file(c->q, c->files[i]) && !remove_file(c->q, c->files[i]))
			c->files[c->stubborn++] = c->files[i];
	c->nfiles = c->stubborn;
}

/* Not those of a batch whose commit failed. */
static void remove_stubborn(struct committer *c)
{
	c->nfiles = c->stubborn;
	remove_files(c);
}

static void count_batch(struct committer *c, size_t puts, size_t fates)
{
	struct queue *q = c->q;

	atomic_fetch_add(&q->commits, 1);
	atomic_fetch_add(&q->puts, puts);
	atomic_fetch_add(&q->fates, fates);
	atomic_fetch_add(&q->messages, puts - c->gone);
	if (puts > atomic_load(&q->batch_longest))
		atomic_store(&q->batch_longest, puts);
}

static void answer_batch(struct committer *c, struct baton *batch, enum err fates, enum err puts)
{
	for (struct baton *b = batch, *next; b != NULL; b = next) {
		next = b->next;                 /* once sent, it is no longer ours */
		if (!b->first)
			answer_put(c->q, put_of(b), puts);
		else if (fates != OK)
			keep_fates(c, b);
		else
			mbox_send(b->home, b);
	}
}

/* What is on the disk is in doubt: answer, and let the next start look. */
static void give_up(struct committer *c, struct baton *batch)
{
	log_event(NULL, LOG_ERROR, "queue.broken", KV_C("file", c->q->path),
	          KV_C("why", "the disk reported an error: the server ends and starts again on what is really stored; "
	                      "look at the kernel's log and the disk"));
	answer_batch(c, batch, ERR_IO, ERR_IO);
	for (uint64_t until = clock_ms() + 1000; clock_ms() < until;) {
		answer_batch(c, mbox_take(c->q->inbox, BATCH_ITEMS, BATCH_BYTES, until), ERR_IO, ERR_IO);
		if (mbox_stopped(c->q->inbox))
			break;
	}
	log_stop();
	_exit(75);
}

static int disk_room(const struct queue *q)
{
	struct statvfs v;

	if (statvfs(q->bodies, &v) != 0)
		return OK;
	return (uint64_t)v.f_bavail * 100 < (uint64_t)v.f_blocks * q->conf.free_disk_percent ? ERR_FULL : OK;
}

static void say_room(const struct queue *q, bool full, const char *what)
{
	log_event(NULL, full ? LOG_ERROR : LOG_NOTICE, full ? "queue.full" : "queue.freed", KV_C("what", what),
	          KV_C("directory", q->bodies),
	          KV_C("why", full ? "new mail gets 452 until there is room" : "new mail is taken again"));
}

/* Between two looks `used` only grows, by what puts took. */
static void look_at_room(struct committer *c)
{
	struct queue *q = c->q;
	uint64_t now = clock_ms();
	struct store_figures f;
	int room;

	if (now - c->looked_ms < (map_has_room(q, QUEUE_ROWS_MAX) ? LOOK_MS : LOOK_SOON_MS))
		return;
	c->looked_ms = now;
	store_forget_dead_readers(q->store);
	store_figures(q->store, false, &f);
	atomic_store(&q->size, f.size);
	c->guessed = f.used <= map_limit(q) && f.used <= f.size / 2;
	if (!c->guessed)                /* free pages count as free, but counting them costs */
		store_figures(q->store, true, &f);
	atomic_store(&q->used, f.used);
	c->ledger.hurry = f.used > f.size / 2;
	if (c->map_full == map_has_room(q, QUEUE_ROWS_MAX))  /* smaller ones may still find some */
		say_room(q, c->map_full = !c->map_full, "map");
	room = disk_room(q);
	if (room != atomic_exchange(&q->room, room))
		say_room(q, room != OK, "disk");
}

/* The time of a wait that must end by itself: kept fates, or no room. */
static uint64_t wake_at(const struct committer *c)
{
	bool must_look = c->kept != NULL || c->stubborn > 0 || atomic_load(&c->q->room) != OK || !map_has_room(c->q, QUEUE_ROWS_MAX);

	uint64_t look = must_look ? clock_ms() + LOOK_MS : UINT64_MAX;

	return look < c->purge_ms ? look : c->purge_ms;
}

static struct baton *with_kept(struct committer *c, struct baton *batch)
{
	struct baton *all = c->kept;

	if (all == NULL)
		return batch;
	*c->kept_tail = batch;
	c->kept = NULL;
	c->kept_tail = &c->kept;
	return all;
}

static void commit(struct committer *c, struct baton *batch)
{
	size_t puts, fates;
	enum err whole, kept;

	refuse_without_room(c, batch);
	puts = count(batch, false);
	fates = count(batch, true);
	kept = whole = write_batch(c, batch, FATES | PUTS);
	if (whole != OK && whole != ERR_IO && fates > 0)
		kept = write_batch(c, batch, FATES | NO_RECORDS);
	if (whole == ERR_IO || kept == ERR_IO) {
		give_up(c, batch);
		return;
	}
	if (kept == OK) {
		count_batch(c, whole == OK ? puts : 0, fates);
		remove_files(c);
	}
	answer_batch(c, batch, kept, whole);
}

/* Its failure is nobody's: the next look tries again. */
static void purge_idly(struct committer *c)
{
	c->purge_ms = clock_ms() + PURGE_IDLE_MS;
	if (finished_wait(c->q) && write_batch(c, NULL, 0) == ERR_IO)
		give_up(c, NULL);
}

/* Fates that cannot be written at the end either: their recipients are due
 * again in the next life. */
static void last_fates(struct committer *c)
{
	if (c->kept != NULL)
		commit(c, with_kept(c, NULL));
	while (c->kept != NULL) {
		struct baton *b = c->kept;

		c->kept = b->next;
		SUPER(b, struct queue_fates, baton)->result = ERR_FULL;
		SUPER(b, struct queue_fates, baton)->gone = false;
		mbox_send(b->home, b);
	}
}

void *committer_run(void *queue)
{
	struct committer c = { .q = queue };

	pthread_setname_np(pthread_self(), "committer");
	stat_thread();
	c.kept_tail = &c.kept;
	ledger_init(&c.ledger);
	c.purge_ms = clock_ms() + PURGE_IDLE_MS;
	look_at_room(&c);
	for (;;) {
		struct baton *batch = mbox_take(c.q->inbox, BATCH_ITEMS, BATCH_BYTES, wake_at(&c));

		if (batch == NULL && mbox_stopped(c.q->inbox))
			break;
		look_at_room(&c);
		batch = with_kept(&c, batch);
		if (batch == NULL)
			remove_stubborn(&c);
		if (batch != NULL)
			commit(&c, batch);
		else if (clock_ms() >= c.purge_ms)
			purge_idly(&c);
	}
	last_fates(&c);
	ledger_fini(&c.ledger);
	free(c.files);
	return NULL;
}
