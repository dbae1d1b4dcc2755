/* SPDX-License-Identifier: ISC */
/*
 * direct: the authoritative servers of a zone, asked one by one, past every
 * cache; and told what to hold where they take updates (RFC 2136, TSIG RFC 8945).
 *
 * Which servers there are is asked of the resolver that the configuration names
 * (dns.h, on a loop of its own inside the call); the servers themselves are asked
 * by packets of libldns, all at the same time, over UDP and over TCP, IPv4 and IPv6.
 *
 * Blocking, up to `timeout_ms` a question: in a verb or on the slow desk, never on
 * a loop.  Several threads may each have a struct direct of their own.
 */
#ifndef SETUP_DIRECT_H
#define SETUP_DIRECT_H

#include <sys/socket.h>

#include "smtpd/base/dns.h"

struct config;

struct direct_conf {
	const struct dns_conf *resolver;
	uint16_t               port;          /* authoritative servers answer here: 53 (also when 0) */
	uint64_t               timeout_ms;    /* one question to one server: 4,000 (also when 0), tried twice over UDP within it */
	bool                   ipv6;          /* this host has a way there */
};
/* Fills both; the second is what the first points to. */
void direct_conf_of(const struct config *, struct direct_conf *, struct dns_conf *resolver);

struct direct;
/* Whether this host has a way to the IPv6 internet: a default route. */
bool direct_has_ipv6(void);
/* The arena outlives it.  NULL: `why`. */
struct direct *direct_open(const struct direct_conf *, struct arena *, str *why);
void           direct_close(struct direct *);

/* One address of one server. */
struct direct_server {
	str                     name;         /* ns1.example.net */
	str                     address;      /* as text */
	struct sockaddr_storage at;
	socklen_t               at_n;
};

/* The zone that holds a name (the nearest cut above it, or the name itself where
 * it is a zone's apex), and its servers.  IPv6 addresses of a server that has
 * IPv4, too, are left out where conf.ipv6 is false. */
struct direct_zone {
	str                   name;
	struct direct_server *servers;
	size_t                n;
	struct strs           nameless;       /* servers named by NS without any address */
	str                   primary;        /* the name in the SOA record: who takes updates */
};
/* OK; ERR_ABSENT: no zone above the name is in DNS (it is not delegated);
 * ERR_BUSY: DNS did not answer, `why` says what.  Strings live in the arena. */
enum err direct_zone_of(struct direct *, str name, struct arena *, struct direct_zone *, str *why);

/* What one server said over one protocol. */
struct direct_reply {
	const struct direct_server *server;
	bool            tcp;
	enum dns_status status;               /* this server's word; FOUND: n > 0; TIMEOUT: it did not answer; SERVFAIL: REFUSED and its like */
	bool            authoritative;        /* AA; without it the answer is somebody's cache */
	bool            truncated;            /* over UDP, as is right for what does not fit; status is then TIMEOUT */
	str             cname;                /* the name is an alias of this one, lower case; not followed: status is NODATA */
	str            *records;              /* TXT: strings joined; else as a zone file has it; sorted */
	size_t          n;
	uint32_t        ttl_s;
	str             why;                  /* for what failed */
	uint64_t        ms;
};
/* Everybody is asked, over both; a UDP answer that is truncated is no answer of
 * its own.  2 × zone->n replies, in the order of the servers: UDP, TCP, UDP, … */
enum err direct_ask(struct direct *, const struct direct_zone *, str name, enum dns_type, struct arena *,
                    struct direct_reply **replies, size_t *n);

/* ---- the gate ---------------------------------------------------------------------- */

enum gate_sight {
	GATE_SHOWN,        /* all that answer show exactly this one record, at least half answer */
	GATE_OTHER,        /* somebody shows something else, or nothing: blocks */
	GATE_SILENT,       /* too few answer to know */
	GATE_NOWHERE,      /* no server to ask: the domain is not delegated */
};
struct gate_look {
	enum gate_sight sight;
	size_t          servers, answered;
	str             said;                 /* one sentence: which server shows what */
	struct strs     silent;               /* servers that did not answer, by name and address: "ns1.example.net (192.0.2.1)" */
	bool            same_key;             /* SHOWN; or OTHER in its wording only: all that answer, at least half, show the
	                                       * one key, good for our signatures.  A key made elsewhere may be published so. */
	str             alias;                /* gate_judge: all that answer say that the name is an alias of this one */

	/* gate_look: what was asked last (an alias's name), of whom, and what they said */
	str             name;
	struct direct_zone   zone;
	struct direct_reply *replies;         /* each of a server of `zone` */
	size_t          nreplies;
};
/* Pure: replies in, verdict out.  A server answers if it does over UDP or TCP; if
 * both, they must agree.  Octet for octet, but for how the strings are cut.  Who
 * refuses the question, fails, or answers without authority has not answered; but
 * what he shows without authority and is not the record blocks, too. */
void gate_judge(const struct direct_zone *, const struct direct_reply *, size_t n, str name, str wanted,
                struct arena *, struct gate_look *);
/* What one reply shows, for "ns1 says: …": "the record", "no such name (NXDOMAIN)", … */
str gate_reply_text(const struct direct_reply *, str wanted, struct arena *);
/* direct_zone_of, direct_ask, gate_judge; through aliases (CNAME), each asked of its
 * own zone's servers.  OK with *look filled; else DNS failed or memory is spent, and
 * `said` says which (sight SILENT). */
enum err gate_look(struct direct *, str name, str wanted, struct arena *, struct gate_look *);

/* ---- updates -------------------------------------------------------------------------- */

struct direct_update {
	struct direct *asker;                 /* finds addresses; NULL: `server` is ADDR:PORT */
	str       zone, server;               /* HOST:PORT or ADDR:PORT; empty: the zone's primary, conf.port */
	str       key_name, key_algorithm;    /* hmac-sha256, hmac-sha512, hmac-sha1 */
	str       key_secret;                 /* base64; never logged */
};
/* In this order (RFC 2136 2.5): remove with a value takes that record away, without
 * one all of that name and type; what is not there is no fault. */
struct direct_change { str name; const char *type; str value; uint32_t ttl_s; bool remove; };  /* value: as a zone file has it */
/* All in one message, over TCP.  OK: the server says NOERROR to a signed question
 * and its answer's signature holds.  ERR_DENIED: it refuses (key, clock, zone, policy);
 * ERR_BAD: what was asked for is no update, or the answer is not the server's;
 * ERR_ABSENT: no such server; ERR_BUSY, ERR_TIMEOUT, ERR_CLOSED: try again later. */
enum err direct_tell(const struct direct_update *, const struct direct_change *, size_t n, uint64_t timeout_ms,
                     struct arena *, str *why);

#endif
