/* SPDX-License-Identifier: ISC */
/*
 * recipients: from those that RCPT named to those that the queue gets.
 *
 * Aliases and catch-alls were resolved at RCPT; here duplicates are merged, the
 * `copy` addresses of our domains join, and each is told where it goes and what
 * is its own: forward.c's sender, an archive's fields.  Copies are silent:
 * nobody but the domain's owner hears of them.  Loop thread.
 */
#include <string.h>

#include "smtpd/base/map.h"
#include "smtpd/mail/own.h"
#include "smtpd/session/internal.h"

struct gathering {
	struct txn    *txn;
	struct map     seen;     /* address → its final */
	struct final **v;
	size_t         n, room;
	bool           failed;
};

#define NOTIFY (RCPT_NOTIFY_NEVER | RCPT_NOTIFY_SUCCESS | RCPT_NOTIFY_FAILURE | RCPT_NOTIFY_DELAY)

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

/* Local parts of ours match without case. */
static str key_of(struct gathering *g, const struct path *to)
{
	return txn_is_local(g->txn, to) ? str_keep_lower(&g->txn->arena, to->text) : to->text;
}

/* Who is named twice gets one copy, and hears of it if either way asked for that. */
static struct final *merged(struct gathering *g, str key, unsigned notify)
{
	struct final *old = map_get(&g->seen, key);

	if (old != NULL && (old->flags & RCPT_NOTIFY_NEVER))
		old->flags = (old->flags & ~(unsigned)RCPT_NOTIFY_NEVER) | notify;
	return old;
}

static struct final *append(struct gathering *g, const struct path *to, unsigned flags, str orcpt)
{
	struct final *f = ARENA_NEW(&g->txn->arena, struct final);

	if (f == NULL || !room_for_one(g)) {
		g->failed = true;
		return NULL;
	}
	f->path = to;
	f->orcpt = orcpt;
	f->flags = flags | txn_place_flags(g->txn, to);
	g->v[g->n++] = f;
	return f;
}

/* `is_new`: nobody has named it before.  NULL: no memory. */
static struct final *add(struct gathering *g, const struct path *to, unsigned notify, str orcpt, bool *is_new)
{
	str key = key_of(g, to);
	struct final *f = merged(g, key, notify);

	*is_new = f == NULL;
	if (f == NULL && !g->failed)
		f = append(g, to, notify, orcpt);
	if (*is_new && f != NULL && !map_put(&g->seen, key, f))
		g->failed = true;
	return g->failed ? NULL : f;
}

/* ---- those that were named --------------------------------------------------------------- */

/* RFC 3461 5.2.7.3: several stand for one; that is all of success that the
 * sender hears. */
static unsigned notify_behind(struct gathering *g, const struct rcpt *r, const struct path *via, str orcpt)
{
	unsigned notify = r->flags & ~(unsigned)RCPT_NOTIFY_SUCCESS;

	if (r->nfinals < 2 || !(r->flags & RCPT_NOTIFY_SUCCESS) || g->txn->in.sender.is_null)
		return r->flags;
	append(g, via, RCPT_NOTIFY_SUCCESS | RCPT_EXPANDED, orcpt);
	return notify & NOTIFY ? notify : notify | RCPT_NOTIFY_NEVER;
}

/* Reports name the recipient as the sender knows it (RFC 3461 4.2). */
static str original(struct txn *t, const struct rcpt *r, const struct path *via)
{
	if (r->orcpt.n > 0 || t->in.sender.is_null || !rcpt_is_resolved(r, via))
		return r->orcpt;
	return arena_printf(&t->arena, "%s;%.*s", via->is_utf8 ? "utf-8" : "rfc822", STR_ARG(via->text));
}

static void add_named(struct gathering *g, size_t i)
{
	struct txn *t = g->txn;
	const struct rcpt *r = &t->rcpts[i];
	const struct path *via = &t->paths[i];
	str      orcpt = original(t, r, via);
	unsigned notify = notify_behind(g, r, via, orcpt);
	bool     is_new;

	for (size_t j = 0; j < r->nfinals; j++) {
		struct final *f = add(g, &r->finals[j], notify, orcpt, &is_new);

		if (f == NULL)
			return;
		if (!is_new)
			continue;
		if (t->quarantine)
			f->flags |= RCPT_QUARANTINE;
		forward_prepare(t, r, via, f);
	}
}

/* ---- copies ---------------------------------------------------------------------------------- */

/* The domain's owner sees of the envelope what is his: all of what his people
 * send, of what comes in those recipients whose domain is copied there. */
