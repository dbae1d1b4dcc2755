/* SPDX-License-Identifier: ISC */
/*
 * dns_ub: questions answered by libunbound, one context a loop.
 *
 * The context lives on its loop (dns_ub_event) without a thread of its own.
 * What the library writes for the whole process – when a context is made, asked
 * for the first time or deleted – happens under one lock.  It goes on asking a
 * silent server long after dns.c has given up: a cancelled question leaves only
 * its callback.  Thread: main's until the loop runs, then the loop's.
 */
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unbound.h>
#include <unistd.h>

#include "smtpd/base/conn.h"
#include "smtpd/base/dns.h"
#include "smtpd/base/dns_local.h"
#include "smtpd/base/dns_ub_event.h"

struct dns_ub {
	struct dns_source  source;
	struct dns_ub_base base;
	struct ub_ctx     *ctx;
};

#define RANGE_MOST  2048
#define RANGE_LEAST 64

static pthread_mutex_t library = PTHREAD_MUTEX_INITIALIZER;

/* ---- questions ------------------------------------------------------------ */

enum { INSECURE, BOGUS, SECURE }; /* what the library calls `sec` */

/* The library's callback; may come inside ub_resolve_event. */
static void resolved(void *arg, int rcode, void *packet, int n, int sec, char *why_bogus,
                     int limited)
{
	str answer = STR_NONE, why = str_of(why_bogus);

	if (rcode == 0 && packet != NULL && n > 0)
		answer = (str){ packet, (size_t)n };
	if (limited)
		why = STR("too many questions to this zone");
	else if (rcode != 0 && why.n == 0)
		why = STR("no server of the zone gave a usable answer");
	dns_question_done(arg, DNS_SERVFAIL, answer, sec == SECURE, sec == BOGUS, why);
}

static void start(struct dns_source *source, struct dns_question *q)
{
	struct dns_ub *ub = SUPER(source, struct dns_ub, source);
	int id = 0, failed;

	/* The id is of use only while the question is out; an answer from the
	 * cache has come before this returns, and q may be told but is not freed
	 * before the next turn. */
	failed = ub_resolve_event(ub->ctx, dns_question_name(q).p, (int)dns_question_type(q), 1, q,
	                          resolved, &id);
	if (failed)
		dns_question_done(q, DNS_SERVFAIL, STR_NONE, false, false,
		                  str_of(ub_strerror(failed)));
	else
		dns_question_set(q, (void *)(intptr_t)id);
}

static void cancel(struct dns_source *source, struct dns_question *q)
{
	struct dns_ub *ub = SUPER(source, struct dns_ub, source);

	ub_cancel(ub->ctx, (int)(intptr_t)dns_question_get(q));
}

static void close_context(struct dns_source *source)
{
	struct dns_ub *ub = SUPER(source, struct dns_ub, source);

	pthread_mutex_lock(&library);
	if (ub->ctx != NULL)
		ub_ctx_delete(ub->ctx);
	pthread_mutex_unlock(&library);
	free(ub);
}

/* ---- settings ------------------------------------------------------------- */

struct setup {                /* collects the first failure */
	struct ub_ctx *ctx;
	struct arena  *arena;
	str           *why;
	bool           failed;
};

static void failed(struct setup *s, const char *what, str with, int code)
{
	if (!s->failed)
		*s->why = arena_printf(s->arena, "resolver: %s %.*s: %s", what, STR_ARG(with),
		                       ub_strerror(code));
	s->failed = true;
}

static void set(struct setup *s, const char *option, const char *value)
{
	int code = ub_ctx_set_option(s->ctx, option, value);

	if (code)
		failed(s, option, str_of(value), code);
}

/* Nothing is sent: connecting a datagram socket only looks for the route. */
static bool has_v6_route(void)
{
	struct sockaddr_in6 in = { .sin6_family = AF_INET6, .sin6_port = htons(53) };
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool there;

	if (fd < 0)
		return false;
	memcpy(&in.sin6_addr, (const uint8_t[16]){ 0x20, 0x01, 0x07, 0xfd, [15] = 1 }, 16); /* k.root-servers.net */
	there = connect(fd, (struct sockaddr *)&in, sizeof(in)) == 0;
	close(fd);
	return there;
}

static bool set_server(struct setup *s, str text)
{
	struct endpoint e;
	char host[NI_MAXHOST], port[NI_MAXSERV];
	char *at;
	int code;

	if (!endpoint_parse(text, 53, &e) || e.is_name || e.is_unix ||
	    getnameinfo((struct sockaddr *)&e.at, e.n, host, sizeof(host), port, sizeof(port),
	                NI_NUMERICHOST | NI_NUMERICSERV | NI_DGRAM) != 0) {
		if (!s->failed)
			*s->why = arena_printf(
				s->arena, "resolver: `%.*s` must be ADDR:PORT, as 127.0.0.1:53",
				STR_ARG(text));
		s->failed = true;
		return false;
	}
	at = str_cstr(s->arena, arena_printf(s->arena, "%s@%s", host, port));
	code = at ? ub_ctx_set_fwd(s->ctx, at) : UB_NOMEM;
	if (code)
		failed(s, "forward", text, code);
	return e.at.ss_family == AF_INET6;
}

