/* SPDX-License-Identifier: ISC */
/*
 * A queue in memory: what was put can be looked at, and a put, a spool or the
 * disk can be held or made to fail.
 */
#ifndef TESTS_SESSION_FAKE_QUEUE_H
#define TESTS_SESSION_FAKE_QUEUE_H

#include "tests/unit/session_fake.h"

#define STORED_MOST 64

struct stored {
	uint64_t id, settles_id;
	char     from[300], login[300], envid[128], head[8192];
	char    *content;
	size_t   n, nrcpts;
	uint64_t header_bytes;
	int64_t  not_before;
	unsigned flags;
	struct { char text[300], orcpt[300], sender[300], head[2000]; unsigned flags; } rcpts[40];
};

static struct {
	struct loop  *loop;
	struct stored stored[STORED_MOST];
	size_t        nstored;
	uint64_t      last_id;
	enum err      room, put_result, spool_result;
	bool          hold_puts;            /* puts wait for release_puts */
	bool          no_memory;            /* spool_new finds none */
	size_t        spool_blocks_after;   /* octets after which each spool_add blocks once; 0: never */
	size_t        spools;               /* alive */
	struct queue_put *held;
} q;

struct spool {
	struct buf        bytes;
	size_t            told;             /* octets when it last blocked */
	struct loop_call  call;
	void            (*ready)(void *);
	void             *arg;
};

struct queue_put {
	struct loop_call call;
	struct stored   *s;
	struct spool    *spool;
	queue_done      *done;
	void            *arg;
	struct stored    memory;
};

uint64_t queue_new_id(struct queue *unused)
{
	(void)unused;
	return ++q.last_id;
}

str queue_id_text(uint64_t id, char out[static QUEUE_ID_TEXT])
{
	return (str){ out, (size_t)snprintf(out, QUEUE_ID_TEXT, "q%llu", (unsigned long long)id) };
}

bool queue_id_parse(str text, uint64_t *id)
{
	return text.n > 1 && text.p[0] == 'q' && str_to_u64(str_skip(text, 1), id);
}

enum err queue_room(const struct queue *unused, uint64_t bytes)
{
	(void)unused;
	(void)bytes;
	return q.room;
}

struct spool *spool_new(struct queue *unused, struct mbox *home)
{
	struct spool *s = q.no_memory ? NULL : calloc(1, sizeof(*s));

	(void)unused;
	(void)home;
	if (s == NULL)
		return NULL;
	buf_init(&s->bytes, BUF_UNBOUNDED);
	q.spools++;
	return s;
}

static void spool_is_ready(struct loop_call *c)
{
	struct spool *s = SUPER(c, struct spool, call);

	s->ready(s->arg);
}

bool spool_add(struct spool *s, str text)
{
	buf_add(&s->bytes, text);
	if (q.spool_blocks_after == 0 || s->bytes.n - s->told < q.spool_blocks_after)
		return true;
	s->told = s->bytes.n;
	if (s->call.at == NULL)
		loop_defer(q.loop, &s->call, spool_is_ready);
	return false;
}

void spool_on_ready(struct spool *s, void (*ready)(void *), void *arg)
{
	s->ready = ready;
	s->arg = arg;
}

enum err spool_error(const struct spool *s)
{
	(void)s;
	return q.spool_result;
}

uint64_t spool_bytes(const struct spool *s)
{
	return s->bytes.n;
}

size_t spool_memory(const struct spool *s)
{
	return s->bytes.n < QUEUE_ROWS_MAX ? s->bytes.n : 0;
}

void spool_drop(struct spool *s)
{
	loop_undefer(&s->call);
	buf_fini(&s->bytes);
	free(s);
	q.spools--;
}

static void copy_text(char *out, size_t room, str s)
{
	assert_true(s.n < room);
	memcpy(out, s.p ? s.p : "", s.n);
	out[s.n] = '\0';
}

