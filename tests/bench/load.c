/* SPDX-License-Identifier: ISC */
/*
 * load: many SMTP clients in one thread, each with one message in flight.
 *
 *   load --port P --from A --to A [--connections N] [--messages N] [--per-connection N]
 *        [--size OCTETS] [--seconds S] [--idle N]
 *
 * Sends to 127.0.0.1 alone.  Prints one JSON object: messages accepted and
 * refused, seconds, and the percentiles of the time from the first octet of
 * MAIL to the answer after the final dot.  --idle opens connections, reads
 * their greeting and holds them until standard input closes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

enum state { GREETING, EHLO, ENVELOPE, BODY };

struct client {
	int        fd;
	enum state state;
	int        answers;       /* still to come in this state */
	int        sent;          /* messages on this connection */
	uint64_t   began_us;
	const char *out;
	size_t     left;
	char       in[4096];
	size_t     n;
	unsigned   life;          /* rises with each connection: descriptors come back */
};

static struct {
	int      port, connections, per_connection, idle;
	long     messages, size, seconds;
	const char *from, *to;
} o = { .connections = 40, .per_connection = 10, .messages = 10000, .size = 4096, .seconds = 600,
	.from = "load@sender.test", .to = "sink@here.test" };

static int       epoll;
static char     *envelope, *body;
static size_t    envelope_n, body_n;
static long      begun, accepted, refused, lost;
static uint32_t *times_us;

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void watch(struct client *c, uint32_t events, int how)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	epoll_ctl(epoll, how, c->fd, &e);
}

static void open_client(struct client *c)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o.port),
		                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int one = 1;

	memset(c, 0, offsetof(struct client, in));
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)) {
		perror("load: connect");
		exit(1);
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->state = GREETING;
	c->answers = 1;
	c->n = 0;
	c->life++;
	watch(c, EPOLLIN, EPOLL_CTL_ADD);
}

static void push(struct client *c)
{
	while (c->left > 0) {
		ssize_t n = send(c->fd, c->out, c->left, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return;
		c->out += n;
		c->left -= (size_t)n;
	}
	watch(c, EPOLLIN | (c->left > 0 ? EPOLLOUT : 0u), EPOLL_CTL_MOD);
}

static void say(struct client *c, const char *text, size_t n, enum state next, int answers)
{
	c->out = text;
	c->left = n;
	c->state = next;
	c->answers = answers;
	push(c);
}

static bool more_to_send(void)
{
	return begun < o.messages;
}

static void next_message(struct client *c)
{
	if (!more_to_send() || c->sent == o.per_connection) {
		close(c->fd);
		c->fd = -1;
		if (more_to_send())
			open_client(c);
		return;
	}
	begun++;
	c->sent++;
	c->began_us = now_us();
	say(c, envelope, envelope_n, ENVELOPE, 3);
}

static void answered(struct client *c, int code)
{
	if (--c->answers > 0 && code < 400)
		return;
	if (c->state == GREETING && code < 400) {
		say(c, "EHLO load.test\r\n", 16, EHLO, 1);
	} else if (c->state == EHLO && code < 400) {
		next_message(c);
	} else if (c->state == ENVELOPE && code < 400) {
		say(c, body, body_n, BODY, 1);
	} else if (c->state == BODY && code < 400) {
		times_us[accepted++] = (uint32_t)(now_us() - c->began_us);
		next_message(c);
	} else {
		refused++;
		fprintf(stderr, "load: refused: %.*s\n", (int)strcspn(c->in, "\r\n"), c->in);
		close(c->fd);
		c->fd = -1;
		if (refused > 100)
			exit(1);
		if (more_to_send())
			open_client(c);
	}
}

/* Whole reply lines; "250-" lines are not the last. */
static void pull(struct client *c)
{
	ssize_t n = recv(c->fd, c->in + c->n, sizeof(c->in) - 1 - c->n, 0);
	char *eol;

	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		lost++;
		close(c->fd);
		c->fd = -1;
		if (more_to_send() && lost < 1000)
			open_client(c);
		return;
	}
	c->n += (size_t)n;
	c->in[c->n] = '\0';
	while (c->fd >= 0 && (eol = memchr(c->in, '\n', c->n)) != NULL) {
		bool last = c->in[3] != '-';
		int code = atoi(c->in);
		unsigned life = c->life;
		size_t used = (size_t)(eol + 1 - c->in);

		if (last)
			answered(c, code);
		if (c->life != life || c->fd < 0)
			return;
		memmove(c->in, c->in + used, c->n - used);
		c->n -= used;
		c->in[c->n] = '\0';
	}
}

