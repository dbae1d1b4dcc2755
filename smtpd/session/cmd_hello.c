/* SPDX-License-Identifier: ISC */
/*
 * The beginnings of a conversation: greeting, HELO, EHLO, STARTTLS.
 *
 * What EHLO offers is one list.  STARTTLS forgets all that was said in the clear
 * (RFC 3207 4.2), and a client that sent something behind it is let go, for
 * nobody can say who wrote that.  Loop thread.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "smtpd/base/clock.h"
#include "smtpd/session/internal.h"

/* ---- greeting ----------------------------------------------------------------- */

/* RFC 5321 3.1: 554 instead of the greeting; 421 when it may be another time. */
static void turn_away(struct session *s, struct verdict v)
{
	if (v.code == 0) {
		v.code = v.say == SAY_REJECT ? 554 : 421;
		v.esc = v.say == SAY_REJECT ? "5.7.1" : "4.7.1";
	}
	count(CONNECTIONS_REFUSED);
	refuse_by_verdict(s, &v);
	session_close(s, "refused", true);
}

static void connected(struct chain_conn *c, void *user)
{
	struct session *s = user;
	const struct verdict *v = chain_verdict(c);

	if (s->closing)
		return;
	s->doing = "connect";
	if (v->say == SAY_REJECT || v->say == SAY_DEFER) {
		turn_away(s, *v);
		return;
	}
	s->greeted = true;
	tell(s, 220, NULL, "%.*s ESMTP", STR_ARG(s->setup->hostname));
	session_await(s, s->setup->limits->command_timeout_ms);
}

void session_greet(struct session *s)
{
	if (chain_connect(s->chain, connected, s) != SAY_WAIT)
		connected(s->chain, s);
}

/* ---- HELO, EHLO ---------------------------------------------------------------- */

bool starttls_offered(const struct session *s)
{
	return s->setup->tls != NULL && !s->peer.tls.on &&
	       (s->listener->tls == TLS_STARTTLS || s->listener->tls == TLS_REQUIRED);
}

/* RFC 4954 3; nothing when nothing of the list can work over this connection. */
static void offer_logins(struct session *s, char *out, size_t room)
{
	struct auth_channel channel;
	struct arena a;
	str list;

	arena_init(&a, 16 << 10);
	session_channel(s, &a, &channel);
	list = auth_mechanisms(s->setup->auth, &channel, &a);
	if (list.n > 0)
		snprintf(out, room, "\nAUTH %.*s", STR_ARG(list));
	arena_wipe(&a);
}

/* RFC 4865 4: the most seconds, and the last date.  Said before the login, too:
 * few programs say EHLO again behind it. */
static int offer_release(const struct session *s, char *out, size_t room)
{
	uint64_t most = s->setup->submission != NULL ? s->setup->submission->future_release_ms / 1000 : 0;
	time_t last = (time_t)(clock_wall() + (int64_t)most);
	struct tm tm;
	char when[32];

	if (!s->peer.submission || most == 0 || (!s->peer.tls.on && s->peer.login.n == 0) || gmtime_r(&last, &tm) == NULL)
		return 0;
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return snprintf(out, room, "\nFUTURERELEASE %llu %s", (unsigned long long)most, when);
}

static enum step offer_extensions(struct session *s)
{
	const struct limits_conf *l = s->setup->limits;
	bool     submission = s->peer.submission;
	uint64_t mails = submission ? l->messages_submission : l->messages_inbound;
	char     text[1024];
	int      n;

	/* RFC 2920, 1870, 6152, 6531, 3030, 2034, 3461, 9422, 8689 (behind TLS only), 4865 (submission). */
	n = snprintf(text, sizeof(text),
		     "%.*s\nPIPELINING\nSIZE "
		     "%llu\n8BITMIME\nSMTPUTF8\nCHUNKING\nENHANCEDSTATUSCODES\nDSN\n"
		     "LIMITS MAILMAX=%llu RCPTMAX=%llu%s%s",
		     STR_ARG(s->setup->hostname), (unsigned long long)l->message_size,
		     (unsigned long long)mails, (unsigned long long)l->recipients,
		     starttls_offered(s) ? "\nSTARTTLS" : "", s->peer.tls.on ? "\nREQUIRETLS" : "");
	n += offer_release(s, text + n, sizeof(text) - (size_t)n);
	if (submission && s->peer.tls.on && s->peer.login.n == 0 && n > 0 &&
	    (size_t)n < sizeof(text))
		offer_logins(s, text + n, sizeof(text) - (size_t)n);
	return tell(s, 250, NULL, "%s", text);
}

