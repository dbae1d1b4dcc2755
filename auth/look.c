/* SPDX-License-Identifier: ISC */
/*
 * The accounts table that is up, the seats of the desk threads that read it,
 * and the files that it is made of: accounts, device passwords, TOTP secrets.
 *
 * When one of them has changed, all are read and one table is made of them; a
 * fault in any keeps the table that is up.
 *
 * Main makes tables and puts them up by one atomic store; how a replaced one
 * goes is told in inside.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

static void free_replaced(struct auth *auth)
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
	atomic_store(&auth->needs_codes, t->needs_codes);
	atomic_store(&auth->table, t);
	if (old != NULL) {
		old->next = auth->replaced;
		auth->replaced = old;
	}
	free_replaced(auth);
}

bool auth_needs_codes(const struct auth *auth)
{
	return atomic_load(&auth->needs_codes);
}

/* ---- stamps ---------------------------------------------------------------------------- */

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

/* ---- the files, opened and read ----------------------------------------------------------- */

static const struct { const char *what, *option; } sources[SOURCES] = {
	[SOURCE_ACCOUNTS] = { "accounts file", "accounts" },
	[SOURCE_DEVICES]  = { "file of device passwords", "app-passwords" },
	[SOURCE_CODES]    = { "file of enrolled codes", "state" },
};

struct reading {                       /* all files, for one table */
	int         fd[SOURCES];       /* -1: not there */
	struct stat st[SOURCES];
	struct accounts_text from;
	struct arena secret;           /* the texts */
	bool        changed;
};

static enum err unreadable(const char *file, size_t which, struct arena *a, str *why)
{
	enum err e = err_of_errno(errno);

	*why = arena_printf(a,
			    "%s %s: %s: make it readable for the server's user, or set `%s` to "
			    "another",
			    sources[which].what, file, strerror(errno), sources[which].option);
	return e == OK ? ERR_IO : e;
}

/* ERR_ABSENT only for what was there once: a server without accounts starts without. */
static enum err open_one(const struct watched *l, struct reading *r, size_t i, struct arena *a,
			 str *why)
{
	const char *file = l->file[i];

	r->fd[i] = keeper_open(str_of(file));
	if (r->fd[i] >= 0 && fstat(r->fd[i], &r->st[i]) == 0) {
		r->changed |= !same_stamp(&l->looked[i], &r->st[i]);
		return OK;
	}
	if (r->fd[i] >= 0 || errno != ENOENT)
		return unreadable(file, i, a, why);
	if (!l->looked[i].seen)
		return OK;
	*why = arena_printf(a, "%s %s is not there: put it there; the accounts stay as they were",
	                    sources[i].what, file);
	return ERR_ABSENT;
}

static enum err open_all(const struct watched *l, struct reading *r, struct arena *a, str *why)
{
	enum err e = OK;

	*r = (struct reading){ 0 };
	for (size_t i = 0; i < SOURCES; i++)
		r->fd[i] = -1;
	arena_init(&r->secret, ARENA_UNBOUNDED);
	for (size_t i = 0; i < SOURCES && e == OK; i++)
		if (l->file[i] != NULL)
			e = open_one(l, r, i, a, why);
	return e;
}

static enum err read_all(const struct watched *l, struct reading *r, struct arena *a, str *why)
{
	for (size_t i = 0; i < SOURCES; i++) {
		enum err e;

		r->from.file[i] = str_of(l->file[i]);
		if (r->fd[i] < 0)
			continue;
		e = account_file_read(r->fd[i], &r->secret, &r->from.text[i]);
		if (e == OK)
			continue;
		*why = arena_printf(a, "%s %s: %s: it has to be a plain file of at most 16 MiB",
		                    sources[i].what, l->file[i], err_text(e));
		return e;
	}
	r->from.demands = l->demands;
	r->from.ndemands = l->ndemands;
	return OK;
}

static void close_all(struct reading *r)
{
	for (size_t i = 0; i < SOURCES; i++)
		if (r->fd[i] >= 0)
			close(r->fd[i]);
	arena_wipe(&r->secret);
}

/* ---- a table of them ------------------------------------------------------------------------ */

static bool digest_of_all(const struct accounts_text *from, unsigned char out[static DIGEST_MAX])
{
	struct digest d;

	if (digest_begin(&d, DIGEST_SHA256) != OK)
		return false;
	for (size_t i = 0; i < SOURCES; i++) {
		uint64_t n[2] = { from->file[i].n, from->text[i].n };

		digest_add(&d, (str){ (const char *)n, sizeof(n) });
		digest_add(&d, from->file[i]);
		digest_add(&d, from->text[i]);
	}
	for (size_t i = 0; i < from->ndemands; i++) {
		char require = (char)from->demands[i].require;

		digest_add(&d, from->demands[i].domain);
		digest_add(&d, (str){ &require, 1 });
	}
	return digest_end(&d, out) == 32;
}

