/* SPDX-License-Identifier: ISC */
/*
 * deliver: the way out.
 *
 * The timetable thread owns what is due, destinations and leases.  It lends a
 * lease (recipients of one message that share a route) to a loop (SMTP, LMTP)
 * or to the disk desk (Maildir), gets it back with fates, hands those to the
 * committer, and writes bounces as letters.
 */
#ifndef QUEUE_DELIVER_DELIVER_H
#define QUEUE_DELIVER_DELIVER_H

#include "queue/backoff.h"
#include "queue/deliver/hop.h"
#include "queue/letter.h"
#include "queue/queue.h"
#include "smtpd/base/conf.h"
#include "smtpd/base/loop.h"
#include "smtpd/mail/directory.h"

enum relay_ipv6 { IPV6_OFF, IPV6_AUTO, IPV6_ON };
enum relay_eight_bit { EIGHT_BIT_SEND, EIGHT_BIT_BOUNCE };

struct relay_conf {
	struct conf_head head;
	uint64_t retry_first_ms, retry_most_ms, give_up_ms, give_up_bounce_ms, delay_notice_ms;
	uint64_t destination_concurrency;    /* connections to one destination: 20 */
	uint64_t concurrency;                /* in all: 100 */
	uint64_t messages_per_connection;    /* 100 */
	uint64_t idle_ms;                    /* how long a connection waits for the next message: 2 s */
	int      ipv6;                       /* enum relay_ipv6: to MX hosts */
	struct strs source;                  /* our addresses on the way out, at most one of a kind */
	struct hop smarthost;                /* for everything that is not local; no via: MX */
	struct conf_list routes;             /* struct hop_route, before the smarthost */
	struct conf_list policies;           /* struct policy_section: what TLS a domain's MX hosts must show */
	uint64_t connect_ms;                 /* 30 s */
	uint64_t command_ms, data_ms, final_ms, tls_ms;   /* waits for answers; 0: RFC 5321 4.5.3.2 */
	uint64_t port;                       /* of MX hosts: 25; tests use another */
	str      ca;                         /* PEM file: the CAs of verified TLS */
	int      eight_bit;                  /* enum relay_eight_bit: to who lacks 8BITMIME */
	bool     notify_forged;              /* notices go to senders that were most likely forged, too */
	uint64_t sts_port;                   /* of MTA-STS policies: 443 */
};
extern const struct conf_section relay_section;
/* While a generation is built, and when it is freed. */
enum err relay_read_passwords(struct relay_conf *, conf_open *, struct arena *, str *why);
void     relay_wipe(struct relay_conf *);
/* The `source` of that family; 0: none is set. */
socklen_t relay_source(const struct relay_conf *, int family, struct sockaddr_storage *out);

/* A message whose signatures run out before it can be delivered: it gets new ones
 * on its way out, from the stored header and hashes.  Nothing of that is written. */
struct late {
	const struct queue_entry *entry;
	str           header;              /* its own fields, as stored */
	int64_t       now;
	struct arena *arena;               /* of the answer */
	/* the answer */
	str           head;                /* instead of entry->head; p == NULL: it could not be signed */
	int64_t       until;               /* when that runs out; 0: never */
	str           why;                 /* why not … */
	bool          hold;                /* … and it must not leave like that */
};

/* What a generation lends to the timetable and its clients: immutable, lives
 * until the timetable has sent `released` home for it. */
struct deliver_setup {
	const struct relay_conf *relay;
	const struct directory  *directory;
	str                      hostname;
	const unsigned char     *srs_secret;  /* NULL: senders of what is forwarded stay as they are */
	str                      srs_domain;  /* empty: the alias's */
	/* `n` recipients of a login's message come back; timetable; may be NULL. */
	void                   (*bounced)(void *arg, str login, size_t n);
	void                    *bounced_arg;
	void                   (*sign_late)(void *arg, struct late *);   /* disk desk; NULL: nobody signs */
	void                    *sign_late_arg;
	struct sts              *sts;         /* the process's, for who sends to MX hosts; NULL in units: no MTA-STS */
};

struct sts;
struct timetable;

/* `take_letter` is session's inject, run on the loop that receives the letter. */
struct timetable *timetable_new(struct queue *, struct loop *const *loops, size_t nloops, struct desk *disk,
                                const struct deliver_setup *, void (*take_letter)(struct baton *));
/* Reads the queue (queue_walk) and starts the thread. `one_by_one`: the last
 * life ended uncleanly; deliver the first round one at a time. */
enum err timetable_start(struct timetable *, bool one_by_one);
/* New generation; `released` runs on `home` when nothing uses the old one. */
struct setup_swap { struct baton baton; const struct deliver_setup *new_setup, *old_setup; };
void timetable_reconfigure(struct timetable *, struct setup_swap *);
/* No new leases from now; those out get up to `within_ms`; then the thread ends. */
void timetable_stop(struct timetable *, uint64_t within_ms);
void timetable_free(struct timetable *);

/* Wishes of the control socket: retry, hold, release, remove, flush; and a sender's
 * to stop a message that still waits for its time (not_before): ERR_BUSY when some
 * of it has been tried, or is being. */
struct queue_wish {                        /* malloc'ed by the sender */
	struct baton baton;                /* home, arrived: the sender's */
	enum { WISH_RETRY, WISH_HOLD, WISH_RELEASE, WISH_REMOVE, WISH_CANCEL, WISH_BREAK /* hold, as the breaker's */ } what;
	uint64_t     id;                   /* 0: all */
	const char  *by;                   /* static, for the log; NULL: the operator */
	bool         as_is;                /* released for good: it is not held again for want of a signature */
	bool         early;                /* retry: before its time, too */
	size_t       touched;              /* messages, when home */
	enum err     result;
	void        *user;
};
void timetable_wish(struct timetable *, struct queue_wish *);

/* Destinations that do not work just now, those with the longest lines. */
#define TROUBLES_MOST 20
struct trouble { str destination, why; int64_t until; uint32_t times; size_t parts; };  /* until 0: it does not rest */
struct troubles_ask {                      /* the asker's again when home */
	struct baton   baton;              /* home, arrived: the asker's */
	struct arena   arena;
	struct trouble v[TROUBLES_MOST];
	size_t         n, all;             /* shown here; in trouble */
	void          *user;
	void         (*back)(struct baton *);      /* troubles.c's own */
};
struct troubles_ask *troubles_ask_new(void);       /* NULL: no memory */
void troubles_ask_free(struct troubles_ask *);
void timetable_troubles(struct timetable *, struct troubles_ask *);

struct timetable_figures { uint64_t messages, waiting, held, leased, deferred, delivered, bounced, oldest, aside; };
void timetable_figures(struct timetable *, struct timetable_figures *);   /* atomics; any thread */

#endif
