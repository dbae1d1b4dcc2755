/* SPDX-License-Identifier: ISC */
/*
 * postern account add|passwd|list|remove ADDRESS.
 *
 * Lines that are not the account's own, comments and order stay as they are;
 * of the account's line only the password is written.  A file that the server
 * would refuse is not changed but mended first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/inside.h"
#include "auth/password.h"
#include "smtpd/base/buf.h"
#include "smtpd/base/crypt.h"

enum { DONE = 0, REFUSED = 1, MISUSED = 2, LATER = 75 };

#define NO_FIELDS "::::::"             /* uid, gid, gecos, home, shell, extra: Dovecot's, empty */

struct work {
	const char *verb;              /* "account add" */
	const char *file;
	str         address, key, domain;
	unsigned    iterations;
	bool      (*local)(void *, str domain);
	void       *arg;
	struct arena arena;            /* wiped at the end: it holds the file */
};

static int fail(int status, const struct work *w, const char *text)
{
	fprintf(stderr, "postern %s: %s\n", w->verb, text);
	return status;
}

static int fail_str(int status, const struct work *w, str text)
{
	fprintf(stderr, "postern %s: %.*s\n", w->verb, STR_ARG(text));
	return status;
}

static int failf(int status, struct work *w, const char *what, const char *mend)
{
	return fail_str(status, w,
	                arena_printf(&w->arena, "%.*s %s: %s", STR_ARG(w->address), what, mend));
}

static int status_of(enum err e)
{
	return e == ERR_MEMORY || e == ERR_FULL || e == ERR_BUSY ? LATER : REFUSED;
}

/* ---- the text ------------------------------------------------------------------------- */

static bool is_line_of(struct arena *a, str line, str key)
{
	str name, password, rest, this;

	return accounts_line(line, &name, &password, &rest) && accounts_key(a, name, &this) &&
	       str_eq(this, key);
}

/* Copies the text; the account's line goes through `change`. */
static void rewrite(struct work *w, str text, void (*change)(struct buf *, str line, str verifier),
                    str verifier, struct buf *out)
{
	while (text.n > 0) {
		size_t end = str_find(text, '\n');
		str line = str_head(text, end), whole = str_head(text, end + 1);

		if (is_line_of(&w->arena, line, w->key))
			change(out, whole, verifier);
		else
			buf_add(out, whole);
		text = str_skip(text, whole.n);
	}
}

static void leave_out(struct buf *out, str line, str verifier)
{
	(void)out;
	(void)line;
	(void)verifier;
}

static void change_password(struct buf *out, str line, str verifier)
{
	size_t name = str_find(line, ':'), end;
	str rest = str_skip(line, name + 1);

	end = str_find(rest, ':');
	buf_add(out, str_head(line, name));
	buf_add_char(out, ':');
	buf_add(out, verifier);
	if (end < rest.n) {
		buf_add(out, str_skip(rest, end));
		return;
	}
	buf_add(out, STR(NO_FIELDS));
	if (rest.n > 0 && rest.p[rest.n - 1] == '\n')
		buf_add_char(out, '\n');
}

static void append(struct work *w, str text, str verifier, struct buf *out)
{
	buf_add(out, text);
	if (text.n > 0 && text.p[text.n - 1] != '\n')
		buf_add_char(out, '\n');
	/* In small letters: Dovecot looks a login up so, and %u of a Maildir's path
	 * is its %n then. */
	buf_addf(out, "%.*s:%.*s" NO_FIELDS "\n", STR_ARG(w->key), STR_ARG(verifier));
}

/* ---- the verbs -------------------------------------------------------------------------- */

/* Open, whole, and with or without the account as `there` says. */
static int open_file(struct work *w, struct account_file *f, bool to_change, bool there)
{
	str why;
	enum err e = account_file_open(f, w->file, to_change, &w->arena, &why);
	struct accounts *t;
	bool is_there;

	if (e != OK)
		return fail_str(status_of(e), w, why);
	t = accounts_parse(str_of(w->file), f->text, &w->arena, &why);
	if (t == NULL)
		return fail_str(REFUSED, w, why);
	is_there = accounts_find(t, w->key) != NULL;
	accounts_free(t);
	if (is_there && !there)
		return failf(REFUSED, w, "is an account already",
		             "set its password with `postern account passwd`");
	if (!is_there && there)
		return failf(REFUSED, w, "is no account",
		             "see `postern account list`, or make it with `postern account add`");
	return DONE;
}

static int write_file(struct work *w, struct account_file *f, const struct buf *text)
{
	str why = STR("out of memory: try again");
	enum err e = ERR_MEMORY;

	if (!text->failed)
		e = account_file_write(f, buf_str(text), &w->arena, &why);
	return e == OK ? DONE : fail_str(status_of(e), w, why);
}

/* Looks before the password is asked for, so that nobody types in vain. */
static int look_first(struct work *w, bool there)
{
	struct account_file f;
	int status = open_file(w, &f, false, there);

	account_file_close(&f);
	return status;
}

