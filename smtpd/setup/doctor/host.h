/* SPDX-License-Identifier: ISC */
/*
 * host: what is known of this host before anybody is asked: collected once, by
 * system calls that do not wait (host.c); the checks read it, units make it up.
 */
#ifndef SETUP_DOCTOR_HOST_H
#define SETUP_DOCTOR_HOST_H

#include "smtpd/base/tls.h"
#include "smtpd/setup/config.h"

struct generation;

struct host_file {                     /* something that not everybody may read */
	str      path;
	const char *what;              /* "the key", "the state directory", … */
	bool     there;
	bool     ours;                 /* belongs to the server's user, or to root */
	unsigned mode;                 /* permission bits */
	unsigned forbidden;            /* those that it must not have */
	str      why;                  /* why it could not be looked at */
};

struct host_cert {
	str    file, why;              /* why it could not be read; else empty */
	struct tls_cert chain[8];
	size_t n;
};

struct host_port {                     /* one address that a listener has */
	str  listener;
	bool submission, implicit;
	bool any;                      /* every address of that family */
	int  family;
	uint16_t port;
	struct sockaddr_storage at;
	socklen_t at_n;
};

struct host_facts {
	str         hostname;
	struct strs addresses;         /* public ones of the interfaces, or relay's source */
	struct strs interfaces;        /* all of them, public or not */
	int64_t     now;
	struct { bool known, synced; uint64_t error_ms; } clock;
	struct { str path, why; uint64_t free_bytes; unsigned free_percent, least_percent, free_inodes_percent; } disk;
	struct { uint64_t descriptors, wanted; } limits;
	struct host_file *files;
	size_t      nfiles;
	struct { str why; size_t n; } accounts;
	struct strs devices;           /* that may send anywhere: "NAME (192.0.2.7)" */
	struct { bool known; str why; size_t through; } relay;
	struct { str anchor, anchor_wanted; struct strs forward, public_ones; } resolver;
	struct host_cert *certs;
	size_t      ncerts;
	bool        self_signed, minimum_13;
	struct host_port *ports;
	size_t      nports;
	str         smarthost;         /* HOST:PORT; empty: none */
	const struct conf_list *zones; /* block lists; NULL: none */
	str         whoami, outside;   /* doctor {}: whom --outside asks */
	uint64_t    mx_port;           /* relay's port */
};

/* `running`: the server's own generation, in the server; NULL: read from the files. */
enum err host_look(const struct config *, struct generation *running, conf_open *, struct arena *, struct host_facts *, str *why);
/* The resolvers that all the world uses (RFC 8499: open resolvers); a name for the
 * address in `endpoint`, or NULL. */
const char *host_public_resolver(str endpoint);

#endif