static enum step hello_said(struct session *s, const struct verdict *v)
{
	if (v->say == SAY_REJECT || v->say == SAY_DEFER) {
		session_forget_hello(s);
		return refuse_by_verdict(s, v);
	}
	s->phase = READY;
	s->peer.ehlo = s->ehlo_coming;
	if (s->peer.ehlo)
		return offer_extensions(s);
	return tell(s, 250, NULL, "%.*s", STR_ARG(s->setup->hostname));
}

static void hello_judged(struct chain_conn *c, void *user)
{
	struct session *s = user;

	if (!s->closing)
		session_go(s, hello_said(s, chain_verdict(c)));
}

/* RFC 5321 4.1.4: a wrong name is no reason to refuse, so only what could not
 * stand in a Received field is. */
static bool is_name(str name)
{
	for (size_t i = 0; i < name.n; i++)
		if ((unsigned char)name.p[i] <= ' ' || name.p[i] == 0x7f)
			return false;
	return name.n > 0 && name.n <= ADDR_DOMAIN_MAX;
}

/* A longer name than those before gets a longer place. */
static bool keep_hello(struct session *s, str name)
{
	size_t room = (name.n + 15) / 16 * 16;

	if (room > s->helo_room) {
		s->helo = arena_alloc(&s->arena, room);
		s->helo_room = s->helo != NULL ? (uint16_t)room : 0;
	}
	if (s->helo != NULL)
		s->peer.helo = (str){ memcpy(s->helo, name.p, name.n), name.n };
	return s->helo != NULL;
}

static enum step hello(struct session *s, str args, bool ehlo)
{
	if (!is_name(args))
		return refuse(s, 501, "5.5.4", "Syntax: %s NAME, the name of your host",
			      ehlo ? "EHLO" : "HELO");
	session_forget_message(s);
	session_forget_hello(s);
	if (!keep_hello(s, args))
		return farewell(s, 421, "4.3.1", "No memory for this connection any more, try again later");
	s->ehlo_coming = ehlo;
	s->peer.ehlo = ehlo;
	if (chain_helo(s->chain, s->peer.helo, hello_judged, s) == SAY_WAIT)
		return STEP_WAIT;
	return hello_said(s, chain_verdict(s->chain));
}

enum step cmd_ehlo(struct session *s, str args)
{
	return hello(s, args, true);
}

enum step cmd_helo(struct session *s, str args)
{
	return hello(s, args, false);
}

/* ---- TLS ----------------------------------------------------------------------- */

/* What the connection tells goes with it, but a ghost's log line needs it. */
static void keep_tls(struct session *s)
{
	struct tls_state *t = &s->peer.tls;

	*t = conn_tls(s->conn);
	t->version = str_keep(&s->arena, t->version);
	t->cipher = str_keep(&s->arena, t->cipher);
	t->sni = str_keep(&s->arena, t->sni);
}

static enum tls_ask ask_client(const struct listener_conf *l)
{
	switch (l->client_certificate) {
	case CERTIFICATE_REQUIRE:
		return TLS_ASK_REQUIRE;
	case CERTIFICATE_REQUEST:
		return TLS_ASK;
	case CERTIFICATE_AUTO:
		return l->role == ROLE_SUBMISSION ? TLS_ASK : TLS_ASK_NONE;
	default:
		return TLS_ASK_NONE;
	}
}

void session_secure(struct session *s)
{
	conn_secure_server(s->conn, s->setup->tls);
	conn_ask_client(s->conn, ask_client(s->listener));
}

void session_secured(struct session *s)
{
	if (s->closing)
		return;
	count(TLS_STARTED);
	keep_tls(s);
	log_event(&s->log, LOG_INFO, "tls.started", KV("version", s->peer.tls.version),
		  KV("cipher", s->peer.tls.cipher), KV("sni", s->peer.tls.sni),
		  KV("ip", s->peer.ip));
	if (s->greeted)
		session_next(s);
	else
		session_greet(s);
}

enum step cmd_starttls(struct session *s, str args)
{
	(void)args;
	if (s->peer.tls.on)
		return refuse(s, 503, "5.5.1", "TLS is on already");
	if (!starttls_offered(s))
		return refuse(s, 502, "5.5.1", "STARTTLS is not offered here");
	if (s->more) {
		conn_drop_pending(s->conn);
		s->why = "sent ahead of TLS";
		return farewell(s, 554, "5.5.1",
				"Something was sent behind STARTTLS: it was thrown away, good-bye");
	}
	tell(s, 220, "2.0.0", "Go ahead");
	session_forget_hello(s);
	session_secure(s);
	session_wait(s);
	session_await(s, s->setup->limits->tls_timeout_ms);
	return STEP_DONE;
}
