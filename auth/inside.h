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
#include "auth/ban.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/cidr.h"
#include "smtpd/base/map.h"
#include "smtpd/base/stat.h"

#define NAME_ROOM      256    /* of a name as the client said it, for the log */
#define PASSWORD_MAX   1024
#define RESPONSE_MAX   9216   /* what 12,288 octets of base64 hold (RFC 4954 4) */
#define ITERATIONS_MAX 10000000u
#define SALT_NEW       16
#define SALT_MAX       255

/* ---- schemes.c: what a password is kept as ---------------------------------- */

enum keeping { KEPT_NOT, KEPT_SCRAM, KEPT_CRYPT, KEPT_SALTED };

struct cost { enum keeping kind; char how; unsigned rounds; };   /* how: '5', '6', '2' of crypt */

struct scheme {                        /* of KEPT_CRYPT and KEPT_SALTED */
	struct cost   cost;
	const char   *setting;         /* crypt's text */
	size_t        digest_n;        /* 20, 32, 64 */
	unsigned char digest[64];
	str           salt;
};

/* A scheme that is checked here beside SCRAM-SHA-256? */
bool     scheme_known(str name);
/* `value`: what stands behind the {}.  ERR_BAD: damaged; ERR_DENIED: it is not for
 * us, or would cost seconds; `why` says so, and what to do. */
enum err scheme_parse(struct arena *, str name, str value, struct scheme *out, const char **why);
/* Blocking, as long as its cost. */
bool     scheme_check(const struct scheme *, str password);

/* ---- device.c: device passwords ------------------------------------------------ */

#define DEVICES_MOST  16u              /* of an account */
#define DEVICE_TEXT   24               /* abcd-efhj-kmnp-rtwx-abcd */
#define DEVICE_SALT   16
struct quick { unsigned char salt[DEVICE_SALT], hash[32]; };   /* enough for 80 random bits */

void device_draw(char out[static DEVICE_TEXT + 1]);
/* As the printed one whatever the case and however the groups are parted; false:
 * it is none of ours. */
bool device_typed(str typed, char out[static DEVICE_TEXT + 1]);
void quick_make(str password, struct quick *out);
bool quick_check(const struct quick *, str password);
str  quick_text(struct arena *, const struct quick *);
bool quick_parse(str text, struct arena *, struct quick *out);
/* "my-phone" of "My phone": what stands behind the mark. */
str  device_slug(struct arena *, str label);

/* ---- fields.c: the last part of a line, Dovecot's extra fields -------------------- */

struct fields {
	str              user;         /* key of the account that this is a device password of */
	struct cidr     *nets;         /* allow_nets: from nowhere else */
	size_t           nnets;
	bool             nologin;      /* Dovecot's: nobody logs in */
	bool             send_only;    /* postern_send_only: nologin is meant for Dovecot alone */
	int64_t          made, expires;/* 0: not told, never */
	str              label;
	bool             has_quick;
	struct quick     quick;
	bool             has_require;
	enum auth_require require;
};

/* NULL, or what is wrong: what to do. */
const char *fields_parse(struct arena *, str extra, struct fields *out);
/* A label as it stands in a field, and back: Dovecot parts fields by spaces and
 * expands %. */
str         fields_escape(struct arena *, str);
str         fields_unescape(struct arena *, str);
/* "2027-01-01", midnight UTC at its end when it ends something; or with a time,
 * "2027-01-01T10:00:00Z". */
bool        fields_time(str text, bool at_end, int64_t *out);
#define FIELDS_TIME 24
str         fields_time_text(int64_t, char out[static FIELDS_TIME]);

/* ---- accounts.c: the passwd-files, read ------------------------------------- */

enum source { SOURCE_ACCOUNTS, SOURCE_DEVICES, SOURCE_CODES, SOURCES };

struct account {                       /* or a device password: what a name logs in by */
	str  address;                  /* as the file has it, domain in A-labels */
	str  key;                      /* the same in small letters: what names are compared by */
	str  scheme;                   /* "SCRAM-SHA-256"; empty: no password */
	str  password;                 /* as the file has it, with its scheme */
	bool can_log_in;               /* there is something we can check */
	enum keeping kept;
	struct verifier verifier;      /* of KEPT_SCRAM; else only `stored`, a mark of the password's text */
	struct scheme   other;
	struct fields   fields;
	enum auth_require require;
	str  code_secret;              /* TOTP: 20 bytes; empty: not enrolled */
	const struct account  *owner;  /* a device password's account (NULL: not there), else itself */
	struct account        *devices, *next_device;   /* of an account, in the file's order */
	unsigned               ndevices;
	struct standing       *standing;   /* NULL: a table for looking only */
	unsigned               epoch;      /* of the standing, as this table has it */
	enum source source;
	int  line;
};

