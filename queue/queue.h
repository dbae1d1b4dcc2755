/* SPDX-License-Identifier: ISC */
/*
 * queue: the strong room.
 *
 * A message is in one of three places:
 *
 *   building   in memory (and, when large, an unnamed file), owned by the loop
 *              that reads it; a crash forgets it, and the client, never having
 *              heard 250, sends it again
 *   stored     safe on the disk: in the store or, for some milliseconds when much
 *              comes at once, in its journal; 250 was sent after this and not before
 *   gone       its last recipient was settled and its rows were deleted
 *
 * A stored message's recipients are each in one of these states, committed:
 *
 *   waiting    to be tried at `next` (tries so far, last answer beside it)
 *   staged     its file is complete and synced in a Maildir's tmp/
 *   held       waits for the operator (or the circuit breaker's release)
 *   settled    delivered, bounced or removed: never tried again
 *
 * What cannot be trusted is set aside, alone: a row whose checksum fails, or a
 * message that was being tried in two lives that ended uncleanly, the second by
 * a fault of the server's own (in eight, when nobody knows why they ended: the
 * power may have gone).  It is never tried by itself, is named in the log and in
 * `queue list`, and the operator may export, release or remove it.
 *
 * What each step guarantees
 *
 *   submit → done(OK)    message row, body rows (or the body's file, its own
 *                        and its directory's fsync done) are in one transaction
 *                        of the store or one block of the journal, synced: it
 *                        survives loss of power
 *   submit → done(else)  nothing of it will ever be delivered
 *   lease                memory only.  After a crash what was leased is due at
 *                        once; everything else keeps its time
 *   fates                committed before the timetable hears of them; a fate
 *                        whose commit fails is kept and tried again, and its
 *                        recipient stays leased: nothing is sent twice in one life
 *   staged → settled     the two steps of a Maildir: exactly once, ARCHITECTURE.md
 *   bounce               the commit that stores a bounce also settles the
 *                        recipient it speaks of: never both, never neither
 *   trying               after an unclean stop, before each first delivery: the
 *                        mark is synced before anything is tried, and goes with
 *                        the message's next fate
 *   gone                 when the last recipient settles, the rows go and the
 *                        record of how it ended comes in that same transaction;
 *                        a body's file goes after it
 *
 * EIO from a sync ends the process with status 75: what is on the disk is then
 * in doubt, and the next start sees what really is there.  Who was to hear of it
 * hears nothing.
 *
 * Threads: puts belong to their loop until submitted; fates and leases to the
 * timetable and whom it lends them; the committer and its writer alone write; reading for
 * delivery happens on the disk desk (queue_load, queue_read).
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include "smtpd/base/arena.h"
#include "smtpd/base/desk.h"
#include "smtpd/base/err.h"
#include "smtpd/base/mbox.h"
#include "smtpd/mail/addr.h"

#define QUEUE_ROWS_MAX   ((size_t)256 << 10)  /* larger contents are a file beside the store */
#define QUEUE_ID_TEXT    16                   /* room for the text of an id */

struct queue;
struct log;

struct queue_conf {
	str      state;               /* directory; queue/ below it is ours (0700) */
	uint64_t map_bytes;           /* 4 GiB */
	uint64_t full_percent;        /* 90: of the map, for new mail */
	uint64_t free_disk_percent;   /* 5: of the file system, for new mail */
	uint64_t keep_finished_ms;    /* 7 days: how long the record of a finished message stays; 0: none */
};

/* Opens or makes the store; one server a directory (a lock file says who).
 * Main thread, before any other.  NULL with a sentence. */
struct queue *queue_open(const struct queue_conf *, struct arena *, str *why);
enum err      queue_start(struct queue *, struct desk *disk);   /* starts the committer and its writer */
void          queue_stop(struct queue *);                       /* everything committed, the committer ended */
void          queue_close(struct queue *);
/* The last server on this store ended without queue_stop. */
bool          queue_was_unclean(const struct queue *);
bool          queue_fell(const struct queue *);                 /* … by a fault of its own, as far as is known */
uint64_t      queue_random(const struct queue *);               /* drawn when the store was made; in Maildir names */

/* May new mail come in?  OK, or ERR_FULL (map or disk).  Cheap; any thread. */
enum err queue_room(const struct queue *, uint64_t bytes);

/* Ids: 64 bits, rising, unique for ever in one store; shown as 11 characters of
 * base 32 in lower case without vowels. */
uint64_t queue_new_id(struct queue *);                          /* any thread */
str      queue_id_text(uint64_t id, char out[static QUEUE_ID_TEXT]);
bool     queue_id_parse(str text, uint64_t *id);

/* ---- contents: what the wire brought, kept fields and body --------------- */

