/* SPDX-License-Identifier: ISC */
/*
 * A batch: everything is written or moved, then synced together, then settled.
 * Disk desk.
 */
#include "queue/deliver/maildir_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/buf.h"
#include "smtpd/base/clock.h"

#define SYNCFS_SLOW   200                 /* ms: perhaps somebody else's writes are in the way … */
#define SYNCFS_REST   60000               /* … so for this long files are synced one by one, if that is quicker */

static const char UNSAFE[] = "The message could not be brought safely to the disk in";

/* A disk that is slow altogether is slower still with a sync for each file: 64 of
 * them took ten times what one flush took, and delivery fell behind for a minute. */
static _Atomic uint64_t syncfs_rests_until, slow_flush_ms;
static _Atomic uint64_t each_us;          /* of late, one file's own sync; 0: not known */

/* ---- what went wrong, in words ------------------------------------------------------------ */

/* %u is the server's user, %d the mailbox: what is in backquotes can be typed. */
static const struct { int errnum; const char *status, *mend; } troubles[] = {
	{ ENOSPC, "4.3.1", "make room on that disk: `df -h '%d'` shows how full it is" },
	{ EDQUOT, "4.2.2", "the quota of the server's user %u is used up there: `quota -v -u %u` shows it; raise it, or make room" },
	{ EACCES, "4.3.0", "the server's user %u may not write there: `chown -R %u '%d'`; `namei -l '%d'` shows who owns what on the way" },
	{ EPERM, "4.3.0", "the server's user %u must own the mailbox and be a member of the mailboxes' group: `chown -R %u '%d'`, "
	                  "`id %u` shows the groups" },
	{ EROFS, "4.3.0", "the file system is mounted for reading only: `findmnt -T '%d'`, and `dmesg` says why" },
	{ ENOTDIR, "4.3.0", "something that is no directory stands in the way: `namei -l '%d'` shows it" },
	{ ELOOP, "4.3.0", "a symbolic link stands in the way: `namei -l '%d'` shows it" },
	{ ENOENT, "4.3.0", "is its disk mounted? `findmnt -T '%d'` shows which that is" },
	{ EIO, "4.3.0", "the disk is at fault: `dmesg` tells more" },
	{ EMFILE, "4.3.0", "the server has too many files open: raise LimitNOFILE= of its unit" },
};

static str user_name(struct arena *a)
{
	char room[1024];
	struct passwd pw, *found = NULL;

	if (getpwuid_r(geteuid(), &pw, room, sizeof(room), &found) == 0 && found != NULL)
		return str_keep(a, str_of(pw.pw_name));
	return arena_printf(a, "%u", (unsigned)geteuid());
}

static str advice(struct maildir_item *i, const char *mend)
{
	struct arena *a = &i->lease->arena;
	str user = user_name(a), rest = str_of(mend), said;
	struct buf b;

	buf_init(&b, BUF_UNBOUNDED);
	while (rest.n > 0) {
		size_t percent = str_find(rest, '%');

		buf_add(&b, str_head(rest, percent));
		rest = str_skip(rest, percent);
		if (rest.n > 1)
			buf_add(&b, rest.p[1] == 'u' ? user : i->dir);
		rest = str_skip(rest, 2);
	}
	said = str_keep(a, buf_str(&b));
	buf_fini(&b);
	return said;
}

void maildir_failed(struct maildir_item *i, const char *doing, int errnum)
{
	const char *status = "4.3.0", *mend = "look at that disk";

	for (size_t k = 0; k < COUNT(troubles); k++)
		if (troubles[k].errnum == errnum) {
			status = troubles[k].status;
			mend = troubles[k].mend;
		}
	lease_settle(i->lease, i->rcpt, FATE_DEFERRED, str_of(status),
	             arena_printf(&i->lease->arena, "%s %.*s: %s: %.*s", doing, STR_ARG(i->dir), strerrordesc_np(errnum),
	                          STR_ARG(advice(i, mend))));
}

/* ---- syncing -------------------------------------------------------------------------------- */

static void leave(struct maildir_item *i)
{
	if (i->file >= 0)
		close(i->file);
	i->file = -1;
	i->folder = NULL;
}

static void give_up(struct maildir_item *i, const char *doing, int errnum)
{
	maildir_failed(i, doing, errnum);
	if (!i->moved)
		maildir_unwrite(i);
	leave(i);
}

static void sync_each(struct maildir_item *v, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (v[k].file >= 0 && fsync(v[k].file) != 0)
			give_up(&v[k], UNSAFE, errno);
	for (size_t k = 0; k < n; k++)
		if (v[k].folder != NULL && !v[k].folder->synced)
			maildir_sync_folder(v[k].folder);
}

static void sync_disks(struct maildir_item *v, size_t n)
{
	for (size_t k = 0; k < n; k++)
		if (v[k].folder != NULL && !v[k].folder->synced)
			maildir_sync_disk(v[k].round, v[k].folder);
}

/* What is known of single syncs fades with each slow flush that was the better
 * choice: the disk may have changed since. */