#define COSTS_MOST 4

struct accounts {                      /* immutable once made */
	struct arena     arena;
	struct map       by_key;
	struct account  *v;
	size_t           n;
	const char      *file[SOURCES];
	struct cost      costs[COSTS_MOST];    /* the kinds there are, the commonest first */
	const struct account *example[COSTS_MOST];
	size_t           ncosts;
	unsigned         devices_most;         /* of any account */
	bool             needs_codes;
	uint64_t         serial;       /* main numbers them as they are put up */
	struct accounts *next;         /* among the replaced */
};

struct accounts_text {                 /* what a table is made of */
	str file[SOURCES], text[SOURCES];      /* no file: none of that kind */
	const struct auth_demand *demands;
	size_t ndemands;
};

/* NULL: the first damaged line, as "FILE:LINE: what: what to do", in `why`. */
struct accounts *accounts_make(const struct accounts_text *, struct arena *, str *why);
/* Of an accounts file alone. */
struct accounts *accounts_parse(str file, str text, struct arena *, str *why);
void             accounts_free(struct accounts *);
enum err         accounts_addresses(const struct accounts *, struct arena *, struct strs *out);   /* of the accounts, not of devices */
const struct account *accounts_find(const struct accounts *, str key);
/* A name as it is compared: local part in small letters, domain in A-labels.
 * False when it is no address. */
bool accounts_key(struct arena *, str name, str *key);
/* One line taken apart; false for blank lines and comments.  `rest` begins with
 * the colon behind the password. */
bool accounts_line(str line, str *name, str *password, str *rest);
str  accounts_scheme(str password);    /* what stands in {}, or nothing */
str  accounts_extra(str rest);         /* the extra fields */
static inline bool account_is_device(const struct account *a) { return a->owner != a; }

/* ---- standing.c: what lasts of a name while tables come and go -------------------- */

struct standing {
	str              key;
	atomic_uint      epoch;        /* rises: logins made before stand no more */
	_Atomic int64_t  until;        /* a device password's last second; 0: no end */
	_Atomic uint64_t step;         /* TOTP: the newest that was used */
	_Atomic int64_t  written;      /* when its last use was written down */
	/* main's */
	bool             there;
	bool             scram;
	unsigned char    stored[32];
};

/* Gives each account of a new table its standing, before it is put up; who is gone
 * or changed stands no more.  Main; false: no memory, and all is as it was. */
bool standing_settle(struct auth *, struct accounts *);
struct standing *standing_of(struct auth *, str key);  /* made if need be; main; NULL: no memory */

/* ---- seen.c: last uses, and codes that are used up --------------------------------- */

struct seen {                          /* one name's newest */
	str      key, ip;
	int64_t  when;
	uint64_t step;
};

/* Main: what was written in earlier lives; opens for writing.  Failure is logged,
 * uses are then not written down. */
void seen_open(struct auth *, const char *file);
void seen_close(struct auth *);
void seen_shorten(struct auth *);      /* main, now and then: the file is kept short */
/* Desk.  At most once a minute, unless `step` is not 0. */
void seen_note(struct auth *, struct standing *, const char *ip, int64_t now, uint64_t step);
/* For the verb: the newest line of each name. */
bool seen_read(const char *file, struct arena *, struct map *by_key);

/* ---- totp.c: codes (RFC 6238), over liboath ----------------------------------------- */

#define CODE_SECRET 20
#define CODE_DIGITS 6
#define CODE_STEP_S 30
void codes_setup(void);                /* once, before threads */
/* The step (RFC 6238 4.2) that the code belongs to, now or one beside it; 0: none. */
uint64_t code_step(str secret, str code, int64_t now);
str      code_secret_text(struct arena *, str secret);               /* base32 */
bool     code_secret_parse(struct arena *, str text, str *secret);

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
/* HMAC-SHA-256 over (name, verifier, password), each with its length.  Of an older
 * scheme the verifier is the mark of its text. */
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

struct looked {                        /* at a file */
	bool  seen;                    /* it was there once */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec changed, modified;
	bool  settled;                 /* older than the clock's grain: same stamp, same bytes */
};

struct watched {                       /* the files that the table is made of */
	char         *file[SOURCES];   /* NULL: none */
	struct looked looked[SOURCES];
	struct auth_demand *demands;   /* copies */
	size_t        ndemands;
	unsigned char digest[32];      /* of all that the table is made of */
	bool          known;
};

