/* SPDX-License-Identifier: ISC */
/*
 * The rules of ban.h.  Any thread, but bans_new, _set and _free: main.
 *
 * A bucket is one number, the time at which it will be empty: a wrong login
 * moves it on by within / most, and it is full when that lies further ahead
 * than `within`.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "auth/ban.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/map.h"

#define COUNT_SETS 2048u       /* 16,384 addresses, networks and names: 384 KiB */
#define SAID_SETS  1024u
#define GOOD_SETS  512u
#define SAID_MS    ((uint64_t)24 * 3600 * 1000)
#define FREE       2u          /* anybody mistypes */
#define SLOW_MS    250u        /* the third wrong login's; then twice as long each time */
#define TIMES_MOST 16u
#define BESIEGED   3u          /* what a wrong login weighs at a name guessed from all sides */

enum kind { OF_ADDRESS = 'a', OF_NETWORK = 'n', OF_NAME = 'u', OF_SECRET = 's', OF_GOOD = 'g' };

/* ---- keys ---------------------------------------------------------------------- */

static uint64_t hash(const struct bans *b, enum kind kind, str what)
{
	char room[1 + 320];

	if (what.n > sizeof(room) - 1)
		what.n = sizeof(room) - 1;
	room[0] = (char)kind;
	for (size_t i = 0; i < what.n; i++)
		room[1 + i] = what.p[i];
	return siphash(b->key, (str){ room, 1 + what.n });
}

static str address_bytes(const struct cidr *c)
{
	return (str){ (const char *)c->ip, c->v4 ? 4 : 16 };
}

static str network_bytes(const struct cidr *c)
{
	return (str){ (const char *)c->ip, c->v4 ? 3 : 8 };
}

