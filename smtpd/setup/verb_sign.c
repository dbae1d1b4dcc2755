/* SPDX-License-Identifier: ISC */
/*
 * postern sign: a message in, the same message with a DKIM-Signature in front
 * out.  The same code as the server's; needs no configuration when selector and key
 * are given, else signs as the server would: with the keys that sign for the domain
 * now, and by its section signing that fits author and recipients, who are those of
 * From, To, Cc and Bcc.  What the command line says goes before both.
 */
#include <unistd.h>

#include "smtpd/base/crypt.h"
#include "smtpd/mail/addr.h"
#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/keys/gates.h"
#include "smtpd/setup/message_in.h"
#include "smtpd/setup/sign_options.h"
#include "smtpd/setup/signing.h"
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

/* ---- the domain's rules ------------------------------------------------------------ */

static size_t rcpts_of(const struct fields *f, struct arena *a, struct path **out)
{
	struct mailboxes *lists = ARENA_ARRAY(a, struct mailboxes, f->n + 1);
	size_t room = 0, n = 0;

	*out = NULL;
	for (size_t i = 0; lists != NULL && i < f->n; i++)
		if (field_is(&f->v[i], "To") || field_is(&f->v[i], "Cc") || field_is(&f->v[i], "Bcc")) {
			mailboxes_parse(a, f->v[i].value, &lists[i]);
			room += lists[i].n;
		}
	*out = lists != NULL ? ARENA_ARRAY(a, struct path, room + 1) : NULL;
	for (size_t i = 0; *out != NULL && i < f->n; i++)
		for (size_t k = 0; k < lists[i].n; k++)
			if (lists[i].v[k].usable)
				(*out)[n++] = lists[i].v[k].path;
	return n;
}

static void say_again(const struct sign_options *w, struct dkim_signer *s)
{
	if (w->canon != NULL) {
		s->header_canon = w->signer.header_canon;
		s->body_canon = w->signer.body_canon;
	}
	if (w->headers != NULL)
		s->headers = w->signer.headers;
	if (w->identity != NULL)
		s->identity = w->signer.identity;
	if (w->expire != NULL)
		s->expire_s = w->signer.expire_s;
}

/* Another domain's author has no rules here: all keys sign. */
static enum err by_rules(const struct sign_options *w, const struct fields *f, struct arena *a, struct signers *by)
{
	struct dkim_keyring *ring = dkim_keyring_new(a);
	enum err e = ring != NULL ? OK : ERR_MEMORY;
	struct dkim_choice choice;
	struct path *rcpts, author;
	struct from from;
	size_t n = rcpts_of(f, a, &rcpts);

	from_judge(a, f, &from);
	if (from.state != FROM_GOOD)
		return OK;
	for (size_t i = 0; i < by->n && e == OK; i++)
		e = dkim_keyring_add(ring, &by->v[i]);
	if (e == OK)
		e = signing_add(ring, w->config, config_domain_of(w->config, w->signer.domain), a);
	if (e != OK)
		return e;
	author = (struct path){ .domain = from.domain, .is_literal = from.is_literal };
	if (from.mailboxes != NULL && from.mailboxes->n > 0 && from.mailboxes->v[0].usable)
		author = from.mailboxes->v[0].path;
	dkim_keyring_choose(ring, &author, rcpts, n, a, &choice);
	if (!choice.found)
		return OK;
	for (size_t i = 0; i < choice.n; i++)
		say_again(w, &choice.v[i]);
	*by = (struct signers){ choice.v, choice.n };
	return choice.v != NULL ? OK : ERR_MEMORY;
}

static int sign(struct sign_options *w, struct message_in *m, struct arena *a)
{
	struct signers by = { &w->signer, 1 }, all;
	str why = STR_NONE, field;
	enum err e = OK;

	if (fields_first(&m->splitter.fields, "From") == NULL)
		return verb_fail(EXIT_FINDING, "sign", "the message has no From field: a signature has to cover it");
	if (w->by_configuration)
		e = key_signers_now(w->config, &w->signer, w->expire != NULL, a, &by.v, &by.n, &why);
	if (e != OK)
		return verb_fail(EXIT_FINDING, "sign", "%.*s", STR_ARG(why));
	all = by;
	if (w->by_configuration)
		e = by_rules(w, &m->splitter.fields, a, &by);
	if (e == OK)
		e = sign_all(&by, m, w->when, a, &field);
	if (w->by_configuration)
		key_signers_drop(all.v, all.n);
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
