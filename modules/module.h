/* SPDX-License-Identifier: ISC */
/*
 * The contract between the server and a module.
 *
 * One message at a time walks through the hooks below, top to bottom.  All
 * hooks for one connection run on the loop thread that accepted it, never two
 * at once, so a module needs no locks.  A hook that cannot answer yet returns
 * SAY_WAIT and calls mod_go() later, on the same thread and never inside the
 * hook; the client waits, the loop does not.
 *
 *   hook                      when                               may wait  may object
 *   connect helo mail rcpt    before that reply                  yes       yes
 *   header                    each field, in order               no        no
 *   body_next                 the header is complete             no        no
 *   body                      each piece of body, dots undone    no        no
 *   message                   every byte was seen                yes       yes
 *   queue                     accepted: add fields               yes       defer only
 *   results                   Authentication-Results is written  no        no
 *   judged                    the verdicts are logged            no        no
 *   done                      always, exactly once               no        no
 *
 * A module frees nothing: per-connection and per-message memory is handed to
 * it zeroed, sized by conn_size and msg_size, and reclaimed by the server.
 * Questions to DNS still out when the message ends are the module's to cancel
 * in done (message) and gone (connection).
 *
 * A hook is called for every message, also those of a login or of postern
 * itself: look at in->origin.
 */
#ifndef MODULES_MODULE_H
#define MODULES_MODULE_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "modules/trust.h"
#include "smtpd/base/arena.h"
#include "smtpd/base/conf.h"
#include "smtpd/base/dns.h"
#include "smtpd/base/log.h"
#include "smtpd/base/stat.h"
#include "smtpd/base/tls.h"
#include "smtpd/mail/addr.h"
#include "smtpd/mail/authres.h"
#include "smtpd/mail/bodyhash.h"
#include "smtpd/mail/field.h"

enum say {                /* rising severity: the chain keeps the strongest */
	SAY_NEXT = 0,     /* no objection */
	SAY_QUARANTINE,   /* take it, mark it */
	SAY_DEFER,        /* 4xx, ask again later */
	SAY_REJECT,       /* 5xx */
	SAY_WAIT,         /* not a verdict: mod_go() will follow */
};

union peer_addr {                          /* sockaddr_storage is four times as much: idle connections are many */
	struct sockaddr     sa;            /* of AF_UNIX nothing but the family */
	struct sockaddr_in  in;
	struct sockaddr_in6 in6;
};

struct peer {                              /* who is talking; the session's, read-only here */
	union peer_addr  addr;
	str              ip;               /* text; "" for our own mail */
	str              helo;             /* as given; empty before HELO */
	struct tls_state tls;
	str              login;            /* account address, or empty */
	str              local_user;       /* of this machine, who counts as that login; or empty */
	str              ptr;              /* confirmed name, once iprev knows it (mod_set_ptr) */
	bool             ehlo;
	bool             submission;       /* a submission listener */
};

enum origin {
	FROM_STRANGER,    /* port 25: verify */
	FROM_LOGIN,       /* authenticated (or a device entry): sign, do not judge */
	FROM_OURSELVES,   /* bounce, notice, report: sign */
};

struct message {                           /* envelope and header as far as known */
	str                id;             /* queue id; in the log */
	enum origin        origin;
	struct path        sender;         /* MAIL FROM */
	bool               sender_is_local; /* its domain is one of ours, and it is no return address (SRS) made here */
	const struct path *rcpts;          /* accepted so far */
	size_t             nrcpts;
	bool               smtputf8, body8bit;
	bool               forwarded;      /* a stranger's, and some recipient leads outside; known from body_next on */
	struct fields     *fields;         /* complete from body_next on; omitted ones are flagged */
	struct from        from;           /* from body_next on */
	struct bodyhash   *hashes;         /* wish in body_next, results in message and queue */
	uint64_t           body_bytes;     /* in message */
	bool               reflected;      /* its sender is told all (a reflector): what is off by option is evaluated, too; known from RCPT on */
	int64_t            now;            /* seconds; the clock of this evaluation */
	int64_t            not_before;     /* in queue: seconds; the message does not leave before; 0: at once */
	str                host;           /* our host name */
	str                authserv_id;
};

