/* SPDX-License-Identifier: ISC */
/*
 * The outbound client against a server that sends these octets:
 * whatever they are, the lease comes home, every recipient settled, and what
 * is said of it is one line.
 *
 * The first octet chooses LMTP or SMTP and how many recipients there are.
 */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "queue/deliver/client.h"
#include "smtpd/base/clock.h"
#include "smtpd/base/conn.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/log.h"

#define RCPTS       5
#define QUIET_TURNS 8

static struct loop *loop;
static struct client_house house;
static int listener;
static char target[64];
static bool came, gone;

static void lease_home(struct baton *b)
{
	(void)b;
	came = true;
}

static void client_gone(struct client *c)
{
	client_free(c);
	gone = true;
}

static void start_once(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(at);

	if (loop != NULL)
		return;
	crypt_setup();
	log_level_set(LOG_ERROR + 1);
	loop = loop_new(0, NULL);
	house = (struct client_house){ .tls = tls_client_new(), .home = mbox_new(NULL, NULL), .lease_home = lease_home,
	                               .client_gone = client_gone };
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	must(bind(listener, (struct sockaddr *)&at, n) == 0 && listen(listener, 8) == 0);
	must(getsockname(listener, (struct sockaddr *)&at, &n) == 0);
	snprintf(target, sizeof(target), "127.0.0.1:%u", ntohs(at.sin_port));
}

/* The server's side: a piece on connecting, and one each time the client has
 * said something or waits; form feeds stand between pieces.  After the last it
 * closes. */
struct server { int fd; str left; unsigned quiet; };

static void send_piece(struct server *s)
{
	str piece;

	if (s->left.p != NULL && str_cut(&s->left, '\f', &piece) && piece.n > 0 &&
	    send(s->fd, piece.p, piece.n, MSG_NOSIGNAL) < 0)
		s->left = STR_NONE;
	if (s->left.p == NULL)
		shutdown(s->fd, SHUT_WR);
}

static void serve(struct server *s)
{
	struct linger at_once = { 1, 0 };
	char scrap[4096];
	bool heard = false;

	if (s->fd < 0) {
		s->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (s->fd < 0)
			return;
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		send_piece(s);
	}
	while (recv(s->fd, scrap, sizeof(scrap), 0) > 0)
		heard = true;
	s->quiet = heard ? 0 : s->quiet + 1;
	if (heard || s->quiet % QUIET_TURNS == 0)
		send_piece(s);
}

static void turn(bool *what, struct server *s)
{
	uint64_t until = clock_ms() + 20000;

	while (!*what) {
		struct baton *b;

		must(clock_ms() < until);
		ev_run(loop->ev, EVRUN_NOWAIT);
		serve(s);
		while ((b = mbox_take_all(house.home)) != NULL)
			b->arrived(b);
	}
}

static void assert_settled(const struct lease *l)
{
	for (size_t i = 0; i < l->n; i++) {
		must(l->v[i].settled && l->v[i].said.n <= SAID_MAX);
		must(l->v[i].fate == FATE_DELIVERED || l->v[i].fate == FATE_DEFERRED || l->v[i].fate == FATE_BOUNCED);
		must(!str_holds(l->v[i].said, '\n') && !str_holds(l->v[i].said, '\0'));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct relay_conf relay = { .connect_ms = 5000, .idle_ms = 1000, .messages_per_connection = 2 };
	static const struct deliver_setup setup = { .relay = &relay, .hostname = STR("us.test") };
	static const struct queue_entry entry = { .id = 1, .sender = STR("a@us.test"), .head = STR("Received: x\r\n"),
		                                  .content = STR("A: b\r\n\r\n.x\r\n"), .bytes = 12, .header_bytes = 8 };
	struct lease_rcpt rcpts[RCPTS] = { 0 };
	struct lease l = { .setup = &setup, .entry = &entry, .v = rcpts };
	struct client *c;
	struct server server = { .fd = -1, .left = { (const char *)data + 1, n - 1 } };

	if (n < 2)
		return 0;
	start_once();
	l.n = 1 + (data[0] & 0x7f) % RCPTS;
	l.route = (struct route){ .kind = data[0] & 0x80 ? ROUTE_LMTP : ROUTE_HOST, .target = str_of(target) };
	for (size_t i = 0; i < l.n; i++)
		rcpts[i].address = STR("b@peer.test");
	arena_init(&l.arena, 1 << 20);
	came = gone = false;
	c = client_new(&house, loop, NULL);
	client_take(c, &l);
	turn(&came, &server);
	assert_settled(&l);
	client_end(c);
	turn(&gone, &server);
	if (server.fd >= 0)
		close(server.fd);
	conn_leave_now(loop);
	arena_fini(&l.arena);
	return 0;
}
