/* SPDX-License-Identifier: ISC */
/*
 * aliases: a file in the usual format (`name: target, target`, # comments,
 * lines that begin with white space go on) into the directory.
 */
#ifndef SETUP_ALIASES_H
#define SETUP_ALIASES_H

#include "smtpd/base/conf.h"
#include "smtpd/mail/directory.h"

#define ALIASES_MOST ((size_t)4 << 20)

/* Names without @ belong to `domain`, targets too.  ERR_BAD: FILE:LINE in *why;
 * or, when `faults` is given, each bad line is a fault there and the rest is read. */
enum err aliases_read(struct directory *, struct arena *, str text, str file, str domain,
                      struct conf_faults *faults, str *why);

#endif
