/* SPDX-License-Identifier: ISC */
/*
 * verb_serve: the configuration read, the keeper split off with what it names, and
 * the server run.  Before the threads; names_read is the keeper's, on its side.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/keeper.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

struct keeping { const char *file; struct arena arena; };

/* The folder of a domain's Maildirs, when it is not there yet: on Debian only
 * root may make one in /var/mail.  What exists is its owner's business. */
static void name_mail_root(const struct domain_section *d, struct arena *a, struct strs *out)
{
	str path = d->place.path, root, rest;
	size_t user = path.n, at;
	struct stat st;

	for (size_t i = 0; i + 1 < path.n && user == path.n; i++)
		if (path.p[i] == '%' && path.p[i + 1] == 'u')
			user = i;
	root = str_head(path, str_rfind(str_head(path, user), '/'));
	at = str_find(root, '%');
	if (d->place.kind != PLACE_MAILDIR || at == root.n)
		return;                 /* no folder of the domain's own */
	rest = str_skip(root, at + 2);
	if (root.p[at + 1] != 'd' || str_holds(rest, '%'))
		return;
	root = arena_printf(a, "%.*s%.*s%.*s", STR_ARG(str_head(root, at)), STR_ARG(d->name), STR_ARG(rest));
	if (root.n > 0 && lstat(str_cstr(a, root), &st) != 0 && errno == ENOENT)
		out->v[out->n++] = root;
}

/* Where local users leave mail: made when it is not there and can be; else the
 * server says why it is off. */
static void name_sendmail(const struct config *c, struct arena *a, struct strs *out)
{
	str path = c->sendmail.directory;
	char *above = str_cstr(a, str_head(path, str_rfind(path, '/')));
	struct stat st;

	if (path.n > 0 && above != NULL && lstat(str_cstr(a, path), &st) != 0 && errno == ENOENT && access(above, W_OK) == 0)
		out->v[out->n++] = path;
}

/* In the keeper: what the configuration names now. */
static enum err names_read(void *arg, struct keeper_names *out)
{
	struct keeping *k = arg;
	struct conf_faults faults;
	struct config *c = NULL;
	struct arena fresh;
	str why;
	enum err e;
	size_t n = 0;

	arena_init(&fresh, ARENA_UNBOUNDED);
	e = config_read(k->file, verb_open_file, &fresh, &c, &faults, &why);
	if (e != OK) {
		arena_fini(&fresh);
		return e;
	}
	arena_fini(&k->arena);
	k->arena = fresh;
	out->files = c->secret_files;
	out->state = (struct strs){ ARENA_ARRAY(&k->arena, str, 2 + c->domains.n), 0 };
	for (size_t i = 0; i < c->listeners.n; i++)
		n += ((const struct listener_conf *)c->listeners.v[i])->address.n;
	out->listeners = (struct strs){ ARENA_ARRAY(&k->arena, str, n + c->web.address.n), 0 };
	if (out->state.v == NULL || out->listeners.v == NULL)
		return ERR_MEMORY;
	out->state.v[out->state.n++] = c->state;
	name_sendmail(c, &k->arena, &out->state);
	for (size_t i = 0; i < c->domains.n; i++)
		name_mail_root(c->domains.v[i], &k->arena, &out->state);
	for (size_t i = 0; i < c->listeners.n; i++) {
		const struct listener_conf *l = c->listeners.v[i];

		for (size_t k2 = 0; k2 < l->address.n; k2++)
			out->listeners.v[out->listeners.n++] = l->address.v[k2];
	}
	for (size_t i = 0; i < c->web.address.n; i++)
		out->listeners.v[out->listeners.n++] = c->web.address.v[i];
	return OK;
}

static bool split(const char *file, const struct config *c, struct arena *a, str *why)
{
	static struct keeping keeping;
	struct keeper_plan plan = { .read = names_read, .arg = &keeping, .uid = c->uid, .gid = c->gid,
		                    .user = str_cstr(a, c->user) };

	if (geteuid() == 0 && c->uid == 0) {
		*why = arena_printf(a, "started as root, but the user \"%.*s\" does not exist: create it with "
		                    "`useradd --system --home-dir %.*s --shell /usr/sbin/nologin %.*s`",
		                    STR_ARG(c->user), STR_ARG(c->state), STR_ARG(c->user));
		return false;
	}
	keeping.file = file;
	return keeper_split(&plan, why) == OK;
}

/* NULL: everything that is wrong has been said. */
static struct config *read_all(const char *file, struct arena *a)
{
	struct conf_faults faults;
	struct config *c = NULL;
	str why = STR_NONE;
	enum err e = config_read(file, verb_open_file, a, &c, &faults, &why);

	if (e != OK && e != ERR_BAD) {
		verb_fail(EXIT_FINDING, "serve", "%.*s", STR_ARG(why));
		return NULL;
	}
	if (c != NULL)
		config_check_files(c, verb_open_file, a, &faults);
	if (faults.n == 0)
		return c;
	config_print_faults(&faults, stderr);
	verb_fail(EXIT_FINDING, "serve", "%zu fault%s in %s: nothing was started", faults.n, faults.n == 1 ? "" : "s", file);
	return NULL;
}

int verb_serve(int argc, char **argv)
{
	const char *file = CONFIG_FILE;
	struct arena arena;
	struct config *c;
	str why = STR_NONE;
	int status = verb_file_option("serve", argc, argv, &file);

	if (status >= 0)
		return status;
	arena_init(&arena, ARENA_UNBOUNDED);
	c = read_all(file, &arena);
	if (c != NULL && split(file, c, &arena, &why))
		return serve_run(file, c, &arena, NULL, 0, NULL, NULL);
	if (c != NULL)
		verb_fail(EXIT_FINDING, "serve", "%.*s", STR_ARG(why));
	arena_fini(&arena);
	return EXIT_FINDING;
}
