/* SPDX-License-Identifier: ISC */
/*
 * What the files of smtpd/setup/keys share.
 */
#ifndef SETUP_KEYS_KEY_INSIDE_H
#define SETUP_KEYS_KEY_INSIDE_H

#include "smtpd/setup/dns/direct.h"
#include "smtpd/setup/keys/step.h"

/* look.c: DNS asked about one key. */
struct key_look { enum life_sight sight; str said; bool silent; /* no server answered at all */ };
void key_look(struct direct *, const struct key_plan *, const struct life_key *, struct arena *, struct key_look *);

/* update.c: the records that DNS should hold, told to the server that takes updates. */
enum err key_update(struct direct *, const struct key_plan *, struct life_book *, int64_t now, struct arena *, size_t *changed,
                    str *why);

/* private.c: private parts that have served are put away. */
enum err key_put_away(const struct key_plan *, struct life_book *, int64_t now, struct arena *, str *why);

/* verb_key_life.c: what came of a step, a sentence a line. */
str key_step_text(const struct step *, struct arena *);
/* The record that DNS should hold now; a comment where it should hold none. */
void key_print_wanted(const struct key_plan *, const struct life_key *);

/* The verb's commands, each with the words behind `key`. */
int verb_key_generate(int argc, char **argv);
int verb_key_list(int argc, char **argv);
int verb_key_show(int argc, char **argv);
int verb_key_prepare(int argc, char **argv);
int verb_key_rotate(int argc, char **argv);
int verb_key_step(int argc, char **argv);

#endif