static void flush_took(uint64_t ms, size_t files)
{
	uint64_t us = atomic_load(&each_us);

	if (ms <= SYNCFS_SLOW)
		return;
	if (us * files >= ms * 1000) {
		atomic_store(&each_us, us - us / 8);
		return;
	}
	atomic_store(&slow_flush_ms, ms);
	atomic_store(&syncfs_rests_until, clock_ms() + SYNCFS_REST);
}

static void each_took(uint64_t ms, size_t files)
{
	atomic_store(&each_us, ms * 1000 / files);
	if (ms > atomic_load(&slow_flush_ms))
		atomic_store(&syncfs_rests_until, 0);
}

static void sync_all(struct maildir_item *v, size_t n)
{
	uint64_t began = clock_ms();
	size_t open = 0;

	for (size_t k = 0; k < n; k++)
		open += v[k].folder != NULL;
	if (open < MAILDIR_SYNCFS) {
		sync_each(v, n);
	} else if (began >= atomic_load(&syncfs_rests_until)) {
		sync_disks(v, n);
		flush_took(clock_ms() - began, open);
	} else {
		sync_each(v, n);
		each_took(clock_ms() - began, open);
	}
	for (size_t k = 0; k < n; k++)
		if (v[k].folder != NULL && v[k].folder->errnum != 0)
			give_up(&v[k], UNSAFE, v[k].folder->errnum);
}

/* ---- the batch --------------------------------------------------------------------------------- */

static void settle_synced(struct maildir_item *i)
{
	if (i->folder == NULL)
		return;
	if (!i->moved)
		i->rcpt->staged_as = arena_printf(&i->lease->arena, "%.*s\n%.*s", STR_ARG(i->dir), STR_ARG(i->name));
	if (i->moved || i->rcpt->staged_as.n > 0)
		lease_settle(i->lease, i->rcpt, i->moved ? FATE_DELIVERED : FATE_STAGED, STR("2.0.0"),
		             arena_printf(&i->lease->arena, "in the mailbox %.*s", STR_ARG(i->dir)));
	else {
		maildir_failed(i, "Out of memory for", ENOMEM);
		maildir_unwrite(i);
	}
	leave(i);
}

static void work_on(struct maildir_item *i, struct maildir_window *window)
{
	if (i->rcpt->staged) {
		if (maildir_move(i) != MAILDIR_AGAIN)
			return;
		i->rcpt->staged = false;
	}
	if (i->rcpt->place == NULL) {          /* the mailbox has gone meanwhile; the next try finds where it belongs */
		lease_settle(i->lease, i->rcpt, FATE_DEFERRED, STR("4.2.1"), STR("The mailbox of this address has gone"));
		return;
	}
	if (!maildir_write(i, window))
		leave(i);
}

static size_t gather(struct maildir_batch *b, struct maildir_round *r, struct maildir_item *v)
{
	size_t n = 0;

	for (struct lease *l = b->leases; l != NULL; l = l->next)
		for (size_t k = 0; k < l->n; k++) {
			if (l->v[k].settled)
				continue;
			if (v != NULL)
				v[n] = (struct maildir_item){ .batch = b, .round = r, .lease = l, .rcpt = &l->v[k],
				                              .dir = l->v[k].dir, .file = -1 };
			n++;
		}
	return n;
}

static void nothing_done(struct maildir_batch *b)
{
	for (struct lease *l = b->leases; l != NULL; l = l->next)
		lease_settle_rest(l, FATE_DEFERRED, STR("4.3.0"), STR("out of memory"));
}

/* One allocation: the output lies behind it. */
static struct maildir_window *window_new(const struct maildir_batch *b)
{
	size_t room = MAILDIR_SMALL;
	struct maildir_window *w;

	for (const struct lease *l = b->leases; l != NULL; l = l->next)
		if (l->entry->in_file)
			room = MAILDIR_LARGE;
	w = malloc(sizeof(*w) + room);
	if (w == NULL)
		return NULL;
	w->out = (char *)(w + 1);
	w->room = room;
	return w;
}

static void work_through(struct maildir_item *v, size_t n, struct maildir_window *window)
{
	for (size_t k = 0; k < n; k++)
		work_on(&v[k], window);
	sync_all(v, n);
	for (size_t k = 0; k < n; k++)
		settle_synced(&v[k]);
	maildir_close(v->round);
}

/* A message to a thousand mailboxes is done in rounds, for the descriptors. */
void maildir_work(struct job *j)
{
	struct maildir_batch *b = SUPER(j, struct maildir_batch, job);
	size_t n = gather(b, NULL, NULL);
	struct maildir_item *v = calloc(n + 1, sizeof(*v));
	struct maildir_round *r = malloc(sizeof(*r));
	struct maildir_window *window = window_new(b);

	if (v != NULL && r != NULL && window != NULL) {
		r->n = 0;
		gather(b, r, v);
		for (size_t from = 0; from < n; from += MAILDIR_BATCH)
			work_through(v + from, n - from < MAILDIR_BATCH ? n - from : MAILDIR_BATCH, window);
	}
	free(v);
	free(r);
	free(window);
	nothing_done(b);
}
