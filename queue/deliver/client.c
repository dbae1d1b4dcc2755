/* SPDX-License-Identifier: ISC */
/*
 * The life of a client: leases come, connections open and close, one state at a
 * time.  What is said in each state stands in client_smtp.c.
 *
 * Invariant: a lease goes home exactly once, with every recipient settled, and
 * never while a window of its body is being read.  Loop thread, but for the
 * calls of client.h.
 */
#include "queue/deliver/client_inside.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/base/log.h"

static void end_now(struct client *);

/* ---- small things --------------------------------------------------------------------- */

struct arena *client_arena(struct client *c)
{
	return &c->lease->arena;
}

static void copy_text(char *out, size_t room, str s)
{
	snprintf(out, room, "%.*s", STR_ARG(s));
}

void client_enter(struct client *c, enum state_id next)
{
	const struct state *s = &client_states[next];

	log_event(NULL, LOG_DEBUG, "client.state", KV_C("host", c->host), KV_C("from", client_states[c->state].name),
	          KV_C("to", s->name));
	c->state = next;
	if (c->conn != NULL && s->wait != WAIT_NOT)
		conn_deadline(c->conn, client_wait_ms(c, s->wait));
	if (s->say != NULL)
		s->say(c);
}

/* ---- ends of connections --------------------------------------------------------------- */

static void connection_forgotten(struct client *c)
{
	c->conn = NULL;
	loop_timer_stop(&c->idle);
	client_auth_forget(c);
	reply_reader_fini(&c->reader);
	reply_reader_init(&c->reader);
}

void client_drop(struct client *c)
{
	if (c->conn == NULL)
		return;
	conn_close(c->conn);
	connection_forgotten(c);
}

void client_quit(struct client *c)
{
	if (c->conn == NULL)
		return;
	conn_write(c->conn, STR("QUIT\r\n"));
	conn_close_politely(c->conn);
	connection_forgotten(c);
}

/* ---- ends of leases --------------------------------------------------------------------- */

static bool worth_keeping(const struct client *c)
{
	return c->conn != NULL && c->idle_ms > 0 && c->messages < c->messages_most &&
	       (c->mail_most == 0 || c->messages < c->mail_most);
}

static void keep_or_quit(struct client *c)
{
	if (!worth_keeping(c)) {
		client_quit(c);
		return;
	}
	conn_deadline(c->conn, 0);
	loop_timer_set(&c->idle, c->idle_ms);
}

static void go_home(struct client *c)
{
	struct lease *l = c->lease;

	c->lease = NULL;
	c->abandoned = false;
	client_body_forget(c);
	l->baton.arrived = c->house->lease_home;
	mbox_send(l->baton.home, &l->baton);
	if (c->ending)
		end_now(c);
}

void client_over(struct client *c)
{
	hosts_stop(&c->hosts);
	policy_look_stop(&c->look);
	if (c->reading) {              /* its homecoming ends the lease */
		c->abandoned = true;
		client_drop(c);
		c->state = ST_IDLE;
		return;
	}
	client_enter(c, ST_IDLE);
	keep_or_quit(c);
	go_home(c);
}

void client_window_home(struct client *c)
{
	go_home(c);
}

void client_fail_rest(struct client *c, enum fate fate, str status, str said)
{
	lease_settle_rest(c->lease, fate, status, said);
	client_over(c);
}

static void no_host_left(struct client *c)
{
	bool for_good = !c->temporary && !c->hosts.lost && c->said.n > 0;

	c->lease->unreachable = !for_good && (!c->talked || c->unwell);
	client_fail_rest(c, for_good ? FATE_BOUNCED : FATE_DEFERRED, c->status, c->said);
}

void client_next_host(struct client *c, bool temporary, str status, str said)
{
	c->temporary = c->temporary || temporary;
	c->status = str_keep(client_arena(c), status);
	c->said = str_keep(client_arena(c), said);
	log_event(NULL, LOG_INFO, "host.failed", KV_C("host", c->host), KV_C("state", client_states[c->state].name),
	          KV("reply", said));
	client_quit(c);
	client_enter(c, ST_FIND);
}

/* ---- the connection's events --------------------------------------------------------------- */

/* Until the first transaction there is one answer to one question.  More means
 * a peer that does not wait (RFC 5321 4.3.1) or, behind the answer to STARTTLS,
 * clear text that somebody wants us to take for encrypted. */
static void talked_out_of_turn(struct client *c)
{
	client_next_host(c, true, STR("4.5.0"),
	                 arena_printf(client_arena(c), "%s talks out of turn (%s)", c->host, client_states[c->state].name));
}

static void reply_came(struct client *c, const struct reply *reply)
{
	enum state_id next;

	must(client_states[c->state].heard != NULL);
	next = client_states[c->state].heard(c, reply);
	if (next < ST_STATES)
		client_enter(c, next);
}

