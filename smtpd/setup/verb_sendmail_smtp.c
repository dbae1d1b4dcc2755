/* SPDX-License-Identifier: ISC */
/*
 * postern sendmail -bs: SMTP on standard input and output, for mail programs that
 * speak it to a sendmail (pine, mutt).
 *
 * It is the caller's own session: each message goes to the server as his, or into
 * the directory, when its last dot has come, and the answer to the dot is what
 * became of it.  RFC 5321 4.5.1's commands, 8BITMIME, SIZE.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/mail/addr.h"
#include "smtpd/setup/drop.h"
#include "smtpd/setup/message_in.h"
#include "smtpd/setup/verbs.h"

#define LINE_MOST 4096

struct talking {
	struct submitter *s;
	struct arena      a;           /* of one message */
	struct strs       rcpts;
	size_t            room;
	str               sender;
	bool              mail, quit, greeted;
};

static void say(const char *reply)
{
	fputs(reply, stdout);
	fputs("\r\n", stdout);
	fflush(stdout);
}

static void forget(struct talking *t)
{
	arena_fini(&t->a);
	arena_init(&t->a, (size_t)64 << 20);
	t->rcpts = (struct strs){ 0 };
	t->room = 0;
	t->mail = false;
}

/* ---- the envelope ---------------------------------------------------------------------- */

/* What stands between the brackets; false: it was said why not. */
static bool read_path(struct talking *t, str args, const char *word, str *text, str *rest)
{
	struct path p;
	const char *why = "it is no address";

	if (!str_starts_nocase(args, word)) {
		printf("501 5.5.4 Syntax: %s<address>\r\n", word);
	} else if (!path_parse(&t->a, str_skip(args, strlen(word)), true, false, &p, rest, &why)) {
		printf("501 5.1.7 The address cannot be read: %s\r\n", why);
	} else {
		*text = p.domain.n > 0 ? p.text : p.local;
		return true;
	}
	fflush(stdout);
	return false;
}

static bool params_good(str rest)
{
	str word;

	while (str_cut(&rest, ' ', &word))
		if (word.n > 0 && !str_starts_nocase(word, "SIZE=") && !str_starts_nocase(word, "BODY=") &&
		    !str_is_nocase(word, "SMTPUTF8"))
			return false;
	return true;
}

static void mail_said(struct talking *t, str args)
{
	str rest = STR_NONE;

	if (t->mail) {
		say("503 5.5.1 A message was begun already: say RSET");
	} else if (read_path(t, args, "FROM:", &t->sender, &rest)) {
		t->mail = params_good(rest);
		say(t->mail ? "250 2.1.0 Sender fine" : "555 5.5.4 A parameter is not known here");
	}
}

static void rcpt_said(struct talking *t, str args)
{
	str text, rest = STR_NONE, why;

	if (!t->mail) {
		say("503 5.5.1 Say MAIL first");
	} else if (read_path(t, args, "TO:", &text, &rest)) {
		if (rest.n > 0)
			say("555 5.5.4 A parameter is not known here");
		else if (text.n == 0 || !drop_add_rcpts(&t->a, text, t->s->domain, &t->rcpts, &t->room, &why))
			say("501 5.1.3 The recipient's address cannot be read");
		else
			say("250 2.1.5 Recipient fine");
	}
}

/* ---- the message --------------------------------------------------------------------------- */

/* Up to the dot, dots undone (RFC 5321 4.5.2); false: the input ended first. */
static bool read_message(struct buf *out)
{
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	bool dot = false;

	while (!dot && (n = getline(&line, &room, stdin)) > 0) {
		str s = { line, (size_t)n };

		dot = str_is(s, ".\r\n") || str_is(s, ".\n");
		if (!dot)
			buf_add(out, s.p[0] == '.' ? str_skip(s, 1) : s);
	}
	free(line);
	return dot;
}