static void set_trust(struct setup *s, const struct dns_conf *c)
{
	char *file;
	int code;

	if (c->only.n > 0 || c->trust_anchor.n == 0)
		return;
	file = str_cstr(s->arena, c->trust_anchor);
	code = file == NULL || access(file, R_OK) != 0 ? UB_READFILE
	                                               : ub_ctx_add_ta_file(s->ctx, file);
	if (code)
		failed(s, "trust-anchor", c->trust_anchor, code);
}

/* Questions that may wait for servers at the same time: each holds a socket, and
 * what is above waits behind the silent ones.  A quarter of what the process
 * may open, so that mail keeps the rest. */
static void set_range(struct setup *s)
{
	struct rlimit files = { .rlim_cur = 1024 };
	uint64_t range;
	char text[24];

	getrlimit(RLIMIT_NOFILE, &files);
	range = files.rlim_cur / 4;
	range = range > RANGE_MOST ? RANGE_MOST : range < RANGE_LEAST ? RANGE_LEAST : range;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)range);
	set(s, "outgoing-range:", text);
}

static void set_all(struct setup *s, const struct dns_conf *c)
{
	static const struct { const char *option, *value; } fixed[] = {
		{ "outgoing-num-tcp:", "64" },
		{ "msg-cache-size:", "4m" },
		{ "rrset-cache-size:", "4m" },
		{ "key-cache-size:", "4m" },
		{ "neg-cache-size:", "1m" },
		{ "unblock-lan-zones:", "yes" },
	};
	bool v6 = false;

	ub_ctx_debugout(s->ctx, NULL); /* our log says what matters */
	for (size_t i = 0; i < COUNT(fixed); i++)
		set(s, fixed[i].option, fixed[i].value);
	set_range(s);
	if (c->only.n > 0)
		v6 = set_server(s, c->only);
	for (size_t i = 0; i < c->forward.n && c->only.n == 0; i++)
		v6 = set_server(s, c->forward.v[i]) || v6;
	if (c->only.n > 0 || c->forward.n > 0)
		set(s, "do-not-query-localhost:", "no");
	set(s, "do-ip6:", v6 || has_v6_route() ? "yes" : "no");
	set_trust(s, c);
}

/* The names that the library answers by itself (RFC 6761, 7686, 8375). */
static void remove_special(struct setup *s)
{
	static const char *const zones[] = {
		"localhost.", "test.", "invalid.", "onion.", "home.arpa.", "127.in-addr.arpa.",
		"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
	};

	for (size_t i = 0; i < COUNT(zones); i++) {
		int code = ub_ctx_zone_remove(s->ctx, zones[i]);

		if (code)
			failed(s, "zone", str_of(zones[i]), code);
	}
}

static void first_answer(void *arg, int rcode, void *packet, int n, int sec, char *why_bogus,
                         int limited)
{
	(void)packet;
	(void)n;
	(void)sec;
	(void)why_bogus;
	(void)limited;
	*(bool *)arg = rcode == 0;
}

/* Builds all that the context needs: tables, sockets, caches. */
static void ask_first(struct setup *s)
{
	bool answered = false;
	int code = ub_resolve_event(s->ctx, "localhost", DNS_A, 1, &answered, first_answer, NULL);

	if (code || !answered)
		failed(s, "first question", STR("localhost"), code ? code : UB_INITFAIL);
}

static void open_context(struct dns_ub *ub, const struct dns_conf *c, struct setup *s)
{
	ub->ctx = s->ctx = ub_ctx_create_ub_event(&ub->base.ub);
	if (s->ctx == NULL) {
		failed(s, "context", STR_NONE, UB_NOMEM);
		return;
	}
	set_all(s, c);
	if (!s->failed)
		ask_first(s);
	if (!s->failed && (c->only.n > 0 || c->local_special))
		remove_special(s);
}

static struct dns_source *dns_ub_source(const struct dns_conf *c, struct loop *loop,
                                        struct arena *a, str *why)
{
	struct dns_ub *ub = calloc(1, sizeof(*ub));
	struct setup s = { .arena = a, .why = why };

	if (ub == NULL) {
		*why = STR("resolver: no memory");
		return NULL;
	}
	ub->source =
		(struct dns_source){ .start = start, .cancel = cancel, .close = close_context };
	dns_ub_base_init(&ub->base, loop);
	pthread_mutex_lock(&library);
	open_context(ub, c, &s);
	pthread_mutex_unlock(&library);
	if (!s.failed)
		return &ub->source;
	close_context(&ub->source);
	return NULL;
}

struct dns *dns_new(const struct dns_conf *c, struct loop *loop, struct arena *a, str *why)
{
	struct dns_source *source = dns_ub_source(c, loop, a, why), *local;
	struct dns *dns;

	if (source == NULL)
		return NULL;
	if (c->local.n > 0) {
		local = dns_local_new(c->local, source, a, why);
		if (local == NULL) {
			source->close(source);
			return NULL;
		}
		source = local;
	}
	dns = dns_with(source, loop, c->timeout_ms ? c->timeout_ms : 5000);
	if (dns == NULL)
		*why = STR("resolver: no memory");
	return dns;
}
