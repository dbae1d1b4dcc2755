/* SPDX-License-Identifier: ISC */
/*
 * Questions to many servers at the same time, each on a connected socket of its
 * own, so that the kernel takes packets of the asked server only.  One poll(2)
 * loop, one deadline; UDP is sent twice.  What comes is judged by `heard`; what
 * it does not want is as if nothing had come.  Any thread that may block.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/base/clock.h"
#include "smtpd/setup/dns/direct_inside.h"

enum { UDP_ROOM = 4096, UDP_A_TURN = 32, LENGTH = 2 };

static void end(struct exchange *e, bool taken, const char *why)
{
	if (e->over)
		return;
	e->over = true;
	e->taken = taken;
	e->ms = clock_ms() - e->began_ms;
	snprintf(e->why, sizeof(e->why), "%s", why);
	if (e->fd >= 0)
		close(e->fd);
	e->fd = -1;
	free(e->frame);
	free(e->in);
	e->frame = e->in = NULL;
}

static void fail(struct exchange *e, int errnum)
{
	char text[96];

	if (errnum == ECONNREFUSED)
		snprintf(text, sizeof(text), "nobody listens there over %s", e->tcp ? "TCP" : "UDP");
	else if (errnum == ENETUNREACH || errnum == EHOSTUNREACH || errnum == EADDRNOTAVAIL || errnum == EAFNOSUPPORT)
		snprintf(text, sizeof(text), "this host has no way to the address");
	else if (errnum == ECONNRESET || errnum == EPIPE)
		snprintf(text, sizeof(text), "it closed the connection without an answer");
	else
		snprintf(text, sizeof(text), "%s", strerror(errnum));
	end(e, false, text);
}

/* TCP: RFC 1035 4.2.2, two octets of length in front.  False: no memory. */
static bool frame(struct exchange *e)
{
	free(e->frame);
	e->sent = e->head_n = e->got = e->room = 0;
	e->frame_n = e->request.n + (e->tcp ? LENGTH : 0);
	e->frame = e->request.n <= UINT16_MAX ? malloc(e->frame_n + 1) : NULL;
	if (e->frame == NULL)
		return false;
	if (e->tcp) {
		e->frame[0] = (uint8_t)(e->request.n >> 8);
		e->frame[1] = (uint8_t)e->request.n;
	}
	memcpy(e->frame + (e->tcp ? LENGTH : 0), e->request.p, e->request.n);
	return true;
}

