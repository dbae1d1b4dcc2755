/* SPDX-License-Identifier: ISC */
/*
 * inside: what the files of this room know of each other.
 *
 * Who reads the accounts table: desk threads, through a seat.  A seat says in
 * `reading` which table its thread looks at just now; main, which alone makes
 * and frees tables, frees a replaced one as soon as no seat names it.  So a
 * table stays while it is read, nothing is counted, and nobody waits.
 */
#ifndef AUTH_INSIDE_H
#define AUTH_INSIDE_H

#include <stdatomic.h>
#include <sys/stat.h>

#include "auth/auth.h"
#include "smtpd/base/map.h"
#include "smtpd/base/stat.h"

#define NAME_ROOM      256    /* of a name as the client said it, for the log */
#define PASSWORD_MAX   1024
#define RESPONSE_MAX   9216   /* what 12,288 octets of base64 hold (RFC 4954 4) */
#define ITERATIONS_MAX 10000000u
#define SALT_NEW       16
#define SALT_MAX       255

/* ---- accounts.c: the passwd-file, read ------------------------------------- */

struct account {
	str  address;                  /* as the file has it, domain in A-labels */
	str  key;                      /* the same in small letters: what names are compared by */
	str  scheme;                   /* "SCRAM-SHA-256"; empty: no password */
	bool can_log_in;               /* verifier is one we can check */
	struct verifier verifier;
	int  line;
};

struct accounts {                      /* immutable once made */
	struct arena     arena;
	struct map       by_key;
	struct account  *v;
	size_t           n;
	uint64_t         serial;       /* main numbers them as they are put up */
	struct accounts *next;         /* among the replaced */
};

/* NULL: the first damaged line, as "FILE:LINE: what: what to do", in `why`. */
struct accounts *accounts_parse(str file, str text, struct arena *, str *why);
void             accounts_free(struct accounts *);
const struct account *accounts_find(const struct accounts *, str key);
/* A name as it is compared: local part in small letters, domain in A-labels.
 * False when it is no address. */
bool accounts_key(struct arena *, str name, str *key);
/* One line taken apart; false for blank lines and comments. */
bool accounts_line(str line, str *name, str *password, str *rest);
str  accounts_scheme(str password);    /* what stands in {}, or nothing */

/* ---- memory.c: passwords that were right ------------------------------------ */

/* One seat's share; used by its thread alone. */
struct memory {
	struct remembered *v;          /* `sets` times MEMORY_WAYS; NULL until one is kept */
	size_t             sets;
	uint64_t           serial;     /* of the table it belongs to */
};

#define MEMORY_ALL  10000u             /* entries of all seats together */
#define MEMORY_WAYS 4u
#define TAG_SIZE    32

void memory_init(struct memory *, unsigned seats);
void memory_wipe(struct memory *);     /* forgets all, frees */
/* Forgets all when the accounts are other than before. */
void memory_serves(struct memory *, uint64_t serial);
bool memory_holds(const struct memory *, const unsigned char tag[TAG_SIZE], uint64_t now_ms);
void memory_keep(struct memory *, const unsigned char tag[TAG_SIZE], uint64_t now_ms,
                 uint64_t for_ms);
/* HMAC-SHA-256 over (name, verifier, password), each with its length. */
void memory_tag(const unsigned char key[32], str name, const struct verifier *, str password,
                unsigned char tag[static TAG_SIZE]);

/* ---- auth.c: the house --------------------------------------------------------- */

struct seat {                          /* one for each thread of the login desk */
	_Atomic(const struct accounts *) reading;
	struct memory memory;
	struct oauth_seat *oauth;      /* keys and answers known here; NULL until a token came */
};

struct offer {                         /* mechanisms, in the order they are named */
	const char  **names;           /* ends with NULL; of auth_known_mechanisms */
	struct offer *next;            /* all that ever were, each once */
};

struct looked {                        /* at the accounts file */
	bool  seen;                    /* it was there once */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed, modified;
	bool  settled;                 /* older than the clock's grain: same stamp, same bytes */
	unsigned char digest[32];      /* of the text that is up */
	bool  known;
};

struct auth {
	/* main's */
	struct arena     arena;        /* what lives as long as this */
	char            *file;         /* accounts */
	struct accounts *replaced;
	struct offer    *offers;
	struct oauth_rule *rules;
	struct looked    looked;
	uint64_t         tables;
	str              hostname;
	str              available;    /* mechanisms that Cyrus has, with spaces around each */
	/* read by desk and loops */
	struct desk     *login;
	struct seat     *seats;
	unsigned         nseats;
	atomic_uint      seated;
	uint64_t         serial;       /* of this auth, in the process */
	unsigned char    secret[32];   /* of made-up verifiers */
	unsigned char    memory_key[32];
	_Atomic(const struct accounts *) table;
	_Atomic(const struct offer *)    offer;
	_Atomic(const struct oauth_rule *) oauth;  /* NULL: no tokens */
	atomic_uint      certificate_names;        /* enum tls_name */
	enum auth_backend backend;     /* of the process */
	_Atomic uint64_t memory_ms;
	atomic_uint      iterations;
};

extern const char *const auth_known_mechanisms[];      /* ends with NULL */

