/* SPDX-License-Identifier: ISC */
/*
 * sink: an SMTP server that takes everything and keeps nothing, in one thread.
 *
 *   sink [--busy ANSWER] [--keep FILE] [--certificate FILE --key FILE]
 *
 * Listens on every address of this machine, at a port
 * of the kernel's choice, which it prints.  --busy: connections to 127.0.0.2 hear
 * that banner and nothing else.  --keep: the first message is written there.
 * --certificate, --key: STARTTLS is offered, and in it AUTH PLAIN, with which
 * everybody is right.  A line of messages and octets for each line of standard
 * input; ends with it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct side {
	int  fd;
	SSL *tls;                  /* NULL: in the clear */
	bool data;
	char in[16384];
	size_t n;                  /* of the line, or of the end, held */
};

static long messages, octets;
static const char *busy;
static FILE *keep;
static struct side *kept;         /* whose message goes to `keep` */
static SSL_CTX *tls;              /* NULL: none is offered */

static void say(struct side *s, const char *text)
{
	if (s->tls != NULL)
		SSL_write(s->tls, text, (int)strlen(text));
	else if (send(s->fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		return;                /* the next read tells */
}

static void start_tls(struct side *s)
{
	say(s, "220 2.0.0 go\r\n");
	fcntl(s->fd, F_SETFL, fcntl(s->fd, F_GETFL) | O_NONBLOCK);
	s->tls = SSL_new(tls);
	SSL_set_fd(s->tls, s->fd);
	SSL_set_accept_state(s->tls);
	s->n = 0;                  /* what came with the command was not said in TLS */
}

static void hello(struct side *s)
{
	say(s, "250-sink.test\r\n250-8BITMIME\r\n250-SIZE 100000000\r\n");
	if (tls != NULL)
		say(s, s->tls == NULL ? "250-STARTTLS\r\n" : "250-AUTH PLAIN\r\n");
	say(s, "250 PIPELINING\r\n");
}

static void command(struct side *s, const char *line)
{
	if (strncasecmp(line, "EHLO", 4) == 0)
		hello(s);
	else if (tls != NULL && s->tls == NULL && strncasecmp(line, "STARTTLS", 8) == 0)
		start_tls(s);
	else if (s->tls != NULL && strncasecmp(line, "AUTH", 4) == 0)
		say(s, "235 2.7.0 come in\r\n");
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
	if (s->n > 0)
		memmove(s->in, s->in + used, s->n -= used);
	return true;
}

static ssize_t take(struct side *s)
{
	size_t room = sizeof(s->in) - s->n;
	int n, why;

	if (s->tls == NULL)
		return recv(s->fd, s->in + s->n, room, MSG_DONTWAIT);
	ERR_clear_error();         /* another connection's: SSL_get_error would take it for ours */
	n = SSL_read(s->tls, s->in + s->n, (int)room);
	if (n > 0)
		return n;
	why = SSL_get_error(s->tls, n);
	errno = EAGAIN;
	return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

/* OpenSSL may hold more than the socket tells of: with TLS, until it has no more. */
static void hear(struct side *s)
{
	do {
		ssize_t got = take(s);

		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			SSL_free(s->tls);
			close(s->fd);
			free(s);
			return;
		}
		s->n += (size_t)got;
		while (s->data ? body(s) : line(s))
			;
	} while (s->tls != NULL);
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

static void offer_tls(const char *certificate, const char *key)
{
	tls = SSL_CTX_new(TLS_server_method());
	if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1 || SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1) {
		fprintf(stderr, "sink: %s, %s: not a certificate and its key\n", certificate, key);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	const char *certificate = NULL, *key = NULL;
	int epoll = epoll_create1(0), listener;
	struct epoll_event e[64], mine = { .events = EPOLLIN };
	static char asking, listening;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "--busy") == 0)
			busy = argv[i + 1];
		else if (strcmp(argv[i], "--keep") == 0)
			keep = fopen(argv[i + 1], "w");
		else if (strcmp(argv[i], "--certificate") == 0)
			certificate = argv[i + 1];
		else if (strcmp(argv[i], "--key") == 0)
			key = argv[i + 1];
	}
	if (certificate != NULL && key != NULL)
		offer_tls(certificate, key);
	signal(SIGPIPE, SIG_IGN);              /* OpenSSL writes without MSG_NOSIGNAL */
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
