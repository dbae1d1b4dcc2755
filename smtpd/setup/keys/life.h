/* SPDX-License-Identifier: ISC */
/*
 * life: a managed DKIM key from its making to its end, as values.  Pure: no clock,
 * no DNS, no files; book.h has the files, step.h the hands, watch.h the server.
 *
 *   prepared    made; its record is to be pasted (or is written by RFC 2136)
 *   published   the gate is open: DNS shows its record; it waits for its turn
 *   active      signs
 *   retiring    a younger one signs; its record has to stay through the queue's life
 *   revoked     never signs again; its record is to be emptied (p=) or removed
 *   removed     DNS does not show it any more; the private key has gone
 *
 * Keys are made in sets, one key of each algorithm; the calendar turns from set
 * to set.  Who causes what:
 *
 *   prepared → published    two good looks (GATE_SHOWN), an interval apart: `look`, or
 *                           `first_look` while no key of the domain is out
 *   published → prepared    a look at which an authoritative server that answers shows
 *                           something else: the gate has to be earned anew
 *   published → active      its set's turn has come (by calendar, by `key rotate`, or
 *                           because the one that signed has been wrong in DNS for `look`),
 *                           and the latest look was a good one
 *   active → retiring       a key of the same algorithm and a later set became active, or
 *                           the algorithm was taken out of the plan
 *   retiring → revoked      `tail` after it signed last
 *   revoked → removed       DNS shows nothing of it, for a day
 *
 * The gate.  `out` says that a key may sign: earned by two good looks, lost by one
 * that shows another record or none at a server that answers.  Silence changes
 * nothing, but nothing becomes active on a silent look.
 *
 * Drift.  An active key that DNS no longer shows as it is: it is told at once and
 * the key stops, for a receiver fails it, and would rather have none.  The older key
 * of its algorithm signs instead while that is still out; then, once the fault has
 * lasted for `look`, the calendar turns early to the next set that is out.  When no key
 * is out at all, `unsigned` decides.  When DNS is mended, two looks, `first_look` apart
 * where nothing else is out, let the key sign again.
 *
 * Guarantees: nothing signs that is not out; a key that has signed stays in DNS
 * `tail` seconds longer; of each algorithm at most one key signs; a selector is
 * never used twice; a private key is published only after DNS has for a day shown
 * no key that fits it.
 */
#ifndef SETUP_KEYS_LIFE_H
#define SETUP_KEYS_LIFE_H

#include "smtpd/base/arena.h"
#include "smtpd/base/err.h"

enum life_state { LIFE_PREPARED, LIFE_PUBLISHED, LIFE_ACTIVE, LIFE_RETIRING, LIFE_REVOKED, LIFE_REMOVED, LIFE_STATES };
enum life_algorithm { LIFE_RSA_2048, LIFE_ED25519, LIFE_RSA_3072, LIFE_RSA_4096, LIFE_RSA_1024, LIFE_ALGORITHMS };

enum life_sight {
	LIFE_UNSEEN,       /* nobody has looked yet */
	LIFE_SHOWN,        /* gate.h's words */
	LIFE_OTHER,
	LIFE_SILENT,
	LIFE_NOWHERE,
	LIFE_EMPTY,        /* of a revoked key: all that answer show an empty p= … */
	LIFE_GONE,         /* … or no key at all */
	LIFE_SIGHTS
};

/* What stands in DNS at a key's name, as far as we wrote it or want it written. */
enum life_record { LIFE_RECORD_UNKNOWN, LIFE_RECORD_KEY, LIFE_RECORD_EMPTY, LIFE_RECORD_NONE, LIFE_RECORDS };
enum life_private { LIFE_PRIVATE_HERE, LIFE_PRIVATE_PUBLISHED, LIFE_PRIVATE_GONE, LIFE_PRIVATES };

struct life_key {
	str      selector;
	str      record;                  /* v=DKIM1; … as DNS has to show it */
	enum life_algorithm algorithm;
	unsigned set;                     /* from 1 */
	enum life_state state;
	int64_t  at[LIFE_STATES];         /* when it came to each state last; 0: never */
	int64_t  signed_last;             /* it may have signed until then */
	bool     out;                     /* the gate is open */
	int64_t  looked;                  /* last look; 0: never */
	int64_t  good, bad;               /* first look of the present run of good or bad ones; 0: there is none */
	enum life_sight sight;            /* of the last look */
	str      said;                    /* its sentence: which server shows what */
	enum life_record written;         /* by RFC 2136 */
	enum life_private private_part;
};

struct life_book {
	str      domain;
	unsigned set;                     /* whose turn it is; 0: none has come yet */
	int64_t  turned;                  /* when it came */
	struct life_key *keys;            /* in the order of making */
	size_t   n, room;
	struct arena *arena;              /* of all that is in it */
};

