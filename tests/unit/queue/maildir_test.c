/* SPDX-License-Identifier: ISC */
/* Maildirs: what is in the file, and exactly once whatever a crash left. */
#include "tests/unit/queue/maildir_help.h"

#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* ---- system calls that can be made to fail ---------------------------------------------- */

static struct {
	atomic_int write_error, mkdir_error;
	atomic_bool old_rename, counts;
} sys;

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

static int set_up(void **state)
{
	(void)state;
	memset(&sys, 0, sizeof(sys));
	mailboxes_open();
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
		cmocka_unit_test_setup_teardown(both_steps, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(junk_is_a_folder_of_the_mailbox, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(content_from_the_store, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(what_a_crash_left, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(written_again_under_a_new_name, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(batches_of_many, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(one_bad_mailbox_does_not_hurt_the_others, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(no_room, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(advice_can_be_typed, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(half_made_directories_go, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(own_sender_and_fields, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(unreadable_content, set_up, mailboxes_close),
	};

	crypt_setup();
	log_level_set(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