/* Where a message's bytes gather: memory up to QUEUE_ROWS_MAX, then an unnamed
 * file in the state directory, written on the disk desk in pieces of 128 KiB.
 * Loop thread. */
struct spool;
struct spool *spool_new(struct queue *, struct mbox *home);
/* Copies.  false: a piece is on its way to the disk; stop reading until `ready`
 * (set by spool_on_ready) fires on home's thread, once for each false.  Errors
 * latch. */
bool     spool_add(struct spool *, str);
void     spool_on_ready(struct spool *, void (*ready)(void *arg), void *arg);
enum err spool_error(const struct spool *);       /* ERR_FULL, ERR_IO, ERR_MEMORY or OK */
uint64_t spool_bytes(const struct spool *);
size_t   spool_memory(const struct spool *);      /* bytes of memory it holds now */
void     spool_drop(struct spool *);              /* at any time before it was taken over; frees itself when its writes are home */

/* ---- the put --------------------------------------------------------------- */

enum rcpt_flag {
	RCPT_NOTIFY_NEVER = 1, RCPT_NOTIFY_SUCCESS = 2, RCPT_NOTIFY_FAILURE = 4, RCPT_NOTIFY_DELAY = 8,  /* RFC 3461; none: failure and delay */
	RCPT_QUARANTINE   = 16,   /* to Junk */
	RCPT_ROUTE        = 32,   /* submitted here: the local domain's `route` applies */
	RCPT_LOCAL        = 64,   /* our domain */
	RCPT_OWN_SENDER   = 128,  /* its own->sender stands in MAIL and Return-Path; who hears of a failure is the message's */
	RCPT_OWN_HEAD     = 256,  /* its own->head goes in front of all fields */
	RCPT_COPY         = 512,  /* for an archive: never given up, held instead */
	RCPT_LOOPS        = 1024, /* it has been there before: goes back (5.4.6) */
	RCPT_DOOMED       = 2048, /* would be refused as forwarded: goes back (5.7.26) … */
	RCPT_DOOMED_HELD  = 4096, /* … or waits, held, until the operator releases it */
	RCPT_EXPANDED     = 8192, /* an alias of several: nothing to deliver, its sender wants to hear (RFC 3461 5.2.7.3) */
};

enum message_flag {
	MESSAGE_SMTPUTF8 = 1, MESSAGE_8BIT = 2, MESSAGE_RET_FULL = 4, MESSAGE_RET_HDRS = 8,
	MESSAGE_LOGIN = 16,       /* submitted with a login */
	MESSAGE_OWN = 32,         /* bounce, notice, report: written by postern */
	MESSAGE_HELD = 64,        /* recipients start held */
	MESSAGE_REQUIRETLS = 128, /* RFC 8689: verified TLS all the way, or back */
	MESSAGE_TLS_OPTIONAL = 256, /* TLS-Required: No (RFC 8689 5): no policy stops it */
	MESSAGE_BREAKER = 512,    /* held by the account's circuit breaker; with MESSAGE_HELD */
	MESSAGE_RESTORED = 1024,  /* came back from a backup; with MESSAGE_HELD */
	MESSAGE_FORGED = 4096,    /* its sender is most likely not who it says: see relay_conf.notify_forged */
	MESSAGE_FUTURE = 16384,   /* its not_before was asked for by the client (RFC 4865) */
	MESSAGE_LAST = 2048,      /* the postmaster's: nobody is told when it fails, so that no bounce goes on for ever */
	MESSAGE_UNSIGNED = 8192,  /* no DKIM key of its author's domain was out; with MESSAGE_HELD it waits for one */
};

/* Of a message that we signed: what is needed to do it again when it leaves later
 * than its signatures hold. */
#define QUEUE_HASHES 2
struct queue_signing {
	int64_t  until;            /* seconds; when they run out; 0: not ours, or for ever */
	str      author;           /* the domain in From */
	str      hashes[QUEUE_HASHES]; /* SHA-256 of the body, by enum canon (simple, relaxed); empty: not made */
};

struct queue_put;
typedef void queue_done(struct queue_put *, enum err, void *arg);

/* Builds one message.  The put takes memory from `a` and answers to `home`.
 * The first failure sticks and the later calls do nothing: check once, in
 * done.  Everything is copied but the spool. */
