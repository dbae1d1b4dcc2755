/* SPDX-License-Identifier: ISC */
/*
 * breaker: how much each account has sent lately, and whether its mail is held.
 *
 * One a process.  Loops add to an account's counters with atomics and share
 * nothing else, as with limits.c; adding comes before looking, so two loops may
 * both hold a message, but never both let the last one through.  Whoever finds
 * an account over its allowance shuts it and sends home one baton about it; from
 * then on its mail is stored held.  Main alone opens it again.
 *
 * Counters are quarter hours of a day, so an hour is the last 60 to 75 minutes
 * and a day 24 h to 24 h 15 min.  Recipients written to before are known by
 * keyed 32-bit tags, the last 4,096 of an account; the rare tag that two share
 * makes a new one known, never the other way round.
 */
#ifndef SESSION_BREAKER_H
#define SESSION_BREAKER_H

#include "smtpd/base/arena.h"
#include "smtpd/base/conf.h"
#include "smtpd/base/mbox.h"
#include "smtpd/mail/addr.h"

struct allowance_conf {                 /* of one account; 0: no such limit */
	struct conf_head head;
	uint64_t messages_hour, messages_day;
	uint64_t recipients_message, recipients_hour, recipients_day;
	uint64_t new_hour;              /* recipients outside that it never wrote to before */
	uint64_t bounces_percent;       /* of a day's recipients, once there are BOUNCES_LEAST */
};
#define BREAKER_BOUNCES_LEAST 20
extern const struct conf_section allowance_section;
extern const struct conf_option account_allowance_options[];    /* the same, nothing has a default */
/* What `own` does not say is as `base` has it. */
void allowance_inherit(struct allowance_conf *own, const struct allowance_conf *base);

enum breaker_state { BREAKER_OPEN, BREAKER_HELD, BREAKER_LOCKED };

/* Somebody's allowance was used up just now. */
struct breaker_news {
	struct baton baton;
	char         account[ADDR_PATH_MAX + 1], ip[64];
	const char  *what;              /* "recipients in an hour that it never wrote to before" */
	uint64_t     count, most;
};

struct breaker;
/* `shut` runs at `home` for each account that is shut; the news are then its. */
struct breaker *breaker_new(const unsigned char secret[32], struct mbox *home, void (*shut)(struct baton *));
void            breaker_free(struct breaker *);

struct breaker_message { str account, ip; size_t nrcpt; const struct path *const *outside; size_t noutside; };
/* Counts the message; true: it is to be held.  Any thread. */
bool breaker_takes(struct breaker *, const struct allowance_conf *, const struct breaker_message *, int64_t now);
/* Recipients whose mail came back.  Any thread. */
void breaker_bounced(struct breaker *, const struct allowance_conf *, str account, uint64_t n, int64_t now);
enum breaker_state breaker_state(const struct breaker *, str account);        /* any thread; cheap */

/* ---- main ---- */

/* BREAKER_OPEN: its counters begin again; whom it wrote to stays known. */
bool breaker_set(struct breaker *, str account, enum breaker_state);          /* false: no memory */
/* Why it was shut, for those who ask; kept with it. */
void breaker_explain(struct breaker *, str account, str why);
struct breaker_shut { str account, why; enum breaker_state state; int64_t since; };   /* since 0: nobody knows */
void breaker_each_shut(const struct breaker *, void (*seen)(void *, const struct breaker_shut *), void *arg);
/* What is to outlive the process: each account that has changed since it was
 * asked last, as a value of at most 64 KiB. */
void breaker_each_changed(struct breaker *, void (*seen)(void *, str account, str value), void *arg);
/* Before threads: such a value.  One that cannot be read is nothing. */
void breaker_restore(struct breaker *, str account, str value);

#endif
