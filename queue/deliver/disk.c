/* SPDX-License-Identifier: ISC */
/*
 * What the timetable asks of the disk desk: batches for the Maildirs, and
 * entries that were forgotten.
 *
 * While a batch is at the disk the next one gathers, so that a flush serves as
 * many as came meanwhile.  One thread of the desk stays free for others.
 * Timetable thread, but for the jobs themselves.
 */
#include "queue/deliver/timetable_inside.h"

#include <stdlib.h>

#define UNREADABLE_S 3600       /* a message that cannot be read is looked at again after this */
#define HEADER_PIECE ((size_t)16 << 10)

/* ---- Maildirs ------------------------------------------------------------------------------ */

static void batch_came_home(struct baton *b)
{
	struct timetable *t = timetable_here;
	struct maildir_batch *batch = SUPER(SUPER(b, struct job, baton), struct maildir_batch, job);

	t->batches--;
	for (struct lease *l = batch->leases, *next; l != NULL; l = next) {
		next = l->next;
		lease_done(t, l->part, l);
	}
	settings_let_go(t, batch->user);
	free(batch);
}

static bool may_go(const struct timetable *t, const struct part *p)
{
	if (t->stopping && (!p->staged || t->hurried))
		return false;
	return !part_must_wait(t, p);
}

/* The next of the line that has its entry; NULL: none now. */
static struct part *next_for_disk(struct timetable *t)
{
	struct part *p;

	while ((p = t->maildir->first) != NULL && may_go(t, p)) {
		if (part_marks(t, p))
			continue;
		bool ready = p->message->entry != NULL && !late_is(t, p);

		if (!ready && t->loads >= LOADS_MOST)
			return NULL;
		part_leave_line(t, p);
		if (ready)
			return p;
		load(t, p);
	}
	return NULL;
}

static size_t fill(struct timetable *t, struct maildir_batch *batch)
{
	struct lease **end = &batch->leases;
	size_t n = 0;
	struct part *p;

	while (n < MAILDIR_BATCH && (p = next_for_disk(t)) != NULL) {
		struct lease *l = lease_make(t, p);

		if (l == NULL)
			continue;
		n += l->n;
		*end = l;
		end = &l->next;
	}
	return n;
}

static bool start_batch(struct timetable *t)
{
	struct maildir_batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL || fill(t, batch) == 0) {
		free(batch);
		return false;
	}
	batch->queue = t->queue;
	batch->user = settings_use(t);
	batch->hostname = t->settings->setup->hostname;
	batch->job.work = maildir_work;
	batch->job.baton.home = t->inbox;
	batch->job.baton.arrived = batch_came_home;
	t->batches++;
	desk_submit_anyway(t->disk, &batch->job);
	return true;
}

void serve_disk(struct timetable *t)
{
	size_t threads = desk_threads(t->disk), most = threads > 1 ? threads - 1 : 1;

	while (t->maildir->first != NULL && t->batches < most)
		if (!start_batch(t))
			return;
}

/* ---- reading again --------------------------------------------------------------------------- */

struct loading {
	struct job          job;
	struct queue       *queue;
	uint64_t            id;
	struct queue_entry *entry;      /* as it was read … */
	struct queue_entry *there;      /* … unless the message still has it: then it is only signed anew */
	bool                utf8_header;
	enum err            result;
	struct settings    *settings;   /* whoever signs */
	struct arena        arena;
	struct late         late;
};

/* RFC 6531 3.4: whether a field really holds more than ASCII. */
static enum err look_for_utf8(struct loading *l)
{
	char piece[HEADER_PIECE];
	uint64_t at = 0, n = l->entry->header_bytes;
	size_t got;

	for (; at < n && !l->utf8_header; at += got) {
		enum err e = queue_read(l->queue, l->id, l->entry->in_file, at, piece,
		                        n - at < sizeof(piece) ? (size_t)(n - at) : sizeof(piece), &got);

		if (e != OK)
			return e;
		if (got == 0)
			return ERR_BAD;
		for (size_t i = 0; i < got; i++)
			l->utf8_header = l->utf8_header || (unsigned char)piece[i] >= 0x80;
	}
	return OK;
}

static void read_entry(struct loading *l)
{
	l->result = queue_load(l->queue, l->id, &l->entry);
	if (l->result == OK && (l->entry->flags & MESSAGE_SMTPUTF8))
		l->result = look_for_utf8(l);
	/* Who delivers it meets the damage in its content again, and holds it. */
	if (l->result == ERR_BAD && l->entry != NULL)
		l->result = OK;
}

