/* SPDX-License-Identifier: ISC */
/*
 * auth: who may send.
 *
 * libsasl2 (auth/sasl.c alone) does the mechanisms; accounts come from a
 * Dovecot passwd-file of SCRAM-SHA-256 verifiers (auth/accounts.c), which is
 * one immutable table, replaced as a whole when the file changes.  All Cyrus
 * calls and all hashing happen on the login desk.
 *
 * Every failure looks the same from outside: 535 5.7.8, one text, and the work
 * of one check, whether the account exists or not.
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include <netinet/in.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/conf.h"
#include "smtpd/base/desk.h"
#include "smtpd/base/loop.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/directory.h"

/* What an account's login needs beside its password, or instead of it. */
enum auth_require {
	REQUIRE_PASSWORD,              /* nothing */
	REQUIRE_APP_PASSWORD,          /* the main password is for reading mail only */
	REQUIRE_CERTIFICATE,           /* a client certificate with its address, and the password */
	REQUIRE_TOTP,                  /* the password with a code behind it; PLAIN and LOGIN */
	REQUIRE_OAUTH,                 /* a token, no password at all */
};
extern const char *const auth_require_words[];    /* in that order, ends with NULL */

struct auth_demand { str domain; enum auth_require require; };   /* of a domain's accounts */

/* Who says whether a password is right: exactly one. */
enum auth_backend { BACKEND_FILE, BACKEND_SASLAUTHD, BACKEND_AUXPROP };

struct oauth_conf {                    /* tokens: RFC 7628, 7662, 9068 */
	struct conf_head head;
	str         issuer, audience, scope, user_claim;
	str         keys;              /* JWKS: https URL, or file */
	str         introspection;     /* https URL */
	str         client_id, client_secret_file;
};

struct guess_conf {                    /* wrong logins: auth/ban.h */
	struct conf_head head;
	uint64_t    address, network, account;     /* how many, within_ms; 0: not counted */
	uint64_t    within_ms;
	uint64_t    refuse_ms, refuse_most_ms;     /* the first time, and at most; 0: never */
	uint64_t    slowest_ms;        /* an answer is held back at most */
	struct strs never;             /* networks that are never slowed down nor refused */
};

struct auth_conf {
	struct conf_head head;
	int         backend;           /* enum auth_backend; a change waits for the next start */
	str         saslauthd;         /* the daemon's socket */
	str         auxprop;           /* Cyrus' plug-in: sasldb, sql, ldapdb */
	struct strs auxprop_options;   /* "sasldb_path: /etc/sasldb2" */
	struct strs certificate_names; /* san, email, cn: where a certificate's owner stands */
	struct oauth_conf oauth;
	struct guess_conf guesses;
	str         accounts;          /* passwd-file; default STATE/accounts */
	str         devices;           /* passwd-file of device passwords; default STATE/app-passwords */
	str         mark;              /* between account and label in a device's login name: "+" */
	bool        upgrade;           /* older schemes become SCRAM verifiers at a good login */
	bool        scram_always;      /* SCRAM is offered even where some account needs a code */
	/* No options: the files of the server's secret, of enrolled TOTP secrets, of
	 * last uses, of logins; empty: accounts with .secret, .totp, .seen, .logins behind. */
	str         secret, codes, seen, logins;
	const struct auth_demand *demands;        /* what the domains require; setup fills them in */
	size_t      ndemands;
	struct strs mechanisms;        /* where the listener names none */
	uint64_t    iterations;        /* of new verifiers: 4,096 */
	uint64_t    memory_ms;         /* a PLAIN/LOGIN success is remembered: an hour; 0: never */
};
extern const struct conf_section auth_section;

struct auth;   /* one a process; its accounts table is swapped when the file changes */

/* Main thread, before others: sasl_set_mutex, sasl_server_init, plug-in. */
struct auth *auth_open(const struct auth_conf *, str hostname, struct desk *login, struct arena *,
                       str *why);
/* After the login desk has been closed. */
void         auth_close(struct auth *);
/* Main thread: reads the accounts file again when it has changed (or `always`);
 * a faulty file keeps the old table and says FILE:LINE.  *changed: the
 * directory must be built again. */
enum err     auth_look_again(struct auth *, bool always, bool *changed, struct arena *, str *why);
enum err     auth_reconfigure(struct auth *, const struct auth_conf *, struct arena *, str *why);
/* All account addresses, for the directory; main thread. */
enum err     auth_accounts(struct auth *, struct arena *, struct strs *addresses);

/* For listeners' options, as conf_option has it. */
bool auth_mechanism_good(str value, struct arena *, str *why);

/* For how many seconds yet a client is refused because of wrong logins; 0: it is not.
 * Cheap; any thread. */
unsigned auth_refuses(const struct auth *, const struct sockaddr *);
/* How many addresses and networks are refused now; any thread. */
size_t   auth_refused_now(const struct auth *);
void     auth_turned_away(void);       /* one more of them, at the door: counted */

/* What the connection brings along. */
struct auth_channel {
	const char *ip;                /* the client's, as text */
	struct strs mechanisms;        /* the listener's; none: those of auth {} */
	const char *binding_type;      /* "tls-exporter", "tls-unique"; NULL: no channel binding */
	str         binding;
	struct strs certificate;       /* addresses in the client's verified certificate */
};

