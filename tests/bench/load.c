/* SPDX-License-Identifier: ISC */
/*
 * load: many SMTP clients in one thread, each with one message in flight.
 *
 *   load --port P [--host ADDRESS] [--from A] [--to A] [--connections N] [--messages N] [--per-connection N]
 *        [--size OCTETS | --texts FOLDER] [--starttls | --implicit] [--login NAME --password WORD]
 *        [--rate PER_SECOND] [--seconds S] [--for S] [--quit] [--resume]
 *   load --port P --idle N [--starttls | --implicit] …     holds N connections until standard input closes
 *   load --port P --churn [--seconds S] …                  connections that say EHLO and QUIT, again and again
 *
 * --for: no message is begun after S seconds; those that are under way are waited
 * for, so that what was accepted is known.  --seconds: the run is cut off there.
 * --resume: each of the N connections comes again with its last TLS session, as
 * mail programs do; without it every handshake is a whole one.
 *
 * MAIL, RCPT and DATA go in one piece where the server offers PIPELINING, else one
 * by one.
 * Prints one JSON object: messages accepted and refused, TLS handshakes and how
 * many of them were resumed, seconds, the CPU seconds of this program, and the
 * percentiles of the time from the first octet of MAIL to the answer after the
 * final dot.  Talks to loopback alone.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/load_texts.h"

#define MOST_LOST 1000             /* connections; then it gives up */

enum state { GREETING, EHLO, STARTTLS, HANDSHAKE, SECOND_EHLO, AUTH, READY, ENVELOPE, BODY, QUIT };

struct client {
	int         fd;
	SSL        *tls;
	enum state  state;
	int         answers;      /* still to come in this state */
	int         sent;         /* messages on this connection */
	bool        pipelining;   /* was offered */
	int         part;         /* of the envelope, that is said next */
	uint64_t    began_us;
	const char *out;
	size_t      left;
	uint32_t    watched;
	unsigned    life;         /* rises with each connection: descriptors come back */
	SSL_SESSION *session;     /* with --resume: to be offered next; NULL: none yet */
	size_t      n;
	char        in[4096];
};

static struct {
	int         port, connections, per_connection, idle;
	long        messages, size, seconds, rate, begin_for;
	const char *host, *from, *to, *texts, *login, *password;
	int         starttls, implicit, churn, quit, resume;
} o = { .host = "127.0.0.1", .connections = 40, .per_connection = 10, .messages = 10000, .size = 4096, .seconds = 600,
	.from = "load@sender.test", .to = "sink@here.test" };

static int           epoll;
static SSL_CTX      *tls;
static struct client *clients;
static struct text   envelope, parts[3], auth;
static struct texts  texts;
static long          begun, accepted, refused, lost, churned, shaken, resumed;
static uint32_t     *times_us;
static uint64_t      start_us, until_us, begin_until_us;

static uint64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- a connection ----------------------------------------------------------------- */

static void watch(struct client *c, uint32_t events)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	if (c->watched != events)
		epoll_ctl(epoll, c->watched == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &e);
	c->watched = events;
}

static void open_client(struct client *c)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)o.port) };
	int one = 1;

	memset(c, 0, offsetof(struct client, life));
	c->life++;
	c->n = 0;
	inet_pton(AF_INET, o.host, &to.sin_addr);
	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || (connect(c->fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)) {
		perror("load: connect");
		exit(1);
	}
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c->state = GREETING;
	c->answers = 1;
	watch(c, EPOLLIN | (o.implicit ? EPOLLOUT : 0u));
}

/* In TLS 1.3 the ticket comes behind the handshake, in 1.2 within it: both end here. */
static int session_came(SSL *ssl, SSL_SESSION *session)
{
	struct client *c = SSL_get_app_data(ssl);

	SSL_SESSION_free(c->session);
	c->session = session;
	return 1;                      /* it is ours now */
}

