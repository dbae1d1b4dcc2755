/* SPDX-License-Identifier: ISC */
/*
 * The protocol of a client as one table: what is said on entering a state, how
 * long the answer may take, and where the answer leads.
 *
 * A transaction (a "round") is MAIL, up to 100 RCPT, DATA, the message.  With
 * PIPELINING its commands leave together and every answer is heard in turn,
 * whatever the first ones said (RFC 2920 3.1).  Loop thread.
 */
#include "queue/deliver/client_inside.h"

static void settle(struct client *c, struct lease_rcpt *rcpt, const struct reply *r)
{
	client_reply_pace(c, r);
	lease_settle(c->lease, rcpt, client_reply_positive(r) ? FATE_DELIVERED : client_reply_fate(r),
	             client_reply_status(client_arena(c), r), client_reply_said(client_arena(c), r));
}

/* A server of our own choice that will not talk to us is for the operator to mend. */
static bool is_for_good(const struct client *c, const struct reply *r)
{
	return client_reply_fate(r) == FATE_BOUNCED && (c->state >= ST_RSET || c->lease->route.kind == ROUTE_MX);
}

/* This host will not take the message now: the reply says why. */
static enum state_id host_refused(struct client *c, const struct reply *r)
{
	c->unwell = c->unwell || r->code == 421;
	client_reply_pace(c, r);
	client_next_host(c, !is_for_good(c, r), client_reply_status(client_arena(c), r),
	                 client_reply_said(client_arena(c), r));
	return ST_DONE;
}

/* RFC 5321 3.8: 421 may come at any time, and is the connection's end. */
static enum state_id closing(struct client *c, const struct reply *r)
{
	c->lease->unreachable = true;
	client_reply_pace(c, r);
	client_quit(c);
	client_fail_rest(c, FATE_DEFERRED, client_reply_status(client_arena(c), r),
	                 client_reply_said(client_arena(c), r));
	return ST_DONE;
}

/* ---- greeting -------------------------------------------------------------------------- */

static void say_find(struct client *c)
{
	hosts_next(&c->hosts);
}

static enum state_id heard_banner(struct client *c, const struct reply *r)
{
	return r->code == 220 ? ST_EHLO : host_refused(c, r);
}

static void say_ehlo(struct client *c)
{
	c->caps = 0;
	c->mechanisms = 0;
	c->size_limit = c->mail_most = c->rcpt_most = 0;
	conn_writef(c->conn, "%s %.*s\r\n", c->lmtp ? "LHLO" : "EHLO", STR_ARG(c->lease->setup->hostname));
}

static void read_limits(struct client *c, str words)               /* RFC 9422 */
{
	str word;

	while (str_cut(&words, ' ', &word)) {
		if (str_starts_nocase(word, "MAILMAX="))
			str_to_u64(str_skip(word, 8), &c->mail_most);
		else if (str_starts_nocase(word, "RCPTMAX="))
			str_to_u64(str_skip(word, 8), &c->rcpt_most);
	}
}

static void read_keyword(struct client *c, str line)
{
	static const struct { const char *word; enum cap cap; } table[] = {
		{ "PIPELINING", CAP_PIPELINING }, { "8BITMIME", CAP_8BITMIME }, { "SMTPUTF8", CAP_SMTPUTF8 },
		{ "STARTTLS", CAP_STARTTLS }, { "DSN", CAP_DSN }, { "SIZE", CAP_SIZE },
		{ "REQUIRETLS", CAP_REQUIRETLS },
	};
	str word = str_head(line, str_find(line, ' ')), rest = str_trim(str_skip(line, word.n));

	for (size_t i = 0; i < COUNT(table); i++)
		if (str_is_nocase(word, table[i].word))
			c->caps |= table[i].cap;
	if (str_is_nocase(word, "SIZE"))
		str_to_u64(rest, &c->size_limit);
	else if (str_is_nocase(word, "AUTH"))
		client_auth_offered(c, rest);
	else if (str_is_nocase(word, "LIMITS"))
		read_limits(c, rest);
}

/* Greeted, as safe as it can be: the login, or the first message. */
static enum state_id go_on(struct client *c)
{
	if (!client_tls_stands(c))
		return ST_DONE;
	client_tls_remember(c);
	if (client_auth_wanted(c))
		return ST_AUTH;
	client_ready(c);
	return ST_DONE;
}

static enum state_id heard_ehlo(struct client *c, const struct reply *r)
{
	str lines = r->text, line;

