/* SPDX-License-Identifier: ISC */
/*
 * A new password: typed twice at the terminal without echo, or one line of
 * standard input when that is no terminal.  Verbs only.
 *
 * Whatever ends the typing (Ctrl-C, a hang-up), the terminal's echo is on again
 * before the verb goes on.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "auth/inside.h"
#include "auth/password.h"
#include "smtpd/base/crypt.h"

static volatile sig_atomic_t interrupted;

static void caught(int number)
{
	interrupted = number;
}

static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };

/* While a terminal is without echo the signals are blocked; they come only while
 * we wait for a key, so that none comes between a look and the wait. */
static bool     waits_with_mask;
static sigset_t mask_before;

struct quiet {                         /* a terminal without echo */
	struct termios   before;
	struct sigaction actions[COUNT(ends)];
};

static bool quiet_begin(struct quiet *q)
{
	struct sigaction catching = { .sa_handler = caught };
	struct termios now;
	sigset_t mask;

	interrupted = 0;
	sigemptyset(&mask);
	for (size_t i = 0; i < COUNT(ends); i++) {
		sigaddset(&mask, ends[i]);
		sigaction(ends[i], &catching, &q->actions[i]);
	}
	sigprocmask(SIG_BLOCK, &mask, &mask_before);
	waits_with_mask = true;
	now = q->before;
	now.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	now.c_cc[VSUSP] = _POSIX_VDISABLE;     /* a shell would stand there without echo */
	return tcsetattr(STDIN_FILENO, TCSAFLUSH, &now) == 0;
}

static void quiet_end(const struct quiet *q)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &q->before);
	for (size_t i = 0; i < COUNT(ends); i++)
		sigaction(ends[i], &q->actions[i], NULL);
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
	waits_with_mask = false;
}

/* One byte, as read(2). */
static ssize_t read_byte(char *c)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };

	if (waits_with_mask && ppoll(&in, 1, NULL, &mask_before) < 0)
		return -1;
	return read(STDIN_FILENO, c, 1);
}

/* One line without its end; ERR_CLOSED: nothing came, ERR_FULL: too long. */
static enum err read_line(char room[static PASSWORD_MAX + 2], str *line)
{
	size_t n = 0;

	while (n < PASSWORD_MAX + 2) {
		ssize_t got = read_byte(room + n);

		if (got < 0 && errno == EINTR && !interrupted)
			continue;
		if (got < 0)
			return ERR_CLOSED;
		if (got == 0 && n == 0)
			return ERR_CLOSED;
		if (got == 0 || room[n] == '\n')
			break;
		n++;
	}
	if (n > 0 && room[n - 1] == '\r')
		n--;
	*line = (str){ room, n };
	return n > PASSWORD_MAX ? ERR_FULL : OK;
}

const char *password_fault(str password)
{
	if (password.n == 0)
		return "the password is empty: choose one";
	if (password.n > PASSWORD_MAX)
		return "the password is over 1,024 bytes long: choose a shorter one";
	for (size_t i = 0; i < password.n; i++)
		if ((unsigned char)password.p[i] < ' ' || password.p[i] == 0x7f)
			return "the password holds a control character: leave it out";
	if (!utf8_valid(password))
		return "the password is not UTF-8, as mail programs send it: set the terminal to "
		       "UTF-8, or use ASCII";
	return NULL;
}

static const char *from_pipe(char room[static PASSWORD_MAX + 2], str *password)
{
	enum err e = read_line(room, password);

	if (e == ERR_CLOSED)
		return "no password came: give it as one line of standard input, or run this at a "
		       "terminal";
	if (e == ERR_FULL)
		password->n = PASSWORD_MAX + 1;
	return password_fault(*password);
}

static enum err ask(const char *question, char room[static PASSWORD_MAX + 2], str *password)
{
	enum err e;

	fputs(question, stderr);
	fflush(stderr);
	e = read_line(room, password);
	fputc('\n', stderr);
	return interrupted ? ERR_CLOSED : e;
}

static const char *type_twice(char room[static PASSWORD_MAX + 2], str *password)
{
	char again[PASSWORD_MAX + 2];
	str second = STR_NONE;
	const char *fault;
	enum err e = ask("Password: ", room, password);

	if (e == ERR_CLOSED)
		return "nothing was changed: run it again when you are ready";
	if (e == ERR_FULL)
		password->n = PASSWORD_MAX + 1;
	fault = password_fault(*password);
	if (fault != NULL)
		return fault;
	e = ask("Again: ", again, &second);
	if (e == ERR_CLOSED)
		fault = "nothing was changed: run it again when you are ready";
	else if (e == ERR_FULL || !str_eq(*password, second))
		fault = "the two passwords differ: run it again";
	crypt_wipe(again, sizeof(again));
	return fault;
}

const char *password_take(char room[static PASSWORD_MAX + 2], str *password)
{
	struct quiet quiet;
	const char *fault;

	*password = STR_NONE;
	if (!isatty(STDIN_FILENO))
		return from_pipe(room, password);
	if (tcgetattr(STDIN_FILENO, &quiet.before) != 0)
		return "the terminal does not tell its settings: give the password as a line of "
		       "standard input";
	fault = "the terminal's echo cannot be turned off: give the password as a line of standard "
	        "input";
	if (quiet_begin(&quiet))
		fault = type_twice(room, password);
	quiet_end(&quiet);
	return fault;
}
