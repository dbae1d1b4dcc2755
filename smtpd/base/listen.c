/* SPDX-License-Identifier: ISC */
/*
 * listen: listening sockets, bound here or inherited, and who has the port.
 *
 * Bound once per process (by the keeper or the server's main thread) and
 * watched by every loop.  No SO_REUSEPORT: it would hide a second server on the
 * same port.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "smtpd/base/arena.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/keeper.h"

#define BACKLOG      512
#define INHERITED_AT 3      /* SD_LISTEN_FDS_START of sd_listen_fds(3) */

static int give_up(int fd)
{
	int kept = errno;

	close(fd);
	errno = kept;
	return -1;
}

/* A socket file on which nobody accepts was left by a process that has gone. */
static int clear_stale(const struct endpoint *e)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&e->at;
	struct stat st;
	int fd, refused;

	if (lstat(un->sun_path, &st) != 0)
		return errno == ENOENT ? 0 : -1;
	errno = EADDRINUSE;
	if (!S_ISSOCK(st.st_mode))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	refused = connect(fd, (const struct sockaddr *)&e->at, e->n) != 0 && errno == ECONNREFUSED;
	close(fd);
	if (!refused) {
		errno = EADDRINUSE;
		return -1;
	}
	return unlink(un->sun_path);
}

static int set_up(int fd, const struct endpoint *e)
{
	int on = 1;

	if (e->is_unix) {
		/* bind(2) gives the file the mode of the socket, less the umask. */
		return fchmod(fd, 0600) != 0 ? -1 : clear_stale(e);
	}
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
		return -1;
	if (e->at.ss_family == AF_INET6)
		return setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	return 0;
}

int listen_at(str endpoint)
{
	struct endpoint e;
	int fd;

	if (!endpoint_parse(endpoint, 0, &e) || e.is_name) {
		errno = EINVAL;
		return -1;
	}
	fd = socket(e.at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	if (set_up(fd, &e) != 0 || bind(fd, (struct sockaddr *)&e.at, e.n) != 0 || listen(fd, BACKLOG) != 0) {
		/* IPv6 may be compiled in and switched off: then bind says so. */
		if (e.at.ss_family == AF_INET6 && errno == EADDRNOTAVAIL &&
		    IN6_IS_ADDR_UNSPECIFIED(&((struct sockaddr_in6 *)&e.at)->sin6_addr))
			errno = EAFNOSUPPORT;
		return give_up(fd);
	}
	return fd;
}

/* ---- socket activation ---------------------------------------------------- */

static bool same_address(const struct sockaddr_storage *a, socklen_t n, const struct endpoint *e)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)&e->at;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)&e->at;
	const struct sockaddr_un *au = (const void *)a, *bu = (const void *)&e->at;

	if (a->ss_family != e->at.ss_family)
		return false;
	switch (a->ss_family) {
	case AF_INET:
		return a4->sin_port == b4->sin_port && a4->sin_addr.s_addr == b4->sin_addr.s_addr;
	case AF_INET6:
		return a6->sin6_port == b6->sin6_port &&
		       memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0;
	case AF_UNIX:
		return n > offsetof(struct sockaddr_un, sun_path) &&
		       strncmp(au->sun_path, bu->sun_path, sizeof(bu->sun_path)) == 0;
	}
	return false;
}

static bool is_listening_at(int fd, const struct endpoint *e)
{
	struct sockaddr_storage at = { 0 };
	socklen_t n = sizeof(at), size = sizeof(int);
	int accepts = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) != 0 || !accepts)
		return false;
	return getsockname(fd, (struct sockaddr *)&at, &n) == 0 && same_address(&at, n, e);
}

static bool env_number(const char *name, uint32_t *out)
{
	return str_to_u32(str_of(getenv(name)), out);
}

