/* SPDX-License-Identifier: ISC */
/*
 * The account verb: each run is a process of its own, its standard input a pipe
 * or a terminal, its words and the file afterwards compared.
 */
#include "tests/unit/auth/auth_help.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <termios.h>

static struct folder folder;
static struct arena arena;

struct ran { int status; char out[4096], err[4096]; };

static bool is_local(void *arg, str domain)
{
	return str_eq_nocase(domain, str_of(arg));
}

static int begin(void **state)
{
	(void)state;
	crypt_setup();
	arena_init(&arena, ARENA_UNBOUNDED);
	folder_make(&folder);
	return 0;
}

static int end(void **state)
{
	(void)state;
	folder_remove(&folder);
	arena_fini(&arena);
	return 0;
}

static const char *file_in(const char *name)
{
	return str_cstr(&arena, arena_printf(&arena, "%s/%s", folder.path, name));
}

static size_t words_in(char *text, char **argv)
{
	size_t n = 0;

	argv[n++] = (char[]){ "account" };
	for (char *save = NULL, *w = strtok_r(text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	return n;
}

static _Noreturn void child(const char *words, int in, int out, int err)
{
	char text[512], name[] = "account", *argv[24];
	bool changed;
	size_t n;

	snprintf(text, sizeof(text), "%s", words);
	n = words_in(text, argv);
	argv[0] = name;
	dup2(in, 0);
	dup2(out, 1);
	dup2(err, 2);
	n = (size_t)account_verb((int)n, argv, &(struct account_tools){
		.accounts = folder.file, .devices = file_in("app-passwords"), .codes = file_in("totp"),
		.seen = file_in("seen"), .ca = file_in("ca"), .client_ca = "", .issuer = "mail.home.test",
		.mark = '+', .iterations = 4096, .local = is_local, .arg = (char[]){ "home.test" } }, &changed);
	fflush(stdout);
	_exit((int)n);
}

static void slurp(int fd, char *text, size_t room)
{
	size_t n = 0;
	ssize_t got;

	while (n < room - 1 && (got = read(fd, text + n, room - 1 - n)) > 0)
		n += (size_t)got;
	text[n] = '\0';
	close(fd);
}

static pid_t start(const char *words, int in, int *out, int *err)
{
	int to[2], said[2];
	pid_t pid;

	assert_int_equal(pipe2(to, O_CLOEXEC), 0);
	assert_int_equal(pipe2(said, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(words, in, to[1], said[1]);
	close(to[1]);
	close(said[1]);
	*out = to[0];
	*err = said[0];
	return pid;
}

static void finish(pid_t pid, int out, int err, struct ran *r)
{
	slurp(out, r->out, sizeof(r->out));
	slurp(err, r->err, sizeof(r->err));
	assert_int_equal(waitpid(pid, &r->status, 0), pid);
	assert_true(WIFEXITED(r->status));
	r->status = WEXITSTATUS(r->status);
}

/* `input`: what its standard input, a pipe, holds. */
static int run(const char *words, const char *input, struct ran *r)
{
	int in[2], out, err;
	pid_t pid;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(write(in[1], input, strlen(input)), (ssize_t)strlen(input));
	close(in[1]);
	pid = start(words, in[0], &out, &err);
	close(in[0]);
	finish(pid, out, err, r);
	return r->status;
}

static bool password_is(const char *address, const char *password)
{
	str why, key;
	struct accounts *t = accounts_parse(STR("file"), get_text(folder.file, &arena), &arena, &why);
	const struct account *a;
	bool is;

	if (t == NULL)
		fail_msg("%.*s", STR_ARG(why));
	assert_true(accounts_key(&arena, str_of(address), &key));
	a = accounts_find(t, key);
	is = a != NULL && a->can_log_in && verifier_check(&a->verifier, str_of(password));
	accounts_free(t);
	return is;
}

/* ---- the four words ------------------------------------------------------------------- */

static void a_life(void **state)
{
	struct stat st;
	struct ran r;

	(void)state;
	assert_int_equal(run("add alice@home.test", "wonderland\n", &r), 0);
	assert_string_equal(r.out, "");
	assert_string_equal(r.err, "");
	assert_int_equal(stat(folder.file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_true(password_is("alice@home.test", "wonderland"));
	assert_true(str_starts(get_text(folder.file, &arena), "alice@home.test:{SCRAM-SHA-256}4096,"));
	assert_true(str_ends_nocase(get_text(folder.file, &arena), STR("=::::::\n")));
	assert_int_equal(run("add Bob@HOME.test", "builder\r\n", &r), 0);
	assert_true(password_is("bob@home.test", "builder"));
	assert_int_equal(run("list", "", &r), 0);
	assert_string_equal(r.out, "alice@home.test\tSCRAM-SHA-256\nbob@home.test\tSCRAM-SHA-256\n");
	assert_int_equal(run("list bob@home.test", "", &r), 0);
	assert_string_equal(r.out, "bob@home.test\tSCRAM-SHA-256\n");
	assert_int_equal(run("passwd ALICE@home.test", "looking-glass", &r), 0);
	assert_true(password_is("alice@home.test", "looking-glass"));
	assert_int_equal(run("remove alice@home.test", "", &r), 0);
	assert_false(password_is("alice@home.test", "looking-glass"));
	assert_true(password_is("bob@home.test", "builder"));
	assert_int_equal(run("remove bob@home.test", "", &r), 0);
	assert_int_equal(get_text(folder.file, &arena).n, 0);
}

static void refusals(void **state)
{
	static const struct { const char *words, *input; int status; const char *err; } cases[] = {
		{ "add bob@home.test", "\n", 1, "postern account add: the password is empty: " },
		{ "add bob@home.test", "", 1, "postern account add: no password came: " },
		{ "add bob@home.test", "a\tb\n", 1, "postern account add: the password holds a control character: " },
		{ "add bob@home.test", "\xff\xfe\n", 1, "postern account add: the password is not UTF-8" },
		{ "add bob@far.test", "x\n", 1, "postern account add: far.test is not a domain of this server: " },
		{ "add alice@home.test", "x\n", 1, "postern account add: alice@home.test is an account already: " },
		{ "add Alice@HOME.test", "x\n", 1, "postern account add: Alice@home.test is an account already: " },
		{ "passwd bob@home.test", "x\n", 1, "postern account passwd: bob@home.test is no account: " },
		{ "remove bob@home.test", "", 1, "postern account remove: bob@home.test is no account: " },
		{ "list bob@home.test", "", 1, "postern account list: bob@home.test is no account: " },
		{ "add", "", 2, "postern account add: the address is missing: " },
		{ "remove", "", 2, "postern account remove: the address is missing: " },
		{ "add bob", "x\n", 2, "postern account add: that is not an address for an account: " },
		{ "add bob@[127.0.0.1]", "x\n", 2, "postern account add: that is not an address for an account: " },
		{ "add \"b:c\"@home.test", "x\n", 2, "postern account add: that is not an address for an account: " },
		{ "add #bob@home.test", "x\n", 2, "postern account add: that is not an address for an account: " },
		{ "add a@home.test b@home.test", "x\n", 2, "postern account add: one address at a time: " },
		{ "add --force", "x\n", 2, "postern account add: there are no such options: " },
		{ "sing alice@home.test", "", 2, "postern account: say add, passwd, require, list, logins, remove, app-password add" },
		{ "", "", 2, "postern account: say add, passwd, require, list, logins, remove, app-password add" },
	};
	char text[1024];
	str before;

	(void)state;
	snprintf(text, sizeof(text), "alice@home.test:%s\n", verifier_of(&arena, "wonderland"));
	put_text(folder.file, text);
	before = get_text(folder.file, &arena);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct ran r;

		run(cases[i].words, cases[i].input, &r);
		if (r.status != cases[i].status || !str_starts(str_of(r.err), cases[i].err) || r.out[0] != '\0')
			fail_msg("%s: %d %s%s", cases[i].words, r.status, r.err, r.out);
		assert_true(str_eq(before, get_text(folder.file, &arena)));
	}
}

static void long_passwords(void **state)
{
	char text[PASSWORD_MAX + 3];
	struct ran r;

	(void)state;
	memset(text, 'x', sizeof(text));
	text[PASSWORD_MAX] = '\0';
	assert_int_equal(run("add alice@home.test", text, &r), 0);
	assert_true(password_is("alice@home.test", text));
	text[PASSWORD_MAX] = 'x';
	text[PASSWORD_MAX + 1] = '\0';
	assert_int_equal(run("passwd alice@home.test", text, &r), 1);
	assert_non_null(strstr(r.err, "over 1,024 bytes"));
	text[PASSWORD_MAX + 1] = 'x';
	text[PASSWORD_MAX + 2] = '\0';
	assert_int_equal(run("passwd alice@home.test", text, &r), 1);
}

/* Comments, order, Dovecot's fields and line ends are somebody's work. */
static void the_rest_stays(void **state)
{
	char text[4096], want[4096];
	const char *old = verifier_of(&arena, "old");
	struct ran r;
	str got, password;

	(void)state;
	snprintf(text, sizeof(text), "# first\n\nalice@home.test:%s:1000:1000:Al:/home/al::quota=1\n# second\n"
	         "bob@home.test:%s\r\ncarol@home.test:%s", old, old, old);
	put_text(folder.file, text);
	assert_int_equal(chmod(folder.file, 0640), 0);
	assert_int_equal(run("passwd alice@home.test", "new\n", &r), 0);
	got = get_text(folder.file, &arena);
	password = str_skip(got, sizeof("# first\n\nalice@home.test:") - 1);
	password = str_head(password, str_find(password, ':'));
	snprintf(want, sizeof(want), "# first\n\nalice@home.test:%.*s:1000:1000:Al:/home/al::quota=1\n# second\n"
	         "bob@home.test:%s\r\ncarol@home.test:%s", STR_ARG(password), old, old);
	assert_true(str_is(got, want));
	assert_true(password_is("alice@home.test", "new"));
	assert_int_equal(run("remove bob@home.test", "", &r), 0);
	snprintf(want, sizeof(want), "# first\n\nalice@home.test:%.*s:1000:1000:Al:/home/al::quota=1\n# second\n"
	         "carol@home.test:%s", STR_ARG(password), old);
	assert_true(str_is(get_text(folder.file, &arena), want));
	assert_int_equal(run("add dave@home.test", "d\n", &r), 0);      /* on a line of its own */
	assert_true(str_starts(get_text(folder.file, &arena), want));
	assert_true(password_is("dave@home.test", "d") && password_is("carol@home.test", "old"));
	assert_int_equal(run("passwd carol@home.test", "c\n", &r), 0);
	assert_true(password_is("carol@home.test", "c") && password_is("dave@home.test", "d"));
	struct stat st;
	assert_int_equal(stat(folder.file, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
}

static void damage_is_mended_first(void **state)
{
	char want[256];
	struct ran r;

	(void)state;
	put_text(folder.file, "# x\nalice@home.test:clear\n");
	assert_int_equal(run("add bob@home.test", "b\n", &r), 1);
	snprintf(want, sizeof(want), "postern account add: %s:2: ", folder.file);
	assert_true(str_starts(str_of(r.err), want));
	assert_true(str_is(get_text(folder.file, &arena), "# x\nalice@home.test:clear\n"));
	unlink(folder.file);
	assert_int_equal(symlink("/dev/null", folder.file), 0);
	assert_int_equal(run("add bob@home.test", "b\n", &r), 1);
	assert_non_null(strstr(r.err, "symbolic link"));
}

static void no_folder(void **state)
{
	struct folder kept = folder;
	struct ran r;

	(void)state;
	snprintf(folder.file, sizeof(folder.file), "%s/none/accounts", folder.path);
	assert_int_equal(run("list", "", &r), 0);
	assert_int_equal(run("add bob@home.test", "b\n", &r), 1);
	assert_non_null(strstr(r.err, "make the directory"));
	folder = kept;
}

/* Root works for the directory's owner. */
static void owners(void **state)
{
	struct stat st;
	struct ran r;
	char lock[128];

	(void)state;
	if (geteuid() != 0) {
		fprintf(stderr, "SKIPPED: owners change only when root runs the test\n");
		skip();
	}
	assert_int_equal(chown(folder.path, 12345, 23456), 0);
	assert_int_equal(run("add alice@home.test", "a\n", &r), 0);
	assert_int_equal(stat(folder.file, &st), 0);
	assert_int_equal(st.st_uid, 12345);
	assert_int_equal(st.st_gid, 23456);
	snprintf(lock, sizeof(lock), "%s.lock", folder.file);
	assert_int_equal(stat(lock, &st), 0);
	assert_int_equal(st.st_uid, 12345);
	assert_int_equal(chown(folder.file, 0, 345), 0);
	assert_int_equal(run("passwd alice@home.test", "b\n", &r), 0);
	assert_int_equal(stat(folder.file, &st), 0);
	assert_int_equal(st.st_uid, 0);
	assert_int_equal(st.st_gid, 345);
}

/* ---- two at a time ------------------------------------------------------------------------ */

static void nobodys_line_is_lost(void **state)
{
	enum { MANY = 8 };
	pid_t pid[MANY];
	int out[MANY], err[MANY];
	char words[64];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		int in[2];

		assert_int_equal(pipe2(in, O_CLOEXEC), 0);
		assert_int_equal(write(in[1], "secret\n", 7), 7);
		close(in[1]);
		snprintf(words, sizeof(words), "add user%d@home.test", i);
		pid[i] = start(words, in[0], &out[i], &err[i]);
		close(in[0]);
	}
	for (int i = 0; i < MANY; i++) {
		struct ran r;

		finish(pid[i], out[i], err[i], &r);
		assert_int_equal(r.status, 0);
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(words, sizeof(words), "user%d@home.test", i);
		assert_true(password_is(words, "secret"));
	}
}

/* ---- a terminal ------------------------------------------------------------------------------ */

static int terminal(int *master)
{
	int slave;

	*master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(*master >= 0);
	assert_int_equal(grantpt(*master), 0);
	assert_int_equal(unlockpt(*master), 0);
	slave = open(ptsname(*master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(slave >= 0);
	return slave;
}

/* Reads from err until it ends with `want`. */
static void await(int fd, const char *want, char *text, size_t room)
{
	size_t n = strlen(text);
	ssize_t got;

	while (n < room - 1 && !(n >= strlen(want) && strcmp(text + n - strlen(want), want) == 0)) {
		got = read(fd, text + n, 1);
		if (got <= 0)
			fail_msg("ended at \"%s\" before \"%s\"", text, want);
		n += (size_t)got;
		text[n] = '\0';
	}
}

static bool echoes(int slave)
{
	struct termios t;

	assert_int_equal(tcgetattr(slave, &t), 0);
	return t.c_lflag & ECHO;
}

static void typed(const char *first, const char *second, int status, const char *words_end)
{
	int master, slave = terminal(&master), out, err;
	char said[4096] = "", echoed[64];
	struct pollfd p = { .fd = master, .events = POLLIN };
	struct ran r;
	pid_t pid = start("add alice@home.test", slave, &out, &err);

	await(err, "Password: ", said, sizeof(said));
	assert_false(echoes(slave));
	assert_int_equal(write(master, first, strlen(first)), (ssize_t)strlen(first));
	if (second != NULL) {
		await(err, "Again: ", said, sizeof(said));
		assert_int_equal(write(master, second, strlen(second)), (ssize_t)strlen(second));
	}
	finish(pid, out, err, &r);
	assert_int_equal(r.status, status);
	if (strstr(r.err, words_end) == NULL)
		fail_msg("got %s, want %s", r.err, words_end);
	assert_true(echoes(slave));
	if (poll(&p, 1, 0) > 0) {       /* nothing of it was shown */
		ssize_t n = read(master, echoed, sizeof(echoed));

		for (ssize_t i = 0; i < n; i++)
			assert_true(echoed[i] == '\r' || echoed[i] == '\n');
	}
	close(slave);
	close(master);
}

static void typed_at_a_terminal(void **state)
{
	(void)state;
	typed("wonderland\n", "wonderlane\n", 1, "the two passwords differ");
	typed("\n", NULL, 1, "the password is empty");
	typed("wonderland\n", "\004", 1, "nothing was changed");
	assert_int_not_equal(access(folder.file, F_OK), 0);
	typed("wonderland\n", "wonderland\n", 0, "");
	assert_true(password_is("alice@home.test", "wonderland"));
}

static void interrupted_at_a_terminal(void **state)
{
	int master, slave = terminal(&master), out, err;
	char said[4096] = "";
	struct ran r;
	pid_t pid = start("add alice@home.test", slave, &out, &err);

	(void)state;
	await(err, "Password: ", said, sizeof(said));
	assert_int_equal(kill(pid, SIGINT), 0);
	finish(pid, out, err, &r);
	assert_int_equal(r.status, 1);
	assert_non_null(strstr(r.err, "nothing was changed"));
	assert_true(echoes(slave));
	assert_int_not_equal(access(folder.file, F_OK), 0);
	close(slave);
	close(master);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		T(a_life), T(refusals), T(long_passwords), T(the_rest_stays), T(damage_is_mended_first), T(no_folder),
		T(owners), T(nobodys_line_is_lost), T(typed_at_a_terminal), T(interrupted_at_a_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
