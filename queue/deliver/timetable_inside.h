/* SPDX-License-Identifier: ISC */
/*
 * What the files of the timetable share.  Everything here belongs to its
 * thread; what it lends comes home by its mailbox.
 *
 *   timetable.c     the thread: mailbox, clocks, start and stop, settings
 *   arrival.c       a message becomes parts
 *   messages.c      messages and their parts, in memory as light as can be
 *   known.c         messages by their id
 *   destinations.c  lines, windows, rest; connections
 *   providers.c     destinations whose hosts belong together share their pace
 *   leases.c        parts become leases, leases come home
 *   disk.c          batches for the Maildirs, and entries read again
 *   late.c          signatures that have run out are made anew
 *   settle.c        what became of a lease, group by group
 *   fates.c         fates to the committer and home again
 *   aside.c         marks of what is being tried; what is set aside
 *   letters.c       bounces and notices
 *   wishes.c        retry, hold, release, remove
 *
 * A part is the recipients of one message that share a destination:
 *
 *                 ┌────────────── put off ──────────────┐
 *                 ▼                                     │
 *   news ──▶ WAITING ──due──▶ IN_LINE ──served──▶ LEASED ──▶ SETTLING ──▶ gone
 *                 ▲              │  ▲
 *   HELD ─release─┘              ▼  │
 *                              LOADING   its message is read again
 */
#ifndef QUEUE_DELIVER_TIMETABLE_INSIDE_H
#define QUEUE_DELIVER_TIMETABLE_INSIDE_H

#include <pthread.h>
#include <stdatomic.h>

#include "queue/deliver/bounce.h"
#include "queue/deliver/client.h"
#include "queue/deliver/maildir.h"
#include "queue/deliver/tls_report.h"
#include "queue/due.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"
#include "smtpd/base/map.h"

struct destination;
struct message;
struct wish;

enum part_state { PART_NEW, PART_WAITING, PART_IN_LINE, PART_LOADING, PART_LEASED, PART_SETTLING, PART_HELD };

/* What happens to a part when its fates are committed. */
enum after { AFTER_DROP, AFTER_WAIT, AFTER_MOVE, AFTER_HOLD, AFTER_TRY };

struct part {                          /* 84 bytes with one recipient: there may be a million */
	struct due_item     due;       /* waiting: the next try or notice; in line: the deadline */
	struct message     *message;
	struct destination *to;
	struct part        *before, *behind;   /* in the line */
	struct part        *sibling;   /* of the same message */
	int64_t             next;      /* when to try again */
	struct wish        *wish;      /* wants to know when it is settled */
	uint32_t            n;
	unsigned char       state;     /* enum part_state */
	unsigned char       after;     /* enum after */
	bool                told : 1;  /* no (more) notice of a delay */
	bool                staged : 1;/* only the second step of a Maildir is left */
	bool                first : 1; /* of the first round after an unclean stop */
	bool                alone : 1; /* of those, the one that is out; its mark is on its way … */
	bool                marked : 1;/* … and written */
	bool                judged : 1;/* being read because its deadline passed */
	bool                read : 1;  /* its message was read for this try */
	bool                signed_now : 1;/* its message's signatures were seen to for this try */
	bool                again : 1; /* to be tried as soon as its fate is written: the operator wants it */
	uint32_t            rcpts[];   /* n, in the same piece of memory: indexes in the entry */
};

struct message {                       /* 72 bytes, of these too */
	uint64_t            id;
	int64_t             arrived;
	int64_t             since;     /* when it may first be tried: waiting counts from here */
	struct message     *older, *newer;
	struct queue_entry *entry;     /* NULL: to be read again when it is needed */
	struct part        *parts;
	uint32_t            open;      /* recipients that are not settled */
	uint32_t            lent;      /* jobs that read the entry, beside leases */
	unsigned char       lives;     /* that ended uncleanly while it was being tried */
	bool                from_null : 1, loading : 1, hold : 1, remove : 1, over : 1;
	bool                utf8_header : 1;
	bool                early : 1; /* tried before its time, or some of it was: its sender cannot stop it */
	bool                as_is : 1; /* the operator let it go: it is not held for want of a signature */
	bool                unsigned_told : 1; /* that it could not be signed anew was said */
	bool                aside : 1; /* held because it cannot be trusted: counted */
	bool                damaged : 1;   /* its row cannot be read: it can only be removed */
	bool                spoiled : 1;   /* its content cannot, and that was said */
	bool                breaks : 1;    /* its account's breaker holds it, once it is home */
};

struct channel {                       /* one client */
	struct client      *client;
	struct destination *to;
	struct channel     *next;      /* of the destination's */
	struct channel     *newer, *older;   /* among the idle of all */
	uint64_t            idle_since_ms;
	bool                idle, ending;
};

