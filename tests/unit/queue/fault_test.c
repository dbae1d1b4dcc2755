/* SPDX-License-Identifier: ISC */
/*
 * The system says no: each call of the store's and the spool's on a message's
 * way fails once, in a life of its own.  What was acknowledged is there in the
 * next life, what was refused is not.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "tests/unit/queue/house.h"

/* ---- the calls ---------------------------------------------------------------------- */

static _Atomic int  calls;              /* so far */
static _Atomic int  failing;            /* the number of the call that fails; 0: none */
static int          failing_with;

static bool fails(void)
{
	int n = atomic_load(&failing);

	if (n == 0 || atomic_fetch_add(&calls, 1) + 1 != n)
		return false;
	errno = failing_with;
	return true;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *p, size_t n)
{
	return fd > 2 && fails() ? -1 : REAL(write)(fd, p, n);
}

/* The store's two head pages are there already: a full disk takes them (one that
 * copies on write may not; LMDB ends there as it does with EIO). */
ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	bool in_place = failing_with == ENOSPC && at < 2 * 4096;

	return !in_place && fails() ? -1 : REAL(pwrite)(fd, p, n, at);
}

ssize_t writev(int fd, const struct iovec *v, int n)
{
	return fd > 2 && fails() ? -1 : REAL(writev)(fd, v, n);
}

/* A commit waits here, while another message comes in behind it. */
static _Atomic bool gate;
static sem_t        reached, go_on;

int fdatasync(int fd)
{
	if (atomic_exchange(&gate, false)) {
		sem_post(&reached);
		sem_wait(&go_on);
	}
	return fails() ? -1 : REAL(fdatasync)(fd);
}

int fsync(int fd)
{
	return fails() ? -1 : REAL(fsync)(fd);
}

int linkat(int from, const char *path, int to, const char *name, int flags)
{
	return fails() ? -1 : REAL(linkat)(from, path, to, name, flags);
}

int fallocate(int fd, int mode, off_t at, off_t n)
{
	return fails() ? -1 : REAL(fallocate)(fd, mode, at, n);
}

/* ---- one life -------------------------------------------------------------------------- */

#define SMALL 3000
#define LARGE 400000

struct life {                          /* what the child did, as far as it came */
	uint64_t      small, large;
	size_t        large_bytes;
	_Atomic int   small_put, large_put, small_settled;    /* -1: no answer */
	_Atomic int   calls;
};

static void live(char *dir, int n, int errnum, struct life *life)
{
	struct house h = { .dir = dir };
	struct putting w;

	house_open(&h);
	house_start(&h);
	put_one(&h, 9, 100, 1, NULL);                   /* a neighbour */
	failing_with = errnum;
	atomic_store(&failing, n);
	put_begin(&h, &w, spool_with(&h, 1, SMALL), 2, 0);
	life->small = w.id;
	queue_put_submit(w.put, put_is_home, &w);
	life->small_put = put_finish(&h, &w);
	life->large_bytes = LARGE;
	put_begin(&h, &w, spool_with(&h, 2, LARGE), 1, 0);
	life->large = w.id;
	queue_put_submit(w.put, put_is_home, &w);
	life->large_put = put_finish(&h, &w);
	if (life->small_put == OK)
		life->small_settled = settle_one(&h, life->small, (struct queue_fate){ .fate = FATE_DELIVERED }, NULL);
	life->calls = atomic_load(&calls);
	atomic_store(&failing, 0);
	house_close(&h);
}

/* Until its commit syncs, or it was answered. */
static void wait_at_gate(struct house *h, const struct putting *w)
{
	while (!w->done && sem_trywait(&reached) != 0) {
		struct baton *b = mbox_take(h->home, 1, SIZE_MAX, clock_ms() + 5);

		if (b != NULL)
			b->arrived(b);
	}
	atomic_store(&gate, false);
}

