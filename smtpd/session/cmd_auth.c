/* SPDX-License-Identifier: ISC */
/*
 * AUTH (RFC 4954): base64 in and out; auth/ does the rest.
 *
 * Offered at submission listeners and after TLS only.  What the client sent is
 * wiped where it lay as soon as it was decoded, and the decoded copy as soon as
 * auth has it.  An exchange that is out when the client goes is auth's ghost,
 * not ours.  Who logged in and who did not, auth writes into the log.  Loop thread.
 */
#include "smtpd/base/crypt.h"
#include "smtpd/session/internal.h"

#define BINDING_ROOM 64

void session_channel(const struct session *s, struct arena *a, struct auth_channel *out)
{
	*out = (struct auth_channel){ .ip = s->peer.ip.p, .mechanisms = s->listener->mechanisms };
	if (!s->peer.tls.on)
		return;
	if (conn_tls_binding(s->conn, NULL, 0, &out->binding_type) == 0)
		out->binding_type = NULL;
	conn_tls_names(s->conn, auth_certificate_names(s->setup->auth), a, &out->certificate);
}

/* The mechanisms that look at the binding, or at whether the client knew of it. */
static void bind_channel(const struct session *s, str mechanism, struct arena *a, struct auth_channel *c)
{
	unsigned char binding[BINDING_ROOM];
	size_t n;

	if (c->binding_type == NULL || !str_starts_nocase(mechanism, "SCRAM-"))
		return;
	n = conn_tls_binding(s->conn, binding, sizeof(binding), &c->binding_type);
	c->binding = str_keep(a, (str){ (const char *)binding, n });
	if (c->binding.n == 0)
		c->binding_type = NULL;
	crypt_wipe(binding, sizeof(binding));
}

static void exchange_over(struct session *s)
{
	auth_try_end(s->auth);
	s->auth = NULL;
	s->take = session_take_lines;
}

static enum step logged_in(struct session *s)
{
	str login = str_keep(&s->arena, auth_try_login(s->auth));

	s->login = auth_try_stands(s->auth);
	exchange_over(s);
	if (login.n == 0)
		return refuse_kindly(s, 454, "4.7.0", "No memory for a login now, try again later");
	s->peer.login = login;
	if (!login_stands(s)) {           /* locked: the same words as for a wrong password */
		s->peer.login = STR_NONE;
		s->login = (struct auth_login){ 0 };
		count(LOGINS_REFUSED);
		log_event(&s->log, LOG_NOTICE, "login.locked", KV("login", login), KV("ip", s->peer.ip));
		return refuse(s, 535, "5.7.8", "Name or password is wrong");
	}
	count(LOGINS);
	return tell(s, 235, "2.7.0", "Welcome");
}

static enum step not_offered(struct session *s)
{
	struct auth_channel channel;
	struct arena a;
	enum step step;
	str list;

	arena_init(&a, 16 << 10);
	session_channel(s, &a, &channel);
	list = auth_mechanisms(s->setup->auth, &channel, &a);
	step = refuse(s, 504, "5.5.4", "This mechanism is not offered: choose one of %.*s",
	              STR_ARG(list));
	arena_wipe(&a);
	return step;
}

/* Others of its connections may have guessed. */
static bool is_refused(const struct session *s)
{
	return auth_refuses(s->setup->auth, &s->peer.addr.sa) > 0;
}

static enum step turn_out(struct session *s)
{
	return farewell(s, 421, "4.7.0", "Too many wrong logins from your address, try again later");
}

static enum step not_logged_in(struct session *s, enum auth_says says)
{
	exchange_over(s);
	count(LOGINS_REFUSED);
	if (is_refused(s))
		return turn_out(s);
	switch (says) {
	case AUTH_LATER:
		return refuse_kindly(s, 454, "4.7.0",
				     "Logins cannot be checked now, try again in a minute");
	case AUTH_NO_MECH:
		return not_offered(s);
	case AUTH_MALFORMED:
		return refuse(s, 501, "5.5.2", "The response does not fit the mechanism");
	default:
		return refuse(s, 535, "5.7.8", "Name or password is wrong");
	}
}

