/* SPDX-License-Identifier: ISC */
/*
 * sign_options: what the command lines of sign and seal have in common: who
 * signs, with which key, what and when.
 */
#ifndef SETUP_SIGN_OPTIONS_H
#define SETUP_SIGN_OPTIONS_H

#include <getopt.h>

#include "modules/dkim/dkim.h"

struct config;

struct sign_options {
	const char *verb;
	const char *domain, *selector, *key_file, *algorithm, *canon, *headers, *identity;
	const char *expire, *now;
	const char *authserv_id, *resolver;            /* seal's own */
	const char *file;                              /* the configuration; NULL: the usual one */
	struct config *config;                         /* … once the verb has read it */
	bool        by_configuration;                  /* sign: -c is given, neither selector nor key are */
	struct dkim_signer signer;
	struct strs names;
	struct key *key;                               /* owned: sign_options_drop */
	int64_t     when;
};

/* Reads the command line, the values and the key; returns the exit status. */
int  sign_options_read(struct sign_options *, const char *verb, bool sealing, int argc, char **argv,
                       struct arena *);
void sign_options_drop(struct sign_options *);

#endif
