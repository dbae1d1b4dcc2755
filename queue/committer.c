/* SPDX-License-Identifier: ISC */
/*
 * The thread that everything is sent to which is to be kept.
 *
 * What comes goes to the writer as one list; while that commits, the next one
 * gathers.  When several puts come at once they are made safe in the journal and
 * answered first, and so is what comes while those gather, for GATHER_MS, and are
 * written.  The timetable hears of a message when the store has it, and not before.
 *
 * Fates whose commit fails, and puts that were answered by the journal, come back
 * from the writer and are tried again.  EIO is final: see queue.h.
 */
#include <stdlib.h>
#include <unistd.h>

#include "queue/commit.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"
#include "smtpd/base/mbox_gather.h"
#include "smtpd/base/stat.h"

#define BATCH_ITEMS  256
#define BATCH_BYTES  ((size_t)4 << 20)
#define JOURNAL_FROM 6              /* puts that come at once, before the journal is worth its while … */
#define GATHER_MS    20             /* … and how long what it has gathers for the store … */
#define QUIET_MS     2              /* … or until nothing has come for so long: who looks then finds it there */
#define AHEAD_MOST   500            /* messages that wait for their first try: whoever comes now waits … */
#define AHEAD_MS     20             /* … so long at most */
#define AGAIN_MS     1000           /* when what failed is tried again, and room is looked for */

struct committer {
	struct queue  *q;
	struct writer *writer;
	struct work    work;
	bool           busy;                /* the writer has it */
	bool           stuck;               /* what came back found no room: it stays in the journal, which takes no more */
	struct pile    waiting;             /* puts that came while delivery was behind … */
	uint64_t       waiting_ms;          /* … and wait until then */
	struct pile    gathered;
	size_t         answered;            /* puts among it that the journal has … */
	uint64_t       ahead, ahead_given;  /* … and octets of the map that all of them take; and what the writer has */
	uint64_t       due_ms;              /* when it goes to the writer … */
	uint64_t       quiet_ms;            /* … or when nothing has come until then */
	uint64_t       wake_ms;             /* when the writer wants to be asked, though nothing came */
	struct room    room;
};

/* ---- an end without a way back ------------------------------------------------------------ */

static void answer_with_error(struct queue *q, struct baton *list)
{
	for (struct baton *b = list, *next; b != NULL; b = next) {
		next = b->next;
		if (!b->first && !is_answered(b))
			answer_put(q, put_of(b), ERR_IO);
	}
}

/* What is on the disk is in doubt: let the next start look.  What failed is
 * answered; what a block of the journal holds that may be there or not is not:
 * nobody may hear that it is stored, and nobody that it is not. */
static _Noreturn void give_up(struct committer *c, struct baton *failed)
{
	log_event(NULL, LOG_ERROR, "queue.broken", KV_C("file", c->q->path),
	          KV_C("why", "the disk reported an error: the server ends and starts again on what is really stored; "
	                      "look at the kernel's log and the disk"));
	answer_with_error(c->q, failed);
	for (uint64_t until = clock_ms() + 1000; clock_ms() < until;) {
		answer_with_error(c->q, mbox_take(c->q->inbox, BATCH_ITEMS, BATCH_BYTES, until));
		if (mbox_stopped(c->q->inbox))
			break;
	}
	mbox_hand_over();
	log_stop();
	_exit(75);
}

/* ---- not too far ahead ------------------------------------------------------------------------ */

/* Who sends must not run away from delivery: it would only make a queue. */
static bool runs_ahead(const struct committer *c)
{
	size_t answered = c->answered + (c->busy ? c->work.answered : 0);

	return atomic_load(&c->q->out) + answered >= AHEAD_MOST;
}

static struct baton *without_puts(struct committer *c, struct baton *batch)
{
	struct pile fates;

	pile_clear(&fates);
	for (struct baton *b = batch, *next; b != NULL; b = next) {
		next = b->next;
		if (!b->first && c->waiting.first == NULL)
			c->waiting_ms = clock_ms() + AHEAD_MS;
		pile_add_one(b->first ? &fates : &c->waiting, b);
	}
	return fates.first;
}

static size_t count_puts_of(const struct baton *list)
{
	size_t n = 0;

	for (; list != NULL; list = list->next)
		n += !list->first;
	return n;
}

/* What may come in now, of what came and what has waited.  Some connections that
 * send one message after the other wait for each commit anyway. */
