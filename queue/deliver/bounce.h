/* SPDX-License-Identifier: ISC */
/*
 * bounce: a letter about recipients of one message (RFC 3461 6, RFC 3464).
 *
 * The timetable decides who is spoken of; the disk desk reads the original's
 * header and writes the text; the timetable hands the letter to a loop.  The
 * letter of a failure settles its recipients when it is stored.
 */
#ifndef QUEUE_DELIVER_BOUNCE_H
#define QUEUE_DELIVER_BOUNCE_H

#include "queue/deliver/deliver.h"
#include "smtpd/base/desk.h"
#include "smtpd/mail/dsn.h"

#define BOUNCE_HEADER_MOST ((size_t)64 << 10)    /* of the original, when only its header goes back */
#define BOUNCE_WHOLE_MOST  ((size_t)1 << 20)     /* RET=FULL is honoured up to this size (RFC 3461 6.2) */

struct bounce {
	struct job    job;                       /* work = bounce_work */
	struct arena  arena;
	struct queue *queue;
	const struct deliver_setup *setup;
	const struct queue_entry   *entry;       /* lent: as with a lease */
	struct dsn_rcpt *rcpts;                  /* in arena; advice is filled in here */
	uint32_t        *indexes;                /* parallel; of the entry's recipients */
	size_t           n;
	bool             settles;
	struct letter   *letter;                 /* the result; NULL: result says why */
	enum err         result;
	void            *user;
};

struct bounce *bounce_new(size_t room);          /* NULL: no memory */
/* Strings are copied. */
void bounce_add(struct bounce *, uint32_t index, const struct queue_rcpt *, enum dsn_action, str status, str said, str remote,
                int64_t until);
void bounce_free(struct bounce *);               /* not the letter */
void bounce_work(struct job *);                  /* disk desk */

/* Nobody hears of this message: its sender is most likely forged. */
bool bounce_is_backscatter(const struct relay_conf *, const struct queue_entry *);

/* A notice of ours that came back: it goes to the postmaster, once. */
bool bounce_is_double(const struct queue_entry *);

/* Shall the sender hear of it (RFC 3461 4.1)?  Not one who was most likely
 * forged (RFC 5321 6.2), unless the option says so. */
bool bounce_wanted(const struct relay_conf *, const struct queue_entry *, const struct queue_rcpt *, enum dsn_action);

#endif