struct auth {
	/* main's */
	struct arena     arena;        /* what lives as long as this */
	struct accounts *replaced;
	struct offer    *offers;
	struct watched      look;
	struct map       standings;    /* every name there ever was */
	char            *seen_file;
	uint64_t         seen_room;    /* the size at which the file is made short */
	char            *logins_file;
	uint64_t         logins_room;
	struct oauth_rule *rules;
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
	uint64_t         step_ms;      /* a client waits for the desk */
	_Atomic uint64_t memory_ms;
	atomic_uint      iterations;
	atomic_bool      upgrade;
	atomic_bool      needs_codes;
	atomic_bool      scram_always;     /* offered even then */
	atomic_bool      told_unwritable;  /* the log says so once */
	atomic_int       seen_fd, logins_fd;
	struct bans     *bans;
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

enum err look_open(struct auth *, const struct auth_conf *, struct arena *, str *why);
void     look_close(struct auth *);
enum err look_again(struct auth *, bool always, bool *changed, struct arena *, str *why);
/* Other files or demands; a failure leaves all as it was. */
enum err look_elsewhere(struct auth *, const struct auth_conf *, struct arena *, str *why);

enum {
	COUNT_HASHED, COUNT_REMEMBERED, COUNT_FAILED, COUNT_AGAIN, COUNT_SLOWED, COUNT_REFUSED,
	COUNT_TURNED_AWAY, COUNTS
};
void auth_count(unsigned which);
uint64_t auth_counted(unsigned which);


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

struct claim;

/* For SCRAM: the made-up verifier for everybody who may not log in by one. */
void judge_name(const struct judge *, str key, struct judged *);
/* NULL: right, and the claim says what it stands on.  Else why not, for the log. */
const char *judge_password(const struct judge *, struct claim *, str key, str password);
/* The same for who has proved to know the verifier that was shown for `key`. */
const char *judge_proved(const struct judge *, struct claim *, str key);
/* And for who needs no password: a token or a certificate spoke for the account. */
const char *judge_vouched(const struct judge *, struct claim *, str key, enum auth_require by);

/* ---- sasl.c: Cyrus ------------------------------------------------------------------- */

struct claim {                         /* who somebody says to be; the try's */
	char          name[NAME_ROOM]; /* as said, cut */
	size_t        n;
	bool          exists;          /* there is such an account */
	bool          shown;           /* a verifier was handed to the mechanism: */
	unsigned char stored[32];      /* … this one */
	struct auth_login stands;      /* on whom, once judged right */
	str           address;         /* the account's; lives as long as the judge's table */
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
const char *cyrus_option(const char *name);    /* as Cyrus hears it; NULL: unset */
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
	str            by;             /* of AUTH_PASSED: the name whose password it was, if one was */
	const char    *ip, *mechanism; /* mechanism NULL: none that is offered */
	const char    *reason;         /* why not, for the log */
	int            code;           /* Cyrus' result, for the log */
	bool           exists;         /* there is such an account; never to be told */
	const unsigned char *secret;   /* keyed hash of what was said; NULL: not seen (SCRAM) */
};

/* Once for each attempt that has ended; the session's loop.  For how many ms the
 * answer is to be held back. */
uint64_t auth_after(struct auth *, const struct auth_event *);

/* ---- logins.c: each account's latest, for its owner ------------------------------------- */

#define LOGINS_EACH 50u                /* of an account that passed, and as many that failed */

struct login {                         /* one line */
	int64_t when;
	str     ip, mechanism, key, by;    /* key "?": no account; by: the device password's, or "-" */
	str     result;                /* "passed", or why not */
};

/* Main: as seen_open; `good` hears of each that passed. */
void logins_open(struct auth *, const char *file);
void logins_close(struct auth *);
void logins_shorten(struct auth *);
/* Desk: a step that was the last.  As long for who has no account. */
void logins_note(const struct judge *, const struct claim *, const struct heard *, const char *mechanism);
/* The newest first; key empty: of all.  False: no memory, or the file cannot be read. */
bool logins_read(const char *file, str key, struct arena *, struct login **v, size_t *n);

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
/* To change it, without waiting: ERR_BUSY when another has the lock. */
enum err account_file_try(struct account_file *, const char *path, struct arena *, str *why);
/* All of it, by a new file in its place: the old or the new is there whatever happens.
 * ERR_BUSY: somebody else changed it since it was read, and their text stays. */
enum err account_file_write(struct account_file *, str text, struct arena *, str *why);
void     account_file_close(struct account_file *);
/* One line's password and fields replaced; the rest of the line and of the text stays.
 * False: there is no such line. */
struct account_edit { str key, password, extra; bool set_extra; };
bool     account_text_edit(struct arena *, str text, const struct account_edit *, struct buf *out);
void     account_text_drop(struct arena *, str text, str key, struct buf *out);

/* ---- upgrade.c: an older scheme's line becomes a SCRAM verifier's ------------------------ */

/* Login desk; the password was right just now. */
void upgrade_line(const struct judge *, const struct account *, str password);
/* Opens and reads a whole file of at most 16 MiB. */
enum err account_file_read(int fd, struct arena *, str *text);

#endif
