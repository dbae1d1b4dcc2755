/* SPDX-License-Identifier: ISC */
/*
 * The queue goes into an archive and comes back; what is damaged, cut off or
 * strange in an archive is refused before anything is touched; a full map makes
 * the backup give way; check and export tell what is there and what is not.
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "queue/backup.h"
#include "queue/check.h"
#include "queue/report.h"
#include "queue/salvage.h"
#include "queue/tar.h"
#include "tests/unit/queue/house.h"

#define MESSAGES 12

struct stock {
	struct house h;
	uint64_t     id[MESSAGES];
	size_t       bytes[MESSAGES];
	char        *archive;              /* its path */
};

static const size_t sizes[] = { 300, 3000, 40000, 270000 };

static void path_in(char out[static 4200], const struct stock *s, const char *name)
{
	snprintf(out, 4200, "%s/%s", s->h.dir, name);
}

static void stock_up(struct stock *s)
{
	*s = (struct stock){ 0 };
	house_open(&s->h);
	house_start(&s->h);
	for (unsigned i = 0; i < MESSAGES; i++) {
		s->bytes[i] = sizes[i % COUNT(sizes)] + i;
		s->id[i] = put_one(&s->h, i, s->bytes[i], 1 + i % 3, NULL);
	}
	settle_one(&s->h, s->id[1], (struct queue_fate){ .fate = FATE_DELIVERED, .said = STR("250 ok") }, NULL);
	settle_one(&s->h, s->id[2], (struct queue_fate){ .rcpt = 1, .fate = FATE_DEFERRED, .next = clock_wall() + 3600, .tries = 1,
	                                                 .said = STR("450 later") }, NULL);
	s->archive = strdup("/tmp/postern-backup-XXXXXX");
	close(mkstemp(s->archive));
}

static void stock_burn(struct stock *s)
{
	house_burn(&s->h);
	unlink(s->archive);
	free(s->archive);
}

static enum err save(struct stock *s, struct backup *b, str *why)
{
	struct queue_conf c = house_conf(&s->h);
	int fd = open(s->archive, O_RDWR | O_TRUNC | O_CLOEXEC);
	enum err e = queue_backup(&c, "0", fd, b, &s->h.arena, why);

	close(fd);
	return e;
}

static enum err bring_back(struct stock *s, struct restore *r, struct arena *a, str *why)
{
	struct queue_conf c = house_conf(&s->h);
	int fd = open(s->archive, O_RDONLY | O_CLOEXEC);
	enum err e = queue_restore(&c, fd, r, a, why);

	close(fd);
	return e;
}

static void no_fault(void *arg, uint64_t id, const char *what, const char *todo)
{
	char text[QUEUE_ID_TEXT];

	(void)arg;
	fail_msg("%s: %s: %s", queue_id_text(id, text).p, what, todo);
}

static void count_fault(void *arg, uint64_t id, const char *what, const char *todo)
{
	(void)what;
	(void)todo;
	*(uint64_t *)arg = id;
}

static size_t things_in(const char *dir, const char *begin)
{
	DIR *d = opendir(dir);
	size_t n = 0;

	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += strncmp(e->d_name, begin, strlen(begin)) == 0;
	closedir(d);
	return n;
}

/* ---- there and back ------------------------------------------------------------------ */

static void assert_restored(struct stock *s, uint64_t random)
{
	struct check_counts n;

	assert_int_not_equal(queue_random(s->h.q), random);
	assert_int_equal(queue_check(s->h.q, &n, no_fault, NULL), OK);
	assert_int_equal(n.messages, MESSAGES);
	for (unsigned i = 0; i < MESSAGES; i++) {
		struct queue_entry *e = NULL;

		assert_int_equal(queue_load(s->h.q, s->id[i], &e), OK);
		assert_int_equal(e->flags & (MESSAGE_HELD | MESSAGE_RESTORED), MESSAGE_HELD | MESSAGE_RESTORED);
		assert_str(e->head, STR("DKIM-Signature: last, so first\r\nReceived: later\r\n"));
		assert_int_equal(e->nrcpts, 1 + i % 3);
		assert_content(&s->h, e, i, s->bytes[i]);
		for (size_t k = 0; k < e->nrcpts; k++) {
			if (i == 1 && k == 0) {
				assert_int_equal(e->rcpts[k].state, RCPT_SETTLED);
				continue;
			}
			assert_int_equal(e->rcpts[k].state, RCPT_HELD);
			assert_true(str_starts(e->rcpts[k].said, "came back from the backup of 2"));
		}
		queue_entry_free(e);
	}
	assert_int_equal(n.files, files_in_body(&s->h));
}

