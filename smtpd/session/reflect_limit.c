/* SPDX-License-Identifier: ISC */
/*
 * How many reports a sender and a network get in a day (UTC).
 *
 * One table for all loops, of a fixed size: a cell is one word, changed by
 * compare-and-swap, so nobody owns or locks it.  An address's cells are the WAYS
 * of one row, chosen by SipHash under a key of this process; a cell of another
 * day is free.  Where all WAYS are taken today the answer is no: the table can
 * refuse a report too many, and never lets one too many pass.  Any thread.
 */
#include <netinet/in.h>
#include <stdatomic.h>

#include "smtpd/base/crypt.h"
#include "smtpd/base/map.h"
#include "smtpd/session/internal.h"

#define ROWS 2048
#define WAYS 8
#define DAY  86400

static _Atomic uint64_t cells[ROWS][WAYS];
static uint8_t key[16];

/* A cell: 32 bits of the hash, 16 of the day, 16 of the count. */
static uint64_t cell_of(uint64_t hash, uint64_t day, uint64_t n)
{
	return (hash >> 32) << 32 | (day & 0xffff) << 16 | n;
}

void reflect_limit_setup(void)
{
	random_bytes(key, sizeof(key));
	for (size_t i = 0; i < ROWS; i++)
		for (size_t k = 0; k < WAYS; k++)
			atomic_store_explicit(&cells[i][k], 0, memory_order_relaxed);
}

/* The hash's cell of today, or one that is free; NULL: the row is full. */
static _Atomic uint64_t *cell_find(uint64_t hash, uint64_t day, uint64_t *was)
{
	_Atomic uint64_t *row = cells[hash % ROWS], *room = NULL;
	uint64_t room_was = 0;

	for (size_t i = 0; i < WAYS; i++) {
		*was = atomic_load_explicit(&row[i], memory_order_relaxed);
		if (*was >> 16 == cell_of(hash, day, 0) >> 16 && (*was & 0xffff) > 0)
			return &row[i];
		if (room == NULL && ((*was >> 16 & 0xffff) != (day & 0xffff) || (*was & 0xffff) == 0)) {
			room = &row[i];
			room_was = *was;
		}
	}
	*was = room_was;
	return room;
}

static bool count_one(uint64_t hash, uint64_t day, uint64_t most)
{
	for (;;) {
		uint64_t was, n;
		_Atomic uint64_t *cell = cell_find(hash, day, &was);

		if (cell == NULL)
			return false;
		n = was >> 16 == cell_of(hash, day, 0) >> 16 ? was & 0xffff : 0;
		if (n >= most || n == 0xffff)
			return false;
		if (atomic_compare_exchange_strong_explicit(cell, &was, cell_of(hash, day, n + 1), memory_order_relaxed,
		                                            memory_order_relaxed))
			return true;
	}
}

static void give_back(uint64_t hash, uint64_t day)
{
	for (;;) {
		uint64_t was;
		_Atomic uint64_t *cell = cell_find(hash, day, &was);

		if (cell == NULL || was >> 16 != cell_of(hash, day, 0) >> 16 || (was & 0xffff) == 0)
			return;
		if (atomic_compare_exchange_strong_explicit(cell, &was, was - 1, memory_order_relaxed, memory_order_relaxed))
			return;
	}
}

/* /24 and /48: what one customer of a provider has at hand. */
static uint64_t network_hash(const struct sockaddr *sa)
{
	const struct sockaddr_in  *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;
	const char *p = (const char *)in6->sin6_addr.s6_addr;

	if (sa->sa_family == AF_INET)
		return siphash(key, (str){ (const char *)&in->sin_addr, 3 });
	if (sa->sa_family != AF_INET6)
		return siphash(key, STR("n"));
	if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return siphash(key, (str){ p + 12, 3 });
	return siphash(key, (str){ p, 6 });
}

enum reflect_limit reflect_limit_take(const struct limits_conf *conf, const struct sockaddr *client, str sender, int64_t now)
{
	uint64_t who = siphash(key, sender), day = (uint64_t)now / DAY;

	if (!count_one(who, day, conf->reflector_sender))
		return REFLECT_SENDER;
	if (count_one(network_hash(client), day, conf->reflector_network))
		return REFLECT_FINE;
	give_back(who, day);
	return REFLECT_NETWORK;
}
