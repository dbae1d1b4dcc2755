/* SPDX-License-Identifier: ISC */
/*
 * The files as the account verbs read and change them, and how they complain.
 * No threads.
 */
#include <stdio.h>
#include <string.h>

#include "auth/verb_inside.h"

int fail(int status, const struct work *w, const char *text)
{
	fflush(stdout);
	fprintf(stderr, "postern %s: %s\n", w->verb, text);
	return status;
}

int fail_str(int status, const struct work *w, str text)
{
	fflush(stdout);
	fprintf(stderr, "postern %s: %.*s\n", w->verb, STR_ARG(text));
	return status;
}

int fail_address(int status, struct work *w, const char *what, const char *mend)
{
	return fail_str(status, w,
	                arena_printf(&w->arena, "%.*s %s: %s", STR_ARG(w->address), what, mend));
}

int status_of(enum err e)
{
	return e == ERR_MEMORY || e == ERR_FULL || e == ERR_BUSY ? LATER : REFUSED;
}

/* ---- reading --------------------------------------------------------------------- */

static void name_files(const struct account_tools *tools, const char *file[SOURCES])
{
	file[SOURCE_ACCOUNTS] = tools->accounts;
	file[SOURCE_DEVICES] = strcmp(tools->devices, tools->accounts) != 0 ? tools->devices : NULL;
	file[SOURCE_CODES] = tools->codes;
}

/* With one file's text as it is to become; the others as they lie. */
static int read_with(struct work *w, const char *instead, str text, struct accounts **t)
{
	struct accounts_text from = { 0 };
	const char *file[SOURCES];
	str why;

	name_files(w->tools, file);
	for (size_t i = 0; i < SOURCES; i++) {
		struct account_file f;
		enum err e = OK;

		from.file[i] = str_of(file[i]);
		if (file[i] == NULL)
			continue;
		from.text[i] = text;
		if (instead != NULL && strcmp(file[i], instead) == 0)
			continue;
		e = account_file_open(&f, file[i], false, &w->arena, &why);
		account_file_close(&f);
		if (e != OK)
			return fail_str(status_of(e), w, why);
		from.text[i] = f.text;
	}
	*t = accounts_make(&from, &w->arena, &why);
	return *t != NULL ? DONE : fail_str(REFUSED, w, why);
}

int tables_read(struct work *w, struct accounts **t)
{
	return read_with(w, NULL, STR_NONE, t);
}

int account_read(struct work *w, struct accounts **t, const struct account **a)
{
	int status = tables_read(w, t);

	if (status != DONE)
		return status;
	*a = accounts_find(*t, w->key);
	if (*a != NULL)
		return DONE;
	accounts_free(*t);
	return fail_address(REFUSED, w, "is no account",
	                    "see `postern account list`, or make it with `postern account add`");
}

/* ---- changing ----------------------------------------------------------------------- */

/* What the server would refuse is not written. */
static int write_checked(struct work *w, struct account_file *f, const struct buf *text)
{
	struct accounts *t;
	str why = STR("out of memory: try again");
	enum err e = ERR_MEMORY;
	int status = DONE;

	if (!text->failed)
		status = read_with(w, f->path, buf_str(text), &t);
	if (text->failed || status != DONE)
		return text->failed ? fail_str(LATER, w, why) : status;
	accounts_free(t);
	e = account_file_write(f, buf_str(text), &w->arena, &why);
	if (e != OK)
		return fail_str(status_of(e), w, why);
	w->changed = true;
	return DONE;
}

int file_change(struct work *w, const char *file, text_change *change, void *arg)
{
	struct account_file f;
	struct accounts *t;
	struct buf text;
	str why;
	enum err e = account_file_open(&f, file, true, &w->arena, &why);
	int status = e == OK ? read_with(w, file, f.text, &t) : fail_str(status_of(e), w, why);

	if (status == DONE)
		accounts_free(t);
	buf_init(&text, BUF_UNBOUNDED);
	if (status == DONE && !change(w, f.text, arg, &text))
		status = REFUSED;
	else if (status == DONE)
		status = write_checked(w, &f, &text);
	account_file_close(&f);
	buf_wipe(&text);
	return status;
}
