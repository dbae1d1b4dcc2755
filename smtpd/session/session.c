/* SPDX-License-Identifier: ISC */
/*
 * session: one connection, from accept to its end.
 *
 * Bytes go to whatever `take` says they are: command lines, AUTH responses, a
 * message.  A handler answers at once (STEP_DONE), waits (STEP_WAIT: nothing is
 * read until session_next) or ends it (STEP_CLOSE).  The end always comes at
 * the loop's next turn, so nobody finds the session gone under his feet; who is
 * called back meanwhile looks at `closing` first.  A session whose put is out
 * becomes a ghost and is freed when the put comes home.  Loop thread.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/clock.h"
#include "smtpd/session/internal.h"

#define ARENA_BUDGET ((size_t)256 << 10)     /* what modules may keep for a connection */
#define TEXTS        ((size_t)128)           /* usual: address, its name, HELO's */

/* ---- replies -------------------------------------------------------------------- */

static void say(struct session *s, int code, const char *esc, str text)
{
	struct buf b;

	buf_init(&b, REPLY_TOTAL_MAX);
	reply_write(&b, code, esc, text);
	conn_write(s->conn, buf_str(&b));
	buf_fini(&b);
}

static void log_refused(struct session *s, int code, const char *esc, const char *text)
{
	log_event(&s->log, LOG_INFO, "command.refused",
		  KV_C("verb", s->doing != NULL ? s->doing : "-"), KV_N("code", code),
		  KV_C("esc", esc), KV_C("text", text), KV("ip", s->peer.ip));
	count(COMMANDS_REFUSED);
}

#define FORMATTED(text)                                           \
	char    text[REPLY_LINE_MAX];                             \
	va_list args_;                                            \
	va_start(args_, format);                                  \
	vsnprintf(text, sizeof(text), format, args_);             \
	va_end(args_)

enum step tell(struct session *s, int code, const char *esc, const char *format, ...)
{
	FORMATTED(text);
	say(s, code, esc, str_of(text));
	return STEP_DONE;
}

enum step refuse(struct session *s, int code, const char *esc, const char *format, ...)
{
	FORMATTED(text);
	log_refused(s, code, esc, text);
	if (++s->errors > s->setup->limits->errors)
		return farewell(s, 421, "4.7.0", "Too many errors, good-bye");
	say(s, code, esc, str_of(text));
	return STEP_DONE;
}

enum step refuse_kindly(struct session *s, int code, const char *esc, const char *format, ...)
{
	FORMATTED(text);
	log_refused(s, code, esc, text);
	say(s, code, esc, str_of(text));
	return STEP_DONE;
}

enum step farewell(struct session *s, int code, const char *esc, const char *format, ...)
{
	FORMATTED(text);
	if (s->why == NULL)
		s->why = "refused";
	log_refused(s, code, esc, text);
	say(s, code, esc, str_of(text));
	return STEP_CLOSE;
}

enum step refuse_by_verdict(struct session *s, const struct verdict *v)
{
	bool for_good = v->say == SAY_REJECT;
	int  code = v->code != 0 ? v->code : for_good ? 550 : 451;
	const char *esc = v->code != 0 ? v->esc : for_good ? "5.7.1" : "4.7.1";
	str text = v->text.n > 0 ? v->text
		   : for_good	 ? STR("Refused")
				 : STR("Not now, try again later");

	log_event(&s->log, LOG_INFO, "command.refused",
		  KV_C("verb", s->doing != NULL ? s->doing : "connect"), KV_N("code", code),
		  KV_C("esc", esc), KV("text", text), KV("ip", s->peer.ip),
		  KV_C("module", v->module != NULL ? v->module : "-"));
	count(COMMANDS_REFUSED);
	say(s, code, esc, text);
	return STEP_DONE;
}

/* ---- waiting ---------------------------------------------------------------------- */

static uint64_t patience(const struct session *s)
{
	const struct limits_conf *l = s->setup->limits;

	return session_in_flight(s) || s->chunk_left > 0 ? l->data_timeout_ms
							 : l->command_timeout_ms;
}

void session_await(struct session *s, uint64_t in_ms)
{
	conn_deadline(s->conn, in_ms);
}

void session_wait(struct session *s)
{
	s->waiting = true;
	conn_deadline(s->conn, 0);
	conn_pause(s->conn);
}

void session_next(struct session *s)
{
	if (s->closing)
		return;
	s->waiting = false;
	s->crawl_ms = 0;
	if (s->front->stopping && !session_in_flight(s)) {
		session_lay_down(s);
		return;
	}
	session_await(s, patience(s));
	conn_resume(s->conn);
}

void session_go(struct session *s, enum step step)
{
	if (step == STEP_CLOSE)
		session_close(s, NULL, true);
	else if (step == STEP_DONE)
		session_next(s);
}

