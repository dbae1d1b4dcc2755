/* SPDX-License-Identifier: ISC */
/*
 * Mail that was held because no DKIM key of its author's domain was out: when one
 * is, it is released, and signed on its way.
 *
 * The ids are found on the slow desk and released one after the other.  A minute
 * later it is done once more, for what was being accepted just as the key came
 * out.  Main thread, but for the look.
 */
#include <stdlib.h>
#include <string.h>

#include "queue/report.h"
#include "smtpd/setup/serve.h"

struct releasing {
	struct job         job;
	struct queue_wish  wish;
	struct server     *server;
	struct releasing  *next;      /* among those that wait for the minute */
	char              *domain;    /* ours */
	uint64_t          *ids;
	size_t             n, at, touched;
	bool               again;
	enum err           found;
};

static struct releasing *waiting;     /* main's */

static void releasing_free(struct releasing *r)
{
	free(r->domain);
	free(r->ids);
	free(r);
}

static void release_ends(struct releasing *r)
{
	if (r->found != OK)
		log_event(NULL, LOG_ERROR, "unsigned.unreleased", KV_C("domain", r->domain), KV_C("why", err_text(r->found)),
		          KV_C("next", "`postern queue list --state unsigned` shows what is held"));
	else if (r->touched > 0)
		log_event(NULL, LOG_NOTICE, "unsigned.released", KV_C("domain", r->domain), KV_N("messages", r->touched));
	free(r->ids);
	r->ids = NULL;
	if (r->again || r->server->stopping) {
		releasing_free(r);
		return;
	}
	r->again = true;
	r->next = waiting;
	waiting = r;
}

static void release_next(struct releasing *r)
{
	if (r->at == r->n || r->server->stopping) {
		release_ends(r);
		return;
	}
	r->wish.id = r->ids[r->at++];
	timetable_wish(r->server->timetable, &r->wish);
}

static void released(struct baton *b)
{
	struct releasing *r = SUPER(SUPER(b, struct queue_wish, baton), struct releasing, wish);

	r->touched += r->wish.touched;
	release_next(r);
}

static void look(struct job *j)                                    /* slow desk */
{
	struct releasing *r = SUPER(j, struct releasing, job);
	const struct queue_filter held = { .author = str_of(r->domain), .states = STATE_UNSIGNED };

	r->found = queue_select(r->server->queue, &held, &r->ids, &r->n);
}

static void looked(struct baton *b)
{
	release_next(SUPER(SUPER(b, struct job, baton), struct releasing, job));
}

static void release_begin(struct releasing *r)
{
	struct server *s = r->server;

	r->n = r->at = r->touched = 0;
	r->wish = (struct queue_wish){ .what = WISH_RELEASE, .by = "a DKIM key is out" };
	r->wish.baton.home = s->main->mbox;
	r->wish.baton.arrived = released;
	r->job = (struct job){ .work = look };
	r->job.baton.home = s->main->mbox;
	r->job.baton.arrived = looked;
	desk_submit_anyway(s->slow, &r->job);
}

void server_release_unsigned(struct server *s, str domain)
{
	struct releasing *r = calloc(1, sizeof(*r));

	if (r != NULL)
		r->domain = strndup(domain.p, domain.n);
	if (r == NULL || r->domain == NULL) {
		free(r);
		log_event(NULL, LOG_ERROR, "unsigned.unreleased", KV("domain", domain), KV_C("why", err_text(ERR_MEMORY)));
		return;
	}
	r->server = s;
	release_begin(r);
}

void server_release_unsigned_again(struct server *s)
{
	struct releasing *r = waiting;

	waiting = NULL;
	while (r != NULL) {
		struct releasing *next = r->next;

		if (s->stopping)
			releasing_free(r);
		else
			release_begin(r);
		r = next;
	}
}
