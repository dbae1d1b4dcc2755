/* SPDX-License-Identifier: ISC */
/*
 * drop_scan: one look through the directory that anybody may put files into.
 *
 * Names tell order and whether a file is complete, nothing else; all that counts
 * is asked of the opened descriptor.  What is looked at in one go is bounded, so
 * a directory full of rubbish costs a bounded turn each time.  Its own thread.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"
#include "smtpd/setup/drop.h"

#define LOOK_MOST   20000u       /* entries a look */
#define NAME_ROOM   56
#define LEFT_OVER_S 3600

struct complete { char name[NAME_ROOM]; };

struct owner {
	unsigned uid;
	bool     later;              /* the server will not have his mail now */
	uint64_t messages, bytes;
	size_t   thrown;
};

struct look {
	int                       dir;
	gid_t                     gid;
	const struct drop_limits *limits;
	drop_taker               *take;
	void                     *arg;
	struct complete          *found;
	size_t                    nfound;
	struct owner             *owners;
	size_t                    nowners;
};

/* ---- what is there ------------------------------------------------------------------ */

static void left_over(struct look *l, const char *name)
{
	struct stat st;
	bool is_dir;

	/* The change time cannot be set, so nobody's leftovers are for ever young. */
	if (fstatat(l->dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || clock_wall() - st.st_ctime < LEFT_OVER_S)
		return;
	is_dir = S_ISDIR(st.st_mode);
	if (unlinkat(l->dir, name, is_dir ? AT_REMOVEDIR : 0) == 0)
		log_event(NULL, LOG_NOTICE, "drop.swept", KV_C("file", name), KV_N("uid", st.st_uid), KV_N("size", st.st_size));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct complete *)a)->name, ((const struct complete *)b)->name);
}

static void entry_seen(struct look *l, const char *name)
{
	size_t n = strlen(name);

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return;
	if (strncmp(name, "new.", 4) != 0 || n >= NAME_ROOM)
		left_over(l, name);
	else
		memcpy(l->found[l->nfound++].name, name, n + 1);
}

static void list(struct look *l)
{
	int fd = openat(l->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	const struct dirent *e;

	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (size_t i = 0; i < LOOK_MOST && (e = readdir(d)) != NULL; i++)
		entry_seen(l, e->d_name);
	closedir(d);
	qsort(l->found, l->nfound, sizeof(*l->found), by_name);
}

/* ---- one file --------------------------------------------------------------------------- */

static void remove_strange(struct look *l, const char *name, const struct stat *st, const char *why)
{
	bool gone = unlinkat(l->dir, name, 0) == 0 || unlinkat(l->dir, name, AT_REMOVEDIR) == 0;

	log_event(NULL, LOG_WARN, "drop.refused", KV_C("file", name), KV_I("uid", st != NULL ? (int64_t)st->st_uid : -1),
	          KV_C("why", why), KV_C("removed", gone ? "yes" : "no"));
}

static const char *strange(const struct look *l, const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "it is no regular file";
	if (st->st_nlink != 1)
		return "it has several names";
	if (st->st_gid != l->gid)
		return "it was not made here: it has another group";
	if ((st->st_mode & 07777) != 0640)
		return "its mode is not 0640";
	return NULL;
}

/* An opened message; -1: it was removed, or is none. */
static int open_one(struct look *l, const char *name, struct stat *st)
{
	int fd = openat(l->dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	const char *why;

	if (fd < 0) {
		if (errno == ELOOP || errno == ENXIO || errno == EACCES || errno == EPERM)
			remove_strange(l, name, NULL, errno == ELOOP ? "it is a link" : "it cannot be opened");
		return -1;
	}
	why = fstat(fd, st) != 0 ? "it cannot be asked for its owner" : strange(l, st);
	if (why == NULL)
		return fd;
	remove_strange(l, name, st, why);
	close(fd);
	return -1;
}

static struct owner *owner_of(struct look *l, unsigned uid)
{
	for (size_t i = 0; i < l->nowners; i++)
		if (l->owners[i].uid == uid)
			return &l->owners[i];
	l->owners[l->nowners] = (struct owner){ .uid = uid };      /* as many as files at most */
	return &l->owners[l->nowners++];
}

static bool is_over(const struct look *l, struct owner *o, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size;

	o->messages++;
	o->bytes += size;
	return o->messages > l->limits->messages || o->bytes > l->limits->bytes || size > l->limits->message + DROP_HEAD_MOST;
}

static bool read_whole(int fd, char *to, size_t n)
{
	while (n > 0) {
		ssize_t got = read(fd, to, n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		to += got;
		n -= (size_t)got;
	}
	return true;
}

static enum drop_took read_and_take(struct look *l, int fd, const char *name, const struct stat *st)
{
	size_t n = (size_t)st->st_size;
	char *text = malloc(n + 1);
	enum drop_took took = DROP_KEPT;

	if (text == NULL)
		return took;
	if (read_whole(fd, text, n)) {
		took = l->take(l->arg, st->st_uid, (str){ text, n });
	} else {
		remove_strange(l, name, st, "it became shorter while it was read");
		took = DROP_GONE;
	}
	free(text);
	return took;
}

static void look_at(struct look *l, const char *name)
{
	struct stat st;
	int fd = open_one(l, name, &st);
	struct owner *o;

	if (fd < 0)
		return;
	o = owner_of(l, st.st_uid);
	if (is_over(l, o, &st)) {
		o->thrown += unlinkat(l->dir, name, 0) == 0;
		log_event(NULL, LOG_WARN, "drop.removed", KV_C("file", name), KV_N("uid", st.st_uid), KV_N("size", st.st_size),
		          KV_C("why", "too many, or too large: sendmail {} and limits {} have the numbers"));
	} else if (!o->later) {
		if (read_and_take(l, fd, name, &st) == DROP_GONE)
			unlinkat(l->dir, name, 0);
		else
			o->later = true;
	}
	close(fd);
}

void drop_scan(int dir, const struct drop_limits *limits, bool (*stop)(void *arg), drop_taker *take, drop_thrown *thrown,
               void *arg)
{
	struct look l = { .dir = dir, .limits = limits, .take = take, .arg = arg };
	struct stat st;

	l.found = calloc(LOOK_MOST, sizeof(*l.found));
	if (l.found != NULL && fstat(dir, &st) == 0) {
		l.gid = st.st_gid;
		list(&l);
		l.owners = calloc(l.nfound + 1, sizeof(*l.owners));
	}
	for (size_t i = 0; l.owners != NULL && i < l.nfound && !stop(arg); i++)
		look_at(&l, l.found[i].name);
	for (size_t i = 0; i < l.nowners; i++)
		if (l.owners[i].thrown > 0)
			thrown(arg, l.owners[i].uid, l.owners[i].thrown);
	free(l.owners);
	free(l.found);
}