/* One reply of several lines may be; the code is ours, unless the server said one. */
static void tell_refusal(int status, str said)
{
	str first = str_head(said, str_find(said, '\n'));
	uint32_t code;

	if (status == EXIT_LATER)
		printf("451 4.3.0 %.*s\r\n", STR_ARG(first));
	else if (str_to_u32(str_head(first, 3), &code) && code >= 400 && code < 600)
		printf("%.*s\r\n", STR_ARG(first));
	else
		printf("554 5.0.0 %.*s\r\n", STR_ARG(first));
	fflush(stdout);
}

static void hand_over(struct talking *t, str text)
{
	const struct drop_wish wish = {
		.user = t->s->user, .domain = t->s->domain, .root = t->s->root, .from_given = true, .from = t->sender,
		.rcpts = t->rcpts, .text = text,
	};
	struct buf made, said;
	struct drop d;
	str why;
	int status = EXIT_FINDING;

	buf_init(&made, BUF_UNBOUNDED);
	buf_init(&said, (size_t)1 << 20);
	if (drop_compose(&t->a, &made, &wish, &d, &why))
		status = submit_drop(t->s, &d, &said);
	else
		buf_add(&said, why);
	if (status == EXIT_DONE)
		say("250 2.0.0 Taken");
	else
		tell_refusal(status, buf_str(&said));
	buf_fini(&said);
	buf_fini(&made);
}

static void data_said(struct talking *t)
{
	struct buf text;

	if (!t->mail || t->rcpts.n == 0) {
		say(t->mail ? "503 5.5.1 No recipient has been accepted: say RCPT first" : "503 5.5.1 Say MAIL first");
		return;
	}
	say("354 Go on, end with a lone dot");
	buf_init(&text, MESSAGE_IN_MAX);
	t->quit = !read_message(&text);
	if (!t->quit && text.failed)
		say("552 5.3.4 The message is too large");
	else if (!t->quit)
		hand_over(t, buf_str(&text));
	buf_fini(&text);
	forget(t);
}

/* ---- commands --------------------------------------------------------------------------------- */

static void hello_said(struct talking *t, bool ehlo)
{
	forget(t);
	t->greeted = true;
	if (ehlo)
		printf("250-%.*s\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n", STR_ARG(t->s->domain));
	say(ehlo ? "250 SIZE" : "250 2.0.0 Hello");
}

static void command_came(struct talking *t, str line)
{
	str verb = str_head(line, str_find(line, ' ')), args = str_trim(str_skip(line, verb.n));

	if (str_is_nocase(verb, "EHLO") || str_is_nocase(verb, "HELO")) {
		hello_said(t, str_is_nocase(verb, "EHLO"));
	} else if (str_is_nocase(verb, "MAIL")) {
		mail_said(t, args);
	} else if (str_is_nocase(verb, "RCPT")) {
		rcpt_said(t, args);
	} else if (str_is_nocase(verb, "DATA")) {
		data_said(t);
	} else if (str_is_nocase(verb, "RSET")) {
		forget(t);
		say("250 2.0.0 Forgotten");
	} else if (str_is_nocase(verb, "NOOP")) {
		say("250 2.0.0 Nothing done");
	} else if (str_is_nocase(verb, "VRFY")) {
		say("252 2.5.2 Send, and see");
	} else if (str_is_nocase(verb, "HELP")) {
		say("214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY HELP QUIT");
	} else if (str_is_nocase(verb, "QUIT")) {
		say("221 2.0.0 Good-bye");
		t->quit = true;
	} else {
		say("500 5.5.1 Not a command here; HELP lists them");
	}
}

int sendmail_smtp(struct submitter *s)
{
	struct talking t = { .s = s };
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	arena_init(&t.a, (size_t)64 << 20);
	printf("220 %.*s ESMTP\r\n", STR_ARG(s->domain));
	fflush(stdout);
	while (!t.quit && (n = getline(&line, &room, stdin)) > 0) {
		if (n > LINE_MOST || memchr(line, '\0', (size_t)n) != NULL)
			say("500 5.5.2 The line cannot be read");
		else
			command_came(&t, str_trim((str){ line, (size_t)n }));
	}
	free(line);
	arena_fini(&t.a);
	return EXIT_DONE;
}
