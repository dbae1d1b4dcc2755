/* SPDX-License-Identifier: ISC */
/*
 * keeper_walk: opens a path as root without being led astray.
 *
 * Each component is opened by itself and never followed by the kernel; a
 * symbolic link is read, judged by its owner, and its text takes the link's
 * place.  So what is judged is what is used.  Runs as root, one thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "smtpd/base/keeper_inside.h"

#define LINKS_MAX 20

struct walk {
	int    dir;                      /* O_PATH: where we are */
	char   rest[2 * PATH_MAX];       /* components still to come */
	size_t at;
	char   name[NAME_MAX + 1];       /* the one at hand */
	unsigned links;
	uid_t  link_owner;               /* of a link that was not root's */
	bool   strangers_link;
	bool   make;                     /* missing directories are made */
};

static int step_into(struct walk *w, int fd)
{
	if (fd < 0)
		return -1;
	close(w->dir);
	w->dir = fd;
	return 0;
}

static int go_to_root(struct walk *w)
{
	return step_into(w, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/* The next component into name; false at the end, or with errno when too long. */
static bool next_name(struct walk *w)
{
	const char *p = w->rest + w->at;
	size_t n;

	errno = 0;
	p += strspn(p, "/");
	n = strcspn(p, "/");
	w->at = (size_t)(p + n - w->rest);
	if (n == 0)
		return false;
	if (n > NAME_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	memcpy(w->name, p, n);
	w->name[n] = '\0';
	return true;
}

static bool at_end(const struct walk *w)
{
	return w->rest[w->at + strspn(w->rest + w->at, "/")] == '\0';
}

/* Who may place a link that root follows: root, and who owns the directory. */
static bool trusted(struct walk *w, const struct stat *link)
{
	struct stat dir;

	if (link->st_uid == 0)
		return true;
	if (fstat(w->dir, &dir) != 0 || dir.st_uid != link->st_uid)
		return false;
	if (w->strangers_link && w->link_owner != link->st_uid)
		return false;
	w->strangers_link = true;
	w->link_owner = link->st_uid;
	return true;
}

static int follow(struct walk *w, int fd, const struct stat *link)
{
	char text[PATH_MAX];
	const char *rest = w->rest + w->at;
	size_t nrest = strlen(rest) + 1;
	ssize_t n;

	errno = EACCES;
	if (!trusted(w, link))
		return -1;
	errno = ELOOP;
	if (++w->links > LINKS_MAX)
		return -1;
	n = readlinkat(fd, "", text, sizeof(text));
	if (n <= 0)
		return -1;
	errno = ENAMETOOLONG;
	if ((size_t)n == sizeof(text) || (size_t)n + nrest > sizeof(w->rest))
		return -1;
	memmove(w->rest + n, rest, nrest);       /* begins with its slash, or is empty */
	memcpy(w->rest, text, (size_t)n);
	w->at = 0;
	return text[0] == '/' ? go_to_root(w) : 0;
}

/* Takes one component.  1: it is no directory and no link (so the walk ends
 * here), 0: go on, -1: errno. */
static int take(struct walk *w)
{
	struct stat st;
	int fd = openat(w->dir, w->name, O_PATH | O_NOFOLLOW | O_CLOEXEC), r;

	if (fd < 0 && errno == ENOENT && w->make) {
		if (mkdirat(w->dir, w->name, at_end(w) ? 0700 : 0755) != 0 && errno != EEXIST)
			return -1;
		fd = openat(w->dir, w->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	}
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) != 0) {
		close(fd);
		return -1;
	}
	if (S_ISDIR(st.st_mode))
		return step_into(w, fd);
	r = S_ISLNK(st.st_mode) ? follow(w, fd, &st) : 1;
	close(fd);
	return r;
}

/* 1: name in dir is the file; 0: dir is the directory; -1: errno. */
static int walk(struct walk *w, str path, bool make)
{
	int r = 0;

	memset(w, 0, sizeof(*w));
	w->dir = -1;
	w->make = make;
	errno = EINVAL;
	if (path.n == 0 || path.p[0] != '/' || path.n >= PATH_MAX || str_holds(path, '\0'))
		return -1;
	memcpy(w->rest, path.p, path.n);
	w->dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (w->dir < 0)
		return -1;
	while (r == 0 && next_name(w))
		r = take(w);
	if (r == 0)
		return errno != 0 ? -1 : 0;
	if (r == 1 && w->rest[w->at] != '\0') {   /* "file/more" */
		errno = ENOTDIR;
		return -1;
	}
	return r;
}

static int leave(struct walk *w, int fd)
{
	int kept = errno;

	if (w->dir >= 0)
		close(w->dir);
	errno = kept;
	return fd;
}

static int refuse(int fd, int errnum)
{
	close(fd);
	errno = errnum;
	return -1;
}

static int open_found(struct walk *w)
{
	/* O_NONBLOCK: a pipe put there meanwhile must not stop the keeper. */
	int fd = openat(w->dir, w->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) != 0)
		return refuse(fd, errno);
	if (!S_ISREG(st.st_mode))
		return refuse(fd, EINVAL);
	if (w->strangers_link && st.st_uid != w->link_owner)
		return refuse(fd, EACCES);
	return fd;
}

int keeper_walk(str path)
{
	struct walk w;
	int r = walk(&w, path, false);

	if (r == 0)
		errno = EISDIR;
	return leave(&w, r == 1 ? open_found(&w) : -1);
}

int keeper_walk_dir(str path)
{
	struct walk w;
	int r = walk(&w, path, true), fd = -1;

	if (r == 1)
		errno = ENOTDIR;
	if (r == 0 && w.strangers_link)
		errno = EACCES;
	else if (r == 0)
		fd = openat(w.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return leave(&w, fd);
}
