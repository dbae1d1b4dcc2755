/* SPDX-License-Identifier: ISC */
/*
 * map: from byte strings to pointers, safe against keys chosen by an enemy
 * (SipHash under a random key of this process).  Keys are borrowed: they must
 * live as long as their entry.  One thread at a time.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "smtpd/base/str.h"

struct map_entry {
	str   key;
	void *value;      /* never NULL in a live entry */
};

struct map {
	struct map_entry *slots;
	size_t n, room;   /* live entries; slots, a power of two */
	size_t used;      /* live and removed slots */
	bool   nocase;    /* ASCII case of keys does not matter */
};

void  map_init(struct map *, bool nocase);
void  map_fini(struct map *);
void *map_get(const struct map *, str key);          /* NULL: not there */
bool  map_put(struct map *, str key, void *value);   /* replaces key and value; false: no memory */
void *map_remove(struct map *, str key);             /* what was there, or NULL */
/* Walks all entries: start with *at = 0, NULL at the end; no change meanwhile
 * except removal of the entry just returned. */
struct map_entry *map_next(const struct map *, size_t *at);

uint64_t siphash(const uint8_t key[16], str);        /* SipHash-2-4 */

#endif