static uint64_t name_hash(const struct bans *b, str name)
{
	char small[320];
	size_t n = name.n < sizeof(small) ? name.n : sizeof(small);

	for (size_t i = 0; i < n; i++)
		small[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (char)(name.p[i] | 0x20) : name.p[i];
	return hash(b, OF_NAME, (str){ small, n });
}

bool ban_cidr(const char *ip, struct cidr *out)
{
	struct sockaddr_storage at = { 0 };

	if (ip == NULL)
		return false;
	at.ss_family = strchr(ip, ':') != NULL ? AF_INET6 : AF_INET;
	if (inet_pton(at.ss_family, ip,
	              at.ss_family == AF_INET ? (void *)&((struct sockaddr_in *)&at)->sin_addr
	                                      : (void *)&((struct sockaddr_in6 *)&at)->sin6_addr) != 1)
		return false;
	return cidr_of((struct sockaddr *)&at, out);
}

/* ---- beginning and end ------------------------------------------------------------ */

struct bans *bans_new(void)
{
	struct bans *b = calloc(1, sizeof(*b));

	if (b == NULL)
		return NULL;
	random_bytes(b->key, sizeof(b->key));
	if (ban_table_open(&b->counts, COUNT_SETS) && ban_table_open(&b->said, SAID_SETS) &&
	    ban_table_open(&b->good, GOOD_SETS))
		return b;
	bans_free(b);
	return NULL;
}

void bans_free(struct bans *b)
{
	const struct ban_nets *nets = b != NULL ? atomic_load(&b->never) : NULL;

	while (nets != NULL) {
		const struct ban_nets *before = nets->before;

		free(nets->v);
		free((void *)(uintptr_t)nets);
		nets = before;
	}
	if (b == NULL)
		return;
	ban_table_close(&b->counts);
	ban_table_close(&b->said);
	ban_table_close(&b->good);
	crypt_wipe(b, sizeof(*b));
	free(b);
}

static bool says_the_same(const struct ban_nets *nets, const struct cidr *v, size_t n)
{
	if (nets == NULL || nets->n != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!cidr_eq(&nets->v[i], &v[i]))
			return false;
	return true;
}

static bool put_never(struct bans *b, const struct strs *words)
{
	const struct ban_nets *before = atomic_load(&b->never);
	struct ban_nets *nets = calloc(1, sizeof(*nets));
	struct arena a;
	str why;

	if (nets == NULL)
		return false;
	nets->v = calloc(words->n + 1, sizeof(nets->v[0]));
	arena_init(&a, ARENA_UNBOUNDED);
	for (size_t i = 0; nets->v != NULL && i < words->n; i++)
		nets->n += cidr_parse(words->v[i], &nets->v[nets->n], &a, &why);
	arena_fini(&a);
	if (nets->v == NULL || says_the_same(before, nets->v, nets->n)) {
		bool good = nets->v != NULL;

		free(nets->v);
		free(nets);
		return good;
	}
	nets->before = (struct ban_nets *)(uintptr_t)before;
	atomic_store(&b->never, nets);
	return true;
}

bool bans_set(struct bans *b, const struct guess_conf *c)
{
	if (!put_never(b, &c->never))
		return false;
	atomic_store(&b->address, c->address);
	atomic_store(&b->network, c->network);
	atomic_store(&b->account, c->account);
	atomic_store(&b->within_ms, c->within_ms);
	atomic_store(&b->first_ms, c->refuse_ms);
	atomic_store(&b->most_ms, c->refuse_most_ms > c->refuse_ms ? c->refuse_most_ms : c->refuse_ms);
	atomic_store(&b->slowest_ms, c->slowest_ms);
	return true;
}

/* ---- counting ------------------------------------------------------------------------ */

static bool is_never(const struct bans *b, const struct cidr *from)
{
	const struct ban_nets *nets = atomic_load(&b->never);

	for (size_t i = 0; nets != NULL && i < nets->n; i++) {
		const struct cidr *c = &nets->v[i];
		unsigned whole = c->bits / 8, rest = c->bits % 8;

		if (c->v4 == from->v4 && memcmp(c->ip, from->ip, whole) == 0 &&
		    (rest == 0 || ((c->ip[whole] ^ from->ip[whole]) & (0xff00 >> rest) & 0xff) == 0))
			return true;
	}
	return false;
}

static bool is_good(const struct bans *b, const struct cidr *from, uint64_t now_ms)
{
	struct ban_place *p = ban_table_find(&b->good, hash(b, OF_GOOD, network_bytes(from)));

	return p != NULL && atomic_load(&p->until_ms) > now_ms;
}

/* Halves of wrong logins that are in the bucket, rounded up. */
static uint64_t fill(uint64_t empty_ms, uint64_t now_ms, uint64_t within_ms, uint64_t most)
{
	uint64_t ahead = empty_ms > now_ms ? empty_ms - now_ms : 0;

	return (ahead * most * 2 + within_ms - 1) / within_ms;
}

static uint64_t drop_in(struct ban_place *p, uint64_t halves, uint64_t now_ms, uint64_t within_ms,
                        uint64_t most)
{
	uint64_t empty = atomic_load(&p->until_ms), next;

	do {
		next = (empty > now_ms ? empty : now_ms) + halves * within_ms / (2 * most);
		next = next < now_ms + 2 * within_ms ? next : now_ms + 2 * within_ms;
	} while (!atomic_compare_exchange_weak(&p->until_ms, &empty, next));
	return fill(next, now_ms, within_ms, most);
}

/* For twice as long as the last time; who has kept quiet for the longest time that
 * there is begins anew. */
static uint64_t refuse(const struct bans *b, struct ban_place *p, uint64_t now_ms)
{
	uint64_t most = atomic_load(&b->most_ms), ms = atomic_load(&b->first_ms);
	uint64_t word = atomic_load(&p->refused);
	unsigned times = now_ms > ban_until(word) + most ? 0 : ban_time(word);

	if (ban_until(word) > now_ms || ms == 0)
		return 0;
	for (unsigned i = 0; i < times && ms < most; i++)
		ms *= 2;
	ms = ms < most ? ms : most;
	if (!atomic_compare_exchange_strong(&p->refused, &word,
	                                    ban_word(now_ms + ms, times < TIMES_MOST ? times + 1 : times)))
		return 0;
	atomic_store(&p->until_ms, now_ms);
	return ms;
}

struct bucket { enum kind kind; uint64_t tag, most, halves; };

/* Halves in the bucket with this one; *p NULL: it is not counted. */
static uint64_t count_one(struct bans *b, const struct bucket *k, const struct ban_try *t,
                          struct ban_place **p)
{
	uint64_t within = atomic_load(&b->within_ms);

	*p = k->most > 0 && within > 0 ? ban_table_take(&b->counts, k->tag) : NULL;
	if (*p == NULL)
		return 0;
	if (k->halves > 0)
		return drop_in(*p, k->halves, t->now_ms, within, k->most);
	return fill(atomic_load(&(*p)->until_ms), t->now_ms, within, k->most);
}

static bool said_before(struct bans *b, const struct ban_try *t)
{
	unsigned char both[32 + 16];
	struct ban_place *p;
	uint64_t before;

	if (t->secret == NULL)
		return false;
	memcpy(both, t->secret, 32);
	memcpy(both + 32, t->from.ip, 16);
	p = ban_table_take(&b->said, hash(b, OF_SECRET, (str){ (const char *)both, sizeof(both) }));
	crypt_wipe(both, sizeof(both));
	if (p == NULL)
		return false;
	before = atomic_exchange(&p->until_ms, t->now_ms + SAID_MS);
	return before > t->now_ms;
}

static uint64_t slowness(const struct bans *b, uint64_t wrong)
{
	uint64_t slowest = atomic_load(&b->slowest_ms), ms = SLOW_MS;

	if (wrong <= FREE)
		return 0;
	for (uint64_t i = FREE + 1; i < wrong && ms < slowest; i++)
		ms *= 2;
	return ms < slowest ? ms : slowest;
}

void bans_failed(struct bans *b, const struct ban_try *t, struct ban_said *out)
{
	struct bucket name = { OF_NAME, name_hash(b, t->name), atomic_load(&b->account), t->weight };
	struct bucket from[2] = {
		{ OF_ADDRESS, hash(b, OF_ADDRESS, address_bytes(&t->from)), atomic_load(&b->address), t->weight },
		{ OF_NETWORK, hash(b, OF_NETWORK, network_bytes(&t->from)), atomic_load(&b->network), t->weight },
	};
	bool good = is_good(b, &t->from, t->now_ms), besieged = false;
	struct ban_place *p;

	*out = (struct ban_said){ .refused = BAN_NOBODY };
	if (is_never(b, &t->from))
		return;
	out->again = said_before(b, t);
	if (out->again)
		name.halves = from[0].halves = from[1].halves = 0;
	if (t->name.n > 0 && !good && count_one(b, &name, t, &p) > 2 * name.most)
		besieged = p != NULL;
	for (size_t i = 0; i < COUNT(from); i++) {
		uint64_t halves, ms;

		from[i].halves *= besieged ? BESIEGED : 1;
		halves = count_one(b, &from[i], t, &p);
		if (i == 0)
			out->slow_ms = slowness(b, besieged ? UINT32_MAX : (halves + 1) / 2);
		/* The last that fits is the last that is answered. */
		if (p == NULL || good || from[i].halves == 0 || halves < 2 * from[i].most)
			continue;
		ms = refuse(b, p, t->now_ms);
		if (ms > 0 && out->refused == BAN_NOBODY) {
			out->refused = i == 0 ? BAN_ADDRESS : BAN_NETWORK;
			out->refused_ms = ms;
		}
	}
}

void bans_good(struct bans *b, const struct cidr *from, uint64_t until_ms)
{
	struct ban_place *p = ban_table_take(&b->good, hash(b, OF_GOOD, network_bytes(from)));
	uint64_t before = p != NULL ? atomic_load(&p->until_ms) : until_ms;

	while (before < until_ms && !atomic_compare_exchange_weak(&p->until_ms, &before, until_ms))
		;
}

/* ---- at the door ------------------------------------------------------------------------ */

static uint64_t left(const struct bans *b, uint64_t tag, uint64_t now_ms)
{
	struct ban_place *p = ban_table_find(&b->counts, tag);
	uint64_t until = p != NULL ? ban_until(atomic_load(&p->refused)) : 0;

	return until > now_ms ? until - now_ms : 0;
}

uint64_t bans_refuse(const struct bans *b, const struct cidr *from, uint64_t now_ms)
{
	uint64_t one = left(b, hash(b, OF_ADDRESS, address_bytes(from)), now_ms);
	uint64_t all = left(b, hash(b, OF_NETWORK, network_bytes(from)), now_ms);

	one = one > all ? one : all;
	return one == 0 || is_good(b, from, now_ms) || is_never(b, from) ? 0 : one;
}
