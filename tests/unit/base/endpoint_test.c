/* SPDX-License-Identifier: ISC */
/* endpoint: addresses as text, both ways; listeners, bound, inherited and held. */
#include "tests/unit/base/wire.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/keeper.h"

static const struct {
	const char *text;
	uint16_t fallback;
	bool ok;
	const char *host;
	int family;        /* AF_UNSPEC: a name */
	uint16_t port;
} cases[] = {
	{ "127.0.0.1:25", 0, true, "127.0.0.1", AF_INET, 25 },
	{ "0.0.0.0:65535", 0, true, "0.0.0.0", AF_INET, 65535 },
	{ "127.0.0.1:0", 0, true, "127.0.0.1", AF_INET, 0 },
	{ "[::]:25", 0, true, "::", AF_INET6, 25 },
	{ "[2001:db8::1]:587", 0, true, "2001:db8::1", AF_INET6, 587 },
	{ "[::ffff:192.0.2.1]:1", 0, true, "::ffff:192.0.2.1", AF_INET6, 1 },
	{ "[fe80::1%lo]:25", 0, true, "fe80::1%lo", AF_INET6, 25 },
	{ "mail.example.org:25", 0, true, "mail.example.org", AF_UNSPEC, 25 },
	{ "lmtp_1:24", 0, true, "lmtp_1", AF_UNSPEC, 24 },
	{ "mail.example.org", 25, true, "mail.example.org", AF_UNSPEC, 25 },
	{ "192.0.2.7", 53, true, "192.0.2.7", AF_INET, 53 },
	{ "[::1]", 53, true, "::1", AF_INET6, 53 },
	{ "unix:/run/lmtp", 0, true, "/run/lmtp", AF_UNIX, 0 },
	{ "", 0, false, 0, 0, 0 },
	{ ":25", 0, false, 0, 0, 0 },
	{ "127.0.0.1", 0, false, 0, 0, 0 },
	{ "127.0.0.1:", 25, false, 0, 0, 0 },
	{ "127.0.0.1:65536", 0, false, 0, 0, 0 },
	{ "127.0.0.1:-1", 0, false, 0, 0, 0 },
	{ "127.0.0.1:25 ", 0, false, 0, 0, 0 },
	{ "127.0.0.1:000025", 0, false, 0, 0, 0 },
	{ "127.0.0.256:25", 0, false, 0, 0, 0 },
	{ "1.2.3:25", 0, false, 0, 0, 0 },
	{ "::1:25", 0, false, 0, 0, 0 },
	{ "[::1:25", 0, false, 0, 0, 0 },
	{ "[::1]25", 0, false, 0, 0, 0 },
	{ "[127.0.0.1]:25", 0, false, 0, 0, 0 },
	{ "[fe80::1%nosuchif]:25", 0, false, 0, 0, 0 },
	{ "a..b:25", 0, false, 0, 0, 0 },
	{ "-a.b:25", 0, false, 0, 0, 0 },
	{ "a b:25", 0, false, 0, 0, 0 },
	{ "a/b:25", 0, false, 0, 0, 0 },
	{ "*:25", 0, false, 0, 0, 0 },
	{ "unix:", 0, false, 0, 0, 0 },
	{ "unix:relative", 0, false, 0, 0, 0 },
};

static void endpoints_are_parsed(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct endpoint e;
		bool ok = endpoint_parse(str_of(cases[i].text), cases[i].fallback, &e);

		if (ok != cases[i].ok)
			fail_msg("%s: got %d", cases[i].text, ok);
		if (!ok)
			continue;
		assert_true(str_is(e.host, cases[i].host));
		assert_int_equal(e.port, cases[i].port);
		assert_int_equal(e.is_name, cases[i].family == AF_UNSPEC);
		assert_int_equal(e.is_unix, cases[i].family == AF_UNIX);
		assert_int_equal(e.at.ss_family, cases[i].family);
		assert_int_equal(e.n > 0, cases[i].family != AF_UNSPEC);
	}
}

static void hostile_endpoints_are_refused(void **state)
{
	char path[200] = "unix:/", name[300];
	struct endpoint e;

	(void)state;
	memset(path + 6, 'a', sizeof(path) - 6);
	assert_false(endpoint_parse((str){ path, sizeof(path) }, 0, &e));
	assert_true(endpoint_parse((str){ path, 5 + 107 }, 0, &e));
	assert_false(endpoint_parse((str){ path, 5 + 108 }, 0, &e));
	assert_false(endpoint_parse((str){ "unix:/a\0b", 9 }, 0, &e));
	assert_false(endpoint_parse((str){ "127.0.0.1\0:25", 13 }, 0, &e));
	assert_false(endpoint_parse((str){ "a\0b:25", 6 }, 0, &e));
	memset(name, 'a', sizeof(name));
	assert_false(endpoint_parse((str){ name, 64 }, 25, &e));
	assert_true(endpoint_parse((str){ name, 63 }, 25, &e));
	assert_false(endpoint_parse(STR_NONE, 25, &e));
}

