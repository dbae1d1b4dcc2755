/* SPDX-License-Identifier: ISC */
/*
 * life: the calendar and the states.  Pure.
 */
#include <string.h>

#include "smtpd/setup/keys/life_inside.h"

/* ---- questions --------------------------------------------------------------------- */

struct life_key *life_find(const struct life_book *b, str selector)
{
	for (size_t i = 0; i < b->n; i++)
		if (str_eq_nocase(b->keys[i].selector, selector))
			return &b->keys[i];
	return NULL;
}

bool life_may_sign(const struct life_key *k)
{
	return k->state <= LIFE_RETIRING && k->private_part == LIFE_PRIVATE_HERE;
}

static const struct life_key *youngest(const struct life_book *b, enum life_algorithm algorithm, enum life_state state, bool out)
{
	const struct life_key *found = NULL;

	for (size_t i = 0; i < b->n; i++) {
		const struct life_key *k = &b->keys[i];

		if (k->algorithm == algorithm && k->state == state && (k->out || !out) && (found == NULL || k->set > found->set))
			found = k;
	}
	return found;
}

/* The active key of an algorithm; while that is not out, the youngest retiring
 * one that is.  Without an active one the algorithm has been given up. */
static const struct life_key *signer_of(const struct life_book *b, enum life_algorithm algorithm)
{
	const struct life_key *active = youngest(b, algorithm, LIFE_ACTIVE, false);
	const struct life_key *older = youngest(b, algorithm, LIFE_RETIRING, true);

	return active == NULL || active->out ? active : older;
}

bool life_signs(const struct life_book *b, const struct life_key *k)
{
	return signer_of(b, k->algorithm) == k;
}

bool life_any_signs(const struct life_book *b)
{
	for (size_t i = 0; i < b->n; i++)
		if (life_signs(b, &b->keys[i]))
			return true;
	return false;
}

static bool planned_signs(const struct life_plan *p, const struct life_book *b)
{
	for (size_t i = 0; i < p->nalgorithms; i++)
		if (signer_of(b, p->algorithms[i]) != NULL)
			return true;
	return false;
}

bool life_planned(const struct life_plan *p, enum life_algorithm algorithm)
{
	for (size_t i = 0; i < p->nalgorithms; i++)
		if (p->algorithms[i] == algorithm)
			return true;
	return false;
}

bool life_waits(const struct life_book *b, const struct life_key *k)
{
	return k->set > b->set && k->state <= LIFE_PUBLISHED && k->out && k->sight == LIFE_SHOWN;
}

unsigned life_next_set(const struct life_book *b, bool (*fits)(const struct life_book *, const struct life_key *))
{
	unsigned set = 0;

	for (size_t i = 0; i < b->n; i++)
		if (fits(b, &b->keys[i]) && (set == 0 || b->keys[i].set < set))
			set = b->keys[i].set;
	return set;
}

enum life_record life_record_of(const struct life_plan *p, const struct life_key *k)
{
	if (k->state <= LIFE_RETIRING)
		return LIFE_RECORD_KEY;
	if (k->state == LIFE_REMOVED || !p->revoke || k->at[LIFE_ACTIVE] == 0)
		return LIFE_RECORD_NONE;
	/* What was empty for long enough says nothing to anybody any more. */
	return k->sight == LIFE_EMPTY && k->good != 0 && k->looked - k->good >= p->tail + 30 * LIFE_DAY ? LIFE_RECORD_NONE
	                                                                                             : LIFE_RECORD_EMPTY;
}

str life_record_text(const struct life_plan *p, const struct life_key *k)
{
	switch (life_record_of(p, k)) {
	case LIFE_RECORD_KEY:
		return k->record;
	case LIFE_RECORD_EMPTY:
		return k->algorithm == LIFE_ED25519 ? STR("v=DKIM1; k=ed25519; p=") : STR("v=DKIM1; k=rsa; p=");
	default:
		return STR_NONE;
	}
}

enum life_private life_private_of(const struct life_plan *p, const struct life_key *k, int64_t now)
{
	bool unseen = k->state >= LIFE_REVOKED && (k->sight == LIFE_EMPTY || k->sight == LIFE_GONE) && k->good != 0 &&
	              now - k->good >= LIFE_DAY;

