/* SPDX-License-Identifier: ISC */
/*
 * The directories of a mailbox, made when its first message comes, each with the
 * place's mode and group.  tmp/ is made last: where it is, the others are.
 * Disk desk.
 */
#include "queue/deliver/maildir_inside.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/map.h"

static bool path_made(char out[static PATH_MAX], str dir, const char *sub)
{
	int n = snprintf(out, PATH_MAX, "%.*s%s%s", STR_ARG(dir), sub[0] ? "/" : "", sub);

	return n > 0 && n < PATH_MAX && strlen(out) == (size_t)n;
}

/* ---- names that are kept -------------------------------------------------------------------- */

/* Directories whose names are known to be on the disk, by device and inode: sets
 * of WAYS, so that two that fall into one set do not push each other out for
 * ever.  One that is pushed out is synced once more, no harm done. */
#define SETS 1024
#define WAYS 4

static _Atomic uint64_t trusted[SETS][WAYS];

static uint64_t key_of(const struct stat *st)
{
	static const uint8_t key[16] = "postern folders";
	const uint64_t v[2] = { (uint64_t)st->st_dev, (uint64_t)st->st_ino };
	uint64_t hash = siphash(key, (str){ (const char *)v, sizeof(v) });

	return hash != 0 ? hash : 1;
}

/* Where `key` stands in its set, or NULL. */
static _Atomic uint64_t *find(uint64_t set_of, uint64_t key)
{
	for (size_t way = 0; way < WAYS; way++)
		if (atomic_load(&trusted[set_of % SETS][way]) == key)
			return &trusted[set_of % SETS][way];
	return NULL;
}

static bool is_trusted(const struct stat *st)
{
	return find(key_of(st), key_of(st)) != NULL;
}

static void trust(int fd)
{
	struct stat st;
	_Atomic uint64_t *place;
	uint64_t key;

	if (fstat(fd, &st) != 0 || is_trusted(&st))
		return;
	key = key_of(&st);
	place = find(key, 0);
	atomic_store(place != NULL ? place : &trusted[key % SETS][key / SETS % WAYS], key);
}

/* It is new, whoever had its number before. */
static void distrust(const char *path)
{
	struct stat st;
	_Atomic uint64_t *place = stat(path, &st) == 0 ? find(key_of(&st), key_of(&st)) : NULL;

	if (place != NULL)
		atomic_store(place, 0);
}

static int sync_up(char *path, dev_t disk);

/* The directory itself, and as long as its own name is not known to be kept, what
 * is above.  It is trusted last: another desk that finds it trusted looks no
 * further, and so does the next try after a failure. */
static int sync_one(int fd, const struct stat *st, char *path)
{
	char *slash = strrchr(path, '/');

	if (fsync(fd) != 0 && errno != EINVAL)
		return -1;
	if (is_trusted(st))
		return 0;
	if (slash != NULL && path[1] != '\0') {
		slash[slash == path] = '\0';
		if (sync_up(path, st->st_dev) != 0)
			return -1;
	}
	trust(fd);
	return 0;
}

/* What we may not read we have not made anything in; what is on another disk
 * neither. */
static int sync_up(char *path, dev_t disk)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), e;
	struct stat st;

	if (fd < 0)
		return errno == EACCES || errno == EPERM ? 0 : -1;
	e = fstat(fd, &st) != 0 || (st.st_dev == disk && sync_one(fd, &st, path) != 0) ? errno : 0;
	close(fd);
	errno = e;
	return e == 0 ? 0 : -1;
}

static int sync_above(const struct maildir_folder *f)
{
	char path[PATH_MAX];

	if (!path_made(path, f->dir, "") || sync_up(path, f->disk) != 0)
		return -1;
	trust(f->fd);
	return 0;
}

void maildir_sync_folder(struct maildir_folder *f)
{
	bool safe = fsync(f->fd) == 0 && (!f->strange || sync_above(f) == 0);

	f->errnum = safe ? 0 : errno;
	f->synced = true;
}

/* One flush of a whole file system.  The folder was opened before anything was
 * written, so that a write error since then is told here (and to fsync). */
void maildir_sync_disk(struct maildir_round *r, const struct maildir_folder *any)
{
	int errnum = syncfs(any->fd) == 0 ? 0 : errno;
	dev_t disk = any->disk;

	for (struct maildir_folder *f = r->folders; f < r->folders + r->n; f++) {
		if (f->synced || f->disk != disk)
			continue;
		f->synced = true;
		f->errnum = errnum;
		if (errnum == 0 && f->strange)
			trust(f->fd);
	}
}

/* ---- making ------------------------------------------------------------------------------------ */

/* One directory whose parent is there.  0, also when somebody else made it; one
 * that cannot be given its group and mode is not left behind without them. */
static int make_one(const char *path, const struct place *place)
{
	int e;

	if (mkdir(path, 0700) != 0)
		return errno == EEXIST ? 0 : -1;
	distrust(path);
	if ((place->gid == (gid_t)-1 || chown(path, (uid_t)-1, place->gid) == 0) && chmod(path, place->mode) == 0)
		return 0;
	e = errno;
	rmdir(path);
	errno = e;
	return -1;
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
		if (k == 1 && is_subfolder(i->dir) && mark_subfolder(i, place) != 0)
			return -1;
		if (!path_made(path, i->dir, subs[k])) {
			errno = ENAMETOOLONG;
			return -1;
		}
		if (make_with_parents(path, place) != 0)
			return -1;
	}
	return 0;
}

/* ---- opening ----------------------------------------------------------------------------------- */

static struct maildir_folder *opened_before(struct maildir_round *r, str dir, const char *sub)
{
	for (size_t k = r->n; k-- > 0;)
		if (strcmp(r->folders[k].sub, sub) == 0 && str_eq(r->folders[k].dir, dir))
			return &r->folders[k];
	return NULL;
}

static int open_or_make(struct maildir_item *i, const char *path, bool make)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0 || errno != ENOENT || !make)
		return fd;
	if (make_mailbox(i) != 0) {
		maildir_failed(i, "The mailbox could not be made in", errno);
		return -1;
	}
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

struct maildir_folder *maildir_open(struct maildir_item *i, const char *sub, bool make)
{
	struct maildir_round *r = i->round;
	struct maildir_folder *f = opened_before(r, i->dir, sub);
	char path[PATH_MAX];
	struct stat st;
	int fd;

	if (f != NULL)
		return f;
	if (!path_made(path, i->dir, sub)) {
		maildir_failed(i, "The path of the mailbox is too long:", ENAMETOOLONG);
		return NULL;
	}
	fd = open_or_make(i, path, make);
	if (fd < 0 || fstat(fd, &st) != 0) {
		maildir_failed(i, "The mailbox could not be opened:", errno);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	must(r->n < COUNT(r->folders));
	f = &r->folders[r->n++];
	*f = (struct maildir_folder){ .dir = i->dir, .sub = sub, .fd = fd, .disk = st.st_dev, .strange = !is_trusted(&st) };
	return f;
}

void maildir_close(struct maildir_round *r)
{
	while (r->n > 0)
		close(r->folders[--r->n].fd);
}