struct queue_put *queue_put_new(struct queue *, struct arena *a, struct mbox *home, uint64_t id);
void queue_put_from(struct queue_put *, const struct path *sender, unsigned message_flags, str envid, str login);
void queue_put_rcpt(struct queue_put *, const struct path *rcpt, unsigned rcpt_flags, str orcpt);
/* Of the recipient that was put last: with RCPT_OWN_SENDER, RCPT_OWN_HEAD. */
void queue_put_own(struct queue_put *, str sender, str head);
void queue_put_not_before(struct queue_put *, int64_t);   /* seconds: no try before (grace time, RFC 4865); 0: at once */
void queue_put_signing(struct queue_put *, const struct queue_signing *);
void queue_put_field(struct queue_put *, str field);       /* prepended in front of all before it; with CRLF */
void queue_put_header_bytes(struct queue_put *, uint64_t); /* of the spool's front are header, empty line included */
void queue_put_body(struct queue_put *, struct spool *);   /* takes the spool over */
/* This put is a bounce: its commit settles these recipients of message `id`. */
void queue_put_settles(struct queue_put *, uint64_t id, const uint32_t *rcpts, size_t n);

/* … and what they heard, `n` of each as above: the last answer and who gave it. */
void queue_put_settles_said(struct queue_put *, const str *said, const str *host);

/* Lends the put to the committer.  Until done() runs on home's thread nobody
 * else may touch it or its arena.  done() gets OK only after the bytes are on
 * disk; else ERR_FULL (no room), ERR_IO, ERR_MEMORY: nothing is stored. */
void     queue_put_submit(struct queue_put *, queue_done *done, void *arg);
void     queue_put_drop(struct queue_put *);               /* only before submit */
uint64_t queue_put_id(const struct queue_put *);

/* ---- the way out (timetable and those it lends to) -------------------------- */

enum rcpt_state { RCPT_WAITING, RCPT_STAGED, RCPT_HELD, RCPT_SETTLED };

/* One try of one recipient, as its row remembers it. */
#define QUEUE_ATTEMPTS 12          /* the first two and the latest of one recipient */
struct queue_attempt {
	int64_t at;                /* seconds */
	str     host;              /* who answered: "mx.example.org[192.0.2.1]"; empty: nobody, or we */
	str     said;              /* the answer, or our sentence */
};

/* What only some recipients have. */
struct queue_own {
	str      sender;           /* path text; "" for <> */
	str      head;             /* fields, each with CRLF */
};

struct queue_rcpt {
	str      address;          /* path text */
	str      orcpt;
	unsigned flags;            /* enum rcpt_flag */
	const struct queue_own *own; /* NULL: neither */
	enum rcpt_state state;
	uint32_t tries;
	int64_t  next;             /* seconds; when to try again */
	int64_t  changed;          /* when the last fate was written */
	str      said;             /* last answer */
	bool     delay_told;       /* a delay notice went out */
	str      place;            /* staged: the Maildir file's path without tmp/ or new/ ("DIR\nNAME") */
	int64_t  staged_at;
	struct queue_attempt *attempts;      /* oldest first */
	size_t   nattempts;
	unsigned char outcome;     /* enum fate, once settled: delivered, bounced, removed */
	bool     damaged;          /* its row cannot be read: held, and nobody knows what became of it */
};

#define QUEUE_LIVES         2   /* before it is set aside, when the last one ended by a fault … */
#define QUEUE_LIVES_UNKNOWN 8   /* … and when it is not known why */
struct queue_entry {               /* one stored message, in an arena of its own */
	struct arena       arena;
	uint64_t           id;
	int64_t            arrived;    /* seconds */
	int64_t            not_before; /* seconds; 0: was due at once */
	struct queue_signing signing;
	unsigned           lives;      /* that ended uncleanly while it was being tried */
	bool               aside;      /* it was set aside for that */
	const char        *damage;     /* static: what of it cannot be read ("its row", "its content"); NULL: whole.
	                                  A damaged row leaves id only. */
	str                sender;     /* path text; "" for <> */
	str                login, envid;
	unsigned           flags;      /* enum message_flag */
	str                head;       /* the prepended fields, in order */
	str                fresh_head; /* the timetable's: the same with newer signatures, made on the way out; p == NULL: none */
	uint64_t           header_bytes, bytes;   /* of the content: its header; all of it */
	bool               in_file;    /* content is a file, not rows */
	struct queue_rcpt *rcpts;
	size_t             nrcpts;
	str                content;    /* whole, while it is still in memory; else p == NULL */
	char              *content_memory; /* malloc'ed, or NULL */
};
void queue_entry_free(struct queue_entry *);
/* It is held until a DKIM key of its author's domain is out: since it came, or,
 * its signatures having run out, since it was to leave. */
#define QUEUE_WAITS_FOR_KEY "Not signed, so it is held: "   /* the latter's `said` begins so */
bool queue_rcpt_waits_for_key(const struct queue_entry *, const struct queue_rcpt *);
/* It is held by its account's circuit breaker: since it came, or, having waited
 * when that tripped, since then. */
#define QUEUE_HELD_BY_BREAKER "Held with all mail of its account"   /* the latter's `said` begins so */
bool queue_rcpt_is_breakers(const struct queue_entry *, const struct queue_rcpt *);
void queue_entry_forget_content(struct queue_entry *);     /* frees the memory copy; rows or file remain */

