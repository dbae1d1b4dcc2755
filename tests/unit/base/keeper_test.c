/* SPDX-License-Identifier: ISC */
/*
 * keeper: what it hands out, what it refuses, and that root is really gone.
 *
 * Each test runs in a child, which splits: the child becomes the keeper, its own
 * child the server, whose exit status comes back through the keeper.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/keeper.h"

#define SERVER_ID   65531u
#define STRANGER_ID 65532u

static char dir[64];

static const char *at(const char *name)
{
	static char paths[16][192];
	static unsigned turn_of;
	char *path = paths[turn_of++ % COUNT(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static void put_file(const char *name, uid_t owner)
{
	int fd = open(at(name), O_CREAT | O_TRUNC | O_WRONLY, 0600);

	assert_int_equal(write(fd, name, strlen(name)), (ssize_t)strlen(name));
	assert_int_equal(fchown(fd, owner, owner), 0);
	close(fd);
}

static void put_link(const char *name, const char *target, uid_t owner)
{
	assert_int_equal(symlink(target, at(name)), 0);
	assert_int_equal(lchown(at(name), owner, owner), 0);
}

static void put_dir(const char *name, uid_t owner)
{
	assert_int_equal(mkdir(at(name), 0755), 0);
	assert_int_equal(chown(at(name), owner, owner), 0);
}

/* ---- the plan ----------------------------------------------------------------------- */

static const char *const named[] = {
	"plain", "absent", "live/mail/cert.pem", "stranger-link", "own/link-to-own", "own/link-to-root",
	"pipe", "somedir", "loop", "through/plain", "plain/", "dir-by-stranger/plain", "dotted/../plain",
	"deep/absolute", "later",
};
static str files[COUNT(named)];
static str listeners[] = { STR("127.0.0.1:0") };
static str state[1];

/* As the real one does, it reads afresh: here whether a file stands beside. */
static enum err read_names(void *arg, struct keeper_names *out)
{
	(void)arg;
	if (access(at("fault"), F_OK) == 0)
		return ERR_BAD;
	for (size_t i = 0; i < COUNT(named); i++)
		files[i] = str_of(strdup(at(named[i])));
	out->files = (struct strs){ files, COUNT(named) - (access(at("with-later"), F_OK) != 0) };
	out->listeners = (struct strs){ listeners, 1 };
	state[0] = str_of(strdup(at("state/postern")));
	out->state = (struct strs){ state, 1 };
	return OK;
}

static struct keeper_plan plan = { .read = read_names, .uid = SERVER_ID, .gid = SERVER_ID };

