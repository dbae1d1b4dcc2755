/* SPDX-License-Identifier: ISC */
/*
 * session: the way in, as the front door sees it.
 *
 * A session belongs to one loop.  Its generation (settings, directory, module
 * chain) is the loop's at the moment it connects and stays so until it ends.
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include "auth/auth.h"
#include "modules/chain.h"
#include "queue/queue.h"
#include "smtpd/base/conf.h"
#include "smtpd/base/loop.h"
#include "smtpd/base/tls.h"
#include "smtpd/mail/directory.h"
#include "smtpd/session/breaker.h"

enum role { ROLE_INBOUND, ROLE_SUBMISSION };
enum client_certificate { CERTIFICATE_AUTO, CERTIFICATE_NONE, CERTIFICATE_REQUEST, CERTIFICATE_REQUIRE };
enum tls_mode { TLS_NONE, TLS_STARTTLS, TLS_REQUIRED, TLS_IMPLICIT };

struct listener_conf {
	struct conf_head head;            /* title: its name, in logs */
	struct strs address;
	int  role, tls;                   /* enum role, enum tls_mode */
	int  client_certificate;          /* enum client_certificate */
	struct strs mechanisms;           /* none: those of auth {} */
	bool loopback_unlimited;          /* 127.0.0.0/8 and ::1 have no limit of one address */
};

struct limits_conf {                      /* CONTRACT.md "Limits", same order */
	struct conf_head head;
	uint64_t message_size, header_size, field_size, fields;
	uint64_t recipients, recipients_before_good;
	uint64_t messages_inbound, messages_submission;
	uint64_t errors, idle_commands;
	uint64_t connections, connections_address, connections_network;
	uint64_t received_fields;
	uint64_t command_timeout_ms, data_timeout_ms, tls_timeout_ms, crawl_bytes, crawl_ms;
	uint64_t memory;                  /* of all messages being received: 256 MiB */
	uint64_t reflector_sender, reflector_network;   /* reports a day */
};

enum doomed { DOOMED_SEND, DOOMED_KEEP, DOOMED_BOUNCE };

struct forward_conf {                     /* mail that leaves us again for an alias */
	struct conf_head head;
	bool     srs, srs_bounces_only;
	str      srs_domain;              /* one of ours; empty: the alias's */
	uint64_t srs_age_ms;              /* 21 days */
	int      doomed;                  /* enum doomed */
};

enum grace_notice { GRACE_NOTICE_AUTO, GRACE_NOTICE_YES, GRACE_NOTICE_NO };
#define GRACE_NOTICE_S 300                /* auto: a message that waits as long is told of */

struct grace_conf {                       /* how long what an account sends waits first */
	uint64_t wait_ms;
	int      notice;                  /* enum grace_notice */
};

enum unmarked { UNMARKED_MARK, UNMARKED_REFUSE, UNMARKED_PASS };

struct submission_conf {                  /* mail from those who log in */
	struct conf_head head;
	int  unmarked;                    /* enum unmarked: 8-bit text without MIME */
	bool hide_client;                 /* in Received */
	struct grace_conf grace;          /* of accounts that have none of their own */
	uint64_t future_release_ms;       /* the most that FUTURERELEASE may ask for; 0: it is not offered */
};

extern const struct conf_section listener_section, limits_section, forward_section, submission_section;

enum device_to { DEVICE_LOCAL, DEVICE_ANY };

struct device_conf {
	struct conf_head head;
	struct strs address;              /* hosts, small networks */
	str         as;                   /* whose login it counts as */
	int         to;                   /* enum device_to */
};
extern const struct conf_section device_section;

struct sendmail_user {                    /* of this machine */
	struct conf_head head;            /* title: the login name */
	str         address;              /* whose login it counts as; empty: its name at the domain */
	struct strs may_send_as;          /* addresses, or "@domain" */
};

struct sendmail_conf {                    /* mail from users of this machine: session/drop.c */
	struct conf_head head;
	str      directory;               /* empty: there is none */
	str      domain;                  /* of names without one; empty: the first of ours */
	uint64_t waiting_messages, waiting_bytes;   /* of one user, dropped */
	struct conf_list users;           /* of sendmail_user */
};
extern const struct conf_section sendmail_section;

/* What the configuration says of one account beyond what all have. */
struct account_rights {
	str                          address;
	const struct strs           *send_as;      /* addresses, or "@domain" */
	const struct allowance_conf *allowance;    /* never NULL */
	const struct grace_conf     *grace;        /* never NULL */
};

/* A sender's wish to stop a message that still waits.  Whose wish it is was
 * looked at.  The session's again when it comes home. */
struct cancel {
	struct baton baton;               /* home, arrived: the session's */
	uint64_t     id;
	enum cancel_says {
		CANCEL_STOPPED,           /* it has not been sent, and will not be */
		CANCEL_STOPPED_BEFORE,    /* so it was before */
		CANCEL_LEFT,              /* some of it has left, or is leaving just now */
		CANCEL_LATER,             /* not known now: no memory, the server ends */
	} says;
};

