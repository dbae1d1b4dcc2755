/* SPDX-License-Identifier: ISC */
/*
 * At start: is the store what LMDB may be let loose on?
 *
 * LMDB takes its file at its word, and a wrong number in it is a signal, or
 * worse, a write to the wrong page.  So a child process looks first: at every
 * page by our own reader, which believes nothing, then through LMDB itself; a
 * fault, an error or a signal there means that the file is damaged, and costs
 * nobody anything.  Row contents are not read but for their heads and the
 * store's own numbers: they have checksums of their own, and a bad one is set
 * aside alone.
 *
 * The damaged file is never written to and never overwritten: what can be saved
 * goes to a new file, which takes its name in one step when it is complete.
 * Under the lock, before threads.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "queue/internal.h"
#include "queue/pages.h"
#include "queue/salvage.h"
#include "smtpd/base/log.h"

#define WHY_ROOM 200              /* octets of a child's last words */
#define LOOKS    3                /* a child that was killed, or found no memory, has told nothing */

enum { SOUND = 0, DAMAGED = 10, UNSURE = 11 };       /* a child's exit status */

/* ---- our own look ------------------------------------------------------------------ */

struct look {
	struct pages *p;
	char         *why;        /* of WHY_ROOM; empty: no fault so far */
	bool          newer;      /* a newer postern wrote it: not ours to judge */
};

static void fault_seen(void *arg, const struct pages_fault *f)
{
	struct look *l = arg;

	if (l->why[0] == '\0')
		snprintf(l->why, WHY_ROOM, "page %" PRIu64 "%s%.*s: %s", f->page, f->table.n > 0 ? " of " : "",
		         STR_ARG(f->table), f->what);
}

static uint64_t le(const unsigned char *p, size_t n)
{
	uint64_t v = 0;

	while (n-- > 0)
		v = v << 8 | p[n];
	return v;
}

/* What the store knows of itself has no other copy to be held against. */
static void number_seen(struct look *l, const struct pages_row *row)
{
	uint64_t v;

	if (row->value.p == NULL || !record_read_number(row->value, row->key, &v))
		fault_seen(l, &(struct pages_fault){ .page = row->at / l->p->size, .table = row->table,
		                                     .what = "a number is not what was written" });
	else if (str_is(row->key, "format") && v > QUEUE_FORMAT)
		l->newer = true;
}

/* A wrong letter in a table's name would hide all its rows behind a new, empty one. */
static void look_at_names(struct look *l)
{
	for (size_t i = 0; i < l->p->ntables && !l->newer; i++) {
		str name = { l->p->tables[i].name, l->p->tables[i].name_n };

		if (!store_has_table(name))
			fault_seen(l, &(struct pages_fault){ .table = name, .what = "there is no table of this name" });
	}
}

static bool row_is_whole(struct look *l, uint64_t at, uint64_t n)
{
	char *p = n <= PAGES_VALUE ? malloc((size_t)n + 1) : NULL;
	struct record_name name;
	size_t length;
	bool ok = p != NULL && pages_read(l->p, at, p, (size_t)n) && record_recognise((str){ p, (size_t)n }, &name, &length);

	free(p);
	return ok;
}

/* A whole row under a key or with a length that is not its own: it was the page
 * that was damaged, and the row would not be found, or not believed.  A row that
 * is itself damaged is another matter. */
