/* SPDX-License-Identifier: ISC */
/*
 * desk: threads around one mailbox.  They take no signals: those are main's.
 */
#include "smtpd/base/desk.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "smtpd/base/mbox_gather.h"
#include "smtpd/base/stat.h"

#define NAME_MAX_LINUX 16 /* of a thread, with its NUL */

struct desk {
	struct mbox *inbox;
	char         name[NAME_MAX_LINUX];
	unsigned     nthreads;
	pthread_t    threads[];
};

static void *sit(void *arg)
{
	struct desk  *d = arg;
	struct baton *b;

	pthread_setname_np(pthread_self(), d->name);
	stat_thread();
	while ((b = mbox_take(d->inbox, 1, SIZE_MAX, UINT64_MAX)) != NULL) {
		struct job *j = SUPER(b, struct job, baton);

		j->work(j);
		mbox_send(b->home, b);
	}
	return NULL;
}

static bool hire(struct desk *d)
{
	sigset_t all, old;
	int      e;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);                /* faults of this thread's own */
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	e = pthread_create(&d->threads[d->nthreads], NULL, sit, d);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (e != 0)
		return false;
	d->nthreads++;
	return true;
}

struct desk *desk_open(const char *name, unsigned threads)
{
	struct desk *d = calloc(1, sizeof(*d) + threads * sizeof(d->threads[0]));

	if (d == NULL)
		return NULL;
	snprintf(d->name, sizeof(d->name), "%s", name);
	d->inbox = mbox_new(NULL, NULL);
	if (d->inbox == NULL) {
		free(d);
		return NULL;
	}
	for (unsigned i = 0; i < threads; i++)
		if (!hire(d)) {
			desk_close(d);
			return NULL;
		}
	return d;
}

void desk_close(struct desk *d)
{
	if (d == NULL)
		return;
	mbox_stop(d->inbox);
	for (unsigned i = 0; i < d->nthreads; i++)
		pthread_join(d->threads[i], NULL);
	mbox_free(d->inbox);
	free(d);
}

bool desk_close_within(struct desk *d, uint64_t ms)
{
	struct timespec until;

	if (d == NULL)
		return true;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += (time_t)(ms / 1000) + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	mbox_stop(d->inbox);
	for (; d->nthreads > 0; d->nthreads--)
		if (pthread_timedjoin_np(d->threads[d->nthreads - 1], NULL, &until) != 0)
			return false;
	mbox_free(d->inbox);
	free(d);
	return true;
}

enum err desk_submit(struct desk *d, struct job *j)
{
	/* Several askers may pass at once: the bound is soft by their number. */
	if (mbox_count(d->inbox) >= DESK_WAITING)
		return ERR_BUSY;
	desk_submit_anyway(d, j);
	return OK;
}

void desk_submit_anyway(struct desk *d, struct job *j)
{
	must(j->work != NULL && j->baton.home != NULL);
	mbox_send_now(d->inbox, &j->baton);     /* a thread may be free; and DESK_WAITING counts what has come */
}

size_t desk_waiting(struct desk *d)
{
	return mbox_count(d->inbox);
}

size_t desk_threads(const struct desk *d)
{
	return d->nthreads;
}
