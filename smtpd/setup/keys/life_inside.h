/* SPDX-License-Identifier: ISC */
/*
 * What the files of a key's life share.
 */
#ifndef SETUP_KEYS_LIFE_INSIDE_H
#define SETUP_KEYS_LIFE_INSIDE_H

#include "smtpd/setup/keys/life.h"

#define LIFE_DAY 86400

/* `told` may be NULL; `text` lives as long as the list's arena. */
void life_tell(struct life_told *, enum life_event, str selector, str text);
/* Ahead of the set whose turn it is, with a key that a good last look has let out. */
bool life_waits(const struct life_book *, const struct life_key *);
/* The next set of which a key waits; 0: none. */
unsigned life_next_set(const struct life_book *, bool (*fits)(const struct life_book *, const struct life_key *));
/* Between the two looks that a key needs now. */
int64_t life_interval(const struct life_plan *, const struct life_book *);
bool life_planned(const struct life_plan *, enum life_algorithm);
/* 2026-11-22, of the local calendar. */
str  life_date(struct arena *, int64_t);

#endif