static void row_seen(void *arg, const struct pages_row *row)
{
	unsigned char head[RECORD_HEAD];
	struct look *l = arg;
	struct record_key k;
	uint64_t length;

	if (str_is(row->table, "meta")) {
		number_seen(l, row);
		return;
	}
	if (row->n < RECORD_HEAD || row->key.n < 8 || str_is(row->table, "note"))
		return;
	if (row->value.p != NULL)
		memcpy(head, row->value.p, sizeof(head));
	else if (!pages_read(l->p, row->at, head, sizeof(head)))
		return;
	if (le(head + 6, 2) != RECORD_VERSION)  /* an older head does not say whose it is */
		return;
	k = row->key.n == 8 ? record_key_message(le(head + 16, 8))
	                    : record_key_part(le(head + 16, 8), (uint32_t)le(head + 12, 4));
	length = RECORD_HEAD + le(head + 8, 4);
	if (length == row->n && str_eq(row->key, (str){ (const char *)k.b, k.n }))
		return;
	if (row_is_whole(l, row->at, length))
		fault_seen(l, &(struct pages_fault){ .page = row->at / l->p->size, .table = row->table,
		                                     .what = "a key or a length is not its row's" });
}

/* OK with an empty `why`: sound. */
static enum err look_at_pages(const char *path, char why[static WHY_ROOM])
{
	struct pages_file file;
	struct pages p;
	struct look l = { .p = &p, .why = why };
	const struct pages_look look = { .row = row_seen, .fault = fault_seen, .arg = &l };
	enum err e = pages_file_open(&file, path);

	why[0] = '\0';
	if (e != OK)
		return e;
	if (!pages_open(&p, &file)) {
		pages_file_close(&file);
		return ERR_MEMORY;
	}
	if (p.foreign) {
		e = ERR_BAD;
	} else {
		pages_walk(&p, &look);
		look_at_names(&l);
	}
	pages_close(&p);
	pages_file_close(&file);
	return e;
}

const char *queue_pages_fault(const char *path, struct arena *a, enum err *e)
{
	char why[WHY_ROOM];

	*e = look_at_pages(path, why);
	return *e == OK && why[0] == '\0' ? NULL : str_cstr(a, str_of(why));
}

/* ---- the child --------------------------------------------------------------------------- */

static bool touch(void *arg, str key, str value)
{
	volatile unsigned char *sum = arg;

	if (key.n > 0)
		*sum ^= (unsigned char)key.p[0];
	if (value.n > 0)
		*sum ^= (unsigned char)value.p[0];
	return true;
}

static int walk_by_lmdb(const char *path, uint64_t map_bytes, char why[static WHY_ROOM])
{
	struct arena a;
	struct store_txn t;
	struct store *s;
	unsigned char sum = 0;
	str said = STR_NONE;

	arena_init(&a, ARENA_UNBOUNDED);
	s = store_open(path, map_bytes, true, &a, &said);
	if (s == NULL)                  /* no fault of the file: the parent meets it, too, and says what to do */
		return SOUND;
	store_read(s, &t);
	for (int i = 0; i < TABLES; i++)
		store_each(&t, (enum table)i, STR_NONE, touch, &sum);
	if (t.err == OK)
		return SOUND;
	snprintf(why, WHY_ROOM, "LMDB: %s", err_text(t.err));
	return t.err == ERR_MEMORY || t.err == ERR_BUSY ? UNSURE : DAMAGED;
}

