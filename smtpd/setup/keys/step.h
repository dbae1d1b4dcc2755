/* SPDX-License-Identifier: ISC */
/*
 * step: one turn of the calendar of a domain's keys, with all that belongs to it:
 * the book read under its lock, missing keys made, records written where DNS takes
 * updates, looks taken that are due, states moved, private parts put away, the book
 * written.  Blocks; the slow desk or a verb.
 */
#ifndef SETUP_KEYS_STEP_H
#define SETUP_KEYS_STEP_H

#include "smtpd/setup/keys/book.h"

enum step_wish { STEP_TURN, STEP_ROTATE, STEP_PREPARE };

struct step {
	/* what is wanted */
	const struct config         *config;
	const struct domain_section *domain;     /* has a section keys */
	struct arena  *arena;                    /* of all that comes of it */
	enum step_wish wish;
	bool           hasty;                    /* rotate after one good look */
	int64_t        now;
	bool           blind;                    /* no look is taken: of keys that were only just made */
	uint64_t       look_ms;                  /* no look begins later than this after the start; 0: all are taken */

	/* what came of it */
	struct key_plan  plan;
	struct life_book book;
	struct life_told told;
	bool             made;                   /* keys that no keyring has yet */
	bool             more;                   /* looks are due that were not taken */
	int64_t          next;                   /* when something may change of itself */
	str              trouble;                /* an update that failed, in a sentence; the rest went on */
	size_t           changed;                /* records written by update */
};

/* OK; ERR_DENIED: a wish that cannot be met now; else the book could not be read
 * or written.  `why` is a sentence. */
enum err step_take(struct step *, str *why);
/* Without looks and without changing anything. */
enum err step_look_at(struct step *, str *why);

#endif
