/* SPDX-License-Identifier: ISC */
/*
 * Step 2: from tmp/ to new/, and what to think when there is nothing to move.
 * Disk desk.
 */
#include "queue/deliver/maildir_inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"

/* Where the file system knows no exclusive rename, the name is looked at first;
 * it is ours alone, so nobody comes in between.  Not link(2) and unlink(2): a
 * crash between them would leave two, and a reader that has taken one away by
 * then would be given the other. */
static int move_file(int tmp, int new, const char *name)
{
	struct stat st;

	if (renameat2(tmp, name, new, name, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -1;
	if (fstatat(tmp, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -1;
	if (fstatat(new, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return -1;
	}
	return errno == ENOENT ? renameat(tmp, name, new, name) : -1;
}

/* What stands behind the first comma or colon is size, flags and what mail
 * programs like to add; the front is unique by itself. */
static str unique_part(str name)
{
	return str_head(name, str_find(name, ',') < str_find(name, ':') ? str_find(name, ',') : str_find(name, ':'));
}

static bool is_ours(const char *entry, str name)
{
	return str_eq(unique_part(str_of(entry)), unique_part(name));
}

static bool is_in(int tmp, const char *sub, str name)
{
	int fd = openat(tmp, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	bool there = false;

	for (struct dirent *e; d != NULL && !there && (e = readdir(d)) != NULL;)
		there = is_ours(e->d_name, name);
	if (d != NULL)
		closedir(d);
	else if (fd >= 0)
		close(fd);
	return there;
}

/* Moved in an earlier life, unless somebody cleaned tmp/: nobody does that in
 * the first day. */
static bool was_delivered(struct maildir_item *i, int tmp)
{
	if (clock_wall() - i->rcpt->staged_at < MAILDIR_STAGED_S)
		return true;
	return is_in(tmp, "../new", i->name) || is_in(tmp, "../cur", i->name);
}

/* A directory that was removed while it was open here has no file and takes
 * none: that says nothing of what became of one. */
static bool is_removed(int folder)
{
	struct stat st;

	return fstat(folder, &st) != 0 || st.st_nlink == 0;
}

static enum maildir_found name_is_taken(struct maildir_item *i, int tmp, const char *name)
{
	struct stat ours, there;

	if (fstatat(tmp, name, &ours, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fstatat(i->folder->fd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_size == there.st_size) {
		unlinkat(tmp, name, 0);
		return MAILDIR_MOVED;
	}
	log_event(NULL, LOG_ERROR, "maildir.fault", KV("dir", i->dir), KV_C("name", name),
	          KV_C("why", "new/ holds a file of this name and another size"));
	maildir_failed(i, "A file of the same name and another size lies in new/ of", EEXIST);
	return MAILDIR_PUT_OFF;
}

static enum maildir_found move_from(struct maildir_item *i, int tmp)
{
	char *name = str_cstr(&i->lease->arena, i->name);

	if (name == NULL) {
		maildir_failed(i, "Out of memory for", ENOMEM);
		return MAILDIR_PUT_OFF;
	}
	i->folder = maildir_open(i, "new", i->rcpt->place != NULL);
	if (i->folder == NULL)
		return MAILDIR_PUT_OFF;
	if (move_file(tmp, i->folder->fd, name) == 0)
		return MAILDIR_MOVED;
	if (errno == EEXIST)
		return name_is_taken(i, tmp, name);
	if (errno == ENOENT && !is_removed(tmp) && !is_removed(i->folder->fd))
		return was_delivered(i, tmp) ? MAILDIR_MOVED : MAILDIR_AGAIN;
	maildir_failed(i, "The message could not be moved to new/ of", errno);
	return MAILDIR_PUT_OFF;
}

enum maildir_found maildir_move(struct maildir_item *i)
{
	size_t lf = str_find(i->rcpt->staged_as, '\n');
	struct maildir_folder *tmp;
	enum maildir_found found;
	str now = i->dir;

	i->dir = str_head(i->rcpt->staged_as, lf);
	i->name = str_skip(i->rcpt->staged_as, lf + 1);
	i->moved = true;
	/* Without tmp/ the whole mailbox is elsewhere, perhaps on a disk that is not
	 * mounted: then nothing can be known. */
	tmp = maildir_open(i, "tmp", false);
	if (tmp == NULL)
		return MAILDIR_PUT_OFF;
	found = move_from(i, tmp->fd);
	if (found != MAILDIR_MOVED)
		i->folder = NULL;
	if (found == MAILDIR_AGAIN) {
		i->moved = false;
		i->dir = now;
	}
	return found;
}