/* News: each committed message, sent to `box` with the entry (content still in
 * memory when it is small), whose owner the receiver becomes.  Set before start. */
struct queue_news { struct baton baton; struct queue_entry *entry; };
void queue_watch(struct queue *, struct mbox *box, void (*arrived)(struct baton *));
/* Entries that went out as news hold more than they may in all (16 MiB): who can
 * read one again lets it go.  Any thread. */
bool queue_keeps_much(const struct queue *);

/* Before threads: every stored message without content, oldest first; damaged
 * ones too. */
enum err queue_walk(struct queue *, void (*seen)(void *arg, struct queue_entry *), void *arg);
/* The same beside threads, from the message behind number `after` on (0: the
 * first), until `seen` returns false. */
enum err queue_walk_some(struct queue *, uint64_t after, bool (*seen)(void *arg, struct queue_entry *), void *arg);

/* Fates: from the timetable (or a verb's wish) to the committer and home again. */
enum fate {
	FATE_NONE,                 /* of what has none yet; never written */
	FATE_STAGED, FATE_DELIVERED, FATE_DEFERRED, FATE_BOUNCED, FATE_REMOVED, FATE_HELD, FATE_RELEASED, FATE_DELAY_TOLD,
	FATE_TRYING,               /* the message's mark, see above: `tries` says how many lives it stands for, `rcpt` does not count */
};

struct queue_fate {
	uint32_t  rcpt;            /* index in the entry */
	enum fate fate;
	int64_t   next;            /* deferred, released: when to try (released: not before the message's not_before) */
	uint32_t  tries;           /* so far; a deferral that does not raise it was none (its destination rests);
	                              trying, held: the lives for which it is marked, set aside (held otherwise: 0) */
	str       said;            /* cut at 1,000 bytes */
	str       host;            /* who said it; may be empty */
	str       place;           /* staged */
};
struct queue_fates {               /* malloc'ed by the sender; its strings live in arena */
	struct baton       baton;  /* home and arrived set by the sender */
	struct arena       arena;
	uint64_t           id;
	struct queue_fate *v;
	size_t             n;
	enum err           result; /* when home: OK, or ERR_ABSENT (no such message or recipient any more) */
	bool               gone;   /* the message's last recipient has settled: its rows are deleted */
	bool               is_note;/* the queue's own: it carries a note */
	void              *user;
};
struct queue_fates *queue_fates_new(size_t n);
void queue_fates_free(struct queue_fates *);
void queue_settle(struct queue *, struct queue_fates *);

/* On the disk desk (blocking, own read transaction inside the call): */
enum err queue_load(struct queue *, uint64_t id, struct queue_entry **out);          /* without content */
/* Copies n content bytes from offset; *got < n only at the end. */
enum err queue_read(struct queue *, uint64_t id, bool in_file, uint64_t offset, char *out, size_t n, size_t *got);
/* The same for a content in a file that is read as a whole: opened once, *fd is the
 * caller's to close.  A piece that is not all there is ERR_BAD. */
enum err queue_body_open(struct queue *, uint64_t id, int *fd);
enum err queue_body_read(int fd, uint64_t offset, char *out, size_t n);

/* ---- what became of it --------------------------------------------------------- */

/* The record of a finished message: an entry whose recipients are all settled,
 * without content.  ERR_ABSENT: unknown, or longer ago than records are kept.
 * Disk or slow desk, or a verb. */
enum err queue_finished(struct queue *, uint64_t id, struct queue_entry **out, int64_t *at);

/* ---- notes: small things others keep here --------------------------------------- */

/* A note is a key ("sts:example.org", at most 200 octets) and a value (at most
 * 64 KiB), replaced as a whole, written by the committer like anything else. */
struct queue_note {                    /* malloc'ed by the sender; strings live in arena */
	struct baton baton;            /* home, arrived: the sender's */
	struct arena arena;
	str          key, value;       /* value.p == NULL: the note is removed */
	enum err     result;           /* when home: OK means synced; ERR_BAD: too long */
	void        *user;
	struct queue_fates carrier;    /* the queue's own */
};
struct queue_note *queue_note_new(void);
void     queue_note_free(struct queue_note *);
void     queue_note_put(struct queue *, struct queue_note *);
/* Blocking (a desk, a verb, or before threads).  False: there is none. */
bool     queue_note_get(struct queue *, str key, struct arena *, str *value);
void     queue_notes_each(struct queue *, str prefix, bool (*seen)(void *, str key, str value), void *arg);

/* Figures for status; any thread. */
struct queue_figures { uint64_t messages, commits, puts, fates, map_used, map_size, batch_longest; };
void queue_figures(struct queue *, struct queue_figures *);

#endif