static enum err take_texts(struct auth *auth, struct watched *l, const struct accounts_text *from,
                           bool *changed, struct arena *a, str *why)
{
	unsigned char digest[DIGEST_MAX];
	struct accounts *t;

	*why = STR("out of memory");
	if (!digest_of_all(from, digest))
		return ERR_MEMORY;
	if (l->known && memcmp(digest, l->digest, 32) == 0 && atomic_load(&auth->table) != NULL)
		return OK;             /* touched, or renamed over by the same */
	t = accounts_make(from, a, why);
	if (t == NULL)
		return ERR_BAD;
	if (!standing_settle(auth, t)) {
		accounts_free(t);
		return ERR_MEMORY;
	}
	memcpy(l->digest, digest, 32);
	l->known = true;
	put_up(auth, t);
	*changed = true;
	return OK;
}

static void note_stamps(struct watched *l, const struct reading *r)
{
	for (size_t i = 0; i < SOURCES; i++)
		if (r->fd[i] >= 0)
			note_stamp(&l->looked[i], &r->st[i]);
}

static enum err look(struct auth *auth, struct watched *l, bool always, bool *changed,
		     struct arena *a, str *why)
{
	struct reading r;
	enum err e = open_all(l, &r, a, why);

	if (e == OK && (always || r.changed || atomic_load(&auth->table) == NULL)) {
		e = read_all(l, &r, a, why);
		if (e == OK)
			e = take_texts(auth, l, &r.from, changed, a, why);
		/* What is wrong is said once, not each minute. */
		if (e == OK || e == ERR_BAD)
			note_stamps(l, &r);
	}
	close_all(&r);
	return e;
}

enum err look_again(struct auth *auth, bool always, bool *changed, struct arena *a, str *why)
{
	free_replaced(auth);
	return look(auth, &auth->look, always, changed, a, why);
}

/* ---- which files ------------------------------------------------------------------- */

static void look_free(struct watched *l)
{
	for (size_t i = 0; i < SOURCES; i++)
		free(l->file[i]);
	for (size_t i = 0; i < l->ndemands; i++)
		free((void *)(uintptr_t)l->demands[i].domain.p);
	free(l->demands);
	*l = (struct watched){ 0 };
}

static bool name_file(struct watched *l, enum source which, str file, str fallback,
		      const char *behind)
{
	size_t n;
	char *name;

	if (file.n == 0 && behind == NULL)
		file = STR("accounts");
	n = file.n > 0 ? file.n : fallback.n + strlen(behind);
	name = malloc(n + 1);
	if (name == NULL)
		return false;
	if (file.n > 0)
		snprintf(name, n + 1, "%.*s", STR_ARG(file));
	else
		snprintf(name, n + 1, "%.*s%s", STR_ARG(fallback), behind);
	l->file[which] = name;
	/* Device passwords may lie among the accounts. */
	if (which == SOURCE_DEVICES && strcmp(name, l->file[SOURCE_ACCOUNTS]) == 0) {
		free(name);
		l->file[which] = NULL;
	}
	return true;
}

static bool keep_demands(struct watched *l, const struct auth_conf *c)
{
	l->demands = calloc(c->ndemands + 1, sizeof(*l->demands));
	if (l->demands == NULL)
		return false;
	for (size_t i = 0; i < c->ndemands; i++) {
		str domain = c->demands[i].domain;
		char *copy = strndup(domain.p ? domain.p : "", domain.n);

		if (copy == NULL)
			return false;
		l->demands[i] = (struct auth_demand){ { copy, domain.n }, c->demands[i].require };
		l->ndemands++;
	}
	return true;
}

static bool look_make(struct watched *l, const struct auth_conf *c)
{
	*l = (struct watched){ 0 };
	return name_file(l, SOURCE_ACCOUNTS, c->accounts, STR_NONE, NULL) &&
	       name_file(l, SOURCE_DEVICES, c->devices, c->accounts, ".app-passwords") &&
	       name_file(l, SOURCE_CODES, c->codes, c->accounts, ".totp") && keep_demands(l, c);
}

/* Dovecot, given a passdb without a file, calls every wrong password a failure of
 * its own: so there is one from the first start on, if we may write there. */
static void make_empty(const char *file)
{
	int fd = file != NULL
			 ? open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)
			 : -1;

	if (fd >= 0)
		close(fd);
}

enum err look_open(struct auth *auth, const struct auth_conf *c, struct arena *a, str *why)
{
	struct stat st;
	bool changed;

