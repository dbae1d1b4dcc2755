/* SPDX-License-Identifier: ISC */
/*
 * A line of an older scheme becomes a SCRAM verifier's, as soon as its password
 * has been heard.
 *
 * The file is changed as the verbs change it: under their lock, by a new file in
 * its place, and only if the line still is what the password was checked
 * against.  Whoever has the lock goes first; the next login tries again.  A file
 * that is not ours to write is left alone, which the log says once.  Login desk.
 */
#include <string.h>

#include "auth/inside.h"
#include "smtpd/base/log.h"

static bool is_as_it_was(str text, const struct account *was)
{
	struct arena a;
	str line, name, password, rest, key;
	bool found = false;

	arena_init(&a, ARENA_UNBOUNDED);
	while (!found && str_cut(&text, '\n', &line))
		found = accounts_line(line, &name, &password, &rest) &&
			accounts_key(&a, name, &key) && str_eq(key, was->key) &&
			str_eq(password, was->password);
	arena_fini(&a);
	return found;
}

static enum err replace(struct account_file *f, const struct account *was, str verifier,
			struct arena *a, str *why)
{
	const struct account_edit edit = { .key = was->key, .password = verifier };
	struct buf text;
	enum err e;

	if (!is_as_it_was(f->text, was))
		return ERR_BUSY;
	buf_init(&text, BUF_UNBOUNDED);
	account_text_edit(a, f->text, &edit, &text);
	e = text.failed ? ERR_MEMORY : account_file_write(f, buf_str(&text), a, why);
	buf_wipe(&text);
	return e;
}

static void tell(const struct judge *j, const struct account *was, const char *file, enum err e,
		 str why)
{
	if (e == OK)
		log_event(NULL, LOG_NOTICE, "account.upgraded", KV("account", was->address),
		          KV_C("file", file), KV("from", was->scheme), KV_C("to", "SCRAM-SHA-256"));
	else if (e != ERR_BUSY && e != ERR_MEMORY &&
		 !atomic_exchange(&j->auth->told_unwritable, true))
		log_event(NULL, LOG_WARN, "accounts.unwritable", KV_C("file", file), KV("why", why),
			  KV_C("means",
			       "older schemes stay as they are: make file and folder writable for "
			       "the server's user, or set upgrade = no in auth {}"));
}

void upgrade_line(const struct judge *j, const struct account *was, str password)
{
	const char *file = j->table->file[was->source];
	struct account_file f;
	struct verifier v;
	struct arena a;
	str why = STR_NONE;
	enum err e;

	arena_init(&a, ARENA_UNBOUNDED);
	e = account_file_try(&f, file, &a, &why);
	if (e == OK)
		e = verifier_make(&a, password, atomic_load(&j->auth->iterations), &v);
	if (e == OK)
		e = replace(&f, was, verifier_text(&a, &v), &a, &why);
	account_file_close(&f);
	tell(j, was, file, e, why);
	arena_wipe(&a);
}
