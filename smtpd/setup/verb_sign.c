/* SPDX-License-Identifier: ISC */
/*
 * postern sign: a message in, the same message with a DKIM-Signature in front
 * out.  The same code as the server's; needs no configuration.
 */
#include <unistd.h>

#include "smtpd/base/crypt.h"
#include "smtpd/setup/message_in.h"
#include "smtpd/setup/sign_options.h"
#include "smtpd/setup/verbs.h"

static int sign(struct sign_options *w, struct message_in *m, struct arena *a)
{
	struct bodyhash *hashes = bodyhash_new(a);
	int wish = hashes == NULL ? -1 : dkim_sign_wish(&w->signer, hashes);
	str field;
	enum err e = ERR_MEMORY;

	if (fields_first(&m->splitter.fields, "From") == NULL) {
		if (hashes != NULL)
			bodyhash_drop(hashes);
		return verb_fail(EXIT_FINDING, "sign", "the message has no From field: a signature has to cover it");
	}
	if (wish >= 0) {
		bodyhash_feed(hashes, m->body_front);
		bodyhash_feed(hashes, m->body);
		bodyhash_end(hashes);
		e = dkim_sign(&w->signer, &m->splitter.fields, bodyhash_result(hashes, wish), w->when, a, &field);
	}
	if (hashes != NULL)
		bodyhash_drop(hashes);
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
	if (status == EXIT_DONE)
		status = read_and_sign(&w, &a);
	sign_options_drop(&w);
	arena_fini(&a);
	return status;
}
