/* SPDX-License-Identifier: ISC */
/*
 * txn: one message from MAIL to its answer: what owns its memory, its
 * recipients, and its share of the process' memory for messages.
 *
 * The share is reserved at MAIL and follows what the message really holds.
 * Before the body a message that finds none left is put off; its body never
 * is, because what does not fit goes over to a file.  Loop thread.
 */
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/session/internal.h"

#define RESERVED_STEP   ((uint64_t)64 << 10)
#define MODULES_ROOM    ((size_t)4 << 20)     /* what modules may take for one message */
#define RCPT_ROOM       ((size_t)4 << 10)     /* a recipient with its alias */

static size_t arena_budget(const struct limits_conf *l)
{
	return MODULES_ROOM + 2 * (size_t)l->header_size + RCPT_ROOM * (size_t)l->recipients;
}

struct txn *txn_new(const struct session_setup *setup, struct loop *loop, struct chain_conn *chain,
                    const struct peer *peer, enum origin origin, void *owner)
{
	struct txn *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->setup = setup;
	t->loop = loop;
	t->chain = chain;
	t->peer = peer;
	t->owner = owner;
	t->id = queue_new_id(setup->queue);
	t->log.id = queue_id_text(t->id, t->id_text);
	arena_init(&t->arena, arena_budget(setup->limits));
	splitter_init(&t->split, &t->arena, setup->limits->header_size, setup->limits->field_size,
	              setup->limits->fields);
	t->in = (struct message){
		.id = t->log.id, .origin = origin, .fields = &t->split.fields, .now = clock_wall(),
		.host = setup->hostname, .authserv_id = setup->authserv_id,
	};
	return t;
}

void txn_free(struct txn *t)
{
	if (t == NULL)
		return;
	must(!t->lent);
	chain_end(t->chain);
	intake_drop(t);
	letter_free(t->report);
	if (t->in.hashes != NULL)
		bodyhash_drop(t->in.hashes);
	splitter_fini(&t->split);
	limits_give_memory(t->reserved);
	arena_fini(&t->arena);
	free(t);
}

/* ---- memory ------------------------------------------------------------------ */

static uint64_t held(const struct txn *t)
{
	return t->arena.used + t->split.line.n + (t->spool != NULL ? spool_memory(t->spool) : 0);
}

static uint64_t missing(const struct txn *t)
{
	uint64_t now = held(t);

	if (now <= t->reserved)
		return 0;
	return (now - t->reserved + RESERVED_STEP - 1) / RESERVED_STEP * RESERVED_STEP;
}

bool txn_reserve(struct txn *t, uint64_t bytes)
{
	if (!limits_take_memory(t->setup->limits, bytes))
		return false;
	t->reserved += bytes;
	return true;
}

bool txn_reserve_more(struct txn *t)
{
	return txn_reserve(t, missing(t));
}

void txn_reserve_anyway(struct txn *t)
{
	uint64_t bytes = missing(t);

	limits_take_memory_anyway(bytes);
	t->reserved += bytes;
}

/* ---- recipients --------------------------------------------------------------- */

static bool room_for_rcpt(struct txn *t)
{
	size_t       room = t->room ? 2 * t->room : 4, n = t->in.nrcpts;
	struct path *paths;
	struct rcpt *rcpts;

	if (n < t->room)
		return true;
	paths = ARENA_ARRAY(&t->arena, struct path, room);
	rcpts = ARENA_ARRAY(&t->arena, struct rcpt, room);
	if (paths == NULL || rcpts == NULL)
		return false;
	if (n > 0) {
		memcpy(paths, t->paths, n * sizeof(*paths));
		memcpy(rcpts, t->rcpts, n * sizeof(*rcpts));
	}
	t->paths = paths;
	t->rcpts = rcpts;
	t->room = room;
	t->in.rcpts = paths;
	return true;
}

/* An alias, a catch-all or a copy of ours that ends elsewhere. */
static bool leads_outside(const struct txn *t, const struct path *to, const struct rcpt *r)
{
	const struct directory_domain *own = directory_domain(t->setup->directory, to->domain);
	str copy = own == NULL ? STR_NONE : own->copy;

	for (size_t i = 0; i < r->nfinals; i++)
		if (directory_domain(t->setup->directory, r->finals[i].domain) == NULL)
			return true;
	copy = str_skip(copy, str_rfind(copy, '@') + 1);
	return copy.n > 0 && directory_domain(t->setup->directory, copy) == NULL;
}

bool txn_add_rcpt(struct txn *t, const struct path *to, const struct rcpt *r)
{
	if (!room_for_rcpt(t))
		return false;
	t->in.forwarded = t->in.forwarded || (t->in.origin == FROM_STRANGER && leads_outside(t, to, r));
	t->paths[t->in.nrcpts] = *to;
	t->rcpts[t->in.nrcpts++] = *r;
	return true;
}

bool txn_resolve(struct txn *t, const struct path *to, const struct directory_answer *found,
		 struct rcpt *r)
{
	struct path *out;

	if (found->says == DIRECTORY_TARGETS) {
		if (directory_expand(t->setup->directory, &t->arena, to,
				     t->setup->limits->recipients, &out, &r->nfinals) != OK)
			return false;
		r->finals = out;
		return r->nfinals > 0;
	}
	out = ARENA_NEW(&t->arena, struct path);
	if (out == NULL)
		return false;
	*out = *to;
	r->finals = out;
	r->nfinals = 1;
	/* <postmaster>: delivery needs a domain. */
	return to->domain.n > 0 || path_of(&t->arena, found->account, out);
}

bool txn_is_local(const struct txn *t, const struct path *to)
{
	return to->domain.n == 0 ? !to->is_null : directory_domain(t->setup->directory, to->domain) != NULL;
}

unsigned txn_place_flags(const struct txn *t, const struct path *to)
{
	const struct directory_domain *d = directory_domain(t->setup->directory, to->domain);

	if (d == NULL)
		return 0;
	return RCPT_LOCAL | (t->in.origin == FROM_LOGIN && d->route.n > 0 ? RCPT_ROUTE : 0);
}
