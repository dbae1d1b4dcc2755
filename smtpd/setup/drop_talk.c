/* SPDX-License-Identifier: ISC */
/*
 * drop_talk: a message is handed to a server of this machine, over SMTP on a
 * socket whose other end knows whose it is.
 *
 * One exchange after the other, each waited for: both ends are this machine.
 * Blocking; a verb's thread, or the one that takes up what was dropped.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "smtpd/setup/drop.h"

#define LINE_MOST  ((size_t)4096)
#define BATCH_LESS 100u                /* recipients, where the server names no number */

struct talk {
	int                 fd;
	struct arena       *a;
	const struct drop  *d;
	struct drop_answer *answer;
	struct buf          in;
	uint32_t            rcpts_most;
	size_t              room;
	bool                lost;          /* the connection: no more words */
	bool                taken;         /* a part of the recipients has it */
};

int drop_dial(const char *base)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	size_t n = strlen(base);
	int fd, kept;

	if (n + sizeof("/socket") > sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(to.sun_path, base, n);
	memcpy(to.sun_path + n, "/socket", sizeof("/socket"));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	kept = errno;
	close(fd);
	errno = kept;
	return -1;
}

/* ---- words ------------------------------------------------------------------------- */

static void send_all(struct talk *t, str s)
{
	while (s.n > 0 && !t->lost) {
		ssize_t n = send(t->fd, s.p, s.n, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		t->lost = n <= 0;
		if (!t->lost)
			s = str_skip(s, (size_t)n);
	}
}

static void receive(struct talk *t)
{
	char *p = buf_room(&t->in, LINE_MOST);
	ssize_t n;

	do
		n = p == NULL ? -1 : recv(t->fd, p, LINE_MOST, 0);
	while (n < 0 && p != NULL && errno == EINTR);
	t->lost = n <= 0;
	if (!t->lost)
		buf_filled(&t->in, (size_t)n);
}

/* RFC 9422: what one transaction may have. */
static void note_limits(struct talk *t, str line)
{
	str word;

	if (!str_starts_nocase(line, "LIMITS "))
		return;
	while (str_cut(&line, ' ', &word))
		if (str_starts_nocase(word, "RCPTMAX="))
			(void)str_to_u32(str_skip(word, 8), &t->rcpts_most);
}

/* One reply, whole: its code; 0: there was none. */
static int hear(struct talk *t)
{
	for (;;) {
		str in = buf_str(&t->in), line = str_head(in, str_find(in, '\n'));
		uint32_t code;
		bool last;

		if (line.n == in.n && in.n < LINE_MOST && !t->lost)
			receive(t);
		if (t->lost || line.n >= LINE_MOST)
			break;
		if (line.n == in.n)
			continue;
		last = line.n < 4 || line.p[3] != '-';
		if (!str_to_u32(str_head(line, 3), &code) || code < 200 || code > 599)
			break;
		t->answer->said = str_keep(t->a, str_trim(line));
		note_limits(t, str_trim(str_skip(line, 4)));
		buf_eat(&t->in, line.n + 1);
		if (last)
			return (int)code;
	}
	t->lost = true;
	t->answer->said = STR("the server went away in the middle");
	return 0;
}

static int ask(struct talk *t, str line)
{
	send_all(t, line);
	return hear(t);
}

/* What nobody needs to hear the answer of. */
static void ask_aside(struct talk *t, str line)
{
	str said = t->answer->said;

	if (!t->lost)
		ask(t, line);
	t->answer->said = said;
}

/* ---- what comes of it --------------------------------------------------------------- */

static void refused(struct talk *t, str rcpt)
{
	struct drop_answer *o = t->answer;

	if (o->n == t->room) {
		size_t room = t->room ? 2 * t->room : 8;
		struct drop_refusal *v = ARENA_ARRAY(t->a, struct drop_refusal, room);

		if (v == NULL)
			return;
		if (o->n > 0)
			memcpy(v, o->v, o->n * sizeof(*v));
		o->v = v;
		t->room = room;
	}
	o->v[o->n++] = (struct drop_refusal){ rcpt, o->said };
}

/* Who has got it must not get it again: what is for later there is refused. */
static bool is_later(const struct talk *t, int code)
{
	return !t->taken && (code == 0 || code / 100 == 4);
}

enum part { PART_DONE, PART_LATER, PART_REFUSED };

static enum part judge(struct talk *t, int code, int good)
{
	if (code / 100 == good)
		return PART_DONE;
	return is_later(t, code) ? PART_LATER : PART_REFUSED;
}

/* ---- one transaction ------------------------------------------------------------------ */

static bool beyond_ascii(str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((unsigned char)s.p[i] >= 0x80)
			return true;
	return false;
}

static str mail_line(struct talk *t, const struct strs *rcpts)
{
	const struct drop *d = t->d;
	bool utf8 = beyond_ascii(d->sender);

	for (size_t i = 0; i < rcpts->n && !utf8; i++)
		utf8 = beyond_ascii(rcpts->v[i]);
	return arena_printf(t->a, "MAIL FROM:<%.*s> SIZE=%zu%s%s%s%.*s%s%.*s\r\n", STR_ARG(d->sender), d->message.n,
	                    beyond_ascii(d->message) ? " BODY=8BITMIME" : "", utf8 ? " SMTPUTF8" : "",
	                    d->ret.n > 0 ? " RET=" : "", STR_ARG(d->ret), d->envid.n > 0 ? " ENVID=" : "", STR_ARG(d->envid));
}

/* RFC 5321 4.5.2, from line to line. */
static void send_message(struct talk *t, str m)
{
	bool ends = m.n == 0 || str_ends_nocase(m, STR("\r\n"));

	while (m.n > 0 && !t->lost) {
		size_t n = 0;

		if (m.p[0] == '.')
			send_all(t, STR("."));
		do
			n += str_find(str_skip(m, n), '\n') + 1;
		while (n < m.n && m.p[n] != '.');
		send_all(t, str_head(m, n));
		m = str_skip(m, n);
	}
	/* Not so only in a file that somebody else than we wrote. */
	send_all(t, ends ? STR(".\r\n") : STR("\r\n.\r\n"));
}

static enum part name_rcpts(struct talk *t, const struct strs *rcpts, size_t *good)
{
	const struct drop *d = t->d;

	for (size_t i = 0; i < rcpts->n; i++) {
		int code = ask(t, arena_printf(t->a, "RCPT TO:<%.*s>%s%.*s\r\n", STR_ARG(rcpts->v[i]),
		                               d->notify.n > 0 ? " NOTIFY=" : "", STR_ARG(d->notify)));

		switch (judge(t, code, 2)) {
		case PART_DONE:
			++*good;
			break;
		case PART_LATER:
			return PART_LATER;
		case PART_REFUSED:
			refused(t, rcpts->v[i]);
		}
	}
	return PART_DONE;
}

static void all_refused(struct talk *t, const struct strs *rcpts)
{
	if (rcpts->n == t->d->rcpts.n)
		refused(t, STR_NONE);
	else
		for (size_t i = 0; i < rcpts->n; i++)
			refused(t, rcpts->v[i]);
	ask_aside(t, STR("RSET\r\n"));
}

static enum part transaction(struct talk *t, const struct strs *rcpts)
{
	size_t good = 0;
	enum part p = judge(t, ask(t, mail_line(t, rcpts)), 2);

	if (p == PART_DONE && (p = name_rcpts(t, rcpts, &good)) == PART_DONE && good == 0) {
		ask_aside(t, STR("RSET\r\n"));
		return PART_DONE;
	}
	if (p == PART_DONE)
		p = judge(t, ask(t, STR("DATA\r\n")), 3);
	if (p == PART_DONE) {
		send_message(t, t->d->message);
		p = judge(t, hear(t), 2);
	}
	t->taken = t->taken || p == PART_DONE;
	if (p == PART_REFUSED)
		all_refused(t, rcpts);
	return p;
}

/* ---- all of it ---------------------------------------------------------------------------- */

static enum part greeted(struct talk *t)
{
	enum part p = judge(t, hear(t), 2);

	if (p == PART_DONE)
		p = judge(t, ask(t, STR("EHLO localhost\r\n")), 2);
	if (p == PART_REFUSED)
		refused(t, STR_NONE);
	return p;
}

static enum part converse(struct talk *t)
{
	const struct strs *all = &t->d->rcpts;
	enum part p = greeted(t);

	for (size_t i = 0; p == PART_DONE && i < all->n; ) {
		size_t n = all->n - i < t->rcpts_most ? all->n - i : t->rcpts_most;
		const struct strs part = { all->v + i, n };

		if (transaction(t, &part) == PART_LATER)
			p = PART_LATER;
		i += n;
	}
	return p;
}

void drop_talk(int fd, unsigned patience_s, struct arena *a, const struct drop *d, struct drop_answer *out)
{
	const struct timeval patience = { .tv_sec = (time_t)patience_s };
	struct talk t = { .fd = fd, .a = a, .d = d, .answer = out, .rcpts_most = BATCH_LESS };
	enum part p;

	*out = (struct drop_answer){ .said = STR("there is no memory for it") };
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	buf_init(&t.in, 4 * LINE_MOST);
	p = converse(&t);
	out->says = p == PART_LATER || a->spent ? DROP_LATER : t.taken ? DROP_TAKEN : DROP_REFUSED;
	if (a->spent && t.taken)
		out->says = DROP_TAKEN;
	ask_aside(&t, STR("QUIT\r\n"));
	buf_fini(&t.in);
}
