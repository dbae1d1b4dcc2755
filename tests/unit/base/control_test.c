/* SPDX-License-Identifier: ISC */
/* control: the server on a loop of its own thread, verbs as blocking askers. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "smtpd/base/control_inside.h"
#include "smtpd/base/err.h"

struct house {
	char                 dir[64], path[128];
	struct loop         *loop;
	struct control      *control;
	pthread_t            thread;
	struct control_call *kept;           /* a handler that takes its time */
	int                  asked;          /* pipe: says 'x' when `keep` has been asked */
	int                  asked_out;
	struct ending { struct baton baton; struct house *h; } ending, let_go;
};

/* ---- verbs ------------------------------------------------------------------------- */

static void echo(struct control_call *call)
{
	for (size_t i = 1; i < call->nwords; i++) {
		control_say(call, STR("["));
		control_say(call, call->words[i]);
		control_say(call, STR("]\n"));
	}
	control_end(call, (int)call->nwords - 1);
}

static void open_line(struct control_call *call)
{
	control_say(call, STR("first\nno end"));
	control_end(call, 0);
}

/* words[1] bytes, in lines of 100. */
static void much(struct control_call *call)
{
	static const char line[] = "0123456789012345678901234567890123456789012345678901234567890123456789"
	                           "01234567890123456789012345678\n";
	uint64_t n = 0;

	assert_true(str_to_u64(call->words[1], &n));
	for (uint64_t i = 0; i < n / 100; i++)
		control_say(call, (str){ line, 100 });
	control_end(call, 0);
}

/* The same, a thousand bytes at a time, each when what came before has been read. */
static uint64_t still_to_say;
static _Atomic uint64_t most_waiting;

static void say_some(struct control_call *call)
{
	char some[1000];

	if (call->ghost || still_to_say == 0) {
		still_to_say = 0;
		control_end(call, 3);
		return;
	}
	if (conn_unsent(call->conn) > most_waiting)
		most_waiting = conn_unsent(call->conn);
	memset(some, '.', sizeof(some) - 1);
	some[sizeof(some) - 1] = '\n';
	still_to_say -= sizeof(some);
	control_say(call, (str){ some, sizeof(some) });
	control_when_read(call, say_some);
}

static void bit_by_bit(struct control_call *call)
{
	most_waiting = 0;
	assert_true(str_to_u64(call->words[1], &still_to_say));
	control_when_read(call, say_some);
}

static void keep(struct control_call *call)
{
	struct house *h = call->house;

	h->kept = call;
	assert_int_equal(write(h->asked_out, "x", 1), 1);
}

static const struct control_verb verbs[] = {
	{ "echo", echo }, { "much", much }, { "keep", keep }, { "open", open_line },
	{ "bits", bit_by_bit }, { NULL, NULL },
};

/* ---- the house ----------------------------------------------------------------------- */

static void *serve(void *arg)
{
	loop_run(((struct house *)arg)->loop);
	return NULL;
}

static void stop_it(struct baton *b)
{
	loop_stop(SUPER(b, struct ending, baton)->h->loop);
}

static void end_kept(struct baton *b)
{
	struct house *h = SUPER(b, struct ending, baton)->h;

	control_say(h->kept, STR("at last\n"));
	control_end(h->kept, 7);
}

static void house_open(struct house *h)
{
	int fds[2];
	str why = STR_NONE;

	*h = (struct house){ .dir = "/tmp/postern-control-XXXXXX" };
	assert_non_null(mkdtemp(h->dir));
	snprintf(h->path, sizeof(h->path), "%s/control", h->dir);
	assert_int_equal(pipe(fds), 0);
	h->asked = fds[0];
	h->asked_out = fds[1];
	h->loop = loop_new(0, NULL);
	h->control = control_open(h->loop, h->path, verbs, h, &why);
	if (h->control == NULL)
		fail_msg("%.*s", STR_ARG(why));
	assert_int_equal(pthread_create(&h->thread, NULL, serve, h), 0);
}

static void house_stop(struct house *h)
{
	h->ending.h = h;
	h->ending.baton.arrived = stop_it;
	loop_send(h->loop, &h->ending.baton);
	pthread_join(h->thread, NULL);
}

static void house_close(struct house *h)
{
	house_stop(h);
	control_close(h->control);
	loop_free(h->loop);
	assert_int_not_equal(access(h->path, F_OK), 0);
	assert_int_equal(rmdir(h->dir), 0);
	close(h->asked);
	close(h->asked_out);
}

