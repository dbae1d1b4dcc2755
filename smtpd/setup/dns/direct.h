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
	uint16_t               port;          /* authoritative servers answer here: 53 */
	uint64_t               timeout_ms;    /* one question to one server: 4,000, tried twice over UDP */
	bool                   ipv6;          /* this host has a way there */
};
void direct_conf_of(const struct config *, struct direct_conf *, struct dns_conf *resolver);

struct direct;
struct direct *direct_open(const struct direct_conf *, struct arena *, str *why);
void           direct_close(struct direct *);

/* One address of one server. */
struct direct_server {
	str                     name;         /* ns1.example.net */
	str                     address;      /* as text */
	struct sockaddr_storage at;
	socklen_t               at_n;
};

/* The zone that holds a name (the nearest cut above it), and its servers. */
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
	enum dns_status status;               /* this server's word; DNS_TIMEOUT: it did not answer */
	bool            authoritative;        /* AA; without it the answer is somebody's cache */
	bool            truncated;            /* over UDP, as is right for what does not fit */
	str            *records;              /* TXT: strings joined; else as a zone file has it; sorted */
	size_t          n;
	uint32_t        ttl_s;
	str             why;                  /* for what failed */
	uint64_t        ms;
};
/* Everybody is asked, over both; a UDP answer that is truncated is no answer of
 * its own.  2 × zone->n replies, in the order of the servers. */
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
	struct strs     silent;               /* servers that did not answer, by name and address */
};
/* Pure: replies in, verdict out.  A server answers if it does over UDP or TCP; if
 * both, they must agree.  Octet for octet, but for how the strings are cut. */
void gate_judge(const struct direct_zone *, const struct direct_reply *, size_t n, str name, str wanted,
                struct arena *, struct gate_look *);
/* direct_zone_of, direct_ask, gate_judge. */
enum err gate_look(struct direct *, str name, str wanted, struct arena *, struct gate_look *);

/* ---- updates -------------------------------------------------------------------------- */

struct direct_update {
	str       zone, server;               /* HOST:PORT or ADDR:PORT; empty: the zone's primary, port 53 */
	str       key_name, key_algorithm;    /* hmac-sha256 … */
	str       key_secret;                 /* base64; never logged */
};
struct direct_change { str name; const char *type; str value; uint32_t ttl_s; bool remove; };  /* value: as a zone file has it */
/* All in one message, over TCP.  OK: the server says NOERROR to a signed question
 * and its answer's signature holds. */
enum err direct_tell(const struct direct_update *, const struct direct_change *, size_t n, uint64_t timeout_ms,
                     struct arena *, str *why);

#endif
