/* SPDX-License-Identifier: ISC */
/*
 * postern log ID|ADDRESS: a message's life.  An address first finds the ids
 * that it appears with; then every line of these ids is shown.
 */
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
	struct map   ids;         /* found with the address */
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

static bool holds_word(str line, str word)
{
	for (size_t at = 0; word.n > 0 && at + word.n <= line.n; at++)
		if (str_eq_nocase(str_head(str_skip(line, at), word.n), word))
			return true;
	return false;
}

/* First pass for an address: which ids does it appear with? */
static void note(struct looking *l, str line)
{
	str id = value_of(line, "id=");

	if (id.n > 0 && holds_word(line, l->word) && map_get(&l->ids, id) == NULL)
		map_put(&l->ids, str_keep(&l->a, id), l);
}

static void show(struct looking *l, str line)
{
	str id = value_of(line, "id="), of = value_of(line, "of=");
	bool is_it = l->is_address ? (id.n > 0 && map_get(&l->ids, id) != NULL) || holds_word(line, l->word)
	                           : str_eq(id, l->word) || str_eq(of, l->word);

	if (!is_it)
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

/* Standard input cannot be read twice: an address needs a file. */
static FILE *seekable(FILE *f)
{
	FILE *copy = tmpfile();
	char piece[65536];
	size_t n;

	while (copy != NULL && (n = fread(piece, 1, sizeof(piece), f)) > 0)
		fwrite(piece, 1, n, copy);
	return copy;
}

static int look(FILE *f, const char *word)
{
	struct looking l = { .word = str_of(word), .is_address = strchr(word, '@') != NULL };

	arena_init(&l.a, 256 << 20);
	map_init(&l.ids, false);
	if (l.is_address) {
		f = seekable(f);
		if (f == NULL)
			return verb_fail(EXIT_LATER, "log", "no room for a temporary file: set TMPDIR to a place with room");
		rewind(f);
		each_line(f, &l, note);
		rewind(f);
	}
	each_line(f, &l, show);
	if (l.is_address)
		fclose(f);
	map_fini(&l.ids);
	arena_fini(&l.a);
	return l.shown > 0 ? EXIT_DONE
	                   : verb_fail(EXIT_FINDING, "log", "nothing about %s in this log: older logs may have been rotated away, "
	                               "name one with --file", word);
}

int verb_log(int argc, char **argv)
{
	static const struct option options[] = { { "config", required_argument, NULL, 'c' }, { "file", required_argument, NULL, 'f' }, { 0 } };
	const char *file = CONFIG_FILE, *log = NULL;
	struct arena a;
	FILE *f;
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
	if (log == NULL) {
		const struct config *c = verb_config("log", file, &a, &status);

		if (c == NULL)
			return status;
		log = log_of(c, &a);
		if (log == NULL)
			return verb_fail(EXIT_FINDING, "log", "the log goes to %s, not to a file: try `journalctl -u postern | "
			                 "postern log --file - %s`", c->log.to == 1 ? "syslog" : "standard error", argv[optind]);
	}
	f = strcmp(log, "-") == 0 ? stdin : fopen(log, "re");
	if (f == NULL)
		return verb_fail(EXIT_FINDING, "log", "%s cannot be read: be root, or a member of its group", log);
	status = look(f, argv[optind]);
	if (f != stdin)
		fclose(f);
	arena_fini(&a);
	return status;
}
