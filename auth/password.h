/* SPDX-License-Identifier: ISC */
/*
 * password: a new password, from terminal or pipe.  Verbs only.
 */
#ifndef AUTH_PASSWORD_H
#define AUTH_PASSWORD_H

#include "auth/inside.h"

/* NULL, or "what: what to do".  The caller wipes `room`, whatever came. */
const char *password_take(char room[static PASSWORD_MAX + 2], str *password);
/* What makes it no password for an account; NULL: nothing. */
const char *password_fault(str password);

#endif