	if (!look_make(&auth->look, c))
		return ERR_MEMORY;
	make_empty(auth->look.file[SOURCE_DEVICES]);
	if (stat(auth->look.file[SOURCE_ACCOUNTS], &st) != 0 && errno == ENOENT)
		log_event(NULL, LOG_NOTICE, "accounts.absent",
			  KV_C("file", auth->look.file[SOURCE_ACCOUNTS]),
			  KV_C("why",
			       "nobody can log in: make an account with `postern account add`"));
	return look(auth, &auth->look, true, &changed, a, why);
}

void look_close(struct auth *auth)
{
	free_replaced(auth);
	must(auth->replaced == NULL);
	accounts_free((struct accounts *)(uintptr_t)atomic_load(&auth->table));
	look_free(&auth->look);
}

/* What is the same keeps its stamps and what was made of it. */
static void inherit(struct watched *next, const struct watched *now)
{
	for (size_t i = 0; i < SOURCES; i++) {
		if (str_eq(str_of(next->file[i]), str_of(now->file[i]))) {
			next->looked[i] = now->looked[i];
			continue;
		}
		next->looked[i].seen = i == SOURCE_ACCOUNTS;   /* other accounts have to be there */
	}
	memcpy(next->digest, now->digest, sizeof(next->digest));
	next->known = now->known;
}

enum err look_elsewhere(struct auth *auth, const struct auth_conf *c, struct arena *a, str *why)
{
	bool changed = false;
	struct watched next;
	enum err e;

	*why = STR("out of memory");
	if (!look_make(&next, c)) {
		look_free(&next);
		return ERR_MEMORY;
	}
	inherit(&next, &auth->look);
	e = look(auth, &next, true, &changed, a, why);
	if (e != OK) {
		look_free(&next);
		return e;
	}
	look_free(&auth->look);
	auth->look = next;
	return OK;
}

/* ---- for who looks without a house ------------------------------------------------- */

static enum err read_for_check(const char *file, conf_open *open_file, struct arena *a, str *text,
			       str *why)
{
	int fd = open_file(str_of(file));
	enum err e;

	*text = STR_NONE;
	if (fd < 0 && errno == ENOENT)
		return OK;
	if (fd < 0) {
		*why = arena_printf(a, "%s: %s: make it readable for the server's user", file,
				    strerror(errno));
		return err_of_errno(errno);
	}
	e = account_file_read(fd, a, text);
	close(fd);
	if (e != OK)
		*why = arena_printf(a, "%s: %s: it has to be a plain file of at most 16 MiB", file,
				    err_text(e));
	return e == ERR_BAD ? ERR_IO : e;
}

/* `addresses` may be NULL. */
static enum err make_for_check(const struct accounts_text *from, struct arena *a, struct strs *addresses, str *why)
{
	struct accounts *t = accounts_make(from, a, why);
	enum err e = t == NULL ? ERR_BAD : addresses == NULL ? OK : accounts_addresses(t, a, addresses);

	accounts_free(t);
	return e;
}

static enum err read_files(const struct auth_conf *c, conf_open *open_file, struct arena *a, struct strs *addresses,
			   str *file, str *why)
{
	struct accounts_text from = { .demands = c->demands, .ndemands = c->ndemands };
	struct arena secret;
	struct watched l;
	enum err e = look_make(&l, c) ? OK : ERR_MEMORY;

	*file = *why = STR_NONE;
	arena_init(&secret, ARENA_UNBOUNDED);
	for (size_t i = 0; i < SOURCES && e == OK; i++) {
		from.file[i] = str_keep(a, str_of(l.file[i]));
		if (l.file[i] != NULL)
			e = read_for_check(l.file[i], open_file, &secret, &from.text[i], why);
		*why = str_keep(a, *why);
	}
	if (e == OK)
		e = make_for_check(&from, a, addresses, why);
	for (size_t i = 0; i < SOURCES && e == ERR_BAD; i++)
		if (from.file[i].n > 0 && why->n > from.file[i].n &&
		    str_eq(str_head(*why, from.file[i].n), from.file[i]) &&
		    why->p[from.file[i].n] == ':')
			*file = from.file[i];
	look_free(&l);
	arena_wipe(&secret);
	return e;
}

enum err accounts_check(const struct auth_conf *c, conf_open *open_file, struct arena *a, str *file, str *why)
{
	return read_files(c, open_file, a, NULL, file, why);
}

enum err accounts_named(const struct auth_conf *c, conf_open *open_file, struct arena *a, struct strs *addresses, str *why)
{
	str file;

	*addresses = (struct strs){ 0 };
	return read_files(c, open_file, a, addresses, &file, why);
}
