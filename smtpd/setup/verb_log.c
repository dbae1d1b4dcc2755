/* SPDX-License-Identifier: ISC */
/*
 * postern log ID|ADDRESS: a message's life.  The first pass finds the ids that
 * belong to it (those that an address appears with, and the letters, bounces
 * that is, that came of them); the second shows every line of these ids.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/base/map.h"
#include "smtpd/setup/config.h"
#include "smtpd/setup/verbs.h"

struct looking {
	struct arena a;
	str          word;        /* id or address */
	bool         is_address;
	struct map   ids;         /* found in the first pass */
	size_t       shown;
};

static str value_of(str line, const char *key)
{
	size_t n = strlen(key);

	for (size_t at = 0; at + n < line.n; at++)
		if ((at == 0 || line.p[at - 1] == ' ') && memcmp(line.p + at, key, n) == 0)
			return str_head(str_skip(line, at + n), str_find(str_skip(line, at + n), ' '));
	return STR_NONE;
}

static bool ends_address(char c)
{
	return c == ' ' || c == '"' || c == '<' || c == '>' || c == '=' || c == ',' || c == ':';
}

/* The address whole: bob@here.test is not in jimbob@here.test. */
static bool holds_address(str line, str word)
{
	for (size_t at = 0; at + word.n <= line.n; at++)
		if (str_eq_nocase(str_head(str_skip(line, at), word.n), word) &&
		    (at == 0 || ends_address(line.p[at - 1])) &&
		    (at + word.n == line.n || ends_address(line.p[at + word.n])))
			return true;
	return false;
}

static bool is_known(struct looking *l, str id)
{
	return id.n > 0 && map_get(&l->ids, id) != NULL;
}

static void learn(struct looking *l, str id)
{
	if (id.n > 0 && !is_known(l, id))
		map_put(&l->ids, str_keep(&l->a, id), l);
}

static void note(struct looking *l, str line)
{
	str id = value_of(line, "id=");

	if (l->is_address ? holds_address(line, l->word) : str_eq(id, l->word))
		learn(l, id);
	if (is_known(l, id))
		learn(l, value_of(line, "letter="));
}

static void show(struct looking *l, str line)
{
	if (!is_known(l, value_of(line, "id=")) && !(l->is_address && holds_address(line, l->word)))
		return;
	printf("%.*s\n", STR_ARG(line));
	l->shown++;
}

static bool each_line(FILE *f, struct looking *l, void (*seen)(struct looking *, str))
{
	char *text = NULL;
	size_t room = 0;
	ssize_t n;

	while ((n = getline(&text, &room, f)) > 0)
		seen(l, str_head((str){ text, (size_t)n }, (size_t)n - (text[n - 1] == '\n')));
	free(text);
	return ferror(f) == 0;
}

static const char *log_of(const struct config *c, struct arena *a)
{
	return c->log.to == 2 ? str_cstr(a, c->log.file) : NULL;
}

/* A pipe cannot be read twice: what comes is kept in a file that has no name. */
static FILE *seekable(FILE *f)
{
	char piece[65536];
	FILE *copy;
	size_t n;

	if (fseek(f, 0, SEEK_CUR) == 0)
		return f;
	copy = tmpfile();
	while (copy != NULL && (n = fread(piece, 1, sizeof(piece), f)) > 0)
		fwrite(piece, 1, n, copy);
	return copy;
}

static int look(FILE *from, const char *word)
{
	FILE *f = seekable(from);
	struct looking l = { .word = str_of(word), .is_address = strchr(word, '@') != NULL };

	if (f == NULL)
		return verb_fail(EXIT_LATER, "log", "no room for a temporary file: set TMPDIR to a place with room");
	arena_init(&l.a, 256 << 20);
	map_init(&l.ids, false);
	rewind(f);
	each_line(f, &l, note);
	rewind(f);
	each_line(f, &l, show);
	if (f != from)
		fclose(f);
	map_fini(&l.ids);
	arena_fini(&l.a);
	return l.shown > 0 ? EXIT_DONE
	                   : verb_fail(EXIT_FINDING, "log", "nothing about %s in this log: older logs may have been rotated away, "
	                               "name one with --file", word);
}

static int look_in(const char *log, const char *word)
{
	FILE *f = strcmp(log, "-") == 0 ? stdin : fopen(log, "re");
	int status;

	if (f == NULL)
		return verb_fail(EXIT_FINDING, "log", "%s cannot be read (%s): %s", log, strerror(errno),
		                 errno == EACCES ? "be root, or a member of its group" : "name the log with --file");
	status = look(f, word);
	if (f != stdin)
		fclose(f);
	return status;
}

static int look_in_configured(const char *file, const char *word, struct arena *a)
{
	int status;
	const struct config *c = verb_config("log", file, a, &status);
	const char *log = c != NULL ? log_of(c, a) : NULL;

	if (c == NULL)
		return status;
	if (log == NULL)
		return verb_fail(EXIT_FINDING, "log", "the log goes to %s, not to a file: try `journalctl -u postern -o cat | "
		                 "postern log --file - %s`", c->log.to == 1 ? "syslog" : "standard error", word);
	return look_in(log, word);
}

int verb_log(int argc, char **argv)
{
	static const struct option options[] = { { "config", required_argument, NULL, 'c' }, { "file", required_argument, NULL, 'f' }, { 0 } };
	const char *file = CONFIG_FILE, *log = NULL;
	struct arena a;
	int o, status;

	opterr = 0;
	optind = 1;
	while ((o = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (o == 'c')
			file = optarg;
		else if (o == 'f')
			log = optarg;
		else
			return verb_misused("log", o == ':' ? "%s needs a value" : "unknown option %s", argv[optind - 1]);
	}
	if (argc - optind != 1)
		return verb_misused("log", "name one message id or address");
	arena_init(&a, ARENA_UNBOUNDED);
	status = log != NULL ? look_in(log, argv[optind]) : look_in_configured(file, argv[optind], &a);
	arena_fini(&a);
	return status;
}