static void addresses_are_written(void **state)
{
	static const struct { const char *text, *want; } rows[] = {
		{ "192.0.2.1:25", "192.0.2.1" },
		{ "[2001:db8::1]:25", "2001:db8::1" },
		{ "[::ffff:192.0.2.1]:25", "192.0.2.1" },
		{ "unix:/run/x", "unix" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct endpoint e;

		assert_true(endpoint_parse(str_of(rows[i].text), 0, &e));
		assert_string_equal(addr_text((struct sockaddr *)&e.at).s, rows[i].want);
	}
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in at;
	socklen_t n = sizeof(at);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
	return ntohs(at.sin_port);
}

static void a_port_is_bound_once(void **state)
{
	char text[64], want[64];
	int fd = listen_at(STR("127.0.0.1:0"));
	struct port_holder holder;

	(void)state;
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	snprintf(text, sizeof(text), "127.0.0.1:%u", port_of(fd));
	assert_int_equal(listen_at(str_of(text)), -1);
	assert_int_equal(errno, EADDRINUSE);
	assert_true(port_holder(port_of(fd), &holder));
	snprintf(want, sizeof(want), "endpoint_test (process %d)", (int)getpid());
	assert_string_equal(holder.who, want);
	snprintf(want, sizeof(want), "kill %d", (int)getpid());
	if (strncmp(holder.stop, "systemctl stop ", 15) != 0)     /* tests may run inside a service */
		assert_string_equal(holder.stop, want);
	keeper_port_holder(str_of(text), &holder);
	assert_memory_equal(holder.who, "endpoint_test", 13);
	close(fd);
	assert_false(port_holder(1, &holder));
	assert_string_equal(holder.who, "");
	assert_int_equal(listen_at(STR("localhost:25")), -1);
	assert_int_equal(errno, EINVAL);
}

static void v6_is_v6_only_or_absent(void **state)
{
	int fd = listen_at(STR("[::]:0")), only = 0;
	socklen_t n = sizeof(only);

	(void)state;
	if (fd < 0) {
		assert_int_equal(errno, EAFNOSUPPORT);
		return;
	}
	assert_int_equal(getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &n), 0);
	assert_int_equal(only, 1);
	close(fd);
}

static void a_stale_unix_socket_is_replaced(void **state)
{
	char dir[] = "/tmp/endpoint.XXXXXX", text[64];
	const char *path = text + 5;
	struct stat st;
	int a, b;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(text, sizeof(text), "unix:%s/s", dir);
	a = listen_at(str_of(text));
	assert_true(a >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(listen_at(str_of(text)), -1);   /* somebody accepts there */
	assert_int_equal(errno, EADDRINUSE);
	close(a);
	b = listen_at(str_of(text));                     /* nobody does */
	assert_true(b >= 0);
	close(b);
	unlink(path);
	b = open(path, O_CREAT | O_WRONLY, 0600);        /* a file is never removed */
	close(b);
	assert_int_equal(listen_at(str_of(text)), -1);
	assert_int_equal(errno, EADDRINUSE);
	assert_int_equal(stat(path, &st), 0);
	unlink(path);
	rmdir(dir);
}

/* LISTEN_FDS count from 3 up, so this runs in a process of its own. */
static int inherits(uint16_t port, int listener)
{
	char pid[16], there[64];
	int fd;

	snprintf(there, sizeof(there), "127.0.0.1:%u", port);
	if (listen_inherited(str_of(there)) != -1 || errno != ENOENT)
		return 1;
	fd = fcntl(listener, F_DUPFD, 100);
	if (dup2(open("/dev/null", O_RDONLY), 3) != 3 || dup2(fd, 4) != 4)
		return 2;
	setenv("LISTEN_FDS", "2", 1);
	setenv("LISTEN_PID", "1", 1);                    /* another process' */
	if (listen_inherited(str_of(there)) != -1)
		return 3;
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	fd = listen_inherited(str_of(there));
	if (fd < 5 || !(fcntl(fd, F_GETFD) & FD_CLOEXEC) || !(fcntl(fd, F_GETFL) & O_NONBLOCK))
		return 4;
	if (port_of(fd) != port || keeper_listen(str_of(there)) < 0)
		return 5;
	if (listen_inherited(STR("127.0.0.2:25")) != -1 || listen_inherited(STR("[::1]:25")) != -1)
		return 6;
	return 0;
}

static void sockets_are_inherited(void **state)
{
	int listener = listen_at(STR("127.0.0.1:0")), status;
	pid_t child;

	(void)state;
	fcntl(listener, F_SETFL, 0);
	child = fork();
	if (child == 0)
		_exit(inherits(port_of(listener), listener));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(endpoints_are_parsed),
		cmocka_unit_test(hostile_endpoints_are_refused),
		cmocka_unit_test(addresses_are_written),
		cmocka_unit_test(a_port_is_bound_once),
		cmocka_unit_test(v6_is_v6_only_or_absent),
		cmocka_unit_test(a_stale_unix_socket_is_replaced),
		cmocka_unit_test(sockets_are_inherited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