static void make_texts(void)
{
	size_t room = (size_t)o.size + 1024;

	envelope_n = (size_t)asprintf(&envelope, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", o.from, o.to);
	body = malloc(room);
	times_us = calloc((size_t)o.messages + 1, sizeof(*times_us));
	if (body == NULL || times_us == NULL)
		exit(1);
	body_n = (size_t)snprintf(body, room, "From: Load <%s>\r\nTo: <%s>\r\nSubject: load\r\n"
	                          "Date: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <1@load.test>\r\n\r\n", o.from, o.to);
	while (body_n < (size_t)o.size) {
		size_t line = (size_t)o.size - body_n < 76 ? (size_t)o.size - body_n : 76;

		memset(body + body_n, 'x', line);
		memcpy(body + body_n + line, "\r\n", 2);
		body_n += line + 2;
	}
	memcpy(body + body_n, ".\r\n", 3);
	body_n += 3;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double percentile_ms(double p)
{
	return accepted == 0 ? 0 : times_us[(long)((double)(accepted - 1) * p)] / 1000.0;
}

static int run(void)
{
	struct client *clients = calloc((size_t)o.connections, sizeof(*clients));
	struct epoll_event events[256];
	uint64_t began = now_us(), until = began + (uint64_t)o.seconds * 1000000;
	double s;

	for (int i = 0; i < o.connections; i++)
		open_client(&clients[i]);
	while (accepted + refused + lost < o.messages && now_us() < until) {
		int n = epoll_wait(epoll, events, 256, 1000);

		for (int i = 0; i < n; i++) {
			struct client *c = events[i].data.ptr;

			if (c->fd >= 0 && (events[i].events & EPOLLOUT))
				push(c);
			if (c->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT))
				pull(c);
		}
	}
	s = (double)(now_us() - began) / 1e6;
	qsort(times_us, (size_t)accepted, sizeof(*times_us), by_value);
	printf("{\"accepted\": %ld, \"refused\": %ld, \"lost\": %ld, \"seconds\": %.3f, \"per_second\": %.1f, "
	       "\"p50_ms\": %.2f, \"p99_ms\": %.2f, \"worst_ms\": %.2f}\n",
	       accepted, refused, lost, s, (double)accepted / s, percentile_ms(0.5), percentile_ms(0.99), percentile_ms(1));
	return accepted == o.messages ? 0 : 1;
}

static int hold_idle(void)
{
	struct client *clients = calloc((size_t)o.idle, sizeof(*clients));
	char piece[512];

	for (int i = 0; i < o.idle; i++) {
		open_client(&clients[i]);
		while (recv(clients[i].fd, piece, sizeof(piece), 0) < 0 && (errno == EAGAIN || errno == ENOTCONN))
			usleep(50);
	}
	printf("{\"idle\": %d}\n", o.idle);
	fflush(stdout);
	while (read(0, piece, sizeof(piece)) > 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", 1, NULL, 'p' }, { "from", 1, NULL, 'f' }, { "to", 1, NULL, 't' }, { "connections", 1, NULL, 'c' },
		{ "messages", 1, NULL, 'm' }, { "per-connection", 1, NULL, 'k' }, { "size", 1, NULL, 's' },
		{ "seconds", 1, NULL, 'l' }, { "idle", 1, NULL, 'i' }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p': o.port = atoi(optarg); break;
		case 'f': o.from = optarg; break;
		case 't': o.to = optarg; break;
		case 'c': o.connections = atoi(optarg); break;
		case 'm': o.messages = atol(optarg); break;
		case 'k': o.per_connection = atoi(optarg); break;
		case 's': o.size = atol(optarg); break;
		case 'l': o.seconds = atol(optarg); break;
		case 'i': o.idle = atoi(optarg); break;
		default: return 2;
		}
	}
	if (o.port == 0 || o.connections < 1 || o.size < 0)
		return 2;
	epoll = epoll_create1(EPOLL_CLOEXEC);
	make_texts();
	return o.idle > 0 ? hold_idle() : run();
}
