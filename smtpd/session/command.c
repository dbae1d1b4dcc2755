/* SPDX-License-Identifier: ISC */
/*
 * command: what may be said when.
 *
 * Order, TLS, login and length are judged here, once, from the table; a handler
 * starts from the certainty that its command is timely.  Handlers that wait
 * have copied what they need of `args`: the line is gone after they return.
 * Loop thread.
 */
#include <stdio.h>

#include "smtpd/base/clock.h"
#include "smtpd/session/internal.h"

#define PLAIN_OK    1u     /* may be said before TLS where TLS is required (RFC 3207 4) */
#define NEEDS_LOGIN 2u     /* at a submission listener */
#define ENDS_GROUP  4u     /* RFC 2920 3.1: nothing may be sent behind it before its reply */
#define NO_ARGS     8u
#define CARRIES     16u    /* octets come behind it, even when it is refused */
#define MAILS       32u    /* leads to a message: does not count as idle */
#define LEADS_ON    64u    /* to a message, one day: whoever says it is not yet useless */

/* Increments of line lengths: RFC 1870 3 (26), 6152 2 (17), 3461 4 (107; RCPT
 * 500), 6531 3.1 (10), 4954 3 (500), 4865 4 (34). */
#define MORE_FOR_MAIL (26 + 17 + 107 + 10 + 500 + 34)
#define MORE_FOR_RCPT (500 + 10)
#define MORE_FOR_AUTH (LINE_MAX_ANY - LINE_MAX_COMMAND)

static const struct command {
	const char *verb;
	enum step (*run)(struct session *, str args);
	unsigned    when;                /* phases in which the verb is timely */
	unsigned    flags;
	size_t      more;                /* octets over LINE_MAX_COMMAND */
} commands[] = {
	{ "EHLO",     cmd_ehlo,     ANY & ~CHUNKS, PLAIN_OK | ENDS_GROUP | LEADS_ON, 0 },
	{ "HELO",     cmd_helo,     ANY & ~CHUNKS, ENDS_GROUP | LEADS_ON, 0 },
	{ "STARTTLS", cmd_starttls, GREETED | READY, PLAIN_OK | ENDS_GROUP | NO_ARGS | LEADS_ON, 0 },
	{ "AUTH",     cmd_auth,     READY,         ENDS_GROUP | LEADS_ON, MORE_FOR_AUTH },
	{ "MAIL",     cmd_mail,     READY,         NEEDS_LOGIN | LEADS_ON, MORE_FOR_MAIL },
	{ "RCPT",     cmd_rcpt,     MAIL | RCPT,   MAILS | LEADS_ON, MORE_FOR_RCPT },
	{ "DATA",     cmd_data,     RCPT,          ENDS_GROUP | NO_ARGS | MAILS | LEADS_ON, 0 },
	{ "BDAT",     cmd_bdat,     RCPT | CHUNKS, CARRIES | MAILS | LEADS_ON, 0 },
	{ "RSET",     cmd_rset,     ANY,           NO_ARGS, 0 },
	{ "VRFY",     cmd_vrfy,     ANY & ~CHUNKS, ENDS_GROUP, 10 },
	{ "EXPN",     cmd_expn,     ANY & ~CHUNKS, ENDS_GROUP, 10 },
	{ "HELP",     cmd_help,     ANY & ~CHUNKS, 0, 0 },
	{ "NOOP",     cmd_noop,     ANY,           PLAIN_OK | ENDS_GROUP, 0 },
	{ "QUIT",     cmd_quit,     ANY,           PLAIN_OK | ENDS_GROUP | NO_ARGS, 0 },
};

static const struct command *command_find(str verb)
{
	for (size_t i = 0; i < COUNT(commands); i++)
		if (str_is_nocase(verb, commands[i].verb))
			return &commands[i];
	return NULL;
}

static enum step untimely(struct session *s, const struct command *c)
{
	if (s->phase == GREETED)
		return refuse(s, 503, "5.5.1", "Say EHLO first");
	if (s->phase == CHUNKS)
		return refuse(s, 503, "5.5.1",
			      "A message is being sent with BDAT: end it with BDAT LAST or RSET");
	if (c->when & READY)
		return refuse(s, 503, "5.5.1",
			      "Not inside a mail transaction: end it, or say RSET");
	if (s->phase == READY)
		return refuse(s, 503, "5.5.1", "Say MAIL first");
	return refuse(s, 503, "5.5.1", "No recipient has been accepted: say RCPT first");
}

/* True when the handler may run; else *step is what the refusal led to. */
static bool is_timely(struct session *s, const struct command *c, str line, str args,
		      enum step *step)
{
	bool tls = s->peer.tls.on, stranger = s->peer.submission && s->peer.login.n == 0;

	if (line.n + 2 > LINE_MAX_COMMAND + c->more)
		*step = refuse(s, 500, "5.5.2", "The line is too long");
	else if (s->listener->tls == TLS_REQUIRED && !tls && !(c->flags & PLAIN_OK))
		*step = refuse(s, 530, "5.7.0", "Say STARTTLS first");
	else if (stranger && (c->flags & NEEDS_LOGIN) && s->phase != GREETED)
		*step = refuse(s, 530, "5.7.0", "Log in first: AUTH is offered %s",
			       tls ? "here" : "after STARTTLS");
	else if (!(s->phase & c->when))
		*step = untimely(s, c);
	else if (args.n > 0 && (c->flags & NO_ARGS))
		*step = refuse(s, 501, "5.5.4", "%s takes no argument", c->verb);
	else
		return true;
	return false;
}

static bool idles_too_long(struct session *s, const struct command *c)
{
	if (c != NULL && (c->flags & MAILS) && (s->phase & c->when))
		return false;
	return ++s->idle_commands > s->setup->limits->idle_commands;
}

enum step command_run(struct session *s, str line)
{
	str verb = str_head(line, str_find(line, ' '));
	str args = str_trim(str_skip(line, verb.n + 1));
	const struct command *c = command_find(verb);
	enum step step;

	s->doing = c != NULL ? c->verb : "unknown";
	if (idles_too_long(s, c))
		return farewell(s, 421, "4.7.0",
				"Too many commands that lead to no message, good-bye");
	if (s->peer.login.n > 0 && !login_stands(s))
		return session_revoked(s);
	if (c == NULL)
		return refuse(s, 500, line.n + 2 > LINE_MAX_COMMAND ? "5.5.2" : "5.5.1",
		              "Not a command of this server; HELP lists them");
	if (s->more && (c->flags & ENDS_GROUP))
		s->ahead = true;
	if ((c->flags & LEADS_ON) && (s->phase & c->when))
		s->useful_ms = clock_ms();
	if (is_timely(s, c, line, args, &step))
		return c->run(s, args);
	return c->flags & CARRIES ? bdat_skip(s, args, step) : step;
}

enum step cmd_help(struct session *s, str args)
{
	/* A postmaster that can be written to: the host's own name is seldom a domain here. */
	const struct directory_domain *home = directory_home(s->setup->directory);
	char   text[256];
	size_t n = 0;

	(void)args;
	for (size_t i = 0; i < COUNT(commands); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i > 0 ? " " : "",
				      commands[i].verb);
	return tell(s, 214, "2.0.0", "%s\nRFC 5321 says what they do; postmaster@%.*s helps people",
		    text, STR_ARG(home != NULL ? home->name : s->setup->hostname));
}
