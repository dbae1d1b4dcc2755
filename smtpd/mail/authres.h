/* SPDX-License-Identifier: ISC */
/*
 * authres: Authentication-Results (RFC 8601), written from values; and the
 * recognition of such fields, in any legal spelling, to take forged ones out.
 */
#ifndef MAIL_AUTHRES_H
#define MAIL_AUTHRES_H

#include "smtpd/base/arena.h"
#include "smtpd/base/str.h"
#include "smtpd/mail/fold.h"

struct authres {
	struct arena *arena;
	str           authserv_id;
	struct fold   text;          /* the results so far, each with its ';' in front */
	size_t        count;
	/* Sees each method as it is added, for who wants values: then no text is made.  May be NULL. */
	void        (*seen)(void *arg, const char *method, const char *result, str reason);
	void         *seen_arg;
};

void authres_init(struct authres *, struct arena *, str authserv_id);
/* One method: authres_method(r, "spf", "pass", reason) then its properties.
 * `reason` may be STR_NONE; everything is quoted where RFC 8601 wants it and
 * made safe: control bytes and what could end the field become '?'. */
void authres_method(struct authres *, const char *method, const char *result, str reason);
void authres_comment(struct authres *, str text);                     /* (…) behind the last result or property */
void authres_property(struct authres *, const char *ptype_dot_property, str value); /* "smtp.mailfrom" */
/* "Authentication-Results: ID; none" when nothing was added; ends with CRLF; lines fold at 78. */
str  authres_field(struct authres *, const char *field_name);
str  authres_body(struct authres *);                                  /* without name and CRLF: for ARC */

/* The authserv-id of an Authentication-Results value, comments, quoting and
 * version apart; false when it cannot be read. */
bool authres_id(struct arena *, str value, str *id);

#endif
