/* SPDX-License-Identifier: ISC */
/*
 * chain: walks connections and messages through the modules.
 *
 * Knows order, waiting and the strongest verdict; knows no module by name.
 * A struct chain is one generation's modules with their settings; a chain_conn
 * is one connection (or one message of our own); both live where the caller
 * says.  Loop thread only.
 *
 * Each stage returns SAY_WAIT when it will call `done` later (never inside the
 * call), else the verdict is in chain_verdict() at once.  Only one stage of a
 * chain_conn is open at a time.
 */
#ifndef MODULES_CHAIN_H
#define MODULES_CHAIN_H

#include "modules/module.h"

struct chain;
struct chain_conn;

struct verdict {
	enum say    say;
	int         code;         /* of the reply, when it objects; 0: none given */
	const char *esc;
	str         text;
	const char *module;       /* who said it; NULL for SAY_NEXT */
};

/* modules: NULL-terminated.  confs[i] is the settings of modules[i].  Sorts by
 * `after`; NULL with a reason (a circle, a setup that failed).  Counters are
 * registered once a process, by chain_counters. */
struct chain *chain_new(const struct module *const *modules, const void *const *confs,
			struct arena *, str *why);
void          chain_counters(const struct module *const *modules);
/* Before the first chain_open.  Whom trust excuses is not refused. */
void          chain_trust(struct chain *, const struct trust *);
/* A trial: all is done, and nothing of a stranger's refused; chain_would_refuse
 * says what would have been.  What the server itself lacks (4.3.x) still counts. */
void          chain_trial(struct chain *, bool on);

typedef void chain_done(struct chain_conn *, void *user);

/* What chain_open takes of the arena. */
size_t             chain_conn_size(const struct chain *);
struct chain_conn *chain_open(const struct chain *, struct loop *, struct peer *,
			      struct arena *conn_arena, const struct log *);
void chain_close(struct chain_conn *); /* cancels everything; gone() of each module */
/* The DNS that modules ask; default loop->dns. */
void chain_use_dns(struct chain_conn *, struct dns *);
/* A reject at connect, HELO, MAIL or RCPT spares the modules not yet asked in
 * that stage.  A thorough connection asks them all the same: verify, explain
 * and a trial, which go on after a reject.  Off by default. */
void chain_thorough(struct chain_conn *, bool on);

enum say chain_connect(struct chain_conn *, chain_done *, void *user);
enum say chain_helo(struct chain_conn *, str name, chain_done *, void *user);
/* Begins a message: `in` and the arena live until chain_end.  A stage's strings
 * and paths live until it is over.  When the arena is spent the answer is
 * SAY_DEFER (452) and no message has begun. */
enum say chain_mail(struct chain_conn *, struct message *in, struct arena *, const struct log *,
		    chain_done *, void *user);
enum say chain_rcpt(struct chain_conn *, const struct path *to, chain_done *, void *user);
void     chain_header(struct chain_conn *, const struct field *);
void     chain_body_next(struct chain_conn *);
void     chain_body(struct chain_conn *, str chunk);
/* At most `limit_ms` of waiting (30 s a message, CONTRACT): then modules that
 * still wait are told by their own DNS deadlines; the chain waits for them. */
enum say chain_message(struct chain_conn *, chain_done *, void *user);
enum say chain_queue(struct chain_conn *, struct added *, chain_done *, void *user);
void     chain_results(struct chain_conn *, struct authres *);
void     chain_judged(struct chain_conn *, struct judged *);
void chain_end(struct chain_conn *); /* the message is over, however; done() of each module */

/* Of the stage that ended last: the strongest; of equals the first in order.
 * SAY_QUARANTINE sticks: what was said before MAIL holds for the connection,
 * what was said since for the message. */
const struct verdict *chain_verdict(const struct chain_conn *);
/* In a trial: the first objection of this connection and message that would have
 * counted; NULL: there was none. */
const struct verdict *chain_would_refuse(const struct chain_conn *);
/* Which trust entry excuses a module at this message, or NULL. */
const struct trust_entry *chain_excused(const struct chain_conn *, const struct module *);
/* Why this message would be refused when it is forwarded, or nothing. */
str chain_fragile(const struct chain_conn *);
/* For verify, explain and tests. */
const void *chain_msg(const struct chain_conn *, const struct module *);
const void *chain_connstate(const struct chain_conn *, const struct module *);

#endif
