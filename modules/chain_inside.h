/* SPDX-License-Identifier: ISC */
/*
 * What the files of the chain share; nobody else's.
 *
 *   chain_new      one generation's modules, sorted
 *   chain          one connection: stages, waiting, who is asked when
 *   chain_verdict  what came of a stage: the strongest that counts, and what sticks
 *   chain_look     what modules and askers may see and say
 */
#ifndef MODULES_CHAIN_INSIDE_H
#define MODULES_CHAIN_INSIDE_H

#include "modules/chain.h"
#include "smtpd/base/loop.h"

#define MODULES_MOST 64       /* bits of a set */

typedef uint64_t set;         /* of modules, by index */

static inline set chain_bit(size_t i) { return (set)1 << i; }

struct chain {
	size_t                n;
	const struct module **modules;   /* sorted */
	const void          **confs;
	set                  *needs;     /* all that must have finished before, near and far */
	unsigned             *stats;
	const struct trust   *trust;
	bool                  trial;
};

enum stage { NO_STAGE, CONNECT, HELO, MAIL, RCPT, MESSAGE, QUEUE };

struct said {                            /* a module's reply, for its objections */
	int         code;
	const char *esc;
	str         text;
	bool        of_message;          /* the text lives in the message's arena */
};

struct seat {                            /* one module at one connection, or at one message */
	struct mod  mod;
	struct log  log;
	enum say    say;
	struct said said;
	bool        inside;              /* its hook is running */
	bool tried; /* in a trial: it would have refused (some recipient of) this message */
	enum stage  asking;              /* what it was asked last */
	unsigned    owed;                /* stages, as bits, that it was held back from */
	const struct trust_entry *conn_excuse, *msg_excuse;
	struct verdict            conn_mark, msg_mark;
};

struct chain_conn {
	const struct chain *chain;
	struct peer        *peer;
	struct loop        *loop;
	struct arena       *arena;
	struct dns         *dns;
	struct seat       **seats;       /* NULL: one that minds messages only, and there is none */
	bool                thorough, held;

	struct message     *in;          /* NULL: no message */
	struct arena       *msg_arena;
	str                 fragile;     /* in it; nothing: it is not */

	enum stage          stage;       /* NO_STAGE: none is open */
	set                 todo, waiting;
	str                 name;        /* what the stage is about */
	const struct path  *path;
	struct added       *added;
	chain_done         *done;
	void               *user;
	struct loop_call    call;

	struct verdict      verdict, conn_would, msg_would;
};

/* chain_verdict.c: of the stage that ends; chain.c alone calls it. */
void chain_weigh(struct chain_conn *);
/* Who excuses a seat's objections. */
const struct trust_entry *chain_excuse(const struct seat *);

#endif
