/* SPDX-License-Identifier: ISC */
/*
 * keeper: the part of postern that stays root, when it was started as root.
 *
 * Before any thread exists the process splits.  The keeper (the parent, root,
 * no network, nothing but this file) answers one kind of question over a socket
 * pair: a descriptor for a file or listening socket *that the configuration
 * names*.  It reads the configuration itself, refuses every other path and
 * every path that leads through a symbolic link owned by neither root nor the
 * directory's owner, and never writes.  The server (the child) drops to its
 * user with no_new_privs.  The keeper passes SIGTERM, SIGINT, SIGHUP on and
 * ends with the server's exit status.
 */
#ifndef BASE_KEEPER_H
#define BASE_KEEPER_H

#include <sys/types.h>

#include "smtpd/base/err.h"
#include "smtpd/base/str.h"

/* What the keeper may hand out; rebuilt by its `read` at every reload. */
struct keeper_names {
	struct strs files;        /* absolute paths, opened O_RDONLY */
	struct strs listeners;    /* "ADDR:PORT", bound and listening */
	struct strs state;        /* directories to create 0700 and give to the user before the split */
};

struct keeper_plan {
	/* Reads the configuration afresh, in the keeper; called at start and at
	 * each request for a reload.  ERR_BAD leaves the old names standing. */
	enum err (*read)(void *arg, struct keeper_names *out);
	void *arg;
	uid_t uid;
	gid_t gid;
	const char *user;         /* for initgroups */
};

/* Splits when the effective user is root.  Returns in the server (in both
 * cases), with privileges dropped; in the keeper it never returns.  When not
 * root it only remembers that there is no keeper. */
enum err keeper_split(const struct keeper_plan *, str *why);
bool     keeper_present(void);

/* Server's side, main thread; without a keeper they call open(2) or bind(2)
 * themselves.  -1 with errno. */
int      keeper_open(str path);
int      keeper_listen(str endpoint);
enum err keeper_reload(void);                 /* the keeper reads the configuration again */

/* Binds and listens (V6ONLY, REUSEADDR, backlog 512, CLOEXEC, non-blocking);
 * unix:/path too.  Keeper and keeperless server share it. */
int      listen_at(str endpoint);

/* Who holds a TCP port: "nginx (process 812)" from /proc, where it tells. */
str      port_holder(struct arena *, uint16_t port);

#endif
