/* SPDX-License-Identifier: ISC */
/*
 * book: the managed keys of a domain on disk, STATE/keys/DOMAIN/book.json.
 *
 * Written whole under another name, synced and renamed, 0600; changed only under
 * the lock beside it.  The private keys lie beside it, SELECTOR.pem, and are
 * written before the book names them.  Verbs, the slow desk; read by main.
 */
#ifndef SETUP_KEYS_BOOK_H
#define SETUP_KEYS_BOOK_H

#include "smtpd/setup/config.h"
#include "smtpd/setup/keys/life.h"

/* What a domain's configuration says about its keys. */
struct key_plan {
	str              domain, folder;       /* STATE/keys/DOMAIN */
	struct life_plan life;
	struct strs      taken;                /* selectors of dkim sections */
	const struct update_section *update;   /* NULL: a person pastes the records */
	bool             hold;                 /* unsigned = hold */
};
/* False: the domain has no section keys.  Points into the configuration. */
bool     key_plan_of(const struct config *, const struct domain_section *, struct arena *, struct key_plan *);
/* The section of that name; NULL: there is none. */
const struct domain_section *config_domain_of(const struct config *, str domain);

/* An absent book is an empty one.  ERR_BAD: it is damaged, or a newer program's. */
enum err book_read(const struct key_plan *, struct arena *, struct life_book *, str *why);
enum err book_write(const struct key_plan *, const struct life_book *, struct arena *, str *why);
/* Waits for the lock; makes the folder.  Closing *fd gives it back. */
enum err book_lock(const struct key_plan *, struct arena *, int *fd, str *why);
str      book_key_path(const struct key_plan *, str selector, struct arena *);

/* A record that DNS should hold for a domain's managed keys, or hold no longer. */
struct key_record {
	str  selector, name;                   /* SELECTOR._domainkey.DOMAIN */
	str  value;                            /* empty: the record is to be removed */
	enum life_state state;
	bool signs, shown;                     /* now; as the last look saw it */
	str  note;                             /* what it is for, a few words */
};
/* For `postern dns`, doctor and setup.  Zero records: nothing is managed, or no
 * key has been made yet. */
enum err key_records(const struct config *, str domain, struct arena *, struct key_record **, size_t *n, str *why);

#endif