static size_t bytes_came(struct conn *conn, str in)
{
	struct client *c = conn_user(conn);
	struct reply reply;
	bool done, bad;
	size_t used;

	if (c->state == ST_IDLE) {     /* "421 closing", or noise: either way its end */
		client_quit(c);
		return in.n;
	}
	used = reply_read(&c->reader, &c->heard, in, &reply, &done, &bad);
	if (bad) {
		client_next_host(c, true, STR("4.5.0"),
		                 arena_printf(client_arena(c), "%s said something that is no SMTP reply", c->host));
		return used;
	}
	if (!done)
		return used;
	if (c->state <= ST_AUTH && used < in.n)
		talked_out_of_turn(c);
	else
		reply_came(c, &reply);
	arena_fini(&c->heard);
	return used;
}

static bool is_implicit(const struct client *c)
{
	const struct hop *hop = c->lease->route.hop;

	return hop != NULL && hop->tls == HOP_IMPLICIT;
}

static void connected(struct conn *conn)
{
	struct client *c = conn_user(conn);

	client_enter(c, is_implicit(c) ? ST_HANDSHAKE : ST_BANNER);
}

static void secured(struct conn *conn)
{
	struct client *c = conn_user(conn);
	struct tls_state tls = conn_tls(conn);

	c->secured = true;
	c->lease->tls = arena_printf(client_arena(c), "%.*s %.*s", STR_ARG(tls.version), STR_ARG(tls.cipher));
	if (client_tls_proved(c))
		client_enter(c, is_implicit(c) ? ST_BANNER : ST_EHLO);
}

static void drained(struct conn *conn)
{
	struct client *c = conn_user(conn);

	if (c->state == ST_BODY && !c->reading)
		client_body_more(c);
}

static void host_found(struct hosts *, enum hosts_found);

static void begin_hosts(struct client *c)
{
	hosts_stop(&c->hosts);
	policy_look_stop(&c->look);
	hosts_begin(&c->hosts, c->loop, client_arena(c), c->lease->setup, &c->lease->route, host_found, c);
	client_tls_begin(c);
}

void client_dial_again(struct client *c)
{
	client_drop(c);
	c->reused = false;
	begin_hosts(c);
	client_enter(c, ST_FIND);
}

static str sentence_of_end(struct client *c, enum conn_end how)
{
	const char *state = client_states[c->state].name;
	struct arena *a = client_arena(c);

	switch (how) {
	case CONN_DIAL_FAILED:
		return arena_printf(a, "Connection to %s failed: %.*s", c->host, STR_ARG(conn_why(c->conn)));
	case CONN_TIMEOUT:
		if (c->state == ST_CONNECT)
			return arena_printf(a, "Connection to %s timed out", c->host);
		return arena_printf(a, "%s did not answer in time (%s)", c->host, state);
	case CONN_TLS_FAILED:
		return arena_printf(a, "TLS with %s failed (%s): %.*s", c->host, state, STR_ARG(conn_why(c->conn)));
	default:
		return arena_printf(a, "The connection to %s was lost (%s): %.*s", c->host, state,
		                    STR_ARG(conn_why(c->conn)));
	}
}

/* Up to the answer to MAIL another host may do better; from RCPT on the
 * attempt is over, and what was not answered is tried again later. */
static void ended(struct conn *conn, enum conn_end how)
{
	struct client *c = conn_user(conn);
	str said;

	if (c->state == ST_IDLE) {
		client_drop(c);
		return;
	}
	if (c->reused) {
		client_dial_again(c);
		return;
	}
	said = sentence_of_end(c, how);
	if (c->state == ST_HANDSHAKE && how != CONN_TIMEOUT && client_tls_broke(c, said))
		return;
	if (c->state <= ST_MAIL) {
		client_next_host(c, true, STR("4.4.2"), said);
		return;
	}
	client_drop(c);
	client_fail_rest(c, FATE_DEFERRED, STR("4.4.2"), said);
}

static const struct conn_events events = {
	.bytes = bytes_came, .connected = connected, .secured = secured, .drained = drained, .ended = ended,
};

/* ---- finding a host ---------------------------------------------------------------------- */

void client_name_host(struct client *c)
{
	const struct hosts *h = &c->hosts;
	struct addr_text at = addr_text((const struct sockaddr *)&h->to);

	copy_text(c->name, sizeof(c->name), h->name);
	if (h->to.ss_family == AF_UNIX)
		snprintf(c->host, sizeof(c->host), "unix:%s", c->name);
	else if (strcmp(at.s, c->name) == 0)
		snprintf(c->host, sizeof(c->host), "%s:%u", at.s,
		         ntohs(((const struct sockaddr_in *)&h->to)->sin_port));
	else
		snprintf(c->host, sizeof(c->host), "%s[%s]", c->name, at.s);
	c->lease->host = str_keep(client_arena(c), str_of(c->host));
	c->lease->mx = str_keep(client_arena(c), str_of(c->name));
	c->lease->tls = STR_NONE;
	c->lease->verified = NULL;
}

/* Its provider has told another domain to wait. */
static bool rests(const struct client *c)
{
	return c->house->resting != NULL && !c->lmtp && resting_has(c->house->resting, provider_name(str_of(c->name)), clock_wall());
}

