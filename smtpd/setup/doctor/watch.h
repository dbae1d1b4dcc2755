/* SPDX-License-Identifier: ISC */
/*
 * watch: the doctor in the running server.  Every now and then (doctor { every }) it
 * looks at everything as the verb does, without --outside; what it saw is remembered
 * in STATE/doctor.json.  A change that a second look confirms is told once, in a
 * letter, and logged; so is every fault, when it is new.
 *
 * The first look comes an hour after the first start: there is nothing to compare
 * with, so it writes no letter.  Main thread; what blocks is on a desk of its own
 * for as long as the look lasts.
 */
#ifndef SETUP_DOCTOR_WATCH_H
#define SETUP_DOCTOR_WATCH_H

struct server;
struct doctor_watch;

struct doctor_watch *doctor_watch_new(struct server *);    /* NULL: no memory */
/* A generation is in use now: `every` may be another. */
void doctor_watch_use(struct doctor_watch *);
/* At the stop's beginning, while main's loop, resolver and MTA-STS are there. */
void doctor_watch_stop(struct doctor_watch *);
/* Behind the desks' end, before main's loop goes. */
void doctor_watch_free(struct doctor_watch *);

#endif