struct seat           *auth_sit(struct auth *);        /* this desk thread's */
const struct accounts *auth_table(struct auth *, struct seat *);
void                   auth_table_done(struct seat *);
/* NULL: not offered over this channel. */
const char *auth_mechanism_named(const struct auth *, const struct auth_channel *, str name);
/* The list in force; what Cyrus lacks is a fault, but -PLUS, which is left out. */
enum err    auth_put_up_offer(struct auth *, const struct strs *mechanisms, struct arena *, str *why);

/* ---- look.c: the table that is up ---- main, but for the seats' part above ---- */

/* Reads the file; a table made of it is put up.  *changed is set, never cleared. */
enum err look_read(struct auth *, const char *file, bool always, bool *changed, struct arena *, str *why);
void     look_free_replaced(struct auth *);

enum { COUNT_HASHED, COUNT_REMEMBERED, COUNTS };
void auth_count(unsigned which);
uint64_t auth_counted(unsigned which);

/* The secret of made-up verifiers (auth/secret.c): read or made; false: drawn
 * for this process only, and `why` says why. */
bool secret_load(const char *file, unsigned char secret[static 32], struct arena *, str *why);

/* ---- judge.c: names and passwords -------------------------------------------------- */

struct judge {                         /* what one step on the desk works with */
	struct auth           *auth;
	struct seat           *seat;
	const struct accounts *table;
	const struct auth_channel *channel;
	uint64_t               now_ms;
};

struct judged {                        /* a name's verifier, true or made up */
	const struct account *account; /* NULL: made up */
	struct verifier       verifier;
	unsigned char         salt[SALT_NEW];  /* of a made-up one */
};

void judge_name(const struct judge *, str key, struct judged *);
bool judge_password(const struct judge *, str key, str password);

/* ---- sasl.c: Cyrus ------------------------------------------------------------------- */

struct claim {                         /* who somebody says to be; the try's */
	char          name[NAME_ROOM]; /* as said, cut */
	size_t        n;
	bool          exists;          /* there is such an account */
	bool          shown;           /* a verifier was handed to the mechanism: */
	unsigned char stored[32];      /* … this one */
	bool          secret_seen;     /* a password or token was said: */
	unsigned char secret[TAG_SIZE];/* … its keyed hash, for telling it from others */
};

struct heard {                         /* what became of one response */
	enum auth_says says;
	str            challenge;      /* of AUTH_MORE; lives until the exchange's next step */
	str            login;          /* of AUTH_PASSED; lives as long as the judge's table */
	const char    *reason;         /* for the log */
	int            code;           /* Cyrus' result, for the log */
};

struct exchange;

#define CYRUS_PLUGIN "postern"         /* our auxprop plug-in */

/* Main, once.  *why may live in the arena. */
enum err cyrus_open(struct auth *, const struct auth_conf *, struct arena *, str *why);
void     cyrus_close(void);
/* sasl_exchange.c, sasl_oauth.c: their plug-ins; Cyrus' code. */
int      cyrus_add_verifiers(void);
int      cyrus_add_tokens(void);
bool     cyrus_has_auxprop(const char *name);
/* Login desk only, one thread at a time. */
struct exchange *exchange_new(struct auth *, const struct auth_channel *, struct claim *);
void exchange_begin(struct exchange *, const struct judge *, const char *mechanism,
                    const str *initial, struct heard *);
void exchange_step(struct exchange *, const struct judge *, str response, struct heard *);
void exchange_free(struct exchange *);
/* For mechanisms of ours, within a step. */
const struct judge *exchange_judge(const struct exchange *);
void exchange_claims(struct exchange *, str name);
void exchange_tried(struct exchange *, str name, str secret);
void exchange_refuse(struct exchange *, const char *reason);

/* ---- event.c: what became of an attempt ------------------------------------------------- */

struct auth_event {
	const struct log *log;         /* the session's; NULL: it has gone */
	enum auth_says says;           /* never AUTH_MORE */
	str            name;           /* who somebody said to be, cut */
	str            login;          /* of AUTH_PASSED: the account's address */
	const char    *ip, *mechanism; /* mechanism NULL: none that is offered */
	const char    *reason;         /* why not, for the log */
	int            code;           /* Cyrus' result, for the log */
	bool           exists;         /* there is such an account; never to be told */
	const unsigned char *secret;   /* keyed hash of what was said; NULL: not seen (SCRAM) */
};

/* Once for each attempt that has ended; the session's loop. */
void auth_after(struct auth *, const struct auth_event *);

/* ---- account_file.c: the passwd-file, changed ------------------------------------------ */

struct account_file {
	const char *path;
	int         lock;              /* descriptor, or -1 */
	bool        there;
	struct stat st;
	str         text;
};

/* Reads; to change it, takes the lock first: no other verb may until _close. */
enum err account_file_open(struct account_file *, const char *path, bool to_change, struct arena *,
                           str *why);
/* All of it, by a new file in its place: the old or the new is there whatever happens. */
enum err account_file_write(struct account_file *, str text, struct arena *, str *why);
void     account_file_close(struct account_file *);
/* Opens and reads a whole file of at most 16 MiB. */
enum err account_file_read(int fd, struct arena *, str *text);

#endif
