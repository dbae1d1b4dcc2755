/* SPDX-License-Identifier: ISC */
/*
 * The one thread that writes.
 *
 * Take everything that waits, one transaction, answer all; meanwhile the next
 * batch gathers.  When several puts wait at once they are made safe in the journal
 * and answered first; for GATHER_MS all that comes gathers for one transaction.
 * The timetable hears of a message when the store has it, and not before.
 *
 * Fates go before puts; a put that meets a full map or disk never takes fates
 * with it.  Fates whose commit fails, and puts that were answered by the journal,
 * are kept and tried again.  EIO is final: see queue.h.
 */
#include <stdlib.h>
#include <unistd.h>

#include "queue/batch.h"
#include "queue/journal.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"
#include "smtpd/base/mbox_gather.h"
#include "smtpd/base/stat.h"

#define BATCH_ITEMS 256
#define BATCH_BYTES ((size_t)4 << 20)
#define JOURNAL_FROM 3              /* puts that wait at once, before the journal is quicker … */
#define GATHER_MS   20              /* … and how long what it has gathers for the store */
#define AGAIN_MS    1000            /* when what failed is tried again, and room is looked for */

struct line { struct baton *first, **end; };

struct committer {
	struct queue  *q;
	struct line    kept;                /* fates whose commit failed */
	struct line    gathered;            /* puts that the journal has, and what came after them … */
	uint64_t       due_ms;              /* … committed then, at the latest */
	uint64_t       ahead;               /* octets of the map that they take */
	size_t         answered;            /* how many of them were */
	bool           stuck;               /* … which did not find room: the journal is full of them */
	struct batch   batch;
	struct room    room;
};

static void line_clear(struct line *l)
{
	l->first = NULL;
	l->end = &l->first;
}

/* One, or a list. */
static void line_add(struct line *l, struct baton *b)
{
	for (*l->end = b; *l->end != NULL; l->end = &(*l->end)->next)
		;
}

static struct baton *line_take(struct line *l)
{
	struct baton *all = l->first;

	line_clear(l);
	return all;
}

static struct queue_put *put_of(struct baton *b)
{
	return SUPER(b, struct queue_put, baton);
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

static bool is_answered(const struct baton *b)
{
	return !b->first && b->home == NULL;
}

static void answered_ends(struct queue_put *p)
{
	buf_fini(&p->row);
	buf_fini(&p->seals);
	queue_entry_free(p->entry);
	free(p);
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
	if (is_answered(&p->baton))
		answered_ends(p);
	else
		mbox_send(p->baton.home, &p->baton);
}

static void count_puts(struct queue *q, size_t n)
{
	atomic_fetch_add(&q->puts, n);
	atomic_fetch_add(&q->messages, n);
}

/* Those that were answered have been counted. */
static void count_batch(struct committer *c, size_t puts, size_t answered, size_t fates)
{
	struct queue *q = c->q;

	atomic_fetch_add(&q->commits, 1);
	atomic_fetch_add(&q->fates, fates);
	count_puts(q, puts > answered ? puts - answered : 0);
	atomic_fetch_sub(&q->messages, c->batch.gone);
	if (puts > atomic_load(&q->batch_longest))
		atomic_store(&q->batch_longest, puts);
}

static void keep(struct line *l, struct baton *b)
{
	b->next = NULL;
	line_add(l, b);
}

static void answer_batch(struct committer *c, struct baton *batch, enum err fates, enum err puts)
{
	for (struct baton *b = batch, *next; b != NULL; b = next) {
		next = b->next;                 /* once sent, it is no longer ours */
		if (b->first && fates != OK)
			keep(&c->kept, b);
		else if (b->first)
			mbox_send(b->home, b);
		else if (is_answered(b) && puts != OK)
			keep(&c->gathered, b);
		else
			answer_put(c->q, put_of(b), puts);
	}
}

/* What is on the disk is in doubt: let the next start look.  What failed is
 * answered; what a block of the journal holds that may be there or not is not:
 * nobody may hear that it is stored, and nobody that it is not. */
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
	bool must_look = c->kept.first != NULL || c->batch.stubborn.n > 0 || atomic_load(&c->q->room) != OK || !map_has_room(c->q, QUEUE_ROWS_MAX);

	uint64_t look = must_look ? clock_ms() + AGAIN_MS : UINT64_MAX;

	return look < c->batch.purge_ms ? look : c->batch.purge_ms;
}

/* ---- a commit ------------------------------------------------------------------------ */

/* What was kept and what gathered come before it. */
static struct baton *with_all(struct committer *c, struct baton *batch)
{
	struct line all;

	line_clear(&all);
	line_add(&all, line_take(&c->kept));
	line_add(&all, line_take(&c->gathered));
	line_add(&all, batch);
	return all.first;
}

