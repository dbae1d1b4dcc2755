/* SPDX-License-Identifier: ISC */
/*
 * private: what becomes of a private key that DNS does not vouch for any more.  It
 * is deleted, or published first, so that whoever has old mail can prove nothing
 * by its signature.  Under the book's lock.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/setup/generation.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/key_inside.h"
#include "smtpd/setup/verbs.h"

static enum err publish(const struct key_plan *p, str selector, str path, struct arena *a, str *why)
{
	str folder = arena_printf(a, "%.*s/published", STR_ARG(p->folder));
	str open_path = arena_printf(a, "%.*s/%.*s.pem", STR_ARG(folder), STR_ARG(selector)), text;
	enum err e = directory_create(folder, a, why);

	if (e == OK)
		e = file_read(verb_open_file, path, 64 << 10, a, &text, why);
	if (e == OK)
		e = file_create(open_path, 0644, text, a, why);
	if (e == OK || e == ERR_EXISTS) {       /* the second: a step that was cut off had come so far */
		chmod(str_cstr(a, folder), 0755);
		chmod(str_cstr(a, open_path), 0644);
		return OK;
	}
	return e;
}

static enum err put_away(const struct key_plan *p, struct life_key *k, enum life_private wanted, struct arena *a, str *why)
{
	str path = book_key_path(p, k->selector, a);
	enum err e = OK;

	if (wanted == LIFE_PRIVATE_PUBLISHED)
		e = publish(p, k->selector, path, a, why);
	if (e != OK && e != ERR_ABSENT)
		return e;
	if (unlink(str_cstr(a, path)) != 0 && errno != ENOENT) {
		*why = arena_printf(a, "%.*s: %s", STR_ARG(path), strerror(errno));
		return err_of_errno(errno);
	}
	k->private_part = wanted;
	return OK;
}

enum err key_put_away(const struct key_plan *p, struct life_book *b, int64_t now, struct arena *a, str *why)
{
	enum err result = OK;

	for (size_t i = 0; i < b->n; i++) {
		enum life_private wanted = life_private_of(&p->life, &b->keys[i], now);

		if (wanted != b->keys[i].private_part) {
			enum err e = put_away(p, &b->keys[i], wanted, a, why);

			result = e != OK ? e : result;
		}
	}
	return result;
}
