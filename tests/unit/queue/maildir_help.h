/* SPDX-License-Identifier: ISC */
/*
 * maildir_help: a folder of mailboxes, and one delivery to some of them, step by
 * step, on the test's own thread.
 */
#ifndef TESTS_MAILDIR_HELP_H
#define TESTS_MAILDIR_HELP_H

#include "tests/unit/queue/house.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "queue/deliver/maildir.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

static struct house h;
static char *root;
static struct place place;

struct delivery {
	struct queue_entry   entry;
	struct lease         lease;
	struct lease_rcpt    rcpts[200];
	struct maildir_batch batch;
};

static const char text[] = "Subject: x\r\n\r\nHello\r\n.dot\r\nbare\rcr\r\n\r\r\nend";

static void begin(struct delivery *d, size_t n)
{
	memset(d, 0, sizeof(*d));
	d->entry = (struct queue_entry){ .id = queue_new_id(h.q), .sender = STR("anna@us.test"), .head = STR("Received: here\r\n"),
	                                 .content = str_of(text), .bytes = sizeof(text) - 1, .header_bytes = 14 };
	arena_init(&d->lease.arena, ARENA_UNBOUNDED);
	d->lease.entry = &d->entry;
	d->lease.v = d->rcpts;
	d->lease.n = n;
	for (size_t i = 0; i < n; i++)
		d->rcpts[i] = (struct lease_rcpt){
			.index = (uint32_t)i, .place = &place, .address = STR("bob@us.test"),
			.dir = arena_printf(&d->lease.arena, "%s/us.test/box%zu", root, i),
		};
	d->batch = (struct maildir_batch){ .queue = h.q, .hostname = STR("host.us.test"), .leases = &d->lease };
}

static void work(struct delivery *d)
{
	maildir_work(&d->batch.job);
	for (size_t i = 0; i < d->lease.n; i++)
		assert_true(d->rcpts[i].settled);
}

/* The commit is home: step 2 is to come. */
static void staged(struct delivery *d, int64_t at)
{
	for (size_t i = 0; i < d->lease.n; i++) {
		assert_int_equal(d->rcpts[i].fate, FATE_STAGED);
		d->rcpts[i].staged = true;
		d->rcpts[i].staged_at = at;
		d->rcpts[i].settled = false;
	}
}

static void end(struct delivery *d)
{
	arena_fini(&d->lease.arena);
}

static char *path_in(const char *box, const char *sub)
{
	static char path[1000];

	snprintf(path, sizeof(path), "%s/us.test/%s/%s", root, box, sub);
	return path;
}

/* How many files, and the last one's name. */
static size_t files_in(const char *box, const char *sub, char *name)
{
	DIR *d = opendir(path_in(box, sub));
	size_t n = 0;

	if (d == NULL)
		return 0;
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.') {
			n++;
			if (name != NULL)
				snprintf(name, 300, "%s", e->d_name);
		}
	closedir(d);
	return n;
}

static inline size_t read_file(const char *box, const char *sub, const char *name, char *out, size_t room)
{
	char path[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", path_in(box, sub), name);
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	n = read(fd, out, room);
	close(fd);
	return (size_t)n;
}

static void mailboxes_open(void)
{
	memset(&h, 0, sizeof(h));
	house_open(&h);
	house_start(&h);
	root = folder_new();
	place = (struct place){ .kind = PLACE_MAILDIR, .uid = (uid_t)-1, .gid = (gid_t)-1, .mode = 0750 };
}

static int mailboxes_close(void **state)
{
	(void)state;
	house_close(&h);
	house_burn(&h);
	remove_all(root);
	free(root);
	return 0;
}

#endif
