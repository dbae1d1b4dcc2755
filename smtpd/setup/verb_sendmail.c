/* SPDX-License-Identifier: ISC */
/*
 * postern sendmail: mail from users and programs of this machine.
 *
 * It runs as whoever calls it and has no privilege of its own: a message goes to
 * the server's socket, where the server sees who is there; when no server
 * listens, or when it puts the message off, into the directory that it takes up
 * (drop.h says why that is safe).  So a 0 means: the server has it, or will.
 *
 * The options are those that programs pass to a sendmail; what has no meaning
 * here is taken and forgotten.
 */
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/setup/config.h"
#include "smtpd/setup/drop.h"
#include "smtpd/setup/message_in.h"
#include "smtpd/setup/verbs.h"

#define ANSWER_S 330          /* the server may wait for DNS */

enum mode { MODE_MAIL, MODE_SMTP, MODE_NOTHING };

struct call {
	enum mode        mode;
	bool             dots;         /* -i: a lone dot is text */
	const char      *file;         /* -c, -C */
	struct drop_wish wish;
	struct drop      asked;        /* notify, ret, envid */
};

/* ---- options -------------------------------------------------------------------------- */

static int mode_of(struct call *c, const char *arg)
{
	if (strcmp(arg, "m") == 0)
		c->mode = MODE_MAIL;
	else if (strcmp(arg, "s") == 0)
		c->mode = MODE_SMTP;
	else if (strcmp(arg, "i") == 0)
		c->mode = MODE_NOTHING;     /* aliases are read again by themselves */
	else if (strcmp(arg, "p") == 0)
		return verb_fail(EXIT_FINDING, "sendmail", "-bp: the queue is shown by `postern queue list`");
	else
		return verb_misused("sendmail", "-b%s is not done here", arg);
	return -1;
}

static bool is_word_of(const char *arg, const char *const words[])
{
	str rest = str_of(arg), word;
	bool good = rest.n > 0;

	while (good && str_cut(&rest, ',', &word)) {
		good = false;
		for (size_t i = 0; words[i] != NULL; i++)
			good = good || str_is_nocase(word, words[i]);
	}
	return good;
}

/* RFC 3461 4.4: what stands for itself in xtext is enough for an ID. */
static bool is_envid(const char *arg)
{
	size_t n = strlen(arg);

	for (size_t i = 0; i < n; i++)
		if (arg[i] <= ' ' || arg[i] > '~' || arg[i] == '+' || arg[i] == '=')
			return false;
	return n > 0 && n <= 100;
}

static int take_dsn(struct call *c, int option, const char *arg)
{
	static const char *const notify[] = { "never", "success", "failure", "delay", NULL }, *const ret[] = { "full", "hdrs", NULL };

	if (option == 'N' && is_word_of(arg, notify))
		c->asked.notify = str_of(arg);
	else if (option == 'R' && is_word_of(arg, ret))
		c->asked.ret = str_of(arg);
	else if (option == 'V' && is_envid(arg))
		c->asked.envid = str_of(arg);
	else
		return verb_misused("sendmail", "-%c \"%s\" means nothing", option, arg);
	return -1;
}

static int take_option(struct call *c, int option, char *arg, char **argv)
{
	switch (option) {
	case 'b':
		return mode_of(c, arg);
	case 'c':
	case 'C':
		c->file = arg;
		break;
	case 'f':
	case 'r':
		c->wish.from = str_of(arg);
		c->wish.from_given = true;
		break;
	case 'F':
		c->wish.full_name = str_of(arg);
		break;
	case 'i':
		c->dots = true;
		break;
	case 'o':                                /* -oi; -oem, -odb, -o7 … say how, which is ours to choose */
		c->dots = c->dots || strcmp(arg, "i") == 0 || strcasecmp(arg, "IgnoreDots") == 0;
		break;
	case 't':
		c->wish.read_recipients = true;
		break;
	case 'N':
	case 'R':
	case 'V':
		return take_dsn(c, option, arg);
	case 'I':
		c->mode = MODE_NOTHING;
		break;
	case 'q':
		return verb_fail(EXIT_FINDING, "sendmail", "-q: the queue is tried again by `postern queue flush`");
	case ':':
		return verb_misused("sendmail", "-%c needs a value", optopt);
	case '?':
		return verb_misused("sendmail", "unknown option %s", argv[optind - 1]);
	default:                                 /* A B d e G h L m n O p U v X: nothing to do */
		break;
	}
	return -1;
}

