/* SPDX-License-Identifier: ISC */
/*
 * The one thread that writes.
 *
 * Take everything that waits, one transaction, one sync, answer all; while it
 * syncs, the next batch gathers.  Fates go before puts; a put that meets a full
 * map or disk never takes fates with it; fates whose commit fails are kept and
 * tried again.  EIO is final: see queue.h.
 */
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
#define LOOK_MS     1000            /* how often disk and map are looked at */
#define ID_AHEAD    ((uint64_t)60 * 1000000)

struct committer {
	struct queue  *q;
	struct baton  *kept, **kept_tail;   /* fates whose commit failed */
	uint64_t      *files;               /* bodies to remove after the commit */
	size_t         nfiles, files_room;
	uint64_t       looked_ms;
	uint64_t       highest_id;
	size_t         gone;                /* messages, in this transaction */
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
		record_head(row, RECORD_BODY_ROW, piece);
		memcpy(row + RECORD_HEAD, piece.p, piece.n);
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
	enum err e = fates_write(t, id, v, n, gone, &in_file);

	if (*gone)
		c->gone++;
	if (*gone && in_file)
		remove_file_later(c, id);
	return e;
}

/* A bounce settles what it speaks of, in its own transaction. */
static void write_settles(struct committer *c, struct store_txn *t, const struct queue_put *p)
{
	bool gone = false;

	for (size_t i = 0; i < p->nsettles && t->err == OK && !gone; i++) {
		struct queue_fate f = { .rcpt = p->settles[i], .fate = FATE_BOUNCED };

		settle(c, t, p->settles_id, &f, 1, &gone);
	}
}

static void write_put(struct committer *c, struct store_txn *t, struct queue_put *p)
{
	struct record_key k = record_key_message(p->id);

	store_put(t, TABLE_MESSAGE, key_of(&k), buf_str(&p->row));
	write_content(t, p->entry);
	write_settles(c, t, p);
	if (p->id > c->highest_id)
		c->highest_id = p->id;
}

static void write_fates(struct committer *c, struct store_txn *t, struct queue_fates *f)
{
	f->gone = false;
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

enum part { FATES = 1, PUTS = 2 };

static enum err write_batch(struct committer *c, struct baton *batch, unsigned parts)
{
	uint64_t reserved = c->q->id_reserved;
	struct store_txn t;
	enum err e;

	c->nfiles = c->gone = 0;
	store_begin(c->q->store, &t);
	for (struct baton *b = batch; b != NULL && t.err == OK; b = b->next) {
		if (b->first && (parts & FATES))
			write_fates(c, &t, SUPER(b, struct queue_fates, baton));
		else if (!b->first && (parts & PUTS))
			write_put(c, &t, SUPER(b, struct queue_put, baton));
	}
	if (parts & PUTS)
		reserve_ids(c, &t);
	e = store_commit(&t);
	if (e != OK)
		c->q->id_reserved = reserved;
	return e;
}

static size_t count(const struct baton *batch, bool fates)
{
	size_t n = 0;

	for (; batch != NULL; batch = batch->next)
		n += batch->first == fates;
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

static void answer_put(struct queue *q, struct queue_put *p, enum err e)
{
	char path[BODY_PATH];

	p->err = e;
	if (e == OK)
		tell_news(q, p);
	else if (p->entry->in_file)
		unlink(body_path(q, p->id, path));
	mbox_send(p->baton.home, &p->baton);
}

static void keep_fates(struct committer *c, struct baton *b)
{
	b->next = NULL;
	*c->kept_tail = b;
	c->kept_tail = &b->next;
}

static void remove_files(struct committer *c)
{
	char path[BODY_PATH];

	for (size_t i = 0; i < c->nfiles; i++)
		unlink(body_path(c->q, c->files[i], path));
	c->nfiles = 0;
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
			answer_put(c->q, SUPER(b, struct queue_put, baton), puts);
		else if (fates != OK)
			keep_fates(c, b);
		else
			mbox_send(b->home, b);
	}
}

/* What is on the disk is in doubt: answer, and let the next start look. */
static void give_up(struct committer *c, struct baton *batch)
{
	c->q->broken = true;
	log_event(NULL, LOG_ERROR, "queue.broken", KV_C("file", c->q->path),
	          KV_C("why", "the disk reported an error: the server ends and starts again on what is really stored; "
	                      "look at the kernel's log and the disk"));
	answer_batch(c, batch, ERR_IO, ERR_IO);
	for (uint64_t until = clock_ms() + 1000; clock_ms() < until;) {
		batch = mbox_take(c->q->inbox, BATCH_ITEMS, BATCH_BYTES, until);
		answer_batch(c, batch, ERR_IO, ERR_IO);
	}
	log_stop();
	_exit(75);
}

static void look_at_room(struct committer *c)
{
	struct queue *q = c->q;
	uint64_t now = clock_ms(), limit = atomic_load(&q->size) / 100 * q->conf.full_percent;
	struct store_figures f;
	struct statvfs v;
	int room = OK;

	if (now - c->looked_ms < LOOK_MS)
		return;
	c->looked_ms = now;
	store_figures(q->store, false, &f);
	if (f.used > limit)                     /* free pages count as free, but counting them costs */
		store_figures(q->store, true, &f);
	atomic_store(&q->used, f.used);
	atomic_store(&q->size, f.size);
	if (statvfs(q->bodies, &v) == 0 && v.f_bavail * 100 < v.f_blocks * q->conf.free_disk_percent)
		room = ERR_FULL;
	if (room != atomic_exchange(&q->room, room))
		log_event(NULL, room == OK ? LOG_NOTICE : LOG_ERROR, room == OK ? "disk.freed" : "disk.full",
		          KV_C("directory", q->bodies),
		          KV_C("why", room == OK ? "new mail is taken again" : "new mail gets 452 until there is room"));
}

/* The time of a wait that must end by itself: kept fates, or no room. */
static uint64_t wake_at(const struct committer *c)
{
	uint64_t limit = atomic_load(&c->q->size) / 100 * c->q->conf.full_percent;
	bool must_look = c->kept != NULL || atomic_load(&c->q->room) != OK || atomic_load(&c->q->used) > limit;

	return must_look ? clock_ms() + LOOK_MS : UINT64_MAX;
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
	size_t puts = count(batch, false), fates = count(batch, true);
	enum err whole = write_batch(c, batch, FATES | PUTS), kept = whole;

	if (whole != OK && whole != ERR_IO && puts > 0 && fates > 0)
		kept = write_batch(c, batch, FATES);
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

void *committer_run(void *queue)
{
	struct committer c = { .q = queue };

	stat_thread();
	c.kept_tail = &c.kept;
	for (;;) {
		struct baton *batch = mbox_take(c.q->inbox, BATCH_ITEMS, BATCH_BYTES, wake_at(&c));

		if (batch == NULL && mbox_stopped(c.q->inbox))
			break;
		batch = with_kept(&c, batch);
		if (batch != NULL)
			commit(&c, batch);
		look_at_room(&c);
	}
	/* Fates that could not be written are retried by the next life: their
	 * recipients are due again. */
	while (c.kept != NULL) {
		struct baton *b = c.kept;

		c.kept = b->next;
		mbox_send(b->home, b);
	}
	free(c.files);
	return NULL;
}
