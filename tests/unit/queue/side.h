/* SPDX-License-Identifier: ISC */
/*
 * One client on a loop of its own, with a lease of the test's making, and the
 * test in the place of the timetable.
 */
#ifndef TESTS_QUEUE_SIDE_H
#define TESTS_QUEUE_SIDE_H

#include "tests/unit/queue/house.h"
#include "tests/unit/queue/peer.h"

#include "queue/deliver/client.h"
#include "smtpd/base/crypt.h"
#include "smtpd/base/dns_local.h"
#include "smtpd/base/log.h"

struct side {
	struct mbox       *home;
	struct loop       *loop;
	pthread_t          thread;
	struct desk       *disk;
	struct tls_client *tls;
	struct client_house house;
	struct relay_conf  relay;
	struct deliver_setup setup;
	struct queue_entry entry;
	struct lease      *lease;
	struct client     *client;
	struct queue      *queue;
	bool               came, gone;
};

static struct side *now;
static struct tls_client *side_tls __attribute__((unused));   /* the test's own; NULL: each side makes one */

static void lease_home(struct baton *b)
{
	assert_ptr_equal(b, &now->lease->baton);
	now->came = true;
}

static void client_gone(struct client *c)
{
	client_free(c);
	now->client = NULL;
	now->gone = true;
}

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static inline void wait_for(const bool *what)
{
	uint64_t until = clock_ms() + 20000;

	while (!*what) {
		struct baton *b = mbox_take(now->home, 1, SIZE_MAX, until);

		assert_non_null(b);
		b->arrived(b);
	}
}

static inline void side_start_in(struct side *s, const char *zone_text, uint16_t port)
{
	memset(s, 0, sizeof(*s));
	now = s;
	s->home = mbox_new(NULL, NULL);
	s->loop = loop_new(0, NULL);
	s->loop->dns = dns_with(dns_local_source(zone_text), s->loop, 2000);
	s->disk = desk_open("disk", 1);
	s->tls = side_tls != NULL ? side_tls : tls_client_new();
	s->relay = (struct relay_conf){ .connect_ms = 2000, .idle_ms = 5000, .messages_per_connection = 3, .port = port };
	s->setup = (struct deliver_setup){ .relay = &s->relay, .hostname = STR("us.test") };
	s->house = (struct client_house){ .disk = s->disk, .tls = s->tls, .home = s->home, .lease_home = lease_home,
	                                  .client_gone = client_gone };
	s->entry = (struct queue_entry){ .id = 77, .sender = STR("anna@us.test"), .head = STR("Received: by us\r\n.dot: head\r\n"),
	                                 .content = STR("Subject: x\r\n\r\nHello\r\n.leading dot\r\n.\r\nend\r\n"),
	                                 .header_bytes = 14 };
	s->entry.bytes = s->entry.content.n;
	s->client = client_new(&s->house, s->loop, NULL);
	pthread_create(&s->thread, NULL, run_loop, s->loop);
}

static inline void lease_drop(struct side *s)
{
	if (s->lease == NULL)
		return;
	arena_fini(&s->lease->arena);
	free(s->lease);
	s->lease = NULL;
}

static inline void lease_begin(struct side *s, enum route_kind kind, const char *target, const char *const rcpts[], size_t n)
{
	struct lease *l = calloc(1, sizeof(*l));

	lease_drop(s);
	arena_init(&l->arena, 16 << 20);
	l->setup = &s->setup;
	l->entry = &s->entry;
	l->route = (struct route){ .kind = kind, .target = str_of(target) };
	l->v = ARENA_ARRAY(&l->arena, struct lease_rcpt, n);
	l->n = n;
	for (size_t i = 0; i < n; i++)
		l->v[i] = (struct lease_rcpt){ .index = (uint32_t)i, .address = str_of(rcpts[i]) };
	s->lease = l;
	s->came = false;
}

static inline void lease_go(struct side *s)
{
	client_take(s->client, s->lease);
	wait_for(&s->came);
	for (size_t i = 0; i < s->lease->n; i++)
		assert_true(s->lease->v[i].settled);
}

struct loop_end { struct baton baton; struct loop *loop; };

static void end_loop(struct baton *b)
{
	struct loop *loop = SUPER(b, struct loop_end, baton)->loop;

	conn_leave_now(loop);           /* each thread knows its own */
	loop_stop(loop);
}

static inline void side_stop(struct side *s)
{
	struct loop_end end = { .baton.arrived = end_loop, .loop = s->loop };

	client_end(s->client);
	wait_for(&s->gone);
	lease_drop(s);
	loop_send(s->loop, &end.baton);
	pthread_join(s->thread, NULL);
	desk_close(s->disk);
	dns_free(s->loop->dns);
	loop_free(s->loop);
	if (s->tls != side_tls)
		tls_client_free(s->tls);
	mbox_free(s->home);
}

static inline bool holds(str s, const char *want)
{
	return memmem(s.p ? s.p : "", s.n, want, strlen(want)) != NULL;
}

#define assert_holds(text, want)                                                     \
	do {                                                                         \
		if (!holds((text), (want)))                                          \
			fail_msg("\"%.*s\" lacks \"%s\"", STR_ARG(text), (want));     \
	} while (0)

#endif