struct mod {                               /* a module at work on one message */
	const void           *conf;        /* its own settings; const after setup */
	void                 *conn;        /* conn_size bytes, until gone() */
	void                 *msg;         /* msg_size bytes, until done(); NULL before MAIL */
	const struct peer    *peer;
	const struct message *in;          /* NULL before MAIL */
	struct arena         *arena;       /* dies with the message; before MAIL with the connection */
	struct arena         *conn_arena;
	struct dns           *dns;
	struct loop          *loop;
	const struct log     *log;         /* carries id= and module= */
	const struct trust   *trust;       /* may be NULL: holds nothing */
	const struct module  *module;
	struct chain_conn    *chain;
	unsigned              stats;       /* index of its first counter */
	unsigned              index;
};

/* What signing leaves for a message that leaves later than its signatures hold:
 * with these hashes they are made anew and nobody reads its body again. */
#define SIGNING_HASHES 2                   /* CANON_SIMPLE, CANON_RELAXED */
struct signing {
	bool    on;                        /* a domain of ours signs for its author */
	bool    missing;                   /* no key of that domain is out now … */
	bool    hold;                      /* … and until one is, the message has to wait */
	int64_t until;                     /* seconds; when its first signature runs out; INT64_MAX: never */
	str     author;                    /* the domain in From */
	str     hashes[SIGNING_HASHES];    /* SHA-256 of the body, by enum canon; empty: not made */
};

/* Fields that a queue hook adds, in front of all others; each ends with CRLF. */
struct added { str *v; size_t n, room; struct arena *arena; struct signing signing; };
void added_field(struct added *, str field);    /* the last added stands first */

/* The log's line about a message (message.judged): a method's verdict and why.
 * What results writes stands there by itself. */
struct judged;
void judged_add(struct judged *, const char *method, const char *verdict, str reason);

struct module {
	const char                *name;      /* section in verify {}, log tag, counter prefix */
	const char *const         *after;     /* modules whose results this one reads; NULL-terminated, may be NULL */
	const struct conf_section *section;   /* inside verify {}; its struct is what mod->conf points to; may be NULL */
	const struct stat_def     *stats;
	size_t                     nstats;
	size_t                     conn_size, msg_size;

	/* NULL, or whether these settings leave it nothing to do: then it is not in the
	 * chain, and costs no connection or message anything. */
	bool     (*rests)(const void *conf);
	enum err (*setup)(const void *conf, struct arena *, str *why);   /* once a generation, main thread */

	enum say (*connect)(struct mod *);                 /* these may wait ... */
	enum say (*helo)(struct mod *, str name);
	enum say (*mail)(struct mod *, const struct path *from);
	enum say (*rcpt)(struct mod *, const struct path *to);

	void     (*header)(struct mod *, const struct field *);  /* ... these may not: */
	void     (*body_next)(struct mod *);
	void     (*body)(struct mod *, str chunk);

	enum say (*message)(struct mod *);
	enum say (*queue)(struct mod *, struct added *add);
	void     (*results)(const struct mod *, struct authres *);
	void     (*judged)(const struct mod *, struct judged *);   /* what results does not tell the log; may be NULL */
	void     (*done)(struct mod *);                    /* the message is over: cancel what is out */
	void     (*gone)(struct mod *);                    /* the connection is over: the same */
};

void mod_go(struct mod *, enum say);                   /* ends a SAY_WAIT */
/* The reply that goes with a following or returned objection; text is kept. */
void mod_reply(struct mod *, int code, const char *esc, str text);
void mod_set_ptr(struct mod *, str confirmed_name);    /* iprev; it lives as long as the connection */
/* Holds back the modules that stand behind this one: until mod_release at a RCPT
 * they are not asked, so that nobody asks DNS about a client who is as good as
 * turned away.  What they missed they are asked then.  A thorough connection
 * holds nobody. */
void mod_hold(struct mod *);
void mod_release(struct mod *);
/* A trust entry fits this message: the modules that it names are excused. */
void mod_vouch(struct mod *, const struct trust_entry *);
/* Whoever gets this message from us next would refuse it, because we are not
 * where it comes from and nothing else speaks for it; `why` in plain words. */
void mod_fragile(struct mod *, str why);
/* Who excuses this module's objections at this message (or client), or NULL. */
const struct trust_entry *mod_excused(const struct mod *);
/* The same for another module's, by one that builds on its result. */
const struct trust_entry *mod_excused_as(const struct mod *, const struct module *other);
/* Another module's state for this message (its X.h knows the type); NULL when
 * that module is not in the chain. */
const void *mod_other_msg(const struct mod *, const struct module *other);
const void *mod_other_conn(const struct mod *, const struct module *other);

#endif
