/* SPDX-License-Identifier: ISC */
/*
 * Everybody is asked: each server over UDP and over TCP, all at the same time.
 * Any thread that may block; nothing is shared between calls.
 */
#include <arpa/inet.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/crypt.h"
#include "smtpd/setup/dns/direct_inside.h"

struct asked {
	struct exchange     *exchange;
	struct direct_reply *reply;
	struct arena        *arena;
	str                  name;
	enum dns_type        type;
	uint16_t             id;
	bool                 plain;           /* already asked without EDNS */
	uint8_t              wire[PACKET_QUERY_MAX];
};

/* A route to the documentation's own net (RFC 3849) is a default route; nothing
 * is sent by connect(2) on a datagram socket. */
bool direct_has_ipv6(void)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_port = htons(53) };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool has;

	if (fd < 0)
		return false;
	inet_pton(AF_INET6, "2001:db8::1", &to.sin6_addr);
	has = connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0;
	close(fd);
	return has;
}

static bool write_question(struct asked *q, bool edns)
{
	size_t n = packet_query(q->name, q->type, q->id, edns, q->wire);

	q->exchange->request = (str){ (const char *)q->wire, n };
	return n > 0;
}

static enum heard heard(struct exchange *e, str packet)
{
	struct asked *q = e->user;
	const struct direct_server *server = q->reply->server;
	struct direct_reply r = { .server = server, .tcp = e->tcp };

	switch (packet_read(packet, q->name, q->type, q->id, q->arena, &r)) {
	case PACKET_STRANGE:
		return HEARD_NOT_OURS;
	case PACKET_NO_EDNS:
		if (!q->plain) {
			q->plain = true;
			return write_question(q, false) ? HEARD_ASK_AGAIN : HEARD_NOT_OURS;
		}
		r.status = DNS_SERVFAIL;
		r.why = STR("it says FORMERR");
		break;
	case PACKET_OURS:
		break;
	}
	*q->reply = r;
	return HEARD_TAKEN;
}

static bool prepare(struct asked *q, const struct direct_server *s, bool tcp, str name, enum dns_type type,
                    struct arena *a, struct direct_reply *reply)
{
	*reply = (struct direct_reply){ .server = s, .tcp = tcp, .status = DNS_TIMEOUT };
	q->reply = reply;
	q->arena = a;
	q->name = name;
	q->type = type;
	random_bytes(&q->id, sizeof(q->id));
	*q->exchange = (struct exchange){
		.to = (const struct sockaddr *)&s->at, .to_n = s->at_n, .tcp = tcp, .heard = heard, .user = q,
	};
	return write_question(q, true);
}

enum err direct_ask(struct direct *d, const struct direct_zone *z, str name, enum dns_type type, struct arena *a,
                    struct direct_reply **replies, size_t *n)
{
	struct asked *q = ARENA_ARRAY(a, struct asked, 2 * z->n + 1);
	struct exchange *all = ARENA_ARRAY(a, struct exchange, 2 * z->n + 1);

	*n = 2 * z->n;
	*replies = ARENA_ARRAY(a, struct direct_reply, *n + 1);
	if (q == NULL || all == NULL || *replies == NULL)
		return ERR_MEMORY;
	for (size_t i = 0; i < *n; i++) {
		q[i].exchange = &all[i];
		if (!prepare(&q[i], &z->servers[i / 2], i % 2 == 1, name, type, a, &(*replies)[i]))
			return ERR_BAD;
	}
	exchange_all(all, *n, d->conf.timeout_ms);
	for (size_t i = 0; i < *n; i++) {
		struct direct_reply *r = &(*replies)[i];

		r->ms = all[i].ms;
		if (!all[i].taken)
			r->why = str_keep(a, str_of(all[i].why));
	}
	return a->spent ? ERR_MEMORY : OK;
}
