/* SPDX-License-Identifier: ISC */
/*
 * Key files are written once and never changed.  Verbs, main thread, slow desk.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/setup/generation.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/verbs.h"

static enum err complain(struct arena *a, str path, str *why)
{
	enum err e = err_of_errno(errno);

	*why = arena_printf(a, "%.*s: %s", STR_ARG(path), strerror(errno));
	return e;
}

static bool parent_of(const char *path, char *out, size_t room)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL || slash == path || (size_t)(slash - path) >= room)
		return false;
	memcpy(out, path, (size_t)(slash - path));
	out[slash - path] = '\0';
	return true;
}

/* What root makes in somebody's state directory belongs to that somebody. */
static void give_to_owner(int fd, const char *path)
{
	char parent[4096];
	struct stat st;

	if (geteuid() == 0 && parent_of(path, parent, sizeof(parent)) && stat(parent, &st) == 0)
		(void)!fchown(fd, st.st_uid, st.st_gid);
}

/* A name is kept when its directory is synced. */
static void keep_name(const char *path)
{
	char parent[4096];
	int fd = parent_of(path, parent, sizeof(parent)) ? open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd >= 0) {
		(void)!fsync(fd);
		close(fd);
	}
}

enum err directory_create(str path, struct arena *a, str *why)
{
	char *p = str_cstr(a, path);

