/* SPDX-License-Identifier: ISC */
/*
 * ban: guessing passwords does not work, and does not hurt the office.
 *
 * Wrong logins are counted for the client's address, for its network (/24, /64)
 * and for the name that was tried, account or not.  Each count is a bucket that
 * drains: `address` wrong logins fit in `within_ms`.  The fuller it is, the later
 * the answer; when it is full the address (or network) is refused for a while,
 * and each time for twice as long.  A name is never refused, so nobody is locked
 * out by others; at one that is being guessed from many sides each wrong login
 * weighs three.  Networks from which somebody logged in well lately are slowed
 * down, but never refused.
 *
 * All of it is memory of fixed size under keyed hashes, lock-free, written by all
 * loops; a restart forgets it, but for the good networks, which come back from
 * what logins.c wrote down.
 */
#ifndef AUTH_BAN_H
#define AUTH_BAN_H

#include <stdatomic.h>

#include "auth/auth.h"
#include "smtpd/base/cidr.h"

/* ---- ban_table.c ------------------------------------------------------------- */

#define BAN_WAYS 8u

struct ban_place {
	_Atomic uint64_t tag;          /* a keyed hash; 0: free */
	_Atomic uint64_t until_ms;     /* when the bucket is empty; or what is remembered ends */
	_Atomic uint64_t refused;      /* ban_word */
};

struct ban_table { struct ban_place *v; size_t sets; };

/* Until when, and the how manieth time. */
static inline uint64_t ban_word(uint64_t until_ms, unsigned time) { return until_ms << 8 | time; }
static inline uint64_t ban_until(uint64_t word) { return word >> 8; }
static inline unsigned ban_time(uint64_t word) { return word & 0xff; }

bool   ban_table_open(struct ban_table *, size_t sets);
void   ban_table_close(struct ban_table *);
struct ban_place *ban_table_find(const struct ban_table *, uint64_t tag);
/* Found or made; NULL: somebody is taking the place just now. */
struct ban_place *ban_table_take(struct ban_table *, uint64_t tag);
size_t ban_table_held(const struct ban_table *, uint64_t now_ms);      /* refused now */

/* ---- ban.c ---------------------------------------------------------------------- */

struct ban_nets { struct cidr *v; size_t n; struct ban_nets *before; };

struct bans {
	struct ban_table counts, said, good;
	unsigned char    key[16];
	_Atomic uint64_t address, network, account;    /* how many fit; 0: not counted */
	_Atomic uint64_t within_ms, first_ms, most_ms, slowest_ms;
	_Atomic(const struct ban_nets *) never;        /* all that were in force stay */
};

enum ban_weight { BAN_HALF = 1, BAN_WHOLE = 2 };
enum ban_of { BAN_NOBODY, BAN_ADDRESS, BAN_NETWORK };

struct ban_try {                       /* a login that failed */
	struct cidr    from;
	str            name;           /* as it was said */
	const unsigned char *secret;   /* 32 octets, keyed; NULL: not seen */
	enum ban_weight weight;
	uint64_t       now_ms;
};

struct ban_said {                      /* what comes of it */
	uint64_t    slow_ms;           /* the answer is held back so long */
	enum ban_of refused;           /* from now on */
	uint64_t    refused_ms;
	bool        again;             /* the same wrong password: not counted */
};

struct bans *bans_new(void);           /* NULL: no memory */
void         bans_free(struct bans *);
/* Main. False: no memory, and all is as it was. */
bool         bans_set(struct bans *, const struct guess_conf *);
void         bans_failed(struct bans *, const struct ban_try *, struct ban_said *);
/* Somebody logged in well from there; good until then. */
void         bans_good(struct bans *, const struct cidr *from, uint64_t until_ms);
/* For how many ms yet; 0: he may come in. */
uint64_t     bans_refuse(const struct bans *, const struct cidr *from, uint64_t now_ms);

#define BAN_GOOD_S (30 * 24 * 3600)    /* how long a network is known for a good login */
bool         ban_cidr(const char *ip, struct cidr *out);

#endif
