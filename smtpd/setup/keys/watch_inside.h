/* SPDX-License-Identifier: ISC */
/*
 * What the files of watch share: watch.c (items, their turns, the slow desk, what
 * verbs ask) and watch_outcome.c (what comes of a round).  Main thread; what a round
 * was lent is the slow desk's while it is out.
 */
#ifndef SETUP_KEYS_WATCH_INSIDE_H
#define SETUP_KEYS_WATCH_INSIDE_H

#include "smtpd/setup/keys/key_inside.h"
#include "smtpd/setup/keys/watch.h"
#include "smtpd/setup/serve.h"

#define WATCH_FIRST_S  60          /* after the start a key by hand is looked at */

/* A managed domain (no selector), or a key by hand.  Its own memory. */
struct item {
	struct item *next;
	char        *domain, *selector, *said;
	bool         wanted;           /* by the newest generation */
	bool         signs, troubled;
	int64_t      due;
	/* what a verb asked for */
	struct control_call *call;
	enum step_wish       wish;
	bool                 hasty;
};

struct key_watch {
	struct server    *server;
	struct loop_timer timer;
	struct item      *items;
	struct round     *round;       /* out at the slow desk; NULL: none */
	bool              stopped;
	bool              behind;      /* keys were made that the ring does not have yet */
};

struct round {
	struct job         job;
	struct key_watch  *watch;
	struct item       *item;
	struct control_call *call;     /* who asked for it; NULL: the calendar */
	struct generation *g;          /* one user more, while this is out */
	struct arena       arena;
	enum err           result;
	str                why;
	struct step        step;       /* of a managed domain */
	struct life_key    key;        /* of a key by hand … */
	struct key_look    look;       /* … and what was seen of it */
};

/* ---- watch_outcome.c */
/* Of a round that came home: the item's state and next time, gates, log lines;
 * new keys are loaded, and what waited for a signature is released. */
void round_apply(struct key_watch *, struct round *);

#endif
