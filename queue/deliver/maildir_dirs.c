/* SPDX-License-Identifier: ISC */
/*
 * The directories of a mailbox, made when its first message comes.
 *
 * Each new directory gets the place's mode and group, and its parent is synced
 * at once: it happens once in a mailbox's life.  Disk desk.
 */
#include "queue/deliver/maildir_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool path_made(char out[static PATH_MAX], str dir, const char *sub)
{
	int n = snprintf(out, PATH_MAX, "%.*s%s%s", STR_ARG(dir), sub[0] ? "/" : "", sub);

	return n > 0 && n < PATH_MAX && strlen(out) == (size_t)n;
}

static int sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), e = 0;

	if (fd < 0)
		return -1;
	if (fsync(fd) != 0)
		e = errno;
	close(fd);
	errno = e;
	return e == 0 ? 0 : -1;
}

static int sync_parent(char *path)
{
	char *slash = strrchr(path, '/');
	int e;

	if (slash == NULL)
		return sync_path(".");
	if (slash == path)
		return sync_path("/");
	*slash = '\0';
	e = sync_path(path);
	*slash = '/';
	return e;
}

/* One directory whose parent is there.  0, also when somebody else made it. */
static int make_one(char *path, const struct place *place)
{
	if (mkdir(path, 0700) != 0)
		return errno == EEXIST ? 0 : -1;
	if (place->gid != (gid_t)-1 && chown(path, (uid_t)-1, place->gid) != 0)
		return -1;
	if (chmod(path, place->mode) != 0)
		return -1;
	return sync_parent(path);
}

static int make_with_parents(char *path, const struct place *place)
{
	char *slash;
	int e;

	if (make_one(path, place) == 0)
		return 0;
	slash = strrchr(path, '/');
	if (errno != ENOENT || slash == NULL || slash == path)
		return -1;
	*slash = '\0';
	e = make_with_parents(path, place);
	*slash = '/';
	return e == 0 ? make_one(path, place) : -1;
}

static bool is_subfolder(str dir)
{
	size_t slash = str_rfind(dir, '/');

	return slash + 1 < dir.n && dir.p[slash + 1] == '.';
}

/* Maildir++: an empty file says that this is a folder of the mailbox above. */
static int mark_subfolder(struct maildir_item *i, const struct place *place)
{
	char path[PATH_MAX];
	int fd;

	if (!path_made(path, i->dir, "maildirfolder"))
		return -1;
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, place->mode & 0666);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int make_mailbox(struct maildir_item *i)
{
	static const char *const subs[] = { "", "cur", "new", "tmp" };
	const struct place *place = i->rcpt->place;
	char path[PATH_MAX];

	for (size_t k = 0; k < COUNT(subs); k++) {
		if (!path_made(path, i->dir, subs[k])) {
			errno = ENAMETOOLONG;
			return -1;
		}
		if (make_with_parents(path, place) != 0)
			return -1;
	}
	return is_subfolder(i->dir) ? mark_subfolder(i, place) : 0;
}

int maildir_folder(struct maildir_item *i, const char *sub, bool make)
{
	char path[PATH_MAX];
	int fd;

	if (!path_made(path, i->dir, sub)) {
		maildir_failed(i, "The path of the mailbox is too long:", ENAMETOOLONG);
		return -1;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT && make) {
		if (make_mailbox(i) != 0) {
			maildir_failed(i, "The mailbox could not be made in", errno);
			return -1;
		}
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0)
		maildir_failed(i, "The mailbox could not be opened:", errno);
	return fd;
}
