/* SPDX-License-Identifier: ISC */
/* Maildirs: what is in the file, and exactly once whatever a crash left. */
#include "tests/unit/queue/house.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "queue/deliver/maildir.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

static struct house h;
static char *root;
static struct place place;

/* ---- system calls that can be counted, made slow or made to fail ------------------------ */

static struct {
	atomic_size_t fsyncs, syncfses;
	_Atomic uint64_t fsync_ms, syncfs_ms, ahead_ms;
	atomic_int write_error, sync_error, mkdir_error;
	atomic_bool old_rename, counts;
} sys;

int fsync(int fd)
{
	atomic_fetch_add(&sys.fsyncs, 1);
	sys.ahead_ms += sys.fsync_ms;
	if (sys.counts && sys.sync_error != 0) {
		errno = sys.sync_error;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

int syncfs(int fd)
{
	atomic_fetch_add(&sys.syncfses, 1);
	sys.ahead_ms += sys.syncfs_ms;
	if (sys.counts && sys.sync_error != 0) {
		errno = sys.sync_error;
		return -1;
	}
	return (int)syscall(SYS_syncfs, fd);
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
	int e = (int)syscall(SYS_clock_gettime, clock, t);

	if (clock == CLOCK_MONOTONIC)
		t->tv_sec += (time_t)(sys.ahead_ms / 1000);
	return e;
}

int renameat2(int from, const char *name, int to, const char *new, unsigned flags)
{
	if (sys.old_rename) {
		errno = EINVAL;
		return -1;
	}
	return (int)syscall(SYS_renameat2, from, name, to, new, flags);
}

ssize_t write(int fd, const void *p, size_t n)
{
	if (sys.counts && sys.write_error != 0) {
		errno = sys.write_error;
		return sys.write_error < 0 ? 0 : -1;
	}
	return syscall(SYS_write, fd, p, n);
}

int chmod(const char *path, mode_t mode)
{
	if (sys.counts && sys.mkdir_error != 0) {
		errno = sys.mkdir_error;
		return -1;
	}
	return (int)syscall(SYS_fchmodat, AT_FDCWD, path, mode);
}

/* ---- one delivery ------------------------------------------------------------------- */

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

static size_t read_file(const char *box, const char *sub, const char *name, char *out, size_t room)
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

static int set_up(void **state)
{
	const uint64_t ahead = sys.ahead_ms;

	(void)state;
	memset(&sys, 0, sizeof(sys));
	sys.ahead_ms = ahead + 61000;          /* no test rests for another's slow disk */
	memset(&h, 0, sizeof(h));
	house_open(&h);
	house_start(&h);
	root = folder_new();
	place = (struct place){ .kind = PLACE_MAILDIR, .uid = (uid_t)-1, .gid = (gid_t)-1, .mode = 0750 };
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	house_close(&h);
	house_burn(&h);
	remove_all(root);
	free(root);
	return 0;
}

/* ---- what is in it ---------------------------------------------------------------------- */

static void both_steps(void **state)
{
	static const char want[] = "Return-Path: <anna@us.test>\nDelivered-To: bob@us.test\nReceived: here\n"
	                           "Subject: x\n\nHello\n.dot\nbare\rcr\n\r\nend";
	struct delivery d;
	char name[300], got[1400], tail[20];
	struct stat st;
	mode_t old = umask(077);

	(void)state;
	begin(&d, 1);
	work(&d);
	assert_int_equal(files_in("box0", "tmp", name), 1);
	assert_int_equal(files_in("box0", "new", NULL), 0);
	assert_true(str_is(str_skip(d.rcpts[0].staged_as, str_find(d.rcpts[0].staged_as, '\n') + 1), name));
	snprintf(tail, sizeof(tail), ",S=%zu", sizeof(want) - 1);
	assert_non_null(strstr(name, tail));
	assert_non_null(strstr(name, ".host.us.test,S="));
	assert_null(strpbrk(name, ":/ "));
	staged(&d, clock_wall());
	work(&d);
	assert_int_equal(d.rcpts[0].fate, FATE_DELIVERED);
	assert_int_equal(files_in("box0", "tmp", NULL), 0);
	assert_int_equal(files_in("box0", "new", name), 1);
	assert_int_equal(read_file("box0", "new", name, got, sizeof(got)), sizeof(want) - 1);
	assert_memory_equal(got, want, sizeof(want) - 1);
	assert_int_equal(stat(path_in("box0", "new"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0750);
	assert_int_equal(stat(path_in("box0", ""), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0750);
	assert_int_equal(stat(path_in("", ""), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0750);
	snprintf(got, sizeof(got), "%s/%s", path_in("box0", "new"), name);
	assert_int_equal(stat(got, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	umask(old);
	end(&d);
}

static void junk_is_a_folder_of_the_mailbox(void **state)
{
	struct delivery d;

	(void)state;
	begin(&d, 1);
	d.rcpts[0].dir = arena_printf(&d.lease.arena, "%s/us.test/box0/.Junk", root);
	work(&d);
	staged(&d, clock_wall());
	work(&d);
	assert_int_equal(files_in("box0", ".Junk/new", NULL), 1);
	assert_int_equal(access(path_in("box0", ".Junk/maildirfolder"), F_OK), 0);
	end(&d);
}

static void content_from_the_store(void **state)
{
	static const size_t sizes[] = { 5, 70000, 2000000 };

	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct delivery d;
		char name[300], *got = malloc(sizes[i] + 1000), *want = malloc(sizes[i]);
		size_t n, kept = 0;

		begin(&d, 1);
		d.entry.id = put_one(&h, 9, sizes[i], 1, NULL);
		d.entry.content = STR_NONE;
		d.entry.head = STR_NONE;
		d.entry.bytes = sizes[i];
		d.entry.in_file = sizes[i] > QUEUE_ROWS_MAX;
		work(&d);
		assert_int_equal(d.rcpts[0].fate, FATE_STAGED);
		assert_int_equal(files_in("box0", "tmp", name), 1);
		n = read_file("box0", "tmp", name, got, sizes[i] + 1000);
		fill_content(want, 9, 0, sizes[i]);
		for (size_t k = 0; k < sizes[i]; k++)
			if (want[k] != '\r' || k + 1 == sizes[i] || want[k + 1] != '\n')
				want[kept++] = want[k];
		assert_true(n > kept);
		assert_memory_equal(got + n - kept, want, kept);
		free(got);
		free(want);
		unlink(path_in("box0/tmp", name));
		end(&d);
	}
}

/* ---- exactly once ------------------------------------------------------------------------- */

enum left { IN_TMP, IN_NEW, IN_CUR, IN_CUR_SIZED, MOVED_AWAY, IN_BOTH, OTHER_SIZE, BOX_GONE, NEW_GONE };

static void leave(const char *name, enum left what)
{
	char tmp[4096], new[4096], cur[4096];
	int fd;

	snprintf(tmp, sizeof(tmp), "%s/%s", path_in("box0", "tmp"), name);
	snprintf(new, sizeof(new), "%s/%s", path_in("box0", "new"), name);
	snprintf(cur, sizeof(cur), "%s/%s:2,S", path_in("box0", "cur"), name);
	switch (what) {
	case IN_TMP:
		return;
	case IN_NEW:
		assert_int_equal(rename(tmp, new), 0);
		return;
	case IN_CUR:
		assert_int_equal(rename(tmp, cur), 0);
		return;
	case IN_CUR_SIZED:
		snprintf(cur, sizeof(cur), "%s/%s,W=12:2,RS", path_in("box0", "cur"), name);
		assert_int_equal(rename(tmp, cur), 0);
		return;
	case MOVED_AWAY:
		assert_int_equal(unlink(tmp), 0);
		return;
	case IN_BOTH:
		assert_int_equal(link(tmp, new), 0);
		return;
	case OTHER_SIZE:
		fd = open(new, O_CREAT | O_WRONLY, 0600);
		assert_int_equal(write(fd, "x", 1), 1);
		close(fd);
		return;
	case BOX_GONE:
		remove_all(path_in("box0", ""));
		return;
	case NEW_GONE:
		assert_int_equal(rmdir(path_in("box0", "new")), 0);
		return;
	}
}

static void what_a_crash_left(void **state)
{
	const int64_t hour = 3600, day = 24 * hour;
	const struct { const char *name; enum left left; int64_t ago; enum fate fate; bool staged; size_t in_all; } cases[] = {
		{ "staged, not moved", IN_TMP, 5, FATE_DELIVERED, true, 1 },
		{ "staged, not moved, long ago", IN_TMP, 3 * day, FATE_DELIVERED, true, 1 },
		{ "moved, not settled", IN_NEW, 5, FATE_DELIVERED, true, 1 },
		{ "moved and read", IN_CUR, 5, FATE_DELIVERED, true, 1 },
		{ "moved and deleted", MOVED_AWAY, 5, FATE_DELIVERED, true, 0 },
		{ "moved and deleted, 23 hours", MOVED_AWAY, 23 * hour, FATE_DELIVERED, true, 0 },
		{ "gone for over a day", MOVED_AWAY, 25 * hour, FATE_STAGED, false, 1 },
		{ "in new for over a day", IN_NEW, 25 * hour, FATE_DELIVERED, true, 1 },
		{ "in cur for over a day", IN_CUR, 25 * hour, FATE_DELIVERED, true, 1 },
		{ "in cur, its name longer, for over a day", IN_CUR_SIZED, 25 * hour, FATE_DELIVERED, true, 1 },
		{ "in both places", IN_BOTH, 5, FATE_DELIVERED, true, 1 },
		{ "a stranger of that name", OTHER_SIZE, 5, FATE_DEFERRED, true, 2 },
		{ "no mailbox any more", BOX_GONE, 5, FATE_DEFERRED, true, 0 },
		{ "no new/ any more", NEW_GONE, 5, FATE_DELIVERED, true, 1 },
	};

	(void)state;
	log_level_set(LOG_ERROR + 1);
	for (size_t i = 0; i < 2 * COUNT(cases); i++) {
		const size_t k = i / 2;
		struct delivery d;
		char name[300];
		size_t n;

		sys.old_rename = i % 2;              /* also where the file system knows no exclusive one */

		remove_all(path_in("box0", ""));
		begin(&d, 1);
		work(&d);
		assert_int_equal(files_in("box0", "tmp", name), 1);
		leave(name, cases[k].left);
		staged(&d, clock_wall() - cases[k].ago);
		work(&d);
		n = files_in("box0", "tmp", NULL) + files_in("box0", "new", NULL) + files_in("box0", "cur", NULL);
		if (d.rcpts[0].fate != cases[k].fate || d.rcpts[0].staged != cases[k].staged || n != cases[k].in_all)
			fail_msg("%s: fate %d, staged %d, %zu files, %.*s", cases[k].name, (int)d.rcpts[0].fate,
			         (int)d.rcpts[0].staged, n, STR_ARG(d.rcpts[0].said));
		end(&d);
	}
	log_level_set(LOG_ERROR);
}

/* Not staged when the server died: what lies in tmp/ is not ours any more. */
static void written_again_under_a_new_name(void **state)
{
	struct delivery d;

	(void)state;
	begin(&d, 1);
	work(&d);
	d.rcpts[0].settled = false;
	d.rcpts[0].staged_as = STR_NONE;
	work(&d);
	assert_int_equal(files_in("box0", "tmp", NULL), 2);
	staged(&d, clock_wall());
	work(&d);
	assert_int_equal(files_in("box0", "new", NULL), 1);
	end(&d);
}

/* ---- batches and faults ------------------------------------------------------------------------ */

static void batches_of_many(void **state)
{
	static const size_t sizes[] = { 4, 5, 64, 65, 200 };

	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct delivery *d = malloc(sizeof(*d));
		char box[40];

		begin(d, sizes[i]);
		work(d);
		staged(d, clock_wall());
		work(d);
		for (size_t k = 0; k < sizes[i]; k++) {
			snprintf(box, sizeof(box), "box%zu", k);
			assert_int_equal(d->rcpts[k].fate, FATE_DELIVERED);
			assert_int_equal(files_in(box, "new", NULL), 1);
			remove_all(path_in(box, ""));
		}
		end(d);
		free(d);
	}
}

static void one_bad_mailbox_does_not_hurt_the_others(void **state)
{
	struct delivery d;
	int fd;

	(void)state;
	begin(&d, 7);
	assert_int_equal(mkdir(path_in("", ""), 0700), 0);
	fd = open(path_in("box3", ""), O_CREAT | O_WRONLY, 0600);
	if (fd < 0) {                  /* the path ends in a slash */
		char path[4096];

		snprintf(path, sizeof(path), "%s/us.test/box3", root);
		fd = open(path, O_CREAT | O_WRONLY, 0600);
	}
	assert_true(fd >= 0);
	close(fd);
	work(&d);
	for (size_t i = 0; i < 7; i++)
		assert_int_equal(d.rcpts[i].fate, i == 3 ? FATE_DEFERRED : FATE_STAGED);
	assert_non_null(memmem(d.rcpts[3].said.p, d.rcpts[3].said.n, "no directory", 12));
	assert_true(str_starts(d.rcpts[3].status, "4."));
	end(&d);
}

/* A disk that is full: put off, and nothing is left behind. */
static void no_room(void **state)
{
	struct rlimit old, small = { 60, 60 };
	struct delivery d;

	(void)state;
	signal(SIGXFSZ, SIG_IGN);
	begin(&d, 1);
	work(&d);                      /* the directories are made */
	unlink(path_in("box0", "tmp"));
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	d.rcpts[0].settled = false;
	work(&d);
	setrlimit(RLIMIT_FSIZE, &old);
	assert_int_equal(d.rcpts[0].fate, FATE_DEFERRED);
	assert_int_equal(files_in("box0", "tmp", NULL), 1);
	end(&d);
}

/* ---- syncing --------------------------------------------------------------------------------- */

/* How many of each a batch of n takes. */
static void syncs(size_t n, size_t *files, size_t *disks)
{
	struct delivery *d = malloc(sizeof(*d));

	begin(d, n);
	sys.fsyncs = sys.syncfses = 0;
	work(d);
	*files = sys.fsyncs;
	*disks = sys.syncfses;
	staged(d, clock_wall());
	work(d);
	end(d);
	free(d);
}

static void few_by_fsync_many_by_syncfs(void **state)
{
	size_t files, disks;

	(void)state;
	syncs(10, &files, &disks);            /* all mailboxes are there from now on … */
	syncs(4, &files, &disks);             /* … and their directories' names are kept */
	for (size_t n = 1; n < MAILDIR_SYNCFS; n++) {
		syncs(n, &files, &disks);
		assert_int_equal(disks, 0);
		assert_int_equal(files, 2 * n);       /* the file and tmp/ */
	}
	for (size_t n = MAILDIR_SYNCFS; n <= 10; n++) {
		syncs(n, &files, &disks);
		assert_int_equal(disks, 1);
		assert_int_equal(files, 0);
	}
}

static void a_slow_syncfs_rests_for_a_minute(void **state)
{
	size_t files, disks;

	(void)state;
	syncs(6, &files, &disks);
	assert_int_equal(disks, 1);
	sys.syncfs_ms = 100000;
	syncs(6, &files, &disks);             /* this one was slow */
	assert_int_equal(disks, 1);
	sys.syncfs_ms = 0;
	syncs(6, &files, &disks);
	assert_int_equal(disks, 0);
	sys.ahead_ms += 58000;
	syncs(6, &files, &disks);
	assert_int_equal(disks, 0);
	assert_int_equal(files, 12);
	sys.ahead_ms += 3000;
	syncs(6, &files, &disks);
	assert_int_equal(disks, 1);
	assert_int_equal(files, 0);
}

/* Where one by one takes longer still, nothing rests; and that is asked again. */
static void a_slow_disk_is_flushed_all_the_same(void **state)
{
	size_t files, disks, times = 0;

	(void)state;
	sys.syncfs_ms = 100000;
	sys.fsync_ms = 50000;
	syncs(6, &files, &disks);
	assert_int_equal(disks, 1);
	assert_true(sys.fsyncs >= 6);         /* tried with what came next: 300 s and more */
	for (; times < 4; times++) {
		syncs(6, &files, &disks);
		assert_int_equal(disks, 1);
		assert_int_equal(sys.fsyncs, 0);
	}
	sys.fsync_ms = 0;
	for (; disks == 1 && times < 100; times++)
		syncs(6, &files, &disks);
	syncs(6, &files, &disks);
	assert_int_equal(disks, 0);
}

/* Of one mailbox: each file, and its folder once; a step later new/ alone. */
static void a_folder_is_synced_once_for_all(void **state)
{
	struct delivery *d = malloc(sizeof(*d));

	(void)state;
	for (int known = 0; known < 2; known++) {
		begin(d, MAILDIR_SYNCFS - 1);
		for (size_t i = 0; i < d->lease.n; i++)
			d->rcpts[i].dir = d->rcpts[0].dir;
		sys.fsyncs = 0;
		work(d);
		assert_true(!known || sys.fsyncs == MAILDIR_SYNCFS - 1 + 1);
		staged(d, clock_wall());
		sys.fsyncs = 0;
		work(d);
		assert_true(!known || sys.fsyncs == 1);
		for (size_t i = 0; i < d->lease.n; i++)
			assert_int_equal(d->rcpts[i].fate, FATE_DELIVERED);
		end(d);
	}
	assert_int_equal(files_in("box0", "tmp", NULL), 0);
	assert_int_equal(files_in("box0", "new", NULL), 2 * (MAILDIR_SYNCFS - 1));
	free(d);
}

/* A new mailbox's directories are synced up to the root of the disk, by whoever
 * finds them first in a life; then they are known. */
static void new_names_are_kept(void **state)
{
	size_t files, disks;

	(void)state;
	syncs(1, &files, &disks);
	assert_true(files > 4);               /* file, tmp/, the mailbox, its domain, … */
	syncs(1, &files, &disks);
	assert_int_equal(files, 2);
	remove_all(path_in("box0", ""));
	syncs(1, &files, &disks);
	assert_true(files >= 3);
}

static void what_cannot_be_synced_is_not_staged(void **state)
{
	static const size_t sizes[] = { 1, 8 };

	(void)state;
	for (size_t i = 0; i < COUNT(sizes); i++) {
		struct delivery *d = malloc(sizeof(*d));
		char box[40];

		begin(d, sizes[i]);
		work(d);
		for (size_t k = 0; k < sizes[i]; k++) {
			d->rcpts[k].settled = false;
			snprintf(box, sizeof(box), "box%zu/tmp", k);
			remove_all(path_in(box, ""));
			assert_int_equal(mkdir(path_in(box, ""), 0700), 0);
		}
		sys.sync_error = EIO;
		sys.counts = true;
		work(d);
		sys.counts = false;
		for (size_t k = 0; k < sizes[i]; k++) {
			snprintf(box, sizeof(box), "box%zu", k);
			assert_int_equal(d->rcpts[k].fate, FATE_DEFERRED);
			assert_int_equal(files_in(box, "tmp", NULL), 0);
		}
		/* The second step: it stays staged, and is delivered once. */
		for (size_t k = 0; k < sizes[i]; k++)
			d->rcpts[k].settled = false;
		work(d);
		staged(d, clock_wall());
		sys.counts = true;
		work(d);
		sys.counts = false;
		for (size_t k = 0; k < sizes[i]; k++) {
			assert_int_equal(d->rcpts[k].fate, FATE_DEFERRED);
			assert_true(d->rcpts[k].staged);
			d->rcpts[k].settled = false;
		}
		work(d);
		for (size_t k = 0; k < sizes[i]; k++) {
			snprintf(box, sizeof(box), "box%zu", k);
			assert_int_equal(d->rcpts[k].fate, FATE_DELIVERED);
			assert_int_equal(files_in(box, "new", NULL), 1);
			remove_all(path_in(box, ""));
		}
		end(d);
		free(d);
	}
}

/* ---- what went wrong, and what to type ---------------------------------------------------------- */

static void advice_can_be_typed(void **state)
{
	static const struct { int errnum; const char *status, *says; } cases[] = {
		{ ENOSPC, "4.3.1", "No space left on device: make room on that disk: `df -h '" },
		{ EDQUOT, "4.2.2", "`quota -v -u " },
		{ EACCES, "4.3.0", "Permission denied: the server's user " },
		{ EACCES, "4.3.0", "`chown -R " },
		{ EIO, "4.3.0", "`dmesg`" },
		{ EROFS, "4.3.0", "`findmnt -T '" },
		{ -1, "4.3.0", "could not be written" },            /* write returns 0 */
	};
	struct delivery d;

	(void)state;
	begin(&d, 1);
	work(&d);
	for (size_t i = 0; i < COUNT(cases); i++) {
		d.rcpts[0].settled = false;
		sys.write_error = cases[i].errnum;
		sys.counts = true;
		work(&d);
		sys.counts = false;
		assert_int_equal(d.rcpts[0].fate, FATE_DEFERRED);
		assert_true(str_is(d.rcpts[0].status, cases[i].status));
		if (memmem(d.rcpts[0].said.p, d.rcpts[0].said.n, cases[i].says, strlen(cases[i].says)) == NULL ||
		    memmem(d.rcpts[0].said.p, d.rcpts[0].said.n, "/us.test/box0", 13) == NULL)
			fail_msg("%.*s", STR_ARG(d.rcpts[0].said));
		assert_int_equal(files_in("box0", "tmp", NULL), 1);      /* the first one's */
	}
	end(&d);
}

/* A directory that could not be given its mode is made again by the next try. */
static void half_made_directories_go(void **state)
{
	struct delivery d;
	struct stat st;

	(void)state;
	begin(&d, 1);
	sys.mkdir_error = EIO;
	sys.counts = true;
	work(&d);
	sys.counts = false;
	assert_int_equal(d.rcpts[0].fate, FATE_DEFERRED);
	assert_int_equal(stat(path_in("box0", ""), &st), -1);
	sys.mkdir_error = 0;
	d.rcpts[0].settled = false;
	work(&d);
	assert_int_equal(d.rcpts[0].fate, FATE_STAGED);
	assert_int_equal(stat(path_in("box0", "tmp"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0750);
	end(&d);
}

/* The sender and the fields that are one recipient's alone. */
static void own_sender_and_fields(void **state)
{
	static const char want[] = "Return-Path: <>\nDelivered-To: bob@us.test\nX-Postern-Copy-Id: 1 2\nReceived: here\nSubject: x\n";
	struct delivery d;
	char name[300], got[400];

	(void)state;
	begin(&d, 1);
	d.rcpts[0].flags = RCPT_OWN_SENDER;
	d.rcpts[0].head = STR("X-Postern-Copy-Id: 1 2\r\n");
	work(&d);
	assert_int_equal(files_in("box0", "tmp", name), 1);
	assert_true(read_file("box0", "tmp", name, got, sizeof(got)) > sizeof(want));
	assert_memory_equal(got, want, sizeof(want) - 1);
	end(&d);
}

static void unreadable_content(void **state)
{
	struct delivery d;

	(void)state;
	begin(&d, 1);
	d.entry.id = 4711;
	d.entry.content = STR_NONE;
	work(&d);
	assert_int_equal(d.rcpts[0].fate, FATE_DEFERRED);
	assert_int_equal(files_in("box0", "tmp", NULL), 0);
	end(&d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(both_steps, set_up, tear_down),
		cmocka_unit_test_setup_teardown(junk_is_a_folder_of_the_mailbox, set_up, tear_down),
		cmocka_unit_test_setup_teardown(content_from_the_store, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_a_crash_left, set_up, tear_down),
		cmocka_unit_test_setup_teardown(written_again_under_a_new_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(batches_of_many, set_up, tear_down),
		cmocka_unit_test_setup_teardown(one_bad_mailbox_does_not_hurt_the_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(no_room, set_up, tear_down),
		cmocka_unit_test_setup_teardown(few_by_fsync_many_by_syncfs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_folder_is_synced_once_for_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_slow_syncfs_rests_for_a_minute, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_slow_disk_is_flushed_all_the_same, set_up, tear_down),
		cmocka_unit_test_setup_teardown(new_names_are_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_cannot_be_synced_is_not_staged, set_up, tear_down),
		cmocka_unit_test_setup_teardown(advice_can_be_typed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(half_made_directories_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(own_sender_and_fields, set_up, tear_down),
		cmocka_unit_test_setup_teardown(unreadable_content, set_up, tear_down),
	};

	crypt_setup();
	log_level_set(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