static int take_verifier(struct work *w, str *verifier)
{
	char room[PASSWORD_MAX + 2];
	struct verifier v;
	const char *fault;
	str password;
	enum err e = OK;

	fault = password_take(room, &password);
	if (fault == NULL)
		e = verifier_make(&w->arena, password, w->iterations, &v);
	crypt_wipe(room, sizeof(room));
	if (fault != NULL)
		return fail(REFUSED, w, fault);
	if (e == OK)
		*verifier = verifier_text(&w->arena, &v);
	return e == OK && verifier->n > 0 ? DONE : fail(LATER, w, "out of memory: try again");
}

static int set_verifier(struct work *w, bool there)
{
	struct account_file f = { .lock = -1 };
	struct buf text;
	str verifier = STR_NONE;
	int status = look_first(w, there);

	if (status == DONE)
		status = take_verifier(w, &verifier);
	if (status == DONE)
		status = open_file(w, &f, true, there);
	buf_init(&text, BUF_UNBOUNDED);
	if (status == DONE) {
		if (there)
			rewrite(w, f.text, change_password, verifier, &text);
		else
			append(w, f.text, verifier, &text);
		status = write_file(w, &f, &text);
	}
	account_file_close(&f);
	buf_wipe(&text);
	return status;
}

static int add(struct work *w)
{
	if (!w->local(w->arg, w->domain))
		return fail_str(REFUSED, w,
		                arena_printf(&w->arena,
		                             "%.*s is not a domain of this server: add domain "
		                             "\"%.*s\" {} to the configuration first",
		                             STR_ARG(w->domain), STR_ARG(w->domain)));
	return set_verifier(w, false);
}

static int passwd(struct work *w)
{
	return set_verifier(w, true);
}

static int remove_account(struct work *w)
{
	struct account_file f;
	struct buf text;
	int status = open_file(w, &f, true, true);

	buf_init(&text, BUF_UNBOUNDED);
	if (status == DONE) {
		rewrite(w, f.text, leave_out, STR_NONE, &text);
		status = write_file(w, &f, &text);
	}
	account_file_close(&f);
	buf_wipe(&text);
	return status;
}

static int list(struct work *w)
{
	struct account_file f;
	struct accounts *t;
	str why;
	enum err e = account_file_open(&f, w->file, false, &w->arena, &why);

	account_file_close(&f);
	if (e != OK)
		return fail_str(status_of(e), w, why);
	t = accounts_parse(str_of(w->file), f.text, &w->arena, &why);
	if (t == NULL)
		return fail_str(REFUSED, w, why);
	if (w->key.n > 0 && accounts_find(t, w->key) == NULL) {
		accounts_free(t);
		return failf(REFUSED, w, "is no account", "`postern account list` names all");
	}
	for (size_t i = 0; i < t->n; i++)
		if (w->key.n == 0 || str_eq(w->key, t->v[i].key))
			printf("%.*s\t%.*s\n", STR_ARG(t->v[i].address),
			       STR_ARG(t->v[i].scheme.n > 0 ? t->v[i].scheme : STR("no password")));
	accounts_free(t);
	return DONE;
}

/* ---- which of them ------------------------------------------------------------------------ */

static const struct {
	const char *word, *verb;
	int  (*run)(struct work *);
	bool without_address;          /* may stand alone */
} words[] = {
	{ "add",    "account add",    add,            false },
	{ "passwd", "account passwd", passwd,         false },
	{ "list",   "account list",   list,           true },
	{ "remove", "account remove", remove_account, false },
};

/* In the file a name ends at its first colon. */
static bool take_address(struct work *w, const char *text)
{
	struct path p;

	if (!path_of(&w->arena, str_of(text), &p) || p.domain.n == 0 || p.text.p[0] == '#' ||
	    str_holds(p.text, ':') || p.is_literal)
		return false;
	w->address = p.text;
	w->domain = p.domain;
	w->key = str_keep_lower(&w->arena, p.text);
	return true;
}

static int run(struct work *w, size_t which, int argc, char **argv)
{
	w->verb = words[which].verb;
	if (argc < 3 && !words[which].without_address)
		return fail(MISUSED, w,
		            "the address is missing: name one, such as user@example.org");
	if (argc > 3)
		return fail(MISUSED, w, "one address at a time: leave the others out");
	if (argc == 3 && argv[2][0] == '-')
		return fail(MISUSED, w, "there are no such options: see `postern help account`");
	if (argc == 3 && !take_address(w, argv[2]))
		return fail(MISUSED, w,
		            "that is not an address for an account: write it like "
		            "user@example.org");
	return words[which].run(w);
}

int account_verb(int argc, char **argv, const char *accounts, unsigned iterations,
                 bool (*local)(void *, str domain), void *arg)
{
	struct work w = { .verb = "account", .file = accounts, .iterations = iterations,
	                 .local = local, .arg = arg };
	int status = -1;

	arena_init(&w.arena, ARENA_UNBOUNDED);
	for (size_t i = 0; argc >= 2 && i < COUNT(words); i++)
		if (strcmp(argv[1], words[i].word) == 0)
			status = run(&w, i, argc, argv);
	if (status < 0)
		status = fail(MISUSED, &w,
		              "say add, passwd, list or remove: see `postern help account`");
	arena_wipe(&w.arena);
	return status;
}