	if (p == NULL)
		return ERR_MEMORY;
	for (char *at = p + 1;; at++) {
		char kept = *at;
		int fd;

		if (kept != '/' && kept != '\0')
			continue;
		*at = '\0';
		if (mkdir(p, 0700) == 0 && (fd = open(p, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) >= 0) {
			give_to_owner(fd, p);
			close(fd);
			keep_name(p);
		} else if (errno != EEXIST && kept == '\0') {
			return complain(a, path, why);
		}
		*at = kept;
		if (kept == '\0')
			return OK;
	}
}

static bool write_all(int fd, str text)
{
	while (text.n > 0) {
		ssize_t n = write(fd, text.p, text.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text = str_skip(text, (size_t)n);
	}
	return fsync(fd) == 0;
}

/* The name comes last: whatever bears it is whole, also after a loss of power. */
static enum err file_put(str path, mode_t mode, str text, int (*give_name)(const char *, const char *), struct arena *a,
                         str *why)
{
	char *p = str_cstr(a, path), *fresh = str_cstr(a, arena_printf(a, "%.*s.new", STR_ARG(path)));
	enum err e = OK;
	int fd;

	if (p == NULL || fresh == NULL)
		return ERR_MEMORY;
	unlink(fresh);                          /* of one who did not come so far */
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	if (fd < 0)
		return complain(a, path, why);
	give_to_owner(fd, p);
	if (!write_all(fd, text) || give_name(fresh, p) != 0)
		e = complain(a, path, why);
	close(fd);
	unlink(fresh);
	if (e == OK)
		keep_name(p);
	return e;
}

enum err file_create(str path, mode_t mode, str text, struct arena *a, str *why)
{
	return file_put(path, mode, text, link, a, why);
}

enum err file_replace(str path, mode_t mode, str text, struct arena *a, str *why)
{
	return file_put(path, mode, text, rename, a, why);
}

int file_lock(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -1;
	give_to_owner(fd, path);
	while (flock(fd, LOCK_EX) != 0)
		if (errno != EINTR) {
			close(fd);
			return -1;
		}
	return fd;
}

enum err key_file_write(str state, struct key_file *k, struct arena *a, str *why)
{
	str folder = arena_printf(a, "%.*s/keys/%.*s", STR_ARG(state), STR_ARG(k->domain));
	char *pem = NULL;
	size_t n = 0;
	enum err e;

	k->path = arena_printf(a, "%.*s/%.*s.pem", STR_ARG(folder), STR_ARG(k->selector));
	e = directory_create(folder, a, why);
	if (e == OK)
		e = key_pem(k->key, &pem, &n);
	if (e == OK)
		e = file_create(k->path, 0600, (str){ pem, n }, a, why);
	if (pem != NULL) {
		crypt_wipe(pem, n);
		free(pem);
	}
	return e;
}

/* ---- reading ------------------------------------------------------------------------ */

static enum err take(struct key_files *out, struct arena *a, str domain, str selector, str path, str *why)
{
	struct key_file k = { str_keep(a, domain), str_keep(a, selector), str_keep(a, path), NULL };
	struct arena secret;
	str pem, said = STR_NONE;
	enum err e;

	for (size_t i = 0; i < out->n; i++)
		if (str_eq(out->v[i].path, path))
			return OK;
	if (out->n == out->room) {
		size_t room = out->room ? 2 * out->room : 16;
		struct key_file *v = realloc(out->v, room * sizeof(*v));

		if (v == NULL)
			return ERR_MEMORY;
		out->v = v;
		out->room = room;
	}
	arena_init(&secret, 256 << 10);
	e = file_read(verb_open_file, path, 64 << 10, &secret, &pem, &said);
	if (e == OK)
		k.key = key_private_pem(pem, &said);
	if (e == ERR_ABSENT)
		*why = arena_printf(a, "%.*s is not there: make it with `postern key generate %.*s %.*s`, or take the dkim section out",
		                    STR_ARG(path), STR_ARG(domain), STR_ARG(selector));
	else if (e != OK)
		*why = str_keep(a, said);
	else if (k.key == NULL)
		*why = arena_printf(a, "%.*s: %.*s: put a private key in PEM format there", STR_ARG(path), STR_ARG(said));
	arena_wipe(&secret);
	if (k.key == NULL)
		return e == OK ? ERR_BAD : e;
	out->v[out->n++] = k;
	return OK;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int visible(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

static enum err take_folder(struct key_files *out, struct arena *a, str folder, str domain, str *why)
{
	struct dirent **names;
	int n = scandir(str_cstr(a, folder), &names, visible, by_name);
	enum err e = OK;

	for (int i = 0; i < n; i++) {
		str name = str_of(names[i]->d_name);

		if (e == OK && str_ends_nocase(name, STR(".pem")))
			e = take(out, a, domain, str_head(name, name.n - 4),
			         arena_printf(a, "%.*s/%.*s", STR_ARG(folder), STR_ARG(name)), why);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	return e;
}

enum err key_files_read(str state, const struct config *c, struct arena *a, struct key_files *out, str *why)
{
	str keys = arena_printf(a, "%.*s/keys", STR_ARG(state));
	struct dirent **names;
	int n = scandir(str_cstr(a, keys), &names, visible, by_name);
	enum err e = OK;

	for (int i = 0; i < n; i++) {
		str domain = str_keep(a, str_of(names[i]->d_name));

		if (e == OK)
			e = take_folder(out, a, arena_printf(a, "%.*s/%.*s", STR_ARG(keys), STR_ARG(domain)), domain, why);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
	for (size_t i = 0; e == OK && i < c->domains.n; i++) {
		const struct domain_section *d = c->domains.v[i];

		for (size_t k = 0; e == OK && k < d->dkim.n; k++) {
			const struct dkim_section *s = d->dkim.v[k];

			e = take(out, a, d->name, s->head.title, s->key, why);
		}
	}
	return e;
}

void key_files_free(struct key_files *f)
{
	for (size_t i = 0; i < f->n; i++)
		key_free(f->v[i].key);
	free(f->v);
	*f = (struct key_files){ 0 };
}

void key_file_print_record(str domain, str selector, str record, FILE *out)
{
	fprintf(out, "%.*s._domainkey.%.*s. IN TXT (", STR_ARG(selector), STR_ARG(domain));
	while (record.n > 0) {
		str piece = str_head(record, 255);

		fprintf(out, " \"%.*s\"", STR_ARG(piece));
		record = str_skip(record, piece.n);
	}
	fprintf(out, " )\n");
}
