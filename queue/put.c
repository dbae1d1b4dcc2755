/* SPDX-License-Identifier: ISC */
/*
 * A message being built, lent to the committer, and answered.
 *
 * The put is its loop's; the entry inside becomes the committer's at submit and
 * then, as news, the timetable's.  Rows are encoded here, so that nothing in a
 * batch fails for a reason of its own.  Loop thread.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "queue/internal.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/mbox_gather.h"

#define ROW_MAX ((size_t)32 << 20)

struct queue_put *queue_put_new(struct queue *q, struct arena *a, struct mbox *home, uint64_t id)
{
	struct queue_put *p = ARENA_NEW(a, struct queue_put);

	if (p == NULL)
		return NULL;
	p->queue = q;
	p->arena = a;
	p->baton.home = home;
	p->id = id;
	buf_init(&p->row, ROW_MAX);
	buf_init(&p->seals, ROW_MAX);
	p->entry = entry_new();
	if (p->entry == NULL) {
		p->err = ERR_MEMORY;
		return p;
	}
	p->entry->id = id;
	p->entry->arrived = clock_wall();
	return p;
}

static str kept_in(struct arena *a, struct queue_put *p, str s)
{
	str copy = str_keep(a, s);

	if (s.n > 0 && copy.p == NULL)
		p->err = ERR_MEMORY;
	return copy;
}

static str kept(struct queue_put *p, str s)
{
	return kept_in(&p->entry->arena, p, s);
}

void queue_put_from(struct queue_put *p, const struct path *sender, unsigned flags, str envid, str login)
{
	if (p->err != OK)
		return;
	p->entry->sender = kept(p, sender->text);
	p->entry->flags = flags;
	p->entry->envid = kept(p, envid);
	p->entry->login = kept(p, login);
}

/* Doubles an array that lives in an arena.  From one: most messages have one
 * recipient, and room for eight of them was a kilobyte that waited with it. */
static bool grow(struct arena *a, void **v, size_t n, size_t *room, size_t size)
{
	size_t more = *room ? 2 * *room : 1;
	void *bigger;

	if (n < *room)
		return true;
	bigger = arena_alloc_array(a, more, size);
	if (bigger == NULL)
		return false;
	if (n > 0)
		memcpy(bigger, *v, n * size);
	*v = bigger;
	*room = more;
	return true;
}

void queue_put_rcpt(struct queue_put *p, const struct path *rcpt, unsigned flags, str orcpt)
{
	struct queue_entry *e = p->entry;

	if (p->err != OK)
		return;
	if (!grow(&e->arena, (void **)&e->rcpts, e->nrcpts, &p->rcpts_room, sizeof(*e->rcpts))) {
		p->err = ERR_MEMORY;
		return;
	}
	e->rcpts[e->nrcpts++] = (struct queue_rcpt){
		.address = kept(p, rcpt->text), .orcpt = kept(p, orcpt), .flags = flags, .next = e->arrived,
		.state = e->flags & MESSAGE_HELD ? RCPT_HELD : RCPT_WAITING,
	};
}

void queue_put_own(struct queue_put *p, str sender, str head)
{
	struct queue_own *own;

	if (p->err != OK)
		return;
	own = ARENA_NEW(&p->entry->arena, struct queue_own);
	if (own == NULL || p->entry->nrcpts == 0) {
		p->err = ERR_MEMORY;
		return;
	}
	*own = (struct queue_own){ kept(p, sender), kept(p, head) };
	p->entry->rcpts[p->entry->nrcpts - 1].own = own;
}

void queue_put_not_before(struct queue_put *p, int64_t at)
{
	if (p->entry != NULL)
		p->entry->not_before = at;
}

void queue_put_signing(struct queue_put *p, const struct queue_signing *s)
{
	struct queue_signing *out;

	if (p->err != OK)
		return;
	out = &p->entry->signing;
	out->until = s->until;
	out->author = kept(p, s->author);
	for (size_t i = 0; i < QUEUE_HASHES; i++)
		out->hashes[i] = kept(p, s->hashes[i]);
}

void queue_put_field(struct queue_put *p, str field)
{
	if (p->err != OK)
		return;
	if (!grow(p->arena, (void **)&p->heads, p->nheads, &p->heads_room, sizeof(*p->heads)))
		p->err = ERR_MEMORY;
	else
		p->heads[p->nheads++] = kept_in(p->arena, p, field);   /* the entry gets all of them as one */
}

void queue_put_header_bytes(struct queue_put *p, uint64_t n)
{
	if (p->entry != NULL)
		p->entry->header_bytes = n;
}

void queue_put_body(struct queue_put *p, struct spool *s)
{
	p->spool = s;
	if (s == NULL)
		p->err = ERR_MEMORY;
}

