/* SPDX-License-Identifier: ISC */
/*
 * fetch: one small file over HTTPS.
 *
 * Strict, as RFC 8461 3.3 wants it: the certificate must be good for the host's
 * name, redirects are not followed, 200 is the only success, nothing comes from
 * a cache, nothing is larger or later than the asker allows.  Names are not
 * looked up here: the asker brings the addresses.  Proxies and the environment
 * do not count.
 *
 * One fetcher a process, on one loop; libcurl does the talking, driven by that
 * loop.  The file of CAs, which takes tens of milliseconds to read, is read on
 * the slow desk before the first fetch, and again when it is a day old.
 */
#ifndef QUEUE_DELIVER_FETCH_H
#define QUEUE_DELIVER_FETCH_H

#include "smtpd/base/desk.h"
#include "smtpd/base/loop.h"

enum fetch_result {
	FETCH_OK,
	FETCH_UNREACHABLE,     /* no connection, no TLS, or it broke off */
	FETCH_TIMEOUT,
	FETCH_CERTIFICATE,     /* not good for this name, here and now */
	FETCH_STATUS,          /* another status than 200, redirects among them */
	FETCH_TYPE,            /* the wrong content type */
	FETCH_LARGE,
	FETCH_OURS,            /* our own fault: no CAs, no memory */
};

struct fetch {                         /* embedded in the asker */
	/* the question */
	str      host, path;           /* "mta-sts.example.org", "/.well-known/…": checked by the asker, in its arena */
	str      addresses;            /* "192.0.2.1,[2001:db8::1]" */
	uint16_t port;
	str      type;                 /* "text/plain" */
	size_t   most;                 /* octets */
	uint64_t timeout_ms;           /* for all of it */
	void   (*done)(struct fetch *);   /* once, on the loop, never inside fetch_begin; not after fetch_stop */
	/* the answer: valid in `done` */
	enum fetch_result result;
	str      text;
	str      why;                  /* a sentence's end: "the server answered 404" */
	/* the fetcher's own from here */
	struct fetcher *fetcher;
	struct fetch   *next, **at;
	void           *work;
};

/* What stands behind: libcurl, or a table in the units. */
struct fetcher {
	void (*begin)(struct fetcher *, struct fetch *);
	void (*stop)(struct fetcher *, struct fetch *);
	void (*trust)(struct fetcher *, str ca);
	void (*end)(struct fetcher *);
	void (*free)(struct fetcher *);
};

/* Main thread, before the others.  NULL: no memory. */
struct fetcher *fetcher_new(struct loop *, struct desk *slow, str ca);
static inline void fetcher_trust(struct fetcher *f, str ca) { f->trust(f, ca); }   /* from the next fetch on; the file is read again */
static inline void fetcher_end(struct fetcher *f) { f->end(f); }      /* every fetch has been stopped */
static inline void fetcher_free(struct fetcher *f) { f->free(f); }    /* after the loop was freed */

static inline void fetch_begin(struct fetcher *f, struct fetch *x)
{
	x->fetcher = f;
	f->begin(f, x);
}

static inline void fetch_stop(struct fetch *x)     /* harmless when it is not out */
{
	if (x->fetcher != NULL)
		x->fetcher->stop(x->fetcher, x);
}

#endif
