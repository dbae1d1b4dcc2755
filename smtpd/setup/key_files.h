/* SPDX-License-Identifier: ISC */
/*
 * key_files: private keys on disk, STATE/keys/DOMAIN/SELECTOR.pem, 0600 in
 * directories 0700, owned by the state directory's owner.
 */
#ifndef SETUP_KEY_FILES_H
#define SETUP_KEY_FILES_H

#include <stdio.h>

#include "smtpd/base/crypt.h"
#include "smtpd/setup/config.h"

struct key_file { str domain, selector, path; struct key *key; };
struct key_files { struct key_file *v; size_t n, room; };

/* Never overwrites: ERR_EXISTS.  Fills path. */
enum err key_file_write(str state, struct key_file *, struct arena *, str *why);
/* Those in the state directory and those the configuration names. */
enum err key_files_read(str state, const struct config *, struct arena *, struct key_files *, str *why);
void     key_files_free(struct key_files *);
/* SELECTOR._domainkey.DOMAIN. IN TXT ( "…" "…" ), each string at most 255. */
void     key_file_print_record(str domain, str selector, str record, FILE *);

/* A new file 0600, synced, never over an old one; given to the owner of its directory when root writes. */
enum err file_create(str path, mode_t, str text, struct arena *, str *why);
/* The same, in the place of an old one. */
enum err file_replace(str path, mode_t, str text, struct arena *, str *why);
/* Waits for the lock on a file 0600 that is made when it is not there; closing the
 * descriptor gives it back.  -1 with errno. */
int      file_lock(const char *path);
/* The directory and its parents, 0700. */
enum err directory_create(str path, struct arena *, str *why);

#endif
