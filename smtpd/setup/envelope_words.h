/* SPDX-License-Identifier: ISC */
#ifndef SETUP_ENVELOPE_WORDS_H
#define SETUP_ENVELOPE_WORDS_H

#include <sys/socket.h>

#include "smtpd/mail/addr.h"

/* IPv4 or IPv6; *out is zeroed before. */
bool envelope_ip(const char *text, struct sockaddr_storage *out);
/* With or without <>; "" is the null sender.  What SMTP would not take is judged all
 * the same, split at its last @: a domain that cannot be one has a result, too
 * (RFC 7208 4.3).  Strings lie in the text or the arena. */
void envelope_path(struct arena *, str text, struct path *out);

#endif
