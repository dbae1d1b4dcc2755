/* SPDX-License-Identifier: ISC */
/*
 * What lasts of a name while tables come and go: whether logins made by it still
 * stand, which TOTP code it used last, when its use was last written down.
 *
 * A standing is made once for each name and lives as long as the house, so a
 * session may hold it and ask at any time, from its loop, without a lock: its
 * login stands while the epoch is the one it began with.  A login that is being
 * judged by a table just replaced carries the replaced table's epoch, and does
 * not stand.  Main makes them and moves epochs.
 */
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/clock.h"

struct standing *standing_of(struct auth *auth, str key)
{
	struct standing *s = map_get(&auth->standings, key);

	if (s != NULL)
		return s;
	s = ARENA_NEW(&auth->arena, struct standing);
	key = str_keep(&auth->arena, key);
	if (s == NULL || key.n == 0)
		return NULL;
	s->key = key;
	return map_put(&auth->standings, key, s) ? s : NULL;
}

/* A password set anew ends what was opened with the old one.  An older scheme
 * that became a verifier is the same password kept otherwise. */
static bool password_changed(const struct standing *s, const struct account *a)
{
	bool scram = a->kept == KEPT_SCRAM;

	if (scram && !s->scram)
		return false;
	return scram != s->scram || memcmp(s->stored, a->verifier.stored, 32) != 0;
}

static void settle(struct standing *s, struct account *a)
{
	bool there = a->owner != NULL && (!a->fields.nologin || a->fields.send_only);

	if (s->there && (!there || password_changed(s, a)))
		atomic_fetch_add(&s->epoch, 1);
	s->there = there;
	s->scram = a->kept == KEPT_SCRAM;
	memcpy(s->stored, a->verifier.stored, 32);
	atomic_store(&s->until, a->fields.expires);
	a->epoch = atomic_load(&s->epoch);
}

static void end_those_gone(struct auth *auth, const struct accounts *t)
{
	struct map_entry *e;

	for (size_t at = 0; (e = map_next(&auth->standings, &at)) != NULL;) {
		struct standing *s = e->value;

		if (!s->there || accounts_find(t, s->key) != NULL)
			continue;
		s->there = false;
		atomic_fetch_add(&s->epoch, 1);
	}
}

bool standing_settle(struct auth *auth, struct accounts *t)
{
	for (size_t i = 0; i < t->n; i++) {
		t->v[i].standing = standing_of(auth, t->v[i].key);
		if (t->v[i].standing == NULL)
			return false;
	}
	for (size_t i = 0; i < t->n; i++)
		settle(t->v[i].standing, &t->v[i]);
	end_those_gone(auth, t);
	return true;
}

bool auth_still(const struct auth_login *l)
{
	int64_t until;

	if (l->by == NULL)
		return true;
	until = atomic_load(&l->by->until);
	return atomic_load(&l->by->epoch) == l->epoch && (until == 0 || clock_wall() <= until);
}
