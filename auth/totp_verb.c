/* SPDX-License-Identifier: ISC */
/*
 * postern account totp enrol|remove.
 *
 * The secret is drawn here, shown as a URI and a picture, and kept in a file
 * beside the accounts that Dovecot never sees.  At a terminal a first code is
 * asked for before anything is written: who cannot give one would be locked out.
 * No threads.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "auth/verb_inside.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/crypt.h"

#define QUESTIONS 3

static bool ask_code(const struct work *w, str secret)
{
	char line[64];

	for (int i = 0; i < QUESTIONS; i++) {
		fputs("Code shown now: ", stderr);
		fflush(stderr);
		if (fgets(line, sizeof(line), stdin) == NULL)
			return false;
		if (code_step(secret, str_trim(str_of(line)), clock_wall()) != 0)
			return true;
		fail(REFUSED, w,
		     "that is not the code: see whether the clocks are right, and take the newest");
	}
	return false;
}

struct enrolment { str line; };

static bool put_code(struct work *w, str text, void *arg, struct buf *out)
{
	const struct enrolment *e = arg;

	account_text_drop(&w->arena, text, w->key, out);
	if (out->n > 0 && out->p[out->head + out->n - 1] != '\n')
		buf_add_char(out, '\n');
	buf_add(out, e->line);
	return true;
}

static int show(struct work *w, str uri)
{
	bool at_terminal = isatty(STDOUT_FILENO);

	if ((at_terminal || w->wishes.qr) && !qr_print(stdout, uri))
		return fail(LATER, w, "the picture could not be drawn: out of memory, try again");
	printf("%.*s\n", STR_ARG(uri));
	fflush(stdout);
	return DONE;
}

static int enrol(struct work *w)
{
	char secret[CODE_SECRET], made[FIELDS_TIME];
	str raw = { secret, sizeof(secret) }, text, when;
	struct enrolment e = { STR_NONE };
	int status;

	random_bytes(secret, sizeof(secret));
	text = code_secret_text(&w->arena, raw);
	status = show(w, otpauth_uri(&w->arena, str_of(w->tools->issuer), w->address, text));
	if (status == DONE && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && !ask_code(w, raw))
		status = fail(REFUSED, w, "nothing was changed: run it again when you are ready");
	crypt_wipe(secret, sizeof(secret));
	if (status != DONE)
		return status;
	when = fields_time_text(clock_wall(), made);
	e.line = arena_printf(&w->arena, "%.*s:%.*s:%.*s\n", STR_ARG(w->key), STR_ARG(text),
			      STR_ARG(when));
	status = file_change(w, w->tools->codes, put_code, &e);
	if (status == DONE)
		fprintf(stderr,
			"From now on %.*s logs in with the password and the code right behind it, "
			"by PLAIN or LOGIN; device passwords need no code.\n",
			STR_ARG(w->address));
	return status;
}

int totp_enrol(struct work *w)
{
	const struct account *a;
	struct accounts *t;
	bool is_device, other;
	int status = account_read(w, &t, &a);

	if (status != DONE)
		return status;
	is_device = account_is_device(a);
	other = a->fields.has_require && a->fields.require != REQUIRE_TOTP;
	accounts_free(t);
	if (is_device)
		return fail_address(REFUSED, w, "is a device password", "name its account");
	if (other)
		return fail_address(REFUSED, w, "has a requirement of its own that is not totp",
		                    "take it away with `postern account require ADDRESS default`");
	return enrol(w);
}

static bool drop_code(struct work *w, str text, void *arg, struct buf *out)
{
	(void)arg;
	account_text_drop(&w->arena, text, w->key, out);
	return true;
}

static int drop(struct work *w, bool complains)
{
	const struct account *a;
	struct accounts *t;
	bool enrolled;
	int status = account_read(w, &t, &a);

	if (status != DONE)
		return status;
	enrolled = a->code_secret.n > 0;
	accounts_free(t);
	if (enrolled)
		return file_change(w, w->tools->codes, drop_code, NULL);
	return complains ? fail_address(REFUSED, w, "has no codes", "there is nothing to remove")
			 : DONE;
}

int totp_remove(struct work *w)
{
	return drop(w, true);
}

int totp_drop(struct work *w)
{
	return drop(w, false);
}
