/* SPDX-License-Identifier: ISC */
/*
 * verbs: what `postern VERB` can do, and the table that says so.
 *
 * Every verb gets argv with argv[0] its own name and returns the exit status:
 * 0 done, 1 a finding or refusal, 2 wrong usage, 75 try again later.
 */
#ifndef SETUP_VERBS_H
#define SETUP_VERBS_H

#include <stdio.h>

#include "modules/module.h"

enum { EXIT_DONE = 0, EXIT_FINDING = 1, EXIT_USAGE = 2, EXIT_LATER = 75 };

typedef int verb_run(int argc, char **argv);

struct verb {
	const char *name;
	verb_run   *run;
	const char *usage;     /* what follows the name; several lines where there are several forms */
	const char *summary;   /* one line, begins with a verb */
	const char *details;   /* options, one a line, or NULL */
};

extern const struct verb verbs[];                      /* ends with .name == NULL; smtpd/postern.c */
extern const struct module *const builtin_modules[];   /* the visible array; ends with NULL; smtpd/postern.c */

const struct verb *verb_find(str name);                /* NULL: none */
void verb_help(FILE *, const struct verb *);
/* `postern VERB: what is wrong: what to do` on standard error; returns status. */
int verb_fail(int status, const char *verb, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* "unknown option …, see postern help VERB" and EXIT_USAGE. */
int verb_misused(const char *verb, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* True, and help printed, when an argument is --help or -h. */
bool verb_asks_help(int argc, char **argv, int *status);

/* For verbs whose only option is -c FILE: -1 to go on, else the exit status. */
int verb_file_option(const char *verb, int argc, char **argv, const char **file);

int verb_open_file(str path);      /* open(2) for reading: a conf_open */

struct config;
struct arena;
/* For verbs that need the configuration: reads it, prints faults. NULL: *status says. */
struct config *verb_config(const char *verb, const char *file, struct arena *, int *status);

/* ---- the verbs, one file each ------------------------------------------- */
int verb_serve(int argc, char **argv);
int verb_local(int argc, char **argv);
int verb_check(int argc, char **argv);
int verb_reload(int argc, char **argv);
int verb_status(int argc, char **argv);
int verb_setup(int argc, char **argv);
int verb_doctor(int argc, char **argv);
int verb_dns(int argc, char **argv);
int verb_dmarc(int argc, char **argv);
int verb_account(int argc, char **argv);
int verb_deliver_test(int argc, char **argv);
int verb_deny(int argc, char **argv);
int verb_key(int argc, char **argv);
int verb_relay_test(int argc, char **argv);
int verb_queue(int argc, char **argv);
bool verb_queue_is_about_files(int argc, char **argv);       /* check, export, backup, restore, salvage */
int verb_queue_files(int argc, char **argv);
int verb_log(int argc, char **argv);
int verb_verify(int argc, char **argv, const struct module *const *modules);
int verb_explain(int argc, char **argv, const struct module *const *modules);
int verb_spf(int argc, char **argv);
int verb_sendmail(int argc, char **argv);
int verb_sign(int argc, char **argv);
int verb_seal(int argc, char **argv);
int verb_help_verb(int argc, char **argv);
int verb_version(int argc, char **argv);

#endif