struct queue_put *queue_put_new(struct queue *unused, struct arena *a, struct mbox *home, uint64_t id)
{
	struct queue_put *p = calloc(1, sizeof(*p));

	(void)unused;
	(void)a;
	(void)home;
	p->s = &p->memory;
	p->s->id = id;
	return p;
}

void queue_put_from(struct queue_put *p, const struct path *from, unsigned flags, str envid, str login)
{
	copy_text(p->s->from, sizeof(p->s->from), from->text);
	copy_text(p->s->envid, sizeof(p->s->envid), envid);
	copy_text(p->s->login, sizeof(p->s->login), login);
	p->s->flags = flags;
}

void queue_put_rcpt(struct queue_put *p, const struct path *to, unsigned flags, str orcpt)
{
	assert_true(p->s->nrcpts < COUNT(p->s->rcpts));
	copy_text(p->s->rcpts[p->s->nrcpts].text, 300, to->text);
	copy_text(p->s->rcpts[p->s->nrcpts].orcpt, 300, orcpt);
	p->s->rcpts[p->s->nrcpts++].flags = flags;
}

void queue_put_own(struct queue_put *p, str sender, str head)
{
	assert_true(p->s->nrcpts > 0);
	copy_text(p->s->rcpts[p->s->nrcpts - 1].sender, 300, sender);
	copy_text(p->s->rcpts[p->s->nrcpts - 1].head, 2000, head);
}

void queue_put_field(struct queue_put *p, str field)
{
	size_t old = strlen(p->s->head);

	assert_true(field.n >= 2 && memcmp(field.p + field.n - 2, "\r\n", 2) == 0);
	assert_true(old + field.n < sizeof(p->s->head));
	memmove(p->s->head + field.n, p->s->head, old + 1);
	memcpy(p->s->head, field.p, field.n);
}

void queue_put_header_bytes(struct queue_put *p, uint64_t n)
{
	p->s->header_bytes = n;
}

void queue_put_not_before(struct queue_put *p, int64_t at)
{
	p->s->not_before = at;
}

void queue_put_signing(struct queue_put *p, const struct queue_signing *s)
{
	(void)p;
	(void)s;
}

void queue_put_body(struct queue_put *p, struct spool *s)
{
	p->spool = s;
}

void queue_put_settles(struct queue_put *p, uint64_t id, const uint32_t *rcpts, size_t n)
{
	(void)rcpts;
	(void)n;
	p->s->settles_id = id;
}

void queue_put_settles_said(struct queue_put *p, const str *said, const str *host)
{
	(void)p;
	(void)said;
	(void)host;
}

static void put_home(struct loop_call *c)
{
	struct queue_put *p = SUPER(c, struct queue_put, call);
	enum err e = q.put_result;

	if (e == OK) {
		struct stored *s = &q.stored[q.nstored++];

		assert_true(q.nstored < STORED_MOST);
		*s = p->memory;
		s->n = p->spool->bytes.n;
		s->content = calloc(1, s->n + 1);
		memcpy(s->content, buf_str(&p->spool->bytes).p, s->n);
	}
	spool_drop(p->spool);
	p->done(p, e, p->arg);
	free(p);
}

HELPER void release_puts(void)
{
	struct queue_put *p = q.held;

	q.held = NULL;
	q.hold_puts = false;
	if (p != NULL)
		loop_defer(q.loop, &p->call, put_home);
}

void queue_put_submit(struct queue_put *p, queue_done *done, void *arg)
{
	p->done = done;
	p->arg = arg;
	loop_undefer(&p->spool->call);
	if (q.hold_puts) {
		assert_null(q.held);
		q.held = p;
	} else {
		loop_defer(q.loop, &p->call, put_home);
	}
}

void queue_put_drop(struct queue_put *p)
{
	free(p);
}

uint64_t queue_put_id(const struct queue_put *p)
{
	return p->s->id;
}

#endif