/* "SCRAM-SHA-256 PLAIN LOGIN": what EHLO says after AUTH over this channel. */
str auth_mechanisms(const struct auth *, const struct auth_channel *, struct arena *);
/* Where certificates are to say whose they are: enum tls_name, or'ed; any thread. */
unsigned auth_certificate_names(const struct auth *);
/* Whether a listener's list can be kept, given what Cyrus has; main thread. */
enum err auth_can_offer(const struct auth *, const struct strs *, struct arena *, str *why);

/* ---- one exchange (RFC 4954); loop thread -------------------------------- */

enum auth_says {
	AUTH_MORE,        /* send 334 with `challenge` (base64 by the caller) */
	AUTH_PASSED,      /* login is set */
	AUTH_REFUSED,     /* 535 5.7.8 */
	AUTH_LATER,       /* 454 4.7.0: desk full, directory down */
	AUTH_NO_MECH,     /* 504 5.5.4 */
	AUTH_MALFORMED,   /* 501 5.5.2 */
};

/* What a login stands on: an account or one of its device passwords.  `by` lives
 * with `auth`; NULL, of another back end: it stands. */
struct standing;
struct auth_login { const struct standing *by; unsigned epoch; };
/* Not after its account or device password was removed, changed or has expired.
 * Cheap; any thread. */
bool auth_still(const struct auth_login *);
/* Some account's login needs a TOTP code: clients would choose SCRAM and fail.
 * Cheap; any thread; may change when the accounts file does. */
bool auth_needs_codes(const struct auth *);

struct auth_try;
struct log;
/* On the loop, never inside the call. */
typedef void auth_answered(struct auth_try *, enum auth_says, str challenge, void *user);

/* The channel is copied. */
struct auth_try *auth_try_new(struct auth *, struct loop *, const struct auth_channel *,
                              auth_answered *, void *user);
/* `initial` NULL: no initial response.  Decoded bytes. */
void auth_try_begin(struct auth_try *, str mechanism, const str *initial);
void auth_try_step(struct auth_try *, str response);
str  auth_try_login(const struct auth_try *);       /* after AUTH_PASSED: the account's address */
str  auth_try_mechanism(const struct auth_try *);
/* Where the try's login.passed or login.refused is logged: the session's
 * context.  It has to live until auth_try_end; NULL: none. */
void auth_try_log(struct auth_try *, const struct log *);
/* After AUTH_PASSED: what the login stands on, for auth_still. */
struct auth_login auth_try_stands(const struct auth_try *);
/* May be called while a step is out: the try becomes a ghost and frees itself
 * when it comes home; `answered` is not called any more. */
void auth_try_end(struct auth_try *);

/* ---- rights ------------------------------------------------------------- */

/* May this login send as this address?  Its own, its plus forms, aliases that
 * lead to it (directory).  Used for MAIL FROM and each From address. */
bool auth_owns(const struct directory *, struct arena *, str login, const struct path *);

/* ---- verifiers (auth/verifier.c), for the account verb and tests -------- */

struct verifier { unsigned iterations; str salt; unsigned char stored[32], server[32]; };
enum err verifier_make(struct arena *, str password, unsigned iterations, struct verifier *out);
bool     verifier_parse(struct arena *, str text, struct verifier *out);   /* "{SCRAM-SHA-256}…" */
str      verifier_text(struct arena *, const struct verifier *);
bool     verifier_check(const struct verifier *, str password);   /* one PBKDF2: blocking */

/* What an authenticator program reads from a QR code (the otpauth URI). */
str otpauth_uri(struct arena *, str issuer, str address, str secret_text);
/* A secret of the server's, kept in a file of its own (auth/secret.c): read or
 * made; false: drawn for this process only, and `why` says why. */
bool secret_load(const char *file, unsigned char secret[static 32], struct arena *, str *why);

#define ACCOUNTS_MOST ((size_t)16 << 20)        /* the largest accounts file */
/* Whether the server could make its accounts of the files named; one that is not
 * there is empty.  ERR_BAD: the first damaged line, "FILE:LINE: what: what to do",
 * in `why`, and the file in *file. */
enum err accounts_check(const struct auth_conf *, conf_open *, struct arena *, str *file, str *why);

/* auth_accounts for who has no house: read from the files, as accounts_check does. */
enum err accounts_named(const struct auth_conf *, conf_open *, struct arena *, struct strs *addresses, str *why);

/* What the account verbs work on. */
struct account_tools {
	const char *accounts, *devices, *codes, *seen, *logins;   /* files; devices may be accounts' own */
	const char *ca;                        /* folder of the office's own authority */
	const char *client_ca;                 /* as tls {} names it; empty: none */
	const char *issuer;                    /* what an authenticator program shows: the host name */
	char        mark;                      /* between account and label in a device's login name */
	unsigned    iterations;
	str         shut;                      /* "held|locked SINCE ADDRESS WHY" lines of the running server; p NULL: none answers */
	bool      (*local)(void *, str domain);   /* is it one of ours? */
	void       *arg;
};

/* postern account …: the exit status.  *changed: a running server should look again. */
int account_verb(int argc, char **argv, const struct account_tools *, bool *changed);

#endif