struct destination {
	struct due_item  due;          /* the end of its rest */
	str              key;          /* malloc'ed */
	bool             disk, nowhere;
	struct part     *first, *last; /* the line */
	size_t           parts;        /* that lead here */
	size_t           loading, busy;/* of the line's: being read; leases out */
	struct channel  *channels;
	size_t           nchannels;
	uint64_t         window;       /* leases at a time, grows and shrinks */
	bool             good;         /* something worked since the last failure */
	int64_t          not_before;   /* rests until; 0: does not */
	uint32_t         troubles;     /* in a row */
	char            *said;         /* why it rests */
	char            *clear_host;   /* TLS failed there … */
	int64_t          clear_until;  /* … so it is spoken to in the clear until then */
	struct provider *provider;     /* who runs its hosts; NULL: not known yet */
	struct destination *next_member, **member_at;      /* of the provider's */
	struct destination *next_blocked;
	bool             blocked;      /* waits for room at the provider */
	bool             ready;        /* in the ring */
	struct destination *next_ready;
};

struct settings {                      /* one generation's */
	const struct deliver_setup *setup;
	size_t             users;      /* leases, batches and bounces out */
	struct setup_swap *swap;       /* goes home when the last user is; NULL: it is the newest */
};

struct known { struct message **slots; size_t n, room; };      /* by id; zeroed: empty */

struct timetable {
	struct queue       *queue;
	struct loop *const *loops;
	size_t              nloops, next_loop;
	struct desk        *disk;
	void              (*take_letter)(struct baton *);
	struct mbox        *inbox;
	pthread_t           thread;
	bool                started, ended;
	struct client_house house;
	struct tls_report  *report;
	struct settings    *settings;

	struct known        messages;
	struct map          destinations, providers;
	struct resting      resting;
	struct message     *oldest, *newest;
	struct due          due, rests, errands;
	size_t              nparts;    /* there is room in `due` for so many */
	struct destination *ready, *ready_last;
	size_t              nready;
	struct channel     *idle_oldest, *idle_newest;
	struct destination *maildir;

	/* what is out */
	size_t              channels, busy, batches, loads, entries, fates, bounces, letters, kept_letters, first_out;
	bool                one_by_one;
	uint64_t            one_by_one_until_ms;
	bool                stopping, hurried;
	uint64_t            stop_at_ms;

	struct {
		_Atomic uint64_t messages, waiting, held, leased, deferred, delivered, bounced, oldest, aside;
	} figures;
};

#define MESSAGES_AT_A_TIME 256         /* batons between two looks at the clock */
#define DUE_AT_A_TIME      1024
#define LOADS_MOST         16
#define ENTRIES_MOST       2000       /* of messages that wait for their first try */
#define WINDOW_FIRST       4
#define REST_MOST_MS       ((uint64_t)30 * 60 * 1000)
#define CLEAR_S            3600        /* how long a failed handshake is remembered */
#define LETTERS_KEPT       1000        /* that could not be stored yet */
#define NEVER              INT64_MAX

/* ---- timetable.c */
struct settings *settings_use(struct timetable *);
void settings_let_go(struct timetable *, struct settings *);
static inline const struct relay_conf *relay(const struct timetable *t) { return t->settings->setup->relay; }

/* ---- arrival.c */
/* Takes the entry.  `first`: of the round after an unclean stop. */
void message_add(struct timetable *, struct queue_entry *, bool stored_before, bool first);

/* ---- known.c */
struct message *known_find(const struct known *, uint64_t id);  /* NULL: not there */
bool known_add(struct known *, struct message *);               /* false: its id is there already, or no memory */
void known_remove(struct known *, const struct message *);      /* harmless when it is not there */
void known_fini(struct known *);

/* ---- messages.c */
struct message *message_new(struct timetable *, struct queue_entry *);   /* NULL: known already, or no memory; the entry is the caller's */
void message_free(struct timetable *, struct message *);        /* its parts stand in no heap and no line */
void messages_note(struct timetable *);                         /* the figures of all of them */
void message_has(struct timetable *, struct message *, struct queue_entry *);   /* instead of the one before; NULL: none */
struct message *message_find(struct timetable *, uint64_t id);
void message_rest(struct timetable *, struct message *);        /* forgets the entry when nobody needs it */
void message_lend(struct message *);
void message_returned(struct timetable *, struct message *);
struct part *part_new(struct timetable *, struct message *, struct destination *, const uint32_t *rcpts, size_t n);
struct part *part_split(struct timetable *, struct part *, const uint32_t *rcpts, size_t n); /* these leave it, for a part of their own; all: itself; NULL: no memory */
void part_set(struct timetable *, struct part *, enum part_state);
void part_free(struct timetable *, struct part *);
void part_settled(struct timetable *, struct part *);           /* its recipients are; frees it, and perhaps the message */
void part_wait(struct timetable *, struct part *, int64_t next);
void part_enter_line(struct timetable *, struct part *, bool at_front);
void part_leave_line(struct timetable *, struct part *);
void part_due(struct timetable *, struct part *);
void part_judge(struct timetable *, struct part *);             /* with its entry: too old, or a notice is due */
void part_move(struct timetable *, struct part *, struct destination *);
void part_break(struct timetable *, struct part *);             /* held by its account's breaker; in no line */
bool part_wish_takes(struct timetable *, struct part *);        /* hold or remove was wished meanwhile */
void messages_free(struct timetable *);