	/* RFC 5321 3.2: who does not know EHLO is greeted with HELO. */
	if (!c->lmtp && (r->code == 500 || r->code == 502))
		return ST_HELO;
	if (!client_reply_positive(r))
		return host_refused(c, r);
	str_cut(&lines, '\n', &line);                /* the greeting */
	while (str_cut(&lines, '\n', &line))
		read_keyword(c, str_trim(line));
	return client_tls_wanted(c) ? ST_STARTTLS : go_on(c);
}

static void say_helo(struct client *c)
{
	c->caps = 0;
	conn_writef(c->conn, "HELO %.*s\r\n", STR_ARG(c->lease->setup->hostname));
}

static enum state_id heard_helo(struct client *c, const struct reply *r)
{
	return client_reply_positive(r) ? go_on(c) : host_refused(c, r);
}

static void say_starttls(struct client *c)
{
	conn_write(c->conn, STR("STARTTLS\r\n"));
}

/* Opportunistic: who offered it and will not begin is spoken to in the clear. */
static enum state_id heard_starttls(struct client *c, const struct reply *r)
{
	if (r->code == 421)
		return host_refused(c, r);
	if (r->code == 220)
		return ST_HANDSHAKE;
	return go_on(c);
}

static void say_handshake(struct client *c)
{
	client_tls_say(c);
}

/* ---- a round ------------------------------------------------------------------------------------ */

static void say_rset(struct client *c)
{
	conn_write(c->conn, STR("RSET\r\n"));
}

static enum state_id heard_rset(struct client *c, const struct reply *r)
{
	if (!client_reply_positive(r))
		return host_refused(c, r);
	c->dirty = false;
	return ST_MAIL;
}

/* With PIPELINING the whole group leaves at once. */
static void say_mail(struct client *c)
{
	c->pipelined = (c->caps & CAP_PIPELINING) != 0;
	client_say_mail(c);
	if (!c->pipelined)
		return;
	for (; c->asked < c->nround; c->asked++)
		client_say_rcpt(c, c->round[c->asked]);
	conn_write(c->conn, STR("DATA\r\n"));
}

/* The round came to nothing; what is left of the lease gets another. */
static enum state_id round_failed(struct client *c)
{
	c->dirty = true;
	client_begin_round(c);
	return ST_DONE;
}

/* RFC 5321 4.2.1: a 5xx is the message's fault, a 4xx this host's, for now. */
static void mail_was_refused(struct client *c, const struct reply *r)
{
	c->mail_code = r->code;
	client_reply_pace(c, r);
	c->status = client_reply_status(client_arena(c), r);
	c->said = client_reply_said(client_arena(c), r);
}

static enum state_id act_on_refused_mail(struct client *c)
{
	/* RFC 4954 6: it wants a login, or another one; no fault of the message. */
	if (c->mail_code == 530 && c->lease->route.hop != NULL) {
		client_auth_failed(c, c->said);
		return ST_DONE;
	}
	if (c->mail_code < 500) {
		client_next_host(c, true, c->status, c->said);
		return ST_DONE;
	}
	lease_settle_rest(c->lease, FATE_BOUNCED, c->status, c->said);
	return round_failed(c);
}

static enum state_id heard_mail(struct client *c, const struct reply *r)
{
	if (c->reused && r->code / 100 == 4) {
		client_dial_again(c);
		return ST_DONE;
	}
	c->reused = false;
	if (r->code == 421)
		return host_refused(c, r);
	if (client_reply_positive(r))
		return ST_RCPT;
	mail_was_refused(c, r);
	return c->pipelined ? ST_RCPT : act_on_refused_mail(c);
}

static void say_rcpt(struct client *c)
{
	if (c->asked == c->answered)
		client_say_rcpt(c, c->round[c->asked++]);
}

/* RFC 5321 4.5.3.1.10: "too many recipients" means: these, in another round. */
static bool is_too_many(const struct client *c, const struct reply *r)
{
	return c->naccepted > 0 && (r->code == 452 || r->code == 552);
}

static void rcpt_was_answered(struct client *c, const struct reply *r)
{
	size_t i = c->answered;

	if (c->mail_code != 0 || is_too_many(c, r))
		return;
	if (client_reply_positive(r)) {
		c->accepted[i] = true;
		c->naccepted++;
		return;
	}
	settle(c, c->round[i], r);
}

static enum state_id heard_rcpt(struct client *c, const struct reply *r)
{
	if (r->code == 421 && c->mail_code == 0)
		return closing(c, r);
	rcpt_was_answered(c, r);
	if (++c->answered < c->nround)
		return ST_RCPT;
	if (c->pipelined || c->naccepted > 0)
		return ST_DATA;
	return round_failed(c);
}

static void say_data(struct client *c)
{
	if (!c->pipelined)
		conn_write(c->conn, STR("DATA\r\n"));
}

