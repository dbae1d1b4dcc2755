/* SPDX-License-Identifier: ISC */
/*
 * life: looks, what they mean for a gate and when the next is due.  Pure.
 */
#include "smtpd/setup/keys/life_inside.h"

/* What signs wherever it is out counts, not what might sign some day. */
int64_t life_interval(const struct life_plan *p, const struct life_book *b)
{
	return life_any_signs(b) ? p->look : p->first_look;
}

static int64_t clamp(int64_t v, int64_t least, int64_t most)
{
	return v < least ? least : v > most ? most : v;
}

/* While nothing signs somebody waits, in the beginning with a hand on the keyboard. */
static int64_t patience(const struct life_plan *p, const struct life_book *b, const struct life_key *k)
{
	if (life_any_signs(b))
		return p->look;
	if (k->good != 0 || k->bad == 0)
		return p->first_look;
	return clamp((k->looked - k->bad) / 16, p->first_look, p->look);
}

/* Once a day; again in the hours before its turn, and at its turn. */
static int64_t published_due(const struct life_plan *p, const struct life_book *b, const struct life_key *k, int64_t day)
{
	int64_t turn = p->rotate > 0 && b->set > 0 ? b->turned + p->rotate : INT64_MAX, at = k->looked + day;

	if (!life_any_signs(b) || at >= turn)
		at = k->looked + patience(p, b, k);
	return k->looked < turn && turn < at ? turn : at;
}

int64_t life_look_due(const struct life_plan *p, const struct life_book *b, const struct life_key *k)
{
	int64_t day = p->look > LIFE_DAY ? p->look : LIFE_DAY;

	if (!p->gate || k->state == LIFE_REMOVED)
		return INT64_MAX;
	if (k->looked == 0)
		return 0;
	switch (k->state) {
	case LIFE_PREPARED:
		return k->looked + patience(p, b, k);
	case LIFE_PUBLISHED:
		return published_due(p, b, k, day);
	case LIFE_ACTIVE:
		return k->looked + (k->out ? p->look : life_interval(p, b));
	case LIFE_RETIRING:
		return k->looked + p->look;
	default:
		return k->looked + day;
	}
}

static void looked_for_the_end(struct life_key *k, enum life_sight sight, int64_t now)
{
	if (sight == LIFE_SILENT)
		return;
	if (sight != LIFE_EMPTY && sight != LIFE_GONE)
		k->good = 0;
	else if (k->good == 0)
		k->good = now;
}

static void seen_good(const struct life_plan *p, const struct life_book *b, struct life_key *k, int64_t now,
                      struct life_told *told)
{
	bool drifted = k->bad != 0 && k->state >= LIFE_ACTIVE;

	if (k->good == 0 || k->good > now)
		k->good = now;
	if (k->out || now - k->good < life_interval(p, b))
		return;
	k->out = true;
	k->bad = 0;
	if (drifted)
		life_tell(told, LIFE_NEWS_MENDED, k->selector, STR("every authoritative server that answers shows its record again: it may sign"));
}

static void seen_bad(struct life_key *k, str said, int64_t now, struct life_told *told)
{
	k->good = 0;
	if (k->bad == 0) {
		k->bad = now;
		if (k->state == LIFE_ACTIVE || k->state == LIFE_RETIRING)
			life_tell(told, LIFE_NEWS_DRIFT, k->selector, said);
	}
	k->out = false;
}

void life_looked(const struct life_plan *p, const struct life_book *b, struct life_key *k, enum life_sight sight, str said,
                 int64_t now, struct life_told *told)
{
	if (!str_eq(k->said, said))
		k->said = str_keep(b->arena, said);
	k->looked = now;
	k->sight = sight;
	if (k->state >= LIFE_REVOKED)
		looked_for_the_end(k, sight, now);
	else if (sight == LIFE_SHOWN)
		seen_good(p, b, k, now, told);
	else if (sight != LIFE_SILENT && sight != LIFE_UNSEEN)
		seen_bad(k, k->said, now, told);
}

static void sooner(int64_t *next, int64_t at)
{
	if (at < *next)
		*next = at;
}

int64_t life_next(const struct life_plan *p, const struct life_book *b, int64_t now)
{
	int64_t next = INT64_MAX;

	for (size_t i = 0; i < b->n; i++) {
		const struct life_key *k = &b->keys[i];

		sooner(&next, life_look_due(p, b, k));
		if (k->state == LIFE_RETIRING)
			sooner(&next, (k->signed_last > k->at[LIFE_RETIRING] ? k->signed_last : k->at[LIFE_RETIRING]) + p->tail);
		if (k->state == LIFE_REVOKED && !p->gate)
			sooner(&next, k->at[LIFE_REVOKED] + p->tail + LIFE_DAY);
	}
	if (p->rotate > 0 && b->set > 0 && b->turned + p->rotate > now)
		sooner(&next, b->turned + p->rotate);
	return next;
}
