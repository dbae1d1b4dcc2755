/* SPDX-License-Identifier: ISC */
/*
 * watch: the keys of the running server.  A timer on main's loop; each domain's
 * step, and each look at a key that a dkim section names, is a job of the slow desk,
 * one at a time; what comes of it opens and closes gates without a reload, and is
 * logged.  Only a key that no keyring has yet needs a new generation.
 *
 * A key of a dkim section is in its operator's care: it signs from the start; it is
 * looked at a minute after that and every `look`.  A server that answers and shows
 * another record, or none, closes its gate; silence, and a domain that nobody
 * serves, do not; a good look opens it again.
 *
 * Main thread.
 */
#ifndef SETUP_KEYS_WATCH_H
#define SETUP_KEYS_WATCH_H

struct server;
struct generation;
struct control_call;
struct json;
struct key_watch;

struct key_watch *key_watch_new(struct server *);       /* NULL: no memory */
/* This generation is in use now: its domains and keys are watched. */
void key_watch_use(struct key_watch *, struct generation *);
void key_watch_stop(struct key_watch *);                /* no new jobs */
void key_watch_free(struct key_watch *);                /* behind the slow desk's end */

/* Words: key step|rotate|prepare [DOMAIN] [--force]. */
void key_watch_asked(struct control_call *);
/* For status: a line for each managed domain and for each key in trouble. */
void key_watch_say(struct server *, struct control_call *);
void key_watch_json(struct server *, struct json *);

#endif
