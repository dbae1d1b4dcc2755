/* SPDX-License-Identifier: ISC */
/*
 * dsn: delivery status notifications as text (RFC 3464, 3461 6, 3834, 6533).
 */
#ifndef MAIL_DSN_H
#define MAIL_DSN_H

#include "smtpd/base/arena.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/str.h"

enum dsn_action { DSN_FAILED, DSN_DELAYED, DSN_DELIVERED, DSN_RELAYED, DSN_EXPANDED };

struct dsn_rcpt {
	str final;            /* address as we tried it */
	str orcpt;            /* "rfc822;user@…" as the client gave it (xtext undone), or empty */
	enum dsn_action action;
	str status;           /* "5.1.1" */
	str said;             /* the far side's or our words: "550 5.1.1 No such user" */
	str remote;           /* host that said it; empty: we did */
	str advice;           /* a plain sentence with the next step, or empty */
	int64_t last_try, will_retry_until;
};

struct dsn {
	str host;             /* reporting MTA: our host name */
	str postmaster;       /* who writes: an address whose domain signs; empty: postmaster@host */
	str id, envid;        /* queue id; ENVID or empty */
	str to;               /* the original's sender */
	str subject_of;       /* Subject of the original or empty */
	int64_t arrived, now;
	const struct dsn_rcpt *rcpts;
	size_t nrcpts;
	str original_header;  /* raw fields */
	bool utf8;            /* message/global-* forms (RFC 6533) */
	str message_id;       /* without <> */
};
/* The whole message without Received, CRLF lines; the original comes back as
 * its header (message/rfc822-headers) – or whole, when `body_follows` says that
 * the caller appends the bytes of the original and dsn_end after it. */
void dsn_write(struct buf *out, const struct dsn *, bool body_follows);
void dsn_end(struct buf *out, const struct dsn *);

#endif
