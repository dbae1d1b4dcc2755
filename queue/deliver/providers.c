/* SPDX-License-Identifier: ISC */
/*
 * Providers: the destinations whose hosts lie under one registered name share
 * what that name's owner thinks of us.  A rate answer to one of them slows all:
 * half the leases at a time, and a common rest that doubles until something
 * works again.  No provider ever has more than half of all connections, so that
 * one that is slow with thousands of domains leaves room for the others.
 *
 * Where a domain's hosts lie is known once a lease has been there; that it need
 * not knock to learn that they rest, clients look at `resting`.  A provider
 * lives as long as it has destinations or leases.  Timetable thread.
 */
#include "queue/deliver/timetable_inside.h"

#include <stdlib.h>
#include <string.h>

#include "smtpd/base/crypt.h"

#define SLOW_FIRST_MS ((uint64_t)60 * 1000)
#define STATED_MOST_S 3600

struct provider {
	str                 name;      /* behind the struct */
	struct destination *members, *blocked, *blocked_last;
	size_t              nmembers, busy;    /* leases out, of all members */
	uint64_t            window;    /* of them at a time */
	uint32_t            troubles;  /* in a row */
	int64_t             until;     /* all rest */
	bool                looked_at; /* not to be freed now */
};

/* ---- who belongs to whom ------------------------------------------------------------------ */

static uint64_t share(const struct timetable *t)
{
	return relay(t)->concurrency > 1 ? relay(t)->concurrency / 2 : 1;
}

static struct provider *provider_get(struct timetable *t, str name)
{
	struct provider *p = map_get(&t->providers, name);

	if (p != NULL)
		return p;
	p = calloc(1, sizeof(*p) + name.n + 1);
	if (p == NULL)
		return NULL;
	memcpy(p + 1, name.p, name.n);
	p->name = (str){ (const char *)(p + 1), name.n };
	p->window = share(t);
	if (!map_put(&t->providers, p->name, p)) {
		free(p);
		return NULL;
	}
	return p;
}

static void maybe_free(struct timetable *t, struct provider *p)
{
	if (p->nmembers > 0 || p->busy > 0 || p->blocked != NULL || p->looked_at)
		return;
	map_remove(&t->providers, p->name);
	free(p);
}

void provider_leave(struct timetable *t, struct destination *d)
{
	struct provider *p = d->provider;

	if (p == NULL)
		return;
	*d->member_at = d->next_member;
	if (d->next_member != NULL)
		d->next_member->member_at = d->member_at;
	d->provider = NULL;
	p->nmembers--;
	maybe_free(t, p);
}

static void join(struct timetable *t, struct destination *d, str name)
{
	struct provider *p;

	if (d->blocked || (d->provider != NULL && str_eq_nocase(d->provider->name, name)))
		return;
	p = provider_get(t, name);
	if (p == NULL)
		return;                  /* no memory: it goes on alone */
	provider_leave(t, d);
	d->provider = p;
	d->next_member = p->members;
	d->member_at = &p->members;
	if (p->members != NULL)
		p->members->member_at = &d->next_member;
	p->members = d;
	p->nmembers++;
}

/* ---- room --------------------------------------------------------------------------------------- */

bool provider_has_room(const struct timetable *t, const struct destination *d)
{
	const struct provider *p = d->provider;
	uint64_t most = share(t);

	return p == NULL || p->busy < (p->window < most ? p->window : most);
}

void provider_block(struct destination *d)
{
	struct provider *p = d->provider;

	if (d->blocked)
		return;
	d->blocked = true;
	d->next_blocked = NULL;
	*(p->blocked_last != NULL ? &p->blocked_last->next_blocked : &p->blocked) = d;
	p->blocked_last = d;
}

/* As many as there is room for, in turn.  Who has nothing to lend leaves its
 * place to the next. */