static struct baton *let_in(struct committer *c, struct baton *batch)
{
	bool crowd = c->waiting.first != NULL || count_puts_of(c->gathered.first) + count_puts_of(batch) >= JOURNAL_FROM;
	struct pile in;

	if (crowd && runs_ahead(c))
		batch = without_puts(c, batch);
	if (runs_ahead(c) && clock_ms() < c->waiting_ms)
		return batch;
	pile_clear(&in);
	pile_add(&in, pile_take(&c->waiting));
	pile_add(&in, batch);
	return in.first;
}

/* ---- the journal ---------------------------------------------------------------------------- */

/* Alone; a put that settles something else waits for the store. */
static bool is_plain(struct baton *b)
{
	return !b->first && put_of(b)->err == OK && put_of(b)->nsettles == 0;
}

/* OK: every plain put of it is safe; ERR_FULL: not this time. */
static enum err note_down(struct journal *j, struct baton *batch)
{
	size_t n = 0;

	for (struct baton *b = batch; b != NULL; b = b->next) {
		if (!is_plain(b))
			continue;
		if (!journal_add(j, put_of(b))) {
			journal_drop(j);
			return ERR_FULL;
		}
		n++;
	}
	return n > 0 ? journal_sync(j) : ERR_FULL;
}

static size_t count_plain(struct baton *batch)
{
	size_t n = 0;

	for (; batch != NULL; batch = batch->next)
		n += is_plain(batch);
	return n;
}

static bool is_loaded(const struct committer *c)
{
	return c->answered > 0 || (c->busy && c->work.answered > 0);
}

/* Whether the sessions of its plain puts may hear that they are safe.  What is
 * answered must find room in the store, whatever part of it is kept free. */
static bool is_safe(struct committer *c, struct baton *batch)
{
	enum err e;

	if (c->stuck || (!is_loaded(c) && count_plain(batch) < JOURNAL_FROM) || runs_ahead(c) || !map_has_room_for_sure(c->q))
		return false;
	e = note_down(c->q->journal, batch);
	if (e == ERR_IO)
		give_up(c, NULL);
	return e == OK;
}

/* ---- gathering ------------------------------------------------------------------------------- */

static void gather(struct committer *c, struct baton *batch, bool safe)
{
	for (struct baton *b = batch, *next; b != NULL; b = next) {
		struct baton *left;

		next = b->next;
		if (!b->first && put_of(b)->err == OK)
			c->ahead += room_of(put_of(b));
		left = safe && is_plain(b) ? answer_early(b) : NULL;
		c->answered += left != NULL;
		pile_add_one(&c->gathered, left != NULL ? left : b);
	}
	mbox_hand_over();
}

static bool has_waiting_puts(const struct baton *list)
{
	while (list != NULL && (list->first || is_answered(list)))
		list = list->next;
	return list != NULL;
}

/* Whoever waits for the store has it next; else what comes while there is much to
 * do gathers. */
static void came(struct committer *c, struct baton *batch)
{
	bool first = c->gathered.first == NULL, safe;
	uint64_t due = clock_ms() + (c->busy || !first ? GATHER_MS : 0);

	room_refuse(&c->room, c->q, batch, c->ahead + c->ahead_given);
	safe = is_safe(c, batch);
	gather(c, batch, safe);
	if (c->stuck || has_waiting_puts(c->gathered.first))
		due = clock_ms();
	else if (safe && first)
		due = clock_ms() + GATHER_MS;
	c->due_ms = first || due < c->due_ms ? due : c->due_ms;
	c->quiet_ms = clock_ms() + QUIET_MS;
}

static uint64_t goes_at(const struct committer *c)
{
	return c->due_ms < c->quiet_ms ? c->due_ms : c->quiet_ms;
}

/* ---- the writer -------------------------------------------------------------------------------- */

static void hand_over(struct committer *c)
{
	c->work.list = pile_take(&c->gathered);
	c->work.answered = c->answered;
	c->work.journal = journal_last(c->q->journal);
	c->work.hurry = c->room.hurry;
	c->ahead_given = c->ahead;
	c->answered = 0;
	c->ahead = 0;
	c->busy = true;
	if (!c->stuck)
		journal_turn(c->q->journal);
}

static bool has_answered(const struct baton *list)
{
	while (list != NULL && !is_answered(list))
		list = list->next;
	return list != NULL;
}