static bool shows(const struct txn *t, str copy, const struct path *rcpt)
{
	str login = t->peer->login;
	const struct directory_domain *from = directory_domain(t->setup->directory, str_skip(login, str_rfind(login, '@') + 1));
	const struct directory_domain *to = directory_domain(t->setup->directory, rcpt->domain);

	if (t->in.origin == FROM_LOGIN && from != NULL && str_eq_nocase(from->copy, copy))
		return true;
	return to != NULL && str_eq_nocase(to->copy, copy);
}

static str copy_fields(struct txn *t, str copy, str mark)
{
	const struct path **shown = ARENA_ARRAY(&t->arena, const struct path *, t->in.nrcpts);
	struct own_copy c = {
		.id = t->log.id, .mark = mark, .when = t->in.now, .ip = t->peer->ip, .ptr = t->peer->ptr, .helo = t->peer->helo,
		.login = t->peer->login, .sender = t->in.sender.text, .rcpts = shown,
	};

	for (size_t i = 0; shown != NULL && i < t->in.nrcpts; i++)
		if (shows(t, copy, &t->paths[i]))
			shown[c.nrcpts++] = &t->paths[i];
	return shown == NULL ? STR_NONE : own_copy_fields(&t->arena, &c);
}

/* What leaves by a route says that it was copied, for when it comes in again. */
static void tell_routed(struct gathering *g, str field)
{
	for (size_t i = 0; i < g->n; i++)
		if (g->v[i]->flags & RCPT_ROUTE)
			g->v[i]->head = arena_printf(&g->txn->arena, "%.*s%.*s", STR_ARG(field), STR_ARG(g->v[i]->head));
}

/* The null sender: nothing answers a copy, on whichever server it lies. */
static void give_fields(struct gathering *g, struct final *f, bool is_new, str fields)
{
	struct txn *t = g->txn;

	if (f == NULL || f->copied)
		return;
	f->copied = true;
	f->head = arena_printf(&t->arena, "%.*s%.*s", STR_ARG(fields), STR_ARG(f->head));
	if (!is_new)
		return;
	f->flags = (f->flags & ~(unsigned)RCPT_ROUTE) | RCPT_COPY | RCPT_OWN_SENDER;
	f->sender = STR("");
}

static void copy_lost(struct txn *t, const struct directory_domain *d)
{
	log_event(&t->log, LOG_ERROR, "copy.lost", KV("domain", d->name), KV("to", d->copy),
	          KV_C("why", "nobody has that address: correct `copy` in the domain's section"));
}

static void add_copy(struct gathering *g, str domain)
{
	struct txn *t = g->txn;
	const struct directory_domain *d = directory_domain(t->setup->directory, domain);
	struct directory_answer found;
	str    mark = STR_NONE;
	struct path to;
	struct rcpt r = { 0 };
	str    fields;
	bool   is_new;

	if (d == NULL || d->copy.n == 0 || !path_of(&t->arena, d->copy, &to))
		return;
	if (t->setup->secret != NULL) {
		if (own_was_copied(&t->arena, t->setup->secret, t->in.fields, d->copy))
			return;
		mark = own_mark(&t->arena, t->setup->secret, t->log.id, d->copy);
	}
	directory_find(t->setup->directory, &t->arena, &to, &found);
	if (found.says == DIRECTORY_UNKNOWN || !txn_resolve(t, &to, &found, &r)) {
		copy_lost(t, d);
		return;
	}
	fields = copy_fields(t, d->copy, mark);
	g->failed = g->failed || fields.n == 0;
	for (size_t i = 0; i < r.nfinals && !g->failed; i++) {
		struct final *f = add(g, &r.finals[i], RCPT_NOTIFY_NEVER, STR_NONE, &is_new);

		give_fields(g, f, is_new, fields);
	}
	tell_routed(g, own_copy_id(&t->arena, t->log.id, mark));
}

/* Each domain once; its address may be another's, too. */
static void add_copies(struct gathering *g)
{
	struct txn *t = g->txn;
	str login = t->peer->login;

	if (t->in.origin == FROM_LOGIN)
		add_copy(g, str_skip(login, str_rfind(login, '@') + 1));
	for (size_t i = 0; i < t->in.nrcpts; i++) {
		bool seen = false;

		for (size_t k = 0; k < i && !seen; k++)
			seen = str_eq(t->paths[k].domain, t->paths[i].domain);
		/* What leaves by a route comes in again, and is copied then. */
		if (!seen && !(txn_place_flags(t, &t->paths[i]) & RCPT_ROUTE))
			add_copy(g, t->paths[i].domain);
	}
}

/* ---- all of them -------------------------------------------------------------------------------- */

bool recipients_gather(struct txn *t)
{
	struct gathering g = { .txn = t };

	map_init(&g.seen, false);
	for (size_t i = 0; i < t->in.nrcpts; i++)
		add_named(&g, i);
	add_copies(&g);
	map_fini(&g.seen);
	t->finals = g.v;
	t->nfinals = g.n;
	return !g.failed && g.n > 0;
}