static _Noreturn void look_as_child(const char *path, uint64_t map_bytes, int out)
{
	static const int faults[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
	const struct rlimit none = { 0, 0 };
	char why[WHY_ROOM];
	enum err e;
	int verdict;

	for (size_t i = 0; i < COUNT(faults); i++)
		signal(faults[i], SIG_DFL);
	setrlimit(RLIMIT_CORE, &none);
	e = look_at_pages(path, why);
	if (e != OK) {
		snprintf(why, sizeof(why), "%s", e == ERR_BAD ? "it is no store of this version" : err_text(e));
		verdict = UNSURE;
	} else {
		verdict = why[0] != '\0' ? DAMAGED : walk_by_lmdb(path, map_bytes, why);
	}
	if (why[0] != '\0' && write(out, why, strlen(why)) < 0)
		verdict = verdict == SOUND ? UNSURE : verdict;
	_exit(verdict);
}

static bool is_fault(int signal)
{
	return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGABRT;
}

/* SOUND, DAMAGED or UNSURE, and why. */
static int ask_child(const char *path, uint64_t map_bytes, char why[static WHY_ROOM])
{
	int ends[2], status = 0;
	ssize_t n = 0;
	pid_t child;

	why[0] = '\0';
	if (pipe2(ends, O_CLOEXEC) != 0)
		return UNSURE;
	child = fork();
	if (child == 0)
		look_as_child(path, map_bytes, ends[1]);
	close(ends[1]);
	if (child > 0) {
		n = read(ends[0], why, WHY_ROOM - 1);
		while (waitpid(child, &status, 0) < 0 && errno == EINTR)
			;
	}
	why[n > 0 ? n : 0] = '\0';
	close(ends[0]);
	if (child < 0)
		snprintf(why, WHY_ROOM, "no process could be started: %s", strerror(errno));
	else if (WIFSIGNALED(status))
		snprintf(why, WHY_ROOM, "signal %d ended the process that walked it", WTERMSIG(status));
	if (child < 0 || (WIFSIGNALED(status) && !is_fault(WTERMSIG(status))))
		return UNSURE;
	if (WIFEXITED(status) && (WEXITSTATUS(status) == SOUND || WEXITSTATUS(status) == UNSURE))
		return WEXITSTATUS(status);
	return DAMAGED;
}

/* ---- a new store in its place ----------------------------------------------------------------- */

char *queue_dated(struct arena *a, const char *folder, const char *name)
{
	char date[32], *path;
	time_t now = time(NULL);
	struct tm tm;
	struct stat st;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%Y%m%dT%H%M%SZ", &tm);
	path = str_cstr(a, arena_printf(a, "%s/%s-%s", folder, name, date));
	for (unsigned i = 2; path != NULL && lstat(path, &st) == 0; i++)
		path = str_cstr(a, arena_printf(a, "%s/%s-%s.%u", folder, name, date, i));
	return path;
}

static void name_message(void *arg, uint64_t id, enum salvage_what what, const char *why)
{
	static const char *const events[] = {
		[SALVAGE_HELD] = "message.doubtful", [SALVAGE_DAMAGED] = "message.damaged", [SALVAGE_LOST] = "message.lost",
	};
	char text[QUEUE_ID_TEXT];

	(void)arg;
	log_event(NULL, what == SALVAGE_HELD ? LOG_WARN : LOG_ERROR, events[what], KV("id", queue_id_text(id, text)),
	          KV_C("why", why));
}

/* Complete, synced and closed at `fresh`. */
static enum err fill(const struct rescue *r, const char *fresh, struct salvage *s, struct arena *a, str *why)
{
	char lock[BODY_PATH];
	enum err e;

	snprintf(lock, sizeof(lock), "%s-lock", fresh);
	unlink(fresh);                          /* of a start that was killed here */
	unlink(lock);
	*s = (struct salvage){ .from = r->path, .bodies = r->bodies, .beside = r->folder, .whole_store = true,
		               .keep_finished_ms = r->conf->keep_finished_ms, .tell = name_message };
	s->to = store_open(fresh, r->conf->map_bytes, false, a, why);
	if (s->to == NULL)
		return ERR_IO;
	e = salvage_run(s);
	store_close(s->to);
	unlink(lock);
	if (e == OK)
		return OK;
	unlink(fresh);
	*why = arena_printf(a, "the queue's store %s is damaged, and what can be saved of it could not be written: %s: %s",
	                    r->path, err_text(e), e == ERR_FULL ? "make room on the disk, or queue { size } larger"
	                                                        : "look at the disk and the kernel's log");
	return e;
}

/* What was damaged gets a second name, then the new one takes the first: at no
 * moment is there neither. */
static bool take_place(const struct rescue *r, const char *fresh, const char *kept)
{
	char lock[BODY_PATH];

	snprintf(lock, sizeof(lock), "%s-lock", r->path);
	if (link(r->path, kept) != 0 || sync_folder(r->folder) != OK || rename(fresh, r->path) != 0)
		return false;
	unlink(lock);                           /* LMDB makes it anew */
	return sync_folder(r->folder) == OK;
}

static bool has_row(struct store_txn *t, uint64_t id)
{
	struct record_key k = record_key_message(id);
	str row;

	return store_get(t, TABLE_MESSAGE, (str){ (const char *)k.b, k.n }, &row) || t->err != OK;
}

/* Contents that no salvaged row speaks of: put aside and named, so that no later
 * sweep takes them. */
static void put_bodies_aside(const struct rescue *r, const char *aside, struct store *s)
{
	DIR *d = opendir(r->bodies);
	struct store_txn t;
	uint64_t id;

	if (d == NULL)
		return;
	store_read(s, &t);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char to[BODY_PATH];

		if (!queue_id_parse(str_of(e->d_name), &id) || has_row(&t, id))
			continue;
		mkdir(aside, 0700);
		snprintf(to, sizeof(to), "%s/%s", aside, e->d_name);
		log_event(NULL, LOG_WARN, "body.unknown", KV_C("directory", aside), KV_C("file", e->d_name),
		          KV_C("why", "no row of its message was found: the content is kept there"));
		if (renameat(dirfd(d), e->d_name, AT_FDCWD, to) != 0)
			log_event(NULL, LOG_ERROR, "body.stuck", KV_C("file", e->d_name), KV_C("why", strerror(errno)));
	}
	store_end(&t);
	closedir(d);
}

