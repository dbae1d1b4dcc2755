/* SPDX-License-Identifier: ISC */
/*
 * The one thread that writes.
 *
 * Take everything that waits, one transaction, one sync; while it syncs, the next
 * batch gathers.  A batch is answered once it is safe: the sync of the next one
 * says so, or, when nothing waits, a sync of its own (store_trust_next).  So the
 * disk is waited for once a batch under load, and twice by who comes alone.
 *
 * Fates go before puts; a put that meets a full map or disk never takes fates
 * with it; fates whose commit fails are kept and tried again.  EIO is final: see
 * queue.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/internal.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"
#include "smtpd/base/mbox_gather.h"
#include "smtpd/base/stat.h"

#define BATCH_ITEMS 256
#define BATCH_BYTES ((size_t)4 << 20)
#define AGAIN_MS    1000            /* when what failed is tried again, and room is looked for */
#define PURGE_IDLE_MS  60000        /* how often records of finished messages are looked at, when nothing happens … */
#define PURGE_AGAIN_MS 100          /* … and when there was something to remove */
#define ID_AHEAD    ((uint64_t)60 * 1000000)

struct ids { uint64_t *v; size_t n, room; };

/* A batch that is committed and not yet safe: nobody has heard of it. */
struct owed {
	struct baton *batch;
	enum err      fates, puts;
	size_t        nputs, nfates, gone;
	struct ids    files;                /* bodies to remove then */
	bool          some;
};

