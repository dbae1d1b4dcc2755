/* SPDX-License-Identifier: ISC */
/*
 * What the files of the client share: client.c (its life, connection and
 * states), client_smtp.c (what is said and heard),
 * client_envelope.c (a round's MAIL and RCPT), client_body.c (the message).
 */
#ifndef QUEUE_DELIVER_CLIENT_INSIDE_H
#define QUEUE_DELIVER_CLIENT_INSIDE_H

#include "queue/deliver/client.h"
#include "queue/deliver/policy.h"
#include "queue/deliver/tls_report.h"
#include "smtpd/base/conn.h"
#include "smtpd/mail/dot.h"
#include "smtpd/mail/reply.h"

#define ROUND_MOST  100                  /* recipients of one transaction: RFC 5321 4.5.3.1.8 */
#define WINDOW      ((size_t)64 << 10)   /* of the body at a time */
#define UNSENT_MOST ((size_t)64 << 10)   /* beyond this we wait for the peer to take it */

enum state_id {
	ST_IDLE,        /* no lease; a connection may be open */
	ST_FIND,        /* hosts are being looked up */
	ST_CONNECT, ST_BANNER, ST_EHLO, ST_HELO, ST_STARTTLS, ST_HANDSHAKE, ST_AUTH,
	ST_RSET, ST_MAIL, ST_RCPT, ST_DATA, ST_BODY, ST_FINAL,
	ST_STATES,
	ST_SAME = ST_STATES,  /* from `heard`: another reply belongs to this state */
	ST_DONE,              /* from `heard`: it went on by itself */
};

enum cap { CAP_PIPELINING = 1, CAP_8BITMIME = 2, CAP_SMTPUTF8 = 4, CAP_STARTTLS = 8, CAP_DSN = 16, CAP_SIZE = 32, CAP_REQUIRETLS = 64 };

struct client {
	const struct client_house *house;
	void         *user;
	struct loop  *loop;
	enum state_id state;
	struct lease *lease;
	struct conn  *conn;
	struct hosts  hosts;
	struct loop_timer idle;
	struct baton  end;              /* carries client_end here and client_gone home */
	bool          ending;           /* when the window is home */

	/* the connection */
	char          host[400];        /* "mx.example.org[192.0.2.1]" */
	char          name[256];        /* the host's name, for SNI and for tls_failed */
	struct reply_reader reader;
	struct arena  heard;            /* the reply being handled */
	unsigned      caps;
	uint64_t      size_limit, mail_most, rcpt_most;   /* as offered; 0: not */
	uint64_t      messages;         /* sent over it */
	uint64_t      idle_ms, messages_most;             /* of the last lease's setup */
	bool          lmtp, secured, no_ehlo;
	unsigned      mechanisms;       /* offered for AUTH and not tried yet */
	struct proof *proof;            /* the login that is going on */
	bool          logged_in;
	/* … and what it proved, for the leases to come */
	const void   *made_by;          /* the generation it was made for */
	const char   *verified;         /* as lease->verified */
	int           wants, floor, have;   /* enum policy_level: of everybody, of all, and what there is; over VERIFY: refused */
	bool          vouched, local;   /* the host is who it should be; it is on this machine */
	bool          dirty;            /* a transaction was left in the middle: RSET first */
	bool          reused;           /* it was open before this lease, and has said nothing since */

	/* the attempt */
	struct policy_look look;        /* of the host that is tried */
	enum policy_level level;        /* what this lease asks of it */
	bool          talked;           /* a host answered EHLO */
	bool          temporary;        /* some host failed for a reason that may pass */
	str           status, said;     /* of the last host that failed; in the lease's arena */
	bool          unwell;           /* it was a 421: the destination wants to be left alone */

	/* the transaction */
	struct lease_rcpt *round[ROUND_MOST];
	str            from, head;         /* of this round: its recipients share them */
	bool          accepted[ROUND_MOST];
	size_t        nround, asked, answered, naccepted, finals;
	bool          pipelined, utf8;
	int           mail_code;        /* of a refused MAIL whose group is still being answered; 0 */