	if (k->private_part != LIFE_PRIVATE_HERE)
		return k->private_part;
	if (unseen)
		return p->publish && p->gate && k->at[LIFE_ACTIVE] != 0 ? LIFE_PRIVATE_PUBLISHED : LIFE_PRIVATE_GONE;
	return k->state == LIFE_REMOVED ? LIFE_PRIVATE_GONE : LIFE_PRIVATE_HERE;
}

/* ---- states ------------------------------------------------------------------------- */

static void enter(struct life_key *k, enum life_state state, int64_t now)
{
	k->state = state;
	k->at[state] = now;
}

static void become_active(struct life_book *b, struct life_key *k, int64_t now, struct life_told *told)
{
	for (size_t i = 0; i < b->n; i++) {
		struct life_key *o = &b->keys[i];

		if (o == k || o->algorithm != k->algorithm || o->state != LIFE_ACTIVE)
			continue;
		if (o->out)
			o->signed_last = now;
		enter(o, LIFE_RETIRING, now);
		life_tell(told, LIFE_NEWS_RETIRING, o->selector,
		          STR("a younger key signs now; leave its record in DNS until `postern key list` says otherwise"));
	}
	enter(k, LIFE_ACTIVE, now);
	life_tell(told, LIFE_NEWS_ACTIVE, k->selector, STR("every authoritative server that answers shows it: it signs from now on"));
}

/* Prepared and published. */
static void turn_young(const struct life_plan *p, struct life_book *b, struct life_key *k, int64_t now, struct life_told *told)
{
	const struct life_key *active = youngest(b, k->algorithm, LIFE_ACTIVE, false);

	if (!life_planned(p, k->algorithm)) {
		enter(k, LIFE_REVOKED, now);
		k->good = k->bad = 0;
		life_tell(told, LIFE_NEWS_REVOKED, k->selector, STR("its algorithm is not used any more and it has never signed: its record may be removed"));
		return;
	}
	if (k->state == LIFE_PREPARED && k->out) {
		enter(k, LIFE_PUBLISHED, now);
		life_tell(told, LIFE_NEWS_PUBLISHED, k->selector, STR("every authoritative server that answers shows its record; it signs when its turn comes"));
	}
	if (k->state == LIFE_PUBLISHED && !k->out)
		enter(k, LIFE_PREPARED, now);
	if (k->state != LIFE_PUBLISHED || k->sight != LIFE_SHOWN || k->set > b->set)
		return;
	if (active == NULL || active->set < k->set)
		become_active(b, k, now, told);
}

/* Its set has passed by and a younger key signs: its record would wait for ever. */
static void let_go(const struct life_book *b, struct life_key *k, int64_t now, struct life_told *told)
{
	const struct life_key *active = youngest(b, k->algorithm, LIFE_ACTIVE, false);

	if (k->state > LIFE_PUBLISHED || k->set >= b->set || active == NULL || active->set <= k->set)
		return;
	enter(k, LIFE_REVOKED, now);
	k->out = false;
	k->good = k->bad = 0;
	life_tell(told, LIFE_NEWS_REVOKED, k->selector, STR("a younger key signs already and this one never did: its record may be removed"));
}

static void turn_old(const struct life_plan *p, struct life_book *b, struct life_key *k, int64_t now, struct life_told *told)
{
	if (k->state == LIFE_ACTIVE && !life_planned(p, k->algorithm) && planned_signs(p, b)) {
		enter(k, LIFE_RETIRING, now);
		life_tell(told, LIFE_NEWS_RETIRING, k->selector, STR("its algorithm is not in the configuration any more; leave its record in DNS until `postern key list` says otherwise"));
	}
	if (life_signs(b, k))
		k->signed_last = now;
	if (k->state != LIFE_RETIRING || now < k->signed_last + p->tail || now < k->at[LIFE_RETIRING] + p->tail)
		return;
	enter(k, LIFE_REVOKED, now);
	k->out = false;
	k->good = k->bad = 0;
	k->sight = LIFE_UNSEEN;
	k->looked = 0;
	life_tell(told, LIFE_NEWS_REVOKED, k->selector,
	          p->update ? STR("it has served: its record is taken out of DNS")
	          : p->revoke ? STR("it has served: empty its record (`postern key show` prints it), which revokes it, or remove it")
	                      : STR("it has served: its record may be removed"));
}

