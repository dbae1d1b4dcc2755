/* SPDX-License-Identifier: ISC */
/*
 * The accounts table that is up, the seats of the desk threads that read it,
 * and the file that it is made of.
 *
 * Main makes tables and puts them up by one atomic store; how a replaced one
 * goes is told in inside.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/keeper.h"
#include "smtpd/base/log.h"

/* ---- seats and tables ------------------------------------------------------------ */

static _Thread_local struct { uint64_t serial; struct seat *seat; } mine;

struct seat *auth_sit(struct auth *auth)
{
	if (mine.serial != auth->serial) {
		unsigned n = atomic_fetch_add(&auth->seated, 1);

		must(n < auth->nseats);
		mine.serial = auth->serial;
		mine.seat = &auth->seats[n];
	}
	return mine.seat;
}

/* Says what it is about to read, then looks whether that is still up: main,
 * having put up another, frees the old one only if no seat says it. */
const struct accounts *auth_table(struct auth *auth, struct seat *seat)
{
	const struct accounts *t = atomic_load(&auth->table), *up;

	for (;;) {
		atomic_store(&seat->reading, t);
		up = atomic_load(&auth->table);
		if (up == t)
			return t;
		t = up;
	}
}

void auth_table_done(struct seat *seat)
{
	atomic_store(&seat->reading, NULL);
}

static bool is_read(const struct auth *auth, const struct accounts *t)
{
	for (unsigned i = 0; i < auth->nseats; i++)
		if (atomic_load(&auth->seats[i].reading) == t)
			return true;
	return false;
}

void look_free_replaced(struct auth *auth)
{
	for (struct accounts **at = &auth->replaced, *t; (t = *at) != NULL;) {
		if (is_read(auth, t)) {
			at = &t->next;
			continue;
		}
		*at = t->next;
		accounts_free(t);
	}
}

static void put_up(struct auth *auth, struct accounts *t)
{
	struct accounts *old = (struct accounts *)(uintptr_t)atomic_load(&auth->table);

	t->serial = ++auth->tables;
	atomic_store(&auth->table, t);
	if (old != NULL) {
		old->next = auth->replaced;
		auth->replaced = old;
	}
	look_free_replaced(auth);
}

/* ---- the file ---------------------------------------------------------------------- */

static bool same_stamp(const struct looked *l, const struct stat *st)
{
	return l->seen && l->settled && l->dev == st->st_dev && l->ino == st->st_ino &&
	       l->size == st->st_size &&
	       memcmp(&l->changed, &st->st_ctim, sizeof(l->changed)) == 0 &&
	       memcmp(&l->modified, &st->st_mtim, sizeof(l->modified)) == 0;
}

static void note_stamp(struct looked *l, const struct stat *st)
{
	l->seen = true;
	l->dev = st->st_dev;
	l->ino = st->st_ino;
	l->size = st->st_size;
	l->changed = st->st_ctim;
	l->modified = st->st_mtim;
	/* A file written in this second may be written again without a new stamp. */
	l->settled = clock_wall() > st->st_ctim.tv_sec + 1;
}

static enum err unreadable(const char *file, struct arena *a, str *why)
{
	enum err e = err_of_errno(errno);

	*why = arena_printf(a, "accounts file %s: %s: make it readable for the server's user, or "
	                    "set `accounts` in auth {} to another", file, strerror(errno));
	return e == OK ? ERR_IO : e;
}

static enum err take_text(struct auth *auth, const char *file, str text, bool *changed,
                          struct arena *a, str *why)
{
	unsigned char digest[DIGEST_MAX];
	struct accounts *t;

	digest_of(DIGEST_SHA256, text, digest);
	if (auth->looked.known && memcmp(digest, auth->looked.digest, 32) == 0 &&
	    atomic_load(&auth->table) != NULL)
		return OK;             /* touched, or renamed over by the same */
	t = accounts_parse(str_of(file), text, a, why);
	if (t == NULL)
		return ERR_BAD;
	memcpy(auth->looked.digest, digest, 32);
	auth->looked.known = true;
	put_up(auth, t);
	*changed = true;
	return OK;
}

static enum err read_open(struct auth *auth, const char *file, int fd, bool always, bool *changed,
                          struct arena *a, str *why)
{
	struct arena secret;
	struct stat st;
	enum err e;
	str text;

	if (fstat(fd, &st) != 0)
		return unreadable(file, a, why);
	if (!always && same_stamp(&auth->looked, &st))
		return OK;
	arena_init(&secret, ARENA_UNBOUNDED);
	e = account_file_read(fd, &secret, &text);
	if (e == OK)
		e = take_text(auth, file, text, changed, a, why);
	else
		*why = arena_printf(a, "accounts file %s: %s: it has to be a plain file of at most "
		                    "16 MiB", file, err_text(e));
	arena_wipe(&secret);
	if (e == OK || e == ERR_BAD)
		note_stamp(&auth->looked, &st);
	return e;
}

/* ERR_ABSENT only when there is a table to keep; a server without accounts
 * starts without. */
enum err look_read(struct auth *auth, const char *file, bool always, bool *changed,
                          struct arena *a, str *why)
{
	int fd = keeper_open(str_of(file));
	enum err e;

	if (fd >= 0) {
		e = read_open(auth, file, fd, always, changed, a, why);
		close(fd);
		return e;
	}
	if (errno != ENOENT)
		return unreadable(file, a, why);
	if (auth->looked.seen) {
		*why = arena_printf(a, "accounts file %s is not there: put it there; the accounts "
		                    "stay as they were", file);
		return ERR_ABSENT;
	}
	if (atomic_load(&auth->table) != NULL)
		return OK;
	log_event(NULL, LOG_NOTICE, "accounts.absent", KV_C("file", file),
	          KV_C("why", "nobody can log in: make an account with `postern account add`"));
	return take_text(auth, file, STR(""), changed, a, why);
}