static void send_datagram(struct exchange *e, uint64_t in_ms)
{
	e->tries++;
	e->again_ms = clock_ms() + in_ms;
	if (send(e->fd, e->frame, e->frame_n, MSG_NOSIGNAL) < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
		fail(e, errno);
}

static void begin(struct exchange *e, uint64_t retry_ms)
{
	e->fd = -1;
	e->frame = e->in = NULL;
	e->taken = e->over = false;
	e->tries = 0;
	e->began_ms = clock_ms();
	e->again_ms = UINT64_MAX;
	e->fd = socket(e->to->sa_family, (e->tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (e->fd < 0)
		fail(e, errno);
	else if (!frame(e))
		fail(e, ENOMEM);
	else if (connect(e->fd, e->to, e->to_n) != 0 && errno != EINPROGRESS)
		fail(e, errno);
	else if (!e->tcp)
		send_datagram(e, retry_ms);
}

static void judge(struct exchange *e, str packet)
{
	switch (e->heard(e, packet)) {
	case HEARD_TAKEN:
		end(e, true, "");
		return;
	case HEARD_ASK_AGAIN:
		free(e->in);
		e->in = NULL;
		if (!frame(e))
			fail(e, ENOMEM);
		else if (!e->tcp)
			send_datagram(e, UINT32_MAX);
		return;
	case HEARD_NOT_OURS:
		break;
	}
	if (e->tcp)
		end(e, false, "it answered another question than the one asked");
}

static void read_datagrams(struct exchange *e)
{
	uint8_t packet[UDP_ROOM];

	for (unsigned i = 0; i < UDP_A_TURN && !e->over; i++) {
		ssize_t n = recv(e->fd, packet, sizeof(packet), MSG_TRUNC);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				fail(e, errno);
			return;
		}
		if ((size_t)n <= sizeof(packet))
			judge(e, (str){ (const char *)packet, (size_t)n });
	}
}

static void write_stream(struct exchange *e)
{
	ssize_t n = send(e->fd, e->frame + e->sent, e->frame_n - e->sent, MSG_NOSIGNAL);

	if (n >= 0)
		e->sent += (size_t)n;
	else if (errno != EAGAIN && errno != EINTR)
		fail(e, errno);
}

static ssize_t read_length(struct exchange *e)
{
	ssize_t n = recv(e->fd, e->head + e->head_n, LENGTH - e->head_n, 0);

	if (n > 0)
		e->head_n += (size_t)n;
	if (e->head_n < LENGTH)
		return n;
	e->room = (size_t)e->head[0] << 8 | e->head[1];
	e->in = malloc(e->room + 1);
	if (e->in == NULL)
		fail(e, ENOMEM);
	return n;
}

/* The length first, then as many octets and no more. */
static void read_stream(struct exchange *e)
{
	ssize_t n;

	if (e->head_n < LENGTH) {
		n = read_length(e);
	} else {
		n = recv(e->fd, e->in + e->got, e->room - e->got, 0);
		if (n > 0)
			e->got += (size_t)n;
		if (e->got == e->room) {
			judge(e, (str){ (const char *)e->in, e->room });
			return;
		}
	}
	if (n == 0)
		fail(e, ECONNRESET);
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		fail(e, errno);
}

static void attend(struct exchange *e, short events)
{
	if (e->over || events == 0)
		return;
	if (!e->tcp)
		read_datagrams(e);
	else if (e->sent < e->frame_n)
		write_stream(e);
	else
		read_stream(e);
}

/* Fills *fds; how long to wait at most, or -1 when nobody is waited for. */
static int64_t watch(struct exchange *e, size_t n, struct pollfd *fds, uint64_t now, uint64_t until)
{
	bool waiting = false;
	uint64_t next = until;

	for (size_t i = 0; i < n; i++) {
		fds[i] = (struct pollfd){ .fd = e[i].over ? -1 : e[i].fd };
		if (e[i].over)
			continue;
		waiting = true;
		fds[i].events = e[i].tcp && e[i].sent < e[i].frame_n ? POLLOUT : POLLIN;
		if (!e[i].tcp && e[i].tries < 2 && e[i].again_ms < next)
			next = e[i].again_ms;
	}
	return !waiting ? -1 : next > now ? (int64_t)(next - now) : 0;
}

void exchange_all(struct exchange *e, size_t n, uint64_t timeout_ms)
{
	struct pollfd *fds = calloc(n + 1, sizeof(*fds));
	uint64_t now = clock_ms(), until = now + timeout_ms;
	char late[64];
	int64_t wait;

	for (size_t i = 0; i < n; i++)
		begin(&e[i], timeout_ms / 3);
	while (fds != NULL && (now = clock_ms()) < until && (wait = watch(e, n, fds, now, until)) >= 0) {
		if (poll(fds, n, (int)wait) < 0 && errno != EINTR)
			break;
		now = clock_ms();
		for (size_t i = 0; i < n; i++) {
			attend(&e[i], fds[i].revents);
			if (!e[i].over && !e[i].tcp && e[i].tries < 2 && e[i].again_ms <= now)
				send_datagram(&e[i], UINT32_MAX);
		}
	}
	snprintf(late, sizeof(late), "no answer within %.3g s", (double)timeout_ms / 1000);
	for (size_t i = 0; i < n; i++)
		end(&e[i], false, fds != NULL ? late : "no memory");
	free(fds);
}
