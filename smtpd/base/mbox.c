/* SPDX-License-Identifier: ISC */
/*
 * mbox: two lists under one mutex, those that go first and the rest.  The lock
 * is held for a few pointer moves, never across a call of anybody else's.
 * Senders signal only when somebody sleeps.  What a thread gathers stands in
 * lists of its own, one for each box: to be woken for each of forty answers
 * costs more than to read them.
 */
#include "smtpd/base/mbox_gather.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "smtpd/base/err.h"

struct line {
	struct baton *head, **tail;
};

struct mbox {
	pthread_mutex_t lock;
	pthread_cond_t  come;
	struct line     first, rest;
	size_t          count, sleepers;
	bool            stopped;
	void          (*wake)(void *arg);
	void           *arg;
};

#define BOXES 8                       /* that one thread gathers for; more are served in turns */

struct bundle {
	struct mbox *to;
	struct line  first, rest;
	size_t       n;
};

static _Thread_local struct gathering {
	bool          on;
	size_t        n;
	struct bundle v[BOXES];
} gathering;

struct mbox *mbox_new(void (*wake)(void *arg), void *arg)
{
	struct mbox       *m = calloc(1, sizeof(*m));
	pthread_condattr_t attr;

	if (m == NULL)
		return NULL;
	must(pthread_condattr_init(&attr) == 0);
	must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	must(pthread_cond_init(&m->come, &attr) == 0);
	pthread_condattr_destroy(&attr);
	must(pthread_mutex_init(&m->lock, NULL) == 0);
	m->first.tail = &m->first.head;
	m->rest.tail = &m->rest.head;
	m->wake = wake;
	m->arg = arg;
	return m;
}

void mbox_free(struct mbox *m)
{
	if (m == NULL)
		return;
	must(m->count == 0);
	pthread_cond_destroy(&m->come);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

static void lock(struct mbox *m)
{
	must(pthread_mutex_lock(&m->lock) == 0);
}

static void unlock(struct mbox *m)
{
	must(pthread_mutex_unlock(&m->lock) == 0);
}

static void append(struct line *l, struct line *more)
{
	if (more->head == NULL)
		return;
	*l->tail = more->head;
	l->tail = more->tail;
}

static void deliver(struct mbox *m, struct line *first, struct line *rest, size_t n)
{
	void (*wake)(void *), *arg;

	lock(m);
	wake = m->count == 0 ? m->wake : NULL;
	arg = m->arg;
	append(&m->first, first);
	append(&m->rest, rest);
	m->count += n;
	if (m->sleepers != 0 && n > 1)
		pthread_cond_broadcast(&m->come);
	else if (m->sleepers != 0)
		pthread_cond_signal(&m->come);
	unlock(m);
	/* What was given away may be gone by now; and so may m, when nobody is
	 * woken and its reader has what it waited for. */
	if (wake != NULL)
		wake(arg);
}

void mbox_send_now(struct mbox *m, struct baton *b)
{
	struct line one = { b, &b->next }, none = { NULL, &none.head };

	b->next = NULL;
	deliver(m, b->first ? &one : &none, b->first ? &none : &one, 1);
}

static struct bundle *bundle_for(struct gathering *g, struct mbox *m)
{
	struct bundle *u = g->v;

	while (u < g->v + g->n && u->to != m)
		u++;
	if (u == g->v + BOXES) {
		mbox_hand_over();
		u = g->v;
	}
	if (u == g->v + g->n) {
		*u = (struct bundle){ .to = m, .first = { NULL, &u->first.head }, .rest = { NULL, &u->rest.head } };
		g->n++;
	}
	return u;
}

void mbox_send(struct mbox *m, struct baton *b)
{
	struct bundle *u;
	struct line *l;

	if (!gathering.on) {
		mbox_send_now(m, b);
		return;
	}
	u = bundle_for(&gathering, m);
	l = b->first ? &u->first : &u->rest;
	b->next = NULL;
	*l->tail = b;
	l->tail = &b->next;
	u->n++;
}

/* ---- gathering ------------------------------------------------------------------------------ */

void mbox_gather(void)
{
	gathering.on = true;
}

/* In the order in which they were first sent to. */
void mbox_hand_over(void)
{
	for (struct bundle *u = gathering.v; u < gathering.v + gathering.n; u++)
		deliver(u->to, &u->first, &u->rest, u->n);
	gathering.n = 0;
}

void mbox_gather_no_more(void)
{
	mbox_hand_over();
	gathering.on = false;
}

/* ---- taking ---------------------------------------------------------------------------------- */

/* Moves the oldest baton of `from` to the end of `to`. */
static void move_one(struct line *from, struct line *to)
{
	struct baton *b = from->head;

	from->head = b->next;
	if (from->head == NULL)
		from->tail = &from->head;
	b->next = NULL;
	*to->tail = b;
	to->tail = &b->next;
}

struct baton *mbox_take_all(struct mbox *m)
{
	struct baton *all;

	lock(m);
	*m->first.tail = m->rest.head;
	all = m->first.head;
	m->first = (struct line){ NULL, &m->first.head };
	m->rest = (struct line){ NULL, &m->rest.head };
	m->count = 0;
	unlock(m);
	return all;
}

/* Under the lock: false when the time is up. */
static bool sleep_until(struct mbox *m, uint64_t until_ms)
{
	struct timespec t = {
		.tv_sec = (time_t)(until_ms / 1000),
		.tv_nsec = (long)(until_ms % 1000) * 1000000,
	};
	int e;

	m->sleepers++;
	e = until_ms == UINT64_MAX ? pthread_cond_wait(&m->come, &m->lock)
	                           : pthread_cond_timedwait(&m->come, &m->lock, &t);
	m->sleepers--;
	return e == 0;
}

struct baton *mbox_take(struct mbox *m, size_t items, size_t bytes, uint64_t until_ms)
{
	struct baton *head = NULL;
	struct line   taken = { NULL, &head };
	size_t        weight = 0;

	mbox_hand_over();
	lock(m);
	while (m->count == 0 && !m->stopped)
		if (!sleep_until(m, until_ms))
			break;
	for (size_t n = 0; m->count != 0 && n < items; n++) {
		struct line *l = m->first.head ? &m->first : &m->rest;

		if (n > 0 && (weight > bytes || l->head->weight > bytes - weight))
			break;
		weight += l->head->weight;
		move_one(l, &taken);
		m->count--;
	}
	unlock(m);
	return head;
}

void mbox_stop(struct mbox *m)
{
	lock(m);
	m->stopped = true;
	pthread_cond_broadcast(&m->come);
	unlock(m);
}

bool mbox_stopped(struct mbox *m)
{
	bool stopped;

	lock(m);
	stopped = m->stopped;
	unlock(m);
	return stopped;
}

size_t mbox_count(struct mbox *m)
{
	size_t n;

	lock(m);
	n = m->count;
	unlock(m);
	return n;
}
