/* SPDX-License-Identifier: ISC */
/*
 * Whether there is room for new mail: in the map, whose last part belongs to
 * fates, our own notices and removal, and on the disk.  The committer's; what it
 * finds stands in the queue for all threads to read (queue_room).
 */
#include <sys/statvfs.h>

#include "queue/internal.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"

#define TREE_BYTES   ((uint64_t)1 << 20)  /* of the trees' own pages a batch may write */
#define LOOK_MS      1000                 /* how often disk and map are looked at … */
#define LOOK_SOON_MS 10                   /* … and when the map seems to be full: what has gone meanwhile is not counted yet */

static struct queue_put *put_of(struct baton *b)
{
	return SUPER(b, struct queue_put, baton);
}

/* What a put takes of the map: its rows in whole pages, and a part of the
 * tree's own. */
uint64_t room_of(const struct queue_put *p)
{
	return (p->row.n + p->entry->content.n + 3 * 4096) / 4096 * 4096;
}

/* Is there room for so much, beside what this batch brings already?  Nobody is
 * refused by a guess: before the first one is, the pages are counted. */
static bool has_room(struct room *r, struct queue *q, uint64_t bytes, uint64_t ahead)
{
	struct store_figures f;

	if (map_has_room(q, bytes))
		return true;
	if (!r->guessed)
		return false;
	r->guessed = false;
	store_figures(q->store, true, &f);
	atomic_store(&q->used, f.used + ahead);
	return map_has_room(q, bytes);
}

/* The last part of the map belongs to fates, our own notices and removal: other
 * puts are refused here, however much came in since queue_room was asked; and
 * all of them when the disk has no room for them. */
void room_refuse(struct room *r, struct queue *q, struct baton *batch, uint64_t ahead)
{
	uint64_t all = ahead;
	enum err disk;

	for (struct baton *b = batch; b != NULL; b = b->next)
		if (!b->first && !(put_of(b)->entry->flags & MESSAGE_OWN) && !has_room(r, q, room_of(put_of(b)), all)) {
			put_of(b)->err = ERR_FULL;
		} else if (!b->first) {
			all += room_of(put_of(b));
			atomic_fetch_add(&q->used, room_of(put_of(b)));
		}
	r->guessed = r->guessed || all > ahead;
	disk = store_extend(q->store, all + TREE_BYTES);
	for (struct baton *b = batch; b != NULL && disk != OK; b = b->next)
		if (!b->first)
			put_of(b)->err = disk;
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

/* Between two looks `used` only grows, by what puts take; those that gather are
 * `ahead`. */
void room_look(struct room *r, struct queue *q, uint64_t ahead)
{
	uint64_t now = clock_ms();
	struct store_figures f;
	int room;

	if (now - r->looked_ms < (map_has_room(q, QUEUE_ROWS_MAX) ? LOOK_MS : LOOK_SOON_MS))
		return;
	r->looked_ms = now;
	store_forget_dead_readers(q->store);
	store_figures(q->store, false, &f);
	atomic_store(&q->size, f.size);
	r->guessed = f.used <= map_limit(q) && f.used <= f.size / 2;
	if (!r->guessed)                /* free pages count as free, but counting them costs */
		store_figures(q->store, true, &f);
	atomic_store(&q->used, f.used + ahead);
	r->hurry = f.used > f.size / 2;
	if (r->map_full == map_has_room(q, QUEUE_ROWS_MAX))  /* smaller ones may still find some */
		say_room(q, r->map_full = !r->map_full, "map");
	room = disk_room(q);
	if (room != atomic_exchange(&q->room, room))
		say_room(q, room != OK, "disk");
}