static void close_client(struct client *c)
{
	if (c->tls != NULL && o.resume)      /* OpenSSL spoils the session of one that was just dropped */
		SSL_set_shutdown(c->tls, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(c->tls);
	c->tls = NULL;
	close(c->fd);
	c->fd = -1;
}

static ssize_t put(struct client *c, const char *p, size_t n)
{
	int r;

	if (c->tls == NULL)
		return send(c->fd, p, n, MSG_NOSIGNAL);
	ERR_clear_error();             /* another connection's: SSL_get_error would take it for ours */
	r = SSL_write(c->tls, p, (int)n);
	if (r <= 0)
		errno = SSL_get_error(c->tls, r) == SSL_ERROR_WANT_WRITE || SSL_get_error(c->tls, r) == SSL_ERROR_WANT_READ ? EAGAIN : EPIPE;
	return r > 0 ? r : -1;
}

static ssize_t take(struct client *c, char *p, size_t n)
{
	int r;

	if (c->tls == NULL)
		return recv(c->fd, p, n, 0);
	ERR_clear_error();
	r = SSL_read(c->tls, p, (int)n);
	if (r > 0)
		return r;
	r = SSL_get_error(c->tls, r);
	errno = EAGAIN;
	return r == SSL_ERROR_WANT_READ || r == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

static void push(struct client *c)
{
	while (c->left > 0) {
		ssize_t n = put(c, c->out, c->left);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return;                /* the next read tells */
		c->out += n;
		c->left -= (size_t)n;
	}
	watch(c, EPOLLIN | (c->left > 0 ? EPOLLOUT : 0u));
}

static void say(struct client *c, struct text t, enum state next, int answers)
{
	c->out = t.p;
	c->left = t.n;
	c->state = next;
	c->answers = answers;
	push(c);
}

#define SAY(c, words, next) say((c), (struct text){ (char *)(uintptr_t)(words), sizeof(words) - 1 }, (next), 1)

/* ---- what comes next ------------------------------------------------------------------ */

static bool more_to_send(void)
{
	return o.churn ? now_us() < until_us : begun < o.messages && now_us() < begin_until_us;
}

/* With --rate, a message is due when its number says so. */
static bool is_due(void)
{
	return o.rate == 0 || (uint64_t)begun * 1000000 / (uint64_t)o.rate <= now_us() - start_us;
}

static void done_with(struct client *c)
{
	close_client(c);
	if (more_to_send())
		open_client(c);
}

static void next_message(struct client *c)
{
	if (!more_to_send() || c->sent == o.per_connection) {
		if (o.quit)
			SAY(c, "QUIT\r\n", QUIT);
		else
			done_with(c);
		return;
	}
	if (!is_due()) {
		c->state = READY;
		return;
	}
	begun++;
	c->sent++;
	c->began_us = now_us();
	c->part = c->pipelining ? 3 : 1;
	if (c->pipelining)
		say(c, envelope, ENVELOPE, 3);
	else
		say(c, parts[0], ENVELOPE, 1);
}

static void at_ease(struct client *c)          /* greeted, in TLS if wanted, not yet logged in */
{
	if (o.idle > 0)
		c->state = READY;
	else if (o.churn)
		SAY(c, "QUIT\r\n", QUIT);
	else if (o.login != NULL)
		say(c, auth, AUTH, 1);
	else
		next_message(c);
}

static void lose(struct client *c);

/* A copy is offered: OpenSSL spoils one of TLS 1.3 by its use, and not every server
 * gives a new ticket for it.  Postfix does not, and its own client comes with the
 * old one again. */
static void offer_session(struct client *c)
{
	SSL_SESSION *copy = must_have(SSL_SESSION_dup(c->session));

	SSL_set_session(c->tls, copy);
	SSL_SESSION_free(copy);
}

static void begin_tls(struct client *c)
{
	c->tls = must_have(SSL_new(tls));
	SSL_set_fd(c->tls, c->fd);
	SSL_set_app_data(c->tls, c);
	SSL_set_connect_state(c->tls);
	if (c->session != NULL)
		offer_session(c);
	c->state = HANDSHAKE;
}

static void handshake(struct client *c)
{
	int r, error;

	if (c->tls == NULL)
		begin_tls(c);
	ERR_clear_error();
	r = SSL_do_handshake(c->tls);
	if (r == 1) {
		shaken++;
		resumed += SSL_session_reused(c->tls);
	}
	if (r == 1 && o.implicit) {
		c->state = GREETING;
		c->answers = 1;
		watch(c, EPOLLIN);
	} else if (r == 1) {
		SAY(c, "EHLO load.test\r\n", SECOND_EHLO);
	} else if ((error = SSL_get_error(c->tls, r)) == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
		watch(c, error == SSL_ERROR_WANT_WRITE ? EPOLLIN | EPOLLOUT : EPOLLIN);
	} else {
		lose(c);
	}
}

static void complain(struct client *c)
{
	refused++;
	fprintf(stderr, "load: refused: %.*s\n", (int)strcspn(c->in, "\r\n"), c->in);
	if (refused > 100)
		exit(1);
	done_with(c);
}

static void answered(struct client *c, int code)
{
	if (code >= 400) {
		complain(c);
		return;
	}
	if (--c->answers > 0)
		return;
	switch (c->state) {
	case GREETING:
		SAY(c, "EHLO load.test\r\n", EHLO);
		break;
	case EHLO:
		if (o.starttls)
			SAY(c, "STARTTLS\r\n", STARTTLS);
		else
			at_ease(c);
		break;
	case STARTTLS:
		handshake(c);
		break;
	case SECOND_EHLO:
		at_ease(c);
		break;
	case AUTH:
		next_message(c);
		break;
	case ENVELOPE:
		if (c->part < 3)
			say(c, parts[c->part++], ENVELOPE, 1);
		else
			say(c, texts.v[(size_t)begun % texts.n], BODY, 1);
		break;
	case BODY:
		times_us[accepted++] = (uint32_t)(now_us() - c->began_us);
		next_message(c);
		break;
	case QUIT:
		churned++;
		done_with(c);
		break;
	default:
		break;
	}
}

static void lose(struct client *c)
{
	if (c->state != QUIT)
		lost++;
	close_client(c);
	if (more_to_send() && lost < MOST_LOST)
		open_client(c);
}

/* Whole reply lines; "250-" lines are not the last. */
static void pull(struct client *c)
{
	unsigned life = c->life;
	char *eol;
	ssize_t n;

	while (c->fd >= 0 && c->life == life) {
		n = take(c, c->in + c->n, sizeof(c->in) - 1 - c->n);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			lose(c);
			return;
		}
		c->n += (size_t)n;
		while (c->life == life && c->fd >= 0 && c->state != HANDSHAKE && (eol = memchr(c->in, '\n', c->n)) != NULL) {
			size_t used = (size_t)(eol + 1 - c->in);

			if ((c->state == EHLO || c->state == SECOND_EHLO) && memmem(c->in, used, "PIPELINING", 10) != NULL)
				c->pipelining = true;
			if (used > 3 && c->in[3] != '-')
				answered(c, atoi(c->in));
			if (c->life != life || c->fd < 0)
				return;
			memmove(c->in, c->in + used, c->n - used);
			c->n -= used;
		}
		if (c->state == HANDSHAKE)
			return;
	}
}

static void happened(struct client *c, uint32_t events)
{
	if (c->fd < 0)
		return;
	if (c->state == HANDSHAKE || (o.implicit && c->tls == NULL)) {
		handshake(c);
		if (c->state == HANDSHAKE)
			return;
	}
	if ((events & EPOLLOUT) && c->left > 0)
		push(c);
	if (events & ~(uint32_t)EPOLLOUT)
		pull(c);
}

/* ---- commands --------------------------------------------------------------------------- */

static void make_commands(void)
{
	char plain[512], coded[700];
	int n;

	envelope.n = (size_t)asprintf(&envelope.p, "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", o.from, o.to);
	parts[0] = (struct text){ envelope.p, strlen("MAIL FROM:<>\r\n") + strlen(o.from) };
	parts[1] = (struct text){ parts[0].p + parts[0].n, strlen("RCPT TO:<>\r\n") + strlen(o.to) };
	parts[2] = (struct text){ parts[1].p + parts[1].n, strlen("DATA\r\n") };
	if (o.login == NULL)
		return;
	n = snprintf(plain, sizeof(plain), "%c%s%c%s", 0, o.login, 0, o.password == NULL ? "" : o.password);
	EVP_EncodeBlock((unsigned char *)coded, (unsigned char *)plain, n);
	auth.n = (size_t)asprintf(&auth.p, "AUTH PLAIN %s\r\n", coded);
}

/* ---- running ------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static double percentile_ms(double p)
{
	return accepted == 0 ? 0 : times_us[(long)((double)(accepted - 1) * p)] / 1000.0;
}

static double cpu_seconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void wake_ready(void)
{
	for (int i = 0; i < o.connections && is_due(); i++)
		if (clients[i].fd >= 0 && clients[i].state == READY)
			next_message(&clients[i]);
}

static void turn(int wait_ms)
{
	struct epoll_event events[256];
	int n = epoll_wait(epoll, events, 256, wait_ms);

	for (int i = 0; i < n; i++)
		happened(events[i].data.ptr, events[i].events);
}

static bool is_over(void)
{
	if (lost >= MOST_LOST)
		return true;
	return !more_to_send() && (o.churn || accepted + refused + lost >= begun);
}

static int run(void)
{
	double s;

	for (int i = 0; i < o.connections; i++)
		open_client(&clients[i]);
	while (!is_over() && now_us() < until_us) {
		turn(o.rate > 0 ? 1 : 1000);
		if (o.rate > 0)
			wake_ready();
	}
	s = (double)(now_us() - start_us) / 1e6;
	qsort(times_us, (size_t)accepted, sizeof(*times_us), by_value);
	printf("{\"accepted\": %ld, \"refused\": %ld, \"lost\": %ld, \"churned\": %ld, \"handshakes\": %ld, \"resumed\": %ld, "
	       "\"seconds\": %.3f, \"per_second\": %.1f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"worst_ms\": %.2f, \"own_cpu_s\": %.3f}\n",
	       accepted, refused, lost, churned, shaken, resumed, s, (double)accepted / s, percentile_ms(0.5), percentile_ms(0.99),
	       percentile_ms(1), cpu_seconds());
	return o.churn || accepted == (o.begin_for > 0 ? begun : o.messages) ? 0 : 1;
}

static int hold_idle(void)
{
	char piece[64];
	int ready;

	for (int i = 0; i < o.idle; i++) {
		open_client(&clients[i]);
		while (i % 100 == 99 && clients[i].state != READY)
			turn(1000);
	}
	do {
		turn(1000);
		ready = 0;
		for (int i = 0; i < o.idle; i++)
			ready += clients[i].state == READY;
	} while (ready + lost < o.idle);
	printf("{\"idle\": %d, \"lost\": %ld}\n", ready, lost);
	fflush(stdout);
	while (read(0, piece, sizeof(piece)) > 0)
		;
	return 0;
}

static int number(const char *text)
{
	return atoi(text);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "port", 1, NULL, 'p' }, { "host", 1, NULL, 'h' }, { "from", 1, NULL, 'f' }, { "to", 1, NULL, 't' },
		{ "connections", 1, NULL, 'c' }, { "messages", 1, NULL, 'm' }, { "per-connection", 1, NULL, 'k' },
		{ "size", 1, NULL, 's' }, { "texts", 1, NULL, 'd' }, { "seconds", 1, NULL, 'l' }, { "idle", 1, NULL, 'i' },
		{ "rate", 1, NULL, 'r' }, { "for", 1, NULL, 'F' }, { "login", 1, NULL, 'n' }, { "password", 1, NULL, 'w' },
		{ "starttls", 0, &o.starttls, 1 }, { "implicit", 0, &o.implicit, 1 }, { "churn", 0, &o.churn, 1 },
		{ "quit", 0, &o.quit, 1 }, { "resume", 0, &o.resume, 1 }, { 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 0: break;
		case 'p': o.port = number(optarg); break;
		case 'h': o.host = optarg; break;
		case 'f': o.from = optarg; break;
		case 't': o.to = optarg; break;
		case 'c': o.connections = number(optarg); break;
		case 'm': o.messages = atol(optarg); break;
		case 'k': o.per_connection = number(optarg); break;
		case 's': o.size = atol(optarg); break;
		case 'd': o.texts = optarg; break;
		case 'l': o.seconds = atol(optarg); break;
		case 'i': o.idle = number(optarg); break;
		case 'r': o.rate = atol(optarg); break;
		case 'F': o.begin_for = atol(optarg); break;
		case 'n': o.login = optarg; break;
		case 'w': o.password = optarg; break;
		default: return 2;
		}
	}
	if (o.port == 0 || o.connections < 1 || o.size < 0 || strncmp(o.host, "127.", 4) != 0)
		return 2;
	signal(SIGPIPE, SIG_IGN);              /* OpenSSL writes without MSG_NOSIGNAL */
	epoll = epoll_create1(EPOLL_CLOEXEC);
	tls = must_have(SSL_CTX_new(TLS_client_method()));   /* who is there is not asked: it is our own server */
	if (o.resume) {
		SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(tls, session_came);
	}
	clients = must_have(calloc((size_t)(o.idle > 0 ? o.idle : o.connections), sizeof(*clients)));
	times_us = must_have(calloc((size_t)o.messages + 1, sizeof(*times_us)));
	texts = o.texts != NULL ? texts_read(o.texts) : texts_make((size_t)o.size, o.from, o.to);
	make_commands();
	start_us = now_us();
	until_us = start_us + (uint64_t)o.seconds * 1000000;
	begin_until_us = o.begin_for > 0 ? start_us + (uint64_t)o.begin_for * 1000000 : UINT64_MAX;
	return o.idle > 0 ? hold_idle() : run();
}