struct committer {
	struct queue  *q;
	struct baton  *kept, **kept_tail;   /* fates whose commit failed */
	struct ids     files;               /* bodies whose rows go in this transaction */
	struct ids     stubborn;            /* files that would not go: tried again */
	struct owed    owed;
	struct room    room;
	uint64_t       highest_id;
	size_t         gone;                /* messages, in this transaction */
	bool           changed;             /* it changed something: what came before is synced */
	bool           disk_failed;         /* it met an error of the disk */
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

static void ids_add(struct ids *l, uint64_t id)
{
	if (l->n == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		uint64_t *v = realloc(l->v, room * sizeof(*v));

		if (v == NULL)
			return;                 /* the sweep at the next start takes it */
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = id;
}

static enum err settle(struct committer *c, struct store_txn *t, uint64_t id, const struct queue_fate *v, size_t n, bool *gone)
{
	bool in_file = false;
	enum err e = fates_write(t, &c->ledger, id, v, n, gone, &in_file);

	if (*gone)
		c->gone++;
	if (*gone && in_file)
		ids_add(&c->files, id);
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

/* Records of finished messages that are old, or whose room is needed. */
static void purge(struct committer *c, struct store_txn *t)
{
	size_t n = t->err == OK ? finished_purge(t, &c->ledger, c->q) : 0;

	c->purge_ms = clock_ms() + (n > 0 ? PURGE_AGAIN_MS : PURGE_IDLE_MS);
}

static enum err write_batch(struct committer *c, struct baton *batch, unsigned parts)
{
	uint64_t reserved = c->q->id_reserved;
	uint64_t changes = store_changes(c->q->store);
	struct store_txn t;
	enum err e;

	c->files.n = 0;
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
	c->changed = store_changes(c->q->store) != changes;
	c->disk_failed = e != OK && !t.full;
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
	if (q->news == NULL) {
		queue_entry_free(e);
		return;
	}
	if (e->bytes > CONTENT_KEPT || atomic_load(&q->kept) + entry_weight(e) > KEPT_BUDGET)
		queue_entry_forget_content(e);
	entry_count(e, q);
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
static void remove_files(struct committer *c, struct ids *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (!remove_file(c->q, l->v[i]) && !remove_file(c->q, l->v[i]))
			ids_add(&c->stubborn, l->v[i]);
	l->n = 0;
}

static void remove_stubborn(struct committer *c)
{
	size_t left = 0;

	for (size_t i = 0; i < c->stubborn.n; i++)
		if (!remove_file(c->q, c->stubborn.v[i]))
			c->stubborn.v[left++] = c->stubborn.v[i];
	c->stubborn.n = left;
}

static void count_batch(struct committer *c, const struct owed *o)
{
	struct queue *q = c->q;

	atomic_fetch_add(&q->commits, 1);
	atomic_fetch_add(&q->puts, o->nputs);
	atomic_fetch_add(&q->fates, o->nfates);
	atomic_fetch_add(&q->messages, o->nputs - o->gone);
	if (o->nputs > atomic_load(&q->batch_longest))
		atomic_store(&q->batch_longest, o->nputs);
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

/* What is on the disk is in doubt: let the next start look.  What failed is
 * answered; what was committed and may be there or not is not: nobody may hear
 * that it is stored, and nobody that it is not. */
static _Noreturn void give_up(struct committer *c, struct baton *batch)
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
	mbox_hand_over();
	log_stop();
	_exit(75);
}

/* The time of a wait that must end by itself: kept fates, or no room. */
static uint64_t wake_at(const struct committer *c)
{
	bool must_look = c->kept != NULL || c->stubborn.n > 0 || atomic_load(&c->q->room) != OK || !map_has_room(c->q, QUEUE_ROWS_MAX);

	uint64_t look = must_look ? clock_ms() + AGAIN_MS : UINT64_MAX;

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

/* ---- when it is safe ------------------------------------------------------------------------- */

static void tell(struct committer *c)
{
	struct owed *o = &c->owed;

	o->some = false;
	if (o->fates == OK) {
		count_batch(c, o);
		remove_files(c, &o->files);
	}
	answer_batch(c, o->batch, o->fates, o->puts);
}

/* After a failure no sync speaks for what was written before it: pages whose
 * writing failed are forgotten by the kernel.  The pages of what is owed were
 * synced by its own commit; only its mark may be lost, and a new one says the
 * same; the sync of another commit makes that one safe. */
static enum err mark_anew(struct committer *c)
{
	struct store_txn t;
	enum err e = OK;

	for (int i = 0; i < 2 && e == OK; i++) {
		store_begin(c->q->store, &t);
		meta_put(&t, "reserved", c->q->id_reserved);
		e = store_commit(&t);
	}
	return e;
}

/* What is owed is safe from here on, and told. */
static void make_safe(struct committer *c)
{
	enum err e = c->disk_failed ? ERR_FULL : OK;

	if (!c->owed.some)
		return;
	if (e == OK)
		e = store_sync(c->q->store);
	if (e == ERR_FULL)
		e = mark_anew(c);
	if (e != OK)
		give_up(c, NULL);
	tell(c);
}

/* What was just committed is owed from here on; by that what was owed is safe. */
static void owe(struct committer *c, const struct owed *now)
{
	struct ids files = c->owed.files;

	if (c->owed.some)
		tell(c);
	c->owed = *now;
	c->owed.files = c->files;               /* the two lists change places */
	c->files = files;
	c->files.n = 0;
}

/* OK; ERR_FULL, ERR_MEMORY: nothing of it is stored, and nothing is owed any more. */
static enum err write_or_secure(struct committer *c, struct baton *batch, unsigned parts)
{
	enum err e = write_batch(c, batch, parts);

	if (e == ERR_IO)
		give_up(c, batch);
	if (e != OK || !c->changed)
		make_safe(c);
	return e;
}

static void commit(struct committer *c, struct baton *batch)
{
	struct owed now = { .batch = batch, .some = true };

	room_refuse(&c->room, c->q, batch);
	now.nputs = count(batch, false);
	now.nfates = count(batch, true);
	now.fates = now.puts = write_or_secure(c, batch, FATES | PUTS);
	if (now.puts != OK)
		now.nputs = 0;
	if (now.puts != OK && now.nfates > 0)
		now.fates = write_or_secure(c, batch, FATES | NO_RECORDS);
	now.gone = c->gone;
	owe(c, &now);
	if (!c->changed)
		tell(c);
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
	make_safe(c);
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
	mbox_gather();
	c.kept_tail = &c.kept;
	ledger_init(&c.ledger);
	c.purge_ms = clock_ms() + PURGE_IDLE_MS;
	room_look(&c.room, c.q, &c.ledger);
	for (;;) {
		struct baton *batch = mbox_take(c.q->inbox, BATCH_ITEMS, BATCH_BYTES, c.owed.some ? 0 : wake_at(&c));

		if (batch == NULL && c.owed.some) {
			make_safe(&c);
			continue;
		}
		if (batch == NULL && mbox_stopped(c.q->inbox))
			break;
		room_look(&c.room, c.q, &c.ledger);
		batch = with_kept(&c, batch);
		if (batch == NULL)
			remove_stubborn(&c);
		if (batch != NULL)
			commit(&c, batch);
		else if (clock_ms() >= c.purge_ms)
			purge_idly(&c);
	}
	last_fates(&c);
	mbox_gather_no_more();
	ledger_fini(&c.ledger);
	free(c.files.v);
	free(c.owed.files.v);
	free(c.stubborn.v);
	return NULL;
}
