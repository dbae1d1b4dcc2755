/* SPDX-License-Identifier: ISC */
/*
 * sink: an SMTP server that takes everything and keeps nothing, in one thread.
 *
 *   sink [--busy ANSWER] [--keep FILE]
 *
 * Listens on every address of this machine, at a port
 * of the kernel's choice, which it prints.  --busy: connections to 127.0.0.2 hear
 * that banner and nothing else.  --keep: the first message is written there.  A line of messages and octets for each line of
 * standard input; ends with it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct side {
	int  fd;
	bool data;
	char in[16384];
	size_t n;                  /* of the line, or of the end, held */
};

static long messages, octets;
static const char *busy;
static FILE *keep;
static struct side *kept;         /* whose message goes to `keep` */

static void say(struct side *s, const char *text)
{
	if (send(s->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return;                /* the next read tells */
}

static void command(struct side *s, const char *line)
{
	if (strncasecmp(line, "EHLO", 4) == 0)
		say(s, "250-sink.test\r\n250-8BITMIME\r\n250-SIZE 100000000\r\n250 PIPELINING\r\n");
	else if (strncasecmp(line, "DATA", 4) == 0)
		say(s, "354 go\r\n");
	else if (strncasecmp(line, "QUIT", 4) == 0)
		say(s, "221 2.0.0 bye\r\n");
	else
		say(s, "250 2.0.0 ok\r\n");
	s->data = strncasecmp(line, "DATA", 4) == 0;
}

/* The last five octets of a message stay held, so that its end is seen whole. */
static bool body(struct side *s)
{
	char *end = memmem(s->in, s->n, "\r\n.\r\n", 5);
	size_t used = end != NULL ? (size_t)(end - s->in) + 5 : s->n > 4 ? s->n - 4 : 0;

	octets += (long)used;
	if (keep != NULL && (kept == NULL || kept == s)) {
		kept = s;
		fwrite(s->in, 1, used, keep);
	}
	memmove(s->in, s->in + used, s->n -= used);
	if (end == NULL)
		return false;
	s->data = false;
	messages++;
	if (keep != NULL && kept == s) {
		fclose(keep);
		keep = NULL;
	}
	say(s, "250 2.0.0 taken\r\n");
	return true;
}

static bool line(struct side *s)
{
	char *end = memchr(s->in, '\n', s->n);
	size_t used;

	if (end == NULL)
		return false;
	used = (size_t)(end - s->in) + 1;
	*end = '\0';
	command(s, s->in);
	memmove(s->in, s->in + used, s->n -= used);
	return true;
}

static void hear(struct side *s)
{
	ssize_t got = recv(s->fd, s->in + s->n, sizeof(s->in) - s->n, MSG_DONTWAIT);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		close(s->fd);
		free(s);
		return;
	}
	s->n += (size_t)got;
	while (s->data ? body(s) : line(s))
		;
}

static void greet(int epoll, int listener)
{
	struct sockaddr_in at = { 0 };
	socklen_t n = sizeof(at);
	struct side *s = calloc(1, sizeof(*s));
	struct epoll_event e = { .events = EPOLLIN, .data.ptr = s };

	s->fd = accept(listener, NULL, NULL);
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	getsockname(s->fd, (struct sockaddr *)&at, &n);
	epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &e);
	if (busy != NULL && at.sin_addr.s_addr == htonl(0x7f000002)) {
		say(s, busy);
		say(s, "\r\n");
		shutdown(s->fd, SHUT_WR);
	} else {
		say(s, "220 sink.test ESMTP\r\n");
	}
}

static int listen_somewhere(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	socklen_t n = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&at, n) != 0 || listen(fd, 500) != 0 || getsockname(fd, (struct sockaddr *)&at, &n) != 0) {
		perror("sink");
		exit(1);
	}
	printf("%u\n", ntohs(at.sin_port));
	fflush(stdout);
	return fd;
}

static bool asked(void)
{
	char word[100];

	if (fgets(word, sizeof(word), stdin) == NULL)
		return false;
	printf("%ld %ld\n", messages, octets);
	fflush(stdout);
	return true;
}

int main(int argc, char **argv)
{
	int epoll = epoll_create1(0), listener;
	struct epoll_event e[64], mine = { .events = EPOLLIN };
	static char asking, listening;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--busy") == 0)
			busy = argv[i + 1];
		else if (strcmp(argv[i], "--keep") == 0)
			keep = fopen(argv[i + 1], "w");
	}
	listener = listen_somewhere();
	mine.data.ptr = &listening;
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &mine);
	mine.data.ptr = &asking;
	epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &mine);
	for (;;) {
		int n = epoll_wait(epoll, e, 64, -1);

		for (int i = 0; i < n; i++) {
			if (e[i].data.ptr == &listening)
				greet(epoll, listener);
			else if (e[i].data.ptr != &asking)
				hear(e[i].data.ptr);
			else if (!asked())
				return 0;
		}
	}
}
