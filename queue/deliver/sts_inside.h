/* SPDX-License-Identifier: ISC */
/*
 * What the files of sts share: sts.c (asking, answering, the table),
 * sts_look.c (the TXT record, the fetch, what follows from them), sts_keep.c
 * (notes in the store, refreshing).  All of it on the owner's loop.
 */
#ifndef QUEUE_DELIVER_STS_INSIDE_H
#define QUEUE_DELIVER_STS_INSIDE_H

#include "queue/deliver/fetch.h"
#include "queue/deliver/sts.h"
#include "queue/queue.h"
#include "smtpd/base/dns.h"
#include "smtpd/base/map.h"

#define STS_KEPT         10000                   /* domains in memory … */
#define STS_KEPT_BYTES   ((size_t)16 << 20)      /* … and their policies' octets */
#define STS_FETCH_MS     60000                   /* RFC 8461 3.3 */
#define STS_REFRESH_S    86400                   /* RFC 8461 3.3: once a day … */
#define STS_USED_S       (30 * 86400)            /* … what was used in the last 30 days */
#define STS_LEAST_S      300                     /* a policy counts for as long as this, whatever its max_age */
#define STS_FAILED_S     300                     /* a fetch that failed is not tried again before … */
#define STS_AGAIN_S      3600                    /* … or, a good policy being there, not by ourselves before */
#define STS_BACKGROUND   16                      /* refreshes at a time */

struct sts_entry;

struct sts_policy_kept {
	struct arena      arena;
	struct sts_policy policy;
	int64_t           fetched;     /* seconds */
};

/* One look at a domain: TXT, addresses, fetch. */
struct sts_look {
	struct sts       *sts;
	struct sts_entry *entry;
	struct arena      arena;
	struct dns_ask    txt, a, aaaa;
	struct dns_answer v4, v6;
	unsigned          out;         /* address questions */
	str               id;
	struct fetch      fetch;
	bool              fetching;    /* the TXT record is behind us */
};

struct sts_entry {
	char             *domain;
	struct sts_entry *next, *prev; /* most lately used first */
	struct sts_policy_kept *kept;  /* NULL: no policy */
	struct sts_look  *look;        /* under way */
	struct sts_request *waiting;
	bool              read, reading;       /* the note has been, is being, looked for */
	int64_t           used, refresh_at, not_before;
	const char       *fault;       /* of the last fetch that failed; NULL: none since the last that went well */
	char              why[200];
	char              failed_id[33];
};

struct sts {
	struct loop      *loop;
	struct queue     *queue;       /* NULL in units: nothing is kept */
	struct desk      *disk;
	struct fetcher   *fetcher;
	uint16_t          port;
	struct map        entries;
	struct sts_entry *first, *last;
	size_t            bytes;       /* of kept policies */
	size_t            looks;
	struct loop_timer minute;
	bool              ended;
};

struct sts_request {                   /* from the asker to the owner and back */
	struct baton        baton;
	struct arena        arena;
	struct sts         *sts;
	struct sts_ask     *ask;       /* the asker's loop alone looks at it; NULL: stopped */
	struct sts_request *next;
	str                 domain;
	struct sts_policy   policy;
	str                 fault, why;
	bool                memory;
};

/* As sts_new, with what fetches.  Takes the fetcher over. */
struct sts *sts_with(struct loop *owner, struct queue *, struct desk *disk, struct fetcher *, const struct sts_conf *);

/* sts.c */
struct sts_entry *sts_entry_get(struct sts *, str domain);      /* made if absent; NULL: no memory or name */
void sts_entry_set(struct sts *, struct sts_entry *, struct sts_policy_kept *);  /* takes it; NULL forgets */
const struct sts_policy *sts_entry_policy(const struct sts_entry *);  /* the one that counts now, or NULL */
bool sts_entry_idle(const struct sts_entry *);
void sts_answer_all(struct sts *, struct sts_entry *);          /* those who wait, with what is known now */
void sts_answer_memory(struct sts *, struct sts_entry *);

/* sts_look.c */
void sts_look_begin(struct sts *, struct sts_entry *);
void sts_look_drop(struct sts_look *);

/* sts_keep.c */
void sts_note_read(struct sts *, struct sts_entry *);           /* then sts_look_begin, if somebody waits */
void sts_note_write(struct sts *, struct sts_entry *);
void sts_notes_load(struct sts *);
void sts_refresh(struct sts *);                                 /* a minute has passed */
struct sts_policy_kept *sts_kept_new(str file, str id, int64_t fetched, str *why);  /* why: static */
void sts_kept_free(struct sts_policy_kept *);
int64_t sts_kept_until(const struct sts_policy_kept *);

#endif