static void comes_back_held(void **state)
{
	struct stock s;
	struct backup b;
	struct restore r = { 0 };
	struct arena a;
	str why = STR_NONE;
	uint64_t random;
	char path[4200];

	(void)state;
	stock_up(&s);
	random = queue_random(s.h.q);
	assert_int_equal(save(&s, &b, &why), OK);         /* the server runs */
	assert_int_equal(b.messages, MESSAGES);
	assert_int_equal(b.files, 3);
	path_in(path, &s, "queue");
	assert_int_equal(things_in(path, "pins-"), 0);
	arena_init(&a, ARENA_UNBOUNDED);
	assert_int_equal(bring_back(&s, &r, &a, &why), ERR_DENIED);
	assert_non_null(memmem(why.p, why.n, "another server (process ", 24));
	house_close(&s.h);

	assert_int_equal(bring_back(&s, &r, &a, &why), ERR_DENIED);
	assert_non_null(memmem(why.p, why.n, "not empty", 9));
	r.force = true;
	assert_int_equal(bring_back(&s, &r, &a, &why), OK);
	assert_int_equal(r.messages, MESSAGES);
	assert_non_null(strstr(r.kept, "queue.before-restore-"));
	assert_int_equal(things_in(r.kept, "queue.mdb"), 2);
	house_open(&s.h);
	assert_restored(&s, random);
	house_close(&s.h);
	arena_fini(&a);
	stock_burn(&s);
}

/* Nothing is there: no word is needed, and nothing is kept. */
static void comes_to_an_empty_place(void **state)
{
	struct stock s;
	struct backup b;
	struct restore r = { 0 };
	struct arena a;
	str why = STR_NONE;
	char path[4200];

	(void)state;
	stock_up(&s);
	assert_int_equal(save(&s, &b, &why), OK);
	house_close(&s.h);
	path_in(path, &s, "queue");
	remove_all(path);
	arena_init(&a, ARENA_UNBOUNDED);
	assert_int_equal(bring_back(&s, &r, &a, &why), OK);
	assert_null(r.kept);
	house_open(&s.h);
	assert_restored(&s, 0);
	house_close(&s.h);
	assert_int_equal(things_in(s.h.dir, "queue"), 1);
	arena_fini(&a);
	stock_burn(&s);
}

/* A content that goes after the snapshot's begin takes its message's rows along. */
static void what_has_gone_is_left_out(void **state)
{
	struct stock s;
	struct backup b;
	struct restore r = { .force = true };
	struct arena a;
	struct queue_entry *e;
	str why = STR_NONE;
	char path[BODY_PATH];

	(void)state;
	stock_up(&s);
	assert_int_equal(unlink(body_path(s.h.q, s.id[3], path)), 0);
	assert_int_equal(save(&s, &b, &why), OK);
	assert_int_equal(b.left_out, 1);
	assert_int_equal(b.messages, MESSAGES - 1);
	house_close(&s.h);
	arena_init(&a, ARENA_UNBOUNDED);
	assert_int_equal(bring_back(&s, &r, &a, &why), OK);
	house_open(&s.h);
	assert_int_equal(queue_load(s.h.q, s.id[3], &e), ERR_ABSENT);
	house_close(&s.h);
	arena_fini(&a);
	stock_burn(&s);
}

