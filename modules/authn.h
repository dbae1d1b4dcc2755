/* SPDX-License-Identifier: ISC */
/*
 * authn: one Authentication-Results for each message, one Received-SPF, and
 * out with what strangers wrote in our name.
 */
#ifndef MODULES_AUTHN_H
#define MODULES_AUTHN_H

#include "modules/chain.h"

/* A field of our own kind that came from outside: Authentication-Results with
 * our authserv-id in any legal spelling (or unreadable), Received-SPF with our
 * host as receiver (or none).  Such fields are omitted. */
bool authn_forged(struct arena *, const struct field *, str authserv_id, str host);

/* The field with the results of all modules, CRLF included; for a login also
 * auth=pass smtp.auth=LOGIN (RFC 8601 2.7.4). */
str authn_field(struct chain_conn *, struct arena *, str authserv_id, str login);

/* The verdicts of all modules with their reasons, for one line of the log:
 * spf=pass dkim=fail dkim_reason="…".  What a method says several times is
 * joined by commas, in order.  In the arena. */
struct log_kv;
struct judged { struct arena *arena; struct log_kv *v; size_t n, room; };
void authn_judged(struct chain_conn *, struct arena *, struct judged *);

#endif
