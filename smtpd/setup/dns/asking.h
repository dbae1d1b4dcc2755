/* SPDX-License-Identifier: ISC */
/*
 * asking: how a verb that asks DNS comes by its resolver: --resolver, else the
 * configuration's, else full recursion; and a loop of its own to wait on.
 */
#ifndef SETUP_ASKING_H
#define SETUP_ASKING_H

#include "smtpd/base/dns.h"
#include "smtpd/base/loop.h"

struct config;

struct asking {
	const char *verb, *resolver, *file;    /* from the command line; file NULL: the usual one, if it is there */
	bool            wants_config;          /* even with --resolver */
	struct config  *config;                /* NULL: there is none */
	struct dns_conf conf;
	struct loop    *loop;                  /* loop->dns asks */
};

/* EXIT_DONE, or what the verb ends with; then there is nothing to close. */
int  asking_open(struct asking *, struct arena *);
/* Runs the loop until asking_answered. */
void asking_wait(struct asking *);
void asking_answered(struct asking *);
void asking_close(struct asking *);

#endif
