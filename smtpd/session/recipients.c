/* SPDX-License-Identifier: ISC */
/*
 * recipients: from those that RCPT named to those that the queue gets.
 *
 * Aliases and catch-alls were resolved at RCPT; here duplicates are merged, the
 * `copy` addresses of our domains join, and each is told where it goes.  Copies
 * are silent: nobody but the domain's owner hears of them.  Loop thread.
 */
#include <string.h>

#include "smtpd/base/map.h"
#include "smtpd/session/internal.h"

struct gathering {
	struct txn    *txn;
	struct map     seen;     /* path.text → its final */
	struct final **v;
	size_t         n, room;
	bool           failed;
};

static bool room_for_one(struct gathering *g)
{
	size_t         room = g->room ? 2 * g->room : 8;
	struct final **v;

	if (g->n < g->room)
		return true;
	v = ARENA_ARRAY(&g->txn->arena, struct final *, room);
	if (v == NULL)
		return false;
	if (g->n > 0)
		memcpy(v, g->v, g->n * sizeof(*v));
	g->v = v;
	g->room = room;
	return true;
}

/* Who is named twice gets one copy, and hears of it if either way asked for that. */
static bool merged(struct gathering *g, const struct path *to, unsigned notify)
{
	struct final *old = map_get(&g->seen, to->text);

	if (old == NULL)
		return false;
	if (old->flags & RCPT_NOTIFY_NEVER)
		old->flags = (old->flags & ~(unsigned)RCPT_NOTIFY_NEVER) | notify;
	return true;
}

static void add(struct gathering *g, const struct path *to, unsigned notify, str orcpt)
{
	struct final *f;

	if (g->failed || merged(g, to, notify))
		return;
	f = ARENA_NEW(&g->txn->arena, struct final);
	if (f == NULL || !room_for_one(g) || !map_put(&g->seen, to->text, f)) {
		g->failed = true;
		return;
	}
	f->path = to;
	f->orcpt = orcpt;
	f->flags =
		notify | txn_place_flags(g->txn, to) | (g->txn->quarantine ? RCPT_QUARANTINE : 0u);
	g->v[g->n++] = f;
}

static void add_copy(struct gathering *g, str domain)
{
	const struct directory_domain *d = directory_domain(g->txn->setup->directory, domain);
	struct arena *a = &g->txn->arena;
	struct directory_answer found;
	struct path  to;
	struct rcpt  r = { 0 };

	if (d == NULL || d->copy.n == 0 || !path_of(a, d->copy, &to))
		return;
	directory_find(g->txn->setup->directory, a, &to, &found);
	if (found.says == DIRECTORY_UNKNOWN || !txn_resolve(g->txn, &to, &found, &r)) {
		log_event(&g->txn->log, LOG_WARN, "copy.lost", KV("domain", d->name),
			  KV("to", d->copy));
		return;
	}
	for (size_t i = 0; i < r.nfinals; i++)
		add(g, &r.finals[i], RCPT_NOTIFY_NEVER, STR_NONE);
}

static void add_copies(struct gathering *g)
{
	struct txn *t = g->txn;
	str login = t->peer->login;

	if (t->in.origin == FROM_OURSELVES)
		return;
	if (t->in.origin == FROM_LOGIN)
		add_copy(g, str_skip(login, str_rfind(login, '@') + 1));
	for (size_t i = 0; i < t->in.nrcpts; i++)
		/* What leaves by a route comes in again, and is copied then. */
		if (!(txn_place_flags(t, &t->paths[i]) & RCPT_ROUTE))
			add_copy(g, t->paths[i].domain);
}

bool recipients_gather(struct txn *t, struct final ***out, size_t *n)
{
	struct gathering g = { .txn = t };

	map_init(&g.seen, false);
	for (size_t i = 0; i < t->in.nrcpts; i++)
		for (size_t j = 0; j < t->rcpts[i].nfinals; j++)
			add(&g, &t->rcpts[i].finals[j], t->rcpts[i].flags, t->rcpts[i].orcpt);
	add_copies(&g);
	map_fini(&g.seen);
	*out = g.v;
	*n = g.n;
	return !g.failed && g.n > 0;
}
