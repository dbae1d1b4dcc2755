/* SPDX-License-Identifier: ISC */
/*
 * keeper_inside: the protocol of the two halves and what keeper.c (the split and
 * the server's side), keeper_root.c (the keeper's life) and keeper_walk.c (safe
 * opening) share; nobody else includes it.
 *
 * One packet asks, one answers: an ask is struct keeper_ask cut behind its text,
 * an answer is struct keeper_answer, with one descriptor when error is 0 and the
 * ask was for one.
 */
#ifndef BASE_KEEPER_INSIDE_H
#define BASE_KEEPER_INSIDE_H

#include <limits.h>
#include <signal.h>
#include <stddef.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/keeper.h"

enum keeper_kind { KEEPER_OPEN = 1, KEEPER_LISTEN, KEEPER_RELOAD, KEEPER_HOLDER };

struct keeper_ask {
	uint32_t kind;
	uint32_t serial;         /* comes back, so that a late answer is never taken for another */
	char     text[PATH_MAX];
};
#define KEEPER_ASK_HEAD offsetof(struct keeper_ask, text)

struct keeper_answer {
	uint32_t serial;
	int32_t  errnum;         /* an errno; for a reload an enum err */
	struct port_holder holder;
};

struct keeper {                  /* root's side */
	const struct keeper_plan *plan;
	struct arena              arena;   /* holds names */
	struct keeper_names       names;
	int                       sock, signals;
	pid_t                     server;
};

/* Fills names with a copy of what plan->read says; at a fault nothing changes. */
enum err keeper_read_names(struct keeper *);
/* Answers until the server has ended, then exits as it did. */
_Noreturn void keeper_live(struct keeper *);

/* A regular file, for reading; O_NONBLOCK, O_CLOEXEC.  Symbolic links count only
 * when root or their directory's owner owns them, and one that is not root's
 * leads only to a file of the same owner.  -1 with errno. */
int keeper_walk(str path);
/* A directory, through root's links only; missing ones are made, the last one 0700. */
int keeper_walk_dir(str path);

#endif
