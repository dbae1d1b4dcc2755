/* SPDX-License-Identifier: ISC */
/*
 * postern setup --challenge begin|done|failed TOKEN TEXT: answers an ACME authority's
 * question over HTTP (RFC 8555 8.3) where no web server does, as uacme has no server
 * of its own.  `begin` leaves a process behind that answers this one token, for at most
 * five minutes; `done` and `failed` end it.  It is found by an abstract socket that
 * it holds.
 *
 * Peers are strangers: one request of at most 4 KiB, five seconds each, one at a time.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "smtpd/setup/setup/setup.h"
#include "smtpd/setup/verbs.h"

#define LIFE_S     300
#define PATIENCE_S 5
#define REQUEST_MOST 4096

struct challenge { str token, text; uint32_t port; int doors[2], stop; };

/* ---- the process that answers ---------------------------------------------------------------------- */

static size_t read_request(int fd, char *room, size_t most)
{
	size_t n = 0;

	while (n < most) {
		ssize_t got = recv(fd, room + n, most - n, 0);

		if (got <= 0)
			break;
		n += (size_t)got;
		if (memmem(room, n, "\r\n\r\n", 4) != NULL)
			break;
	}
	return n;
}

static void serve_one(const struct challenge *c, int fd)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	char room[REQUEST_MOST], answer[1024];
	str request;
	int n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	request = (str){ room, read_request(fd, room, sizeof(room)) };
	if (challenge_asked(request, c->token))
		n = snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %zu\r\n"
		             "Connection: close\r\n\r\n%.*s", c->text.n, STR_ARG(c->text));
	else
		n = snprintf(answer, sizeof(answer), "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
	if (n > 0 && n < (int)sizeof(answer))
		(void)!send(fd, answer, (size_t)n, MSG_NOSIGNAL);
	shutdown(fd, SHUT_WR);
	close(fd);
}

static _Noreturn void serve(const struct challenge *c)
{
	struct pollfd p[3] = { { c->stop, POLLIN, 0 }, { c->doors[0], POLLIN, 0 }, { c->doors[1], POLLIN, 0 } };

	alarm(LIFE_S);
	for (;;) {
		if (poll(p, COUNT(p), -1) < 0 && errno != EINTR)
			_exit(1);
		if (p[0].revents != 0)
			_exit(0);
		for (int i = 1; i < (int)COUNT(p); i++) {
			int fd = p[i].revents != 0 ? accept4(p[i].fd, NULL, NULL, SOCK_CLOEXEC) : -1;

			if (fd >= 0)
				serve_one(c, fd);
		}
	}
}

/* ---- beginning and ending ------------------------------------------------------------------------------ */

static socklen_t name_of(const struct challenge *c, struct sockaddr_un *out)
{
	*out = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(out->sun_path + 1, sizeof(out->sun_path) - 1, "postern-challenge-%u", c->port);
	return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(out->sun_path + 1));
}

static int door(int family, uint32_t port)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_ANY_INIT };
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
	bool ok;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	ok = (family == AF_INET ? bind(fd, (const struct sockaddr *)&v4, sizeof(v4)) : bind(fd, (const struct sockaddr *)&v6, sizeof(v6))) == 0 &&
	     listen(fd, 16) == 0;
	if (ok)
		return fd;
	close(fd);
	return -1;
}

static int begin(struct challenge *c)
{
	struct sockaddr_un name;
	socklen_t n = name_of(c, &name);
	pid_t pid;

	c->stop = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->stop < 0 || bind(c->stop, (const struct sockaddr *)&name, n) != 0 || listen(c->stop, 4) != 0)
		return verb_fail(EXIT_LATER, SETUP_VERB, "another challenge is being answered at port %u: wait five minutes", c->port);
	c->doors[0] = door(AF_INET, c->port);
	if (c->doors[0] < 0)
		return verb_fail(EXIT_FINDING, SETUP_VERB, "port %u: %s: a web server that has it can answer instead, see --webroot", c->port,
		                 strerror(errno));
	c->doors[1] = door(AF_INET6, c->port);        /* none: poll passes it over */
	pid = fork();
	if (pid < 0)
		return verb_fail(EXIT_LATER, SETUP_VERB, "no process to answer with: %s: try again", strerror(errno));
	if (pid > 0)
		return EXIT_DONE;
	setsid();
	for (int fd = 0; fd < 3; fd++)
		close(fd);                             /* who waits for our output's end goes on */
	serve(c);
}

static int end(const struct challenge *c)
{
	struct sockaddr_un name;
	socklen_t n = name_of(c, &name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0) {
		(void)!connect(fd, (const struct sockaddr *)&name, n);     /* nobody there: it is over */
		close(fd);
	}
	return EXIT_DONE;
}

/* argv: --challenge WORD TOKEN TEXT [--http-port N] */
int setup_challenge(int argc, char **argv)
{
	struct challenge c = { .port = 80, .doors = { -1, -1 } };

	if (argc == 6 && strcmp(argv[4], "--http-port") == 0 && str_to_u32(str_of(argv[5]), &c.port))
		argc = 4;
	if (argc != 4 || c.port == 0 || c.port > 65535 || !challenge_token(str_of(argv[2])) || !challenge_token(str_of(argv[3])))
		return verb_misused(SETUP_VERB, "--challenge takes begin, done or failed, a token and its text");
	c.token = str_of(argv[2]);
	c.text = str_of(argv[3]);
	if (strcmp(argv[1], "begin") == 0)
		return begin(&c);
	if (strcmp(argv[1], "done") == 0 || strcmp(argv[1], "failed") == 0)
		return end(&c);
	return verb_misused(SETUP_VERB, "--challenge takes begin, done or failed, a token and its text");
}