/* ---- destinations.c */
struct destination *destination_get(struct timetable *, str key);   /* NULL: no memory */
void destination_ready(struct timetable *, struct destination *);
bool destination_rests(const struct destination *);
void destination_went_well(struct timetable *, struct destination *);
void destination_failed(struct timetable *, struct destination *, str said);
void destination_rest(struct timetable *, struct destination *, int64_t until, str said);    /* because its provider does */
void destination_wake(struct timetable *, struct destination *);    /* the rest is over */
void destination_maybe_free(struct timetable *, struct destination *);
void destinations_wake_all(struct timetable *);
void serve(struct timetable *);
struct channel *channel_for(struct timetable *, struct destination *);   /* idle or new; NULL: none now */
void channel_home(struct timetable *, struct channel *);
void channels_end_idle(struct timetable *, uint64_t idle_ms);
void channels_end_all(struct timetable *);
uint64_t channels_next_ms(const struct timetable *);
void client_came_home(struct client *);
void destinations_free(struct timetable *);

/* ---- providers.c */
bool provider_has_room(const struct timetable *, const struct destination *);
void provider_block(struct destination *);       /* until there is room */
void provider_pass(struct timetable *, struct destination *);        /* it has nothing to lend: another may */
void provider_lent(struct lease *, struct destination *);
void provider_returned(struct timetable *, struct destination *, struct lease *, bool worked);
void provider_leave(struct timetable *, struct destination *);
void provider_wake(struct timetable *, const struct destination *);   /* somebody goes ahead */

/* ---- leases.c */
/* NULL: the part has gone elsewhere, or there was no memory and it waits. */
struct lease *lease_make(struct timetable *, struct part *);
void lease_lend(struct timetable *, struct part *, struct channel *);
void lease_came_home(struct baton *);
/* Just the part's recipients, to be settled without going anywhere. */
struct lease *lease_blank(struct timetable *, struct part *);
void lease_free(struct timetable *, struct lease *);

/* ---- disk.c */
void serve_disk(struct timetable *);
void load(struct timetable *, struct part *);     /* the part comes back in line, at the front, with its entry */

/* ---- late.c */
/* Its message has an entry, and is to be signed anew before this try. */
bool late_is(const struct timetable *, const struct part *);
/* Disk desk; l->arena is set.  l->entry stays NULL when there was nothing to do. */
void late_sign(struct queue *, const struct deliver_setup *, const struct queue_entry *, struct late *);
bool late_came_home(struct message *, const struct late *);     /* true: it must not leave like that */
void late_hold(struct timetable *, struct part *, str why);     /* in no line and no heap */

/* ---- settle.c */
void lease_done(struct timetable *, struct part *, struct lease *);
void part_expire(struct timetable *, struct part *);

/* ---- fates.c */
struct queue_fates *fates_for(const struct part *);             /* room for all its recipients, none filled in */
/* Writes them down; `after` says where the part goes when that is done. */
void part_fates(struct timetable *, struct part *, struct queue_fates *, enum after);
void part_fate(struct timetable *, struct part *, enum fate, int64_t next, str said, enum after);   /* the same for all of it */
void part_put_off_unasked(struct timetable *, struct part *);   /* its destination rests: written down once */
void fates_fire(struct timetable *, struct queue_fates *);      /* nobody waits for them */

/* ---- aside.c */
/* After an unclean stop, the next to be tried: its mark goes ahead of it.  False:
 * it needs none (any more). */
bool part_marks(struct timetable *, struct part *);
bool part_must_wait(const struct timetable *, const struct part *);     /* another is out alone */
void part_alone_ends(struct timetable *, struct part *);
/* From the store, before it has parts: what was being tried in too many lives is
 * held, and told of. */
void message_judge(struct timetable *, struct message *);
void message_set_aside(struct timetable *, struct message *, bool aside);
/* A line of the log: it was found damaged; `to` may be empty. */
void message_is_damaged(struct timetable *, struct message *, const char *what, str to);
/* … its content, which all its parts meet: one line until it is released. */
void message_content_is_damaged(struct timetable *, struct message *);

/* ---- letters.c */
/* Takes the letter, which speaks of message `about`. */
void letter_fire(struct timetable *, struct letter *, uint64_t about);
/* A bounce of the part's recipients: they are settled when it is stored. */
void part_bounce(struct timetable *, struct part *, struct bounce *);
/* Tells of what was delivered, then settles it by `then`. */
void part_tell(struct timetable *, struct part *, struct bounce *, struct queue_fates *then);
void part_notice(struct timetable *, struct part *);            /* of a delay; the part goes on */
void errand_due(struct timetable *, struct due_item *);
void errands_free(struct timetable *);

/* ---- wishes.c */
void wish_step_done(struct timetable *, struct wish *);

/* The timetable whose thread this is: batons that come home find it here. */
extern _Thread_local struct timetable *timetable_here;

#endif
