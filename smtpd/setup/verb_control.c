/* SPDX-License-Identifier: ISC */
/*
 * The verbs that ask the running server: reload, status, queue.  queue list and
 * show work without it too, on the files.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "queue/report.h"
#include "smtpd/base/control.h"
#include "smtpd/setup/serve.h"
#include "smtpd/setup/verbs.h"

/* What the server refuses is said as every error is: on standard error, with the verb's name. */
static int ask(const struct config *c, struct arena *a, const char *const words[], size_t n)
{
	char *text = NULL;
	size_t length = 0;
	FILE *answer = open_memstream(&text, &length);
	int status, kept;

	if (answer == NULL)
		return -1;
	status = control_ask(str_cstr(a, server_control_path(c, a)), words, n, answer);
	kept = errno;
	fclose(answer);
	if (status == EXIT_DONE)
		fwrite(text, 1, length, stdout);
	else if (status > 0)
		verb_fail(status, words[0], "%.*s", STR_ARG(str_trim((str){ text, length })));
	free(text);
	errno = kept;
	return status;
}

static int nobody_there(const char *verb, const struct config *c)
{
	return verb_fail(EXIT_LATER, verb, "no server answers in %.*s (%s): start it, or name its configuration with -c FILE",
	                 STR_ARG(c->state), strerror(errno));
}

int verb_reload(int argc, char **argv)
{
	const char *file = CONFIG_FILE;
	struct arena a;
	struct config *c;
	int status = verb_file_option("reload", argc, argv, &file);

	if (status >= 0)
		return status;
	arena_init(&a, ARENA_UNBOUNDED);
	c = verb_config("reload", file, &a, &status);
	if (c != NULL) {
		status = ask(c, &a, (const char *const[]){ "reload" }, 1);
		if (status < 0)
			status = nobody_there("reload", c);
		else if (status == EXIT_DONE)
			puts("reloaded");
	}
	arena_fini(&a);
	return status;
}

/* Options in any place; the other words come back in order. */
#define WORDS_MOST 64
struct asked {
	const char *file;
	bool json, all;
	const char *words[WORDS_MOST];
	size_t n;
	const char *filter[16];        /* "--to", "alice", … as they go to the server */
	size_t nfilter;
	struct queue_look look;        /* the same, read */
};

static int take_filter(const char *verb, struct asked *out, const char *option)
{
	const char *why;

	if (!queue_filter_take(&out->look.filter, str_of(option), str_of(optarg), &why))
		return verb_misused(verb, "%s \"%s\": it takes %s", option, optarg, why);
	if (out->nfilter + 2 > COUNT(out->filter))
		return verb_misused(verb, "too many options");
	out->filter[out->nfilter++] = option;
	out->filter[out->nfilter++] = optarg;
	return -1;
}

static int parse(const char *verb, int argc, char **argv, struct asked *out)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, 'c' }, { "json", no_argument, NULL, 'j' },
		{ "all", no_argument, NULL, 'a' }, { "to", required_argument, NULL, 't' },
		{ "from", required_argument, NULL, 'f' }, { "older", required_argument, NULL, 'o' },
		{ "state", required_argument, NULL, 's' }, { 0 },
	};
	int c, status;

	*out = (struct asked){ .file = CONFIG_FILE };
	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (c == 'c')
			out->file = optarg;
		else if (c == 'j')
			out->json = true;
		else if (c == 'a')
			out->all = true;
		else if (c == 't' || c == 'f' || c == 'o' || c == 's') {
			status = take_filter(verb, out, c == 't' ? "--to" : c == 'f' ? "--from" : c == 'o' ? "--older" : "--state");
			if (status >= 0)
				return status;
		}
		else if (c == ':')
			return verb_misused(verb, "%s needs a value", argv[optind - 1]);
		else
			return verb_misused(verb, "unknown option %s", argv[optind - 1]);
	}
	out->look.json = out->json;
	for (int i = optind; i < argc; i++) {
		if (out->n == COUNT(out->words))
			return verb_misused(verb, "too many words");
		out->words[out->n++] = argv[i];
	}
	return -1;
}

int verb_status(int argc, char **argv)
{
	struct asked asked;
	struct arena a;
	struct config *c;
	int status = parse("status", argc, argv, &asked);

	if (status < 0 && (asked.n > 0 || asked.all || asked.nfilter > 0))
		status = verb_misused("status", "it takes no words");
	if (status >= 0)
		return status;
	arena_init(&a, ARENA_UNBOUNDED);
	c = verb_config("status", asked.file, &a, &status);
	if (c != NULL) {
		status = ask(c, &a, (const char *const[]){ "status", "--json" }, asked.json ? 2 : 1);
		if (status < 0)
			status = nobody_there("status", c);
	}
	arena_fini(&a);
	return status;
}

/* ---- queue -------------------------------------------------------------------------- */

