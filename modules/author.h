/* SPDX-License-Identifier: ISC */
/*
 * author: whom a verified domain speaks for in a message: the author that From
 * shows, or the mailing list that List-Id names.
 */
#ifndef MODULES_AUTHOR_H
#define MODULES_AUTHOR_H

#include "modules/module.h"

/* The Author Domain is `domain` or lies below it. */
bool author_is_within(const struct message *, str domain);
/* The list that List-Id names (RFC 2919 3) does. */
bool list_is_within(const struct message *, str domain);

#endif