static int read_options(struct call *c, int argc, char **argv)
{
	static const struct option config[] = { { "config", required_argument, NULL, 'c' }, { 0 } };
	int o, status = -1;

	opterr = 0;
	optind = 1;
	while (status < 0 && (o = getopt_long(argc, argv, "+:A:B:C:F:GIL:N:O:R:UV:X:b:c:d::e:f:h:imno:p:q::r:tv", config, NULL)) != -1)
		status = take_option(c, o, optarg, argv);
	return status;
}

/* ---- who and where ---------------------------------------------------------------------- */

static bool knows_itself(struct submitter *s)
{
	const struct passwd *pw = getpwuid(geteuid());

	if (pw == NULL)
		return false;
	s->user = str_keep(s->arena, str_of(pw->pw_name));
	s->root = geteuid() == 0;
	return s->user.n > 0;
}

/* BASE/about, which the server keeps. */
static str told_domain(struct submitter *s)
{
	char path[4200], line[300];
	FILE *f;
	str domain = STR_NONE;

	snprintf(path, sizeof(path), "%s/about", s->base);
	f = fopen(path, "re");
	if (f == NULL)
		return STR_NONE;
	if (fgets(line, sizeof(line), f) != NULL && strncmp(line, "domain ", 7) == 0)
		domain = str_keep(s->arena, str_trim(str_of(line + 7)));
	fclose(f);
	return domain_valid(domain) ? domain : STR_NONE;
}

static str host_domain(struct submitter *s)
{
	char name[256] = "";
	str ascii;

	gethostname(name, sizeof(name) - 1);
	return domain_to_ascii(s->arena, str_of(name), &ascii) ? ascii : STR("localhost");
}

/* The configuration names the directory.  Who may not read it, or finds it faulty
 * at the moment, still gets his mail off where it usually lies. */
static int find_place(struct submitter *s, const char *file)
{
	struct conf_faults faults = { 0 };
	struct config *c = NULL;
	str why = STR_NONE;
	enum err e = config_read(file != NULL ? file : CONFIG_FILE, verb_open_file, s->arena, &c, &faults, &why);

	if (file != NULL && e != OK && e != ERR_BAD)
		return verb_fail(EXIT_FINDING, "sendmail", "%.*s", STR_ARG(why));
	s->base = c != NULL ? str_cstr(s->arena, c->sendmail.directory) : NULL;
	if (c != NULL && e == OK && (s->base == NULL || s->base[0] == '\0'))
		return verb_fail(EXIT_FINDING, "sendmail", "the configuration names no place for mail of this machine: set directory in "
		                 "sendmail {}");
	if (s->base == NULL || s->base[0] == '\0')
		s->base = DROP_DIRECTORY;
	s->domain = told_domain(s);
	if (s->domain.n == 0 && c != NULL)
		s->domain = c->sendmail.domain;
	if (s->domain.n == 0)
		s->domain = host_domain(s);
	return -1;
}

/* ---- handing it over ------------------------------------------------------------------------ */

static void say_refusals(const struct submitter *s, const struct drop_answer *a, struct buf *said)
{
	for (size_t i = 0; i < a->n; i++) {
		const struct drop_refusal *r = &a->v[i];

		if (r->rcpt.n > 0)
			buf_addf(said, "%.*s: ", STR_ARG(r->rcpt));
		buf_addf(said, "%.*s", STR_ARG(r->said));
		if (str_holds(r->said, '@') && str_starts(r->said, "550 5.7.1") && r->rcpt.n == 0)
			buf_addf(said, ": may-send-as in sendmail { user \"%.*s\" {} } allows more", STR_ARG(s->user));
		buf_add_char(said, '\n');
	}
	if (a->says == DROP_TAKEN && a->n > 0)
		buf_add(said, STR("the others have it\n"));
}