static int report_from_files(const struct config *c, struct arena *a, const struct asked *asked, uint64_t id)
{
	const struct queue_conf conf = { .state = c->state, .map_bytes = c->queue.map_bytes,
		                         .full_percent = c->queue.full_percent,
		                         .free_disk_percent = c->queue.free_disk_percent,
		                         .keep_finished_ms = c->queue.keep_finished_ms };
	str why = STR_NONE;
	struct queue *q = queue_open_reading(&conf, a, &why);
	struct queue_list list = { .look = asked->look };
	bool show = strcmp(asked->words[0], "show") == 0;
	struct buf text;
	enum err e;

	if (q == NULL)
		return verb_fail(EXIT_FINDING, "queue", "%.*s", STR_ARG(why));
	buf_init(&text, 1 << 30);
	do {
		e = show ? queue_report_show(q, id, asked->json, &text) : queue_report_list(q, &list, &text);
		fwrite(buf_str(&text).p, 1, text.n, stdout);
		buf_eat(&text, text.n);
	} while (e == OK && !show && !list.over);
	buf_fini(&text);
	queue_close(q);
	if (e == ERR_ABSENT)
		return verb_fail(EXIT_FINDING, "queue", "no message %s is known: `postern queue list` shows what is there",
		                 asked->words[1]);
	return e == OK ? EXIT_DONE : verb_fail(EXIT_FINDING, "queue", "%s", err_text(e));
}

static int queue_one(const struct config *c, struct arena *a, const struct asked *asked, const char *id_text)
{
	const char *words[6 + COUNT(asked->filter)] = { "queue", asked->words[0] };
	char width[24];
	size_t n = 2;
	uint64_t id = 0;
	int status;

	if (id_text != NULL)
		words[n++] = id_text;
	if (asked->json)
		words[n++] = "--json";
	if (asked->look.width > 0 && strcmp(words[1], "list") == 0) {
		snprintf(width, sizeof(width), "%zu", asked->look.width);
		words[n++] = "--width";
		words[n++] = width;
	}
	for (size_t i = 0; i < asked->nfilter; i++)
		words[n++] = asked->filter[i];
	status = ask(c, a, words, n);
	if (status >= 0)
		return status;
	if (strcmp(words[1], "list") != 0 && strcmp(words[1], "show") != 0)
		return nobody_there("queue", c);
	if (id_text != NULL)
		queue_id_parse(str_of(id_text), &id);
	return report_from_files(c, a, asked, id);
}

static const struct { const char *word; bool ids, may_all; } forms[] = {
	{ "list", false, false }, { "show", true, false }, { "retry", true, true }, { "flush", false, false },
	{ "hold", true, true }, { "release", true, true }, { "remove", true, true },
};

static int queue_words_fit(const struct asked *asked)
{
	uint64_t id;

	for (size_t i = 0; asked->n > 0 && i < COUNT(forms); i++) {
		if (strcmp(asked->words[0], forms[i].word) != 0)
			continue;
		if (!forms[i].ids && (asked->n > 1 || asked->all))
			return verb_misused("queue", "%s takes no id", forms[i].word);
		if (asked->nfilter > 0 && (asked->all || asked->n > 1 || (!forms[i].may_all && strcmp(forms[i].word, "list") != 0)))
			return verb_misused("queue", "%s takes either ids, or --to, --from, --older and --state, or --all",
			                    forms[i].word);
		if (forms[i].ids && asked->n == 1 && !(forms[i].may_all && (asked->all || asked->nfilter > 0)))
			return verb_misused("queue", "%s needs an id%s", forms[i].word,
			                    forms[i].may_all ? ", --to, --from, --older or --state, or --all" : "");
		for (size_t k = 1; k < asked->n; k++)
			if (!queue_id_parse(str_of(asked->words[k]), &id))
				return verb_misused("queue", "\"%s\" is not a message's number (`postern queue list` shows them)", asked->words[k]);
		return -1;
	}
	return asked->n == 0 ? verb_misused("queue", "say list, show, retry, hold, release, remove, flush, check, export, backup, restore or salvage")
	                     : verb_misused("queue", "unknown command \"%s\"", asked->words[0]);
}

/* A person's terminal cuts its lines; a file or a pipe gets them whole. */
static size_t terminal_width(void)
{
	struct winsize w;

	return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 80 ? w.ws_col : 0;
}

int verb_queue(int argc, char **argv)
{
	struct asked asked;
	struct arena a;
	struct config *c;
	int status;

	if (verb_queue_is_about_files(argc, argv))
		return verb_queue_files(argc, argv);
	status = parse("queue", argc, argv, &asked);
	asked.look.width = asked.json ? 0 : terminal_width();
	if (status < 0)
		status = queue_words_fit(&asked);
	if (status >= 0)
		return status;
	arena_init(&a, ARENA_UNBOUNDED);
	c = verb_config("queue", asked.file, &a, &status);
	if (c != NULL) {
		status = EXIT_DONE;
		if (asked.n == 1)
			status = queue_one(c, &a, &asked, NULL);
		for (size_t i = 1; i < asked.n; i++) {
			int one = queue_one(c, &a, &asked, asked.words[i]);

			status = one > status ? one : status;
		}
	}
	arena_fini(&a);
	return status;
}