void queue_put_settles(struct queue_put *p, uint64_t id, const uint32_t *rcpts, size_t n)
{
	p->settles = ARENA_ARRAY(p->arena, struct queue_fate, n);
	if (p->settles == NULL) {
		p->err = ERR_MEMORY;
		return;
	}
	p->settles_id = id;
	p->nsettles = n;
	for (size_t i = 0; i < n; i++)
		p->settles[i] = (struct queue_fate){ .rcpt = rcpts[i], .fate = FATE_BOUNCED };
}

void queue_put_settles_said(struct queue_put *p, const str *said, const str *host)
{
	for (size_t i = 0; p->settles != NULL && i < p->nsettles; i++) {
		p->settles[i].said = str_keep(p->arena, said[i]);
		p->settles[i].host = str_keep(p->arena, host[i]);
	}
}

uint64_t queue_put_id(const struct queue_put *p)
{
	return p->id;
}

static void put_ends(struct queue_put *p)
{
	buf_fini(&p->row);
	buf_fini(&p->seals);
	free(p->stand_in);
	p->stand_in = NULL;
	queue_entry_free(p->entry);
	p->entry = NULL;
	spool_drop(p->spool);
	p->spool = NULL;
}

void queue_put_drop(struct queue_put *p)
{
	put_ends(p);
}

/* ---- submit ------------------------------------------------------------------------ */

static void came_home(struct baton *b)
{
	struct queue_put *p = SUPER(b, struct queue_put, baton);

	put_ends(p);
	p->done(p, p->err, p->arg);
}

/* The last added stands first. */
static void join_heads(struct queue_put *p)
{
	size_t n = 0;
	char *at;

	for (size_t i = 0; i < p->nheads; i++)
		n += p->heads[i].n;
	at = arena_alloc(&p->entry->arena, n + 1);
	if (at == NULL) {
		p->err = ERR_MEMORY;
		return;
	}
	p->entry->head = (str){ at, n };
	for (size_t i = p->nheads; i-- > 0;) {
		if (p->heads[i].n > 0)
			memcpy(at, p->heads[i].p, p->heads[i].n);
		at += p->heads[i].n;
	}
}

static void set_first_try(struct queue_entry *e)
{
	for (size_t i = 0; i < e->nrcpts; i++)
		if (e->not_before > e->rcpts[i].next)
			e->rcpts[i].next = e->not_before;
}

/* It was doubled as it grew, and may wait in memory for its first try: two of
 * 4.1 KB would hold as much as four. */
static char *shrunk(char *p, size_t n)
{
	char *fits = n > 0 ? realloc(p, n) : NULL;

	return fits != NULL ? fits : p;
}

static void take_content(struct queue_put *p)
{
	struct queue_entry *e = p->entry;

	e->bytes = p->spool->bytes;
	e->in_file = p->spool->in_file;
	if (e->in_file)
		return;
	e->content_memory = shrunk(p->spool->p, (size_t)e->bytes);
	e->content = (str){ e->content_memory, e->bytes };
	p->spool->p = NULL;
	p->spool->room = p->spool->n = 0;
}

/* The rows as they will stand in store and journal; their checksums cost most
 * where many wait for one, so they are made here and not by the committer. */
static void make_rows(struct queue_put *p)
{
	str rest = p->entry->content;

	record_message(&p->row, p->entry);
	for (uint32_t i = 0; rest.n > 0; i++) {
		str piece = str_head(rest, RECORD_BODY);
		unsigned char head[RECORD_HEAD];

		record_head(head, (struct record_name){ RECORD_BODY_ROW, p->id, i }, piece);
		buf_add(&p->seals, (str){ (const char *)head, sizeof(head) });
		rest = str_skip(rest, piece.n);
	}
	p->stand_in = calloc(1, sizeof(*p->stand_in));
	p->err = p->row.failed || p->seals.failed || p->stand_in == NULL ? ERR_MEMORY : OK;
}

static void to_committer(struct queue_put *p)
{
	p->baton.arrived = came_home;
	p->baton.first = false;
	if (p->err == OK && atomic_load(&p->queue->stopping))
		p->err = ERR_CLOSED;
	if (p->err == OK)
		p->baton.weight = p->row.n + p->entry->content.n;
	if (p->err == OK)
		mbox_send_now(p->queue->inbox, &p->baton);      /* the committer may be free: a loop's turn is long */
	else
		mbox_send(p->baton.home, &p->baton);
}

static void file_is_safe(void *arg, enum err e)
{
	struct queue_put *p = arg;

	p->err = e;
	to_committer(p);
}

void queue_put_submit(struct queue_put *p, queue_done *done, void *arg)
{
	p->done = done;
	p->arg = arg;
	if (p->err == OK && (p->spool == NULL || p->entry->nrcpts == 0))
		p->err = ERR_BAD;               /* no content, or nobody to bring it to */
	if (p->err == OK)
		p->err = spool_error(p->spool);
	if (p->err == OK)
		join_heads(p);
	if (p->err == OK) {
		take_content(p);
		set_first_try(p->entry);
		make_rows(p);
	}
	if (p->err == OK && p->entry->in_file)
		spool_finish(p->spool, p->id, file_is_safe, p);
	else
		to_committer(p);
}