/* Two commits, one behind the other: the second one's sync is the first one's. */
static void live_in_a_row(char *dir, int n, int errnum, struct life *life)
{
	struct house h = { .dir = dir };
	struct putting a, b;

	house_open(&h);
	house_start(&h);
	put_one(&h, 9, 100, 1, NULL);
	sem_init(&reached, 0, 0);
	sem_init(&go_on, 0, 0);
	put_begin(&h, &a, spool_with(&h, 1, SMALL), 2, 0);
	life->small = a.id;
	life->large_bytes = SMALL;
	put_begin(&h, &b, spool_with(&h, 2, SMALL), 1, 0);
	life->large = b.id;
	failing_with = errnum;
	atomic_store(&gate, true);
	atomic_store(&failing, n);
	queue_put_submit(a.put, put_is_home, &a);
	wait_at_gate(&h, &a);
	queue_put_submit(b.put, put_is_home, &b);
	sem_post(&go_on);
	life->small_put = put_finish(&h, &a);
	life->large_put = put_finish(&h, &b);
	life->calls = atomic_load(&calls);
	atomic_store(&failing, 0);
	house_close(&h);
}

static bool is_there(struct house *h, uint64_t id, uint64_t seed, size_t bytes)
{
	struct queue_entry *e;
	enum err found = id ? queue_load(h->q, id, &e) : ERR_ABSENT;

	if (found == ERR_ABSENT)
		return false;
	assert_int_equal(found, OK);
	assert_int_equal(e->bytes, bytes);
	assert_content(h, e, seed, 65536);
	queue_entry_free(e);
	return true;
}

static void look_at(char *dir, const struct life *life)
{
	struct house h = { .dir = dir };
	struct found f = { .n = 0 };
	struct queue_entry *e;
	bool small, large;

	house_open(&h);
	house_start(&h);
	small = is_there(&h, life->small, 1, SMALL);
	large = is_there(&h, life->large, 2, life->large_bytes);
	if (life->small_put >= 0)
		assert_int_equal(small, life->small_put == OK);
	if (life->large_put >= 0)
		assert_int_equal(large, life->large_put == OK);
	assert_int_equal(files_in_body(&h), large && life->large_bytes > QUEUE_ROWS_MAX);
	if (life->small_settled == OK) {
		assert_int_equal(queue_load(h.q, life->small, &e), OK);
		assert_int_equal(e->rcpts[0].state, RCPT_SETTLED);
		assert_int_equal(e->rcpts[1].state, RCPT_WAITING);
		queue_entry_free(e);
	}
	assert_int_equal(queue_walk(h.q, found_one, &f), OK);
	assert_int_equal(f.n, 1u + small + large);
	house_close(&h);
}

typedef void living(char *dir, int n, int errnum, struct life *);

/* How it ended: 0, or 75 when the disk is in doubt.  *more: there were that many calls. */
static int one_life(living *how, int n, int errnum, bool *more)
{
	struct life *life = mmap(NULL, sizeof(*life), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char *dir = folder_new();
	int status;
	pid_t child;

	life->small_put = life->large_put = life->small_settled = -1;
	child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 2);
		how(dir, n, errnum, life);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	look_at(dir, life);
	*more = WEXITSTATUS(status) != 0 || life->calls >= n;
	remove_all(dir);
	free(dir);
	munmap(life, sizeof(*life));
	return WEXITSTATUS(status);
}

static int all_lives(living *how, int errnum, int may_end_with)
{
	bool more = true;
	int n, ended = 0;

	for (n = 1; more; n++) {
		int status = one_life(how, n, errnum, &more);

		if (status != 0 && status != may_end_with)
			fail_msg("call %d: the process ended with %d", n, status);
		ended += status != 0;
	}
	print_message("%d calls failed one after the other, %d times the process ended\n", n - 2, ended);
	assert_true(n > 6);
	return ended;
}

/* No room is an answer, never an end. */
static void no_room(void **state)
{
	(void)state;
	assert_int_equal(all_lives(live, ENOSPC, 0), 0);
	assert_int_equal(all_lives(live_in_a_row, ENOSPC, 0), 0);
}

/* A store in doubt ends the process; a body file's error is its message's own. */
static void broken_disk(void **state)
{
	(void)state;
	assert_true(all_lives(live, EIO, 75) > 0);
	assert_true(all_lives(live_in_a_row, EIO, 75) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_room),
		cmocka_unit_test(broken_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
