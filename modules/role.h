/* SPDX-License-Identifier: ISC */
/*
 * role: who stays reachable for those that are refused, so that they can ask
 * why (RFC 5321 4.5.1, RFC 2142 4 and 2).
 */
#ifndef MODULES_ROLE_H
#define MODULES_ROLE_H

#include "smtpd/mail/addr.h"

static inline bool role_is_open(const struct path *to)
{
	return path_is_postmaster(to) || str_is_nocase(to->local, "abuse");
}

#endif
