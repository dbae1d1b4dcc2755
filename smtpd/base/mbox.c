/* SPDX-License-Identifier: ISC */
/*
 * mbox: two lists under one mutex, those that go first and the rest.  The lock
 * is held for a few pointer moves, never across a call of anybody else's.
 * Senders signal only when somebody sleeps.
 */
#include "smtpd/base/mbox.h"

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

void mbox_send(struct mbox *m, struct baton *b)
{
	struct line *l;
	void       (*wake)(void *), *arg;

	b->next = NULL;
	lock(m);
	wake = m->count == 0 ? m->wake : NULL;
	arg = m->arg;
	l = b->first ? &m->first : &m->rest;
	*l->tail = b;
	l->tail = &b->next;
	m->count++;
	if (m->sleepers != 0)
		pthread_cond_signal(&m->come);
	unlock(m);
	/* b may be gone by now: it was given away; and so may m, when nobody is
	 * woken and its reader has what it waited for. */
	if (wake != NULL)
		wake(arg);
}

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