/* RFC 4954 4: the response is base64, "=" stands for an empty one, "*" cancels. */
static bool decode(str text, struct arena *arena, str *out)
{
	bool good;

	if (str_is(text, "=")) {
		*out = STR("");
		return true;
	}
	good = base64_decode(arena, text, false, out);
	/* It lies in memory of the connection's, which may stay long. */
	crypt_wipe((void *)(uintptr_t)text.p, text.n);
	return good;
}

static enum step response_came(struct session *s, str line)
{
	struct arena arena;
	str response;

	if (str_is(line, "*")) {
		exchange_over(s);
		return refuse(s, 501, "5.7.0", "Cancelled, as you wished");
	}
	arena_init(&arena, 2 * LINE_MAX_ANY);
	if (!decode(line, &arena, &response)) {
		arena_wipe(&arena);
		exchange_over(s);
		return refuse(s, 501, "5.5.2", "The response is not base64");
	}
	auth_try_step(s->auth, response);
	arena_wipe(&arena);
	return STEP_WAIT;
}

static void take_response(struct session *s, str *in)
{
	str line;
	enum step step = STEP_WAIT;

	s->doing = "AUTH";
	switch (line_take(&s->line, in, &line)) {
	case LINE_MORE:
		return;
	case LINE_GOOD:
		step = response_came(s, line);
		break;
	case LINE_LONG:
		exchange_over(s);
		step = refuse(s, 500, "5.5.2", "The response is too long");
		break;
	case LINE_FAULTY:
		exchange_over(s);
		step = refuse(s, 501, "5.5.2", "The response holds a NUL, or does not end in CR LF");
	}
	if (step == STEP_WAIT)
		session_wait(s);
	else if (step == STEP_CLOSE)
		session_close(s, NULL, true);
	else
		session_await(s, s->setup->limits->command_timeout_ms);
}

static enum step challenge(struct session *s, str text)
{
	struct arena arena;

	arena_init(&arena, 4 * LINE_MAX_ANY);
	conn_write(s->conn, STR("334 "));
	conn_write(s->conn, base64_encode(&arena, text));
	conn_write(s->conn, STR("\r\n"));
	arena_wipe(&arena);
	s->take = take_response;
	return STEP_DONE;
}

static void answered(struct auth_try *a, enum auth_says says, str text, void *user)
{
	struct session *s = user;

	(void)a;
	if (s->closing)
		return;
	s->doing = "AUTH";
	if (says == AUTH_MORE)
		session_go(s, challenge(s, text));
	else if (says == AUTH_PASSED)
		session_go(s, logged_in(s));
	else
		session_go(s, not_logged_in(s, says));
}

static enum step begin(struct session *s, str mechanism, str text)
{
	struct auth_channel channel;
	struct arena arena;
	str initial = STR_NONE;

	arena_init(&arena, 4 * LINE_MAX_ANY);
	if (text.n > 0 && !decode(text, &arena, &initial)) {
		arena_wipe(&arena);
		return refuse(s, 501, "5.5.2", "The initial response is not base64");
	}
	session_channel(s, &arena, &channel);
	bind_channel(s, mechanism, &arena, &channel);
	s->auth = auth_try_new(s->setup->auth, s->front->loop, &channel, answered, s);
	if (s->auth != NULL) {
		auth_try_log(s->auth, &s->log);
		auth_try_begin(s->auth, mechanism, text.n > 0 ? &initial : NULL);
	}
	arena_wipe(&arena);
	if (s->auth == NULL)
		return refuse_kindly(s, 454, "4.7.0",
				     "Logins cannot be checked now, try again in a minute");
	return STEP_WAIT;
}

enum step cmd_auth(struct session *s, str args)
{
	str mechanism = str_head(args, str_find(args, ' '));

	if (!s->peer.submission)
		return refuse(s, 502, "5.5.1",
			      "Logins are not taken on this port: use 465, or 587 with STARTTLS");
	if (!s->peer.tls.on)
		return refuse(s, 538, "5.7.11",
			      "Passwords are not taken in the clear: say STARTTLS first");
	if (s->peer.login.n > 0)
		return refuse(s, 503, "5.5.1", "You are logged in already");
	if (mechanism.n == 0)
		return refuse(s, 501, "5.5.4", "Syntax: AUTH MECHANISM [RESPONSE]");
	if (is_refused(s))
		return turn_out(s);
	return begin(s, mechanism, str_skip(args, mechanism.n + 1));
}
