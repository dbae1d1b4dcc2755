/* SPDX-License-Identifier: ISC */
/*
 * aliases: a file in the usual format (`name: target, target`, # comments,
 * lines that begin with white space go on) into the directory.
 */
#ifndef SETUP_ALIASES_H
#define SETUP_ALIASES_H

#include "smtpd/mail/directory.h"

/* Names without @ belong to `domain`, targets too.  ERR_BAD: FILE:LINE in *why. */
enum err aliases_read(struct directory *, struct arena *, str text, str file, str domain, str *why);

#endif