static int leave(const struct submitter *s, const struct drop *d, str why, struct buf *said)
{
	if (drop_leave(s->base, d))
		return EXIT_DONE;
	if (errno == ENOENT)
		buf_addf(said, "%s/drop is not there: start the server once, or correct directory in sendmail {}\n", s->base);
	else
		buf_addf(said, "%s/drop: %s: try again later\n", s->base, strerror(errno));
	if (why.n > 0)
		buf_addf(said, "the server said: %.*s\n", STR_ARG(why));
	return EXIT_LATER;
}

int submit_drop(struct submitter *s, const struct drop *d, struct buf *said)
{
	struct drop_answer answer = { .says = DROP_LATER };
	int fd = drop_dial(s->base);

	if (fd >= 0) {
		drop_talk(fd, ANSWER_S, s->arena, d, &answer);
		close(fd);
	}
	if (answer.says == DROP_LATER)
		return leave(s, d, answer.said, said);
	say_refusals(s, &answer, said);
	return answer.n > 0 || answer.says == DROP_REFUSED ? EXIT_FINDING : EXIT_DONE;
}

/* ---- one message ------------------------------------------------------------------------------- */

static void say_lines(str text)
{
	str line;

	while (str_cut(&text, '\n', &line))
		if (line.n > 0)
			verb_fail(0, "sendmail", "%.*s", STR_ARG(line));
}

static int mail(struct submitter *s, struct call *c)
{
	struct message_in in;
	struct buf made, said;
	struct drop d;
	const char *unread;
	str why = STR_NONE;
	bool dot;
	int status;

	if (!message_in_read(&in, STDIN_FILENO, &unread)) {
		message_in_fini(&in);
		return verb_fail(EXIT_LATER, "sendmail", "standard input: %s", unread);
	}
	buf_init(&made, BUF_UNBOUNDED);
	buf_init(&said, (size_t)1 << 20);
	c->wish.user = s->user;
	c->wish.domain = s->domain;
	c->wish.root = s->root;
	c->wish.text = c->dots ? buf_str(&in.raw) : drop_until_dot(buf_str(&in.raw), &dot);
	if (drop_compose(s->arena, &made, &c->wish, &d, &why)) {
		d.notify = c->asked.notify;
		d.ret = c->asked.ret;
		d.envid = c->asked.envid;
		status = submit_drop(s, &d, &said);
		say_lines(buf_str(&said));
	} else {
		status = verb_misused("sendmail", "%.*s", STR_ARG(why));
	}
	buf_fini(&said);
	buf_fini(&made);
	message_in_fini(&in);
	return status;
}

static int run(struct submitter *s, struct call *c)
{
	int status = c->mode == MODE_NOTHING ? EXIT_DONE : find_place(s, c->file);

	if (status >= 0)
		return status;
	if (!knows_itself(s))
		return verb_fail(EXIT_FINDING, "sendmail", "user id %u has no name on this machine: add one to the user database",
		                 (unsigned)geteuid());
	return c->mode == MODE_SMTP ? sendmail_smtp(s) : mail(s, c);
}

int verb_sendmail(int argc, char **argv)
{
	struct call c = { .mode = MODE_MAIL };
	struct arena arena;
	struct submitter s = { .arena = &arena };
	int status = read_options(&c, argc, argv);

	if (status >= 0)
		return status;
	arena_init(&arena, ARENA_UNBOUNDED);
	c.wish.rcpts = (struct strs){ ARENA_ARRAY(&arena, str, (size_t)(argc - optind) + 1), 0 };
	for (int i = optind; c.wish.rcpts.v != NULL && i < argc; i++)
		c.wish.rcpts.v[c.wish.rcpts.n++] = str_of(argv[i]);
	status = run(&s, &c);
	arena_fini(&arena);
	return status;
}
