/* SPDX-License-Identifier: ISC */
/*
 * life: words and sentences, names of keys.  Pure.
 */
#include <string.h>
#include <time.h>

#include "smtpd/setup/keys/life_inside.h"

static const char *const states[LIFE_STATES] = { "prepared", "published", "active", "retiring", "revoked", "removed" };
static const char *const sights[LIFE_SIGHTS] = { "unseen", "shown", "other", "silent", "nowhere", "empty", "gone" };
static const char *const records[LIFE_RECORDS] = { "unknown", "key", "empty", "none" };
static const char *const privates[LIFE_PRIVATES] = { "here", "published", "gone" };
static const char *const events[LIFE_NEWS_EVENTS] = {
	"key.prepared", "key.published", "key.active", "key.retiring", "key.revoked", "key.removed", "key.drifted", "key.mended",
};
static const char *const algorithms[LIFE_ALGORITHMS] = {
	[LIFE_RSA_2048] = "rsa-2048", [LIFE_ED25519] = "ed25519", [LIFE_RSA_3072] = "rsa-3072", [LIFE_RSA_4096] = "rsa-4096",
	[LIFE_RSA_1024] = "rsa-1024",
};

const char *life_state_word(enum life_state s)         { return states[s]; }
const char *life_sight_word(enum life_sight s)         { return sights[s]; }
const char *life_record_word(enum life_record r)       { return records[r]; }
const char *life_private_word(enum life_private p)     { return privates[p]; }
const char *life_event_word(enum life_event e)         { return events[e]; }
const char *life_algorithm_word(enum life_algorithm a) { return algorithms[a]; }

bool life_algorithm_of(str word, enum life_algorithm *out)
{
	for (size_t i = 0; i < COUNT(algorithms); i++)
		if (str_is_nocase(word, algorithms[i])) {
			*out = (enum life_algorithm)i;
			return true;
		}
	return false;
}

void life_tell(struct life_told *told, enum life_event event, str selector, str text)
{
	if (told == NULL)
		return;
	if (told->n == told->room) {
		size_t room = told->room == 0 ? 16 : 2 * told->room;
		struct life_news *v = ARENA_ARRAY(told->arena, struct life_news, room);

		if (v == NULL)
			return;
		if (told->n > 0)
			memcpy(v, told->v, told->n * sizeof(*v));
		told->v = v;
		told->room = room;
	}
	told->v[told->n++] = (struct life_news){ event, str_keep(told->arena, selector), str_keep(told->arena, text) };
}

str life_date(struct arena *a, int64_t epoch)
{
	time_t t = (time_t)epoch;
	struct tm tm;
	char text[32];

	if (localtime_r(&t, &tm) == NULL)
		return STR("?");
	strftime(text, sizeof(text), "%Y-%m-%d %H:%M", &tm);
	return str_keep(a, str_of(text));
}

/* ---- names of keys --------------------------------------------------------------------- */

static bool is_taken(const struct life_book *b, const struct strs *taken, str selector)
{
	if (life_find(b, selector) != NULL)
		return true;
	for (size_t i = 0; taken != NULL && i < taken->n; i++)
		if (str_eq_nocase(taken->v[i], selector))
			return true;
	return false;
}

/* "r" and "e" of one set bear the same letter as long as both are free. */
static const char *initial(enum life_algorithm algorithm)
{
	static const char *const of[LIFE_ALGORITHMS] = { "r", "e", "t", "f", "o" };

	return of[algorithm];
}

static str letters(struct arena *a, unsigned i)
{
	str front = i < 26 ? STR("") : letters(a, i / 26 - 1);

	return arena_printf(a, "%.*s%c", STR_ARG(front), (char)('a' + i % 26));
}

/* The letter that the set's other keys have, or the first that none has. */
static unsigned first_letter(const struct life_book *b, unsigned set, str month, struct arena *a)
{
	for (unsigned i = 0; i < 26 * 27; i++) {
		str letter = letters(a, i), tail = arena_printf(a, "%.*s%.*s", STR_ARG(month), STR_ARG(letter));
		bool used = false;

		for (size_t k = 0; k < b->n; k++)
			if (str_eq(str_skip(b->keys[k].selector, 1), tail)) {
				if (b->keys[k].set == set)
					return i;
				used = true;
			}
		if (!used)
			return i;
	}
	return 0;
}

str life_selector(const struct life_book *b, const struct strs *taken, enum life_algorithm algorithm, unsigned set, int64_t now,
                  struct arena *a)
{
	time_t t = (time_t)now;
	struct tm tm = { 0 };
	char month[8];
	str name;
	unsigned i;

	gmtime_r(&t, &tm);
	strftime(month, sizeof(month), "%y%m", &tm);
	i = first_letter(b, set, str_of(month), a);
	for (;; i++) {
		str tail = letters(a, i);

		name = arena_printf(a, "%s%s%.*s", initial(algorithm), month, STR_ARG(tail));
		if (!is_taken(b, taken, name))
			return name;
	}
}

/* ---- sentences ---------------------------------------------------------------------------- */

static str waits_text(const struct life_plan *p, const struct life_book *b, const struct life_key *k, struct arena *a, int64_t *when)
{
	if (k->sight == LIFE_UNSEEN)
		return STR("put its record into DNS");
	if (k->sight == LIFE_SHOWN) {
		*when = k->good + life_interval(p, b);
		return STR("was seen once, is looked at again");
	}
	return arena_printf(a, "waits for DNS: %.*s", STR_ARG(k->said));
}

static str turn_text(const struct life_plan *p, const struct life_book *b, const struct life_key *k, int64_t *when)
{
	if (p->rotate == 0)
		return STR("waits for `postern key rotate`");
	*when = b->turned + p->rotate * (k->set > b->set ? k->set - b->set : 0);
	return STR("becomes active");
}

