/* SPDX-License-Identifier: ISC */
/*
 * What the files of the session share among themselves; nobody else's.
 *
 *   front ─ listener      a loop's doors and the sessions behind them
 *     session ─ line      one connection: bytes to lines, replies, waiting, the end
 *       command ─ cmd_*   what may be said when, and what it does (params reads arguments)
 *         admit           the relay rule
 *         txn ─ intake    one message: envelope, then its bytes on their way to the spool
 *           accept        verdict, fields, queue, answer
 *     inject              our own mail: a txn without a session
 *
 * A txn knows no session: it tells its owner by `ready` and `finished`.  A
 * session lends out one thing only, the put of a stored message; everything
 * else that waits (chain, auth, spool) can be called back at any moment.  When
 * a connection ends while its put is out it becomes a ghost, which the
 * put's home-coming frees.  All of this is loop thread only.
 */
#ifndef SESSION_INTERNAL_H
#define SESSION_INTERNAL_H

#include "modules/authn.h"
#include "queue/letter.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/log.h"
#include "smtpd/base/stat.h"
#include "smtpd/mail/cancel.h"
#include "smtpd/mail/dot.h"
#include "smtpd/mail/faults.h"
#include "smtpd/mail/reply.h"
#include "smtpd/mail/srs.h"
#include "smtpd/session/session.h"

/* ---- counters.c ------------------------------------------------------------ */

enum counter {
	CONNECTIONS, CONNECTIONS_REFUSED, CONNECTIONS_SHED, TLS_STARTED, TLS_FAILED,
	LOGINS, LOGINS_REFUSED, COMMANDS_REFUSED, RCPTS_REFUSED, RELAY_REFUSED,
	MESSAGES_STORED, MESSAGES_REFUSED, MESSAGES_DEFERRED, MESSAGES_QUARANTINED, MESSAGES_WOULD_REFUSE,
	BYTES_STORED, LETTERS_STORED, LETTERS_FAILED, TIMEOUTS, COUNTERS
};
void count(enum counter);
void count_n(enum counter, uint64_t n);

/* ---- limits.c: what all loops count together ------------------------------- */

enum limit { LIMIT_NONE, LIMIT_CONNECTIONS, LIMIT_ADDRESS, LIMIT_NETWORK };

struct limits_place {                /* what one connection takes up */
	bool     taken, submission, by_address, by_network;
	uint64_t address, network;   /* hashes */
};
void       limits_setup(void);       /* before threads */
/* LIMIT_NONE: the place is taken and limits_leave gives it back. */
enum limit limits_enter(const struct limits_conf *, const struct listener_conf *,
                        const struct sockaddr *, struct limits_place *);
enum limit limits_enter_user(const struct limits_conf *, uint32_t uid, struct limits_place *);
void       limits_leave(struct limits_place *);
uint64_t   limits_connections(void);
/* Memory of messages being received. */
bool       limits_take_memory(const struct limits_conf *, uint64_t n);
void       limits_take_memory_anyway(uint64_t n);
void       limits_give_memory(uint64_t n);
uint64_t   limits_memory(void);

/* ---- line.c ---------------------------------------------------------------- */

#define LINE_MAX_COMMAND 512         /* RFC 5321 4.5.3.1.4, CRLF included */
#define LINE_MAX_ANY     12288       /* RFC 4954 4: an AUTH line */

enum line_says { LINE_MORE, LINE_GOOD, LINE_LONG, LINE_FAULTY };
struct line { bool skipping; };
/* Takes one line off the front of *in; `out` is without CRLF.  LINE_LONG and
 * LINE_FAULTY (NUL, bare CR or LF) have used up the line that they speak of. */
enum line_says line_take(struct line *, str *in, str *out);

/* ---- admit.c: the relay rule ------------------------------------------------ */

enum admit { ADMIT_LOCAL, ADMIT_ANYWHERE, ADMIT_UNKNOWN_USER, ADMIT_NO_RELAY, ADMIT_RETURN, ADMIT_NO_RETURN };
enum admit admit_rcpt(const struct directory *, struct arena *, bool logged_in,
                      const struct path *to, struct directory_answer *);
