/* SPDX-License-Identifier: ISC */
/*
 * Directories, files, the server's user.  What is there stays as it is: a directory
 * keeps its mode and owner, a file that differs is shown, and replaced with --force
 * only, the old one beside it as FILE.old.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/setup/generation.h"
#include "smtpd/setup/key_files.h"
#include "smtpd/setup/keys/book.h"
#include "smtpd/setup/setup/setup.h"
#include "smtpd/setup/verbs.h"

#define TEXT_MOST ((size_t)1 << 20)

static bool failed(const struct setup *s, str path, const char *mend)
{
	const char *why = strerror(errno);

	if (errno == EACCES && !s->root)
		mend = "run this as root, or name places of your own with --etc and --state";
	return setup_failed("%.*s: %s: %s", STR_ARG(path), why, mend);
}

/* ---- the user --------------------------------------------------------------------------------- */

bool setup_user(struct setup *s)
{
	char *name = str_cstr(s->a, s->user);
	struct passwd *pw;
	str command;

	if (!s->root || getpwnam(name) != NULL)
		return true;
	setup_tell(s, "made", "make", arena_printf(s->a, "user %s", name), "the server runs as it and owns the mail");
	if (s->said.dry)
		return true;
	command = arena_printf(s->a, "useradd --system --user-group --no-create-home --home-dir %.*s --shell /usr/sbin/nologin %s",
	                       STR_ARG(s->state), name);
	if (setup_shell(str_cstr(s->a, command), false) != 0 || (pw = getpwnam(name)) == NULL)
		return setup_failed("the user %s could not be made: run `%.*s`, or name another with --user", name, STR_ARG(command));
	s->uid = pw->pw_uid;
	s->gid = pw->pw_gid;
	return true;
}

/* ---- directories ---------------------------------------------------------------------------------- */

static void sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!fsync(fd);
		close(fd);
	}
}

static str parent_of(str path)
{
	size_t slash = str_rfind(path, '/');

	return slash == 0 || slash == path.n ? STR("/") : str_head(path, slash);
}

/* Its parents are everybody's to pass. */
static bool make_parents(struct setup *s, str path)
{
	str parent = parent_of(path);
	char *name = str_cstr(s->a, parent);

	if (parent.n == 1 || access(name, F_OK) == 0)
		return true;
	if (!make_parents(s, parent) || (mkdir(name, 0755) != 0 && errno != EEXIST))
		return failed(s, parent, "make it");
	sync_directory(str_cstr(s->a, parent_of(parent)));
	return true;
}