static void turn_revoked(const struct life_plan *p, struct life_key *k, int64_t now, struct life_told *told)
{
	bool gone = k->sight == LIFE_GONE && k->good != 0 && now - k->good >= LIFE_DAY;

	if (!gone && (p->gate || now - k->at[LIFE_REVOKED] < p->tail + LIFE_DAY))
		return;
	enter(k, LIFE_REMOVED, now);
	life_tell(told, LIFE_NEWS_REMOVED, k->selector, STR("DNS does not show it any more"));
}

/* ---- the calendar -------------------------------------------------------------------- */

/* Sets that the calendar has passed by come after all others, in their order. */
static void put_off(struct life_book *b, unsigned from, unsigned to)
{
	unsigned top = 0;

	for (size_t i = 0; i < b->n; i++)
		if (b->keys[i].set > top)
			top = b->keys[i].set;
	for (unsigned set = from; set < to; set++) {
		bool any = false;

		for (size_t i = 0; i < b->n; i++)
			if (b->keys[i].set == set && b->keys[i].state <= LIFE_PUBLISHED) {
				b->keys[i].set = top + 1;
				any = true;
			}
		top += any;
	}
}

static void turn_to(struct life_book *b, unsigned set, int64_t now)
{
	put_off(b, b->set + 1, set);
	b->set = set;
	b->turned = now;
}

/* Some algorithm's signer has been wrong in DNS for a look, and the set has another. */
static bool is_lost(const struct life_plan *p, const struct life_book *b, unsigned set, int64_t now)
{
	for (size_t i = 0; i < b->n; i++) {
		const struct life_key *k = &b->keys[i];

		if (k->set != set || !life_waits(b, k) || signer_of(b, k->algorithm) != NULL)
			continue;
		for (size_t j = 0; j < b->n; j++) {
			const struct life_key *o = &b->keys[j];

			if (o->algorithm == k->algorithm && o->state == LIFE_ACTIVE && o->bad != 0 && now - o->bad >= p->look)
				return true;
		}
	}
	return false;
}

static void turn_calendar(const struct life_plan *p, struct life_book *b, int64_t now)
{
	unsigned set = life_next_set(b, life_waits);
	bool due = p->rotate > 0 && now >= b->turned + p->rotate;

	if (set != 0 && (b->set == 0 || due || is_lost(p, b, set, now)))
		turn_to(b, set, now);
}

static void open_all(struct life_book *b, int64_t now)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->keys[i].state <= LIFE_RETIRING) {
			b->keys[i].out = true;
			b->keys[i].sight = LIFE_SHOWN;
			b->keys[i].bad = 0;
			if (b->keys[i].good == 0)
				b->keys[i].good = now;
		}
}

static void turn_keys(const struct life_plan *p, struct life_book *b, int64_t now, struct life_told *told)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->keys[i].state <= LIFE_PUBLISHED)
			turn_young(p, b, &b->keys[i], now, told);
	for (size_t i = 0; i < b->n; i++)
		let_go(b, &b->keys[i], now, told);
	for (size_t i = 0; i < b->n; i++)
		if (b->keys[i].state == LIFE_ACTIVE || b->keys[i].state == LIFE_RETIRING)
			turn_old(p, b, &b->keys[i], now, told);
	for (size_t i = 0; i < b->n; i++)
		if (b->keys[i].state == LIFE_REVOKED)
			turn_revoked(p, &b->keys[i], now, told);
}

void life_turn(const struct life_plan *p, struct life_book *b, int64_t now, struct life_told *told)
{
	if (!p->gate)
		open_all(b, now);
	turn_calendar(p, b, now);
	turn_keys(p, b, now, told);
}

/* ---- by hand --------------------------------------------------------------------------- */

static bool is_ahead(const struct life_book *b, const struct life_key *k)
{
	return k->set > b->set && k->state <= LIFE_PUBLISHED;
}

static bool was_seen_once(const struct life_book *b, const struct life_key *k)
{
	return is_ahead(b, k) && k->good != 0 && k->sight == LIFE_SHOWN;
}

bool life_rotate(const struct life_plan *p, struct life_book *b, int64_t now, bool hasty, struct arena *a, str *why,
                 struct life_told *told)
{
	unsigned set, next = life_next_set(b, is_ahead);