#define CHECK(what)                                                           \
	do {                                                                  \
		if (!(what)) {                                                \
			fprintf(stderr, "%s:%d: %s (errno %s)\n", __FILE__,   \
			        __LINE__, #what, strerror(errno));            \
			_exit(99);                                            \
		}                                                             \
	} while (0)

/* Runs `server` behind a keeper; returns the keeper's wait status. */
static int behind_a_keeper(void (*server)(void))
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		str why;
		enum err e = keeper_split(&plan, &why);

		if (e != OK) {
			fprintf(stderr, "split: %.*s\n", STR_ARG(why));
			_exit(98);
		}
		server();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void runs_well(void (*server)(void))
{
	int status = behind_a_keeper(server);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* ---- tests -------------------------------------------------------------------------- */

static const struct { const char *name; int errnum; const char *text; } opens[] = {
	{ "plain", 0, "plain" },
	{ "absent", ENOENT, NULL },
	{ "live/mail/cert.pem", 0, "archive/cert1.pem" },        /* certbot's way */
	{ "stranger-link", EACCES, NULL },
	{ "own/link-to-own", 0, "own/file" },
	{ "own/link-to-root", EACCES, NULL },                    /* a user's link to root's file */
	{ "pipe", EINVAL, NULL },
	{ "somedir", EISDIR, NULL },
	{ "loop", ELOOP, NULL },
	{ "through/plain", 0, "somedir/plain" },
	{ "plain/", ENOTDIR, NULL },
	{ "dir-by-stranger/plain", EACCES, NULL },
	{ "dotted/../plain", 0, "plain" },
	{ "deep/absolute", 0, "plain" },
	{ "unnamed", EACCES, NULL },                             /* there, but not named */
	{ "../../etc/shadow", EACCES, NULL },
	{ "later", EACCES, NULL },
};

static void make_files(void)
{
	put_file("plain", 0);
	put_file("unnamed", 0);
	put_file("later", 0);
	put_dir("archive", 0);
	put_file("archive/cert1.pem", 0);
	put_dir("live", 0);
	put_dir("live/mail", 0);
	put_link("live/mail/cert.pem", "../../archive/cert1.pem", 0);
	put_link("stranger-link", "plain", STRANGER_ID);
	put_dir("own", STRANGER_ID);
	put_file("own/file", STRANGER_ID);
	put_link("own/link-to-own", "./file", STRANGER_ID);
	put_link("own/link-to-root", "../plain", STRANGER_ID);
	assert_int_equal(mkfifo(at("pipe"), 0600), 0);
	put_dir("somedir", 0);
	put_file("somedir/plain", 0);
	put_link("loop", "loop", 0);
	put_link("through", "somedir", 0);
	put_link("dir-by-stranger", "somedir", STRANGER_ID);
	put_dir("dotted", 0);
	put_dir("deep", 0);
	put_link("deep/absolute", at("plain"), 0);
}

static void opening_server(void)
{
	CHECK(keeper_present());
	CHECK(open(at("plain"), O_RDONLY) == -1 && errno == EACCES);
	for (size_t i = 0; i < COUNT(opens); i++) {
		char text[64] = "";
		int fd = keeper_open(str_of(at(opens[i].name))), errnum = fd < 0 ? errno : 0;

		if (errnum != opens[i].errnum) {
			fprintf(stderr, "%s: %s\n", opens[i].name, strerror(errnum));
			_exit(97);
		}
		if (fd < 0)
			continue;
		CHECK(read(fd, text, sizeof(text) - 1) > 0 && strcmp(text, opens[i].text) == 0);
		CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
		close(fd);
	}
	CHECK(keeper_open(STR_NONE) == -1);
	CHECK(keeper_open(STR("relative")) == -1);
}

static void named_files_are_opened_and_others_refused(void **unused)
{
	(void)unused;
	runs_well(opening_server);
}

static void listening_server(void)
{
	struct sockaddr_in where;
	socklen_t n = sizeof(where), size = sizeof(int);
	int fd = keeper_listen(STR("127.0.0.1:0")), accepts = 0;

	CHECK(fd >= 0);
	CHECK(getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) == 0 && accepts);
	CHECK(getsockname(fd, (struct sockaddr *)&where, &n) == 0 && where.sin_port != 0);
	CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
	CHECK(keeper_listen(STR("127.0.0.1:1")) == -1 && errno == EACCES);
	CHECK(keeper_listen(STR("[::]:0")) == -1 && errno == EACCES);
}

static void named_listeners_are_bound(void **unused)
{
	(void)unused;
	runs_well(listening_server);
}

static void privileges_server(void)
{
	uid_t r, e, s;
	gid_t groups[8];
	struct stat st;
	int death = 0;

	CHECK(getresuid(&r, &e, &s) == 0 && r == SERVER_ID && e == SERVER_ID && s == SERVER_ID);
	CHECK(getresgid(&r, &e, &s) == 0 && r == SERVER_ID && e == SERVER_ID && s == SERVER_ID);
	CHECK(getgroups(8, groups) == 1 && groups[0] == SERVER_ID);
	CHECK(setuid(0) == -1 && seteuid(0) == -1 && setgid(0) == -1 && setgroups(0, NULL) == -1);
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHECK(prctl(PR_GET_PDEATHSIG, &death) == 0 && death == SIGTERM);
	CHECK(open("/etc/shadow", O_RDONLY) == -1);
	CHECK(stat(at("state/postern"), &st) == 0 && st.st_uid == SERVER_ID && (st.st_mode & 07777) == 0700);
	CHECK(stat(at("state"), &st) == 0 && st.st_uid == 0);
	CHECK(open(at("state/postern/file"), O_CREAT | O_WRONLY, 0600) >= 0);
}

static void privileges_are_really_gone(void **unused)
{
	(void)unused;
	runs_well(privileges_server);
}

static void touch(const char *name)
{
	int fd = open(at(name), O_CREAT | O_WRONLY, 0600);

	CHECK(fd >= 0);
	close(fd);
}

static int to_tester[2], to_server[2];

/* Has the tester, which is root, do something between. */
static void tell_tester(char what)
{
	char answer;

	CHECK(write(to_tester[1], &what, 1) == 1);
	CHECK(read(to_server[0], &answer, 1) == 1);
}

static void reloading_server(void)
{
	CHECK(keeper_reload() == OK);
	CHECK(keeper_open(str_of(at("later"))) == -1 && errno == EACCES);
	tell_tester('l');
	CHECK(keeper_open(str_of(at("later"))) == -1 && errno == EACCES);
	CHECK(keeper_reload() == OK);
	CHECK(keeper_open(str_of(at("later"))) >= 0);
	tell_tester('f');
	CHECK(keeper_reload() == ERR_BAD);
	CHECK(keeper_open(str_of(at("later"))) >= 0);    /* the old names stand */
	CHECK(keeper_open(str_of(at("plain"))) >= 0);
}

static pid_t start_behind_a_keeper(void (*server)(void))
{
	pid_t child;

	assert_int_equal(pipe(to_tester), 0);
	assert_int_equal(pipe(to_server), 0);
	fflush(NULL);
	child = fork();
	if (child == 0) {
		str why;

		close(to_tester[0]);
		close(to_server[1]);
		CHECK(keeper_split(&plan, &why) == OK);
		server();
		_exit(0);
	}
	close(to_tester[1]);
	close(to_server[0]);
	return child;
}

static void the_end(void)
{
	close(to_tester[0]);
	close(to_server[1]);
}

static void a_reload_brings_new_names(void **unused)
{
	pid_t child = start_behind_a_keeper(reloading_server);
	int status;
	char what;

	(void)unused;
	while (read(to_tester[0], &what, 1) == 1) {
		touch(what == 'l' ? "with-later" : "fault");
		assert_int_equal(write(to_server[1], "y", 1), 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	unlink(at("with-later"));
	unlink(at("fault"));
	the_end();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void signals_server(void)
{
	sigset_t set;
	int heard[4] = { 0 };

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	CHECK(write(to_tester[1], "r", 1) == 1);
	for (int i = 0; i < 4; i++)
		CHECK(sigwait(&set, &heard[i]) == 0);
	/* In whatever order: each came once. */
	CHECK(heard[0] + heard[1] + heard[2] + heard[3] == SIGHUP + SIGUSR1 + SIGINT + SIGTERM);
	_exit(42);
}

static void signals_go_through_and_the_status_comes_back(void **unused)
{
	static const int signals[] = { SIGHUP, SIGUSR1, SIGINT, SIGTERM };
	pid_t child = start_behind_a_keeper(signals_server);
	int status;
	char what;

	(void)unused;
	assert_int_equal(read(to_tester[0], &what, 1), 1);
	for (size_t i = 0; i < COUNT(signals); i++)
		assert_int_equal(kill(child, signals[i]), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	the_end();
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
}

static void dying_server(void)
{
	signal(SIGKILL, SIG_DFL);
	raise(SIGKILL);
}

static void a_server_ended_by_a_signal_is_told(void **unused)
{
	int status, err[2], saved = dup(2);
	char text[512] = "";

	(void)unused;
	assert_int_equal(pipe(err), 0);
	dup2(err[1], 2);
	status = behind_a_keeper(dying_server);
	dup2(saved, 2);
	close(saved);
	close(err[1]);
	assert_true(read(err[0], text, sizeof(text) - 1) > 0);
	close(err[0]);
	assert_non_null(strstr(text, "the server was ended by signal 9 (Killed): "));
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 128 + SIGKILL);
}

static void orphan_server(void)
{
	struct sigaction ignore = { .sa_handler = SIG_DFL };
	char pid[16];
	int n = snprintf(pid, sizeof(pid), "%d", (int)getpid());

	sigaction(SIGTERM, &ignore, NULL);
	CHECK(write(to_tester[1], pid, (size_t)n + 1) == n + 1);
	for (;;)
		pause();
}

static void a_server_without_its_keeper_ends(void **unused)
{
	pid_t child = start_behind_a_keeper(orphan_server);
	struct pollfd wait = { to_tester[0], POLLIN, 0 };
	char pid[16] = "";
	int status;

	(void)unused;
	assert_true(read(to_tester[0], pid, sizeof(pid)) > 0);
	assert_true(atoi(pid) > 1);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, &status, 0), child);
	/* Its end of the pipe closes when it is gone. */
	assert_int_equal(poll(&wait, 1, 10000), 1);
	assert_int_equal(read(to_tester[0], pid, sizeof(pid)), 0);
	the_end();
}

/* The keeper holds standard streams, its socket and its signals, no more. */
static void crowded_server(void)
{
	char path[64], byte;
	int n = snprintf(path, sizeof(path), "%d", (int)getppid());

	CHECK(write(to_tester[1], path, (size_t)n + 1) == n + 1);
	CHECK(read(to_server[0], &byte, 1) == 1);
}

static void the_keeper_closes_what_it_does_not_need(void **unused)
{
	pid_t child = start_behind_a_keeper(crowded_server);
	char pid[16] = "", path[64], link[64];
	int status, others = 0;

	(void)unused;
	assert_true(read(to_tester[0], pid, sizeof(pid)) > 0);
	assert_int_equal(atoi(pid), child);
	/* It asks nothing, so the keeper may still be closing: its second step,
	 * the name, comes behind that. */
	for (uint64_t until = clock_ms() + 10000; clock_ms() < until;) {
		FILE *f;
		char name[32] = "";

		snprintf(path, sizeof(path), "/proc/%d/comm", (int)child);
		f = fopen(path, "r");
		if (f != NULL && fgets(name, sizeof(name), f) == NULL)
			name[0] = '\0';
		if (f != NULL)
			fclose(f);
		if (strcmp(name, "postern-keeper\n") == 0)
			break;
	}
	for (int fd = 0; fd < 64; fd++) {
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)child, fd);
		n = readlink(path, link, sizeof(link) - 1);
		if (n < 0)
			continue;
		link[n] = '\0';
		if (fd == 0)
			assert_string_equal(link, "/dev/null");
		others += fd > 2;
	}
	assert_int_equal(others, 2);
	assert_int_equal(write(to_server[1], "y", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	the_end();
	assert_int_equal(status, 0);
}

static void splits_badly(const struct keeper_plan *p, enum err want, const char *sentence)
{
	int status;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		char text[512];
		str why;
		enum err e = keeper_split(p, &why);

		snprintf(text, sizeof(text), "%.*s", STR_ARG(why));
		if (e != want || strstr(text, sentence) == NULL || keeper_present()) {
			fprintf(stderr, "split: %d %s\n", e, text);
			_exit(1);
		}
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void bad_beginnings_are_refused(void **unused)
{
	struct keeper_plan root = plan;

	(void)unused;
	root.uid = 0;
	splits_badly(&root, ERR_DENIED, "must not run as root");
	touch("fault");
	splits_badly(&plan, ERR_BAD, "cannot read the configuration");
	unlink(at("fault"));

	put_dir("kept", 0);                   /* what was there, out of the way */
	assert_int_equal(rename(at("state"), at("kept/state")), 0);
	put_dir("state", 0);
	put_dir("state/postern", STRANGER_ID);
	splits_badly(&plan, ERR_DENIED, "belongs to user id 65532");
	assert_int_equal(chown(at("state/postern"), 0, 0), 0);
	put_file("state/postern/something", 0);
	splits_badly(&plan, ERR_DENIED, "chown -R");
	unlink(at("state/postern/something"));
	assert_int_equal(rmdir(at("state/postern")), 0);
	put_link("state/postern", "/etc", STRANGER_ID);
	splits_badly(&plan, ERR_DENIED, "cannot be made or opened");
	unlink(at("state/postern"));
	assert_int_equal(rmdir(at("state")), 0);
	assert_int_equal(rename(at("kept/state"), at("state")), 0);
}

/* ---- without root -------------------------------------------------------------------- */

static void keeperless_is_plain(void **unused)
{
	int status;
	pid_t child;

	(void)unused;
	fflush(NULL);
	child = fork();
	if (child == 0) {
		str why;

		CHECK(geteuid() != 0 || setuid(SERVER_ID) == 0);
		CHECK(keeper_split(&plan, &why) == OK && !keeper_present());
		CHECK(keeper_open(STR("/etc/passwd")) >= 0);
		CHECK(keeper_open(STR("/etc/nonesuch")) == -1 && errno == ENOENT);
		CHECK(keeper_open((str){ "/etc/passwd\0x", 13 }) == -1 && errno == EINVAL);
		CHECK(keeper_listen(STR("127.0.0.1:0")) >= 0);
		CHECK(keeper_reload() == OK);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static int set_up(void **unused)
{
	(void)unused;
	snprintf(dir, sizeof(dir), "/tmp/keeper_test.XXXXXX");
	if (mkdtemp(dir) == NULL || chmod(dir, 0755) != 0)
		return -1;
	if (geteuid() == 0)
		make_files();
	return 0;
}

static int tear_down(void **unused)
{
	char command[128];

	(void)unused;
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

int main(void)
{
	const struct CMUnitTest as_root[] = {
		cmocka_unit_test(named_files_are_opened_and_others_refused),
		cmocka_unit_test(named_listeners_are_bound),
		cmocka_unit_test(privileges_are_really_gone),
		cmocka_unit_test(a_reload_brings_new_names),
		cmocka_unit_test(signals_go_through_and_the_status_comes_back),
		cmocka_unit_test(a_server_ended_by_a_signal_is_told),
		cmocka_unit_test(a_server_without_its_keeper_ends),
		cmocka_unit_test(the_keeper_closes_what_it_does_not_need),
		cmocka_unit_test(bad_beginnings_are_refused),
		cmocka_unit_test(keeperless_is_plain),
	};
	const struct CMUnitTest as_user[] = {
		cmocka_unit_test(keeperless_is_plain),
	};

	if (geteuid() == 0)
		return cmocka_run_group_tests_name("keeper", as_root, set_up, tear_down);
	fprintf(stderr, "keeper_test: SKIPPED: all but one test need root: run them with sudo\n");
	return cmocka_run_group_tests_name("keeper without root", as_user, set_up, tear_down);
}
