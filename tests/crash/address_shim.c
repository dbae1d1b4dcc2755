/* SPDX-License-Identifier: ISC */
/*
 * address: preloaded, writes down every address that the process connects or sends
 * to, one a line, into the file that ADDRESSES names: "127.0.0.1 53".  A datagram
 * socket that is connected has sent nothing yet.  Any thread.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int file = -1;

__attribute__((constructor)) static void begin(void)
{
	const char *name = getenv("ADDRESSES");

	if (name != NULL)
		file = open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void note(const struct sockaddr *to)
{
	char text[INET6_ADDRSTRLEN + 8], address[INET6_ADDRSTRLEN] = "";
	unsigned port;
	int n;

	if (file < 0 || to == NULL || (to->sa_family != AF_INET && to->sa_family != AF_INET6))
		return;
	if (to->sa_family == AF_INET) {
		const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)to;

		inet_ntop(AF_INET, &v4->sin_addr, address, sizeof(address));
		port = ntohs(v4->sin_port);
	} else {
		const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)to;

		inet_ntop(AF_INET6, &v6->sin6_addr, address, sizeof(address));
		port = ntohs(v6->sin6_port);
	}
	n = snprintf(text, sizeof(text), "%s %u\n", address, port);
	if (n > 0)
		(void)!write(file, text, (size_t)n);
}

static int is_datagram(int fd)
{
	int type = 0;
	socklen_t n = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_DGRAM;
}

/* Of a send without an address on a connected socket. */
static void note_peer(int fd)
{
	struct sockaddr_storage to = { 0 };
	socklen_t n = sizeof(to);

	if (file >= 0 && is_datagram(fd) && getpeername(fd, (struct sockaddr *)&to, &n) == 0)
		note((const struct sockaddr *)&to);
}

int connect(int fd, const struct sockaddr *to, socklen_t n)
{
	static int (*next)(int, const struct sockaddr *, socklen_t);

	if (next == NULL)
		next = (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
	if (!is_datagram(fd))
		note(to);
	return next(fd, to, n);
}

ssize_t send(int fd, const void *p, size_t size, int flags)
{
	static ssize_t (*next)(int, const void *, size_t, int);

	if (next == NULL)
		next = (ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
	note_peer(fd);
	return next(fd, p, size, flags);
}

ssize_t sendto(int fd, const void *p, size_t size, int flags, const struct sockaddr *to, socklen_t n)
{
	static ssize_t (*next)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);

	if (next == NULL)
		next = (ssize_t(*)(int, const void *, size_t, int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "sendto");
	if (to != NULL)
		note(to);
	else
		note_peer(fd);
	return next(fd, p, size, flags, to, n);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	static ssize_t (*next)(int, const struct msghdr *, int);

	if (next == NULL)
		next = (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
	if (m->msg_name != NULL)
		note(m->msg_name);
	else
		note_peer(fd);
	return next(fd, m, flags);
}
