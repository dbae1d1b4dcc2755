/* SPDX-License-Identifier: ISC */
/*
 * verb_inside: what the files of `postern account` share.  No threads.
 */
#ifndef AUTH_VERB_INSIDE_H
#define AUTH_VERB_INSIDE_H

#include "auth/inside.h"

enum { DONE = 0, REFUSED = 1, MISUSED = 2, LATER = 75 };

struct wishes {                        /* options; each verb takes some of them */
	const char *label, *expires, *require, *out;
	struct strs from;
	uint64_t    days;
	bool        send_only, json, legacy, qr;
};

struct work {
	const char *verb;              /* "account add" */
	const struct account_tools *tools;
	str         address, key, domain;      /* empty: none was named */
	const char *word;              /* the second word, where a verb takes one */
	struct wishes wishes;
	struct arena arena;            /* wiped at the end: it holds the files */
	bool        changed;
};

int fail(int status, const struct work *, const char *text);
int fail_str(int status, const struct work *, str text);
/* "ADDRESS what: mend" */
int fail_address(int status, struct work *, const char *what, const char *mend);
int status_of(enum err);

/* The accounts as they are on the disk; the status, DONE with *t (accounts_free). */
int tables_read(struct work *, struct accounts **t);
/* And the account named: it has to be there. */
int account_read(struct work *, struct accounts **t, const struct account **a);

/* One file, locked, and what it becomes.  False: damaged or out of memory. */
typedef bool text_change(struct work *, str text, void *arg, struct buf *out);
int file_change(struct work *, const char *file, text_change *, void *arg);

/* account_verb.c, device_verb.c, totp_verb.c, certificate_verb.c */
int account_add(struct work *);
int account_passwd(struct work *);
int account_require(struct work *);
int account_remove(struct work *);
int account_list(struct work *);
int account_logins(struct work *);     /* logins_verb.c */
bool require_known(const char *word);
int device_add(struct work *);
int device_list(struct work *);
int device_remove(struct work *);
int devices_drop(struct work *);       /* all of the account's */
int totp_enrol(struct work *);
int totp_remove(struct work *);
int totp_drop(struct work *);          /* if there is one */
int certificate_issue(struct work *);
int certificate_list(struct work *);
int certificate_revoke(struct work *);
int certificates_drop(struct work *);  /* all of the account's are revoked */

/* qr.c: the terminal's picture of a text; false: it is too long. */
bool qr_print(FILE *, str text);

#endif
