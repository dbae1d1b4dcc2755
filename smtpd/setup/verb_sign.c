/* SPDX-License-Identifier: ISC */
/*
 * postern sign: a message in, the same message with a DKIM-Signature in front
 * out.  The same code as the server's; needs no configuration when selector and key
 * are given, else signs with the keys that sign for the domain now.
 */
#include <unistd.h>

#include "smtpd/base/crypt.h"
#include "smtpd/setup/keys/gates.h"
#include "smtpd/setup/message_in.h"
#include "smtpd/setup/sign_options.h"
#include "smtpd/setup/verbs.h"

struct signers { struct dkim_signer *v; size_t n; };

/* All fields at once; the first signer's stands first. */
static enum err sign_all(const struct signers *by, struct message_in *m, int64_t now, struct arena *a, str *out)
{
	struct bodyhash *hashes = bodyhash_new(a);
	int *wish = ARENA_ARRAY(a, int, by->n);
	bool wished = hashes != NULL && wish != NULL;
	enum err e = ERR_MEMORY;

	*out = STR("");
	for (size_t i = 0; wished && i < by->n; i++)
		wished = (wish[i] = dkim_sign_wish(&by->v[i], hashes)) >= 0;
	if (wished) {
		bodyhash_feed(hashes, m->body_front);
		bodyhash_feed(hashes, m->body);
		bodyhash_end(hashes);
		e = OK;
	}
	for (size_t i = 0; i < by->n && e == OK; i++) {
		str field;

		e = dkim_sign(&by->v[i], &m->splitter.fields, bodyhash_result(hashes, wish[i]), now, a, &field);
		if (e == OK)
			*out = arena_printf(a, "%.*s%.*s", STR_ARG(*out), STR_ARG(field));
	}
	if (hashes != NULL)
		bodyhash_drop(hashes);
	return e;
}

static int sign(struct sign_options *w, struct message_in *m, struct arena *a)
{
	struct signers by = { &w->signer, 1 };
	str why = STR_NONE, field;
	enum err e = OK;

	if (fields_first(&m->splitter.fields, "From") == NULL)
		return verb_fail(EXIT_FINDING, "sign", "the message has no From field: a signature has to cover it");
	if (w->by_configuration)
		e = key_signers_now(w->config, &w->signer, w->expire != NULL, a, &by.v, &by.n, &why);
	if (e != OK)
		return verb_fail(EXIT_FINDING, "sign", "%.*s", STR_ARG(why));
	e = sign_all(&by, m, w->when, a, &field);
	if (w->by_configuration)
		key_signers_drop(by.v, by.n);
	if (e != OK)
		return verb_fail(e == ERR_MEMORY ? EXIT_LATER : EXIT_FINDING, "sign", "the message cannot be signed: %s",
		                 e == ERR_BAD ? "its header has more fields than h= can name" : err_text(e));
	message_out(stdout, m, field);
	fwrite(m->raw.p + m->raw.head, 1, m->raw.n, stdout);
	return EXIT_DONE;
}

static int read_and_sign(struct sign_options *w, struct arena *a)
{
	struct message_in m;
	const char *why = NULL;
	int status;

	if (!message_in_read(&m, STDIN_FILENO, &why))
		status = verb_fail(EXIT_LATER, "sign", "standard input could not be read: %s", why);
	else {
		message_in_split(&m, a);
		status = m.splitter.over != SPLIT_OK
		       ? verb_fail(EXIT_FINDING, "sign", "the header is larger than any server takes: it was not signed")
		       : sign(w, &m, a);
	}
	message_in_fini(&m);
	return status;
}

int verb_sign(int argc, char **argv)
{
	struct sign_options w;
	struct arena a;
	int status;

	crypt_setup();
	arena_init(&a, ARENA_UNBOUNDED);
	status = sign_options_read(&w, "sign", false, argc, argv, &a);
	if (status == EXIT_DONE && w.by_configuration)
		w.config = verb_config("sign", w.file != NULL ? w.file : CONFIG_FILE, &a, &status);
	if (status == EXIT_DONE)
		status = read_and_sign(&w, &a);
	sign_options_drop(&w);
	arena_fini(&a);
	return status;
}
