/* SPDX-License-Identifier: ISC */
/*
 * cancel: the address that stops a message which still waits (grace time,
 * RFC 4865).
 *
 *   cancel+ID-HASH@DOMAIN     DOMAIN is that of the account which sent it
 *
 * HASH is of HMAC-SHA-256 over the message's id and the account, 80 bits in base
 * 32: it survives those who change the case of letters, nobody can guess it, and
 * it stops that one message of that one account and nothing else.
 *
 * The rule: it is a word between the server and whoever has logged in as that
 * account.  It is taken from a login of that account only, with a password, a
 * token or a certificate; from port 25 never, whatever the sender's address, and
 * not from a device that is known by its address either.  What a program answers
 * (Auto-Submitted, the null sender) stops nothing.  Who merely reads the notice
 * and has no login can do nothing with it.  Pure.
 */
#ifndef MAIL_CANCEL_H
#define MAIL_CANCEL_H

#include "smtpd/mail/addr.h"

#define CANCEL_SECRET 32

/* False: no memory, or `login` is no address. */
bool cancel_address(struct arena *, const unsigned char secret[static CANCEL_SECRET], str id, str login, struct path *out);

enum cancel_reads {
	CANCEL_NOT,        /* no such address */
	CANCEL_GOOD,       /* *id: the message's, in small letters, in the arena */
	CANCEL_FOREIGN,    /* the form of one, but not this login's, or not made here */
};
/* `login` is empty for who has none.  That the domain is ours is the caller's to look at. */
enum cancel_reads cancel_read(struct arena *, const unsigned char secret[static CANCEL_SECRET], const struct path *to, str login,
                              str *id);

#endif
