/* SPDX-License-Identifier: ISC */
/*
 * map: open addressing, linear probing, at most three quarters full.  A
 * removed slot stays marked until the next rehash, so that a walk survives
 * the removal of what it has just seen.  The hash is SipHash-2-4 (Aumasson and
 * Bernstein) under a key drawn once per process.
 */
#include "smtpd/base/map.h"

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/err.h"

#define SLOTS_LEAST 8

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl(uint64_t x, int by)
{
	return x << by | x >> (64 - by);
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static inline void sip_word(struct sip *s, uint64_t m)
{
	s->v3 ^= m;
	sip_round(s);
	sip_round(s);
	s->v0 ^= m;
}

/* Eight bytes, little-endian. */
static inline uint64_t whole_word_at(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return le64toh(w);
}

/* Up to eight bytes, little-endian. */
static inline uint64_t word_at(const char *p, size_t n, bool fold)
{
	uint64_t w = 0;

	for (size_t i = 0; i < n; i++)
		w |= (uint64_t)(uint8_t)(fold ? to_lower(p[i]) : p[i]) << (8 * i);
	return w;
}

static uint64_t sip(const uint8_t key[16], str s, bool fold)
{
	uint64_t   k0 = word_at((const char *)key, 8, false);
	uint64_t   k1 = word_at((const char *)key + 8, 8, false);
	uint64_t   last = (uint64_t)s.n << 56;
	struct sip v = {
		k0 ^ 0x736f6d6570736575u,
		k1 ^ 0x646f72616e646f6du,
		k0 ^ 0x6c7967656e657261u,
		k1 ^ 0x7465646279746573u,
	};

	for (; s.n >= 8; s.p += 8, s.n -= 8)
		sip_word(&v, fold ? word_at(s.p, 8, true) : whole_word_at(s.p));
	sip_word(&v, last | word_at(s.p, s.n, fold));
	v.v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(&v);
	return v.v0 ^ v.v1 ^ v.v2 ^ v.v3;
}

uint64_t siphash(const uint8_t key[16], str s)
{
	return sip(key, s, false);
}

static uint8_t        process_key[16];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void draw_key(void)
{
	must(getentropy(process_key, sizeof(process_key)) == 0);
}

/* The mark of a removed slot: its value is NULL and its key points here. */
static const char removed[1];

static bool slot_live(const struct map_entry *e)
{
	return e->value != NULL;
}

static bool slot_virgin(const struct map_entry *e)
{
	return e->value == NULL && e->key.p != removed;
}

void map_init(struct map *m, bool nocase)
{
	pthread_once(&process_key_once, draw_key);
	*m = (struct map){ .nocase = nocase };
}

void map_fini(struct map *m)
{
	free(m->slots);
	*m = (struct map){ .nocase = m->nocase };
}

static size_t place(const struct map *m, str key)
{
	return (size_t)sip(process_key, key, m->nocase) & (m->room - 1);
}

static struct map_entry *find(const struct map *m, str key)
{
	if (m->n == 0)
		return NULL;
	for (size_t i = place(m, key);; i = (i + 1) & (m->room - 1)) {
		struct map_entry *e = &m->slots[i];

		if (slot_virgin(e))
			return NULL;
		if (slot_live(e) && (m->nocase ? str_eq_nocase(e->key, key) : str_eq(e->key, key)))
			return e;
	}
}

static void insert(struct map *m, str key, void *value)
{
	size_t i = place(m, key);

	while (slot_live(&m->slots[i]))
		i = (i + 1) & (m->room - 1);
	if (slot_virgin(&m->slots[i]))
		m->used++;
	m->slots[i] = (struct map_entry){ key, value };
	m->n++;
}

/* Into a table half full at most, without the removed slots. */
static bool rehash(struct map *m)
{
	struct map new = { .nocase = m->nocase, .room = SLOTS_LEAST };

	while (new.room / 2 <= m->n) {
		if (new.room > SIZE_MAX / 2 / sizeof(*new.slots))
			return false;
		new.room *= 2;
	}
	new.slots = calloc(new.room, sizeof(*new.slots));
	if (new.slots == NULL)
		return false;
	for (size_t i = 0; i < m->room; i++)
		if (slot_live(&m->slots[i]))
			insert(&new, m->slots[i].key, m->slots[i].value);
	free(m->slots);
	*m = new;
	return true;
}

void *map_get(const struct map *m, str key)
{
	struct map_entry *e = find(m, key);

	return e ? e->value : NULL;
}

bool map_put(struct map *m, str key, void *value)
{
	struct map_entry *e = find(m, key);

	must(value != NULL);
	if (e != NULL) {
		*e = (struct map_entry){ key, value };
		return true;
	}
	if (m->used + 1 > m->room / 4 * 3 && !rehash(m))
		return false;
	insert(m, key, value);
	return true;
}

void *map_remove(struct map *m, str key)
{
	struct map_entry *e = find(m, key);
	void             *value;

	if (e == NULL)
		return NULL;
	value = e->value;
	*e = (struct map_entry){ .key = { removed, 0 } };
	m->n--;
	return value;
}

struct map_entry *map_next(const struct map *m, size_t *at)
{
	while (*at < m->room) {
		struct map_entry *e = &m->slots[(*at)++];

		if (slot_live(e))
			return e;
	}
	return NULL;
}