	if (!p->gate)
		open_all(b, now);
	set = life_next_set(b, hasty ? was_seen_once : life_waits);
	if (set != 0) {
		for (size_t i = 0; hasty && i < b->n; i++)
			if (b->keys[i].set == set && was_seen_once(b, &b->keys[i]))
				b->keys[i].out = true;
		turn_to(b, set, now);
		turn_keys(p, b, now, told);
		return true;
	}
	*why = next == 0 ? arena_printf(a, "no key is prepared: `postern key prepare %.*s` makes some", STR_ARG(b->domain))
	                 : STR("DNS shows no later key");
	for (size_t i = 0; i < b->n; i++) {
		const struct life_key *k = &b->keys[i];

		if (!is_ahead(b, k) || k->set != next)
			continue;
		*why = k->sight == LIFE_SHOWN
		     ? arena_printf(a, "%.*s was seen in DNS once; it may sign after a second look, at %.*s: wait, or say --force",
		                    STR_ARG(k->selector), STR_ARG(life_date(a, life_look_due(p, b, k))))
		     : arena_printf(a, "%.*s may not sign yet: %.*s: say it again when DNS shows what `postern key show %.*s %.*s` prints",
		                    STR_ARG(k->selector), STR_ARG(k->said.n > 0 ? k->said : STR("DNS has not been asked for it yet")),
		                    STR_ARG(b->domain), STR_ARG(k->selector));
		break;
	}
	return false;
}

/* ---- new keys -------------------------------------------------------------------------- */

static bool has(const struct life_book *b, unsigned set, enum life_algorithm algorithm)
{
	for (size_t i = 0; i < b->n; i++)
		if (b->keys[i].set == set && b->keys[i].algorithm == algorithm && b->keys[i].state <= LIFE_ACTIVE)
			return true;
	return false;
}

static unsigned top_set(const struct life_plan *p, const struct life_book *b, bool more)
{
	unsigned top = b->set, ahead = 0;

	for (size_t i = 0; i < b->n; i++)
		if (is_ahead(b, &b->keys[i]) && b->keys[i].set > top)
			top = b->keys[i].set;
	for (unsigned set = b->set + 1; set <= top; set++)
		for (size_t i = 0; i < b->n; i++)
			if (b->keys[i].set == set && is_ahead(b, &b->keys[i])) {
				ahead++;
				break;
			}
	return more || b->n == 0 || ahead <= p->prepare / 4 ? top + p->prepare - (more ? 0 : ahead) : top;
}

size_t life_wanted(const struct life_plan *p, const struct life_book *b, bool more, struct arena *a, struct life_want **out)
{
	unsigned first = b->set > 0 ? b->set : 1, top = top_set(p, b, more);
	struct life_want *v = ARENA_ARRAY(a, struct life_want, ((size_t)(top - first) + 1) * p->nalgorithms + 1);
	size_t n = 0;

	for (unsigned set = first; v != NULL && set <= top; set++)
		for (size_t i = 0; i < p->nalgorithms; i++)
			if (!has(b, set, p->algorithms[i]))
				v[n++] = (struct life_want){ set, p->algorithms[i] };
	*out = v;
	return n;
}

struct life_key *life_add(struct life_book *b, const struct life_want *want, str selector, str record, int64_t now,
                          struct life_told *told)
{
	struct life_key *k;

	if (b->n == b->room) {
		size_t room = b->room == 0 ? 16 : 2 * b->room;
		struct life_key *v = ARENA_ARRAY(b->arena, struct life_key, room);

		if (v == NULL)
			return NULL;
		if (b->n > 0)
			memcpy(v, b->keys, b->n * sizeof(*v));
		b->keys = v;
		b->room = room;
	}
	k = &b->keys[b->n];
	*k = (struct life_key){ .selector = str_keep(b->arena, selector), .record = str_keep(b->arena, record),
		                .algorithm = want->algorithm, .set = want->set };
	if (b->arena->spent)
		return NULL;
	enter(k, LIFE_PREPARED, now);
	b->n++;
	life_tell(told, LIFE_NEWS_PREPARED, k->selector, arena_printf(told != NULL ? told->arena : b->arena, "its record belongs into DNS: `postern key show %.*s` prints it", STR_ARG(b->domain)));
	return k;
}
