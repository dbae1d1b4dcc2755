/* SPDX-License-Identifier: ISC */
/*
 * orcpt: addresses of type "utf-8" as ORCPT and reports write them (RFC 6533 3):
 * "\x{E4}" stands for what is not printable ASCII, and for "\", "+" and "=".
 * Pure; any thread.
 */
#ifndef MAIL_ORCPT_H
#define MAIL_ORCPT_H

#include <stdbool.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/str.h"

#define ORCPT_MOST 500                 /* RFC 3461 4 (d): octets of the parameter's value */

/* "utf-8;…" or "rfc822;…"?  Types match without case. */
bool orcpt_is_utf8(str orcpt);

/* The address that `in` stands for, as UTF-8.  `raw`: bytes beyond ASCII may
 * stand for themselves (SMTPUTF8).  Nothing that does not print comes out. */
bool orcpt_decode(struct arena *, str in, bool raw, str *out);

/* The same back; `raw` leaves what is beyond ASCII as it is. */
str  orcpt_encode(struct arena *, str address, bool raw);

#endif