static void read_again(struct job *j)                              /* disk desk */
{
	struct loading *l = SUPER(j, struct loading, job);

	if (l->there == NULL)
		read_entry(l);
	if (l->result == OK)
		late_sign(l->queue, l->settings->setup, l->there != NULL ? l->there : l->entry, &l->late);
}

static struct part *one_that_waits(const struct message *m)
{
	struct part *p = m->parts;

	while (p != NULL && p->state != PART_LOADING)
		p = p->sibling;
	return p;
}

static void was_read(struct timetable *t, struct part *p, const struct loading *l, bool hold)
{
	part_set(t, p, PART_NEW);
	p->read = p->read || l->there == NULL;
	hold = hold && !p->staged;
	p->signed_now = !hold;
	if (part_wish_takes(t, p))
		return;
	if (p->judged)
		part_judge(t, p);
	else if (hold)
		late_hold(t, p, l->late.why);
	else
		part_enter_line(t, p, true);
}

/* Its row cannot be read any more, and nothing can be written about it: it is
 * held in memory, and the next start finds it as it is. */
static void hold_what_is_damaged(struct timetable *t, struct part *p)
{
	if (!p->message->damaged)
		message_is_damaged(t, p->message, "its row", STR_NONE);
	p->message->damaged = true;
	part_set(t, p, PART_HELD);
}

/* Not even for the notice of a delay: that cannot be written before it is read. */
static void leave_alone(struct timetable *t, struct part *p)
{
	part_wait(t, p, clock_wall() + UNREADABLE_S);
	must(due_put(&t->due, &p->due, p->next));
}

static void was_not_read(struct timetable *t, struct part *p, enum err e)
{
	char id[QUEUE_ID_TEXT];
	struct log log = { .id = queue_id_text(p->message->id, id) };

	if (e == ERR_BAD) {
		hold_what_is_damaged(t, p);
		return;
	}
	log_event(&log, LOG_ERROR, "message.unreadable", KV_C("why", err_text(e)),
	          KV_C("next", e == ERR_ABSENT ? "it is forgotten" : "it is looked at again in an hour"));
	part_set(t, p, PART_NEW);
	if (e == ERR_ABSENT)
		part_settled(t, p);
	else
		leave_alone(t, p);
}

static void loaded(struct baton *b)
{
	struct timetable *t = timetable_here;
	struct loading *l = SUPER(SUPER(b, struct job, baton), struct loading, job);
	struct message *m = message_find(t, l->id);
	struct part *p;
	bool hold;

	t->loads--;
	must(m != NULL && m->loading);
	m->loading = false;
	message_lend(m);                 /* it stays until all its parts have been told */
	if (l->result != OK) {
		queue_entry_free(l->entry);
	} else if (l->there == NULL) {
		message_has(t, m, l->entry);
		m->utf8_header = l->utf8_header;
	}
	hold = l->result == OK && late_came_home(m, &l->late);
	while ((p = one_that_waits(m)) != NULL) {
		if (!p->judged) {
			p->to->loading--;
			destination_ready(t, p->to);     /* for those behind, wherever this one goes */
		}
		if (l->result == OK)
			was_read(t, p, l, hold);
		else
			was_not_read(t, p, l->result);
	}
	message_returned(t, m);
	settings_let_go(t, l->settings);
	arena_fini(&l->arena);
	free(l);
}

static void put_off_loading(struct timetable *t, struct part *p)
{
	if (!p->judged)
		p->to->loading--;
	part_set(t, p, PART_NEW);
	part_wait(t, p, clock_wall() + 60);
}

/* Several parts of one message may ask at once; it is read once. */
void load(struct timetable *t, struct part *p)
{
	struct loading *l;

	part_set(t, p, PART_LOADING);
	if (!p->judged)
		p->to->loading++;
	if (p->message->loading)
		return;
	l = calloc(1, sizeof(*l));
	if (l == NULL) {
		put_off_loading(t, p);
		return;
	}
	p->message->loading = true;
	l->queue = t->queue;
	l->id = p->message->id;
	l->there = p->message->entry;
	l->settings = settings_use(t);
	arena_init(&l->arena, ARENA_UNBOUNDED);
	l->late.arena = &l->arena;
	l->job.work = read_again;
	l->job.baton.home = t->inbox;
	l->job.baton.arrived = loaded;
	t->loads++;
	desk_submit_anyway(t->disk, &l->job);
}