void client_dial(struct client *c)
{
	struct sockaddr_storage from;
	socklen_t nfrom;

	c->caps = 0;
	c->size_limit = c->mail_most = c->rcpt_most = c->messages = 0;
	c->secured = c->no_ehlo = c->dirty = c->reused = c->logged_in = false;
	c->mechanisms = 0;
	client_name_host(c);
	if (rests(c)) {
		c->lease->pace.kind = PACE_SLOWED;
		client_next_host(c, true, STR("4.4.5"),
		                 arena_printf(client_arena(c), "%s belongs to a provider that has asked us to slow down, and is left "
		                              "alone for a while", c->host));
		return;
	}
	nfrom = relay_source(c->lease->setup->relay, c->hosts.to.ss_family, &from);
	c->conn = conn_dial(c->loop, (const struct sockaddr *)&c->hosts.to, c->hosts.nto,
	                    nfrom > 0 ? (const struct sockaddr *)&from : NULL, nfrom, &events, c);
	if (c->conn == NULL) {
		client_next_host(c, true, STR("4.3.0"), STR("out of memory"));
		return;
	}
	conn_deadline(c->conn, c->lease->setup->relay->connect_ms);
	client_enter(c, ST_CONNECT);
}

static void host_found(struct hosts *h, enum hosts_found what)
{
	struct client *c = h->user;

	switch (what) {
	case HOSTS_ADDRESS:
		client_tls_host(c);
		return;
	case HOSTS_NO_MORE:
		no_host_left(c);
		return;
	case HOSTS_LATER:
		c->lease->unreachable = true;
		client_fail_rest(c, FATE_DEFERRED, h->status, h->said);
		return;
	case HOSTS_NEVER:
		client_fail_rest(c, FATE_BOUNCED, h->status, h->said);
		return;
	}
}

/* ---- leases ------------------------------------------------------------------------------- */

void client_ready(struct client *c)
{
	c->talked = true;
	c->lease->pace = (struct pace){ PACE_FINE, 0 };      /* another host was better disposed */
	client_begin_round(c);
}

static void lease_came(struct baton *b)
{
	struct lease *l = SUPER(b, struct lease, baton);
	struct client *c = l->channel;

	must(c->lease == NULL && c->state == ST_IDLE);
	loop_timer_stop(&c->idle);
	c->lease = l;
	c->lmtp = l->route.kind == ROUTE_LMTP;
	c->idle_ms = l->setup->relay->idle_ms;
	c->messages_most = l->setup->relay->messages_per_connection;
	c->talked = c->temporary = c->unwell = false;
	c->status = c->said = STR_NONE;
	begin_hosts(c);
	if (c->conn != NULL && !client_tls_serves(c, l))
		client_quit(c);
	if (c->conn == NULL) {
		client_enter(c, ST_FIND);
		return;
	}
	c->reused = true;
	l->host = str_keep(&l->arena, str_of(c->host));
	l->mx = str_keep(&l->arena, str_of(c->name));
	l->verified = c->secured ? c->verified : NULL;
	if (c->secured)
		l->tls = arena_printf(&l->arena, "%.*s %.*s", STR_ARG(conn_tls(c->conn).version),
		                      STR_ARG(conn_tls(c->conn).cipher));
	client_ready(c);
}

static void idle_long_enough(struct loop_timer *t)
{
	client_quit(SUPER(t, struct client, idle));
}

static void gone(struct baton *b)
{
	struct client *c = SUPER(b, struct client, end);

	c->house->client_gone(c);
}

static void end_now(struct client *c)
{
	client_quit(c);
	c->end.arrived = gone;
	mbox_send(c->end.home, &c->end);
}

static void end_came(struct baton *b)
{
	struct client *c = SUPER(b, struct client, end);

	if (c->lease == NULL) {
		end_now(c);
		return;
	}
	c->ending = true;
	client_drop(c);
	client_fail_rest(c, FATE_DEFERRED, STR(STOPPED_STATUS), STR("This server was stopped during the delivery"));
}

/* ---- the timetable's side -------------------------------------------------------------------- */

struct client *client_new(const struct client_house *house, struct loop *loop, void *user)
{
	struct client *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->house = house;
	c->loop = loop;
	c->user = user;
	arena_init(&c->heard, 2 * REPLY_TOTAL_MAX);
	reply_reader_init(&c->reader);
	loop_timer_init(&c->idle, loop, "client.idle", idle_long_enough);
	return c;
}

void client_take(struct client *c, struct lease *l)
{
	l->channel = c;
	l->baton.home = c->house->home;
	l->baton.arrived = lease_came;
	loop_send(c->loop, &l->baton);
}

void client_end(struct client *c)
{
	c->end.home = c->house->home;
	c->end.arrived = end_came;
	loop_send(c->loop, &c->end);
}

void client_free(struct client *c)
{
	if (c == NULL)
		return;
	must(c->conn == NULL && c->lease == NULL);
	arena_fini(&c->heard);
	reply_reader_fini(&c->reader);
	free(c->window);
	free(c);
}

void *client_user(const struct client *c)
{
	return c->user;
}