/* A message to a reflector's address, judged: what its report is written from. */
struct body_look;
struct reflection {
	struct chain_conn      *chain;     /* the modules' results are still there */
	const struct message   *in;
	const struct peer      *peer;
	const struct verdict   *verdict;   /* what would be done with it, were it for a mailbox */
	const struct body_look *body;
	str                     whole;     /* the body itself, if it is small */
	bool                    no_blank;  /* its header ended without an empty line */
	str                     results;   /* Authentication-Results as we write them, CRLF included */
	str                     address;   /* the reflector's */
	uint64_t                bytes;
	size_t                  most;      /* octets of the report */
};

/* One generation, as sessions need it.  Immutable.  Loops count their own
 * users (front.users); the last to reach zero sends it home. */
struct session_setup {
	str                         hostname, authserv_id;
	const struct limits_conf   *limits;
	const struct directory     *directory;
	const struct chain         *chain;
	struct tls_server          *tls;           /* NULL: no STARTTLS is offered */
	struct auth                *auth;
	struct queue               *queue;
	const struct forward_conf  *forward;       /* NULL: nothing is rewritten */
	const struct submission_conf *submission;  /* NULL: the defaults */
	const unsigned char        *secret;        /* SRS_SECRET octets; NULL: nothing is rewritten or marked */
	void                      (*cancel)(struct cancel *);   /* the process's; any thread; NULL: nothing can be stopped */
	struct breaker             *breaker;       /* the process's; NULL: nothing is counted */
	const struct allowance_conf *allowance;    /* of all accounts that have none of their own */
	const struct account_rights *rights;
	size_t                      nrights;
	const struct conf_list     *devices;       /* of device_conf; NULL: none */
	const struct sendmail_conf *sendmail;      /* NULL: the defaults */
	const struct strs          *reflectors;    /* addresses here whose answer is a report; NULL: none */
	str                       (*reflect)(const struct reflection *, struct arena *);   /* its text, CRLF lines; NULL: none either */
	const str                  *own_ips;       /* unused by strangers */
	size_t                      nown_ips;
};

struct front;                             /* one a loop: its sessions, its listeners */

/* Before threads, one for each loop. */
struct front *front_new(struct loop *, unsigned nloops);
/* On the loop's thread (post it there): new sessions use this from now on;
 * `unused` runs on `home` when the last session of the old one has gone. */
struct front_swap {
	struct baton                baton;        /* home, arrived (at home): the sender's */
	struct front               *front;
	const struct session_setup *setup;
	const struct listener_conf *const *listeners; /* nlisteners, parallel to fds */
	const int                  *fds;          /* listening, non-blocking; shared, main's */
	size_t                      nlisteners;
	const struct session_setup *old;          /* set when home: nobody uses it any more */
	/* front.c's own from here */
	void                      (*back)(struct baton *);
};
/* From main.  Sockets that were listened on before and are not among the new
 * ones are shut down by the loops at once (so are all at front_stop), so that
 * nobody waits at a door that no longer opens; the descriptors stay main's to
 * close.  Sockets that came by socket activation are left as they are. */
void front_swap(struct front_swap *);
/* On a loop's thread, when accounts have changed: sessions whose login stands no
 * more hear 421, those with a message in flight at the next command behind it. */
void front_look_at_logins(void);
/* SIGTERM: listeners are no longer watched, idle sessions hear 421, the rest
 * gets within_ms; `arrived` runs at home when all have gone. */
struct front_stop {
	struct baton  baton;
	struct front *front;
	uint64_t      within_ms;
	void        (*back)(struct baton *);      /* front.c's own */
};
void front_stop(struct front_stop *);
void front_free(struct front *);                  /* its stop came home, its loop has ended */
uint64_t front_sessions(const struct front *);    /* any thread */

/* A user of this machine, on a connected stream socket; any thread, while the loop
 * runs.  The session takes fd over, and frees the guest. */
struct front_guest {                      /* malloc'ed */
	struct baton baton;
	int      fd;                      /* non-blocking */
	uint32_t uid;
	bool     counted;                 /* against what one user may have open at once */
	char     name[128];
};
void front_let_in(struct loop *, struct front_guest *);

/* A bounce to such a user, of a message that nobody waits for any more; any thread.
 * It stays the sender's until the letter comes home with its result. */
struct dsn_rcpt;
struct front_notice {
	struct baton     baton;
	struct letter   *letter;          /* its home and arrived are set; the rest is written here */
	str              user, header;
	struct dsn_rcpt *rcpts;
	size_t           nrcpts;
};
void front_notify(struct loop *, struct front_notice *);

/* Takes a letter (queue/letter.h) in; called on a loop's thread.  It goes home
 * with its result and with `arrived` as the writer set it.  Before the loop's
 * first swap it goes home with ERR_BUSY. */
void inject_letter(struct baton *);

/* Any thread, while the generation is in use. */
const struct allowance_conf *allowance_of(const struct session_setup *, str login);

/* Counters and tables that need registering before threads. */
void session_counters(void);

#endif
