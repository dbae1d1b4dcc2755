/* SPDX-License-Identifier: ISC */
/*
 * A sasldb on the machine admits nobody.
 *
 * There is one, with users and passwords, in two worlds: where a Cyrus
 * configuration file names it, and as /etc/sasldb2, which an unset
 * auxprop_plugin finds (in a mount namespace of the test's own; skipped where
 * the system allows none).  In each a Cyrus server as it comes admits the user,
 * which shows that the bait is real, and ours does not.
 */
#include "tests/unit/auth/auth_help.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <sasl/sasl.h>
#include <sasl/saslplug.h>

enum { PASSED = 0, FAILED = 1, SKIPPED = 77 };

#define PASSWORD "from the db"

static const char *const users[] = { "alice@home.test", "carol@home.test" };  /* an account here; none */

static struct folder bait;
static char sasldb[128], conf_file[128];

static int bait_option(void *context, const char *plugin, const char *name, const char **value, unsigned *n)
{
	(void)context;
	(void)plugin;
	*value = strcmp(name, "sasldb_path") == 0      ? sasldb
	         : strcmp(name, "auxprop_plugin") == 0 ? "sasldb"
	                                               : NULL;
	if (n != NULL && *value != NULL)
		*n = (unsigned)strlen(*value);
	return *value != NULL ? SASL_OK : SASL_FAIL;
}

static int lay_bait(void)
{
	const sasl_callback_t callbacks[] = {
		{ SASL_CB_GETOPT, (int (*)(void))(void (*)(void))bait_option, NULL },
		{ SASL_CB_LIST_END, NULL, NULL },
	};
	sasl_conn_t *conn;

	if (sasl_server_init(callbacks, "bait") != SASL_OK ||
	    sasl_server_new("smtp", "mail.home.test", NULL, NULL, NULL, NULL, 0, &conn) != SASL_OK)
		return FAILED;
	for (size_t i = 0; i < COUNT(users); i++)
		if (sasl_setpass(conn, users[i], PASSWORD, strlen(PASSWORD), NULL, 0, SASL_SET_CREATE) != SASL_OK)
			return FAILED;
	return access(sasldb, R_OK) == 0 ? PASSED : FAILED;
}

/* ---- the two worlds ------------------------------------------------------------------ */

static int by_configuration(void)
{
	return setenv("SASL_CONF_PATH", bait.path, 1) == 0 ? PASSED : FAILED;
}

static bool write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		close(fd);
	return good;
}

static int by_default_place(void)
{
	char map[64];

	snprintf(map, sizeof(map), "0 %u 1", (unsigned)geteuid());
	if (geteuid() == 0 ? unshare(CLONE_NEWNS) != 0
	                   : unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0 || !write_to("/proc/self/uid_map", map))
		return SKIPPED;
	/* The configuration file would be found there, too. */
	unlink(conf_file);
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount(bait.path, "/etc", NULL, MS_BIND, NULL) != 0 || access("/etc/sasldb2", R_OK) != 0)
		return SKIPPED;
	return PASSED;
}

/* ---- who is admitted ------------------------------------------------------------------- */

static int cyrus_as_it_comes(int (*world)(void))
{
	sasl_conn_t *conn;
	int status = world();

	if (status != PASSED)
		return status;
	if (sasl_server_init(NULL, "postern") != SASL_OK ||
	    sasl_server_new("smtp", "mail.home.test", NULL, NULL, NULL, NULL, 0, &conn) != SASL_OK)
		return FAILED;
	for (size_t i = 0; i < COUNT(users); i++)
		if (sasl_checkpass(conn, users[i], (unsigned)strlen(users[i]), PASSWORD, (unsigned)strlen(PASSWORD)) != SASL_OK)
			return FAILED;
	return PASSED;
}

static enum auth_says login_says(struct house *h, const char *name, const char *password)
{
	struct talk t;

	talk_new(&t, h);
	talk_begin(&t, "LOGIN", NULL);
	if (t.says == AUTH_MORE)
		talk_step(&t, str_of(name));
	if (t.says == AUTH_MORE)
		talk_step(&t, str_of(password));
	talk_end(&t);
	return t.says;
}

static int ours(int (*world)(void))
{
	static struct house h;
	char accounts[512];
	struct arena a;
	int status = world();

	if (status != PASSED)
		return status;
	arena_init(&a, ARENA_UNBOUNDED);
	crypt_setup();
	snprintf(accounts, sizeof(accounts), "alice@home.test:%s::::::\n", verifier_of(&a, "wonderland"));
	house_make(&h, accounts);
	house_open_or_fail(&h);
	for (size_t i = 0; i < COUNT(users); i++)
		if (plain_says(&h, users[i], PASSWORD) != AUTH_REFUSED || login_says(&h, users[i], PASSWORD) != AUTH_REFUSED)
			status = FAILED;
	if (plain_says(&h, users[0], "wonderland") != AUTH_PASSED || login_says(&h, users[0], "wonderland") != AUTH_PASSED)
		status = FAILED;
	house_end(&h);
	arena_fini(&a);
	return status;
}

/* Each in a process of its own: Cyrus reads its configuration once. */
static int in_child(int (*what)(int (*)(void)), int (*world)(void))
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(what(world));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int lay(int (*world)(void))
{
	(void)world;
	return lay_bait();
}

static void nobody_comes_in(int (*world)(void))
{
	char text[512];
	int status;

	folder_make(&bait);
	snprintf(sasldb, sizeof(sasldb), "%s/sasldb2", bait.path);
	snprintf(conf_file, sizeof(conf_file), "%s/postern.conf", bait.path);
	snprintf(text, sizeof(text), "sasldb_path: %s\nauxprop_plugin: sasldb\npwcheck_method: auxprop\n", sasldb);
	put_text(conf_file, text);
	status = in_child(lay, world);
	if (status != PASSED) {
		folder_remove(&bait);
		fprintf(stderr, "SKIPPED: no sasldb can be made here (Debian: libsasl2-modules-db)\n");
		skip();
	}
	status = in_child(cyrus_as_it_comes, world);
	if (status == SKIPPED) {
		folder_remove(&bait);
		fprintf(stderr, "SKIPPED: this system gives the test no mount namespace\n");
		skip();
	}
	assert_int_equal(status, PASSED);
	assert_int_equal(in_child(ours, world), PASSED);
	folder_remove(&bait);
}

static void named_by_configuration(void **state)
{
	(void)state;
	nobody_comes_in(by_configuration);
}

static void in_its_default_place(void **state)
{
	(void)state;
	nobody_comes_in(by_default_place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(named_by_configuration),
		cmocka_unit_test(in_its_default_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
