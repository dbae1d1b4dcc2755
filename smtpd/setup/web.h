/* SPDX-License-Identifier: ISC */
/*
 * web: autoconfiguration and the MTA-STS policy over HTTPS.
 *
 * On main's loop, without a thread of its own: conn does TLS with the
 * generation's certificates (SNI, files that change), libmicrohttpd does HTTP at
 * the other end of a socket pair, driven by the loop.  Four documents, each for
 * the domains of the configuration (autoconfig.h); everything else is 404.
 *
 *     GET   /mail/config-v1.1.xml, /.well-known/autoconfig/mail/config-v1.1.xml
 *           at autoconfig.DOMAIN or DOMAIN
 *     GET, POST   /autodiscover/autodiscover.xml (and its capitals)
 *           at autodiscover.DOMAIN or DOMAIN
 *     GET   /.well-known/mta-sts.txt at mta-sts.DOMAIN
 */
#ifndef SETUP_WEB_H
#define SETUP_WEB_H

#include "smtpd/setup/generation.h"

struct web;

/* `let_go`: a connection that had counted itself among a generation's users has
 * gone.  NULL: no memory. */
struct web *web_new(struct loop *, void (*let_go)(struct generation *));
/* From now on these sockets (shared, main's) are watched and this generation is
 * told of; connections of the one before end in their time. */
void web_use(struct web *, struct generation *, const int *fds, size_t n);
/* Every connection is closed, nothing is watched; before the generation goes. */
void web_end(struct web *);
void web_free(struct web *);

#endif
