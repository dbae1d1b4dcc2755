/* SPDX-License-Identifier: ISC */
/*
 * deny_store: STATE/deny, the entries of run time: read by the server, changed
 * by `postern deny` under a lock and all at once (a new file, renamed).
 */
#ifndef SETUP_DENY_STORE_H
#define SETUP_DENY_STORE_H

#include "modules/deny/deny.h"
#include "smtpd/base/err.h"

struct deny_store {
	const char        *path;
	struct deny_entry *v;      /* in the arena, with room for one more */
	size_t             n;
	size_t             bad;    /* the first line that could not be read; 0: all could */
	int                lock;   /* -1: only read */
};

/* A file that is not there holds nobody.  `to_change` waits for the lock. */
enum err deny_store_open(struct deny_store *, const char *path, bool to_change, struct arena *,
			 str *why);
/* v and n as they are now; the file belongs to its folder's owner. */
enum err deny_store_write(const struct deny_store *, struct arena *, str *why);
void     deny_store_close(struct deny_store *);

#endif