static int ask(struct house *h, char **answer, size_t n, const char *const words[])
{
	size_t room;
	FILE *out = open_memstream(answer, &room);
	int status = control_ask(h->path, words, n, out), kept = errno;

	fclose(out);
	errno = kept;
	return status;
}
#define ASK(h, answer, ...) \
	ask(h, answer, COUNT(((const char *[]){ __VA_ARGS__ })), (const char *const[]){ __VA_ARGS__ })

static int dial(const struct house *h)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(to.sun_path, h->path, strlen(h->path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void wait_asked(struct house *h)
{
	char c;

	assert_int_equal(read(h->asked, &c, 1), 1);
}

/* All that comes until the end. */
static void hear(int fd, char *out, size_t room)
{
	size_t n = 0;
	ssize_t got;

	while ((got = read(fd, out + n, room - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = '\0';
}

/* ---- tests ------------------------------------------------------------------------------ */

static void words_arrive_as_they_were_given(void **state)
{
	struct house h;
	char *answer;

	(void)state;
	house_open(&h);
	assert_int_equal(ASK(&h, &answer, "echo", "plain", "two words", "", "\"quoted\\\"", "tab\there", "ä€"), 6);
	assert_string_equal(answer, "[plain]\n[two words]\n[]\n[\"quoted\\\"]\n[tab\there]\n[ä€]\n");
	free(answer);
	assert_int_equal(ASK(&h, &answer, "echo"), 0);
	assert_string_equal(answer, "");
	free(answer);
	assert_int_equal(ASK(&h, &answer, "open"), 0);
	assert_string_equal(answer, "first\nno end\n");
	free(answer);
	assert_int_equal(ASK(&h, &answer, "dance"), 2);
	assert_non_null(strstr(answer, "does not know"));
	free(answer);
	house_close(&h);
}

static void answers_of_any_size(void **state)
{
	static const char *const sizes[] = { "0", "100", "65500", "65600", "131000", "1000000", "100000000" };
	struct house h;
	char *answer;

	(void)state;
	house_open(&h);
	for (size_t i = 0; i < COUNT(sizes); i++) {
		assert_int_equal(ASK(&h, &answer, "much", sizes[i]), 0);
		assert_int_equal(strlen(answer), strtoul(sizes[i], NULL, 10) / 100 * 100);
		free(answer);
	}
	house_close(&h);
}

/* What is made as it is read waits nowhere, and an asker that goes ends it. */
static void answers_made_as_they_are_read(void **state)
{
	struct house h;
	char *answer, some[10];
	int fd;

	(void)state;
	house_open(&h);
	assert_int_equal(ASK(&h, &answer, "bits", "0"), 3);
	assert_string_equal(answer, "");
	free(answer);
	assert_int_equal(ASK(&h, &answer, "bits", "3000000"), 3);
	assert_int_equal(strlen(answer), 3000000);
	assert_int_equal(most_waiting, 0);
	free(answer);
	fd = dial(&h);
	assert_int_equal(write(fd, "bits 900000000\n", 15), 15);
	assert_int_equal(read(fd, some, sizeof(some)), sizeof(some));
	assert_int_equal(ASK(&h, &answer, "echo", "a"), 1);
	free(answer);
	close(fd);
	assert_int_equal(ASK(&h, &answer, "echo", "a"), 1);
	free(answer);
	house_stop(&h);
	assert_int_equal(still_to_say, 0);              /* it was told that the asker had gone */
	control_close(h.control);
	loop_free(h.loop);
	assert_int_equal(rmdir(h.dir), 0);
	close(h.asked);
	close(h.asked_out);
}

static void *ask_often(void *arg)
{
	for (int i = 0; i < 20; i++) {
		char *answer, want[32], word[16];

		snprintf(word, sizeof(word), "%d", i);
		snprintf(want, sizeof(want), "[%d]\n", i);
		if (ASK(arg, &answer, "echo", word) != 1 || strcmp(answer, want) != 0)
			return "wrong";
		free(answer);
	}
	return NULL;
}

/* Several at once, one of them slow. */
static void several_askers(void **state)
{
	pthread_t threads[8];
	struct house h;
	char heard[100];
	int fd;

	(void)state;
	house_open(&h);
	fd = dial(&h);
	assert_int_equal(write(fd, "keep\n", 5), 5);
	wait_asked(&h);
	for (size_t i = 0; i < COUNT(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &h), 0);
	for (size_t i = 0; i < COUNT(threads); i++) {
		void *wrong;

		pthread_join(threads[i], &wrong);
		assert_null(wrong);
	}
	h.let_go.h = &h;
	h.let_go.baton.arrived = end_kept;
	loop_send(h.loop, &h.let_go.baton);
	hear(fd, heard, sizeof(heard));
	assert_string_equal(heard, "at last\nexit 7\n");
	close(fd);
	house_close(&h);
}

/* The asker goes while its handler is at work: nobody trips over it. */
static void a_ghost(void **state)
{
	struct house h;
	char *answer;
	int fd;

	(void)state;
	house_open(&h);
	fd = dial(&h);
	assert_int_equal(write(fd, "keep\n", 5), 5);
	wait_asked(&h);
	close(fd);
	assert_int_equal(ASK(&h, &answer, "echo", "a"), 1);     /* a turn for the end to be seen */
	free(answer);
	h.let_go.h = &h;
	h.let_go.baton.arrived = end_kept;
	loop_send(h.loop, &h.let_go.baton);
	assert_int_equal(ASK(&h, &answer, "echo", "a"), 1);
	free(answer);
	house_close(&h);
}

/* The handler ends only when the control has been closed. */
static void a_ghost_at_the_end(void **state)
{
	struct house h;
	int fd;

	(void)state;
	house_open(&h);
	fd = dial(&h);
	assert_int_equal(write(fd, "keep\n", 5), 5);
	wait_asked(&h);
	house_stop(&h);
	control_close(h.control);
	h.let_go.h = &h;
	end_kept(&h.let_go.baton);
	loop_free(h.loop);
	close(fd);
	assert_int_equal(rmdir(h.dir), 0);
	close(h.asked);
	close(h.asked_out);
}

/* An asker that reads nothing of a long answer, and goes in its middle. */
static void one_who_does_not_listen(void **state)
{
	struct house h;
	char *answer;
	int fd;

	(void)state;
	house_open(&h);
	fd = dial(&h);
	assert_int_equal(write(fd, "much 50000000\n", 14), 14);
	assert_int_equal(ASK(&h, &answer, "echo", "a"), 1);
	free(answer);
	close(fd);
	assert_int_equal(ASK(&h, &answer, "echo", "a"), 1);
	free(answer);
	fd = dial(&h);                                  /* and one that says nothing, then goes */
	close(fd);
	assert_int_equal(ASK(&h, &answer, "echo", "a"), 1);
	free(answer);
	house_close(&h);
}

static void bad_requests(void **state)
{
	static const struct { const char *request, *want; } cases[] = {
		{ "\n", "cannot be read" }, { "   \t \n", "cannot be read" }, { "echo \"open\n", "cannot be read" },
		{ "echo \\\n", "cannot be read" },
		{ "echo 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31\n", "[31]\nexit 31\n" },
		{ "echo 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32\n", "cannot be read" },
		{ "echo a\"b c\"d\\\"\\\\\nmore behind it\n", "[ab cd\"\\]\nexit 1\n" },
	};
	static char line[5000];
	struct house h;
	char heard[1000];
	int fd;

	(void)state;
	house_open(&h);
	for (size_t i = 0; i < COUNT(cases); i++) {
		fd = dial(&h);
		assert_int_equal(write(fd, cases[i].request, strlen(cases[i].request)), strlen(cases[i].request));
		hear(fd, heard, sizeof(heard));
		if (strstr(heard, cases[i].want) == NULL)
			fail_msg("%s: %s", cases[i].request, heard);
		close(fd);
	}
	for (int with_end = 0; with_end < 2; with_end++) {
		memset(line, 'x', sizeof(line));
		line[sizeof(line) - 1] = with_end ? '\n' : 'x';
		fd = dial(&h);
		assert_int_equal(write(fd, line, sizeof(line)), sizeof(line));
		hear(fd, heard, sizeof(heard));
		assert_string_equal(heard, "the request is too long\nexit 2\n");
		close(fd);
	}
	house_close(&h);
}

/* In pieces, at every place. */
static void requests_in_pieces(void **state)
{
	static const char request[] = "echo \"two words\"\n";
	struct house h;
	char heard[100];

	(void)state;
	house_open(&h);
	for (size_t cut = 1; cut < sizeof(request) - 1; cut++) {
		int fd = dial(&h);

		assert_int_equal(write(fd, request, cut), cut);
		usleep(1000);
		assert_int_equal(write(fd, request + cut, sizeof(request) - 1 - cut), sizeof(request) - 1 - cut);
		hear(fd, heard, sizeof(heard));
		assert_string_equal(heard, "[two words]\nexit 1\n");
		close(fd);
	}
	house_close(&h);
}

static void nobody_listens(void **state)
{
	struct house h;
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	char *answer;
	str why;
	int fd;

	(void)state;
	house_open(&h);
	house_close(&h);
	errno = 0;
	assert_int_equal(ASK(&h, &answer, "echo"), -1);
	assert_int_equal(errno, ENOENT);
	free(answer);
	assert_int_equal(mkdir(h.dir, 0700), 0);        /* a socket that its server left behind */
	memcpy(at.sun_path, h.path, strlen(h.path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	close(fd);
	assert_int_equal(ASK(&h, &answer, "echo"), -1);
	assert_int_equal(errno, ECONNREFUSED);
	free(answer);
	h.loop = loop_new(0, NULL);
	h.control = control_open(h.loop, h.path, verbs, &h, &why);
	assert_non_null(h.control);                     /* it takes the place of a stale one … */
	assert_null(control_open(h.loop, h.path, verbs, &h, &why));    /* … but not of a living one */
	assert_non_null(strstr(why.p, "in use"));
	control_close(h.control);
	loop_free(h.loop);
	assert_int_equal(rmdir(h.dir), 0);
	assert_null(control_open(NULL, "/a-path-that-is-longer-than-a-unix-socket-address-may-be/"
	            "a-path-that-is-longer-than-a-unix-socket-address-may-be/control", verbs, NULL, &why));
	assert_non_null(strstr(why.p, "107"));
}

/* A server that dies in the middle of its answer is no answer. */
static void a_cut_answer(void **state)
{
	static const char *const said[] = { "", "half a", "a line\n", "exit", "a line\nexit 0" };
	static const char *const words[] = { "list" };
	char dir[] = "/tmp/postern-control-XXXXXX", path[128];
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/control", dir);
	memcpy(at.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(door, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(door, 5), 0);
	for (size_t i = 0; i < COUNT(said); i++) {
		bool whole = strstr(said[i], "exit 0") != NULL;
		char *answer;
		size_t room;
		FILE *out = open_memstream(&answer, &room);
		pid_t child = fork();
		int status;

		if (child == 0) {
			int fd = accept(door, NULL, NULL);
			char asked[8];

			_exit(read(fd, asked, sizeof(asked)) == 8 &&
			      write(fd, said[i], strlen(said[i])) == (ssize_t)strlen(said[i]) ? 0 : 1);
		}
		assert_int_equal(control_ask(path, words, 1, out), whole ? 0 : -1);
		if (!whole)
			assert_int_equal(errno, ECONNRESET);
		fclose(out);
		assert_string_equal(answer, whole ? "a line\n" : "");
		free(answer);
		waitpid(child, &status, 0);
		assert_int_equal(status, 0);
	}
	close(door);
	unlink(path);
	rmdir(dir);
}

/* Another user is not answered, even where the file would let him. */
static void strangers(void **state)
{
	struct house h;
	struct stat st;
	int status;
	pid_t child;

	(void)state;
	house_open(&h);
	assert_int_equal(stat(h.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	if (geteuid() != 0) {
		house_close(&h);
		skip();
	}
	assert_int_equal(chmod(h.dir, 0755), 0);
	assert_int_equal(chmod(h.path, 0666), 0);
	child = fork();
	if (child == 0) {
		static const char *const words[] = { "echo", "let me in" };
		FILE *out = fopen("/dev/null", "w");

		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(2);
		_exit(control_ask(h.path, words, 2, out) == -1 ? 0 : 1);
	}
	waitpid(child, &status, 0);
	assert_int_equal(status, 0);
	house_close(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_arrive_as_they_were_given),
		cmocka_unit_test(answers_of_any_size),
		cmocka_unit_test(answers_made_as_they_are_read),
		cmocka_unit_test(several_askers),
		cmocka_unit_test(a_ghost),
		cmocka_unit_test(a_ghost_at_the_end),
		cmocka_unit_test(one_who_does_not_listen),
		cmocka_unit_test(bad_requests),
		cmocka_unit_test(requests_in_pieces),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(a_cut_answer),
		cmocka_unit_test(strangers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