static str end_text(const struct life_plan *p, const struct life_key *k, struct arena *a)
{
	switch (k->sight) {
	case LIFE_EMPTY:
		return life_record_of(p, k) == LIFE_RECORD_NONE ? STR("revoked in DNS; its record may be removed") : STR("revoked in DNS");
	case LIFE_GONE:
		return STR("its record has gone");
	case LIFE_UNSEEN:
	case LIFE_SILENT:
		return p->update ? STR("its record is taken out of DNS") : p->revoke && k->at[LIFE_ACTIVE] != 0
		     ? STR("empty its record (p=), or remove it") : STR("its record may be removed");
	default:
		return p->update ? arena_printf(a, "is taken out of DNS: %.*s", STR_ARG(k->said))
		     : p->revoke && k->at[LIFE_ACTIVE] != 0 ? STR("empty its record (p=), or remove it; DNS still has the key")
		     : STR("its record may be removed; DNS still has the key");
	}
}

str life_next_text(const struct life_plan *p, const struct life_book *b, const struct life_key *k, int64_t now,
                   struct arena *a, int64_t *when)
{
	unsigned next = life_next_set(b, life_waits);

	*when = 0;
	switch (k->state) {
	case LIFE_PREPARED:
		return waits_text(p, b, k, a, when);
	case LIFE_PUBLISHED:
		return turn_text(p, b, k, when);
	case LIFE_ACTIVE:
		if (!k->out)
			return arena_printf(a, "does not sign: %.*s", STR_ARG(k->said));
		if (p->rotate == 0)
			return STR("signs until `postern key rotate`");
		*when = b->turned + p->rotate;
		if (now >= *when && next == 0)
			return STR("signs; its time is over, but no later key is out");
		return STR("signs; the next one's turn");
	case LIFE_RETIRING:
		*when = (k->signed_last > k->at[LIFE_RETIRING] ? k->signed_last : k->at[LIFE_RETIRING]) + p->tail;
		return life_signs(b, k) ? STR("signs again while the younger one is not out; leave its record") : STR("leave its record in DNS until then");
	case LIFE_REVOKED:
		return end_text(p, k, a);
	default:
		return STR("");
	}
}

static str names_that(const struct life_book *b, bool (*fits)(const struct life_book *, const struct life_key *), struct arena *a)
{
	str out = STR("");

	for (size_t i = 0; i < b->n; i++)
		if (fits(b, &b->keys[i]))
			out = arena_printf(a, "%.*s%s%.*s", STR_ARG(out), out.n > 0 ? ", " : "", STR_ARG(b->keys[i].selector));
	return out;
}

static bool is_wrong(const struct life_book *b, const struct life_key *k)
{
	return k->state == LIFE_ACTIVE && !k->out && b->n > 0;
}

static bool is_to_be_pasted(const struct life_book *b, const struct life_key *k)
{
	return k->state == LIFE_PREPARED && !k->out && k->sight != LIFE_SHOWN && b->n > 0;
}

/* The key that is nearest to signing, or should be. */
static const struct life_key *hope(const struct life_book *b)
{
	const struct life_key *best = NULL;

	for (size_t i = 0; i < b->n; i++) {
		const struct life_key *k = &b->keys[i];

		if (k->state > LIFE_ACTIVE)
			continue;
		if (best == NULL || k->state > best->state || (k->state == best->state && k->set < best->set))
			best = k;
	}
	return best;
}

static bool is_late(const struct life_plan *p, const struct life_book *b, int64_t now)
{
	return p->rotate > 0 && b->set > 0 && now >= b->turned + p->rotate && life_next_set(b, life_waits) == 0;
}

bool life_troubled(const struct life_plan *p, const struct life_book *b, int64_t now)
{
	for (size_t i = 0; i < b->n; i++)
		if (is_wrong(b, &b->keys[i]))
			return true;
	return !life_any_signs(b) || is_late(p, b, now);
}

str life_summary(const struct life_plan *p, const struct life_book *b, int64_t now, struct arena *a)
{
	str signing = names_that(b, life_signs, a), wrong = names_that(b, is_wrong, a), missing = names_that(b, is_to_be_pasted, a);
	const struct life_key *k = hope(b);
	str out;

	if (signing.n > 0)
		out = arena_printf(a, "signed by %.*s", STR_ARG(signing));
	else if (k == NULL)
		out = STR("nothing signs: no key has been made yet");
	else if (k->sight == LIFE_SHOWN)
		out = arena_printf(a, "nothing signs yet: %.*s has been seen in DNS and is looked at once more", STR_ARG(k->selector));
	else
		out = arena_printf(a, "nothing signs: %.*s: %.*s", STR_ARG(k->selector),
		                   STR_ARG(k->said.n > 0 ? k->said : STR("DNS has not been asked for it yet")));
	for (size_t i = 0; wrong.n > 0 && i < b->n; i++)
		if (signing.n > 0 && is_wrong(b, &b->keys[i]))
			out = arena_printf(a, "%.*s; %.*s does not sign: %.*s", STR_ARG(out), STR_ARG(b->keys[i].selector), STR_ARG(b->keys[i].said));
	if (is_late(p, b, now))
		out = arena_printf(a, "%.*s; the next key's turn came on %.*s, but none is out", STR_ARG(out),
		                   STR_ARG(str_head(life_date(a, b->turned + p->rotate), 10)));
	if (missing.n > 0)
		out = arena_printf(a, "%.*s; not in DNS yet: %.*s", STR_ARG(out), STR_ARG(missing));
	return out;
}