struct life_plan {
	enum life_algorithm algorithms[LIFE_ALGORITHMS];
	size_t   nalgorithms;
	unsigned prepare;                 /* sets made ahead */
	int64_t  rotate;                  /* seconds from turn to turn; 0: only by hand */
	int64_t  look, first_look;        /* seconds */
	int64_t  tail;                    /* a record stays so long after the last signature */
	bool     gate;                    /* no: what is made is out */
	bool     revoke;                  /* p= is emptied; else the record may be removed */
	bool     publish;                 /* private parts of revoked keys */
	bool     update;                  /* the records are written by us */
};

/* ---- news: what is to be told ------------------------------------------------------- */

enum life_event {
	LIFE_NEWS_PREPARED, LIFE_NEWS_PUBLISHED, LIFE_NEWS_ACTIVE, LIFE_NEWS_RETIRING, LIFE_NEWS_REVOKED, LIFE_NEWS_REMOVED,
	LIFE_NEWS_DRIFT,           /* a key that signed is not in DNS as it should be */
	LIFE_NEWS_MENDED,          /* … and is again */
	LIFE_NEWS_EVENTS
};
struct life_news { enum life_event event; str selector, text; };      /* text: a sentence with the next step */
struct life_told { struct life_news *v; size_t n, room; struct arena *arena; };

/* ---- the book moves ------------------------------------------------------------------ */

/* When a key is to be looked at; INT64_MAX: not at all. */
int64_t life_look_due(const struct life_plan *, const struct life_book *, const struct life_key *);
/* What a look has shown: changes the key's memory and its gate, no state. */
void    life_looked(const struct life_plan *, const struct life_book *, struct life_key *, enum life_sight, str said,
                    int64_t now, struct life_told *);
/* All that time and looks allow; may be called at any time, again at once changes nothing. */
void    life_turn(const struct life_plan *, struct life_book *, int64_t now, struct life_told *);
/* The calendar turns now, if a later set is out; with `hasty` one good look is enough.
 * False: `why` names what is in the way. */
bool    life_rotate(const struct life_plan *, struct life_book *, int64_t now, bool hasty, struct arena *, str *why,
                    struct life_told *);
/* When something may change of itself: the next look or the next date. */
int64_t life_next(const struct life_plan *, const struct life_book *, int64_t now);

/* The keys to be made: (set, algorithm) pairs in the arena.  `more`: a batch of
 * `prepare` sets ahead even though there are enough (`key prepare`). */
struct life_want { unsigned set; enum life_algorithm algorithm; };
size_t  life_wanted(const struct life_plan *, const struct life_book *, bool more, struct arena *, struct life_want **);
/* A selector that is neither in the book nor in `taken`: r2611a, e2611a: algorithm,
 * year and month of making, a letter or two. */
str     life_selector(const struct life_book *, const struct strs *taken, enum life_algorithm, unsigned set, int64_t now,
                      struct arena *);
/* A new key, prepared; NULL: no memory. */
struct life_key *life_add(struct life_book *, const struct life_want *, str selector, str record, int64_t now,
                          struct life_told *);

/* ---- questions ------------------------------------------------------------------------- */

struct life_key *life_find(const struct life_book *, str selector);
bool    life_signs(const struct life_book *, const struct life_key *);      /* now */
bool    life_may_sign(const struct life_key *);                             /* now or later: belongs into the keyring */
bool    life_any_signs(const struct life_book *);
/* What DNS should hold at its name, and the record's text (empty: none). */
enum life_record life_record_of(const struct life_plan *, const struct life_key *);
str     life_record_text(const struct life_plan *, const struct life_key *);
/* The private part's time has come. */
enum life_private life_private_of(const struct life_plan *, const struct life_key *, int64_t now);

const char *life_state_word(enum life_state);
const char *life_algorithm_word(enum life_algorithm);       /* rsa-2048, ed25519 … */
bool        life_algorithm_of(str word, enum life_algorithm *);
const char *life_sight_word(enum life_sight);
const char *life_record_word(enum life_record);
const char *life_private_word(enum life_private);
const char *life_event_word(enum life_event);               /* "key.published" */
/* What comes next for a key, and when (0: no date): "becomes active", "waits for DNS". */
str     life_next_text(const struct life_plan *, const struct life_book *, const struct life_key *, int64_t now,
                       struct arena *, int64_t *when);
/* Nothing signs, or a key that should does not, or the calendar's turn has come and no
 * later key is out. */
bool        life_troubled(const struct life_plan *, const struct life_book *, int64_t now);
/* One sentence about a domain, for status: what signs, or why nothing does. */
str     life_summary(const struct life_plan *, const struct life_book *, int64_t now, struct arena *);

#endif
