/* SPDX-License-Identifier: ISC */
/*
 * What control.c shares with its test and fuzz target.
 */
#ifndef BASE_CONTROL_INSIDE_H
#define BASE_CONTROL_INSIDE_H

#include "smtpd/base/control.h"

#define CONTROL_LINE 4096

/* Splits a request into call->words; false: too many, unbalanced, or none. */
bool control_words(struct control_call *, str line);

#endif