int listen_inherited(str endpoint)
{
	struct endpoint e;
	uint32_t pid, n;

	errno = ENOENT;
	if (!env_number("LISTEN_PID", &pid) || !env_number("LISTEN_FDS", &n) || n > 1024)
		return -1;
	/* Meant for this process, or for the keeper that it was split off from. */
	if (pid != (uint32_t)getpid() && !(keeper_present() && pid == (uint32_t)getppid()))
		return -1;
	if (!endpoint_parse(endpoint, 0, &e) || e.is_name)
		return -1;
	for (int fd = INHERITED_AT; fd < INHERITED_AT + (int)n; fd++) {
		int own;

		if (!is_listening_at(fd, &e))
			continue;
		own = fcntl(fd, F_DUPFD_CLOEXEC, INHERITED_AT);
		if (own >= 0)
			fcntl(own, F_SETFL, fcntl(own, F_GETFL) | O_NONBLOCK);
		return own;
	}
	errno = ENOENT;
	return -1;
}

/* ---- who has the port ----------------------------------------------------- */

#define TCP_IS_LISTENING 0x0A   /* TCP_LISTEN as /proc/net/tcp prints it */

static bool inode_in(const char *table, uint16_t port, unsigned long *inode)
{
	char line[512];
	FILE *f = fopen(table, "re");
	bool found = false;

	if (f == NULL)
		return false;
	while (!found && fgets(line, sizeof(line), f) != NULL) {
		unsigned at, state;

		found = sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*u %*d %lu",
		               &at, &state, inode) == 3 &&
		        at == port && state == TCP_IS_LISTENING;
	}
	fclose(f);
	return found;
}

static bool process_holds(const char *pid, const char *socket_name)
{
	char path[64], link[64];
	bool found = false;
	const struct dirent *d;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%.20s/fd", pid);
	dir = opendir(path);
	if (dir == NULL)
		return false;
	while (!found && (d = readdir(dir)) != NULL) {
		ssize_t n = readlinkat(dirfd(dir), d->d_name, link, sizeof(link) - 1);

		if (n > 0) {
			link[n] = '\0';
			found = strcmp(link, socket_name) == 0;
		}
	}
	closedir(dir);
	return found;
}

static void name_program(const char *pid, struct port_holder *out)
{
	char path[64], name[32] = "";
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
	f = fopen(path, "re");
	if (f != NULL) {
		if (fgets(name, sizeof(name), f) == NULL)
			name[0] = '\0';
		fclose(f);
	}
	name[strcspn(name, "\n")] = '\0';
	snprintf(out->who, sizeof(out->who), "%s (process %.20s)", name[0] ? name : "a program", pid);
}

/* A system service is stopped by its unit's name, as its control group has it. */
static void name_stop(const char *pid, struct port_holder *out)
{
	char path[64], line[512];
	FILE *f;

	snprintf(out->stop, sizeof(out->stop), "kill %.20s", pid);
	snprintf(path, sizeof(path), "/proc/%.20s/cgroup", pid);
	f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		const char *slice = strstr(line, "/system.slice/"), *unit = strrchr(line, '/');
		const char *end = unit != NULL ? strstr(unit, ".service") : NULL;

		if (slice != NULL && end != NULL && end - unit < 100)
			snprintf(out->stop, sizeof(out->stop), "systemctl stop %.*s", (int)(end - unit - 1), unit + 1);
	}
	if (f != NULL)
		fclose(f);
}

bool port_holder(uint16_t port, struct port_holder *out)
{
	char socket_name[48];
	unsigned long inode;
	const struct dirent *d;
	bool found = false;
	DIR *proc;

	*out = (struct port_holder){ 0 };
	if (!inode_in("/proc/net/tcp", port, &inode) && !inode_in("/proc/net/tcp6", port, &inode))
		return false;
	snprintf(socket_name, sizeof(socket_name), "socket:[%lu]", inode);
	proc = opendir("/proc");
	if (proc == NULL)
		return false;
	while (!found && (d = readdir(proc)) != NULL)
		if (isdigit((unsigned char)d->d_name[0]) && process_holds(d->d_name, socket_name)) {
			name_program(d->d_name, out);
			name_stop(d->d_name, out);
			found = true;
		}
	closedir(proc);
	return found;
}
