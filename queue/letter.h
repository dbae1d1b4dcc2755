/* SPDX-License-Identifier: ISC */
/*
 * letter: mail that postern writes itself (bounce, notice, reflector, report),
 * handed by mailbox to a loop, which takes it in like any other message
 * (session/inject.c): same modules, same signing, same commit.
 */
#ifndef QUEUE_LETTER_H
#define QUEUE_LETTER_H

#include "smtpd/base/arena.h"
#include "smtpd/base/err.h"
#include "smtpd/base/mbox.h"

struct letter {                       /* malloc'ed; goes home with result set */
	struct baton baton;           /* home, arrived: the writer's */
	struct arena arena;           /* all strings below */
	str          sender;          /* "" for <> */
	str          rcpt;            /* one address */
	str          text;            /* whole message, CRLF lines, without Received */
	bool         utf8;
	unsigned     flags;           /* enum message_flag beside MESSAGE_OWN: MESSAGE_REQUIRETLS, MESSAGE_LAST */
	uint64_t     settles_id;      /* 0: none; the commit also settles these recipients */
	uint32_t    *settles;
	size_t       nsettles;
	str         *settles_said, *settles_host;  /* parallel: the last answer, and who gave it; NULL: not known */
	enum err     result;
	uint64_t     id;              /* of the stored letter */
	void        *user;
};
struct letter *letter_new(void);
void           letter_free(struct letter *);

#endif