/* ---- archives that are not whole --------------------------------------------------------- */

static void is_refused_untouched(struct stock *s, const char *octets, size_t n, size_t at)
{
	struct restore r = { .force = true };
	struct arena a;
	str why = STR_NONE;
	int fd = open(s->archive, O_WRONLY | O_TRUNC | O_CLOEXEC);
	enum err e;

	assert_int_equal(write(fd, octets, n), n);
	close(fd);
	arena_init(&a, ARENA_UNBOUNDED);
	e = bring_back(s, &r, &a, &why);
	if (e != ERR_BAD || things_in(s->h.dir, "queue.") != 0)
		fail_msg("octet %zu of %zu: %s", at, n, err_text(e));
	arena_fini(&a);
}

static void damaged_archives_are_refused(void **state)
{
	struct stock s;
	struct backup b;
	str why = STR_NONE;
	struct stat st;
	char *octets;
	int fd;

	(void)state;
	stock_up(&s);
	assert_int_equal(save(&s, &b, &why), OK);
	house_close(&s.h);
	assert_int_equal(stat(s.archive, &st), 0);
	octets = malloc((size_t)st.st_size);
	fd = open(s.archive, O_RDONLY);
	assert_int_equal(read(fd, octets, (size_t)st.st_size), st.st_size);
	close(fd);
	for (size_t at = 0; at < (size_t)st.st_size - 1024; at += 20011) {
		octets[at] ^= 0x40;
		is_refused_untouched(&s, octets, (size_t)st.st_size, at);
		octets[at] ^= 0x40;
	}
	for (size_t n = 0; n < (size_t)st.st_size - 512; n += 40009)
		is_refused_untouched(&s, octets, n, n);
	free(octets);
	stock_burn(&s);
}

/* ---- a full map ------------------------------------------------------------------------------ */

static void a_full_map_comes_first(void **state)
{
	struct stock s = { .h.map_bytes = 16 << 20 };
	struct backup b;
	str why = STR_NONE;
	enum err e = OK;

	(void)state;
	house_open(&s.h);
	house_start(&s.h);
	s.archive = strdup("/tmp/postern-backup-XXXXXX");
	close(mkstemp(s.archive));
	assert_int_equal(save(&s, &b, &why), OK);
	while (e == OK && map_has_room(s.h.q, 400000))
		put_one(&s.h, 1, 200000, 1, &e);
	assert_int_equal(save(&s, &b, &why), ERR_BUSY);
	house_close(&s.h);
	stock_burn(&s);
}


/* Somebody reads the archive slowly while mail comes and goes: the snapshot is
 * let go before the map is full, and no mail is refused for its sake. */
static void a_slow_reader_is_not_waited_for(void **state)
{
	struct stock s = { .h.map_bytes = 16 << 20 };
	struct queue_conf c;
	struct backup b;
	struct arena a;
	str why = STR_NONE;
	int ends[2];
	pid_t child;
	int status = 0;
	enum err e = OK;

	(void)state;
	house_open(&s.h);
	house_start(&s.h);
	for (unsigned i = 0; i < 10; i++)
		put_one(&s.h, i, 200000, 1, NULL);
	assert_int_equal(pipe(ends), 0);
	c = house_conf(&s.h);
	child = fork();
	if (child == 0) {               /* its own process, as the verb is */
		close(ends[0]);
		arena_init(&a, ARENA_UNBOUNDED);
		_exit(queue_backup(&c, "0", ends[1], &b, &a, &why) == ERR_BUSY ? 75 : 1);
	}
	close(ends[1]);
	for (unsigned i = 0; i < 400 && waitpid(child, &status, WNOHANG) == 0; i++) {
		uint64_t id = put_one(&s.h, i, 200000, 1, &e);

		assert_int_equal(e, OK);        /* never refused */
		settle_one(&s.h, id, (struct queue_fate){ .fate = FATE_DELIVERED }, NULL);
	}
	if (!WIFEXITED(status) || status == 0)
		waitpid(child, &status, 0);
	assert_int_equal(WEXITSTATUS(status), 75);
	close(ends[0]);
	house_close(&s.h);
	house_burn(&s.h);
}