static void commit(struct committer *c, struct baton *batch)
{
	size_t puts = count(batch, false), fates = count(batch, true);
	enum err whole = batch_write(&c->batch, batch, BATCH_FATES | BATCH_PUTS), kept = whole;

	if (whole != OK && whole != ERR_IO && fates > 0)
		kept = batch_write(&c->batch, batch, BATCH_FATES | BATCH_NO_RECORDS);
	if (whole == ERR_IO || kept == ERR_IO)
		give_up(c, batch);
	if (kept == OK) {
		count_batch(c, whole == OK ? puts : 0, c->answered, fates);
		batch_remove_files(&c->batch);
	}
	answer_batch(c, batch, kept, whole);
	c->stuck = c->gathered.first != NULL;
	c->due_ms = clock_ms() + AGAIN_MS;
	if (c->stuck)
		return;
	c->ahead = c->answered = 0;
	journal_anew(c->q->journal);
}

/* ---- the journal ------------------------------------------------------------------------ */

/* Alone; a put that settles something else waits for the store. */
static bool is_plain(struct baton *b)
{
	return !b->first && put_of(b)->err == OK && put_of(b)->nsettles == 0;
}

/* What remains of a put when its session has its answer. */
static struct baton *stand_in(struct queue_put *p)
{
	struct queue_put *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->queue = p->queue;
	s->id = p->id;
	s->entry = p->entry;
	s->row = p->row;
	s->seals = p->seals;
	p->entry = NULL;
	buf_init(&p->row, 0);
	buf_init(&p->seals, 0);
	return &s->baton;
}

/* All of them are safe: who waits for one hears so now, and something else stands
 * for it.  Without memory for that it is answered by the commit. */
static void answer_early(struct committer *c, struct baton *batch)
{
	for (struct baton *b = batch, *next; b != NULL; b = next) {
		struct baton *left = is_plain(b) ? stand_in(put_of(b)) : NULL;

		next = b->next;
		if (left != NULL) {
			c->answered++;
			count_puts(c->q, 1);
			mbox_send(b->home, b);
		}
		keep(&c->gathered, left != NULL ? left : b);
	}
	mbox_hand_over();
}

/* Into the journal; ERR_FULL: not this time. */
static enum err note_down(struct committer *c, struct baton *batch)
{
	size_t n = 0;

	for (struct baton *b = batch; b != NULL; b = b->next) {
		if (!is_plain(b))
			continue;
		if (!journal_add(c->q->journal, put_of(b))) {
			journal_drop(c->q->journal);
			return ERR_FULL;
		}
		n++;
	}
	return n > 0 ? journal_sync(c->q->journal) : OK;
}

/* Whether the batch gathers with others for a commit; false: it wants one now. */
static bool gathers(struct committer *c, struct baton *batch)
{
	bool first = c->gathered.first == NULL;
	enum err e;

	if (c->stuck || (first && count(batch, false) < JOURNAL_FROM))
		return false;
	e = note_down(c, batch);
	if (e == ERR_IO)
		give_up(c, NULL);
	if (e != OK)
		return false;
	if (first)
		c->due_ms = clock_ms() + GATHER_MS;
	for (struct baton *b = batch; b != NULL; b = b->next)
		c->ahead += is_plain(b) ? room_of(put_of(b)) : 0;
	answer_early(c, batch);
	return true;
}

/* Fates that cannot be written at the end either: their recipients are due
 * again in the next life.  What the journal has, the next life takes from it. */
static void at_the_end(struct committer *c)
{
	struct baton *b, *next;

	if (c->kept.first != NULL || c->gathered.first != NULL)
		commit(c, with_all(c, NULL));
	for (b = with_all(c, NULL); b != NULL; b = next) {
		next = b->next;
		if (is_answered(b)) {
			answered_ends(put_of(b));
			continue;
		}
		SUPER(b, struct queue_fates, baton)->result = ERR_FULL;
		SUPER(b, struct queue_fates, baton)->gone = false;
		mbox_send(b->home, b);
	}
}

/* ---- the thread --------------------------------------------------------------------------- */

static void turn(struct committer *c, struct baton *batch)
{
	room_look(&c->room, c->q, &c->batch.ledger);
	if (batch != NULL) {
		room_refuse(&c->room, c->q, batch, c->ahead);
		if (gathers(c, batch)) {
			if (clock_ms() < c->due_ms)
				return;
			batch = NULL;
		}
	}
	batch = with_all(c, batch);
	if (batch != NULL)
		commit(c, batch);
	else
		batch_remove_stubborn(&c->batch);
	if (batch == NULL && clock_ms() >= c->batch.purge_ms && batch_purge(&c->batch) == ERR_IO)
		give_up(c, NULL);
}

void *committer_run(void *queue)
{
	struct committer c = { .q = queue };

	pthread_setname_np(pthread_self(), "committer");
	stat_thread();
	mbox_gather();
	line_clear(&c.kept);
	line_clear(&c.gathered);
	batch_init(&c.batch, c.q);
	room_look(&c.room, c.q, &c.batch.ledger);
	for (;;) {
		uint64_t until = c.gathered.first != NULL ? c.due_ms : wake_at(&c);
		struct baton *batch = mbox_take(c.q->inbox, BATCH_ITEMS, BATCH_BYTES, until);

		if (batch == NULL && mbox_stopped(c.q->inbox))
			break;
		turn(&c, batch);
	}
	at_the_end(&c);
	mbox_gather_no_more();
	batch_fini(&c.batch);
	return NULL;
}
