/* SPDX-License-Identifier: ISC */
/*
 * The one thread that commits to the store.
 *
 * It has one list at a time, in one transaction; meanwhile the committer gathers
 * the next.  Fates go before puts; a put that meets a full map or disk never takes
 * fates with it.  What could not be written and must be goes home with the work.
 */
#include <stdlib.h>

#include "queue/commit.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/mbox_gather.h"
#include "smtpd/base/stat.h"

#define AGAIN_MS 1000               /* when what would not go is tried again */

struct writer {
	struct queue *q;
	struct mbox  *box;
	struct batch  batch;
	pthread_t     thread;
};

/* ---- a commit ------------------------------------------------------------------------------ */

static size_t count(struct baton *list, bool fates)
{
	size_t n = 0;

	for (; list != NULL; list = list->next)
		n += list->first == fates && (fates || put_of(list)->err == OK);
	return n;
}

/* Those that were answered have been counted. */
static void count_commit(const struct writer *w, const struct work *k, size_t puts, size_t fates)
{
	struct queue *q = w->q;

	atomic_fetch_add(&q->commits, 1);
	atomic_fetch_add(&q->fates, fates);
	if (puts > k->answered)
		count_puts(q, puts - k->answered);
	atomic_fetch_sub(&q->messages, w->batch.gone);
	if (puts > atomic_load(&q->batch_longest))
		atomic_store(&q->batch_longest, puts);
}

static void answer_all(struct writer *w, struct work *k, enum err fates, enum err puts)
{
	struct pile left;

	pile_clear(&left);
	for (struct baton *b = k->list, *next; b != NULL; b = next) {
		next = b->next;                 /* once sent, it is no longer ours */
		if (b->first && fates == OK)
			mbox_send(b->home, b);
		else if (b->first || (is_answered(b) && puts != OK))
			pile_add_one(&left, b);
		else
			answer_put(w->q, put_of(b), puts);
	}
	k->left = left.first;
	k->list = NULL;
}

static void commit(struct writer *w, struct work *k)
{
	size_t puts = count(k->list, false), fates = count(k->list, true);
	enum err whole, kept;

	w->batch.journal = k->journal;
	w->batch.ledger.hurry = k->hurry;
	kept = whole = batch_write(&w->batch, k->list, BATCH_FATES | BATCH_PUTS);
	if (whole != OK && whole != ERR_IO && fates > 0)
		kept = batch_write(&w->batch, k->list, BATCH_FATES | BATCH_NO_RECORDS);
	if (whole == ERR_IO || kept == ERR_IO) {
		k->left = k->list;
		k->broken = true;
		return;
	}
	if (kept == OK) {
		count_commit(w, k, whole == OK ? puts : 0, fates);
		batch_remove_files(&w->batch);
	}
	answer_all(w, k, kept, whole);
}

static void tidy_up(struct writer *w, struct work *k)
{
	w->batch.ledger.hurry = k->hurry;
	batch_remove_stubborn(&w->batch);
	if (clock_ms() >= w->batch.purge_ms)
		k->broken = batch_purge(&w->batch) == ERR_IO;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void work(struct writer *w, struct work *k)
{
	uint64_t again = clock_ms() + AGAIN_MS;

	k->left = NULL;
	k->broken = false;
	if (k->list != NULL)
		commit(w, k);
	else
		tidy_up(w, k);
	k->wake_ms = w->batch.purge_ms;
	if ((w->batch.stubborn.n > 0 || k->left != NULL) && again < k->wake_ms)
		k->wake_ms = again;
	mbox_send_now(k->baton.home, &k->baton);        /* before anybody hears: who comes again finds us free */
}

static void *writer_run(void *arg)
{
	struct writer *w = arg;
	struct baton *b;

	pthread_setname_np(pthread_self(), "writer");
	stat_thread();
	mbox_gather();
	while ((b = mbox_take(w->box, 1, SIZE_MAX, UINT64_MAX)) != NULL)
		work(w, SUPER(b, struct work, baton));
	mbox_gather_no_more();
	return NULL;
}

struct writer *writer_new(struct queue *q)
{
	struct writer *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	w->q = q;
	w->box = mbox_new(NULL, NULL);
	batch_init(&w->batch, q);
	if (w->box != NULL && pthread_create(&w->thread, NULL, writer_run, w) == 0)
		return w;
	writer_free(w);
	return NULL;
}

void writer_give(struct writer *w, struct work *k)
{
	mbox_send_now(w->box, &k->baton);
}

void writer_end(struct writer *w)
{
	mbox_stop(w->box);
	pthread_join(w->thread, NULL);
}

void writer_do(struct writer *w, struct work *k)
{
	work(w, k);
}

void writer_free(struct writer *w)
{
	batch_fini(&w->batch);
	mbox_free(w->box);
	free(w);
}
