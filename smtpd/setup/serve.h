/* SPDX-License-Identifier: ISC */
/*
 * serve: the running server, from the main thread's side.
 *
 * Main owns configuration generations, listening sockets, desks and all
 * threads; it starts them from the floor up and stops them from the roof down.
 */
#ifndef SETUP_SERVE_H
#define SETUP_SERVE_H

#include <pthread.h>

#include "modules/dnsbl/dnsbl.h"
#include "queue/deliver/sts.h"
#include "smtpd/base/control.h"
#include "smtpd/base/desk.h"
#include "smtpd/mail/srs.h"
#include "smtpd/setup/generation.h"
#include "smtpd/setup/web.h"

struct opened {                    /* a listening socket */
	str  endpoint;             /* as configured */
	int  fd;
	bool wanted;               /* by the newest generation */
};

struct server {
	struct arena       arena;           /* lives as long as the process */
	const char        *file;
	struct generation *now;
	struct loop       *main;
	struct loop      **loops;
	struct front     **fronts;
	pthread_t         *threads;
	size_t             nloops;
	struct desk       *disk, *login, *slow;
	struct queue      *queue;
	struct auth       *auth;
	struct timetable  *timetable;
	struct breaker    *breaker;         /* what accounts have sent lately */
	struct sts        *sts;             /* on main's loop */
	unsigned char      secret[SRS_SECRET];  /* STATE/forward.secret: senders and copies of ours are known by it */
	struct deny_live   denied;          /* STATE/deny as it was read last */
	struct file_stamp { int64_t seconds, nanos; uint64_t size, inode; } denied_stamp;
	struct control    *control;
	struct web        *web;             /* on main's loop */
	struct opened     *opened;
	size_t             nopened;
	struct key_watch  *keys;            /* DKIM keys, their gates and their calendar */
	struct doctor_watch *doctor;        /* what it finds out about itself */
	struct dnsbl_tests *zone_tests;     /* on main's own resolver; NULL: none is out */
	struct drops      *drops;           /* users of this machine; NULL: off */
	struct loop_io     signals;
	struct loop_timer  minute, watchdog, memory;
	int64_t            spare_left;      /* memory.c: free bytes when they were last given back, or less since */
	struct pace { uint64_t at_ms, stored, delivered, deferred, bounced; } pace[2];  /* so far, at the last two minutes */
	size_t             fronts_up;       /* that have not said that they are empty */
	bool               stopping, failed;
	int64_t            started;
};

struct serve_given { str endpoint; int fd; };   /* sockets that are bound already */

/* Runs until SIGTERM.  `config` has been read into `arena`, which serve takes
 * over.  Returns the exit status. */
int serve_run(const char *file, struct config *, struct arena *, const struct serve_given *, size_t ngiven,
              void (*ready)(struct server *, void *arg), void *arg);

/* reload.c */
enum err server_reload(struct server *, str *why);      /* the sentence lives in why_arena of the call: a static buffer */
void     server_look_again(struct server *);            /* accounts and certificates that changed */
/* Hands `next` to loops and timetable; the old generation is freed when all
 * have let go of it. */
void     server_use(struct server *, struct generation *next);
void     server_let_go(struct generation *);           /* one of its users has gone */
struct sts_conf server_sts_conf(const struct config *);
/* Runs `then` on main once every loop has taken a turn: nobody there holds what
 * was replaced before. */
void     server_when_all_turned(struct server *, void (*then)(struct server *, void *arg), void *arg);
void     server_look_at_logins(const struct server *);  /* who stands no more is not served any longer */

/* listening.c */
/* Opens what `config` names and is not open yet; what else is open is unwanted from now on. */
enum err server_open_listeners(struct server *, const struct config *, const struct serve_given *, size_t, str *why);
void     server_close_unwanted(struct server *);
struct opened *server_find_opened(struct server *, str endpoint);      /* NULL: it is not open */
/* Every (socket, listener) pair of a generation, for one loop to keep: two arrays that the swap owns. */
void     server_listeners_for(const struct server *, const struct config *, struct front_swap *);

/* denied.c: STATE/deny, read again when it has changed */
void     server_look_at_denied(struct server *);
str      server_deny_path(const struct config *, struct arena *);

/* breaker_watch.c: accounts that have used up their allowance */
bool     server_made_breaker(struct server *);          /* before threads, with main's loop there */
void     server_write_allowances(struct server *);      /* what is to outlive the process */
/* Its mail that is in the queue and not out; `then` runs on main when it is held. */
void     server_hold_waiting(struct server *, str account, void (*then)(struct server *, void *arg), void *arg);

/* unsigned.c: a key of this domain is out: what was held for want of one is
 * released, to be signed on its way.  Main; comes back at once. */
void     server_release_unsigned(struct server *, str domain);
void     server_release_unsigned_again(struct server *);   /* each minute, and at the end */

/* cancel.c: sessions may stop what still waits */
void     server_lends_cancel(struct server *, struct session_setup *);

/* post.c: takes the letter over; what becomes of it is logged if it is not stored.  Main. */
struct letter;
void     server_post(struct server *, struct letter *);

/* zones.c: the block lists' zones, tested at start, at reload and when due */
void     server_test_zones(struct server *);
void     server_end_zone_tests(struct server *);        /* before their generation or main's resolver goes */

/* server_control.c */
extern const struct control_verb server_control_verbs[];
str      server_control_path(const struct config *, struct arena *);

/* status.c */
struct control_call;
void     server_status_asked(struct control_call *);
void     server_note_pace(struct server *);             /* each minute, and at the start */

/* memory.c */
uint64_t server_memory(void);                           /* bytes of our own, without mapped files; 0: not known */
void     server_watch_memory(struct server *);          /* from now on, freed memory goes back to the system */

/* A SIGBUS ends the process with a line that says what it means, and status 75. */
void bus_fault_watch(void);

#endif
