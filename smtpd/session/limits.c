/* SPDX-License-Identifier: ISC */
/*
 * What all loops count together: connections, those of an address and of a
 * network, and the memory of messages being received.
 *
 * Loops share no table that one of them would have to own or lock.  Totals are
 * one relaxed atomic each.  Addresses are counted in a sketch: ROWS rows of
 * WIDTH counters, an address adds one to a counter of each row (chosen by
 * SipHash under a key of this process, so that nobody can aim), and its count
 * is the smallest of them.  Collisions can only count too many, and with four
 * rows 1,000 connections make a false refusal unlikelier than 1 in 10^9; what
 * was added is taken off again, so nothing ages and nothing is allocated.
 * Adding comes before looking: two loops may both refuse the last place, but
 * never both take it.  Any thread.
 */
#include <netinet/in.h>
#include <stdatomic.h>
#include <string.h>

#include "smtpd/base/crypt.h"
#include "smtpd/base/map.h"
#include "smtpd/session/internal.h"

#define ROWS  4
#define WIDTH 8192               /* a power of two, 13 bits of a hash a row */

static _Atomic uint32_t sketch[ROWS][WIDTH];
static _Atomic uint64_t all, inbound, memory;

static uint8_t key[16];

void limits_setup(void)
{
	random_bytes(key, sizeof(key));
}

static _Atomic uint32_t *cell(uint64_t hash, size_t row)
{
	return &sketch[row][(hash >> (13 * row)) & (WIDTH - 1)];
}

static uint32_t sketch_add(uint64_t hash)
{
	uint32_t least = UINT32_MAX;

	for (size_t row = 0; row < ROWS; row++) {
		uint32_t n =
			atomic_fetch_add_explicit(cell(hash, row), 1, memory_order_relaxed) + 1;

		least = n < least ? n : least;
	}
	return least;
}

static void sketch_take_off(uint64_t hash)
{
	for (size_t row = 0; row < ROWS; row++)
		atomic_fetch_sub_explicit(cell(hash, row), 1, memory_order_relaxed);
}

/* The bytes that tell one client from another; v4-mapped v6 is v4.  0: a unix
 * socket, whose clients are not told apart. */
static size_t address_bytes(const struct sockaddr *sa, const uint8_t **p, bool *loopback)
{
	const struct sockaddr_in  *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	if (sa->sa_family == AF_INET) {
		*p = (const uint8_t *)&in->sin_addr;
	} else if (sa->sa_family == AF_INET6) {
		*p = in6->sin6_addr.s6_addr;
		*loopback = IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
		if (!IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
			return 16;
		*p += 12;
	} else {
		return 0;
	}
	*loopback = (*p)[0] == 127;
	return 4;
}

static uint64_t hash_of(const uint8_t *p, size_t n)
{
	return siphash(key, (str){ (const char *)p, n });
}

static bool over(enum limit *said, enum limit which, uint64_t n, uint64_t most)
{
	if (n > most)
		*said = which;
	return n > most;
}

enum limit limits_enter(const struct limits_conf *conf, const struct listener_conf *listener,
                        const struct sockaddr *sa, struct limits_place *place)
{
	enum limit     said = LIMIT_NONE;
	bool           loopback = false;
	const uint8_t *p = NULL;
	size_t         n = address_bytes(sa, &p, &loopback);

	*place = (struct limits_place){.taken = true,
				       .submission = listener->role == ROLE_SUBMISSION};
	over(&said, LIMIT_CONNECTIONS, atomic_fetch_add_explicit(&all, 1, memory_order_relaxed) + 1,
	     conf->connections);
	if (!place->submission)
		over(&said, LIMIT_CONNECTIONS,
		     atomic_fetch_add_explicit(&inbound, 1, memory_order_relaxed) + 1,
		     (conf->connections + 1) / 2);
	if (n != 0 && !(loopback && listener->loopback_unlimited)) {
		place->by_address = true;
		place->address = hash_of(p, n);
		over(&said, LIMIT_ADDRESS, sketch_add(place->address), conf->connections_address);
		if (n == 16) {
			place->by_network = true;
			place->network = hash_of(p, 8);
			over(&said, LIMIT_NETWORK, sketch_add(place->network),
			     conf->connections_network);
		}
	}
	if (said != LIMIT_NONE)
		limits_leave(place);
	return said;
}

/* A user of this machine counts as an address does. */
enum limit limits_enter_user(const struct limits_conf *conf, uint32_t uid, struct limits_place *place)
{
	enum limit said = LIMIT_NONE;

	*place = (struct limits_place){ .taken = true, .submission = true, .by_address = true };
	place->address = hash_of((const uint8_t *)&uid, sizeof(uid));
	over(&said, LIMIT_CONNECTIONS, atomic_fetch_add_explicit(&all, 1, memory_order_relaxed) + 1, conf->connections);
	over(&said, LIMIT_ADDRESS, sketch_add(place->address), conf->connections_address);
	if (said != LIMIT_NONE)
		limits_leave(place);
	return said;
}

void limits_leave(struct limits_place *place)
{
	if (!place->taken)
		return;
	atomic_fetch_sub_explicit(&all, 1, memory_order_relaxed);
	if (!place->submission)
		atomic_fetch_sub_explicit(&inbound, 1, memory_order_relaxed);
	if (place->by_address)
		sketch_take_off(place->address);
	if (place->by_network)
		sketch_take_off(place->network);
	place->taken = false;
}

uint64_t limits_connections(void)
{
	return atomic_load_explicit(&all, memory_order_relaxed);
}

bool limits_take_memory(const struct limits_conf *conf, uint64_t n)
{
	if (atomic_fetch_add_explicit(&memory, n, memory_order_relaxed) + n <= conf->memory)
		return true;
	limits_give_memory(n);
	return false;
}

/* A message that was begun can always end: its body goes over to a file soon. */
void limits_take_memory_anyway(uint64_t n)
{
	atomic_fetch_add_explicit(&memory, n, memory_order_relaxed);
}

void limits_give_memory(uint64_t n)
{
	atomic_fetch_sub_explicit(&memory, n, memory_order_relaxed);
}

uint64_t limits_memory(void)
{
	return atomic_load_explicit(&memory, memory_order_relaxed);
}