struct txn;
/* Before admit_rcpt: `to` is a sender that forwarding has rewritten: ADMIT_RETURN,
 * to *origin; or pretends to be: ADMIT_NO_RETURN; else ADMIT_LOCAL, ask admit_rcpt. */
enum admit admit_return(struct txn *, const struct path *to, struct path *origin);

/* ---- txn.c, intake.c, accept.c: one message --------------------------------- */

struct answer {                      /* what the client (or letter) hears at the end */
	int         code;            /* 250: stored */
	const char *esc;
	str         text;
	const char *module;          /* that objected; NULL: the session itself */
	const char *reason;          /* one word for the log: "size", "header", … */
};

struct rcpt {
	unsigned           flags;    /* enum rcpt_flag: NOTIFY and where it goes */
	str                orcpt;
	const struct path *finals;   /* where it goes: itself, or what an alias stands for */
	size_t             nfinals;
};

struct final {                       /* one recipient, as the queue gets it */
	const struct path *path;
	unsigned           flags;
	str                orcpt;
	str                sender;   /* RCPT_OWN_SENDER */
	str                head;     /* fields for it alone */
	bool               copied;   /* they hold an archive's */
};

struct txn {
	const struct session_setup *setup;
	struct loop       *loop;
	struct chain_conn *chain;
	const struct peer *peer;
	struct arena       arena;
	struct message     in;
	struct log         log;
	uint64_t           id;
	char               id_text[QUEUE_ID_TEXT];

	/* envelope */
	unsigned           flags;    /* enum message_flag */
	str                envid;
	int64_t            release;  /* seconds: asked for by HOLDFOR, HOLDUNTIL; 0: it was not */
	uint64_t           cancels;  /* the message that this one stops; 0: none */
	const struct path *reflector;/* named beside those that get it: its answer is a report; NULL: none */
	struct path       *paths;    /* in.rcpts */
	struct rcpt       *rcpts;    /* beside them */
	size_t             room, tried;
	uint64_t           declared; /* SIZE=, 0: none */
	uint64_t           reserved; /* bytes of the process' message memory */
	const struct letter *letter; /* of our own mail: whom its commit settles */

	/* intake */
	struct dot         dot;
	struct splitter    split;
	struct read_on     read_on;  /* behind a header without its empty line */
	struct spool      *spool;
	size_t             walked;   /* fields that the chain has seen */
	uint64_t           bytes, header_bytes;
	unsigned char      high;     /* all bytes or'ed: is there an 8-bit one? */
	struct {                     /* of a login's body: is what is 8-bit UTF-8? */
		unsigned char left, least, most;
		bool          seen, bad;
	} utf8;
	struct body_look   look;     /* for a reflector */
	char              *whole;    /* the same: the body, while it is small */
	bool               begun, blocked, ended;
	struct answer      refusal;  /* code != 0: the rest is read and forgotten */

	/* accept */
	str                given[5]; /* Date, Message-ID, MIME fields of a login's message that had none */
	size_t             ngiven;
	struct added       added;
	struct final     **finals;   /* those that the queue gets */
	size_t             nfinals;
	bool               quarantine;
	bool               forged;   /* the sender failed SPF, and nothing else speaks for it */
	const char        *quarantined_by;
	str                quarantined_why;
	bool               held;     /* for its account's allowance */
	struct cancel      cancel;
	struct letter     *report;   /* the reflector's, until it is sent */
	void             (*then)(struct txn *);      /* when it is home */
	bool               cancelled;/* what it stops is stopped */
	bool               lent;     /* the put is with the committer, or the cancel is out */
	void             (*ready)(struct txn *);     /* intake may go on */
	void             (*finished)(struct txn *, const struct answer *);
	void              *owner;
};

struct txn *txn_new(const struct session_setup *, struct loop *, struct chain_conn *,
                    const struct peer *, enum origin, void *owner);
void        txn_free(struct txn *);          /* not while it is lent */
bool        txn_add_rcpt(struct txn *, const struct path *, const struct rcpt *);
/* Where mail for `to` goes (alias, catch-all, postmaster); false: nowhere or no memory. */
bool        txn_resolve(struct txn *, const struct path *to, const struct directory_answer *,
                        struct rcpt *);