/* RFC 5321 4.5.3.2: whoever stays away is told and let go. */
static void late(struct conn *c)
{
	struct session *s = conn_user(c);

	count(TIMEOUTS);
	s->why = "timeout";
	if (s->greeted)
		farewell(s, 421, "4.4.2", "Nothing came from you for too long, good-bye");
	session_close(s, "timeout", s->greeted);
}

bool session_in_flight(const struct session *s)
{
	return s->txn != NULL && (s->txn->begun || s->txn->lent);
}

enum step session_revoked(struct session *s)
{
	s->why = "login revoked";
	return farewell(s, 421, "4.7.0", "This login does not count any more: log in again");
}

void session_lay_down(struct session *s)
{
	if (s->closing || session_in_flight(s))
		return;
	s->why = "stopping";
	if (s->greeted) {
		farewell(s, 421, "4.3.2", "%.*s is stopping, try again in a minute",
			 STR_ARG(s->setup->hostname));
		conn_flush(s->conn);
	}
	session_close(s, "stopping", s->greeted);
}

/* ---- bytes ------------------------------------------------------------------------- */

static void step_taken(struct session *s, enum step step)
{
	if (step == STEP_WAIT)
		session_wait(s);
	else if (step == STEP_CLOSE)
		session_close(s, NULL, true);
	else if (!s->waiting)
		session_await(s, patience(s));
}

void session_take_lines(struct session *s, str *in)
{
	str line;

	s->doing = NULL;
	switch (line_take(&s->line, in, &line)) {
	case LINE_MORE:
		break;
	case LINE_GOOD:
		s->more = in->n > 0;
		step_taken(s, command_run(s, line));
		break;
	case LINE_LONG:
		step_taken(s, refuse(s, 500, "5.5.2", "The line is too long"));
		break;
	case LINE_FAULTY:
		step_taken(s, refuse(s, 500, "5.5.2",
				     "Lines end in CR LF, and hold neither of them nor NUL"));
		break;
	}
}

static size_t bytes(struct conn *c, str in)
{
	struct session *s = conn_user(c);
	str    rest = in;
	size_t before;

	if (!s->greeted && !s->closing) {
		s->doing = "greeting";
		farewell(s, 554, "5.5.1", "The server speaks first (RFC 5321 3.1), good-bye");
		session_close(s, "spoke first", true);
	}
	do {
		if (s->closing)
			return in.n;
		before = rest.n;
		s->take(s, &rest);
	} while (rest.n > 0 && rest.n < before && !s->waiting);
	return s->closing ? in.n : in.n - rest.n;
}

static void secured(struct conn *c)
{
	session_secured(conn_user(c));
}

/* ---- ends --------------------------------------------------------------------------- */

static void ended(struct conn *c, enum conn_end how)
{
	static const char *const words[] = {
		[CONN_EOF] = "client closed",
		[CONN_RESET] = "connection lost",
		[CONN_TIMEOUT] = "timeout",
		[CONN_TLS_FAILED] = "tls failed",
		[CONN_DIAL_FAILED] = "connection lost",
	};
	struct session *s = conn_user(c);

	if (how == CONN_TLS_FAILED) {
		count(TLS_FAILED);
		log_event(&s->log, LOG_INFO, "tls.failed", KV("ip", s->peer.ip),
			  KV("why", conn_why(c)));
	}
	session_close(s, words[how], false);
}

static void session_free(struct session *s)
{
	struct front *f = s->front;

	txn_free(s->txn);
	if (s->chain != NULL)
		chain_close(s->chain);
	arena_fini(&s->arena);
	limits_leave(&s->place);
	*s->at = s->next;
	if (s->next != NULL)
		s->next->at = s->at;
	era_leave(s->era);
	free(s);
	front_left(f);
}

static void log_closed(const struct session *s)
{
	if (s->txn != NULL && s->txn->begun && !s->txn->lent)
		log_event(&s->txn->log, LOG_NOTICE, "message.cut",
			  KV_C("why", s->why != NULL ? s->why : "-"),
			  KV("from", s->txn->in.sender.text), KV_N("size", s->txn->bytes),
			  KV("ip", s->peer.ip));
	log_event(&s->log, LOG_INFO, "session.closed", KV("ip", s->peer.ip),
		  KV("helo", s->peer.helo), KV_C("why", s->why != NULL ? s->why : "quit"),
		  KV_N("messages", s->messages), KV_N("errors", s->errors),
		  KV_N("ms", clock_ms() - s->opened_ms), KV("login", s->peer.login),
		  KV_C("ahead", s->ahead ? "yes" : "no"));
}