	/* the body */
	struct dot_out dot;
	struct job    job;
	char         *window;
	size_t        got;
	uint64_t      at;
	enum err      read_error;
	bool          head_sent, reading, abandoned;
};

/* client.c */
void client_enter(struct client *, enum state_id);           /* only here the state changes */
void client_ready(struct client *);                          /* greeted: the transactions begin */
/* This host will not do: the next one, or the end of the attempt. */
void client_next_host(struct client *, bool temporary, str status, str said);
void client_name_host(struct client *);                      /* host and name, of the one that hosts is at */
void client_dial(struct client *);
void client_dial_again(struct client *);                     /* the kept connection is of no use */
void client_window_home(struct client *);                    /* an abandoned one */
void client_drop(struct client *);                           /* the connection, at once */
void client_quit(struct client *);                           /* politely */
void client_over(struct client *);                           /* every recipient is settled: the lease goes home */
/* What was begun and not settled waits for another day. */
void client_fail_rest(struct client *, enum fate, str status, str said);
struct arena *client_arena(struct client *);                 /* the lease's */

/* client_auth.c */
void client_auth_offered(struct client *, str words);        /* the words behind AUTH */
bool client_auth_wanted(const struct client *);
void client_auth_say(struct client *);
enum state_id client_auth_heard(struct client *, const struct reply *);
void client_auth_failed(struct client *, str said);          /* the login is no good: the lease is put off */
void client_auth_forget(struct client *);                    /* with its connection */

/* client_tls.c */
void client_tls_begin(struct client *);                      /* with the hosts */
void client_tls_host(struct client *);                       /* dials it when it may be */
bool client_tls_wanted(const struct client *);               /* STARTTLS now */
void client_tls_say(struct client *);                        /* the handshake begins */
bool client_tls_proved(struct client *);                     /* it is over; false: the host was left */
bool client_tls_broke(struct client *, str said);            /* true: the host was left */
bool client_tls_stands(struct client *);                     /* greeted; false: the host was left */
void client_tls_remember(struct client *);
bool client_tls_serves(const struct client *, const struct lease *);   /* the open connection is good enough */

/* client_smtp.c */
enum wait { WAIT_NOT, WAIT_COMMAND, WAIT_DATA, WAIT_FINAL, WAIT_TLS };    /* for the peer: an option each */

struct state {
	const char     *name;                        /* "in MAIL", for sentences and the trace */
	enum wait       wait;                        /* WAIT_NOT: not watched by the connection */
	void          (*say)(struct client *);       /* on entering; NULL: nothing */
	enum state_id (*heard)(struct client *, const struct reply *);   /* NULL: a reply is out of place */
};
extern const struct state client_states[ST_STATES];

/* client_envelope.c */
void client_begin_round(struct client *);        /* the next recipients, or client_over */
void client_say_mail(struct client *);           /* the line, with what the server offered to know */
void client_say_rcpt(struct client *, const struct lease_rcpt *);

/* client_reply.c */
str  client_reply_said(struct arena *, const struct reply *);      /* "550 5.1.1 No such user" */
str  client_reply_status(struct arena *, const struct reply *);    /* "5.1.1" */
uint64_t client_wait_ms(const struct client *, enum wait);
void client_reply_pace(struct client *, const struct reply *);      /* is noted in the lease */
bool client_reply_positive(const struct reply *);
enum fate client_reply_fate(const struct reply *);                 /* of a refusal: bounced or deferred */

/* client_body.c */
void client_body_say(struct client *);           /* ST_BODY begins */
void client_body_more(struct client *);          /* the peer has taken what there was */
enum state_id client_body_heard(struct client *, const struct reply *);
void client_body_forget(struct client *);        /* at the end of a lease */

#endif