/* What is left goes in front of what came meanwhile. */
static void came_back(struct committer *c)
{
	struct baton *later = pile_take(&c->gathered);
	struct baton *left = c->work.left;

	c->busy = false;
	c->wake_ms = c->work.wake_ms;
	if (c->work.broken)
		give_up(c, left);
	c->stuck = has_answered(left);
	c->ahead_given = 0;
	for (struct baton *b = left; b != NULL; b = b->next)
		if (is_answered(b)) {
			c->answered++;
			c->ahead += room_of(put_of(b));
		}
	pile_add(&c->gathered, left);
	pile_add(&c->gathered, later);
	if (left != NULL && later == NULL)
		c->due_ms = c->quiet_ms = clock_ms() + AGAIN_MS;
}

/* ---- the thread ----------------------------------------------------------------------------------- */

/* What is there; the work that has come home is no part of it. */
static struct baton *take(struct committer *c, uint64_t until)
{
	struct baton *batch = mbox_take(c->q->inbox, BATCH_ITEMS, BATCH_BYTES, until);
	struct baton **at = &batch;

	while (*at != NULL && *at != &c->work.baton)
		at = &(*at)->next;
	if (*at == NULL)
		return batch;
	*at = (*at)->next;
	came_back(c);
	return batch;
}

/* The time of a wait that must end by itself. */
static uint64_t wake_at(const struct committer *c)
{
	bool must_look = atomic_load(&c->q->room) != OK || !map_has_room(c->q, QUEUE_ROWS_MAX);
	uint64_t look = must_look ? clock_ms() + AGAIN_MS : UINT64_MAX;

	if (c->waiting.first != NULL)
		look = c->waiting_ms;
	if (c->busy)
		return look;
	if (c->gathered.first != NULL)
		return look < goes_at(c) ? look : goes_at(c);
	return look < c->wake_ms ? look : c->wake_ms;
}

static void turn(struct committer *c, struct baton *batch)
{
	uint64_t now;

	room_look(&c->room, c->q, c->ahead + c->ahead_given);
	batch = let_in(c, batch);
	if (batch != NULL)
		came(c, batch);
	now = clock_ms();
	if (c->busy || now < (c->gathered.first != NULL ? goes_at(c) : c->wake_ms))
		return;
	hand_over(c);
	writer_give(c->writer, &c->work);
}

static void comes_too_late(struct baton *b)
{
	struct queue_fates *f = SUPER(b, struct queue_fates, baton);

	if (b->first) {
		f->result = ERR_FULL;
		f->gone = false;
	} else if (put_of(b)->err == OK) {
		put_of(b)->err = ERR_CLOSED;
	}
	mbox_send(b->home, b);
}

/* Fates that cannot be written at the end either: their recipients are due
 * again in the next life.  What the journal has, the next life takes from it. */
static void let_go(struct baton *list)
{
	for (struct baton *b = list, *next; b != NULL; b = next) {
		next = b->next;
		if (is_answered(b))
			answered_ends(b);
		else
			comes_too_late(b);
	}
}

static void take_all(struct committer *c)
{
	struct baton *late = pile_take(&c->waiting);

	if (late != NULL)
		came(c, late);
	do {
		late = take(c, 0);
		if (late != NULL)
			came(c, late);
	} while (late != NULL || c->busy);
}

/* What the writer has comes home with its end; one more list is written here. */
static void at_the_end(struct committer *c)
{
	writer_end(c->writer);
	take_all(c);
	if (c->gathered.first != NULL) {
		hand_over(c);
		writer_do(c->writer, &c->work);
		take_all(c);
	}
	let_go(pile_take(&c->gathered));
	writer_free(c->writer);
}

void *committer_run(void *queue)
{
	struct committer c = { .q = queue };

	pthread_setname_np(pthread_self(), "committer");
	stat_thread();
	mbox_gather();
	pile_clear(&c.waiting);
	pile_clear(&c.gathered);
	c.writer = c.q->writer;
	c.work.baton.home = c.q->inbox;
	c.work.baton.first = true;
	room_look(&c.room, c.q, 0);
	for (;;) {
		struct baton *batch = take(&c, wake_at(&c));

		if (batch == NULL && mbox_stopped(c.q->inbox))
			break;
		turn(&c, batch);
	}
	at_the_end(&c);
	mbox_gather_no_more();
	return NULL;
}
