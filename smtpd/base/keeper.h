/* SPDX-License-Identifier: ISC */
/*
 * keeper: the part of postern that stays root, when it was started as root.
 *
 * Before any thread exists the process splits.  The keeper (the parent, root,
 * no network, nothing but this file) answers one kind of question over a socket
 * pair: a descriptor for a file or listening socket *that the configuration
 * names*.  It reads the configuration itself, refuses every other path and
 * every path that leads through a symbolic link owned by neither root nor the
 * directory's owner (a link of an owner who is not root leads only to files of
 * that owner), and never writes.  The server (the child) drops to its user with
 * no_new_privs.  The keeper passes SIGTERM, SIGINT, SIGHUP, SIGUSR1 on and ends
 * with the server's exit status, or 128 + N when signal N ended the server.
 * When the keeper dies, the server gets SIGTERM.
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
	struct strs state;        /* directories to create 0700 and give to the user before the split;
	                           * one that root owns is given away only if it is empty */
};

struct keeper_plan {
	/* Reads the configuration afresh, in the keeper; called at start and at
	 * each request for a reload.  ERR_BAD leaves the old names standing.
	 * What it fills in is copied at once. */
	enum err (*read)(void *arg, struct keeper_names *out);
	void *arg;
	uid_t uid;
	gid_t gid;
	const char *user;         /* for initgroups */
};

/* Splits when the effective user is root.  Returns in the server (in both
 * cases), with privileges dropped; in the keeper it never returns.  When not
 * root it only remembers that there is no keeper. */
enum err keeper_split(const struct keeper_plan *, str *why); /* why: static text, of the last failure */
bool     keeper_present(void);

/* Server's side, main thread; without a keeper they call open(2) or bind(2)
 * themselves.  -1 with errno. */
int      keeper_open(str path);
int      keeper_listen(str endpoint);
enum err keeper_reload(void);                 /* the keeper reads the configuration again */

/* Binds and listens (V6ONLY, REUSEADDR, backlog 512, CLOEXEC, non-blocking);
 * unix:/path too.  Keeper and keeperless server share it. */
int      listen_at(str endpoint);

/* A socket handed over by systemd (LISTEN_FDS, LISTEN_PID) that listens at this
 * very address, as a descriptor of its own; -1 with ENOENT when there is none.
 * keeper_listen looks here first. */
int      listen_inherited(str endpoint);

/* Who listens on a TCP port, from /proc, where it tells: "nginx (process 812)"
 * and "systemctl stop nginx", or "kill 812" for what is no system service. */
struct port_holder {
	char who[64], stop[160];
};
bool     port_holder(uint16_t port, struct port_holder *);   /* false: both are empty */
/* The same for a listener's endpoint; the keeper sees more of /proc. */
void     keeper_port_holder(str endpoint, struct port_holder *);

#endif