static void unblock(struct timetable *t, struct provider *p)
{
	uint64_t room = p->window > p->busy ? p->window - p->busy : 0;

	p->looked_at = true;
	while (room > 0 && p->blocked != NULL) {
		struct destination *d = p->blocked;

		p->blocked = d->next_blocked;
		if (p->blocked == NULL)
			p->blocked_last = NULL;
		d->blocked = false;
		destination_ready(t, d);
		room -= d->ready;
		destination_maybe_free(t, d);
	}
	p->looked_at = false;
	maybe_free(t, p);
}

void provider_pass(struct timetable *t, struct destination *d)
{
	if (d->provider != NULL && d->provider->blocked != NULL)
		unblock(t, d->provider);
}

void provider_lent(struct lease *l, struct destination *d)
{
	l->provider = d->provider;
	if (d->provider != NULL)
		d->provider->busy++;
}

/* ---- pace ---------------------------------------------------------------------------------------- */

static int64_t rest_of(const struct timetable *t, const struct provider *p, const struct lease *l)
{
	const struct relay_conf *r = relay(t);
	struct backoff_conf c = {
		.first_ms = r->retry_first_ms < SLOW_FIRST_MS ? r->retry_first_ms : SLOW_FIRST_MS,
		.most_ms = r->retry_most_ms < REST_MOST_MS ? r->retry_most_ms : REST_MOST_MS,
	};

	if (l->pace.after_s > 0)
		return l->pace.after_s < STATED_MOST_S ? l->pace.after_s : STATED_MOST_S;
	return backoff_next(&c, p->troubles, random_below(UINT64_MAX));
}

static void slow(struct timetable *t, struct provider *p, const struct lease *l, str said)
{
	uint64_t had = p->busy + 1;              /* with the one that came home */
	char stamp[40];

	p->window = (had < p->window ? had : p->window) / 2;
	if (p->window == 0)
		p->window = 1;
	p->troubles++;
	p->until = clock_wall() + rest_of(t, p, l);
	log_event(NULL, LOG_NOTICE, "provider.slowed", KV("provider", p->name), KV_N("destinations", p->nmembers),
	          KV_N("concurrency", p->window), KV("until", clock_stamp((uint64_t)p->until * 1000000, stamp)),
	          KV("why", said));
	resting_set(&t->resting, p->name, p->until, clock_wall());
	for (struct destination *d = p->members; d != NULL; d = d->next_member)
		destination_rest(t, d, p->until, said);
}

void provider_wake(struct timetable *t, const struct destination *d)
{
	if (d->provider != NULL && d->provider->troubles > 0)
		resting_set(&t->resting, d->provider->name, 0, clock_wall());
}

static void speed_up(struct timetable *t, struct provider *p)
{
	if (clock_wall() < p->until)
		return;                          /* it was out when the others were slowed */
	if (p->troubles > 0)
		log_event(NULL, LOG_NOTICE, "provider.works", KV("provider", p->name), KV_N("rests", p->troubles));
	p->troubles = 0;
	if (p->window < share(t))
		p->window++;
}

static void heard(struct timetable *t, struct destination *d, const struct lease *l, bool worked)
{
	struct provider *p = d->provider;
	str said = l->n > 0 ? l->v[0].said : STR_NONE;

	if (l->pace.kind == PACE_SLOWED && !t->stopping) {
		if (clock_wall() < p->until)
			destination_rest(t, d, p->until, said);
		else
			slow(t, p, l, said);
	} else if (worked) {
		speed_up(t, p);
	}
}

void provider_returned(struct timetable *t, struct destination *d, struct lease *l, bool worked)
{
	struct provider *was = l->provider;
	bool has_hosts = l->route.kind == ROUTE_MX || l->route.kind == ROUTE_HOST;

	if (was != NULL) {
		was->busy--;
		was->looked_at = true;
	}
	if (has_hosts && l->mx.n > 0)
		join(t, d, provider_name(l->mx));
	if (has_hosts && d->provider != NULL)
		heard(t, d, l, worked);
	if (was != NULL)
		unblock(t, was);
}