/* By its descriptor: in a directory of the server's user the name could be another's by now. */
static bool finish_directory(struct setup *s, str path, mode_t mode, bool for_server)
{
	int fd = open(str_cstr(s->a, path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	bool ok = fd >= 0 && (!for_server || !s->root || fchown(fd, s->uid, s->gid) == 0) && fchmod(fd, mode) == 0 && fsync(fd) == 0;

	if (!ok)
		failed(s, path, "look at its owner and mode");
	if (fd >= 0)
		close(fd);
	sync_directory(str_cstr(s->a, parent_of(path)));
	return ok;
}

bool setup_directory(struct setup *s, str path, mode_t mode, bool for_server, const char *about)
{
	char *name = str_cstr(s->a, path);
	struct stat st;

	if (stat(name, &st) == 0) {
		if (!S_ISDIR(st.st_mode))
			return setup_failed("%s is there and is no directory: move it away", name);
		if (for_server && s->root && st.st_uid != s->uid)
			return setup_failed("%s belongs to another user: give it to the server's with `chown %.*s: %s`", name, STR_ARG(s->user), name);
		return true;
	}
	setup_tell(s, "made", "make", path, about);
	if (s->said.dry)
		return true;
	if (!make_parents(s, path))
		return false;
	if (mkdir(name, 0700) != 0)
		return failed(s, path, "make it");
	return finish_directory(s, path, mode, for_server);
}

static bool is_within(str path, str place)
{
	return path.n > place.n && str_eq(str_head(path, place.n), place) && path.p[place.n] == '/';
}

bool setup_directories(struct setup *s)
{
	str drop = setup_drop_path(s), mail = arena_printf(s->a, "%.*s/%.*s", STR_ARG(s->mail), STR_ARG(s->domain));

	if (s->there == NULL && drop.n == 0)
		drop = STR("/var/spool/postern");
	if (!setup_directory(s, s->etc, 0755, false, "configuration") ||
	    !setup_directory(s, setup_in_etc(s, "tls"), 0700, false, "certificate") ||
	    !setup_directory(s, s->state, 0700, true, "queue, keys, accounts") ||
	    (is_within(s->mail, s->state) && !setup_directory(s, s->mail, 0700, true, "mail that has come")) ||
	    !setup_directory(s, mail, 0700, true, "mail that has come, of this domain"))
		return false;
	return !s->root || drop.n == 0 || setup_directory(s, drop, 0711, true, "mail of this machine's own users and programs");
}

/* ---- files -------------------------------------------------------------------------------------------- */

static bool keep_old(struct setup *s, str path)
{
	char *name = str_cstr(s->a, path), *old = str_cstr(s->a, arena_printf(s->a, "%.*s.old", STR_ARG(path)));

	unlink(old);
	if (link(name, old) != 0 && errno != ENOENT)
		return failed(s, path, "it could not be kept as FILE.old, so it stays");
	return true;
}

bool setup_replace(struct setup *s, str path, mode_t mode, str text, const char *about)
{
	str why;
	struct stat st;

	if (s->said.dry) {
		setup_tell(s, "", "replace", path, about);
		return true;
	}
	if (stat(str_cstr(s->a, path), &st) == 0)
		mode = st.st_mode & 07777;
	if (!keep_old(s, path))
		return false;
	if (file_replace(path, mode, text, s->a, &why) != OK)
		return setup_failed("%.*s", STR_ARG(why));
	setup_tell(s, "replaced", "", path, "the old one is beside it as .old");
	return true;
}

static bool write_new(struct setup *s, str path, mode_t mode, str text, const char *about)
{
	str why;

	setup_tell(s, "wrote", "write", path, about);
	if (s->said.dry)
		return true;
	if (file_create(path, mode, text, s->a, &why) == OK)
		return true;
	return setup_failed("%.*s%s", STR_ARG(why), s->root ? "" : ": run this as root, or name places of your own with --etc and --state");
}

enum put setup_put(struct setup *s, str path, mode_t mode, str text, const char *about)
{
	str there, why;
	enum err e = file_read(verb_open_file, path, TEXT_MOST, s->a, &there, &why);

	if (e == ERR_ABSENT)
		return write_new(s, path, mode, text, about) ? PUT_DONE : PUT_FAILED;
	if (e != OK) {
		setup_failed("%.*s", STR_ARG(why));
		return PUT_FAILED;
	}
	if (str_eq(there, text)) {
		setup_there(s, path, about);
		return PUT_SAME;
	}
	if (s->said.force)
		return setup_replace(s, path, mode, text, about) ? PUT_DONE : PUT_FAILED;
	s->differs = true;
	setup_tell(s, "kept", "keep", path, "it differs: - is there, + would be written");
	print_difference(there, text);
	return PUT_DIFFERS;
}

/* ---- the configuration ------------------------------------------------------------------------------------ */

/* What the server would say of it; it is read under another name first. */
static bool reads(struct setup *s, str text)
{
	str path = arena_printf(s->a, "%s.try", s->file), why;
	char *name = str_cstr(s->a, path);
	struct conf_faults faults = { 0 };
	struct config *c;
	enum err e;

	unlink(name);
	if (file_create(path, 0600, text, s->a, &why) != OK)
		return setup_failed("%.*s", STR_ARG(why));
	e = config_read(name, verb_open_file, s->a, &c, &faults, &why);
	if (e == OK)
		config_check_files(c, verb_open_file, s->a, &faults);
	unlink(name);
	if (e == OK && faults.n == 0)
		return true;
	config_print_faults(&faults, stderr);
	return setup_failed("what would be written has faults, so %s is as it was: mend what they name, then run this again", s->file);
}

static bool read_again(struct setup *s)
{
	int status;

	if (s->said.dry)
		return true;
	s->config = verb_config(SETUP_VERB, s->file, s->a, &status);
	return s->config != NULL;
}

/* A person's file is not touched unless asked. */
static bool add_domain(struct setup *s)
{
	str text = text_domain(s), there, why;

	if (!s->said.add) {
		printf("\n%s is there, without %.*s.  These lines add it:\n\n%.*s\n", s->file, STR_ARG(s->domain), STR_ARG(text));
		return setup_failed("%s is not changed: add the lines above, or have them added with --add, and run this again", s->file);
	}
	if (file_read(verb_open_file, str_of(s->file), TEXT_MOST, s->a, &there, &why) != OK)
		return setup_failed("%.*s", STR_ARG(why));
	there = arena_printf(s->a, "%.*s%s\n%.*s", STR_ARG(there), there.n > 0 && there.p[there.n - 1] != '\n' ? "\n" : "", STR_ARG(text));
	if (!s->said.dry && !reads(s, there))
		return false;
	s->changed = true;
	return setup_replace(s, str_of(s->file), 0644, there, "with the domain added at its end");
}

/* Its text is people's own from the first day. */
bool setup_aliases(struct setup *s)
{
	const struct domain_section *d = s->there != NULL ? config_domain_of(s->there, s->domain) : NULL;
	str path = d != NULL ? d->aliases : setup_aliases_path(s);

	if (path.n == 0)
		return true;
	if (access(str_cstr(s->a, path), F_OK) != 0)
		return write_new(s, path, 0644, text_aliases(s), "who gets mail to postmaster, abuse and root");
	setup_there(s, path, "who gets mail to postmaster, abuse and root");
	return true;
}

/* What would be written has one domain: it is no match for a file that has more. */
bool setup_configuration(struct setup *s)
{
	enum put put = PUT_SAME;
	str text = text_configuration(s);

	if (s->second)
		return add_domain(s) && read_again(s);
	if (s->there != NULL && s->there->domains.n > 1) {
		setup_there(s, str_of(s->file), arena_printf(s->a, "the configuration, of %zu domains", s->there->domains.n).p);
		return read_again(s);
	}
	if (!s->said.dry && (s->there == NULL || s->said.force) && !reads(s, text))
		return false;
	put = setup_put(s, str_of(s->file), 0644, text, "the configuration");
	s->changed = put == PUT_DONE;
	return put != PUT_FAILED && read_again(s);
}
