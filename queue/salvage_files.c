/* SPDX-License-Identifier: ISC */
/*
 * Salvage and the files beside a store: large contents, wherever they lie, and a
 * store that an operator names.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "queue/salvage_inside.h"

/* ---- large contents ------------------------------------------------------------------ */

static bool is_file(const char *folder, uint64_t id, uint64_t bytes, char path[static BODY_PATH])
{
	char name[QUEUE_ID_TEXT];
	struct stat st;

	if ((size_t)snprintf(path, BODY_PATH, "%s/%s", folder, queue_id_text(id, name).p) >= BODY_PATH)
		return false;
	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == bytes;
}

/* The same file under another name where that can be, else a copy of it. */
static bool bring_file(const char *from, const char *to)
{
	char piece[64 << 10];
	int in, out;
	ssize_t n = 0;
	bool ok;

	if (link(from, to) == 0)
		return true;
	in = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	out = in < 0 ? -1 : open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ok = out >= 0;
	while (ok && (n = read(in, piece, sizeof(piece))) > 0)
		ok = write(out, piece, (size_t)n) == n;
	ok = ok && n == 0 && fsync(out) == 0;
	if (out >= 0 && !ok)
		unlink(to);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return ok;
}

/* In `body`, or in a body.damaged-DATE of an earlier salvage. */
static bool find_beside(const char *beside, uint64_t id, uint64_t bytes, char path[static BODY_PATH])
{
	char folder[BODY_PATH];
	DIR *d = beside ? opendir(beside) : NULL;
	bool found = false;

	for (struct dirent *e; d != NULL && !found && (e = readdir(d)) != NULL;)
		if (strncmp(e->d_name, "body", 4) == 0 &&
		    (size_t)snprintf(folder, sizeof(folder), "%s/%s", beside, e->d_name) < sizeof(folder))
			found = is_file(folder, id, bytes, path);
	if (d != NULL)
		closedir(d);
	return found;
}

bool salvage_file_whole(const struct salvage *s, uint64_t id, uint64_t bytes)
{
	char here[BODY_PATH], elsewhere[BODY_PATH];

	if (is_file(s->bodies, id, bytes, here))
		return true;
	return find_beside(s->beside, id, bytes, elsewhere) && bring_file(elsewhere, here) && sync_folder(s->bodies) == OK;
}

/* ---- by hand ------------------------------------------------------------------------------------------- */

static enum err into_store(struct queue *q, const char *file, struct salvage *s, struct arena *a, str *why)
{
	char *folder = str_cstr(a, str_head(str_of(file), str_rfind(str_of(file), '/')));
	struct stat ours, theirs;
	enum err e;

	if (stat(file, &theirs) == 0 && stat(q->path, &ours) == 0 && ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino) {
		*why = arena_printf(a, "%s is the server's own store: when it is damaged, the server's start salvages it", file);
		return ERR_DENIED;
	}
	s->from = file;
	s->to = q->store;
	s->bodies = q->bodies;
	s->beside = folder;
	e = salvage_run(s);
	if (e != OK)
		*why = arena_printf(a, "%s: %s%s", file, err_text(e),
		                    e == ERR_FULL ? ": make room on the disk, or queue { size } larger, and do it again" : "");
	return e;
}

enum err queue_salvage_file(const struct queue_conf *c, const char *file, struct salvage *s, struct arena *a, str *why)
{
	char *path = realpath(file, NULL);
	struct queue *q;
	enum err e;

	if (path == NULL) {
		*why = arena_printf(a, "%s: %s", file, strerror(errno));
		return ERR_ABSENT;
	}
	q = queue_open(c, a, why);
	e = q != NULL ? into_store(q, path, s, a, why) : ERR_DENIED;
	queue_close(q);
	free(path);
	return e;
}
