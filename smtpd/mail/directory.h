/* SPDX-License-Identifier: ISC */
/*
 * directory: who receives here.
 *
 * Domains, accounts, aliases, catch-all, plus forms and mailbox places: one
 * immutable table per configuration generation, built by the main thread,
 * read by all.  The session asks it at RCPT, deliver at each attempt.
 */
#ifndef MAIL_DIRECTORY_H
#define MAIL_DIRECTORY_H

#include <sys/types.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/err.h"
#include "smtpd/base/str.h"
#include "smtpd/mail/addr.h"

enum place_kind { PLACE_MAILDIR, PLACE_LMTP };

struct place {                    /* where the mail of a domain's accounts, or of one of them, lies */
	enum place_kind kind;
	str     path;             /* Maildir with %d and %u */
	str     lmtp;             /* endpoint text */
	uid_t   uid;              /* (uid_t)-1: the server's own */
	gid_t   gid;
	mode_t  mode;             /* of directories; files without its x bits */
	char    junk_detail;      /* LMTP: quarantined mail goes to user+Junk, with this separator; 0: to user */
};

struct directory_domain {
	str          name;        /* A-labels */
	struct place place;
	str          route;       /* HOST:PORT for mail from submission; empty: straight to the mailbox */
	str          catch_all;   /* address, or empty */
	str          copy;        /* address, or empty */
};

struct directory;

struct directory *directory_new(struct arena *, char plus);    /* plus: the separator, 0: none */
enum err directory_add_domain(struct directory *, const struct directory_domain *);
enum err directory_add_account(struct directory *, str address);
/* An account's own place, instead of its domain's; ERR_ABSENT: there is no such account. */
enum err directory_set_place(struct directory *, str address, const struct place *);
enum err directory_add_alias(struct directory *, str address, const struct strs *targets);
void     directory_set_postmaster(struct directory *, str address); /* of postmaster@ and abuse@ without account or alias */

enum directory_says {
	DIRECTORY_ELSEWHERE,  /* the domain is not ours */
	DIRECTORY_MAILBOX,    /* an account here */
	DIRECTORY_TARGETS,    /* an alias, catch-all, postmaster: its targets, each to be asked again (10 deep at most) */
	DIRECTORY_UNKNOWN,    /* our domain, nobody of that name */
};

struct directory_answer {
	enum directory_says says;
	const struct directory_domain *domain;   /* ours */
	str  account;                            /* MAILBOX: its address, plus form taken off */
	const struct place *place;               /* MAILBOX: the account's, or its domain's */
	str  detail;                             /* what stood behind the plus */
	const struct strs *targets;
	bool keeps;                              /* TARGETS: of an account that names itself: "bob: bob, carol" */
};
/* Local parts match without case; <postmaster> without domain is the first
 * domain's.  Never allocates but in the arena given. */
void directory_find(const struct directory *, struct arena *, const struct path *, struct directory_answer *out);
const struct directory_domain *directory_domain(const struct directory *, str domain); /* NULL: not ours */
const struct directory_domain *directory_home(const struct directory *);               /* the first; NULL: there is none */
/* All final addresses behind one, aliases followed; loops are cut; at most `most`.
 * A name of ours that nobody has is among them, so that its delivery can say so,
 * unless there is nothing else: ERR_ABSENT. */
enum err directory_expand(const struct directory *, struct arena *, const struct path *, size_t most, struct path **out, size_t *n);
/* The Maildir of an account: %d and %u filled in; false when the parts could
 * leave the tree ('/', "..", leading '.', NUL, over 255). */
bool place_maildir(struct arena *, const struct place *, str account, str *out);

#endif
