/* SPDX-License-Identifier: ISC */
/*
 * control: verbs talk to the running server over a unix socket in the state
 * directory (0600).  A request is one line of words (quoted where they hold
 * spaces); the answer is text, then a last line "exit N".
 */
#ifndef BASE_CONTROL_H
#define BASE_CONTROL_H

#include <stdio.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/conn.h"

struct control;
struct control_call {                     /* one request; the handler's until control_end */
	str          words[32];
	size_t       nwords;
	struct arena arena;
	void        *house;               /* what control_open was given */
	void        *work;                /* the handler's own */
	struct conn *conn;                /* private */
	bool         ghost;               /* private: the asker has gone */
};

struct control_verb {
	const char *name;                 /* first word */
	void      (*run)(struct control_call *);   /* on the main loop; may end later */
};

/* Main loop.  verbs end with .name == NULL. */
struct control *control_open(struct loop *, const char *path, const struct control_verb *, void *house, str *why);
void control_close(struct control *);
void control_say(struct control_call *, str text);
/* Calls `more` once what was said has left, or the asker has (call->ghost), so
 * that a long answer is made as fast as it is read; perhaps before this returns. */
void control_when_read(struct control_call *, void (*more)(struct control_call *));
void control_end(struct control_call *, int exit_status);  /* the call is over and freed */

/* A verb's side, blocking: sends the words, copies the answer to `out`.
 * The exit status, or -1 with errno when no server listens there. */
int control_ask(const char *path, const char *const words[], size_t n, FILE *out);

#endif
