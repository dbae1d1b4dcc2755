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
	set                   sits;      /* at connections; the others at messages only */
	size_t                conn_size; /* bytes of a connection */
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

/* One module at one connection, or at one message.  Connections that idle are
 * many: what few seats come to hold lies beside them, in the arena. */
struct seat {
	struct mod  mod;
	struct log  log;
	enum say    say;
	enum stage  asking;              /* what it was asked last */
	uint8_t     owed;                /* stages, as bits, that it was held back from */
	bool        inside;              /* its hook is running */
	bool tried; /* in a trial: it would have refused (some recipient of) this message */
	const struct said        *said;  /* NULL: nothing */
	const struct trust_entry *conn_excuse, *msg_excuse;
	const struct verdict     *conn_mark, *msg_mark;   /* NULL: none */
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

	struct verdict      verdict;
	const struct verdict *conn_would, *msg_would;   /* NULL: none; in the arenas of connection and message */
};

/* chain_verdict.c: of the stage that ends; chain.c alone calls it. */
void chain_weigh(struct chain_conn *);
/* Who excuses a seat's objections. */
const struct trust_entry *chain_excuse(const struct seat *);

#endif