unsigned    txn_place_flags(const struct txn *, const struct path *);
bool        txn_is_local(const struct txn *, const struct path *);
/* Reserves memory for what is coming; false: none left. */
bool        txn_reserve(struct txn *, uint64_t bytes);
bool        txn_reserve_more(struct txn *);  /* up to what the arena holds now */
void        txn_reserve_anyway(struct txn *);

bool intake_begin(struct txn *);
/* One piece of message text.  False: no more until ready(). */
bool intake_feed(struct txn *, str piece);
void intake_end(struct txn *);               /* every byte was seen */
void intake_drop(struct txn *);
void txn_refuse(struct txn *, int code, const char *esc, const char *reason,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

/* A login's header, complete: its rights, and the fields that are missing. */
void submission_check(struct txn *);
void submission_body(struct txn *, str piece);
void submission_end(struct txn *);           /* every byte was seen */

/* Those that the queue gets: aliases followed, duplicates merged, copies added.
 * Sets finals; false: no memory. */
bool recipients_gather(struct txn *);

struct session;

/* ---- allowance.c: what an account may do -------------------------------------------- */

/* Its own address, or one that send-as grants. */
bool may_send_as(const struct session_setup *, struct arena *, str login, const struct path *as);
bool login_stands(const struct session *);   /* not revoked (nor its certificate), not locked */
/* Counts a login's message, complete; true: it has to be held. */
bool allowance_is_spent(struct txn *);

struct grace_conf grace_of(const struct session_setup *, str login);

/* ---- grace.c: mail that waits, and what stops it ---------------------------------------- */

enum cancel_reads grace_reads(struct txn *, bool by_device, const struct path *to, uint64_t *id);   /* at RCPT */
/* Before the queue hook: when the message may leave, to in.not_before and flags. */
void grace_begin(struct txn *);
/* Stops t->cancels; then() when that is known: done, or refused. */
void grace_cancel(struct txn *, void (*then)(struct txn *));
/* It is stored and waits: its sender is told, if that is wanted. */
void grace_tell(struct txn *);
/* "2026-11-22T05:10:00+00:00" */
str  grace_when(struct arena *, int64_t at);

/* ---- reflector.c, reflect_limit.c: an address that answers with a report ---------------- */

bool        reflector_is(const struct txn *, const struct path *to);
/* NULL, or why such a sender is not answered, as far as the envelope tells. */
const char *reflector_refuses_sender(const struct txn *);
void        reflector_body(struct txn *, str piece);
/* When the message is judged: to t->report; false: there is none, and why. */
bool        reflector_write(struct txn *, const struct verdict *, struct answer *why);
/* t->report to the queue: then() when it is stored, or refused; or nobody waits for it. */
void        reflector_send(struct txn *, void (*then)(struct txn *));
void        reflector_tell(struct txn *);

enum reflect_limit { REFLECT_FINE, REFLECT_SENDER, REFLECT_NETWORK };
void               reflect_limit_setup(void);             /* before threads */
/* Counts one report of this day; `sender` in small letters. */
enum reflect_limit reflect_limit_take(const struct limits_conf *, const struct sockaddr *client, str sender, int64_t now);

/* ---- device.c: who needs no login ------------------------------------------------------ */
const struct device_conf *device_of(const struct session_setup *, const struct sockaddr *);   /* NULL: none */
bool device_sends_out(const struct device_conf *);   /* not to people here alone */
bool device_is_open(const struct device_conf *);     /* sends out from networks too wide for that */

/* ---- drop.c: users of this machine ------------------------------------------------------ */
/* The session is that user's; false: no memory. */
bool drop_user_known(struct session *, str name);
/* may_send_as, and what a user of this machine may beside. */
bool peer_may_send_as(const struct session_setup *, struct arena *, const struct peer *, const struct path *as);
/* path_parse; in such a session a name without a domain is taken, too: its section's
 * address, or it at home.  So is one at home that nobody has but a section names. */
bool drop_path_parse(const struct session *, struct arena *, str in, struct path *, str *rest, const char **why);

/* ---- tls_required.c ------------------------------------------------------------ */

/* enum message_flag with what the header says about TLS. */
unsigned tls_required_flags(const struct fields *, unsigned flags);

/* ---- forward.c ---------------------------------------------------------------- */

/* Whom a bounce to a rewritten sender is for; SRS_NOT: it is no such address. */
enum srs_says forward_return(struct txn *, const struct path *to, struct path *out);
bool rcpt_is_resolved(const struct rcpt *, const struct path *via);   /* it stands for others */
/* What `f`, one of those behind `via`, needs to leave us again, or must not. */
void forward_prepare(struct txn *, const struct rcpt *, const struct path *via, struct final *f);
void forward_refuse(struct txn *);           /* when all of it would come back */
void accept_message(struct txn *);           /* after intake_end; finished() may fire inside */

/* ---- session.c --------------------------------------------------------------- */

enum phase { GREETED = 1 << 0, READY = 1 << 1, MAIL = 1 << 2, RCPT = 1 << 3, CHUNKS = 1 << 4 };
#define ANY (GREETED | READY | MAIL | RCPT | CHUNKS)

/* What a handler tells the session: go on, stop parsing until session_next, or
 * say no more and close. */
enum step { STEP_DONE, STEP_WAIT, STEP_CLOSE };

struct session {
	struct session              *next, **at;    /* in its front's list */
	struct front                *front;
	struct era                  *era;
	const struct session_setup  *setup;         /* of its era */
	const struct listener_conf  *listener;
	struct conn                 *conn;          /* NULL: a ghost */
	struct chain_conn           *chain;
	struct arena                 arena;         /* dies with the connection */
	struct peer                  peer;          /* its texts live in the arena; ip has a NUL behind it */
	struct log                   log;
	struct limits_place          place;
	struct loop_call             closer;
	struct txn                  *txn;
	struct auth_try             *auth;
	struct auth_login            login;         /* what peer.login stands on */
	const struct device_conf    *device;        /* whose address it has; peer.login is its */
	void                       (*take)(struct session *, str *in);   /* what comes next */
	const char                  *doing;         /* the command now at work, for the log */
	const char                  *why;           /* of its end */
	uint64_t                     opened_ms, useful_ms;     /* when something last came that leads to a message */
	uint64_t                     chunk_left;    /* BDAT: octets to come */
	uint64_t                     crawl_ms, crawl_bytes;
	uint32_t                     errors, idle_commands, bad_rcpts;
	uint32_t                     messages, taken; /* begun, and stored with a 250 */
	enum phase                   phase;
	struct line                  line;
	bool                         greeted, waiting, closing, politely, ghost;
	bool                         ehlo_coming;   /* what cmd_helo waits for is an EHLO */
	bool                         more;          /* bytes stand behind the command at work */
	bool                         ahead;         /* they did, and must not (RFC 2920) */
	bool                         chunk_last, good_rcpt;
	uint16_t                     helo_room;     /* octets where peer.helo stands */
	char                         id[24];
	char                        *helo;          /* there */
};

void session_open(struct front *, const struct listener_conf *, int fd, const struct sockaddr *,
                  struct limits_place *);
void session_open_user(struct front *, const struct listener_conf *, int fd, const struct sockaddr *,
                       struct limits_place *, str local_user);
void session_take_lines(struct session *, str *in);
void session_await(struct session *, uint64_t in_ms);   /* for the client's next bytes */
void session_wait(struct session *);                    /* nothing is read until session_next */
void session_next(struct session *);
void session_go(struct session *, enum step);           /* ends a wait as the handler would have */
void session_close(struct session *, const char *why, bool politely);   /* at the next turn */
enum step session_revoked(struct session *);            /* its login stands no more: 421 */
void session_lay_down(struct session *);                /* SIGTERM: 421, unless in flight */
void session_forget_message(struct session *);          /* back to READY (or GREETED) */
void session_forget_hello(struct session *);            /* after STARTTLS: RFC 3207 4.2 */
bool session_in_flight(const struct session *);         /* a message is coming or being stored */

/* Replies.  tell only says it; refuse also logs it and counts it as an error of
 * the client's; refuse_kindly logs it; farewell logs it and closes. */
enum step tell(struct session *, int code, const char *esc, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
enum step refuse(struct session *, int code, const char *esc, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
enum step refuse_kindly(struct session *, int code, const char *esc, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
enum step farewell(struct session *, int code, const char *esc, const char *format, ...)
        __attribute__((format(printf, 4, 5)));
enum step refuse_by_verdict(struct session *, const struct verdict *);

/* ---- command.c, cmd_*.c -------------------------------------------------------- */

enum step command_run(struct session *, str line);

enum step cmd_ehlo(struct session *, str args);
enum step cmd_helo(struct session *, str args);
enum step cmd_starttls(struct session *, str args);
enum step cmd_auth(struct session *, str args);
enum step cmd_mail(struct session *, str args);
enum step cmd_rcpt(struct session *, str args);
enum step cmd_data(struct session *, str args);
enum step cmd_bdat(struct session *, str args);
enum step cmd_rset(struct session *, str args);
enum step cmd_noop(struct session *, str args);
enum step cmd_vrfy(struct session *, str args);
enum step cmd_expn(struct session *, str args);
enum step cmd_help(struct session *, str args);
enum step cmd_quit(struct session *, str args);

/* A refused BDAT brings its octets all the same. */
enum step bdat_skip(struct session *, str args, enum step refused);
void      data_ready(struct txn *);
void      data_answered(struct session *, const struct answer *);      /* or a ghost's */
bool      starttls_offered(const struct session *);
void      session_greet(struct session *);                             /* TLS on if first */
void      session_secured(struct session *);                           /* a handshake is done */
void      session_secure(struct session *);                            /* begins one */
/* cmd_auth.c: what the connection brings to a login; what it names is the arena's. */
void      session_channel(const struct session *, struct arena *, struct auth_channel *);

/* ---- params.c: ESMTP parameters --------------------------------------------- */

struct param { str key, value; bool has_value; };
/* Takes " KEY[=VALUE]" off the front.  1: one came, 0: the end, -1: malformed. */
int  param_next(str *rest, struct param *);
bool xtext_decode(struct arena *, str, bool utf8, str *out);           /* RFC 3461 4, strict */
bool param_date_time(str, int64_t *epoch);                             /* RFC 3339 5.6 */

struct mail_params {
	uint64_t size;
	bool     utf8, body8bit;
	unsigned flags;
	str      envid;
	int64_t  hold_for, hold_until;   /* seconds, of waiting and of the epoch; 0: not given (RFC 4865) */
};
struct rcpt_params { unsigned flags; str orcpt; };
struct param_fault { int code; const char *text; };                    /* esc 5.5.4 */
bool mail_params(struct arena *, str rest, struct mail_params *, struct param_fault *);
bool rcpt_params(struct arena *, str rest, bool utf8, struct rcpt_params *, struct param_fault *);

/* ---- front.c, listener.c ------------------------------------------------------- */

struct era {                         /* one generation, as this loop's users of it are counted */
	const struct session_setup *setup;
	size_t                      users;
	struct front_swap          *retired;   /* goes home with the last user */
};
void era_leave(struct era *);

struct door {                        /* one listening socket, watched */
	struct loop_io              io;
	struct front               *front;
	const struct listener_conf *listener;
	int                         fd;
};

struct front {
	struct loop       *loop;
	unsigned           nloops;
	struct era        *era;      /* of new sessions; NULL before the first swap */
	struct door       *doors;
	size_t             ndoors;
	bool               doors_lent; /* by the service manager: never shut down */
	bool               watching; /* doors are watched (not over its share, not stopping) */
	int                spare;    /* a descriptor kept to refuse with at EMFILE; -1: spent */
	struct loop_timer  level;    /* looks again whether it is level */
	uint64_t           exhausted_ms; /* when descriptors were last found to have run out */
	struct session    *sessions;
	_Atomic uint64_t   nsessions;
	uint64_t           letters;
	bool               stopping;
	struct front_stop *stop;     /* to send home when all have gone */
	struct loop_timer  stop_timer;
};
void front_joined(struct front *);
void front_left(struct front *);     /* a session or letter has gone: is all over? */
void front_letter_came(struct front *);
void front_letter_gone(struct front *);
struct front *front_here(void);      /* this thread's; NULL before its first swap */
bool front_shed(struct front *);     /* closes the idlest session that has sent nothing useful */

void doors_set(struct front *, const struct front_swap *);
void doors_watch(struct front *, bool);
void doors_level(struct front *);    /* after a session came or went */
void doors_shut(struct front *);     /* SIGTERM: nobody comes in any more */
void doors_free(struct front *);

#endif