static enum err replace(struct rescue *r, const char *what, struct arena *a, str *why)
{
	char *fresh = str_cstr(a, arena_printf(a, "%s.salvaged", r->path)), *kept = queue_dated(a, r->folder, "queue.damaged");
	char *aside = kept ? str_cstr(a, arena_printf(a, "%s/body.damaged-%s", r->folder, strrchr(kept, '-') + 1)) : NULL;
	struct salvage s;
	struct store *store;
	enum err e;

	if (fresh == NULL || kept == NULL || aside == NULL)
		return ERR_MEMORY;
	log_event(NULL, LOG_ERROR, "store.damaged", KV_C("file", r->path), KV_C("what", what), KV_C("kept", kept),
	          KV_C("why", "what is on the disk is not what was written: what can be saved goes to a new store; "
	                      "look at the disk and the kernel's log"));
	e = fill(r, fresh, &s, a, why);
	if (e != OK)
		return e;
	store = store_open(fresh, r->conf->map_bytes, true, a, why);
	if (store == NULL)
		return ERR_IO;
	put_bodies_aside(r, aside, store);
	store_close(store);
	if (!take_place(r, fresh, kept)) {
		*why = arena_printf(a, "%s: %s: the new store could not take the place of the damaged one", r->path, strerror(errno));
		return ERR_IO;
	}
	r->damaged = true;
	log_event(NULL, LOG_WARN, "store.salvaged", KV_C("file", r->path), KV_N("messages", s.messages), KV_N("held", s.held),
	          KV_N("damaged", s.damaged), KV_N("lost", s.lost), KV_N("finished", s.finished), KV_N("pages", s.pages),
	          KV_N("unreadable", s.unreadable), KV_C("kept", kept));
	return OK;
}

enum err queue_rescue(struct rescue *r, struct arena *a, str *why)
{
	char what[WHY_ROOM];
	int verdict = UNSURE;
	struct stat st;

	r->damaged = false;
	if (lstat(r->path, &st) != 0)
		return OK;                      /* the first start, or one that says so itself */
	for (int i = 0; i < LOOKS && verdict == UNSURE; i++)
		verdict = ask_child(r->path, r->conf->map_bytes, what);
	switch (verdict) {
	case SOUND:
		return OK;
	case DAMAGED:
		*why = STR("out of memory");
		return replace(r, what, a, why);
	default:
		*why = arena_printf(a, "the queue's store %s could not be looked at: %s", r->path, what[0] ? what : strerror(errno));
		return ERR_IO;
	}
}