/* A reader that was killed holds no page for ever. */
static void a_killed_reader_is_forgotten(void **state)
{
	struct stock s = { .h.map_bytes = 16 << 20 };
	enum err e = OK;
	int ends[2];
	pid_t child;
	char byte;

	(void)state;
	house_open(&s.h);
	house_start(&s.h);
	put_one(&s.h, 0, 200000, 1, NULL);
	assert_int_equal(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		struct queue_conf c = house_conf(&s.h);
		struct arena a;
		struct store_txn t;
		str why;

		arena_init(&a, ARENA_UNBOUNDED);
		store_read(queue_open_reading(&c, &a, &why)->store, &t);
		if (write(ends[1], "r", 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(ends[0], &byte, 1), 1);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	/* More than twice what the map holds comes and goes. */
	for (unsigned i = 0; i < 200; i++) {
		uint64_t id = put_one(&s.h, i, 200000, 1, &e);

		if (e == ERR_FULL) {            /* it is looked for every second */
			usleep(100000);
			continue;
		}
		assert_int_equal(e, OK);
		settle_one(&s.h, id, (struct queue_fate){ .fate = FATE_DELIVERED }, NULL);
	}
	assert_int_equal(e, OK);
	close(ends[0]);
	close(ends[1]);
	house_close(&s.h);
	house_burn(&s.h);
}

/* ---- check and export ------------------------------------------------------------------------- */

static str exported(struct stock *s, uint64_t id, enum err want, char **text)
{
	size_t n = 0;
	FILE *out = open_memstream(text, &n);
	const char *why = NULL;

	assert_int_equal(queue_export(s->h.q, id, out, &why), want);
	assert_int_equal(why != NULL, want == ERR_BAD);
	fclose(out);
	return (str){ *text, n };
}

static void spoil_row(struct stock *s, enum table table, const struct record_key *k, size_t at)
{
	struct store_txn t;
	str row, key = { (const char *)k->b, k->n };
	char *copy;

	store_begin(s->h.q->store, &t);
	assert_true(store_get(&t, table, key, &row));
	copy = malloc(row.n);
	memcpy(copy, row.p, row.n);
	copy[at] ^= 1;
	store_put(&t, table, key, (str){ copy, row.n });
	assert_int_equal(store_commit(&t), OK);
	free(copy);
}

static void damage_is_found_and_exported(void **state)
{
	static const char head[] = "DKIM-Signature: last, so first\r\nReceived: later\r\n";
	struct stock s;
	struct check_counts n;
	struct record_key k;
	uint64_t named = 0;
	char *text, *want = malloc(400000), path[BODY_PATH];
	str got;

	(void)state;
	stock_up(&s);
	assert_int_equal(queue_check(s.h.q, &n, no_fault, NULL), OK);
	assert_int_equal(n.messages, MESSAGES);
	for (unsigned i = 0; i < MESSAGES; i++) {
		got = exported(&s, s.id[i], OK, &text);
		fill_content(want, i, 0, s.bytes[i]);
		assert_int_equal(got.n, s.bytes[i] + sizeof(head) - 1);
		assert_memory_equal(got.p, head, sizeof(head) - 1);
		assert_memory_equal(got.p + sizeof(head) - 1, want, s.bytes[i]);
		free(text);
	}
	exported(&s, s.id[0] - 1, ERR_ABSENT, &text);
	free(text);

	k = record_key_part(s.id[2], 1);
	spoil_row(&s, TABLE_BODY, &k, 500);
	queue_check(s.h.q, &n, count_fault, &named);
	assert_int_equal(n.wrong, 1);
	assert_int_equal(named, s.id[2]);
	got = exported(&s, s.id[2], ERR_BAD, &text);
	assert_int_equal(got.n, s.bytes[2] + sizeof(head) - 1 - RECORD_BODY);
	free(text);

	k = record_key_message(s.id[5]);
	spoil_row(&s, TABLE_MESSAGE, &k, 40);
	queue_check(s.h.q, &n, count_fault, &named);
	assert_int_equal(n.wrong, 2);
	got = exported(&s, s.id[5], ERR_BAD, &text);
	assert_int_equal(got.n, s.bytes[5]);
	free(text);

	assert_int_equal(truncate(body_path(s.h.q, s.id[7], path), 100), 0);
	queue_check(s.h.q, &n, count_fault, &named);
	assert_int_equal(n.wrong, 3);
	got = exported(&s, s.id[7], ERR_BAD, &text);
	assert_int_equal(got.n, 100 + sizeof(head) - 1);
	free(text);
	free(want);
	house_close(&s.h);
	stock_burn(&s);
}

/* ---- by hand -------------------------------------------------------------------------------------- */

static void told(void *arg, uint64_t id, enum salvage_what what, const char *why)
{
	(void)id;
	(void)why;
	assert_int_equal(what, SALVAGE_HELD);
	++*(unsigned *)arg;
}

/* An old copy of the store is brought into the one that came after: what is there
 * stays as it is, what has ended stays away, the rest comes held. */
static void salvage_by_hand(void **state)
{
	struct stock s;
	struct queue_conf c;
	struct salvage v = { .tell = told };
	unsigned held = 0;
	struct arena a;
	char from[4200], to[4300];
	str why = STR_NONE;
	struct queue_entry *e = NULL;
	bool gone;

	(void)state;
	stock_up(&s);
	house_close(&s.h);
	path_in(from, &s, "queue/queue.mdb");
	path_in(to, &s, "old.mdb");
	assert_int_equal(link(from, to), 0);
	assert_int_equal(unlink(from), 0);
	c = house_conf(&s.h);
	c.keep_finished_ms = 1000000;
	arena_init(&a, ARENA_UNBOUNDED);
	v.arg = &held;
	path_in(from, &s, "queue/body");
	path_in(to, &s, "body");
	assert_int_equal(rename(from, to), 0);
	path_in(to, &s, "old.mdb");
	assert_int_equal(queue_salvage_file(&c, to, &v, &a, &why), OK);
	assert_int_equal(v.messages, MESSAGES);
	assert_int_equal(held, MESSAGES);
	house_open(&s.h);
	s.h.q->conf.keep_finished_ms = 1000000;
	house_start(&s.h);
	for (unsigned i = 0; i < MESSAGES; i++) {
		assert_int_equal(queue_load(s.h.q, s.id[i], &e), OK);
		assert_int_equal(e->rcpts[e->nrcpts - 1].state, RCPT_HELD);
		assert_content(&s.h, e, i, s.bytes[i]);
		queue_entry_free(e);
	}
	settle_one(&s.h, s.id[0], (struct queue_fate){ .fate = FATE_DELIVERED }, &gone);
	assert_true(gone);
	house_close(&s.h);
	v = (struct salvage){ .tell = told, .arg = &held };
	assert_int_equal(queue_salvage_file(&c, to, &v, &a, &why), OK);
	assert_int_equal(v.messages, 0);
	assert_int_equal(v.present, MESSAGES - 1);
	assert_int_equal(v.finished, 1);
	path_in(from, &s, "queue/queue.mdb");
	assert_int_equal(queue_salvage_file(&c, from, &v, &a, &why), ERR_DENIED);
	arena_fini(&a);
	stock_burn(&s);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back_held),
		cmocka_unit_test(comes_to_an_empty_place),
		cmocka_unit_test(what_has_gone_is_left_out),
		cmocka_unit_test(damaged_archives_are_refused),
		cmocka_unit_test(a_full_map_comes_first),
		cmocka_unit_test(a_slow_reader_is_not_waited_for),
		cmocka_unit_test(a_killed_reader_is_forgotten),
		cmocka_unit_test(damage_is_found_and_exported),
		cmocka_unit_test(salvage_by_hand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
