/* SPDX-License-Identifier: ISC */
/*
 * Who waits for a fetch, and when the CAs are read.
 *
 * libcurl's handle belongs to the loop.  It is made on the slow desk, where a
 * transfer to nobody makes libcurl read the CAs, which it keeps in the handle;
 * then the handle goes to the loop and never reads them again.  A day later, or
 * when another file is to be trusted, the desk makes the next one, which takes
 * over when no transfer is under way.
 */
#include "queue/deliver/fetch_inside.h"

#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"

#define CA_AGE_MS     ((uint64_t)20 * 3600 * 1000)
#define CA_AGAIN_MS   ((uint64_t)5 * 60 * 1000)   /* after a file of CAs could not be read */

struct curler {
	struct fetcher    fetcher;      /* first */
	struct loop      *loop;
	struct desk      *slow;
	struct loop_call  turn;         /* fetches that may begin, or have failed already */
	struct transfers  transfers;    /* under way, on the handle in use */
	void             *next;         /* a handle that is made and waits for a quiet moment */
	char             *ca;
	uint64_t          read_ms;      /* when the CAs were read */
	bool              stale;        /* the file is to be read again … */
	bool              other;        /* … and another one than the handle in use knows */
	bool              no_ca;        /* it could not be read: nothing can be fetched */
	bool              warming, ended;
	struct fetch     *waiting, **waiting_tail;   /* for the CAs, or for their turn to fail */
};

struct warming {
	struct job     job;
	struct curler *curler;
	char          *ca;
	void          *multi;           /* NULL: they could not be read … */
	const char    *why;             /* … for this reason */
};

static void go_on(struct curler *);

/* ---- the CAs ------------------------------------------------------------------------------------ */

/* Slow desk. */
static void warm(struct job *j)
{
	struct warming *w = SUPER(j, struct warming, job);

	w->multi = cas_read(w->ca, &w->why);
}

static void warmed(struct baton *b)
{
	struct job *j = SUPER(b, struct job, baton);
	struct warming *w = SUPER(j, struct warming, job);
	struct curler *c = w->curler;

	c->warming = false;
	c->read_ms = clock_ms();
	c->no_ca = w->multi == NULL;
	if (c->no_ca && !c->ended)
		log_event(NULL, LOG_ERROR, "ca.unreadable", KV_C("file", w->ca), KV_C("why", w->why),
		          KV_C("effect", "no MTA-STS policy can be fetched: install ca-certificates, or set `ca` in relay"));
	if (c->ended)
		cas_forget(w->multi);
	else if (!c->no_ca)
		c->next = w->multi;     /* none was there: must_read_cas */
	free(w->ca);
	free(w);
	if (!c->ended)
		go_on(c);
}

static void begin_warming(struct curler *c)
{
	struct warming *w = calloc(1, sizeof(*w));
	char *ca = strdup(c->ca);

	if (w == NULL || ca == NULL) {
		free(w);
		free(ca);
		c->no_ca = true;
		c->read_ms = clock_ms();
		return;
	}
	c->warming = true;
	c->stale = false;
	w->curler = c;
	w->ca = ca;
	w->job.work = warm;
	w->job.baton.home = c->loop->mbox;
	w->job.baton.arrived = warmed;
	desk_submit_anyway(c->slow, &w->job);
}

static bool must_read_cas(const struct curler *c)
{
	uint64_t age = clock_ms() - c->read_ms;

	if (c->warming || c->next != NULL)
		return false;
	if (c->stale)
		return true;
	return c->no_ca ? age > CA_AGAIN_MS : c->transfers.multi == NULL || age > CA_AGE_MS;
}

/* ---- who waits -------------------------------------------------------------------------------------- */

static void take_over(struct curler *c)
{
	transfers_use(&c->transfers, c->next);
	c->next = NULL;
	c->other = c->stale;            /* changed again meanwhile */
}

static void fail(struct fetch *f, const char *why)
{
	f->result = FETCH_OURS;
	f->text = STR_NONE;
	f->why = str_of(why);
	f->done(f);
}

static struct fetch *first_waiting(struct curler *c)
{
	struct fetch *f = c->waiting;

	c->waiting = f->next;
	if (f->next != NULL)
		f->next->at = &c->waiting;
	else
		c->waiting_tail = &c->waiting;
	f->at = NULL;
	return f;
}

static void waiting_turn(struct loop_call *call)
{
	struct curler *c = SUPER(call, struct curler, turn);

	while (c->waiting != NULL) {
		struct fetch *f;

		if (c->next != NULL && c->transfers.busy == 0)
			take_over(c);
		if (must_read_cas(c))
			begin_warming(c);
		if ((c->transfers.multi == NULL || c->other) && (c->next != NULL || c->warming))
			return;          /* their turn comes when the desk, or the last transfer, is done */
		f = first_waiting(c);
		if (c->transfers.multi == NULL)
			fail(f, "the file of CAs could not be read");
		else if (!transfers_begin(&c->transfers, f, c->ca))
			fail(f, "there was no memory to fetch it");
	}
}

static void go_on(struct curler *c)
{
	if (c->waiting != NULL && c->turn.at == NULL)
		loop_defer(c->loop, &c->turn, waiting_turn);
}

static void some_ended(struct transfers *t)
{
	go_on(SUPER(t, struct curler, transfers));
}

static void curler_begin(struct fetcher *f, struct fetch *x)
{
	struct curler *c = SUPER(f, struct curler, fetcher);

	x->work = NULL;
	x->next = NULL;
	x->at = c->waiting_tail;
	*c->waiting_tail = x;
	c->waiting_tail = &x->next;
	go_on(c);
}

static void curler_stop(struct fetcher *f, struct fetch *x)
{
	struct curler *c = SUPER(f, struct curler, fetcher);

	if (x->at != NULL) {
		*x->at = x->next;
		if (x->next != NULL)
			x->next->at = x->at;
		else
			c->waiting_tail = x->at;
		x->at = NULL;
	}
	if (x->work == NULL)
		return;
	transfers_stop(&c->transfers, x);
	go_on(c);
}

static void curler_trust(struct fetcher *f, str ca)
{
	struct curler *c = SUPER(f, struct curler, fetcher);
	char *copy = strndup(ca.p != NULL ? ca.p : "", ca.n);

	if (copy == NULL)
		return;
	c->other = c->other || strcmp(copy, c->ca) != 0;
	free(c->ca);
	c->ca = copy;
	c->stale = true;
}

static void curler_end(struct fetcher *f)
{
	struct curler *c = SUPER(f, struct curler, fetcher);

	c->ended = true;
	loop_undefer(&c->turn);
	transfers_end(&c->transfers);
	cas_forget(c->next);
	c->next = NULL;
}

static void curler_free(struct fetcher *f)
{
	struct curler *c = SUPER(f, struct curler, fetcher);

	free(c->ca);
	free(c);
	transfers_fini();
}

struct fetcher *fetcher_new(struct loop *loop, struct desk *slow, str ca)
{
	struct curler *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->fetcher = (struct fetcher){ curler_begin, curler_stop, curler_trust, curler_end, curler_free };
	c->loop = loop;
	c->slow = slow;
	c->ca = strndup(ca.p != NULL ? ca.p : "", ca.n);
	c->waiting_tail = &c->waiting;
	if (c->ca == NULL || !transfers_init(&c->transfers, loop, some_ended)) {
		free(c->ca);
		free(c);
		return NULL;
	}
	return &c->fetcher;
}