static void close_now(struct loop_call *call)
{
	struct session *s = SUPER(call, struct session, closer);

	log_closed(s);
	if (s->auth != NULL)
		auth_try_end(s->auth);
	s->auth = NULL;
	if (s->politely)
		conn_close_politely(s->conn);
	else
		conn_close(s->conn);
	s->conn = NULL;
	s->ghost = s->txn != NULL && s->txn->lent;
	if (!s->ghost)
		session_free(s);
}

void session_close(struct session *s, const char *why, bool politely)
{
	if (s->closing)
		return;
	s->closing = true;
	s->politely = politely;
	if (s->why == NULL)
		s->why = why;
	conn_deadline(s->conn, 0);
	conn_pause(s->conn);
	loop_defer(s->front->loop, &s->closer, close_now);
}

/* The put of a ghost is home. */
static void came_home(struct session *s)
{
	must(s->ghost);
	session_free(s);
}

void session_forget_message(struct session *s)
{
	txn_free(s->txn);
	s->txn = NULL;
	s->take = session_take_lines;
	if (s->phase > READY)
		s->phase = READY;
	if (s->ghost)
		came_home(s);
}

void session_forget_hello(struct session *s)
{
	s->phase = GREETED;
	s->peer.helo = STR_NONE;
	s->peer.ehlo = false;
}

/* ---- beginnings ----------------------------------------------------------------------- */

static const struct conn_events events = { .bytes = bytes, .secured = secured, .ended = ended, .late = late };

/* Unique in one life; the queue's ids, which the log shows too, look otherwise. */
static str session_name(char *out, size_t room)
{
	static _Atomic uint64_t last;
	int n = snprintf(out, room, "s%" PRIu64,
			 atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1);

	return (str){ out, (size_t)n };
}

static void fill_peer(struct session *s, const struct sockaddr *sa)
{
	size_t n = sa->sa_family == AF_INET ? sizeof(struct sockaddr_in)
	         : sa->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(sa->sa_family);

	memcpy(&s->peer.addr, sa, n);
	s->peer.ip = str_of(str_cstr(&s->arena, str_of(addr_text(sa).s)));
	s->peer.submission = s->listener->role == ROLE_SUBMISSION;
	s->device = device_of(s->setup, sa);
	if (s->device == NULL)
		return;
	s->peer.login = s->device->as;
	log_event(&s->log, LOG_INFO, "device.known", KV("device", s->device->head.title), KV("login", s->peer.login),
	          KV("ip", s->peer.ip));
}

static struct session *session_new(struct front *f, const struct listener_conf *listener)
{
	struct session *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->front = f;
	s->era = f->era;
	s->setup = f->era->setup;
	s->listener = listener;
	s->phase = GREETED;
	s->take = session_take_lines;
	s->opened_ms = s->useful_ms = clock_ms();
	s->log.id = session_name(s->id, sizeof(s->id));
	arena_init_exact(&s->arena, ARENA_BUDGET, chain_conn_size(s->setup->chain) + TEXTS);
	return s;
}

static void session_join(struct session *s)
{
	struct front *f = s->front;

	s->era->users++;
	s->next = f->sessions;
	s->at = &f->sessions;
	if (f->sessions != NULL)
		f->sessions->at = &s->next;
	f->sessions = s;
	front_joined(f);
}

void session_open(struct front *f, const struct listener_conf *listener, int fd,
		  const struct sockaddr *sa, struct limits_place *place)
{
	session_open_user(f, listener, fd, sa, place, STR_NONE);
}

void session_open_user(struct front *f, const struct listener_conf *listener, int fd, const struct sockaddr *sa,
                       struct limits_place *place, str local_user)
{
	struct session *s = session_new(f, listener);

	if (s != NULL)
		s->conn = conn_open(f->loop, fd, &events, s);
	else
		close(fd);
	if (s == NULL || s->conn == NULL) {
		if (s != NULL)
			arena_fini(&s->arena);
		free(s);
		limits_leave(place);
		return;
	}
	s->place = *place;
	fill_peer(s, sa);
	session_join(s);
	count(CONNECTIONS);
	log_event(&s->log, LOG_INFO, "session.opened", KV("ip", s->peer.ip),
		  KV("listener", listener->head.title));
	if (local_user.n == 0 || drop_user_known(s, local_user))
		s->chain = chain_open(s->setup->chain, f->loop, &s->peer, &s->arena, &s->log);
	if (s->chain == NULL) {
		farewell(s, 421, "4.3.1", "No memory for another connection now, try again later");
		session_close(s, "no memory", true);
	} else if (listener->tls == TLS_IMPLICIT) {
		session_await(s, s->setup->limits->tls_timeout_ms);
		session_secure(s);
	} else {
		session_greet(s);
	}
}
