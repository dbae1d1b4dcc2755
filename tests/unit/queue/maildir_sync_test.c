/* SPDX-License-Identifier: ISC */
/* Maildirs: what is synced, how, how often, and what follows when it cannot be. */
#include "tests/unit/queue/maildir_help.h"

#include <stdatomic.h>
#include <time.h>

/* ---- syncs that can be counted, made slow or made to fail --------------------------------- */

static struct {
	atomic_size_t fsyncs, syncfses;
	_Atomic uint64_t fsync_ms, syncfs_ms, ahead_ms;
	atomic_int sync_error;
	atomic_bool counts;
	atomic_size_t fails_at;               /* the fsync of this number fails; 0: none */
} sys;

int fsync(int fd)
{
	size_t number = atomic_fetch_add(&sys.fsyncs, 1) + 1;

	sys.ahead_ms += sys.fsync_ms;
	if (number == sys.fails_at) {
		errno = EIO;
		return -1;
	}
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

static int set_up(void **state)
{
	const uint64_t ahead = sys.ahead_ms;

	(void)state;
	memset(&sys, 0, sizeof(sys));
	sys.ahead_ms = ahead + 61000;          /* no test rests for another's slow disk */
	mailboxes_open();
	return 0;
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

/* A mailbox whose own name could not be kept is no less strange for that. */
static void a_name_that_was_not_kept_is_tried_again(void **state)
{
	struct delivery *d = malloc(sizeof(*d));

	(void)state;
	begin(d, 1);
	sys.fsyncs = 0;
	sys.fails_at = 4;                     /* after the file, tmp/ and the mailbox: its domain */
	work(d);
	assert_int_equal(sys.fsyncs, 4);
	assert_int_equal(d->rcpts[0].fate, FATE_DEFERRED);
	d->rcpts[0].settled = false;
	sys.fsyncs = sys.fails_at = 0;
	work(d);
	assert_int_equal(d->rcpts[0].fate, FATE_STAGED);
	assert_true(sys.fsyncs >= 4);
	end(d);
	free(d);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(few_by_fsync_many_by_syncfs, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(a_folder_is_synced_once_for_all, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(a_slow_syncfs_rests_for_a_minute, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(a_slow_disk_is_flushed_all_the_same, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(new_names_are_kept, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(a_name_that_was_not_kept_is_tried_again, set_up, mailboxes_close),
		cmocka_unit_test_setup_teardown(what_cannot_be_synced_is_not_staged, set_up, mailboxes_close),
	};

	crypt_setup();
	log_level_set(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
