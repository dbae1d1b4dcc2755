/* SPDX-License-Identifier: ISC */
/*
 * direct_inside: what the files of this folder share.
 *
 *   direct_packet.c    the only file with libldns: packets to octets and back
 *   direct_exchange.c  sockets: many questions at the same time, within one deadline
 *   direct_zone.c      which servers there are, by dns.h
 *   direct.c           everybody asked
 *   direct_update.c    RFC 2136
 */
#ifndef SETUP_DIRECT_INSIDE_H
#define SETUP_DIRECT_INSIDE_H

#include "smtpd/setup/dns/direct.h"

struct direct {
	struct direct_conf conf;
	struct loop       *loop;              /* private: runs only inside a call */
	struct dns        *dns;
};

/* A server's address and the port it answers at. */
struct direct_at {
	struct sockaddr_storage to;
	socklen_t               n;
};
void direct_at_set(struct direct_at *, int family, const void *address, uint16_t port);
str  direct_at_text(const struct direct_at *, struct arena *);    /* without the port */

/* All addresses of a host by the resolver; what is found is appended. */
#define DIRECT_ADDRESSES 8                    /* of one host in one family, at most */
struct direct_host { str name; struct direct_at at[2 * DIRECT_ADDRESSES]; size_t n; };
enum err direct_find_hosts(struct direct *, struct direct_host *, size_t n, struct arena *, str *why);

/* ---- packets ----------------------------------------------------------------------- */

#define PACKET_QUERY_MAX 512
#define PACKET_UDP_SIZE  1232                 /* what we say we can take: passes every path */

/* A question in wire form; 0: the name is none. */
size_t packet_query(str name, enum dns_type, uint16_t id, bool edns, uint8_t out[static PACKET_QUERY_MAX]);

enum packet_fit {
	PACKET_OURS,                          /* *reply is filled */
	PACKET_STRANGE,                       /* not an answer to this question: as if nothing had come */
	PACKET_NO_EDNS,                       /* the server knows no EDNS: ask without */
};
enum packet_fit packet_read(str wire, str name, enum dns_type, uint16_t id, struct arena *, struct direct_reply *);

struct packet_update;                         /* a signed update and what is needed to check its answer */
struct packet_update *packet_update_new(const struct direct_update *, const struct direct_change *, size_t n,
                                        struct arena *, str *why);
str      packet_update_wire(const struct packet_update *);
/* The server's answer: OK, ERR_DENIED or ERR_BAD with `why`. */
enum err packet_update_read(struct packet_update *, str wire, int64_t now, struct arena *, str *why);
void     packet_update_free(struct packet_update *);

/* ---- exchanges ---------------------------------------------------------------------- */

enum heard { HEARD_NOT_OURS, HEARD_TAKEN, HEARD_ASK_AGAIN };  /* the last: `request` was changed */

struct exchange {
	const struct sockaddr *to;
	socklen_t  to_n;
	bool       tcp;
	str        request;                   /* without TCP's length */
	enum heard (*heard)(struct exchange *, str packet);
	void      *user;

	bool       taken;                     /* what came of it */
	char       why[96];
	uint64_t   ms;

	/* the exchange's own from here */
	int        fd;
	uint8_t   *frame, *in;
	uint8_t    head[2];
	size_t     frame_n, sent, head_n, got, room;
	unsigned   tries;
	uint64_t   began_ms, again_ms;
	bool       over;
};
/* Returns when each is taken or has failed, after timeout_ms at the latest. */
void exchange_all(struct exchange *, size_t n, uint64_t timeout_ms);

#endif