static enum state_id data_was_refused(struct client *c, const struct reply *r)
{
	struct arena *a = client_arena(c);
	bool refused = r->code >= 400;

	client_reply_pace(c, r);
	for (size_t i = 0; i < c->nround; i++)
		if (c->accepted[i])
			lease_settle(c->lease, c->round[i], client_reply_fate(r), refused ? client_reply_status(a, r) : STR("4.5.0"),
			             client_reply_said(a, r));
	return round_failed(c);
}

/* A server that wants data for nobody gets an empty message, which it must
 * refuse (RFC 2920 3.1).  An LMTP server answers nothing to that, and one that
 * refused the sender and took recipients might deliver it: there we leave. */
static enum state_id nobody_to_send_to(struct client *c, const struct reply *r)
{
	if (r->code == 354 && (c->lmtp || c->mail_code != 0)) {
		client_quit(c);
		if (c->mail_code == 0)
			client_fail_rest(c, FATE_DEFERRED, STR("4.5.0"), STR("The LMTP server took no recipient and wanted the message"));
		else
			act_on_refused_mail(c);
		return ST_DONE;
	}
	if (r->code == 354) {
		conn_write(c->conn, STR(".\r\n"));
		return ST_FINAL;
	}
	return c->mail_code != 0 ? act_on_refused_mail(c) : round_failed(c);
}

static enum state_id heard_data(struct client *c, const struct reply *r)
{
	if (r->code == 421 && c->mail_code == 0)
		return closing(c, r);
	if (c->naccepted == 0)
		return nobody_to_send_to(c, r);
	return r->code == 354 ? ST_BODY : data_was_refused(c, r);
}

/* ---- the end of the message ------------------------------------------------------------------------ */

static struct lease_rcpt *next_final(struct client *c)
{
	while (c->finals < c->nround && !c->accepted[c->finals])
		c->finals++;
	return c->finals < c->nround ? c->round[c->finals++] : NULL;
}

static void tell_relayed(struct client *c, struct lease_rcpt *rcpt, const struct reply *r)
{
	rcpt->relayed = client_reply_positive(r) && !c->lmtp && !(c->caps & CAP_DSN) && (rcpt->flags & RCPT_NOTIFY_SUCCESS);
}

/* SMTP answers once for all, LMTP for each recipient in turn (RFC 2033 4.2). */
static enum state_id heard_final(struct client *c, const struct reply *r)
{
	struct lease_rcpt *rcpt;

	if (c->naccepted == 0)
		return c->mail_code != 0 ? act_on_refused_mail(c) : round_failed(c);
	if (r->code == 421)
		return closing(c, r);
	while ((rcpt = next_final(c)) != NULL) {
		settle(c, rcpt, r);
		tell_relayed(c, rcpt, r);
		if (c->lmtp && --c->naccepted > 0)
			return ST_SAME;
	}
	c->messages++;
	c->dirty = false;
	client_begin_round(c);
	return ST_DONE;
}

const struct state client_states[ST_STATES] = {
	[ST_IDLE]      = { "idle",           WAIT_NOT,     NULL,            NULL              },
	[ST_FIND]      = { "looking it up",  WAIT_NOT,     say_find,        NULL              },
	[ST_CONNECT]   = { "connecting",     WAIT_NOT,     NULL,            NULL              },
	[ST_BANNER]    = { "at the banner",  WAIT_COMMAND, NULL,            heard_banner      },
	[ST_EHLO]      = { "after EHLO",     WAIT_COMMAND, say_ehlo,        heard_ehlo        },
	[ST_HELO]      = { "after HELO",     WAIT_COMMAND, say_helo,        heard_helo        },
	[ST_STARTTLS]  = { "after STARTTLS", WAIT_COMMAND, say_starttls,    heard_starttls    },
	[ST_HANDSHAKE] = { "in the TLS handshake", WAIT_TLS, say_handshake, NULL              },
	[ST_AUTH]      = { "after AUTH",     WAIT_COMMAND, client_auth_say, client_auth_heard },
	[ST_RSET]      = { "after RSET",     WAIT_COMMAND, say_rset,        heard_rset        },
	[ST_MAIL]      = { "after MAIL",     WAIT_COMMAND, say_mail,        heard_mail        },
	[ST_RCPT]      = { "after RCPT",     WAIT_COMMAND, say_rcpt,        heard_rcpt        },
	[ST_DATA]      = { "after DATA",     WAIT_DATA,    say_data,        heard_data        },
	[ST_BODY]      = { "in the message", WAIT_DATA,    client_body_say, client_body_heard },
	[ST_FINAL]     = { "after the message", WAIT_FINAL, NULL,           heard_final       },
};
